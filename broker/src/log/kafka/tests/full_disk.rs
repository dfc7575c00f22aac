//! A cluster whose disk is full. Kafka gives the disk up and ends; somebody makes room and starts it again.

use super::{cluster::Cluster, *};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_whose_disk_is_full_acknowledges_nothing_that_it_has_not_and_goes_on_when_it_has_room() {
    if self::options().is_none() {
        return;
    }
    let Some(disk) = shuqiao_test_needs::SmallDisk::mount(64) else { return };
    // The data alone: what the node says of itself stays readable.
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(directory.path().join("1")).expect("the node's directory");
    std::fs::create_dir(disk.path().join("data")).expect("the node's data");
    std::os::unix::fs::symlink(disk.path().join("data"), directory.path().join("1/data")).expect("a link");
    let Some(cluster) = Cluster::start_in(directory, "one", &[]) else { return };
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
        println!("while its disk is full: {}", in_trouble(&log).await);
        let said = std::fs::read_to_string(cluster.path().join("1/server.log")).expect("what the node says");
        assert!(said.contains("No space left on device"), "it is in trouble for another reason");
        // Nothing gets better by itself, and whoever asks is told within the deadline.
        let asked = tokio::time::timeout(PATIENCE, log.bounds(&spec.topic)).await.expect("told in time");
        assert!(matches!(asked, Err(Error::Unavailable(_))), "{asked:?}");
        assert!(matches!(log.health(), Health::Bad(_)));
        disk.grow(2 << 10);
        // It has ended by itself; a node that hangs at its end is not waited for.
        tokio::task::block_in_place(|| cluster.run("stop", &["--kill"]));
        tokio::task::block_in_place(|| cluster.run("start", &[]));
        recovered(&log).await;
        done.store(true, Ordering::Relaxed);
    };
    let ((number, acknowledged), ()) = tokio::join!(load, faults);
    assert!(acknowledged.iter().all(|acknowledged| *acknowledged > 0));
    let mut repeats = 0;
    for partition in 0..2_u32 {
        let held = held(&log, &spec.topic, partition).await;
        repeats += check(&held, u64::from(partition), 2, acknowledged[partition as usize]);
    }
    println!("a full disk: {number} entries, none lost, {repeats} repeated");
    log.close().await;
}
