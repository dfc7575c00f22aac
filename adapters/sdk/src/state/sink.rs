//! What a sink leaves in the state file: how much came, how much was taken, and what was set aside.

use serde::{Deserialize, Serialize};

use super::{Error, State, count, dead_letters::SetAside};
use crate::{Operation, Record, Violation};

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
    /// Counts one delivery's outcomes and sets the refused records aside, all or nothing. Only then may they be acknowledged.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn delivered(&self, taken: u64, refused: &[(&Record, &Violation)]) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
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
            }
            .insert(&mut transaction)
            .await?;
        }
        let refused = refused.len() as u64;
        count(&mut transaction, "delivered", taken + refused).await?;
        count(&mut transaction, "taken", taken).await?;
        count(&mut transaction, "refused", refused).await?;
        transaction.commit().await?;
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
