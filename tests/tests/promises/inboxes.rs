//! An inbox that does not hold any more what was acknowledged is told before anything else is, and everything comes once more where somebody asks for it.

use std::path::{Path, PathBuf};

use shuqiao_proto::v1;
use shuqiao_tests::fixtures::{
    City, Home,
    adapter::{Adapter, registry_rows, write_registry},
    grant, subscription,
};

/// A city whose market supervision has published so many rows, and whose taxation is granted these fields.
async fn city(rows: u32, fields: &[&str]) -> (City, v1::Grant) {
    let city = City::on(Home::Embedded).await;
    let granted =
        city.market_supervision().await.grants(grant("market-supervision.taxation-reads", "taxation", fields)).await;
    publish(&city, rows).await;
    (city, granted)
}

async fn publish(city: &City, rows: u32) {
    let csv = city.directory().join("registry.csv");
    let (all, _) = registry_rows(rows);
    write_registry(&csv, &all[..rows as usize], false);
    Adapter::registry(city, "registry", &csv, "utf-8").run_once().await;
}

async fn inbox(city: &City, name: &str, url: &str) -> Adapter {
    let id = city.taxation().await.subscribes(subscription(&format!("taxation.{name}"), "taxation")).await;
    Adapter::inbox(city, &format!("{}-{name}", city.prefix), &id, url)
}

/// The file of a SQLite database, and what lies beside it.
fn files(database: &Path) -> Vec<PathBuf> {
    let beside = |ending: &str| database.with_file_name(format!("inbox.db{ending}"));
    ["", "-wal", "-shm"].map(beside).into_iter().filter(|path| path.exists()).collect()
}

/// It says what is wrong and what helps, and acknowledges nothing; asked anew, it ends with what the exchange shows.
async fn is_told_and_refilled(city: &City, inbox: &Adapter, words: &str, count: u64) {
    let cursor = cursors(city).await;
    for _ in 0..2 {
        let (code, told) = inbox.ends(&["run", "--once"]).await;
        assert_eq!(code, 4, "{told}");
        assert!(told.contains(words) && told.contains("shuqiao-adapter refresh"), "{told}");
    }
    assert_eq!(cursors(city).await, cursor, "something was acknowledged");
    let (code, told) = inbox.ends(&["refresh"]).await;
    assert_eq!(code, 0, "{told}");
    let report = inbox.run_once().await;
    assert_eq!(report["run"]["taken"], count, "{report}");
    let answer = inbox.reconcile().await;
    let comparison = &answer["comparisons"][0];
    assert_eq!((&comparison["equal"], &comparison["ours"]["count"]), (&true.into(), &count.into()), "{answer}");
    assert_eq!(answer["balanced"], true, "{answer}");
    assert_eq!(inbox.run_once().await["run"]["delivered"], 0, "once asked, once told");
}

async fn cursors(city: &City) -> Vec<Vec<v1::Position>> {
    let mut catalogue = city.taxation().await.catalogue();
    let request = v1::ListSubscriptionsRequest { page_size: 100, ..Default::default() };
    let all = catalogue.list_subscriptions(request).await.expect("lists").into_inner().subscriptions;
    all.into_iter().map(|subscription| subscription.cursor).collect()
}

#[tokio::test]
async fn an_inbox_that_was_removed_or_restored_from_a_backup_is_told_and_filled_again_on_demand() {
    let (city, _) = city(50, &[""]).await;
    let database = city.directory().join("inbox.db");
    let inbox = inbox(&city, "sqlite", &format!("sqlite://{}", database.display())).await;
    assert_eq!(inbox.run_once().await["run"]["taken"], 50);
    let backup = city.directory().join("backup");
    std::fs::create_dir(&backup).expect("a directory");
    for file in files(&database) {
        std::fs::copy(&file, backup.join(file.file_name().expect("a name"))).expect("copies");
    }

    files(&database).iter().for_each(|file| std::fs::remove_file(file).expect("removes"));
    is_told_and_refilled(&city, &inbox, "it is empty, and had taken ", 50).await;

    publish(&city, 60).await;
    assert_eq!(inbox.run_once().await["run"]["taken"], 10);
    files(&database).iter().for_each(|file| std::fs::remove_file(file).expect("removes"));
    for file in std::fs::read_dir(&backup).expect("lists").map(|entry| entry.expect("an entry").path()) {
        std::fs::copy(&file, database.with_file_name(file.file_name().expect("a name"))).expect("copies");
    }
    is_told_and_refilled(&city, &inbox, "it is another one than that which took ", 60).await;

    // The machine is gone with both: nobody knows how much it had, but that somebody had something.
    files(&database).iter().for_each(|file| std::fs::remove_file(file).expect("removes"));
    std::fs::remove_file(inbox.state()).expect("removes");
    let (code, told) = inbox.ends(&["run", "--once"]).await;
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("stands further on") && told.contains("shuqiao-adapter refresh"), "{told}");
    assert_eq!(inbox.ends(&["refresh"]).await.0, 0);
    assert_eq!(inbox.run_once().await["run"]["taken"], 60);
}

#[tokio::test]
async fn an_inbox_table_that_was_dropped_or_went_back_is_told_and_filled_again_on_demand() {
    let Some(url) = shuqiao_test_needs::postgres() else { return };
    let (city, _) = city(50, &[""]).await;
    let inbox = inbox(&city, "postgres", &url).await;
    assert_eq!(inbox.run_once().await["run"]["taken"], 50);
    let pool = sqlx::PgPool::connect(&url).await.expect("connects");
    let table = format!("inbox_{}_postgres", city.prefix.replace('-', "_"));
    let runs = async |statement: String| {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&pool).await.expect("runs");
    };
    runs(format!("CREATE TABLE {table}_then AS TABLE {table}; CREATE TABLE {table}_mark_then AS TABLE {table}_mark"))
        .await;
    publish(&city, 60).await;
    assert_eq!(inbox.run_once().await["run"]["taken"], 10);
    runs(format!(
        "TRUNCATE {table}, {table}_mark; INSERT INTO {table} TABLE {table}_then; INSERT INTO {table}_mark TABLE {table}_mark_then"
    ))
    .await;
    is_told_and_refilled(&city, &inbox, "it has taken ", 60).await;
    runs(format!("DROP TABLE {table}, {table}_mark, {table}_then, {table}_mark_then")).await;
    is_told_and_refilled(&city, &inbox, "it is empty, and had taken ", 60).await;
    runs(format!("DROP TABLE {table}, {table}_mark")).await;
}

/// Goal: who is granted more has it, also of what was delivered before, once it is asked for; who is granted less need not keep more.
#[tokio::test]
async fn what_a_grant_shows_by_now_reaches_what_was_delivered_before_once_it_is_asked_for() {
    let narrow = ["/unified_social_credit_code", "/name"];
    let (city, mut granted) = city(40, &narrow).await;
    let url = format!("sqlite://{}", city.directory().join("inbox.db").display());
    let inbox = inbox(&city, "sqlite", &url).await;
    assert_eq!(inbox.run_once().await["run"]["taken"], 40);
    for fields in [[""].as_slice(), &narrow] {
        granted.fields = grant("market-supervision.taxation-reads", "taxation", fields).fields;
        let request = v1::UpdateGrantRequest { grant: Some(granted) };
        let mut catalogue = city.market_supervision().await.catalogue();
        granted = catalogue.update_grant(request).await.expect("is changed").into_inner();
        let (code, told) = inbox.ends(&["reconcile", "--patience", "1s"]).await;
        assert_eq!(code, 5, "{told}");
        assert_eq!(inbox.ends(&["refresh"]).await.0, 0);
        assert_eq!(inbox.run_once().await["run"]["taken"], 40);
        let answer = inbox.reconcile().await;
        assert_eq!((&answer["balanced"], &answer["comparisons"][0]["equal"]), (&true.into(), &true.into()), "{answer}");
    }
}
