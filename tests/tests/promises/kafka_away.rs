//! Kafka goes away under load and comes back: nothing accepted is lost, nothing is there twice, and the node tells how it stands.

use std::time::Duration;

use shuqiao_tests::fixtures::{
    City, Source, eventually,
    kafka::OwnKafka,
    raw_log::{self, sequences},
    within,
};

const NAME: &str = "department/market-supervision/system/registry";

#[tokio::test]
async fn kafka_stopped_and_started_under_load_loses_and_doubles_nothing() {
    let Some(kafka) = OwnKafka::start().await else { return };
    let mut city = City::plan(kafka.home()).with("log.kafka.delivery_deadline", "5s").build().await;
    let mut source = Source::seeded(5, 50);
    let client = city.market_supervision().await;
    for _ in 0..2 {
        let outage = async {
            tokio::time::sleep(Duration::from_millis(700)).await;
            kafka.stop().await;
            eventually(
                20,
                "the node says that its log is away",
                async || matches!(city.node.health().await, Some((503, reasons)) if reasons.contains("log")),
            )
            .await;
            tokio::time::sleep(Duration::from_secs(6)).await;
            kafka.come_back().await;
        };
        // The source tries again and again, as a source does.
        let trying = async {
            loop {
                source.publish_until_broken(&client).await;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        tokio::select! {
            () = trying => {}
            () = outage => {}
        }
        eventually(30, "the node is ready again", async || matches!(city.node.health().await, Some((200, _)))).await;
    }
    within(180, "the source settles", async {
        while source.settle(&client).await.is_err() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await;
    assert_eq!(client.digest(source.positions()).await.expect("the digest"), source.digest());
    assert!(city.node.ended().is_none(), "the node itself was never away");
    assert_eq!(sequences(&raw_log::entries(&city).await, NAME), source.accepted);
}
