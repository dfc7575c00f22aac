//! `shuqiao publish`: payloads into a dataset, numbered on from where the node stands.
//!
//! Each payload becomes a record: its key is read from the payload by the record type's key fields, its sequence follows the last one that the node holds for
//! this identity. There is no memory between two runs: a run that broke off and is repeated publishes again what was accepted, as newer records with the same
//! content. An adapter, which has a memory, does better; this is for hands and scripts.

mod input;

use std::{collections::VecDeque, path::PathBuf};

use bytes::Bytes;
use clap::Args;
use shuqiao_proto::v1::{
    self, catalogue_service_client::CatalogueServiceClient, exchange_service_client::ExchangeServiceClient,
    publish_request::Request as Ask, publish_response::Response as Said,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use self::input::{Keys, Payload, Payloads};
use super::{
    connection::{Connection, MESSAGE_BYTES_MAX},
    error::Error,
    exit::Exit,
    manifest::full_name,
    output::{self, Format},
    receipt::Receipts,
};
use crate::exchange::{clock::Clock, model::RecordTypeName};

/// Batches on their way to the node; the node's own bound is smaller or larger, and both hold.
const QUEUE_MAX: usize = 4;

/// `shuqiao publish DATASET [FILE]`.
#[derive(Args, Debug)]
pub(super) struct Publish {
    /// A dataset that your department owns.
    dataset: String,
    /// JSON payloads, one a line; or one .json file that holds a payload or a list of them. `-` is standard input.
    #[arg(default_value = "-")]
    file: PathBuf,
    /// The record type of the payloads [default: the dataset's].
    #[arg(long, value_name = "TYPE")]
    record_type: Option<String>,
    /// The version of all these records: larger is newer, and an older one never overwrites. A record with a smaller version than its key has is accepted all the
    /// same and kept in the key's history (`shuqiao query history`), and every query goes on answering with the newer one [default: milliseconds since 1970,
    /// which outranks for ever whoever counts 1, 2, 3 for the same keys: then say which number the source has reached].
    #[arg(long, value_name = "NUMBER")]
    source_version: Option<u64>,
    /// JSON Pointer of a key field, where this program does not know the record type; may be repeated.
    #[arg(long = "key-pointer", value_name = "POINTER")]
    key_pointers: Vec<String>,
    /// The payloads' keys no longer exist at the source: delete them.
    #[arg(long)]
    delete: bool,
    /// Append the node's receipts to this file, a line of JSON each, as they come: `shuqiao receipt verify` reads them.
    #[arg(long, value_name = "FILE")]
    receipts: Option<PathBuf>,
    /// Records of one batch.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    batch_records: u32,
    /// How the answer is written.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connection: Connection,
}

/// Whether it is a department's own, of which the node knows more than this program.
fn is_own(record_type: &str) -> bool {
    record_type.parse::<RecordTypeName>().is_ok_and(|name| name.owner().is_some())
}

/// What became of everything; and the largest sequence of this source that the node holds, from which the next run goes on.
#[derive(Debug, Default, PartialEq, Eq, serde::Serialize)]
struct Summary {
    read: u64,
    accepted: u64,
    repeated: u64,
    rejected: u64,
    unknown: u64,
    last_sequence: u64,
}

impl Publish {
    pub(super) async fn run(self) -> Result<Exit, Error> {
        let mut receipts = self.receipts.as_deref().map(Receipts::append_to).transpose()?;
        let channel = self.connection.open().await?;
        let record_type = match &self.record_type {
            Some(record_type) => record_type.clone(),
            None => {
                let name = full_name("datasets", &self.dataset);
                let request = v1::GetDatasetRequest { name };
                CatalogueServiceClient::new(channel.clone()).get_dataset(request).await?.into_inner().record_type
            }
        };
        let keys = match self.key_pointers.is_empty() && is_own(&record_type) {
            true => {
                let request = v1::GetRecordTypeRequest { name: full_name("recordTypes", &record_type) };
                let mut client =
                    CatalogueServiceClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
                Keys::of_schema(client.get_record_type(request).await?.into_inner().schema.as_bytes())
            }
            false => Keys::of(&record_type, &self.key_pointers)?,
        };
        let mut payloads = Payloads::open(&self.file).await?;
        let (asks, receiver) = mpsc::channel(QUEUE_MAX);
        let dataset = self.dataset.trim_start_matches("datasets/").to_owned();
        let open = Ask::Open(v1::PublishOpen { dataset, source: String::new() });
        send(&asks, open).await?;
        let mut client = ExchangeServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let mut answers = client.publish(ReceiverStream::new(receiver)).await?.into_inner();
        let Some(Said::Opened(opened)) = next(&mut answers).await? else {
            return Err(Error::StreamEnded);
        };
        let mut batcher = Batcher {
            record_type,
            keys,
            operation: if self.delete { v1::Operation::Delete } else { v1::Operation::Upsert },
            source_version: self.source_version.unwrap_or_else(version_now),
            records_max: self.batch_records.min(opened.max_batch_records.max(1)) as usize,
            // Framing and keys of a record take some hundred bytes.
            bytes_max: usize::try_from(opened.max_batch_bytes).unwrap_or(usize::MAX) / 8 * 7,
            sequence: opened.last_sequence,
            batch_id: 0,
            held_back: None,
            stopped: None,
        };
        let mut summary = Summary { last_sequence: opened.last_sequence, ..Summary::default() };
        let mut in_flight = InFlight::default();
        let mut ended = false;
        let mut failure = None;
        loop {
            if !ended && in_flight.batches.len() < opened.max_batches_in_flight.max(1) as usize {
                match batcher.next(&mut payloads).await {
                    Ok(Some((batch, lines))) => {
                        summary.read += lines.len() as u64;
                        // Payloads are shared, not copied.
                        let records = if receipts.is_some() { batch.records.clone() } else { Vec::new() };
                        in_flight.batches.push_back(Sent { batch_id: batch.batch_id, lines, records });
                        // A stream that takes nothing more says why among its answers.
                        ended = send(&asks, Ask::Batch(batch)).await.is_err();
                        continue;
                    }
                    Ok(None) => ended = true,
                    // What was sent before it is accounted for first.
                    Err(error) => (ended, failure) = (true, Some(error)),
                }
            }
            if in_flight.batches.is_empty() {
                break;
            }
            match next(&mut answers).await {
                Ok(Some(Said::Acknowledgement(acknowledgement))) => {
                    let records = in_flight.settle(&acknowledgement, &mut summary)?;
                    let taken = receipts.as_mut().map_or(Ok(()), |receipts| receipts.take(&acknowledgement, &records));
                    if let Err(error) = taken {
                        ended = true;
                        failure.get_or_insert(error);
                    }
                }
                Ok(Some(Said::Opened(_))) => {}
                // What was acknowledged before is told; of the rest nothing is known.
                broken => {
                    summary.unknown += in_flight.records();
                    failure.get_or_insert(broken.err().unwrap_or(Error::StreamEnded));
                    break;
                }
            }
        }
        // Whether anybody reads the table or not, the exit code says what became of the records.
        match (failure, summary.show(self.output)) {
            (Some(failure), _) => Err(failure),
            (None, Ok(()) | Err(Error::Pipe)) => Ok(summary.exit()),
            (None, Err(error)) => Err(error),
        }
    }
}

/// The version of records whose own is not known: now. Told, because a source that counts its own never catches up with it.
fn version_now() -> u64 {
    let now = u64::try_from(Clock::system().now_ms()).unwrap_or(0);
    output::note(&format!(
        "warning: without --source-version these records have version {now}, milliseconds since 1970: a source that counts 1, 2, 3 for the same keys never \
         overwrites them"
    ));
    now
}

async fn send(asks: &mpsc::Sender<v1::PublishRequest>, ask: Ask) -> Result<(), Error> {
    asks.send(v1::PublishRequest { request: Some(ask) }).await.map_err(|_| Error::StreamEnded)
}

async fn next(answers: &mut Streaming<v1::PublishResponse>) -> Result<Option<Said>, Error> {
    Ok(answers.message().await?.and_then(|answer| answer.response))
}

/// Makes batches of payloads, within the node's bounds.
struct Batcher {
    record_type: String,
    keys: Keys,
    operation: v1::Operation,
    source_version: u64,
    records_max: usize,
    bytes_max: usize,
    sequence: u64,
    batch_id: u64,
    /// Read, but too large for the batch before.
    held_back: Option<Payload>,
    /// Why there is nothing behind the batch before.
    stopped: Option<Error>,
}

impl Batcher {
    /// The next batch, and the line that each of its records comes from. What stands before a payload that cannot be sent comes first, then the error.
    async fn next(&mut self, payloads: &mut Payloads) -> Result<Option<(v1::PublishBatch, Vec<u64>)>, Error> {
        if let Some(error) = self.stopped.take() {
            return Err(error);
        }
        let mut records = Vec::new();
        let mut lines = Vec::new();
        let mut bytes = 0;
        while records.len() < self.records_max {
            let next = match self.held_back.take() {
                Some(payload) => Ok(Some(payload)),
                None => payloads.next().await,
            };
            let next = match next {
                Ok(Some(payload)) if !records.is_empty() && bytes + payload.bytes.len() > self.bytes_max => {
                    self.held_back = Some(payload);
                    break;
                }
                Ok(Some(payload)) => self.keys.read(&payload).map(|key| Some((payload, key))),
                Ok(None) => Ok(None),
                Err(error) => Err(error),
            };
            let (payload, key) = match next {
                Ok(Some(next)) => next,
                Ok(None) => break,
                Err(error) if records.is_empty() => return Err(error),
                Err(error) => {
                    self.stopped = Some(error);
                    break;
                }
            };
            bytes += payload.bytes.len();
            self.sequence += 1;
            lines.push(payload.line);
            records.push(v1::PublishRecord {
                sequence: self.sequence,
                key,
                operation: self.operation.into(),
                source_version: self.source_version,
                payload: if self.operation == v1::Operation::Delete { Bytes::new() } else { payload.bytes },
            });
        }
        if records.is_empty() {
            return Ok(None);
        }
        self.batch_id += 1;
        let batch = v1::PublishBatch { batch_id: self.batch_id, record_type: self.record_type.clone(), records };
        Ok(Some((batch, lines)))
    }
}

/// A batch on its way.
struct Sent {
    batch_id: u64,
    /// Where each record was read.
    lines: Vec<u64>,
    /// What was sent, where receipts are compared with it.
    records: Vec<v1::PublishRecord>,
}

/// Batches without acknowledgement yet, oldest first.
#[derive(Default)]
struct InFlight {
    batches: VecDeque<Sent>,
}

impl InFlight {
    /// How many records they are.
    fn records(&self) -> u64 {
        self.batches.iter().map(|sent| sent.lines.len() as u64).sum()
    }

    /// Counts what became of the oldest batch, and answers with its records.
    fn settle(
        &mut self,
        acknowledgement: &v1::PublishAcknowledgement,
        summary: &mut Summary,
    ) -> Result<Vec<v1::PublishRecord>, Error> {
        let Sent { lines, records, .. } = self
            .batches
            .pop_front()
            .filter(|sent| sent.batch_id == acknowledgement.batch_id)
            .ok_or_else(|| Error::Input("the node acknowledged a batch out of order".into()))?;
        for (result, line) in acknowledgement.results.iter().zip(lines) {
            if result.status() == v1::PublishStatus::Accepted {
                summary.last_sequence = summary.last_sequence.max(result.sequence);
            }
            match result.status() {
                v1::PublishStatus::Accepted if result.repeat => summary.repeated += 1,
                v1::PublishStatus::Accepted => summary.accepted += 1,
                v1::PublishStatus::Rejected => summary.rejected += 1,
                v1::PublishStatus::Unknown | v1::PublishStatus::Unspecified => summary.unknown += 1,
            }
            for violation in &result.violations {
                output::note(&format!(
                    "line {line}: {} {}: {} / {}",
                    violation.path, violation.rule, violation.message_en, violation.message_zh
                ));
            }
        }
        Ok(records)
    }
}

impl Summary {
    fn exit(&self) -> Exit {
        match self {
            Self { unknown: 1.., .. } => Exit::Unavailable,
            Self { rejected: 1.., .. } => Exit::Invalid,
            _ => Exit::Success,
        }
    }

    fn show(&self, format: Format) -> Result<(), Error> {
        let row = [self.read, self.accepted, self.repeated, self.rejected, self.unknown, self.last_sequence];
        output::print(&match format {
            Format::Table => output::table(
                ["read", "accepted", "repeated", "rejected", "unknown", "last sequence held"],
                [row.iter().map(u64::to_string).collect()],
            ),
            Format::Json => output::json(self)?,
            Format::Yaml => output::yaml(self)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_tells_the_worst_that_happened() {
        let summary = |rejected, unknown| Summary { rejected, unknown, ..Summary::default() };
        assert_eq!(summary(0, 0).exit(), Exit::Success);
        assert_eq!(summary(2, 0).exit(), Exit::Invalid);
        assert_eq!(summary(2, 1).exit(), Exit::Unavailable);
    }

    fn batcher(records_max: usize, bytes_max: usize, sequence: u64) -> Batcher {
        Batcher {
            record_type: "x/v1".into(),
            keys: Keys::of("x/v1", &["/k".to_owned()]).expect("pointer"),
            operation: v1::Operation::Upsert,
            source_version: 5,
            records_max,
            bytes_max,
            sequence,
            batch_id: 0,
            held_back: None,
            stopped: None,
        }
    }

    #[tokio::test]
    async fn batches_keep_within_the_node_s_bounds_and_number_on() {
        let directory = tempfile::tempdir().expect("tempdir");
        let path = directory.path().join("in.jsonl");
        std::fs::write(&path, "{\"k\":\"1\"}\n\n{\"k\":\"2\"}\n{\"k\":\"3\"}\n").expect("write");
        let mut payloads = Payloads::open(&path).await.expect("open");
        let mut batcher = batcher(10, 18, 41);
        let (first, lines) = batcher.next(&mut payloads).await.expect("good").expect("records");
        assert_eq!(lines, [1, 3]);
        assert_eq!(
            first.records.iter().map(|record| (record.sequence, record.key.as_str())).collect::<Vec<_>>(),
            [(42, "1"), (43, "2")]
        );
        let (second, lines) = batcher.next(&mut payloads).await.expect("good").expect("records");
        assert_eq!((second.batch_id, second.records[0].sequence, lines), (2, 44, vec![4]));
        assert!(batcher.next(&mut payloads).await.expect("good").is_none());
    }

    /// Goal: what stands before a line that cannot be sent is sent, and the error says so and how to go on.
    #[tokio::test]
    async fn a_bad_line_stops_behind_everything_before_it() {
        let directory = tempfile::tempdir().expect("tempdir");
        let path = directory.path().join("in.jsonl");
        for (bad, words) in [("{\"k\":", "not JSON"), ("{\"j\":\"3\"}", "the key field /k is missing")] {
            std::fs::write(&path, format!("{{\"k\":\"1\"}}\n{{\"k\":\"2\"}}\n{bad}\n{{\"k\":\"4\"}}\n"))
                .expect("write");
            let mut payloads = Payloads::open(&path).await.expect("open");
            let mut batcher = batcher(200, 1_000, 0);
            let (batch, lines) = batcher.next(&mut payloads).await.expect("what is good").expect("records");
            assert_eq!((batch.records.len(), lines), (2, vec![1, 2]));
            let error = batcher.next(&mut payloads).await.expect_err("line 3");
            assert_eq!(error.exit(), Exit::Invalid);
            let text = error.explain();
            assert!(text.starts_with("error: line 3: ") && text.contains(words), "{text}");
            assert!(text.contains("every line before it was sent") && text.contains("tail -n +3 FILE |"), "{text}");
        }
    }

    #[test]
    fn an_acknowledgement_counts_each_record_once_and_only_in_order() {
        let sent = || Sent { batch_id: 1, lines: vec![1, 2], records: Vec::new() };
        let mut in_flight = InFlight::default();
        in_flight.batches.push_back(sent());
        let mut summary = Summary::default();
        let result = |sequence, status: v1::PublishStatus, repeat| v1::PublishResult {
            sequence,
            status: status.into(),
            repeat,
            ..Default::default()
        };
        let wrong = v1::PublishAcknowledgement { batch_id: 2, ..Default::default() };
        in_flight.settle(&wrong, &mut summary).expect_err("not the oldest batch");
        in_flight.batches.push_back(sent());
        let right = v1::PublishAcknowledgement {
            batch_id: 1,
            results: vec![result(8, v1::PublishStatus::Accepted, true), result(9, v1::PublishStatus::Rejected, false)],
            ..Default::default()
        };
        in_flight.settle(&right, &mut summary).expect("in order");
        assert_eq!(
            summary,
            Summary { repeated: 1, rejected: 1, last_sequence: 8, ..Summary::default() },
            "9 is not held"
        );
    }
}
