//! How records flow: credit, the tail, those behind it, repeats, the trail.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::future::join_all;
use prometheus_client::registry::Registry;
use ring::digest::{SHA256, digest};

use super::{
    super::{Event, Metrics, Open, Options},
    fixture::*,
};
use crate::{
    exchange::{
        Error,
        catalogue::{
            Command, FieldGrant, Start, Treatment,
            command::{NewGrant, NewSubscription},
            fixtures::{new_grant, new_subscription, system},
        },
        envelope::{Decoder, Encoder, restate},
        fixtures::{DATASET, OWNER, delete, upsert},
        model::{Operation, Position, partition_of},
        publishing::NewRecord,
    },
    log::{Entry, Log},
};

fn many(from: u64, to: u64) -> Vec<NewRecord> {
    (from..=to).map(|n| upsert(n, &format!("k{n}"), "320600")).collect()
}

#[tokio::test]
async fn credits_bound_what_is_in_flight() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { unacknowledged_records_max: 25, ..options() };
    let house = House::with(directory.path(), options).await;
    house.grant(new_grant(GRANT, DATASET, "taxation")).await;
    house.subscription(new_subscription(SUBSCRIPTION, DATASET)).await;
    house.publish(many(1, 60)).await;

    let mut stream = house.stream(0).await;
    nothing(&mut stream).await;
    let handle = stream.handle();
    handle.credit(10);
    let first = records(&mut stream, 10).await;
    assert_eq!(first.len(), 10);
    nothing(&mut stream).await;
    // An acknowledgement is no credit.
    handle.acknowledge(places(&first[..5]));
    nothing(&mut stream).await;
    handle.credit(5);
    assert_eq!(records(&mut stream, 5).await.len(), 5);
    nothing(&mut stream).await;
    // Ten are unacknowledged; credit beyond the node's own bound waits for acknowledgements.
    handle.credit(1_000);
    let more = records(&mut stream, 15).await;
    assert_eq!(more.len(), 15);
    nothing(&mut stream).await;
    handle.acknowledge(places(&more[..7]));
    assert_eq!(records(&mut stream, 7).await.len(), 7);
    nothing(&mut stream).await;
    drop(stream);
    house.close().await;
}

#[tokio::test]
async fn unacknowledged_bytes_hold_the_next_batch_back() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { unacknowledged_bytes_max: 1_000, batch_records_max: 2, batch_bytes_max: 800, ..options() };
    let house = House::with(directory.path(), options).await;
    house.grant(new_grant(GRANT, DATASET, "taxation")).await;
    house.subscription(new_subscription(SUBSCRIPTION, DATASET)).await;
    house.publish(many(1, 20)).await;
    let mut stream = house.stream(100).await;
    let mut seen = 0;
    while seen < 20 {
        let batch = batch(&mut stream).await.records;
        assert!(batch.len() <= 2);
        seen += batch.len();
        if seen == 4 {
            // Each counts with some 330 bytes: three are below the bound, the fourth reaches it.
            nothing(&mut stream).await;
        }
        if seen >= 4 {
            stream.handle().acknowledge(places(&batch));
        }
    }
    drop(stream);
    house.close().await;
}

#[tokio::test]
async fn one_reader_serves_many() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::granted(directory.path()).await;
    for number in 0..12 {
        let now = Start::Now(Vec::new());
        let id = format!("taxation.live-{number}");
        house.subscription(NewSubscription { start: now, ..new_subscription(&id, DATASET) }).await;
    }
    let before = house.readers();
    let mut streams = Vec::new();
    for number in 0..12 {
        let id = format!("subscriptions/taxation.live-{number}");
        streams.push(house.try_stream(&id, 1_000, Vec::new()).await.unwrap());
    }
    house.publish(many(1, 300)).await;
    for stream in &mut streams {
        assert_eq!(sequences(&records(stream, 300).await), (1..=300).collect::<Vec<_>>());
    }
    assert_eq!(house.readers() - before, 1);
    drop(streams);
    house.close().await;
}

#[tokio::test]
async fn a_record_is_encoded_once_for_all_who_are_shown_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let house = House::with(directory.path(), Options { tail_bytes_max: 20_000, metrics, ..options() }).await;
    house.grant(new_grant(GRANT, DATASET, "taxation")).await;
    let narrow =
        NewGrant { fields: clear(&["/id"]), ..new_grant("market-supervision.narrow", DATASET, "civil-affairs") };
    house.grant(narrow).await;
    let now = || Start::Now(Vec::new());
    for id in ["taxation.one", "taxation.two"] {
        house.subscription(NewSubscription { start: now(), ..new_subscription(id, DATASET) }).await;
    }
    let other = Arc::new(system("civil-affairs"));
    let third = NewSubscription { start: now(), ..new_subscription("civil-affairs.one", DATASET) };
    house.city.command(&other, Command::CreateSubscription(third)).await;
    let mut streams = Vec::new();
    for id in ["taxation.one", "taxation.two"] {
        streams.push(house.try_stream(id, 1_000, Vec::new()).await.unwrap());
    }
    let open = Open { subscription: "civil-affairs.one".into(), credit: 1_000, ..Open::default() };
    streams.push(house.delivery.subscribe(&other, open).await.unwrap());

    for round in 0..20 {
        house.publish(vec![upsert(2 * round + 1, "a", "320600"), delete(2 * round + 2, "a")]).await;
        let mut encoded = 0;
        let mut forms = Vec::new();
        for stream in &mut streams {
            for one in records(stream, 2).await {
                forms.push(one.encoded(|| {
                    encoded += 1;
                    vec![0; 1_000].into()
                }));
            }
        }
        // The upsert once for each view, the delete once for all.
        assert_eq!((forms.len(), encoded), (6, 3));
        assert_eq!(forms[0].as_ptr(), forms[2].as_ptr(), "the same bytes");
    }
    // Some forty entries and sixty encodings of a kilobyte: what was made of an entry counts as well, and goes with it.
    let tail_bytes = measured(&registry, "shuqiao_delivery_tail_bytes{");
    assert!((1_000..=20_000).contains(&tail_bytes), "{tail_bytes}");
    drop(streams);
    house.close().await;
}

#[tokio::test]
async fn what_a_grant_makes_larger_than_one_message_is_several() {
    let directory = tempfile::tempdir().unwrap();
    // Ten records as they lie in the log; hashes make each some 120 bytes longer.
    let options = Options { batch_bytes_max: 3_500, ..options() };
    let bytes_max = options.batch_bytes_max;
    let house = House::with(directory.path(), options).await;
    let hashed = |path: &str| FieldGrant { path: path.into(), treatment: Treatment::KeyedHash };
    let fields = clear(&["/id"]).into_iter().chain(["/region", "/person", "/note"].map(hashed)).collect();
    house.grant(NewGrant { fields, ..new_grant(GRANT, DATASET, "taxation") }).await;
    house.subscription(new_subscription(SUBSCRIPTION, DATASET)).await;
    house.publish(many(1, 60)).await;
    let mut stream = house.stream(100).await;
    let (mut all, mut batches) = (Vec::new(), 0);
    let dataset = DATASET.parse().unwrap();
    while all.len() < 60 {
        let records = batch(&mut stream).await.records;
        let bytes = records.iter().map(|one| one.record().unwrap().message_bytes(&dataset, one.payload().len()));
        assert!(bytes.sum::<usize>() <= bytes_max, "{} records", records.len());
        batches += 1;
        all.extend(records);
    }
    assert_eq!(sequences(&all), (1..=60).collect::<Vec<_>>());
    for partition in 0..2 {
        let own: Vec<_> = places(&all).into_iter().filter(|place| place.partition == partition).collect();
        assert!(own.is_sorted(), "in the order of the log");
    }
    let trail = house.trail("deliver").await;
    assert_eq!(trail.len(), batches, "each batch is on record");
    assert_eq!(trail.iter().filter_map(|entry| entry["count"].as_u64()).sum::<u64>(), 60);
    drop(stream);
    house.close().await;
}

#[tokio::test]
async fn a_slow_subscriber_does_not_slow_another() {
    let directory = tempfile::tempdir().unwrap();
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let options = Options { tail_bytes_max: 20_000, metrics, ..options() };
    let house = House::with(directory.path(), options).await;
    house.grant(new_grant(GRANT, DATASET, "taxation")).await;
    for id in ["taxation.slow", "taxation.fast"] {
        house.subscription(new_subscription(id, DATASET)).await;
    }
    let mut slow = house.try_stream("taxation.slow", 5_000, Vec::new()).await.unwrap();
    let mut fast = house.try_stream("taxation.fast", 5_000, Vec::new()).await.unwrap();
    house.publish(many(1, 10)).await;
    assert_eq!(records(&mut slow, 10).await.len(), 10);

    // Nobody polls the slow one while the fast one takes everything, in memory that holds some sixty records.
    let mut taken = records(&mut fast, 10).await;
    for round in 0..20 {
        house.publish(many(11 + round * 100, 110 + round * 100)).await;
        taken.extend(records(&mut fast, 100).await);
    }
    assert_eq!(sequences(&taken), (1..=2_010).collect::<Vec<_>>());

    let late = records(&mut slow, 2_000).await;
    assert_eq!(sequences(&late), (11..=2_010).collect::<Vec<_>>());
    for partition in 0..2 {
        let own: Vec<_> = places(&late).into_iter().filter(|place| place.partition == partition).collect();
        assert!(own.is_sorted(), "the order of a partition is that of the log");
    }
    // Having caught up it reads at the tail again.
    house.publish(many(2_011, 2_020)).await;
    assert_eq!(sequences(&records(&mut slow, 10).await), (2_011..=2_020).collect::<Vec<_>>());
    assert!(measured(&registry, "shuqiao_delivery_catch_up_reads_total{") > 0);
    let tail_bytes = measured(&registry, "shuqiao_delivery_tail_bytes{");
    assert!((1..=20_000).contains(&tail_bytes), "{tail_bytes}");
    assert_eq!(measured(&registry, "shuqiao_delivery_streams "), 2);
    drop((slow, fast));
    assert_eq!(measured(&registry, "shuqiao_delivery_streams "), 0);
    house.close().await;
}

#[tokio::test]
async fn what_clients_have_not_read_is_bounded_for_all_together() {
    const STREAMS: usize = 12;
    const RECORDS: usize = 2_000;
    let directory = tempfile::tempdir().unwrap();
    // A department has half of it.
    let options = Options { tail_bytes_max: 10_000, held_bytes_max: 800_000, ..options() };
    let house = House::with(directory.path(), options).await;
    house.grant(new_grant(GRANT, DATASET, "taxation")).await;
    house.publish(many(1, RECORDS as u64)).await;
    let mut streams = Vec::new();
    for number in 0..STREAMS {
        let id = format!("taxation.slow-{number}");
        house.subscription(new_subscription(&id, DATASET)).await;
        // What its client has not read yet is kept beside each.
        streams.push((house.try_stream(&id, 10_000, Vec::new()).await.unwrap(), Vec::new(), 0));
    }
    // Nobody is kept from reading at all.
    for (stream, unread, count) in &mut streams {
        let first = batch(stream).await;
        *count += first.records.len();
        unread.push(first);
    }
    let mut most = house.delivery.held_bytes();
    for _ in 0..3 {
        for (stream, unread, count) in &mut streams {
            // A stream that may not go on says nothing.
            if let Ok(event) = tokio::time::timeout(Duration::from_millis(50), stream.next()).await
                && let Event::Batch(batch) = event.unwrap()
            {
                *count += batch.records.len();
                // As it waits to be written.
                for one in &batch.records {
                    one.encoded(|| one.payload().clone());
                }
                unread.push(batch);
            }
            most = most.max(house.delivery.held_bytes());
        }
    }
    // One small read more for each: its entries, what was made of them and what they cost beside their bytes.
    let small_read = 500 * 1_000;
    assert!(most > 400_000, "{most}: the bound was reached");
    assert!(most < 400_000 + STREAMS * small_read / 2, "{most}");
    let waiting: usize = streams.iter().map(|(_, _, count)| count).sum();
    assert!(waiting < STREAMS * RECORDS, "{waiting}");

    // Who reads gets everything, whatever the others leave unread.
    let (mut stream, unread, mut count) = streams.pop().unwrap();
    drop(unread);
    while count < RECORDS {
        count += batch(&mut stream).await.records.len();
    }
    drop((stream, streams));
    assert_eq!(house.delivery.held_bytes(), 0, "everything that was counted is let go");
    house.close().await;
}

/// A record of three kilobytes, so that a few hundred make a whole mebibyte.
fn wide(n: u64) -> NewRecord {
    NewRecord {
        payload: format!(r#"{{"id":"k{n}",{:3000}"region":"320600"}}"#, "").into(),
        ..upsert(n, &format!("k{n}"), "320600")
    }
}

#[tokio::test]
async fn streams_that_read_at_once_leave_each_other_room() {
    const STREAMS: usize = 32;
    const HELD_MAX: usize = 16 << 20;
    let directory = tempfile::tempdir().unwrap();
    let options = Options { tail_bytes_max: 10_000, held_bytes_max: 2 * HELD_MAX, ..options() };
    let house = House::with(directory.path(), options).await;
    house.grant(new_grant(GRANT, DATASET, "taxation")).await;
    house.publish((1..=800).map(wide).collect()).await;
    let mut streams = Vec::new();
    for number in 0..STREAMS {
        let id = format!("taxation.slow-{number}");
        house.subscription(new_subscription(&id, DATASET)).await;
        streams.push(house.try_stream(&id, 10_000, Vec::new()).await.unwrap());
    }
    // All have made up their minds how much to read before the first of them reads.
    house.log.entries_wait.send_replace(Some(topic()));
    let all_wait = async {
        while house.log.entries_wait.receiver_count() < STREAMS {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        house.log.entries_wait.send_replace(None);
    };
    let (unread, ()) = tokio::join!(join_all(streams.iter_mut().map(batch)), all_wait);
    assert_eq!(unread.len(), STREAMS, "nobody is kept from reading at all");
    let held = house.delivery.held_bytes();
    assert!(held < HELD_MAX + STREAMS * (128 << 10), "{held}");
    drop((streams, unread));
    assert_eq!(house.delivery.held_bytes(), 0, "what was reserved is let go, too");
    house.close().await;
}

#[tokio::test]
async fn what_one_department_leaves_unread_takes_no_room_from_another() {
    const HELD_MAX: usize = 16 << 20;
    let directory = tempfile::tempdir().unwrap();
    let options = Options { tail_bytes_max: 10_000, held_bytes_max: HELD_MAX, ..options() };
    let house = House::with(directory.path(), options).await;
    house.grant(new_grant(GRANT, DATASET, "taxation")).await;
    house.publish((1..=800).map(wide).collect()).await;
    let (mut streams, mut unread) = (Vec::new(), Vec::new());
    for number in 0..24 {
        let id = format!("taxation.slow-{number}");
        house.subscription(new_subscription(&id, DATASET)).await;
        let mut stream = house.try_stream(&id, 10_000, Vec::new()).await.unwrap();
        while let Ok(event) = tokio::time::timeout(Duration::from_millis(20), stream.next()).await {
            unread.push(event.unwrap());
        }
        streams.push(stream);
    }
    let held = house.delivery.held_bytes();
    assert!((HELD_MAX / 2..HELD_MAX / 2 + 24 * (128 << 10)).contains(&held), "{held}");
    // The owner reads in large steps as if nobody else were there.
    let own = new_subscription("market-supervision.own", DATASET);
    house.city.command(&system(OWNER), Command::CreateSubscription(own)).await;
    let open = Open { subscription: "market-supervision.own".into(), credit: 10_000, ..Open::default() };
    let mut own = house.delivery.subscribe(&std::sync::Arc::new(system(OWNER)), open).await.unwrap();
    let first = batch(&mut own).await;
    let read = house.delivery.held_bytes() - held;
    assert!(read > 256 << 10, "{read}");
    drop((own, first, streams, unread));
    assert_eq!(house.delivery.held_bytes(), 0);
    house.close().await;
}

#[tokio::test]
async fn a_stream_goes_on_when_another_lets_go() {
    let directory = tempfile::tempdir().unwrap();
    // Nothing else wakes it within the test.
    let options = Options {
        tail_bytes_max: 10_000,
        held_bytes_max: 600_000,
        batch_records_max: 20,
        batches_in_flight_max: 1,
        check_interval: Duration::from_secs(3_600),
        ..options()
    };
    let house = House::with(directory.path(), options).await;
    house.grant(new_grant(GRANT, DATASET, "taxation")).await;
    house.publish(many(1, 2_000)).await;
    for id in ["taxation.slow", "taxation.own"] {
        house.subscription(new_subscription(id, DATASET)).await;
    }
    let mut slow = house.try_stream("taxation.slow", 10_000, Vec::new()).await.unwrap();
    let mut unread = Vec::new();
    while let Ok(event) = tokio::time::timeout(Duration::from_millis(300), slow.next()).await {
        unread.push(event.unwrap());
    }
    let mut own = house.try_stream("taxation.own", 10_000, Vec::new()).await.unwrap();
    let mut kept = Vec::new();
    while let Ok(event) = tokio::time::timeout(Duration::from_millis(300), own.next()).await {
        kept.push(event.unwrap());
    }
    let patience = Duration::from_secs(20);
    let goes_on = async {
        let next = own.next();
        let lets_go = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            drop((slow, unread));
        };
        tokio::join!(next, lets_go).0
    };
    let event = tokio::time::timeout(patience, goes_on).await.expect("it is woken").unwrap();
    assert!(matches!(event, Event::Batch(_)));
    drop((own, kept, event));
    house.close().await;
}

#[tokio::test]
async fn deletes_are_delivered_as_deletes() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::granted(directory.path()).await;
    let mut stream = house.stream(100).await;
    house.publish(vec![upsert(1, "a", "320600"), delete(2, "a"), upsert(3, "a", "320600")]).await;
    let records = records(&mut stream, 3).await;
    assert_eq!(told(&records), [(1, Operation::Upsert), (2, Operation::Delete), (3, Operation::Upsert)]);
    assert!(records.iter().all(|one| one.payload().is_empty() == (one.operation() == Operation::Delete)));
    drop(stream);
    house.close().await;
}

/// The owner's records as entries, as a second node without knowledge of the first would append them.
fn entries(sequences: &[u64]) -> Vec<Entry> {
    let encoder = Encoder::new(&system(OWNER).source, &"sample/v1".parse().unwrap());
    let entry = |sequence: &u64| {
        let record = upsert(*sequence, &format!("k{sequence}"), "320600");
        let partition = partition_of(record.key.as_bytes(), 2);
        let key = record.key.into_bytes().into();
        encoder.encode(partition, key, Operation::Upsert, *sequence, *sequence, record.payload, 1_000_000)
    };
    sequences.iter().map(entry).collect()
}

#[tokio::test]
async fn what_is_said_again_reaches_who_was_sent_an_older_version_and_tells_nobody_else() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::granted(directory.path()).await;
    let filtered = |id, value| NewSubscription { filter: vec![region(value)], ..new_subscription(id, DATASET) };
    house.subscription(filtered("taxation.late", "320601")).await;
    house.subscription(filtered("taxation.never", "320602")).await;
    house.publish(vec![upsert(5, "k", "320600")]).await;
    let middle: Vec<_> = house.log.bounds(&topic()).await.unwrap().iter().map(|bounds| bounds.next).collect();
    let start = Start::Positions((0..).zip(middle).collect());
    house.subscription(NewSubscription { start, ..new_subscription("taxation.middle", DATASET) }).await;

    let partition = partition_of(b"k", 2);
    let mut reader = house.log.read(&topic(), &[(partition, 0)]).await.unwrap();
    let first = reader.next(1, 1 << 20).await.unwrap().remove(0);
    let record = Decoder::default().decode(&first).unwrap();
    let archive = "department/market-supervision/system/archive".parse().unwrap();
    let payload = upsert(1, "k", "320601").payload;
    let late = Encoder::new(&archive, &"sample/v1".parse().unwrap());
    let late = late.encode(partition, "k".into(), Operation::Upsert, 1, 1, payload, 1_000_000);
    let again = restate(&record, Position { partition, offset: first.offset }, first.offset + 1, 1_000_000);
    let stored = house.log.submit(&topic(), vec![late, again]).await.unwrap().await;
    assert!(stored.iter().all(Result::is_ok));

    let mut streams = Vec::new();
    for (subscription, expected) in [
        (SUBSCRIPTION, vec![(5, Operation::Upsert), (1, Operation::Upsert), (5, Operation::Upsert)]),
        ("taxation.middle", vec![(1, Operation::Upsert), (5, Operation::Upsert)]),
        // It is taken back from who was sent it, and who never saw the key does not learn of it.
        ("taxation.late", vec![(1, Operation::Upsert), (5, Operation::Delete)]),
        ("taxation.never", vec![]),
    ] {
        let mut stream = house.try_stream(subscription, 100, Vec::new()).await.unwrap();
        let records = records(&mut stream, expected.len()).await;
        let told: Vec<_> =
            records.iter().map(|one| (one.record().expect("a record").sequence, one.operation())).collect();
        assert_eq!(told, expected, "{subscription}");
        nothing(&mut stream).await;
        streams.push(stream);
    }
    drop(streams);
    house.close().await;
}

#[tokio::test]
async fn repeats_in_the_log_are_delivered_once() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::granted(directory.path()).await;
    let start = Start::Now(Vec::new());
    house.subscription(NewSubscription { start, ..new_subscription("taxation.live", DATASET) }).await;
    let mut live = house.try_stream("taxation.live", 1_000, Vec::new()).await.unwrap();
    let append = async |sequences: &[u64]| {
        house.log.submit(&topic(), entries(sequences)).await.unwrap().await;
    };
    let first: Vec<u64> = (1..=20).collect();
    append(&first).await;
    let middle: Vec<_> = house.log.bounds(&topic()).await.unwrap().iter().map(|bounds| bounds.next).collect();
    append(&first).await;
    append(&(15..=30).collect::<Vec<_>>()).await;

    // At the tail, from the beginning, and from the middle of the repeats: each once.
    let all: Vec<u64> = (1..=30).collect();
    assert_eq!(sequences(&records(&mut live, 30).await), all);
    nothing(&mut live).await;
    let mut stream = house.stream(1_000).await;
    assert_eq!(sequences(&records(&mut stream, 30).await), all);
    nothing(&mut stream).await;
    drop((live, stream));

    let start = Start::Positions((0..).zip(middle).collect());
    let subscription = new_subscription("taxation.middle", DATASET);
    house.subscription(NewSubscription { start, ..subscription }).await;
    let mut stream = house.try_stream("taxation.middle", 1_000, Vec::new()).await.unwrap();
    assert_eq!(sequences(&records(&mut stream, 10).await), (21..=30).collect::<Vec<_>>());
    nothing(&mut stream).await;
    drop(stream);
    house.close().await;
}

#[tokio::test]
async fn a_foreign_entry_stops_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::granted(directory.path()).await;
    let mut stream = house.stream(100).await;
    let mut foreign = entries(&[1, 2, 3]);
    foreign[1].headers.clear();
    house.log.submit(&topic(), foreign).await.unwrap().await;
    let records = records(&mut stream, 2).await;
    assert_eq!(sequences(&records), [1, 3]);
    stream.handle().acknowledge(places(&records));
    // The cursor passes it.
    let end: Vec<_> = house.log.bounds(&topic()).await.unwrap().iter().map(|bounds| bounds.next).collect();
    stream.close().await;
    assert_eq!(house.cursor(), end);
    house.close().await;
}

#[tokio::test]
async fn nothing_is_delivered_before_it_is_on_record() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::granted(directory.path()).await;
    house.publish(many(1, 5)).await;
    let mut stream = house.stream(100).await;
    house.log.audit_waits.send_replace(true);
    nothing(&mut stream).await;
    assert_eq!(house.trail("deliver").await.len(), 0);
    house.log.audit_waits.send_replace(false);
    let delivered = batch(&mut stream).await.records;

    let trail = house.trail("deliver").await;
    let entry = &trail[0];
    assert_eq!(entry["target"]["resource"], "subscriptions/taxation.sample");
    assert_eq!((&entry["grant"]["id"], &entry["count"]), (&GRANT.into(), &delivered.len().into()));
    let places = places(&delivered);
    for positions in entry["positions"].as_array().unwrap() {
        let own = places.iter().filter(|place| positions[0] == place.partition).map(|place| place.offset);
        assert_eq!((positions[1].as_u64(), positions[2].as_u64()), (own.clone().min(), own.max()));
    }
    // What an auditor computes from the records that the subscriber shows.
    let leaves: Vec<u8> = delivered
        .iter()
        .flat_map(|one| {
            super::super::arrival::leaf(one.record().unwrap(), one.position(), one.operation(), one.payload())
        })
        .collect();
    assert_eq!(entry["digest"], hex::encode(digest(&SHA256, &leaves)));
    assert_eq!(house.trail("subscribe").await.len(), 1);

    // A trail that takes nothing ends the stream, and the records come with the next one.
    house.log.audit_fails.store(true, Ordering::SeqCst);
    house.log.submit(&topic(), entries(&[6, 7])).await.unwrap().await;
    assert!(matches!(end(&mut stream).await, Error::LogUnavailable(_)));
    assert!(matches!(house.try_stream(SUBSCRIPTION, 10, Vec::new()).await, Err(Error::LogUnavailable(_))));
    house.log.audit_fails.store(false, Ordering::SeqCst);
    stream.handle().acknowledge(places);
    drop(stream);
    let mut stream = house.stream(100).await;
    assert_eq!(sequences(&records(&mut stream, 2).await), [6, 7]);
    drop(stream);
    house.close().await;
}
