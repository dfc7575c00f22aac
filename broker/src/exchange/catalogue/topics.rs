//! The topics of datasets follow the catalogue, and stay above the log's floor.
//!
//! A dataset has its topic before the command that registers it is appended. How long the topic keeps what was replaced is the catalogue's to say, and it may
//! say something else later: so each node holds every topic against its newest snapshot, when it opens and after each change, one after another. Whatever crosses,
//! two changes or two nodes: what a node sets last, it sets by a snapshot that has the last change, and setting what is set already changes nothing.
//!
//! What accepted means hangs on the settings that are the log's own floor, and somebody may change these behind the node's back. A topic that is below when the
//! node opens keeps it from starting, as any other topic does. A running node looks at each topic again after [`Options::topics_interval`]: into one that it
//! finds below, twice in a row, nothing is published until it is mended.
//!
//! Refuses: to give up. A log that does not answer, or a topic below the floor, is asked again.
//!
//! [`Options::topics_interval`]: super::Options::topics_interval

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::{Dataset, Snapshot};
use crate::{
    exchange::{Error, model::DatasetId},
    log::{self, Log, Retention, TopicSpec},
};

const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Topics that are looked at together when a node opens.
const AT_ONCE: usize = 8;
/// A running node looks at no more topics than one in so long: each costs it a connection to the cluster.
const LOOK_STEP: Duration = Duration::from_millis(500);

/// What this node knows of the datasets' topics. Bounded by the datasets, and by the commands executed at once.
#[derive(Debug, Default)]
pub(super) struct Topics {
    /// A command has touched them whose verdict was not known yet: they are set again.
    touched: Mutex<HashSet<DatasetId>>,
    more: Notify,
    /// What is wrong with each topic that was looked at, if anything is.
    found: Mutex<BTreeMap<DatasetId, Option<log::Error>>>,
}

impl Topics {
    /// To be called once the verdict is known, or never will be.
    pub(super) fn look_at(&self, dataset: DatasetId) {
        self.touched.lock().insert(dataset);
        self.more.notify_one();
    }

    /// What is wrong with a topic; the outer `None` where nobody has looked yet.
    pub(super) fn found(&self, dataset: &DatasetId) -> Option<Option<log::Error>> {
        self.found.lock().get(dataset).cloned()
    }

    /// What is wrong with a topic, as far as is known.
    pub(super) fn is_below_floor(&self, dataset: &DatasetId) -> Option<log::Error> {
        self.found.lock().get(dataset)?.clone()
    }

    /// What is wrong with every topic below the floor, in order of dataset.
    pub(super) fn below_floor(&self) -> Vec<log::Error> {
        self.found.lock().values().flatten().cloned().collect()
    }

    /// Keeps what a look has told: anything but a verdict leaves what was known.
    pub(super) fn note(&self, dataset: &DatasetId, looked: &Result<(), log::Error>) {
        let found = match looked {
            Ok(()) => None,
            Err(error @ log::Error::BelowFloor { .. }) => Some(error.clone()),
            Err(_) => return,
        };
        let was_below = self.found.lock().insert(dataset.clone(), found.clone()).flatten().is_some();
        match found {
            Some(error) if !was_below => {
                tracing::error!(%dataset, %error, "nothing is published into the dataset until its topic is mended");
            }
            None if was_below => tracing::info!(%dataset, "the dataset's topic is above the floor again"),
            _ => {}
        }
    }

    fn retain(&self, snapshot: &Snapshot) {
        self.found.lock().retain(|id, _| snapshot.dataset(id.as_str()).is_some());
    }
}

/// The version of each dataset by which its topic was last set.
pub(super) type Set = HashMap<DatasetId, u64>;

/// Sets the topics of a snapshot before anybody is served.
///
/// # Errors
/// [`Error::LogBelowFloor`], naming the first that is; the log's lines name the others. A log that does not answer is none: [`follow`] goes on asking it.
pub(super) async fn open(log: &dyn Log, snapshot: &Snapshot, topics: &Topics) -> Result<Set, Error> {
    let set_one = |dataset: Arc<Dataset>| async {
        let looked = log.ensure_topic(&spec(&dataset)).await;
        (dataset, looked)
    };
    let datasets: Vec<_> = snapshot.datasets().cloned().collect();
    let mut looks = stream::iter(datasets).map(set_one).buffered(AT_ONCE);
    let (mut set, mut below) = (Set::new(), None);
    while let Some((dataset, looked)) = looks.next().await {
        topics.note(&dataset.id, &looked);
        match looked {
            Ok(()) => {
                set.insert(dataset.id.clone(), dataset.version);
            }
            Err(error @ log::Error::BelowFloor { .. }) => {
                below.get_or_insert(error);
            }
            Err(log::Error::Closed) => return Err(Error::Draining),
            Err(error) => {
                not_yet(&dataset.id, &error);
                break;
            }
        }
    }
    below.map_or(Ok(set), |error| Err(error.into()))
}

/// Holds topics against snapshots until it is dropped, or the log is closed.
pub(super) async fn follow(
    log: Arc<dyn Log>,
    newest: Arc<ArcSwap<Snapshot>>,
    mut changes: watch::Receiver<u64>,
    topics: Arc<Topics>,
    mut set: Set,
    interval: Duration,
) {
    let mut looks = Looks { left: VecDeque::new(), begun: Instant::now(), next: Instant::now() + interval, interval };
    let mut delay = RETRY_MIN;
    loop {
        changes.borrow_and_update();
        for dataset in topics.touched.lock().drain() {
            set.remove(&dataset);
        }
        let snapshot = newest.load_full();
        set.retain(|id, _| snapshot.dataset(id.as_str()).is_some());
        topics.retain(&snapshot);
        let mut failed = false;
        for dataset in snapshot.datasets().filter(|one| set.get(&one.id) != Some(&one.version)).collect::<Vec<_>>() {
            let looked = log.ensure_topic(&spec(dataset)).await;
            topics.note(&dataset.id, &looked);
            match looked {
                Ok(()) => {
                    set.insert(dataset.id.clone(), dataset.version);
                }
                Err(log::Error::Closed) => return,
                Err(error) => {
                    not_yet(&dataset.id, &error);
                    failed = true;
                }
            }
        }
        let again = Instant::now() + delay;
        loop {
            tokio::select! {
                changed = changes.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                () = topics.more.notified() => break,
                () = tokio::time::sleep_until(again), if failed => break,
                () = tokio::time::sleep_until(looks.next) => {
                    // Set once more, it tells whether that is so.
                    if let Some(below) = looks.look(&*log, &newest.load_full(), &set).await {
                        set.remove(&below);
                        break;
                    }
                }
            }
        }
        delay = if failed { (delay * 2).min(RETRY_MAX) } else { RETRY_MIN };
    }
}

fn not_yet(dataset: &DatasetId, error: &log::Error) {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    tracing::warn!(%dataset, %error, cause, "the topic is not as the catalogue says yet");
}

/// Rounds over the topics that are as they should be, to see whether they still are.
struct Looks {
    /// Of this round.
    left: VecDeque<DatasetId>,
    begun: Instant,
    next: Instant,
    interval: Duration,
}

impl Looks {
    /// Looks at one topic. Answers with its dataset where it seems to be below the floor.
    async fn look(&mut self, log: &dyn Log, snapshot: &Snapshot, set: &Set) -> Option<DatasetId> {
        if self.left.is_empty() {
            self.begun = Instant::now();
            self.left = snapshot.datasets().map(|dataset| dataset.id.clone()).collect();
        }
        let next = self.left.pop_front();
        let dataset = next.and_then(|id| snapshot.dataset(id.as_str())).filter(|dataset| set.contains_key(&dataset.id));
        let looked = match dataset {
            Some(dataset) => log.check_topic(&spec(dataset)).await,
            None => Ok(()),
        };
        let now = Instant::now();
        self.next = if self.left.is_empty() { now.max(self.begun + self.interval) } else { now + LOOK_STEP };
        match (dataset, looked) {
            (Some(dataset), Err(log::Error::BelowFloor { .. })) => return Some(dataset.id.clone()),
            (Some(dataset), Err(error)) => not_yet(&dataset.id, &error),
            _ => {}
        }
        None
    }
}

/// The topic as the catalogue wants it.
pub(super) fn spec(dataset: &Dataset) -> TopicSpec {
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
    use crate::{
        chain::chain,
        exchange::{
            catalogue::{
                Catalogue, Command,
                command::DatasetChange,
                fixtures::{new_dataset, options, system},
            },
            clock::Clock,
            fixtures::{City, DATASET, OWNER, Watched, batch, upsert},
        },
        shutdown::Tasks,
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
    async fn a_topic_below_the_floor_keeps_a_node_from_starting_and_one_that_falls_takes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::manual(1_000_000);
        let log = Arc::new(Watched::open(directory.path(), clock.clone()));
        let city = City::on(log.clone(), directory.path(), clock.clone()).await;
        let mut session = city.session().await;
        city.publish(&mut session, vec![upsert(1, "a", "1")]).await;
        let topic = city.catalogue.snapshot().dataset(DATASET).unwrap().topic.clone();

        log.below.lock().replace(topic.clone());
        until("it is found", || !city.catalogue.below_floor().is_empty()).await;
        let told = city.catalogue.below_floor()[0].to_string();
        assert!(told.contains(topic.as_str()) && told.contains("as the test wants it"), "{told}");
        let refused = session.submit(batch(vec![upsert(2, "b", "1")])).await;
        assert!(matches!(refused, Err(Error::LogBelowFloor(_))), "a session that is open: {refused:?}");
        let caller = Arc::new(system(OWNER));
        let refused = city.publisher.open(&caller, DATASET, "").await;
        assert!(matches!(refused, Err(Error::LogBelowFloor(_))), "a new one: {refused:?}");
        assert_eq!(log.bounds(&topic).await.unwrap().iter().map(|one| one.next).sum::<u64>(), 1, "nothing is taken");

        log.below.lock().take();
        until("it is found mended", || city.catalogue.below_floor().is_empty()).await;
        drop(session);
        let mut session = city.session().await;
        city.publish(&mut session, vec![upsert(2, "b", "1")]).await;
        drop(session);

        log.below.lock().replace(topic.clone());
        assert_eq!(city.tasks.drain(PATIENCE).await, 0);
        drop(city);
        let tasks = Tasks::default();
        let refused = Catalogue::open(log.clone(), options(), clock.clone(), &tasks).await.unwrap_err();
        assert!(matches!(refused, Error::LogBelowFloor(_)) && chain(&refused).contains(topic.as_str()), "{refused:?}");
        assert_eq!(tasks.drain(PATIENCE).await, 0);

        // A log that does not answer is no reason not to start.
        log.below.lock().take();
        log.datasets_fail.store(true, Ordering::SeqCst);
        let tasks = Tasks::default();
        let catalogue = Catalogue::open(log.clone(), options(), clock, &tasks).await.expect("starts");
        let dataset = catalogue.snapshot().dataset(DATASET).unwrap().clone();
        let unknown = catalogue.may_append(&dataset).await;
        assert!(matches!(unknown, Err(Error::LogUnavailable(_))), "nobody has looked: {unknown:?}");
        log.datasets_fail.store(false, Ordering::SeqCst);
        catalogue.may_append(&dataset).await.expect("looked at when it is needed");
        assert_eq!(tasks.drain(PATIENCE).await, 0);
        log.close().await;
    }

    async fn until(what: &str, mut holds: impl FnMut() -> bool) {
        let waited = async {
            while !holds() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waited).await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
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
