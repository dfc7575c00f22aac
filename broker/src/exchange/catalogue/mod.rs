//! The catalogue: departments, record types of their own, datasets, grants and subscriptions, as a state machine ordered by the log.
//!
//! A change is a command ([`command`]), appended to the log's `catalogue` topic (one partition, kept for ever) and applied ([`apply`]) by every node in the
//! order of the log. Each node reaches the same verdict; the node that appended waits for it and answers. There is no leader and no lock, and both homes
//! of the log serve alike. Readers hold an immutable [`Snapshot`].
//!
//! Promises: what [`Catalogue::execute`] answers is durable; of two changes that expect the same version exactly one wins; [`Catalogue::execute`] judges
//! by everything that was durable when it was called, on whichever node. Refused commands are normally recognised before they are appended, so that nobody
//! without a right can fill a log that is kept for ever; the verdict of the log is the one that counts.
//!
//! An entry that this software cannot read (newer software wrote it, or somebody who should not) or cannot hold stops the node: skipping it would leave
//! this node with another catalogue than its peers, and the next grant would be judged by it. [`Catalogue::open`] refuses to start; a running node reports
//! it ([`Catalogue::failure`]), keeps answering by nothing newer, refuses every command and cancels its tasks, so that the process ends.

mod access;
mod apply;
mod check;
pub mod command;
mod follow;
mod metrics;
mod record_types;
mod resource;
mod snapshot;
mod topics;
mod unrecorded;

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, watch};

pub use access::{Access, HashSecret, NotIndexed, RowFilter, ViewId};
pub use apply::{Compile, Context, Outcome, Stop, Verdict, apply};
pub use check::{LIST_ENTRIES_MAX, TEXT_CHARACTERS_MAX, Violations};
pub use command::{Command, Undecodable};
pub use metrics::Metrics;
pub use record_types::RecordTypes;
pub use resource::{
    Dataset, Department, Etag, FieldGrant, Grant, OwnRecordType, Resource, Role, RowCondition, SharingClass, Start,
    Subscription, Treatment,
};
pub use snapshot::{Snapshot, Standing};
pub use unrecorded::Change;

use crate::{
    exchange::{
        Error,
        clock::Clock,
        identity::Identity,
        model::{DatasetId, SourceId},
    },
    log::{self, Log, Retention, Topic, TopicSpec},
    shutdown::Tasks,
};
use command::{Actor, Entry};
use follow::{Failure, Follower, Waiting};
use topics::Topics;
use unrecorded::Unrecorded;

/// Commands that one node executes at once; more are told to come back.
const COMMANDS_AT_ONCE: usize = 64;

/// How a catalogue is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Of the topics' names.
    pub topic_prefix: String,
    /// Who may act as an administrator whatever the catalogue says: the first departments are enrolled by them.
    pub administrators: Vec<SourceId>,
    /// For datasets that say 0.
    pub default_partitions: u32,
    /// For datasets that say 0, milliseconds.
    pub default_retention_ms: u64,
    /// The standards of this software.
    pub record_types: RecordTypes,
    /// Compiles departments' own.
    pub compile: Compile,
    /// Behind keyed hashes, the same on every node.
    pub hash_secret: HashSecret,
    /// How long a command waits for the log and for its verdict before its outcome is unknown.
    pub verdict_timeout: Duration,
    /// How often the topic of each dataset is looked at; less often where there are very many.
    pub topics_interval: Duration,
    /// What is counted.
    pub metrics: Metrics,
}

impl Options {
    /// The defaults: 4 partitions, 30 days, 10 s, a minute.
    pub fn new(topic_prefix: impl Into<String>, record_types: RecordTypes, hash_secret: HashSecret) -> Self {
        Self {
            topic_prefix: topic_prefix.into(),
            administrators: Vec::new(),
            default_partitions: 4,
            default_retention_ms: 30 * 24 * 3_600_000,
            record_types,
            compile: |schema, code_tables| shuqiao_schemas::own::compile(schema.as_bytes(), code_tables),
            hash_secret,
            verdict_timeout: Duration::from_secs(10),
            topics_interval: Duration::from_secs(60),
            metrics: Metrics::default(),
        }
    }
}

/// The catalogue of one node.
#[derive(Debug)]
pub struct Catalogue {
    log: Arc<dyn Log>,
    topic: Topic,
    clock: Clock,
    options: Options,
    context: Context,
    newest: Arc<ArcSwap<Snapshot>>,
    changes: watch::Receiver<u64>,
    waiting: Arc<Waiting>,
    failure: Failure,
    topics: Arc<Topics>,
    unrecorded: Arc<Unrecorded>,
    commands: Semaphore,
}

impl Catalogue {
    /// Makes the topic, replays the log, looks at the topics of its datasets, and goes on following it on `tasks`.
    ///
    /// # Errors
    /// [`Error::DataLoss`] where an entry cannot be read or held (upgrade this node); [`Error::LogBelowFloor`] where its topic or a dataset's is;
    /// [`Error::LogUnavailable`].
    pub async fn open(log: Arc<dyn Log>, options: Options, clock: Clock, tasks: &Tasks) -> Result<Arc<Self>, Error> {
        let topic = Topic::catalogue(&options.topic_prefix);
        log.ensure_topic(&TopicSpec { topic: topic.clone(), partitions: 1, retention: Retention::Forever }).await?;
        let context = Context {
            record_types: options.record_types.clone(),
            compile: options.compile,
            secret: options.hash_secret.clone(),
            topic_prefix: options.topic_prefix.clone(),
        };
        let empty = Snapshot::empty(options.administrators.iter().cloned());
        let newest = Arc::new(ArcSwap::from_pointee(empty.clone()));
        let (announce, changes) = watch::channel(0);
        let waiting = Arc::new(Waiting::default());
        let failure = Failure::default();
        let mut follower = Follower {
            reader: log.read(&topic, &[(0, end(&*log, &topic).await?.first)]).await?,
            state: empty,
            context: context.clone(),
            newest: newest.clone(),
            announce,
            waiting: waiting.clone(),
            failure: failure.clone(),
            metrics: options.metrics.clone(),
            unrecorded: Arc::default(),
        };
        let unrecorded = follower.unrecorded.clone();
        let until = end(&*log, &topic).await?;
        follower.replay(until).await?;
        let topics = Arc::new(Topics::default());
        let set = topics::open(&*log, &newest.load_full(), &topics).await?;
        let token = tasks.token();
        tasks.spawn("catalogue", async move { follower.run(token).await });
        let (heard, interval) = (changes.clone(), options.topics_interval);
        let setting = topics::follow(log.clone(), newest.clone(), heard, topics.clone(), set, interval);
        let token = tasks.token();
        tasks.spawn("catalogue-topics", async move { token.run_until_cancelled(setting).await });
        let commands = Semaphore::new(COMMANDS_AT_ONCE);
        Ok(Arc::new(Self {
            log,
            topic,
            clock,
            options,
            context,
            newest,
            changes,
            waiting,
            failure,
            topics,
            unrecorded,
            commands,
        }))
    }

    /// The newest snapshot that this node has.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.newest.load_full()
    }

    /// Changes with every new snapshot; holds its epoch.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// Why this node stopped following the log, if it did: it is not ready, and must be upgraded or repaired.
    pub fn failure(&self) -> Option<Error> {
        self.failure.get()
    }

    /// Whether records may be appended to the dataset's topic: nobody appends to one that was found below the log's floor, or that nobody has looked at.
    ///
    /// # Errors
    /// [`Error::LogBelowFloor`]; [`Error::LogUnavailable`] where it must be looked at now, and cannot be.
    pub async fn may_append(&self, dataset: &Dataset) -> Result<(), Error> {
        if let Some(found) = self.topics.found(&dataset.id) {
            return found.map_or(Ok(()), |error| Err(error.into()));
        }
        let looked = self.log.check_topic(&topics::spec(dataset)).await;
        self.topics.note(&dataset.id, &looked);
        looked.map_err(Error::from)
    }

    /// The same of a dataset to which records were appended before, without a look.
    ///
    /// # Errors
    /// [`Error::LogBelowFloor`].
    pub fn may_go_on(&self, dataset: &DatasetId) -> Result<(), Error> {
        self.topics.is_below_floor(dataset).map_or(Ok(()), |error| Err(error.into()))
    }

    /// What is wrong with each topic of a dataset that is below the log's floor: nothing is published into these.
    pub fn below_floor(&self) -> Vec<log::Error> {
        self.topics.below_floor()
    }

    /// Changes that this node applied at least so long ago and does not know to be on the trail; at most the newest few thousand.
    pub fn unrecorded(&self, age: Duration) -> BTreeMap<u64, Arc<Change>> {
        self.unrecorded.older_than(age)
    }

    /// The change at this offset of the log is on the trail.
    pub fn recorded(&self, entry: u64) {
        self.unrecorded.remove(entry);
    }

    /// Changes that were given before a time are taken to be on the trail.
    pub fn forget_changes_before(&self, time_ms: i64) {
        self.unrecorded.remove_before(time_ms);
    }

    /// What is counted; the other rooms count their denials here.
    pub fn metrics(&self) -> &Metrics {
        &self.options.metrics
    }

    /// Carries out a command and answers with its verdict, which is durable. Safe to repeat as the service's contract says.
    ///
    /// # Errors
    /// The verdict's own refusals; [`Error::InvalidField`]; [`Error::OutcomeUnknown`] where the verdict did not come in time (it may come yet);
    /// [`Error::LogUnavailable`], [`Error::DiskFull`] and [`Error::QuotaExhausted`], after which nothing was done.
    pub async fn execute(&self, caller: &Identity, command: Command) -> Result<Outcome, Error> {
        let name = command.name();
        let verdict = self.decide(caller, command).await;
        let outcome = match &verdict {
            Ok(Outcome { changed: true, .. }) => "changed",
            Ok(_) => "unchanged",
            Err(error) if error.refusal().is_some() => "refused",
            Err(_) => "failed",
        };
        self.options.metrics.commands.get_or_create(&metrics::CommandLabels { command: name, outcome }).inc();
        verdict
    }

    async fn decide(&self, caller: &Identity, mut command: Command) -> Result<Outcome, Error> {
        let Ok(_permit) = self.commands.try_acquire() else {
            return Err(Error::QuotaExhausted { what: "commands at once", retry_after: Duration::from_secs(1) });
        };
        self.catch_up().await?;
        let snapshot = self.snapshot();
        self.put_defaults(&snapshot, &mut command);
        let configured = snapshot.is_configured_administrator(caller);
        // Who is not enrolled learns nothing about what a right command would look like.
        let standing = snapshot.standing(caller)?;
        check::form(&command, &snapshot, &self.context.record_types)?;
        let mut entry = Entry::new(Actor::new(caller, configured), self.clock.now_ms(), command);
        let rehearsed = self.rehearse(&snapshot, &entry)?;
        if matches!(rehearsed, Ok(_) | Err(Error::InvalidField(_))) {
            check::fit(&entry, &snapshot, &standing)?;
        }
        let rehearsed = rehearsed?;
        if !rehearsed.changed {
            return Ok(rehearsed);
        }
        let made = match &entry.command {
            Command::CreateDataset(new) => Some(new.id.clone()),
            _ => None,
        };
        let verdict = match self.prepare(&snapshot, &mut entry.command).await {
            Ok(()) => self.append(entry).await,
            Err(error) => Err(error),
        };
        if let Some(dataset) = made {
            // Somebody else's command of that name may have won.
            self.topics.look_at(dataset);
        }
        verdict
    }

    /// Waits until this node has applied everything that was durable when it was asked.
    async fn catch_up(&self) -> Result<(), Error> {
        let target = end(&*self.log, &self.topic).await?;
        if target.first == target.next {
            return self.failure.check();
        }
        let mut changes = self.changes.clone();
        let reached = changes.wait_for(|epoch| *epoch >= target.next);
        match tokio::time::timeout(self.options.verdict_timeout, reached).await {
            Ok(Ok(_)) => self.failure.check(),
            // The follower is gone: by a failure, or because the node drains.
            Ok(Err(_)) => self.failure.check().and(Err(Error::Draining)),
            Err(late) => Err(Error::LogUnavailable(Arc::new(late))),
        }
    }

    fn put_defaults(&self, snapshot: &Snapshot, command: &mut Command) {
        match command {
            Command::CreateDataset(new) => {
                if new.partitions == 0 {
                    new.partitions = self.options.default_partitions;
                }
                if new.retention_ms == 0 {
                    new.retention_ms = self.options.default_retention_ms;
                }
            }
            Command::UpdateDataset(change) if change.retention_ms == 0 => {
                let dataset = snapshot.dataset(change.id.as_str());
                change.retention_ms = dataset.map_or(self.options.default_retention_ms, |dataset| dataset.retention_ms);
            }
            _ => {}
        }
    }

    /// The verdict that the command would get if it were the next in the log.
    fn rehearse(&self, snapshot: &Snapshot, entry: &Entry) -> Result<Verdict, Error> {
        let mut copy = snapshot.clone();
        apply(&mut copy, snapshot.epoch, entry, &self.context).map_err(Error::internal)
    }

    /// What must be there before the command is appended: a new dataset's topic, and where "now" is. A start behind the log's end would make a subscription
    /// that cannot be opened.
    async fn prepare(&self, snapshot: &Snapshot, command: &mut Command) -> Result<(), Error> {
        let (path, dataset, start) = match command {
            Command::CreateDataset(new) => {
                let topic = Topic::dataset(&self.options.topic_prefix, &new.id);
                let retention = Retention::CompactAfter { window_ms: new.retention_ms };
                let spec = TopicSpec { topic, partitions: new.partitions, retention };
                return self.log.ensure_topic(&spec).await.map_err(Error::from);
            }
            Command::CreateSubscription(new) => ("start", Some(&new.dataset), &mut new.start),
            Command::UpdateSubscription(change) => {
                let Some(seek) = &mut change.seek else { return Ok(()) };
                ("seek", snapshot.subscription(change.id.as_str()).map(|one| &one.dataset), seek)
            }
            _ => return Ok(()),
        };
        let dataset = dataset.and_then(|id| snapshot.dataset(id.as_str()));
        let Some(dataset) = dataset else { return Ok(()) };
        match start {
            Start::Now(ends) => {
                *ends = self.log.bounds(&dataset.topic).await?.iter().map(|bounds| bounds.next).collect();
            }
            Start::Positions(positions) => {
                for (bounds, partition) in self.log.bounds(&dataset.topic).await?.iter().zip(0..) {
                    if positions.iter().any(|(named, offset)| *named == partition && *offset > bounds.next) {
                        let en = format!("partition {partition} ends before it: the next record gets {}", bounds.next);
                        let zh = format!("分区 {partition} 尚未到达该位点：下一条记录的位点为 {}", bounds.next);
                        return Err(Error::invalid(path, "BEHIND_THE_END", en, zh));
                    }
                }
            }
            Start::Beginning | Start::Time(_) => {}
        }
        Ok(())
    }

    async fn append(&self, entry: Entry) -> Result<Outcome, Error> {
        let value = entry.encode().map_err(Error::internal)?;
        if value.len() > check::COMMAND_BYTES_MAX {
            let limit = check::COMMAND_BYTES_MAX;
            let (en, zh) = (format!("at most {limit} bytes as a whole"), format!("整体不得超过 {limit} 字节"));
            return Err(Error::invalid("", "TOO_LARGE", en, zh));
        }
        let verdict = self.waiting.enter(entry.id);
        let log_entry = log::Entry {
            partition: 0,
            key: None,
            headers: Vec::new(),
            value: Some(value),
            timestamp_ms: entry.time_ms,
        };
        let appended = log::append_one(&*self.log, &self.topic, log_entry);
        let waited = tokio::time::timeout(self.options.verdict_timeout, async {
            match appended.await {
                // It may be in the log or not: the verdict tells, if it comes.
                Ok(_) | Err(log::Error::Unavailable(_)) => {}
                Err(error) => return Err(error.into()),
            }
            verdict.receive().await.unwrap_or_else(|| self.failure.check().and(Err(Error::OutcomeUnknown)))
        });
        waited.await.unwrap_or(Err(Error::OutcomeUnknown))
    }
}

async fn end(log: &dyn Log, topic: &Topic) -> Result<log::Bounds, Error> {
    let bounds = log.bounds(topic).await?;
    bounds
        .first()
        .copied()
        .ok_or_else(|| Error::LogUnavailable(Arc::new(log::Error::TopicNotFound { topic: topic.clone() })))
}
