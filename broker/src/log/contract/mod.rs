//! The contract suite: what [`Log`] promises, as tests that run on both homes.
//!
//! On Kafka they run where `SHUQIAO_TEST_KAFKA` names a cluster (`deploy/kafka/start one DIR`), and say so where it does not. What only one home can do (a
//! full disk, a node that dies) is tested in that home.

pub(crate) mod homes;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::join_all;
use tokio::time::Instant;

use self::homes::{EmbeddedHome, Home, KafkaHome};
use super::{Bounds, Entry, Error, Health, Log, Reader, Retention, StoredEntry, Topic, TopicSpec};

/// Room for what is in flight, more than any test needs that does not speak of it.
const ROOM: usize = 16 << 20;

/// Each test of the suite, once for each home.
macro_rules! contract {
    ($($name:ident,)*) => {
        mod on_embedded {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(&super::EmbeddedHome::new()).await;
                }
            )*
        }
        mod on_kafka {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    if let Some(home) = super::KafkaHome::from_environment(stringify!($name)) {
                        super::$name(&home).await;
                    }
                }
            )*
        }
    };
}

contract! {
    entries_of_a_partition_lie_in_the_order_in_which_they_were_submitted,
    many_submitters_get_the_offsets_at_which_their_entries_lie,
    what_is_acknowledged_is_there_after_the_log_was_opened_anew,
    an_entry_comes_back_as_it_was_appended,
    reading_begins_at_a_position,
    a_position_that_is_not_held_is_told_with_what_is,
    a_reader_that_retention_overtook_is_told,
    reading_begins_at_a_time,
    a_reader_at_the_tail_is_woken_by_the_append,
    a_read_that_was_given_up_loses_nothing,
    a_read_returns_no_more_than_was_asked_for,
    a_submission_larger_than_the_room_goes_alone_and_others_wait,
    a_submission_that_was_given_up_queued_nothing,
    an_entry_that_is_too_large_is_refused_with_everything_beside_it,
    a_topic_that_was_never_made_is_not_found,
    a_topic_is_made_once_and_keeps_its_partitions,
    a_topic_that_somebody_else_made_is_known_by_its_name,
    closing_flushes_and_then_everything_is_refused,
    compaction_keeps_the_newest_of_each_key_at_its_place,
}

fn topic() -> Topic {
    Topic::stored(&format!("contract-{}", uuid::Uuid::new_v4()))
}

async fn made(log: &Arc<dyn Log>, partitions: u32, retention: Retention) -> Topic {
    let topic = topic();
    log.ensure_topic(&TopicSpec { topic: topic.clone(), partitions, retention }).await.expect("made");
    topic
}

fn entry(partition: u32, value: impl Into<Bytes>) -> Entry {
    let (key, headers) = (Some(Bytes::from_static(b"key")), vec![("ce_id", Bytes::from_static(b"7"))]);
    Entry { partition, key, headers, value: Some(value.into()), timestamp_ms: 1_700_000_000_000 }
}

fn numbered(partition: u32, number: usize) -> Entry {
    entry(partition, number.to_string())
}

async fn append(log: &Arc<dyn Log>, topic: &Topic, entries: Vec<Entry>) -> Vec<u64> {
    let pending = log.submit(topic, entries).await.expect("submitted");
    pending.await.into_iter().map(|outcome| outcome.expect("durable")).collect()
}

/// So many entries of a reader, or a failure after a while.
async fn take(reader: &mut Box<dyn Reader>, count: usize) -> Vec<StoredEntry> {
    let mut entries = Vec::new();
    while entries.len() < count {
        let next = tokio::time::timeout(Duration::from_secs(20), reader.next(1_000, 1 << 20));
        entries.extend(next.await.expect("entries arrive").expect("readable"));
    }
    entries
}

fn value(entry: &StoredEntry) -> &str {
    std::str::from_utf8(entry.value.as_deref().expect("a value")).expect("text")
}

async fn entries_of_a_partition_lie_in_the_order_in_which_they_were_submitted(home: &dyn Home) {
    let log = home.open(ROOM);
    let topic = made(&log, 3, Retention::Forever).await;
    let mut pendings = Vec::new();
    for submission in 0..100 {
        let entries = (0..20).map(|n| numbered(n % 3, submission * 20 + n as usize)).collect();
        pendings.push(log.submit(&topic, entries).await.expect("submitted"));
    }
    let offsets: Vec<u64> =
        join_all(pendings).await.concat().into_iter().map(|offset| offset.expect("durable")).collect();
    let mut reader = log.read(&topic, &[(0, 0), (1, 0), (2, 0)]).await.expect("a reader");
    let read = take(&mut reader, 2_000).await;
    assert_eq!(read.len(), 2_000);
    for partition in 0..3 {
        let lie: Vec<_> = read.iter().filter(|entry| entry.partition == partition).collect();
        let numbers: Vec<usize> = lie.iter().map(|entry| value(entry).parse().expect("a number")).collect();
        let submitted: Vec<usize> = (0..2_000).filter(|number| number % 20 % 3 == partition as usize).collect();
        assert_eq!(numbers, submitted, "partition {partition}");
        assert!(lie.windows(2).all(|pair| pair[0].offset < pair[1].offset));
        assert!(lie.iter().zip(&numbers).all(|(entry, number)| entry.offset == offsets[*number]));
    }
}

async fn many_submitters_get_the_offsets_at_which_their_entries_lie(home: &dyn Home) {
    let log = home.open(ROOM);
    let topic = made(&log, 2, Retention::Forever).await;
    let submitter = |submitter: usize| {
        let (log, topic) = (&log, &topic);
        async move {
            let mut told = Vec::new();
            for round in 0..20_u32 {
                let entries = (0..5).map(|n| entry(round % 2, format!("{submitter} {round} {n}"))).collect();
                let offsets = append(log, topic, entries).await;
                told.extend(
                    (0..5).zip(offsets).map(|(n, offset)| (round % 2, offset, format!("{submitter} {round} {n}"))),
                );
            }
            told
        }
    };
    let mut told = join_all((0..8).map(submitter)).await.concat();
    let mut reader = log.read(&topic, &[(0, 0), (1, 0)]).await.expect("a reader");
    let read = take(&mut reader, 800).await;
    let mut read: Vec<_> = read.iter().map(|entry| (entry.partition, entry.offset, value(entry).to_owned())).collect();
    told.sort();
    read.sort();
    assert_eq!(told, read);
}

async fn what_is_acknowledged_is_there_after_the_log_was_opened_anew(home: &dyn Home) {
    let log = home.open(ROOM);
    let topic = made(&log, 1, Retention::Forever).await;
    let offsets = append(&log, &topic, (0..100).map(|n| numbered(0, n)).collect()).await;
    log.close().await;
    drop(log);
    let log = home.open(ROOM);
    let mut reader = log.read(&topic, &[(0, 0)]).await.expect("a reader");
    let read = take(&mut reader, 100).await;
    assert_eq!(read.iter().map(|entry| entry.offset).collect::<Vec<_>>(), offsets);
    assert!(read.iter().enumerate().all(|(n, entry)| value(entry) == n.to_string()));
    let next = append(&log, &topic, vec![numbered(0, 100)]).await[0];
    assert!(next > offsets[99], "an offset is never used again");
}

async fn an_entry_comes_back_as_it_was_appended(home: &dyn Home) {
    let log = home.open(ROOM);
    let topic = made(&log, 1, Retention::Forever).await;
    let bytes = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
    let headers = vec![
        ("ce_id", Bytes::from_static(b"1")),
        ("ce_source", Bytes::new()),
        ("ce_id", Bytes::from_static(b"2")),
        ("content-type", Bytes::from_static(&[0, 255, 10])),
    ];
    let make = |key: Option<Bytes>, headers: Vec<_>, value: Option<Bytes>, timestamp_ms| Entry {
        partition: 0,
        key,
        headers,
        value,
        timestamp_ms,
    };
    let appended = vec![
        make(bytes("k"), headers.clone(), bytes("{\"名称\":1}"), 1),
        make(None, Vec::new(), bytes("v"), 1_700_000_000_000),
        make(bytes(""), headers, None, 1_700_000_000_001),
        make(bytes("k"), Vec::new(), bytes(""), 4_000_000_000_000),
        make(bytes("big"), Vec::new(), Some(vec![7; 1 << 20].into()), 5),
    ];
    append(&log, &topic, appended.clone()).await;
    let mut reader = log.read(&topic, &[(0, 0)]).await.expect("a reader");
    for (entry, read) in appended.iter().zip(take(&mut reader, 5).await) {
        let headers: Vec<(Arc<str>, Bytes)> =
            entry.headers.iter().map(|(name, value)| ((*name).into(), value.clone())).collect();
        assert_eq!((&read.key, &read.headers.0, read.timestamp_ms), (&entry.key, &headers, entry.timestamp_ms));
        assert!(read.value == entry.value, "value at {}", read.offset);
    }
}

async fn reading_begins_at_a_position(home: &dyn Home) {
    let log = home.open(ROOM);
    let topic = made(&log, 2, Retention::Forever).await;
    assert_eq!(log.bounds(&topic).await.expect("bounds"), [Bounds { first: 0, next: 0 }; 2]);
    let offsets = append(&log, &topic, (0..10).map(|n| numbered(1, n)).collect()).await;
    let bounds = log.bounds(&topic).await.expect("bounds");
    assert_eq!(bounds, [Bounds { first: 0, next: 0 }, Bounds { first: offsets[0], next: offsets[9] + 1 }]);
    for begin in [0, 5, 9] {
        let mut reader = log.read(&topic, &[(0, 0), (1, offsets[begin])]).await.expect("a reader");
        let read = take(&mut reader, 10 - begin).await;
        assert_eq!(read.iter().map(value).collect::<Vec<_>>(), (begin..10).map(|n| n.to_string()).collect::<Vec<_>>());
    }
    // At the end there is nothing to read yet, which is no error.
    let mut reader = log.read(&topic, &[(1, bounds[1].next)]).await.expect("a reader");
    let (read, _) = tokio::join!(take(&mut reader, 1), append(&log, &topic, vec![numbered(1, 10)]));
    assert_eq!(value(&read[0]), "10");
}

async fn a_position_that_is_not_held_is_told_with_what_is(home: &dyn Home) {
    let log = home.open(ROOM);
    let topic = made(&log, 1, Retention::Forever).await;
    append(&log, &topic, (0..10).map(|n| numbered(0, n)).collect()).await;
    home.trim(&log, &topic, 0, 4).await;
    assert_eq!(log.bounds(&topic).await.expect("bounds"), [Bounds { first: 4, next: 10 }]);
    for asked in [0, 3, 11, 1_000] {
        match log.read(&topic, &[(0, asked)]).await {
            Err(Error::OutOfRange { partition: 0, offset, first: 4, next: 10, .. }) => assert_eq!(offset, asked),
            Err(error) => panic!("{error:?}"),
            Ok(_) => panic!("{asked} is not held"),
        }
    }
    let mut reader = log.read(&topic, &[(0, 4)]).await.expect("a reader");
    assert_eq!(value(&take(&mut reader, 6).await[0]), "4");
}

async fn a_reader_that_retention_overtook_is_told(home: &dyn Home) {
    let log = home.open(ROOM);
    let topic = made(&log, 1, Retention::Forever).await;
    append(&log, &topic, (0..10).map(|n| numbered(0, n)).collect()).await;
    let mut reader = log.read(&topic, &[(0, 2)]).await.expect("a reader");
    home.trim(&log, &topic, 0, 8).await;
    for _ in 0..2 {
        let told = tokio::time::timeout(Duration::from_secs(20), reader.next(10, 1_000)).await.expect("told");
        assert!(matches!(told, Err(Error::OutOfRange { offset: 2, first: 8, next: 10, .. })), "{told:?}");
    }
}

async fn reading_begins_at_a_time(home: &dyn Home) {
    let log = home.open(ROOM);
    let topic = made(&log, 2, Retention::Forever).await;
    // Times need not grow; the first entry at or after a time counts.
    let times = [10_000, 20_000, 15_000, 30_000];
    let entries = times.iter().map(|time| Entry { timestamp_ms: *time, ..entry(0, "v") }).collect();
    let offsets = append(&log, &topic, entries).await;
    for (time, expected) in [
        (-5, offsets[0]),
        (0, offsets[0]),
        (10_000, offsets[0]),
        (10_001, offsets[1]),
        (20_000, offsets[1]),
        (20_001, offsets[3]),
        (30_000, offsets[3]),
        (30_001, offsets[3] + 1),
    ] {
        assert_eq!(log.offsets_at(&topic, time).await.expect("offsets"), [expected, 0], "at {time}");
    }
}

async fn a_reader_at_the_tail_is_woken_by_the_append(home: &dyn Home) {
    let log = home.open(ROOM);
    let topic = made(&log, 4, Retention::Forever).await;
    append(&log, &topic, (0..4).map(|n| numbered(n, 0)).collect()).await;
    let mut reader = log.read(&topic, &[(0, 1), (1, 1), (2, 1), (3, 1)]).await.expect("a reader");
    // The first round pays for connections.
    tokio::join!(take(&mut reader, 1), append(&log, &topic, vec![entry(0, "v")]));
    let mut waits = Vec::new();
    for round in 0..21_u32 {
        let begun = Instant::now();
        tokio::join!(take(&mut reader, 1), append(&log, &topic, vec![entry(round % 4, "v")]));
        waits.push(begun.elapsed());
    }
    waits.sort();
    println!("{}: append to read {:?} (median), {:?} (longest)", log.home(), waits[10], waits[20]);
    assert!(waits[10] < Duration::from_millis(60), "{waits:?}");
}

async fn a_read_that_was_given_up_loses_nothing(home: &dyn Home) {
    let log = home.open(ROOM);
    let topic = made(&log, 1, Retention::Forever).await;
    let mut reader = log.read(&topic, &[(0, 0)]).await.expect("a reader");
    let write = async {
        for n in 0..300 {
            append(&log, &topic, vec![numbered(0, n)]).await;
        }
    };
    let read = async {
        let mut read = Vec::new();
        let begun = Instant::now();
        while read.len() < 300 {
            assert!(begun.elapsed() < Duration::from_secs(30), "{} arrived", read.len());
            let wait = Duration::from_micros(300 + read.len() as u64 * 17 % 900);
            if let Ok(entries) = tokio::time::timeout(wait, reader.next(3, 1 << 20)).await {
                read.extend(entries.expect("readable"));
            }
        }
        read
    };
    let (read, ()) = tokio::join!(read, write);
    assert!(read.iter().enumerate().all(|(n, entry)| value(entry) == n.to_string()));
}

async fn a_read_returns_no_more_than_was_asked_for(home: &dyn Home) {
    let log = home.open(ROOM);
    let topic = made(&log, 1, Retention::Forever).await;
    append(&log, &topic, (0..50).map(|_| entry(0, vec![1; 1_000])).collect()).await;
    let mut reader = log.read(&topic, &[(0, 0)]).await.expect("a reader");
    assert_eq!(reader.next(1, 1 << 20).await.expect("readable").len(), 1);
    assert!(reader.next(7, 1 << 20).await.expect("readable").len() <= 7);
    // The entry that fills the bytes is the last one.
    assert!(reader.next(1_000, 3_500).await.expect("readable").len() <= 4);
    assert_eq!(reader.next(1_000, 1).await.expect("readable").len(), 1, "one entry may exceed it");
    assert!(!reader.next(0, 0).await.expect("readable").is_empty());
}

async fn a_submission_larger_than_the_room_goes_alone_and_others_wait(home: &dyn Home) {
    let log = home.open(64 << 10);
    let topic = made(&log, 2, Retention::Forever).await;
    let mut pendings = Vec::new();
    for n in 0..40_u32 {
        // Every tenth is four times as large as the room.
        let size = if n % 10 == 0 { 256 << 10 } else { 20 << 10 };
        let submitted = log.submit(&topic, vec![entry(n % 2, vec![1; size])]);
        pendings
            .push(tokio::time::timeout(Duration::from_secs(20), submitted).await.expect("room").expect("submitted"));
    }
    assert!(join_all(pendings).await.concat().iter().all(Result::is_ok));
}

async fn a_submission_that_was_given_up_queued_nothing(home: &dyn Home) {
    let log = home.open(64 << 10);
    let topic = made(&log, 1, Retention::Forever).await;
    let mut expected = Vec::new();
    for n in 0..200 {
        let large = Entry { value: Some(vec![b'x'; 60 << 10].into()), ..numbered(0, n) };
        let submitted = log.submit(&topic, vec![numbered(0, n), large]);
        if let Ok(pending) = tokio::time::timeout(Duration::from_micros(n as u64 % 20 * 100), submitted).await {
            // Nobody waits for it; it is queued nevertheless.
            drop(pending.expect("submitted"));
            expected.push(n.to_string());
        }
    }
    append(&log, &topic, vec![entry(0, "end")]).await;
    println!("{} of 200 were queued", expected.len());
    assert!(!expected.is_empty());
    let mut reader = log.read(&topic, &[(0, 0)]).await.expect("a reader");
    let read = take(&mut reader, expected.len() * 2 + 1).await;
    let read: Vec<_> = read.iter().map(value).filter(|value| value.len() < 10 && *value != "end").collect();
    assert_eq!(read, expected);
}

async fn an_entry_that_is_too_large_is_refused_with_everything_beside_it(home: &dyn Home) {
    let log = home.open(ROOM);
    let topic = made(&log, 1, Retention::Forever).await;
    let entries = vec![numbered(0, 0), entry(0, vec![1; 2 << 20]), numbered(0, 1)];
    match log.submit(&topic, entries).await {
        Err(Error::TooLarge { bytes, limit }) => assert!(bytes > limit && limit == 2 << 20),
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("too large"),
    }
    let largest = entry(0, vec![1; (2 << 20) - "key".len() - "ce_id".len() - 1]);
    assert_eq!(append(&log, &topic, vec![largest]).await, [0], "nothing of the refused submission was stored");
}

async fn a_topic_that_was_never_made_is_not_found(home: &dyn Home) {
    let log = home.open(ROOM);
    let unknown = topic();
    for _ in 0..2 {
        assert!(matches!(log.submit(&unknown, vec![numbered(0, 0)]).await.err(), Some(Error::TopicNotFound { .. })));
        assert!(matches!(log.read(&unknown, &[(0, 0)]).await.err(), Some(Error::TopicNotFound { .. })));
        assert!(matches!(log.bounds(&unknown).await, Err(Error::TopicNotFound { .. })));
        assert!(matches!(log.offsets_at(&unknown, 0).await, Err(Error::TopicNotFound { .. })));
    }
    let topic = made(&log, 2, Retention::Forever).await;
    let beyond = log.submit(&topic, vec![numbered(0, 0), numbered(2, 0)]).await;
    assert!(matches!(beyond.err(), Some(Error::TopicNotFound { .. })));
    assert!(matches!(log.read(&topic, &[(2, 0)]).await.err(), Some(Error::TopicNotFound { .. })));
    assert_eq!(log.bounds(&topic).await.expect("bounds"), [Bounds { first: 0, next: 0 }; 2]);
}

async fn a_topic_is_made_once_and_keeps_its_partitions(home: &dyn Home) {
    let log = home.open(ROOM);
    let topic = topic();
    let spec = |partitions, window_ms| TopicSpec {
        topic: topic.clone(),
        partitions,
        retention: Retention::CompactAfter { window_ms },
    };
    let made = spec(3, 60_000);
    let (first, second) = tokio::join!(log.ensure_topic(&made), log.ensure_topic(&made));
    assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
    append(&log, &topic, vec![numbered(2, 0)]).await;
    // Another retention is a change; another number of partitions would move keys.
    log.ensure_topic(&spec(3, 120_000)).await.expect("another retention");
    match log.ensure_topic(&spec(4, 60_000)).await {
        Err(Error::BelowFloor { violations, .. }) => {
            assert!(violations.contains("3 partitions, not 4"), "{violations}")
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(log.bounds(&topic).await.expect("bounds")[2], Bounds { first: 0, next: 1 });
}

async fn a_topic_that_somebody_else_made_is_known_by_its_name(home: &dyn Home) {
    let log = home.open(ROOM);
    let topic = made(&log, 3, Retention::Forever).await;
    append(&log, &topic, vec![numbered(2, 5)]).await;
    log.close().await;
    drop(log);
    let log = home.open(ROOM);
    assert_eq!(log.bounds(&topic).await.expect("bounds").len(), 3);
    assert_eq!(append(&log, &topic, vec![numbered(2, 6)]).await, [1]);
}

async fn closing_flushes_and_then_everything_is_refused(home: &dyn Home) {
    let log = home.open(ROOM);
    let topic = made(&log, 1, Retention::Forever).await;
    assert_eq!(log.health(), Health::Good);
    let mut reader = log.read(&topic, &[(0, 0)]).await.expect("a reader");
    let pending = log.submit(&topic, (0..500).map(|n| numbered(0, n)).collect()).await.expect("submitted");
    log.close().await;
    assert!(pending.await.iter().all(Result::is_ok), "what was queued is durable");
    assert!(matches!(log.health(), Health::Bad(_)));
    assert!(matches!(log.submit(&topic, vec![numbered(0, 1)]).await.err(), Some(Error::Closed)));
    assert!(matches!(log.read(&topic, &[(0, 0)]).await.err(), Some(Error::Closed)));
    let ended = async { while reader.next(1_000, 1 << 20).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(20), ended).await.expect("a reader ends with its log");
}

async fn compaction_keeps_the_newest_of_each_key_at_its_place(home: &dyn Home) {
    let log = home.open(ROOM);
    let topic = made(&log, 1, Retention::CompactAfter { window_ms: home.window_ms() }).await;
    let now = home.now_ms();
    let make = |key: &'static str, value: Option<&'static str>| Entry {
        key: Some(Bytes::from_static(key.as_bytes())),
        value: value.map(|value| Bytes::from_static(value.as_bytes())),
        timestamp_ms: now,
        ..entry(0, "")
    };
    let entries = vec![
        make("a", Some("1")),
        make("b", Some("1")),
        make("a", Some("2")),
        make("gone", Some("1")),
        make("a", Some("3")),
        make("gone", None),
        make("b", Some("2")),
    ];
    append(&log, &topic, entries).await;
    let held = async || {
        let [Bounds { first, next }] = log.bounds(&topic).await.expect("bounds")[..] else { panic!("one partition") };
        let mut reader = log.read(&topic, &[(0, first)]).await.expect("a reader");
        let mut held: Vec<StoredEntry> = Vec::new();
        while held.last().is_none_or(|entry| entry.offset + 1 < next) {
            held.extend(take(&mut reader, 1).await);
        }
        held.into_iter()
            .filter(|entry| entry.key.as_deref() != Some(b"later"))
            .map(|entry| entry.offset)
            .collect::<Vec<_>>()
    };
    assert_eq!(held().await, [0, 1, 2, 3, 4, 5, 6], "within the window every change is there");
    let begun = Instant::now();
    let mut seen = Vec::new();
    loop {
        home.pass_window(&log).await;
        // What is newest is never looked at until something comes after it.
        append(
            &log,
            &topic,
            vec![Entry { timestamp_ms: home.now_ms(), value: Some(vec![b'x'; 1 << 10].into()), ..make("later", None) }],
        )
        .await;
        let now = held().await;
        assert!(now.contains(&4) && now.contains(&6), "the newest of each key stays where it was: {now:?}");
        if seen.last() != Some(&now) {
            seen.push(now);
        }
        if seen.last().is_some_and(|now| *now == [4, 6]) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "compaction did not come: {seen:?}");
    }
    assert!(seen.contains(&vec![4, 5, 6]), "the tombstone stays for a while: {seen:?}");
}
