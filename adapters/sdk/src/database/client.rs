//! The statements: what is asked of MySQL or MariaDB, and nothing that writes (the session itself is read-only).
//!
//! Every value comes back as bytes. Where the columns declare their character set truly, the server converts to UTF-8; where they do not, the bytes
//! are taken as they lie and decoded here. Keys are compared in the column's own collation or as exact integers, so that "behind this
//! key" means the same in the comparison and in the order.

use std::{collections::HashMap, time::Duration};

use sqlx::{
    AssertSqlSafe, MySqlPool, Row as _,
    mysql::{MySqlConnectOptions, MySqlPoolOptions, MySqlRow},
};

use super::DatabaseConfig;
use crate::{AdapterError, ErrorClass, error::without_values, text::LegacyEncoding};

/// How long to wait for a connection before the runner's back-off takes over.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A change from further in the future than any clock or time zone explains does not move the place from which changes are read.
const FUTURE_HOURS: u32 = 26;

/// A connected database.
pub(super) struct Client {
    pool: MySqlPool,
    statements: Statements,
    columns: Vec<String>,
    has_integer_key: bool,
    page: u32,
    overlap_us: i64,
}

/// One row, undecoded.
#[derive(Clone)]
pub(super) struct Found {
    pub(super) key: String,
    /// As the database writes it; `None` where it is null.
    pub(super) updated: Option<String>,
    /// In the order of the columns asked for.
    pub(super) values: Vec<Option<Vec<u8>>>,
}

/// Neither key nor values.
impl std::fmt::Debug for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Found")
            .field("updated", &self.updated)
            .field("values", &self.values.len())
            .finish_non_exhaustive()
    }
}

/// How much lies behind a moment: tells cheaply whether it is worth reading again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    rows: i64,
    newest: Option<String>,
    /// Over key and moment of each: one row gone and another come is a difference.
    checksum: Option<String>,
}

/// What a column is.
#[derive(Clone, Debug)]
pub(super) struct ColumnType {
    pub(super) data_type: String,
    unsigned: bool,
    /// Of text: character set and collation.
    text: Option<(String, String)>,
    pub(super) nullable: bool,
}

struct Statements {
    snapshot: String,
    snapshot_behind: String,
    changes: String,
    changes_behind: String,
    newest: String,
    extent: String,
}

/// An identifier in backticks: one inside is doubled.
fn quote(identifier: &str) -> String {
    format!("`{}`", identifier.replace('`', "``"))
}

impl Client {
    /// Connects, and looks at the columns. `columns`: those to read.
    pub(super) async fn connect(config: &DatabaseConfig, columns: Vec<String>) -> Result<Self, AdapterError> {
        let pool = connect(config).await?;
        let types = column_types(&pool, &config.table).await?;
        let mistakes = mistakes(config, &columns, &types);
        if !mistakes.is_empty() {
            return Err(AdapterError::configuration(mistakes.join("; ")));
        }
        let statements = Statements::new(config, &columns, &types);
        let overlap_us = i64::try_from(config.overlap.as_micros()).unwrap_or(i64::MAX);
        let has_integer_key = types.get(&config.key).is_some_and(ColumnType::is_integer);
        Ok(Self { pool, statements, columns, has_integer_key, page: config.page, overlap_us })
    }

    /// The names of the columns, in the order of [`Found::values`].
    pub(super) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Whether the key is an integer to the database.
    pub(super) fn has_integer_key(&self) -> bool {
        self.has_integer_key
    }

    pub(super) fn page(&self) -> usize {
        self.page as usize
    }

    /// The next rows in the order of the key.
    pub(super) async fn snapshot(&self, after: Option<&str>) -> Result<Vec<Found>, AdapterError> {
        let rows = match after {
            None => sqlx::query(AssertSqlSafe(self.statements.snapshot.as_str())),
            Some(after) => sqlx::query(AssertSqlSafe(self.statements.snapshot_behind.as_str())).bind(after.to_owned()),
        };
        let rows = rows.bind(self.page).fetch_all(&self.pool).await;
        rows.and_then(|rows| rows.iter().map(found).collect()).map_err(|cause| classify("reading the table", cause))
    }

    /// The next rows in the order of their change, from an overlap before `from`; behind the change and key `after`.
    pub(super) async fn changes(
        &self,
        from: &str,
        after: Option<&(String, String)>,
    ) -> Result<Vec<Found>, AdapterError> {
        let statement = match after {
            None => &self.statements.changes,
            Some(_) => &self.statements.changes_behind,
        };
        let mut query = sqlx::query(AssertSqlSafe(statement.as_str())).bind(from.to_owned()).bind(self.overlap_us);
        if let Some((updated, key)) = after {
            query = query.bind(updated.clone()).bind(updated.clone()).bind(key.clone());
        }
        let rows = query.bind(self.page).fetch_all(&self.pool).await;
        rows.and_then(|rows| rows.iter().map(found).collect()).map_err(|cause| classify("reading changes", cause))
    }

    /// The newest change that is not from the future, and the moment behind which a change is.
    pub(super) async fn newest(&self) -> Result<(Option<String>, String), AdapterError> {
        let row = sqlx::query(AssertSqlSafe(self.statements.newest.as_str())).fetch_one(&self.pool).await;
        row.and_then(|row| Ok((text(&row, 0)?, text(&row, 1)?.unwrap_or_default())))
            .map_err(|cause| classify("asking for the newest change", cause))
    }

    /// How much lies from an overlap before `from`.
    pub(super) async fn extent(&self, from: &str) -> Result<Extent, AdapterError> {
        let row = sqlx::query(AssertSqlSafe(self.statements.extent.as_str()))
            .bind(from.to_owned())
            .bind(self.overlap_us)
            .fetch_one(&self.pool)
            .await;
        row.and_then(|row| Ok(Extent { rows: row.try_get(0)?, newest: text(&row, 1)?, checksum: text(&row, 2)? }))
            .map_err(|cause| classify("asking for changes", cause))
    }
}

/// A pool whose sessions cannot write.
pub(super) async fn connect(config: &DatabaseConfig) -> Result<MySqlPool, AdapterError> {
    let url = config.resolve().await?;
    let options: MySqlConnectOptions =
        url.reveal().parse().map_err(|_| AdapterError::configuration("database.url: not a MySQL URL"))?;
    let pool = MySqlPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(CONNECT_TIMEOUT)
        .after_connect(|connection, _| {
            Box::pin(async move {
                sqlx::query("SET SESSION TRANSACTION READ ONLY").execute(connection).await?;
                Ok(())
            })
        })
        .connect_with(options)
        .await;
    pool.map_err(|cause| classify("connecting", cause))
}

/// What the table's columns are; empty where there is no such table (or none that the user may see).
pub(super) async fn column_types(pool: &MySqlPool, table: &str) -> Result<HashMap<String, ColumnType>, AdapterError> {
    let read = |row: &MySqlRow| -> Result<(String, ColumnType), sqlx::Error> {
        let field = |index| Ok::<_, sqlx::Error>(text(row, index)?.unwrap_or_default());
        let (charset, collation) = (text(row, 3)?, text(row, 4)?);
        let column = ColumnType {
            data_type: field(1)?.to_ascii_lowercase(),
            unsigned: field(2)?.to_ascii_lowercase().contains("unsigned"),
            text: charset.zip(collation),
            nullable: field(5)? != "NO",
        };
        Ok((field(0)?, column))
    };
    let rows = sqlx::query(
        "SELECT CONVERT(COLUMN_NAME USING utf8mb4), CONVERT(DATA_TYPE USING utf8mb4), CONVERT(COLUMN_TYPE USING utf8mb4), \
         CONVERT(CHARACTER_SET_NAME USING utf8mb4), CONVERT(COLLATION_NAME USING utf8mb4), \
         CONVERT(IS_NULLABLE USING utf8mb4) FROM information_schema.COLUMNS \
         WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ?",
    )
    .bind(table.to_owned())
    .fetch_all(pool)
    .await;
    rows.and_then(|rows| rows.iter().map(read).collect()).map_err(|cause| classify("looking at the columns", cause))
}

/// Everything that is wrong with the table.
pub(super) fn mistakes(
    config: &DatabaseConfig,
    columns: &[String],
    types: &HashMap<String, ColumnType>,
) -> Vec<String> {
    if types.is_empty() {
        return vec![format!("database.table: there is no table {} that this user may read", config.table)];
    }
    let mut mistakes = Vec::new();
    let wanted = columns.iter().chain([&config.key, &config.updated]);
    let missing: Vec<&str> = wanted.filter(|name| !types.contains_key(*name)).map(String::as_str).collect();
    if !missing.is_empty() {
        mistakes.push(format!("the table {} has no column {}", config.table, missing.join(", ")));
    }
    if let Some(key) = types.get(&config.key)
        && !key.is_integer()
        && key.text.is_none()
    {
        mistakes.push(format!("database.key: {} is {}; it must be an integer or text", config.key, key.data_type));
    }
    if let Some(updated) = types.get(&config.updated)
        && !matches!(updated.data_type.as_str(), "datetime" | "timestamp")
    {
        let found = &updated.data_type;
        mistakes.push(format!("database.updated: {} is {found}; it must be DATETIME or TIMESTAMP", config.updated));
    }
    mistakes
}

impl ColumnType {
    pub(super) fn is_integer(&self) -> bool {
        matches!(self.data_type.as_str(), "tinyint" | "smallint" | "mediumint" | "int" | "bigint")
    }

    /// `?` as a value that compares exactly with the column.
    fn parameter(&self) -> String {
        match &self.text {
            Some((charset, collation)) => format!("CONVERT(? USING {charset}) COLLATE {collation}"),
            None if self.unsigned => "CAST(? AS UNSIGNED)".into(),
            None => "CAST(? AS SIGNED)".into(),
        }
    }
}

impl Statements {
    /// The columns were found to be there and to fit.
    fn new(config: &DatabaseConfig, columns: &[String], types: &HashMap<String, ColumnType>) -> Self {
        let (table, key, updated) = (quote(&config.table), quote(&config.key), quote(&config.updated));
        let value = |column: &String| match config.encoding {
            None => format!("CONVERT({} USING utf8mb4)", quote(column)),
            Some(_) => format!("CAST({} AS BINARY)", quote(column)),
        };
        let mut list = vec![format!("CONVERT({key} USING utf8mb4)"), format!("CAST({updated} AS CHAR)")];
        list.extend(columns.iter().map(value));
        let select = format!("SELECT {} FROM {table}", list.join(", "));
        let behind = types.get(&config.key).map(ColumnType::parameter).unwrap_or_else(|| "?".into());
        let since = format!("{updated} >= CAST(? AS DATETIME(6)) - INTERVAL ? MICROSECOND");
        let moment = "CAST(? AS DATETIME(6))";
        let future = format!("NOW(6) + INTERVAL {FUTURE_HOURS} HOUR");
        Self {
            snapshot: format!("{select} ORDER BY {key} LIMIT ?"),
            snapshot_behind: format!("{select} WHERE {key} > {behind} ORDER BY {key} LIMIT ?"),
            changes: format!("{select} WHERE {since} ORDER BY {updated}, {key} LIMIT ?"),
            changes_behind: format!(
                "{select} WHERE {since} AND ({updated} > {moment} OR ({updated} = {moment} AND {key} > {behind})) \
                 ORDER BY {updated}, {key} LIMIT ?"
            ),
            newest: format!(
                "SELECT (SELECT CAST(MAX({updated}) AS CHAR) FROM {table} WHERE {updated} <= {future}), CAST({future} AS CHAR)"
            ),
            extent: format!(
                "SELECT COUNT(*), CAST(MAX({updated}) AS CHAR), \
                 CAST(BIT_XOR(CRC32(CONCAT_WS('|', CAST({updated} AS CHAR), CONVERT({key} USING utf8mb4)))) AS CHAR) \
                 FROM {table} WHERE {since}"
            ),
        }
    }
}

fn found(row: &MySqlRow) -> Result<Found, sqlx::Error> {
    let values = (2..row.len()).map(|index| row.try_get(index)).collect::<Result<_, _>>()?;
    Ok(Found { key: text(row, 0)?.unwrap_or_default(), updated: text(row, 1)?, values })
}

/// Some servers call the same expression text and some bytes.
fn text(row: &MySqlRow, index: usize) -> Result<Option<String>, sqlx::Error> {
    let bytes: Option<Vec<u8>> = row.try_get(index)?;
    // Of the error only where it is: the whole of it holds the bytes.
    bytes.map(String::from_utf8).transpose().map_err(|error| sqlx::Error::Decode(Box::new(error.utf8_error())))
}

/// Bytes of one value by the encoding in which they arrive.
pub(super) fn arrives_in(config: &DatabaseConfig) -> LegacyEncoding {
    config.encoding.unwrap_or(LegacyEncoding::Utf8)
}

/// An error of the legacy database, with what can be done about it.
pub(super) fn classify(doing: &str, cause: sqlx::Error) -> AdapterError {
    let words = match cause {
        // The pool tries again and again, and forgets why.
        sqlx::Error::PoolTimedOut => ": nobody answers; is it up, and reachable from here?",
        _ => "",
    };
    AdapterError::new(class(&cause), format!("the legacy database: {doing}{words}"))
        .because(without_values(cause, speaks))
}

/// Whose words are about tables, access and the server. Others quote a value: `Incorrect datetime value: '…'`, `Duplicate entry '…'`.
fn speaks(number: &str) -> bool {
    number.parse().is_ok_and(|number: u16| {
        class_of(number) == ErrorClass::Configuration || matches!(number, 1040 | 1053 | 1205 | 1213 | 1317)
    })
}

fn class(error: &sqlx::Error) -> ErrorClass {
    match error {
        sqlx::Error::Configuration(_) => ErrorClass::Configuration,
        sqlx::Error::Database(error) => {
            let number = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>().map(|error| error.number());
            number.map_or(ErrorClass::Transient, class_of)
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) | sqlx::Error::Decode(_) => {
            ErrorClass::Protocol
        }
        _ => ErrorClass::Transient,
    }
}

/// By MySQL's error numbers.
fn class_of(number: u16) -> ErrorClass {
    match number {
        // No access: to the server, the database, the table, a column; no such database, table, column; a statement refused.
        1044 | 1045 | 1049 | 1054 | 1064 | 1142 | 1143 | 1146 | 1227 | 1698 => ErrorClass::Configuration,
        // A value that is no time, a character set that cannot be converted: the table is not what was looked at.
        1115 | 1267 | 1292 | 1366 => ErrorClass::Protocol,
        // Too many connections (1040), shutting down (1053), locks (1205, 1213), killed (1317), and what is not known.
        _ => ErrorClass::Transient,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_cannot_leave_their_quotes() {
        assert_eq!(quote("a`; DROP TABLE b"), "`a``; DROP TABLE b`");
    }

    #[test]
    fn what_the_database_says_of_a_value_is_not_told() {
        assert!(!speaks("1292") && !speaks("1366") && !speaks("1062") && !speaks(""));
        assert!(speaks("1146") && speaks("1045") && speaks("1040"));
    }

    #[test]
    fn a_server_that_restarts_is_waited_for_and_a_missing_table_is_not() {
        for (number, expected) in [
            (1040, ErrorClass::Transient),
            (1053, ErrorClass::Transient),
            (1205, ErrorClass::Transient),
            (1045, ErrorClass::Configuration),
            (1146, ErrorClass::Configuration),
            (1054, ErrorClass::Configuration),
            (1292, ErrorClass::Protocol),
        ] {
            assert_eq!(class_of(number), expected, "{number}");
        }
        assert_eq!(class(&sqlx::Error::PoolTimedOut), ErrorClass::Transient);
    }
}
