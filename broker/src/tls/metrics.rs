//! What operators see of the edge.

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// The acceptor's metrics.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub(super) handshakes: Family<[(&'static str, &'static str); 1], Counter>,
    pub(super) connections: Gauge,
    pub(super) reloads: Family<[(&'static str, &'static str); 1], Counter>,
    pub(super) cut: Counter,
    pub(super) crl_next_update: Gauge,
    pub(super) certificate_not_after: Gauge,
}

impl Metrics {
    /// Registers under `shuqiao_tls_`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("shuqiao_tls");
        registry.register("handshakes", "Handshakes by outcome", metrics.handshakes.clone());
        registry.register("connections", "Connections now open, handshakes included", metrics.connections.clone());
        registry.register("reloads", "Replacements of certificate files by outcome", metrics.reloads.clone());
        registry.register("connections_cut", "Live connections whose certificate lost its force", metrics.cut.clone());
        registry.register(
            "crl_next_update_timestamp_seconds",
            "When the first revocation list runs out; 0 without a list",
            metrics.crl_next_update.clone(),
        );
        registry.register(
            "certificate_not_after_timestamp_seconds",
            "When the node's own certificate ends",
            metrics.certificate_not_after.clone(),
        );
        metrics
    }

    pub(super) fn handshake(&self, outcome: &'static str) {
        self.handshakes.get_or_create(&[("outcome", outcome)]).inc();
    }

    pub(super) fn reload(&self, outcome: &'static str) {
        self.reloads.get_or_create(&[("outcome", outcome)]).inc();
    }
}
