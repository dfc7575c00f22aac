//! What a grant shows, and what happens when it ends.

use std::time::Duration;

use super::fixture::*;
use crate::{
    exchange::{
        Error,
        catalogue::{
            Command, FieldGrant, Start, Treatment,
            command::{NewGrant, NewSubscription},
            fixtures::{new_dataset, new_grant, new_subscription, system},
        },
        delivery::Open,
        fixtures::{DATASET, OWNER, delete, upsert},
        model::{
            Operation::{Delete, Upsert},
            Position,
        },
    },
    log::Log,
};

#[tokio::test]
async fn fields_not_granted_never_leave() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::open(directory.path()).await;
    let mut fields = clear(&["/id"]);
    fields.push(FieldGrant { path: "/person".into(), treatment: Treatment::Masked });
    house.grant(NewGrant { fields, ..new_grant(GRANT, DATASET, "taxation") }).await;
    house.subscription(new_subscription(SUBSCRIPTION, DATASET)).await;
    house.publish(vec![upsert(1, "a", "320600")]).await;
    let mut stream = house.stream(10).await;
    // Once behind the tail, once at it.
    for sequence in 1..=2 {
        let records = records(&mut stream, 1).await;
        let shown: serde_json::Value = serde_json::from_slice(records[0].payload()).unwrap();
        assert_eq!(shown["id"], "a");
        assert!(shown["person"].as_str().is_some_and(|masked| masked.contains('*') && !masked.contains("顾某某")));
        assert!(shown.get("region").is_none() && shown.get("note").is_none());
        assert!(!format!("{records:?}").contains("顾"), "no payload in Debug");
        if sequence == 1 {
            house.publish(vec![upsert(2, "a", "320600")]).await;
        }
    }
    drop(stream);
    house.close().await;
}

#[tokio::test]
async fn a_revoked_grant_ends_a_live_stream() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::granted(directory.path()).await;
    house.publish(vec![upsert(1, "a", "320600")]).await;
    let mut stream = house.stream(10).await;
    assert_eq!(records(&mut stream, 1).await.len(), 1);
    let (ended, ()) = tokio::join!(end(&mut stream), house.revoke());
    assert!(matches!(ended, Error::GrantRevoked { .. }), "{ended}");
    let denied = house.trail("subscribe").await;
    assert_eq!(denied.last().unwrap()["outcome"]["denied"], "GRANT_REVOKED");
    assert!(matches!(house.try_stream(SUBSCRIPTION, 1, Vec::new()).await, Err(Error::GrantRevoked { .. })));
    drop(stream);
    house.close().await;
}

#[tokio::test]
async fn a_stream_whose_client_does_not_read_ends_with_its_grant() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::granted(directory.path()).await;
    let mut stream = house.stream(10).await;
    let ended = tokio::time::timeout(Duration::from_secs(30), stream.ended());
    let (ended, ()) = tokio::join!(ended, house.revoke());
    assert!(matches!(ended, Ok(Error::GrantRevoked { .. })));
    drop(stream);
    house.close().await;
}

#[tokio::test]
async fn an_expired_grant_ends_an_idle_stream() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::open(directory.path()).await;
    let grant = NewGrant { end_ms: Some(2_000_000), ..new_grant(GRANT, DATASET, "taxation") };
    house.grant(grant).await;
    house.subscription(new_subscription(SUBSCRIPTION, DATASET)).await;
    let mut stream = house.stream(10).await;
    house.city.clock.set(1_999_999);
    nothing(&mut stream).await;
    house.city.clock.set(2_000_000);
    assert!(matches!(end(&mut stream).await, Error::GrantExpired { .. }));
    drop(stream);
    house.close().await;
}

#[tokio::test]
async fn what_was_prepared_under_an_older_grant_is_prepared_again() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::granted(directory.path()).await;
    house.publish(vec![upsert(1, "a", "320600")]).await;
    let mut stream = house.stream(10).await;
    // The batch shows everything and waits for the trail; meanwhile the grant is narrowed.
    house.log.audit_waits.send_replace(true);
    nothing(&mut stream).await;
    house.narrow(&["/id"]).await;
    house.log.audit_waits.send_replace(false);
    let batch = batch(&mut stream).await;
    assert_eq!(&batch.records[0].payload()[..], br#"{"id":"a"}"#);
    let version = house.city.catalogue.snapshot().grant(GRANT).unwrap().version;
    assert_eq!(batch.grant.map(|(_, version)| version), Some(version));
    drop(stream);
    house.close().await;
}

#[tokio::test]
async fn what_leaves_the_rows_is_told_as_a_delete_and_what_was_never_shown_is_not_told() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::open(directory.path()).await;
    house.grant(NewGrant { rows: vec![region("320600")], ..new_grant(GRANT, DATASET, "taxation") }).await;
    house.subscription(new_subscription(SUBSCRIPTION, DATASET)).await;
    let records_of = |from: u64| {
        vec![
            upsert(from, "shown", "320600"),
            upsert(from + 1, "hidden", "310000"),
            upsert(from + 2, "shown", "310000"),
            upsert(from + 3, "shown", "310000"),
            delete(from + 4, "shown"),
            delete(from + 5, "hidden"),
            upsert(from + 6, "gone", "320600"),
            delete(from + 7, "gone"),
            upsert(from + 8, "hidden", "320600"),
        ]
    };
    let expected = |from: u64| {
        vec![(from, Upsert), (from + 2, Delete), (from + 6, Upsert), (from + 7, Delete), (from + 8, Upsert)]
    };
    house.publish(records_of(1)).await;
    let mut stream = house.stream(100).await;
    let behind = records(&mut stream, 5).await;
    assert_eq!(told(&behind), expected(1));
    assert!(behind.iter().all(|one| one.payload().is_empty() == (one.operation() == Delete)));
    nothing(&mut stream).await;
    // At the tail the same; "hidden" is visible by now, so its second upsert is a delete.
    house.publish(records_of(11)).await;
    let mut again = expected(11);
    again.insert(1, (12, Delete));
    assert_eq!(told(&records(&mut stream, 6).await), again);
    nothing(&mut stream).await;

    // An older version that arrives late hides nothing and shows nothing.
    let mut late = upsert(20, "hidden", "310000");
    late.source_version = 1;
    house.publish(vec![late]).await;
    nothing(&mut stream).await;
    drop(stream);
    house.close().await;
}

#[tokio::test]
async fn a_filter_narrows_and_the_cursor_passes_what_it_hides() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::open(directory.path()).await;
    house.grant(new_grant(GRANT, DATASET, "taxation")).await;
    let subscription = NewSubscription { filter: vec![region("320600")], ..new_subscription(SUBSCRIPTION, DATASET) };
    house.subscription(subscription).await;
    let region_of = |n: u64| if n.is_multiple_of(10) { "320600" } else { "310000" };
    house.publish((1..=500).map(|n| upsert(n, &format!("k{n}"), region_of(n))).collect()).await;
    // What is hidden costs no credit.
    let mut stream = house.stream(50).await;
    let records = records(&mut stream, 50).await;
    assert_eq!(sequences(&records), (1..=50).map(|n| n * 10).collect::<Vec<_>>());
    stream.handle().acknowledge(places(&records));
    stream.handle().credit(1);
    let end: Vec<_> = stream.end().iter().map(|position| position.offset).collect();
    nothing(&mut stream).await;
    stream.close().await;
    assert_eq!(house.cursor(), end);

    // A field that is no longer shown cannot be filtered by: the answer would disclose it.
    house.narrow(&["/id", "/note"]).await;
    assert!(matches!(house.try_stream(SUBSCRIPTION, 1, Vec::new()).await, Err(Error::InvalidField(_))));
    house.close().await;
}

#[tokio::test]
async fn a_subscription_serves_the_grants_purpose_and_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::granted(directory.path()).await;
    let mut stream = house.stream(10).await;
    house.change_grant(|change| change.purpose = "统计".into()).await;
    let is_told = |error: &Error| {
        let Error::InvalidField(violations) = error else { return false };
        violations.iter().any(|one| (&*one.path, &*one.rule) == ("purpose", "PURPOSE_NOT_GRANTED"))
    };
    let ended = end(&mut stream).await;
    assert!(is_told(&ended), "{ended:?}");
    drop(stream);
    let refused = house.try_stream(SUBSCRIPTION, 1, Vec::new()).await.map(drop).expect_err("is for another purpose");
    assert!(is_told(&refused), "{refused:?}");
    house.change_grant(|change| change.purpose = "核查".into()).await;
    drop(house.try_stream(SUBSCRIPTION, 1, Vec::new()).await.expect("is for this one"));
    house.close().await;
}

#[tokio::test]
async fn a_subscription_is_its_subscribers_alone() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::granted(directory.path()).await;
    let open = Open { subscription: SUBSCRIPTION.into(), ..Open::default() };
    for other in [OWNER, "civil-affairs"] {
        let refused = house.delivery.subscribe(&std::sync::Arc::new(system(other)), open.clone()).await;
        assert!(matches!(refused, Err(Error::ResourceNotFound { .. })), "{other}");
    }
    let stranger = house.delivery.subscribe(&std::sync::Arc::new(system("stranger")), open).await;
    assert!(matches!(stranger, Err(Error::IdentityUnknown)));
    for unknown in ["taxation.none", "no id at all"] {
        let refused = house.try_stream(unknown, 1, Vec::new()).await;
        assert!(matches!(refused, Err(Error::ResourceNotFound { .. })), "{unknown}");
    }
    // Every refusal is on record, and another's is recorded like one that does not exist.
    let told = |entry: &serde_json::Value| {
        let text = |value: &serde_json::Value| value.as_str().unwrap_or("-").to_owned();
        format!(
            "{} {} {}",
            text(&entry["target"]["resource"]),
            text(&entry["dataset"]),
            text(&entry["outcome"]["denied"])
        )
    };
    let trail: Vec<_> = house.trail("subscribe").await.iter().map(told).collect();
    assert_eq!(
        trail,
        [
            "subscriptions/taxation.sample - RESOURCE_NOT_FOUND",
            "subscriptions/taxation.sample - RESOURCE_NOT_FOUND",
            "subscriptions/taxation.sample - IDENTITY_UNKNOWN",
            "subscriptions/taxation.none - RESOURCE_NOT_FOUND",
            "- - RESOURCE_NOT_FOUND",
        ]
    );
    // Who owns the dataset reads it without a grant.
    house.city.command(&taxation(), Command::CreateDataset(new_dataset("taxation.payers"))).await;
    house.subscription(new_subscription("taxation.own", "taxation.payers")).await;
    let stream = house.try_stream("taxation.own", 1, Vec::new()).await.expect("its own");
    drop(stream);
    house.close().await;
}

#[tokio::test]
async fn no_opening_is_refused_before_the_trail_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let options = crate::exchange::delivery::Options { unacknowledged_records_max: 3, ..options() };
    let house = House::with(directory.path(), options).await;
    house.grant(new_grant(GRANT, DATASET, "taxation")).await;
    house.subscription(new_subscription(SUBSCRIPTION, DATASET)).await;
    house.publish((1..=10).map(|n| upsert(n, &format!("k{n}"), "320600")).collect()).await;

    let held: Vec<_> = (0..4).map(|offset| Position { partition: 0, offset }).collect();
    assert!(matches!(house.try_stream(SUBSCRIPTION, 1, held).await, Err(Error::InvalidField(_))));
    house.seek(Start::positions([Position { partition: 0, offset: 0 }])).await;
    let next = house.log.bounds(&topic()).await.unwrap()[0].next;
    house.log.log.trim(&topic(), 0, next).await.unwrap();
    let beyond = house.try_stream(SUBSCRIPTION, 1, Vec::new()).await;
    assert!(matches!(beyond, Err(Error::PositionBeyondRetention { .. })), "{beyond:?}");
    let trail = house.trail("subscribe").await;
    let told: Vec<_> = trail
        .iter()
        .map(|entry| {
            (entry["outcome"]["denied"].as_str(), entry["dataset"].as_str(), entry["target"]["resource"].as_str())
        })
        .collect();
    let of_it = |reason| (Some(reason), Some(DATASET), Some("subscriptions/taxation.sample"));
    assert_eq!(told, [of_it("INVALID_FIELD"), of_it("POSITION_BEYOND_RETENTION")]);

    // A trail that does not answer is waited for, and one that has no room for the refusal is what is told.
    house.log.audit_waits.send_replace(true);
    {
        let mut opening = std::pin::pin!(house.try_stream("taxation.none", 1, Vec::new()));
        let answered = tokio::time::timeout(Duration::from_secs(3), &mut opening).await;
        assert!(answered.is_err(), "answered before it is on record");
        house.log.audit_waits.send_replace(false);
        assert!(matches!(opening.await, Err(Error::ResourceNotFound { .. })));
    }
    house.log.audit_has_no_room.store(true, std::sync::atomic::Ordering::SeqCst);
    let unrecorded = house.try_stream("taxation.none", 1, Vec::new()).await;
    assert!(matches!(unrecorded, Err(Error::DiskFull(_))), "{unrecorded:?}");
    let caller = taxation();
    let out_of_turn = || Error::invalid("request", "OPEN_FIRST", "the first message is `open`", "首条消息应为 open");
    assert!(matches!(house.delivery.refuse(&caller, out_of_turn()).await, Error::InvalidField(_)));
    house.log.audit_has_no_room.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(matches!(house.delivery.refuse(&caller, out_of_turn()).await, Error::DiskFull(_)));
    house.close().await;
}
