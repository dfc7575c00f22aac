//! The memory of an adapter: one SQLite file (write-ahead log, `synchronous = FULL`), the only thing that must survive with the system.
//!
//! The story of a row. It is read; one transaction puts its record into the outbox **with its sequence**, or sets it aside as a dead letter,
//! or counts it as unchanged, and moves the checkpoint. Only then is it sent. The acknowledgement moves it, again in one transaction,
//! from the outbox to `published` or to the dead letters. So a crash between any two steps repeats the same record under the same
//! sequence, which the exchange recognises; and at every moment
//!
//! ```text
//! read = accepted + unchanged + dead letters + waiting in the outbox
//! ```
//!
//! Refuses: a second adapter on the same file (an exclusive lock beside it), and a file that a newer program has written.

mod dead_letters;
mod numbering;
mod outbox;
mod resolved;
mod schema;
mod sink;

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use shuqiao_proto::{digest::RecordsDigest, v1};
use sqlx::{
    Row as _, Sqlite, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

pub use dead_letters::{DeadLetter, Direction, LetterState, Replay};
pub use numbering::Anew;
pub use outbox::{Acknowledged, Entry, Recorded, Verdict};
pub(crate) use sink::record_of;

use crate::{ErrorClass, Position};

/// Why the state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another adapter has it open.
    #[error("another adapter runs with the state file {0:?}; stop it first, or give this one a file of its own")]
    Locked(PathBuf),
    /// The lock file beside it cannot be made.
    #[error("the lock file of {path:?} cannot be used")]
    Lock {
        /// The state file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// There is none, where one is asked about.
    #[error("there is no state file {0:?}: the adapter has not run yet, or state.path is another")]
    Missing(PathBuf),
    /// A newer program wrote it.
    #[error("the state file {0:?} was written by a newer version of this program")]
    Newer(PathBuf),
    /// SQLite's word.
    #[error("SQLite")]
    Sqlite(#[from] sqlx::Error),
    /// A stored value is not what this program stores.
    #[error("the state file holds a damaged {0}")]
    Damaged(&'static str),
}

impl Error {
    /// A full disk or a busy file may pass; a damaged one, or one that may not be written, does not.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Locked(_) | Self::Lock { .. } | Self::Missing(_) | Self::Newer(_) => ErrorClass::Configuration,
            Self::Sqlite(error) => sqlite_class(error),
            Self::Damaged(_) => ErrorClass::Protocol,
        }
    }
}

/// By SQLite's result codes, of which the low byte is the kind.
fn sqlite_class(error: &sqlx::Error) -> ErrorClass {
    let code = error.as_database_error().and_then(|error| error.code()).and_then(|code| code.parse::<i32>().ok());
    match code.map(|code| code & 0xFF) {
        // PERM, READONLY, AUTH.
        Some(3 | 8 | 23) => ErrorClass::Configuration,
        // CORRUPT, NOTADB.
        Some(11 | 26) => ErrorClass::Protocol,
        _ => ErrorClass::Transient,
    }
}

/// What has become of everything, since the file was made. A row counts each time that it is read, and a record each time that it is delivered: what a
/// dirty file is read twice for is set aside twice, and is one letter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Rows that the source yielded, and dead letters that were replayed.
    pub read: u64,
    /// Records that the exchange holds.
    pub accepted: u64,
    /// Rows that say what was published (or waits) already.
    pub unchanged: u64,
    /// Rows set aside, at the source or by the exchange.
    pub dead_letters: u64,
    /// Records that wait in the outbox.
    pub waiting: u64,
    /// Records that the exchange delivered.
    pub delivered: u64,
    /// Delivered records that the sink took.
    pub taken: u64,
    /// Delivered records set aside.
    pub refused: u64,
}

impl Counts {
    /// Whether every row and every record is accounted for.
    pub fn balanced(&self) -> bool {
        self.read == self.accepted + self.unchanged + self.dead_letters + self.waiting
            && self.delivered == self.taken + self.refused
    }

    /// What came since `earlier`; `waiting` as it is now.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            read: self.read - earlier.read,
            accepted: self.accepted - earlier.accepted,
            unchanged: self.unchanged - earlier.unchanged,
            dead_letters: self.dead_letters - earlier.dead_letters,
            waiting: self.waiting,
            delivered: self.delivered - earlier.delivered,
            taken: self.taken - earlier.taken,
            refused: self.refused - earlier.refused,
        }
    }
}

/// One writes, the others read beside it.
const CONNECTIONS_MAX: u32 = 4;

/// An open state file.
#[derive(Debug)]
pub struct State {
    pool: SqlitePool,
    /// Held for as long as the adapter runs; none for the commands that may look beside it.
    _lock: Option<File>,
}

impl State {
    /// Opens the file for a run: alone.
    ///
    /// # Errors
    /// [`Error::Locked`] while another adapter runs with it.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        let lock_path = path.with_extension("lock");
        let failed = |cause| Error::Lock { path: path.to_owned(), cause };
        let lock = File::create(&lock_path).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Locked(path.to_owned())),
            Err(TryLockError::Error(cause)) => return Err(failed(cause)),
        }
        let state = Self::connect(path, Some(lock)).await?;
        let mut transaction = state.begin().await?;
        resolved::forget(&mut transaction, resolved::Kept::now()).await?;
        transaction.commit().await?;
        Ok(state)
    }

    /// Opens the file beside a run: to look, and to put dead letters back into the outbox.
    ///
    /// # Errors
    /// [`Error::Missing`]: looking makes no file.
    pub async fn open_beside(path: &Path) -> Result<Self, Error> {
        if !path.is_file() {
            return Err(Error::Missing(path.to_owned()));
        }
        Self::connect(path, None).await
    }

    async fn connect(path: &Path, lock: Option<File>) -> Result<Self, Error> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(10));
        let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS_MAX).connect_with(options).await?;
        schema::migrate(&pool, path).await?;
        Ok(Self { pool, _lock: lock })
    }

    /// A transaction that may write: takes SQLite's write lock at once, so that it never has to give up half way.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, Error> {
        Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// The source's last position whose rows are all kept here, in the exchange or as dead letters.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn checkpoint(&self) -> Result<Option<Position>, Error> {
        let position: Option<Vec<u8>> =
            sqlx::query_scalar("SELECT position FROM checkpoint WHERE id = 1").fetch_optional(&self.pool).await?;
        Ok(position.map(|bytes| Position(Bytes::from(bytes))))
    }

    /// The newest position that may be settled: nothing up to it waits in the outbox. With its number for [`State::settled`].
    ///
    /// # Errors
    /// [`Error`].
    pub async fn to_settle(&self) -> Result<Option<(i64, Position)>, Error> {
        let row: Option<(i64, Vec<u8>)> = sqlx::query_as(
            "SELECT id, position FROM unsettled \
             WHERE last_sequence < coalesce((SELECT min(sequence) FROM outbox), 9223372036854775807) \
             ORDER BY id DESC LIMIT 1",
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|(id, bytes)| (id, Position(Bytes::from(bytes)))))
    }

    /// The source has settled this position, and with it every earlier one.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn settled(&self, id: i64) -> Result<(), Error> {
        sqlx::query("DELETE FROM unsettled WHERE id <= ?").bind(id).execute(&self.pool).await?;
        Ok(())
    }

    /// What has become of everything, read in one transaction.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn counts(&self) -> Result<Counts, Error> {
        let mut transaction = self.pool.begin().await?;
        let mut counts = Counts::default();
        for row in sqlx::query("SELECT name, value FROM counter").fetch_all(&mut *transaction).await? {
            let value = stored_u64(row.try_get("value")?);
            match row.try_get::<&str, _>("name")? {
                "read" => counts.read = value,
                "accepted" => counts.accepted = value,
                "unchanged" => counts.unchanged = value,
                "dead_letters" => counts.dead_letters = value,
                "delivered" => counts.delivered = value,
                "taken" => counts.taken = value,
                "refused" => counts.refused = value,
                _ => {}
            }
        }
        let waiting: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox").fetch_one(&mut *transaction).await?;
        counts.waiting = stored_u64(waiting);
        Ok(counts)
    }

    /// Records published with something repaired or left out, by rule, most first.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn warnings(&self) -> Result<Vec<(String, u64)>, Error> {
        let rows: Vec<(String, i64)> =
            sqlx::query_as("SELECT rule, value FROM warning ORDER BY value DESC, rule").fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(|(rule, value)| (rule, stored_u64(value))).collect())
    }

    /// Count and digest over the live records published, in ascending bytes of the key.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn published_digest(&self) -> Result<(u64, [u8; 32]), Error> {
        use futures::TryStreamExt as _;
        let mut digest = RecordsDigest::default();
        let mut rows = sqlx::query_as::<_, (String, i64, Vec<u8>)>(
            "SELECT key, source_version, payload_sha256 FROM published WHERE deleted = 0 ORDER BY key",
        )
        .fetch(&self.pool);
        while let Some((key, version, sha256)) = rows.try_next().await? {
            digest.add_hashed(&key, stored_u64(version), &sha256);
        }
        Ok(digest.finish())
    }

    /// The newest accepted position, a partition: a query that carries them sees everything accepted.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn accepted_positions(&self) -> Result<Vec<v1::Position>, Error> {
        let rows: Vec<(i64, i64)> =
            sqlx::query_as("SELECT partition, offset FROM accepted_position").fetch_all(&self.pool).await?;
        rows.into_iter()
            .map(|(partition, offset)| {
                let partition = u32::try_from(partition).map_err(|_| Error::Damaged("partition"))?;
                Ok(v1::Position { partition, offset: stored_u64(offset) })
            })
            .collect()
    }

    /// The last receipt that was verified: node and encoded `Receipt`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn last_receipt(&self) -> Result<Option<v1::Receipt>, Error> {
        use prost::Message as _;
        let bytes: Option<Vec<u8>> =
            sqlx::query_scalar("SELECT receipt FROM receipt WHERE id = 1").fetch_optional(&self.pool).await?;
        bytes.map(|bytes| v1::Receipt::decode(bytes.as_slice()).map_err(|_| Error::Damaged("receipt"))).transpose()
    }

    /// Closes every connection; the lock goes with the value.
    pub async fn close(self) {
        self.pool.close().await;
    }
}

async fn count(transaction: &mut Transaction<'static, Sqlite>, name: &'static str, more: u64) -> Result<(), Error> {
    if more > 0 {
        sqlx::query("UPDATE counter SET value = value + ? WHERE name = ?")
            .bind(to_stored(more))
            .bind(name)
            .execute(&mut **transaction)
            .await?;
    }
    Ok(())
}

/// SQLite's integers are signed; everything stored here was checked to fit on its way in.
fn stored_u64(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn to_stored(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// For "when" columns that people read. Nothing is decided by it but how long closed dead letters are kept.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is committed is on the disk: the source is told to settle, and the exchange is told of a record's number, only afterwards.
    #[tokio::test]
    async fn every_connection_syncs_before_a_commit_returns() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("state.db");
        let state = State::open(&path).await.expect("opens");
        let beside = State::open_beside(&path).await.expect("opens beside");
        for pool in [&state.pool, &beside.pool] {
            // All at once, so that each is another connection.
            let mut connections = Vec::new();
            for _ in 0..CONNECTIONS_MAX {
                connections.push(pool.acquire().await.expect("a connection"));
            }
            for connection in &mut connections {
                let synchronous: i64 =
                    sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut **connection).await.expect("asks");
                let journal: String =
                    sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut **connection).await.expect("asks");
                // FULL: a write-ahead log is synced at every commit.
                assert_eq!((synchronous, journal.as_str()), (2, "wal"));
            }
        }
    }

    #[tokio::test]
    async fn a_file_that_is_no_state_file_is_not_waited_for() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("state.db");
        std::fs::write(&path, "this is no database, and never was one\n".repeat(100)).expect("writes");
        let error = State::open(&path).await.map(drop).expect_err("is refused");
        assert_eq!(error.class(), ErrorClass::Protocol, "{}", crate::chain(&error));
    }
}
