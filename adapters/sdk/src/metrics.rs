//! What operators see of an adapter. One process runs one adapter, so no label names it.

use std::{collections::BTreeMap, sync::atomic::AtomicU64};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// The verb that failed and the class of its error.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Failure {
    verb: &'static str,
    class: &'static str,
}

/// What was repaired or left out. Rules are names in programs, so there are few of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Warning {
    rule: String,
}

/// The counters of one adapter. Clones share them; the default belongs to no registry.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Rows that the source yielded.
    pub read: Counter,
    /// Rows that said what was published already.
    pub unchanged: Counter,
    /// Rows and records set aside as dead letters.
    pub dead_letters: Counter,
    /// Records that the exchange holds.
    pub accepted: Counter,
    /// Delivered records that the sink took.
    pub taken: Counter,
    /// Delivered records that the sink put off.
    pub deferred: Counter,
    /// Bytes that wait in the outbox.
    pub outbox_bytes: Gauge<u64, AtomicU64>,
    /// Sessions opened with the exchange.
    pub sessions: Counter,
    failures: Family<Failure, Counter>,
    warnings: Family<Warning, Counter>,
}

impl Metrics {
    /// Makes the counters and puts them into `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let mut add = |name: &str, help: &str, counter: &Counter| registry.register(name, help, counter.clone());
        add("shuqiao_adapter_rows_read", "Rows that the source yielded", &metrics.read);
        add("shuqiao_adapter_rows_unchanged", "Rows that said what was published already", &metrics.unchanged);
        add("shuqiao_adapter_dead_letters", "Rows and records set aside as dead letters", &metrics.dead_letters);
        add("shuqiao_adapter_records_accepted", "Records that the exchange holds", &metrics.accepted);
        add("shuqiao_adapter_records_taken", "Delivered records that the sink took", &metrics.taken);
        add("shuqiao_adapter_records_deferred", "Delivered records that the sink put off", &metrics.deferred);
        add("shuqiao_adapter_sessions", "Sessions opened with the exchange", &metrics.sessions);
        registry.register(
            "shuqiao_adapter_outbox_bytes",
            "Bytes read and not yet acknowledged",
            metrics.outbox_bytes.clone(),
        );
        registry.register("shuqiao_adapter_failures", "Failed verbs by class", metrics.failures.clone());
        registry.register(
            "shuqiao_adapter_warnings",
            "Records with something repaired or left out, by rule",
            metrics.warnings.clone(),
        );
        metrics
    }

    pub(crate) fn warned(&self, warnings: &BTreeMap<String, u64>) {
        for (rule, more) in warnings {
            self.warnings.get_or_create(&Warning { rule: rule.clone() }).inc_by(*more);
        }
    }

    pub(crate) fn failed(&self, verb: &'static str, class: crate::ErrorClass) {
        self.failures.get_or_create(&Failure { verb, class: class.as_str() }).inc();
    }
}
