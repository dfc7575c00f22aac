//! What a node says of itself.

use std::{sync::Arc, time::Duration};

use shuqiao_proto::v1::{GetNodeStatusRequest, node_service_server::NodeService};
use tokio_util::sync::CancellationToken;
use tonic::Request;

use super::fixture::owner;
use crate::{
    exchange::{
        catalogue::{Command, fixtures::new_dataset},
        clock::Clock,
        fixtures::{City, DATASET, Watched},
    },
    log::Topic,
    rpc::{node::NodeRpc, peer::Peer},
    telemetry::Readiness,
};

#[tokio::test]
async fn a_topic_that_does_not_answer_keeps_nothing_else_from_being_told() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::manual(1_000_000);
    let log = Arc::new(Watched::open(directory.path(), clock.clone()));
    let city = City::on(log.clone(), directory.path(), clock).await;
    for id in ["market-supervision.fails", "market-supervision.hangs"] {
        city.command(&owner(), Command::CreateDataset(new_dataset(id))).await;
        city.view.wait_applied(&id.parse().unwrap(), &[(0, 0)], Duration::from_secs(10)).await.unwrap();
    }
    let node = NodeRpc {
        node: "node-1".into(),
        receipt_public_key: vec![7; 32],
        start_time_ms: 1_000_000,
        clock: city.clock.clone(),
        log: log.clone(),
        catalogue: city.catalogue.clone(),
        view: city.view.clone(),
        readiness: Readiness::default(),
    };
    let topic = |id: &str| Some(Topic::dataset("test", &id.parse().unwrap()));
    *log.bounds_fail.lock() = topic("market-supervision.fails");
    log.bounds_wait.send_replace(topic("market-supervision.hangs"));
    let mut request = Request::new(GetNodeStatusRequest {});
    let identity = Some(Arc::new(owner()));
    request.extensions_mut().insert(Peer { identity, address: None, revoked: CancellationToken::new() });
    let told = tokio::time::timeout(Duration::from_secs(30), node.get_node_status(request)).await.expect("bounded");
    let told = told.expect("the status is told").into_inner();
    assert_eq!(told.receipt_public_key, vec![7; 32]);
    let ends: Vec<_> = told.datasets.iter().map(|one| (one.dataset.as_str(), one.log_end.len())).collect();
    assert_eq!(ends, [("market-supervision.fails", 0), ("market-supervision.hangs", 0), (DATASET, 2)]);
    assert!(told.datasets.iter().all(|one| one.view_applied.len() == 2), "what the view knows is told");
    *log.bounds_fail.lock() = None;
    log.bounds_wait.send_replace(None);
    city.close().await;
}
