//! How far each source came, kept where compaction cannot take it.
//!
//! The dataset's own topic forgets: once a second source has written the same key, compaction takes the first one's entry, and a tombstone goes a while later.
//! If that entry had its source's largest sequence, who reads the topic from its beginning no longer knows how far the source came, and would take a late
//! repeat for something new. So a node that follows a dataset writes what it has seen of each source into a topic of its own, and a view takes it in when
//! it has applied as much of the dataset as the mark speaks of: not earlier, or it would take what is still to be read for repeats.
//!
//! Compaction takes nothing that is younger than the dataset's retention, and a mark is written within an eighth of that time, at the latest after the configured
//! interval, and when a node stops. So a mark is durable before the entry that it stands for can go, where any node follows the dataset for that long once
//! within its retention.
//!
//! | | |
//! |---|---|
//! | key | `{dataset} {source} {node}`: each node writes under its own, so the newest entry of a key, which compaction keeps, is that node's last word |
//! | value | `{"v":1,"marks":[[partition,sequence,below],…]}`: of the entries below that offset, `sequence` was the source's largest |
//!
//! A mark is only raised. One that speaks of offsets which the log does not have (its topic was made again, or restored from an older copy) counts for
//! nothing.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::Error;
use crate::{
    exchange::{
        clock::Clock,
        model::{DatasetId, SourceId},
    },
    log::{self, Log, Retention, StoredEntry, Topic, TopicSpec},
};

const VERSION: u32 = 1;
/// How long the topic keeps what a newer entry has replaced: little, because an opening reads it all.
const WINDOW: Duration = Duration::from_secs(600);
/// How long an opening waits for the next entry that the log says it holds.
const READ_PATIENCE: Duration = Duration::from_secs(30);
const ENTRIES_AT_ONCE: usize = 1_000;
const BYTES_AT_ONCE: usize = 1 << 20;

/// Of a source's entries of one partition below an offset, the largest sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u32, u64, u64)", into = "(u32, u64, u64)")]
pub(super) struct Mark {
    pub(super) partition: u32,
    pub(super) sequence: u64,
    pub(super) below: u64,
}

impl From<(u32, u64, u64)> for Mark {
    fn from((partition, sequence, below): (u32, u64, u64)) -> Self {
        Self { partition, sequence, below }
    }
}

impl From<Mark> for (u32, u64, u64) {
    fn from(Mark { partition, sequence, below }: Mark) -> Self {
        (partition, sequence, below)
    }
}

/// The value of an entry.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Marks {
    v: u32,
    marks: Vec<Mark>,
}

/// Marks of one dataset, by source and node.
type OfDataset = HashMap<(SourceId, Arc<str>), Vec<Mark>>;

/// What the nodes of the exchange say of the sources, as it was when this one opened, and what this one has said since. Bounded by datasets, their sources
/// and nodes.
#[derive(Debug)]
pub struct HighWaters {
    log: Arc<dyn Log>,
    topic_prefix: Arc<str>,
    topic: Topic,
    node: Arc<str>,
    clock: Clock,
    held: Mutex<HashMap<DatasetId, OfDataset>>,
}

impl HighWaters {
    /// Makes the topic where it is missing, and reads it.
    ///
    /// # Errors
    /// [`Error::Log`]; [`Error::Corrupt`] for an entry that newer software wrote: to pass it over could store a record twice.
    pub async fn open(log: Arc<dyn Log>, topic_prefix: &str, node: &str, clock: Clock) -> Result<Arc<Self>, Error> {
        let topic = Topic::high_waters(topic_prefix);
        let window_ms = u64::try_from(WINDOW.as_millis()).unwrap_or(u64::MAX);
        let retention = Retention::CompactAfter { window_ms };
        log.ensure_topic(&TopicSpec { topic: topic.clone(), partitions: 1, retention }).await?;
        let held = read(&*log, &topic).await?;
        Ok(Arc::new(Self {
            log,
            topic_prefix: topic_prefix.into(),
            topic,
            node: node.into(),
            clock,
            held: Mutex::new(held),
        }))
    }

    /// Where a dataset's records lie, also of one that the catalogue does not know.
    pub(super) fn dataset_topic(&self, dataset: &DatasetId) -> Topic {
        Topic::dataset(&self.topic_prefix, dataset)
    }

    /// The marks of a dataset whose partitions end at these offsets. What speaks of more is forgotten.
    pub(super) fn marks(&self, dataset: &DatasetId, ends: &[u64]) -> Vec<(SourceId, Mark)> {
        let mut held = self.held.lock();
        let Some(of_dataset) = held.get_mut(dataset) else { return Vec::new() };
        let end = |mark: &Mark| usize::try_from(mark.partition).ok().and_then(|partition| ends.get(partition));
        for marks in of_dataset.values_mut() {
            marks.retain(|mark| end(mark).is_some_and(|end| mark.below <= *end));
        }
        of_dataset.iter().flat_map(|((source, _), marks)| marks.iter().map(|mark| (source.clone(), *mark))).collect()
    }

    /// Writes what this node has seen, where it is more than it has written. Returns when that is durable. One task a dataset calls it.
    ///
    /// # Errors
    /// Those of the log; what is not durable then is written with the next call.
    pub(super) async fn raise(&self, dataset: &DatasetId, seen: &[(SourceId, Mark)]) -> Result<(), log::Error> {
        let raised = self.raised(dataset, seen);
        if raised.is_empty() {
            return Ok(());
        }
        let mut entries = Vec::with_capacity(raised.len());
        for (source, marks) in &raised {
            let value = serde_json::to_vec(&Marks { v: VERSION, marks: marks.clone() });
            let value = value.map_err(|cause| log::Error::Corrupt(Arc::new(cause)))?;
            entries.push(log::Entry {
                partition: 0,
                key: Some(format!("{dataset} {source} {}", self.node).into()),
                headers: Vec::new(),
                value: Some(value.into()),
                timestamp_ms: self.clock.now_ms(),
            });
        }
        let written = self.log.submit(&self.topic, entries).await?.await;
        let mut failure = None;
        let mut held = self.held.lock();
        let of_dataset = held.entry(dataset.clone()).or_default();
        for ((source, marks), outcome) in raised.into_iter().zip(written) {
            match outcome {
                Ok(_) => {
                    of_dataset.insert((source, self.node.clone()), marks);
                }
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// All marks of each source of which more was seen than this node has written.
    fn raised(&self, dataset: &DatasetId, seen: &[(SourceId, Mark)]) -> HashMap<SourceId, Vec<Mark>> {
        let held = self.held.lock();
        let of_dataset = held.get(dataset);
        let mut raised: HashMap<SourceId, Vec<Mark>> = HashMap::new();
        for (source, mark) in seen {
            let own = (source.clone(), self.node.clone());
            let written = of_dataset.and_then(|of_dataset| of_dataset.get(&own)).map_or(&[][..], Vec::as_slice);
            let known = written.iter().find(|known| known.partition == mark.partition);
            if known.is_none_or(|known| known.sequence < mark.sequence) {
                let marks = raised.entry(source.clone()).or_insert_with(|| written.to_vec());
                marks.retain(|known| known.partition != mark.partition);
                marks.push(*mark);
            }
        }
        raised
    }
}

async fn read(log: &dyn Log, topic: &Topic) -> Result<HashMap<DatasetId, OfDataset>, Error> {
    let mut held = HashMap::new();
    let Some(bounds) = log.bounds(topic).await?.first().copied() else { return Ok(held) };
    let mut reader = log.read(topic, &[(0, bounds.first)]).await?;
    let mut next = bounds.first;
    while next < bounds.next {
        let entries = tokio::time::timeout(READ_PATIENCE, reader.next(ENTRIES_AT_ONCE, BYTES_AT_ONCE)).await;
        let entries = entries.map_err(|late| log::Error::Unavailable(Arc::new(late)))??;
        for entry in &entries {
            take_in(&mut held, entry)?;
            next = entry.offset + 1;
        }
    }
    Ok(held)
}

/// Entries come in the order in which each node wrote its own.
fn take_in(held: &mut HashMap<DatasetId, OfDataset>, entry: &StoredEntry) -> Result<(), Error> {
    const FOREIGN: Error = Error::Corrupt("high waters: upgrade this node, or look who else writes into their topic");
    let key = entry.key.as_ref().and_then(|key| std::str::from_utf8(key).ok()).ok_or(FOREIGN)?;
    let mut parts = key.splitn(3, ' ');
    let (Some(dataset), Some(source), Some(node)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(FOREIGN);
    };
    let dataset: DatasetId = dataset.parse().map_err(|_| FOREIGN)?;
    let source: SourceId = source.parse().map_err(|_| FOREIGN)?;
    let value = entry.value.as_ref().map_or(&[][..], Bytes::as_ref);
    let marks: Marks = serde_json::from_slice(value).map_err(|_| FOREIGN)?;
    if marks.v != VERSION {
        return Err(FOREIGN);
    }
    held.entry(dataset).or_default().insert((source, node.into()), marks.marks);
    Ok(())
}
