//! The one thread that writes: it takes what has been submitted, commits it as one group with one fdatasync, and tells every submitter.
//!
//! While a group is being written the next one gathers, so the group's size follows the disk's speed. What a failure means:
//!
//! - less free space than the configured reserve: the group is refused before anything is written, so the store always has room to tidy itself;
//! - the disk fills nevertheless: fjall may have written half a batch. The store is reopened, which cuts the half off, and what it then holds decides. Where it
//!   cannot be reopened, nobody knows yet;
//! - anything else, a failed fsync first of all: what the disk holds is not known, and the kernel may pretend that it does. The log is poisoned until
//!   the process opens it anew.
//!
//! What was queued behind a failed group fails with it (see [`super::super::fence`]).

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    super::{Error, fence::Raised},
    Shared, Topical,
    store::{self, Place, Store},
};

/// A group is written when it has so many bytes, though more wait.
const GROUP_BYTES_MAX: usize = 4 << 20;
/// The time index gets a row when the largest timestamp has grown by so much: it bounds the rows, and a search reads on from the row before.
const TIME_INDEX_STEP_MS: i64 = 1_000;
/// How long a reopening waits for readers to let go of the store.
const READERS_LEAVE_MAX: Duration = Duration::from_secs(10);

/// What the submitter of entries learns, and the fence that falls when it does.
pub(super) type Told = (Vec<Result<u64, Error>>, Option<Raised>);

/// The entries of one submission for one partition, encoded.
pub(super) struct Part {
    pub(super) partition: u32,
    pub(super) count: u64,
    pub(super) time_ms_max: i64,
    pub(super) bytes: Bytes,
}

/// Keys and values may be personal data.
impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Part")
            .field("partition", &self.partition)
            .field("count", &self.count)
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

/// One call of `submit`.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) topic: Arc<Topical>,
    pub(super) parts: Vec<Part>,
    /// For each entry, which part it is in.
    pub(super) order: Vec<u32>,
    pub(super) reply: oneshot::Sender<Told>,
    /// Given back when the submission has its fate.
    pub(super) permit: OwnedSemaphorePermit,
}

impl Submission {
    fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.bytes.len()).sum()
    }

    /// Tells each entry's offset; `bases` are the parts' first ones.
    fn succeed(self, bases: &[u64]) {
        let mut next = bases.to_vec();
        let offsets = self
            .order
            .iter()
            .map(|part| {
                let next = &mut next[*part as usize];
                *next += 1;
                Ok(*next - 1)
            })
            .collect();
        // A submitter that went away does not need to know.
        let _gone = self.reply.send((offsets, None));
        drop(self.permit);
    }

    fn fail(self, error: &Error) {
        let raised = self.topic.fence.raise(error.clone());
        let results = vec![Err(error.clone()); self.order.len()];
        let _gone = self.reply.send((results, Some(raised)));
        drop(self.permit);
    }
}

/// What waits for the writer. Bounded by the bytes that `submit` lets in.
#[derive(Debug, Default)]
pub(super) struct Queue {
    inner: Mutex<Waiting>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    submissions: VecDeque<Submission>,
    closing: bool,
}

impl Queue {
    /// Fixes a submission's place in the order.
    ///
    /// # Errors
    /// [`Error::Closed`], or what befell an earlier submission to the topic whose submitter has not learnt of it.
    pub(super) fn push(&self, submission: Submission) -> Result<(), Error> {
        let mut waiting = self.inner.lock();
        if waiting.closing {
            return Err(Error::Closed);
        }
        submission.topic.fence.check()?;
        waiting.submissions.push_back(submission);
        self.filled.notify_one();
        Ok(())
    }

    /// Takes nothing more; the writer ends when it has written what waits.
    pub(super) fn close(&self) {
        self.inner.lock().closing = true;
        self.filled.notify_one();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.inner.lock().closing
    }

    /// The next group; `None` when closed and empty.
    fn next_group(&self) -> Option<Vec<Submission>> {
        let mut waiting = self.inner.lock();
        while waiting.submissions.is_empty() {
            if waiting.closing {
                return None;
            }
            self.filled.wait(&mut waiting);
        }
        let mut group = Vec::new();
        let mut bytes = 0;
        while bytes < GROUP_BYTES_MAX
            && let Some(submission) = waiting.submissions.pop_front()
        {
            bytes += submission.bytes();
            group.push(submission);
        }
        Some(group)
    }

    /// Fails a group and everything behind it, so that no submission slips in between.
    /// Returns how many entries that were.
    fn fail(&self, group: Vec<Submission>, error: &Error) -> u64 {
        let mut waiting = self.inner.lock();
        let mut count = 0;
        for submission in group.into_iter().chain(waiting.submissions.drain(..)) {
            count += submission.order.len() as u64;
            submission.fail(error);
        }
        count
    }
}

/// Runs until the queue is closed and empty. Owns every write of entries.
pub(super) fn run(shared: &Shared) {
    while let Some(group) = shared.queue.next_group() {
        match write(shared, &group) {
            Ok(bases) => {
                shared.publish(&group, &bases);
                for (submission, bases) in group.into_iter().zip(bases) {
                    submission.succeed(&bases);
                }
            }
            Err(error) => {
                tracing::error!(error = %error, cause = ?std::error::Error::source(&error), "group refused");
                shared.set_trouble(Some(&error));
                shared.metrics.failed.inc_by(shared.queue.fail(group, &error));
            }
        }
    }
    let Some(store) = shared.take_store(READERS_LEAVE_MAX) else { return };
    match store.sync() {
        Err(error) => tracing::error!(%error, "last sync failed"),
        // Of a poisoned one nobody knows.
        Ok(()) if shared.is_poisoned() => {}
        Ok(()) => shared.note_ends(store.keyspaces()),
    }
}

/// Writes one group. Returns the first offset of every part of every submission.
fn write(shared: &Shared, group: &[Submission]) -> Result<Vec<Vec<u64>>, Error> {
    if shared.is_poisoned() {
        return Err(shared.trouble());
    }
    let bytes: usize = group.iter().map(Submission::bytes).sum();
    shared.check_space(bytes)?;
    let store = match shared.store() {
        Ok(store) => store,
        // An earlier reopening failed, perhaps for want of space.
        Err(_) => shared.reopen(READERS_LEAVE_MAX)?,
    };
    let (bases, outcome) = commit(&store, group);
    drop(store);
    let cause = match outcome {
        Ok(()) => {
            shared.set_trouble(None);
            return Ok(bases);
        }
        Err(cause) => cause,
    };
    let refused = store::is_poisoned(&cause);
    let error = store::error(cause);
    if !refused && !matches!(error, Error::DiskFull(_)) {
        shared.poison(&error);
        return Err(error);
    }
    // Half a batch may lie in the journal, or the whole of it in a buffer that was flushed when the store closed: what the store holds decides.
    shared.reopen(READERS_LEAVE_MAX).map_err(|cause| Error::Unavailable(Arc::new(cause)))?;
    let taken = group.iter().zip(&bases).all(|(submission, bases)| {
        submission.parts.iter().zip(bases).all(|(part, base)| {
            submission.topic.partition(part.partition).is_some_and(|partition| partition.standing().next > *base)
        })
    });
    if taken { Ok(bases) } else { Err(error) }
}

fn commit(store: &Store, group: &[Submission]) -> (Vec<Vec<u64>>, Result<(), fjall::Error>) {
    let mut change = store.change();
    // Few partitions are touched by one group: a list beats a map.
    let mut touched: Vec<(Place, u64, i64)> = Vec::new();
    let mut bases = Vec::with_capacity(group.len());
    for submission in group {
        let mut firsts = Vec::with_capacity(submission.parts.len());
        for part in &submission.parts {
            let place = Place { topic: submission.topic.id, partition: part.partition };
            let index = touched.iter().position(|(known, ..)| *known == place).unwrap_or_else(|| {
                let standing =
                    submission.topic.partition(part.partition).map(super::Partition::standing).unwrap_or_default();
                touched.push((place, standing.next, standing.time_ms_max));
                touched.len() - 1
            });
            let (_, next, time_ms_max) = &mut touched[index];
            change.put_chunk(place, *next, &part.bytes);
            if part.time_ms_max >= time_ms_max.saturating_add(TIME_INDEX_STEP_MS) {
                change.put_time(place, part.time_ms_max, *next);
                *time_ms_max = part.time_ms_max;
            }
            firsts.push(*next);
            *next += part.count;
        }
        bases.push(firsts);
    }
    for (place, next, _) in touched {
        change.put_next(place, next);
    }
    (bases, change.commit())
}
