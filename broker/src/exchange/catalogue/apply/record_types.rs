//! Commands about departments' own record types.

use std::sync::Arc;

use ring::digest::{Context, SHA256};

use super::{
    super::{
        command::{NewRecordType, RecordTypeRef},
        resource::{OwnRecordType, Resource},
    },
    Applied, RECORD_TYPE, Step, changed, deleted, invalid, not_found, not_owner, seen, stop, unchanged_if,
};
use crate::exchange::{
    Error,
    model::{DepartmentAlias, RecordTypeName},
    policy,
};

impl Step<'_> {
    pub(super) fn create_record_type(&mut self, new: &NewRecordType) -> Applied {
        let Some(owner) = new.name.owner() else {
            let (en, zh) =
                ("a department's own begins with its alias and a dot", "部门自有记录标准须以部门简称加点号开头");
            return Err(invalid("name", "ALIAS_MISSING", en, zh));
        };
        if !self.may_change(&new.name) {
            return Err(not_owner(RECORD_TYPE, &new.name).into());
        }
        let content = content(&new.schema, &new.code_tables);
        if let Some(existing) = self.snapshot.record_type(new.name.as_str()) {
            let same = content == self::content(&existing.schema, &existing.code_tables);
            let resource = Resource::RecordType(existing.clone());
            return unchanged_if(same, resource, RECORD_TYPE, new.name.to_string());
        }
        let owner: DepartmentAlias = owner.parse().map_err(|error| stop(Error::internal(error)))?;
        self.department(&owner)?;
        if self.snapshot.retired.get(&new.name).is_some_and(|meant| *meant != content) {
            return Err(Error::AlreadyExists { kind: RECORD_TYPE, name: new.name.to_string() }.into());
        }
        let record_type = Arc::new(OwnRecordType {
            name: new.name.clone(),
            owner,
            schema: new.schema.clone(),
            code_tables: new.code_tables.clone(),
            compiled: (self.context.compile)(&new.schema, &new.code_tables).map(Arc::new).map_err(Arc::new),
            create_time_ms: self.time_ms,
            version: self.version,
        });
        self.snapshot.retired.remove_mut(&new.name);
        self.snapshot.record_types.insert_mut(new.name.clone(), record_type.clone());
        changed(Resource::RecordType(record_type))
    }

    pub(super) fn delete_record_type(&mut self, which: &RecordTypeRef) -> Applied {
        let old = self.snapshot.record_type(which.name.as_str()).cloned();
        let old = old.ok_or_else(|| not_found(RECORD_TYPE, &which.name))?;
        if !self.may_change(&which.name) {
            return Err(not_owner(RECORD_TYPE, &which.name).into());
        }
        seen(old.version, which.expected, RECORD_TYPE, &which.name)?;
        // Every dataset is looked at: deleting a record type is rare, and an index of who names it would be one more thing that must be right.
        if let Some(dataset) = self.snapshot.datasets().find(|dataset| dataset.record_type == which.name) {
            let sees = policy::sees_dataset(self.snapshot, &self.standing, dataset);
            let by = if sees { format!("datasets/{}", dataset.id) } else { "a dataset that is not listed".to_owned() };
            return Err(Error::StillReferredTo { kind: RECORD_TYPE, name: which.name.to_string(), by }.into());
        }
        self.snapshot.retired.insert_mut(which.name.clone(), content(&old.schema, &old.code_tables));
        self.snapshot.record_types.remove_mut(&which.name);
        deleted()
    }

    /// Administrators, and the department whose alias the name begins with.
    fn may_change(&self, name: &RecordTypeName) -> bool {
        self.standing.administrator || name.owner().is_some_and(|owner| self.standing.is(owner))
    }
}

/// SHA-256 over what a record type means: its document and its code tables, each with its length.
fn content(schema: &str, code_tables: &[String]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for text in std::iter::once(schema).chain(code_tables.iter().map(String::as_str)) {
        context.update(&text.len().to_be_bytes());
        context.update(text.as_bytes());
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}
