//! `shuqiao query`: questions to the node's view.

use clap::{Args, Subcommand};
use shuqiao_proto::v1::{self, query_service_client::QueryServiceClient};
use tonic::transport::Channel;

use super::{
    connection::{Connection, MESSAGE_BYTES_MAX},
    error::Error,
    exit::Exit,
    output::{self, Format},
    record,
};

type Client = QueryServiceClient<Channel>;

/// What every question has.
#[derive(Args, Debug)]
pub(super) struct Common {
    /// What the answer is for: goes into the audit trail, and must be one that the grant allows.
    #[arg(long)]
    purpose: String,
    /// How the answer is written.
    #[arg(short, long, value_enum, default_value = "json")]
    output: Format,
    #[command(flatten)]
    connection: Connection,
}

impl Common {
    async fn client(&self) -> Result<Client, Error> {
        Ok(Client::new(self.connection.open().await?).max_decoding_message_size(MESSAGE_BYTES_MAX))
    }
}

/// The questions.
#[derive(Debug, Subcommand)]
pub(super) enum Query {
    /// Show the newest state of one key.
    Get {
        /// The dataset: `market-supervision.enterprise`.
        dataset: String,
        /// The record's key, as its record type makes it.
        key: String,
        #[command(flatten)]
        common: Common,
    },
    /// List records in key order, or those whose indexed fields have a value.
    List {
        /// The dataset: `market-supervision.enterprise`.
        dataset: String,
        /// FIELD=VALUE[,VALUE…] on an indexed field; several must all hold.
        #[arg(long = "where", value_parser = condition, value_name = "FIELD=VALUES")]
        conditions: Vec<v1::RowCondition>,
        /// Stop after so many records.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        common: Common,
    },
    /// Show everything about one subject, across datasets.
    Subject {
        /// `uscc`, `resident_id`, …: never guessed from the value.
        kind: String,
        /// Its number.
        value: String,
        /// Stop after so many records.
        #[arg(long, default_value_t = 1000)]
        limit: usize,
        #[command(flatten)]
        common: Common,
    },
    /// Show every change of one key that is kept, newest first.
    History {
        /// The dataset: `market-supervision.enterprise`.
        dataset: String,
        /// The record's key, as its record type makes it.
        key: String,
        /// Stop after so many records.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        common: Common,
    },
    /// Ask whether a record says this: answers yes or no a field and discloses nothing.
    Compare {
        /// The dataset: `market-supervision.enterprise`.
        dataset: String,
        /// The record's key, as its record type makes it.
        key: String,
        /// POINTER=VALUE: a granted scalar field and what you hold.
        #[arg(long = "field", required = true, value_parser = compared, value_name = "POINTER=VALUE")]
        fields: Vec<v1::ComparedField>,
        #[command(flatten)]
        common: Common,
    },
    /// Show count and digest of a dataset as you see it: what reconciliation compares.
    Digest(Digest),
}

/// Count and digest of a dataset.
#[derive(Args, Debug)]
pub(super) struct Digest {
    /// The dataset: `market-supervision.enterprise`.
    dataset: String,
    #[command(flatten)]
    common: Common,
}

fn condition(text: &str) -> Result<v1::RowCondition, String> {
    let (field, values) = text.split_once('=').ok_or("write FIELD=VALUE")?;
    Ok(v1::RowCondition { field: field.to_owned(), values: values.split(',').map(str::to_owned).collect() })
}

fn compared(text: &str) -> Result<v1::ComparedField, String> {
    let (path, value) = text.split_once('=').ok_or("write POINTER=VALUE, like /name=…")?;
    if !path.starts_with('/') {
        return Err("the field is a JSON Pointer and begins with a slash".into());
    }
    Ok(v1::ComparedField { path: path.to_owned(), value: value.to_owned() })
}

/// Asks page by page, until there is no more or enough.
macro_rules! pages {
    ($client:ident.$call:ident($request:expr), $limit:expr, $common:expr, $each:expr) => {{
        let mut request = $request;
        let mut left: usize = $limit;
        while left > 0 {
            request.page_size = u32::try_from(left.min(1000)).unwrap_or(1000);
            let page = $client.$call(request.clone()).await?.into_inner();
            let mut records: Vec<_> = page.records.into_iter().map($each).collect();
            records.truncate(left);
            left -= records.len();
            record::show(&records, $common.output)?;
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        Ok(Exit::Success)
    }};
}

impl Query {
    pub(super) async fn run(self) -> Result<Exit, Error> {
        match self {
            Self::Get { dataset, key, common } => {
                let request =
                    v1::GetRecordRequest { dataset, key, purpose: common.purpose.clone(), at_least: Vec::new() };
                let answer = common.client().await?.get_record(request).await?.into_inner();
                let records: Vec<_> = answer.record.into_iter().map(|record| (record, None)).collect();
                record::show(&records, common.output)?;
                Ok(Exit::Success)
            }
            Self::List { dataset, conditions, limit, common } => {
                let mut client = common.client().await?;
                let request = v1::ListRecordsRequest {
                    dataset,
                    filter: conditions,
                    purpose: common.purpose.clone(),
                    ..Default::default()
                };
                pages!(client.list_records(request), limit, common, |record| (record, None))
            }
            Self::Subject { kind, value, limit, common } => {
                let mut client = common.client().await?;
                let request = v1::ListSubjectRecordsRequest {
                    subject_kind: kind,
                    subject: value,
                    purpose: common.purpose.clone(),
                    ..Default::default()
                };
                pages!(client.list_subject_records(request), limit, common, |record| (record, None))
            }
            Self::History { dataset, key, limit, common } => {
                let mut client = common.client().await?;
                let request = v1::ListRecordHistoryRequest {
                    dataset,
                    key,
                    purpose: common.purpose.clone(),
                    ..Default::default()
                };
                pages!(client.list_record_history(request), limit, common, |historic: v1::HistoricRecord| {
                    (historic.record.unwrap_or_default(), Some(historic.applied))
                })
            }
            Self::Compare { dataset, key, fields, common } => {
                let request = v1::CompareRecordRequest { dataset, key, fields, purpose: common.purpose.clone() };
                let answer = common.client().await?.compare_record(request).await?.into_inner();
                output::print(&match common.output {
                    Format::Table => output::table(
                        ["field", "equal"],
                        answer.verdicts.iter().map(|verdict| vec![verdict.path.clone(), verdict.equal.to_string()]),
                    ),
                    format => verdicts(&answer.verdicts, format)?,
                })?;
                Ok(Exit::Success)
            }
            Self::Digest(digest) => digest.run().await,
        }
    }
}

fn verdicts(verdicts: &[v1::FieldVerdict], format: Format) -> Result<String, Error> {
    let map: std::collections::BTreeMap<_, _> =
        verdicts.iter().map(|verdict| (verdict.path.as_str(), verdict.equal)).collect();
    if format == Format::Yaml { output::yaml(&map) } else { output::json(&map) }
}

impl Digest {
    pub(super) async fn run(self) -> Result<Exit, Error> {
        let request = v1::GetDatasetDigestRequest {
            dataset: self.dataset.clone(),
            purpose: self.common.purpose.clone(),
            at_least: Vec::new(),
        };
        let answer = self.common.client().await?.get_dataset_digest(request).await?.into_inner();
        let positions = answer.positions.iter().map(|at| format!("{}:{}", at.partition, at.offset)).collect::<Vec<_>>();
        let digest = hex::encode(&answer.digest);
        let row = vec![self.dataset.clone(), answer.count.to_string(), digest.clone(), positions.join(" ")];
        let value = serde_json::json!({ "dataset": self.dataset, "count": answer.count, "digest": digest, "positions": positions });
        output::print(&match self.common.output {
            Format::Table => output::table(["dataset", "count", "digest", "positions"], [row]),
            Format::Json => output::json(&value)?,
            Format::Yaml => output::yaml(&value)?,
        })?;
        Ok(Exit::Success)
    }
}
