//! The outbox: what has been read and is not yet acknowledged, with the sequences under which it is sent.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;
use shuqiao_proto::{digest::payload_digest, v1};
use sqlx::{Row as _, Sqlite, Transaction, sqlite::SqliteRow};

use super::{Error, State, count, dead_letters::SetAside, stored_u64, to_stored};
use crate::{Batch, Operation, SourceRecord, Violation};

/// Keys longer than this are refused by the exchange.
const KEY_BYTES_MAX: usize = 512;
/// Payloads larger than this are refused by the exchange.
const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// One record that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The record's number: with the source, its id.
    pub sequence: u64,
    /// The record key.
    pub key: String,
    /// Upsert or delete.
    pub operation: Operation,
    /// The source's version.
    pub source_version: u64,
    /// JSON text, empty for a delete.
    pub payload: Bytes,
}

impl Entry {
    /// What it takes in a batch.
    pub fn bytes(&self) -> usize {
        // The numbers and the framing of one record take less than 64 bytes.
        self.key.len() + self.payload.len() + 64
    }
}

/// What became of the rows of one batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// All of them.
    pub read: u64,
    /// Said what was known already.
    pub unchanged: u64,
    /// Set aside.
    pub dead_letters: u64,
    /// Put into the outbox.
    pub waiting: u64,
    /// What the outbox grew by.
    pub bytes: u64,
    /// What was repaired or left out of the records put there, by rule.
    pub warnings: BTreeMap<String, u64>,
}

/// What the exchange said of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Held, at or before this position.
    Accepted(v1::Position),
    /// Never will be.
    Rejected(Vec<Violation>),
    /// Not known: stays in the outbox.
    Unknown,
}

/// What an acknowledgement changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Acknowledged {
    /// Held by the exchange.
    pub accepted: u64,
    /// Set aside.
    pub dead_letters: u64,
    /// What the outbox shrank by.
    pub bytes: u64,
}

impl State {
    /// Whether the exchange has told where the source stands. Before it has, no sequence may be given: a file that is new while the source
    /// is not would number records as repeats.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn is_adopted(&self) -> Result<bool, Error> {
        Ok(sqlx::query_scalar("SELECT adopted FROM numbering WHERE id = 1").fetch_one(&self.pool).await?)
    }

    /// Takes over where the source stands at the exchange. Where the exchange knows more than this file (it is new, or came back from an older
    /// copy), numbering goes on behind it, and what waits in the outbox is numbered again, in order. Returns whether that was so.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn adopt(&self, last_sequence: u64) -> Result<bool, Error> {
        let last = to_stored(last_sequence);
        let mut transaction = self.begin().await?;
        let next: i64 =
            sqlx::query_scalar("SELECT next_sequence FROM numbering WHERE id = 1").fetch_one(&mut *transaction).await?;
        let behind = last >= next;
        if behind {
            let first: Option<i64> =
                sqlx::query_scalar("SELECT min(sequence) FROM outbox").fetch_one(&mut *transaction).await?;
            let shift = last + 1 - first.unwrap_or(next);
            // Through the negative numbers, so that no new number meets an old one on the way.
            sqlx::query(
                "UPDATE outbox SET sequence = -(sequence + ?1), source_version = source_version + counted * ?2",
            )
            .bind(shift)
            .bind(last)
            .execute(&mut *transaction)
            .await?;
            sqlx::query("UPDATE outbox SET sequence = -sequence").execute(&mut *transaction).await?;
            sqlx::query("UPDATE unsettled SET last_sequence = last_sequence + ?")
                .bind(shift)
                .execute(&mut *transaction)
                .await?;
            // No version that this source counted can be larger than the number of its records.
            sqlx::query("UPDATE numbering SET next_sequence = next_sequence + ?, version_base = ? WHERE id = 1")
                .bind(shift)
                .bind(last)
                .execute(&mut *transaction)
                .await?;
        }
        sqlx::query("UPDATE numbering SET adopted = 1 WHERE id = 1").execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(behind)
    }

    /// Keeps a batch: its records in the outbox, its bad rows as dead letters, its position as the checkpoint, all or nothing.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn record(&self, batch: &Batch) -> Result<Recorded, Error> {
        let mut transaction = self.begin().await?;
        let mut numbering = Numbering::load(&mut transaction).await?;
        let mut recorded = Recorded { read: batch.rows.len() as u64, ..Recorded::default() };
        for row in &batch.rows {
            let checked = row
                .mapped
                .as_ref()
                .map_err(|error| error.violations.clone())
                .and_then(|record| check_bounds(record).map(|()| record));
            match checked {
                Ok(record) => {
                    let origin = Origin { raw: &row.raw, place: &row.place, dead_letter: None };
                    match numbering.enqueue(&mut transaction, record, &origin).await? {
                        Some(bytes) => {
                            recorded.waiting += 1;
                            recorded.bytes += bytes;
                            for warning in &row.warnings {
                                *recorded.warnings.entry(warning.rule.clone()).or_default() += 1;
                            }
                        }
                        None => recorded.unchanged += 1,
                    }
                }
                Err(violations) => {
                    let key = row.mapped.as_ref().ok().map(|record| record.key.as_str());
                    SetAside::of_source(key, &row.place, &row.raw, &violations, numbering.next - 1)
                        .insert(&mut transaction)
                        .await?;
                    recorded.dead_letters += 1;
                }
            }
        }
        numbering.store(&mut transaction).await?;
        sqlx::query(
            "INSERT INTO checkpoint (id, position) VALUES (1, ?) \
             ON CONFLICT (id) DO UPDATE SET position = excluded.position",
        )
        .bind(batch.position.0.as_ref())
        .execute(&mut *transaction)
        .await?;
        sqlx::query("INSERT INTO unsettled (position, last_sequence) VALUES (?, ?)")
            .bind(batch.position.0.as_ref())
            .bind(numbering.next - 1)
            .execute(&mut *transaction)
            .await?;
        count(&mut transaction, "read", recorded.read).await?;
        count(&mut transaction, "unchanged", recorded.unchanged).await?;
        count(&mut transaction, "dead_letters", recorded.dead_letters).await?;
        for (rule, more) in &recorded.warnings {
            sqlx::query(
                "INSERT INTO warning (rule, value) VALUES (?, ?) \
                 ON CONFLICT (rule) DO UPDATE SET value = value + excluded.value",
            )
            .bind(rule)
            .bind(to_stored(*more))
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(recorded)
    }

    /// The next records to send: those behind `after`, in order, at most so many and (but for a single one) at most so many bytes.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn outbox_after(&self, after: u64, records: usize, bytes: usize) -> Result<Vec<Entry>, Error> {
        use futures::TryStreamExt as _;
        let mut entries = Vec::new();
        let mut size = 0;
        let mut rows = sqlx::query(
            "SELECT sequence, key, operation, source_version, payload FROM outbox WHERE sequence > ? ORDER BY sequence \
             LIMIT ?",
        )
        .bind(to_stored(after))
        .bind(i64::try_from(records).unwrap_or(i64::MAX))
        .fetch(&self.pool);
        while let Some(row) = rows.try_next().await? {
            let entry = entry(&row)?;
            size += entry.bytes();
            if size > bytes && !entries.is_empty() {
                break;
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    /// How much waits: records and bytes.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn outbox_size(&self) -> Result<(u64, u64), Error> {
        let (records, bytes): (i64, i64) =
            sqlx::query_as("SELECT count(*), coalesce(sum(length(payload) + length(raw)), 0) FROM outbox")
                .fetch_one(&self.pool)
                .await?;
        Ok((stored_u64(records), stored_u64(bytes)))
    }

    /// Applies one acknowledgement: accepted records leave the outbox for `published`, rejected ones for the dead letters, and the verified
    /// receipt is kept, all or nothing.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn acknowledge(
        &self,
        results: &[(u64, Verdict)],
        receipt: Option<&v1::Receipt>,
    ) -> Result<Acknowledged, Error> {
        let mut transaction = self.begin().await?;
        let mut done = Acknowledged::default();
        for (sequence, verdict) in results {
            if matches!(verdict, Verdict::Unknown) {
                continue;
            }
            let row = sqlx::query("SELECT * FROM outbox WHERE sequence = ?")
                .bind(to_stored(*sequence))
                .fetch_optional(&mut *transaction)
                .await?;
            // A second acknowledgement of the same record changes nothing.
            let Some(row) = row else { continue };
            done.bytes += (row.try_get::<&[u8], _>("payload")?.len() + row.try_get::<&[u8], _>("raw")?.len()) as u64;
            match verdict {
                Verdict::Accepted(position) => {
                    accepted(&mut transaction, &row, *position).await?;
                    done.accepted += 1;
                }
                Verdict::Rejected(violations) => {
                    rejected(&mut transaction, &row, violations).await?;
                    done.dead_letters += 1;
                }
                Verdict::Unknown => {}
            }
            sqlx::query("DELETE FROM outbox WHERE sequence = ?")
                .bind(to_stored(*sequence))
                .execute(&mut *transaction)
                .await?;
        }
        if let Some(receipt) = receipt {
            sqlx::query(
                "INSERT INTO receipt (id, receipt) VALUES (1, ?) \
                 ON CONFLICT (id) DO UPDATE SET receipt = excluded.receipt",
            )
            .bind(receipt.encode_to_vec())
            .execute(&mut *transaction)
            .await?;
        }
        count(&mut transaction, "accepted", done.accepted).await?;
        count(&mut transaction, "dead_letters", done.dead_letters).await?;
        transaction.commit().await?;
        Ok(done)
    }
}

fn entry(row: &SqliteRow) -> Result<Entry, Error> {
    Ok(Entry {
        sequence: stored_u64(row.try_get("sequence")?),
        key: row.try_get("key")?,
        operation: operation(row.try_get("operation")?)?,
        source_version: stored_u64(row.try_get("source_version")?),
        payload: Bytes::from(row.try_get::<Vec<u8>, _>("payload")?),
    })
}

fn operation(stored: i64) -> Result<Operation, Error> {
    match stored {
        1 => Ok(Operation::Upsert),
        2 => Ok(Operation::Delete),
        _ => Err(Error::Damaged("operation")),
    }
}

/// What would break the stream rather than one record is set aside before it is sent.
fn check_bounds(record: &SourceRecord) -> Result<(), Vec<Violation>> {
    let mut violations = Vec::new();
    if record.key.is_empty() || record.key.len() > KEY_BYTES_MAX {
        violations.push(Violation::new("key", "KEY_LENGTH", "the key must have 1-512 bytes", "主键长度应为1至512字节"));
    }
    if record.payload.len() > PAYLOAD_BYTES_MAX {
        violations.push(Violation::new(
            "",
            "PAYLOAD_TOO_LARGE",
            "the payload is larger than 1 MiB",
            "数据内容超过1 MiB",
        ));
    }
    if record.operation == Operation::Delete && !record.payload.is_empty() {
        violations.push(Violation::new(
            "",
            "DELETE_WITH_PAYLOAD",
            "a delete has no payload",
            "删除操作不应带有数据内容",
        ));
    }
    if record.source_version.is_some_and(|version| i64::try_from(version).is_err()) {
        violations.push(Violation::new(
            "source_version",
            "SOURCE_VERSION_TOO_LARGE",
            "the source version must be below 2^63",
            "源版本号应小于2的63次方",
        ));
    }
    if violations.is_empty() { Ok(()) } else { Err(violations) }
}

/// Where a record comes from, for the dead letter that it may become.
pub(super) struct Origin<'a> {
    pub(super) raw: &'a [u8],
    pub(super) place: &'a str,
    pub(super) dead_letter: Option<i64>,
}

/// The source's numbering, within one transaction.
pub(super) struct Numbering {
    pub(super) next: i64,
    version_base: i64,
}

impl Numbering {
    pub(super) async fn load(transaction: &mut Transaction<'static, Sqlite>) -> Result<Self, Error> {
        let (next, version_base) = sqlx::query_as("SELECT next_sequence, version_base FROM numbering WHERE id = 1")
            .fetch_one(&mut **transaction)
            .await?;
        Ok(Self { next, version_base })
    }

    pub(super) async fn store(&self, transaction: &mut Transaction<'static, Sqlite>) -> Result<(), Error> {
        sqlx::query("UPDATE numbering SET next_sequence = ? WHERE id = 1")
            .bind(self.next)
            .execute(&mut **transaction)
            .await?;
        Ok(())
    }

    /// Gives a record its sequence and puts it into the outbox. `None`: it says what is published, or waits, already.
    pub(super) async fn enqueue(
        &mut self,
        transaction: &mut Transaction<'static, Sqlite>,
        record: &SourceRecord,
        origin: &Origin<'_>,
    ) -> Result<Option<u64>, Error> {
        let sha256 = payload_digest(&record.payload);
        let deleted = record.operation == Operation::Delete;
        let known = known(transaction, &record.key).await?;
        if known.as_ref().is_some_and(|known| known.deleted == deleted && known.sha256 == sha256) {
            return Ok(None);
        }
        let counted = record.source_version.is_none();
        let version = match record.source_version {
            Some(version) => to_stored(version),
            None => known.map_or(0, |known| known.version).max(self.version_base) + 1,
        };
        sqlx::query(
            "INSERT INTO outbox (sequence, key, operation, source_version, counted, payload, payload_sha256, raw, place, \
             dead_letter) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(self.next)
        .bind(&record.key)
        .bind(if deleted { 2_i64 } else { 1 })
        .bind(version)
        .bind(counted)
        .bind(record.payload.as_ref())
        .bind(sha256.as_slice())
        .bind(origin.raw)
        .bind(origin.place)
        .bind(origin.dead_letter)
        .execute(&mut **transaction)
        .await?;
        self.next += 1;
        Ok(Some((record.payload.len() + origin.raw.len()) as u64))
    }
}

/// What the exchange holds of a key, or will once the outbox is empty.
struct Known {
    version: i64,
    sha256: Vec<u8>,
    deleted: bool,
}

async fn known(transaction: &mut Transaction<'static, Sqlite>, key: &str) -> Result<Option<Known>, Error> {
    let row: Option<(i64, Vec<u8>, bool)> = sqlx::query_as(
        "SELECT source_version, payload_sha256, operation = 2 FROM outbox WHERE key = ? ORDER BY sequence DESC LIMIT 1",
    )
    .bind(key)
    .fetch_optional(&mut **transaction)
    .await?;
    let row = match row {
        Some(row) => Some(row),
        None => {
            sqlx::query_as("SELECT source_version, payload_sha256, deleted FROM published WHERE key = ?")
                .bind(key)
                .fetch_optional(&mut **transaction)
                .await?
        }
    };
    Ok(row.map(|(version, sha256, deleted)| Known { version, sha256, deleted }))
}

async fn accepted(
    transaction: &mut Transaction<'static, Sqlite>,
    row: &SqliteRow,
    position: v1::Position,
) -> Result<(), Error> {
    // As the view does: an older source version is held in the log, but never becomes the state.
    sqlx::query(
        "INSERT INTO published (key, sequence, source_version, payload_sha256, deleted) VALUES (?, ?, ?, ?, ?) \
         ON CONFLICT (key) DO UPDATE SET sequence = excluded.sequence, source_version = excluded.source_version, \
         payload_sha256 = excluded.payload_sha256, deleted = excluded.deleted \
         WHERE excluded.source_version >= published.source_version",
    )
    .bind(row.try_get::<&str, _>("key")?)
    .bind(row.try_get::<i64, _>("sequence")?)
    .bind(row.try_get::<i64, _>("source_version")?)
    .bind(row.try_get::<&[u8], _>("payload_sha256")?)
    .bind(row.try_get::<i64, _>("operation")? == 2)
    .execute(&mut **transaction)
    .await?;
    sqlx::query(
        "INSERT INTO accepted_position (partition, offset) VALUES (?, ?) \
         ON CONFLICT (partition) DO UPDATE SET offset = max(offset, excluded.offset)",
    )
    .bind(i64::from(position.partition))
    .bind(to_stored(position.offset))
    .execute(&mut **transaction)
    .await?;
    if let Some(letter) = row.try_get::<Option<i64>, _>("dead_letter")? {
        sqlx::query("UPDATE dead_letter SET state = 'replayed' WHERE id = ?")
            .bind(letter)
            .execute(&mut **transaction)
            .await?;
    }
    Ok(())
}

async fn rejected(
    transaction: &mut Transaction<'static, Sqlite>,
    row: &SqliteRow,
    violations: &[Violation],
) -> Result<(), Error> {
    if let Some(letter) = row.try_get::<Option<i64>, _>("dead_letter")? {
        // The letter that was replayed opens again, with the new reasons, as the same bytes set aside once more.
        sqlx::query("UPDATE dead_letter SET state = 'replayed' WHERE id = ?")
            .bind(letter)
            .execute(&mut **transaction)
            .await?;
    }
    SetAside::of_source(
        Some(row.try_get("key")?),
        row.try_get("place")?,
        row.try_get("raw")?,
        violations,
        row.try_get("sequence")?,
    )
    .insert(transaction)
    .await
}
