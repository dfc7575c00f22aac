//! The state machine: a command applied to the catalogue gives a verdict.
//!
//! Promises: a pure function of the catalogue, the entry and its offset; every node that applies the same entries has the same catalogue and gave the same
//! verdicts, whatever its clock, configuration or load. Time is the entry's own. A refused command changes nothing.
//!
//! What a command's content must look like is judged before it is appended ([`super::check`]) and not here: a rule that a later release tightens must not
//! change what was decided long ago. Standards of the software may be used here because a published one never changes (another meaning is another version);
//! a node whose software lacks one cannot go on ([`Stop`]).
//!
//! A department's own record type lies in the log, so every node has it. Whether it is within the profile, and whether a grant or a filter fits it, is
//! judged before the command is appended and never here: no verdict depends on whether this software still compiles it. Where it does not, the catalogue is
//! the same, and the accesses to the type's datasets are missing ([`crate::exchange::Error::RecordTypeUnusable`]).

mod datasets;
mod departments;
mod grants;
mod record_types;
mod subscriptions;

use std::sync::Arc;

use shuqiao_schemas::engine::{RecordType, SchemaError};

use super::{
    access::HashSecret,
    command::{Command, Entry},
    record_types::RecordTypes,
    resource::{Dataset, Department, Grant, Resource, Subscription},
    snapshot::{Dependents, Snapshot, Standing},
};
use crate::exchange::{
    Error,
    model::{DatasetId, DepartmentAlias, GrantId, RecordTypeName, SubscriptionId},
    policy,
};

/// What applying needs of this node: nothing that a verdict depends on.
#[derive(Clone, Debug)]
pub struct Context {
    /// The standards of this software.
    pub record_types: RecordTypes,
    /// Compiles departments' own record types.
    pub compile: Compile,
    /// Behind keyed hashes.
    pub secret: HashSecret,
    /// Of the topics' names.
    pub topic_prefix: String,
}

/// From a schema document and the code tables that came with it to what checks records, or to why this software cannot.
pub type Compile = fn(&str, &[String]) -> Result<RecordType, SchemaError>;

/// What a command came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The resource as it is now; none where it was deleted.
    pub resource: Option<Resource>,
    /// False where the command asked for what was so already.
    pub changed: bool,
    /// Offset of the entry that made the change; `None` where there was none.
    pub entry: Option<u64>,
}

/// The verdict on a command: the same on every node.
pub type Verdict = Result<Outcome, Error>;

/// Why a node cannot go on applying.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Stop {
    /// This software does not know a dataset's record type.
    #[error("dataset {dataset} has record type {record_type}, which this software does not know: upgrade it")]
    UnknownRecordType {
        /// The dataset.
        dataset: DatasetId,
        /// Its record type.
        record_type: RecordTypeName,
    },
    /// A bug of ours, with its cause.
    #[error("the catalogue cannot be compiled")]
    Internal(#[source] Error),
}

/// Rule name of the one violation that [`apply`] itself finds in a grant's or filter's content: `check::fit` says what it is.
pub(super) const UNFIT: &str = "UNFIT";

/// Applies the entry that lies at `offset` of the log.
///
/// # Errors
/// [`Stop`] where this node cannot hold what the entry says; a refused command is an `Ok` with the refusal in it.
pub fn apply(snapshot: &mut Snapshot, offset: u64, entry: &Entry, context: &Context) -> Result<Verdict, Stop> {
    let version = offset.saturating_add(1);
    let verdict = match snapshot.standing_of(&entry.actor.department, entry.actor.configured_administrator) {
        Err(error) => Err(Refused::Verdict(error)),
        Ok(standing) => {
            let mut step = Step { snapshot, context, standing, time_ms: entry.time_ms, version };
            step.run(&entry.command)
        }
    };
    snapshot.epoch = version;
    match verdict {
        Ok(outcome) => Ok(Ok(Outcome { entry: outcome.changed.then_some(offset), ..outcome })),
        Err(Refused::Verdict(error)) => Ok(Err(error)),
        Err(Refused::Stop(stop)) => Err(stop),
    }
}

enum Refused {
    Verdict(Error),
    Stop(Stop),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Verdict(error)
    }
}

type Applied = Result<Outcome, Refused>;

struct Step<'s> {
    snapshot: &'s mut Snapshot,
    context: &'s Context,
    standing: Standing,
    time_ms: i64,
    version: u64,
}

impl Step<'_> {
    fn run(&mut self, command: &Command) -> Applied {
        match command {
            Command::CreateDepartment(new) => self.create_department(new),
            Command::UpdateDepartment(change) => self.update_department(change),
            Command::DeleteDepartment(which) => self.delete_department(which),
            Command::CreateRecordType(new) => self.create_record_type(new),
            Command::DeleteRecordType(which) => self.delete_record_type(which),
            Command::CreateDataset(new) => self.create_dataset(new),
            Command::UpdateDataset(change) => self.update_dataset(change),
            Command::DeleteDataset(which) => self.delete_dataset(which),
            Command::CreateGrant(new) => self.create_grant(new),
            Command::UpdateGrant(change) => self.update_grant(change),
            Command::RevokeGrant(which) => self.revoke_grant(which),
            Command::CreateSubscription(new) => self.create_subscription(new),
            Command::UpdateSubscription(change) => self.update_subscription(change),
            Command::DeleteSubscription(which) => self.delete_subscription(which),
        }
    }

    fn only_administrators(&self) -> Result<(), Error> {
        if self.standing.administrator { Ok(()) } else { Err(Error::RoleRequired { role: ADMINISTRATOR }) }
    }

    fn department(&self, alias: &DepartmentAlias) -> Result<Arc<Department>, Error> {
        self.snapshot.department(alias.as_str()).cloned().ok_or_else(|| not_found(DEPARTMENT, alias))
    }

    /// The dataset, if the actor may change it. What it may not see is not there for it.
    fn own_dataset(&self, id: &DatasetId) -> Result<Arc<Dataset>, Error> {
        let dataset = self.snapshot.dataset(id.as_str());
        let dataset = dataset.filter(|dataset| policy::sees_dataset(self.snapshot, &self.standing, dataset));
        let dataset = dataset.ok_or_else(|| Error::DatasetNotFound { dataset: id.to_string() })?;
        if self.standing.administrator || self.standing.is(dataset.owner.as_str()) {
            return Ok(dataset.clone());
        }
        Err(not_owner(DATASET, id))
    }

    /// The grant and its dataset (none where that was deleted), if the actor may change it.
    fn own_grant(&self, id: &GrantId) -> Result<(Arc<Grant>, Option<Arc<Dataset>>), Error> {
        let grant = self.snapshot.grant(id.as_str());
        let grant = grant.filter(|grant| policy::sees_grant(&self.standing, grant));
        let grant = grant.ok_or_else(|| not_found(GRANT, id))?;
        if self.standing.administrator || self.standing.is(grant.dataset.owner()) {
            return Ok((grant.clone(), self.snapshot.dataset(grant.dataset.as_str()).cloned()));
        }
        Err(not_owner(DATASET, &grant.dataset))
    }

    /// The subscription, if the actor may change it: the subscriber, or an administrator.
    fn own_subscription(&self, id: &SubscriptionId) -> Result<Arc<Subscription>, Error> {
        let subscription = self.snapshot.subscription(id.as_str());
        let subscription = subscription.filter(|one| policy::sees_subscription(&self.standing, one));
        let subscription = subscription.ok_or_else(|| not_found(SUBSCRIPTION, id))?;
        if self.standing.administrator || self.standing.is(subscription.subscriber.as_str()) {
            return Ok(subscription.clone());
        }
        // The dataset's owner sees who subscribes, and revokes the grant to end it.
        Err(Error::RoleRequired { role: ADMINISTRATOR })
    }

    fn dependents(&self, dataset: &DatasetId) -> Arc<Dependents> {
        self.snapshot.dependents.get(dataset).cloned().unwrap_or_default()
    }

    fn change_dependents(&mut self, dataset: &DatasetId, change: impl FnOnce(&mut Dependents)) {
        let mut dependents = self.dependents(dataset);
        let own = Arc::make_mut(&mut dependents);
        change(own);
        if own.grants.is_empty() && own.subscriptions.is_empty() {
            self.snapshot.dependents.remove_mut(dataset);
        } else {
            self.snapshot.dependents.insert_mut(dataset.clone(), dependents);
        }
    }
}

const DEPARTMENT: &str = "department";
const RECORD_TYPE: &str = "record type";
const DATASET: &str = "dataset";
const GRANT: &str = "grant";
const SUBSCRIPTION: &str = "subscription";
const ADMINISTRATOR: &str = "administrator";

fn changed(resource: Resource) -> Applied {
    Ok(Outcome { resource: Some(resource), changed: true, entry: None })
}

fn deleted() -> Applied {
    Ok(Outcome { resource: None, changed: true, entry: None })
}

fn unchanged_if(same: bool, resource: Resource, kind: &'static str, name: String) -> Applied {
    if same {
        Ok(Outcome { resource: Some(resource), changed: false, entry: None })
    } else {
        Err(Error::AlreadyExists { kind, name }.into())
    }
}

fn seen(version: u64, expected: u64, kind: &'static str, name: &impl ToString) -> Result<(), Error> {
    if version == expected { Ok(()) } else { Err(Error::EtagMismatch { kind, name: name.to_string() }) }
}

fn not_owner(kind: &'static str, name: &impl ToString) -> Error {
    Error::NotOwner { kind, name: name.to_string() }
}

fn not_found(kind: &'static str, name: &impl ToString) -> Error {
    Error::ResourceNotFound { kind, name: name.to_string() }
}

fn invalid(path: &str, rule: &str, en: &str, zh: &str) -> Refused {
    Refused::Verdict(Error::invalid(path, rule, en, zh))
}

fn stop(error: Error) -> Refused {
    Refused::Stop(Stop::Internal(error))
}
