//! Publishing: from a batch of a source to an acknowledgement that means durable.
//!
//! A [`Session`] is one Publish stream of one source into one dataset. Opening it fences the source's older session, waits for what that one had in flight and until
//! this node's view has read what the log held; then the high-water sequence of each partition is exact, and a repeat is recognised by one comparison.
//!
//! Order of events for a batch, each a condition of the next: permission (compared by the catalogue's epoch), bounds, the sequence rule, validation of each record, high
//! water, log, audit entry, receipt, acknowledgement. Into a topic that is known to be below the log's floor nothing is published. Validation comes before the high water: a repeat gets the verdict it had, rejected ones too.
//!
//! A batch that is refused leaves a denial on the trail, as an opening that is refused does. Where the log says that its disk is full it has taken nothing, so
//! that is a refusal too, though one for which the trail has no room.
//!
//! Refuses: a session after one of its records had an unknown outcome, from that very moment. What the log holds of it is only known by reading the log again,
//! that is by reopening; a later batch in the log would make the unknown one look like a repeat.

mod check;
mod metrics;
mod session;
mod sessions;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use ring::signature::Ed25519KeyPair;
use shuqiao_proto::v1;

pub use self::{
    metrics::Metrics,
    session::{Acknowledging, Session},
};
use self::{session::Context, sessions::Sessions};
use super::{
    Error,
    audit::Audit,
    catalogue::Catalogue,
    clock::Clock,
    error::FieldViolation,
    identity::Identity,
    model::{Operation, Position},
    policy,
};
use crate::{
    log::Log,
    shutdown::Tasks,
    view::{self, View},
};

/// One record as a source sends it, not yet checked.
#[derive(Clone, PartialEq, Eq)]
pub struct NewRecord {
    /// The source's number.
    pub sequence: u64,
    /// Must equal what the payload says.
    pub key: String,
    /// `None` where the source left it out: refused with REQUIRED.
    pub operation: Option<Operation>,
    /// The source's version of the key.
    pub source_version: u64,
    /// JSON text; empty for a delete.
    pub payload: Bytes,
}

/// Neither key nor payload.
impl std::fmt::Debug for NewRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewRecord").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

/// One batch as a source sends it.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Comes back in the acknowledgement.
    pub batch_id: u64,
    /// "enterprise/v1".
    pub record_type: String,
    /// In the source's order.
    pub records: Vec<NewRecord>,
}

/// What became of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Durable.
    Accepted {
        /// Where it lies; for a repeat, a position at or before which it lies.
        position: Position,
        /// It was held already.
        repeat: bool,
        /// What is suspect but not wrong.
        warnings: Vec<FieldViolation>,
    },
    /// Not stored, never will be.
    Rejected(Vec<FieldViolation>),
    /// Not known: send it again on a new stream.
    Unknown,
}

/// The answer to one batch.
#[derive(Clone, Debug)]
pub struct Acknowledgement {
    /// The client's number.
    pub batch_id: u64,
    /// Sequence and fate of each record, in batch order.
    pub results: Vec<(u64, Fate)>,
    /// Absent if nothing was accepted.
    pub receipt: Option<v1::Receipt>,
    /// Why some fates are unknown; the session ends with it.
    pub failure: Option<Error>,
}

/// The bounds of publishing.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Unacknowledged batches of one stream, at most.
    pub batches_in_flight_max: usize,
    /// Records of one batch, at most.
    pub batch_records_max: usize,
    /// Bytes of the keys and payloads of one batch, at most.
    pub batch_bytes_max: usize,
    /// How long opening waits for the older session to settle and for the view to catch up.
    pub open_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            batches_in_flight_max: 8,
            batch_records_max: 1_000,
            batch_bytes_max: 4 << 20,
            open_timeout: Duration::from_secs(30),
        }
    }
}

/// What opens sessions. One a node.
#[derive(Debug)]
pub struct Publisher {
    context: Arc<Context>,
    view: Arc<View>,
    sessions: Arc<Sessions>,
    options: Options,
    tasks: Tasks,
}

impl Publisher {
    /// A publisher over the rooms of one node, which signs receipts as `node` with `key`.
    #[expect(clippy::too_many_arguments, reason = "assembly names each room once, in node.rs")]
    pub fn new(
        log: Arc<dyn Log>,
        catalogue: Arc<Catalogue>,
        view: Arc<View>,
        audit: Arc<Audit>,
        node: String,
        key: Ed25519KeyPair,
        options: Options,
        clock: Clock,
        metrics: Metrics,
        tasks: Tasks,
    ) -> Self {
        let context = Arc::new(Context { log, catalogue, audit, node, key, clock, metrics });
        Self { context, view, sessions: Arc::default(), options, tasks }
    }

    /// The bounds that sessions keep.
    pub fn options(&self) -> Options {
        self.options
    }

    /// Opens a session of `caller` into `dataset`. `source` is empty or the caller's own.
    ///
    /// # Errors
    /// Those of [`policy::may_publish`] and [`Catalogue::may_append`]; INVALID_FIELD for another's source; SOURCE_FENCED if a newer session opened meanwhile;
    /// VIEW_BEHIND, LOG_UNAVAILABLE, QUOTA_EXHAUSTED if the older session does not settle in time. A refusal is on the trail before it is answered.
    pub async fn open(&self, caller: &Arc<Identity>, dataset: &str, source: &str) -> Result<Session, Error> {
        match self.begin(caller, dataset, source).await {
            Ok(session) => Ok(session),
            Err(error) => Err(self.context.refuse(caller, dataset.parse().ok(), error).await),
        }
    }

    /// Puts the refusal of an opening on the trail that does not say of what. Answers with the refusal, or with what kept it from the trail.
    pub async fn refuse(&self, caller: &Identity, error: Error) -> Error {
        self.context.refuse(caller, None, error).await
    }

    async fn begin(&self, caller: &Arc<Identity>, dataset: &str, source: &str) -> Result<Session, Error> {
        if !source.is_empty() && source != caller.source.as_str() {
            return Err(Error::invalid(
                "source",
                "NOT_THE_CERTIFICATES",
                "must be empty or the system that the certificate names",
                "应为空，或与证书所载系统一致",
            ));
        }
        let snapshot = self.context.catalogue.snapshot();
        let (dataset, record_type) = policy::may_publish(&snapshot, caller, dataset)?;
        self.context.catalogue.may_append(&dataset).await?;
        let place = self.sessions.take_over(dataset.id.clone(), caller.source.clone());
        place.settled(self.options.open_timeout).await?;

        let applied = self.view.applied(&dataset.id);
        let bounds = self.context.log.bounds(&dataset.topic).await?;
        // What is published now would take the place of what the log has lost, and hide that it did.
        if let Some(ahead) = view::ahead(&applied, &bounds) {
            return Err(view::Error::from(ahead).into());
        }
        let ends: Vec<(u32, u64)> = (0..).zip(bounds.iter().map(|bounds| bounds.next)).collect();
        self.view.wait_applied(&dataset.id, &ends, self.options.open_timeout).await?;
        let mut high_water = vec![0; usize::try_from(dataset.partitions).unwrap_or(0)];
        for (partition, sequence) in self.view.high_water(&dataset.id, &caller.source)? {
            if let Some(place) = usize::try_from(partition).ok().and_then(|partition| high_water.get_mut(partition)) {
                *place = sequence;
            }
        }
        place.check()?;
        Ok(Session::new(
            self.context.clone(),
            self.options,
            self.tasks.clone(),
            caller.clone(),
            snapshot.epoch,
            dataset,
            record_type,
            place,
            high_water,
            ends,
        ))
    }
}
