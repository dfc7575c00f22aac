//! The trail of every access: who did what, on which grant, for which purpose, and what came of it.
//!
//! Promises: [`Audit::append`] returns when the entry is durable, so whoever calls it before it releases anything releases nothing that is not on record;
//! entries are never changed and never removed (one partition, kept for ever); an entry's canonical bytes ([`entry`]) are what lies in the log, byte for byte,
//! so that a Merkle tree (RFC 6962) can be built over them on any node. Waiting costs little: the log makes durable in one group what comes together.
//!
//! Refusals have a rate (`refusals.rs`): whoever may nothing must not be able to fill a trail that is kept for ever.
//!
//! Refuses: payloads, keys and values; see [`entry`].

pub mod entry;
mod key;
mod reading;
mod recovery;
mod refusals;
mod scan;

use std::sync::Arc;

use bytes::Bytes;
use prometheus_client::{
    metrics::{counter::Counter, histogram::Histogram},
    registry::Registry,
};
use ring::digest::{Context, SHA256};
use serde::Deserialize;
use tokio::time::Instant;

pub use entry::{Action, NewEntry, Outcome, SubjectKind, Target};
pub use key::{AuditKey, KeyedDigest};
pub use reading::{Asked, Reading};
pub use recovery::Recovery;

use self::{
    refusals::Refusals,
    scan::{LAST_LINES, Scan},
};
use super::{Error, clock::Clock, model::SourceId};
use crate::log::{self, Log, Retention, StoredEntry, Topic, TopicSpec};

/// Entries of one page, at most.
pub const PAGE_ENTRIES_MAX: usize = 1_000;
/// Bytes of one page, about.
const PAGE_BYTES_MAX: usize = 2 << 20;
/// Entries that one page looks at: a narrow filter answers with a short page and a token, not with a long wait.
const SCAN_ENTRIES_MAX: usize = 20_000;

/// How the trail is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Of the topic's name.
    pub topic_prefix: String,
    /// This node's id, in every entry that it writes.
    pub node: String,
    /// For digests of what may be personal.
    pub key: AuditKey,
    /// What is counted.
    pub metrics: Metrics,
}

/// Counters of the trail. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Entries made durable.
    pub appended: Counter,
    /// Entries that could not be: what they were to cover was not released.
    pub failed: Counter,
    /// Lines appended for changes that had none.
    pub recovered: Counter,
    /// Refused calls without an entry each.
    pub refused_calls: Counter,
    /// Seconds until durable.
    pub seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let bounds = [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0];
        Self {
            appended: Counter::default(),
            failed: Counter::default(),
            recovered: Counter::default(),
            refused_calls: Counter::default(),
            seconds: Histogram::new(bounds),
        }
    }
}

impl Metrics {
    /// Makes the counters and names them in a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("shuqiao_audit_appends", "Audit entries made durable", metrics.appended.clone());
        registry.register("shuqiao_audit_failures", "Audit entries not made durable", metrics.failed.clone());
        registry.register("shuqiao_audit_recovered", "Changes whose entry came late", metrics.recovered.clone());
        let refused = metrics.refused_calls.clone();
        registry.register("shuqiao_audit_refused_calls", "Refused calls beyond the rate of entries", refused);
        registry.register("shuqiao_audit_append_seconds", "Until durable", metrics.seconds.clone());
        metrics
    }
}

/// The trail.
#[derive(Debug)]
pub struct Audit {
    log: Arc<dyn Log>,
    topic: Topic,
    clock: Clock,
    options: Options,
    /// When the newest line was written that was there when the trail was opened. Later lines do not move it: what this node appends says nothing of what was
    /// left without a line before.
    opened_on_ms: Option<i64>,
    refusals: Refusals,
}

/// Which entries are asked for.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// First index wanted.
    pub from: u64,
    /// At most so many; 0 and more than [`PAGE_ENTRIES_MAX`] mean that.
    pub page_size: usize,
    /// Only of this dataset.
    pub dataset: Option<String>,
    /// Only of this actor's department.
    pub department: Option<String>,
}

/// One line of the trail, as it lies in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Offset in the audit log.
    pub index: u64,
    /// The canonical bytes.
    pub canonical: Bytes,
}

impl Line {
    /// SHA-256 over a zero byte and the canonical bytes (RFC 6962 section 2.1).
    pub fn leaf_hash(&self) -> [u8; 32] {
        leaf_hash(&self.canonical)
    }
}

/// Lines in order of index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Those that match.
    pub lines: Vec<Line>,
    /// Where the next page begins; `None` at the end of the trail. A page may be empty and not the last.
    pub next: Option<u64>,
    /// One past the newest entry when it was asked for.
    pub end: u64,
}

impl Audit {
    /// Makes the topic where it is missing, and looks where the trail ends. Open it before anything is served.
    ///
    /// # Errors
    /// Those of [`Log::ensure_topic`] and of reading the log.
    pub async fn open(log: Arc<dyn Log>, options: Options, clock: Clock) -> Result<Arc<Self>, log::Error> {
        let topic = Topic::audit(&options.topic_prefix);
        log.ensure_topic(&TopicSpec { topic: topic.clone(), partitions: 1, retention: Retention::Forever }).await?;
        let mut audit = Self { log, topic, clock, options, opened_on_ms: None, refusals: Refusals::default() };
        audit.opened_on_ms = audit.newest_line_ms().await?;
        Ok(Arc::new(audit))
    }

    /// When the newest line was written; `None` where there is none. Where lines do not come in time it may be an older one: then more changes are looked for
    /// than need be, and none is passed over.
    async fn newest_line_ms(&self) -> Result<Option<i64>, log::Error> {
        let Some(bounds) = self.log.bounds(&self.topic).await?.first().copied() else { return Ok(None) };
        let from = bounds.first.max(bounds.next.saturating_sub(LAST_LINES));
        if from >= bounds.next {
            return Ok(None);
        }
        let mut scan = Scan::open(self, from, bounds.next).await?;
        let mut newest_ms: Option<i64> = None;
        loop {
            let lines = scan.more().await?;
            if lines.is_empty() {
                return Ok(newest_ms);
            }
            for line in lines {
                newest_ms = newest_ms.max(Some(line.timestamp_ms));
            }
        }
    }

    /// Makes the digests that a [`Target`] takes.
    pub fn key(&self) -> &AuditKey {
        &self.options.key
    }

    /// Appends an entry and returns its index when it is durable. On an error nothing may be released: the entry may be in the trail or not.
    ///
    /// # Errors
    /// [`Error::LogUnavailable`], [`Error::DiskFull`], [`Error::Draining`].
    pub async fn append(&self, entry: NewEntry) -> Result<u64, Error> {
        let begin = Instant::now();
        let time_ms = self.clock.now_ms();
        let canonical = entry.canonical(&self.options.node, time_ms).map_err(Error::internal)?;
        let entry = log::Entry {
            partition: 0,
            key: None,
            headers: Vec::new(),
            value: Some(canonical.into()),
            timestamp_ms: time_ms,
        };
        let metrics = &self.options.metrics;
        match log::append_one(&*self.log, &self.topic, entry).await {
            Ok(index) => {
                metrics.appended.inc();
                metrics.seconds.observe(begin.elapsed().as_secs_f64());
                Ok(index)
            }
            Err(error) => {
                metrics.failed.inc();
                Err(error.into())
            }
        }
    }

    /// A page of the trail as it stood when the call began.
    ///
    /// # Errors
    /// [`Error::LogUnavailable`], [`Error::DataLoss`].
    pub async fn list(&self, query: &Query) -> Result<Page, Error> {
        let bounds = self.log.bounds(&self.topic).await?;
        let Some(bounds) = bounds.first() else { return Ok(Page::default()) };
        let from = query.from.max(bounds.first);
        if from >= bounds.next {
            return Ok(Page { end: bounds.next, ..Page::default() });
        }
        let mut scan = Scan::open(self, from, bounds.next).await?;
        let mut page = Paging::new(query, from);
        while !page.is_full() {
            // What does not come in time belongs to the next page.
            let lines = scan.more().await?;
            if lines.is_empty() {
                break;
            }
            for stored in lines {
                if page.is_full() {
                    break;
                }
                page.look_at(stored)?;
            }
        }
        Ok(page.finish(bounds.next))
    }
}

/// A page in the making.
struct Paging<'q> {
    query: &'q Query,
    entries_max: usize,
    lines: Vec<Line>,
    bytes: usize,
    scanned: usize,
    next: u64,
}

impl<'q> Paging<'q> {
    fn new(query: &'q Query, from: u64) -> Self {
        let asked = if query.page_size == 0 { PAGE_ENTRIES_MAX } else { query.page_size };
        let entries_max = asked.min(PAGE_ENTRIES_MAX);
        Self { query, entries_max, lines: Vec::new(), bytes: 0, scanned: 0, next: from }
    }

    fn is_full(&self) -> bool {
        self.lines.len() >= self.entries_max || self.bytes >= PAGE_BYTES_MAX || self.scanned >= SCAN_ENTRIES_MAX
    }

    fn look_at(&mut self, stored: StoredEntry) -> Result<(), Error> {
        self.scanned += 1;
        self.next = stored.offset + 1;
        let canonical = stored.value.unwrap_or_default();
        if self.query.matches(&canonical)? {
            self.bytes += canonical.len();
            self.lines.push(Line { index: stored.offset, canonical });
        }
        Ok(())
    }

    fn finish(self, end: u64) -> Page {
        Page { lines: self.lines, next: (self.next < end).then_some(self.next), end }
    }
}

impl Query {
    /// Whether an entry is asked for. What is no entry at all is damage, and is not passed over.
    fn matches(&self, canonical: &[u8]) -> Result<bool, Error> {
        #[derive(Deserialize)]
        struct Head<'a> {
            actor: SourceId,
            #[serde(borrow)]
            dataset: Option<&'a str>,
        }
        let head: Head<'_> = serde_json::from_slice(canonical).map_err(|error| Error::DataLoss(Arc::new(error)))?;
        let of_dataset = self.dataset.as_deref().is_none_or(|wanted| head.dataset == Some(wanted));
        let of_department = self.department.as_deref().is_none_or(|wanted| head.actor.department() == wanted);
        Ok(of_dataset && of_department)
    }
}

/// SHA-256 over a zero byte and the entry: a leaf of the Merkle tree (RFC 6962 section 2.1).
pub fn leaf_hash(canonical: &[u8]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(&[0]);
    context.update(canonical);
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_is_hashed_as_rfc_6962_says() {
        // The leaf of the empty string, from the Certificate Transparency reference test vectors.
        let expected = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";
        assert_eq!(hex::encode(leaf_hash(b"")), expected);
    }
}
