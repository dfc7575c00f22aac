//! Counts of bytes, one within another.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use prometheus_client::metrics::gauge::Gauge;

/// Bytes that somebody holds, and that count for somebody else, too.
#[derive(Debug, Default)]
pub(super) struct Count {
    bytes: AtomicUsize,
    within: Option<Arc<Count>>,
    shown: Option<Gauge>,
}

impl Count {
    /// Nothing yet, for operators to see.
    pub(super) fn shown(gauge: Gauge) -> Arc<Self> {
        Arc::new(Self { shown: Some(gauge), ..Self::default() })
    }

    /// Nothing yet, as a part of another count.
    pub(super) fn within(other: &Arc<Self>) -> Arc<Self> {
        Arc::new(Self { within: Some(other.clone()), ..Self::default() })
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
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
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
}
