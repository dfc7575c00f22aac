//! Where a subscription stands: cursors, restarts, seeks, take-overs, retention.

use super::fixture::*;
use crate::{
    exchange::{
        Error,
        catalogue::{
            Command, Start,
            command::{NewSubscription, SubscriptionRef},
            fixtures::{new_dataset, new_grant, new_subscription},
        },
        delivery::Event,
        fixtures::{DATASET, upsert},
        model::Position,
    },
    log::{self, Log, Topic},
};

fn many(from: u64, to: u64) -> Vec<crate::exchange::publishing::NewRecord> {
    (from..=to).map(|n| upsert(n, &format!("k{n}"), "320600")).collect()
}

#[tokio::test]
async fn acknowledgements_out_of_order_move_one_durable_cursor() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::granted(directory.path()).await;
    house.publish(many(1, 40)).await;
    let mut stream = house.stream(100).await;
    let handle = stream.handle();
    let mut places = places(&records(&mut stream, 40).await);
    places.sort_unstable();
    let oldest = places.remove(0);
    handle.acknowledge(places.iter().rev().copied());
    // The other partition moves, that of the oldest does not.
    let moved = loop {
        if let Event::CursorMoved(moved) = stream.next().await.unwrap() {
            break moved;
        }
    };
    let end = stream.end();
    assert_eq!(moved, [Position { partition: 0, offset: oldest.offset }, end[1]]);
    assert_eq!(house.cursor(), [oldest.offset, end[1].offset]);
    handle.acknowledge([oldest]);
    let moved = loop {
        if let Event::CursorMoved(moved) = stream.next().await.unwrap() {
            break moved;
        }
    };
    assert_eq!(moved, end);
    drop(stream);
    house.close().await;
}

#[tokio::test]
async fn a_restart_continues_at_the_cursor_without_what_the_client_holds() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::granted(directory.path()).await;
    house.publish(many(1, 30)).await;
    let mut stream = house.stream(100).await;
    let taken = records(&mut stream, 30).await;
    let (done, open): (Vec<_>, Vec<_>) = taken.into_iter().partition(|one| one.record().unwrap().sequence <= 12);
    stream.handle().acknowledge(places(&done));
    stream.close().await;
    house.close().await;

    let house = House::open(directory.path()).await;
    let held: Vec<_> = places(&open).into_iter().take(10).collect();
    let mut stream = house.try_stream(SUBSCRIPTION, 100, held.clone()).await.unwrap();
    let again = records(&mut stream, 8).await;
    assert!(
        again.iter().all(|one| open.iter().any(|old| old.position() == one.position())),
        "only what was not acknowledged"
    );
    assert!(again.iter().all(|one| !held.contains(&one.position())), "not what the client holds");
    assert_eq!(again.len(), 8);
    nothing(&mut stream).await;
    stream.handle().acknowledge(places(&again).into_iter().chain(held));
    let end: Vec<_> = stream.end().iter().map(|position| position.offset).collect();
    stream.close().await;
    assert_eq!(house.cursor(), end);
    house.close().await;
}

#[tokio::test]
async fn a_newer_stream_takes_over() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::granted(directory.path()).await;
    house.publish(many(1, 4)).await;
    let mut older = house.stream(100).await;
    let taken = records(&mut older, 4).await;
    older.handle().acknowledge(places(&taken));
    let mut newer = house.stream(100).await;
    assert!(matches!(end(&mut older).await, Error::SubscriptionTakenOver));
    // What the older one acknowledged counts, whether it was durable or not.
    house.publish(many(5, 6)).await;
    assert_eq!(sequences(&records(&mut newer, 2).await), [5, 6]);
    drop(older);
    nothing(&mut newer).await;
    drop(newer);
    house.close().await;
}

#[tokio::test]
async fn a_seek_ends_the_live_stream_and_moves_the_cursor() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::granted(directory.path()).await;
    house.publish(many(1, 10)).await;
    let mut stream = house.stream(100).await;
    let taken = records(&mut stream, 10).await;
    stream.handle().acknowledge(places(&taken));
    let (ended, ()) = tokio::join!(end(&mut stream), house.seek(Start::Beginning));
    assert!(matches!(ended, Error::SubscriptionTakenOver));
    stream.close().await;
    let mut stream = house.stream(100).await;
    assert_eq!(records(&mut stream, 10).await.len(), 10);
    drop(stream);

    house.seek(Start::Now(Vec::new())).await;
    house.publish(many(11, 12)).await;
    let mut stream = house.stream(100).await;
    assert_eq!(sequences(&records(&mut stream, 2).await), [11, 12]);
    drop(stream);

    house.city.clock.set(1_500_000);
    house.publish(many(13, 14)).await;
    house.seek(Start::Time(1_200_000)).await;
    let mut stream = house.stream(100).await;
    assert_eq!(sequences(&records(&mut stream, 2).await), [13, 14]);
    drop(stream);

    let place = places(&taken)[0];
    house.seek(Start::positions([place])).await;
    let mut stream = house.stream(100).await;
    let from = records(&mut stream, 1).await;
    let own = places(&from).into_iter().filter(|one| one.partition == place.partition).min();
    assert_eq!(own, Some(place));
    drop(stream);
    house.close().await;
}

#[tokio::test]
async fn a_position_beyond_retention_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::granted(directory.path()).await;
    house.publish(many(1, 20)).await;
    let mut stream = house.stream(100).await;
    let taken = records(&mut stream, 20).await;
    let first = places(&taken).into_iter().filter(|place| place.partition == 0).min().unwrap();
    stream.handle().acknowledge([first]);
    stream.close().await;
    let next = house.log.bounds(&topic()).await.unwrap()[0].next;
    house.log.log.trim(&topic(), 0, next).await.unwrap();
    match house.try_stream(SUBSCRIPTION, 100, Vec::new()).await {
        Err(error @ Error::PositionBeyondRetention { position, first, .. }) => {
            assert_eq!((position.partition, first), (0, next));
            assert!(error.to_string().contains("no longer holds"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    house.seek(Start::Beginning).await;
    drop(house.stream(100).await);
    house.close().await;
}

#[tokio::test]
async fn a_start_behind_the_logs_end_is_refused_before_it_becomes_a_subscription() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::granted(directory.path()).await;
    house.publish(many(1, 20)).await;
    let bounds = house.log.bounds(&topic()).await.unwrap();
    let end = bounds[0].next;
    let at = |partition, offset| Start::positions([Position { partition, offset }]);
    for (start, rule) in
        [(at(0, end + 1), "BEHIND_THE_END"), (at(0, u64::MAX), "BEHIND_THE_END"), (at(9, 0), "UNKNOWN_PARTITION")]
    {
        let sought = house.try_seek(start.clone()).await;
        assert!(matches!(&sought, Err(Error::InvalidField(told)) if told[0].rule == rule), "{start:?}: {sought:?}");
        let new = NewSubscription {
            id: "taxation.second".parse().unwrap(),
            start,
            ..new_subscription(SUBSCRIPTION, DATASET)
        };
        let made = house.city.catalogue.execute(&taxation(), Command::CreateSubscription(new)).await.map(drop);
        assert!(matches!(&made, Err(Error::InvalidField(told)) if told[0].rule == rule), "{made:?}");
    }
    // The end itself is where the next record will be.
    house.try_seek(at(0, end)).await.unwrap();
    drop(house.stream(100).await);
    house.close().await;
}

#[tokio::test]
async fn a_deleted_subscription_ends_its_stream_and_leaves_no_cursor() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::granted(directory.path()).await;
    house.publish(many(1, 10)).await;
    let mut stream = house.stream(100).await;
    let taken = records(&mut stream, 10).await;
    stream.handle().acknowledge(places(&taken));
    while house.cursor().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let old = house.city.catalogue.snapshot().subscription(SUBSCRIPTION).unwrap().clone();
    let which = SubscriptionRef { id: old.id.clone(), expected: old.version };
    let caller = taxation();
    let delete = house.city.command(&caller, Command::DeleteSubscription(which));
    let (ended, ()) = tokio::join!(end(&mut stream), delete);
    assert!(matches!(ended, Error::ResourceNotFound { .. }));
    drop(stream);
    while !house.delivery.cursor(&old).is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    // The name taken again is another subscription.
    house.subscription(new_subscription(SUBSCRIPTION, DATASET)).await;
    let mut stream = house.stream(100).await;
    assert_eq!(records(&mut stream, 10).await.len(), 10);
    drop(stream);
    house.close().await;
}

#[tokio::test]
async fn more_held_than_the_bound_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let options = crate::exchange::delivery::Options { unacknowledged_records_max: 3, streams_max: 1, ..options() };
    let house = House::with(directory.path(), options).await;
    house.grant(new_grant(GRANT, DATASET, "taxation")).await;
    house.subscription(new_subscription(SUBSCRIPTION, DATASET)).await;
    let second =
        NewSubscription { purpose: "核查：另一批".into(), ..new_subscription("taxation.second", DATASET) };
    house.subscription(second).await;
    let held: Vec<_> = (0..4).map(|offset| Position { partition: 0, offset }).collect();
    assert!(matches!(house.try_stream(SUBSCRIPTION, 1, held).await, Err(Error::InvalidField(_))));
    let stream = house.stream(1).await;
    let refused = house.try_stream("taxation.second", 1, Vec::new()).await;
    assert!(matches!(refused, Err(Error::QuotaExhausted { .. })));
    drop(stream);
    drop(house.try_stream("taxation.second", 1, Vec::new()).await.expect("there is room again"));
    house.close().await;
}

/// Puts a cursor into the log that nobody can read. Answers with its offset.
async fn damage(house: &House, subscription: &'static str) -> u64 {
    let (key, value) = (Some(subscription.into()), Some("damaged".into()));
    let entry = log::Entry { partition: 0, key, headers: Vec::new(), value, timestamp_ms: 1 };
    log::append_one(&*house.log, &Topic::cursors("test"), entry).await.unwrap()
}

/// Waits until the cursor is taken out of the log, behind an offset.
async fn forgotten(house: &House, subscription: &'static str, behind: u64) {
    let wait = async {
        loop {
            // There may be none yet, and the reader waits.
            let mut reader = house.log.read(&Topic::cursors("test"), &[(0, behind + 1)]).await.unwrap();
            let read = tokio::time::timeout(std::time::Duration::from_millis(100), reader.next(100, 1 << 20)).await;
            let entries = read.ok().and_then(Result::ok).unwrap_or_default();
            let is_it = |key: Option<&[u8]>| key == Some(subscription.as_bytes());
            if entries.iter().any(|one| is_it(one.key.as_deref()) && one.value.is_none()) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), wait).await.expect("it is forgotten");
}

#[tokio::test]
async fn a_cursor_that_cannot_be_read_is_told_and_a_seek_mends_it() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::granted(directory.path()).await;
    house.publish(many(1, 10)).await;
    let mut stream = house.stream(100).await;
    let taken = places(&records(&mut stream, 10).await);
    stream.handle().acknowledge(taken);
    stream.close().await;
    let at = damage(&house, SUBSCRIPTION).await;
    // Whatever it was, it is not taken for none: that would be a flood of repeats.
    let refused = house.try_stream(SUBSCRIPTION, 100, Vec::new()).await;
    assert!(matches!(refused, Err(Error::DataLoss(_))), "{refused:?}");
    assert_eq!(house.cursor(), [0; 0], "a list shows none, and is shown");

    house.seek(Start::Beginning).await;
    let mut stream = house.stream(100).await;
    assert_eq!(records(&mut stream, 10).await.len(), 10);
    drop(stream);
    forgotten(&house, SUBSCRIPTION, at).await;
    house.close().await;
    // Also for who has not seen the seek, but only what the log holds.
    let house = House::open(directory.path()).await;
    let mut stream = house.stream(100).await;
    let taken = places(&records(&mut stream, 10).await);
    stream.handle().acknowledge(taken);
    let end: Vec<_> = stream.end().iter().map(|position| position.offset).collect();
    stream.close().await;
    assert_eq!(house.cursor(), end);

    // What is left of a subscription that is gone goes, readable or not.
    let at = damage(&house, "taxation.gone").await;
    assert!(house.try_stream("taxation.gone", 1, Vec::new()).await.is_err());
    drop(house.stream(1).await);
    house.seek(Start::Beginning).await;
    forgotten(&house, "taxation.gone", at).await;
    house.close().await;
}

#[tokio::test]
async fn a_dataset_whose_log_does_not_answer_keeps_no_other_stream_from_opening() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::granted(directory.path()).await;
    house.city.command(&taxation(), Command::CreateDataset(new_dataset("taxation.payers"))).await;
    house.subscription(new_subscription("taxation.own", "taxation.payers")).await;
    house.log.readers_wait.send_replace(Some(topic()));
    {
        let mut stuck = std::pin::pin!(house.stream(1));
        let patience = std::time::Duration::from_millis(300);
        assert!(tokio::time::timeout(patience, &mut stuck).await.is_err(), "its log does not answer");
        let other = house.try_stream("taxation.own", 1, Vec::new());
        drop(tokio::time::timeout(100 * patience, other).await.expect("it does not wait").expect("it opens"));
        house.log.readers_wait.send_replace(None);
        drop(stuck.await);
    }
    // One reader for both that come at once, and a new one once they are gone.
    let before = house.readers();
    let (one, other) = tokio::join!(house.stream(1), house.stream(1));
    assert_eq!(house.readers(), before + 1);
    drop((one, other));
    house.close().await;
}
