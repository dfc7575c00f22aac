//! The durable cursors: how far each subscription is acknowledged, in the log's topic `cursors` (one partition, compacted by subscription).
//!
//! Streams [`mark`](Cursors::mark) what is acknowledged; marks of all streams are written together, at the latest after the configured delay, in one
//! submission. A cursor belongs to one seek generation of its subscription; within it, it only moves forward, whoever wrote last. A crash loses at most the delay's
//! worth of acknowledgements, so those records come again.
//!
//! A cursor that cannot be read, because newer software wrote it or it is damaged, stands for its generation: no stream of that generation is opened, for going on
//! from the start would be a flood of repeats. A seek begins another generation, and so mends it.
//!
//! | | |
//! |---|---|
//! | key | id of the subscription; `-` for the markers by which a reader knows that it has read everything |
//! | value | `{"v":1,"generation":…,"next":[…]}`: the next offset of each partition; none once the subscription is deleted |

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{Metrics, Options};
use crate::{
    exchange::{
        Error,
        catalogue::{Catalogue, Subscription},
        clock::Clock,
        model::SubscriptionId,
    },
    log::{self, Log, Reader, Retention, StoredEntry, Topic, TopicSpec},
    shutdown::Tasks,
};

const VERSION: u32 = 1;
/// No subscription is called so.
const MARKER: &[u8] = b"-";
const RETRY_DELAY: Duration = Duration::from_millis(500);
const ENTRIES_AT_ONCE: usize = 1_000;
const BYTES_AT_ONCE: usize = 1 << 20;

/// One subscription's cursor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cursor {
    v: u32,
    generation: u64,
    next: Vec<u64>,
}

/// What the log says of a subscription.
#[derive(Clone, Debug)]
enum Held {
    Cursor(Cursor),
    /// Of this generation, as far as it can be told.
    Unreadable {
        generation: u64,
    },
}

impl Held {
    fn generation(&self) -> u64 {
        match self {
            Self::Cursor(cursor) => cursor.generation,
            Self::Unreadable { generation } => *generation,
        }
    }
}

/// What may be legible of a cursor that this software cannot read.
#[derive(Deserialize)]
struct Legible {
    generation: u64,
}

/// See the module. One a node.
#[derive(Debug)]
pub(super) struct Cursors {
    log: Arc<dyn Log>,
    topic: Topic,
    clock: Clock,
    delay: Duration,
    acknowledgements_max: usize,
    timeout: Duration,
    metrics: Metrics,
    held: Mutex<HashMap<SubscriptionId, Held>>,
    marks: Mutex<Marks>,
    /// Wakes the writer early.
    hurry: Notify,
    marked: Notify,
    /// Held while marks are on their way to the log: their order is that of the log.
    writing: tokio::sync::Mutex<()>,
    /// Next offset that was not read back yet.
    read: watch::Sender<u64>,
    /// Changes when a cursor has become durable.
    durable: watch::Sender<()>,
}

/// Acknowledged and not yet durable. Bounded by the streams of the node.
#[derive(Debug, Default)]
struct Marks {
    by_subscription: HashMap<SubscriptionId, Cursor>,
    acknowledgements: usize,
}

impl Cursors {
    /// Makes the topic, reads it, and goes on following and writing it on `tasks`.
    pub(super) async fn open(
        log: Arc<dyn Log>,
        catalogue: Arc<Catalogue>,
        options: &Options,
        clock: Clock,
        tasks: &Tasks,
    ) -> Result<Arc<Self>, Error> {
        let topic = Topic::cursors(&options.topic_prefix);
        let window_ms = u64::try_from(options.cursor_retention.as_millis()).unwrap_or(u64::MAX);
        let retention = Retention::CompactAfter { window_ms };
        log.ensure_topic(&TopicSpec { topic: topic.clone(), partitions: 1, retention }).await?;
        let first = log.bounds(&topic).await?.first().map_or(0, |bounds| bounds.first);
        let reader = log.read(&topic, &[(0, first)]).await?;
        let cursors = Arc::new(Self {
            log,
            topic,
            clock,
            delay: options.cursor_delay,
            acknowledgements_max: options.cursor_acknowledgements_max,
            timeout: options.open_timeout,
            metrics: options.metrics.clone(),
            held: Mutex::default(),
            marks: Mutex::default(),
            hurry: Notify::new(),
            marked: Notify::new(),
            writing: tokio::sync::Mutex::default(),
            read: watch::Sender::new(first),
            durable: watch::Sender::new(()),
        });
        let (following, known, token) = (cursors.clone(), catalogue.clone(), tasks.token());
        tasks.spawn("cursors-follower", async move {
            token.run_until_cancelled(following.follow(reader, &known)).await;
        });
        cursors.catch_up().await?;
        let (writing, token) = (cursors.clone(), tasks.token());
        tasks.spawn("cursors-writer", async move { writing.run(&catalogue, &token).await });
        Ok(cursors)
    }

    /// Waits until everything that was durable when it was called is read. A marker says when, because the last entries may have been compacted away and a
    /// reader cannot tell waiting from having read all.
    pub(super) async fn catch_up(&self) -> Result<(), Error> {
        let wait = async {
            let marker = log::append_one(&*self.log, &self.topic, self.entry(MARKER, Some(Bytes::new()))).await?;
            let mut read = self.read.subscribe();
            // The sender lives in `self`: it cannot be gone.
            read.wait_for(|next| *next > marker).await.map_err(Error::internal)?;
            Ok(())
        };
        tokio::time::timeout(self.timeout, wait).await.unwrap_or_else(|late| Err(Error::LogUnavailable(Arc::new(late))))
    }

    /// The cursor of the subscription as it was last marked on this node or read from the log; `None` where it has none of its generation.
    pub(super) fn newest(&self, subscription: &Subscription) -> Result<Option<Vec<u64>>, Error> {
        let durable = self.durable(subscription)?;
        let marks = self.marks.lock();
        let mark = marks.by_subscription.get(&subscription.id);
        let mark = mark.filter(|mark| mark.generation == subscription.seek_generation);
        Ok(match (durable, mark) {
            (Some(mut durable), Some(mark)) => {
                advance(&mut durable, &mark.next);
                Some(durable)
            }
            (durable, mark) => durable.or_else(|| mark.map(|mark| mark.next.clone())),
        })
    }

    /// The durable cursor of the subscription's generation.
    pub(super) fn durable(&self, subscription: &Subscription) -> Result<Option<Vec<u64>>, Error> {
        match self.held.lock().get(&subscription.id) {
            Some(Held::Unreadable { generation }) if *generation >= subscription.seek_generation => {
                Err(Error::DataLoss(Arc::new(Unreadable)))
            }
            Some(Held::Cursor(cursor)) if cursor.generation == subscription.seek_generation => {
                Ok(Some(cursor.next.clone()))
            }
            Some(_) | None => Ok(None),
        }
    }

    /// Changes when a cursor has become durable.
    pub(super) fn moves(&self) -> watch::Receiver<()> {
        self.durable.subscribe()
    }

    /// Notes that everything before these offsets is acknowledged; `acknowledgements` of it since the last mark.
    pub(super) fn mark(&self, id: &SubscriptionId, generation: u64, next: Vec<u64>, acknowledgements: usize) {
        let mut marks = self.marks.lock();
        marks.acknowledgements += acknowledgements;
        let hurry = marks.acknowledgements >= self.acknowledgements_max;
        match marks.by_subscription.get_mut(id) {
            Some(mark) if mark.generation > generation => {}
            Some(mark) if mark.generation == generation => advance(&mut mark.next, &next),
            _ => {
                marks.by_subscription.insert(id.clone(), Cursor { v: VERSION, generation, next });
            }
        }
        drop(marks);
        self.marked.notify_one();
        if hurry {
            self.hurry.notify_one();
        }
    }

    /// Writes what is marked; returns when it is durable. Dropped before, it loses nothing: marks stay until they are durable.
    pub(super) async fn write(&self) -> Result<(), Error> {
        let _turn = self.writing.lock().await;
        let marks: Vec<_> = {
            let mut marks = self.marks.lock();
            marks.acknowledgements = 0;
            marks.by_subscription.iter().map(|(id, mark)| (id.clone(), mark.clone())).collect()
        };
        if marks.is_empty() {
            return Ok(());
        }
        let mut entries = Vec::with_capacity(marks.len());
        for (id, mark) in &marks {
            let value = serde_json::to_vec(mark).map_err(Error::internal)?;
            entries.push(self.entry(id.as_str().as_bytes(), Some(value.into())));
        }
        let written = self.log.submit(&self.topic, entries).await?.await;
        let mut failure = None;
        {
            let mut held = self.held.lock();
            let mut left = self.marks.lock();
            for ((id, mark), outcome) in marks.into_iter().zip(written) {
                match outcome {
                    Ok(_) => {
                        if left.by_subscription.get(&id) == Some(&mark) {
                            left.by_subscription.remove(&id);
                        }
                        merge(&mut held, id, mark);
                    }
                    Err(error) => failure = Some(error),
                }
            }
        }
        self.metrics.cursors_written();
        self.durable.send_replace(());
        failure.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Writes in groups until the process stops, and what is left then; forgets the cursors that nobody needs any more.
    async fn run(&self, catalogue: &Catalogue, token: &CancellationToken) {
        let mut changes = catalogue.changes();
        loop {
            tokio::select! {
                () = token.cancelled() => break,
                () = self.marked.notified() => {
                    let until = Instant::now() + self.delay;
                    tokio::select! {
                        () = token.cancelled() => break,
                        () = tokio::time::sleep_until(until) => {}
                        () = self.hurry.notified() => {}
                    }
                    if let Err(error) = self.write().await {
                        tracing::warn!(%error, "cursors are not durable yet");
                        self.marked.notify_one();
                        tokio::time::sleep(RETRY_DELAY).await;
                    }
                }
                changed = changes.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    self.forget(catalogue).await;
                }
            }
        }
        if let Err(error) = self.write().await {
            tracing::warn!(%error, "the last acknowledgements are not durable: their records come again");
        }
    }

    /// Every node does it; a tombstone more does no harm. A cursor of a generation that this node's catalogue has not come to yet stays.
    async fn forget(&self, catalogue: &Catalogue) {
        let snapshot = catalogue.snapshot();
        let is_over = |id: &SubscriptionId, held: &Held| match snapshot.subscription(id.as_str()) {
            None => held.generation() <= snapshot.epoch,
            // One that does not say its generation would be taken for the newest by whoever reads it again.
            Some(found) => matches!(held, Held::Unreadable { generation } if *generation < found.seek_generation),
        };
        // Before they are looked for: what is written meanwhile is no longer what was held.
        let _turn = self.writing.lock().await;
        let over: Vec<_> = {
            let held = self.held.lock();
            held.iter().filter(|(id, held)| is_over(id, held)).map(|(id, _)| id.clone()).collect()
        };
        if over.is_empty() {
            return;
        }
        let entries = over.iter().map(|id| self.entry(id.as_str().as_bytes(), None)).collect();
        let forgotten = async { Ok::<_, log::Error>(self.log.submit(&self.topic, entries).await?.await) };
        match forgotten.await {
            // The follower takes them out when it reads them; a failure is made good at the next change.
            Ok(_) => tracing::debug!(cursors = over.len(), "cursors forgotten that nobody needs"),
            Err(error) => tracing::warn!(%error, "cursors that nobody needs stay for now"),
        }
    }

    async fn follow(&self, mut reader: Box<dyn Reader>, catalogue: &Catalogue) {
        loop {
            match reader.next(ENTRIES_AT_ONCE, BYTES_AT_ONCE).await {
                Ok(entries) => {
                    let snapshot = catalogue.snapshot();
                    // A deleted subscription's is of none that is still to come.
                    let now = |id: &SubscriptionId| {
                        snapshot.subscription(id.as_str()).map_or(snapshot.epoch, |found| found.seek_generation)
                    };
                    let mut held = self.held.lock();
                    for entry in &entries {
                        take_in(&mut held, entry, now);
                    }
                    drop(held);
                    if let Some(last) = entries.last() {
                        self.read.send_replace(last.offset + 1);
                    }
                }
                Err(log::Error::Closed) => return,
                Err(error) => {
                    tracing::warn!(%error, "the log of cursors does not answer");
                    tokio::time::sleep(RETRY_DELAY).await;
                }
            }
        }
    }

    fn entry(&self, key: &[u8], value: Option<Bytes>) -> log::Entry {
        let key = Some(Bytes::copy_from_slice(key));
        log::Entry { partition: 0, key, headers: Vec::new(), value, timestamp_ms: self.clock.now_ms() }
    }
}

/// An entry of the topic is no cursor that this software can read.
#[derive(Debug, thiserror::Error)]
#[error("the subscription's cursor cannot be read: seek it, or upgrade this node")]
struct Unreadable;

/// `now`: the generation of a subscription by what is known when the entry is read, for what does not say its own.
fn take_in(held: &mut HashMap<SubscriptionId, Held>, entry: &StoredEntry, now: impl Fn(&SubscriptionId) -> u64) {
    let key = entry.key.as_deref().unwrap_or_default();
    let Some(id) = std::str::from_utf8(key).ok().and_then(|text| text.parse::<SubscriptionId>().ok()) else {
        if key != MARKER {
            tracing::warn!(offset = entry.offset, "an entry of the cursors names no subscription");
        }
        return;
    };
    let Some(value) = &entry.value else {
        held.remove(&id);
        return;
    };
    match serde_json::from_slice::<Cursor>(value) {
        Ok(cursor) if cursor.v == VERSION => merge(held, id, cursor),
        _ => {
            let generation =
                serde_json::from_slice(value).map_or_else(|_| now(&id), |Legible { generation }| generation);
            tracing::error!(subscription = %id, offset = entry.offset, generation, "a cursor cannot be read");
            if held.get(&id).is_none_or(|known| known.generation() <= generation) {
                held.insert(id, Held::Unreadable { generation });
            }
        }
    }
}

/// Forward only within a generation; a newer generation replaces an older.
fn merge(held: &mut HashMap<SubscriptionId, Held>, id: SubscriptionId, cursor: Cursor) {
    match held.get_mut(&id) {
        Some(known) if known.generation() > cursor.generation => {}
        Some(Held::Cursor(known)) if known.generation == cursor.generation => advance(&mut known.next, &cursor.next),
        _ => {
            held.insert(id, Held::Cursor(cursor));
        }
    }
}

fn advance(known: &mut [u64], next: &[u64]) {
    for (known, next) in known.iter_mut().zip(next) {
        *known = (*known).max(*next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(key: &str, value: Option<&str>) -> StoredEntry {
        StoredEntry {
            partition: 0,
            offset: 0,
            key: Some(Bytes::copy_from_slice(key.as_bytes())),
            headers: log::Headers::default(),
            value: value.map(|value| Bytes::copy_from_slice(value.as_bytes())),
            timestamp_ms: 0,
        }
    }

    #[test]
    fn a_cursor_moves_forward_within_a_generation_and_a_seek_begins_another() {
        let mut held = HashMap::new();
        let mut read = |value: Option<&str>| {
            take_in(&mut held, &stored("a.b", value), |_| 3);
            match held.get("a.b") {
                Some(Held::Cursor(cursor)) => cursor.next.clone(),
                Some(Held::Unreadable { generation }) => vec![u64::MAX, *generation],
                None => Vec::new(),
            }
        };
        assert_eq!(read(Some(r#"{"v":1,"generation":3,"next":[5,5]}"#)), [5, 5]);
        assert_eq!(read(Some(r#"{"v":1,"generation":3,"next":[7,4]}"#)), [7, 5]);
        assert_eq!(read(Some(r#"{"v":1,"generation":2,"next":[9,9]}"#)), [7, 5]);
        assert_eq!(read(Some(r#"{"v":1,"generation":4,"next":[0,1]}"#)), [0, 1]);
        assert_eq!(read(None), [] as [u64; 0]);
        assert_eq!(read(Some(r#"{"v":2}"#)), [u64::MAX, 3], "of what is known");
        assert_eq!(read(Some(r#"{"v":1,"generation":2,"next":[9,9]}"#)), [u64::MAX, 3]);
        assert_eq!(read(Some(r#"{"v":1,"generation":4,"next":[2,2]}"#)), [2, 2]);
        assert_eq!(read(Some("damaged")), [2, 2], "an older one says nothing");
        assert_eq!(read(Some(r#"{"v":2,"generation":5,"more":true}"#)), [u64::MAX, 5], "its own");
        assert_eq!(read(Some(r#"{"v":1,"generation":5,"next":[7,7]}"#)), [7, 7]);
    }
}
