//! The reading half of a source, and the two halves together.
//!
//! One task polls both: reading from the legacy system and keeping what was read, and sending what is kept. They meet only in the state file
//! and in [`Signals`]. Reading pauses while the outbox is full, and while numbering is not adopted.

use std::{pin::pin, sync::atomic::Ordering, time::Duration};

use tokio::time::Instant;

use super::{
    Error, Runner,
    publish::{Publisher, Signals},
};
use crate::{AdapterError, Batch, Source, config::Publish, retry::Backoff};

/// Settling interrupts a waiting read, so it is not done more often than this.
const SETTLE_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn run(runner: &Runner<'_>, publish: &Publish, source: Box<dyn Source>) -> Result<(), Error> {
    let signals = Signals::default();
    let (_, bytes) = runner.state.outbox_size().await?;
    signals.outbox_bytes.store(bytes, Ordering::Release);
    runner.options.metrics.outbox_bytes.set(bytes);

    let publisher = Publisher { runner, publish, signals: &signals };
    let mut reader = Reader {
        runner,
        publish,
        signals: &signals,
        source,
        failures: Backoff::default(),
        settle_failures: Backoff::default(),
        settle_at: Instant::now() + SETTLE_EVERY,
        settle_due: true,
    };
    let mut sending = pin!(publisher.run());
    let outcome = loop {
        tokio::select! {
            sent = &mut sending => break sent,
            step = reader.step() => if let Err(error) = step {
                // What is kept already is worth an attempt; what is not acknowledged then waits for the next run.
                reader.end();
                let grace = runner.config.run.shutdown_grace;
                if tokio::time::timeout(grace, &mut sending).await.is_err() {
                    tracing::warn!("the outbox is not empty; it is sent by the next run");
                }
                break Err(error);
            },
        }
    };
    // Also after an error: what is durable is settled. The error that ended the run is the one worth telling.
    match (outcome, reader.settle_now().await) {
        (Ok(()), settled) => settled,
        (Err(error), _) => Err(error),
    }
}

struct Reader<'a> {
    runner: &'a Runner<'a>,
    publish: &'a Publish,
    signals: &'a Signals,
    source: Box<dyn Source>,
    failures: Backoff,
    settle_failures: Backoff,
    settle_at: Instant,
    settle_due: bool,
}

/// What a wait for the source ended with.
enum Read {
    Batch(Batch),
    Ended,
    Failed(AdapterError),
    TimedOut,
    /// Something else comes first.
    Interrupted,
}

impl Reader<'_> {
    /// One turn: settles what is due, then reads and keeps one batch. Returns early where it has to wait; never busy.
    async fn step(&mut self) -> Result<(), Error> {
        if self.settle_due && Instant::now() >= self.settle_at {
            self.settle().await?;
        }
        let full = self.signals.outbox_bytes.load(Ordering::Acquire) >= self.publish.outbox_bytes.as_u64();
        let idle = full
            || !self.signals.adopted.load(Ordering::Acquire)
            || self.signals.ended.load(Ordering::Acquire)
            || self.runner.token.is_cancelled();
        if idle {
            self.until_something_changes().await;
            return Ok(());
        }
        match self.read().await {
            Read::Batch(batch) => self.keep(&batch).await,
            Read::Ended => {
                tracing::info!("the source has ended");
                self.end();
                Ok(())
            }
            Read::Failed(cause) => {
                let failure = Error::Adapter { verb: "reads", cause };
                self.runner.wait(&mut self.failures, "read", failure).await.map(drop)
            }
            Read::TimedOut if self.runner.options.once => {
                let cause = AdapterError::transient("the source yielded nothing within run.source_timeout");
                let failure = Error::Adapter { verb: "reads", cause };
                self.runner.wait(&mut self.failures, "read", failure).await.map(drop)
            }
            Read::TimedOut | Read::Interrupted => Ok(()),
        }
    }

    async fn read(&mut self) -> Read {
        let mut next = pin!(self.source.next_batch());
        let deadline = Instant::now() + self.runner.config.run.source_timeout;
        loop {
            tokio::select! {
                batch = &mut next => return match batch {
                    Ok(Some(batch)) => Read::Batch(batch),
                    Ok(None) => Read::Ended,
                    Err(error) => Read::Failed(error),
                },
                () = self.signals.acknowledged.notified(), if !self.settle_due => self.settle_due = true,
                // `next_batch` is cancel safe: dropping it here costs a query, never a row.
                () = tokio::time::sleep_until(self.settle_at), if self.settle_due => return Read::Interrupted,
                () = self.runner.token.cancelled() => return Read::Interrupted,
                () = tokio::time::sleep_until(deadline) => return Read::TimedOut,
            }
        }
    }

    async fn keep(&mut self, batch: &Batch) -> Result<(), Error> {
        let recorded = loop {
            match self.runner.state.record(batch).await {
                Ok(recorded) => break recorded,
                // The rows are in our hands; they are kept here until the disk has room again.
                Err(error) => {
                    if !self.runner.wait(&mut self.failures, "keep", error.into()).await? {
                        return Ok(());
                    }
                }
            }
        };
        self.failures.reset();
        let metrics = &self.runner.options.metrics;
        metrics.read.inc_by(recorded.read);
        metrics.unchanged.inc_by(recorded.unchanged);
        metrics.dead_letters.inc_by(recorded.dead_letters);
        metrics.warned(&recorded.warnings);
        metrics.outbox_bytes.set(self.signals.outbox_grew(recorded.bytes));
        self.settle_due = true;
        self.signals.recorded.notify_one();
        Ok(())
    }

    fn end(&self) {
        self.signals.ended.store(true, Ordering::Release);
        self.signals.recorded.notify_one();
    }

    async fn until_something_changes(&mut self) {
        tokio::select! {
            () = self.signals.acknowledged.notified() => self.settle_due = true,
            () = tokio::time::sleep_until(self.settle_at), if self.settle_due => {}
        }
    }

    async fn settle(&mut self) -> Result<(), Error> {
        match self.settle_now().await {
            Ok(()) => {
                self.settle_failures.reset();
                self.settle_due = false;
                self.settle_at = Instant::now() + SETTLE_EVERY;
                Ok(())
            }
            Err(failure) => {
                // The wait is spent inside: settling late harms nobody, so reading need not hurry past it.
                self.runner.wait(&mut self.settle_failures, "settle", failure).await.map(drop)
            }
        }
    }

    async fn settle_now(&mut self) -> Result<(), Error> {
        let Some((id, position)) = self.runner.state.to_settle().await? else { return Ok(()) };
        let timeout = self.runner.config.run.source_timeout;
        match tokio::time::timeout(timeout, self.source.settle(&position)).await {
            Ok(Ok(())) => Ok(self.runner.state.settled(id).await?),
            Ok(Err(cause)) => Err(Error::Adapter { verb: "settles", cause }),
            Err(_) => {
                let cause = AdapterError::transient("settling took longer than run.source_timeout");
                Err(Error::Adapter { verb: "settles", cause })
            }
        }
    }
}
