//! Order, durability, room: what an append promises.

use super::*;

pub(super) async fn entries_of_a_partition_lie_in_the_order_in_which_they_were_submitted(home: &dyn Home) {
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

pub(super) async fn many_submitters_get_the_offsets_at_which_their_entries_lie(home: &dyn Home) {
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

pub(super) async fn what_is_acknowledged_is_there_after_the_log_was_opened_anew(home: &dyn Home) {
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

pub(super) async fn an_entry_comes_back_as_it_was_appended(home: &dyn Home) {
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

pub(super) async fn a_submission_larger_than_the_room_goes_alone_and_others_wait(home: &dyn Home) {
    let log = home.open(64 << 10);
    let topic = made(&log, 2, Retention::Forever).await;
    let mut pendings = Vec::new();
    for n in 0..40_u32 {
        // Every tenth is four times as large as the room.
        let size = if n % 10 == 0 { 256 << 10 } else { 20 << 10 };
        let submitted = log.submit(&topic, vec![entry(n % 2, vec![1; size])]);
        pendings.push(tokio::time::timeout(PATIENCE, submitted).await.expect("room").expect("submitted"));
    }
    assert!(join_all(pendings).await.concat().iter().all(Result::is_ok));
}

pub(super) async fn a_submission_that_was_given_up_queued_nothing(home: &dyn Home) {
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

pub(super) async fn an_entry_that_is_too_large_is_refused_with_everything_beside_it(home: &dyn Home) {
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

pub(super) async fn closing_flushes_and_then_everything_is_refused(home: &dyn Home) {
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
    tokio::time::timeout(PATIENCE, ended).await.expect("a reader ends with its log");
}
