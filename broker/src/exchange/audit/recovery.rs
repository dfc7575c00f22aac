//! Changes of the catalogue that the trail does not show.
//!
//! A command is two writes: its entry in the catalogue's log, and then its line on the trail. A node that dies between the two, or whose log did not take the line
//! in time, leaves a change without one; the same goes for a command whose verdict came too late to be answered. The line of a change names the offset of its entry, so
//! any node can compare the two logs, and appends what is missing, as a `recovered_catalogue_change` of the one who gave the command.
//!
//! - A change is looked for once it has been applied for a minute, and on each node up to another minute later, at a moment of its own: the node that took the
//!   command has answered by then, and of several nodes that miss the line one finds what another has appended. Two that append it nevertheless name the same
//!   offset.
//! - After an opening those changes count that were given within the last hour of what the trail told then, before this node served anyone. Older ones have been
//!   looked for: an exchange that is up has a node that does it, and where all nodes were away the trail ends where the catalogue does. (One is missed for good
//!   where the only node to come up after more than an hour appends lines of its own and dies within minutes, before it has looked.)
//! - A node remembers the newest few thousand changes that it does not know to be on the trail; older ones than those are not looked for.
//! - What is read of the trail begins a little before the oldest change that is looked for, and nothing is read where none is. Where the log is too slow to be
//!   read to its end nothing is appended, and the next round looks again.
//!
//! A line that names no offset, as former software wrote them, is not recognised: changes of the hour before such an upgrade are told a second time.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::Deserialize;

use super::{Action, Audit, NewEntry, Outcome, Target, scan::Scan};
use crate::{
    exchange::{
        Error,
        catalogue::{Catalogue, Change},
    },
    shutdown::Tasks,
};

/// How long a change may be without its line, at least.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often changes are looked for.
const INTERVAL: Duration = Duration::from_secs(15);
/// Changes that were given so long before the line that was the trail's last at the opening are not looked for.
const LOOK_BACK_MS: i64 = 3_600_000;
/// The clocks of two nodes are not further apart.
const CLOCKS_APART_MS: i64 = 600_000;

/// Looks for changes without a line, and appends it.
#[derive(Debug)]
pub struct Recovery {
    catalogue: Arc<Catalogue>,
    audit: Arc<Audit>,
    patience: Duration,
}

/// What a line says of a change.
#[derive(Deserialize)]
struct Line<'a> {
    action: &'a str,
    positions: Vec<(u32, u64, u64)>,
}

impl Recovery {
    /// Over the rooms of one node. The node's name says when its turn is.
    pub fn new(catalogue: Arc<Catalogue>, audit: Arc<Audit>) -> Self {
        let sum = audit.options.node.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let turn = Duration::from_secs(sum % PATIENCE.as_secs());
        Self { catalogue, audit, patience: PATIENCE + turn }
    }

    /// Goes on for as long as the node lives.
    pub fn watch(self, tasks: &Tasks) {
        self.begin();
        let token = tasks.token();
        let work = async move {
            loop {
                tokio::time::sleep(INTERVAL).await;
                drop(self.round(self.patience).await.inspect_err(tell));
            }
        };
        tasks.spawn("audit-recovery", async move {
            token.run_until_cancelled(work).await;
        });
    }

    /// Of the changes that were there when the node opened, leaves those that may be missing. Where the trail had no line then, all may be.
    fn begin(&self) {
        if let Some(opened_on_ms) = self.audit.opened_on_ms {
            self.catalogue.forget_changes_before(opened_on_ms.saturating_sub(LOOK_BACK_MS));
        }
    }

    /// Looks for changes that this node applied at least `patience` ago, appends the lines that are missing, and says how many those were.
    ///
    /// # Errors
    /// Those of [`Audit::append`] and of reading the log; the next round goes on with what is left.
    pub async fn round(&self, patience: Duration) -> Result<usize, Error> {
        let mut missing = self.catalogue.unrecorded(patience);
        if missing.is_empty() {
            return Ok(0);
        }
        self.strike_out(&mut missing).await?;
        let mut appended = 0;
        for change in missing.into_values() {
            let entry = change.entry;
            self.audit.append(line(&change)).await?;
            self.catalogue.recorded(entry);
            self.audit.options.metrics.recovered.inc();
            tracing::warn!(
                entry,
                command = change.command,
                "a change of the catalogue was not on the trail, and is now"
            );
            appended += 1;
        }
        Ok(appended)
    }

    /// Takes out what the trail shows. What is left afterwards is not there.
    async fn strike_out(&self, missing: &mut BTreeMap<u64, Arc<Change>>) -> Result<(), Error> {
        let Audit { log, topic, .. } = &*self.audit;
        let Some(oldest_ms) = missing.values().map(|change| change.time_ms).min() else { return Ok(()) };
        let Some(bounds) = log.bounds(topic).await?.first().copied() else { return Ok(()) };
        let since = log.offsets_at(topic, oldest_ms.saturating_sub(CLOCKS_APART_MS)).await?;
        let from = since.first().map_or(bounds.first, |since| bounds.first.max(*since));
        if from >= bounds.next {
            return Ok(());
        }
        let mut scan = Scan::open(&self.audit, from, bounds.next).await?;
        while !missing.is_empty() {
            let lines = scan.more().await?;
            if lines.is_empty() {
                return scan.finish();
            }
            for stored in lines {
                let canonical = stored.value.unwrap_or_default();
                let line: Line<'_> =
                    serde_json::from_slice(&canonical).map_err(|error| Error::DataLoss(Arc::new(error)))?;
                let tells = [Action::CatalogueChange, Action::RecoveredChange].map(Action::as_str);
                if !tells.contains(&line.action) {
                    continue;
                }
                for (_, entry, _) in line.positions {
                    if missing.remove(&entry).is_some() {
                        self.catalogue.recorded(entry);
                    }
                }
            }
        }
        Ok(())
    }
}

fn tell(error: &Error) {
    tracing::warn!(%error, "whether every change is on the trail is not known yet");
}

fn line(change: &Change) -> NewEntry {
    NewEntry {
        actor: change.actor.source.clone(),
        certificate_serial: change.actor.certificate_serial.clone(),
        action: Action::RecoveredChange,
        dataset: change.dataset.clone(),
        grant: None,
        purpose: String::new(),
        target: Target { resource: Some(change.resource.clone()), command: Some(change.command), ..Target::default() },
        positions: vec![(0, change.entry, change.entry)],
        count: 0,
        digest: None,
        outcome: Outcome::Allowed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        exchange::{
            administration::Administration,
            audit::{self, AuditKey, Query},
            catalogue::{Command, Options, fixtures as catalogue},
            clock::Clock,
            fixtures::{City, DATASET, OWNER, Watched},
        },
        log::{
            Log,
            contract::homes::{EmbeddedHome, Home, KafkaHome},
        },
    };

    /// What one node has open of both logs.
    struct Node {
        catalogue: Arc<Catalogue>,
        audit: Arc<Audit>,
        desk: Administration,
        recovery: Recovery,
        tasks: Tasks,
    }

    impl Node {
        async fn open(log: &Arc<dyn Log>, clock: Clock, prefix: &str, node: &str) -> Self {
            let tasks = Tasks::default();
            let options = Options { topic_prefix: prefix.into(), ..catalogue::options() };
            let catalogue = Catalogue::open(log.clone(), options, clock.clone(), &tasks).await.unwrap();
            let options = audit::Options {
                topic_prefix: prefix.into(),
                node: node.into(),
                key: AuditKey::new(&[9; 32]),
                metrics: audit::Metrics::default(),
            };
            let audit = Audit::open(log.clone(), options, clock).await.unwrap();
            let desk = Administration::new(catalogue.clone(), audit.clone());
            let recovery = Recovery::new(catalogue.clone(), audit.clone());
            Self { catalogue, audit, desk, recovery, tasks }
        }

        async fn look(&self) -> usize {
            self.recovery.begin();
            self.recovery.round(Duration::ZERO).await.unwrap()
        }

        async fn stop(self) {
            assert_eq!(self.tasks.drain(Duration::from_secs(10)).await, 0);
        }
    }

    async fn lines(audit: &Audit) -> Vec<serde_json::Value> {
        let page = audit.list(&Query::default()).await.unwrap();
        page.lines.iter().map(|line| serde_json::from_slice(&line.canonical).unwrap()).collect()
    }

    async fn a_change_that_a_dead_node_left_without_a_line_gets_one(home: &dyn Home) {
        let prefix = format!("recovery-{}", uuid::Uuid::new_v4());
        let log = home.open(16 << 20);
        let first = Node::open(&log, home.clock(), &prefix, "first").await;
        let administrator = catalogue::administrator();
        first.desk.execute(&administrator, catalogue::new_department(0)).await.unwrap();
        // It dies when the change is durable and the line is not.
        let lost = first.catalogue.execute(&administrator, catalogue::new_department(1)).await.unwrap();
        first.stop().await;

        let second = Node::open(&log, home.clock(), &prefix, "second").await;
        // A command that asks for what is so already is no change, and hides none.
        second.desk.execute(&administrator, catalogue::new_department(1)).await.unwrap();
        let third = Node::open(&log, home.clock(), &prefix, "third").await;
        assert_eq!(second.recovery.round(Duration::from_secs(3_600)).await.unwrap(), 0, "its node may be about to");
        assert_eq!((second.look().await, second.look().await), (1, 0));
        assert_eq!(third.look().await, 0, "another node has appended it");
        second.desk.execute(&administrator, catalogue::new_department(2)).await.unwrap();
        assert_eq!((second.look().await, third.look().await), (0, 0));

        let lines = lines(&third.audit).await;
        let told: Vec<_> = lines.iter().map(|line| (&line["action"], &line["target"]["resource"])).collect();
        let name = |number: usize| serde_json::Value::from(format!("departments/{}", catalogue::DEPARTMENTS[number].0));
        let (change, recovered) = ("catalogue_change".into(), "recovered_catalogue_change".into());
        assert_eq!(told, [(&change, &name(0)), (&change, &name(1)), (&recovered, &name(1)), (&change, &name(2))]);
        let (line, entry) = (&lines[2], lost.entry.expect("it changed something"));
        assert_eq!(line["actor"], administrator.source.as_str());
        assert_eq!(line["certificate"], administrator.certificate_serial.as_str());
        assert_eq!((&line["node"], &line["target"]["command"]), (&"second".into(), &"create_department".into()));
        assert_eq!(line["positions"], serde_json::json!([[0, entry, entry]]));
        second.stop().await;
        third.stop().await;
        // A restart finds nothing to do.
        let again = Node::open(&log, home.clock(), &prefix, "again").await;
        assert_eq!(again.look().await, 0);
        again.stop().await;
        log.close().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_change_that_a_dead_node_left_without_a_line_gets_one_on_embedded() {
        a_change_that_a_dead_node_left_without_a_line_gets_one(&EmbeddedHome::new()).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_change_that_a_dead_node_left_without_a_line_gets_one_on_kafka() {
        if let Some(home) = KafkaHome::from_environment() {
            a_change_that_a_dead_node_left_without_a_line_gets_one(&home).await;
        }
    }

    #[tokio::test]
    async fn a_change_whose_line_found_no_room_gets_it_from_the_same_node() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::manual(1_000_000);
        let log = Arc::new(Watched::open(directory.path(), clock.clone()));
        let city = City::on(log.clone(), directory.path(), clock).await;
        let desk = Administration::new(city.catalogue.clone(), city.audit.clone());
        let recovery = Recovery::new(city.catalogue.clone(), city.audit.clone());
        // What the fixture did without a desk.
        recovery.round(Duration::ZERO).await.unwrap();
        let before = lines(&city.audit).await.len();
        log.audit_has_no_room.store(true, std::sync::atomic::Ordering::SeqCst);
        let grant = Command::CreateGrant(catalogue::new_grant("market-supervision.one", DATASET, "taxation"));
        let unknown = desk.execute(&catalogue::system(OWNER), grant).await;
        assert!(matches!(unknown, Err(Error::OutcomeUnknown)), "{unknown:?}");
        assert_eq!(recovery.round(Duration::ZERO).await.unwrap(), 1);
        assert_eq!(recovery.round(Duration::ZERO).await.unwrap(), 0);
        let lines = lines(&city.audit).await;
        assert_eq!(lines.len(), before + 1);
        let line = lines.last().unwrap();
        assert_eq!((&line["dataset"], &line["outcome"]), (&DATASET.into(), &"allowed".into()));
        assert_eq!(line["target"]["resource"], "grants/market-supervision.one");
        city.close().await;
    }

    #[tokio::test]
    async fn changes_before_the_last_hour_of_the_trail_are_not_looked_for_again() {
        let directory = tempfile::tempdir().unwrap();
        let city = City::open(directory.path()).await;
        city.clock.set(1_000_000 + LOOK_BACK_MS + 1);
        city.audit.append(NewEntry::new(&catalogue::system(OWNER), Action::ReadAudit)).await.unwrap();
        let again = Audit::open(city.log.clone(), city.audit.options.clone(), city.clock.clone()).await.unwrap();
        let recovery = Recovery::new(city.catalogue.clone(), again);
        recovery.begin();
        assert_eq!(recovery.round(Duration::ZERO).await.unwrap(), 0);
        city.close().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_change_from_before_an_outage_is_looked_for_though_the_trail_has_gone_on_since() {
        let home = EmbeddedHome::new();
        let (log, clock) = (home.open(16 << 20), home.clock());
        let first = Node::open(&log, clock.clone(), "outage", "first").await;
        let administrator = catalogue::administrator();
        first.desk.execute(&administrator, catalogue::new_department(0)).await.unwrap();
        first.catalogue.execute(&administrator, catalogue::new_department(1)).await.unwrap();
        first.stop().await;
        clock.set(clock.now_ms() + 2 * LOOK_BACK_MS);
        let second = Node::open(&log, clock, "outage", "second").await;
        // It serves before it looks.
        second.audit.append(NewEntry::new(&administrator, Action::ReadAudit)).await.unwrap();
        assert_eq!((second.look().await, second.look().await), (1, 0));
        let lines = lines(&second.audit).await;
        let actions: Vec<_> = lines.iter().map(|line| line["action"].as_str().unwrap()).collect();
        let expected = [Action::CatalogueChange, Action::ReadAudit, Action::RecoveredChange].map(Action::as_str);
        assert_eq!(actions, expected);
        second.stop().await;
        log.close().await;
    }
}
