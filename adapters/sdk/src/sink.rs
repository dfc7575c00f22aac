//! Writing into a department's own inbox: what the runner hands to a sink, and what the sink says of each record.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{AdapterError, Operation, Violation};

/// The writing half of an adapter.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Takes records, in log order within each partition. Returns one outcome a record, in the same order.
    ///
    /// Idempotent: a record may come again (a lost acknowledgement), is then [`Outcome::Accepted`], and changes nothing. An older source
    /// version never overwrites a newer one. What is accepted is durable when this returns.
    ///
    /// # Errors
    /// [`AdapterError`] where nothing can be said of any record (a connection lost): the runner delivers the same records again.
    async fn deliver(&self, records: &[Record]) -> Result<Vec<Outcome>, AdapterError>;

    /// Count and `shuqiao_proto::digest` over the live (not deleted) records held, in ascending bytes of the key: what reconciliation compares
    /// with the exchange's own digest of the dataset.
    ///
    /// # Errors
    /// [`AdapterError`].
    async fn digest(&self) -> Result<(u64, [u8; 32]), AdapterError>;
}

/// One delivered record.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// Id of the dataset.
    pub dataset: String,
    /// Version of the standard, "enterprise/v1".
    pub record_type: String,
    /// The record key, at most 512 bytes.
    pub key: String,
    /// Upsert or delete.
    pub operation: Operation,
    /// The source's own version of this key; larger is newer.
    pub source_version: u64,
    /// JSON text, UTF-8, as far as the grant shows it; empty for a delete.
    pub payload: Bytes,
    /// The system that published it; with `sequence`, the record's id.
    pub source: String,
    /// The source's number of it.
    pub sequence: u64,
    /// When the exchange took it, milliseconds since 1970-01-01T00:00:00Z.
    pub accept_time_ms: i64,
    /// Where it stands in the log: partition and offset.
    pub position: (u32, u64),
}

/// Neither key nor payload.
impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record")
            .field("dataset", &self.dataset)
            .field("operation", &self.operation)
            .field("sequence", &self.sequence)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

/// What a sink says of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Durable in the inbox (or held there already).
    Accepted,
    /// Will never be taken in this form: set aside as a dead letter, then acknowledged.
    Rejected {
        /// Why.
        reason: Violation,
    },
    /// Not now. The runner offers it again after this time (bounded to a minute), and everything behind it in its partition waits.
    Deferred {
        /// How long to wait.
        retry_after: Duration,
    },
}
