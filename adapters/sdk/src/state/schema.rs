//! The tables of the state file, and how an older file becomes a newer one.

use std::path::Path;

use sqlx::SqlitePool;

use super::Error;

/// Each entry brings the file from its index to the next version. Entries are never changed, only added.
const MIGRATIONS: &[&str] = &[
    "
CREATE TABLE checkpoint (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    position BLOB NOT NULL
);
-- Positions recorded and not yet settled at the source. Settled once no sequence up to last_sequence waits.
CREATE TABLE unsettled (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    position BLOB NOT NULL,
    last_sequence INTEGER NOT NULL
);
CREATE TABLE outbox (
    sequence INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    operation INTEGER NOT NULL,
    source_version INTEGER NOT NULL,
    counted INTEGER NOT NULL,           -- the runner counted the version
    payload BLOB NOT NULL,
    payload_sha256 BLOB NOT NULL,
    raw BLOB NOT NULL,
    place TEXT NOT NULL,
    dead_letter INTEGER                 -- the letter that this record replays
);
CREATE INDEX outbox_key ON outbox (key, sequence);
CREATE TABLE published (
    key TEXT PRIMARY KEY,
    sequence INTEGER NOT NULL,
    source_version INTEGER NOT NULL,
    payload_sha256 BLOB NOT NULL,
    deleted INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE accepted_position (
    partition INTEGER PRIMARY KEY,
    offset INTEGER NOT NULL
);
CREATE TABLE receipt (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    receipt BLOB NOT NULL
);
CREATE TABLE dead_letter (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    direction TEXT NOT NULL,            -- source, sink
    state TEXT NOT NULL,                -- open, replaying, replayed, superseded
    key TEXT,
    place TEXT NOT NULL,
    raw BLOB NOT NULL,
    raw_sha256 BLOB NOT NULL,
    violations TEXT NOT NULL,           -- JSON list
    record TEXT,                        -- a sink's: everything of the record but its payload, JSON
    at_sequence INTEGER NOT NULL,       -- the source's last sequence when it was set aside
    occurrences INTEGER NOT NULL,
    first_at_ms INTEGER NOT NULL,
    last_at_ms INTEGER NOT NULL
);
CREATE UNIQUE INDEX dead_letter_open ON dead_letter (direction, raw_sha256) WHERE state = 'open';
CREATE TABLE counter (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
);
INSERT INTO counter (name, value) VALUES
    ('read', 0), ('accepted', 0), ('unchanged', 0), ('dead_letters', 0),
    ('delivered', 0), ('taken', 0), ('refused', 0);
-- The source's numbering. adopted: the exchange has told where the source stands, so that sequences may be given.
CREATE TABLE numbering (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    next_sequence INTEGER NOT NULL,
    version_base INTEGER NOT NULL,
    adopted INTEGER NOT NULL
);
INSERT INTO numbering (id, next_sequence, version_base, adopted) VALUES (1, 1, 0, 0);
",
    "
-- Records published with something repaired or left out, by rule.
CREATE TABLE warning (
    rule TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
",
    // Nothing ever asked whether numbering was adopted: every run hears it from the exchange before it reads.
    "
ALTER TABLE numbering DROP COLUMN adopted;
",
    // A letter of which something newer says that it is past is `resolved`. What the legacy system knows a row by, hashed; the way through all of the source in
    // which a letter last came.
    "
ALTER TABLE outbox ADD COLUMN row_sha256 BLOB;
ALTER TABLE dead_letter ADD COLUMN row_sha256 BLOB;
ALTER TABLE dead_letter ADD COLUMN pass INTEGER NOT NULL DEFAULT 0;
ALTER TABLE dead_letter ADD COLUMN closed_at_ms INTEGER;
CREATE INDEX dead_letter_key ON dead_letter (key) WHERE state = 'open';
CREATE INDEX dead_letter_row ON dead_letter (row_sha256) WHERE state = 'open';
INSERT INTO counter (name, value) VALUES ('passes', 0);
-- What the sink's inbox last said of itself. anew: the exchange is to be asked for everything once more.
CREATE TABLE inbox (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    name TEXT,
    deliveries INTEGER NOT NULL,
    anew INTEGER NOT NULL
);
INSERT INTO inbox (id, name, deliveries, anew) VALUES (1, NULL, 0, 0);
",
    // Closed letters are kept for a time, which begins with the last that was heard of those that were closed before this was noted.
    "
UPDATE dead_letter SET closed_at_ms = last_at_ms WHERE closed_at_ms IS NULL AND state NOT IN ('open', 'replaying');
CREATE INDEX dead_letter_closed ON dead_letter (closed_at_ms) WHERE closed_at_ms IS NOT NULL;
",
];

pub(super) async fn migrate(pool: &SqlitePool, path: &Path) -> Result<(), Error> {
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query(
        "CREATE TABLE IF NOT EXISTS schema_migration (version INTEGER PRIMARY KEY, applied_at_ms INTEGER NOT NULL)",
    )
    .execute(&mut *transaction)
    .await?;
    let version: i64 = sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM schema_migration")
        .fetch_one(&mut *transaction)
        .await?;
    let done = usize::try_from(version).map_err(|_| Error::Damaged("schema version"))?;
    if done > MIGRATIONS.len() {
        return Err(Error::Newer(path.to_owned()));
    }
    for (index, statements) in MIGRATIONS.iter().enumerate().skip(done) {
        sqlx::raw_sql(*statements).execute(&mut *transaction).await?;
        sqlx::query("INSERT INTO schema_migration (version, applied_at_ms) VALUES (?, ?)")
            .bind(i64::try_from(index + 1).map_err(|_| Error::Damaged("schema version"))?)
            .bind(super::now_ms())
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok(())
}
