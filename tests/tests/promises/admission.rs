//! Who is let in, and into which dataset.

use shuqiao_broker::tls;
use shuqiao_proto::v1;
use shuqiao_tests::fixtures::{
    City, DATASET, Home, Identity, Publisher, Subscriber, enterprise::records, eventually, refused, subscription,
};
use tonic::Code;

/// Why a connection was not made, in the words that the command line uses.
async fn turned_away(city: &City, identity: Identity) -> &'static str {
    let error = city.client_with(identity).await.expect_err("the connection is refused");
    tls::refusal(&error).unwrap_or_else(|| panic!("not refused in the handshake: {error:?}"))
}

#[tokio::test]
async fn a_certificate_that_is_missing_expired_foreign_or_revoked_is_refused_in_the_handshake() {
    let city = City::on(Home::Embedded).await;
    let source = "department/market-supervision/system/registry";
    assert!(turned_away(&city, Identity::none()).await.contains("wants a certificate"));
    assert!(turned_away(&city, city.expired_certificate(source)).await.contains("has expired"));
    assert!(turned_away(&city, city.foreign_certificate(source)).await.contains("does not trust"));

    let revoked = city.certificate(source);
    city.client_with(revoked.clone()).await.expect("good until it is revoked");
    city.revoke(&revoked);
    eventually(5, "the revoked certificate is refused", async || city.client_with(revoked.clone()).await.is_err())
        .await;
    assert!(turned_away(&city, revoked).await.contains("revoked"));
    // The same name with a good certificate is welcome.
    city.market_supervision().await.publishes().await.accepted(records(1..3)).await;
}

#[tokio::test]
async fn a_department_that_is_not_enrolled_is_told_so() {
    let city = City::on(Home::Embedded).await;
    let stranger = city.client("department/stranger/system/desk").await;
    refused(Publisher::open(&stranger, DATASET).await, Code::Unauthenticated, "IDENTITY_UNKNOWN");
    refused(stranger.looks_up("91330100MA00000740").await, Code::Unauthenticated, "IDENTITY_UNKNOWN");
    refused(stranger.status().await, Code::Unauthenticated, "IDENTITY_UNKNOWN");
}

#[tokio::test]
async fn an_unknown_dataset_is_not_found() {
    let city = City::on(Home::Embedded).await;
    let registry = city.market_supervision().await;
    for unknown in ["market-supervision.nothing", "no id at all", ""] {
        refused(Publisher::open(&registry, unknown).await, Code::NotFound, "DATASET_NOT_FOUND");
    }
    refused(Subscriber::open(&registry, "market-supervision.none", 1).await, Code::NotFound, "RESOURCE_NOT_FOUND");
}

#[tokio::test]
async fn only_the_owner_publishes() {
    let city = City::on(Home::Embedded).await;
    let taxation = city.taxation().await;
    refused(Publisher::open(&taxation, DATASET).await, Code::PermissionDenied, "NOT_OWNER");
    let request = v1::CreateSubscriptionRequest { subscription: Some(subscription("taxation.enterprise", "taxation")) };
    refused(taxation.catalogue().create_subscription(request).await, Code::PermissionDenied, "GRANT_MISSING");
    // A system of the owner may not speak for another one.
    let desk = city.client("department/market-supervision/system/desk").await;
    let other = "department/market-supervision/system/registry";
    refused(Publisher::open_as(&desk, DATASET, other).await, Code::InvalidArgument, "INVALID_FIELD");
}

#[tokio::test]
async fn a_dataset_that_is_not_listed_answers_like_one_that_does_not_exist() {
    let city = City::on(Home::Embedded).await;
    let hidden = "market-supervision.hidden";
    city.administrator().await.registers(hidden, false).await.expect("registered");
    let taxation = city.taxation().await;
    for dataset in [hidden, "market-supervision.nothing"] {
        refused(Publisher::open(&taxation, dataset).await, Code::NotFound, "DATASET_NOT_FOUND");
        let get = v1::GetDatasetRequest { name: format!("datasets/{dataset}") };
        refused(taxation.catalogue().get_dataset(get).await, Code::NotFound, "DATASET_NOT_FOUND");
        let look = v1::GetRecordRequest {
            dataset: dataset.into(),
            key: "91330100MA00000740".into(),
            purpose: "x".into(),
            ..Default::default()
        };
        refused(taxation.query().get_record(look).await, Code::NotFound, "DATASET_NOT_FOUND");
    }
    let list =
        taxation.catalogue().list_datasets(v1::ListDatasetsRequest::default()).await.expect("a list").into_inner();
    let names: Vec<_> = list.datasets.iter().map(|dataset| dataset.name.as_str()).collect();
    assert_eq!(names, [format!("datasets/{DATASET}")]);
}

#[tokio::test]
async fn certificates_of_the_node_are_replaced_without_a_restart() {
    let city = City::on(Home::Embedded).await;
    let registry = city.market_supervision().await;
    let mut stream = registry.publishes().await;
    stream.accepted(records(1..3)).await;
    let replaced = "shuqiao_tls_reloads_total{outcome=\"replaced\"";
    let before = city.node.metric(replaced).await;
    city.renew_server_certificate();
    eventually(5, "the new certificate is in force", async || city.node.metric(replaced).await > before).await;
    // Who was connected stays; who comes meets the new one.
    stream.accepted(records(3..5)).await;
    city.taxation().await.status().await.expect("a new connection");
}
