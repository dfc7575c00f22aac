//! The rooms of one node over an embedded log in a directory of its own, for tests of the rooms above them.

mod watched;

use std::{path::Path, sync::Arc, time::Duration};

use ring::signature::Ed25519KeyPair;

pub(crate) use shuqiao_test_needs::SmallDisk as Disk;

pub(crate) use self::watched::Watched;
use super::{
    audit::{self, Audit, AuditKey},
    catalogue::{Catalogue, Command, Compile, Options, fixtures as catalogue},
    clock::Clock,
    identity::Identity,
    model::Operation,
    publishing::{self, Acknowledgement, Batch, Metrics, NewRecord, Publisher, Session},
};
use crate::{
    log::{self, Log, embedded::Embedded},
    shutdown::Tasks,
    view::{self, HighWaters, View},
};

/// The dataset of the city, with two partitions.
pub(crate) const DATASET: &str = "market-supervision.sample";
/// Its owner.
pub(crate) const OWNER: &str = "market-supervision";

/// One node's rooms. Dropping it leaves what a killed process would leave; [`City::close`] ends it in order.
#[derive(Debug)]
pub(crate) struct City {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) audit: Arc<Audit>,
    pub(crate) view: Arc<View>,
    pub(crate) publisher: Publisher,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
}

impl City {
    /// Opens the rooms on a directory and enrols the three departments and [`DATASET`] where they are not yet.
    pub(crate) async fn open(directory: &Path) -> Self {
        let clock = Clock::manual(1_000_000);
        Self::on(Arc::new(embedded_log(directory, clock.clone())), directory, clock).await
    }

    /// As [`City::open`], on a log that the test made.
    pub(crate) async fn on(log: Arc<dyn Log>, directory: &Path, clock: Clock) -> Self {
        Self::with(log, directory, clock, catalogue::options()).await
    }

    /// As [`City::open`], with software that compiles departments' own record types as the test wants it.
    pub(crate) async fn compiling(directory: &Path, compile: Compile) -> Self {
        let clock = Clock::manual(1_000_000);
        let options = Options { compile, ..catalogue::options() };
        Self::with(Arc::new(embedded_log(directory, clock.clone())), directory, clock, options).await
    }

    /// As [`City::open`], on a log that the test made, with a catalogue and names of topics as it wants them.
    pub(crate) async fn with(log: Arc<dyn Log>, directory: &Path, clock: Clock, options: Options) -> Self {
        let tasks = Tasks::default();
        let prefix = options.topic_prefix.clone();
        let catalogue = Catalogue::open(log.clone(), options, clock.clone(), &tasks).await.expect("opens");
        let audit_options = audit::Options {
            topic_prefix: prefix.clone(),
            node: "node-1".into(),
            key: AuditKey::new(&[9; 32]),
            metrics: audit::Metrics::default(),
        };
        let audit = Audit::open(log.clone(), audit_options, clock.clone()).await.expect("opens");
        let view_options = view::Options { clock: clock.clone(), ..view::Options::default() };
        let view = View::open(&directory.join("view"), view_options).expect("the view opens");
        let high_waters = HighWaters::open(log.clone(), &prefix, "node-1", clock.clone()).await.expect("opens");
        view.follow(log.clone(), catalogue.clone(), high_waters, &tasks);
        let publisher = Publisher::new(
            log.clone(),
            catalogue.clone(),
            view.clone(),
            audit.clone(),
            "node-1".into(),
            Ed25519KeyPair::from_seed_unchecked(&[3; 32]).expect("a seed"),
            publishing::Options { open_timeout: Duration::from_secs(20), ..Default::default() },
            clock.clone(),
            Metrics::default(),
            tasks.clone(),
        );
        let city = Self { log, catalogue, audit, view, publisher, clock, tasks };
        for number in 0..catalogue::DEPARTMENTS.len() {
            city.command(&catalogue::administrator(), catalogue::new_department(number)).await;
        }
        city.command(&catalogue::system(OWNER), Command::CreateDataset(catalogue::new_dataset(DATASET))).await;
        city
    }

    /// Carries out a command that must succeed.
    pub(crate) async fn command(&self, caller: &Identity, command: Command) {
        self.catalogue.execute(caller, command).await.expect("the command succeeds");
    }

    /// A session of the owner's registry.
    pub(crate) async fn session(&self) -> Session {
        let caller = Arc::new(catalogue::system(OWNER));
        self.publisher.open(&caller, DATASET, "").await.expect("the owner publishes")
    }

    /// Publishes a batch in a session and waits for its acknowledgement.
    pub(crate) async fn publish(&self, session: &mut Session, records: Vec<NewRecord>) -> Acknowledgement {
        let pending = session.submit(batch(records)).await.expect("the batch is taken");
        pending.await.expect("the task ends").expect("the batch is acknowledged")
    }

    /// Ends in order, so that the directory can be opened again at once.
    pub(crate) async fn close(self) {
        assert_eq!(self.tasks.drain(Duration::from_secs(10)).await, 0, "every task ends");
        self.log.close().await;
    }
}

/// The embedded log of a city in a directory.
fn embedded_log(directory: &Path, clock: Clock) -> Embedded {
    let options = log::embedded::Options { free_bytes_min: 0, ..log::embedded::Options::at(directory.join("log")) };
    Embedded::open(options, clock, log::Metrics::default()).expect("the log opens")
}

/// A batch of the sample type.
pub(crate) fn batch(records: Vec<NewRecord>) -> Batch {
    Batch { batch_id: 1, record_type: "sample/v1".into(), records }
}

/// An upsert of a key, version = sequence.
pub(crate) fn upsert(sequence: u64, key: &str, region: &str) -> NewRecord {
    NewRecord {
        sequence,
        key: key.into(),
        operation: Some(Operation::Upsert),
        source_version: sequence,
        payload: format!(r#"{{"id":"{key}","region":"{region}","person":"顾某某","note":"n{sequence}"}}"#).into(),
    }
}

/// A delete of a key, version = sequence.
pub(crate) fn delete(sequence: u64, key: &str) -> NewRecord {
    NewRecord {
        sequence,
        key: key.into(),
        operation: Some(Operation::Delete),
        source_version: sequence,
        payload: bytes::Bytes::new(),
    }
}
