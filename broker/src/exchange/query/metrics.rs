//! What queries count. Denials by reason are counted with everybody's, in the catalogue's metrics.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// Which query, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct QueryLabels {
    /// "get_record", "list_records", …
    pub query: &'static str,
    /// "answered", "denied" or "failed".
    pub outcome: &'static str,
}

/// Histograms of queries. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// From the question to the answer, its audit entry included.
    pub seconds: Family<QueryLabels, Histogram>,
}

impl Default for Metrics {
    fn default() -> Self {
        // 0.25 ms to 8 s: a look-up is below the first bounds, a wait for a position or a scan near the last.
        Self { seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.000_25, 2.0, 16))) }
    }
}

impl Metrics {
    /// Makes the histograms and names them in a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let help = "From the question to the answer, its audit entry included";
        registry.register("shuqiao_query_seconds", help, metrics.seconds.clone());
        metrics
    }

    pub(super) fn observe(&self, query: &'static str, outcome: &'static str, elapsed: Duration) {
        self.seconds.get_or_create(&QueryLabels { query, outcome }).observe(elapsed.as_secs_f64());
    }
}
