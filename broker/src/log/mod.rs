//! The log: the one place where what must not be lost lies. One trait, two homes, one contract.
//!
//! Promises of both homes, held by one contract suite (`log/contract`):
//!
//! - entries of one partition are stored in the order in which [`Log::submit`] was called, and within a call in the order of its entries;
//! - [`Pending`] resolves when the entries are durable: fsynced (embedded), or acknowledged by all in-sync replicas (Kafka);
//! - whatever is lost by a crash is a suffix of what was submitted to a partition: if an entry is held, so is every entry submitted to its partition
//!   before it. Publishing relies on this to recognise repeats by one comparison;
//! - a [`Reader`] sees each durable entry once, in order, without polling delay at the tail, and says so when its position is beyond retention;
//! - offsets grow, may have gaps, and are never reused; compaction never takes the last entry of a partition, so who reads from the beginning reaches the end.
//!
//! After a failure a topic takes nothing until every [`Pending`] that reports it was taken or dropped (`log/fence.rs`): a caller with several submissions
//! in flight cannot leave a hole behind it.
//!
//! Back-pressure: [`Log::submit`] waits while more than the configured bytes are in flight. Nothing here grows without bound.

use std::{fmt, sync::Arc};

use bytes::Bytes;

#[cfg(test)]
pub(crate) mod contract;
pub mod embedded;
mod fence;
pub mod kafka;
mod metrics;

pub use metrics::{Metrics, show_health};

/// What went wrong with the log. `Display` carries no payload and no key.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The topic was never made.
    #[error("topic {topic} does not exist")]
    TopicNotFound {
        /// Its name.
        topic: Topic,
    },
    /// The topic exists with settings below the configured floor. The text names each.
    #[error("topic {topic} is below the floor: {violations}")]
    BelowFloor {
        /// Its name.
        topic: Topic,
        /// What is wrong, for an operator.
        violations: String,
    },
    /// The position lies before the oldest entry held, or after the end.
    #[error("topic {topic} partition {partition} does not hold offset {offset}: it holds {first} to {next}")]
    OutOfRange {
        /// Its name.
        topic: Topic,
        /// The partition.
        partition: u32,
        /// What was asked for.
        offset: u64,
        /// Oldest offset held.
        first: u64,
        /// Offset that the next entry gets.
        next: u64,
    },
    /// One entry is larger than the log takes.
    #[error("an entry of {bytes} bytes exceeds the log's limit of {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The disk is full; nothing of the submission was taken, nor of any behind it.
    #[error("the log's disk is full")]
    DiskFull(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// The log does not answer; the outcome of what was in flight is not known.
    #[error("the log is not available")]
    Unavailable(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// Stored bytes fail their checksum or their form.
    #[error("stored entries are corrupt")]
    Corrupt(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// Another process has the log's directory open.
    #[error("another process has it open")]
    InUse,
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

impl From<Error> for crate::exchange::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::DiskFull(_) => Self::DiskFull(Arc::new(error)),
            Error::Corrupt(_) => Self::DataLoss(Arc::new(error)),
            Error::Closed => Self::Draining,
            Error::OutOfRange { partition, offset, first, next, .. } => Self::PositionBeyondRetention {
                position: crate::exchange::model::Position { partition, offset },
                first,
                next,
            },
            Error::TooLarge { limit, .. } => {
                Self::BatchTooLarge { limit: u64::try_from(limit).unwrap_or(u64::MAX), unit: "bytes" }
            }
            Error::BelowFloor { .. } => Self::LogBelowFloor(Arc::new(error)),
            // A topic that was just made may not be seen everywhere yet.
            Error::TopicNotFound { .. } | Error::Unavailable(_) | Error::InUse => Self::LogUnavailable(Arc::new(error)),
        }
    }
}

/// The name of a topic, well-formed for both homes: 1-249 of `a-z A-Z 0-9 . _ -`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

impl Topic {
    /// The records of a dataset: `{prefix}.dataset.{id}`.
    pub fn dataset(prefix: &str, dataset: &crate::exchange::model::DatasetId) -> Self {
        Self(format!("{prefix}.dataset.{dataset}").into())
    }

    /// The catalogue, one partition, kept for ever.
    pub fn catalogue(prefix: &str) -> Self {
        Self(format!("{prefix}.catalogue").into())
    }

    /// The audit trail, one partition, kept for ever.
    pub fn audit(prefix: &str) -> Self {
        Self(format!("{prefix}.audit").into())
    }

    /// Subscription cursors, compacted.
    pub fn cursors(prefix: &str) -> Self {
        Self(format!("{prefix}.cursors").into())
    }

    /// How far each source came in each dataset, compacted.
    pub fn high_waters(prefix: &str) -> Self {
        Self(format!("{prefix}.high-waters").into())
    }

    /// A topic that the log itself holds under that name.
    fn stored(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// How long entries stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// For ever: catalogue, audit.
    Forever,
    /// Every entry for at least this long; after that the newest per key, tombstones for the same time again.
    CompactAfter {
        /// Milliseconds.
        window_ms: u64,
    },
}

/// A topic as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub topic: Topic,
    /// Partitions, fixed for the topic's life.
    pub partitions: u32,
    /// How long entries stay.
    pub retention: Retention,
}

/// One entry to append.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it goes.
    pub partition: u32,
    /// What compaction keeps the newest of. `None` only in topics kept for ever.
    pub key: Option<Bytes>,
    /// Names are constants of `exchange::envelope`; a few short ones an entry.
    pub headers: Vec<(&'static str, Bytes)>,
    /// `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Milliseconds since 1970; what reading from a time compares.
    pub timestamp_ms: i64,
}

/// One entry as read.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredEntry {
    /// Where it lies.
    pub partition: u32,
    /// Where it lies.
    pub offset: u64,
    /// As appended.
    pub key: Option<Bytes>,
    /// As appended.
    pub headers: Headers,
    /// As appended.
    pub value: Option<Bytes>,
    /// As appended.
    pub timestamp_ms: i64,
}

/// Sizes only: keys and values may be personal data.
impl fmt::Debug for StoredEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredEntry")
            .field("partition", &self.partition)
            .field("offset", &self.offset)
            .field("value_bytes", &self.value.as_ref().map(Bytes::len))
            .finish_non_exhaustive()
    }
}

/// Sizes only: keys and values may be personal data.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("partition", &self.partition)
            .field("value_bytes", &self.value.as_ref().map(Bytes::len))
            .finish_non_exhaustive()
    }
}

/// The headers of a stored entry. Names are shared: a dozen texts name the headers of all entries that a reader hands out.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(Arc<str>, Bytes)>);

/// Names only: whoever writes into a topic may put anything there.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Headers {
    /// The value of the first header of that name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(candidate, _)| &**candidate == name).map(|(_, value)| value.as_ref())
    }
}

/// First offset held and the offset that the next entry gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Oldest offset held; equals `next` in an empty partition.
    pub first: u64,
    /// Offset that the next entry gets. (On Kafka: the last stable offset's end.)
    pub next: u64,
}

/// Resolves when every entry of one [`Log::submit`] has its fate: an offset each, in the order submitted, or the error that befell it.
pub type Pending = futures::future::BoxFuture<'static, Vec<Result<u64, Error>>>;

/// How the log fares, for readiness and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It answers.
    Good,
    /// It does not; the text says why, for an operator.
    Bad(String),
}

/// The log. Cheap to share behind an `Arc`.
#[async_trait::async_trait]
pub trait Log: fmt::Debug + Send + Sync + 'static {
    /// "embedded" or "kafka".
    fn home(&self) -> &'static str;

    /// Makes the topic, or checks the one that exists against the specification and the configured floor. Safe to repeat.
    ///
    /// # Errors
    /// [`Error::BelowFloor`] with every setting that is wrong; [`Error::Unavailable`] within a bounded time.
    async fn ensure_topic(&self, spec: &TopicSpec) -> Result<(), Error>;

    /// Checks a topic that was made against the specification and the configured floor, but for how long entries stay. Changes nothing.
    ///
    /// # Errors
    /// As for [`Log::ensure_topic`]; [`Error::TopicNotFound`].
    async fn check_topic(&self, spec: &TopicSpec) -> Result<(), Error>;

    /// Queues entries. Returns once their order is fixed, waiting while too many bytes are in flight. All or nothing: on an error nothing was queued.
    /// Cancel safe: dropped before it returns, it queued nothing.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::TopicNotFound`], [`Error::Closed`], [`Error::Unavailable`].
    async fn submit(&self, topic: &Topic, entries: Vec<Entry>) -> Result<Pending, Error>;

    /// Opens a reader over some partitions, each from an offset. An offset before the oldest held is [`Error::OutOfRange`], so is one after the end.
    ///
    /// # Errors
    /// As above; [`Error::Unavailable`].
    async fn read(&self, topic: &Topic, from: &[(u32, u64)]) -> Result<Box<dyn Reader>, Error>;

    /// The bounds of each partition, in order of partition. Everything durable at the time of the call lies below `next`.
    ///
    /// # Errors
    /// [`Error::TopicNotFound`], [`Error::Unavailable`].
    async fn bounds(&self, topic: &Topic) -> Result<Vec<Bounds>, Error>;

    /// The first offset of each partition whose timestamp is at or after `time_ms`; the end where there is none.
    ///
    /// # Errors
    /// [`Error::TopicNotFound`], [`Error::Unavailable`].
    async fn offsets_at(&self, topic: &Topic, time_ms: i64) -> Result<Vec<u64>, Error>;

    /// How the log fares now. Cheap: no round trip.
    fn health(&self) -> Health;

    /// Flushes what is queued and closes. Afterwards every call is [`Error::Closed`].
    async fn close(&self);
}

/// Reads entries of one topic in order of offset within each partition.
#[async_trait::async_trait]
pub trait Reader: Send + 'static {
    /// The next entries: at least one, at most `max_entries` and about `max_bytes` (one entry may exceed it). Waits at the tail. Cancel safe: what was not
    /// returned comes with the next call.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if retention overtook the reader; [`Error::Unavailable`] where the log stays away for longer than the configured
    /// time; then the reader may be called again.
    async fn next(&mut self, max_entries: usize, max_bytes: usize) -> Result<Vec<StoredEntry>, Error>;
}

/// Bytes of an entry's key, value and headers.
fn entry_bytes(entry: &Entry) -> usize {
    let headers: usize = entry.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    headers + entry.key.as_ref().map_or(0, Bytes::len) + entry.value.as_ref().map_or(0, Bytes::len)
}

/// Bytes of a stored entry's key, value and headers.
fn stored_bytes(entry: &StoredEntry) -> usize {
    let headers: usize = entry.headers.0.iter().map(|(name, value)| name.len() + value.len()).sum();
    headers + entry.key.as_ref().map_or(0, Bytes::len) + entry.value.as_ref().map_or(0, Bytes::len)
}

/// Submits and waits, for callers that have one thing to say: the offset of a single entry.
///
/// # Errors
/// Those of [`Log::submit`], or what befell the entry.
pub async fn append_one(log: &dyn Log, topic: &Topic, entry: Entry) -> Result<u64, Error> {
    let pending = log.submit(topic, vec![entry]).await?;
    pending.await.pop().unwrap_or(Err(Error::Closed))
}
