//! What the catalogue and the decisions made by it count.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Which verdict.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CommandLabels {
    /// Name of the command.
    pub command: &'static str,
    /// "changed", "unchanged", "refused" or "failed".
    pub outcome: &'static str,
}

/// Why somebody was denied.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DenialLabels {
    /// The reason's stable name: "GRANT_REVOKED".
    pub reason: &'static str,
}

/// Counters of one catalogue. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// One more than the log's offset of the newest entry applied.
    pub epoch: Gauge,
    /// Commands given to this node.
    pub commands: Family<CommandLabels, Counter>,
    /// Denials, of every service: whoever refuses counts it here (see [`Metrics::deny`]).
    pub denials: Family<DenialLabels, Counter>,
}

impl Metrics {
    /// Makes the counters and names them in a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("shuqiao_catalogue_epoch", "Newest entry applied, plus one", metrics.epoch.clone());
        registry.register("shuqiao_catalogue_commands", "Commands given", metrics.commands.clone());
        registry.register("shuqiao_denials", "Requests denied", metrics.denials.clone());
        metrics
    }

    /// Counts a denial.
    pub fn deny(&self, reason: &'static str) {
        self.denials.get_or_create(&DenialLabels { reason }).inc();
    }
}
