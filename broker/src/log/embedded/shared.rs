//! What the threads, the readers and the submitters of one log share: its topics, its store and what became of it, its newest chunks in memory.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::{
    super::{Error, Metrics, Topic, TopicSpec, fence::Fence},
    Options,
    store::{self, Place, Sizes, Standing, Store, StoredTopic},
    writer::{Queue, Submission},
};
use crate::{
    chain::chain,
    exchange::clock::Clock,
    store_mark::{self, Mark},
};

/// What the threads and the readers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
    pub(super) queue: Queue,
    pub(super) topics: RwLock<HashMap<Topic, Arc<Topical>>>,
    /// `None` while it is being reopened, and after the end.
    pub(super) store: RwLock<Option<Arc<Store>>>,
    pub(super) tail: Mutex<Tail>,
    pub(super) trouble: Mutex<Option<Error>>,
    /// Stored entries that cannot be read were met. Nothing here mends it.
    pub(super) damaged: OnceLock<Error>,
    pub(super) poisoned: AtomicBool,
    /// Held by whoever changes the store beside the writer: making topics, maintenance.
    pub(super) housekeeping: Mutex<()>,
}

/// One topic.
#[derive(Debug)]
pub(super) struct Topical {
    pub(super) id: u32,
    pub(super) name: Topic,
    pub(super) window_ms: Mutex<Option<u64>>,
    pub(super) partitions: Vec<Partition>,
    pub(super) fence: Arc<Fence>,
    /// Counts commits; wakes readers at the tail.
    pub(super) commits: watch::Sender<u64>,
}

impl Topical {
    pub(super) fn new(name: Topic, stored: &StoredTopic, standings: Vec<Standing>) -> Self {
        Self {
            id: stored.id,
            name,
            window_ms: Mutex::new(stored.window_ms),
            partitions: standings
                .into_iter()
                .map(|standing| Partition(Mutex::new((standing, VecDeque::new()))))
                .collect(),
            fence: Arc::default(),
            commits: watch::Sender::new(0),
        }
    }

    /// On this home there is nothing else that could be wrong.
    pub(super) fn check(&self, spec: &TopicSpec) -> Result<(), Error> {
        let partitions = self.partitions.len();
        if u32::try_from(partitions) == Ok(spec.partitions) {
            return Ok(());
        }
        let violations = format!("its partition count is {partitions}, not {}", spec.partitions);
        Err(Error::BelowFloor { topic: spec.topic.clone(), violations })
    }

    pub(super) fn partition(&self, partition: u32) -> Option<&Partition> {
        self.partitions.get(usize::try_from(partition).ok()?)
    }

    pub(super) fn place(&self, partition: u32) -> Place {
        Place { topic: self.id, partition }
    }

    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        (0..).zip(&self.partitions).map(|(partition, _)| self.place(partition))
    }
}

/// Where one partition stands, and its newest chunks: contiguous up to its end.
#[derive(Debug)]
pub(super) struct Partition(pub(super) Mutex<(Standing, VecDeque<Recent>)>);

/// A chunk in memory.
#[derive(Clone)]
pub(super) struct Recent {
    pub(super) first: u64,
    pub(super) next: u64,
    pub(super) bytes: Bytes,
}

/// Keys and values may be personal data.
impl std::fmt::Debug for Recent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recent")
            .field("first", &self.first)
            .field("next", &self.next)
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

impl Partition {
    pub(super) fn standing(&self) -> Standing {
        self.0.lock().0
    }
}

/// Which chunks are in memory, oldest first, over all partitions.
#[derive(Debug, Default)]
pub(super) struct Tail {
    pub(super) order: VecDeque<(Arc<Topical>, u32, usize)>,
    pub(super) bytes: usize,
}

impl Shared {
    /// Opens the store, with what its mark says: which is made where there is none, once everything is there that it names.
    pub(super) fn open_store(options: &Options) -> Result<(Store, Mark), Error> {
        let new = std::fs::read_dir(&options.path).map_or(true, |mut held| held.next().is_none());
        std::fs::create_dir_all(&options.path).map_err(unavailable)?;
        let open = || {
            let found = store_mark::look(&options.path).map_err(store::io_error)?;
            let sizes = Sizes { cache_bytes: options.cache_bytes, memtable_bytes: options.memtable_bytes };
            let store = Store::open(&options.path, sizes).map_err(store::error)?;
            let ends = found.as_ref().map(|mark| mark.ends.clone()).unwrap_or_default();
            let mark = Mark { keyspaces: store.keyspaces(), ends };
            if found.as_ref() != Some(&mark) {
                mark.write(&options.path).map_err(store::io_error)?;
            }
            Ok((store, mark))
        };
        open().inspect_err(|error| {
            // Half a store in which nothing ever was: left there it would pass for a damaged one.
            if new && matches!(error, Error::DiskFull(_)) {
                drop(std::fs::remove_dir_all(&options.path));
            }
        })
    }

    pub(super) fn load_topics(store: &Store) -> Result<HashMap<Topic, Arc<Topical>>, Error> {
        store
            .topics()?
            .into_iter()
            .map(|(name, stored)| {
                let standings = (0..stored.partitions)
                    .map(|partition| store.standing(Place { topic: stored.id, partition }))
                    .collect::<Result<_, _>>()?;
                Ok((name.clone(), Arc::new(Topical::new(name, &stored, standings))))
            })
            .collect()
    }

    /// Next offset of each partition, a topic: nothing below it is not durable.
    pub(super) fn ends(topics: &HashMap<Topic, Arc<Topical>>) -> BTreeMap<String, Vec<u64>> {
        let ends = |topic: &Topical| topic.partitions.iter().map(|partition| partition.standing().next).collect();
        topics.iter().map(|(name, topic)| (name.as_str().to_owned(), ends(topic))).collect()
    }

    /// Says where the log ends, for whoever opens it next.
    pub(super) fn note_ends(&self, keyspaces: Vec<String>) {
        let mark = Mark { keyspaces, ends: Self::ends(&self.topics.read()) };
        if let Err(error) = mark.write(&self.options.path) {
            tracing::error!(%error, "where the log ends is not written down: what is cut off from here on passes for a write that was broken off");
        }
    }

    pub(super) fn topic(&self, name: &Topic) -> Result<Arc<Topical>, Error> {
        self.topics.read().get(name).cloned().ok_or_else(|| Error::TopicNotFound { topic: name.clone() })
    }

    pub(super) fn store(&self) -> Result<Arc<Store>, Error> {
        match &*self.store.read() {
            Some(store) => Ok(store.clone()),
            None if self.queue.is_closing() => Err(Error::Closed),
            None => Err(self.trouble()),
        }
    }

    /// Takes the store out once no reader uses it; gives up after a while, because a reader that hangs on a dead disk never leaves.
    pub(super) fn take_store(&self, leave_max: Duration) -> Option<Store> {
        let mut store = self.store.write().take()?;
        let step = Duration::from_millis(2);
        for _ in 0..leave_max.as_millis() / step.as_millis() {
            match Arc::try_unwrap(store) {
                Ok(store) => return Some(store),
                Err(shared) => store = shared,
            }
            std::thread::sleep(step);
        }
        None
    }

    /// Closes and opens the store: what it holds then is what it holds.
    pub(super) fn reopen(&self, leave_max: Duration) -> Result<Arc<Store>, Error> {
        drop(self.take_store(leave_max));
        let (store, _) = Self::open_store(&self.options)?;
        for topic in self.topics.read().values() {
            for (place, partition) in topic.places().zip(&topic.partitions) {
                let standing = store.standing(place)?;
                let (known, recent) = &mut *partition.0.lock();
                if standing.next != known.next {
                    // A group whose fate was not known is there after all; its chunks are not in memory.
                    recent.clear();
                }
                *known = standing;
            }
            topic.commits.send_modify(|commits| *commits += 1);
        }
        let store = Arc::new(store);
        *self.store.write() = Some(store.clone());
        tracing::warn!("log reopened after a failed write");
        Ok(store)
    }

    /// Refuses a group for which the disk has no room beyond the reserve.
    pub(super) fn check_space(&self, bytes: usize) -> Result<(), Error> {
        if self.options.free_bytes_min == 0 {
            return Ok(());
        }
        let free = free_bytes(&self.options.path).map_err(unavailable)?;
        if free < self.options.free_bytes_min.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX)) {
            return Err(Error::DiskFull(Arc::new(ReserveReached { free })));
        }
        Ok(())
    }

    /// Makes a committed group visible: to readers at the tail from memory.
    pub(super) fn publish(&self, group: &[Submission], bases: &[Vec<u64>]) {
        let mut tail = self.tail.lock();
        for (submission, bases) in group.iter().zip(bases) {
            let topic = &submission.topic;
            for (part, base) in submission.parts.iter().zip(bases) {
                let Some(partition) = topic.partition(part.partition) else { continue };
                let (standing, recent) = &mut *partition.0.lock();
                let next = base + part.count;
                standing.next = standing.next.max(next);
                standing.time_ms_max = standing.time_ms_max.max(part.time_ms_max);
                recent.push_back(Recent { first: *base, next, bytes: part.bytes.clone() });
                tail.bytes += part.bytes.len();
                tail.order.push_back((topic.clone(), part.partition, part.bytes.len()));
                self.metrics.entries.inc_by(part.count);
                self.metrics.bytes.inc_by(part.bytes.len() as u64);
            }
        }
        while tail.bytes > self.options.tail_bytes_max
            && let Some((topic, partition, bytes)) = tail.order.pop_front()
        {
            tail.bytes -= bytes;
            if let Some(partition) = topic.partition(partition) {
                partition.0.lock().1.pop_front();
            }
        }
        drop(tail);
        self.metrics.groups.inc();
        for submission in group {
            submission.topic.commits.send_modify(|commits| *commits += 1);
        }
    }

    pub(super) fn ensure_topic(&self, spec: &TopicSpec) -> Result<(), Error> {
        if self.queue.is_closing() {
            return Err(Error::Closed);
        }
        let _alone = self.housekeeping.lock();
        let known = self.topics.read().get(&spec.topic).cloned();
        let (id, standings) = match &known {
            Some(topic) => {
                topic.check(spec)?;
                (topic.id, Vec::new())
            }
            None => {
                let id = self.topics.read().values().map(|topic| topic.id + 1).max().unwrap_or(1);
                let fresh = Standing { first: 0, next: 0, time_ms_max: i64::MIN };
                (id, vec![fresh; spec.partitions as usize])
            }
        };
        let stored = StoredTopic::new(id, spec);
        if known.as_ref().is_some_and(|topic| *topic.window_ms.lock() == stored.window_ms) {
            return Ok(());
        }
        self.check_space(0)?;
        let store = self.store()?;
        let mut change = store.change();
        change.put_topic(&spec.topic, &stored)?;
        change.commit().map_err(store::error)?;
        match known {
            Some(topic) => *topic.window_ms.lock() = stored.window_ms,
            None => {
                let topic = Arc::new(Topical::new(spec.topic.clone(), &stored, standings));
                self.topics.write().insert(spec.topic.clone(), topic);
            }
        }
        Ok(())
    }

    /// Keeps in mind, and says once, that stored entries cannot be read.
    pub(super) fn note(&self, error: &Error) {
        if matches!(error, Error::Corrupt(_)) && self.damaged.set(error.clone()).is_ok() {
            tracing::error!(
                path = %self.options.path.display(), error = %chain(error),
                "stored entries cannot be read: stop the node and restore the log from its backup; nothing here mends it"
            );
        }
    }

    pub(super) fn set_trouble(&self, error: Option<&Error>) {
        *self.trouble.lock() = error.cloned();
    }

    pub(super) fn trouble(&self) -> Error {
        self.trouble.lock().clone().unwrap_or_else(|| unavailable(std::io::Error::other("the store is being reopened")))
    }

    pub(super) fn poison(&self, error: &Error) {
        self.set_trouble(Some(error));
        self.poisoned.store(true, Ordering::Release);
    }

    pub(super) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }
}

/// The disk has less free space than the reserve.
#[derive(Debug, thiserror::Error)]
#[error("{free} bytes are free, less than the reserve")]
struct ReserveReached {
    pub(super) free: u64,
}

/// What an unprivileged process may still write on the disk of a directory.
fn free_bytes(path: &Path) -> std::io::Result<u64> {
    let disk = rustix::fs::statvfs(path)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

pub(super) fn out_of_range(topic: &Topical, partition: u32, offset: u64, standing: Standing) -> Error {
    Error::OutOfRange { topic: topic.name.clone(), partition, offset, first: standing.first, next: standing.next }
}

pub(super) fn unavailable(cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Unavailable(Arc::new(cause))
}
