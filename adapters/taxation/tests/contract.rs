//! The adapter contract, on both databases. PostgreSQL where `SHUQIAO_TEST_POSTGRES` names one.

use shuqiao_adapter_sdk::{
    Adapter, AdapterError, ErrorClass, Operation, Outcome, Record, Sink, contract,
    inbox::{Inbox, InboxConfig},
};
use shuqiao_adapter_taxation::Taxation;
use sqlx::{AssertSqlSafe, PgPool, Row, SqlitePool};

fn sqlite(directory: &tempfile::TempDir) -> InboxConfig {
    let mut config = InboxConfig::new(format!("sqlite://{}", directory.path().join("inbox.db").display()));
    config.create_table = true;
    config
}

fn record(key: &str, version: u64, offset: u64, payload: &str) -> Record {
    Record {
        dataset: "market-supervision.enterprise".into(),
        record_type: "enterprise/v1".into(),
        key: key.into(),
        operation: if payload.is_empty() { Operation::Delete } else { Operation::Upsert },
        source_version: version,
        payload: payload.to_owned().into_bytes().into(),
        source: "department/market-supervision/system/registry".into(),
        sequence: offset + 1,
        accept_time_ms: 1_700_000_000_123,
        position: (0, offset),
    }
}

#[test]
fn the_descriptor_and_its_example_are_whole() {
    contract::descriptor_is_whole(&Taxation);
}

#[tokio::test]
async fn sqlite_keeps_the_contract() {
    let directory = tempfile::tempdir().expect("directory");
    let mut config = sqlite(&directory);
    config.table = "in\"box 收件".into();
    let inbox = Inbox::open(&config).await.expect("opens");
    contract::sink_keeps_its_promises(&inbox, "market-supervision.enterprise", "enterprise/v1").await;
    assert!(inbox.mark().await.expect("mark").is_some(), "it says how much it has taken");
}

#[tokio::test]
async fn a_missing_table_is_told_with_its_statement_and_not_created() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("inbox.db");
    std::fs::File::create(&path).expect("an empty file is an empty database");
    let mut config = sqlite(&directory);
    config.create_table = false;

    let error = Inbox::open(&config).await.map(drop).expect_err("no table");
    assert_eq!(error.class(), ErrorClass::Configuration);
    assert!(error.to_string().contains("CREATE TABLE IF NOT EXISTS \"shuqiao_inbox\""), "{error}");
    let report = Taxation::check(&config).await;
    assert!(!report.passed());
    assert!(report.findings.iter().any(|finding| finding.remedy.contains("CREATE TABLE")), "{report:?}");

    let pool = SqlitePool::connect(&format!("sqlite://{}", path.display())).await.expect("opens");
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_master").fetch_one(&pool).await.expect("asks");
    assert_eq!(tables, 0, "a check or a refused run has created something");

    config.create_table = true;
    Inbox::open(&config).await.expect("creates");
    config.create_table = false;
    assert!(Taxation::check(&config).await.passed());
}

/// With its table dropped: says nothing of itself any more, and is told by the check and by a run that may not make one.
async fn a_dropped_table_is_known(config: &InboxConfig, dropping: impl AsyncFnOnce()) {
    let mut config = config.clone();
    config.create_table = true;
    let inbox = Inbox::open(&config).await.expect("opens");
    inbox.deliver(&[record("k", 1, 0, "{}")]).await.expect("delivers");
    assert_eq!(inbox.mark().await.expect("mark").map(|mark| mark.deliveries), Some(1));
    dropping().await;
    assert_eq!(inbox.mark().await.expect("mark"), None, "nothing is left of what it took");
    let report = Taxation::check(&config).await;
    let told = "the inbox table is missing, and had taken 1 delivery";
    assert!(report.findings.iter().any(|finding| finding.message.contains(told)), "{report:?}");
    config.create_table = false;
    let report = Taxation::check(&config).await;
    assert!(!report.passed() && format!("{report:?}").contains(told), "{report:?}");
    let error = Inbox::open(&config).await.map(drop).expect_err("no table");
    assert_eq!(error.class(), ErrorClass::Protocol);
    assert!(error.to_string().contains(told) && error.to_string().contains("shuqiao-adapter refresh"), "{error}");
    config.create_table = true;
    let inbox = Inbox::open(&config).await.expect("creates");
    assert_eq!(inbox.mark().await.expect("mark"), None, "an empty table for the one that took something");
}

#[tokio::test]
async fn sqlite_knows_a_table_that_was_dropped() {
    let directory = tempfile::tempdir().expect("directory");
    let url = format!("sqlite://{}", directory.path().join("inbox.db").display());
    a_dropped_table_is_known(&sqlite(&directory), async || {
        let pool = SqlitePool::connect(&url).await.expect("opens");
        sqlx::query("DROP TABLE shuqiao_inbox").execute(&pool).await.expect("drops");
    })
    .await;
}

#[tokio::test]
async fn postgres_knows_a_table_that_was_dropped() {
    let schema = "shuqiao_test_dropped";
    let Some((pool, config)) = postgres(schema).await else { return };
    a_dropped_table_is_known(&config, async || {
        let statement = format!("DROP TABLE {schema}.shuqiao_inbox");
        sqlx::query(AssertSqlSafe(statement)).execute(&pool).await.expect("drops");
    })
    .await;
    drop_schema(&pool, schema).await;
}

#[tokio::test]
async fn a_table_of_another_shape_is_told() {
    let directory = tempfile::tempdir().expect("directory");
    let config = sqlite(&directory);
    let url = format!("sqlite://{}?mode=rwc", directory.path().join("inbox.db").display());
    let pool = SqlitePool::connect(&url).await.expect("opens");
    sqlx::query("CREATE TABLE shuqiao_inbox (key TEXT PRIMARY KEY)").execute(&pool).await.expect("creates");
    let report = Taxation::check(&config).await;
    assert!(!report.passed(), "{report:?}");
    let inbox = Inbox::open(&config).await.expect("the table is there");
    let error = inbox.deliver(&[record("k", 1, 0, "{}")]).await.expect_err("no such column");
    assert_eq!(error.class(), ErrorClass::Configuration, "{}", error.chain());
}

#[tokio::test]
async fn a_delete_is_a_row_that_says_so_with_where_it_came_from() {
    let directory = tempfile::tempdir().expect("directory");
    let inbox = Inbox::open(&sqlite(&directory)).await.expect("opens");
    inbox.deliver(&[record("k", 1, 4, "{}"), record("k", 2, 9, "")]).await.expect("delivers");
    let url = format!("sqlite://{}", directory.path().join("inbox.db").display());
    let pool = SqlitePool::connect(&url).await.expect("opens");
    let row = sqlx::query("SELECT deleted, payload, source_version, \"offset\", accept_time FROM shuqiao_inbox")
        .fetch_one(&pool)
        .await
        .expect("one row");
    assert!(row.get::<bool, _>("deleted"));
    assert_eq!(row.get::<String, _>("payload"), "");
    assert_eq!((row.get::<i64, _>("source_version"), row.get::<i64, _>("offset")), (2, 9));
    assert_eq!(row.get::<String, _>("accept_time"), "2023-11-14T22:13:20.123Z");
}

#[tokio::test]
async fn what_somebody_changes_in_the_table_shows_in_the_digest() {
    let directory = tempfile::tempdir().expect("directory");
    let inbox = Inbox::open(&sqlite(&directory)).await.expect("opens");
    inbox.deliver(&[record("k", 1, 0, "{\"a\":1}")]).await.expect("delivers");
    let before = inbox.digest().await.expect("digest");
    let url = format!("sqlite://{}", directory.path().join("inbox.db").display());
    let pool = SqlitePool::connect(&url).await.expect("opens");
    sqlx::query("UPDATE shuqiao_inbox SET payload = '{\"a\":2}'").execute(&pool).await.expect("changes");
    assert_ne!(inbox.digest().await.expect("digest"), before);
    inbox.deliver(&[record("k", 1, 0, "{\"a\":1}")]).await.expect("delivers once more");
    assert_eq!(inbox.digest().await.expect("digest"), before, "as it was delivered");
}

#[test]
fn every_mistake_of_the_table_is_told_and_no_password() {
    let mut config = InboxConfig::new("mysql://user:secret@host/db");
    config.table = String::new();
    let mistakes = Taxation::mistakes(&config);
    assert_eq!(mistakes.len(), 2, "{mistakes:?}");
    assert!(!format!("{config:?} {mistakes:?}").contains("secret"));
}

/// A schema of its own in the database that `SHUQIAO_TEST_POSTGRES` names; where it names none, the test is left out.
async fn postgres(schema: &str) -> Option<(PgPool, InboxConfig)> {
    let url = shuqiao_test_needs::postgres()?;
    let pool = PgPool::connect(&url).await.expect("SHUQIAO_TEST_POSTGRES is reachable");
    for statement in [format!("DROP SCHEMA IF EXISTS \"{schema}\" CASCADE"), format!("CREATE SCHEMA \"{schema}\"")] {
        sqlx::query(AssertSqlSafe(statement)).execute(&pool).await.expect("a schema of our own");
    }
    let mut config = InboxConfig::new(url);
    config.schema = Some(schema.into());
    Some((pool, config))
}

async fn drop_schema(pool: &PgPool, schema: &str) {
    let statement = format!("DROP SCHEMA \"{schema}\" CASCADE");
    sqlx::query(AssertSqlSafe(statement)).execute(pool).await.expect("drops");
}

#[tokio::test]
async fn postgres_keeps_the_contract() {
    let schema = "shuqiao test \"contract";
    let quoted = schema.replace('"', "\"\"");
    let Some((pool, mut config)) = postgres(&quoted).await else { return };
    config.schema = Some(schema.into());
    config.table = "in\"box 收件".into();
    assert_eq!(
        Inbox::open(&config).await.map(drop).map_err(|error: AdapterError| error.class()),
        Err(ErrorClass::Configuration)
    );
    let report = Taxation::check(&config).await;
    assert!(report.findings.iter().any(|finding| finding.remedy.contains("CREATE TABLE")), "{report:?}");
    config.create_table = true;
    let inbox = Inbox::open(&config).await.expect("opens");
    contract::sink_keeps_its_promises(&inbox, "market-supervision.enterprise", "enterprise/v1").await;
    assert!(inbox.mark().await.expect("mark").is_some(), "it says how much it has taken");
    let report = Taxation::check(&config).await;
    assert!(report.passed(), "{report:?}");
    drop_schema(&pool, &quoted).await;
}

/// Goal: a database that ends our connections costs a transient error, never a record. In a database of its own, so that it ends nobody else's.
#[tokio::test]
async fn postgres_ending_our_connections_is_transient() {
    let database = "shuqiao_test_connections";
    let Some((pool, mut config)) = postgres(database).await else { return };
    for statement in [format!("DROP DATABASE IF EXISTS {database}"), format!("CREATE DATABASE {database}")] {
        sqlx::query(AssertSqlSafe(statement)).execute(&pool).await.expect("a database of our own");
    }
    let url = shuqiao_test_needs::postgres().expect("set, or we had returned");
    let (server, _) = url.rsplit_once('/').expect("the URL names a database");
    config.url = InboxConfig::new(format!("{server}/{database}")).url;
    config.schema = None;
    config.create_table = true;
    let inbox = Inbox::open(&config).await.expect("opens");
    inbox.deliver(&[record("a", 1, 0, "{}")]).await.expect("delivers");
    let ended: Vec<bool> = sqlx::query_scalar(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()",
    )
    .bind(database)
    .fetch_all(&pool)
    .await
    .expect("ends");
    assert!(!ended.is_empty(), "the inbox holds no connection that could end");
    let records = [record("b", 1, 1, "{}")];
    let mut delivered = false;
    for _ in 0..5 {
        match inbox.deliver(&records).await {
            Ok(_) => {
                delivered = true;
                break;
            }
            Err(error) => assert_eq!(error.class(), ErrorClass::Transient, "{}", error.chain()),
        }
    }
    assert!(delivered, "the pool does not come back");
    assert_eq!(inbox.digest().await.expect("digest").0, 2);
    drop(inbox);
    let statement = format!("DROP DATABASE {database} WITH (FORCE)");
    sqlx::query(AssertSqlSafe(statement)).execute(&pool).await.expect("drops");
    drop_schema(&pool, database).await;
}

/// Goal: what no column can hold is refused alone, beside records that are taken; a delete is a row; an older version changes nothing.
#[tokio::test]
async fn postgres_keeps_deletes_as_rows_and_refuses_only_what_it_cannot_hold() {
    let schema = "shuqiao_test_rows";
    let Some((pool, mut config)) = postgres(schema).await else { return };
    config.create_table = true;
    let inbox = Inbox::open(&config).await.expect("opens");
    let escaped = r#"{"name":"a\u0000b","other":"𠮷"}"#;
    let records = [
        record("taken", 5, 0, escaped),
        record("nul\0key", 1, 1, "{}"),
        record("raw-nul", 1, 2, "{\"name\":\"a\0b\"}"),
        record("gone", 1, 3, "{}"),
        record("gone", 2, 4, ""),
    ];
    let outcomes = inbox.deliver(&records).await.expect("delivers");
    let refused: Vec<_> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Rejected { reason } => reason.rule.as_str(),
            _ => "",
        })
        .collect();
    assert_eq!(refused, ["", "KEY_HOLDS_NUL", "PAYLOAD_NOT_TEXT", "", ""]);
    inbox.deliver(&[record("taken", 4, 9, "{\"older\":true}"), record("gone", 1, 10, "{}")]).await.expect("delivers");

    let statement = format!("SELECT key, deleted, payload, source_version FROM {schema}.shuqiao_inbox ORDER BY key");
    let rows: Vec<(String, bool, String, i64)> =
        sqlx::query_as(AssertSqlSafe(statement)).fetch_all(&pool).await.expect("reads");
    let expected = [("gone".into(), true, String::new(), 2), ("taken".into(), false, escaped.into(), 5)];
    assert_eq!(rows, expected);
    let report = Taxation::check(&config).await;
    assert!(report.passed(), "{report:?}");
    drop_schema(&pool, schema).await;
}

#[tokio::test]
async fn postgres_without_permission_to_write_is_found_by_the_check() {
    let schema = "shuqiao_test_reader";
    let Some((pool, mut config)) = postgres(schema).await else { return };
    config.create_table = true;
    Inbox::open(&config).await.expect("creates");
    for statement in [
        "DROP ROLE IF EXISTS shuqiao_test_reader".to_owned(),
        "CREATE ROLE shuqiao_test_reader LOGIN PASSWORD 'reader'".to_owned(),
        format!("GRANT USAGE ON SCHEMA {schema} TO shuqiao_test_reader"),
        format!("GRANT SELECT ON {schema}.shuqiao_inbox, {schema}.shuqiao_inbox_mark TO shuqiao_test_reader"),
    ] {
        sqlx::query(AssertSqlSafe(statement)).execute(&pool).await.expect("prepares");
    }
    let url = shuqiao_test_needs::postgres().expect("named");
    let (_, place) = url.rsplit_once('@').expect("a URL with a user");
    let mut reader = InboxConfig::new(format!("postgres://shuqiao_test_reader:reader@{place}"));
    reader.schema = Some(schema.into());
    let report = Taxation::check(&reader).await;
    assert!(!report.passed() && format!("{report:?}").contains("may not INSERT and UPDATE"), "{report:?}");
    let inbox = Inbox::open(&reader).await.expect("may read");
    let error = inbox.deliver(&[record("k", 1, 0, "{}")]).await.expect_err("may not write");
    assert_eq!(error.class(), ErrorClass::Configuration, "{}", error.chain());
    drop_schema(&pool, schema).await;
    sqlx::query("DROP ROLE shuqiao_test_reader").execute(&pool).await.expect("drops");
}

/// Goal: a check that says OK is followed by a run that can. In a database of its own, because `public` and what may be done in it are one for all.
#[tokio::test]
async fn a_table_that_a_run_may_not_create_on_postgres_is_found_by_the_check_with_the_grant_that_is_missing() {
    let name = "shuqiao_test_creator";
    let Some((admin, _)) = postgres(name).await else { return };
    let url = shuqiao_test_needs::postgres().expect("set, or we had returned");
    let (_, place) = url.rsplit_once('@').expect("a URL with a user");
    let (server, _) = place.split_once('/').expect("a URL with a database");
    for statement in [
        format!("DROP DATABASE IF EXISTS {name}"),
        format!("DROP ROLE IF EXISTS {name}"),
        format!("CREATE ROLE {name} LOGIN PASSWORD 'creator'"),
        format!("CREATE DATABASE {name}"),
    ] {
        sqlx::query(AssertSqlSafe(statement)).execute(&admin).await.expect("prepares");
    }
    let (administrator, _) = url.rsplit_once('/').expect("a URL with a database");
    let owner = PgPool::connect(&format!("{administrator}/{name}")).await.expect("connects");
    let runs = async |statement: &str| {
        sqlx::query(AssertSqlSafe(statement.to_owned())).execute(&owner).await.expect("runs");
    };
    let mut config = InboxConfig::new(format!("postgres://{name}:creator@{server}/{name}"));
    config.create_table = true;
    let told = async |config: &InboxConfig| {
        let report = Taxation::check(config).await;
        (report.passed(), format!("{report:?}"))
    };

    // As PostgreSQL has been since 15, and made so on an older one.
    runs("REVOKE CREATE ON SCHEMA public FROM PUBLIC").await;
    let (passed, said) = told(&config).await;
    assert!(!passed && said.contains(&format!("user {name} may not CREATE in schema public")), "{said}");
    let grant = format!("GRANT USAGE, CREATE ON SCHEMA public TO {name};");
    assert!(said.contains(&grant), "{said}");
    let error = Inbox::open(&config).await.map(drop).expect_err("the run ends as the check said");
    assert_eq!(error.class(), ErrorClass::Configuration, "{}", error.chain());

    config.schema = Some("of our own".into());
    let (passed, said) = told(&config).await;
    let schema = format!("CREATE SCHEMA \"of our own\" AUTHORIZATION {name};");
    // Debug doubles what stands before a quote.
    assert!(!passed && said.replace('\\', "").contains(&schema), "{said}");

    // What the remedies say is what helps.
    runs(&schema).await;
    runs(&grant).await;
    for schema in [config.schema.clone(), None] {
        config.schema = schema;
        let (passed, said) = told(&config).await;
        assert!(passed && said.contains("the first run creates it"), "{said}");
        Inbox::open(&config).await.expect("creates");
        assert!(told(&config).await.0);
    }
    owner.close().await;
    for statement in [format!("DROP DATABASE {name} WITH (FORCE)"), format!("DROP ROLE {name}")] {
        sqlx::query(AssertSqlSafe(statement)).execute(&admin).await.expect("drops");
    }
    drop_schema(&admin, name).await;
}
