//! The topics of datasets follow the catalogue.
//!
//! A dataset has its topic before the command that registers it is appended. How long the topic keeps what was replaced is the catalogue's to say, and it may
//! say something else later: so each node holds every topic against its newest snapshot, when it opens and after each change, one after another. Whatever crosses,
//! two changes or two nodes: what a node sets last, it sets by a snapshot that has the last change, and setting what is set already changes nothing.
//!
//! Refuses: to give up. A log that does not answer, or a topic below the floor, is asked again.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{Dataset, Snapshot};
use crate::{
    exchange::model::DatasetId,
    log::{self, Log, Retention, TopicSpec},
};

const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Topics that a command has touched whose verdict was not known yet: they are looked at again. Bounded by the commands executed at once.
#[derive(Debug, Default)]
pub(super) struct Touched {
    datasets: Mutex<HashSet<DatasetId>>,
    more: Notify,
}

impl Touched {
    /// To be called once the verdict is known, or never will be.
    pub(super) fn look_at(&self, dataset: DatasetId) {
        self.datasets.lock().insert(dataset);
        self.more.notify_one();
    }
}

/// Holds topics against snapshots until the process stops.
pub(super) async fn follow(
    log: Arc<dyn Log>,
    newest: Arc<ArcSwap<Snapshot>>,
    mut changes: watch::Receiver<u64>,
    touched: Arc<Touched>,
    token: CancellationToken,
) {
    // The version of each dataset by which its topic was last set.
    let mut set: HashMap<DatasetId, u64> = HashMap::new();
    let mut delay = RETRY_MIN;
    loop {
        changes.borrow_and_update();
        for dataset in touched.datasets.lock().drain() {
            set.remove(&dataset);
        }
        let snapshot = newest.load_full();
        set.retain(|id, _| snapshot.dataset(id.as_str()).is_some());
        let mut failed = false;
        for dataset in snapshot.datasets().filter(|one| set.get(&one.id) != Some(&one.version)).collect::<Vec<_>>() {
            if token.is_cancelled() {
                return;
            }
            match log.ensure_topic(&spec(dataset)).await {
                Ok(()) => {
                    set.insert(dataset.id.clone(), dataset.version);
                }
                Err(log::Error::Closed) => return,
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(dataset = %dataset.id, %error, cause, "the topic is not as the catalogue says yet");
                    failed = true;
                }
            }
        }
        let retry = async {
            match failed {
                true => tokio::time::sleep(delay).await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            () = token.cancelled() => return,
            changed = changes.changed() => if changed.is_err() { return },
            () = touched.more.notified() => {}
            () = retry => {}
        }
        delay = if failed { (delay * 2).min(RETRY_MAX) } else { RETRY_MIN };
    }
}

/// The topic as the catalogue wants it.
fn spec(dataset: &Dataset) -> TopicSpec {
    TopicSpec {
        topic: dataset.topic.clone(),
        partitions: dataset.partitions,
        retention: Retention::CompactAfter { window_ms: dataset.retention_ms },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::exchange::{
        Error,
        catalogue::{
            Command,
            command::DatasetChange,
            fixtures::{new_dataset, system},
        },
        clock::Clock,
        fixtures::{City, DATASET, OWNER, Watched},
    };

    const PATIENCE: Duration = Duration::from_secs(10);

    fn keep_for(city: &City, window_ms: u64) -> Command {
        let dataset = city.catalogue.snapshot().dataset(DATASET).unwrap().clone();
        Command::UpdateDataset(DatasetChange {
            id: dataset.id.clone(),
            expected: dataset.version,
            title: dataset.title.clone(),
            sharing_class: dataset.sharing_class,
            legal_basis: dataset.legal_basis.clone(),
            retention_ms: window_ms,
            listed: dataset.listed,
        })
    }

    /// Waits until the dataset's topic is kept as the catalogue says.
    async fn agrees(log: &Watched, city: &City) {
        let wanted = || spec(city.catalogue.snapshot().dataset(DATASET).unwrap());
        let agree = async {
            while log.made(&wanted().topic) != Some(wanted()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let topic = wanted().topic;
        tokio::time::timeout(PATIENCE, agree)
            .await
            .unwrap_or_else(|_| panic!("{:?} instead of {:?}", log.made(&topic), wanted()));
    }

    #[tokio::test]
    async fn changes_that_cross_leave_the_topic_as_the_catalogue_says() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::manual(1_000_000);
        let log = Arc::new(Watched::open(directory.path(), clock.clone()));
        let city = Arc::new(City::on(log.clone(), directory.path(), clock).await);
        agrees(&log, &city).await;
        // Of two changes of one version one wins, and it may be that the topic is not changed before the other one comes.
        log.topics_wait.send_replace(true);
        let commands = [7_200_000, 10_800_000].map(|window_ms| keep_for(&city, window_ms));
        let mut running = Vec::new();
        for command in commands {
            let city = city.clone();
            let tasks = city.tasks.clone();
            running.push(
                tasks.spawn("command", async move { city.catalogue.execute(&system(OWNER), command).await.is_ok() }),
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        log.topics_wait.send_replace(false);
        let mut won = 0;
        for one in running {
            won += u32::from(one.await.unwrap());
        }
        assert_eq!(won, 1);
        agrees(&log, &city).await;

        // A log that does not answer is asked again.
        log.topics_fail.store(true, Ordering::SeqCst);
        city.command(&system(OWNER), keep_for(&city, 14_400_000)).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        log.topics_fail.store(false, Ordering::SeqCst);
        agrees(&log, &city).await;
        Arc::into_inner(city).unwrap().close().await;
    }

    #[tokio::test]
    async fn a_topic_that_was_changed_while_the_node_was_down_is_set_when_it_opens() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::manual(1_000_000);
        let log = Arc::new(Watched::open(directory.path(), clock.clone()));
        let city = City::on(log.clone(), directory.path(), clock.clone()).await;
        agrees(&log, &city).await;
        let wanted = spec(city.catalogue.snapshot().dataset(DATASET).unwrap());
        assert_eq!(city.tasks.drain(PATIENCE).await, 0);
        drop(city);
        let other = TopicSpec { retention: Retention::CompactAfter { window_ms: 60_000 }, ..wanted };
        log.ensure_topic(&other).await.unwrap();
        let city = City::on(log.clone(), directory.path(), clock).await;
        agrees(&log, &city).await;
        city.close().await;
    }

    #[tokio::test]
    async fn a_topic_that_is_there_with_other_partitions_is_refused_for_good() {
        let directory = tempfile::tempdir().unwrap();
        let city = City::open(directory.path()).await;
        let topic = crate::log::Topic::dataset("test", &"market-supervision.other".parse().unwrap());
        let retention = Retention::CompactAfter { window_ms: 3_600_000 };
        city.log.ensure_topic(&TopicSpec { topic, partitions: 7, retention }).await.unwrap();
        let command = Command::CreateDataset(new_dataset("market-supervision.other"));
        let refused = city.catalogue.execute(&system(OWNER), command).await;
        assert!(matches!(refused, Err(Error::LogBelowFloor(_))), "{refused:?}");
        assert!(city.catalogue.snapshot().dataset("market-supervision.other").is_none());
        city.close().await;
    }
}
