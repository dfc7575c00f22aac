//! A legacy database that goes away costs time and nothing else: the adapter waits for it, whether it was at work or just starting.
//!
//! The server's process is stopped and started again, not only its connections, while `shuqiao-adapter run` follows it.

use std::{fmt::Write as _, ops::Range, time::Duration};

use shuqiao_tests::fixtures::{City, Enterprise, Home, adapter::Adapter, eventually, mariadb::MariaDb};

const TABLE: &str = "CREATE TABLE t_ent (id BIGINT PRIMARY KEY, code VARCHAR(32) NOT NULL, name VARCHAR(100) CHARACTER SET gbk NOT NULL, \
                     changed DATETIME(6) NOT NULL, KEY (changed))";
/// A minute. One attempt at a connection takes up to ten seconds of it, so the adapter asks some six times.
const AWAY_AT_WORK: Duration = Duration::from_secs(60);
/// Several attempts long, and longer than the adapter's patience with one connection.
const AWAY_AT_START: Duration = Duration::from_secs(12);

fn rows(numbers: Range<u32>, name: &str) -> String {
    let mut statement = String::from("REPLACE INTO t_ent VALUES ");
    for number in numbers.clone() {
        let separator = if number == numbers.start { "" } else { ", " };
        let code = Enterprise::number(number).code;
        write!(statement, "{separator}({number}, '{code}', '{name}', NOW(6))").expect("a string takes everything");
    }
    statement
}

async fn holds(city: &City, records: u64) -> bool {
    city.market_supervision().await.digest(Vec::new()).await.is_ok_and(|(count, _)| count == records)
}

#[tokio::test]
async fn a_registry_whose_database_is_stopped_and_started_loses_no_row_and_doubles_none() {
    let Some(database) = MariaDb::start() else { return };
    database.run(TABLE).await;
    database.run(&rows(1..301, "示例厂")).await;
    let city = City::on(Home::Embedded).await;
    let registry = Adapter::registry_table(&city, "registry", database.url());
    let mut running = registry.follow();
    eventually(60, "the whole table is published", async || holds(&city, 300).await).await;

    // Away while the adapter is at work.
    database.stop();
    eventually(60, "the adapter notices", async || registry.lines().contains("trying again")).await;
    tokio::time::sleep(AWAY_AT_WORK).await;
    assert_eq!(running.ended(), None, "{}", registry.lines());
    // Ever more seldom: the fifth wait is of 1.6 to 3.2 s. The longest, half a minute, takes three minutes to come to; `retry.rs` of the SDK counts up to it.
    let waits = registry.waits();
    let seldom = waits.iter().max().is_some_and(|longest| *longest >= Duration::from_millis(1_600));
    assert!(seldom && (5..=12).contains(&waits.len()), "{waits:?}");
    database.start_again();
    database.run(&rows(291..321, "改名示例厂")).await;
    eventually(90, "what changed is published", async || holds(&city, 320).await).await;

    // Away when the adapter starts.
    drop(running);
    database.stop();
    let mut running = registry.follow();
    tokio::time::sleep(AWAY_AT_START).await;
    assert_eq!(running.ended(), None, "{}", registry.lines());
    database.start_again();
    database.run(&rows(400..401, "新示例厂")).await;
    eventually(90, "what is new is published", async || holds(&city, 321).await).await;
    drop(running);

    let answer = registry.reconcile().await;
    assert_eq!((&answer["balanced"], &answer["comparisons"][0]["equal"]), (&true.into(), &true.into()), "{answer}");
    // 300 rows, 30 of which 10 say something else of what was there, and the last one.
    assert_eq!(
        (&answer["counts"]["accepted"], &answer["counts"]["dead_letters"]),
        (&331.into(), &0.into()),
        "{answer}"
    );
}
