//! The sending half of a source: outbox to exchange.
//!
//! A session is one connection and one stream. It sends the outbox from its beginning, in order, with as many batches on their way as the
//! node allows, and applies acknowledgements in their order. Whatever ends a session (a lost connection, a lost reply, an outcome that is
//! not known), the next one begins with what the outbox still holds, under the same sequences.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use shuqiao_proto::v1::{self, publish_request::Request, publish_response::Response};
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    Error, Runner,
    receipt::{self, Expected, wire_operation},
};
use crate::{
    config::Publish,
    exchange::{self, Connection},
    retry::{Backoff, LONGEST},
    state::{Entry, Verdict},
};

/// Never more batches on their way than this, whatever the node allows: with 4 MiB each, they bound our memory.
const BATCHES_IN_FLIGHT_MAX: usize = 16;
/// How often to look for records that another process (a replay) has put into the outbox.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What the reading and the sending half tell each other.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// Something was put into the outbox, or the source has ended.
    pub(super) recorded: Notify,
    /// Something left the outbox, or numbering was adopted.
    pub(super) acknowledged: Notify,
    /// Bytes in the outbox.
    pub(super) outbox_bytes: AtomicU64,
    /// Sequences may be given.
    pub(super) adopted: AtomicBool,
    /// The source will yield nothing more.
    pub(super) ended: AtomicBool,
}

impl Signals {
    /// Returns what is left. A replay from another process adds bytes that were never counted, so the difference saturates.
    fn outbox_shrank(&self, bytes: u64) -> u64 {
        let shrink = |held: u64| Some(held.saturating_sub(bytes));
        let before = self.outbox_bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, shrink).unwrap_or_default();
        before.saturating_sub(bytes)
    }

    /// Returns what is held now.
    pub(super) fn outbox_grew(&self, bytes: u64) -> u64 {
        self.outbox_bytes.fetch_add(bytes, Ordering::AcqRel) + bytes
    }
}

struct Flight {
    batch_id: u64,
    entries: Vec<Entry>,
}

pub(super) struct Publisher<'a> {
    pub(super) runner: &'a Runner<'a>,
    pub(super) publish: &'a Publish,
    pub(super) signals: &'a Signals,
}

impl Publisher<'_> {
    /// Sends until the source has ended and nothing waits, or until told to stop.
    pub(super) async fn run(&self) -> Result<(), Error> {
        let mut backoff = Backoff::default();
        loop {
            let began_at = Instant::now();
            let Err(error) = self.session(&mut backoff).await else { return Ok(()) };
            if began_at.elapsed() > LONGEST {
                backoff.reset();
            }
            let failure = match error {
                exchange::Error::State(error) => Error::State(error),
                error => Error::Exchange(error),
            };
            if !self.runner.wait(&mut backoff, "publish", failure).await? {
                return Ok(());
            }
        }
    }

    async fn session(&self, backoff: &mut Backoff) -> Result<(), exchange::Error> {
        let opened = tokio::select! {
            opened = self.open() => opened?,
            () = self.runner.token.cancelled() => return Ok(()),
        };
        self.runner.connected();
        Session::new(self, opened).run(backoff).await
    }

    async fn open(&self) -> Result<Opened, exchange::Error> {
        let connection = Connection::open(&self.runner.config.broker).await?;
        let node = connection.node_status().await?;
        // Room for the opening and for every batch that may be on its way: sending never waits, so it cannot wait for an acknowledgement
        // that we do not read.
        let (requests, receiver) = mpsc::channel(BATCHES_IN_FLIGHT_MAX + 1);
        let open = v1::PublishOpen { dataset: self.publish.dataset.clone(), source: self.publish.source.clone() };
        send(&requests, Request::Open(open)).await?;
        let mut client = connection.exchange();
        let responses = connection.in_time(client.publish(ReceiverStream::new(receiver))).await?;
        let mut responses = responses.into_inner();
        let first = connection.in_time(responses.message()).await?.and_then(|message| message.response);
        let Some(Response::Opened(opened)) = first else {
            return Err(exchange::Error::Protocol("its first answer is not `opened`"));
        };
        let settled = self.runner.state.accepted_sequence().await?;
        if opened.last_sequence < settled {
            return Err(exchange::Error::Lost(format!(
                "it knows this source's records up to sequence {}, and has acknowledged sequence {settled}",
                opened.last_sequence
            )));
        }
        let behind = self.runner.state.adopt(opened.last_sequence).await?;
        if behind && opened.last_sequence > 0 {
            tracing::warn!(
                last_sequence = opened.last_sequence,
                "the exchange holds more of this source than the state file knows: numbering goes on behind it"
            );
        }
        self.signals.adopted.store(true, Ordering::Release);
        self.signals.acknowledged.notify_one();
        tracing::info!(node = node.node, source = opened.source, last_sequence = opened.last_sequence, "publishing");
        Ok(Opened { node, opened, requests, responses })
    }
}

struct Opened {
    node: v1::NodeStatus,
    opened: v1::PublishOpened,
    requests: mpsc::Sender<v1::PublishRequest>,
    responses: tonic::Streaming<v1::PublishResponse>,
}

struct Session<'a> {
    publisher: &'a Publisher<'a>,
    opened: Opened,
    flight: VecDeque<Flight>,
    /// Largest sequence sent in this session.
    sent: u64,
    next_batch_id: u64,
    limits: Limits,
}

/// The smaller of what we and the node allow.
struct Limits {
    batches: usize,
    records: usize,
    bytes: usize,
}

impl<'a> Session<'a> {
    fn new(publisher: &'a Publisher<'a>, opened: Opened) -> Self {
        let node = |value: u64| usize::try_from(value).unwrap_or(usize::MAX).max(1);
        let answer = &opened.opened;
        let limits = Limits {
            batches: node(answer.max_batches_in_flight.into()).min(BATCHES_IN_FLIGHT_MAX),
            records: node(answer.max_batch_records.into()).min(publisher.publish.batch_records),
            bytes: node(answer.max_batch_bytes).min(node(publisher.publish.batch_bytes.as_u64())),
        };
        Self { publisher, opened, flight: VecDeque::new(), sent: 0, next_batch_id: 1, limits }
    }

    async fn run(mut self, backoff: &mut Backoff) -> Result<(), exchange::Error> {
        let runner = self.publisher.runner;
        let answer_timeout = runner.config.broker.answer_timeout;
        let mut answer_due = Instant::now() + answer_timeout;
        let mut stop_at = None;
        loop {
            if stop_at.is_none() {
                // Read before the outbox: what was recorded before the end is seen by the look that follows.
                let ended = self.publisher.signals.ended.load(Ordering::Acquire);
                let idle = self.flight.is_empty();
                self.fill().await?;
                if idle {
                    answer_due = Instant::now() + answer_timeout;
                }
                if ended && self.flight.is_empty() {
                    return Ok(());
                }
            } else if self.flight.is_empty() {
                return Ok(());
            }
            let room = stop_at.is_none() && self.flight.len() < self.limits.batches;
            tokio::select! {
                message = self.opened.responses.message() => {
                    match message?.and_then(|message| message.response) {
                        Some(Response::Acknowledgement(acknowledgement)) => {
                            self.acknowledged(acknowledgement).await?;
                            backoff.reset();
                            answer_due = Instant::now() + answer_timeout;
                        }
                        Some(Response::Opened(_)) => return Err(exchange::Error::Protocol("it opened the stream twice")),
                        None => return Err(exchange::Error::Ended),
                    }
                }
                () = self.publisher.signals.recorded.notified(), if room => {}
                () = tokio::time::sleep(LOOK_AGAIN), if room => {}
                () = tokio::time::sleep_until(answer_due), if !self.flight.is_empty() => {
                    return Err(exchange::Error::NoAnswer);
                }
                () = runner.token.cancelled(), if stop_at.is_none() => {
                    stop_at = Some(Instant::now() + runner.config.run.shutdown_grace);
                }
                () = tokio::time::sleep_until(stop_at.unwrap_or(answer_due)), if stop_at.is_some() => {
                    tracing::warn!(batches = self.flight.len(), "stopping before everything was acknowledged; it waits in the outbox");
                    return Ok(());
                }
            }
        }
    }

    /// Sends as many batches as there are and may be.
    async fn fill(&mut self) -> Result<(), exchange::Error> {
        while self.flight.len() < self.limits.batches {
            let state = self.publisher.runner.state;
            let entries = state.outbox_after(self.sent, self.limits.records, self.limits.bytes).await?;
            let Some(last) = entries.last() else { return Ok(()) };
            self.sent = last.sequence;
            let records = entries
                .iter()
                .map(|entry| v1::PublishRecord {
                    sequence: entry.sequence,
                    key: entry.key.clone(),
                    operation: wire_operation(entry.operation).into(),
                    source_version: entry.source_version,
                    payload: entry.payload.clone(),
                })
                .collect();
            let batch_id = self.next_batch_id;
            self.next_batch_id += 1;
            let record_type = self.publisher.publish.record_type.clone();
            // On its way before it is sent: an error in between ends the session, and the outbox still has it.
            self.flight.push_back(Flight { batch_id, entries });
            send(&self.opened.requests, Request::Batch(v1::PublishBatch { batch_id, record_type, records })).await?;
        }
        Ok(())
    }

    async fn acknowledged(&mut self, acknowledgement: v1::PublishAcknowledgement) -> Result<(), exchange::Error> {
        let Some(flight) = self.flight.pop_front() else {
            return Err(exchange::Error::Protocol("it acknowledges a batch that was not sent"));
        };
        if flight.batch_id != acknowledgement.batch_id || flight.entries.len() != acknowledgement.results.len() {
            return Err(exchange::Error::Protocol("an acknowledgement does not match the oldest batch on its way"));
        }
        let mut verdicts = Vec::with_capacity(flight.entries.len());
        let mut unknown = false;
        for (entry, result) in flight.entries.iter().zip(acknowledgement.results) {
            if entry.sequence != result.sequence {
                return Err(exchange::Error::Protocol("an acknowledgement names other sequences than the batch"));
            }
            let verdict = match (result.status(), result.position) {
                (v1::PublishStatus::Accepted, Some(position)) => Verdict::Accepted(position),
                (v1::PublishStatus::Rejected, _) => {
                    Verdict::Rejected(result.violations.into_iter().map(Into::into).collect())
                }
                (v1::PublishStatus::Unknown, _) => {
                    unknown = true;
                    Verdict::Unknown
                }
                (v1::PublishStatus::Accepted | v1::PublishStatus::Unspecified, _) => {
                    return Err(exchange::Error::Protocol("a result has no status, or no position"));
                }
            };
            verdicts.push((entry.sequence, verdict));
        }
        let publisher = self.publisher;
        let expected = Expected {
            node: &self.opened.node,
            dataset: &publisher.publish.dataset,
            source: &self.opened.opened.source,
        };
        let receipt = receipt::check(acknowledgement.receipt, &flight.entries, &verdicts, &expected)?;
        let done = publisher.runner.state.acknowledge(&verdicts, receipt.as_ref()).await?;
        let metrics = &publisher.runner.options.metrics;
        metrics.accepted.inc_by(done.accepted);
        metrics.dead_letters.inc_by(done.dead_letters);
        metrics.outbox_bytes.set(publisher.signals.outbox_shrank(done.bytes));
        publisher.signals.acknowledged.notify_one();
        if unknown {
            return Err(exchange::Error::NotReady { reason: "OUTCOME_UNKNOWN".into(), retry_after: None });
        }
        Ok(())
    }
}

async fn send(requests: &mpsc::Sender<v1::PublishRequest>, request: Request) -> Result<(), exchange::Error> {
    requests.send(v1::PublishRequest { request: Some(request) }).await.map_err(|_| exchange::Error::Ended)
}
