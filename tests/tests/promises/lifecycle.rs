//! A node's life: it says truly whether it is ready, drains when it is told to stop, and loses nothing by it.

use std::time::Duration;

use shuqiao_tests::{
    fixtures::{
        City, Home, Source, eventually, grant,
        raw_log::{self, sequences},
        reason, refused, subscription, within,
    },
    on_both_homes,
};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

const NAME: &str = "department/market-supervision/system/registry";

on_both_homes! {
    async fn sigterm_drains_within_the_grace_period_and_loses_nothing(home) {
        let mut city = City::plan(home).with("node.grace_period", "5s").build().await;
        let registry = city.market_supervision().await;
        registry.grants(grant("market-supervision.taxation-reads", "taxation", &[""])).await;
        let taxation = city.taxation().await;
        let id = taxation.subscribes(subscription("taxation.enterprise", "taxation")).await;
        let mut reading = taxation.reads(&id, 10_000).await;
        let mut source = Source::seeded(3, 50);
        // Under load, with a live subscription.
        tokio::select! {
            status = source.publish_until_broken(&registry) => panic!("{status}"),
            () = tokio::time::sleep(Duration::from_millis(500)) => {}
        }
        let begun = tokio::time::Instant::now();
        let stopping = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            city.node.say_terminate();
        };
        let (status, ()) = tokio::join!(source.publish_until_broken(&registry), stopping);
        let ended = city.node.wait(8).await;
        assert!(ended.success(), "it ends well: {ended}");
        assert!(begun.elapsed() < Duration::from_secs(8));
        // The source was told why, or at least that it should come again.
        assert!(reason(&status) == "DRAINING" || status.code() == Code::Unavailable || status.code() == Code::Unknown, "{status}");
        let (_, status) = reading.ended_within(2).await;
        assert!(reason(&status) == "DRAINING" || status.code() != Code::Ok, "{status}");

        city.node.start();
        city.node.ready().await;
        let registry = city.market_supervision().await;
        source.settle(&registry).await.expect("settled");
        assert_eq!(registry.digest(source.positions()).await.expect("the digest"), source.digest());
        city.node.terminate().await;
        assert_eq!(sequences(&raw_log::entries(&city).await, NAME), source.accepted);
    }
}

#[tokio::test]
async fn readiness_tells_the_truth_from_start_to_stop() {
    let mut city = City::plan(Home::Embedded).with("node.grace_period", "10s").build().await;
    assert_eq!(city.node.health().await, Some((200, "ready\n".into())));
    let status = city.market_supervision().await.status().await.expect("the node's status");
    assert!(status.ready && status.not_ready_reasons.is_empty(), "{:?}", status.not_ready_reasons);
    assert_eq!((status.node.as_str(), status.log_home.as_str()), ("node-1", "embedded"));

    // From the moment it answers at all until it serves, it says that it is not ready; and whenever it says that it is, it serves.
    city.node.kill();
    city.node.start();
    within(60, "the node is ready", async {
        loop {
            match city.node.health().await {
                Some((200, _)) => break,
                Some((code, reasons)) => assert!(code == 503 && !reasons.trim().is_empty(), "{code} {reasons}"),
                None => {}
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    city.market_supervision().await.publishes().await;

    // Draining is not ready. A stream that does not end keeps the node draining for a moment.
    let registry = city.market_supervision().await;
    let _open = registry.publishes().await;
    city.node.say_terminate();
    let mut said = Vec::new();
    while city.node.ended().is_none() {
        if let Some((code, text)) = city.node.health().await {
            said.push((code, text));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // The metrics port may close first; what it said before must be true.
    let draining = said.iter().skip_while(|(code, _)| *code == 200);
    assert!(draining.clone().all(|(code, _)| *code == 503), "{said:?}");
    city.node.wait(5).await;
}

#[tokio::test]
async fn two_nodes_do_not_open_one_data_directory() {
    let city = City::on(Home::Embedded).await;
    let mut second = shuqiao_tests::fixtures::Node::new(
        city.node.configuration().to_path_buf(),
        city.directory().join("second.log"),
        city.address(),
    );
    second.start();
    let status = second.wait(30).await;
    assert!(!status.success(), "the second one refuses");
    city.market_supervision().await.status().await.expect("the first one goes on");
    assert!(second.lines().contains("lock") || second.lines().contains("log"), "{}", second.lines());
}

#[tokio::test]
async fn a_configuration_with_mistakes_starts_nothing_and_names_them_all() {
    let city = City::on(Home::Embedded).await;
    let path = city.directory().join("mistakes.toml");
    let text = std::fs::read_to_string(city.node.configuration()).expect("the configuration");
    let wrong = text.replace("\"plain\"", "\"fancy\"").replace("[tls]", "[tls]\nunknown_key = 1");
    std::fs::write(&path, wrong).expect("written");
    let output = city.shuqiao(NAME, &["serve", "--config", &path.display().to_string()]).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("node.log_format") && said.contains("unknown_key"), "{said}");
}

#[tokio::test]
async fn health_over_grpc_says_what_the_node_says_of_itself() {
    let city = City::on(Home::Embedded).await;
    let taxation = city.taxation().await;
    eventually(5, "serving", async || {
        let status = taxation.status().await.is_ok_and(|status| status.ready);
        let asked = HealthCheckRequest { service: String::new() };
        let health = taxation.health().check(asked).await.expect("an answer").into_inner();
        status && health.status() == ServingStatus::Serving
    })
    .await;
    let stranger = city.client("department/stranger/system/desk").await;
    refused(stranger.status().await, Code::Unauthenticated, "IDENTITY_UNKNOWN");
}
