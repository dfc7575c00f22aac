//! Commands about subscriptions.

use std::sync::Arc;

use super::{
    super::{
        access::{Access, RowFilter},
        command::{NewSubscription, SubscriptionChange, SubscriptionRef},
        resource::{Dataset, Resource, RowCondition, Start, Subscription},
    },
    Applied, Refused, SUBSCRIPTION, Step, UNFIT, changed, deleted, invalid, seen, unchanged_if,
};
use crate::exchange::{Error, policy};

impl Step<'_> {
    pub(super) fn create_subscription(&mut self, new: &NewSubscription) -> Applied {
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
        let (dataset, access) =
            policy::reads(self.snapshot, &department.alias, false, new.dataset.as_str(), self.time_ms)?;
        let rows = fitting(dataset, access.as_deref(), &new.filter)?;
        within(&new.start, dataset)?;
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

    pub(super) fn update_subscription(&mut self, change: &SubscriptionChange) -> Applied {
        let old = self.own_subscription(&change.id)?;
        seen(old.version, change.expected, SUBSCRIPTION, &change.id)?;
        let (dataset, access) =
            policy::reads(self.snapshot, &old.subscriber, false, old.dataset.as_str(), self.time_ms)?;
        let rows = fitting(dataset, access.as_deref(), &change.filter)?;
        let (start, seek_generation) = match &change.seek {
            Some(seek) => (within(seek, dataset)?.clone(), self.version),
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

    pub(super) fn delete_subscription(&mut self, which: &SubscriptionRef) -> Applied {
        let old = self.own_subscription(&which.id)?;
        seen(old.version, which.expected, SUBSCRIPTION, &which.id)?;
        self.change_dependents(&old.dataset, |dependents| {
            dependents.subscriptions.remove(&which.id);
        });
        self.snapshot.subscriptions.remove_mut(&which.id);
        deleted()
    }
}

/// A filter, compiled, that asks only about what the access shows. Of a department's own record type this was judged before the command came here: a filter
/// that cannot be compiled shows nothing.
fn fitting(dataset: &Dataset, access: Option<&Access>, filter: &[RowCondition]) -> Result<RowFilter, Refused> {
    let rows = access.and_then(|access| RowFilter::compile(access.record_type(), filter).ok());
    if dataset.record_type.owner().is_some() {
        return Ok(rows.unwrap_or_else(RowFilter::nothing));
    }
    let (Some(rows), Some(access)) = (rows, access) else {
        return Err(invalid("filter", UNFIT, "the filter does not fit the record type", "筛选条件与记录标准不符"));
    };
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
