//! A client that stops reading: its stream ends, memory stays bounded, others go on.

use std::time::Duration;

use shuqiao_tests::fixtures::{
    City, Enterprise, Home, enterprise::records, eventually, grant, subscription, upsert, within,
};

/// After so long without reading a client is let go (30 s), and a little.
const LET_GO_SECONDS: u64 = 45;
const MEMORY_MEBIBYTES_MAX: f64 = 256.0;

#[tokio::test]
async fn a_subscriber_that_stops_reading_is_let_go_and_costs_nobody_anything() {
    let city = City::on(Home::Embedded).await;
    let registry = city.market_supervision().await;
    registry.grants(grant("market-supervision.taxation-reads", "taxation", &[""])).await;
    let (sleeping, awake) = (city.taxation().await, city.taxation().await);
    let first = sleeping.subscribes(subscription("taxation.first", "taxation")).await;
    let second = awake.subscribes(subscription("taxation.second", "taxation")).await;
    let mut asleep = sleeping.reads(&first, 1_000_000).await;
    let mut reading = awake.reads(&second, 10_000).await;
    // 40 MB: more than any window on the way.
    let mut stream = registry.publishes().await;
    let mut sequence = 0;
    for _ in 0..100 {
        let batch = (0..100).map(|number| {
            sequence += 1;
            Enterprise::number(number).with("business_scope", "销".repeat(1300)).record(sequence, sequence)
        });
        stream.accepted(batch.collect()).await;
        assert_eq!(reading.take(100).await.len(), 100, "the other one reads on");
    }
    let streams = async || city.node.metric("shuqiao_delivery_streams").await;
    assert_eq!(streams().await, 2.0);
    eventually(LET_GO_SECONDS, "the sleeping stream is let go", async || streams().await < 2.0).await;
    let memory = city.node.resident_mebibytes().await;
    assert!(memory < MEMORY_MEBIBYTES_MAX, "{memory} MiB");
    // It finds what was on its way, and then an end.
    let (found, _) = asleep.ended_within(20).await;
    assert!(found < 10_000, "{found} records were kept for a client that did not read");
    // Nothing was acknowledged, so nothing is lost: it comes again and reads everything.
    let all = city.taxation().await.reads(&first, 20_000).await.take(10_000).await;
    assert_eq!(all.len(), 10_000);
}

#[tokio::test]
async fn a_publisher_that_does_not_read_its_acknowledgements_is_held_back_and_let_go() {
    let city = City::on(Home::Embedded).await;
    let registry = city.market_supervision().await;
    let mut deaf = registry.publishes().await;
    let code = Enterprise::number(1).code;
    let mut sequence = 0;
    let mut batches = 0_u32;
    // Rejected records have long answers. Sooner or later nothing more is taken.
    within(30, "the client is held back", async {
        let mut refused_in_a_row = 0;
        while refused_in_a_row < 100 {
            let bad =
                (0..500_u64).map(|number| upsert(sequence + number + 1, &code, 1, "{\"name\": 1, \"status\": 2}"));
            if deaf.try_send(bad.collect()) {
                sequence += 500;
                batches += 1;
                refused_in_a_row = 0;
            } else {
                refused_in_a_row += 1;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(batches < 1500, "{batches} batches were taken without an answer read");
    // Others publish meanwhile.
    let mut other = city.client("department/market-supervision/system/desk").await.publishes().await;
    other.accepted(records(1..101)).await;
    let sessions = async || city.node.metric("shuqiao_publish_sessions").await;
    assert_eq!(sessions().await, 2.0);
    eventually(LET_GO_SECONDS, "the deaf stream is let go", async || sessions().await < 2.0).await;
    let memory = city.node.resident_mebibytes().await;
    assert!(memory < MEMORY_MEBIBYTES_MAX, "{memory} MiB");
    other.accepted(records(101..201)).await;
    // Coming again is welcome.
    let registry = city.market_supervision().await;
    registry.publishes().await.accepted(records(1000..1010)).await;
}
