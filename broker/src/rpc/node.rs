//! NodeService: what a node says of itself.

use std::sync::Arc;

use shuqiao_proto::v1::{DatasetStatus, GetNodeStatusRequest, NodeStatus, node_service_server::NodeService};
use tonic::{Request, Response, Status};

use super::{convert, peer, status};
use crate::{
    exchange::{catalogue::Catalogue, clock::Clock, policy},
    log::Log,
    telemetry::Readiness,
    view::View,
};

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
        let mut datasets = Vec::new();
        for access in policy::readable(&snapshot, &caller, self.clock.now_ms()) {
            let dataset = &access.dataset;
            let bounds = self.log.bounds(&dataset.topic).await.map_err(|error| status::of(error.into()))?;
            datasets.push(DatasetStatus {
                dataset: dataset.id.as_str().to_owned(),
                log_end: convert::positions(bounds.iter().map(|bounds| bounds.next)),
                view_applied: convert::positions(self.view.applied(&dataset.id)),
            });
        }
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
