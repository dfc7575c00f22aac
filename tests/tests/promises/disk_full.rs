//! A full disk: said by name, nothing accepted is lost, reading goes on, and room makes it well again.

use shuqiao_test_needs::SmallDisk;
use shuqiao_tests::fixtures::{
    City, Enterprise, Home, Source,
    enterprise::records,
    eventually,
    raw_log::{self, sequences},
    reason, refused, within,
};
use tonic::Code;

const NAME: &str = "department/market-supervision/system/registry";
const MEBIBYTE: u64 = 1 << 20;
/// What the configuration of every city says.
const FLOOR: u64 = 16 * MEBIBYTE;

#[tokio::test]
async fn below_its_floor_of_free_disk_a_node_takes_nothing_says_so_and_reads_on() {
    let Some(disk) = SmallDisk::mount(400) else { return };
    let city = City::plan(Home::Embedded).with_data_in(&disk.path().join("data")).build().await;
    let registry = city.market_supervision().await;
    registry.publishes().await.accepted(records(1..101)).await;

    let filler = disk.fill_but(FLOOR / 2);
    eventually(10, "the node says that it is not ready", async || {
        matches!(city.node.health().await, Some((503, reasons)) if reasons.contains("log") && reasons.contains("disk"))
    })
    .await;
    let mut stream = registry.publishes().await;
    let status = refused(stream.publish(records(101..201)).await, Code::ResourceExhausted, "DISK_FULL");
    assert!(!status.message().contains('/'), "no path of ours is told: {}", status.message());
    // Questions leave a trace, so that needs room, too; what needs none is answered.
    registry.status().await.expect("the node's status");

    std::fs::remove_file(filler).expect("the filler goes");
    eventually(10, "the node is ready again", async || matches!(city.node.health().await, Some((200, _)))).await;
    let mut stream = registry.publishes().await;
    assert_eq!(stream.opened.last_sequence, 100, "nothing of the refused batch was taken");
    stream.accepted(records(101..201)).await;
    registry.looks_up(&Enterprise::number(1).code).await.expect("what was accepted is there");
}

#[tokio::test]
async fn a_disk_that_fills_under_load_loses_nothing_that_was_accepted() {
    let Some(disk) = SmallDisk::mount(400) else { return };
    let mut city = City::plan(Home::Embedded).with_data_in(&disk.path().join("data")).build().await;
    let mut source = Source::seeded(11, 100);
    let registry = city.market_supervision().await;
    // Not to the floor: to the last byte, while records come in.
    let filling = async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        disk.fill()
    };
    let (status, filler) =
        within(60, "the disk is full", async { tokio::join!(source.publish_until_broken(&registry), filling) }).await;
    assert!(["DISK_FULL", "LOG_UNAVAILABLE"].contains(&reason(&status).as_str()), "{status}");
    assert!(!source.accepted.is_empty());

    std::fs::remove_file(filler).expect("the filler goes");
    // A node that met a full disk in the middle of a write may have to be started again; it must then hold what it accepted.
    city.node.kill();
    city.node.start();
    city.node.ready().await;
    let registry = city.market_supervision().await;
    within(60, "the source settles", source.settle(&registry)).await.expect("everything is acknowledged");
    assert_eq!(registry.digest(source.positions()).await.expect("the digest"), source.digest());
    city.node.terminate().await;
    assert_eq!(sequences(&raw_log::entries(&city).await, NAME), source.accepted);
}
