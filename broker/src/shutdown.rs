//! How the process ends: every task is known, told to stop, and waited for within a grace period.

use std::{future::Future, time::Duration};

use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

use crate::request;

/// The tasks of one node. Clones share the same set.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    token: CancellationToken,
}

impl Tasks {
    /// Runs a task that the shutdown waits for. The task watches [`Tasks::token`] and ends soon after it is cancelled. Begun for a call, it is a part of it:
    /// its lines and statuses are the call's.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tracker.spawn(request::inherited(future).instrument(tracing::info_span!("task", name)))
    }

    /// The same for what serves others than the call that happens to begin it, and outlives it.
    pub fn spawn_apart<F>(&self, name: &'static str, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tracker.spawn(future.instrument(tracing::info_span!(parent: None, "task", name)))
    }

    /// Cancelled when the process is told to stop.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Tells every task to stop and waits for them. Returns how many were still running when the grace period ended.
    pub async fn drain(&self, grace: Duration) -> usize {
        self.token.cancel();
        self.tracker.close();
        match tokio::time::timeout(grace, self.tracker.wait()).await {
            Ok(()) => 0,
            Err(_) => self.tracker.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::RequestId;

    #[tokio::test]
    async fn a_task_belongs_to_the_call_that_begins_it_unless_it_serves_others() {
        let _kept = tracing::subscriber::set_default(tracing_subscriber::registry());
        let tasks = Tasks::default();
        let id = RequestId::mint();
        let call = tracing::info_span!("call");
        let begin = async {
            let own = tasks.spawn("own", async { (RequestId::current(), parents()) });
            let apart = tasks.spawn_apart("apart", async { (RequestId::current(), parents()) });
            (own.await.expect("ends"), apart.await.expect("ends"))
        };
        let (own, apart) = id.within(begin).instrument(call).await;
        assert_eq!(own, (Some(id), vec!["task", "call"]));
        assert_eq!(apart, (None, vec!["task"]));
        assert_eq!(RequestId::current(), None, "the call is over");
        assert_eq!(tasks.drain(Duration::from_secs(1)).await, 0);
    }

    /// Names of the spans around this code, innermost first.
    fn parents() -> Vec<&'static str> {
        use tracing_subscriber::registry::LookupSpan;
        // Asked for outside: within, there is no current one.
        let id = tracing::Span::current().id();
        tracing::dispatcher::get_default(|current| {
            let registry = current.downcast_ref::<tracing_subscriber::Registry>().expect("the registry");
            let span = id.as_ref().and_then(|id| registry.span(id));
            span.map(|span| span.scope().map(|span| span.name()).collect()).unwrap_or_default()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn drain_waits_for_tasks_and_counts_those_that_do_not_end() {
        let tasks = Tasks::default();
        let token = tasks.token();
        tasks.spawn("polite", async move { token.cancelled().await });
        assert_eq!(tasks.drain(Duration::from_secs(1)).await, 0);

        let tasks = Tasks::default();
        tasks.spawn("deaf", std::future::pending::<()>());
        assert_eq!(tasks.drain(Duration::from_secs(1)).await, 1);
    }
}
