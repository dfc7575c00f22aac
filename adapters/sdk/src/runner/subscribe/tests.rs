//! Deliveries into a real SQLite inbox that goes back beneath a run, and where everything once more begins.

use std::sync::atomic::AtomicBool;

use tokio_util::sync::CancellationToken;

use super::super::Options;
use super::*;
use crate::{
    Bytes,
    config::Config,
    inbox::{Inbox, InboxConfig},
    state::State,
};

fn upsert(offset: u64) -> Record {
    Record {
        dataset: "d.d".into(),
        record_type: "enterprise/v1".into(),
        key: format!("k{offset}"),
        operation: Operation::Upsert,
        source_version: 1,
        payload: Bytes::from_static(b"{}"),
        source: "department/a/system/b".into(),
        sequence: offset + 1,
        accept_time_ms: 1,
        position: (0, offset),
    }
}

/// Goal: the next delivery would raise the mark of an inbox restored from the backup before the last one to what is remembered, and hide the loss.
#[tokio::test]
async fn an_inbox_that_goes_back_by_one_delivery_within_a_run_is_told_before_it_takes_another() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("state.db");
    let state = State::open(&path).await.expect("opens");
    let (config, options, token) = (Config::of_nobody(path), Options::default(), CancellationToken::new());
    let runner = Runner {
        config: &config,
        options: &options,
        state: &state,
        token: &token,
        has_connected: AtomicBool::new(false),
    };
    let subscribe = Subscribe::new("t.t");
    let url = format!("sqlite://{}", directory.path().join("inbox.db").display());
    let mut home = InboxConfig::new(url.clone());
    home.create_table = true;
    let inbox = Inbox::open(&home).await.expect("opens");
    let takes =
        async |offset: u64| Box::pin(deliver(&runner, &subscribe, &inbox, vec![upsert(offset)])).await.map(drop);
    takes(0).await.expect("delivers");
    takes(1).await.expect("delivers");
    // Committed, and nobody has heard of it: the retry finds a mark that is further on.
    inbox.deliver(&[upsert(2)]).await.expect("commits");
    takes(2).await.expect("delivers");
    let remembered = state.inbox_mark().await.expect("asks");
    assert_eq!(remembered.as_ref().map(|mark| mark.deliveries), Some(4));

    let pool = sqlx::SqlitePool::connect(&url).await.expect("connects");
    sqlx::raw_sql(
        "DELETE FROM shuqiao_inbox WHERE key = 'k2'; UPDATE shuqiao_inbox_mark SET deliveries = deliveries - 1;",
    )
    .execute(&pool)
    .await
    .expect("goes back");
    let told = takes(3).await.expect_err("has lost a delivery");
    assert!(matches!(told, Error::InboxLost(..)), "{told}");
    assert_eq!(inbox.digest().await.expect("digest").0, 2, "something was written over the loss");
    assert_eq!(state.inbox_mark().await.expect("asks"), remembered);
}

/// Goal: `DROP TABLE` beneath an adapter, or between two runs, with the mark left where it was. The next start makes an empty table, which must not pass for
/// one that holds what was acknowledged.
#[tokio::test]
async fn a_table_that_is_dropped_or_emptied_is_told_until_everything_is_asked_for_once_more() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("state.db");
    let state = State::open(&path).await.expect("opens");
    let (config, options, token) = (Config::of_nobody(path), Options::default(), CancellationToken::new());
    let runner = Runner {
        config: &config,
        options: &options,
        state: &state,
        token: &token,
        has_connected: AtomicBool::new(false),
    };
    let subscribe = Subscribe::new("t.t");
    let url = format!("sqlite://{}", directory.path().join("inbox.db").display());
    let mut home = InboxConfig::new(url.clone());
    home.create_table = true;
    let pool = sqlx::SqlitePool::connect(&format!("{url}?mode=rwc")).await.expect("connects");
    let takes = async |inbox: &Inbox, offset: u64| {
        Box::pin(deliver(&runner, &subscribe, inbox, vec![upsert(offset)])).await.map(drop)
    };
    for gone in ["DROP TABLE shuqiao_inbox", "DELETE FROM shuqiao_inbox", "DROP TABLE shuqiao_inbox_mark"] {
        let inbox = Inbox::open(&home).await.expect("opens");
        takes(&inbox, 0).await.expect("delivers");
        assert!(still_holds(&runner, &subscribe, &inbox).await.expect("it holds everything"));
        sqlx::raw_sql(gone).execute(&pool).await.expect("gone");
        let told = takes(&inbox, 1).await.expect_err("beneath a run");
        assert!(matches!(told, Error::InboxLost(..)), "{gone}: {told}");
        // Again and again, also with the table that a start has made.
        for _ in 0..2 {
            let inbox = Inbox::open(&home).await.expect("opens");
            let told = still_holds(&runner, &subscribe, &inbox).await.expect_err("it has lost everything");
            assert!(matches!(told, Error::InboxLost(..)), "{gone}: {told}");
            assert_eq!(told.class(), crate::ErrorClass::Protocol);
        }
        state.ask_anew().await.expect("asked");
        let inbox = Inbox::open(&home).await.expect("opens");
        assert!(still_holds(&runner, &subscribe, &inbox).await.expect("everything comes once more"));
    }
}

#[test]
fn everything_once_more_begins_where_the_subscription_began() {
    let mut made = v1::Subscription::default().create_time.unwrap_or_default();
    made.seconds = 7;
    let from = |start| {
        let start = Some(v1::StartPosition { start });
        beginning_of(&v1::Subscription { start, create_time: Some(made), ..v1::Subscription::default() })
    };
    assert_eq!(from(None), Start::Beginning(true));
    assert_eq!(from(Some(Start::Beginning(true))), Start::Beginning(true));
    let time = Start::Time(Default::default());
    assert_eq!(from(Some(time.clone())), time);
    assert_eq!(from(Some(Start::Now(true))), Start::Time(made));
}
