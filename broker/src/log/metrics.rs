//! What the log counts and how it fares, the same names for both homes.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::Counter, gauge::ConstGauge},
    registry::Registry,
};

use super::{Health, Log};

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
        metrics
    }
}

/// Shows in a registry what [`Log::health`] says whenever somebody looks: the gauge and readiness never tell different things.
pub fn show_health(registry: &mut Registry, log: Arc<dyn Log>) {
    registry.register_collector(Box::new(Healthy(log)));
}

#[derive(Debug)]
struct Healthy(Arc<dyn Log>);

impl Collector for Healthy {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let gauge = ConstGauge::new(i64::from(self.0.health() == Health::Good));
        let (name, help) = ("shuqiao_log_healthy", "1 while the log answers and takes entries");
        gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::embedded::{Embedded, Options},
        *,
    };
    use crate::exchange::clock::Clock;

    /// A log to which nobody has written, nor ever will.
    fn idle(free_bytes_min: u64) -> (tempfile::TempDir, Arc<dyn Log>, Registry) {
        let directory = tempfile::tempdir().expect("a directory");
        let options = Options { free_bytes_min, ..Options::at(directory.path()) };
        let log: Arc<dyn Log> =
            Arc::new(Embedded::open(options, Clock::system(), Metrics::default()).expect("the log opens"));
        let mut registry = Registry::default();
        show_health(&mut registry, log.clone());
        (directory, log, registry)
    }

    fn shown(registry: &Registry) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, registry).expect("text");
        text.lines().find_map(|line| line.strip_prefix("shuqiao_log_healthy ")).expect("a gauge").to_owned()
    }

    #[tokio::test]
    async fn the_gauge_says_what_readiness_says_though_nobody_writes() {
        let (_full, log, registry) = idle(u64::MAX >> 1);
        assert!(matches!(log.health(), Health::Bad(_)), "no disk has that much room");
        assert_eq!(shown(&registry), "0");
        log.close().await;
        let (_roomy, log, registry) = idle(0);
        assert_eq!((log.health(), shown(&registry).as_str()), (Health::Good, "1"));
        log.close().await;
        assert_eq!(shown(&registry), "0", "closed");
    }
}
