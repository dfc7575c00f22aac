//! The source's numbering: which sequence and which version a record gets, and what happens to them where the exchange knows more than this file, or less.

use shuqiao_proto::digest::payload_digest;
use sqlx::{Sqlite, Transaction};

use super::{Error, State, count, stored_u64, to_stored};
use crate::{Operation, SourceRecord};

impl State {
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
            let first = first.unwrap_or(next);
            let shift = last + 1 - first;
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
            // A letter that came behind what waits is still behind it, and one that something published has passed is still passed.
            sqlx::query("UPDATE dead_letter SET at_sequence = at_sequence + ?1 WHERE at_sequence >= ?2 AND direction = 'source'")
                .bind(shift)
                .bind(first)
                .execute(&mut *transaction)
                .await?;
            // No version that this source counted can be larger than the number of its records.
            sqlx::query("UPDATE numbering SET next_sequence = next_sequence + ?, version_base = ? WHERE id = 1")
                .bind(shift)
                .bind(last)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(behind)
    }

    /// Largest sequence among the records that are the state of their keys by the exchange's own word; 0 before the first. It never knows less.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn accepted_sequence(&self) -> Result<u64, Error> {
        let largest: Option<i64> =
            sqlx::query_scalar("SELECT max(sequence) FROM published").fetch_one(&self.pool).await?;
        Ok(largest.map_or(0, stored_u64))
    }

    /// Forgets what was published, so that the next run reads the source from its beginning and publishes all of it once more, under numbers and
    /// versions behind every one that was used. Deletions, which a source does not tell twice, are put into the outbox at once. What waits there stays, and
    /// so do the books and the dead letters.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn begin_anew(&self) -> Result<Anew, Error> {
        let mut transaction = self.begin().await?;
        let numbering = Numbering::load(&mut transaction).await?;
        let records: i64 =
            sqlx::query_scalar("SELECT count(*) FROM published WHERE deleted = 0").fetch_one(&mut *transaction).await?;
        let deletions = sqlx::query(
            "INSERT INTO outbox (sequence, key, operation, source_version, counted, payload, payload_sha256, raw, place) \
             SELECT ? + row_number() OVER (ORDER BY key) - 1, key, 2, source_version, 0, x'', payload_sha256, x'', 'resync' \
             FROM published WHERE deleted = 1 AND key NOT IN (SELECT key FROM outbox)",
        )
        .bind(numbering.next)
        .execute(&mut *transaction)
        .await?
        .rows_affected();
        // No version that this source counted can be larger than the number of its records.
        sqlx::query(
            "UPDATE numbering SET version_base = max(version_base, next_sequence - 1), next_sequence = next_sequence + ? \
             WHERE id = 1",
        )
        .bind(to_stored(deletions))
        .execute(&mut *transaction)
        .await?;
        sqlx::raw_sql(
            "DELETE FROM published; DELETE FROM accepted_position; DELETE FROM checkpoint; DELETE FROM unsettled;",
        )
        .execute(&mut *transaction)
        .await?;
        count(&mut transaction, "read", deletions).await?;
        transaction.commit().await?;
        Ok(Anew { records: stored_u64(records), deletions, next_sequence: stored_u64(numbering.next) })
    }
}

/// What [`State::begin_anew`] will have published once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Anew {
    /// Live records that had been published: about as many are read again.
    pub records: u64,
    /// Deletions that wait in the outbox now.
    pub deletions: u64,
    /// The first sequence to come.
    pub next_sequence: u64,
}

/// Where a record comes from, for the dead letter that it may become.
pub(super) struct Origin<'a> {
    pub(super) raw: &'a [u8],
    pub(super) place: &'a str,
    /// SHA-256 of what the source knows the row by.
    pub(super) row: Option<[u8; 32]>,
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
             row_sha256, dead_letter) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
        .bind(origin.row.as_ref().map(<[u8; 32]>::as_slice))
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
