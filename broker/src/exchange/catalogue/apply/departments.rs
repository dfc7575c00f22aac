//! Commands about departments.

use std::sync::Arc;

use super::{
    super::{
        command::{DepartmentChange, DepartmentRef, NewDepartment},
        resource::{Department, Resource, Role},
    },
    Applied, DEPARTMENT, Step, changed, deleted, seen, unchanged_if,
};
use crate::exchange::Error;

impl Step<'_> {
    pub(super) fn create_department(&mut self, new: &NewDepartment) -> Applied {
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

    pub(super) fn update_department(&mut self, change: &DepartmentChange) -> Applied {
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

    pub(super) fn delete_department(&mut self, which: &DepartmentRef) -> Applied {
        self.only_administrators()?;
        let alias = &which.alias;
        let old = self.department(alias)?;
        seen(old.version, which.expected, DEPARTMENT, alias)?;
        let record_type = self.snapshot.record_types_of(alias).next().map(|one| format!("recordTypes/{}", one.name));
        let dataset = || self.snapshot.owned_by(alias).next().map(|one| format!("datasets/{}", one.id));
        let subscription =
            || self.snapshot.subscriptions_of(alias).next().map(|one| format!("subscriptions/{}", one.id));
        let grant = || {
            let mut granted = self.snapshot.granted_to(alias).flatten();
            granted.find(|one| !one.grant.revoked).map(|one| format!("grants/{}", one.grant.id))
        };
        if let Some(by) = record_type.or_else(dataset).or_else(subscription).or_else(grant) {
            return Err(Error::StillReferredTo { kind: DEPARTMENT, name: alias.to_string(), by }.into());
        }
        self.snapshot.codes.remove_mut(&old.unified_social_credit_code);
        self.snapshot.departments.remove_mut(alias);
        deleted()
    }
}

fn sorted(roles: &[Role]) -> Vec<Role> {
    let mut roles = roles.to_vec();
    roles.sort_unstable();
    roles.dedup();
    roles
}
