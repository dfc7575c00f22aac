//! What taking up a dataset asks of the log.

use std::time::Duration;

use super::*;
use crate::{
    exchange::{clock::Clock, fixtures::Watched},
    log::{Log, Retention, TopicSpec},
    shutdown::Tasks,
    view::{HighWaters, Options, View},
};

#[tokio::test]
async fn a_dataset_is_taken_up_with_one_look_at_the_logs_bounds() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::manual(1_000);
    let log = Arc::new(Watched::open(directory.path(), clock.clone()));
    let target = target("sample/v1");
    let retention = Retention::CompactAfter { window_ms: RETENTION_MS };
    log.ensure_topic(&TopicSpec { topic: target.topic.clone(), partitions: PARTITIONS, retention }).await.unwrap();
    log.submit(&target.topic, vec![said(1, "a", "320600").entry(0)]).await.unwrap().await.remove(0).unwrap();
    let high_waters = HighWaters::open(log.clone(), "test", "node-1", clock.clone()).await.unwrap();
    let options = Options { upkeep_interval: Duration::from_secs(3_600), clock, ..Options::default() };
    // New rows, and rows that are there.
    for first in [true, false] {
        let before = log.bounds_asked(&target.topic);
        let view = View::open(&directory.path().join("view"), options.clone()).unwrap();
        let (tasks, known) = (Tasks::default(), target.clone());
        view.follow_one(log.clone(), high_waters.clone(), move || Some(known.clone()), tasks.token(), &tasks);
        if !first {
            log.submit(&target.topic, vec![said(2, "b", "320600").entry(0)]).await.unwrap().await.remove(0).unwrap();
        }
        let until = if first { 1 } else { 2 };
        view.wait_applied(&target.id, &[(0, until)], Duration::from_secs(20)).await.unwrap();
        // A second one measures the lag.
        let asked = log.bounds_asked(&target.topic) - before;
        assert!((1..=2).contains(&asked), "{asked}, first: {first}");
        assert_eq!(tasks.drain(Duration::from_secs(20)).await, 0);
    }
    log.close().await;
}
