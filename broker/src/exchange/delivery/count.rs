//! Counts of bytes, one within another.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;

/// Bytes that somebody holds, and that count for somebody else, too.
#[derive(Debug, Default)]
pub(super) struct Count {
    bytes: AtomicUsize,
    within: Option<Arc<Count>>,
    shown: Option<Gauge>,
    /// Who waits is told when the count falls below this.
    bound: usize,
    fallen: Notify,
}

impl Count {
    /// Nothing yet, for operators to see.
    pub(super) fn shown(gauge: Gauge, bound: usize) -> Arc<Self> {
        Arc::new(Self { shown: Some(gauge), bound, ..Self::default() })
    }

    /// Nothing yet, as a part of another count.
    pub(super) fn within(other: &Arc<Self>, bound: usize) -> Arc<Self> {
        Arc::new(Self { within: Some(other.clone()), bound, ..Self::default() })
    }

    pub(super) fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(within) = &self.within {
            within.add(bytes);
        }
        if let Some(gauge) = &self.shown {
            gauge.inc_by(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }

    pub(super) fn subtract(&self, bytes: usize) {
        let before = self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if before >= self.bound && before.saturating_sub(bytes) < self.bound {
            self.fallen.notify_waiters();
        }
        if let Some(within) = &self.within {
            within.subtract(bytes);
        }
        if let Some(gauge) = &self.shown {
            gauge.dec_by(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }

    pub(super) fn get(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// What may still be added, here and to what it is within.
    pub(super) fn left(&self) -> usize {
        let own = self.bound.saturating_sub(self.get());
        self.within.as_ref().map_or(own, |within| own.min(within.left()))
    }

    /// Resolves when the count falls below its bound, heard from this call on: ask for it first, then look at the count.
    pub(super) fn falls(&self) -> impl Future<Output = ()> {
        self.fallen.notified()
    }
}

/// Bytes that are counted before they come, until they do or nobody waits for them any more.
#[derive(Debug)]
pub(super) struct Reserved {
    count: Arc<Count>,
    bytes: usize,
}

impl Reserved {
    pub(super) fn new(count: &Arc<Count>, bytes: usize) -> Self {
        count.add(bytes);
        Self { count: count.clone(), bytes }
    }

    /// So many it is that have come, or are still to come.
    pub(super) fn set(&mut self, bytes: usize) {
        if bytes > self.bytes {
            self.count.add(bytes - self.bytes);
        } else {
            self.count.subtract(self.bytes - bytes);
        }
        self.bytes = bytes;
    }

    /// So many of them are counted by somebody else now.
    pub(super) fn let_go(&mut self, bytes: usize) {
        self.set(self.bytes.saturating_sub(bytes));
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.count.subtract(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn what_is_reserved_counts_until_it_is_let_go() {
        let count = Count::shown(Gauge::default(), 100);
        let mut reserved = Reserved::new(&count, 80);
        assert_eq!(count.get(), 80);
        reserved.set(30);
        reserved.let_go(10);
        assert_eq!(count.get(), 20);
        drop(reserved);
        assert_eq!(count.get(), 0);
    }

    #[test]
    fn who_waits_is_told_when_the_bound_is_crossed_and_at_no_other_time() {
        let all = Count::shown(Gauge::default(), 100);
        let own = Count::within(&all, 1);
        all.add(90);
        own.add(20);
        let (less, nothing) = (all.falls(), own.falls());
        own.subtract(5);
        own.subtract(6);
        assert_eq!(less.now_or_never(), Some(()), "from 105 to 99");
        assert_eq!(nothing.now_or_never(), None);
        let (less, nothing) = (all.falls(), own.falls());
        own.subtract(9);
        assert_eq!((less.now_or_never(), nothing.now_or_never()), (None, Some(())));
    }

    #[test]
    fn what_is_left_is_what_is_left_everywhere() {
        let all = Count::shown(Gauge::default(), 100);
        let (one, other) = (Count::within(&all, 50), Count::within(&all, 50));
        assert_eq!((one.left(), other.left()), (50, 50));
        one.add(40);
        assert_eq!((one.left(), other.left()), (10, 50));
        other.add(45);
        assert_eq!((one.left(), other.left(), all.left()), (10, 5, 15));
        one.add(30);
        assert_eq!((one.left(), other.left()), (0, 0));
    }
}
