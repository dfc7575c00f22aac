//! One source's stream into one dataset.

use std::{pin::pin, sync::Arc, task::Poll};

use bytes::Bytes;
use futures::future::poll_fn;
use parking_lot::Mutex;
use ring::signature::Ed25519KeyPair;
use shuqiao_proto::{receipt, v1};
use shuqiao_schemas::engine::{RecordType, Scratch};
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Acknowledgement, Batch, Fate, NewRecord, Options, check,
    metrics::{Metrics, Tally},
    sessions::{InFlight, Place},
};
use crate::{
    exchange::{
        Error,
        audit::{self, Audit, NewEntry},
        catalogue::{Catalogue, Dataset},
        clock::Clock,
        envelope::Encoder,
        error::FieldViolation,
        identity::Identity,
        model::{DatasetId, Operation, Position, partition_of},
        policy,
        refusal::refuse,
    },
    log::{self, Entry, Log, Pending},
    shutdown::Tasks,
};

/// What every session of a node shares.
pub(super) struct Context {
    pub(super) log: Arc<dyn Log>,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) audit: Arc<Audit>,
    pub(super) node: String,
    pub(super) key: Ed25519KeyPair,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Context {
    /// Counts a refusal and puts it on the trail. Answers with the refusal, or with what kept it from the trail.
    pub(super) async fn refuse(&self, caller: &Identity, dataset: Option<DatasetId>, error: Error) -> Error {
        let asked = NewEntry { dataset, ..NewEntry::new(caller, audit::Action::Publish) };
        refuse(&self.catalogue, &self.audit, asked, error).await
    }
}

/// The way of one session's batches to the log, shut for good by the first that fails.
///
/// The log takes entries again as soon as a failure has been told. A batch that got in between that moment and the one in which the session knows would leave a
/// hole: the failed batch, sent again on a new stream, would lie below the high water and be taken for a repeat. So whoever asks the log anything holds this.
#[derive(Clone, Debug, Default)]
struct Gate(Arc<Mutex<Option<Error>>>);

impl Gate {
    /// Hands entries over, unless an earlier batch has failed.
    async fn submit(&self, submission: impl Future<Output = Result<Pending, log::Error>>) -> Result<Pending, Error> {
        let mut submission = pin!(submission);
        poll_fn(|context| match &*self.0.lock() {
            Some(failure) => Poll::Ready(Err(failure.clone())),
            None => submission.as_mut().poll(context).map_err(Error::from),
        })
        .await
    }

    /// Waits for the fate of entries, and shuts where one has failed.
    async fn settle(&self, mut pending: Pending) -> Vec<Result<u64, log::Error>> {
        poll_fn(|context| {
            let mut failure = self.0.lock();
            pending.as_mut().poll(context).map(|fates| {
                if let Some(Err(error)) = fates.iter().find(|fate| fate.is_err()) {
                    failure.get_or_insert_with(|| error.clone().into());
                }
                fates
            })
        })
        .await
    }
}

/// A batch on its way: resolves to its acknowledgement, or to what ends the session.
pub type Acknowledging = JoinHandle<Result<Acknowledgement, Error>>;

/// One Publish stream. Batches are submitted one after another; their acknowledgements may be awaited later, in order.
#[derive(Debug)]
pub struct Session {
    context: Arc<Context>,
    options: Options,
    tasks: Tasks,
    caller: Arc<Identity>,
    /// Of the snapshot that last allowed this session.
    epoch: u64,
    dataset: Arc<Dataset>,
    record_type: Arc<RecordType>,
    encoder: Encoder,
    place: Place,
    gate: Gate,
    /// Largest sequence submitted, a partition. Only ever grows; a failed submission ends the session, so it is never ahead of the log for longer than that.
    high_water: Vec<u64>,
    /// Where the log ended when the session opened: repeats lie before.
    opened_at: Vec<(u32, u64)>,
    last_sequence: u64,
    scratch: Scratch,
}

/// One record of a batch, judged.
struct Judged {
    record: NewRecord,
    verdict: Verdict,
}

enum Verdict {
    /// Goes to the log.
    New {
        operation: Operation,
        partition: u32,
        warnings: Vec<FieldViolation>,
    },
    /// Is in the log.
    Repeat {
        operation: Operation,
        position: Position,
        warnings: Vec<FieldViolation>,
    },
    Rejected(Vec<FieldViolation>),
}

impl Session {
    #[expect(clippy::too_many_arguments, reason = "the one caller is Publisher::open")]
    pub(super) fn new(
        context: Arc<Context>,
        options: Options,
        tasks: Tasks,
        caller: Arc<Identity>,
        epoch: u64,
        dataset: Arc<Dataset>,
        record_type: Arc<RecordType>,
        place: Place,
        high_water: Vec<u64>,
        opened_at: Vec<(u32, u64)>,
    ) -> Self {
        context.metrics.opened();
        let encoder = Encoder::new(&caller.source, &dataset.record_type);
        Self {
            context,
            options,
            tasks,
            caller,
            epoch,
            dataset,
            record_type,
            encoder,
            place,
            gate: Gate::default(),
            high_water,
            opened_at,
            last_sequence: 0,
            scratch: Scratch::new(),
        }
    }

    /// Largest sequence that the log holds of the source, a partition.
    pub fn high_water(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        (0..).zip(self.high_water.iter().copied()).filter(|(_, sequence)| *sequence > 0)
    }

    /// Cancelled when a newer session of the source opens.
    pub fn fenced(&self) -> CancellationToken {
        self.place.fenced()
    }

    /// Takes a batch: its order is fixed when this returns. Waits while the log has too much in flight. The acknowledgement is awaited separately.
    ///
    /// # Errors
    /// Each ends the session: SOURCE_FENCED, SEQUENCE_WENT_BACK, BATCH_TOO_LARGE, INVALID_FIELD (an empty batch), RECORD_TYPE_NOT_ACCEPTED, those of
    /// [`policy::may_publish`], LOG_BELOW_FLOOR, LOG_UNAVAILABLE, DISK_FULL, also where an earlier batch met with these. Nothing of the batch was taken, and a refusal is on the
    /// trail before it is answered.
    pub async fn submit(&mut self, batch: Batch) -> Result<Acknowledging, Error> {
        match self.take(batch).await {
            Ok(acknowledging) => Ok(acknowledging),
            Err(error) => Err(self.refuse(error).await),
        }
    }

    /// Puts the refusal of a batch on the trail. Answers with the error that ends the session.
    pub async fn refuse(&self, error: Error) -> Error {
        self.context.refuse(&self.caller, Some(self.dataset.id.clone()), error).await
    }

    async fn take(&mut self, batch: Batch) -> Result<Acknowledging, Error> {
        let begun = Instant::now();
        let in_flight = self.place.begin()?;
        self.check_permission()?;
        self.context.catalogue.may_go_on(&self.dataset.id)?;
        self.check_batch(&batch)?;
        let judged = self.judge(batch.records);
        let (entries, submitted) = self.entries(&judged);
        let pending = match entries.is_empty() {
            true => None,
            false => Some(self.gate.submit(self.context.log.submit(&self.dataset.topic, entries)).await?),
        };
        for (partition, sequence) in submitted {
            if let Some(high_water) = self.high_water.get_mut(partition) {
                *high_water = sequence;
            }
        }
        let completion = Completion {
            context: self.context.clone(),
            caller: self.caller.clone(),
            dataset: self.dataset.clone(),
            batch_id: batch.batch_id,
            judged,
            begun,
            in_flight,
            gate: self.gate.clone(),
        };
        // On a task of its own: a stream that breaks must not lose sight of what is on its way to the log.
        Ok(self.tasks.spawn("acknowledge", completion.run(pending)))
    }

    fn check_permission(&mut self) -> Result<(), Error> {
        let snapshot = self.context.catalogue.snapshot();
        if snapshot.epoch != self.epoch {
            (self.dataset, self.record_type) = policy::may_publish(&snapshot, &self.caller, self.dataset.id.as_str())?;
            self.epoch = snapshot.epoch;
        }
        Ok(())
    }

    fn check_batch(&mut self, batch: &Batch) -> Result<(), Error> {
        let limit = |limit: usize, unit| Error::BatchTooLarge { limit: limit as u64, unit };
        if batch.records.is_empty() {
            return Err(Error::invalid("records", "REQUIRED", "a batch has at least one record", "批次至少含一条记录"));
        }
        if batch.records.len() > self.options.batch_records_max {
            return Err(limit(self.options.batch_records_max, "records"));
        }
        let bytes: usize = batch.records.iter().map(|record| record.key.len() + record.payload.len()).sum();
        if bytes > self.options.batch_bytes_max {
            return Err(limit(self.options.batch_bytes_max, "bytes"));
        }
        if batch.record_type != self.dataset.record_type.as_str() {
            return Err(Error::RecordTypeNotAccepted {
                dataset: self.dataset.id.clone(),
                accepted: self.dataset.record_type.clone(),
            });
        }
        let mut previous = self.last_sequence;
        for record in &batch.records {
            if record.sequence <= previous {
                return Err(Error::SequenceWentBack { sequence: record.sequence, previous });
            }
            previous = record.sequence;
        }
        self.last_sequence = previous;
        Ok(())
    }

    fn judge(&mut self, records: Vec<NewRecord>) -> Vec<Judged> {
        let mut judged = Vec::with_capacity(records.len());
        for record in records {
            let verdict = match check::check(&record, &self.record_type, &mut self.scratch) {
                Err(violations) => Verdict::Rejected(violations),
                Ok((operation, warnings)) => {
                    let partition = partition_of(record.key.as_bytes(), self.dataset.partitions);
                    if record.sequence <= self.high_water.get(partition as usize).copied().unwrap_or(0) {
                        Verdict::Repeat { operation, position: self.repeat_position(partition), warnings }
                    } else {
                        Verdict::New { operation, partition, warnings }
                    }
                }
            };
            judged.push(Judged { record, verdict });
        }
        judged
    }

    /// The last position that the log held when the session opened: whatever was published before lies at or before it.
    fn repeat_position(&self, partition: u32) -> Position {
        let end = self.opened_at.get(partition as usize).map_or(0, |(_, next)| *next);
        Position { partition, offset: end.saturating_sub(1) }
    }

    /// The entries of the new records, and the sequence that each partition then stands at.
    fn entries(&self, judged: &[Judged]) -> (Vec<Entry>, Vec<(usize, u64)>) {
        let now_ms = self.context.clock.now_ms();
        let mut entries = Vec::with_capacity(judged.len());
        let mut submitted = Vec::with_capacity(judged.len());
        for Judged { record, verdict } in judged {
            if let Verdict::New { operation, partition, .. } = verdict {
                submitted.push((*partition as usize, record.sequence));
                entries.push(self.encoder.encode(
                    *partition,
                    Bytes::copy_from_slice(record.key.as_bytes()),
                    *operation,
                    record.sequence,
                    record.source_version,
                    record.payload.clone(),
                    now_ms,
                ));
            }
        }
        (entries, submitted)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.context.metrics.closed();
    }
}

/// What happens to a batch after its order is fixed.
struct Completion {
    context: Arc<Context>,
    caller: Arc<Identity>,
    dataset: Arc<Dataset>,
    batch_id: u64,
    judged: Vec<Judged>,
    begun: Instant,
    /// Held until the batch is acknowledged.
    in_flight: InFlight,
    gate: Gate,
}

impl Completion {
    async fn run(self, pending: Option<Pending>) -> Result<Acknowledgement, Error> {
        let offsets = match pending {
            Some(pending) => self.gate.settle(pending).await,
            None => Vec::new(),
        };
        if let Some(refusal) = refusal(&offsets) {
            return Err(refusal);
        }
        let Self { context, caller, dataset, batch_id, judged, begun, in_flight, gate: _ } = self;
        let mut settled = Settled::default();
        settled.add(judged, offsets);
        let Settled { results, digest, tally, range, positions, failure } = settled;

        let digest = digest.finish();
        let accepted = tally.accepted + tally.repeated;
        context
            .audit
            .append(NewEntry {
                dataset: Some(dataset.id.clone()),
                positions,
                count: accepted,
                digest: digest.as_slice().try_into().ok().filter(|_| accepted > 0),
                ..NewEntry::new(&caller, audit::Action::Publish)
            })
            .await
            .map_err(untold)?;

        let receipt = range.map(|(first_sequence, last_sequence)| {
            let mut receipt = v1::Receipt {
                node: context.node.clone(),
                dataset: dataset.id.as_str().to_owned(),
                source: caller.source.as_str().to_owned(),
                first_sequence,
                last_sequence,
                accepted_count: u32::try_from(accepted).unwrap_or(u32::MAX),
                digest,
                sign_time_ms: context.clock.now_ms(),
                signature: Vec::new(),
            };
            receipt.signature = context.key.sign(&receipt::signed_bytes(&receipt)).as_ref().to_vec();
            receipt
        });
        context.metrics.acknowledged(dataset.id.as_str(), tally, begun.elapsed().as_secs_f64());
        drop(in_flight);
        Ok(Acknowledgement { batch_id, results, receipt, failure })
    }
}

/// Why the log took nothing of a batch, where it knows that.
fn refusal(offsets: &[Result<u64, log::Error>]) -> Option<Error> {
    let mut refused =
        offsets.iter().map(|fate| fate.as_ref().err().filter(|error| matches!(error, log::Error::DiskFull(_))));
    let first = refused.next().flatten()?;
    refused.all(|other| other.is_some()).then(|| first.clone().into())
}

/// A batch whose audit entry is not durable is not acknowledged. That the disk is full means elsewhere that nothing was taken, and this batch may have been.
fn untold(error: Error) -> Error {
    match error {
        Error::DiskFull(cause) => {
            tracing::warn!(error = %cause, "a batch has no audit entry and is not acknowledged");
            Error::OutcomeUnknown
        }
        other => other,
    }
}

/// The fates of a batch as they gather.
#[derive(Default)]
struct Settled {
    results: Vec<(u64, Fate)>,
    digest: receipt::BatchDigest,
    tally: Tally,
    /// Smallest and largest accepted sequence.
    range: Option<(u64, u64)>,
    /// First and last new offset, a partition.
    positions: Vec<(u32, u64, u64)>,
    failure: Option<Error>,
}

impl Settled {
    fn add(&mut self, judged: Vec<Judged>, offsets: Vec<Result<u64, log::Error>>) {
        let mut offsets = offsets.into_iter();
        self.results.reserve(judged.len());
        for Judged { record, verdict } in judged {
            let fate = match verdict {
                Verdict::Rejected(violations) => {
                    self.tally.rejected += 1;
                    Fate::Rejected(violations)
                }
                Verdict::Repeat { operation, position, warnings } => {
                    self.tally.repeated += 1;
                    self.accept(&record, operation, position);
                    Fate::Accepted { position, repeat: true, warnings }
                }
                Verdict::New { operation, partition, warnings } => match offsets.next() {
                    Some(Ok(offset)) => {
                        let position = Position { partition, offset };
                        self.tally.accepted += 1;
                        self.stored(position);
                        self.accept(&record, operation, position);
                        Fate::Accepted { position, repeat: false, warnings }
                    }
                    Some(Err(error)) => self.unknown(error),
                    None => self.unknown(log::Error::Closed),
                },
            };
            self.results.push((record.sequence, fate));
        }
    }

    fn accept(&mut self, record: &NewRecord, operation: Operation, position: Position) {
        let operation = match operation {
            Operation::Upsert => 1,
            Operation::Delete => 2,
        };
        self.digest.add(&receipt::Accepted {
            sequence: record.sequence,
            position: (position.partition, position.offset),
            operation,
            source_version: record.source_version,
            key: &record.key,
            payload: &record.payload,
        });
        let first = self.range.map_or(record.sequence, |(first, _)| first);
        self.range = Some((first, record.sequence));
    }

    fn stored(&mut self, Position { partition, offset }: Position) {
        match self.positions.iter_mut().find(|(candidate, _, _)| *candidate == partition) {
            Some((_, _, last)) => *last = offset,
            None => self.positions.push((partition, offset, offset)),
        }
    }

    fn unknown(&mut self, error: log::Error) -> Fate {
        self.tally.unknown += 1;
        self.failure.get_or_insert_with(|| error.into());
        Fate::Unknown
    }
}
