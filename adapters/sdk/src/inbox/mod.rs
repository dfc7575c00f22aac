//! An inbox: one table in the department's own PostgreSQL or SQLite, one row a key, the newest state with where it comes from; and beside it a table of one
//! row, how much it has taken, by which an inbox that was removed, emptied or restored is known. A department that takes records into such a table writes its
//! descriptor and nothing else.
//!
//! Promises: each record takes effect once, an older source version never overwrites a newer one, a delete is a row that says so, a delivery is one
//! transaction, and payload bytes are kept exactly. Refuses: creating its table unless it is told to, and touching anything else of the database.

mod config;
mod error;
mod postgres;
mod sqlite;
mod table;

use async_trait::async_trait;

pub use self::config::{Database, InboxConfig};
use self::{
    postgres::Postgres,
    sqlite::Sqlite,
    table::{Table, newest},
};
use crate::{AdapterError, CheckReport, Mark, Outcome, Record, Sink, Violation, plural};

/// An open inbox table.
#[derive(Debug)]
pub struct Inbox(Home);

#[derive(Debug)]
enum Home {
    Postgres(Postgres),
    Sqlite(Sqlite),
}

impl Home {
    fn table(&self) -> &Table {
        match self {
            Self::Postgres(home) => &home.table,
            Self::Sqlite(home) => &home.table,
        }
    }

    fn ddl(&self) -> String {
        match self {
            Self::Postgres(home) => home.ddl(),
            Self::Sqlite(home) => home.ddl(),
        }
    }

    /// Whether the table is there, and the one beside it.
    async fn exist(&self) -> Result<(bool, bool), AdapterError> {
        match self {
            Self::Postgres(home) => home.exist().await,
            Self::Sqlite(home) => home.exist().await,
        }
    }

    async fn ask(&self, statement: String) -> Result<Option<Mark>, AdapterError> {
        match self {
            Self::Postgres(home) => home.ask(statement).await,
            Self::Sqlite(home) => home.ask(statement).await,
        }
    }

    /// What it says of itself.
    async fn mark(&self) -> Result<Option<Mark>, AdapterError> {
        match self.ask(self.table().asks_mark_of_rows()).await {
            // Without its table an inbox holds nothing any more, as if it had none.
            Err(failed) => match self.exist().await {
                Ok((true, true)) | Err(_) => Err(failed),
                Ok(_) => Ok(None),
            },
            answered => answered,
        }
    }

    /// Says that the table is missing, where the one beside it tells that it has taken something.
    async fn without_table(&self, exist: (bool, bool)) -> Result<Option<String>, AdapterError> {
        let counted = match exist {
            (false, true) => self.ask(self.table().asks_mark()).await?,
            _ => None,
        };
        let said = |mark: Mark| {
            let deliveries = mark.deliveries;
            format!("the inbox table is missing, and had taken {deliveries} {}", plural(deliveries, "delivery"))
        };
        Ok(counted.map(said))
    }
}

impl Inbox {
    /// Connects, and creates the table where it is missing and `create_table` is set.
    ///
    /// # Errors
    /// [`AdapterError`]: transient while the database is not reachable, configuration where the table is missing, protocol where it is and has taken
    /// something.
    pub async fn open(config: &InboxConfig) -> Result<Self, AdapterError> {
        let home = connect(config).await?;
        let (exist, ddl) = (home.exist().await?, home.ddl());
        if exist != (true, true) {
            if !config.create_table {
                if let Some(lost) = home.without_table(exist).await? {
                    let message = format!(
                        "{lost}: what was acknowledged is lost. Bring the table back; or create it anew, and have everything delivered to it once more: \
                         `shuqiao-adapter refresh`, then start the adapter again:\n{ddl}"
                    );
                    return Err(AdapterError::protocol(message));
                }
                let message = format!(
                    "the inbox table, or the one beside it, is missing; create both, or set create_table = true:\n{ddl}"
                );
                return Err(AdapterError::configuration(message));
            }
            match &home {
                Home::Postgres(home) => home.create().await?,
                Home::Sqlite(home) => home.create().await?,
            }
        }
        Ok(Self(home))
    }
}

async fn connect(config: &InboxConfig) -> Result<Home, AdapterError> {
    let (database, url) = config.resolve().await?;
    Ok(match database {
        Database::Postgres => Home::Postgres(Postgres::connect(&url, config).await?),
        Database::Sqlite => Home::Sqlite(Sqlite::connect(&url, config).await?),
    })
}

/// Looks at the database and its table; changes nothing.
pub async fn check(config: &InboxConfig, report: &mut CheckReport) {
    let home = match connect(config).await {
        Ok(home) => home,
        Err(error) => {
            report.failed("inbox database", error.chain(), "check url, user, password and that the database runs");
            return;
        }
    };
    report.ok("inbox database", "reachable");
    let state = match &home {
        Home::Postgres(home) => home.state().await,
        Home::Sqlite(home) => home.state().await,
    };
    // What else is wrong with it is told below.
    report.inbox = home.mark().await.ok();
    let ddl = home.ddl();
    let gone = match home.exist().await {
        Ok(exist) => home.without_table(exist).await.unwrap_or_default(),
        Err(_) => None,
    };
    match state {
        Ok(TableState::Ready) => report.ok("inbox table", "present, with every column, and the one beside it"),
        Ok(TableState::Missing { hindrance: Some(hindrance) }) if config.create_table => {
            let remedy = format!(
                "{}, or create both tables and GRANT SELECT, INSERT, UPDATE on them to that user:\n{ddl}",
                hindrance.remedy
            );
            let why = format!("missing, and the first run could not create it: {}", hindrance.why);
            report.failed("inbox table", why, remedy);
        }
        Ok(TableState::Missing { .. }) if config.create_table => match gone {
            None => report.ok("inbox table", "missing; the first run creates it"),
            Some(gone) => report.warning("inbox table", format!("{gone}; the first run creates an empty one"), ""),
        },
        Ok(TableState::Missing { .. }) => {
            let message = gone.unwrap_or_else(|| "missing".into());
            report.failed("inbox table", message, format!("create both tables, or set create_table = true:\n{ddl}"));
        }
        Ok(TableState::Unfit(why)) => {
            report.failed("inbox table", why, format!("compare it with what the adapter writes:\n{ddl}"));
        }
        Err(error) => report.failed("inbox table", error.chain(), "check the user's permissions on the table"),
    }
}

/// How the table stands.
enum TableState {
    Ready,
    /// It, or the one beside it.
    Missing {
        /// What keeps a run from creating it.
        hindrance: Option<Hindrance>,
    },
    /// There, but a run would fail: a column missing, no permission.
    Unfit(String),
}

/// Why a table cannot be created, and what helps.
struct Hindrance {
    why: String,
    remedy: String,
}

#[async_trait]
impl Sink for Inbox {
    async fn deliver(&self, records: &[Record]) -> Result<Vec<Outcome>, AdapterError> {
        let outcomes: Vec<Outcome> = records.iter().map(judge).collect();
        let accepted = records.iter().zip(&outcomes).filter(|(_, outcome)| **outcome == Outcome::Accepted);
        let rows = newest(accepted.map(|(record, _)| record));
        if !rows.is_empty() {
            match &self.0 {
                Home::Postgres(home) => home.write(&rows).await?,
                Home::Sqlite(home) => home.write(&rows).await?,
            }
        }
        Ok(outcomes)
    }

    async fn digest(&self) -> Result<(u64, [u8; 32]), AdapterError> {
        match &self.0 {
            Home::Postgres(home) => home.digest().await,
            Home::Sqlite(home) => home.digest().await,
        }
    }

    async fn mark(&self) -> Result<Option<Mark>, AdapterError> {
        self.0.mark().await
    }
}

/// What the table's columns cannot hold is refused before it fails a whole delivery.
fn judge(record: &Record) -> Outcome {
    let numbers = [record.source_version, record.sequence, record.position.1];
    let reason = if record.key.contains('\0') {
        Violation::new("key", "KEY_HOLDS_NUL", "the key holds a NUL character", "主键含有空字符（NUL）")
    } else if std::str::from_utf8(&record.payload).map_or(true, |text| text.contains('\0')) {
        Violation::new(
            "",
            "PAYLOAD_NOT_TEXT",
            "the payload is not UTF-8 text without NUL",
            "数据内容不是有效的 UTF-8 文本",
        )
    } else if numbers.into_iter().any(|number| i64::try_from(number).is_err()) {
        Violation::new("source_version", "NUMBER_TOO_LARGE", "a number is not below 2^63", "数值应小于 2 的 63 次方")
    } else {
        return Outcome::Accepted;
    };
    Outcome::Rejected { reason }
}

/// Judged by [`judge`] to fit.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A row of the mark's table.
fn marked((inbox, deliveries): (String, i64)) -> Mark {
    Mark { inbox, deliveries: u64::try_from(deliveries).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bytes, Operation};

    #[test]
    fn one_record_that_no_column_can_hold_does_not_fail_the_others() {
        let record = Record {
            dataset: "d".into(),
            record_type: "enterprise/v1".into(),
            key: "k".into(),
            operation: Operation::Upsert,
            source_version: 1,
            payload: Bytes::from_static(b"{}"),
            source: "s".into(),
            sequence: 1,
            accept_time_ms: 0,
            position: (0, 0),
        };
        assert_eq!(judge(&record), Outcome::Accepted);
        let rule = |record: Record| match judge(&record) {
            Outcome::Rejected { reason } => reason.rule,
            other => panic!("{other:?}"),
        };
        assert_eq!(rule(Record { key: "a\0b".into(), ..record.clone() }), "KEY_HOLDS_NUL");
        assert_eq!(rule(Record { payload: Bytes::from_static(b"\xFF"), ..record.clone() }), "PAYLOAD_NOT_TEXT");
        assert_eq!(rule(Record { source_version: u64::MAX, ..record }), "NUMBER_TOO_LARGE");
    }
}
