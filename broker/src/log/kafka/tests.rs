//! What only this home can do. Runs where `SHUQIAO_TEST_KAFKA` names a cluster; faults are inflicted on clusters of their own, started by `deploy/kafka`.

mod cluster;
mod floor;
mod full_disk;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use rdkafka::{
    TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    topic_partition_list::Offset,
};
use tokio::time::Instant;

use self::cluster::Cluster;
use super::{
    super::{Bounds, Entry, Error, Health, Log, Metrics, Retention, Topic, TopicSpec},
    Kafka, Observer, Options, Security, TlsFiles, client, signed,
};

/// The cluster that the environment names, which may have one node; or the test is left out.
pub(in crate::log) fn options() -> Option<Options> {
    shuqiao_test_needs::kafka().map(|brokers| single(&brokers))
}

fn single(brokers: &str) -> Options {
    let brokers = brokers.split(',').map(str::to_owned).collect();
    // A cluster on a busy machine takes its time, for the first connection above all.
    let request_deadline = Duration::from_secs(30);
    Options { replication_factor: 1, min_insync_replicas: 1, request_deadline, ..Options::at(brokers) }
}

/// For what happens by itself, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until the log says that something is wrong, and answers with what.
async fn in_trouble(log: &Kafka) -> String {
    let bad = async {
        loop {
            if let Health::Bad(told) = log.health() {
                return told;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, bad).await.expect("the log says so")
}

/// Gives up records as retention does.
pub(in crate::log) async fn delete_records(options: &Options, topic: &Topic, partition: u32, before: u64) {
    let admin = admin(options);
    let mut list = TopicPartitionList::new();
    let offset = Offset::Offset(i64::try_from(before).expect("small"));
    list.add_partition_offset(topic.as_str(), signed(partition), offset).expect("added");
    let deleted = admin.delete_records(&list, &AdminOptions::new()).await.expect("deleted");
    deleted.elements().iter().for_each(|element| element.error().expect("deleted"));
}

fn admin(options: &Options) -> AdminClient<Observer> {
    let observer = Observer::new(options);
    client::admin(options).create_with_context(observer).expect("a client")
}

fn topic() -> Topic {
    Topic::stored(&format!("kafka-{}", uuid::Uuid::new_v4()))
}

fn spec(partitions: u32) -> TopicSpec {
    TopicSpec { topic: topic(), partitions, retention: Retention::Forever }
}

fn open(options: &Options) -> Arc<Kafka> {
    Arc::new(Kafka::open(options.clone(), Metrics::default()).expect("the cluster answers"))
}

fn numbered(partition: u32, number: u64, size: usize) -> Entry {
    let mut value = number.to_be_bytes().to_vec();
    value.resize(size.max(8), 0);
    Entry {
        partition,
        key: Some(Bytes::from_static(b"key")),
        headers: Vec::new(),
        value: Some(value.into()),
        timestamp_ms: 1_700_000_000_000,
    }
}

/// The numbers that a partition holds, in order.
async fn held(log: &Kafka, topic: &Topic, partition: u32) -> Vec<u64> {
    // A cluster that has just come back may let a question's deadline pass once more.
    let asked = async {
        loop {
            match log.bounds(topic).await {
                Ok(bounds) => return bounds[partition as usize],
                Err(error) => assert!(matches!(error, Error::Unavailable(_)), "{error:?}"),
            }
        }
    };
    let bounds = tokio::time::timeout(PATIENCE, asked).await.expect("bounds");
    let mut reader = log.read(topic, &[(partition, bounds.first)]).await.expect("a reader");
    let mut numbers = Vec::new();
    let mut next = bounds.first;
    while next < bounds.next {
        let wait = tokio::time::timeout(PATIENCE, reader.next(10_000, 8 << 20));
        for entry in wait.await.expect("entries arrive").expect("readable") {
            next = entry.offset + 1;
            let value = entry.value.expect("a value");
            numbers.push(u64::from_be_bytes(value[..8].try_into().expect("a number")));
        }
    }
    numbers
}

/// What a publisher does: submits with several submissions in flight; after a failure learns from the log what it holds, and goes on from there.
/// Skips what is there already, by the one comparison that publishing makes. Returns the highest number that was acknowledged in each partition.
async fn publish(log: &Kafka, topic: &Topic, partitions: u32, done: &AtomicBool) -> (u64, Vec<u64>) {
    let mut acknowledged = vec![0; partitions as usize];
    let mut number = 0_u64;
    let mut in_flight = std::collections::VecDeque::new();
    let mut failures = 0;
    let (mut told, mut stall) = (Instant::now(), Duration::ZERO);
    while !done.load(Ordering::Relaxed) {
        let first = number + 1;
        let entries: Vec<_> = (first..first + 100)
            .map(|number| numbered(u32::try_from(number % u64::from(partitions)).expect("small"), number, 300))
            .collect();
        match log.submit(topic, entries).await {
            Ok(pending) => {
                in_flight.push_back((first, pending));
                number += 100;
            }
            Err(_) => {
                failures += 1;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        while in_flight.len() >= 8 || (done.load(Ordering::Relaxed) && !in_flight.is_empty()) {
            let (first, pending) = in_flight.pop_front().expect("some");
            let outcome: Vec<Result<u64, Error>> = pending.await;
            stall = stall.max(told.elapsed());
            told = Instant::now();
            for (number, outcome) in (first..).zip(&outcome) {
                let partition = usize::try_from(number % u64::from(partitions)).expect("small");
                if outcome.is_ok() {
                    acknowledged[partition] = acknowledged[partition].max(number);
                }
            }
            if outcome.iter().any(Result::is_err) {
                // Everything in flight is learnt of first, as a session that ends does.
                failures += 1;
                while let Some((_, pending)) = in_flight.pop_front() {
                    drop(pending.await);
                }
                // A failure's outcome is not known: everything behind the lowest acknowledged number is sent again.
                number = acknowledged.iter().min().copied().unwrap_or(0);
            }
        }
    }
    println!("{number} submitted, {failures} failures on the way, longest silence {stall:?}");
    (number, acknowledged)
}

/// Waits until the log says that all is well, and a moment more.
async fn recovered(log: &Kafka) {
    let good = async {
        while log.health() != Health::Good {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, good).await.expect("what was overdue is acknowledged");
    tokio::time::sleep(Duration::from_secs(2)).await;
}

/// What was acknowledged is held; and whoever skips repeats by comparing with the highest number so far sees every number, in order.
fn check(held: &[u64], partition: u64, partitions: u64, acknowledged: u64) -> usize {
    let mut high = 0;
    let mut repeats = 0;
    for number in held {
        if *number <= high {
            repeats += 1;
            continue;
        }
        let next = (high + 1..).find(|number| number % partitions == partition).expect("there is one");
        assert_eq!(*number, next, "a hole behind {high} in partition {partition}");
        high = *number;
    }
    assert!(high >= acknowledged, "{acknowledged} was acknowledged, {high} is held in partition {partition}");
    repeats
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_below_the_floor_is_refused_and_every_setting_is_named() {
    let Some(options) = options() else { return };
    let spec = TopicSpec { retention: Retention::CompactAfter { window_ms: 60_000 }, ..spec(3) };
    let made = NewTopic::new(spec.topic.as_str(), 2, TopicReplication::Fixed(1))
        .set("min.insync.replicas", "1")
        .set("cleanup.policy", "delete")
        .set("max.message.bytes", "1000")
        .set("message.timestamp.type", "LogAppendTime")
        .set("unclean.leader.election.enable", "true");
    admin(&options).create_topics([&made], &AdminOptions::new()).await.expect("made")[0].as_ref().expect("made");
    let floor = Options { replication_factor: 3, min_insync_replicas: 2, ..options.clone() };
    match open(&floor).ensure_topic(&spec).await {
        Err(Error::BelowFloor { topic, violations }) => {
            assert_eq!(topic, spec.topic);
            for part in [
                "its partition count is 2, not 3",
                "replication is 1, less than 3",
                "min.insync.replicas is 1, less than 2",
                "cleanup.policy is delete, not compact",
                "max.message.bytes is 1000, less than",
                "message.timestamp.type is LogAppendTime, not CreateTime",
                "unclean.leader.election.enable is true, not false",
            ] {
                assert!(violations.contains(part), "{part}: {violations}");
            }
        }
        other => panic!("{other:?}"),
    }
    // A topic kept for ever must not be one that forgets.
    let forgetful = topic();
    let made = NewTopic::new(forgetful.as_str(), 1, TopicReplication::Fixed(1)).set("retention.ms", "1000");
    admin(&options).create_topics([&made], &AdminOptions::new()).await.expect("made")[0].as_ref().expect("made");
    let refused = open(&options)
        .ensure_topic(&TopicSpec { topic: forgetful, partitions: 1, retention: Retention::Forever })
        .await;
    match refused {
        Err(Error::BelowFloor { violations, .. }) => assert!(violations.contains("retention.ms is 1000, not -1")),
        other => panic!("{other:?}"),
    }
    // More replicas than nodes.
    let wanted = Options { replication_factor: 15, ..options };
    match open(&wanted).ensure_topic(&self::spec(1)).await {
        Err(Error::BelowFloor { violations, .. }) => assert!(violations.contains("log.kafka.replication_factor")),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_where_nobody_answers_is_told_within_the_deadline() {
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = deaf.local_addr().expect("an address").port();
    drop(deaf);
    let deadline = Duration::from_secs(2);
    let options = Options { request_deadline: deadline, ..single(&format!("127.0.0.1:{port}")) };
    let begun = Instant::now();
    let error = Kafka::open(options, Metrics::default()).expect_err("nobody answers");
    // The library's own limits are far longer; a busy machine is a little late.
    assert!(begun.elapsed() < deadline * 10, "{:?}", begun.elapsed());
    let told = std::error::Error::source(&error).expect("a cause").to_string();
    assert!(told.contains(&format!("127.0.0.1:{port}")) && told.contains("refused"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_survive_a_leader_that_is_killed_under_load() {
    let Some(cluster) = Cluster::start("three", &[]) else { return };
    let log = open(&Options::at(cluster.brokers.split(',').map(str::to_owned).collect()));
    let spec = spec(3);
    log.ensure_topic(&spec).await.expect("made");
    let done = AtomicBool::new(false);
    let load = publish(&log, &spec.topic, 3, &done);
    let faults = async {
        for node in 1..=3 {
            tokio::time::sleep(Duration::from_secs(2)).await;
            tokio::task::block_in_place(|| cluster.run("stop", &["--node", &node.to_string(), "--kill"]));
            tokio::time::sleep(Duration::from_secs(2)).await;
            tokio::task::block_in_place(|| cluster.run("start", &["--node", &node.to_string()]));
        }
        recovered(&log).await;
        done.store(true, Ordering::Relaxed);
    };
    let ((number, acknowledged), ()) = tokio::join!(load, faults);
    log.close().await;
    let log = open(&Options::at(cluster.brokers.split(',').map(str::to_owned).collect()));
    let mut repeats = 0;
    for partition in 0..3_u32 {
        let held = held(&log, &spec.topic, partition).await;
        repeats += check(&held, u64::from(partition), 3, acknowledged[partition as usize]);
    }
    println!("three leaders killed: {number} entries, none lost, {repeats} repeated");
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_stops_makes_outcomes_unknown_and_leaves_no_hole() {
    let Some(cluster) = Cluster::start("one", &[]) else { return };
    let options = Options {
        delivery_deadline: Duration::from_secs(3),
        request_deadline: Duration::from_secs(3),
        ..single(&cluster.brokers)
    };
    let log = open(&options);
    let spec = spec(2);
    log.ensure_topic(&spec).await.expect("made");
    let done = AtomicBool::new(false);
    let load = publish(&log, &spec.topic, 2, &done);
    let faults = async {
        for kill in [&["--kill"][..], &[]] {
            tokio::time::sleep(Duration::from_secs(2)).await;
            tokio::task::block_in_place(|| cluster.run("stop", kill));
            println!("while it is away: {}", in_trouble(&log).await);
            tokio::task::block_in_place(|| cluster.run("start", &[]));
            recovered(&log).await;
        }
        done.store(true, Ordering::Relaxed);
    };
    let ((number, acknowledged), ()) = tokio::join!(load, faults);
    let mut repeats = 0;
    for partition in 0..2_u32 {
        let held = held(&log, &spec.topic, partition).await;
        repeats += check(&held, u64::from(partition), 2, acknowledged[partition as usize]);
    }
    println!("cluster stopped twice: {number} entries, none lost, {repeats} repeated");
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_cluster_that_hangs_is_bounded_and_its_topic_shut_until_it_is_told() {
    let Some(cluster) = Cluster::start("one", &[]) else { return };
    let options = Options {
        delivery_deadline: Duration::from_secs(3),
        request_deadline: Duration::from_secs(2),
        in_flight_bytes_max: 1 << 20,
        ..single(&cluster.brokers)
    };
    let log = open(&options);
    let spec = spec(1);
    log.ensure_topic(&spec).await.expect("made");
    let first = log.submit(&spec.topic, vec![numbered(0, 1, 8)]).await.expect("submitted").await;
    assert!(first[0].is_ok());
    let mut idle = log.read(&spec.topic, &[(0, 1)]).await.expect("a reader");
    cluster.signal(1, "STOP");
    // 100 submissions of 64 KiB do not fit into 1 MiB: the rest waits, and is refused when the deadline has passed.
    let mut pendings = Vec::new();
    let mut refused = 0;
    while refused < 5 {
        let next = u64::try_from(pendings.len()).expect("few") + 2;
        let submitted = log.submit(&spec.topic, vec![numbered(0, next, 64 << 10)]);
        match tokio::time::timeout(Duration::from_millis(200), submitted).await {
            Ok(pending) => pendings.push(pending.expect("room")),
            Err(_) => refused += 1,
        }
    }
    assert!(pendings.len() <= 16, "{} submissions of 64 KiB lie in 1 MiB", pendings.len());
    in_trouble(&log).await;
    // Everything is overdue; nobody was told, so nothing is taken.
    assert!(matches!(log.submit(&spec.topic, vec![numbered(0, 99, 8)]).await.err(), Some(Error::Unavailable(_))));
    let count = pendings.len();
    for pending in pendings {
        assert!(matches!(pending.await[..], [Err(Error::Unavailable(_))]));
    }
    // Everybody was told; but what is overdue may still arrive, and nothing may overtake it.
    assert!(matches!(log.submit(&spec.topic, vec![numbered(0, 99, 8)]).await.err(), Some(Error::Unavailable(_))));
    // Questions and a reader end within their deadlines, and the reader may be asked again.
    let asked = tokio::time::timeout(PATIENCE, log.bounds(&spec.topic)).await.expect("told in time");
    assert!(matches!(asked, Err(Error::Unavailable(_))));
    let told = tokio::time::timeout(PATIENCE, idle.next(1, 1)).await.expect("told in time");
    assert!(matches!(told, Err(Error::Unavailable(_))), "{told:?}");
    cluster.signal(1, "CONT");
    let again = async {
        loop {
            if let Ok(pending) = log.submit(&spec.topic, vec![numbered(0, 100, 8)]).await {
                // A node that comes back slowly leaves the outcome unknown once more, and what is unknown is sent again.
                if pending.await[0].is_ok() {
                    break;
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("it goes on when the cluster does");
    let held = held(&log, &spec.topic, 0).await;
    let overdue: Vec<u64> = (2..).take(count).collect();
    assert_eq!(held[0], 1);
    assert_eq!(held[1..=count], overdue, "what was unknown arrived, in order");
    let after = &held[count + 1..];
    assert!(!after.is_empty() && after.iter().all(|number| *number == 100), "{after:?}");
    let arrived = tokio::time::timeout(PATIENCE, idle.next(1, 1)).await.expect("in time");
    assert_eq!(arrived.expect("readable")[0].offset, 1);
    log.close().await;
}

/// PEM files of an authority, a server and a client.
fn certificates(directory: &Path) -> [PathBuf; 5] {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    let write = |name: &str, text: String| {
        std::fs::write(directory.join(name), text).expect("written");
        directory.join(name)
    };
    let mut params = CertificateParams::new(Vec::new()).expect("good");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "authority");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed");
    let issue = |name: &str| {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["127.0.0.1".into(), "localhost".into()]).expect("good");
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = params.signed_by(&key, &authority).expect("signed");
        (write(&format!("{name}.pem"), certificate.pem()), write(&format!("{name}.key.pem"), key.serialize_pem()))
    };
    let (server, server_key) = issue("server");
    let (client, client_key) = issue("client");
    [write("ca.pem", authority.pem()), server, server_key, client, client_key]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_and_mutual_tls_carry_entries_and_mismatches_say_what_to_change() {
    let directory = tempfile::tempdir().expect("a directory");
    let [authority, server, server_key, certificate, key] = certificates(directory.path());
    let text = |path: &PathBuf| path.to_string_lossy().into_owned();
    let arguments = ["--tls", &text(&server), &text(&server_key), &text(&authority)];
    let Some(cluster) = Cluster::start("one", &arguments) else { return };
    let with = |brokers: &str, identity: Option<(PathBuf, PathBuf)>| {
        let tls = TlsFiles { authorities: authority.clone(), identity, key_password: None };
        Options { security: Security { tls: Some(tls), user: None }, ..single(brokers) }
    };
    let (tls, mutual) = (cluster.environment("SHUQIAO_TEST_KAFKA_TLS"), cluster.environment("SHUQIAO_TEST_KAFKA_MTLS"));
    for options in [with(&tls, None), with(&mutual, Some((certificate, key)))] {
        let log = open(&options);
        let spec = spec(1);
        log.ensure_topic(&spec).await.expect("made");
        let stored = log.submit(&spec.topic, vec![numbered(0, 1, 300)]).await.expect("submitted").await;
        assert!(stored[0].is_ok());
        assert_eq!(held(&log, &spec.topic, 0).await, [1]);
        assert_eq!(log.bounds(&spec.topic).await.expect("bounds"), [Bounds { first: 0, next: 1 }]);
        log.close().await;
    }
    let other = tempfile::tempdir().expect("a directory");
    let [stranger, ..] = certificates(other.path());
    let mut foreign = with(&tls, None);
    foreign.security.tls.as_mut().expect("tls").authorities = stranger;
    let mismatches = [
        (single(&tls), "speak TLS: set log.kafka.security.protocol"),
        (with(&cluster.brokers, None), "speaks no TLS: set log.kafka.security.protocol"),
        (with(&mutual, None), "look at log.kafka.security.certificate"),
        (foreign, "log.kafka.security.authorities"),
    ];
    let mut silent = Vec::new();
    for (options, expected) in mismatches {
        let options = Options { request_deadline: Duration::from_secs(10), ..options };
        let error = Kafka::open(options, Metrics::default()).expect_err("a mismatch");
        let told = std::error::Error::source(&error).expect("a cause").to_string();
        if !told.contains(expected) {
            silent.push((expected, told));
        }
    }
    assert!(silent.is_empty(), "{silent:#?}");
}
