//! The inbox in SQLite: for the sandbox and for sites without a database server. A delivery is one transaction, synced before it is accepted.

use std::time::Duration;

use futures::TryStreamExt as _;
use shuqiao_proto::digest::{RecordsDigest, payload_digest};
use sqlx::{
    AssertSqlSafe, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{
    TableState,
    config::{Database, InboxConfig},
    error::classify,
    marked, signed,
    table::{COLUMNS, Table, is_delete},
};
use crate::{AdapterError, Mark, Record, config::Secret};

#[derive(Debug)]
pub(super) struct Sqlite {
    pool: SqlitePool,
    pub(super) table: Table,
}

impl Sqlite {
    pub(super) async fn connect(url: &Secret, config: &InboxConfig) -> Result<Self, AdapterError> {
        let options: SqliteConnectOptions =
            url.reveal().parse().map_err(|_| AdapterError::configuration("url: not a SQLite URL"))?;
        let options = options
            // A new file is as much as a new table.
            .create_if_missing(config.create_table)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(10));
        let pool = SqlitePoolOptions::new()
            .max_connections(2)
            .connect_with(options)
            .await
            .map_err(|cause| classify("opening the file", cause))?;
        Ok(Self { pool, table: Table::new(config, Database::Sqlite) })
    }

    pub(super) fn ddl(&self) -> String {
        self.table.ddl(Database::Sqlite)
    }

    /// Whether the table is there, and the one beside it.
    pub(super) async fn exist(&self) -> Result<(bool, bool), AdapterError> {
        sqlx::query_as(
            "SELECT coalesce(sum(name = ?), 0) > 0, coalesce(sum(name = ?), 0) > 0 FROM sqlite_master WHERE type = 'table'",
        )
            .bind(&self.table.name)
            .bind(&self.table.mark_name)
            .fetch_one(&self.pool)
            .await
            .map_err(|cause| classify("looking for the table", cause))
    }

    pub(super) async fn create(&self) -> Result<(), AdapterError> {
        sqlx::raw_sql(AssertSqlSafe(self.ddl()))
            .execute(&self.pool)
            .await
            .map_err(|cause| classify("creating the table", cause))?;
        Ok(())
    }

    pub(super) async fn state(&self) -> Result<TableState, AdapterError> {
        let (table, mark) = self.exist().await?;
        let statement = format!("SELECT {} FROM {} WHERE false", COLUMNS.join(", "), self.table.quoted);
        for statement in [statement].into_iter().filter(|_| table).chain(Some(self.table.asks_mark()).filter(|_| mark))
        {
            if let Err(cause) = sqlx::query(AssertSqlSafe(statement)).fetch_all(&self.pool).await {
                return Ok(TableState::Unfit(cause.to_string()));
            }
        }
        Ok(if table && mark { TableState::Ready } else { TableState::Missing { hindrance: None } })
    }

    pub(super) async fn write(&self, rows: &[&Record]) -> Result<(), AdapterError> {
        let failed = |cause| classify("writing a delivery", cause);
        let statement = format!(
            "INSERT INTO {} AS inbox ({}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, \
             strftime('%Y-%m-%dT%H:%M:%fZ', ? / 1000.0, 'unixepoch'), ?, ?) {}",
            self.table.quoted,
            COLUMNS.join(", "),
            self.table.on_conflict("strftime('%Y-%m-%dT%H:%M:%fZ', 'now')")
        );
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
        for row in rows {
            sqlx::query(AssertSqlSafe(statement.as_str()))
                .bind(&row.key)
                .bind(is_delete(row))
                .bind(signed(row.source_version))
                // Judged to be UTF-8 before it came here.
                .bind(std::str::from_utf8(&row.payload).unwrap_or_default())
                .bind(payload_digest(&row.payload).to_vec())
                .bind(&row.dataset)
                .bind(&row.record_type)
                .bind(&row.source)
                .bind(signed(row.sequence))
                .bind(row.accept_time_ms)
                .bind(i64::from(row.position.0))
                .bind(signed(row.position.1))
                .execute(&mut *transaction)
                .await
                .map_err(failed)?;
        }
        sqlx::query(AssertSqlSafe(self.table.count("?")))
            .bind(uuid::Uuid::new_v4().to_string())
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        transaction.commit().await.map_err(failed)
    }

    /// Runs one of [`Table`]'s questions for a mark.
    pub(super) async fn ask(&self, statement: String) -> Result<Option<Mark>, AdapterError> {
        let row: Option<(String, i64)> = sqlx::query_as(AssertSqlSafe(statement))
            .fetch_optional(&self.pool)
            .await
            .map_err(|cause| classify("asking what it has taken", cause))?;
        Ok(row.map(marked))
    }

    /// Over the payloads themselves, not over the stored hashes: what somebody changed in the table shows.
    pub(super) async fn digest(&self) -> Result<(u64, [u8; 32]), AdapterError> {
        let statement = format!(
            "SELECT key, source_version, payload FROM {} WHERE NOT deleted ORDER BY key COLLATE BINARY",
            self.table.quoted
        );
        let mut digest = RecordsDigest::default();
        let failed = |cause| classify("reading for the digest", cause);
        let mut rows = sqlx::query_as::<_, (String, i64, String)>(AssertSqlSafe(statement)).fetch(&self.pool);
        while let Some((key, version, payload)) = rows.try_next().await.map_err(failed)? {
            digest.add(&key, u64::try_from(version).unwrap_or_default(), payload.as_bytes());
        }
        Ok(digest.finish())
    }
}
