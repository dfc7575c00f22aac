//! The view: what each dataset holds now, and held lately, in an embedded store on this node.
//!
//! The log is the truth; the view is what one gets by reading it from the beginning, kept at hand: records by key, by indexed field, by subject; the history
//! of each key for as long as the retention; how far each source has come.
//!
//! Promises:
//!
//! - a batch of entries is applied whole, with the position, or not at all: after a crash the view goes on where it was, nothing twice, nothing missing;
//! - an older source version never overwrites a newer one, and a repeat is stored once; neither does in a compacted log (`restate`);
//! - a [`Reader`] sees one moment; a rebuild is seen when it is complete, and equals by [`Digest`] what it replaces;
//! - one task writes a dataset, in bounded batches; readers never wait for it;
//! - where the log ends before what the view has read of it ([`Ahead`]), the rows may be the only copy that is left: they stay until an operator decides;
//! - a store that failed a write (a full disk, most often) is opened again until it takes writes, and [`View::trouble`] says so meanwhile (`mend`);
//! - rows that cannot be read are never taken for rows that are not there: whoever asks is told so, and [`View::trouble`] says it until the view is made anew.
//!
//! Refuses: to open a store that lacks what it held (`store_mark`); to answer for a dataset that it has not opened yet ([`Error::NotReady`]); to stop at an entry that is no record (it is counted and passed).
//!
//! The subject index lies within each dataset, and a question across datasets asks each that the caller may read: they are tens, a look-up is
//! microseconds, and no other dataset's rows are ever touched on the way to an answer.

mod apply;
mod batch;
mod digest;
mod follow;
mod high_water;
mod layout;
mod loss;
mod mend;
mod metrics;
mod prune;
mod read;
mod restate;
mod row;
mod store;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use shuqiao_schemas::engine::RecordType;
use tokio::sync::{mpsc, oneshot, watch};

pub use apply::Tally;
pub use digest::Digest;
pub use high_water::HighWaters;
pub use loss::{Ahead, ahead};
pub use metrics::{DatasetLabels, EntryLabels, Metrics};
pub use read::{Item, Reader};

use crate::{
    exchange::{
        clock::Clock,
        model::{DatasetId, Position, SourceId},
    },
    log::Topic,
    store_mark,
};
use layout::Space;
use store::Store;

/// What can go wrong in the view.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The store does not answer.
    #[error("the view's store failed")]
    Store(#[source] Arc<fjall::Error>),
    /// The disk under the store does not answer, or is full.
    #[error("the view's disk failed")]
    Disk(#[source] Arc<std::io::Error>),
    /// Another process has the store open.
    #[error("another process has it open")]
    InUse,
    /// Stored bytes have not the form that they should have. Make the view anew.
    #[error("a row of the view is corrupt: {0}")]
    Corrupt(&'static str),
    /// Stored bytes fail their checksum, or a file is missing or cut short. Make the view anew.
    #[error("the files of the view are damaged")]
    Damaged(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// The dataset's rows are not there yet.
    #[error("the view does not hold dataset {0} yet")]
    NotReady(DatasetId),
    /// The position was not applied in time.
    #[error("the view has not applied the position in time")]
    Behind,
    /// The store failed and is being opened again.
    #[error("the view's store is being opened again")]
    Reopening,
    /// The log failed while the view read it.
    #[error("the view could not read the log")]
    Log(#[from] crate::log::Error),
    /// The log has lost what the view has read.
    #[error(transparent)]
    Ahead(#[from] Ahead),
    /// A task of the view ended.
    #[error("the view is closed")]
    Closed,
}

impl From<fjall::Error> for Error {
    fn from(error: fjall::Error) -> Self {
        use fjall::Error as Fjall;
        match error {
            Fjall::Io(io) | Fjall::Storage(fjall::LsmError::Io(io)) => io.into(),
            Fjall::Locked => Self::InUse,
            damage if store_mark::is_stores_damage(&damage) => Self::Damaged(Arc::new(damage)),
            other => Self::Store(Arc::new(other)),
        }
    }
}

/// Of the store's own files.
impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        if store_mark::is_damage(error.kind()) { Self::Damaged(Arc::new(error)) } else { Self::Disk(Arc::new(error)) }
    }
}

impl Error {
    /// Whether the view has to be made anew: its rows cannot be read, or mean nothing.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self, Self::Corrupt(_) | Self::Damaged(_))
    }
}

impl From<Error> for crate::exchange::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::NotReady(_) | Error::Behind | Error::Reopening => Self::ViewBehind,
            Error::Closed => Self::Draining,
            Error::Corrupt(_) | Error::Damaged(_) => Self::DataLoss(Arc::new(error)),
            Error::Store(_) | Error::Disk(_) | Error::InUse => Self::Internal(Arc::new(error)),
            Error::Ahead(_) => Self::LogUnavailable(Arc::new(error)),
            Error::Log(error) => error.into(),
        }
    }
}

/// How the view is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of the store's block cache.
    pub cache_bytes: u64,
    /// Entries applied in one batch, at most.
    pub batch_entries_max: usize,
    /// Bytes of entries applied in one batch, about.
    pub batch_bytes_max: usize,
    /// How often history beyond retention is removed and lag is measured.
    pub upkeep_interval: Duration,
    /// How long what was seen of the sources may stay unwritten, at most; an eighth of the dataset's retention where that is less.
    pub high_water_interval: Duration,
    /// By which history ages.
    pub clock: Clock,
    /// What is counted.
    pub metrics: Metrics,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 32 << 20,
            batch_entries_max: 5_000,
            batch_bytes_max: 4 << 20,
            upkeep_interval: Duration::from_secs(5),
            high_water_interval: Duration::from_secs(60),
            clock: Clock::system(),
            metrics: Metrics::default(),
        }
    }
}

/// A dataset as the view needs to know it.
#[derive(Clone)]
pub struct Target {
    /// Its id.
    pub id: DatasetId,
    /// Where its records lie.
    pub topic: Topic,
    /// Its standard, compiled.
    pub compiled: Arc<RecordType>,
    /// How long history is kept, milliseconds.
    pub retention_ms: u64,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What a rebuild replaced and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// Before, up to the same position.
    pub before: Digest,
    /// After.
    pub after: Digest,
}

/// A request to the task that writes a dataset.
enum Request {
    Rebuild(oneshot::Sender<Result<Rebuilt, Error>>),
}

/// One dataset: which rows are live and how far they go.
struct Held {
    space: AtomicU32,
    applied: watch::Sender<Vec<u64>>,
    requests: Mutex<Option<mpsc::Sender<Request>>>,
}

/// The view of one node.
pub struct View {
    path: PathBuf,
    opened_store: RwLock<mend::Opened>,
    /// Held by whoever opens the store again.
    mending: tokio::sync::Mutex<()>,
    trouble: Arc<mend::Trouble>,
    options: Options,
    datasets: RwLock<HashMap<DatasetId, Arc<Held>>>,
    lost: Mutex<BTreeMap<DatasetId, Ahead>>,
    opened: watch::Sender<()>,
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("datasets", &self.datasets.read().len()).finish_non_exhaustive()
    }
}

impl View {
    /// Opens the store in a directory, or makes it. Blocking.
    ///
    /// # Errors
    /// [`Error::InUse`] where another process has it open; [`Error::Disk`]; [`Error::Store`]; [`Error::Damaged`] or [`Error::Corrupt`] where its files are
    /// damaged, or lack what it held.
    pub fn open(path: &Path, options: Options) -> Result<Arc<Self>, Error> {
        let new = std::fs::read_dir(path).map_or(true, |mut held| held.next().is_none());
        let (store, live) = Store::open(path, options.cache_bytes).inspect_err(|error| {
            // Half a store in which nothing ever was: left there it would pass for a damaged one.
            if new && matches!(error, Error::Disk(cause) if cause.kind() == std::io::ErrorKind::StorageFull) {
                drop(std::fs::remove_dir_all(path));
            }
        })?;
        let mut datasets = HashMap::new();
        for found in live {
            let applied = store.applied(found.space)?;
            datasets.insert(found.dataset, Arc::new(Held::new(found.space, applied)));
        }
        Ok(Arc::new(Self {
            path: path.to_owned(),
            trouble: store.trouble.clone(),
            opened_store: RwLock::new(mend::Opened::new(store)),
            mending: tokio::sync::Mutex::default(),
            options,
            datasets: RwLock::new(datasets),
            lost: Mutex::default(),
            opened: watch::Sender::new(()),
        }))
    }

    /// Next offset of each partition that the view has not applied; empty for a dataset that it does not hold.
    pub fn applied(&self, dataset: &DatasetId) -> Vec<u64> {
        self.held(dataset).map(|held| held.applied.borrow().clone()).unwrap_or_default()
    }

    /// Waits until everything below these next offsets is applied: `(partition, offset + 1)` of what must be seen.
    ///
    /// # Errors
    /// [`Error::Behind`] when the time is over.
    pub async fn wait_applied(
        &self,
        dataset: &DatasetId,
        until: &[(u32, u64)],
        timeout: Duration,
    ) -> Result<(), Error> {
        let reached = |applied: &Vec<u64>| {
            until.iter().all(|(partition, next)| {
                let index = usize::try_from(*partition).unwrap_or(usize::MAX);
                applied.get(index).is_some_and(|applied| applied >= next)
            })
        };
        let wait = async {
            let mut opened = self.opened.subscribe();
            loop {
                opened.borrow_and_update();
                if let Some(held) = self.held(dataset) {
                    let mut applied = held.applied.subscribe();
                    if applied.wait_for(reached).await.is_ok() {
                        return Ok(());
                    }
                }
                // The sender lives in `self`, so this waits for the next dataset and never fails.
                opened.changed().await.map_err(|_| Error::Closed)?;
            }
        };
        tokio::time::timeout(timeout, wait).await.unwrap_or(Err(Error::Behind))
    }

    /// Largest sequence of a source that the view has seen, a partition. Complete up to [`View::applied`].
    ///
    /// # Errors
    /// [`Error::NotReady`], [`Error::Store`].
    pub fn high_water(&self, dataset: &DatasetId, source: &SourceId) -> Result<Vec<(u32, u64)>, Error> {
        self.reader(dataset)?.high_water(source.as_str())
    }

    /// The dataset at this moment.
    ///
    /// # Errors
    /// [`Error::NotReady`], [`Error::Reopening`].
    pub fn reader(&self, dataset: &DatasetId) -> Result<Reader, Error> {
        loop {
            let store = self.store()?;
            let held = self.held(dataset).ok_or_else(|| Error::NotReady(dataset.clone()))?;
            let space = held.space.load(Ordering::Acquire);
            let snapshot = store.database.snapshot();
            // A rebuild swaps the space first and drops the old rows afterwards: if the number still stands, the snapshot has all of its rows.
            if held.space.load(Ordering::Acquire) == space {
                return Ok(Reader { store, space, snapshot });
            }
        }
    }

    /// The live record of a key.
    ///
    /// # Errors
    /// [`Error::NotReady`], [`Error::Store`].
    pub fn get(&self, dataset: &DatasetId, key: &str) -> Result<Option<Item>, Error> {
        self.reader(dataset)?.get(key)
    }

    /// See [`Reader::state_before`]. The caller has waited until the position is applied.
    ///
    /// # Errors
    /// [`Error::NotReady`], [`Error::Store`].
    pub fn state_before(&self, dataset: &DatasetId, key: &str, position: Position) -> Result<Option<Item>, Error> {
        self.reader(dataset)?.state_before(key, position)
    }

    /// Count and digest of the live records: what a source and a sink compare with. Blocking, costs a scan.
    ///
    /// # Errors
    /// [`Error::NotReady`], [`Error::Store`].
    pub fn records_digest(&self, dataset: &DatasetId) -> Result<(u64, [u8; 32]), Error> {
        self.reader(dataset)?.records_digest()
    }

    /// The digest of every row. Blocking, costs a scan.
    ///
    /// # Errors
    /// [`Error::NotReady`], [`Error::Store`].
    pub fn digest(&self, dataset: &DatasetId) -> Result<Digest, Error> {
        self.reader(dataset)?.digest()
    }

    /// Reads the dataset anew from the log's beginning, beside the live rows, and puts the new ones in their place. Queries see the old ones meanwhile; they
    /// stand still until the rebuild is done.
    ///
    /// # Errors
    /// [`Error::NotReady`] where no task follows the dataset; [`Error::Log`]; [`Error::Store`].
    pub async fn rebuild(&self, dataset: &DatasetId) -> Result<Rebuilt, Error> {
        let requests = self.held(dataset).and_then(|held| held.requests.lock().clone());
        let requests = requests.ok_or_else(|| Error::NotReady(dataset.clone()))?;
        let (answer, rebuilt) = oneshot::channel();
        requests.send(Request::Rebuild(answer)).await.map_err(|_| Error::Closed)?;
        rebuilt.await.map_err(|_| Error::Closed)?
    }

    fn held(&self, dataset: &DatasetId) -> Option<Arc<Held>> {
        self.datasets.read().get(dataset).cloned()
    }
}

impl Held {
    fn new(space: Space, applied: Vec<u64>) -> Self {
        Self { space: AtomicU32::new(space), applied: watch::Sender::new(applied), requests: Mutex::new(None) }
    }
}
