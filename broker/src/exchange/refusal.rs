//! The one way of every refusal: counted, put on the trail, then answered.

use super::{
    Error,
    audit::{Audit, NewEntry, Outcome},
    catalogue::Catalogue,
};

/// Counts a refusal and puts it on the trail, as the denial of what was asked. Answers with the refusal, or with what kept it from the trail: whoever is refused
/// more often than the trail takes it gets [`Error::QuotaExhausted`] instead. An error that is no refusal leaves no entry.
pub(super) async fn refuse(catalogue: &Catalogue, audit: &Audit, asked: NewEntry, error: Error) -> Error {
    if error.refusal().is_some()
        && let Err(exhausted) = audit.admit_refusal(&asked, catalogue.snapshot().knows(&asked.actor))
    {
        return exhausted;
    }
    end(catalogue, audit, asked, error).await
}

/// As [`refuse`], of what was granted until now: it is on the trail however often it happens.
pub(super) async fn end(catalogue: &Catalogue, audit: &Audit, asked: NewEntry, error: Error) -> Error {
    let Some(reason) = error.refusal() else { return error };
    catalogue.metrics().deny(reason);
    let entry = NewEntry { outcome: Outcome::Denied(reason), ..asked };
    audit.append(entry).await.err().unwrap_or(error)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use serde_json::Value;

    use super::*;
    use crate::exchange::{
        audit::{Asked, Query, Reading},
        catalogue::fixtures::{administrator, system},
        fixtures::{City, DATASET},
        identity::Identity,
    };

    async fn trail(city: &City, action: &str) -> Vec<Value> {
        let page = city.audit.list(&Query { page_size: 1_000, ..Query::default() }).await.unwrap();
        let entries = page.lines.iter().map(|line| serde_json::from_slice::<Value>(&line.canonical).unwrap());
        entries.filter(|entry| entry["action"] == action).collect()
    }

    /// What so many calls are answered.
    async fn answers(city: &City, caller: &Identity, calls: usize) -> BTreeMap<&'static str, u64> {
        let reading = Reading::new(city.catalogue.clone(), city.audit.clone());
        let mut answers = BTreeMap::new();
        for _ in 0..calls {
            let answer = reading.page(caller, Asked::default()).await;
            *answers.entry(answer.map_or_else(|error| error.reason(), |_| "answered")).or_default() += 1;
        }
        answers
    }

    #[tokio::test]
    async fn a_strangers_flood_leaves_a_few_entries_and_a_sum_and_keeps_nobodys_refusal_off_the_trail() {
        let directory = tempfile::tempdir().unwrap();
        let city = City::open(directory.path()).await;
        let stranger = system("stranger");
        let told = answers(&city, &stranger, 300).await;
        let (refused, left_out) = (told["IDENTITY_UNKNOWN"], told["QUOTA_EXHAUSTED"]);
        assert_eq!(refused + left_out, 300, "nothing else is answered: {told:?}");
        assert!((20..60).contains(&refused), "the burst, and what seconds add: {told:?}");
        assert_eq!(trail(&city, "read_audit").await.len() as u64, refused, "whoever was told so is on the trail");

        // Whoever is enrolled, or named by the configuration, is not kept from anything by it.
        let caller = Arc::new(system("taxation"));
        let denied = city.publisher.open(&caller, DATASET, "").await.expect_err("not the owner");
        assert_eq!(denied.reason(), "NOT_OWNER");
        let [entry] = &trail(&city, "publish").await[..] else { panic!("one refusal") };
        assert_eq!(entry["outcome"]["denied"], "NOT_OWNER");
        assert_eq!(answers(&city, &administrator(), 2).await["answered"], 2);

        assert_eq!(city.audit.sum_now().await.unwrap(), left_out);
        let [sum] = &trail(&city, "refused_calls").await[..] else { panic!("one sum") };
        assert_eq!((&sum["actor"], &sum["count"]), (&stranger.source.as_str().into(), &left_out.into()));
        assert_eq!(sum["outcome"]["denied"], "QUOTA_EXHAUSTED");
        assert_eq!(city.audit.sum_now().await.unwrap(), 0, "once");
        city.close().await;
    }

    #[tokio::test]
    async fn what_was_granted_until_now_ends_on_the_trail_however_often() {
        let directory = tempfile::tempdir().unwrap();
        let city = City::open(directory.path()).await;
        let asked = || NewEntry::new(&system("stranger"), crate::exchange::audit::Action::Subscribe);
        for _ in 0..50 {
            let told = end(&city.catalogue, &city.audit, asked(), Error::IdentityUnknown).await;
            assert_eq!(told.reason(), "IDENTITY_UNKNOWN");
        }
        assert_eq!(trail(&city, "subscribe").await.len(), 50);
        city.close().await;
    }
}
