//! The inbox in PostgreSQL: a delivery is one statement over arrays.

use std::time::Duration;

use futures::TryStreamExt as _;
use shuqiao_proto::digest::{RecordsDigest, payload_digest};
use sqlx::{
    AssertSqlSafe, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{
    Hindrance, TableState,
    config::{Database, InboxConfig},
    error::classify,
    marked, signed,
    table::{COLUMNS, Table, is_delete},
};
use crate::{AdapterError, Mark, Record, config::Secret};

/// How long to wait for a connection before the runner's back-off takes over.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Postgres {
    pool: PgPool,
    pub(super) table: Table,
}

impl Postgres {
    pub(super) async fn connect(url: &Secret, config: &InboxConfig) -> Result<Self, AdapterError> {
        let options: PgConnectOptions =
            url.reveal().parse().map_err(|_| AdapterError::configuration("url: not a PostgreSQL URL"))?;
        let options = options.application_name("shuqiao-adapter");
        let pool = PgPoolOptions::new()
            .max_connections(2)
            .acquire_timeout(CONNECT_TIMEOUT)
            .connect_with(options)
            .await
            .map_err(|cause| classify("connecting", cause))?;
        let encoding: String = sqlx::query_scalar("SELECT current_setting('server_encoding')")
            .fetch_one(&pool)
            .await
            .map_err(|cause| classify("asking for its encoding", cause))?;
        if encoding != "UTF8" {
            let message =
                format!("the inbox database has the encoding {encoding}; it must be UTF8 to keep every character");
            return Err(AdapterError::configuration(message));
        }
        Ok(Self { pool, table: Table::new(config, Database::Postgres) })
    }

    pub(super) fn ddl(&self) -> String {
        self.table.ddl(Database::Postgres)
    }

    /// Whether the table is there, and the one beside it.
    pub(super) async fn exist(&self) -> Result<(bool, bool), AdapterError> {
        sqlx::query_as("SELECT to_regclass($1) IS NOT NULL, to_regclass($2) IS NOT NULL")
            .bind(&self.table.quoted)
            .bind(&self.table.mark)
            .fetch_one(&self.pool)
            .await
            .map_err(|cause| classify("looking for the table", cause))
    }

    pub(super) async fn create(&self) -> Result<(), AdapterError> {
        sqlx::raw_sql(AssertSqlSafe(self.ddl()))
            .execute(&self.pool)
            .await
            .map_err(|cause| classify("creating the table", cause))?;
        tracing::info!(table = self.table.name, schema = self.table.schema, "created the inbox");
        Ok(())
    }

    pub(super) async fn state(&self) -> Result<TableState, AdapterError> {
        let (table, mark) = self.exist().await?;
        // Planned, not run: names every column, and fails as a run would. Privileges are asked for beside it.
        let statement = format!("SELECT {} FROM {} WHERE false", COLUMNS.join(", "), self.table.quoted);
        for statement in [statement].into_iter().filter(|_| table).chain(Some(self.table.asks_mark()).filter(|_| mark))
        {
            if let Err(cause) = sqlx::query(AssertSqlSafe(statement)).fetch_all(&self.pool).await {
                return Ok(TableState::Unfit(cause.to_string()));
            }
        }
        if !(table && mark) {
            return Ok(TableState::Missing { hindrance: self.hindrance().await? });
        }
        for table in [&self.table.quoted, &self.table.mark] {
            let allowed: bool =
                sqlx::query_scalar("SELECT has_table_privilege($1, 'INSERT') AND has_table_privilege($1, 'UPDATE')")
                    .bind(table)
                    .fetch_one(&self.pool)
                    .await
                    .map_err(|cause| classify("asking for privileges", cause))?;
            if !allowed {
                return Ok(TableState::Unfit(format!("the user may not INSERT and UPDATE in {table}")));
            }
        }
        Ok(TableState::Ready)
    }

    /// What keeps the user from creating a table where the inbox is to be. Since PostgreSQL 15 an ordinary user may create none in `public`.
    async fn hindrance(&self) -> Result<Option<Hindrance>, AdapterError> {
        let (user, schema, there, may): (String, Option<String>, bool, bool) = sqlx::query_as(
            "SELECT quote_ident(current_user), quote_ident(name), oid IS NOT NULL, coalesce(has_schema_privilege(oid, 'CREATE'), false) \
             FROM (SELECT coalesce($1, current_schema()::text) AS name) AS wanted LEFT JOIN pg_namespace ON nspname = name",
        )
        .bind(&self.table.schema)
        .fetch_one(&self.pool)
        .await
        .map_err(|cause| classify("asking for privileges", cause))?;
        let Some(schema) = schema else {
            let why = format!("no schema of the search path is there, or user {user} may use none");
            return Ok(Some(Hindrance { why, remedy: "set the inbox's schema".into() }));
        };
        Ok(match (there, may) {
            (true, true) => None,
            (true, false) => Some(Hindrance {
                why: format!("user {user} may not CREATE in schema {schema}"),
                remedy: format!("GRANT USAGE, CREATE ON SCHEMA {schema} TO {user};"),
            }),
            (false, _) => Some(Hindrance {
                why: format!("there is no schema {schema}"),
                remedy: format!("CREATE SCHEMA {schema} AUTHORIZATION {user};"),
            }),
        })
    }

    /// One statement is one transaction.
    pub(super) async fn write(&self, rows: &[&Record]) -> Result<(), AdapterError> {
        let statement = format!(
            "WITH counted AS ({}) INSERT INTO {} AS inbox ({}) SELECT key, deleted, version, payload, sha256, dataset, record_type, source, sequence, \
             to_timestamp(accept_ms / 1000.0), partition, place FROM unnest($1::text[], $2::bool[], $3::bigint[], $4::text[], \
             $5::bytea[], $6::text[], $7::text[], $8::text[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[]) \
             AS row (key, deleted, version, payload, sha256, dataset, record_type, source, sequence, accept_ms, partition, \
             place) {}",
            self.table.count("$13"),
            self.table.quoted,
            COLUMNS.join(", "),
            self.table.on_conflict("now()")
        );
        let texts = |of: fn(&Record) -> &str| rows.iter().map(|row| of(row)).collect::<Vec<&str>>();
        let numbers = |of: fn(&Record) -> i64| rows.iter().map(|row| of(row)).collect::<Vec<i64>>();
        sqlx::query(AssertSqlSafe(statement))
            .bind(texts(|row| &row.key))
            .bind(rows.iter().map(|row| is_delete(row)).collect::<Vec<bool>>())
            .bind(numbers(|row| signed(row.source_version)))
            // Judged to be UTF-8 before it came here.
            .bind(texts(|row| std::str::from_utf8(&row.payload).unwrap_or_default()))
            .bind(rows.iter().map(|row| payload_digest(&row.payload).to_vec()).collect::<Vec<Vec<u8>>>())
            .bind(texts(|row| &row.dataset))
            .bind(texts(|row| &row.record_type))
            .bind(texts(|row| &row.source))
            .bind(numbers(|row| signed(row.sequence)))
            .bind(numbers(|row| row.accept_time_ms))
            .bind(numbers(|row| i64::from(row.position.0)))
            .bind(numbers(|row| signed(row.position.1)))
            .bind(uuid::Uuid::new_v4().to_string())
            .execute(&self.pool)
            .await
            .map_err(|cause| classify("writing a delivery", cause))?;
        Ok(())
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
            "SELECT key, source_version, payload FROM {} WHERE NOT deleted ORDER BY key COLLATE \"C\"",
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
