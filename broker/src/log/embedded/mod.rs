//! The log on this machine's own disk: for the sandbox, for a small county, for tests. No cluster, one process.
//!
//! ```text
//! submit ── encodes, waits for room ──> queue ──> writer thread ── one batch, one fdatasync a group ──> store (fjall)
//!                                                      │                                                   │
//!                                                      └── keeps what was just written in memory ──> readers at the tail, readers behind
//! ```
//!
//! Promises: those of [`Log`]. A reader at the tail is woken by the commit and served from memory, without touching the store or a thread; one that is
//! behind reads the store on the blocking pool. Compaction (`maintenance.rs`) never takes an offset again and never moves what it keeps.
//!
//! Refuses: a second process on the same directory; to go on after a failed fsync (the log is poisoned until it is opened anew); a store that lacks what it
//! held when it was last closed (`store_mark`).

mod chunk;
mod maintenance;
mod reader;
mod shared;
mod store;
mod writer;

#[cfg(test)]
mod tests;

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock, atomic::AtomicBool},
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use self::{
    shared::{Partition, Recent, Shared, Topical, out_of_range, unavailable},
    store::Place,
    writer::{Part, Queue, Submission},
};
use super::{Bounds, Entry, Error, Health, Log, Metrics, Pending, Reader, Topic, TopicSpec, entry_bytes};
use crate::exchange::clock::Clock;

/// How the embedded log is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// A directory of its own; made if it does not exist.
    pub path: PathBuf,
    /// What may wait for the disk; more makes [`Log::submit`] wait.
    pub in_flight_bytes_max: usize,
    /// Largest entry taken: key, value and headers together.
    pub entry_bytes_max: usize,
    /// Newest entries kept in memory for readers at the tail.
    pub tail_bytes_max: usize,
    /// Below so much free space on the disk the log takes nothing, so that the store can still tidy itself. 0 switches the check off.
    pub free_bytes_min: u64,
    /// Blocks of the store kept in memory.
    pub cache_bytes: u64,
    /// Written entries gather in memory up to this size before the store sorts them into files; each of its five tables has one.
    pub memtable_bytes: u64,
    /// How often retention is looked after.
    pub maintenance_interval: Duration,
}

impl Options {
    /// The defaults, in a directory.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            in_flight_bytes_max: 16 << 20,
            entry_bytes_max: 2 << 20,
            tail_bytes_max: 8 << 20,
            free_bytes_min: 256 << 20,
            cache_bytes: 16 << 20,
            memtable_bytes: 8 << 20,
            maintenance_interval: Duration::from_secs(60),
        }
    }
}

/// The log. Close it before it is dropped, so that its directory can be opened again at once.
#[derive(Debug)]
pub struct Embedded {
    shared: Arc<Shared>,
    room: Arc<Semaphore>,
    /// True once the writer has ended and the store is shut.
    ended: watch::Receiver<bool>,
}

impl Embedded {
    /// Opens the log, making its directory if there is none. Blocks: call it where that is fine.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for a damaged store, or one that ends before where it was closed; [`Error::InUse`] where another process has it open; [`Error::DiskFull`]; [`Error::Unavailable`].
    pub fn open(options: Options, clock: Clock, metrics: Metrics) -> Result<Self, Error> {
        let (store, mark) = Shared::open_store(&options)?;
        let topics = Shared::load_topics(&store)?;
        mark.compare(&Shared::ends(&topics)).map_err(|short| Error::Corrupt(Arc::new(short)))?;
        let room = Arc::new(Semaphore::new(options.in_flight_bytes_max.min(Semaphore::MAX_PERMITS)));
        let shared = Arc::new(Shared {
            options,
            clock,
            metrics,
            queue: Queue::default(),
            topics: RwLock::new(topics),
            store: RwLock::new(Some(Arc::new(store))),
            tail: Mutex::default(),
            trouble: Mutex::default(),
            damaged: OnceLock::new(),
            poisoned: AtomicBool::new(false),
            housekeeping: Mutex::default(),
        });
        let (ending, ended) = watch::channel(false);
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        thread("log-writer")
            .spawn({
                let shared = shared.clone();
                move || {
                    writer::run(&shared);
                    ending.send_replace(true);
                }
            })
            .map_err(unavailable)?;
        thread("log-maintenance")
            .spawn({
                let shared = Arc::downgrade(&shared);
                move || maintenance::run(&shared)
            })
            .map_err(unavailable)?;
        Ok(Self { shared, room, ended })
    }

    /// Looks after retention now, instead of when its time comes. Returns how many entries went.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn maintain(&self) -> Result<u64, Error> {
        self.blocking(maintenance::pass).await
    }

    /// Gives up the entries of a partition before an offset, whatever the topic's retention: what Kafka calls deleting records. Readers that still want
    /// them get [`Error::OutOfRange`].
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for an offset after the end; those of the store.
    pub async fn trim(&self, topic: &Topic, partition: u32, before: u64) -> Result<(), Error> {
        let topic = self.shared.topic(topic)?;
        self.blocking(move |shared| maintenance::trim(shared, &topic, partition, before)).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let shared = self.shared.clone();
        let done = tokio::task::spawn_blocking(move || work(&shared)).await.map_err(unavailable)?;
        done.inspect_err(|error| self.shared.note(error))
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

#[async_trait::async_trait]
impl Log for Embedded {
    fn home(&self) -> &'static str {
        "embedded"
    }

    async fn ensure_topic(&self, spec: &TopicSpec) -> Result<(), Error> {
        let spec = spec.clone();
        self.blocking(move |shared| shared.ensure_topic(&spec)).await
    }

    async fn check_topic(&self, spec: &TopicSpec) -> Result<(), Error> {
        if self.shared.queue.is_closing() {
            return Err(Error::Closed);
        }
        self.shared.topic(&spec.topic)?.check(spec)
    }

    async fn submit(&self, topic: &Topic, entries: Vec<Entry>) -> Result<Pending, Error> {
        let topic = self.shared.topic(topic)?;
        if entries.is_empty() {
            return Ok(Box::pin(std::future::ready(Vec::new())));
        }
        let (parts, order) = encode(&topic, &entries, self.shared.options.entry_bytes_max)?;
        drop(entries);
        let bytes = parts.iter().map(|part| part.bytes.len()).sum::<usize>();
        let permit = self.reserve(bytes).await?;
        let (reply, told) = oneshot::channel();
        let count = order.len();
        self.shared.queue.push(Submission { topic, parts, order, reply, permit })?;
        Ok(Box::pin(async move {
            match told.await {
                Ok((results, raised)) => {
                    // From here on the submitter knows: the topic may take entries again.
                    drop(raised);
                    results
                }
                Err(_) => vec![Err(Error::Closed); count],
            }
        }))
    }

    async fn read(&self, topic: &Topic, from: &[(u32, u64)]) -> Result<Box<dyn Reader>, Error> {
        if self.shared.queue.is_closing() {
            return Err(Error::Closed);
        }
        let topic = self.shared.topic(topic)?;
        for (partition, offset) in from {
            let standing = topic
                .partition(*partition)
                .ok_or_else(|| Error::TopicNotFound { topic: topic.name.clone() })?
                .standing();
            if !(standing.first..=standing.next).contains(offset) {
                return Err(out_of_range(&topic, *partition, *offset, standing));
            }
        }
        Ok(Box::new(reader::EmbeddedReader::new(self.shared.clone(), topic, from.to_vec(), self.ended.clone())))
    }

    async fn bounds(&self, topic: &Topic) -> Result<Vec<Bounds>, Error> {
        let topic = self.shared.topic(topic)?;
        Ok(topic
            .partitions
            .iter()
            .map(Partition::standing)
            .map(|standing| Bounds { first: standing.first, next: standing.next })
            .collect())
    }

    async fn offsets_at(&self, topic: &Topic, time_ms: i64) -> Result<Vec<u64>, Error> {
        let topic = self.shared.topic(topic)?;
        self.blocking(move |shared| {
            let store = shared.store()?;
            let find = |(place, partition): (Place, &Partition)| {
                let standing = partition.standing();
                let from = store.time_hint(place, time_ms)?.max(standing.first);
                for entry in store.entries(place, from, standing.next)? {
                    let entry = entry?;
                    if entry.timestamp_ms >= time_ms {
                        return Ok(entry.offset);
                    }
                }
                Ok(standing.next)
            };
            topic.places().zip(&topic.partitions).map(find).collect()
        })
        .await
    }

    fn health(&self) -> Health {
        if self.shared.queue.is_closing() {
            return Health::Bad("the log is closed".into());
        }
        if let Some(error) = self.shared.damaged.get() {
            return Health::Bad(format!("{error}: restore the log from its backup"));
        }
        // Asked and not remembered: nobody publishes to a node that says it is not ready, so no write would ever find that there is room again.
        if let Err(error) = self.shared.check_space(0) {
            return Health::Bad(error.to_string());
        }
        match &*self.shared.trouble.lock() {
            None => Health::Good,
            // There is room again; the next write tells whether that was all.
            Some(Error::DiskFull(_)) if self.shared.options.free_bytes_min > 0 => Health::Good,
            Some(error) => Health::Bad(error.to_string()),
        }
    }

    async fn close(&self) {
        self.shared.queue.close();
        let mut ended = self.ended.clone();
        if ended.wait_for(|ended| *ended).await.is_err() {
            tracing::error!("the log's writer ended without shutting its store");
        }
    }
}

impl Embedded {
    /// Waits for room for so many bytes. Submissions get it in the order in which they ask, so a large one is not starved by small ones.
    async fn reserve(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Error> {
        // One that is larger than the whole room goes alone.
        let bytes = bytes.clamp(1, self.shared.options.in_flight_bytes_max);
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.room.clone().acquire_many_owned(permits).await.map_err(|_| Error::Closed)
    }
}

/// Sorts entries by partition and encodes them: parts in order of first appearance, and for each entry its part.
fn encode(topic: &Topical, entries: &[Entry], limit: usize) -> Result<(Vec<Part>, Vec<u32>), Error> {
    let mut builders: Vec<(u32, chunk::Builder)> = Vec::new();
    let mut order = Vec::with_capacity(entries.len());
    for entry in entries {
        let bytes = entry_bytes(entry);
        if bytes > limit {
            return Err(Error::TooLarge { bytes, limit });
        }
        if topic.partition(entry.partition).is_none() {
            return Err(Error::TopicNotFound { topic: topic.name.clone() });
        }
        let index = builders.iter().position(|(partition, _)| *partition == entry.partition).unwrap_or_else(|| {
            builders.push((entry.partition, chunk::Builder::default()));
            builders.len() - 1
        });
        builders[index].1.push(entry);
        order.push(u32::try_from(index).unwrap_or(u32::MAX));
    }
    let parts = builders
        .into_iter()
        .map(|(partition, builder)| Part {
            partition,
            count: builder.count(),
            time_ms_max: builder.time_ms_max(),
            bytes: builder.finish(),
        })
        .collect();
    Ok((parts, order))
}
