//! What delivery counts. Labels are datasets, reasons and subscriptions, never keys.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::exchange::model::{DatasetId, SubscriptionId};

/// The dataset alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct DatasetLabels {
    dataset: String,
}

/// Dataset and reason.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct PassedLabels {
    dataset: String,
    reason: &'static str,
}

/// A subscription, whether it has a stream open or not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct SubscriptionLabels {
    subscription: String,
}

/// Counters and gauges of delivery. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    records: Family<DatasetLabels, Counter>,
    bytes: Family<DatasetLabels, Counter>,
    batches: Family<DatasetLabels, Counter>,
    acknowledged: Family<DatasetLabels, Counter>,
    passed_over: Family<PassedLabels, Counter>,
    catch_up_reads: Family<DatasetLabels, Counter>,
    tail_bytes: Family<DatasetLabels, Gauge>,
    held_bytes: Gauge,
    lag: Family<SubscriptionLabels, Gauge>,
    streams: Gauge,
    cursor_writes: Counter,
}

fn labels(dataset: &DatasetId) -> DatasetLabels {
    DatasetLabels { dataset: dataset.as_str().to_owned() }
}

fn gauge(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

impl Metrics {
    /// Makes the counters and names them in a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("shuqiao_delivery_records", "Records delivered", metrics.records.clone());
        registry.register("shuqiao_delivery_bytes", "Bytes of payloads delivered", metrics.bytes.clone());
        registry.register("shuqiao_delivery_batches", "Batches delivered", metrics.batches.clone());
        registry.register("shuqiao_delivery_acknowledged", "Records acknowledged", metrics.acknowledged.clone());
        registry.register(
            "shuqiao_delivery_passed_over",
            "Entries that nobody is delivered: repeats and foreign ones, once a reader",
            metrics.passed_over.clone(),
        );
        registry.register(
            "shuqiao_delivery_catch_up_reads",
            "Reads of the log for one subscriber that is behind the tail",
            metrics.catch_up_reads.clone(),
        );
        registry.register("shuqiao_delivery_tail_bytes", "Bytes of the shared tail", metrics.tail_bytes.clone());
        registry.register(
            "shuqiao_delivery_held_bytes",
            "Bytes outside of tails that subscribers have not read: what was read for those behind, or is about to be, and what left a tail unread",
            metrics.held_bytes.clone(),
        );
        registry.register(
            "shuqiao_subscription_lag",
            "Entries between each subscription's cursor and the end of its dataset, whether anybody reads or not",
            metrics.lag.clone(),
        );
        registry.register("shuqiao_delivery_streams", "Open streams", metrics.streams.clone());
        registry.register("shuqiao_cursor_writes", "Groups of cursors written", metrics.cursor_writes.clone());
        metrics
    }

    pub(super) fn delivered(&self, dataset: &DatasetId, records: usize, bytes: usize) {
        let labels = labels(dataset);
        self.records.get_or_create(&labels).inc_by(records as u64);
        self.bytes.get_or_create(&labels).inc_by(bytes as u64);
        self.batches.get_or_create(&labels).inc();
    }

    pub(super) fn acknowledged(&self, dataset: &DatasetId, records: usize) {
        self.acknowledged.get_or_create(&labels(dataset)).inc_by(records as u64);
    }

    pub(super) fn passed_over(&self, dataset: &DatasetId, reason: &'static str) {
        let labels = PassedLabels { dataset: dataset.as_str().to_owned(), reason };
        self.passed_over.get_or_create(&labels).inc();
    }

    pub(super) fn caught_up_by_reading(&self, dataset: &DatasetId) {
        self.catch_up_reads.get_or_create(&labels(dataset)).inc();
    }

    pub(super) fn tail_bytes(&self, dataset: &DatasetId, bytes: usize) {
        self.tail_bytes.get_or_create(&labels(dataset)).set(gauge(bytes));
    }

    /// What is held outside of tails, and what reads that are on their way may bring.
    pub(super) fn held(&self) -> Gauge {
        self.held_bytes.clone()
    }

    pub(super) fn lag(&self, subscription: &SubscriptionId, entries: u64) {
        let labels = SubscriptionLabels { subscription: subscription.as_str().to_owned() };
        self.lag.get_or_create(&labels).set(gauge(entries));
    }

    /// The subscription is gone.
    pub(super) fn forget_lag(&self, subscription: &SubscriptionId) {
        self.lag.remove(&SubscriptionLabels { subscription: subscription.as_str().to_owned() });
    }

    pub(super) fn opened(&self) {
        self.streams.inc();
    }

    pub(super) fn closed(&self) {
        self.streams.dec();
    }

    pub(super) fn cursors_written(&self) {
        self.cursor_writes.inc();
    }
}
