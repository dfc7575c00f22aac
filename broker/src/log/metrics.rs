//! What the log counts, the same names for both homes.

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

/// Counters of one log. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Durable entries.
    pub entries: Counter,
    /// Their bytes, as stored.
    pub bytes: Counter,
    /// Groups made durable with one fsync (embedded), or submissions acknowledged (Kafka).
    pub groups: Counter,
    /// Entries that compaction took (embedded; Kafka counts its own).
    pub compacted: Counter,
    /// Entries whose submission failed or whose outcome is not known.
    pub failed: Counter,
    /// Producers that were given up after a failed delivery (Kafka).
    pub producer_restarts: Counter,
    /// Readers that had fallen silent or lost their position and were set up anew (Kafka).
    pub reader_restarts: Counter,
    /// 1 while the log answers.
    pub healthy: Gauge,
}

impl Metrics {
    /// Makes the counters and names them in a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("shuqiao_log_entries", "Entries made durable", metrics.entries.clone());
        registry.register("shuqiao_log_bytes", "Bytes made durable", metrics.bytes.clone());
        registry.register("shuqiao_log_groups", "Groups made durable at once", metrics.groups.clone());
        registry.register("shuqiao_log_compacted_entries", "Entries removed by compaction", metrics.compacted.clone());
        registry.register("shuqiao_log_failed_entries", "Entries not stored or unknown", metrics.failed.clone());
        registry.register(
            "shuqiao_log_producer_restarts",
            "Producers given up after a failed delivery",
            metrics.producer_restarts.clone(),
        );
        registry.register("shuqiao_log_reader_restarts", "Readers set up anew", metrics.reader_restarts.clone());
        registry.register("shuqiao_log_healthy", "1 while the log answers", metrics.healthy.clone());
        metrics
    }
}
