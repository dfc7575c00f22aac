//! The inbox table: its quoted name, its columns, and the statements that both databases share.
//!
//! The payload is `text`: JSON text is UTF-8 and holds no NUL byte (it writes one as the six characters `\u0000`), so a UTF-8 database keeps it byte for
//! byte; `jsonb` would not. Readers cast: `payload::jsonb ->> 'name'`.

use std::collections::BTreeMap;

use super::config::{Database, InboxConfig};
use crate::{Operation, Record};

/// In the order in which the statements bind them.
pub(super) const COLUMNS: [&str; 12] = [
    "key",
    "deleted",
    "source_version",
    "payload",
    "payload_sha256",
    "dataset",
    "record_type",
    "source",
    "sequence",
    "accept_time",
    "partition",
    "\"offset\"",
];

/// What the name of the table beside it ends with.
pub(super) const MARK: &str = "_mark";

/// A table by its quoted name.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) quoted: String,
    /// The table beside it that holds the inbox's mark, quoted and not.
    pub(super) mark: String,
    pub(super) mark_name: String,
    pub(super) schema: Option<String>,
    pub(super) name: String,
}

impl Table {
    pub(super) fn new(config: &InboxConfig, database: Database) -> Self {
        // SQLite has no schemas; it would take one for the name of an attached database.
        let schema = config.schema.clone().filter(|_| database == Database::Postgres);
        let name = config.table.clone();
        let mark_name = format!("{name}{MARK}");
        let in_schema = |name: &str| match &schema {
            Some(schema) => format!("{}.{}", quote(schema), quote(name)),
            None => quote(name),
        };
        let (quoted, mark) = (in_schema(&name), in_schema(&mark_name));
        Self { quoted, mark, mark_name, schema, name }
    }

    /// The statements that make the table and its mark's: run where `create_table` is set, shown where it is not.
    pub(super) fn ddl(&self, database: Database) -> String {
        let (text, bytes, time, now, flag, collate) = match database {
            Database::Postgres => ("text", "bytea", "timestamptz", "now()", "boolean", " COLLATE \"C\""),
            Database::Sqlite => ("TEXT", "BLOB", "TEXT", "(strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))", "INTEGER", ""),
        };
        format!(
            "CREATE TABLE IF NOT EXISTS {} (\n    key {text}{collate} PRIMARY KEY,\n    deleted {flag} NOT NULL,\n    \
             source_version bigint NOT NULL,\n    payload {text} NOT NULL,\n    payload_sha256 {bytes} NOT NULL,\n    \
             dataset {text} NOT NULL,\n    record_type {text} NOT NULL,\n    source {text} NOT NULL,\n    \
             sequence bigint NOT NULL,\n    accept_time {time} NOT NULL,\n    partition bigint NOT NULL,\n    \
             \"offset\" bigint NOT NULL,\n    received_at {time} NOT NULL DEFAULT {now}\n);\n\
             CREATE TABLE IF NOT EXISTS {} (\n    id integer PRIMARY KEY CHECK (id = 1),\n    inbox {text} NOT NULL,\n    \
             deliveries bigint NOT NULL\n);",
            self.quoted, self.mark
        )
    }

    /// Counts a delivery: in the transaction of its rows, or not at all. `name` is the parameter with the name that an inbox takes with its first one.
    pub(super) fn count(&self, name: &str) -> String {
        format!(
            "INSERT INTO {} AS mark (id, inbox, deliveries) VALUES (1, {name}, 1) \
             ON CONFLICT (id) DO UPDATE SET deliveries = mark.deliveries + 1",
            self.mark
        )
    }

    /// What the table beside it says.
    pub(super) fn asks_mark(&self) -> String {
        format!("SELECT inbox, deliveries FROM {} WHERE id = 1", self.mark)
    }

    /// What the inbox says of itself. Every delivery that counts leaves a row, and a deletion is a row, too: where there is none, what was counted is gone.
    pub(super) fn asks_mark_of_rows(&self) -> String {
        format!("{} AND EXISTS (SELECT 1 FROM {})", self.asks_mark(), self.quoted)
    }

    /// What an existing row becomes: only what is newer, by source version and then by place in the log, changes it; or the same record, where the grant shows
    /// it otherwise than it did, or somebody has changed the row. So a repeat changes nothing else.
    pub(super) fn on_conflict(&self, now: &str) -> String {
        let assignments: Vec<String> =
            COLUMNS.iter().skip(1).map(|column| format!("{column} = excluded.{column}")).collect();
        format!(
            "ON CONFLICT (key) DO UPDATE SET {}, received_at = {now} \
             WHERE (excluded.source_version, excluded.\"offset\") > (inbox.source_version, inbox.\"offset\") \
             OR ((excluded.source_version, excluded.\"offset\") = (inbox.source_version, inbox.\"offset\") \
             AND (excluded.deleted, excluded.payload) <> (inbox.deleted, inbox.payload))",
            assignments.join(", ")
        )
    }
}

/// An identifier in double quotes, as SQL writes it: a quote inside is doubled.
fn quote(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// The newest record of each key: one statement may touch a row only once, and the older ones would change nothing.
pub(super) fn newest<'a>(records: impl Iterator<Item = &'a Record>) -> Vec<&'a Record> {
    let mut newest: BTreeMap<&str, &Record> = BTreeMap::new();
    for record in records {
        let age = |record: &Record| (record.source_version, record.position.1);
        let entry = newest.entry(&record.key).or_insert(record);
        if age(record) >= age(entry) {
            *entry = record;
        }
    }
    newest.into_values().collect()
}

pub(super) fn is_delete(record: &Record) -> bool {
    record.operation == Operation::Delete
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_cannot_leave_their_quotes() {
        let mut config = InboxConfig::new("postgres://localhost/x");
        config.schema = Some("tax".into());
        config.table = "in\"box; DROP TABLE t".into();
        assert_eq!(Table::new(&config, Database::Postgres).quoted, "\"tax\".\"in\"\"box; DROP TABLE t\"");
        assert_eq!(Table::new(&config, Database::Sqlite).quoted, "\"in\"\"box; DROP TABLE t\"");
    }
}
