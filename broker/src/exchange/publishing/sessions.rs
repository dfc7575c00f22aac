//! Which session of a source is the newest, and what its sessions still have in flight.
//!
//! One entry a source and dataset. Its in-flight count outlives a session: a stream that broke leaves batches on their way to the log, and the next session waits
//! for them before it asks the log where the source stands.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::exchange::{
    Error,
    model::{DatasetId, SourceId},
};

type Key = (DatasetId, SourceId);

#[derive(Debug)]
struct Entry {
    /// Cancelled when a newer session opens.
    newest: CancellationToken,
    in_flight: Arc<watch::Sender<usize>>,
    /// The newest session is gone, and left batches in flight.
    left: bool,
}

/// The sessions of one node. Bounded by the systems that own a dataset: each has one entry a dataset, which goes when nothing is in flight and no session is open.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<Key, Entry>>);

/// A session's place: the newest of its source until it is fenced.
#[derive(Debug)]
pub(super) struct Place {
    sessions: Arc<Sessions>,
    key: Key,
    fenced: CancellationToken,
    in_flight: Arc<watch::Sender<usize>>,
}

/// Counts one batch as in flight until it is dropped.
#[derive(Debug)]
pub(super) struct InFlight {
    sessions: Arc<Sessions>,
    key: Key,
    count: Arc<watch::Sender<usize>>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut entries = self.sessions.0.lock();
        self.count.send_modify(|count| *count -= 1);
        if *self.count.borrow() == 0 && entries.get(&self.key).is_some_and(|entry| entry.left) {
            entries.remove(&self.key);
        }
    }
}

impl Sessions {
    /// Makes a newer session of the source, fencing the older one.
    pub(super) fn take_over(self: &Arc<Self>, dataset: DatasetId, source: SourceId) -> Place {
        let key = (dataset, source);
        let fenced = CancellationToken::new();
        let mut entries = self.0.lock();
        let in_flight = match entries.get_mut(&key) {
            Some(entry) => {
                entry.newest.cancel();
                entry.newest = fenced.clone();
                entry.left = false;
                entry.in_flight.clone()
            }
            None => {
                let in_flight = Arc::new(watch::Sender::new(0));
                entries
                    .insert(key.clone(), Entry { newest: fenced.clone(), in_flight: in_flight.clone(), left: false });
                in_flight
            }
        };
        Place { sessions: self.clone(), key, fenced, in_flight }
    }
}

impl Place {
    /// Waits until nothing of the source is in flight.
    pub(super) async fn settled(&self, timeout: Duration) -> Result<(), Error> {
        let mut in_flight = self.in_flight.subscribe();
        let settled = async {
            // The sender lives in `self`, so the channel cannot close.
            drop(in_flight.wait_for(|count| *count == 0).await);
        };
        tokio::select! {
            () = self.fenced.cancelled() => Err(Error::SourceFenced),
            outcome = tokio::time::timeout(timeout, settled) => outcome.map_err(|_| Error::QuotaExhausted {
                what: "the wait for an older session's batches",
                retry_after: Duration::from_secs(5),
            }),
        }
    }

    /// Whether the session is still the newest.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.fenced.is_cancelled() { Err(Error::SourceFenced) } else { Ok(()) }
    }

    /// Cancelled when a newer session opens.
    pub(super) fn fenced(&self) -> CancellationToken {
        self.fenced.clone()
    }

    /// Counts a batch as in flight. Under the same lock as [`Sessions::take_over`]: either the newer session sees the batch, or the batch sees the newer session.
    pub(super) fn begin(&self) -> Result<InFlight, Error> {
        let _entries = self.sessions.0.lock();
        self.check()?;
        self.in_flight.send_modify(|count| *count += 1);
        Ok(InFlight { sessions: self.sessions.clone(), key: self.key.clone(), count: self.in_flight.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut entries = self.sessions.0.lock();
        if self.fenced.is_cancelled() {
            return;
        }
        // The entry stays while batches are in flight: the next session must find them. The last of them takes it away.
        if *self.in_flight.borrow() == 0 {
            entries.remove(&self.key);
        } else if let Some(entry) = entries.get_mut(&self.key) {
            entry.left = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        ("a.b".parse().expect("well-formed"), "department/a/system/s".parse().expect("well-formed"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_newer_session_fences_the_older_and_waits_for_what_it_had_in_flight() {
        let sessions = Arc::new(Sessions::default());
        let (dataset, source) = key();
        let older = sessions.take_over(dataset.clone(), source.clone());
        let batch = older.begin().expect("the newest");
        let newer = sessions.take_over(dataset, source);
        assert!(matches!(older.begin(), Err(Error::SourceFenced)));
        assert!(matches!(newer.settled(Duration::from_secs(1)).await, Err(Error::QuotaExhausted { .. })));
        drop(older);
        drop(batch);
        newer.settled(Duration::from_secs(1)).await.expect("nothing is in flight");
        newer.check().expect("still the newest");
        drop(newer);
        assert!(sessions.0.lock().is_empty(), "an entry nobody needs is gone");
    }

    #[test]
    fn a_session_that_leaves_batches_in_flight_is_forgotten_with_the_last_of_them() {
        let sessions = Arc::new(Sessions::default());
        let (dataset, source) = key();
        let place = sessions.take_over(dataset.clone(), source.clone());
        let (first, second) = (place.begin().expect("the newest"), place.begin().expect("the newest"));
        drop(place);
        drop(first);
        assert!(!sessions.0.lock().is_empty(), "the next session must find what is in flight");
        drop(second);
        assert!(sessions.0.lock().is_empty());
        // One that comes in time keeps its own place.
        let place = sessions.take_over(dataset.clone(), source.clone());
        let batch = place.begin().expect("the newest");
        drop(place);
        let newer = sessions.take_over(dataset, source);
        drop(batch);
        assert!(!sessions.0.lock().is_empty());
        drop(newer);
        assert!(sessions.0.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_is_overtaken_while_it_opens_ends() {
        let sessions = Arc::new(Sessions::default());
        let (dataset, source) = key();
        let first = sessions.take_over(dataset.clone(), source.clone());
        let _batch = first.begin().expect("the newest");
        let second = sessions.take_over(dataset.clone(), source.clone());
        let waiting = second.settled(Duration::from_secs(60));
        let _third = sessions.take_over(dataset, source);
        assert!(matches!(waiting.await, Err(Error::SourceFenced)));
    }
}
