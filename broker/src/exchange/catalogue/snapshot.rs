//! The catalogue at one moment: immutable for whoever holds it, cheap to make from the one before.
//!
//! The maps share every branch that did not change, so a change of one of 50,000 datasets copies a path of the tree and nothing else. Accesses are compiled
//! when a grant changes and found by two comparisons of ids when somebody reads.

use std::{
    collections::BTreeSet,
    ops::{Bound, RangeBounds},
    sync::Arc,
};

use ring::digest::{Context, SHA256};
use rpds::RedBlackTreeMapSync as Map;

use super::{
    access::Access,
    resource::{Dataset, Department, Grant, OwnRecordType, Role, Subscription},
};
use crate::exchange::{
    Error,
    identity::Identity,
    model::{DatasetId, DepartmentAlias, GrantId, RecordTypeName, SourceId, SubscriptionId},
};

/// A dataset with the access of its owner; none where this software cannot compile its record type.
#[derive(Clone, Debug)]
pub(super) struct HeldDataset {
    pub(super) dataset: Arc<Dataset>,
    pub(super) owner: Option<Arc<Access>>,
}

/// A grant with what it shows; nothing where it is revoked, and where this software cannot compile the dataset's record type.
#[derive(Clone, Debug)]
pub(crate) struct Granted {
    pub(crate) grant: Arc<Grant>,
    pub(crate) access: Option<Arc<Access>>,
}

/// What keeps a dataset from being deleted.
#[derive(Clone, Debug, Default)]
pub(super) struct Dependents {
    /// Not revoked.
    pub(super) grants: BTreeSet<GrantId>,
    pub(super) subscriptions: BTreeSet<SubscriptionId>,
}

/// Who somebody is to the catalogue.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The department; none for an administrator by configuration whose department is not enrolled (yet).
    pub department: Option<Arc<Department>>,
    /// By role or by configuration.
    pub administrator: bool,
    /// By role.
    pub auditor: bool,
}

impl Standing {
    /// Whether the department is this one.
    pub fn is(&self, alias: &str) -> bool {
        self.department.as_ref().is_some_and(|department| department.alias.as_str() == alias)
    }
}

/// The catalogue at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// One more than the log's offset of the newest entry applied; 0 before the first.
    pub epoch: u64,
    pub(super) departments: Map<DepartmentAlias, Arc<Department>>,
    /// Credit codes, each of one department.
    pub(super) codes: Map<String, DepartmentAlias>,
    pub(super) record_types: Map<RecordTypeName, Arc<OwnRecordType>>,
    /// What names of record types meant that were deleted: records of theirs may lie in a log, so a name comes back with this content or not at all.
    pub(super) retired: Map<RecordTypeName, [u8; 32]>,
    pub(super) datasets: Map<DatasetId, HeldDataset>,
    pub(super) grants: Map<GrantId, Arc<Grant>>,
    pub(super) subscriptions: Map<SubscriptionId, Arc<Subscription>>,
    /// Every grant by whom it grants and what it shows, the newest version first.
    pub(super) granted: Map<DepartmentAlias, Map<DatasetId, Arc<[Granted]>>>,
    pub(super) dependents: Map<DatasetId, Arc<Dependents>>,
    administrators: Arc<BTreeSet<SourceId>>,
}

impl Snapshot {
    /// Nothing yet; `administrators` are those of the configuration.
    pub fn empty(administrators: impl IntoIterator<Item = SourceId>) -> Self {
        Self {
            epoch: 0,
            departments: Map::new_sync(),
            codes: Map::new_sync(),
            record_types: Map::new_sync(),
            retired: Map::new_sync(),
            datasets: Map::new_sync(),
            grants: Map::new_sync(),
            subscriptions: Map::new_sync(),
            granted: Map::new_sync(),
            dependents: Map::new_sync(),
            administrators: Arc::new(administrators.into_iter().collect()),
        }
    }

    /// The department of that alias.
    pub fn department(&self, alias: &str) -> Option<&Arc<Department>> {
        self.departments.get(alias)
    }

    /// The department's own record type of that name.
    pub fn record_type(&self, name: &str) -> Option<&Arc<OwnRecordType>> {
        self.record_types.get(name)
    }

    /// The dataset of that id.
    pub fn dataset(&self, id: &str) -> Option<&Arc<Dataset>> {
        self.datasets.get(id).map(|held| &held.dataset)
    }

    /// The grant of that id, revoked or not.
    pub fn grant(&self, id: &str) -> Option<&Arc<Grant>> {
        self.grants.get(id)
    }

    /// The subscription of that id.
    pub fn subscription(&self, id: &str) -> Option<&Arc<Subscription>> {
        self.subscriptions.get(id)
    }

    /// In order of alias.
    pub fn departments(&self) -> impl Iterator<Item = &Arc<Department>> {
        self.departments.values()
    }

    /// Departments' own, in order of name.
    pub fn record_types(&self) -> impl Iterator<Item = &Arc<OwnRecordType>> {
        self.record_types.values()
    }

    /// In order of id.
    pub fn datasets(&self) -> impl Iterator<Item = &Arc<Dataset>> {
        self.datasets.values().map(|held| &held.dataset)
    }

    /// In order of id, revoked ones too.
    pub fn grants(&self) -> impl Iterator<Item = &Arc<Grant>> {
        self.grants.values()
    }

    /// In order of id.
    pub fn subscriptions(&self) -> impl Iterator<Item = &Arc<Subscription>> {
        self.subscriptions.values()
    }

    /// Those after a name, for paging; all where it is empty. In order of alias.
    pub fn departments_after(&self, alias: &str) -> impl Iterator<Item = &Arc<Department>> {
        self.departments.range::<str, _>(after(alias)).map(|(_, department)| department)
    }

    /// As [`Self::departments_after`], in order of name.
    pub fn record_types_after(&self, name: &str) -> impl Iterator<Item = &Arc<OwnRecordType>> {
        self.record_types.range::<str, _>(after(name)).map(|(_, record_type)| record_type)
    }

    /// As [`Self::departments_after`], in order of id.
    pub fn datasets_after(&self, id: &str) -> impl Iterator<Item = &Arc<Dataset>> {
        self.datasets.range::<str, _>(after(id)).map(|(_, held)| &held.dataset)
    }

    /// As [`Self::departments_after`], in order of id.
    pub fn grants_after(&self, id: &str) -> impl Iterator<Item = &Arc<Grant>> {
        self.grants.range::<str, _>(after(id)).map(|(_, grant)| grant)
    }

    /// As [`Self::departments_after`], in order of id.
    pub fn subscriptions_after(&self, id: &str) -> impl Iterator<Item = &Arc<Subscription>> {
        self.subscriptions.range::<str, _>(after(id)).map(|(_, subscription)| subscription)
    }

    /// Who the caller is.
    ///
    /// # Errors
    /// [`Error::IdentityUnknown`] for a department that is not enrolled, unless the configuration names the caller as an administrator.
    pub fn standing(&self, caller: &Identity) -> Result<Standing, Error> {
        self.standing_of(&caller.department, self.is_configured_administrator(caller))
    }

    /// Whether this node's configuration names the caller.
    pub fn is_configured_administrator(&self, caller: &Identity) -> bool {
        self.administrators.contains(&caller.source)
    }

    /// Whether the actor's department is enrolled, or this node's configuration names the actor.
    pub fn knows(&self, actor: &SourceId) -> bool {
        self.department(actor.department()).is_some() || self.administrators.contains(actor)
    }

    pub(super) fn standing_of(&self, alias: &DepartmentAlias, configured: bool) -> Result<Standing, Error> {
        let department = self.departments.get(alias).cloned();
        if department.is_none() && !configured {
            return Err(Error::IdentityUnknown);
        }
        let has = |role| department.as_ref().is_some_and(|department| department.roles.contains(&role));
        Ok(Standing { administrator: configured || has(Role::Administrator), auditor: has(Role::Auditor), department })
    }

    /// The owner's access to its dataset; none where this software cannot compile its record type.
    pub(crate) fn owner_access(&self, dataset: &str) -> Option<&Arc<Access>> {
        self.datasets.get(dataset).and_then(|held| held.owner.as_ref())
    }

    /// Every grant of the dataset to the department, the newest version first.
    pub(crate) fn granted(&self, grantee: &DepartmentAlias, dataset: &DatasetId) -> &[Granted] {
        self.granted.get(grantee).and_then(|datasets| datasets.get(dataset)).map_or(&[], |granted| granted)
    }

    /// The record types that the department owns, in order of name.
    pub fn record_types_of(&self, owner: &DepartmentAlias) -> impl Iterator<Item = &Arc<OwnRecordType>> {
        owned(&self.record_types, owner)
    }

    /// The datasets that the department owns, in order of id.
    pub fn owned_by(&self, owner: &DepartmentAlias) -> impl Iterator<Item = &Arc<Dataset>> {
        owned(&self.datasets, owner).map(|held| &held.dataset)
    }

    /// What was granted to the department, in order of dataset.
    pub(crate) fn granted_to(&self, grantee: &DepartmentAlias) -> impl Iterator<Item = &[Granted]> {
        self.granted.get(grantee).into_iter().flat_map(|datasets| datasets.values()).map(|granted| &**granted)
    }

    /// The subscriptions of the department, in order of id.
    pub fn subscriptions_of(&self, subscriber: &DepartmentAlias) -> impl Iterator<Item = &Arc<Subscription>> {
        owned(&self.subscriptions, subscriber)
    }

    /// The subscriptions to the dataset, in order of id.
    pub fn subscriptions_to(&self, dataset: &DatasetId) -> impl Iterator<Item = &Arc<Subscription>> {
        let dependents = self.dependents.get(dataset);
        let ids = dependents.into_iter().flat_map(|dependents| dependents.subscriptions.iter());
        ids.filter_map(|id| self.subscriptions.get(id))
    }

    /// SHA-256 over every resource in order, as canonical JSON: two nodes that applied the same entries have the same digest.
    ///
    /// # Errors
    /// None that can happen (see [`super::command::Entry::encode`]).
    pub fn digest(&self) -> Result<[u8; 32], Error> {
        let mut context = Context::new(&SHA256);
        context.update(&self.epoch.to_be_bytes());
        let mut add = |json: serde_json::Result<Vec<u8>>| {
            let json = json.map_err(Error::internal)?;
            context.update(&json);
            context.update(b"\n");
            Ok::<_, Error>(())
        };
        self.departments().try_for_each(|one| add(serde_json::to_vec(one)))?;
        self.record_types().try_for_each(|one| add(serde_json::to_vec(&**one)))?;
        self.retired.iter().try_for_each(|one| add(serde_json::to_vec(&one)))?;
        self.datasets().try_for_each(|one| add(serde_json::to_vec(one)))?;
        self.grants().try_for_each(|one| add(serde_json::to_vec(one)))?;
        self.subscriptions().try_for_each(|one| add(serde_json::to_vec(one)))?;
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        Ok(bytes)
    }
}

fn after(name: &str) -> (Bound<&str>, Bound<&str>) {
    (Bound::Excluded(name), Bound::Unbounded)
}

/// The ids that begin with an alias and a dot.
struct Owned {
    from: String,
    /// '/' follows '.' in ASCII and is in no id.
    end: String,
}

impl RangeBounds<str> for Owned {
    fn start_bound(&self) -> Bound<&str> {
        Bound::Included(&self.from)
    }

    fn end_bound(&self) -> Bound<&str> {
        Bound::Excluded(&self.end)
    }
}

fn owned<'m, K, V>(map: &'m Map<K, V>, alias: &DepartmentAlias) -> impl Iterator<Item = &'m V> + use<'m, K, V>
where
    K: Ord + std::borrow::Borrow<str>,
{
    map.range(Owned { from: format!("{alias}."), end: format!("{alias}/") }).map(|(_, value)| value)
}
