//! The outbox: what has been read and is not yet acknowledged, with the sequences under which it is sent.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;
use shuqiao_proto::{digest::payload_digest, v1};
use sqlx::{Row as _, Sqlite, Transaction, sqlite::SqliteRow};

use super::{
    Error, State, count,
    dead_letters::{SetAside, replayed},
    numbering::{Numbering, Origin},
    resolved,
    resolved::Kept,
    stored_u64, to_stored,
};
use crate::{Batch, Operation, SourceRecord, Violation};

/// Keys longer than this are refused by the exchange.
const KEY_BYTES_MAX: usize = 512;
/// Payloads larger than this are refused by the exchange.
const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// No more of a row's bytes is kept.
const RAW_BYTES_MAX: usize = 4 << 20;

/// One record that waits.
#[derive(Clone, PartialEq, Eq)]
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

/// Neither key nor payload.
impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("sequence", &self.sequence)
            .field("operation", &self.operation)
            .field("source_version", &self.source_version)
            .finish_non_exhaustive()
    }
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
    /// Keeps a batch: its records in the outbox, its bad rows as dead letters, its position as the checkpoint, all or nothing.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn record(&self, batch: &Batch) -> Result<Recorded, Error> {
        let mut transaction = self.begin().await?;
        let mut numbering = Numbering::load(&mut transaction).await?;
        let mut recorded = Recorded { read: batch.rows.len() as u64, ..Recorded::default() };
        if batch.pass.begins {
            resolved::begin_pass(&mut transaction).await?;
        }
        let mut letters = resolved::any_open(&mut transaction, "source").await?;
        for row in &batch.rows {
            let id: Option<[u8; 32]> = row.id.as_ref().map(|id| payload_digest(id));
            let raw = row.raw.get(..RAW_BYTES_MAX).unwrap_or(&row.raw);
            let checked = row
                .mapped
                .as_ref()
                .map_err(|error| error.violations.clone())
                .and_then(|record| check_bounds(record).map(|()| record));
            match checked {
                Ok(record) => {
                    let origin = Origin { raw, place: &row.place, row: id, dead_letter: None };
                    let next = numbering.next;
                    match numbering.enqueue(&mut transaction, record, &origin).await? {
                        Some(bytes) => {
                            recorded.waiting += 1;
                            recorded.bytes += bytes;
                            for warning in &row.warnings {
                                *recorded.warnings.entry(warning.rule.clone()).or_default() += 1;
                            }
                            // Its key's letters stay until the exchange has taken it.
                            if letters {
                                resolved::by_record(&mut transaction, None, id.as_ref().map(|id| id.as_slice()), next)
                                    .await?;
                            }
                        }
                        None => {
                            recorded.unchanged += 1;
                            if letters {
                                let row = id.as_ref().map(|id| id.as_slice());
                                resolved::by_unchanged(&mut transaction, &record.key, row).await?;
                            }
                        }
                    }
                }
                Err(mut violations) => {
                    if raw.len() < row.raw.len() {
                        violations.push(raw_cut());
                    }
                    let key = row.mapped.as_ref().ok().map(|record| record.key.as_str());
                    SetAside::of_source(key, &row.place, raw, &violations, numbering.next - 1)
                        .of_row(id)
                        .insert(&mut transaction)
                        .await?;
                    recorded.dead_letters += 1;
                    if let Some(id) = id.filter(|_| letters) {
                        resolved::by_other_bytes(&mut transaction, &id, &payload_digest(raw)).await?;
                    }
                    letters = true;
                }
            }
        }
        if batch.pass.ends {
            resolved::end_pass(&mut transaction).await?;
        }
        resolved::forget(&mut transaction, Kept::now()).await?;
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
        let mut letters = resolved::any_open(&mut transaction, "source").await?;
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
                    // What a letter said when it was replayed may be older than what another says.
                    if letters && row.try_get::<Option<i64>, _>("dead_letter")?.is_none() {
                        let (key, origin) = (row.try_get("key")?, row.try_get("row_sha256")?);
                        resolved::by_record(&mut transaction, key, origin, to_stored(*sequence)).await?;
                    }
                    done.accepted += 1;
                }
                Verdict::Rejected(violations) => {
                    rejected(&mut transaction, &row, violations).await?;
                    letters = true;
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

fn raw_cut() -> Violation {
    Violation::new("", "RAW_CUT", "only the first 4 MiB of the row are kept", "仅保留该行开头的 4 MiB")
}

/// What would break the stream rather than one record is set aside before it is sent.
fn check_bounds(record: &SourceRecord) -> Result<(), Vec<Violation>> {
    let mut violations = Vec::new();
    if record.key.is_empty() || record.key.len() > KEY_BYTES_MAX {
        violations.push(Violation::new(
            "key",
            "KEY_LENGTH",
            "the key must have 1-512 bytes",
            "主键长度应为 1 至 512 字节",
        ));
    }
    if record.payload.len() > PAYLOAD_BYTES_MAX {
        violations.push(Violation::new(
            "",
            "PAYLOAD_TOO_LARGE",
            "the payload is larger than 1 MiB",
            "数据内容超过 1 MiB",
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
            "源版本号应小于 2 的 63 次方",
        ));
    }
    if violations.is_empty() { Ok(()) } else { Err(violations) }
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
    if let Some(letter) = row.try_get("dead_letter")? {
        replayed(transaction, letter).await?;
    }
    Ok(())
}

async fn rejected(
    transaction: &mut Transaction<'static, Sqlite>,
    row: &SqliteRow,
    violations: &[Violation],
) -> Result<(), Error> {
    if let Some(letter) = row.try_get("dead_letter")? {
        // The letter that was replayed opens again, with the new reasons, as the same bytes set aside once more.
        replayed(transaction, letter).await?;
    }
    SetAside::of_source(
        Some(row.try_get("key")?),
        row.try_get("place")?,
        row.try_get("raw")?,
        violations,
        row.try_get("sequence")?,
    )
    .of_row(row.try_get::<Option<&[u8]>, _>("row_sha256")?.and_then(|row| row.try_into().ok()))
    .insert(transaction)
    .await
}
