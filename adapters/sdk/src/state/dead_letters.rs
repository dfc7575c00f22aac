//! Dead letters: what could not be taken, with its raw bytes and the reasons, until somebody has looked.
//!
//! The same bytes set aside again are one letter with a larger count, so a dirty file read every night does not bury its own news.

use serde::Serialize;
use shuqiao_proto::digest::payload_digest;
use sqlx::{Row as _, Sqlite, Transaction, sqlite::SqliteRow};

use super::{
    Error, State, count, now_ms,
    numbering::{Numbering, Origin},
    stored_u64,
};
use crate::{SourceRecord, Violation};

/// Which way the letter was going.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From the legacy system to the exchange.
    Source,
    /// From the exchange to the inbox.
    Sink,
}

/// What has become of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LetterState {
    /// Somebody should look.
    Open,
    /// Mapped again, and waiting in the outbox.
    Replaying,
    /// Taken at last (or set aside anew, as another letter).
    Replayed,
    /// Its key has moved on since; replaying it would put old data over new.
    Superseded,
    /// Mended at the other end: the same row, or something newer of its key, was taken since, or the whole source was read and it was not there.
    Resolved,
}

/// One letter.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct DeadLetter {
    /// Its number in this state file.
    pub id: i64,
    /// Which way it was going.
    pub direction: Direction,
    /// What has become of it.
    pub state: LetterState,
    /// Where a person finds the row.
    pub place: String,
    /// Every reason.
    pub violations: Vec<Violation>,
    /// How often the same bytes were set aside.
    pub occurrences: u64,
    /// First and last time, milliseconds since 1970-01-01T00:00:00Z.
    pub first_at_ms: i64,
    /// See `first_at_ms`.
    pub last_at_ms: i64,
    /// When it was closed, milliseconds since 1970-01-01T00:00:00Z.
    pub closed_at_ms: Option<i64>,
    /// The raw bytes as read. Not shown in lists.
    #[serde(skip)]
    pub raw: Vec<u8>,
    /// A sink's: the record without its payload, JSON.
    #[serde(skip)]
    pub record: Option<String>,
}

/// What is wrong with the row, not what it says.
impl std::fmt::Debug for DeadLetter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetter")
            .field("id", &self.id)
            .field("direction", &self.direction)
            .field("state", &self.state)
            .field("place", &self.place)
            .field("violations", &self.violations)
            .finish_non_exhaustive()
    }
}

/// What replaying a letter came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Replay {
    /// Waits in the outbox; the next (or the running) run sends it. For a sink: taken.
    Queued,
    /// Says what is published already: the letter is closed.
    Unchanged,
    /// Its key has moved on since it was set aside: the letter is closed.
    Superseded,
    /// Still cannot be mapped, or is still refused: the letter stays open, with the reasons of now.
    StillBad,
    /// It is not open.
    NotOpen,
}

impl State {
    /// Letters in order of their number, behind `after`, at most `limit`; without their raw bytes. `open_only`: those that somebody should look at.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn dead_letters(&self, open_only: bool, after: i64, limit: u32) -> Result<Vec<DeadLetter>, Error> {
        let rows = sqlx::query(
            "SELECT id, direction, state, place, violations, occurrences, first_at_ms, last_at_ms, closed_at_ms, x'' AS raw, \
             NULL AS record FROM dead_letter WHERE id > ? AND (NOT ? OR state = 'open') ORDER BY id LIMIT ?",
        )
        .bind(after)
        .bind(open_only)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(letter).collect()
    }

    /// One letter with its raw bytes.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn dead_letter(&self, id: i64) -> Result<Option<DeadLetter>, Error> {
        let row = sqlx::query("SELECT * FROM dead_letter WHERE id = ?").bind(id).fetch_optional(&self.pool).await?;
        row.as_ref().map(letter).transpose()
    }

    /// How many open letters there are for each rule (the first of a letter's reasons), most first. However often its bytes were seen, a letter is one.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn dead_letter_reasons(&self) -> Result<Vec<(String, u64)>, Error> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT coalesce(json_extract(violations, '$[0].rule'), ''), count(*) AS total FROM dead_letter \
             WHERE state = 'open' GROUP BY 1 ORDER BY total DESC, 1",
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|(rule, total)| (rule, stored_u64(total))).collect())
    }

    /// How many letters are open.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn open_letters(&self) -> Result<u64, Error> {
        let open: i64 =
            sqlx::query_scalar("SELECT count(*) FROM dead_letter WHERE state = 'open'").fetch_one(&self.pool).await?;
        Ok(stored_u64(open))
    }

    /// Puts an open source letter's record, mapped again, into the outbox. It counts as read once more.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn replay(&self, id: i64, record: &SourceRecord) -> Result<Replay, Error> {
        let mut transaction = self.begin().await?;
        let row = sqlx::query("SELECT * FROM dead_letter WHERE id = ? AND state = 'open' AND direction = 'source'")
            .bind(id)
            .fetch_optional(&mut *transaction)
            .await?;
        let Some(row) = row else { return Ok(Replay::NotOpen) };
        let newest: Option<i64> = sqlx::query_scalar(
            "SELECT max(sequence) FROM (SELECT sequence FROM outbox WHERE key = ?1 \
             UNION ALL SELECT sequence FROM published WHERE key = ?1)",
        )
        .bind(&record.key)
        .fetch_one(&mut *transaction)
        .await?;
        // A source that versions its rows is protected by the version; one whose versions we count is not.
        let moved_on = newest.is_some_and(|sequence| sequence > row.get::<i64, _>("at_sequence"));
        let result = if record.source_version.is_none() && moved_on {
            set_state(&mut transaction, id, "superseded").await?;
            Replay::Superseded
        } else {
            let mut numbering = Numbering::load(&mut transaction).await?;
            let origin = Origin {
                raw: row.try_get("raw")?,
                place: row.try_get("place")?,
                row: row_of(&row)?,
                dead_letter: Some(id),
            };
            let queued = numbering.enqueue(&mut transaction, record, &origin).await?;
            numbering.store(&mut transaction).await?;
            count(&mut transaction, "read", 1).await?;
            if queued.is_some() {
                set_state(&mut transaction, id, "replaying").await?;
                Replay::Queued
            } else {
                count(&mut transaction, "unchanged", 1).await?;
                set_state(&mut transaction, id, "replayed").await?;
                Replay::Unchanged
            }
        };
        transaction.commit().await?;
        Ok(result)
    }

    /// Notes the reasons for which an open letter still cannot be taken.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn still_bad(&self, id: i64, violations: &[Violation]) -> Result<(), Error> {
        sqlx::query("UPDATE dead_letter SET violations = ?, last_at_ms = ? WHERE id = ? AND state = 'open'")
            .bind(json(violations))
            .bind(now_ms())
            .bind(id)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// A sink has taken an open letter at last.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn letter_taken(&self, id: i64) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        set_state(&mut transaction, id, "replayed").await?;
        transaction.commit().await?;
        Ok(())
    }
}

/// A letter was taken at last, or set aside anew.
pub(super) async fn replayed(transaction: &mut Transaction<'static, Sqlite>, id: i64) -> Result<(), Error> {
    set_state(transaction, id, "replayed").await
}

/// SHA-256 of what the source knows the row by.
fn row_of(row: &SqliteRow) -> Result<Option<[u8; 32]>, Error> {
    Ok(row.try_get::<Option<&[u8]>, _>("row_sha256")?.and_then(|row| row.try_into().ok()))
}

async fn set_state(transaction: &mut Transaction<'static, Sqlite>, id: i64, state: &'static str) -> Result<(), Error> {
    let closed_at_ms = (state != "replaying").then(now_ms);
    sqlx::query("UPDATE dead_letter SET state = ?, closed_at_ms = ? WHERE id = ?")
        .bind(state)
        .bind(closed_at_ms)
        .bind(id)
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

fn json(violations: &[Violation]) -> String {
    // Four strings always serialise.
    serde_json::to_string(violations).unwrap_or_else(|_| "[]".into())
}

fn letter(row: &SqliteRow) -> Result<DeadLetter, Error> {
    Ok(DeadLetter {
        id: row.try_get("id")?,
        direction: match row.try_get("direction")? {
            "source" => Direction::Source,
            "sink" => Direction::Sink,
            _ => return Err(Error::Damaged("direction")),
        },
        state: match row.try_get("state")? {
            "open" => LetterState::Open,
            "replaying" => LetterState::Replaying,
            "replayed" => LetterState::Replayed,
            "superseded" => LetterState::Superseded,
            "resolved" => LetterState::Resolved,
            _ => return Err(Error::Damaged("state of a dead letter")),
        },
        place: row.try_get("place")?,
        violations: serde_json::from_str(row.try_get("violations")?).map_err(|_| Error::Damaged("list of reasons"))?,
        occurrences: stored_u64(row.try_get("occurrences")?),
        first_at_ms: row.try_get("first_at_ms")?,
        last_at_ms: row.try_get("last_at_ms")?,
        closed_at_ms: row.try_get("closed_at_ms")?,
        raw: row.try_get("raw")?,
        record: row.try_get("record")?,
    })
}

/// A letter about to be written.
pub(super) struct SetAside<'a> {
    pub(super) direction: &'static str,
    pub(super) key: Option<&'a str>,
    pub(super) place: &'a str,
    pub(super) raw: &'a [u8],
    pub(super) violations: &'a [Violation],
    pub(super) record: Option<String>,
    pub(super) at_sequence: i64,
    /// SHA-256 of what the source knows the row by.
    pub(super) row: Option<[u8; 32]>,
}

impl<'a> SetAside<'a> {
    pub(super) fn of_source(
        key: Option<&'a str>,
        place: &'a str,
        raw: &'a [u8],
        violations: &'a [Violation],
        at_sequence: i64,
    ) -> Self {
        Self { direction: "source", key, place, raw, violations, record: None, at_sequence, row: None }
    }

    pub(super) fn of_row(self, row: Option<[u8; 32]>) -> Self {
        Self { row, ..self }
    }

    pub(super) async fn insert(self, transaction: &mut Transaction<'static, Sqlite>) -> Result<(), Error> {
        // What makes two letters the same: a sink's raw bytes are only the payload (empty for a delete), so its record's id belongs to it.
        let identity = match &self.record {
            Some(record) => payload_digest(record.as_bytes()),
            None => payload_digest(self.raw),
        };
        sqlx::query(
            "INSERT INTO dead_letter (direction, state, key, place, raw, raw_sha256, violations, record, at_sequence, \
             occurrences, first_at_ms, last_at_ms, row_sha256, pass) VALUES (?1, 'open', ?2, ?3, ?4, ?5, ?6, ?7, ?8, 1, \
             ?9, ?9, ?10, (SELECT value FROM counter WHERE name = 'passes')) \
             ON CONFLICT (direction, raw_sha256) WHERE state = 'open' DO UPDATE SET key = coalesce(excluded.key, key), \
             place = excluded.place, raw = excluded.raw, violations = excluded.violations, at_sequence = excluded.at_sequence, \
             occurrences = occurrences + 1, last_at_ms = excluded.last_at_ms, \
             row_sha256 = coalesce(excluded.row_sha256, row_sha256), pass = excluded.pass",
        )
        .bind(self.direction)
        .bind(self.key)
        .bind(self.place)
        .bind(self.raw)
        .bind(identity.as_slice())
        .bind(json(self.violations))
        .bind(self.record)
        .bind(self.at_sequence)
        .bind(now_ms())
        .bind(self.row.as_ref().map(<[u8; 32]>::as_slice))
        .execute(&mut **transaction)
        .await?;
        Ok(())
    }
}
