//! NodeService: what a node says of itself.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream};

use shuqiao_proto::v1::{DatasetStatus, GetNodeStatusRequest, NodeStatus, node_service_server::NodeService};
use tokio::time::{Instant, timeout_at};
use tonic::{Request, Response, Status};

use super::{convert, peer, status};
use crate::{
    exchange::{
        catalogue::{Access, Catalogue},
        clock::Clock,
        policy,
    },
    log::Log,
    telemetry::Readiness,
    view::View,
};

/// How long the log has, over all datasets, to say where it ends.
const LOG_PATIENCE: Duration = Duration::from_secs(2);
/// Datasets of which the log is asked at once.
const ASKED_AT_ONCE_MAX: usize = 16;

/// The service, over the rooms it reports on.
#[derive(Clone, Debug)]
pub struct NodeRpc {
    /// Id of the node, as receipts name it.
    pub node: String,
    /// Ed25519, 32 bytes.
    pub receipt_public_key: Vec<u8>,
    /// When the node began to serve, milliseconds since 1970.
    pub start_time_ms: i64,
    /// Judges periods of grants.
    pub clock: Clock,
    /// Whose end is reported.
    pub log: Arc<dyn Log>,
    /// Who may see which dataset.
    pub catalogue: Arc<Catalogue>,
    /// Whose progress is reported.
    pub view: Arc<View>,
    /// Why the node is not ready, if it is not.
    pub readiness: Readiness,
}

#[tonic::async_trait]
impl NodeService for NodeRpc {
    async fn get_node_status(&self, request: Request<GetNodeStatusRequest>) -> Result<Response<NodeStatus>, Status> {
        let (caller, _) = peer::caller(&request)?;
        let snapshot = self.catalogue.snapshot();
        // A certificate alone tells nothing: who is not enrolled learns neither the software's version nor the log's state.
        snapshot.standing(&caller).map_err(status::of)?;
        let until = Instant::now() + LOG_PATIENCE;
        let readable = policy::readable(&snapshot, &caller, self.clock.now_ms());
        let datasets = stream::iter(readable).map(|access| self.dataset(access, until)).buffered(ASKED_AT_ONCE_MAX);
        let datasets = datasets.collect().await;
        let not_ready_reasons = self.readiness.reasons();
        Ok(Response::new(NodeStatus {
            node: self.node.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            log_home: self.log.home().to_owned(),
            receipt_public_key: self.receipt_public_key.clone(),
            ready: not_ready_reasons.is_empty(),
            not_ready_reasons,
            start_time: Some(convert::timestamp(self.start_time_ms)),
            datasets,
        }))
    }
}

impl NodeRpc {
    /// A topic that does not answer, or not in time, must not keep its neighbours from being told: adapters ask for the node's key alone.
    async fn dataset(&self, access: Arc<Access>, until: Instant) -> DatasetStatus {
        let dataset = &access.dataset;
        let bounds = match timeout_at(until, self.log.bounds(&dataset.topic)).await {
            Ok(Ok(bounds)) => bounds,
            Ok(Err(error)) => {
                tracing::warn!(dataset = %dataset.id, %error, "the log does not say where the dataset ends");
                Vec::new()
            }
            Err(_) => Vec::new(),
        };
        DatasetStatus {
            dataset: dataset.id.as_str().to_owned(),
            log_end: convert::positions(bounds.iter().map(|bounds| bounds.next)),
            view_applied: convert::positions(self.view.applied(&dataset.id)),
        }
    }
}
