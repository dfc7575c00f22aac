//! The id of a call: what joins its status, its log lines and the answer that its caller holds.
//!
//! Whatever is done for a call is done [within](RequestId::within) it; tasks that it begins inherit it. Ids are made here and never taken from a
//! client, who could write anything into our log lines by them.

use std::fmt;

use tokio::task::futures::TaskLocalFuture;
use uuid::Uuid;

tokio::task_local! {
    static CURRENT: Option<RequestId>;
}

/// A UUID of version 7: in order of time, so that a line is found by the part of a log in which it must stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(Uuid);

impl RequestId {
    /// One that nobody has.
    pub fn mint() -> Self {
        Self(Uuid::now_v7())
    }

    /// Of the call for which this code runs; nothing where it runs for none.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|current| *current).ok().flatten()
    }

    /// Runs a future for this call.
    pub fn within<F: Future>(self, future: F) -> TaskLocalFuture<Option<Self>, F> {
        CURRENT.scope(Some(self), future)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// A future for a task of its own, which goes on with the call for which this code runs.
pub(crate) fn inherited<F: Future>(future: F) -> TaskLocalFuture<Option<RequestId>, F> {
    CURRENT.scope(RequestId::current(), future)
}

/// Runs something that waits for nothing on behalf of a call, or of none.
pub(crate) fn on_behalf<T>(request: Option<RequestId>, tell: impl FnOnce() -> T) -> T {
    CURRENT.sync_scope(request, tell)
}
