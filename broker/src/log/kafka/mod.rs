//! The log in a Kafka cluster: for every deployment that outgrows one machine. The only room that names rdkafka.
//!
//! ```text
//! submit ── waits for room ── fixes the order ──> librdkafka's producer ──> cluster (acks=all)
//!    │                                               │
//!    └── Pending <── one counter a submission <── delivery reports (one thread serves them, and the deadlines)
//!
//! cluster ──> one consumer a reader, on a thread of its own ──> a short queue ──> Reader::next
//! ```
//!
//! Promises: those of [`Log`]. What holds them:
//!
//! - an idempotent producer that never gives an entry up by itself (`message.timeout.ms=0`) and stops at the first gap (`enable.gapless.guarantee`): a
//!   partition holds a prefix of what was submitted to it, whatever dies. No transactions;
//! - a deadline of ours: a submission that is not acknowledged by then is reported as unknown, and its topic takes nothing until the cluster has said what
//!   became of it. Entries whose outcome was unknown may still arrive: repeats are skipped by whoever reads;
//! - a failed delivery ends the producer: everything behind it fails too, and a new one takes over once everybody has been told.
//!
//! Refuses: topics below the floor; to start where no node of the cluster answers; to make topics by accident (nothing here lets Kafka create them).

mod client;
mod flight;
mod producer;
mod reader;
mod topics;

#[cfg(test)]
pub(super) mod tests;

use std::{
    collections::HashMap,
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use rdkafka::{
    TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    topic_partition_list::Offset,
    util::Timeout,
};
use tokio::sync::watch;

use self::{client::Observer, producer::Producer};
use super::{Bounds, Entry, Error, Health, Log, Metrics, Pending, Reader, Topic, TopicSpec, fence::Fence};
use crate::config::Secret;

/// How long a question waits before it is asked again.
const RETRY: Duration = Duration::from_millis(100);

/// How long a refresh of what the client knows about topics may take of a question's time.
const METADATA_REFRESH: Duration = Duration::from_secs(2);

/// How the Kafka log is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bootstrap servers, `host:port`.
    pub brokers: Vec<String>,
    /// How the cluster is spoken to.
    pub security: Security,
    /// Replicas of a topic that is made here, and the fewest that one may have.
    pub replication_factor: u16,
    /// `min.insync.replicas` of a topic that is made here, and the fewest that one may have.
    pub min_insync_replicas: u16,
    /// How long the producer gathers entries into one request.
    pub linger: Duration,
    /// When a submission that is not acknowledged becomes one whose outcome is not known; also how long a reader waits for a cluster that is away.
    pub delivery_deadline: Duration,
    /// How long a question to the cluster may take: bounds, topics, the first contact.
    pub request_deadline: Duration,
    /// What may wait for Kafka; more makes [`Log::submit`] wait.
    pub in_flight_bytes_max: usize,
    /// Largest entry taken: key, value and headers together.
    pub entry_bytes_max: usize,
    /// What one reader fetches ahead.
    pub fetch_bytes_max: usize,
}

impl Options {
    /// The defaults, for a cluster.
    pub fn at(brokers: Vec<String>) -> Self {
        Self {
            brokers,
            security: Security::default(),
            replication_factor: 3,
            min_insync_replicas: 2,
            linger: Duration::from_millis(5),
            delivery_deadline: Duration::from_secs(30),
            request_deadline: Duration::from_secs(10),
            in_flight_bytes_max: 32 << 20,
            entry_bytes_max: 2 << 20,
            fetch_bytes_max: 4 << 20,
        }
    }
}

/// How the cluster is spoken to: in clear unless something stands here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// TLS.
    pub tls: Option<TlsFiles>,
    /// A user and a password.
    pub user: Option<User>,
}

/// The PEM files of TLS to Kafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Authorities that issue the servers' certificates.
    pub authorities: PathBuf,
    /// Our certificate and its key, where the cluster wants mutual TLS.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The passphrase of that key.
    pub key_password: Option<Secret>,
}

/// Who we are, with SASL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub mechanism: &'static str,
    /// The user's name.
    pub name: String,
    /// Its password.
    pub password: Secret,
}

/// The log. Close it before it is dropped, or what is queued is lost, as a suffix of each partition.
pub struct Kafka {
    shared: Arc<Shared>,
}

/// What the threads and the readers share.
struct Shared {
    options: Options,
    metrics: Metrics,
    observer: Observer,
    producer: Producer,
    /// Answers questions about topics; fetches nothing.
    asker: BaseConsumer<Observer>,
    topics: RwLock<HashMap<Topic, Arc<Topical>>>,
    /// True once the log is being closed.
    closing: watch::Sender<bool>,
    /// True once the producer's thread has ended.
    ended: watch::Sender<bool>,
}

/// One topic.
#[derive(Debug)]
struct Topical {
    name: Topic,
    partitions: u32,
    fence: Arc<Fence>,
    /// Held while a submission is handed over: it fixes the order.
    order: Mutex<()>,
    /// Submissions that were reported as unknown and still lie in the producer.
    overdue: AtomicUsize,
}

impl Topical {
    fn new(name: Topic, partitions: u32) -> Self {
        Self { name, partitions, fence: Arc::default(), order: Mutex::default(), overdue: AtomicUsize::new(0) }
    }

    fn not_found(&self) -> Error {
        Error::TopicNotFound { topic: self.name.clone() }
    }

    fn out_of_range(&self, partition: u32, offset: u64, bounds: Bounds) -> Error {
        Error::OutOfRange { topic: self.name.clone(), partition, offset, first: bounds.first, next: bounds.next }
    }
}

impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kafka").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

impl Kafka {
    /// Connects to the cluster. Blocks until a node answers: call it where that is fine.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where none answers within the request deadline, or an option is refused; its source says why and what to look at.
    pub fn open(options: Options, metrics: Metrics) -> Result<Self, Error> {
        let observer = Observer::new(&options);
        let asker: BaseConsumer<Observer> =
            client::asker(&options).create_with_context(observer.clone()).map_err(unavailable)?;
        // Errors of the connection arrive while the consumer is polled, so the first question is asked in short steps.
        let deadline = tokio::time::Instant::now() + options.request_deadline;
        loop {
            let step = options.request_deadline.min(Duration::from_millis(500));
            match asker.fetch_metadata(Some("-none-"), step) {
                Ok(_) => break,
                Err(cause) => {
                    while asker.poll(Duration::from_millis(50)).is_some() {}
                    if tokio::time::Instant::now() >= deadline {
                        return Err(Error::Unavailable(Arc::new(observer.away(Some(cause)))));
                    }
                }
            }
        }
        observer.answered();
        let shared = Arc::new(Shared {
            producer: Producer::create(&options, observer.clone(), metrics.clone())?,
            options,
            metrics,
            observer,
            asker,
            topics: RwLock::default(),
            closing: watch::Sender::new(false),
            ended: watch::Sender::new(false),
        });
        std::thread::Builder::new()
            .name("log-kafka".into())
            .spawn({
                let shared = shared.clone();
                move || producer::run(&shared)
            })
            .map_err(unavailable)?;
        Ok(Self { shared })
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.shared.closing.send_replace(true);
    }
}

#[async_trait::async_trait]
impl Log for Kafka {
    fn home(&self) -> &'static str {
        "kafka"
    }

    async fn ensure_topic(&self, spec: &TopicSpec) -> Result<(), Error> {
        let spec = spec.clone();
        let runtime = tokio::runtime::Handle::current();
        // On the blocking pool: making and dropping an admin client starts and joins threads.
        self.blocking(move |shared| {
            runtime.block_on(topics::ensure(shared, &spec))?;
            let mut topics = shared.topics.write();
            if !topics.contains_key(&spec.topic) {
                topics.insert(spec.topic.clone(), Arc::new(Topical::new(spec.topic.clone(), spec.partitions)));
            }
            Ok(())
        })
        .await
    }

    async fn check_topic(&self, spec: &TopicSpec) -> Result<(), Error> {
        let spec = spec.clone();
        let runtime = tokio::runtime::Handle::current();
        // As above.
        self.blocking(move |shared| runtime.block_on(topics::look(shared, &spec))).await
    }

    async fn submit(&self, topic: &Topic, entries: Vec<Entry>) -> Result<Pending, Error> {
        let topic = self.topic(topic).await?;
        self.shared.producer.submit(&self.shared, topic, entries).await
    }

    async fn read(&self, topic: &Topic, from: &[(u32, u64)]) -> Result<Box<dyn Reader>, Error> {
        let topical = self.topic(topic).await?;
        let bounds = self.shared.clone().bounds(topical.clone()).await?;
        for (partition, offset) in from {
            let held =
                bounds.get(usize::try_from(*partition).unwrap_or(usize::MAX)).ok_or_else(|| topical.not_found())?;
            if !(held.first..=held.next).contains(offset) {
                return Err(topical.out_of_range(*partition, *offset, *held));
            }
        }
        Ok(Box::new(reader::KafkaReader::new(self.shared.clone(), topical, from.to_vec())))
    }

    async fn bounds(&self, topic: &Topic) -> Result<Vec<Bounds>, Error> {
        let topic = self.topic(topic).await?;
        self.shared.clone().bounds(topic).await
    }

    async fn offsets_at(&self, topic: &Topic, time_ms: i64) -> Result<Vec<u64>, Error> {
        let topic = self.topic(topic).await?;
        // The ends are asked for first: an entry that arrives in between lies after them, so none at or after the time is passed over.
        let bounds = self.shared.clone().bounds(topic.clone()).await?;
        self.blocking(move |shared| {
            let mut times = TopicPartitionList::with_capacity(bounds.len());
            for partition in 0..topic.partitions {
                // Times below zero have other meanings in this request.
                times
                    .add_partition_offset(topic.name.as_str(), signed(partition), Offset::Offset(time_ms.max(0)))
                    .map_err(unavailable)?;
            }
            let found = shared.ask(|deadline| shared.asker.offsets_for_times(times.clone(), deadline))?;
            let mut offsets: Vec<u64> = bounds.iter().map(|bounds| bounds.next).collect();
            for element in found.elements() {
                element.error().map_err(unavailable)?;
                let place = usize::try_from(element.partition()).ok().and_then(|partition| offsets.get_mut(partition));
                if let (Some(place), Offset::Offset(offset)) = (place, element.offset()) {
                    *place = u64::try_from(offset).unwrap_or(*place).min(*place);
                }
            }
            Ok(offsets)
        })
        .await
    }

    fn health(&self) -> Health {
        if *self.shared.closing.borrow() {
            return Health::Bad("the log is closed".into());
        }
        self.shared.observer.health()
    }

    async fn close(&self) {
        self.shared.closing.send_replace(true);
        let mut ended = self.shared.ended.subscribe();
        if ended.wait_for(|ended| *ended).await.is_err() {
            tracing::error!("the log's producer ended without flushing");
        }
    }
}

impl Kafka {
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Shared>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let shared = self.shared.clone();
        shared.check_open()?;
        tokio::task::spawn_blocking(move || work(&shared)).await.map_err(unavailable)?
    }

    /// A topic that is known, or that the cluster has: somebody else may have made it.
    async fn topic(&self, name: &Topic) -> Result<Arc<Topical>, Error> {
        self.shared.check_open()?;
        if let Some(topic) = self.shared.topics.read().get(name) {
            return Ok(topic.clone());
        }
        let name = name.clone();
        self.blocking(move |shared| {
            let layout = topics::layout(shared, &name)?.ok_or_else(|| Error::TopicNotFound { topic: name.clone() })?;
            let partitions = u32::try_from(layout.len()).unwrap_or(u32::MAX);
            // Whoever asked at the same time may have been faster: there is one fence for each topic.
            let mut topics = shared.topics.write();
            Ok(topics.entry(name.clone()).or_insert_with(|| Arc::new(Topical::new(name, partitions))).clone())
        })
        .await
    }
}

impl Shared {
    fn check_open(&self) -> Result<(), Error> {
        if *self.closing.borrow() { Err(Error::Closed) } else { Ok(()) }
    }

    /// The bounds of each partition of a topic.
    async fn bounds(self: Arc<Self>, topic: Arc<Topical>) -> Result<Vec<Bounds>, Error> {
        self.check_open()?;
        tokio::task::spawn_blocking(move || self.ask_bounds(&topic)).await.map_err(unavailable)?
    }

    /// The same, blocking.
    fn ask_bounds(&self, topic: &Topical) -> Result<Vec<Bounds>, Error> {
        (0..topic.partitions)
            .map(|partition| {
                let (first, next) =
                    self.ask(|deadline| self.asker.fetch_watermarks(topic.name.as_str(), signed(partition), deadline))?;
                let unsigned = |offset: i64| u64::try_from(offset).unwrap_or(0);
                Ok(Bounds { first: unsigned(first), next: unsigned(next) })
            })
            .collect()
    }

    /// Asks the cluster a question that blocks, within the request deadline. Asks again while a leader is being elected.
    fn ask<T>(&self, question: impl Fn(Timeout) -> Result<T, KafkaError>) -> Result<T, Error> {
        let deadline = tokio::time::Instant::now() + self.options.request_deadline;
        loop {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            match question(Timeout::After(left)) {
                Ok(answer) => {
                    self.observer.answered();
                    return Ok(answer);
                }
                Err(cause) if !is_passing(&cause) || left <= RETRY => return Err(self.away(cause)),
                Err(_) => {
                    // A node that has just come back may say once that it knows no such topic, and the client was seen to go on believing it for more than a
                    // minute. Asking for all topics makes it look again; whether that helped shows in the next round.
                    drop(self.asker.fetch_metadata(None, Timeout::After(left.min(METADATA_REFRESH))));
                    std::thread::sleep(RETRY);
                }
            }
        }
    }

    fn away(&self, cause: KafkaError) -> Error {
        Error::Unavailable(Arc::new(self.observer.away(Some(cause))))
    }

    /// How many submissions were reported as unknown and still lie in the producer.
    fn overdue(topic: &Topical) -> usize {
        topic.overdue.load(Ordering::Acquire)
    }
}

/// Whether a question is worth asking again: a partition whose leader is gone is not known for a moment, and a client that finds all nodes gone throws away
/// what it knew of them to begin anew, with whatever was being asked (`DestroyBroker`).
fn is_passing(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::LeaderNotAvailable
                | RDKafkaErrorCode::NotLeaderForPartition
                | RDKafkaErrorCode::OffsetNotAvailable
                | RDKafkaErrorCode::FencedLeaderEpoch
                | RDKafkaErrorCode::UnknownLeaderEpoch
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::DestroyBroker
        )
    )
}

/// Partitions are never negative here, and in Kafka never larger than its own type.
fn signed(partition: u32) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}

fn unavailable(cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Unavailable(Arc::new(cause))
}
