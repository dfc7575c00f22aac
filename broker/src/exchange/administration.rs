//! Administration: the catalogue as its users see it. Every command is on the trail before it is answered, whatever its verdict, and nobody sees more than
//! its standing shows.

use std::sync::Arc;

use super::{
    Error,
    audit::{Action, Audit, NewEntry, Target},
    catalogue::{
        Catalogue, Command, Dataset, Department, Grant, Outcome, OwnRecordType, Snapshot, Standing, Subscription,
        command::{GrantChange, GrantRef, SubscriptionChange, SubscriptionRef},
    },
    identity::Identity,
    model::{DatasetId, GrantId, SubscriptionId},
    policy,
    refusal::refuse,
};

/// Resources of one page, at most.
pub const PAGE_MAX: usize = 1_000;
/// Resources of one page where the caller does not say.
pub const PAGE_DEFAULT: usize = 100;

/// A page of a list: what may be seen, and the name after which the next page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// In order of name.
    pub items: Vec<T>,
    /// `None` where the list ends.
    pub next: Option<String>,
}

/// Commands and looks into the catalogue.
#[derive(Clone, Debug)]
pub struct Administration {
    catalogue: Arc<Catalogue>,
    audit: Arc<Audit>,
}

impl Administration {
    /// Over the rooms of one node.
    pub fn new(catalogue: Arc<Catalogue>, audit: Arc<Audit>) -> Self {
        Self { catalogue, audit }
    }

    /// Carries out a command. The answer is durable, and so is the entry that says who asked and what came of it.
    ///
    /// # Errors
    /// Those of [`Catalogue::execute`]; [`Error::LogUnavailable`] and [`Error::OutcomeUnknown`] where the command stands and its entry may not: repeat it. The trail
    /// gets that entry all the same, a little later.
    pub async fn execute(&self, caller: &Identity, command: Command) -> Result<Outcome, Error> {
        let entry = NewEntry {
            dataset: command.dataset().cloned().or_else(|| self.concerned(caller, &command)),
            target: Target { resource: Some(command.resource()), command: Some(command.name()), ..Target::default() },
            ..NewEntry::new(caller, Action::CatalogueChange)
        };
        match self.catalogue.execute(caller, command).await {
            Ok(outcome) => {
                // By the offset the line of a change is found again ([`super::audit::Recovery`]).
                let positions = outcome.entry.map(|entry| (0, entry, entry)).into_iter().collect();
                self.audit.append(NewEntry { positions, ..entry }).await.map_err(|error| match error {
                    // Elsewhere that means that nothing was done.
                    Error::DiskFull(_) => Error::OutcomeUnknown,
                    other => other,
                })?;
                if let Some(entry) = outcome.entry {
                    self.catalogue.recorded(entry);
                }
                Ok(outcome)
            }
            Err(error) => Err(refuse(&self.catalogue, &self.audit, entry, error).await),
        }
    }

    /// Puts a command on the trail that could not be made out of what the caller sent. Answers with the refusal, or with what kept it from the trail.
    pub async fn refuse(&self, caller: &Identity, command: &'static str, error: Error) -> Error {
        let target = Target { command: Some(command), ..Target::default() };
        let asked = NewEntry { target, ..NewEntry::new(caller, Action::CatalogueChange) };
        refuse(&self.catalogue, &self.audit, asked, error).await
    }

    /// The dataset of the grant or subscription that a command refers to, so that who looks for a dataset on the trail finds its revocations. Nothing where the
    /// caller does not see the resource: it reads its own entries, and would learn there what the answer kept from it.
    fn concerned(&self, caller: &Identity, command: &Command) -> Option<DatasetId> {
        let grant = |id: &GrantId| self.grant(caller, id.as_str()).ok().map(|grant| grant.dataset.clone());
        let subscription =
            |id: &SubscriptionId| self.subscription(caller, id.as_str()).ok().map(|one| one.dataset.clone());
        match command {
            Command::UpdateGrant(GrantChange { id, .. }) | Command::RevokeGrant(GrantRef { id, .. }) => grant(id),
            Command::UpdateSubscription(SubscriptionChange { id, .. })
            | Command::DeleteSubscription(SubscriptionRef { id, .. }) => subscription(id),
            _ => None,
        }
    }

    /// The department; every enrolled department sees every other.
    ///
    /// # Errors
    /// [`Error::IdentityUnknown`], [`Error::ResourceNotFound`].
    pub fn department(&self, caller: &Identity, alias: &str) -> Result<Arc<Department>, Error> {
        let (snapshot, _) = self.look(caller)?;
        snapshot.department(alias).cloned().ok_or_else(|| not_found("department", alias))
    }

    /// Departments after an alias.
    ///
    /// # Errors
    /// [`Error::IdentityUnknown`].
    pub fn departments(&self, caller: &Identity, after: &str, size: usize) -> Result<Page<Arc<Department>>, Error> {
        let (snapshot, _) = self.look(caller)?;
        Ok(page(snapshot.departments_after(after), |_| true, |one| one.alias.as_str(), size))
    }

    /// The department's own record type; every enrolled department sees every one.
    ///
    /// # Errors
    /// [`Error::IdentityUnknown`], [`Error::ResourceNotFound`].
    pub fn record_type(&self, caller: &Identity, name: &str) -> Result<Arc<OwnRecordType>, Error> {
        let (snapshot, _) = self.look(caller)?;
        snapshot.record_type(name).cloned().ok_or_else(|| not_found("record type", name))
    }

    /// Departments' own record types after a name.
    ///
    /// # Errors
    /// [`Error::IdentityUnknown`].
    pub fn record_types(&self, caller: &Identity, after: &str, size: usize) -> Result<Page<Arc<OwnRecordType>>, Error> {
        let (snapshot, _) = self.look(caller)?;
        Ok(page(snapshot.record_types_after(after), |_| true, |one| one.name.as_str(), size))
    }

    /// The dataset, if its existence is known to the caller.
    ///
    /// # Errors
    /// [`Error::IdentityUnknown`], [`Error::DatasetNotFound`].
    pub fn dataset(&self, caller: &Identity, id: &str) -> Result<Arc<Dataset>, Error> {
        let (snapshot, standing) = self.look(caller)?;
        let found = snapshot.dataset(id).filter(|found| policy::sees_dataset(&snapshot, &standing, found));
        found.cloned().ok_or_else(|| Error::DatasetNotFound { dataset: id.to_owned() })
    }

    /// Datasets after an id whose existence is known to the caller.
    ///
    /// # Errors
    /// [`Error::IdentityUnknown`].
    pub fn datasets(&self, caller: &Identity, after: &str, size: usize) -> Result<Page<Arc<Dataset>>, Error> {
        let (snapshot, standing) = self.look(caller)?;
        let sees = |one: &Dataset| policy::sees_dataset(&snapshot, &standing, one);
        Ok(page(snapshot.datasets_after(after), sees, |one| one.id.as_str(), size))
    }

    /// The grant, if it concerns the caller.
    ///
    /// # Errors
    /// [`Error::IdentityUnknown`], [`Error::ResourceNotFound`].
    pub fn grant(&self, caller: &Identity, id: &str) -> Result<Arc<Grant>, Error> {
        let (snapshot, standing) = self.look(caller)?;
        let found = snapshot.grant(id).filter(|found| policy::sees_grant(&standing, found));
        found.cloned().ok_or_else(|| not_found("grant", id))
    }

    /// Grants after an id that concern the caller, of one dataset where it is not empty.
    ///
    /// # Errors
    /// [`Error::IdentityUnknown`].
    pub fn grants(
        &self,
        caller: &Identity,
        dataset: &str,
        after: &str,
        size: usize,
    ) -> Result<Page<Arc<Grant>>, Error> {
        let (snapshot, standing) = self.look(caller)?;
        let sees =
            |one: &Grant| (dataset.is_empty() || one.dataset.as_str() == dataset) && policy::sees_grant(&standing, one);
        Ok(page(snapshot.grants_after(after), sees, |one| one.id.as_str(), size))
    }

    /// The subscription, if it concerns the caller.
    ///
    /// # Errors
    /// [`Error::IdentityUnknown`], [`Error::ResourceNotFound`].
    pub fn subscription(&self, caller: &Identity, id: &str) -> Result<Arc<Subscription>, Error> {
        let (snapshot, standing) = self.look(caller)?;
        let found = snapshot.subscription(id).filter(|found| policy::sees_subscription(&standing, found));
        found.cloned().ok_or_else(|| not_found("subscription", id))
    }

    /// Subscriptions after an id that concern the caller.
    ///
    /// # Errors
    /// [`Error::IdentityUnknown`].
    pub fn subscriptions(&self, caller: &Identity, after: &str, size: usize) -> Result<Page<Arc<Subscription>>, Error> {
        let (snapshot, standing) = self.look(caller)?;
        let sees = |one: &Subscription| policy::sees_subscription(&standing, one);
        Ok(page(snapshot.subscriptions_after(after), sees, |one| one.id.as_str(), size))
    }

    fn look(&self, caller: &Identity) -> Result<(Arc<Snapshot>, Standing), Error> {
        let snapshot = self.catalogue.snapshot();
        let standing = snapshot.standing(caller)?;
        Ok((snapshot, standing))
    }
}

fn not_found(kind: &'static str, name: &str) -> Error {
    Error::ResourceNotFound { kind, name: name.to_owned() }
}

/// The first `size` of those that may be seen; the catalogue is in memory, so what may not is passed over at once.
fn page<'s, T: 's>(
    all: impl Iterator<Item = &'s Arc<T>>,
    sees: impl Fn(&T) -> bool,
    name: impl Fn(&T) -> &str,
    size: usize,
) -> Page<Arc<T>> {
    let size = if size == 0 { PAGE_DEFAULT } else { size.min(PAGE_MAX) };
    let mut seen = all.filter(|one| sees(one));
    let items: Vec<_> = seen.by_ref().take(size).cloned().collect();
    let next = seen.next().and_then(|_| items.last()).map(|last| name(last).to_owned());
    Page { items, next }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{
        audit::Query,
        catalogue::{command::*, fixtures as catalogue},
        fixtures::{City, DATASET, OWNER},
    };

    async fn trail(city: &City) -> Vec<serde_json::Value> {
        let page = city.audit.list(&Query::default()).await.unwrap();
        page.lines.iter().map(|line| serde_json::from_slice(&line.canonical).unwrap()).collect()
    }

    #[tokio::test]
    async fn every_command_is_on_the_trail_whatever_its_verdict() {
        let directory = tempfile::tempdir().unwrap();
        let city = City::open(directory.path()).await;
        let desk = Administration::new(city.catalogue.clone(), city.audit.clone());
        let grant = || Command::CreateGrant(catalogue::new_grant("market-supervision.one", DATASET, "taxation"));
        desk.execute(&catalogue::system(OWNER), grant()).await.unwrap();
        let refused = desk.execute(&catalogue::system("taxation"), grant()).await;
        assert!(matches!(refused, Err(Error::NotOwner { .. })), "{refused:?}");

        let trail = trail(&city).await;
        let [allowed, denied] = &trail[..] else { panic!("two entries: {trail:?}") };
        assert_eq!(allowed["action"], "catalogue_change");
        assert_eq!(allowed["target"]["command"], "create_grant");
        assert_eq!(allowed["target"]["resource"], "grants/market-supervision.one");
        assert_eq!((&allowed["dataset"], &allowed["outcome"]), (&DATASET.into(), &"allowed".into()));
        assert_eq!(denied["actor"], "department/taxation/system/registry");
        assert_eq!(denied["outcome"]["denied"], "NOT_OWNER");
        city.close().await;
    }

    #[tokio::test]
    async fn a_revocation_is_found_under_its_dataset_and_tells_a_stranger_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let city = City::open(directory.path()).await;
        let desk = Administration::new(city.catalogue.clone(), city.audit.clone());
        city.command(
            &catalogue::system(OWNER),
            Command::CreateGrant(catalogue::new_grant("market-supervision.one", DATASET, "taxation")),
        )
        .await;
        let grant = city.catalogue.snapshot().grant("market-supervision.one").unwrap().clone();
        let revoke = || Command::RevokeGrant(GrantRef { id: grant.id.clone(), expected: grant.version });
        let hidden = desk.execute(&catalogue::system("civil-affairs"), revoke()).await;
        assert!(matches!(hidden, Err(Error::ResourceNotFound { .. })), "{hidden:?}");
        desk.execute(&catalogue::system(OWNER), revoke()).await.unwrap();
        let trail = trail(&city).await;
        let [denied, revoked] = &trail[..] else { panic!("two entries: {trail:?}") };
        assert_eq!(denied["dataset"], serde_json::Value::Null);
        assert_eq!((&revoked["dataset"], &revoked["target"]["command"]), (&DATASET.into(), &"revoke_grant".into()));
        city.close().await;
    }

    #[tokio::test]
    async fn an_unlisted_dataset_is_seen_by_its_owner_its_grantees_and_administrators_alone() {
        let directory = tempfile::tempdir().unwrap();
        let city = City::open(directory.path()).await;
        let desk = Administration::new(city.catalogue.clone(), city.audit.clone());
        let hidden = "market-supervision.hidden";
        let new = NewDataset { listed: false, ..catalogue::new_dataset(hidden) };
        city.command(&catalogue::system(OWNER), Command::CreateDataset(new)).await;
        let sees = |caller: &Identity| {
            let page = desk.datasets(caller, "", 0).unwrap();
            let listed = page.items.iter().any(|one| one.id.as_str() == hidden);
            assert_eq!(desk.dataset(caller, hidden).is_ok(), listed, "get and list agree");
            listed
        };
        assert!(sees(&catalogue::system(OWNER)));
        assert!(sees(&catalogue::administrator()));
        assert!(!sees(&catalogue::system("taxation")));
        let grant = catalogue::new_grant("market-supervision.shows-hidden", hidden, "taxation");
        city.command(&catalogue::system(OWNER), Command::CreateGrant(grant)).await;
        assert!(sees(&catalogue::system("taxation")));
        assert!(!sees(&catalogue::system("civil-affairs")));
        assert!(matches!(
            desk.grant(&catalogue::system("civil-affairs"), "market-supervision.shows-hidden"),
            Err(Error::ResourceNotFound { .. })
        ));
        assert!(matches!(desk.datasets(&catalogue::system("nobody"), "", 0), Err(Error::IdentityUnknown)));
        city.close().await;
    }

    #[tokio::test]
    async fn pages_show_everything_once_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let city = City::open(directory.path()).await;
        let desk = Administration::new(city.catalogue.clone(), city.audit.clone());
        let owner = catalogue::system(OWNER);
        for number in 0..7 {
            let grant = catalogue::new_grant(&format!("market-supervision.g{number}"), DATASET, "taxation");
            city.command(&owner, Command::CreateGrant(grant)).await;
        }
        let (mut after, mut seen) = (String::new(), Vec::new());
        loop {
            let page = desk.grants(&owner, DATASET, &after, 3).unwrap();
            assert!(!page.items.is_empty() && page.items.len() <= 3);
            seen.extend(page.items.iter().map(|one| one.id.to_string()));
            match page.next {
                Some(next) => after = next,
                None => break,
            }
        }
        assert_eq!(seen, (0..7).map(|number| format!("market-supervision.g{number}")).collect::<Vec<_>>());
        assert_eq!(desk.grants(&owner, "market-supervision.other", "", 3).unwrap().items.len(), 0);
        city.close().await;
    }
}
