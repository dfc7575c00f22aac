//! Writing into a department's own inbox: what the runner hands to a sink, and what the sink says of each record.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{AdapterError, Operation, Violation, plural};

/// The writing half of an adapter.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Takes records, in log order within each partition. Returns one outcome a record, in the same order.
    ///
    /// Idempotent: a record may come again (a lost acknowledgement), is then [`Outcome::Accepted`], and changes nothing; but where it comes again with another
    /// payload, since the grant shows more or less of it than it did, the newer showing is the state. An older source version never overwrites a newer
    /// one; of one version, the later in the log (`position`) is the state. What is accepted is durable when this returns.
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

    /// What the inbox says of itself. It must move in the same transaction as the records: the runner keeps it outside of the inbox, and so sees that the
    /// inbox was removed, exchanged or restored from a backup, which would otherwise lack what was acknowledged without anybody's knowing. `None`: it has
    /// never taken anything; or always, as the default has it, where it cannot say so, and then nobody sees.
    ///
    /// # Errors
    /// [`AdapterError`].
    async fn mark(&self) -> Result<Option<Mark>, AdapterError> {
        Ok(None)
    }
}

/// What an inbox says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Which one it is: chosen at random when it took its first delivery.
    pub inbox: String,
    /// How many deliveries it has committed. A delivery that comes again because its answer was lost counts again, and one of which every record was refused
    /// commits nothing and does not count: so it is a mark to compare with, not a number of records or of acknowledgements.
    pub deliveries: u64,
}

impl Mark {
    /// Why an inbox that now says `found` lacks what it had when it said this; in English and Chinese.
    pub(crate) fn is_lost_in(&self, found: Option<&Self>) -> Option<(String, String)> {
        let held = self.deliveries;
        match found {
            Some(found) if found.inbox != self.inbox => Some((
                format!("it is another one than that which took {held} {}", plural(held, "delivery")),
                format!("它并非此前已接收 {held} 次交付的收件库"),
            )),
            Some(found) if found.deliveries < held => Some((
                format!(
                    "it has taken {} {}, and had taken {held}",
                    found.deliveries,
                    plural(found.deliveries, "delivery")
                ),
                format!("它记录的交付为 {} 次，此前已达 {held} 次", found.deliveries),
            )),
            Some(_) => None,
            None => Some((
                format!("it is empty, and had taken {held} {}", plural(held, "delivery")),
                format!("它是空的，此前已接收 {held} 次交付"),
            )),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inbox_that_went_back_is_told_from_one_that_went_on() {
        let mark = |inbox: &str, deliveries| Mark { inbox: inbox.into(), deliveries };
        let remembered = mark("a", 7);
        let lost = |found: Option<Mark>| remembered.is_lost_in(found.as_ref()).map(|(en, _)| en);
        assert_eq!(lost(Some(mark("a", 7))), None);
        assert_eq!(lost(Some(mark("a", 9))), None, "it took a delivery of which nobody made a note");
        assert_eq!(lost(Some(mark("a", 6))).as_deref(), Some("it has taken 6 deliveries, and had taken 7"));
        assert_eq!(lost(Some(mark("b", 9))).as_deref(), Some("it is another one than that which took 7 deliveries"));
        assert_eq!(lost(None).as_deref(), Some("it is empty, and had taken 7 deliveries"));
    }
}
