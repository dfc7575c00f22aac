//! What a sink leaves in the state file: how much came, how much was taken, what was set aside, and what the inbox then said of itself.

use serde::{Deserialize, Serialize};

use super::{Error, State, count, dead_letters::SetAside, resolved, resolved::Kept, stored_u64, to_stored};
use crate::{Mark, Operation, Record, Violation};

/// A record without its payload, as a dead letter keeps it.
#[derive(Serialize, Deserialize)]
struct Envelope {
    dataset: String,
    record_type: String,
    key: String,
    delete: bool,
    source_version: u64,
    source: String,
    sequence: u64,
    accept_time_ms: i64,
    position: (u32, u64),
}

impl State {
    /// Counts one delivery's outcomes, sets the refused records aside, closes the letters of what was taken at last, and keeps the inbox's mark: all or
    /// nothing. Only then may they be acknowledged.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn delivered(
        &self,
        taken: &[&Record],
        refused: &[(&Record, &Violation)],
        mark: Option<&Mark>,
    ) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        if resolved::any_open(&mut transaction, "sink").await? {
            for record in taken {
                resolved::by_delivery(&mut transaction, record).await?;
            }
        }
        if let Some(mark) = mark {
            sqlx::query("UPDATE inbox SET name = ?, deliveries = ? WHERE id = 1")
                .bind(&mark.inbox)
                .bind(to_stored(mark.deliveries))
                .execute(&mut *transaction)
                .await?;
        }
        for (record, reason) in refused {
            let place = format!("partition {}, offset {}", record.position.0, record.position.1);
            let envelope = Envelope {
                dataset: record.dataset.clone(),
                record_type: record.record_type.clone(),
                key: record.key.clone(),
                delete: record.operation == Operation::Delete,
                source_version: record.source_version,
                source: record.source.clone(),
                sequence: record.sequence,
                accept_time_ms: record.accept_time_ms,
                position: record.position,
            };
            SetAside {
                direction: "sink",
                key: Some(&record.key),
                place: &place,
                raw: &record.payload,
                violations: std::slice::from_ref(*reason),
                record: Some(serde_json::to_string(&envelope).map_err(|_| Error::Damaged("record"))?),
                at_sequence: 0,
                row: None,
            }
            .insert(&mut transaction)
            .await?;
        }
        let (taken, refused) = (taken.len() as u64, refused.len() as u64);
        count(&mut transaction, "delivered", taken + refused).await?;
        count(&mut transaction, "taken", taken).await?;
        count(&mut transaction, "refused", refused).await?;
        resolved::forget(&mut transaction, Kept::now()).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// What the inbox said of itself when it had taken everything that was acknowledged.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn inbox_mark(&self) -> Result<Option<Mark>, Error> {
        let (name, deliveries): (Option<String>, i64) =
            sqlx::query_as("SELECT name, deliveries FROM inbox WHERE id = 1").fetch_one(&self.pool).await?;
        Ok(name.map(|inbox| Mark { inbox, deliveries: stored_u64(deliveries) }))
    }

    /// Has the next run ask the exchange for everything once more, whichever inbox it then finds.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn ask_anew(&self) -> Result<(), Error> {
        sqlx::query("UPDATE inbox SET name = NULL, deliveries = 0, anew = 1 WHERE id = 1").execute(&self.pool).await?;
        Ok(())
    }

    /// Whether the exchange is to be asked for everything once more.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn asks_anew(&self) -> Result<bool, Error> {
        Ok(sqlx::query_scalar("SELECT anew FROM inbox WHERE id = 1").fetch_one(&self.pool).await?)
    }

    /// The exchange was asked.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn asked_anew(&self) -> Result<(), Error> {
        sqlx::query("UPDATE inbox SET anew = 0 WHERE id = 1").execute(&self.pool).await?;
        Ok(())
    }
}

/// The record that a sink's dead letter keeps.
///
/// # Errors
/// [`Error::Damaged`].
pub(crate) fn record_of(envelope: &str, payload: Vec<u8>) -> Result<Record, Error> {
    let envelope: Envelope = serde_json::from_str(envelope).map_err(|_| Error::Damaged("record"))?;
    Ok(Record {
        dataset: envelope.dataset,
        record_type: envelope.record_type,
        key: envelope.key,
        operation: if envelope.delete { Operation::Delete } else { Operation::Upsert },
        source_version: envelope.source_version,
        payload: payload.into(),
        source: envelope.source,
        sequence: envelope.sequence,
        accept_time_ms: envelope.accept_time_ms,
        position: envelope.position,
    })
}
