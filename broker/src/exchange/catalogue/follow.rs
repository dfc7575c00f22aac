//! Reads the catalogue's log, applies each entry in order, and tells who waits for a verdict.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Metrics,
    apply::{Context, Stop, Verdict, apply},
    command::{Entry, Undecodable},
    snapshot::Snapshot,
    unrecorded::{Change, Unrecorded},
};
use crate::{
    exchange::Error,
    log::{self, Bounds, Reader, StoredEntry},
};

/// Entries of one read: a replay publishes one snapshot a read, not one an entry.
const ENTRIES_AT_ONCE: usize = 1_000;
const BYTES_AT_ONCE: usize = 4 << 20;
/// How long a replay waits for the next entry that the log says it holds.
const REPLAY_PATIENCE: Duration = Duration::from_secs(30);
/// Before the log is asked again after it did not answer.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Why the follower stopped.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("entry {offset} of the catalogue cannot be read")]
    Undecodable {
        offset: u64,
        #[source]
        cause: Undecodable,
    },
    #[error("entry {offset} of the catalogue cannot be held")]
    Stop {
        offset: u64,
        #[source]
        cause: Stop,
    },
    #[error("the catalogue's log has lost entries")]
    Lost(#[source] log::Error),
}

/// Whether the follower stopped, for everybody who must know.
#[derive(Clone, Debug, Default)]
pub(super) struct Failure(Arc<ArcSwapOption<Error>>);

impl Failure {
    pub(super) fn get(&self) -> Option<Error> {
        self.0.load().as_deref().cloned()
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        self.get().map_or(Ok(()), Err)
    }
}

/// Commands of this node whose verdict is awaited. Bounded by the permits of `execute`.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<HashMap<Uuid, oneshot::Sender<Verdict>>>);

impl Waiting {
    /// From now on the verdict of this command is kept for the ticket's holder.
    pub(super) fn enter(self: &Arc<Self>, id: Uuid) -> Ticket {
        let (sender, receiver) = oneshot::channel();
        self.0.lock().insert(id, sender);
        Ticket { id, waiting: self.clone(), receiver }
    }

    fn tell(&self, id: Uuid, verdict: impl FnOnce() -> Verdict) {
        if let Some(sender) = self.0.lock().remove(&id) {
            // Whoever waited may be gone: the verdict stands without it.
            drop(sender.send(verdict()));
        }
    }

    /// Nobody will tell any more.
    fn close(&self) {
        self.0.lock().clear();
    }
}

/// One awaited verdict. Dropped, it waits no longer.
#[derive(Debug)]
pub(super) struct Ticket {
    id: Uuid,
    waiting: Arc<Waiting>,
    receiver: oneshot::Receiver<Verdict>,
}

impl Ticket {
    /// The verdict; `None` where the follower has ended.
    pub(super) async fn receive(mut self) -> Option<Verdict> {
        (&mut self.receiver).await.ok()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.waiting.0.lock().remove(&self.id);
    }
}

pub(super) struct Follower {
    pub(super) reader: Box<dyn Reader>,
    pub(super) state: Snapshot,
    pub(super) context: Context,
    pub(super) newest: Arc<ArcSwap<Snapshot>>,
    pub(super) announce: watch::Sender<u64>,
    pub(super) waiting: Arc<Waiting>,
    pub(super) failure: Failure,
    pub(super) metrics: Metrics,
    pub(super) unrecorded: Arc<Unrecorded>,
}

impl Follower {
    /// Applies what the log held when it was opened.
    pub(super) async fn replay(&mut self, until: Bounds) -> Result<(), Error> {
        while until.first < until.next && self.state.epoch < until.next {
            let next = self.reader.next(ENTRIES_AT_ONCE, BYTES_AT_ONCE);
            let entries = tokio::time::timeout(REPLAY_PATIENCE, next)
                .await
                .map_err(|late| Error::LogUnavailable(Arc::new(late)))??;
            self.apply_all(&entries).map_err(|broken| Error::DataLoss(Arc::new(broken)))?;
        }
        Ok(())
    }

    /// Follows until the process stops, or until it cannot go on; then it stops the process.
    pub(super) async fn run(mut self, token: CancellationToken) {
        let broken = tokio::select! {
            () = token.cancelled() => None,
            broken = self.follow() => broken,
        };
        if let Some(broken) = broken {
            let cause = std::error::Error::source(&broken).map(ToString::to_string);
            tracing::error!(error = %broken, cause, "the catalogue stops and ends this node");
            self.failure.0.store(Some(Arc::new(Error::DataLoss(Arc::new(broken)))));
            token.cancel();
        }
        self.waiting.close();
    }

    /// `None` where the log was closed.
    async fn follow(&mut self) -> Option<Broken> {
        loop {
            match self.reader.next(ENTRIES_AT_ONCE, BYTES_AT_ONCE).await {
                Ok(entries) => {
                    if let Err(broken) = self.apply_all(&entries) {
                        return Some(broken);
                    }
                }
                Err(log::Error::Closed) => return None,
                Err(error @ (log::Error::Unavailable(_) | log::Error::DiskFull(_))) => {
                    tracing::warn!(%error, "the catalogue's log does not answer");
                    tokio::time::sleep(RETRY_DELAY).await;
                }
                Err(error) => return Some(Broken::Lost(error)),
            }
        }
    }

    /// Applies entries, publishes one snapshot, then tells the verdicts: who is told finds its change in the snapshot.
    fn apply_all(&mut self, entries: &[StoredEntry]) -> Result<(), Broken> {
        let mut verdicts = Vec::with_capacity(entries.len());
        let applied = entries.iter().try_for_each(|stored| {
            let offset = stored.offset;
            let entry =
                Entry::decode(stored.value.as_deref()).map_err(|cause| Broken::Undecodable { offset, cause })?;
            let before = self.state.clone();
            let change = Change::new(&before, offset, &entry);
            let verdict = apply(&mut self.state, offset, &entry, &self.context).map_err(|cause| {
                // Half of an entry is no catalogue.
                self.state = before;
                Broken::Stop { offset, cause }
            })?;
            // Before it is told: whoever is told puts it on the trail.
            if verdict.as_ref().is_ok_and(|outcome| outcome.changed) {
                self.unrecorded.add(change);
            }
            verdicts.push((entry.id, verdict));
            Ok(())
        });
        let epoch = self.state.epoch;
        self.newest.store(Arc::new(self.state.clone()));
        self.announce.send_replace(epoch);
        self.metrics.epoch.set(i64::try_from(epoch).unwrap_or(i64::MAX));
        for (id, verdict) in verdicts {
            self.waiting.tell(id, || verdict);
        }
        applied
    }
}
