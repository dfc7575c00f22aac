//! What lies in the producer, and how its fate is told: one counter a submission, one mark a delivery report.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use rdkafka::{
    ClientContext, Message as _, config::RDKafkaLogLevel, error::KafkaError, message::DeliveryResult,
    producer::ProducerContext,
};
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};

use super::{
    super::{Error, Metrics, fence::Raised},
    Observer, Topical, unavailable,
};

/// What the submitter of entries learns, and the fence that falls when it does.
pub(super) type Told = (Vec<Result<u64, Error>>, Option<Raised>);

/// Receives delivery reports. Clones share what is in flight.
#[derive(Clone)]
pub(super) struct Reports {
    pub(super) observer: Observer,
    pub(super) metrics: Metrics,
    pub(super) flight: Arc<Mutex<Flight>>,
    /// A delivery failed: the producer must be replaced.
    pub(super) broken: Arc<AtomicBool>,
}

/// Submissions that lie in the producer.
#[derive(Default)]
pub(super) struct Flight {
    pub(super) slots: Vec<Option<Submission>>,
    pub(super) free: Vec<u32>,
    /// Slots in the order of their deadlines, with the submission's number, because slots are used again.
    pub(super) deadlines: VecDeque<(Instant, u32, u64)>,
    pub(super) number: u64,
}

pub(super) struct Submission {
    pub(super) number: u64,
    pub(super) topic: Arc<Topical>,
    /// `None` where there is no report yet.
    pub(super) results: Vec<Option<Result<u64, Error>>>,
    pub(super) remaining: usize,
    pub(super) bytes: u64,
    /// `None` once the submitter was told that the outcome is not known.
    pub(super) reply: Option<oneshot::Sender<Told>>,
    /// Up from the first failure on.
    pub(super) raised: Option<Raised>,
    /// Given back when no entry lies in the producer any more.
    pub(super) permit: OwnedSemaphorePermit,
}

/// An entry that was acknowledged without saying where it lies.
#[derive(Debug, thiserror::Error)]
#[error("an entry was acknowledged without its offset")]
struct OffsetUnknown;

/// Not acknowledged in time.
#[derive(Debug, thiserror::Error)]
#[error("not acknowledged within {} ms (log.kafka.delivery_deadline)", .0.as_millis())]
struct Overdue(Duration);

impl Submission {
    pub(super) fn report(&mut self, index: usize, outcome: Result<u64, Error>) {
        let Some(result) = self.results.get_mut(index).filter(|result| result.is_none()) else { return };
        if let Err(error) = &outcome
            && self.raised.is_none()
            && self.reply.is_some()
        {
            // From the first failure on, not from the last report on: a submission must not slip in between.
            self.raised = Some(self.topic.fence.raise(error.clone()));
        }
        *result = Some(outcome);
        self.remaining -= 1;
    }

    /// Everything that has no report yet gets this one.
    pub(super) fn fail(&mut self, error: &Error) {
        for index in 0..self.results.len() {
            self.report(index, Err(error.clone()));
        }
    }

    /// Tells the submitter, once every entry has its fate or the deadline has passed.
    pub(super) fn tell(&mut self, metrics: &Metrics, otherwise: &Error) {
        let Some(reply) = self.reply.take() else { return };
        let results: Vec<_> = std::mem::take(&mut self.results)
            .into_iter()
            .map(|result| result.unwrap_or_else(|| Err(otherwise.clone())))
            .collect();
        let failed = results.iter().filter(|result| result.is_err()).count() as u64;
        if failed == 0 {
            metrics.groups.inc();
            metrics.bytes.inc_by(self.bytes);
        }
        metrics.failed.inc_by(failed);
        metrics.entries.inc_by(results.len() as u64 - failed);
        // A submitter that went away does not need to know; what it leaves behind lowers the fence.
        let _gone = reply.send((results, self.raised.take()));
    }
}

impl Flight {
    pub(super) fn insert(&mut self, deadline: Instant, build: impl FnOnce(u64) -> Submission) -> u32 {
        self.number += 1;
        let submission = Some(build(self.number));
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = submission;
                slot
            }
            None => {
                self.slots.push(submission);
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.deadlines.push_back((deadline, slot, self.number));
        slot
    }

    pub(super) fn get(&mut self, slot: u32) -> Option<&mut Submission> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    pub(super) fn remove(&mut self, slot: u32) -> Option<Submission> {
        let submission = self.slots.get_mut(slot as usize)?.take();
        if submission.is_some() {
            self.free.push(slot);
        }
        submission
    }
}

impl Reports {
    /// Ends a submission whose last report has come.
    pub(super) fn settle(&self, flight: &mut Flight, slot: u32) {
        if flight.get(slot).is_none_or(|submission| submission.remaining > 0) {
            return;
        }
        let Some(mut submission) = flight.remove(slot) else { return };
        if submission.reply.is_some() {
            submission.tell(&self.metrics, &Error::Closed);
        } else {
            submission.topic.overdue.fetch_sub(1, Ordering::AcqRel);
        }
        drop(submission.permit);
    }

    /// Reports submissions whose deadline has passed. Returns whether any overdue one is left.
    pub(super) fn sweep(&self, delivery_deadline: Duration) {
        let now = Instant::now();
        let mut flight = self.flight.lock();
        while let Some((deadline, slot, number)) = flight.deadlines.front().copied()
            && deadline <= now
        {
            flight.deadlines.pop_front();
            let Some(submission) = flight.get(slot).filter(|submission| submission.number == number) else { continue };
            let error = unavailable(Overdue(delivery_deadline));
            tracing::warn!(topic = %submission.topic.name, entries = submission.remaining, "entries not acknowledged in time");
            if submission.raised.is_none() {
                submission.raised = Some(submission.topic.fence.raise(error.clone()));
            }
            submission.topic.overdue.fetch_add(1, Ordering::AcqRel);
            // The reports are still to come; nobody reads them any more, but they say when the room is free.
            submission.tell(&self.metrics, &error);
        }
        // Submissions that ended in time leave their deadlines behind; those at the front go, so that the list is as long as what is in flight.
        while let Some((_, slot, number)) = flight.deadlines.front().copied() {
            if flight.get(slot).is_some_and(|submission| submission.number == number) {
                break;
            }
            flight.deadlines.pop_front();
        }
    }

    /// What is left in flight fails: its producer is gone.
    pub(super) fn abandon(&self, error: &Error) {
        let mut flight = self.flight.lock();
        for slot in 0..u32::try_from(flight.slots.len()).unwrap_or(u32::MAX) {
            if let Some(submission) = flight.get(slot) {
                if submission.reply.is_some() {
                    submission.fail(error);
                } else {
                    submission.remaining = 0;
                }
                self.settle(&mut flight, slot);
            }
        }
        flight.deadlines.clear();
    }
}

/// A delivery report's mark: which submission, which of its entries.
pub(super) fn mark(slot: u32, index: usize) -> usize {
    const { assert!(usize::BITS == 64, "a mark is two numbers of 32 bits") };
    ((slot as usize) << 32) | index
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.observer.log(level, facility, message);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.observer.stats_raw(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.observer.error(error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, mark: usize) {
        let slot = u32::try_from(mark >> 32).unwrap_or(u32::MAX);
        let index = mark & 0xffff_ffff;
        let outcome = match result {
            Ok(message) => u64::try_from(message.offset()).map_err(|_| unavailable(OffsetUnknown)),
            Err((cause, _)) => {
                self.broken.store(true, Ordering::Release);
                Err(unavailable(cause.clone()))
            }
        };
        let mut flight = self.flight.lock();
        let Some(submission) = flight.get(slot) else { return };
        if submission.reply.is_some() {
            submission.report(index, outcome);
        } else {
            submission.remaining = submission.remaining.saturating_sub(1);
        }
        if submission.remaining == 0 {
            self.settle(&mut flight, slot);
        }
    }
}
