//! Sequences, versions and sessions: each record once, in the source's order, by one source at a time.

use shuqiao_proto::v1::PublishStatus;
use shuqiao_tests::{
    fixtures::{
        City, Enterprise, Home, delete,
        enterprise::records,
        positions,
        raw_log::{self, sequences},
        refused, within,
    },
    on_both_homes,
};
use tonic::Code;

const SOURCE: &str = "department/market-supervision/system/registry";

#[tokio::test]
async fn a_sequence_that_goes_back_ends_the_stream_and_takes_nothing_of_its_batch() {
    let city = City::on(Home::Embedded).await;
    let registry = city.market_supervision().await;
    let mut stream = registry.publishes().await;
    stream.accepted(records(1..11)).await;
    refused(stream.publish(records(10..21)).await, Code::Aborted, "SEQUENCE_WENT_BACK");

    let mut stream = registry.publishes().await;
    assert_eq!(stream.opened.last_sequence, 10, "nothing of the bad batch was taken");
    let mut swapped = records(11..14);
    swapped.swap(0, 1);
    refused(stream.publish(swapped).await, Code::Aborted, "SEQUENCE_WENT_BACK");

    let mut stream = registry.publishes().await;
    let mut zero = records(11..12);
    zero[0].sequence = 0;
    refused(stream.publish(zero).await, Code::Aborted, "SEQUENCE_WENT_BACK");
}

#[tokio::test]
async fn a_batch_that_is_too_large_empty_or_of_another_standard_is_refused_by_name() {
    let city = City::plan(Home::Embedded).with("limits.batch_records_max", 50).build().await;
    let registry = city.market_supervision().await;

    let mut stream = registry.publishes().await;
    assert_eq!(stream.opened.max_batch_records, 50);
    refused(stream.publish(records(1..52)).await, Code::InvalidArgument, "BATCH_TOO_LARGE");

    let mut stream = registry.publishes().await;
    let large = |sequence: u64| shuqiao_tests::fixtures::upsert(sequence, "k", 1, vec![b' '; 900 << 10]);
    refused(stream.publish((1..=5).map(large).collect()).await, Code::InvalidArgument, "BATCH_TOO_LARGE");

    let mut stream = registry.publishes().await;
    refused(stream.publish(Vec::new()).await, Code::InvalidArgument, "INVALID_FIELD");

    let mut stream = registry.publishes().await;
    stream.send_as("enterprise/v2", records(1..2)).await;
    refused(stream.acknowledgement().await, Code::FailedPrecondition, "RECORD_TYPE_NOT_ACCEPTED");

    // Beyond what a message may have, which the transport itself refuses, it is named all the same, and the node goes on.
    let mut stream = registry.publishes().await;
    let huge = (1..=7).map(large).collect();
    refused(stream.publish(huge).await, Code::InvalidArgument, "BATCH_TOO_LARGE");

    registry.publishes().await.accepted(records(1..51)).await;
}

on_both_homes! {
    async fn a_repeat_is_acknowledged_and_stored_once(home) {
        let mut city = City::on(home).await;
        let registry = city.market_supervision().await;
        let first = registry.publishes().await.accepted(records(1..101)).await;
        // The reply was lost: the source says the same again, with something new behind it.
        let again = registry.publishes().await.accepted(records(51..151)).await;
        for (result, number) in again.results.iter().zip(51..) {
            assert_eq!(result.repeat, number <= 100, "sequence {number}");
        }
        // A position that a repeat names has been passed where the record lies.
        for (repeat, original) in again.results.iter().take(50).zip(first.results.iter().skip(50)) {
            let (repeat, original) = (repeat.position.expect("one"), original.position.expect("one"));
            assert!(repeat.partition == original.partition && repeat.offset >= original.offset);
        }
        // A node that was restarted knows it too.
        city.crash().await;
        let registry = city.market_supervision().await;
        let mut stream = registry.publishes().await;
        assert_eq!(stream.opened.last_sequence, 150);
        let third = stream.accepted(records(1..151)).await;
        assert!(third.results.iter().all(|result| result.repeat));
        drop(stream);
        city.node.terminate().await;
        assert_eq!(sequences(&raw_log::entries(&city).await, SOURCE), (1..151).collect());
    }

    async fn an_older_source_version_never_overwrites_a_newer_one(home) {
        let city = City::on(home).await;
        let registry = city.market_supervision().await;
        let mut stream = registry.publishes().await;
        let one = Enterprise::number(1);
        stream.accepted(vec![one.clone().named("新名称有限公司").record(1, 20)]).await;
        let late = stream.accepted(vec![one.clone().named("旧名称有限公司").record(2, 10)]).await;
        let record = registry.looks_up_after(&one.code, positions(&late)).await.expect("the record");
        assert_eq!(record.source_version, 20);
        assert_eq!(record.payload, one.clone().named("新名称有限公司").payload());
        // Neither does an older delete, and a newer one does.
        let late = stream.accepted(vec![delete(3, &one.code, 19)]).await;
        assert_eq!(registry.looks_up_after(&one.code, positions(&late)).await.expect("the record").source_version, 20);
        let newer = stream.accepted(vec![delete(4, &one.code, 21)]).await;
        refused(registry.looks_up_after(&one.code, positions(&newer)).await, Code::NotFound, "RECORD_NOT_FOUND");
        let late = stream.accepted(vec![one.record(5, 20)]).await;
        refused(registry.looks_up_after(&one.code, positions(&late)).await, Code::NotFound, "RECORD_NOT_FOUND");
    }

    async fn a_newer_session_of_a_source_fences_the_older(home) {
        let city = City::on(home).await;
        let registry = city.market_supervision().await;
        let mut older = registry.publishes().await;
        older.accepted(records(1..11)).await;
        let mut newer = registry.publishes().await;
        assert_eq!(newer.opened.last_sequence, 10);
        let fenced = within(5, "the older stream ends", older.acknowledgement()).await;
        refused(fenced, Code::Aborted, "SOURCE_FENCED");
        newer.accepted(records(11..21)).await;
        // Another system of the department is another source.
        let mut desk = city.client("department/market-supervision/system/desk").await.publishes().await;
        assert_eq!(desk.opened.last_sequence, 0);
        desk.accepted(records(1..11)).await;
        newer.accepted(records(21..31)).await;
    }

    async fn a_client_killed_mid_batch_leaves_no_half_behind_and_goes_on(home) {
        let mut city = City::on(home).await;
        let registry = city.market_supervision().await;
        for round in 0..10_u32 {
            let mut stream = registry.publishes().await;
            let last = u32::try_from(stream.opened.last_sequence).expect("small");
            // Several batches on their way, none acknowledged, and the client is gone.
            for batch in 0..5 {
                stream.send(records(last + 1 + batch * 100..last + 101 + batch * 100)).await;
            }
            tokio::time::sleep(std::time::Duration::from_millis(u64::from(round) * 3)).await;
            drop(stream);
        }
        let mut stream = registry.publishes().await;
        let last = u32::try_from(stream.opened.last_sequence).expect("small");
        let rest = stream.publish(records(last.saturating_sub(400).max(1)..last + 101)).await.expect("acknowledged");
        assert!(rest.results.iter().all(|result| result.status() == PublishStatus::Accepted));
        drop(stream);
        city.node.terminate().await;
        let held = sequences(&raw_log::entries(&city).await, SOURCE);
        assert_eq!(held, (1..=u64::from(last) + 100).collect(), "each once, and none is missing");
    }
}
