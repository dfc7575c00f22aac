//! From a legacy registry to a legacy inbox: every row is accounted for on both ends.

use std::time::Duration;

use shuqiao_tests::fixtures::{
    City, Home,
    adapter::{Adapter, registry_rows, write_registry},
    eventually, grant, raw_log, subscription,
};

/// Columns of the real registry's file, as its source tells.
const NANTONG_ROWS: u64 = 5_072;
const NANTONG_RECORDS: u64 = 4_873;

/// The inbox's database: PostgreSQL where `SHUQIAO_TEST_POSTGRES` names one, and always SQLite.
fn inboxes(city: &City) -> Vec<(&'static str, String)> {
    let file = city.directory().join("inbox.db");
    let mut all = vec![("sqlite", format!("sqlite://{}", file.display()))];
    // A table of its own for each run: the name holds the city's prefix.
    all.extend(shuqiao_test_needs::postgres().map(|url| ("postgres", url)));
    all
}

fn inbox_name(city: &City, database: &str) -> String {
    format!("{}-{database}", city.prefix)
}

/// A city whose taxation may read everything.
async fn granted(home: Home) -> City {
    let city = City::on(home).await;
    city.market_supervision().await.grants(grant("market-supervision.taxation-reads", "taxation", &[""])).await;
    city
}

async fn inbox(city: &City, database: &str, url: &str) -> Adapter {
    let id = format!("taxation.{database}");
    let id = city.taxation().await.subscribes(subscription(&id, "taxation")).await;
    Adapter::inbox(city, &inbox_name(city, database), &id, url)
}

#[tokio::test]
async fn every_row_of_a_dirty_registry_arrives_in_the_inbox_or_is_set_aside() {
    let city = granted(Home::Embedded).await;
    let csv = city.directory().join("registry.csv");
    let (mut rows, dirty) = registry_rows(300);
    write_registry(&csv, &rows, true);
    let registry = Adapter::registry(&city, "registry", &csv, "gb18030");
    let (good, said) = registry.check().await;
    assert!(good, "{said}");

    let report = registry.run_once().await;
    assert_eq!(report["run"]["read"], 300 + dirty, "{report}");
    assert_eq!((&report["run"]["accepted"], &report["run"]["dead_letters"]), (&300.into(), &dirty.into()), "{report}");
    for (database, url) in inboxes(&city) {
        let inbox = inbox(&city, database, &url).await;
        let report = inbox.run_once().await;
        assert_eq!((&report["run"]["delivered"], &report["run"]["taken"]), (&300.into(), &300.into()), "{report}");
        let answer = inbox.reconcile().await;
        assert_eq!((&answer["balanced"], &answer["comparisons"][0]["equal"]), (&true.into(), &true.into()), "{answer}");
        assert_eq!(answer["comparisons"][0]["ours"]["count"], 300, "{answer}");
    }
    let answer = registry.reconcile().await;
    assert_eq!((&answer["balanced"], &answer["comparisons"][0]["equal"]), (&true.into(), &true.into()), "{answer}");

    // Again: nothing is published twice.
    let again = registry.run_once().await;
    assert_eq!(again["run"]["accepted"], 0, "{again}");
    // Another export of the same rows, one of which has changed: one record, the rest is unchanged.
    rows[0][0] = "南通改名有限公司".into();
    write_registry(&csv, &rows, true);
    let changed = registry.run_once().await;
    assert_eq!((&changed["run"]["accepted"], &changed["run"]["unchanged"]), (&1.into(), &299.into()), "{changed}");
}

#[tokio::test]
async fn adapters_go_on_while_the_broker_is_killed_again_and_again() {
    let mut city = granted(Home::Embedded).await;
    let csv = city.directory().join("registry.csv");
    let (rows, _) = registry_rows(2000);
    write_registry(&csv, &rows, false);
    let registry = Adapter::registry(&city, "registry", &csv, "utf-8");
    let url = format!("sqlite://{}", city.directory().join("inbox.db").display());
    let inbox = inbox(&city, "sqlite", &url).await;
    let (mut publishing, mut filling) = (registry.follow(), inbox.follow());
    for round in 0..6 {
        tokio::time::sleep(Duration::from_millis(150 + 100 * round)).await;
        city.crash().await;
    }
    eventually(180, "both sides hold the same", async || {
        let answer = inbox.reconcile().await;
        answer["comparisons"][0]["equal"] == true && answer["comparisons"][0]["ours"]["count"] == 2000
    })
    .await;
    assert_eq!((publishing.ended(), filling.ended()), (None, None), "{}\n{}", registry.lines(), inbox.lines());
    drop((publishing, filling));
    let answer = registry.reconcile().await;
    assert_eq!((&answer["balanced"], &answer["comparisons"][0]["equal"]), (&true.into(), &true.into()), "{answer}");
}

#[tokio::test]
async fn of_two_adapters_for_one_source_one_is_fenced_and_no_sequence_is_stored_twice() {
    let mut city = granted(Home::Embedded).await;
    let csv = city.directory().join("registry.csv");
    let (mut rows, _) = registry_rows(500);
    rows.truncate(500);
    write_registry(&csv, &rows, false);
    // One after the other for one source: the second has no memory of the first and must not overwrite its sequences.
    let first = Adapter::registry(&city, "first", &csv, "utf-8");
    let mut running = first.follow();
    eventually(30, "the first has published", async || {
        city.market_supervision().await.digest(Vec::new()).await.is_ok_and(|(count, _)| count == 500)
    })
    .await;
    let second = Adapter::registry(&city, "second", &csv, "utf-8");
    let mut other = second.follow();
    // The older one is fenced: it says by name what is wrong and what to do, and waits for a person.
    eventually(30, "the first learns that there are two", async || running.ended().is_some()).await;
    let said = first.lines();
    assert_eq!(running.ended(), Some(3), "{said}");
    let told = "two adapters run for one source (SOURCE_FENCED): a newer session has taken its place; stop one of them";
    assert!(said.contains(told), "{said}");
    // The newer one goes on.
    rows.push(registry_rows(501).0.swap_remove(500));
    write_registry(&csv, &rows, false);
    eventually(30, "the second publishes what is new", async || {
        city.market_supervision().await.digest(Vec::new()).await.is_ok_and(|(count, _)| count == 501)
    })
    .await;
    let said = second.lines();
    assert_eq!(other.ended(), None, "{said}");
    assert!(!said.contains("SOURCE_FENCED"), "{said}");
    drop((running, other));
    // A doubled entry would look like one in every view: the log itself is read.
    city.node.terminate().await;
    let entries = raw_log::entries(&city).await;
    let stored = |sequence: &u64| entries.iter().filter(|entry| entry.sequence == *sequence).count();
    assert!(entries.len() >= 500);
    assert_eq!(entries.iter().map(|entry| stored(&entry.sequence)).max(), Some(1));
}

#[tokio::test]
async fn the_real_registry_of_nantong_ends_with_every_row_accounted_for() {
    let Some(path) = shuqiao_test_needs::real_registry() else { return };
    let home = Home::kafka().unwrap_or(Home::Embedded);
    let city = granted(home).await;
    let registry = Adapter::registry(&city, "registry", &path, "utf-8");
    let report = registry.run_once().await;
    let run = &report["run"];
    assert_eq!((&run["read"], &run["accepted"]), (&NANTONG_ROWS.into(), &NANTONG_RECORDS.into()), "{report}");
    assert_eq!(run["dead_letters"], NANTONG_ROWS - NANTONG_RECORDS, "{report}");
    let reasons: Vec<(String, u64)> = serde_json::from_value(report["reasons"].clone()).expect("reasons");
    let count = |rule: &str| reasons.iter().find(|(one, _)| one == rule).map_or(0, |(_, count)| *count);
    assert_eq!(count("REGISTRATION_NUMBER_INSTEAD"), 196, "{reasons:?}");
    assert_eq!(count("OLD_REGISTRATION_NUMBER_INSTEAD"), 2, "{reasons:?}");
    assert_eq!(count("ORGANISATION_CODE_INSTEAD"), 1, "{reasons:?}");
    for (database, url) in inboxes(&city) {
        let inbox = inbox(&city, database, &url).await;
        assert_eq!(inbox.run_once().await["run"]["taken"], NANTONG_RECORDS);
        let answer = inbox.reconcile().await;
        assert_eq!((&answer["balanced"], &answer["comparisons"][0]["equal"]), (&true.into(), &true.into()), "{answer}");
    }
    assert_eq!(registry.run_once().await["run"]["accepted"], 0, "nothing is published twice");
}
