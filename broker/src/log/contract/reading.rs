//! Positions, times, the tail: what a reader promises.

use super::*;

pub(super) async fn reading_begins_at_a_position(home: &dyn Home) {
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

pub(super) async fn a_position_that_is_not_held_is_told_with_what_is(home: &dyn Home) {
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

pub(super) async fn a_reader_that_retention_overtook_is_told(home: &dyn Home) {
    let log = home.open(ROOM);
    let topic = made(&log, 1, Retention::Forever).await;
    append(&log, &topic, (0..10).map(|n| numbered(0, n)).collect()).await;
    let mut reader = log.read(&topic, &[(0, 2)]).await.expect("a reader");
    home.trim(&log, &topic, 0, 8).await;
    for _ in 0..2 {
        let told = tokio::time::timeout(PATIENCE, reader.next(10, 1_000)).await.expect("told");
        assert!(matches!(told, Err(Error::OutOfRange { offset: 2, first: 8, next: 10, .. })), "{told:?}");
    }
}

pub(super) async fn reading_begins_at_a_time(home: &dyn Home) {
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

pub(super) async fn a_reader_at_the_tail_is_woken_by_the_append(home: &dyn Home) {
    let log = home.open(ROOM);
    let topic = made(&log, 4, Retention::Forever).await;
    append(&log, &topic, (0..4).map(|n| numbered(n, 0)).collect()).await;
    let mut reader = log.read(&topic, &[(0, 1), (1, 1), (2, 1), (3, 1)]).await.expect("a reader");
    // The first round pays for connections.
    tokio::join!(take(&mut reader, 1), append(&log, &topic, vec![entry(0, "v")]));
    // A log that looks for news from time to time keeps half of its readers waiting for half of that time, in every round; a busy machine keeps them waiting in
    // some.
    let mut longest = Vec::new();
    for _ in 0..20 {
        let mut waits = Vec::new();
        for round in 0..21_u32 {
            let begun = Instant::now();
            tokio::join!(take(&mut reader, 1), append(&log, &topic, vec![entry(round % 4, "v")]));
            waits.push(begun.elapsed());
        }
        waits.sort();
        println!("{}: append to read {:?} (median), {:?} (longest)", log.home(), waits[10], waits[20]);
        if waits[10] < Duration::from_millis(60) {
            return;
        }
        longest.push(waits[10]);
    }
    panic!("{longest:?}");
}

pub(super) async fn a_read_that_was_given_up_loses_nothing(home: &dyn Home) {
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
            assert!(begun.elapsed() < PATIENCE, "{} arrived", read.len());
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

pub(super) async fn a_read_returns_no_more_than_was_asked_for(home: &dyn Home) {
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
