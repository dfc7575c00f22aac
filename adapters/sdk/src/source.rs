//! Reading from a legacy system: what a source hands to the runner, row by row.
//!
//! A source reads and maps; it never retries, never counts and never drops. What cannot be mapped travels as a row with its raw bytes and
//! the reasons, and the runner sets it aside as a dead letter.

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::{AdapterError, Violation};

/// The reading half of an adapter. The runner is its only caller and never calls two verbs at once.
#[async_trait]
pub trait Source: Send {
    /// The next rows, in the source's order. `None`: a finite source has ended. A source that follows its system waits here until
    /// there is something new, or returns an empty batch (whose position is settled like any other).
    ///
    /// Cancel safe: when the future is dropped, the next call yields what this one would have.
    ///
    /// # Errors
    /// [`AdapterError`]: after a transient one the runner calls again, and gets the same rows or later ones, never fewer.
    async fn next_batch(&mut self) -> Result<Option<Batch>, AdapterError>;

    /// Everything up to `position` is durable in the exchange or set aside as a dead letter. Called in the order of the batches; a later
    /// position covers the earlier ones, so some may be skipped. A source that keeps nothing at its system returns `Ok(())`.
    ///
    /// # Errors
    /// [`AdapterError`]: a transient one is tried again with the same or a later position.
    async fn settle(&mut self, position: &Position) -> Result<(), AdapterError>;
}

/// Where a source stands: bytes that only its adapter understands. Comes back in [`crate::Context::position`] after a restart.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Position(pub Bytes);

/// Its length: a snapshot in key order stands at a key.
impl std::fmt::Debug for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Position").field("bytes", &self.0.len()).finish_non_exhaustive()
    }
}

impl Position {
    /// A position as JSON: for an adapter that has nothing shorter.
    pub fn encode(stand: &impl Serialize) -> Self {
        // Texts, numbers and lists of them always serialise.
        Self(serde_json::to_vec(stand).unwrap_or_default().into())
    }

    /// What [`Position::encode`] made of it. Give the type `deny_unknown_fields`, so that one kind of source does not take another's for its own.
    ///
    /// # Errors
    /// Configuration: another kind of source made it.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, AdapterError> {
        serde_json::from_slice(&self.0).map_err(|cause| {
            AdapterError::configuration(
                "the state file remembers another kind of source; give this one a file of its own",
            )
            .because(cause)
        })
    }
}

/// Rows read together.
#[derive(Clone, Debug)]
pub struct Batch {
    /// In the source's order; may be empty. At most a few thousand: the runner holds one batch in memory.
    pub rows: Vec<Row>,
    /// Where the source stands after these rows.
    pub position: Position,
    /// Where these rows stand in a way through the whole system.
    pub pass: Pass,
}

/// Where a batch stands in a way through the whole system. A source that says so lets the runner close the dead letters of rows that are no longer there;
/// one that makes no such ways keeps the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pass {
    /// Its first row is the first of a new way.
    pub begins: bool,
    /// With its rows, the source has yielded every row that it has since one began.
    pub ends: bool,
}

/// One row as it was read, and what the mapping made of it.
#[derive(Clone)]
pub struct Row {
    /// The row's bytes as read (before decoding), for the dead letter. A database row: its columns as JSON. At most 4 MiB are kept.
    pub raw: Bytes,
    /// Where a person finds it: "line 4711", "table t_ent, id 17". Never a name or an identity number.
    pub place: String,
    /// What the system knows the row by, however it changes: its primary key. A dead letter closes once its row says something else. `None` where it has no
    /// such thing, as a line of a file.
    pub id: Option<Bytes>,
    /// The record, or why there is none.
    pub mapped: Result<SourceRecord, MappingError>,
    /// What the mapping repaired or left out of a record that is right without it; counted by rule when the record is published.
    pub warnings: Vec<Violation>,
}

/// Where it stands and what is wrong with it, not what it says.
impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Row")
            .field("place", &self.place)
            .field("raw", &self.raw.len())
            .field("mapped", &self.mapped)
            .field("warnings", &self.warnings)
            .finish()
    }
}

/// What a row says about its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// The payload is the key's whole new state.
    Upsert,
    /// The key no longer exists at the source.
    Delete,
}

/// A mapped row: what is published.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceRecord {
    /// What the record type's key fields hold, joined by `|`; at most 512 bytes.
    pub key: String,
    /// Upsert or delete.
    pub operation: Operation,
    /// The source's own version of the key (a row version, milliseconds of its update column). `None`: the runner counts, a key
    /// at a time. Must not be mixed within one source.
    pub source_version: Option<u64>,
    /// JSON text, UTF-8, at most 1 MiB; empty for a delete.
    pub payload: Bytes,
}

/// Neither key nor payload.
impl std::fmt::Debug for SourceRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SourceRecord")
            .field("operation", &self.operation)
            .field("source_version", &self.source_version)
            .field("payload", &self.payload.len())
            .finish_non_exhaustive()
    }
}

/// Why a row cannot become a record: every reason found, never only the first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the row cannot be mapped: {}", summary(.violations))]
pub struct MappingError {
    /// At least one.
    pub violations: Vec<Violation>,
}

impl MappingError {
    /// One reason.
    pub fn one(violation: Violation) -> Self {
        Self { violations: vec![violation] }
    }
}

impl From<Violation> for MappingError {
    fn from(violation: Violation) -> Self {
        Self::one(violation)
    }
}

/// The rule names and paths, which quote no value.
fn summary(violations: &[Violation]) -> String {
    violations.iter().map(|violation| format!("{} {}", violation.path, violation.rule)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_debug_prints_what_a_row_says() {
        let whose = || Bytes::from_static(b"330106199003070014");
        let record = SourceRecord {
            key: "330106199003070014".into(),
            operation: Operation::Upsert,
            source_version: None,
            payload: whose(),
        };
        let place = "line 4".into();
        let row = Row { raw: whose(), place, id: Some(whose()), mapped: Ok(record), warnings: Vec::new() };
        let batch = Batch { rows: vec![row], position: Position(whose()), pass: Pass::default() };
        let text = format!("{batch:?}");
        assert!(text.contains("line 4") && !text.contains("330106199003070014"), "{text}");
    }
}
