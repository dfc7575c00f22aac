//! Commands about datasets.

use std::sync::Arc;

use shuqiao_schemas::engine::RecordType;

use super::{
    super::{
        access::Access,
        command::{DatasetChange, DatasetRef, NewDataset},
        resource::{Dataset, Resource, SharingClass},
        snapshot::HeldDataset,
    },
    Applied, DATASET, Refused, Step, Stop, changed, deleted, invalid, not_owner, seen, stop, unchanged_if,
};
use crate::{
    exchange::{
        Error,
        model::{DatasetId, DepartmentAlias, RecordTypeName},
    },
    log::Topic,
};

impl Step<'_> {
    pub(super) fn create_dataset(&mut self, new: &NewDataset) -> Applied {
        let owner = owner_of(&new.id)?;
        if !self.standing.administrator && !self.standing.is(owner.as_str()) {
            return Err(not_owner(DATASET, &new.id).into());
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
        let compiled = self.standard(&new.id, &new.record_type)?;
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
        let owner = match dataset.compiled {
            Some(_) => Some(Arc::new(Access::of_owner(&dataset, &self.context.secret).map_err(stop)?)),
            None => None,
        };
        let held = HeldDataset { dataset: dataset.clone(), owner };
        self.snapshot.datasets.insert_mut(new.id.clone(), held);
        changed(Resource::Dataset(dataset))
    }

    /// What a dataset of this record type is checked by; nothing where it is a department's own that this software cannot compile.
    fn standard(&self, dataset: &DatasetId, name: &RecordTypeName) -> Result<Option<Arc<RecordType>>, Refused> {
        if name.owner().is_some() {
            let own = self.snapshot.record_type(name.as_str()).ok_or_else(|| {
                invalid("record_type", "UNKNOWN_RECORD_TYPE", "no such record type", "没有此记录标准")
            })?;
            return Ok(own.compiled.as_ref().ok().cloned());
        }
        let standard = self.context.record_types.get(name.as_str()).cloned();
        standard.map(Some).ok_or_else(|| {
            let (dataset, record_type) = (dataset.clone(), name.clone());
            Refused::Stop(Stop::UnknownRecordType { dataset, record_type })
        })
    }

    pub(super) fn update_dataset(&mut self, change: &DatasetChange) -> Applied {
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
            let owner = held.owner.as_ref().map(|owner| Arc::new(owner.with_dataset(&dataset)));
            self.snapshot.datasets.insert_mut(change.id.clone(), HeldDataset { dataset: dataset.clone(), owner });
        }
        self.renew_accesses(&dataset);
        changed(Resource::Dataset(dataset))
    }

    pub(super) fn delete_dataset(&mut self, which: &DatasetRef) -> Applied {
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
}

/// An id's first label is an alias by the grammar of ids.
fn owner_of(id: &DatasetId) -> Result<DepartmentAlias, Refused> {
    id.owner().parse().map_err(|error| stop(Error::internal(error)))
}
