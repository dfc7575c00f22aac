//! `shuqiao audit`: the trail of every access.

use std::collections::VecDeque;

use clap::{Args, Subcommand};
use shuqiao_proto::v1::{self, audit_service_client::AuditServiceClient};
use tonic::transport::Channel;

use super::{
    connection::{Connection, MESSAGE_BYTES_MAX},
    error::Error,
    exit::Exit,
    output::{self, Format},
};

/// Entries of one page, at most.
const PAGE_ENTRIES_MAX: usize = 1000;
/// Where little is found, so many times further back it is looked.
const FURTHER: u64 = 8;

/// `shuqiao audit …`.
#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// Show entries in order, oldest first; reading them is itself an entry.
    List(AuditList),
}

/// `shuqiao audit list`.
#[derive(Args, Debug)]
pub(super) struct AuditList {
    /// First entry, from 0.
    #[arg(long, default_value_t = 0, value_name = "INDEX")]
    from: u64,
    /// The newest so many entries, instead of those from an index on; at most 10,000.
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["from", "limit"], value_parser = clap::value_parser!(u16).range(1..=10_000))]
    last: Option<u16>,
    /// Only entries about this dataset.
    #[arg(long, default_value = "")]
    dataset: String,
    /// Only entries of this department's doing.
    #[arg(long, default_value = "")]
    department: String,
    /// Stop after so many entries.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// How the answer is written.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connection: Connection,
}

impl Audit {
    pub(super) async fn run(self) -> Result<Exit, Error> {
        let Self::List(list) = self;
        list.run().await
    }
}

impl AuditList {
    async fn run(self) -> Result<Exit, Error> {
        let channel = self.connection.open().await?;
        let mut trail = Trail {
            client: AuditServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX),
            dataset: self.dataset.clone(),
            department: self.department.clone(),
        };
        let entries = match self.last {
            Some(last) => trail.last(last.into()).await?,
            None => {
                let (entries, more) = trail.first(self.from, self.limit).await?;
                if more {
                    output::note("there may be more entries: --limit shows more of them, --last the newest");
                }
                entries
            }
        };
        show(&entries, self.output)?;
        Ok(Exit::Success)
    }
}

/// The trail of one node, narrowed as the caller wants it.
struct Trail {
    client: AuditServiceClient<Channel>,
    dataset: String,
    department: String,
}

impl Trail {
    fn ask(&self, from_index: u64) -> v1::ListAuditEntriesRequest {
        v1::ListAuditEntriesRequest {
            from_index,
            dataset: self.dataset.clone(),
            department: self.department.clone(),
            ..Default::default()
        }
    }

    /// The first `limit` entries from an index on, and whether there may be more.
    async fn first(&mut self, from: u64, limit: usize) -> Result<(Vec<v1::AuditEntry>, bool), Error> {
        let mut entries = Vec::new();
        let mut request = self.ask(from);
        while entries.len() < limit {
            request.page_size = size(limit - entries.len());
            let page = self.client.list_audit_entries(request.clone()).await?.into_inner();
            entries.extend(page.entries);
            if page.next_page_token.is_empty() {
                return Ok((entries, false));
            }
            request.page_token = page.next_page_token;
        }
        entries.truncate(limit);
        Ok((entries, true))
    }

    /// The newest `wanted` entries, as the trail stands now. How far back they reach is not known where only some entries are asked for, or may be seen: so it
    /// looks a little way back from the end, then [`FURTHER`], and further, until it has enough or has seen all.
    async fn last(&mut self, wanted: usize) -> Result<Vec<v1::AuditEntry>, Error> {
        let beyond = v1::ListAuditEntriesRequest { page_size: 1, ..self.ask(u64::MAX) };
        let end = self.client.list_audit_entries(beyond).await?.into_inner().end_index;
        let mut back = u64::try_from(wanted).unwrap_or(u64::MAX);
        loop {
            let begin = end.saturating_sub(back);
            let newest = self.between(begin, end, wanted).await?;
            if newest.len() >= wanted || begin == 0 {
                return Ok(newest.into());
            }
            back = back.max(u64::from(size(PAGE_ENTRIES_MAX))).saturating_mul(FURTHER);
        }
    }

    /// The newest `wanted` entries from `begin` to before `end`. What came since, the readings of this command among it, is left out.
    async fn between(&mut self, begin: u64, end: u64, wanted: usize) -> Result<VecDeque<v1::AuditEntry>, Error> {
        let mut newest = VecDeque::new();
        let mut request = v1::ListAuditEntriesRequest { page_size: size(PAGE_ENTRIES_MAX), ..self.ask(begin) };
        loop {
            let page = self.client.list_audit_entries(request.clone()).await?.into_inner();
            for entry in page.entries {
                if entry.index >= end {
                    return Ok(newest);
                }
                if newest.len() == wanted {
                    newest.pop_front();
                }
                newest.push_back(entry);
            }
            if page.next_page_token.is_empty() {
                return Ok(newest);
            }
            request.page_token = page.next_page_token;
        }
    }
}

fn size(wanted: usize) -> u32 {
    u32::try_from(wanted.min(PAGE_ENTRIES_MAX)).unwrap_or(u32::MAX)
}

fn show(entries: &[v1::AuditEntry], format: Format) -> Result<(), Error> {
    match format {
        // The canonical bytes are what the leaf hashes: spliced in, not parsed and written again.
        Format::Json => entries.iter().try_for_each(|entry| output::print(&line(entry))),
        Format::Yaml => entries.iter().try_for_each(|entry| {
            let value: serde_json::Value =
                serde_json::from_str(&line(entry)).map_err(|error| Error::Input(error.to_string()))?;
            output::print(&format!("---\n{}", output::yaml(&value)?))
        }),
        Format::Table => output::print(&output::table(
            ["index", "time", "actor", "action", "dataset", "purpose", "count", "outcome"],
            entries.iter().map(row),
        )),
    }
}

fn line(entry: &v1::AuditEntry) -> String {
    let canonical = String::from_utf8_lossy(&entry.canonical);
    format!(r#"{{"index":{},"leaf_hash":"{}","entry":{canonical}}}"#, entry.index, hex::encode(&entry.leaf_hash))
}

/// The members of the canonical bytes, as `exchange::audit` documents them.
fn row(entry: &v1::AuditEntry) -> Vec<String> {
    let value: serde_json::Value = serde_json::from_slice(&entry.canonical).unwrap_or_default();
    let text = |member: &str| value[member].as_str().unwrap_or_default().to_owned();
    let time = value["time_ms"].as_i64().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let outcome = match value["outcome"]["denied"].as_str() {
        Some(reason) => format!("denied: {reason}"),
        None => text("outcome"),
    };
    vec![
        entry.index.to_string(),
        time.map(|time| time.to_string()).unwrap_or_default(),
        text("actor"),
        text("action"),
        text("dataset"),
        text("purpose"),
        value["count"].to_string(),
        outcome,
    ]
}
