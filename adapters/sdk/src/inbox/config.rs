//! Where the inbox is: the whole of an adapter's own table.

use std::path::PathBuf;

use serde::Deserialize;

use super::table::MARK;
use crate::{
    AdapterError,
    config::{Secret, secret_of},
};

/// `[{adapter}]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InboxConfig {
    /// `postgres://user:password@host/database` or `sqlite:///path/of/file.db`. Or `url_file`.
    pub url: Option<Secret>,
    /// A file that holds the URL and nothing else: keeps the password out of the configuration.
    pub url_file: Option<PathBuf>,
    /// PostgreSQL schema of the table. Default: the user's search path decides.
    pub schema: Option<String>,
    /// Name of the table, at most 58 bytes. Default `shuqiao_inbox`. Beside it lies a table of one row, whose name is `_mark` longer: how much the inbox
    /// has taken.
    #[serde(default = "default_table")]
    pub table: String,
    /// Whether to create both tables where they are missing. Default no: most departments' users may not, and should not.
    #[serde(default)]
    pub create_table: bool,
}

fn default_table() -> String {
    "shuqiao_inbox".into()
}

/// Which database a URL names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    /// PostgreSQL 12 or later.
    Postgres,
    /// SQLite 3.35 or later (it is compiled in).
    Sqlite,
}

/// PostgreSQL cuts longer identifiers; SQLite would take them, but a table that moves should not.
const IDENTIFIER_BYTES_MAX: usize = 63;
/// The table beside it has a longer name.
const TABLE_BYTES_MAX: usize = IDENTIFIER_BYTES_MAX - MARK.len();

impl InboxConfig {
    /// With a URL and the defaults.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: Some(Secret::new(url)), url_file: None, schema: None, table: default_table(), create_table: false }
    }

    /// What the type cannot express, for [`crate::Adapter::mistakes`].
    pub fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        match (&self.url, &self.url_file) {
            (Some(url), None) => {
                if database_of(url.reveal()).is_none() {
                    mistakes.push("url: must begin with postgres:// or sqlite://".into());
                }
            }
            (None, Some(_)) => {}
            (Some(_), Some(_)) => mistakes.push("url, url_file: give one of them, not both".into()),
            (None, None) => mistakes.push("url, url_file: one of them must be there".into()),
        }
        let schema = self.schema.as_ref().map(|schema| ("schema", schema, IDENTIFIER_BYTES_MAX));
        for (field, name, bytes_max) in schema.into_iter().chain([("table", &self.table, TABLE_BYTES_MAX)]) {
            if name.is_empty() || name.len() > bytes_max || name.contains('\0') {
                mistakes.push(format!("{field}: must have from 1 to {bytes_max} bytes"));
            }
        }
        mistakes
    }

    /// The URL and the database that it names.
    pub(crate) async fn resolve(&self) -> Result<(Database, Secret), AdapterError> {
        let url = secret_of("url", self.url.as_ref(), self.url_file.as_deref()).await?;
        let database = database_of(url.reveal())
            .ok_or_else(|| AdapterError::configuration("url: must begin with postgres:// or sqlite://"))?;
        Ok((database, url))
    }
}

fn database_of(url: &str) -> Option<Database> {
    match url.split_once(':')?.0 {
        "postgres" | "postgresql" => Some(Database::Postgres),
        "sqlite" => Some(Database::Sqlite),
        _ => None,
    }
}
