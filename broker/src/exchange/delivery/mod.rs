//! Delivery: from a dataset's log to its subscribers, as far as each may see, under its credit.
//!
//! ```text
//! log ── one reader a dataset ──> tail (bounded) ──┬─> stream: credit → rows, fields → audit entry → grant again → client
//!  │                                               └─> stream …                                          │
//!  └──── a reader of its own for a stream that is behind ──> stream                 acknowledgements → cursor → log
//! ```
//!
//! A [`Stream`] is one Subscribe call; its [`Handle`] takes the client's credit and acknowledgements. Promises:
//!
//! - never more records in flight than credit was given, nor more than the bounds of [`Options`];
//! - the grant is looked at for every batch, before it is prepared and again before it leaves; a stream whose grant has ended ends within
//!   [`Options::check_interval`], idle or not, and so does one whose subscription names a purpose that is not the grant's;
//! - a batch leaves when its audit entry is durable. Entries of several batches are on their way at once; batches keep their order;
//! - an entry is decoded and judged once, projected and encoded once for each distinct view, whatever the number of subscribers;
//! - nobody waits for a slow subscriber: the tail goes on, and who falls behind reads the log until it has caught up;
//! - what streams have read from the log and their clients have not is bounded for all together ([`Options::held_bytes_max`]) and, by half of that, for each
//!   department, and counted before it is read: beyond, who is behind reads little, and only when nothing of its own is held;
//! - who is at the tail goes on whatever the others hold. What leaves the tail before its client has read it is bounded per stream
//!   ([`Options::unacknowledged_bytes_max`]), not for all together; streams of one dataset share it;
//! - the cursor stands behind the oldest record that is not acknowledged, and is durable within [`Options::cursor_delay`] and a write;
//! - a newer stream of a subscription ends the older one; so does a seek;
//! - how far each subscription is behind is measured whether anybody reads or not (`lag.rs`).
//!
//! A digest of an audit entry is SHA-256 over the leaves of its records in order, each SHA-256 over the record as delivered, laid out as in a receipt.
//!
//! Refuses: exactly once. After a crash the records that were acknowledged within the last moments come again, and the sink compares versions.

mod arrival;
mod batch;
mod count;
mod cursors;
mod feed;
mod in_flight;
mod lag;
mod metrics;
mod reading;
mod stream;
mod tail;
mod window;

#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

pub use batch::Delivered;
pub use metrics::Metrics;
pub use stream::{Batch, Event, Stream};
pub use window::Handle;

use super::{
    Error,
    audit::{Action, Audit, NewEntry, Target},
    catalogue::{Access, Catalogue, Snapshot, Start, Subscription, Violations},
    clock::Clock,
    identity::Identity,
    model::{DepartmentAlias, MESSAGE_BYTES_MAX, Position, SubscriptionId},
    policy,
    refusal::{self, refuse},
};
use crate::{
    log::{Bounds, Log, Topic},
    shutdown::Tasks,
    view::View,
};
use count::Count;
use cursors::Cursors;
use feed::Feeds;

/// One department holds this part of [`Options::held_bytes_max`] at most.
const DEPARTMENT_SHARE: usize = 2;

/// The bounds of delivery.
#[derive(Clone, Debug)]
pub struct Options {
    /// Of the topics' names.
    pub topic_prefix: String,
    /// Streams at once on this node.
    pub streams_max: usize,
    /// Records of one batch.
    pub batch_records_max: usize,
    /// Bytes of one batch as a message; a single larger record goes alone.
    pub batch_bytes_max: usize,
    /// Batches of one stream whose audit entries are on their way.
    pub batches_in_flight_max: usize,
    /// Unacknowledged records of one stream, whatever its credit.
    pub unacknowledged_records_max: usize,
    /// Unacknowledged bytes of one stream; reached, the next batch waits for acknowledgements.
    pub unacknowledged_bytes_max: usize,
    /// Newest entries of one dataset in memory, as projected and encoded too.
    pub tail_bytes_max: usize,
    /// Bytes of entries that streams hold outside of tails, as projected and encoded too, until their clients have read them, and of what reads that are on
    /// their way may bring; about, as what is made of entries comes on top. Beyond, a stream that is behind holds one small read at most. What has left a tail
    /// counts as well, but keeps no stream from reading at the tail: that is bounded per stream.
    pub held_bytes_max: usize,
    /// How often an idle stream looks at its grant's period.
    pub check_interval: Duration,
    /// How long an acknowledgement may wait for others before the cursor is written.
    pub cursor_delay: Duration,
    /// So many acknowledgements are written without waiting.
    pub cursor_acknowledgements_max: usize,
    /// How long superseded cursors are kept.
    pub cursor_retention: Duration,
    /// How often it is measured how far each subscription is behind.
    pub lag_interval: Duration,
    /// How long opening a stream waits for the log.
    pub open_timeout: Duration,
    /// How long a record waits for the view, where it must be asked.
    pub view_timeout: Duration,
    /// What is counted.
    pub metrics: Metrics,
}

impl Options {
    /// The defaults.
    pub fn new(topic_prefix: impl Into<String>) -> Self {
        Self {
            topic_prefix: topic_prefix.into(),
            streams_max: 4_096,
            batch_records_max: 500,
            batch_bytes_max: MESSAGE_BYTES_MAX,
            batches_in_flight_max: 4,
            unacknowledged_records_max: 10_000,
            unacknowledged_bytes_max: 64 << 20,
            tail_bytes_max: 8 << 20,
            held_bytes_max: 32 << 20,
            check_interval: Duration::from_secs(1),
            cursor_delay: Duration::from_millis(500),
            cursor_acknowledgements_max: 1_000,
            cursor_retention: Duration::from_secs(24 * 3_600),
            lag_interval: Duration::from_secs(10),
            open_timeout: Duration::from_secs(10),
            view_timeout: Duration::from_secs(10),
            metrics: Metrics::default(),
        }
    }
}

/// What the streams of one node share.
struct Room {
    log: Arc<dyn Log>,
    catalogue: Arc<Catalogue>,
    audit: Arc<Audit>,
    view: Arc<View>,
    options: Options,
    clock: Clock,
    tasks: Tasks,
    cursors: Arc<Cursors>,
    live: Mutex<Live>,
    /// See [`Options::held_bytes_max`].
    held: Arc<Count>,
    /// Parts of it, of departments that have streams.
    departments: Mutex<HashMap<DepartmentAlias, Weak<Count>>>,
}

impl std::fmt::Debug for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Room").finish_non_exhaustive()
    }
}

/// The newest stream of each subscription.
#[derive(Debug, Default)]
struct Live {
    streams: HashMap<SubscriptionId, (u64, CancellationToken)>,
    last: u64,
}

/// A stream's place: the newest of its subscription until it is taken over.
#[derive(Debug)]
struct Place {
    room: Arc<Room>,
    subscription: SubscriptionId,
    number: u64,
    taken_over: CancellationToken,
}

/// What opens streams. One a node.
#[derive(Debug)]
pub struct Delivery {
    room: Arc<Room>,
    feeds: Feeds,
}

/// How a stream begins.
#[derive(Clone, Debug, Default)]
pub struct Open {
    /// Id of the subscription, or `subscriptions/{id}`.
    pub subscription: String,
    /// What the client has taken and not acknowledged.
    pub held: Vec<Position>,
    /// First credit, in records.
    pub credit: u32,
}

impl Delivery {
    /// Makes the topic of the cursors, reads it, and from now on writes it and measures by it on `tasks`.
    ///
    /// # Errors
    /// [`Error::LogUnavailable`] where the log does not answer within [`Options::open_timeout`].
    pub async fn open(
        log: Arc<dyn Log>,
        catalogue: Arc<Catalogue>,
        audit: Arc<Audit>,
        view: Arc<View>,
        options: Options,
        clock: Clock,
        tasks: &Tasks,
    ) -> Result<Arc<Self>, Error> {
        let cursors = Cursors::open(log.clone(), catalogue.clone(), &options, clock.clone(), tasks).await?;
        let (tasks, live, departments) = (tasks.clone(), Mutex::default(), Mutex::default());
        let held = Count::shown(options.metrics.held(), options.held_bytes_max);
        let room = Room { log, catalogue, audit, view, options, clock, tasks, cursors, live, held, departments };
        let room = Arc::new(room);
        let (measured, token) = (room.clone(), room.tasks.token());
        room.tasks.spawn("subscription-lag", async move { token.run_until_cancelled(lag::watch(&measured)).await });
        Ok(Arc::new(Self { room, feeds: Feeds::default() }))
    }

    /// Bytes of entries that streams hold outside of tails, and of what they are about to read.
    #[cfg(test)]
    pub(crate) fn held_bytes(&self) -> usize {
        self.room.held.get()
    }

    /// Puts the refusal of an opening on the trail that does not say of what. Answers with the refusal, or with what kept it from the trail.
    pub async fn refuse(&self, caller: &Identity, error: Error) -> Error {
        self.room.refuse(caller, "", None, error).await
    }

    /// Opens a stream. A live one of the same subscription ends with [`Error::SubscriptionTakenOver`].
    ///
    /// # Errors
    /// [`Error::ResourceNotFound`] for a subscription that is not the caller's; those of [`policy::may_read`]; [`Error::InvalidField`] where too much is held or
    /// the filter asks for more than the grant shows by now; [`Error::PositionBeyondRetention`]; [`Error::QuotaExhausted`]; [`Error::LogUnavailable`]; those of
    /// [`Audit::append`]. A refusal is on the trail before it is answered.
    pub async fn subscribe(&self, caller: &Arc<Identity>, open: Open) -> Result<Stream, Error> {
        let snapshot = self.room.catalogue.snapshot();
        let name = open.subscription.strip_prefix("subscriptions/").unwrap_or(&open.subscription);
        match self.begin(caller, &snapshot, name, &open).await {
            Ok(stream) => Ok(stream),
            Err(error) => {
                let subscription = snapshot.subscription(name).map(|found| &**found);
                Err(self.room.refuse(caller, name, subscription, error).await)
            }
        }
    }

    async fn begin(
        &self,
        caller: &Arc<Identity>,
        snapshot: &Snapshot,
        name: &str,
        open: &Open,
    ) -> Result<Stream, Error> {
        let room = &self.room;
        let (subscription, access) = room.may_subscribe(snapshot, caller, name)?;
        if open.held.len() > room.options.unacknowledged_records_max {
            let max = room.options.unacknowledged_records_max;
            let (en, zh) = (format!("at most {max} positions are held"), format!("持有位点至多 {max} 个"));
            return Err(Error::invalid("open.held", "TOO_MANY", en, zh));
        }
        let place = self.take_over(&subscription.id)?;
        room.cursors.catch_up().await?;
        let bounds = room.log.bounds(&access.dataset.topic).await?;
        let cursor = room.begin(&subscription, &access, &bounds).await?;
        let feed = self.feeds.of(room, &access.dataset).await?;
        let entry =
            NewEntry { grant: access.grant.clone(), ..batch::audit_entry(caller, Action::Subscribe, &subscription) };
        room.audit.append(entry).await?;
        let end = bounds.iter().map(|bounds| bounds.next).collect();
        Ok(Stream::new(place, caller.clone(), subscription, access, feed, cursor, end, open))
    }

    /// The durable cursor of a subscription, in order of partition: everything before is acknowledged. Empty before the first acknowledgement, and where it
    /// cannot be read: an opening is told so.
    pub fn cursor(&self, subscription: &Subscription) -> Vec<Position> {
        positions(&self.room.cursors.durable(subscription).ok().flatten().unwrap_or_default())
    }

    fn take_over(&self, subscription: &SubscriptionId) -> Result<Place, Error> {
        let mut live = self.room.live.lock();
        let streams_max = self.room.options.streams_max;
        if live.streams.len() >= streams_max && !live.streams.contains_key(subscription) {
            return Err(Error::QuotaExhausted { what: "streams at once", retry_after: Duration::from_secs(5) });
        }
        live.last += 1;
        let (number, taken_over) = (live.last, CancellationToken::new());
        if let Some((_, older)) = live.streams.insert(subscription.clone(), (number, taken_over.clone())) {
            older.cancel();
        }
        Ok(Place { room: self.room.clone(), subscription: subscription.clone(), number, taken_over })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut live = self.room.live.lock();
        let last = live.streams.get(&self.subscription).is_some_and(|(number, _)| *number == self.number);
        if last {
            live.streams.remove(&self.subscription);
        }
    }
}

impl Room {
    fn metrics(&self) -> &Metrics {
        &self.options.metrics
    }

    /// What all streams of a department hold.
    fn held_by(&self, department: &DepartmentAlias) -> Arc<Count> {
        let mut departments = self.departments.lock();
        if let Some(count) = departments.get(department).and_then(Weak::upgrade) {
            return count;
        }
        departments.retain(|_, count| count.strong_count() > 0);
        let count = Count::within(&self.held, self.options.held_bytes_max / DEPARTMENT_SHARE);
        departments.insert(department.clone(), Arc::downgrade(&count));
        count
    }

    /// The caller's subscription, and what it shows now.
    fn may_subscribe(
        &self,
        snapshot: &Snapshot,
        caller: &Identity,
        name: &str,
    ) -> Result<(Arc<Subscription>, Arc<Access>), Error> {
        snapshot.standing(caller)?;
        let subscription = snapshot.subscription(name).filter(|found| found.subscriber == caller.department);
        let subscription =
            subscription.ok_or_else(|| Error::ResourceNotFound { kind: "subscription", name: name.to_owned() })?;
        let access = policy::may_read(snapshot, caller, subscription.dataset.as_str(), self.clock.now_ms())?;
        if !access.grants_filter(&subscription.rows) {
            let (en, zh) = ("the grant no longer shows a field that is filtered by", "授权已不再展示筛选所用字段");
            return Err(Error::invalid("filter", "NOT_GRANTED", en, zh));
        }
        if !access.serves(&subscription.purpose) {
            let mut found = Violations::default();
            found.refuse_purpose();
            found.finish()?;
        }
        Ok((subscription.clone(), access))
    }

    /// Puts the end of a stream on the trail. Answers with its reason, or with what kept it from the trail.
    async fn end(&self, caller: &Identity, subscription: &Subscription, error: Error) -> Error {
        let asked = batch::audit_entry(caller, Action::Subscribe, subscription);
        refusal::end(&self.catalogue, &self.audit, asked, error).await
    }

    /// Counts a refusal and puts it on the trail. Answers with the refusal, or with what kept it from the trail. What is not the caller's leaves the entry of
    /// what does not exist.
    async fn refuse(&self, caller: &Identity, name: &str, subscription: Option<&Subscription>, error: Error) -> Error {
        let asked = match subscription.filter(|found| found.subscriber == caller.department) {
            Some(subscription) => batch::audit_entry(caller, Action::Subscribe, subscription),
            None => {
                // Only what may be an id: no text of the caller's choosing gets into the trail.
                let resource = name.parse::<SubscriptionId>().ok().map(|id| format!("subscriptions/{id}"));
                NewEntry {
                    target: Target { resource, ..Target::default() },
                    ..NewEntry::new(caller, Action::Subscribe)
                }
            }
        };
        refuse(&self.catalogue, &self.audit, asked, error).await
    }

    /// Where delivery goes on: the cursor, or the subscription's start where it has none.
    async fn begin(&self, subscription: &Subscription, access: &Access, bounds: &[Bounds]) -> Result<Vec<u64>, Error> {
        let begin = match self.cursors.newest(subscription)? {
            Some(cursor) => cursor,
            None => self.start(subscription, &access.dataset.topic, bounds).await?,
        };
        for ((partition, bounds), offset) in (0..).zip(bounds).zip(&begin) {
            if !(bounds.first..=bounds.next).contains(offset) {
                let position = Position { partition, offset: *offset };
                return Err(Error::PositionBeyondRetention { position, first: bounds.first, next: bounds.next });
            }
        }
        if begin.len() == bounds.len() { Ok(begin) } else { Err(Error::DataLoss(Arc::new(AnotherShape))) }
    }
}

impl Room {
    /// Where a subscription begins that has no cursor.
    async fn start(&self, subscription: &Subscription, topic: &Topic, bounds: &[Bounds]) -> Result<Vec<u64>, Error> {
        let mut start: Vec<_> = bounds.iter().map(|bounds| bounds.first).collect();
        match &subscription.start {
            Start::Beginning => {}
            Start::Now(ends) => start.clone_from(ends),
            Start::Time(time_ms) => start = self.log.offsets_at(topic, *time_ms).await?,
            Start::Positions(named) => {
                for (partition, offset) in named {
                    let place = usize::try_from(*partition).ok().and_then(|partition| start.get_mut(partition));
                    if let Some(place) = place {
                        *place = *offset;
                    }
                }
            }
        }
        Ok(start)
    }
}

/// A dataset's partition count is fixed for its life; a cursor of another is none of ours.
#[derive(Debug, thiserror::Error)]
#[error("the cursor has another number of partitions than the dataset")]
struct AnotherShape;

/// Offsets in order of partition, as positions.
fn positions(offsets: &[u64]) -> Vec<Position> {
    (0..).zip(offsets).map(|(partition, offset)| Position { partition, offset: *offset }).collect()
}
