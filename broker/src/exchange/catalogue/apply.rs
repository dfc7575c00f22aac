//! The state machine: a command applied to the catalogue gives a verdict.
//!
//! Promises: a pure function of the catalogue, the entry and its offset; every node that applies the same entries has the same catalogue and gave the same
//! verdicts, whatever its clock, configuration or load. Time is the entry's own. A refused command changes nothing.
//!
//! What a command's content must look like is judged before it is appended ([`super::check`]) and not here: a rule that a later release tightens must not
//! change what was decided long ago. Record types may be used here because a published one never changes (another meaning is another version); a node
//! whose software lacks one cannot go on ([`Stop`]).

use std::sync::Arc;

use rpds::RedBlackTreeMapSync as Map;

use super::{
    access::{Access, HashSecret, RowFilter},
    command::{
        Command, DatasetChange, DatasetRef, DepartmentChange, DepartmentRef, Entry, GrantChange, GrantRef, NewDataset,
        NewDepartment, NewGrant, NewSubscription, SubscriptionChange, SubscriptionRef,
    },
    record_types::RecordTypes,
    resource::{Dataset, Department, Grant, Resource, Role, SharingClass, Start, Subscription},
    snapshot::{Dependents, Granted, HeldDataset, Snapshot, Standing},
};
use crate::{
    exchange::{
        Error,
        model::{DatasetId, DepartmentAlias, GrantId, RecordTypeName, SubscriptionId},
        policy,
    },
    log::Topic,
};

/// What applying needs of this node: nothing that a verdict depends on.
#[derive(Clone, Debug)]
pub struct Context {
    /// What this software knows.
    pub record_types: RecordTypes,
    /// Behind keyed hashes.
    pub secret: HashSecret,
    /// Of the topics' names.
    pub topic_prefix: String,
}

/// What a command came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The resource as it is now; none where it was deleted.
    pub resource: Option<Resource>,
    /// False where the command asked for what was so already.
    pub changed: bool,
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
        Ok(outcome) => Ok(Ok(outcome)),
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

    // Departments.

    fn create_department(&mut self, new: &NewDepartment) -> Applied {
        self.only_administrators()?;
        let roles = sorted(&new.roles);
        if let Some(existing) = self.snapshot.department(new.alias.as_str()) {
            let same = existing.unified_social_credit_code == new.unified_social_credit_code
                && existing.display_name == new.display_name
                && existing.roles == roles;
            let name = new.alias.to_string();
            return unchanged_if(same, Resource::Department(existing.clone()), DEPARTMENT, name);
        }
        if let Some(other) = self.snapshot.codes.get(&new.unified_social_credit_code) {
            return Err(Error::AlreadyExists { kind: DEPARTMENT, name: other.to_string() }.into());
        }
        let department = Arc::new(Department {
            alias: new.alias.clone(),
            unified_social_credit_code: new.unified_social_credit_code.clone(),
            display_name: new.display_name.clone(),
            roles,
            create_time_ms: self.time_ms,
            update_time_ms: self.time_ms,
            version: self.version,
        });
        self.snapshot.codes.insert_mut(new.unified_social_credit_code.clone(), new.alias.clone());
        self.snapshot.departments.insert_mut(new.alias.clone(), department.clone());
        changed(Resource::Department(department))
    }

    fn update_department(&mut self, change: &DepartmentChange) -> Applied {
        self.only_administrators()?;
        let old = self.department(&change.alias)?;
        seen(old.version, change.expected, DEPARTMENT, &change.alias)?;
        let department = Arc::new(Department {
            display_name: change.display_name.clone(),
            roles: sorted(&change.roles),
            update_time_ms: self.time_ms,
            version: self.version,
            ..(*old).clone()
        });
        self.snapshot.departments.insert_mut(change.alias.clone(), department.clone());
        changed(Resource::Department(department))
    }

    fn delete_department(&mut self, which: &DepartmentRef) -> Applied {
        self.only_administrators()?;
        let alias = &which.alias;
        let old = self.department(alias)?;
        seen(old.version, which.expected, DEPARTMENT, alias)?;
        let dataset = self.snapshot.owned_by(alias).next().map(|one| format!("datasets/{}", one.id));
        let subscription =
            || self.snapshot.subscriptions_of(alias).next().map(|one| format!("subscriptions/{}", one.id));
        let grant = || {
            let mut granted = self.snapshot.granted_to(alias).flatten();
            granted.find(|one| !one.grant.revoked).map(|one| format!("grants/{}", one.grant.id))
        };
        if let Some(by) = dataset.or_else(subscription).or_else(grant) {
            return Err(Error::StillReferredTo { kind: DEPARTMENT, name: alias.to_string(), by }.into());
        }
        self.snapshot.codes.remove_mut(&old.unified_social_credit_code);
        self.snapshot.departments.remove_mut(alias);
        deleted()
    }

    // Datasets.

    fn create_dataset(&mut self, new: &NewDataset) -> Applied {
        let owner = owner_of(&new.id)?;
        if !self.standing.administrator && !self.standing.is(owner.as_str()) {
            return Err(Error::NotOwner { dataset: new.id.clone() }.into());
        }
        if let Some(existing) = self.snapshot.dataset(new.id.as_str()) {
            let same = existing.record_type == new.record_type
                && existing.title == new.title
                && existing.sharing_class == new.sharing_class
                && existing.legal_basis == new.legal_basis
                && existing.partitions == new.partitions
                && existing.retention_ms == new.retention_ms
                && existing.listed == new.listed;
            let name = new.id.to_string();
            return unchanged_if(same, Resource::Dataset(existing.clone()), DATASET, name);
        }
        self.department(&owner)?;
        let compiled = self.context.record_types.get(new.record_type.as_str()).cloned();
        let compiled = compiled.ok_or_else(|| {
            let (dataset, record_type) = (new.id.clone(), new.record_type.clone());
            Refused::Stop(Stop::UnknownRecordType { dataset, record_type })
        })?;
        let dataset = Arc::new(Dataset {
            id: new.id.clone(),
            owner,
            record_type: new.record_type.clone(),
            compiled,
            title: new.title.clone(),
            sharing_class: new.sharing_class,
            legal_basis: new.legal_basis.clone(),
            partitions: new.partitions,
            retention_ms: new.retention_ms,
            listed: new.listed,
            topic: Topic::dataset(&self.context.topic_prefix, &new.id),
            create_time_ms: self.time_ms,
            update_time_ms: self.time_ms,
            version: self.version,
        });
        let owner = Access::of_owner(&dataset, &self.context.secret).map_err(stop)?;
        let held = HeldDataset { dataset: dataset.clone(), owner: Arc::new(owner) };
        self.snapshot.datasets.insert_mut(new.id.clone(), held);
        changed(Resource::Dataset(dataset))
    }

    fn update_dataset(&mut self, change: &DatasetChange) -> Applied {
        let old = self.own_dataset(&change.id)?;
        seen(old.version, change.expected, DATASET, &change.id)?;
        if change.sharing_class == SharingClass::NotShared
            && let Some(grant) = self.dependents(&change.id).grants.first()
        {
            let by = format!("grants/{grant}");
            return Err(Error::StillReferredTo { kind: DATASET, name: change.id.to_string(), by }.into());
        }
        let dataset = Arc::new(Dataset {
            title: change.title.clone(),
            sharing_class: change.sharing_class,
            legal_basis: change.legal_basis.clone(),
            retention_ms: change.retention_ms,
            listed: change.listed,
            update_time_ms: self.time_ms,
            version: self.version,
            ..(*old).clone()
        });
        if let Some(held) = self.snapshot.datasets.get(&change.id) {
            let owner = Arc::new(held.owner.with_dataset(&dataset));
            self.snapshot.datasets.insert_mut(change.id.clone(), HeldDataset { dataset: dataset.clone(), owner });
        }
        self.renew_accesses(&dataset);
        changed(Resource::Dataset(dataset))
    }

    fn delete_dataset(&mut self, which: &DatasetRef) -> Applied {
        let old = self.own_dataset(&which.id)?;
        seen(old.version, which.expected, DATASET, &which.id)?;
        let dependents = self.dependents(&which.id);
        let grant = dependents.grants.first().map(|id| format!("grants/{id}"));
        let subscription = || dependents.subscriptions.first().map(|id| format!("subscriptions/{id}"));
        if let Some(by) = grant.or_else(subscription) {
            return Err(Error::StillReferredTo { kind: DATASET, name: which.id.to_string(), by }.into());
        }
        self.snapshot.datasets.remove_mut(&which.id);
        deleted()
    }

    // Grants.

    fn create_grant(&mut self, new: &NewGrant) -> Applied {
        let dataset = self.own_dataset(&new.dataset)?;
        if let Some(existing) = self.snapshot.grant(new.id.as_str()) {
            let same = !existing.revoked
                && existing.dataset == new.dataset
                && existing.grantee == new.grantee
                && existing.fields == new.fields
                && existing.rows == new.rows
                && existing.purpose == new.purpose
                && existing.legal_basis == new.legal_basis
                && existing.start_ms == new.start_ms
                && existing.end_ms == new.end_ms;
            let name = new.id.to_string();
            return unchanged_if(same, Resource::Grant(existing.clone()), GRANT, name);
        }
        self.department(&new.grantee)?;
        if dataset.sharing_class == SharingClass::NotShared {
            return Err(invalid("dataset", "NOT_SHARED", "the dataset is not shared", "该数据资源不予共享"));
        }
        if new.grantee == dataset.owner {
            return Err(invalid("grantee", "OWNER", "the owner needs no grant", "提供部门自身无需授权"));
        }
        let grant = Arc::new(Grant {
            id: new.id.clone(),
            dataset: new.dataset.clone(),
            grantee: new.grantee.clone(),
            fields: new.fields.clone(),
            rows: new.rows.clone(),
            purpose: new.purpose.clone(),
            legal_basis: new.legal_basis.clone(),
            start_ms: new.start_ms,
            end_ms: new.end_ms,
            revoked: false,
            create_time_ms: self.time_ms,
            update_time_ms: self.time_ms,
            version: self.version,
        });
        self.put_grant(&dataset, grant)
    }

    fn update_grant(&mut self, change: &GrantChange) -> Applied {
        let (old, dataset) = self.own_grant(&change.id)?;
        if old.revoked {
            return Err(Error::GrantRevoked { grant: change.id.to_string() }.into());
        }
        seen(old.version, change.expected, GRANT, &change.id)?;
        let dataset = dataset.ok_or_else(|| not_found(DATASET, &old.dataset))?;
        let grant = Arc::new(Grant {
            fields: change.fields.clone(),
            rows: change.rows.clone(),
            purpose: change.purpose.clone(),
            legal_basis: change.legal_basis.clone(),
            start_ms: change.start_ms,
            end_ms: change.end_ms,
            update_time_ms: self.time_ms,
            version: self.version,
            ..(*old).clone()
        });
        self.put_grant(&dataset, grant)
    }

    fn revoke_grant(&mut self, which: &GrantRef) -> Applied {
        let (old, _) = self.own_grant(&which.id)?;
        if old.revoked {
            return Ok(Outcome { resource: Some(Resource::Grant(old)), changed: false });
        }
        seen(old.version, which.expected, GRANT, &which.id)?;
        let grant =
            Arc::new(Grant { revoked: true, update_time_ms: self.time_ms, version: self.version, ..(*old).clone() });
        self.change_dependents(&old.dataset, |dependents| {
            dependents.grants.remove(&which.id);
        });
        self.hold(Granted { grant: grant.clone(), access: None });
        changed(Resource::Grant(grant))
    }

    /// Compiles first: a grant that does not fit the record type changes nothing.
    fn put_grant(&mut self, dataset: &Arc<Dataset>, grant: Arc<Grant>) -> Applied {
        let access = Access::of_grant(dataset, &grant, &self.context.secret).map_err(|_| {
            invalid("fields", UNFIT, "the grant does not fit the record type", "授权内容与记录标准不符")
        })?;
        self.change_dependents(&grant.dataset, |dependents| {
            dependents.grants.insert(grant.id.clone());
        });
        self.hold(Granted { grant: grant.clone(), access: Some(Arc::new(access)) });
        changed(Resource::Grant(grant))
    }

    /// Puts a grant's newest version where it is found by id, and first where it is found by whom it grants.
    fn hold(&mut self, granted: Granted) {
        let grant = &granted.grant;
        let (grantee, dataset) = (grant.grantee.clone(), grant.dataset.clone());
        let id = grant.id.clone();
        self.snapshot.grants.insert_mut(id.clone(), grant.clone());
        let others = self.snapshot.granted(&grantee, &dataset).iter().filter(|other| other.grant.id != id);
        let all = std::iter::once(&granted).chain(others).cloned().collect();
        self.put_granted(grantee, dataset, all);
    }

    fn put_granted(&mut self, grantee: DepartmentAlias, dataset: DatasetId, all: Arc<[Granted]>) {
        let mut datasets = self.snapshot.granted.get(&grantee).cloned().unwrap_or_else(Map::new_sync);
        datasets.insert_mut(dataset, all);
        self.snapshot.granted.insert_mut(grantee, datasets);
    }

    /// A dataset has a newer version: so have the accesses to it.
    fn renew_accesses(&mut self, dataset: &Arc<Dataset>) {
        let grants = self.dependents(&dataset.id).grants.clone();
        let grantees = grants.iter().filter_map(|id| self.snapshot.grant(id.as_str()));
        let grantees: std::collections::BTreeSet<_> = grantees.map(|grant| grant.grantee.clone()).collect();
        for grantee in grantees {
            let renew = |one: &Granted| Granted {
                grant: one.grant.clone(),
                access: one.access.as_ref().map(|access| Arc::new(access.with_dataset(dataset))),
            };
            let renewed = self.snapshot.granted(&grantee, &dataset.id).iter().map(renew).collect();
            self.put_granted(grantee, dataset.id.clone(), renewed);
        }
    }

    // Subscriptions.

    fn create_subscription(&mut self, new: &NewSubscription) -> Applied {
        if !self.standing.is(new.id.subscriber()) {
            let (en, zh) = ("the id must begin with the caller's own alias", "标识须以本部门简称开头");
            return Err(invalid("name", "ALIAS_MISMATCH", en, zh));
        }
        let department = self.standing.department.clone().ok_or(Error::IdentityUnknown)?;
        if let Some(existing) = self.snapshot.subscription(new.id.as_str()) {
            let same = existing.dataset == new.dataset
                && existing.start.is_same_wish(&new.start)
                && existing.filter == new.filter
                && existing.purpose == new.purpose;
            let name = new.id.to_string();
            return unchanged_if(same, Resource::Subscription(existing.clone()), SUBSCRIPTION, name);
        }
        let access = policy::read_as(self.snapshot, &department.alias, false, new.dataset.as_str(), self.time_ms)?;
        let rows = fitting(&access, &new.filter)?;
        within(&new.start, &access.dataset)?;
        let subscription = Arc::new(Subscription {
            id: new.id.clone(),
            dataset: new.dataset.clone(),
            subscriber: department.alias.clone(),
            start: new.start.clone(),
            filter: new.filter.clone(),
            rows,
            purpose: new.purpose.clone(),
            create_time_ms: self.time_ms,
            update_time_ms: self.time_ms,
            version: self.version,
            seek_generation: self.version,
        });
        self.change_dependents(&new.dataset, |dependents| {
            dependents.subscriptions.insert(new.id.clone());
        });
        self.snapshot.subscriptions.insert_mut(new.id.clone(), subscription.clone());
        changed(Resource::Subscription(subscription))
    }

    fn update_subscription(&mut self, change: &SubscriptionChange) -> Applied {
        let old = self.own_subscription(&change.id)?;
        seen(old.version, change.expected, SUBSCRIPTION, &change.id)?;
        let access = policy::read_as(self.snapshot, &old.subscriber, false, old.dataset.as_str(), self.time_ms)?;
        let rows = fitting(&access, &change.filter)?;
        let (start, seek_generation) = match &change.seek {
            Some(seek) => (within(seek, &access.dataset)?.clone(), self.version),
            None => (old.start.clone(), old.seek_generation),
        };
        let subscription = Arc::new(Subscription {
            start,
            seek_generation,
            filter: change.filter.clone(),
            rows,
            purpose: change.purpose.clone(),
            update_time_ms: self.time_ms,
            version: self.version,
            ..(*old).clone()
        });
        self.snapshot.subscriptions.insert_mut(change.id.clone(), subscription.clone());
        changed(Resource::Subscription(subscription))
    }

    fn delete_subscription(&mut self, which: &SubscriptionRef) -> Applied {
        let old = self.own_subscription(&which.id)?;
        seen(old.version, which.expected, SUBSCRIPTION, &which.id)?;
        self.change_dependents(&old.dataset, |dependents| {
            dependents.subscriptions.remove(&which.id);
        });
        self.snapshot.subscriptions.remove_mut(&which.id);
        deleted()
    }

    // What several of them ask.

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
        Err(Error::NotOwner { dataset: id.clone() })
    }

    /// The grant and its dataset (none where that was deleted), if the actor may change it.
    fn own_grant(&self, id: &GrantId) -> Result<(Arc<Grant>, Option<Arc<Dataset>>), Error> {
        let grant = self.snapshot.grant(id.as_str());
        let grant = grant.filter(|grant| policy::sees_grant(&self.standing, grant));
        let grant = grant.ok_or_else(|| not_found(GRANT, id))?;
        if self.standing.administrator || self.standing.is(grant.dataset.owner()) {
            return Ok((grant.clone(), self.snapshot.dataset(grant.dataset.as_str()).cloned()));
        }
        Err(Error::NotOwner { dataset: grant.dataset.clone() })
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
const DATASET: &str = "dataset";
const GRANT: &str = "grant";
const SUBSCRIPTION: &str = "subscription";
const ADMINISTRATOR: &str = "administrator";

fn changed(resource: Resource) -> Applied {
    Ok(Outcome { resource: Some(resource), changed: true })
}

fn deleted() -> Applied {
    Ok(Outcome { resource: None, changed: true })
}

fn unchanged_if(same: bool, resource: Resource, kind: &'static str, name: String) -> Applied {
    if same {
        Ok(Outcome { resource: Some(resource), changed: false })
    } else {
        Err(Error::AlreadyExists { kind, name }.into())
    }
}

fn seen(version: u64, expected: u64, kind: &'static str, name: &impl ToString) -> Result<(), Error> {
    if version == expected { Ok(()) } else { Err(Error::EtagMismatch { kind, name: name.to_string() }) }
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

/// An id's first label is an alias by the grammar of ids.
fn owner_of(id: &DatasetId) -> Result<DepartmentAlias, Refused> {
    id.owner().parse().map_err(|error| stop(Error::internal(error)))
}

fn sorted(roles: &[Role]) -> Vec<Role> {
    let mut roles = roles.to_vec();
    roles.sort_unstable();
    roles.dedup();
    roles
}

/// A filter, compiled, that asks only about what the access shows.
fn fitting(access: &Access, filter: &[super::resource::RowCondition]) -> Result<RowFilter, Refused> {
    let rows = RowFilter::compile(&access.dataset.compiled, filter)
        .map_err(|_| invalid("filter", UNFIT, "the filter does not fit the record type", "筛选条件与记录标准不符"))?;
    if access.grants_filter(&rows) {
        return Ok(rows);
    }
    let (en, zh) = ("only fields granted clear can be filtered by", "只能按明文授权的字段筛选");
    Err(invalid("filter", "NOT_GRANTED", en, zh))
}

/// A start names no partition that the dataset does not have.
fn within<'s>(start: &'s Start, dataset: &Dataset) -> Result<&'s Start, Refused> {
    match start {
        Start::Positions(positions) if positions.iter().any(|(partition, _)| *partition >= dataset.partitions) => {
            Err(invalid("start", "UNKNOWN_PARTITION", "the dataset has no such partition", "该数据资源没有此分区"))
        }
        _ => Ok(start),
    }
}
