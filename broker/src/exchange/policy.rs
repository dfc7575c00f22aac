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
//! A dataset of a department's own record type that this node's software cannot compile answers RECORD_TYPE_UNUSABLE to whoever might read it or publish into
//! it, and nothing else changes.
//!
//! Of several grants of one dataset to one department, the one that was changed last counts among those valid now, and alone: what two grants show together
//! nobody decided to show. "The newest" in the table is the one changed last as well.
//!
//! A person's identity acts for its department like a system's.

use std::sync::Arc;

use shuqiao_schemas::engine::RecordType;

use super::{
    Error,
    catalogue::{Access, Dataset, Grant, Snapshot, Standing, Subscription},
    identity::Identity,
    model::DepartmentAlias,
};

/// The dataset and its standard, if the caller may publish into it.
///
/// # Errors
/// [`Error::IdentityUnknown`]; [`Error::DatasetNotFound`], also where its existence is not public; [`Error::NotOwner`]; [`Error::RecordTypeUnusable`].
pub fn may_publish(
    snapshot: &Snapshot,
    caller: &Identity,
    dataset: &str,
) -> Result<(Arc<Dataset>, Arc<RecordType>), Error> {
    let department = enrolled(snapshot, caller)?;
    let standing = snapshot.standing(caller)?;
    let found = snapshot.dataset(dataset).filter(|found| sees_dataset(snapshot, &standing, found));
    let found = found.ok_or_else(|| Error::DatasetNotFound { dataset: dataset.to_owned() })?;
    if found.owner == *department {
        return Ok((found.clone(), found.standard()?.clone()));
    }
    Err(Error::NotOwner { kind: "dataset", name: found.id.to_string() })
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
    let (found, access) = reads(snapshot, department, administrator, dataset, now_ms)?;
    access.ok_or_else(|| found.unusable())
}

/// Whether a department that is enrolled may read, and what: an access is missing where this software cannot compile the record type. The verdict does not
/// depend on that, so the catalogue's state machine may ask.
pub(super) fn reads<'s>(
    snapshot: &'s Snapshot,
    department: &DepartmentAlias,
    administrator: bool,
    dataset: &str,
    now_ms: i64,
) -> Result<(&'s Arc<Dataset>, Option<Arc<Access>>), Error> {
    let not_found = || Error::DatasetNotFound { dataset: dataset.to_owned() };
    let found = snapshot.dataset(dataset).ok_or_else(not_found)?;
    if found.owner == *department {
        return Ok((found, snapshot.owner_access(dataset).cloned()));
    }
    let granted = snapshot.granted(department, &found.id);
    if let Some(valid) = granted.iter().find(|one| one.grant.is_valid_at(now_ms)) {
        return Ok((found, valid.access.clone()));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{
        catalogue::{
            Role, SharingClass,
            command::{
                Command, DatasetChange, DatasetRef, DepartmentChange, GrantChange, GrantRef, NewDataset, NewGrant,
            },
            fixtures::{Desk, administrator, identity, new_dataset, new_grant, system},
        },
        error::Error,
    };

    const DATASET: &str = "market-supervision.sample";
    const OWNER: &str = "market-supervision";
    const HIDDEN: &str = "market-supervision.hidden";

    /// The city, a dataset that is not listed, and a time at which to ask.
    fn city() -> Desk {
        let mut desk = Desk::city();
        let hidden = NewDataset { listed: false, ..new_dataset(HIDDEN) };
        desk.give(&system(OWNER), Command::CreateDataset(hidden)).unwrap();
        desk
    }

    fn grant(desk: &mut Desk, id: &str, dataset: &str, period: (Option<i64>, Option<i64>)) {
        let new = NewGrant { start_ms: period.0, end_ms: period.1, ..new_grant(id, dataset, "taxation") };
        desk.give(&system(OWNER), Command::CreateGrant(new)).unwrap();
    }

    fn revoke(desk: &mut Desk, id: &str) {
        let expected = desk.snapshot.grant(id).unwrap().version;
        let id = id.parse().unwrap();
        desk.give(&system(OWNER), Command::RevokeGrant(GrantRef { id, expected })).unwrap();
    }

    /// The verdict in one word: the grant that shows, "own", or the error.
    fn verdict(desk: &Desk, caller: &Identity, dataset: &str, now_ms: i64) -> String {
        match may_read(&desk.snapshot, caller, dataset, now_ms) {
            Ok(access) => access.grant.as_ref().map_or("own".to_owned(), |(id, _)| format!("by {id}")),
            Err(Error::IdentityUnknown) => "IDENTITY_UNKNOWN".to_owned(),
            Err(Error::DatasetNotFound { .. }) => "DATASET_NOT_FOUND".to_owned(),
            Err(Error::GrantMissing { .. }) => "GRANT_MISSING".to_owned(),
            Err(Error::GrantExpired { grant }) => format!("GRANT_EXPIRED {grant}"),
            Err(Error::GrantRevoked { grant }) => format!("GRANT_REVOKED {grant}"),
            Err(other) => format!("{other:?}"),
        }
    }

    #[test]
    fn reading_follows_every_row_of_the_table() {
        let mut desk = city();
        let taxation = system("taxation");
        let rows = |desk: &Desk, now_ms| [DATASET, HIDDEN].map(|dataset| verdict(desk, &taxation, dataset, now_ms));

        assert_eq!(verdict(&desk, &system("stranger"), DATASET, 0), "IDENTITY_UNKNOWN");
        assert_eq!(verdict(&desk, &taxation, "market-supervision.none", 0), "DATASET_NOT_FOUND");
        assert_eq!(verdict(&desk, &system(OWNER), HIDDEN, 0), "own");
        assert_eq!(rows(&desk, 0), ["GRANT_MISSING", "DATASET_NOT_FOUND"]);

        grant(&mut desk, "one", DATASET, (Some(100), Some(200)));
        grant(&mut desk, "two", HIDDEN, (Some(100), Some(200)));
        assert_eq!(rows(&desk, 99), ["GRANT_EXPIRED one", "GRANT_EXPIRED two"]);
        assert_eq!(rows(&desk, 100), ["by one", "by two"]);
        assert_eq!(rows(&desk, 199), ["by one", "by two"]);
        assert_eq!(rows(&desk, 200), ["GRANT_EXPIRED one", "GRANT_EXPIRED two"]);
        // What is granted to one department tells another nothing.
        assert_eq!(verdict(&desk, &system("civil-affairs"), HIDDEN, 150), "DATASET_NOT_FOUND");

        revoke(&mut desk, "one");
        revoke(&mut desk, "two");
        assert_eq!(rows(&desk, 150), ["GRANT_REVOKED one", "GRANT_REVOKED two"]);
    }

    #[test]
    fn of_several_grants_the_one_changed_last_and_valid_counts_alone() {
        let mut desk = city();
        let taxation = system("taxation");
        grant(&mut desk, "long", DATASET, (None, None));
        grant(&mut desk, "short", DATASET, (Some(100), Some(200)));
        assert_eq!(verdict(&desk, &taxation, DATASET, 50), "by long");
        assert_eq!(verdict(&desk, &taxation, DATASET, 150), "by short");
        assert_eq!(verdict(&desk, &taxation, DATASET, 250), "by long");
        // A change of the other makes it the newest.
        let old = desk.snapshot.grant("long").unwrap().clone();
        let change = GrantChange {
            id: old.id.clone(),
            expected: old.version,
            fields: old.fields.clone(),
            rows: old.rows.clone(),
            purpose: "另一用途".into(),
            legal_basis: old.legal_basis.clone(),
            start_ms: None,
            end_ms: None,
        };
        desk.give(&system(OWNER), Command::UpdateGrant(change)).unwrap();
        assert_eq!(verdict(&desk, &taxation, DATASET, 150), "by long");
        let access = may_read(&desk.snapshot, &taxation, DATASET, 150).unwrap();
        assert_eq!((&*access.purpose, access.grant.as_ref().unwrap().1 > old.version), ("另一用途", true));
        revoke(&mut desk, "long");
        assert_eq!(verdict(&desk, &taxation, DATASET, 150), "by short");
        assert_eq!(verdict(&desk, &taxation, DATASET, 250), "GRANT_REVOKED long");
    }

    #[test]
    fn publishing_needs_ownership_and_roles_do_not_replace_it() {
        let desk = city();
        let verdict = |caller: &Identity, dataset: &str| may_publish(&desk.snapshot, caller, dataset);
        assert_eq!(verdict(&system(OWNER), HIDDEN).unwrap().0.id.as_str(), HIDDEN);
        let person = identity("spiffe://test/department/market-supervision/person/clerk");
        assert_eq!(verdict(&person, DATASET).unwrap().0.id.as_str(), DATASET);
        assert!(matches!(verdict(&system("taxation"), DATASET), Err(Error::NotOwner { .. })));
        assert!(matches!(verdict(&system("taxation"), HIDDEN), Err(Error::DatasetNotFound { .. })));
        assert!(matches!(verdict(&system("stranger"), DATASET), Err(Error::IdentityUnknown)));
        // By configuration an administrator, but of no enrolled department.
        assert!(matches!(verdict(&administrator(), DATASET), Err(Error::IdentityUnknown)));
    }

    #[test]
    fn an_administrator_sees_every_resource_and_no_payload() {
        let mut desk = city();
        let old = desk.snapshot.department("taxation").unwrap().clone();
        let change = DepartmentChange {
            alias: old.alias.clone(),
            expected: old.version,
            display_name: old.display_name.clone(),
            roles: vec![Role::Administrator],
        };
        desk.give(&administrator(), Command::UpdateDepartment(change)).unwrap();
        let taxation = system("taxation");
        assert_eq!(verdict(&desk, &taxation, HIDDEN, 0), "GRANT_MISSING");
        assert!(matches!(may_publish(&desk.snapshot, &taxation, HIDDEN), Err(Error::NotOwner { .. })));
        assert!(readable(&desk.snapshot, &taxation, 0).is_empty());
        assert_eq!(audit_scope(&desk.snapshot, &taxation).unwrap(), None);
        assert_eq!(audit_scope(&desk.snapshot, &system(OWNER)).unwrap().unwrap().as_str(), OWNER);
        assert!(matches!(audit_scope(&desk.snapshot, &system("stranger")), Err(Error::IdentityUnknown)));
    }

    #[test]
    fn readable_is_what_may_read_allows_in_order_of_dataset() {
        let mut desk = city();
        // An alias that another one begins with must not count as the other's.
        desk.give(&system("taxation"), Command::CreateDataset(new_dataset("taxation.payers"))).unwrap();
        grant(&mut desk, "one", DATASET, (None, Some(200)));
        grant(&mut desk, "two", HIDDEN, (Some(100), None));
        let ids = |caller: &str, now_ms| -> Vec<String> {
            readable(&desk.snapshot, &system(caller), now_ms)
                .iter()
                .map(|access| access.dataset.id.to_string())
                .collect()
        };
        assert_eq!(ids("taxation", 50), [DATASET, "taxation.payers"]);
        assert_eq!(ids("taxation", 150), [HIDDEN, DATASET, "taxation.payers"]);
        assert_eq!(ids("taxation", 250), [HIDDEN, "taxation.payers"]);
        assert_eq!(ids(OWNER, 0), [HIDDEN, DATASET]);
        assert!(ids("stranger", 0).is_empty());
        for now_ms in [50, 150, 250] {
            for dataset in [DATASET, HIDDEN, "taxation.payers"] {
                let may = may_read(&desk.snapshot, &system("taxation"), dataset, now_ms).is_ok();
                assert_eq!(may, ids("taxation", now_ms).iter().any(|id| id == dataset), "{dataset} at {now_ms}");
            }
        }
    }

    #[test]
    fn an_access_follows_its_dataset_and_ends_with_it() {
        let mut desk = city();
        let taxation = system("taxation");
        grant(&mut desk, "one", DATASET, (None, None));
        let before = may_read(&desk.snapshot, &taxation, DATASET, 0).unwrap();
        let change = DatasetChange {
            id: before.dataset.id.clone(),
            expected: before.dataset.version,
            title: "新标题".into(),
            sharing_class: SharingClass::Unconditional,
            legal_basis: String::new(),
            retention_ms: before.dataset.retention_ms,
            listed: false,
        };
        desk.give(&system(OWNER), Command::UpdateDataset(change)).unwrap();
        let after = may_read(&desk.snapshot, &taxation, DATASET, 0).unwrap();
        assert_eq!((after.dataset.title.as_str(), after.view_id), ("新标题", before.view_id));
        assert!(!after.dataset.listed);
        revoke(&mut desk, "one");
        let which = DatasetRef { id: after.dataset.id.clone(), expected: after.dataset.version };
        desk.give(&system(OWNER), Command::DeleteDataset(which)).unwrap();
        assert_eq!(verdict(&desk, &taxation, DATASET, 0), "DATASET_NOT_FOUND");
        assert_eq!(verdict(&desk, &system(OWNER), DATASET, 0), "DATASET_NOT_FOUND");
    }
}
