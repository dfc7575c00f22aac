//! The view as it follows an embedded log.

use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    exchange::{
        catalogue::{
            Command,
            command::DatasetRef,
            fixtures::{new_dataset, system},
        },
        clock::Clock,
        fixtures::{City, DATASET, Disk, OWNER, upsert},
        model::{DatasetId, partition_of},
    },
    log::{Log, Retention, TopicSpec},
    shutdown::Tasks,
    view::{Ahead, Error, HighWaters, Options, View},
};

const PATIENCE: Duration = Duration::from_secs(10);

/// A log, a view that follows one dataset of it, and what the catalogue would say of the dataset.
struct Rig {
    log: Arc<log::embedded::Embedded>,
    view: Arc<View>,
    clock: Clock,
    tasks: Tasks,
    known: Arc<Mutex<Option<Target>>>,
    next_sequence: u64,
}

impl Rig {
    async fn open(directory: &Path) -> Self {
        let clock = Clock::manual(1_000);
        let log = open_log(&directory.join("log"), &clock);
        let retention = Retention::CompactAfter { window_ms: RETENTION_MS };
        let topic = target("sample/v1").topic;
        log.ensure_topic(&TopicSpec { topic, partitions: PARTITIONS, retention }).await.unwrap();
        Self::on(log, directory, clock, target("sample/v1")).await
    }

    async fn on(log: Arc<log::embedded::Embedded>, directory: &Path, clock: Clock, target: Target) -> Self {
        let options =
            Options { upkeep_interval: Duration::from_millis(20), batch_entries_max: 7, ..Options::default() };
        Self::with(log, &directory.join("view"), Options { clock, ..options }, target).await
    }

    async fn with(log: Arc<log::embedded::Embedded>, view: &Path, options: Options, target: Target) -> Self {
        let clock = options.clock.clone();
        let view = View::open(view, options).unwrap();
        let (tasks, known) = (Tasks::default(), Arc::new(Mutex::new(Some(target))));
        let asked = known.clone();
        let high_waters = HighWaters::open(log.clone(), "test", "node-1", clock.clone()).await.unwrap();
        view.follow_one(log.clone(), high_waters, move || asked.lock().clone(), tasks.token(), &tasks);
        Self { log, view, clock, tasks, known, next_sequence: 1 }
    }

    /// Appends and says up to where.
    async fn append(&mut self, all: &[(u32, &str, &str)]) -> Vec<(u32, u64)> {
        let mut entries = Vec::new();
        for (partition, key, region) in all {
            let one = if region.is_empty() {
                deleted(self.next_sequence, key)
            } else {
                said(self.next_sequence, key, region)
            };
            entries.push(Said { time_ms: self.clock.now_ms(), ..one }.entry(*partition));
            self.next_sequence += 1;
        }
        let partitions: Vec<_> = entries.iter().map(|entry| entry.partition).collect();
        let pending = self.log.submit(&target("sample/v1").topic, entries).await.unwrap();
        let offsets = pending.await.into_iter().map(|offset| offset.unwrap() + 1);
        partitions.into_iter().zip(offsets).collect()
    }

    async fn seen(&self, until: &[(u32, u64)]) {
        self.view.wait_applied(&target("sample/v1").id, until, PATIENCE).await.unwrap();
    }

    fn reader(&self) -> Reader {
        self.view.reader(&target("sample/v1").id).unwrap()
    }

    /// Waits for something that no call announces.
    async fn until(&self, what: &str, mut holds: impl FnMut(&View) -> bool) {
        for _ in 0..500 {
            if holds(&self.view) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("waited in vain: {what}");
    }

    async fn close(self) -> Arc<log::embedded::Embedded> {
        assert_eq!(self.tasks.drain(PATIENCE).await, 0);
        self.log
    }
}

#[tokio::test]
async fn waiting_ends_when_the_position_is_applied_and_not_before_or_when_time_is_over() {
    let directory = tempfile::tempdir().unwrap();
    let mut rig = Rig::open(directory.path()).await;
    let id = target("sample/v1").id;
    for round in 0..20 {
        let until = rig.append(&[(0, "a", "320600"), (1, "b", "320601")]).await;
        rig.seen(&until).await;
        let applied = rig.view.applied(&id);
        assert!(until.iter().all(|(partition, next)| applied[*partition as usize] >= *next), "round {round}");
        assert_eq!(rig.reader().get("b").unwrap().unwrap().record.sequence, rig.next_sequence - 1);
    }
    let wait = |dataset: &str, at: (u32, u64)| {
        let (view, dataset) = (rig.view.clone(), dataset.parse().unwrap());
        async move { view.wait_applied(&dataset, &[at], Duration::from_millis(50)).await }
    };
    assert!(matches!(wait(id.as_str(), (0, 21)).await, Err(Error::Behind)));
    assert!(matches!(wait(id.as_str(), (PARTITIONS, 1)).await, Err(Error::Behind)), "a partition that is not");
    assert!(matches!(wait("market-supervision.none", (0, 0)).await, Err(Error::Behind)));
    assert!(matches!(rig.view.reader(&"market-supervision.none".parse().unwrap()), Err(Error::NotReady(_))));
    rig.close().await;
}

#[tokio::test]
async fn a_view_that_is_opened_again_goes_on_where_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let mut rig = Rig::open(directory.path()).await;
    let until = rig.append(&[(0, "a", "320600"), (0, "b", "320600"), (1, "c", "320600")]).await;
    rig.seen(&until).await;
    let before = rig.reader().digest().unwrap();
    rig.tasks.token().cancel();
    let Rig { log, view, clock, tasks, .. } = rig;
    tasks.drain(PATIENCE).await;
    drop(view);

    let entry = said(4, "a", "320601").entry(0);
    log.submit(&target("sample/v1").topic, vec![entry]).await.unwrap().await.pop().unwrap().unwrap();
    let rig = Rig::on(log, directory.path(), clock, target("sample/v1")).await;
    rig.seen(&[(0, 3)]).await;
    assert_ne!(rig.reader().digest().unwrap(), before);
    assert_eq!(history(&rig.reader(), "a"), "4 1");
    assert_eq!(names(rig.reader().records(None)), ["a@4", "b@2", "c@3"]);
    rig.close().await;
}

#[tokio::test]
async fn a_rebuild_equals_by_digest_what_it_replaces() {
    let directory = tempfile::tempdir().unwrap();
    let mut rig = Rig::open(directory.path()).await;
    let keys: Vec<_> = (0..10).map(|number| format!("k{number}")).collect();
    for round in 0..6_i64 {
        // Some of it grows older than the retention, and is compacted from the log.
        rig.clock.set(1_000 + round * 1_800_000);
        let region = ["320600", "320601", ""][usize::try_from(round % 3).unwrap()];
        let some = (0_u32..).zip(&keys).skip(usize::try_from(round).unwrap());
        let all: Vec<_> = some.map(|(n, key)| (n % 2, key.as_str(), region)).collect();
        let until = rig.append(&all).await;
        rig.seen(&until).await;
    }
    for _ in 0..2 {
        let rebuilt = rig.view.rebuild(&target("sample/v1").id).await.unwrap();
        assert_eq!(rebuilt.before, rebuilt.after);
        assert!(rebuilt.after.records > 0 && rebuilt.after.rows > rebuilt.after.records);
        rig.log.maintain().await.unwrap();
    }
    // The old rows are gone: what the store holds is one space.
    let rows = rig.reader().digest().unwrap().rows;
    let store = rig.view.store().unwrap();
    let held = [&store.records, &store.indexes, &store.versions].iter().map(|one| one.iter().count()).sum::<usize>();
    // Of the store's own rows positions and high waters are the dataset's.
    let own = |row: fjall::Guard| row.key().is_ok_and(|key| key.starts_with(b"p") || key.starts_with(b"h"));
    let meta = store.meta.iter().filter_map(|row| own(row).then_some(())).count();
    assert_eq!((held + meta) as u64, rows);
    rig.close().await;
}

#[tokio::test]
async fn a_rebuild_while_records_come_loses_none_and_readers_never_see_half() {
    let directory = tempfile::tempdir().unwrap();
    let mut rig = Rig::open(directory.path()).await;
    let first: Vec<_> = (0..40).map(|number| format!("k{number:03}")).collect();
    let all: Vec<_> = first.iter().map(|key| (0, key.as_str(), "320600")).collect();
    let until = rig.append(&all).await;
    rig.seen(&until).await;
    let stop = CancellationToken::new();
    let reading = {
        let (view, stop) = (rig.view.clone(), stop.clone());
        tokio::task::spawn_blocking(move || {
            let mut reads = 0_u64;
            while !stop.is_cancelled() {
                let reader = view.reader(&target("sample/v1").id).unwrap();
                let (records, indexed) = (names(reader.records(None)), names(reader.by_index(0, "320600", None)));
                assert!(records.len() >= 40, "only {} records", records.len());
                assert_eq!(records, indexed);
                reads += 1;
            }
            reads
        })
    };
    for round in 0..5 {
        let (view, id) = (rig.view.clone(), target("sample/v1").id);
        let rebuilding = async move { view.rebuild(&id).await.unwrap() };
        let more: Vec<_> = (0..10).map(|number| format!("r{round}-{number}")).collect();
        let all: Vec<_> = more.iter().map(|key| (1, key.as_str(), "320600")).collect();
        let (rebuilt, until) = tokio::join!(rebuilding, rig.append(&all));
        assert_eq!(rebuilt.before, rebuilt.after);
        rig.seen(&until).await;
        assert_eq!(rig.reader().records_digest().unwrap().0, 50 + round * 10);
    }
    stop.cancel();
    assert!(reading.await.unwrap() > 0);
    rig.close().await;
}

#[tokio::test]
async fn where_the_log_has_moved_on_the_view_is_built_anew() {
    let directory = tempfile::tempdir().unwrap();
    let mut rig = Rig::open(directory.path()).await;
    let until = rig.append(&[(0, "a", "320600"), (0, "b", "320600")]).await;
    rig.seen(&until).await;
    assert_eq!(rig.tasks.drain(PATIENCE).await, 0);
    // While it was away, the log gave up what the view had not read.
    rig.append(&[(0, "c", "320600"), (0, "d", "320600")]).await;
    rig.log.trim(&target("sample/v1").topic, 0, 3).await.unwrap();
    let Rig { log, view, clock, .. } = rig;
    drop(view);
    let rig = Rig::on(log, directory.path(), clock, target("sample/v1")).await;
    rig.seen(&[(0, 4)]).await;
    assert_eq!(names(rig.reader().records(None)), ["d@4"]);
    rig.close().await;
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

async fn lost(view: &View) -> Vec<(DatasetId, Ahead)> {
    for _ in 0..500 {
        let lost = view.lost();
        if !lost.is_empty() {
            return lost;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the loss is not noticed");
}

#[tokio::test]
async fn a_log_that_lost_its_tail_behind_the_view_costs_no_row_and_takes_no_record_until_an_operator_accepts_it() {
    let directory = tempfile::tempdir().unwrap();
    let id: DatasetId = DATASET.parse().unwrap();
    let partition = partition_of(b"a", 2);
    let (log, backup) = (directory.path().join("log"), directory.path().join("backup"));
    let city = City::open(directory.path()).await;
    city.publish(&mut city.session().await, vec![upsert(1, "a", "320600")]).await;
    city.close().await;
    copy(&log, &backup);
    let city = City::open(directory.path()).await;
    city.publish(&mut city.session().await, vec![upsert(2, "a", "320601"), upsert(3, "b", "320601")]).await;
    let ends: Vec<_> = (0..).zip(city.log.bounds(&Topic::dataset("test", &id)).await.unwrap()).collect();
    let ends: Vec<_> = ends.into_iter().map(|(partition, bounds)| (partition, bounds.next)).collect();
    city.view.wait_applied(&id, &ends, PATIENCE).await.unwrap();
    city.close().await;
    std::fs::remove_dir_all(&log).unwrap();
    copy(&backup, &log);

    // Told at every start, whatever happened before.
    for _ in 0..2 {
        let city = City::open(directory.path()).await;
        let (dataset, ahead) = lost(&city.view).await.remove(0);
        assert_eq!(dataset, id);
        assert!(ahead.view > ahead.log && ahead.partition <= partition.max(partition_of(b"b", 2)), "{ahead:?}");
        let caller = Arc::new(system(OWNER));
        let refused = city.publisher.open(&caller, DATASET, "").await.map(drop);
        assert!(matches!(refused, Err(crate::exchange::Error::LogUnavailable(_))), "{refused:?}");
        assert_eq!(city.view.records_digest(&id).unwrap().0, 2, "the only copy that is left");
        city.close().await;
    }

    let city = City::open(directory.path()).await;
    lost(&city.view).await;
    let rebuilt = city.view.rebuild(&id).await.unwrap();
    assert_eq!((rebuilt.before.records, rebuilt.after.records), (2, 1));
    assert!(city.view.lost().is_empty());
    let mut session = city.session().await;
    assert_eq!(session.high_water().map(|(_, sequence)| sequence).max(), Some(1));
    city.publish(&mut session, vec![upsert(4, "b", "320601")]).await;
    drop(session);
    city.close().await;
}

#[tokio::test]
async fn a_log_that_is_gone_takes_no_row_along() {
    let directory = tempfile::tempdir().unwrap();
    let id: DatasetId = DATASET.parse().unwrap();
    let city = City::open(directory.path()).await;
    city.publish(&mut city.session().await, vec![upsert(1, "a", "320600")]).await;
    let partition = partition_of(b"a", 2);
    city.view.wait_applied(&id, &[(partition, 1)], PATIENCE).await.unwrap();
    city.close().await;
    std::fs::remove_dir_all(directory.path().join("log")).unwrap();

    let (clock, tasks) = (Clock::manual(1_000_000), Tasks::default());
    let log: Arc<dyn Log> = open_log(&directory.path().join("log"), &clock);
    let options = crate::exchange::catalogue::fixtures::options();
    let catalogue =
        crate::exchange::catalogue::Catalogue::open(log.clone(), options, clock.clone(), &tasks).await.unwrap();
    let view = View::open(&directory.path().join("view"), Options::default()).unwrap();
    let high_waters = HighWaters::open(log.clone(), "test", "node-1", clock).await.unwrap();
    view.follow(log.clone(), catalogue, high_waters.clone(), &tasks);
    let expected = Ahead { partition, view: 1, log: 0 };
    assert_eq!(lost(&view).await, [(id.clone(), expected)]);
    assert!(view.get(&id, "a").unwrap().is_some(), "a catalogue that is gone has deleted nothing");
    assert_eq!(view.forgotten(&*log, &high_waters, &id).await.unwrap(), Some(expected));
    assert_eq!(view.abandon(&id).await.unwrap(), 1);
    assert!(matches!(view.reader(&id), Err(Error::NotReady(_))));
    assert!(view.lost().is_empty() && view.held_datasets().is_empty());
    assert_eq!(tasks.drain(PATIENCE).await, 0);
}

#[tokio::test]
async fn another_standard_makes_the_rows_anew() {
    let directory = tempfile::tempdir().unwrap();
    let mut rig = Rig::open(directory.path()).await;
    let until = rig.append(&[(0, "a", "320600"), (1, "b", "320600")]).await;
    rig.seen(&until).await;
    assert_eq!(names(rig.reader().by_index(0, "320600", None)).len(), 2);
    // The new software's standard refuses the records of the old one: they are passed over, visibly, and their sequences are held all the same.
    *rig.known.lock() = Some(target("file/v1"));
    rig.until("the rows are made anew", |view| {
        view.reader(&target("file/v1").id).unwrap().records_digest().unwrap().0 == 0
    })
    .await;
    assert_eq!(rig.reader().high_water(REGISTRY).unwrap(), [(0, 1), (1, 2)]);
    rig.seen(&until).await;
    rig.close().await;
}

#[tokio::test]
async fn history_beyond_the_retention_goes_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let mut rig = Rig::open(directory.path()).await;
    let until = rig.append(&[(0, "a", "320600"), (0, "a", "320601"), (0, "b", "")]).await;
    rig.seen(&until).await;
    assert_eq!(history(&rig.reader(), "a"), "2 1");
    rig.clock.set(2_000 + i64::try_from(RETENTION_MS).unwrap());
    let id = target("sample/v1").id;
    rig.until("history is pruned", |view| history(&view.reader(&id).unwrap(), "a") == "2").await;
    rig.until("the deletion is forgotten", |view| history(&view.reader(&id).unwrap(), "b").is_empty()).await;
    rig.close().await;
}

#[tokio::test]
async fn a_log_that_ends_with_a_forgotten_deletion_is_still_read_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let mut rig = Rig::open(directory.path()).await;
    let until = rig.append(&[(0, "a", "320600"), (0, "b", "320600"), (0, "b", "")]).await;
    rig.seen(&until).await;
    let window = i64::try_from(RETENTION_MS).unwrap();
    for step in 1..=4 {
        rig.clock.set(1_000 + step * window);
        rig.log.maintain().await.unwrap();
    }
    let clock = rig.clock.clone();
    let log = rig.close().await;
    // A node that has lost its view must come as far as the log's end, or no source could publish there again.
    std::fs::remove_dir_all(directory.path().join("view")).unwrap();
    let rig = Rig::on(log, directory.path(), clock, target("sample/v1")).await;
    rig.seen(&until).await;
    assert_eq!(names(rig.reader().records(None)), ["a@1"]);
    assert_eq!(rig.reader().high_water(REGISTRY).unwrap(), [(0, 3)]);
    rig.close().await;
}

#[tokio::test]
async fn the_rows_of_a_deleted_dataset_are_removed_also_if_the_node_was_down() {
    let directory = tempfile::tempdir().unwrap();
    let city = City::open(directory.path()).await;
    let mut session = city.session().await;
    city.publish(&mut session, vec![upsert(1, "a", "320600")]).await;
    drop(session);
    let id: crate::exchange::model::DatasetId = DATASET.parse().unwrap();
    city.view.wait_applied(&id, &[(crate::exchange::model::partition_of(b"a", 2), 1)], PATIENCE).await.unwrap();
    let delete = async |city: &City| {
        let expected = city.catalogue.snapshot().dataset(DATASET).unwrap().version;
        city.command(&system(OWNER), Command::DeleteDataset(DatasetRef { id: id.clone(), expected })).await;
    };
    let gone = async |view: &View| {
        for _ in 0..500 {
            let store = view.store().unwrap();
            let rows = [&store.records, &store.indexes].iter().map(|one| one.iter().count()).sum::<usize>();
            if rows == 0 && matches!(view.reader(&id), Err(Error::NotReady(_))) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("rows of a deleted dataset are still there");
    };
    delete(&city).await;
    gone(&city.view).await;

    // A dataset of that name again: what the log holds is there again.
    city.command(&system(OWNER), Command::CreateDataset(new_dataset(DATASET))).await;
    city.view.wait_applied(&id, &[(crate::exchange::model::partition_of(b"a", 2), 1)], PATIENCE).await.unwrap();
    assert!(city.view.get(&id, "a").unwrap().is_some());

    // The view is away while the dataset is deleted.
    let view = directory.path().join("view");
    let kept = directory.path().join("kept");
    city.tasks.token().cancel();
    let City { log, catalogue, view: old, tasks, clock, publisher, .. } = city;
    tasks.drain(PATIENCE).await;
    drop((old, catalogue, publisher));
    std::fs::rename(&view, &kept).unwrap();
    let city = City::on(log.clone(), directory.path(), clock).await;
    delete(&city).await;
    assert_eq!(city.tasks.drain(PATIENCE).await, 0);
    drop(city);
    std::fs::remove_dir_all(&view).unwrap();
    std::fs::rename(&kept, &view).unwrap();
    let tasks = Tasks::default();
    let clock = Clock::manual(1_000_000);
    let options = crate::exchange::catalogue::fixtures::options();
    let catalogue = crate::exchange::catalogue::Catalogue::open(log.clone(), options, clock, &tasks).await.unwrap();
    let opened = View::open(&view, Options::default()).unwrap();
    assert!(opened.get(&id, "a").unwrap().is_some(), "found at opening");
    let high_waters = HighWaters::open(log.clone(), "test", "node-1", Clock::manual(1_000_000)).await.unwrap();
    opened.follow(log, catalogue, high_waters, &tasks);
    gone(&opened).await;
    assert_eq!(tasks.drain(PATIENCE).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_whose_disk_was_full_says_so_and_goes_on_by_itself_when_there_is_room() {
    let Some(disk) = Disk::mount(32) else { return };
    let directory = tempfile::tempdir().unwrap();
    let first = Rig::open(directory.path()).await;
    let clock = first.clock.clone();
    let log = first.close().await;
    let options = Options { upkeep_interval: Duration::from_millis(20), clock, ..Options::default() };
    let mut rig = Rig::with(log, &disk.path().join("view"), options, target("sample/v1")).await;
    let until = rig.append(&[(0, "a", "320600"), (1, "b", "320600")]).await;
    rig.seen(&until).await;
    let (reader, trouble) = (rig.reader(), rig.view.trouble());

    let ballast = disk.fill();
    let mut until = until;
    for number in 0..500 {
        if trouble.borrow().is_some() {
            break;
        }
        until = rig.append(&[(0, &format!("k{number}"), "320600"), (1, &format!("l{number}"), "320601")]).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(trouble.borrow().as_ref().is_some_and(|reason| reason.contains("disk")), "it says what is wrong");
    let id = target("sample/v1").id;
    assert!(matches!(rig.view.wait_applied(&id, &until, Duration::from_millis(500)).await, Err(Error::Behind)));
    // Who reads goes on reading, and the store is opened when the last one has gone.
    assert_eq!(names(reader.records(None)), ["a@1", "b@2"]);
    drop(reader);
    std::fs::remove_file(ballast).unwrap();
    rig.seen(&until).await;
    rig.until("it no longer complains", |_| trouble.borrow().is_none()).await;
    let rebuilt = rig.view.rebuild(&id).await.unwrap();
    assert_eq!(rebuilt.before, rebuilt.after, "nothing is missing and nothing is there twice");
    assert_eq!(rebuilt.after.records, rig.next_sequence - 1);
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_old_history_than_one_removal_takes_goes_without_waiting_for_the_next_upkeep() {
    let directory = tempfile::tempdir().unwrap();
    let mut rig = Rig::open(directory.path()).await;
    let all: Vec<_> = (0..12_000_u32).map(|number| (number % PARTITIONS, "a", "320600")).collect();
    let until = rig.append(&all).await;
    rig.view.wait_applied(&target("sample/v1").id, &until, 6 * PATIENCE).await.unwrap();
    assert!(rig.reader().digest().unwrap().rows > 12_000);
    let clock = rig.clock.clone();
    let sequence = rig.next_sequence;
    let log = rig.close().await;
    clock.set(2_000 + i64::try_from(RETENTION_MS).unwrap());
    let options = Options { upkeep_interval: Duration::from_secs(3_600), clock, ..Options::default() };
    let mut rig = Rig::with(log, &directory.path().join("view"), options, target("sample/v1")).await;
    rig.next_sequence = sequence;
    let id = target("sample/v1").id;
    rig.until("all of the old history is gone", |view| {
        let store = view.store().unwrap();
        view.reader(&id).is_ok() && store.versions.iter().count() == 1
    })
    .await;
    // Reading has had its turns.
    let until = rig.append(&[(0, "a", "320601")]).await;
    rig.seen(&until).await;
    rig.close().await;
}

#[tokio::test]
async fn a_shorter_retention_reaches_a_view_that_runs() {
    let directory = tempfile::tempdir().unwrap();
    let mut rig = Rig::open(directory.path()).await;
    let id = target("sample/v1").id;
    let until = rig.append(&[(0, "a", "320600")]).await;
    rig.seen(&until).await;
    let written = async |log: &Arc<log::embedded::Embedded>| {
        let all = HighWaters::open(log.clone(), "test", "another", Clock::manual(0)).await.unwrap();
        all.marks(&id, &[u64::MAX; 2]).into_iter().map(|(_, mark)| mark.sequence).max()
    };
    // The first word comes when a session begins; the next would come after a minute.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let until = rig.append(&[(0, "a", "320601")]).await;
    rig.seen(&until).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_ne!(written(&rig.log).await, Some(2), "not yet");
    *rig.known.lock() = Some(Target { retention_ms: 800, ..target("sample/v1") });
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Within an eighth of the new retention, again and again.
    for _ in 0..2 {
        let until = rig.append(&[(0, "a", "320600")]).await;
        rig.seen(&until).await;
        let last = rig.next_sequence - 1;
        let begun = tokio::time::Instant::now();
        while written(&rig.log).await != Some(last) {
            assert!(begun.elapsed() < PATIENCE, "what was seen of the source is not written down");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    rig.close().await;
}
