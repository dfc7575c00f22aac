//! Commands about grants, and the accesses that are compiled from them.

use std::sync::Arc;

use rpds::RedBlackTreeMapSync as Map;

use super::{
    super::{
        access::Access,
        command::{GrantChange, GrantRef, NewGrant},
        resource::{Dataset, Grant, Resource, SharingClass},
        snapshot::Granted,
    },
    Applied, DATASET, GRANT, Outcome, Step, UNFIT, changed, invalid, not_found, seen, unchanged_if,
};
use crate::exchange::{
    Error,
    model::{DatasetId, DepartmentAlias},
};

impl Step<'_> {
    pub(super) fn create_grant(&mut self, new: &NewGrant) -> Applied {
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

    pub(super) fn update_grant(&mut self, change: &GrantChange) -> Applied {
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

    pub(super) fn revoke_grant(&mut self, which: &GrantRef) -> Applied {
        let (old, _) = self.own_grant(&which.id)?;
        if old.revoked {
            return Ok(Outcome { resource: Some(Resource::Grant(old)), changed: false, entry: None });
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

    /// Compiles first: a grant that does not fit a standard of the software changes nothing. One that does not fit a department's own record type was
    /// refused before it came here; if it comes all the same, it stands and shows nothing.
    fn put_grant(&mut self, dataset: &Arc<Dataset>, grant: Arc<Grant>) -> Applied {
        let access = match Access::of_grant(dataset, &grant, &self.context.secret) {
            Ok(access) => Some(Arc::new(access)),
            Err(_) if dataset.record_type.owner().is_some() => None,
            Err(_) => {
                let (en, zh) = ("the grant does not fit the record type", "授权内容与记录标准不符");
                return Err(invalid("fields", UNFIT, en, zh));
            }
        };
        self.change_dependents(&grant.dataset, |dependents| {
            dependents.grants.insert(grant.id.clone());
        });
        self.hold(Granted { grant: grant.clone(), access });
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
    pub(super) fn renew_accesses(&mut self, dataset: &Arc<Dataset>) {
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
}
