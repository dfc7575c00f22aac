//! Who may do what: pure functions of the catalogue, the caller and the time.
//!
//! Publishing needs ownership. Reading needs ownership or a grant that is valid now. Roles give no access to records: an administrator sees every resource
//! and no payload.
//!
//! | the caller's department | dataset | grant | `may_read` |
//! |---|---|---|---|
//! | not enrolled | any | any | IDENTITY_UNKNOWN |
//! | enrolled | none of that id | – | DATASET_NOT_FOUND |
//! | the owner | its own | – | everything, as it is |
//! | another | any | one valid now | what that grant shows |
//! | another | any | none valid now, the newest revoked | GRANT_REVOKED |
//! | another | any | none valid now, the newest expired or not yet begun | GRANT_EXPIRED |
//! | another | listed | never one | GRANT_MISSING |
//! | another | not listed | never one | DATASET_NOT_FOUND |
//!
//! Of several grants of one dataset to one department, the one that was changed last counts among those valid now, and alone: what two grants show together
//! nobody decided to show. "The newest" in the table is the one changed last as well.
//!
//! A person's identity acts for its department like a system's.

use std::sync::Arc;

use super::{
    Error,
    catalogue::{Access, Dataset, Grant, Snapshot, Standing, Subscription},
    identity::Identity,
    model::DepartmentAlias,
};

/// The dataset, if the caller may publish into it.
///
/// # Errors
/// [`Error::IdentityUnknown`]; [`Error::DatasetNotFound`], also where its existence is not public; [`Error::NotOwner`].
pub fn may_publish(snapshot: &Snapshot, caller: &Identity, dataset: &str) -> Result<Arc<Dataset>, Error> {
    let department = enrolled(snapshot, caller)?;
    let standing = snapshot.standing(caller)?;
    let found = snapshot.dataset(dataset).filter(|found| sees_dataset(snapshot, &standing, found));
    let found = found.ok_or_else(|| Error::DatasetNotFound { dataset: dataset.to_owned() })?;
    if found.owner == *department {
        return Ok(found.clone());
    }
    Err(Error::NotOwner { dataset: found.id.clone() })
}

/// What the caller may see of the dataset at this time.
///
/// # Errors
/// By the table of this module.
pub fn may_read(snapshot: &Snapshot, caller: &Identity, dataset: &str, now_ms: i64) -> Result<Arc<Access>, Error> {
    let department = enrolled(snapshot, caller)?;
    let administrator = snapshot.standing(caller)?.administrator;
    read_as(snapshot, department, administrator, dataset, now_ms)
}

/// Everything that the caller may read at this time, in order of dataset; nothing for who is not enrolled.
pub fn readable(snapshot: &Snapshot, caller: &Identity, now_ms: i64) -> Vec<Arc<Access>> {
    let Ok(department) = enrolled(snapshot, caller) else { return Vec::new() };
    let own = snapshot.owned_by(department).filter_map(|dataset| snapshot.owner_access(dataset.id.as_str()));
    let granted = snapshot.granted_to(department).filter_map(|granted| {
        granted.iter().find(|one| one.grant.is_valid_at(now_ms)).and_then(|one| one.access.as_ref())
    });
    let mut all: Vec<_> = own.chain(granted).cloned().collect();
    all.sort_by(|one, other| one.dataset.id.cmp(&other.dataset.id));
    all
}

/// What a department that is enrolled may see; `administrator` only decides whether the existence of a dataset is told.
pub(super) fn read_as(
    snapshot: &Snapshot,
    department: &DepartmentAlias,
    administrator: bool,
    dataset: &str,
    now_ms: i64,
) -> Result<Arc<Access>, Error> {
    let not_found = || Error::DatasetNotFound { dataset: dataset.to_owned() };
    let found = snapshot.dataset(dataset).ok_or_else(not_found)?;
    if found.owner == *department {
        return snapshot.owner_access(dataset).cloned().ok_or_else(not_found);
    }
    let granted = snapshot.granted(department, &found.id);
    let valid = granted.iter().find(|one| one.grant.is_valid_at(now_ms));
    if let Some(access) = valid.and_then(|one| one.access.as_ref()) {
        return Ok(access.clone());
    }
    match granted.first().map(|newest| &newest.grant) {
        Some(newest) if newest.revoked => Err(Error::GrantRevoked { grant: newest.id.to_string() }),
        Some(newest) => Err(Error::GrantExpired { grant: newest.id.to_string() }),
        None if found.listed || administrator => Err(Error::GrantMissing { dataset: found.id.clone() }),
        None => Err(not_found()),
    }
}

/// Whether a dataset's existence is known to somebody: listed, its own, once granted to it, or an administrator.
pub fn sees_dataset(snapshot: &Snapshot, standing: &Standing, dataset: &Dataset) -> bool {
    dataset.listed
        || standing.administrator
        || standing.department.as_ref().is_some_and(|department| {
            department.alias == dataset.owner || !snapshot.granted(&department.alias, &dataset.id).is_empty()
        })
}

/// Whether a grant is known to somebody: owner, grantee, administrators and auditors.
pub fn sees_grant(standing: &Standing, grant: &Grant) -> bool {
    standing.administrator
        || standing.auditor
        || standing.is(grant.grantee.as_str())
        || standing.is(grant.dataset.owner())
}

/// Whether a subscription is known to somebody: the subscriber, the dataset's owner and administrators.
pub fn sees_subscription(standing: &Standing, subscription: &Subscription) -> bool {
    standing.administrator || standing.is(subscription.subscriber.as_str()) || standing.is(subscription.dataset.owner())
}

/// The caller's department, if it is enrolled: an administrator by configuration alone publishes and reads nothing.
fn enrolled<'c>(snapshot: &Snapshot, caller: &'c Identity) -> Result<&'c DepartmentAlias, Error> {
    match snapshot.department(caller.department.as_str()) {
        Some(_) => Ok(&caller.department),
        None => Err(Error::IdentityUnknown),
    }
}

/// Whose entries of the trail the caller may read: `None` for everybody's (auditors and administrators), otherwise its own department's.
///
/// # Errors
/// [`Error::IdentityUnknown`].
pub fn audit_scope(snapshot: &Snapshot, caller: &Identity) -> Result<Option<DepartmentAlias>, Error> {
    let standing = snapshot.standing(caller)?;
    Ok(if standing.administrator || standing.auditor { None } else { Some(caller.department.clone()) })
}
