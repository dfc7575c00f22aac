//! Publishing over a real embedded log, catalogue, view and trail.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use shuqiao_proto::receipt;

use super::{Batch, Fate, NewRecord};
use crate::{
    exchange::{
        Error,
        audit::Query,
        catalogue::{Command, fixtures as catalogue},
        clock::Clock,
        fixtures::{City, DATASET, OWNER, Watched, batch, delete, upsert},
        model::{Operation, Position},
    },
    log::Topic,
};

const NODE_KEY: [u8; 32] = [3; 32];

fn accepted(fate: &Fate) -> (Position, bool) {
    match fate {
        Fate::Accepted { position, repeat, .. } => (*position, *repeat),
        other => panic!("not accepted: {other:?}"),
    }
}

fn rules(fate: &Fate) -> Vec<(&str, &str)> {
    match fate {
        Fate::Rejected(violations) => violations.iter().map(|one| (one.path.as_str(), one.rule.as_str())).collect(),
        other => panic!("not rejected: {other:?}"),
    }
}

/// Every entry of the dataset's topic.
async fn stored(city: &City) -> usize {
    let topic = Topic::dataset("test", &DATASET.parse().unwrap());
    let bounds = city.log.bounds(&topic).await.unwrap();
    bounds.iter().map(|bounds| usize::try_from(bounds.next - bounds.first).unwrap()).sum()
}

/// Why publishing was denied, in the order of the trail.
async fn denials(city: &City) -> Vec<String> {
    let page = city.audit.list(&Query::default()).await.unwrap();
    let denied = |line: &crate::exchange::audit::Line| {
        let entry: serde_json::Value = serde_json::from_slice(&line.canonical).unwrap();
        assert_eq!(entry["action"], "publish");
        entry["outcome"]["denied"].as_str().map(str::to_owned)
    };
    page.lines.iter().filter_map(denied).collect()
}

#[tokio::test]
async fn after_an_unknown_outcome_a_session_takes_nothing_that_would_make_it_look_stored() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::manual(1_000_000);
    let log = Arc::new(Watched::open(directory.path(), clock.clone()));
    let city = City::on(log.clone(), directory.path(), clock).await;
    let mut session = city.session().await;
    log.forgets_records.store(true, Ordering::SeqCst);
    let answer = city.publish(&mut session, vec![upsert(1, "a", "1")]).await;
    assert_eq!(answer.results, [(1, Fate::Unknown)]);
    assert!(matches!(answer.failure, Some(Error::LogUnavailable(_))) && answer.receipt.is_none(), "{answer:?}");
    // The log would take it by now.
    let next = session.submit(batch(vec![upsert(2, "a", "1")])).await;
    assert!(matches!(next, Err(Error::LogUnavailable(_))), "{next:?}");
    drop(session);
    let mut session = city.session().await;
    let again = city.publish(&mut session, vec![upsert(1, "a", "1"), upsert(2, "a", "1")]).await;
    assert!(again.results.iter().all(|(_, fate)| !accepted(fate).1), "neither is a repeat: {again:?}");
    assert_eq!(stored(&city).await, 2);
    city.close().await;
}

#[tokio::test]
async fn a_log_without_room_is_a_refusal_and_no_unknown_outcome() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::manual(1_000_000);
    let log = Arc::new(Watched::open(directory.path(), clock.clone()));
    let city = City::on(log.clone(), directory.path(), clock).await;
    let mut session = city.session().await;
    log.has_no_room.store(true, Ordering::SeqCst);
    let wrong = NewRecord { payload: "[]".into(), ..upsert(1, "a", "1") };
    let refused = session.submit(batch(vec![wrong, upsert(2, "a", "1"), upsert(3, "b", "1")])).await.unwrap();
    let refused = refused.await.unwrap();
    assert!(matches!(refused, Err(Error::DiskFull(_))), "{refused:?}");
    // What is behind it is refused with it.
    let next = session.submit(batch(vec![upsert(4, "a", "1")])).await;
    assert!(matches!(next, Err(Error::DiskFull(_))), "{next:?}");
    assert_eq!(stored(&city).await, 0);
    drop(session);

    // Stored, and the trail has no room: that is not the same.
    let mut session = city.session().await;
    log.audit_has_no_room.store(true, Ordering::SeqCst);
    let untold = session.submit(batch(vec![upsert(2, "a", "1")])).await.unwrap().await.unwrap();
    assert!(matches!(untold, Err(Error::OutcomeUnknown)), "{untold:?}");
    drop(session);
    let mut session = city.session().await;
    let answer = city.publish(&mut session, vec![upsert(2, "a", "1"), upsert(3, "b", "1")]).await;
    let repeats: Vec<_> = answer.results.iter().map(|(_, fate)| accepted(fate).1).collect();
    assert_eq!(repeats, [true, false]);
    city.close().await;
}

#[tokio::test]
async fn an_accepted_record_has_a_position_and_a_receipt_that_verifies() {
    let directory = tempfile::tempdir().unwrap();
    let city = City::open(directory.path()).await;
    let mut session = city.session().await;
    let record = upsert(1, "a", "320600");
    let answer = city.publish(&mut session, vec![record.clone()]).await;
    let (position, repeat) = accepted(&answer.results[0].1);
    assert!(!repeat);

    let receipt = answer.receipt.expect("something was accepted");
    let mut digest = receipt::BatchDigest::default();
    digest.add(&receipt::Accepted {
        sequence: 1,
        position: (position.partition, position.offset),
        operation: 1,
        source_version: 1,
        key: "a",
        payload: &record.payload,
    });
    assert_eq!(receipt.digest, digest.finish());
    let key = ring::signature::Ed25519KeyPair::from_seed_unchecked(&NODE_KEY).unwrap();
    let public = ring::signature::KeyPair::public_key(&key).as_ref().to_vec();
    assert!(receipt::verify(&receipt, &public), "the node's signature");
    let mut forged = receipt;
    forged.accepted_count += 1;
    assert!(!receipt::verify(&forged, &public), "a changed receipt is nobody's word");
    city.close().await;
}

#[tokio::test]
async fn what_was_published_is_published_once_whoever_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let records: Vec<_> = (1..=20).map(|n| upsert(n, &format!("k{n}"), "320600")).collect();
    let city = City::open(directory.path()).await;
    let mut session = city.session().await;
    city.publish(&mut session, records.clone()).await;
    drop(session);

    // The adapter restarts and has lost the acknowledgement.
    let mut session = city.session().await;
    assert_eq!(session.high_water().map(|(_, sequence)| sequence).max(), Some(20));
    let answer = city.publish(&mut session, records.clone()).await;
    assert!(answer.results.iter().all(|(_, fate)| accepted(fate).1), "all are repeats");
    assert!(answer.receipt.is_some(), "a repeat has a receipt too");
    assert_eq!(stored(&city).await, 20);
    drop(session);
    city.close().await;

    // The node restarts, and its view is lost.
    std::fs::remove_dir_all(directory.path().join("view")).unwrap();
    let city = City::open(directory.path()).await;
    let mut session = city.session().await;
    let mut more = records;
    more.push(upsert(21, "k21", "320600"));
    let answer = city.publish(&mut session, more).await;
    let repeats: Vec<_> = answer.results.iter().map(|(_, fate)| accepted(fate).1).collect();
    assert_eq!(repeats, [vec![true; 20], vec![false]].concat());
    assert_eq!(stored(&city).await, 21);
    city.close().await;
}

#[tokio::test]
async fn a_repeat_is_one_also_where_compaction_has_taken_the_record_and_the_view_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::manual(1_000_000);
    let log = Arc::new(Watched::open(directory.path(), clock.clone()));
    let city = City::on(log.clone(), directory.path(), clock.clone()).await;
    let archive = Arc::new(catalogue::identity("spiffe://test/department/market-supervision/system/archive"));
    let registry = vec![upsert(10, "k", "320600")];
    city.publish(&mut city.session().await, registry.clone()).await;
    // Another source writes the same key, and goes on in every partition.
    let mut session = city.publisher.open(&archive, DATASET, "").await.unwrap();
    let rest = (2..=20).map(|n| upsert(n, &format!("k{n}"), "320600"));
    let all = [NewRecord { source_version: 10, ..upsert(1, "k", "320601") }].into_iter().chain(rest).collect();
    city.publish(&mut session, all).await;
    drop(session);
    clock.set(1_000_000 + 3_600_001);
    assert_eq!(log.log.maintain().await.unwrap(), 1, "the registry's entry is gone");
    city.close().await;
    drop(log);

    std::fs::remove_dir_all(directory.path().join("view")).unwrap();
    let city = City::open(directory.path()).await;
    let mut session = city.session().await;
    assert_eq!(session.high_water().map(|(_, sequence)| sequence).max(), Some(10));
    let before = stored(&city).await;
    let answer = city.publish(&mut session, registry).await;
    assert!(accepted(&answer.results[0].1).1, "a repeat");
    assert_eq!(stored(&city).await, before);
    city.close().await;
}

#[tokio::test]
async fn every_violation_is_told_and_nothing_of_it_is_stored() {
    let directory = tempfile::tempdir().unwrap();
    let city = City::open(directory.path()).await;
    let mut session = city.session().await;
    let raw = |sequence, key: &str, payload: &[u8]| NewRecord {
        sequence,
        key: key.into(),
        operation: Some(Operation::Upsert),
        source_version: 1,
        payload: payload.to_vec().into(),
    };
    let large = format!(r#"{{"id":"h","note":"{}"}}"#, "x".repeat(1 << 20));
    let answer = city
        .publish(
            &mut session,
            vec![
                raw(1, "a", b"{\"id\":"),
                raw(2, "a", b"{\"id\":\"\xff\"}"),
                raw(3, "a", br#"{"id":"a","id":"a"}"#),
                raw(4, "a", br#"{"id":1,"extra":true}"#),
                raw(5, "other", br#"{"id":"a"}"#),
                raw(6, "", br#"{"id":"a"}"#),
                NewRecord { operation: None, ..raw(7, "a", b"") },
                NewRecord { operation: Some(Operation::Delete), ..raw(8, "a", b"{}") },
                raw(9, "h", large.as_bytes()),
                raw(10, "a\0b", b"{\"id\":\"a\\u0000b\"}"),
                raw(11, "good", br#"{"id":"good"}"#),
            ],
        )
        .await;
    let fates: Vec<_> = answer.results.iter().map(|(_, fate)| fate).collect();
    assert_eq!(rules(fates[0]), [("/id", "SYNTAX")]);
    assert_eq!(rules(fates[1]), [("", "NOT_UTF8")]);
    assert_eq!(rules(fates[2]), [("/id", "DUPLICATE_KEY")]);
    assert_eq!(rules(fates[3]), [("/id", "WRONG_TYPE"), ("/extra", "UNKNOWN_PROPERTY")]);
    assert_eq!(rules(fates[4]), [("key", "KEY_MISMATCH")]);
    assert!(rules(fates[5]).contains(&("key", "REQUIRED")));
    assert_eq!(rules(fates[6]), [("operation", "REQUIRED")]);
    assert_eq!(rules(fates[7]), [("payload", "NOT_EMPTY")]);
    assert_eq!(rules(fates[8]), [("payload", "TOO_LARGE")]);
    assert!(rules(fates[9]).contains(&("key", "CONTROL_CHARACTER")));
    accepted(fates[10]);
    assert_eq!(stored(&city).await, 1);
    for fate in &fates[..10] {
        let Fate::Rejected(violations) = fate else { unreachable!() };
        assert!(violations.iter().all(|one| !one.message_en.is_empty() && !one.message_zh.is_empty()));
    }
    city.close().await;
}

#[tokio::test]
async fn ten_thousand_rejects_in_a_row_do_not_keep_the_next_record_out() {
    let directory = tempfile::tempdir().unwrap();
    let city = City::open(directory.path()).await;
    let mut session = city.session().await;
    for first in (1..=10_000).step_by(1_000) {
        let records = (first..first + 1_000).map(|n| NewRecord { payload: "[]".into(), ..upsert(n, "a", "1") });
        let answer = city.publish(&mut session, records.collect()).await;
        assert!(answer.results.iter().all(|(_, fate)| matches!(fate, Fate::Rejected(_))));
        assert!(answer.receipt.is_none(), "nothing was accepted");
    }
    let answer = city.publish(&mut session, vec![upsert(10_001, "a", "1")]).await;
    accepted(&answer.results[0].1);
    assert_eq!(stored(&city).await, 1);
    city.close().await;
}

#[tokio::test]
async fn what_breaks_the_streams_rules_ends_the_session_and_takes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let city = City::open(directory.path()).await;
    let mut session = city.session().await;
    city.publish(&mut session, vec![upsert(5, "a", "1")]).await;

    let back = session.submit(batch(vec![upsert(6, "b", "1"), upsert(6, "c", "1")])).await;
    assert!(matches!(back, Err(Error::SequenceWentBack { sequence: 6, previous: 6 })), "{back:?}");
    let empty = session.submit(batch(Vec::new())).await;
    assert!(matches!(empty, Err(Error::InvalidField(_))));
    let many = session.submit(batch((10..1_011).map(|n| upsert(n, "a", "1")).collect())).await;
    assert!(matches!(many, Err(Error::BatchTooLarge { limit: 1_000, unit: "records" })));
    let wide = NewRecord { payload: vec![b' '; 5 << 20].into(), ..upsert(2_000, "a", "1") };
    let wide = session.submit(batch(vec![wide])).await;
    assert!(matches!(wide, Err(Error::BatchTooLarge { unit: "bytes", .. })));
    let mut other = batch(vec![upsert(3_000, "a", "1")]);
    other.record_type = "sample/v2".into();
    let other = session.submit(other).await;
    assert!(matches!(other, Err(Error::RecordTypeNotAccepted { .. })));
    assert_eq!(stored(&city).await, 1);
    // Each refusal was on the trail before it was answered.
    let reasons =
        ["SEQUENCE_WENT_BACK", "INVALID_FIELD", "BATCH_TOO_LARGE", "BATCH_TOO_LARGE", "RECORD_TYPE_NOT_ACCEPTED"];
    assert_eq!(denials(&city).await, reasons);
    city.close().await;
}

#[tokio::test]
async fn only_the_owner_publishes_and_an_unknown_dataset_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let city = City::open(directory.path()).await;
    let open = |department: &str, dataset: &'static str, source: &'static str| {
        let caller = Arc::new(catalogue::system(department));
        let publisher = &city.publisher;
        async move { publisher.open(&caller, dataset, source).await.map(|_| ()) }
    };
    assert!(matches!(open("taxation", DATASET, "").await, Err(Error::NotOwner { .. })));
    assert!(matches!(open(OWNER, "market-supervision.nothing", "").await, Err(Error::DatasetNotFound { .. })));
    let source = "department/market-supervision/system/other";
    assert!(matches!(open(OWNER, DATASET, source).await, Err(Error::InvalidField(_))));
    assert!(matches!(open("unknown", DATASET, "").await, Err(Error::IdentityUnknown)));
    assert_eq!(denials(&city).await, ["NOT_OWNER", "DATASET_NOT_FOUND", "INVALID_FIELD", "IDENTITY_UNKNOWN"]);
    city.close().await;
}

#[tokio::test]
async fn a_newer_session_fences_the_older_and_nothing_is_stored_twice() {
    let directory = tempfile::tempdir().unwrap();
    let city = City::open(directory.path()).await;
    let mut older = city.session().await;
    // In flight when the other adapter starts.
    let pending = older.submit(batch((1..=500).map(|n| upsert(n, &format!("k{n}"), "1")).collect())).await.unwrap();
    let mut newer = city.session().await;
    assert_eq!(newer.high_water().map(|(_, sequence)| sequence).max(), Some(500), "opening waited for the batch");
    assert!(matches!(older.submit(batch(vec![upsert(501, "x", "1")])).await, Err(Error::SourceFenced)));
    assert!(older.fenced().is_cancelled());
    let first = pending.await.unwrap().unwrap();
    assert!(first.results.iter().all(|(_, fate)| !accepted(fate).1), "what was taken is acknowledged all the same");
    let again = (1..=501).map(|n| upsert(n, &format!("k{n}"), "1")).collect();
    city.publish(&mut newer, again).await;
    assert_eq!(stored(&city).await, 501);
    city.close().await;
}

#[tokio::test]
async fn a_dataset_that_is_gone_takes_nothing_more() {
    let directory = tempfile::tempdir().unwrap();
    let city = City::open(directory.path()).await;
    let mut session = city.session().await;
    city.publish(&mut session, vec![upsert(1, "a", "1")]).await;
    let dataset = city.catalogue.snapshot().dataset(DATASET).unwrap().clone();
    let which = crate::exchange::catalogue::command::DatasetRef { id: dataset.id.clone(), expected: dataset.version };
    city.command(&catalogue::system(OWNER), Command::DeleteDataset(which)).await;
    let refused = session.submit(batch(vec![upsert(2, "b", "1")])).await;
    assert!(matches!(refused, Err(Error::DatasetNotFound { .. })), "{refused:?}");
    city.close().await;
}

#[tokio::test]
async fn a_batch_is_on_the_trail_before_it_is_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let city = City::open(directory.path()).await;
    let mut session = city.session().await;
    let answer = city.publish(&mut session, vec![upsert(1, "a", "1"), delete(2, "b")]).await;
    let page = city.audit.list(&Query { dataset: Some(DATASET.into()), ..Query::default() }).await.unwrap();
    let line = page.lines.last().expect("the batch");
    let entry: serde_json::Value = serde_json::from_slice(&line.canonical).unwrap();
    assert_eq!(entry["action"], "publish");
    assert_eq!(entry["actor"], "department/market-supervision/system/registry");
    assert_eq!(entry["count"], 2);
    assert_eq!(entry["digest"], hex::encode(answer.receipt.unwrap().digest));
    assert!(!String::from_utf8_lossy(&line.canonical).contains("顾某某"), "no payload on the trail");

    // With the log closed nothing is durable, so nothing is acknowledged.
    city.log.close().await;
    let after = session.submit(batch(vec![upsert(3, "c", "1")])).await;
    assert!(matches!(after, Err(Error::Draining)), "{after:?}");
    city.tasks.drain(Duration::from_secs(30)).await;
}

#[tokio::test]
async fn order_of_a_key_is_the_sources_order() {
    let directory = tempfile::tempdir().unwrap();
    let city = City::open(directory.path()).await;
    let mut session = city.session().await;
    let mut pending = Vec::new();
    for first in (1..=400_u64).step_by(50) {
        let records = (first..first + 50).map(|n| upsert(n, &format!("k{}", n % 7), "1")).collect();
        pending.push(session.submit(batch(records)).await.unwrap());
    }
    let mut offsets = std::collections::HashMap::new();
    for acknowledging in pending {
        for (sequence, fate) in acknowledging.await.unwrap().unwrap().results {
            let (position, _) = accepted(&fate);
            if let Some(last) = offsets.insert((sequence % 7, position.partition), position.offset) {
                assert!(position.offset > last);
            }
        }
    }
    city.close().await;
}

#[tokio::test]
async fn a_record_type_that_software_cannot_compile_any_more_stops_its_datasets_and_nothing_else() {
    const OWN: &str = "market-supervision.own/v1";
    const OF_OWN: &str = "market-supervision.of-own";
    let directory = tempfile::tempdir().unwrap();
    let owner = Arc::new(catalogue::system(OWNER));
    let own_batch = |records| Batch { record_type: OWN.into(), ..batch(records) };
    let city = City::open(directory.path()).await;
    city.command(&owner, Command::CreateRecordType(catalogue::new_record_type(OWN))).await;
    city.command(&owner, Command::CreateDataset(catalogue::new_dataset_of(OF_OWN, OWN))).await;
    let mut session = city.publisher.open(&owner, OF_OWN, "").await.unwrap();
    let other = session.submit(batch(vec![upsert(1, "a", "1")])).await;
    assert!(matches!(other, Err(Error::RecordTypeNotAccepted { .. })), "the sample is another record type");
    let mut session = city.publisher.open(&owner, OF_OWN, "").await.unwrap();
    let mut long = upsert(2, "b", "1");
    long.payload = format!(r#"{{"id":"b","region":"{}"}}"#, "1".repeat(41)).into();
    let pending = session.submit(own_batch(vec![upsert(1, "a", "1"), long])).await.unwrap();
    let acknowledged = pending.await.unwrap().unwrap();
    accepted(&acknowledged.results[0].1);
    assert_eq!(rules(&acknowledged.results[1].1), [("/region", "TOO_LONG")]);
    let digest = city.catalogue.snapshot().digest().unwrap();
    city.close().await;

    let later = City::compiling(directory.path(), catalogue::STRICTER).await;
    assert_eq!(later.catalogue.snapshot().digest().unwrap(), digest);
    let refused = later.publisher.open(&owner, OF_OWN, "").await.map(|_| ()).unwrap_err();
    assert_eq!(refused.reason(), "RECORD_TYPE_UNUSABLE");
    assert_eq!(denials(&later).await.last().map(String::as_str), Some("RECORD_TYPE_UNUSABLE"));
    let again = catalogue::new_dataset_of("market-supervision.more", OWN);
    let refused = later.catalogue.execute(&owner, Command::CreateDataset(again)).await.unwrap_err();
    assert!(matches!(&refused, Error::InvalidField(told) if told[0].rule == "RECORD_TYPE_UNUSABLE"), "{refused:?}");
    // What is registered already may be registered again; a repeated command is no mistake.
    let same = Command::CreateRecordType(catalogue::new_record_type(OWN));
    assert!(!later.catalogue.execute(&owner, same).await.unwrap().changed);
    let mut session = later.session().await;
    later.publish(&mut session, vec![upsert(1, "c", "1")]).await;
    later.close().await;

    // Software that compiles it again goes on where it stopped.
    let city = City::open(directory.path()).await;
    let session = city.publisher.open(&owner, OF_OWN, "").await.unwrap();
    assert_eq!(session.high_water().map(|(_, sequence)| sequence).max(), Some(1));
    city.close().await;
}
