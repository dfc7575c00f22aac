//! Changes that may not be on the trail yet.
//!
//! A change is an entry of the catalogue's log, and so is what the trail says of it, in a log of its own: who dies between the two leaves a change without its line.
//! So every node remembers each change that it applies, whichever node took the command, until it knows that the trail shows it. [`crate::exchange::audit::Recovery`]
//! makes up for those that it does not.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    command::{Actor, Command, Entry, GrantChange, GrantRef, SubscriptionChange, SubscriptionRef},
    snapshot::Snapshot,
};
use crate::exchange::model::DatasetId;

/// Changes that are remembered; the newest ones. Those of the last hours of an exchange are far fewer.
const CHANGES_MAX: usize = 4_096;

/// A command that changed the catalogue, as far as the trail tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Offset of its entry in the catalogue's log.
    pub entry: u64,
    /// When it was given, by the clock of the node that took it.
    pub time_ms: i64,
    /// Who gave it.
    pub actor: Actor,
    /// The command's name.
    pub command: &'static str,
    /// The resource's name.
    pub resource: String,
    /// The dataset that it concerns.
    pub dataset: Option<DatasetId>,
}

impl Change {
    /// What an entry at `offset` would change, as the catalogue stands before it.
    pub(super) fn new(before: &Snapshot, offset: u64, entry: &Entry) -> Self {
        Self {
            entry: offset,
            time_ms: entry.time_ms,
            actor: entry.actor.clone(),
            command: entry.command.name(),
            resource: entry.command.resource(),
            dataset: concerned(before, &entry.command),
        }
    }
}

fn concerned(before: &Snapshot, command: &Command) -> Option<DatasetId> {
    match command {
        Command::UpdateGrant(GrantChange { id, .. }) | Command::RevokeGrant(GrantRef { id, .. }) => {
            before.grant(id.as_str()).map(|grant| grant.dataset.clone())
        }
        Command::UpdateSubscription(SubscriptionChange { id, .. })
        | Command::DeleteSubscription(SubscriptionRef { id, .. }) => {
            before.subscription(id.as_str()).map(|subscription| subscription.dataset.clone())
        }
        other => other.dataset().cloned(),
    }
}

/// See the module. By offset, with when this node applied it.
#[derive(Debug, Default)]
pub(super) struct Unrecorded(Mutex<BTreeMap<u64, (Instant, Arc<Change>)>>);

impl Unrecorded {
    /// Remembers a change; where there are too many, the oldest is forgotten.
    pub(super) fn add(&self, change: Change) {
        let mut changes = self.0.lock();
        changes.insert(change.entry, (Instant::now(), Arc::new(change)));
        if changes.len() > CHANGES_MAX {
            changes.pop_first();
        }
    }

    /// Forgets a change that is on the trail.
    pub(super) fn remove(&self, entry: u64) {
        self.0.lock().remove(&entry);
    }

    /// Forgets changes that were given before a time.
    pub(super) fn remove_before(&self, time_ms: i64) {
        self.0.lock().retain(|_, (_, change)| change.time_ms >= time_ms);
    }

    /// Those that this node applied at least so long ago.
    pub(super) fn older_than(&self, age: Duration) -> BTreeMap<u64, Arc<Change>> {
        let changes = self.0.lock();
        let old = changes.iter().filter(|(_, (applied, _))| applied.elapsed() >= age);
        old.map(|(entry, (_, change))| (*entry, change.clone())).collect()
    }
}
