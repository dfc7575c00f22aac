//! What a query leaves on record, and that nothing is answered before.

use super::*;
use crate::exchange::catalogue::{command::NewDataset, fixtures::new_dataset};

const HIDDEN: &str = "market-supervision.hidden";

#[tokio::test]
async fn every_refusal_is_the_policys_and_is_on_record() {
    let desk = Desk::open().await;
    let hidden = NewDataset { listed: false, ..new_dataset(HIDDEN) };
    desk.command(OWNER, Command::CreateDataset(hidden)).await;
    desk.held(DATASET, SAMPLE, vec![upsert(1, "a", "320600")]).await;

    assert_eq!(word(desk.get("stranger", DATASET, "a").await), "IDENTITY_UNKNOWN");
    assert_eq!(word(desk.get("taxation", "market-supervision.none", "a").await), "DATASET_NOT_FOUND");
    assert_eq!(word(desk.get("taxation", HIDDEN, "a").await), "DATASET_NOT_FOUND");
    assert_eq!(word(desk.get("taxation", "no id at all", "a").await), "DATASET_NOT_FOUND");
    assert_eq!(word(desk.get("taxation", DATASET, "a").await), "GRANT_MISSING");
    desk.grant(DATASET, &[("", Treatment::Clear)], &[]).await;
    desk.get("taxation", DATASET, "a").await.unwrap();
    desk.revoke(DATASET).await;
    assert_eq!(word(desk.get("taxation", DATASET, "a").await), "GRANT_REVOKED");
    assert_eq!(word(desk.list("taxation", &[], page(0)).await), "GRANT_REVOKED");
    assert_eq!(word(desk.compare("a", &[("/id", "a")]).await), "GRANT_REVOKED");
    assert_eq!(word(desk.query.digest(&system("taxation"), &question(DATASET)).await), "GRANT_REVOKED");
    let history = desk.query.history(&system("taxation"), &question(DATASET), "a", &page(0)).await;
    assert_eq!(word(history), "GRANT_REVOKED");
    assert_eq!(word(desk.subject("stranger", "uscc", "1", page(0)).await), "IDENTITY_UNKNOWN");

    let outcomes: Vec<_> = desk
        .trail()
        .await
        .iter()
        .map(|entry| entry["outcome"]["denied"].as_str().unwrap_or("allowed").to_owned())
        .collect();
    let expected = "IDENTITY_UNKNOWN DATASET_NOT_FOUND DATASET_NOT_FOUND DATASET_NOT_FOUND GRANT_MISSING allowed GRANT_REVOKED GRANT_REVOKED \
                    GRANT_REVOKED GRANT_REVOKED GRANT_REVOKED IDENTITY_UNKNOWN";
    assert_eq!(outcomes.join(" "), expected);
    desk.close().await;
}

#[tokio::test]
async fn an_entry_says_who_asked_what_for_which_purpose_and_what_was_released() {
    let desk = Desk::open().await;
    let positions = desk.held(DATASET, SAMPLE, vec![upsert(1, "a", "320600")]).await;
    desk.grant(DATASET, &[("", Treatment::Clear)], &[]).await;
    let shown = desk.get("taxation", DATASET, "a").await.unwrap();
    desk.list("taxation", &[("region", "320600")], page(0)).await.unwrap();
    desk.compare("a", &[("/region", "320600")]).await.unwrap();

    let trail = desk.trail().await;
    let mut digest = RecordsDigest::default();
    digest.add("a", 1, &shown.record.payload);
    let at = positions[0];
    for entry in &trail[..2] {
        assert_eq!(entry["digest"], hex::encode(digest.clone().finish().1));
    }
    for entry in &trail {
        assert_eq!(entry["actor"], "department/taxation/system/registry");
        assert_eq!((&entry["dataset"], &entry["purpose"]), (&DATASET.into(), &"核查".into()));
        assert_eq!(entry["grant"]["id"], "market-supervision.sample");
        assert_eq!(entry["positions"], serde_json::json!([[at.partition, at.offset, at.offset]]));
        assert_eq!((&entry["count"], &entry["outcome"]), (&1.into(), &"allowed".into()));
        let text = entry.to_string();
        assert!(!text.contains("320600") && !text.contains("顾"), "no value is in the trail");
    }
    let key = desk.city.audit.key();
    assert_eq!(trail[0]["target"]["key"], hex::encode(key.key(&DATASET.parse().unwrap(), "a").as_bytes()));
    for (entry, field) in [(&trail[1], "region"), (&trail[2], "/region")] {
        assert_eq!(entry["target"]["fields"], serde_json::json!([field]));
        assert_eq!(entry["target"]["filter"], hex::encode(key.values(&["320600"]).as_bytes()));
    }
    desk.close().await;
}

#[tokio::test]
async fn nothing_is_released_before_its_audit_entry_is_durable() {
    let desk = Desk::open().await;
    desk.held(DATASET, SAMPLE, vec![upsert(1, "a", "320600")]).await;
    assert!(desk.get(OWNER, DATASET, "a").await.is_ok());
    // The view still has the record; the trail takes nothing any more.
    desk.city.log.close().await;
    assert!(desk.city.view.get(&DATASET.parse().unwrap(), "a").unwrap().is_some());
    assert!(matches!(desk.get(OWNER, DATASET, "a").await, Err(Error::Draining)));
    assert!(matches!(desk.list(OWNER, &[], page(0)).await, Err(Error::Draining)));
    // Even that nothing is there is an answer.
    assert!(matches!(desk.get(OWNER, DATASET, "b").await, Err(Error::Draining)));
    desk.close().await;
}
