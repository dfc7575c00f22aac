//! `[{adapter}.database]`: which table, and which of its columns say when a row changed and that it is gone.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

use crate::{
    AdapterError,
    config::{Secret, duration, secret_of},
    text::LegacyEncoding,
};

/// `[{adapter}.database]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `mysql://user:password@host/database`. Or `url_file`. A user with `SELECT` on the table suffices.
    pub url: Option<Secret>,
    /// A file that holds the URL and nothing else: keeps the password out of the configuration.
    pub url_file: Option<PathBuf>,
    /// The table (or view), in the URL's database.
    pub table: String,
    /// The column in whose order the table is read: unique, never null, an integer or text. Its primary key.
    pub key: String,
    /// The `DATETIME` or `TIMESTAMP` column that moves whenever a row changes.
    pub updated: String,
    /// Where a row says that it no longer counts. Rows that vanish from the table are not noticed.
    pub deleted: Option<Deleted>,
    /// Only where the columns hold bytes of another character set than they declare (GBK in a `latin1` column): the bytes are then
    /// decoded here. Without it, the server converts from what it declares (gbk, utf8mb4, ...).
    pub encoding: Option<LegacyEncoding>,
    /// Rows read at once; 1-5,000. Default 500.
    #[serde(default = "five_hundred")]
    pub page: u32,
    /// How often a run that follows asks for changes. Default 5 s.
    #[serde(default = "five_seconds", deserialize_with = "duration")]
    pub poll: Duration,
    /// How far behind the newest change reading begins again each time: longer than the longest transaction there and than the
    /// differences between its clocks. What is read twice is recognised. Default 30 s.
    #[serde(default = "thirty_seconds", deserialize_with = "duration")]
    pub overlap: Duration,
}

/// `[{adapter}.database.deleted]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deleted {
    /// The column that says it.
    pub column: String,
    /// The values that mean that the row is deleted.
    pub values: Vec<String>,
}

/// MySQL's bound.
const IDENTIFIER_CHARACTERS_MAX: usize = 64;

fn five_hundred() -> u32 {
    500
}

fn five_seconds() -> Duration {
    Duration::from_secs(5)
}

fn thirty_seconds() -> Duration {
    Duration::from_secs(30)
}

impl DatabaseConfig {
    /// What the type cannot express, for [`crate::Adapter::mistakes`] of a configuration that calls it `database`.
    pub fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        match (&self.url, &self.url_file) {
            (Some(url), None) if !is_mysql(url.reveal()) => {
                mistakes.push("database.url: must begin with mysql://".into());
            }
            (Some(_), None) | (None, Some(_)) => {}
            (Some(_), Some(_)) => mistakes.push("database.url, database.url_file: give one of them, not both".into()),
            (None, None) => mistakes.push("database.url, database.url_file: one of them must be there".into()),
        }
        let deleted = self.deleted.as_ref().map(|deleted| ("deleted.column", &deleted.column));
        let names = [("table", &self.table), ("key", &self.key), ("updated", &self.updated)];
        for (field, name) in names.into_iter().chain(deleted) {
            if name.is_empty() || name.chars().count() > IDENTIFIER_CHARACTERS_MAX || name.contains('\0') {
                mistakes.push(format!("database.{field}: must have from 1 to {IDENTIFIER_CHARACTERS_MAX} characters"));
            }
        }
        if self.deleted.as_ref().is_some_and(|deleted| deleted.values.is_empty()) {
            mistakes.push("database.deleted.values: must name at least one value".into());
        }
        if !(1..=5_000).contains(&self.page) {
            mistakes.push("database.page: must be from 1 to 5000".into());
        }
        if self.poll.is_zero() {
            mistakes.push("database.poll: must be longer than 0s".into());
        }
        if self.overlap > Duration::from_secs(24 * 3_600) {
            mistakes.push("database.overlap: must be at most 1d".into());
        }
        mistakes
    }

    /// The URL, from wherever it is kept.
    pub(super) async fn resolve(&self) -> Result<Secret, AdapterError> {
        let url = secret_of("database.url", self.url.as_ref(), self.url_file.as_deref()).await?;
        if is_mysql(url.reveal()) {
            Ok(url)
        } else {
            Err(AdapterError::configuration("database.url: must begin with mysql://"))
        }
    }
}

fn is_mysql(url: &str) -> bool {
    url.starts_with("mysql://") || url.starts_with("mariadb://")
}
