//! The view's store is opened again where it failed.
//!
//! After one write that failed, a full disk's most often, fjall takes no further one: half of the write may lie in the journal, and only opening cuts it off. So
//! the first follower that is told gives the store up: readers are told to come again, the other followers leave their sessions, and once nobody uses
//! the store any more it is opened, again and again until it opens. What it holds then is what counts; the log has the rest.
//!
//! fjall's own lock on the directory says when the last reader has gone.
//!
//! Files that are damaged are mended by nothing here: neither a rebuild, which must read what it takes away, nor a merge gets past them. The view goes on answering from what
//! can be read, and says of what cannot that it is damaged, until somebody has moved the directory away and it is made anew.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Error, Held, Space, View, follow::blocking, store::Store};
use crate::{chain::chain, exchange::model::DatasetId};

const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);
const DAMAGED: &str = "the view's files are damaged: stop the node, move the view's directory away and start it again; the view is built anew from the log";

/// What is wrong with the view, for an operator. Readers and followers share it.
pub(super) struct Trouble {
    path: PathBuf,
    told: watch::Sender<Option<String>>,
    is_damaged: AtomicBool,
}

impl Trouble {
    pub(super) fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), told: watch::Sender::new(None), is_damaged: AtomicBool::new(false) }
    }

    /// Takes note of what somebody met who read or wrote. Damage is told once and stays.
    pub(super) fn note(&self, error: &Error) {
        if error.is_damage() && !self.is_damaged.swap(true, Ordering::AcqRel) {
            tracing::error!(path = %self.path.display(), error = %chain(error), "{DAMAGED}");
            self.told.send_replace(Some(DAMAGED.into()));
        }
    }

    fn failed(&self, error: &Error) {
        self.note(error);
        if !self.is_damaged.load(Ordering::Acquire) {
            self.told.send_replace(Some(told(error)));
        }
    }

    fn passed(&self) {
        if !self.is_damaged.load(Ordering::Acquire) {
            self.told.send_replace(None);
        }
    }
}

/// The store, unless it is being opened again, and what is cancelled when it is given up.
pub(super) struct Opened {
    store: Option<Store>,
    given_up: CancellationToken,
}

impl Opened {
    pub(super) fn new(store: Store) -> Self {
        Self { store: Some(store), given_up: CancellationToken::new() }
    }
}

impl View {
    /// Why the view takes nothing in now, or cannot answer everything, for an operator; `None` while all is well.
    pub fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.trouble.told.subscribe()
    }

    /// The store, to be let go of soon: while somebody holds it, it cannot be opened again.
    pub(super) fn store(&self) -> Result<Store, Error> {
        self.opened_store.read().store.clone().ok_or(Error::Reopening)
    }

    /// Cancelled when the store that is open now is given up.
    pub(super) fn given_up(&self) -> CancellationToken {
        self.opened_store.read().given_up.clone()
    }

    /// Gives the store up that `failed` belongs to, if nobody has yet, and returns when there is one again. Cancel safe: the next caller goes on.
    pub(super) async fn mend(&self, failed: &CancellationToken, why: &Error) {
        let _turn = self.mending.lock().await;
        if !failed.is_cancelled() {
            tracing::error!(error = %why, cause = ?std::error::Error::source(why), "the view's store failed and is opened again");
            self.trouble.failed(why);
            let store = self.opened_store.write().store.take();
            failed.cancel();
            // Closing waits for the store's own threads.
            let closing = move || {
                drop(store);
                Ok(())
            };
            drop(blocking(closing).await);
        }
        let mut delay = RETRY_MIN;
        while self.opened_store.read().store.is_none() {
            let (path, cache_bytes) = (self.path.clone(), self.options.cache_bytes);
            let opened = blocking(move || {
                let (store, live) = Store::open(&path, cache_bytes)?;
                let live = live.into_iter().map(|found| Ok((found.dataset, found.space, store.applied(found.space)?)));
                let live = live.collect::<Result<Vec<_>, Error>>()?;
                Ok((store, live))
            });
            match opened.await {
                Ok((store, live)) => self.reopened(store, live),
                Err(error) => {
                    self.trouble.failed(&error);
                    tokio::time::sleep(delay).await;
                    delay = (delay * 2).min(RETRY_MAX);
                }
            }
        }
    }

    /// Of a write whose outcome was not known, the store knows it now: which rows are live, and how far they go.
    fn reopened(&self, store: Store, live: Vec<(DatasetId, Space, Vec<u64>)>) {
        let mut datasets = self.datasets.write();
        datasets.retain(|id, _| live.iter().any(|(found, ..)| found == id));
        for (id, space, applied) in live {
            match datasets.get(&id) {
                Some(held) => {
                    held.space.store(space, Ordering::Release);
                    held.applied.send_replace(applied);
                }
                None => {
                    datasets.insert(id, Arc::new(Held::new(space, applied)));
                }
            }
        }
        *self.opened_store.write() = Opened::new(Store { trouble: self.trouble.clone(), ..store });
        drop(datasets);
        self.opened.send_replace(());
        self.trouble.passed();
        tracing::warn!("the view's store is open again");
    }
}

fn told(error: &Error) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(" ({cause})")).unwrap_or_default();
    format!(
        "the store failed and is being opened again; is its disk full? If it is not and this comes again and again, stop the node and move the view's directory \
         away: the view is built anew from the log{cause}"
    )
}
