//! The registry as a table, on a real MariaDB (or MySQL) where `SHUQIAO_TEST_MARIADB` names one: `mysql://user@host:port/database`, with a user that
//! may create databases and users.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use shuqiao_adapter_market_supervision::MarketSupervision;
use shuqiao_adapter_sdk::{
    Batch, Context, ErasedAdapter, ErrorClass, Operation, Position, Source, contract,
    state::{Recorded, State},
};
use shuqiao_schemas::identifier::{OrganisationCode, Uscc};
use sqlx::{AssertSqlSafe, MySqlPool, mysql::MySqlPoolOptions};
use tokio_util::sync::CancellationToken;

fn code(number: u32) -> String {
    let organisation = OrganisationCode::from_body(&format!("MA{number:06}")).expect("body");
    Uscc::compose("91", "320602", &organisation).expect("composes").as_str().to_owned()
}

/// A database of its own, and the URL by which a user reaches it that may only read.
struct Registry {
    admin: MySqlPool,
    name: String,
    table: toml::Table,
}

impl Registry {
    /// `None` where no server is named: the test is left out. `columns`: the table's definition.
    async fn new(name: &str, columns: &str) -> Option<Self> {
        let url = shuqiao_test_needs::mariadb()?;
        let admin = MySqlPoolOptions::new().connect(&url).await.expect("SHUQIAO_TEST_MARIADB is reachable");
        let registry = Self { admin, name: name.to_owned(), table: toml::Table::new() };
        for statement in [
            format!("DROP DATABASE IF EXISTS {name}"),
            format!("CREATE DATABASE {name} CHARACTER SET utf8mb4"),
            format!("CREATE TABLE {name}.t_ent ({columns})"),
            format!("CREATE OR REPLACE USER '{name}'@'%' IDENTIFIED BY 'reader'"),
            format!("CREATE OR REPLACE USER '{name}'@'localhost' IDENTIFIED BY 'reader'"),
            format!("GRANT SELECT ON {name}.t_ent TO '{name}'@'%'"),
            format!("GRANT SELECT ON {name}.t_ent TO '{name}'@'localhost'"),
        ] {
            registry.run(&statement).await;
        }
        let (_, place) = url.rsplit_once('@').expect("a URL with a user");
        let (server, _) = place.split_once('/').expect("a URL with a database");
        let text = format!(
            "[database]\nurl = 'mysql://{name}:reader@{server}/{name}'\ntable = 't_ent'\nkey = 'id'\nupdated = 'changed'\npage = 7\n\
             poll = '50ms'\noverlap = '10s'\n[database.deleted]\ncolumn = 'gone'\nvalues = ['1']\n[columns]\n\
             unified_social_credit_code = 'code'\nname = 'name'\nenterprise_type = ''\nlegal_representative = ''\n\
             registered_capital = 'capital'\nestablished_on = 'founded'\nprovince = ''\ncity = ''\nregistered_address = ''\n\
             business_scope = ''\n"
        );
        let table = text.parse().expect("TOML");
        Some(Self { table, ..registry })
    }

    async fn run(&self, statement: &str) {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&self.admin).await.expect(statement);
    }

    async fn put(&self, id: i64, code: &str, name: &str, changed: &str) {
        self.run(&format!(
            "REPLACE INTO {}.t_ent (id, code, name, capital, founded, changed, gone) \
             VALUES ({id}, '{code}', '{name}', '50万人民币', '1985-06-01', '{changed}', 0)",
            self.name
        ))
        .await;
    }

    async fn open(&self, position: Option<Position>, once: bool) -> Box<dyn Source> {
        let context = Context::new(position, once, std::env::temp_dir(), CancellationToken::new());
        MarketSupervision.open_with(&self.table, context).await.expect("opens").source.expect("a source")
    }

    /// A run with `--once`: reads to the end and keeps every batch.
    async fn keep(&self, state: &State) -> Recorded {
        let mut source = self.open(state.checkpoint().await.expect("checkpoint"), true).await;
        let mut sum = Recorded::default();
        while let Some(batch) = source.next_batch().await.expect("reads") {
            let recorded = state.record(&batch).await.expect("records");
            sum.read += recorded.read;
            sum.unchanged += recorded.unchanged;
            sum.dead_letters += recorded.dead_letters;
            sum.waiting += recorded.waiting;
        }
        sum
    }

    async fn drop(self) {
        for statement in [
            format!("DROP DATABASE {}", self.name),
            format!("DROP USER '{}'@'%'", self.name),
            format!("DROP USER '{}'@'localhost'", self.name),
        ] {
            self.run(&statement).await;
        }
    }
}

const COLUMNS: &str = "id BIGINT UNSIGNED PRIMARY KEY, code VARCHAR(32) CHARACTER SET gbk, name VARCHAR(100) CHARACTER SET gbk, \
                       capital VARCHAR(50), founded DATE, changed DATETIME NOT NULL, gone TINYINT NOT NULL DEFAULT 0, \
                       KEY (changed)";

/// Keys beyond 2^53, where a comparison as floating point would lose rows.
const BIG: i64 = 9_007_199_254_740_992;

#[tokio::test]
async fn a_table_keeps_the_contract_with_a_user_that_may_only_read() {
    let Some(registry) = Registry::new("shuqiao_contract", COLUMNS).await else { return };
    for number in 0..40 {
        let moment = if number < 25 { "2024-01-01 10:00:00" } else { "2024-01-01 10:00:05" };
        registry.put(BIG + i64::from(number), &code(number), "示例厂", moment).await;
    }
    registry.put(1, "13830295-X", "机构代码示例厂", "2024-01-01 09:00:00").await;
    registry.run("UPDATE shuqiao_contract.t_ent SET founded = NULL, capital = 'N/A' WHERE id % 3 = 0").await;
    registry.run("UPDATE shuqiao_contract.t_ent SET gone = 1 WHERE code = '13830295-X' OR id % 10 = 0").await;

    let report = MarketSupervision.check_with(&registry.table).await;
    assert!(report.passed(), "{report:?}");
    let rows = contract::source_keeps_its_promises(&MarketSupervision, &registry.table).await;
    let keys: BTreeSet<String> = rows.iter().flat_map(|row| &row.mapped).map(|record| record.key.clone()).collect();
    assert_eq!(keys, (0..40).map(code).collect(), "every row once at least");
    let letters: BTreeMap<_, _> = rows
        .iter()
        .filter_map(|row| Some((row.place.clone(), row.mapped.as_ref().err()?.violations[0].rule.clone())))
        .collect();
    let expected = ("table t_ent, id 1".to_owned(), "ORGANISATION_CODE_INSTEAD".to_owned());
    assert_eq!(letters, BTreeMap::from([expected]));
    let deletes = rows.iter().flat_map(|row| &row.mapped).filter(|record| record.operation == Operation::Delete);
    assert!(deletes.count() >= 4);
    let whole = rows.iter().flat_map(|row| &row.mapped).find(|record| !record.payload.is_empty()).expect("a record");
    let payload: serde_json::Value = serde_json::from_slice(&whole.payload).expect("JSON");
    assert_eq!(payload["name"], "示例厂");
    registry.drop().await;
}

/// Goal: whatever the registry does between two runs, each change arrives once. Rows of one second lie on both sides of a page's end; a transaction
/// shows its rows late, with a time that has passed; a row comes back.
#[tokio::test]
async fn no_change_is_lost_between_two_runs_and_none_is_published_twice() {
    let Some(registry) = Registry::new("shuqiao_changes", COLUMNS).await else { return };
    let directory = tempfile::tempdir().expect("directory");
    let state = State::open(&directory.path().join("state.db")).await.expect("opens");
    for number in 0..30 {
        registry.put(i64::from(number), &code(number), "示例厂", "2024-01-01 10:00:00").await;
    }
    assert_eq!(registry.keep(&state).await.waiting, 30);
    assert_eq!(registry.keep(&state).await.waiting, 0, "nothing has changed");

    // One second, three pages; and one that ended late, within the overlap.
    for number in 0..20 {
        registry.put(i64::from(number), &code(number), "改名示例厂", "2024-01-02 08:00:00").await;
    }
    registry.put(100, &code(100), "新示例厂", "2024-01-02 08:00:00").await;
    assert_eq!(registry.keep(&state).await.waiting, 21);
    registry.put(25, &code(25), "迟到示例厂", "2024-01-02 07:59:51").await;
    registry.put(101, &code(101), "同秒示例厂", "2024-01-02 08:00:00").await;
    assert_eq!(registry.keep(&state).await.waiting, 2);

    // From a clock that is wrong: does not hide what comes after it.
    registry.put(26, &code(26), "未来示例厂", "2099-12-31 00:00:00").await;
    assert_eq!(registry.keep(&state).await.waiting, 1);
    registry.put(27, &code(27), "其后示例厂", "2024-01-03 08:00:00").await;
    assert_eq!(registry.keep(&state).await.waiting, 1);

    registry.run("UPDATE shuqiao_changes.t_ent SET gone = 1, changed = '2024-01-04 00:00:00' WHERE id = 3").await;
    assert_eq!(registry.keep(&state).await.waiting, 1);
    registry.put(3, &code(3), "改名示例厂", "2024-01-05 00:00:00").await;
    assert_eq!(registry.keep(&state).await.waiting, 1);
    let counts = state.counts().await.expect("counts");
    assert!(counts.balanced(), "{counts:?}");
    assert_eq!(counts.waiting, 30 + 21 + 2 + 1 + 1 + 1 + 1);

    // A row that is wrong, then wrong otherwise, then mended: one letter, and then none.
    for (code, changed, open) in [
        ("13830295-X", "2024-01-06 00:00:00", 1),
        ("9.1E+17", "2024-01-07 00:00:00", 1),
        (code(200).as_str(), "2024-01-08 00:00:00", 0),
    ] {
        registry.put(200, code, "错码示例厂", changed).await;
        registry.keep(&state).await;
        assert_eq!(state.open_letters().await.expect("counts"), open, "{code}");
    }
    assert_eq!(state.dead_letters(false, 0, 10).await.expect("lists").len(), 2, "the history is kept");
    registry.drop().await;
}

#[tokio::test]
async fn a_run_that_follows_sees_changes_even_once_the_table_has_been_quiet() {
    let Some(mut registry) = Registry::new("shuqiao_follow", COLUMNS).await else { return };
    let database = registry.table.get_mut("database").and_then(toml::Value::as_table_mut).expect("section");
    database.insert("overlap".into(), "1s".into());
    let state_directory = tempfile::tempdir().expect("directory");
    let state = State::open(&state_directory.path().join("state.db")).await.expect("opens");
    for number in 0..10 {
        registry.put(i64::from(number), &code(number), "示例厂", "2024-01-01 10:00:00").await;
    }
    let mut source = registry.open(None, false).await;
    // Long enough for the rounds to agree with each other for longer than the overlap.
    let follow = async |source: &mut Box<dyn Source>, for_ms: u64| {
        let (mut rows, mut waiting) = (0, 0);
        let until = tokio::time::Instant::now() + Duration::from_millis(for_ms);
        while let Ok(batch) = tokio::time::timeout_at(until, source.next_batch()).await {
            let batch: Batch = batch.expect("reads").expect("follows");
            rows += batch.rows.len();
            waiting += state.record(&batch).await.expect("records").waiting;
        }
        (rows, waiting)
    };
    assert_eq!(follow(&mut source, 2_500).await.1, 10);
    assert_eq!(follow(&mut source, 500).await, (0, 0), "a quiet table is not read again and again");
    // The time of the newest change, a smaller key: only how much lies there tells.
    registry.put(11, &code(11), "同时示例厂", "2024-01-01 10:00:00").await;
    registry.put(4, &code(4), "改名示例厂", "2024-01-01 10:00:01").await;
    assert_eq!(follow(&mut source, 1_000).await.1, 2);
    registry.drop().await;
}

#[tokio::test]
async fn a_lost_connection_is_transient_and_costs_no_row() {
    let Some(registry) = Registry::new("shuqiao_lost", COLUMNS).await else { return };
    for number in 0..40 {
        registry.put(i64::from(number), &code(number), "示例厂", "2024-01-01 10:00:00").await;
    }
    let mut source = registry.open(None, true).await;
    let mut keys = BTreeSet::new();
    let mut failures = 0;
    for step in 0_u32.. {
        if step % 2 == 0 && step < 12 {
            let sql = "SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'shuqiao_lost'";
            let sessions: Vec<i64> = sqlx::query_scalar(sql).fetch_all(&registry.admin).await.expect("lists");
            for session in sessions {
                registry.run(&format!("KILL {session}")).await;
            }
        }
        match source.next_batch().await {
            Ok(Some(batch)) => {
                keys.extend(batch.rows.iter().flat_map(|row| &row.mapped).map(|record| record.key.clone()))
            }
            Ok(None) => break,
            Err(error) => {
                assert_eq!(error.class(), ErrorClass::Transient, "{}", error.chain());
                failures += 1;
                assert!(failures < 50, "it does not come back: {}", error.chain());
            }
        }
    }
    assert_eq!(keys, (0..40).map(code).collect());
    registry.drop().await;
}

/// Goal: bytes of another character set than the column declares, as old systems have them.
#[tokio::test]
async fn gbk_bytes_in_a_latin1_column_are_decoded_and_a_bad_one_is_set_aside_with_its_bytes() {
    let columns = "id INT PRIMARY KEY, code VARCHAR(32), name VARCHAR(100) CHARACTER SET latin1, capital VARCHAR(50), \
                   founded VARCHAR(20), changed TIMESTAMP(6) NOT NULL, gone TINYINT NOT NULL DEFAULT 0";
    let Some(mut registry) = Registry::new("shuqiao_bytes", columns).await else { return };
    let database = registry.table.get_mut("database").and_then(toml::Value::as_table_mut).expect("section");
    database.insert("encoding".into(), "gb18030".into());
    let hex =
        |text: &str| encoding_rs::GB18030.encode(text).0.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for (id, name) in [(1, hex("䶮示例厂")), (2, "ff41".to_owned())] {
        let code = code(id);
        registry
            .run(&format!(
                "INSERT INTO shuqiao_bytes.t_ent (id, code, name, changed) \
                 VALUES ({id}, '{code}', CONVERT(X'{name}' USING latin1), '2024-01-01 10:00:00.123456')"
            ))
            .await;
    }
    let rows = contract::source_keeps_its_promises(&MarketSupervision, &registry.table).await;
    let payload: serde_json::Value =
        serde_json::from_slice(&rows[0].mapped.as_ref().expect("maps").payload).expect("JSON");
    assert_eq!(payload["name"], "䶮示例厂");
    let letter = &rows[1];
    let violations = &letter.mapped.as_ref().expect_err("is set aside").violations;
    assert_eq!((violations[0].path.as_str(), violations[0].rule.as_str()), ("name", "BAD_BYTE"));
    assert!(std::str::from_utf8(&letter.raw).expect("JSON").contains(r#""hex":"ff41""#));
    registry.drop().await;
}

#[tokio::test]
async fn a_table_that_does_not_fit_is_told_wholly() {
    let columns = "id INT PRIMARY KEY, code VARCHAR(32), changed BIGINT NOT NULL, gone TINYINT NOT NULL";
    let Some(mut registry) = Registry::new("shuqiao_unfit", columns).await else { return };
    let report = MarketSupervision.check_with(&registry.table).await;
    let words = format!("{report:?}");
    for expected in ["no column name, capital, founded", "changed is bigint"] {
        assert!(!report.passed() && words.contains(expected), "{expected}: {words}");
    }
    let context = Context::new(None, true, std::env::temp_dir(), CancellationToken::new());
    let error = MarketSupervision.open_with(&registry.table, context).await.map(drop).expect_err("does not open");
    assert_eq!(error.class(), ErrorClass::Configuration, "{}", error.chain());

    let database = registry.table.get_mut("database").and_then(toml::Value::as_table_mut).expect("section");
    let url = database["url"].as_str().expect("text").replace(":reader@", ":wrong@");
    database.insert("url".into(), url.into());
    let report = MarketSupervision.check_with(&registry.table).await;
    let words = format!("{report:?}");
    assert!(!report.passed() && words.contains("Access denied") && !words.contains("wrong"), "{words}");
    registry.drop().await;
}
