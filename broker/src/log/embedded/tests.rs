//! What only this home can do: a process that is killed, a disk that is full, files that are damaged.

mod torn;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;

use super::{Embedded, Options};
use crate::{
    exchange::{clock::Clock, fixtures::Disk},
    log::{Entry, Error, Health, Log, Metrics, Retention, Topic, TopicSpec},
};

const CHILD: &str = "SHUQIAO_TEST_LOG_CHILD";
/// For what happens by itself, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn open(options: Options) -> Embedded {
    Embedded::open(options, Clock::system(), Metrics::default()).expect("the log opens")
}

fn numbered(number: u64, size: usize) -> Entry {
    let mut value = number.to_be_bytes().to_vec();
    value.resize(size.max(8), 0);
    let value = Some(Bytes::from(value));
    Entry { partition: 0, key: Some(Bytes::from_static(b"key")), headers: Vec::new(), value, timestamp_ms: 1 }
}

async fn made(log: &Embedded) -> Topic {
    let topic = Topic::stored("crash");
    let spec = TopicSpec { topic: topic.clone(), partitions: 1, retention: Retention::Forever };
    log.ensure_topic(&spec).await.expect("made");
    topic
}

async fn held(log: &Embedded, topic: &Topic) -> Vec<u64> {
    let bounds = log.bounds(topic).await.expect("bounds")[0];
    let mut reader = log.read(topic, &[(0, bounds.first)]).await.expect("a reader");
    let mut numbers = Vec::new();
    while (numbers.len() as u64) < bounds.next - bounds.first {
        for entry in reader.next(10_000, 8 << 20).await.expect("readable") {
            let value = entry.value.expect("a value");
            numbers.push(u64::from_be_bytes(value[..8].try_into().expect("a number")));
        }
    }
    numbers
}

/// Not a test of its own: the process that the next one kills. Submits without pause and says what was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of a_process_that_is_killed_loses_nothing_that_it_acknowledged"]
async fn child() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let log = open(Options { memtable_bytes: 1 << 20, ..Options::at(path) });
    let topic = made(&log).await;
    let mut number = held(&log, &topic).await.len() as u64;
    let mut in_flight = std::collections::VecDeque::new();
    loop {
        let entries = (number..number + 20).map(|number| numbered(number, 300)).collect();
        number += 20;
        in_flight.push_back((number, log.submit(&topic, entries).await.expect("submitted")));
        if in_flight.len() >= 8 {
            let (upto, pending) = in_flight.pop_front().expect("some");
            assert!(pending.await.iter().all(Result::is_ok));
            println!("acknowledged {upto}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_loses_nothing_that_it_acknowledged_and_leaves_no_hole() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut total = 0;
    for round in 0..10_u64 {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["log::embedded::tests::child", "--exact", "--ignored", "--nocapture"])
            .env(CHILD, directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the child starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut next = || {
            let line = lines.next()?.ok()?;
            line.strip_prefix("acknowledged ").and_then(|number| number.parse::<u64>().ok()).or(Some(0))
        };
        // A word that was cut off by the kill counts for nothing; whole ones do, however many are still in the pipe.
        let wanted = total + 500 + 700 * round;
        let mut acknowledged = 0;
        while acknowledged < wanted {
            acknowledged = acknowledged.max(next().expect("the child goes on"));
        }
        child.kill().expect("killed");
        child.wait().expect("ended");
        let log = open(Options::at(directory.path()));
        let topic = made(&log).await;
        let held = held(&log, &topic).await;
        assert!(held.len() as u64 >= acknowledged, "{acknowledged} acknowledged, {} held", held.len());
        assert!(held.iter().enumerate().all(|(index, number)| *number == index as u64), "a hole");
        total = held.len() as u64;
        log.close().await;
    }
    println!("killed ten times, {total} entries");
}

/// Submits with several submissions in flight until one fails. Returns how many numbers were acknowledged before it, and the failure.
async fn fill(log: &Embedded, topic: &Topic) -> (u64, Error) {
    let mut number = held(log, topic).await.len() as u64;
    let mut acknowledged = number;
    loop {
        let mut pendings = Vec::new();
        let (mut refused, mut last) = (None, None);
        for _ in 0..8 {
            match log.submit(topic, (number..number + 10).map(|number| numbered(number, 4 << 10)).collect()).await {
                Ok(pending) => pendings.push(pending),
                // Behind all that were taken, whose fates are told in their order.
                Err(error) => {
                    last = Some(error);
                    break;
                }
            }
            number += 10;
        }
        for outcome in futures::future::join_all(pendings).await.concat() {
            match outcome {
                Ok(_) if refused.is_none() => acknowledged += 1,
                Ok(_) => panic!("stored behind a failure"),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        if let Some(error) = refused.or(last) {
            return (acknowledged, error);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_nearly_full_refuses_entries_and_keeps_what_it_has() {
    let Some(disk) = Disk::mount(96) else { return };
    let options =
        || Options { free_bytes_min: 16 << 20, memtable_bytes: 4 << 20, ..Options::at(disk.path().join("log")) };
    let log = open(options());
    let topic = made(&log).await;
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![0; 40 << 20]).expect("written");
    let (acknowledged, error) = fill(&log, &topic).await;
    assert!(matches!(error, Error::DiskFull(_)), "{error:?}");
    // The store may drop a journal meanwhile and have room for a little again: take that too.
    let rest = disk.path().join("rest");
    std::fs::write(&rest, vec![0; 96 << 20]).expect_err("the disk is smaller");
    assert!(matches!(log.health(), Health::Bad(_)));
    let before: Vec<u64> = (0..acknowledged).collect();
    assert_eq!(held(&log, &topic).await, before, "what was acknowledged is there, and nothing behind the failure");
    // Room again: it goes on by itself, where it stopped. A flush that met the full disk has shut the store; the submission that finds it so is refused, and not
    // taken.
    for file in [ballast, rest] {
        std::fs::remove_file(file).expect("removed");
    }
    let goes_on = async {
        while log.submit(&topic, vec![numbered(acknowledged, 100)]).await.expect("submitted").await[0].is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, goes_on).await.expect("there is room again");
    assert_eq!(log.health(), Health::Good);
    log.close().await;
    drop(log);
    let log = open(options());
    assert_eq!(held(&log, &topic).await.len() as u64, acknowledged + 1);
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fills_to_the_last_byte_loses_a_suffix_at_most() {
    let Some(disk) = Disk::mount(96) else { return };
    let path = disk.path().join("log");
    let options = || Options { free_bytes_min: 0, memtable_bytes: 4 << 20, ..Options::at(&path) };
    let log = open(options());
    let topic = made(&log).await;
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![0; 16 << 20]).expect("written");
    let (acknowledged, error) = fill(&log, &topic).await;
    println!("full after {acknowledged}: {error}");
    log.close().await;
    drop(log);
    std::fs::remove_file(&ballast).expect("removed");
    let log = open(options());
    let held = held(&log, &topic).await;
    assert!(held.len() as u64 >= acknowledged, "{acknowledged} acknowledged, {} held", held.len());
    assert!(held.iter().enumerate().all(|(index, number)| *number == index as u64), "a hole");
    log.close().await;
}

#[tokio::test]
async fn a_second_process_is_refused_the_directory() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = open(Options::at(directory.path()));
    let second = Embedded::open(Options::at(directory.path()), Clock::system(), Metrics::default());
    assert!(matches!(second, Err(Error::InUse)), "{second:?}");
    log.close().await;
    drop(log);
    Arc::new(open(Options::at(directory.path()))).close().await;
}

#[tokio::test]
async fn no_debug_of_the_log_prints_what_lies_in_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = open(Options { free_bytes_min: 0, ..Options::at(directory.path()) });
    let topic = made(&log).await;
    let secret = Bytes::from_static(b"330106199003070014");
    let headers = vec![("ce_subject", secret.clone())];
    let entry = Entry { key: Some(secret.clone()), headers, value: Some(secret), ..numbered(1, 8) };
    let mut texts = vec![format!("{entry:?}")];
    log.submit(&topic, vec![entry]).await.expect("submitted").await[0].as_ref().expect("durable");
    let mut reader = log.read(&topic, &[(0, 0)]).await.expect("a reader");
    let read = reader.next(1, 1_000).await.expect("readable");
    texts.extend([format!("{log:?}"), format!("{read:?}"), format!("{:?}", read[0].headers)]);
    assert!(texts.iter().all(|text| !text.contains("330106199003070014")), "{texts:?}");
    log.close().await;
}

/// Cuts the last written bytes off the newest journal.
fn cut(path: &Path, bytes: usize) {
    let entries = fs::read_dir(path).expect("lists").map(|entry| entry.expect("an entry").path());
    let journals = entries.filter(|path| path.extension().is_some_and(|extension| extension == "jnl"));
    let journal = journals.max().expect("a journal");
    let held = fs::read(&journal).expect("readable");
    let end = held.iter().rposition(|byte| *byte != 0).expect("something was written") + 1;
    let file = fs::File::options().write(true).open(journal).expect("opens");
    file.set_len((end - bytes) as u64).expect("cut");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("lists") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("its type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copies");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_cut_off_after_the_log_was_closed_is_missed_and_a_write_that_a_kill_broke_off_is_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    let options = |name: &str| Options { free_bytes_min: 0, ..Options::at(at(name)) };
    let log = open(options("log"));
    let topic = made(&log).await;
    let append = async |log: &Embedded, number| {
        log.submit(&topic, vec![numbered(number, 300)]).await.expect("submitted").await[0].clone().expect("durable");
    };
    for number in 0..10 {
        append(&log, number).await;
    }
    log.close().await;
    drop(log);

    copy(&at("log"), &at("cut"));
    cut(&at("cut"), 30);
    let refused = Embedded::open(options("cut"), Clock::system(), Metrics::default()).expect_err("it is short");
    let told = crate::chain::chain(&refused);
    assert!(matches!(refused, Error::Corrupt(_)), "{told}");
    assert!(
        told.contains("partition 0 of crash ends at offset 9, and when the log was last closed it ended at 10"),
        "{told}"
    );

    // The whole of it opens; what comes then is not closed, and its last write may be torn, but not those before it was closed.
    let log = open(options("log"));
    append(&log, 10).await;
    copy(&at("log"), &at("killed"));
    copy(&at("log"), &at("cut deeper"));
    log.close().await;
    cut(&at("killed"), 30);
    let killed = open(options("killed"));
    assert_eq!(held(&killed, &topic).await, (0..10).collect::<Vec<_>>());
    killed.close().await;
    cut(&at("cut deeper"), 700);
    let refused = Embedded::open(options("cut deeper"), Clock::system(), Metrics::default());
    assert!(matches!(refused, Err(Error::Corrupt(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_whose_entries_fail_their_checksum_says_so_once_somebody_has_read_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let options = || Options { free_bytes_min: 0, memtable_bytes: 1 << 20, ..Options::at(directory.path()) };
    let log = open(options());
    let topic = made(&log).await;
    let tables = directory.path().join("keyspaces/1/tables");
    let flushed = || fs::read_dir(&tables).expect("lists").map(|entry| entry.expect("an entry").path());
    let mut number = 0;
    while flushed().next().is_none() {
        assert!(number < 100_000, "nothing is flushed");
        let entries = (number..number + 100).map(|number| numbered(number, 4 << 10)).collect();
        log.submit(&topic, entries).await.expect("submitted").await[0].clone().expect("durable");
        number += 100;
    }
    log.close().await;
    drop(log);
    for table in flushed() {
        let mut bytes = fs::read(&table).expect("readable");
        let middle = bytes.len() / 2;
        bytes[middle..middle + 8].iter_mut().for_each(|byte| *byte ^= 0xff);
        fs::write(&table, bytes).expect("written");
    }
    let log = open(options());
    assert_eq!(log.health(), Health::Good, "nobody has met it");
    let mut reader = log.read(&topic, &[(0, 0)]).await.expect("a reader");
    let met = loop {
        match reader.next(10_000, 8 << 20).await {
            Ok(entries) if entries.last().is_some_and(|last| last.offset + 1 == number) => panic!("nothing is damaged"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(met, Error::Corrupt(_)), "{met:?}");
    let Health::Bad(told) = log.health() else { panic!("still well") };
    assert!(told.contains("restore the log from its backup"), "{told}");
    // Also when it can write.
    log.submit(&topic, vec![numbered(number, 8)]).await.expect("submitted").await[0].clone().expect("durable");
    assert!(matches!(log.health(), Health::Bad(_)));
    log.close().await;
}
