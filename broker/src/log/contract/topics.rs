//! Topics, and what compaction leaves of one.

use super::*;

pub(super) async fn a_topic_that_was_never_made_is_not_found(home: &dyn Home) {
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

pub(super) async fn a_topic_is_made_once_and_keeps_its_partitions(home: &dyn Home) {
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
            assert!(violations.contains("its partition count is 3, not 4"), "{violations}")
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(log.bounds(&topic).await.expect("bounds")[2], Bounds { first: 0, next: 1 });
}

pub(super) async fn a_topic_that_somebody_else_made_is_known_by_its_name(home: &dyn Home) {
    let log = home.open(ROOM);
    let topic = made(&log, 3, Retention::Forever).await;
    append(&log, &topic, vec![numbered(2, 5)]).await;
    log.close().await;
    drop(log);
    let log = home.open(ROOM);
    assert_eq!(log.bounds(&topic).await.expect("bounds").len(), 3);
    assert_eq!(append(&log, &topic, vec![numbered(2, 6)]).await, [1]);
}

pub(super) async fn compaction_keeps_the_newest_of_each_key_at_its_place(home: &dyn Home) {
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
