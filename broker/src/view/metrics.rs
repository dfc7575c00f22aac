//! What the view counts.

use std::sync::atomic::AtomicI64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::Tally;
use crate::exchange::model::DatasetId;

/// Whose number it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DatasetLabels {
    /// Id of the dataset.
    pub dataset: String,
}

/// Which entries are counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EntryLabels {
    /// Id of the dataset.
    pub dataset: String,
    /// "applied", "stale", "repeat" or "skipped".
    pub outcome: &'static str,
}

/// Counters and gauges of the view. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Offsets between the view and the log's end.
    pub lag: Family<DatasetLabels, Gauge<i64, AtomicI64>>,
    /// Entries read from the log, by what became of them.
    pub entries: Family<EntryLabels, Counter>,
    /// How often a dataset's rows were made anew.
    pub rebuilds: Family<DatasetLabels, Counter>,
    /// How often following a dataset failed and was taken up again.
    pub failures: Family<DatasetLabels, Counter>,
}

impl Metrics {
    /// Registers them as `shuqiao_view_…`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("shuqiao_view_lag_records", "Offsets between view and log", metrics.lag.clone());
        registry.register("shuqiao_view_entries", "Entries read from the log, by outcome", metrics.entries.clone());
        registry.register("shuqiao_view_rebuilds", "Datasets made anew from the log", metrics.rebuilds.clone());
        registry.register("shuqiao_view_failures", "Following a dataset failed", metrics.failures.clone());
        metrics
    }

    pub(super) fn labels(dataset: &DatasetId) -> DatasetLabels {
        DatasetLabels { dataset: dataset.to_string() }
    }

    pub(super) fn count(&self, dataset: &DatasetId, tally: Tally) {
        let outcomes =
            [("applied", tally.applied), ("stale", tally.stale), ("repeat", tally.repeats), ("skipped", tally.skipped)];
        for (outcome, count) in outcomes {
            if count > 0 {
                self.entries.get_or_create(&EntryLabels { dataset: dataset.to_string(), outcome }).inc_by(count);
            }
        }
    }
}
