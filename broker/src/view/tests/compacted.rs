//! What compaction takes from the log, and what is known of the sources all the same.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tokio::time::Instant;

use super::*;
use crate::{
    exchange::{
        clock::Clock,
        model::{DatasetId, Record},
    },
    log::{
        Log, Retention, TopicSpec,
        contract::homes::{EmbeddedHome, Home, KafkaHome},
    },
    shutdown::Tasks,
    view::{HighWaters, Options, View, high_water::Mark},
};

const PATIENCE: Duration = Duration::from_secs(20);
const ROOM: usize = 16 << 20;

/// A node's view of one dataset on a log of either home.
struct Node {
    log: Arc<dyn Log>,
    view: Arc<View>,
    tasks: Tasks,
}

impl Node {
    async fn open(home: &dyn Home, log: Arc<dyn Log>, directory: &Path, prefix: &str, target: &Target) -> Self {
        let clock = home.clock();
        let options = Options {
            upkeep_interval: Duration::from_millis(20),
            high_water_interval: Duration::from_millis(20),
            clock: clock.clone(),
            ..Options::default()
        };
        let view = View::open(&directory.join("view"), options).unwrap();
        let high_waters = HighWaters::open(log.clone(), prefix, "node-1", clock).await.unwrap();
        let (tasks, known) = (Tasks::default(), target.clone());
        view.follow_one(log.clone(), high_waters, move || Some(known.clone()), tasks.token(), &tasks);
        Self { log, view, tasks }
    }

    /// Appends to partition 0 and waits until it is applied.
    async fn append(&self, target: &Target, all: &[Said<'_>]) {
        let entries = all.iter().map(|one| one.entry(0)).collect();
        let written = self.log.submit(&target.topic, entries).await.unwrap().await;
        let last = written.into_iter().map(|offset| offset.unwrap()).max().unwrap();
        self.view.wait_applied(&target.id, &[(0, last + 1)], PATIENCE).await.unwrap();
    }

    /// Sequence of each entry of a source that the log still holds.
    async fn held(&self, target: &Target, source: &str) -> Vec<u64> {
        let left = left(&self.log, target).await.into_iter();
        left.filter(|(_, record)| record.source.as_str() == source).map(|(_, record)| record.sequence).collect()
    }

    async fn stop(self) -> Arc<dyn Log> {
        assert_eq!(self.tasks.drain(PATIENCE).await, 0);
        self.log
    }
}

/// What every node of an exchange wrote about a dataset.
async fn written(log: &Arc<dyn Log>, prefix: &str, dataset: &DatasetId, ends: &[u64]) -> HashSet<(String, u64, u64)> {
    let all = HighWaters::open(log.clone(), prefix, "another", Clock::manual(0)).await.unwrap();
    all.marks(dataset, ends).into_iter().map(|(source, mark)| (source.to_string(), mark.sequence, mark.below)).collect()
}

/// A dataset whose log is compacted as early as its home can, under a prefix of its own.
async fn compacting(home: &dyn Home, word: &str) -> (String, Target, Arc<dyn Log>) {
    let prefix = format!("{word}-{}", uuid::Uuid::new_v4());
    let sample = target("sample/v1");
    let topic = Topic::dataset(&prefix, &sample.id);
    let target = Target { topic, retention_ms: home.window_ms(), ..sample };
    let log = home.open(ROOM);
    let retention = Retention::CompactAfter { window_ms: home.window_ms() };
    let spec = TopicSpec { topic: target.topic.clone(), partitions: PARTITIONS, retention };
    log.ensure_topic(&spec).await.unwrap();
    (prefix, target, log)
}

async fn the_last_entry_of_a_source_may_go_and_its_repeat_is_still_known(home: &dyn Home) {
    let directory = tempfile::tempdir().unwrap();
    let (prefix, target, log) = compacting(home, "compacted").await;
    let node = Node::open(home, log, directory.path(), &prefix, &target).await;

    let now = |one: Said<'static>| Said { time_ms: home.now_ms(), ..one };
    let archive = |sequence, key| now(Said { source: ARCHIVE, version: 10, ..said(sequence, key, "320601") });
    let last = now(said(10, "shared", "320600"));
    node.append(&target, &[now(said(9, "own", "320600")), last, archive(1, "shared")]).await;
    let begun = Instant::now();
    while !written(&node.log, &prefix, &target.id, &[u64::MAX; 2]).await.contains(&(REGISTRY.into(), 10, 3)) {
        assert!(begun.elapsed() < PATIENCE, "what was seen is not written down");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut sequence = 1;
    while node.held(&target, REGISTRY).await.contains(&10) {
        assert!(begun.elapsed() < Duration::from_secs(120), "compaction did not come");
        home.pass_window(&node.log).await;
        // What is newest is never looked at until something comes after it.
        sequence += 1;
        node.append(&target, &[archive(sequence, "later")]).await;
    }
    assert_eq!(node.held(&target, REGISTRY).await, [9]);
    let rebuilt = node.view.rebuild(&target.id).await.unwrap();
    assert_eq!(rebuilt.before, rebuilt.after);

    // The node stops, and comes back without its view.
    let log = node.stop().await;
    log.close().await;
    drop(log);
    std::fs::remove_dir_all(directory.path().join("view")).unwrap();
    let node = Node::open(home, home.open(ROOM), directory.path(), &prefix, &target).await;
    let end = node.log.bounds(&target.topic).await.unwrap()[0].next;
    node.view.wait_applied(&target.id, &[(0, end)], PATIENCE).await.unwrap();
    let high_water = |source| node.view.reader(&target.id).unwrap().high_water(source).unwrap();
    assert_eq!((high_water(REGISTRY), high_water(ARCHIVE)), (vec![(0, 10)], vec![(0, sequence)]));
    // Another node stores the repeat all the same: it is none the less one.
    node.append(&target, &[last]).await;
    let held = node.view.get(&target.id, "shared").unwrap().unwrap().record;
    assert_eq!((held.source.as_str(), held.sequence), (ARCHIVE, 1));
    node.stop().await.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_entry_of_a_source_may_go_and_its_repeat_is_still_known_on_embedded() {
    the_last_entry_of_a_source_may_go_and_its_repeat_is_still_known(&EmbeddedHome::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_entry_of_a_source_may_go_and_its_repeat_is_still_known_on_kafka() {
    if let Some(home) = KafkaHome::from_environment() {
        the_last_entry_of_a_source_may_go_and_its_repeat_is_still_known(&home).await;
    }
}

/// Offset and record of each entry of partition 0 that the log still holds.
async fn left(log: &Arc<dyn Log>, target: &Target) -> Vec<(u64, Record)> {
    let bounds = log.bounds(&target.topic).await.unwrap()[0];
    let mut reader = log.read(&target.topic, &[(0, bounds.first)]).await.unwrap();
    let (mut left, mut next) = (Vec::new(), bounds.first);
    while next < bounds.next {
        for entry in tokio::time::timeout(PATIENCE, reader.next(1_000, 1 << 20)).await.unwrap().unwrap() {
            next = entry.offset + 1;
            let record = crate::exchange::envelope::Decoder::default().decode(&entry).unwrap();
            left.push((entry.offset, record));
        }
    }
    left
}

async fn the_newest_version_outlives_what_was_stored_after_it(home: &dyn Home) {
    let directory = tempfile::tempdir().unwrap();
    let (prefix, target, log) = compacting(home, "outlived").await;
    let node = Node::open(home, log, directory.path(), &prefix, &target).await;

    let now = |one: Said<'static>| Said { time_ms: home.now_ms(), ..one };
    let late = |sequence, key| now(Said { source: ARCHIVE, version: 1, ..said(sequence, key, "320601") });
    let copied = now(said(7, "copied", "320600"));
    let first = [now(said(5, "moved", "320600")), now(deleted(6, "gone")), copied, now(said(8, "calm", "320600"))];
    // In one submission, so that even the shortest window has both.
    node.append(&target, &[&first[..], &[late(1, "moved"), late(2, "gone"), copied]].concat()).await;
    let begun = Instant::now();
    while node.log.bounds(&target.topic).await.unwrap()[0].next < 10 && begun.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut sequence = 2;
    while left(&node.log, &target).await.iter().any(|(offset, _)| *offset < 3) {
        assert!(begun.elapsed() < Duration::from_secs(120), "compaction did not come");
        home.pass_window(&node.log).await;
        // What is newest is never looked at until something comes after it.
        sequence += 1;
        node.append(&target, &[late(sequence, "later")]).await;
    }
    // Who reads from the beginning ends with these.
    let left = left(&node.log, &target).await;
    let last: HashMap<_, _> = left.iter().map(|(_, record)| (&*record.key, record.sequence)).collect();
    assert_eq!((last.get("moved"), last.get("copied"), last.get("calm")), (Some(&5), Some(&7), Some(&8)));
    assert!(last.get("gone").is_none_or(|sequence| *sequence == 6), "a deletion, or nothing any more");
    let rebuilt = node.view.rebuild(&target.id).await.unwrap();
    assert_eq!(rebuilt.before, rebuilt.after);

    let log = node.stop().await;
    std::fs::remove_dir_all(directory.path().join("view")).unwrap();
    let node = Node::open(home, log, directory.path(), &prefix, &target).await;
    let end = node.log.bounds(&target.topic).await.unwrap()[0].next;
    node.view.wait_applied(&target.id, &[(0, end)], PATIENCE).await.unwrap();
    let held = |key| node.view.get(&target.id, key).unwrap().map(|item| item.record.sequence);
    assert_eq!((held("moved"), held("gone"), held("copied"), held("calm")), (Some(5), None, Some(7), Some(8)));
    node.stop().await.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_version_outlives_what_was_stored_after_it_on_embedded() {
    the_newest_version_outlives_what_was_stored_after_it(&EmbeddedHome::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_version_outlives_what_was_stored_after_it_on_kafka() {
    if let Some(home) = KafkaHome::from_environment() {
        the_newest_version_outlives_what_was_stored_after_it(&home).await;
    }
}

#[tokio::test]
async fn each_node_has_its_own_word_and_only_raises_it() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::manual(1_000);
    let log: Arc<dyn Log> = open_log(directory.path(), &clock);
    let id = target("sample/v1").id;
    let mark = |sequence, below| vec![(REGISTRY.parse().unwrap(), Mark { partition: 0, sequence, below })];
    let first = HighWaters::open(log.clone(), "test", "first", clock.clone()).await.unwrap();
    let second = HighWaters::open(log.clone(), "test", "a second, with spaces", clock.clone()).await.unwrap();
    first.raise(&id, &mark(10, 5)).await.unwrap();
    second.raise(&id, &mark(7, 4)).await.unwrap();
    // A view that begins anew has seen less for a while.
    first.raise(&id, &mark(3, 2)).await.unwrap();
    first.raise(&id, &mark(10, 9)).await.unwrap();
    let word = |sequence, below| (REGISTRY.to_owned(), sequence, below);
    assert_eq!(written(&log, "test", &id, &[9, 9]).await, HashSet::from([word(10, 5), word(7, 4)]));
    assert_eq!(log.bounds(&Topic::high_waters("test")).await.unwrap()[0].next, 2, "nothing is written twice");

    // The dataset's topic was made again: what is beyond its end was said of another, and what is seen now is written down.
    assert_eq!(first.marks(&id, &[4, 0]), []);
    first.raise(&id, &mark(3, 2)).await.unwrap();
    assert_eq!(written(&log, "test", &id, &[4, 0]).await, HashSet::from([word(3, 2), word(7, 4)]));
    log.close().await;
}

#[test]
fn a_mark_counts_from_its_offset_on_in_whatever_batches() {
    let archive = Said { source: ARCHIVE, version: 2, ..said(1, "b", "320601") };
    // The log once held the registry's second entry at offset 1; it was written again, and only the copy is left.
    let left = [
        said(1, "a", "320600").at(0, 0),
        archive.at(0, 2),
        said(2, "b", "320600").at(0, 3),
        said(3, "c", "320600").at(0, 4),
    ];
    let marks = || vec![(REGISTRY.parse().unwrap(), Mark { partition: 0, sequence: 2, below: 3 })];
    let mut digests = Vec::new();
    for batch in 1..=left.len() {
        let (_directory, mut bench) = Bench::fresh();
        bench.applier = Applier::load(&bench.store, &bench.target.id, bench.space, marks()).unwrap();
        let tallies: Vec<_> = left.chunks(batch).map(|entries| bench.apply(entries)).collect();
        assert_eq!(tallies.iter().map(|tally| tally.repeats).sum::<u64>(), 1, "in batches of {batch}");
        assert_eq!(names(bench.reader().records(None)), ["a@1", "b@1", "c@3"]);
        digests.push(bench.digest());
    }
    assert!(digests.iter().all(|digest| *digest == digests[0]));

    // A view that has gone so far before the mark was known knows it as soon as it is opened.
    let (_directory, mut bench) = Bench::fresh();
    bench.apply(&left[..2]);
    assert_eq!(bench.reader().high_water(REGISTRY).unwrap(), [(0, 1)]);
    bench.applier = Applier::load(&bench.store, &bench.target.id, bench.space, marks()).unwrap();
    assert_eq!(bench.reader().high_water(REGISTRY).unwrap(), [(0, 2)]);
}
