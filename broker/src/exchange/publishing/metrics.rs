//! What publishing counts. Labels are datasets and fates, never keys.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// Dataset and fate of records.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RecordLabels {
    dataset: String,
    status: &'static str,
}

/// The dataset alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct DatasetLabels {
    dataset: String,
}

/// Counters and histograms of publishing.
#[derive(Clone, Debug)]
pub struct Metrics {
    records: Family<RecordLabels, Counter>,
    batches: Family<DatasetLabels, Counter>,
    acknowledge_seconds: Histogram,
    sessions: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            records: Family::default(),
            batches: Family::default(),
            // 1 ms to 16 s.
            acknowledge_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
            sessions: Gauge::default(),
        }
    }
}

/// How many records of one batch met which fate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) accepted: u64,
    pub(super) repeated: u64,
    pub(super) rejected: u64,
    pub(super) unknown: u64,
}

impl Metrics {
    /// Metrics that the node exposes.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("shuqiao_publish_records", "Records by fate", metrics.records.clone());
        registry.register("shuqiao_publish_batches", "Batches acknowledged", metrics.batches.clone());
        registry.register(
            "shuqiao_publish_acknowledge_seconds",
            "From the batch's arrival to its acknowledgement",
            metrics.acknowledge_seconds.clone(),
        );
        registry.register("shuqiao_publish_sessions", "Open publish sessions", metrics.sessions.clone());
        metrics
    }

    pub(super) fn acknowledged(&self, dataset: &str, tally: Tally, seconds: f64) {
        let fates = [
            ("accepted", tally.accepted),
            ("repeat", tally.repeated),
            ("rejected", tally.rejected),
            ("unknown", tally.unknown),
        ];
        for (status, count) in fates {
            if count > 0 {
                self.records.get_or_create(&RecordLabels { dataset: dataset.to_owned(), status }).inc_by(count);
            }
        }
        self.batches.get_or_create(&DatasetLabels { dataset: dataset.to_owned() }).inc();
        self.acknowledge_seconds.observe(seconds);
    }

    pub(super) fn opened(&self) {
        self.sessions.inc();
    }

    pub(super) fn closed(&self) {
        self.sessions.dec();
    }
}
