//! What keeps a failure from leaving a hole.
//!
//! The log promises that what is lost of a partition is a suffix. A caller may have several submissions in flight, and submit one more before it learns
//! that an earlier one failed; were that one stored, the failed one would be a hole behind it, and a repeat of the failed one would be taken for a repeat
//! of something held. So after a failure a topic takes nothing until every [`Pending`](super::Pending) that reports the failure has been taken or dropped.

use std::sync::Arc;

use parking_lot::Mutex;

use super::Error;

/// One topic's fence. Down unless somebody has yet to learn of a failure.
#[derive(Debug, Default)]
pub(super) struct Fence(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Failures that were not taken yet.
    untold: usize,
    /// What befell the newest of them.
    error: Option<Error>,
}

impl Fence {
    /// Whether the topic takes submissions.
    ///
    /// # Errors
    /// What befell a submission whose caller does not know yet.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.0.lock().error.clone().map_or(Ok(()), Err)
    }

    /// Puts the fence up until the returned value is dropped: where the failure is told.
    pub(super) fn raise(self: &Arc<Self>, error: Error) -> Raised {
        let mut state = self.0.lock();
        state.untold += 1;
        state.error = Some(error);
        Raised(self.clone())
    }
}

/// Travels with a failure to whoever waits for it.
#[derive(Debug)]
pub(super) struct Raised(Arc<Fence>);

impl Drop for Raised {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        state.untold -= 1;
        if state.untold == 0 {
            state.error = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_stays_shut_until_the_last_failure_is_told() {
        let fence = Arc::new(Fence::default());
        let first = fence.raise(Error::Closed);
        let second = fence.raise(Error::Closed);
        drop(first);
        assert!(fence.check().is_err());
        drop(second);
        assert!(fence.check().is_ok());
    }
}
