//! How a record lies in the log: key, value and headers, readable by any Kafka client.
//!
//! Key = record key; value = the payload's own JSON bytes (none for a delete: a tombstone); headers in CloudEvents 1.0's Kafka protocol binding, binary mode
//! (section 3.2), so that the attributes travel beside the payload and not around it:
//!
//! | header | value |
//! |---|---|
//! | `ce_specversion` | `1.0` |
//! | `ce_id` | the sequence, decimal: with `ce_source` the record's id |
//! | `ce_source` | the source: `department/market-supervision/system/registry` |
//! | `ce_type` | `shuqiao.record.upsert` or `shuqiao.record.delete` |
//! | `ce_dataschema` | `urn:shuqiao:record-type:enterprise:v1` |
//! | `ce_sourceversion` | the source version, decimal |
//! | `content-type` | `application/json` (absent for a delete) |
//!
//! The accept time is the entry's timestamp.
//!
//! A key's newest entry is what compaction keeps, and that need not be the newest record: an older source version may come late, and two nodes may store one
//! record twice. Then a node says the state of the key again, behind what would outlive it (`view::restate`). Such an entry has the same id and the same bytes, and
//!
//! | header | value |
//! |---|---|
//! | `ce_type` | `shuqiao.record.upsert.restated` or `shuqiao.record.delete.restated` |
//! | `ce_restatedoffset` | the offset of the entry that it restates, decimal |
//! | `ce_restatedbehind` | the offset of the entry that would outlive it, decimal |
//! | `ce_restatedtime` | that entry's timestamp, the record's accept time, decimal milliseconds since 1970 |

use std::sync::Arc;

use bytes::Bytes;

use super::model::{Operation, Position, Record, RecordTypeName, Restated, SourceId};
use crate::log::{Entry, StoredEntry};

const SPEC_VERSION: &str = "ce_specversion";
const ID: &str = "ce_id";
const SOURCE: &str = "ce_source";
const TYPE: &str = "ce_type";
const DATA_SCHEMA: &str = "ce_dataschema";
const SOURCE_VERSION: &str = "ce_sourceversion";
const CONTENT_TYPE: &str = "content-type";
const UPSERT: &str = "shuqiao.record.upsert";
const DELETE: &str = "shuqiao.record.delete";
const UPSERT_RESTATED: &str = "shuqiao.record.upsert.restated";
const DELETE_RESTATED: &str = "shuqiao.record.delete.restated";
const RESTATED_OFFSET: &str = "ce_restatedoffset";
const RESTATED_BEHIND: &str = "ce_restatedbehind";
const RESTATED_TIME: &str = "ce_restatedtime";
const RECORD_TYPE_URN: &str = "urn:shuqiao:record-type:";

/// Why an entry is no record: somebody else wrote into the topic, or the bytes are damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the entry's {0} is missing or malformed")]
pub struct Malformed(pub &'static str);

/// What is the same for every record of one batch, encoded once.
#[derive(Clone, Debug)]
pub struct Encoder {
    source: Bytes,
    data_schema: Bytes,
}

impl Encoder {
    /// For records of `source` that were checked against `record_type`.
    pub fn new(source: &SourceId, record_type: &RecordTypeName) -> Self {
        let urn = format!("{RECORD_TYPE_URN}{}", record_type.as_str().replace('/', ":"));
        Self { source: Bytes::copy_from_slice(source.as_str().as_bytes()), data_schema: urn.into() }
    }

    /// One record as an entry.
    #[expect(clippy::too_many_arguments, reason = "the parts of a record, each named once by the one caller")]
    pub fn encode(
        &self,
        partition: u32,
        key: Bytes,
        operation: Operation,
        sequence: u64,
        source_version: u64,
        payload: Bytes,
        accept_time_ms: i64,
    ) -> Entry {
        let mut headers = Vec::with_capacity(7);
        headers.push((SPEC_VERSION, Bytes::from_static(b"1.0")));
        headers.push((ID, Bytes::from(sequence.to_string())));
        headers.push((SOURCE, self.source.clone()));
        headers.push((
            TYPE,
            Bytes::from_static(match operation {
                Operation::Upsert => UPSERT.as_bytes(),
                Operation::Delete => DELETE.as_bytes(),
            }),
        ));
        headers.push((DATA_SCHEMA, self.data_schema.clone()));
        headers.push((SOURCE_VERSION, Bytes::from(source_version.to_string())));
        let value = match operation {
            Operation::Upsert => {
                headers.push((CONTENT_TYPE, Bytes::from_static(b"application/json")));
                Some(payload)
            }
            Operation::Delete => None,
        };
        Entry { partition, key: Some(key), headers, value, timestamp_ms: accept_time_ms }
    }
}

/// A record that lies at `position`, to be said again at `now_ms` because of the entry at the offset `behind`.
pub fn restate(record: &Record, position: Position, behind: u64, now_ms: i64) -> Entry {
    let Record { operation, sequence, source_version, payload, .. } = record;
    let key = Bytes::copy_from_slice(record.key.as_bytes());
    let encoder = Encoder::new(&record.source, &record.record_type);
    let mut entry =
        encoder.encode(position.partition, key, *operation, *sequence, *source_version, payload.clone(), now_ms);
    let restated = match operation {
        Operation::Upsert => UPSERT_RESTATED,
        Operation::Delete => DELETE_RESTATED,
    };
    for (name, value) in &mut entry.headers {
        if *name == TYPE {
            *value = Bytes::from_static(restated.as_bytes());
        }
    }
    entry.headers.push((RESTATED_OFFSET, position.offset.to_string().into()));
    entry.headers.push((RESTATED_BEHIND, behind.to_string().into()));
    entry.headers.push((RESTATED_TIME, record.accept_time_ms.to_string().into()));
    entry
}

/// Reads records back from the log. It remembers the source and the record type of the last one: the next entry mostly has the same, and shares them.
#[derive(Debug, Default)]
pub struct Decoder {
    source: Option<SourceId>,
    record_type: Option<(String, RecordTypeName)>,
}

impl Decoder {
    /// Reads one record.
    ///
    /// # Errors
    /// [`Malformed`] names the attribute that is missing or wrong.
    pub fn decode(&mut self, entry: &StoredEntry) -> Result<Record, Malformed> {
        let text = |name: &'static str| {
            entry.headers.get(name).and_then(|value| std::str::from_utf8(value).ok()).ok_or(Malformed(name))
        };
        let (operation, is_restated) = match text(TYPE)? {
            UPSERT => (Operation::Upsert, false),
            DELETE => (Operation::Delete, false),
            UPSERT_RESTATED => (Operation::Upsert, true),
            DELETE_RESTATED => (Operation::Delete, true),
            _ => return Err(Malformed(TYPE)),
        };
        let (restates, accept_time_ms) = match is_restated {
            true => {
                let behind = text(RESTATED_BEHIND)?.parse().ok().filter(|behind| *behind < entry.offset);
                let behind = behind.ok_or(Malformed(RESTATED_BEHIND))?;
                let offset = text(RESTATED_OFFSET)?.parse().ok().filter(|offset| *offset < behind);
                let offset = offset.ok_or(Malformed(RESTATED_OFFSET))?;
                let time_ms = text(RESTATED_TIME)?.parse().map_err(|_| Malformed(RESTATED_TIME))?;
                (Some(Restated { offset, behind }), time_ms)
            }
            false => (None, entry.timestamp_ms),
        };
        let payload = match (operation, &entry.value) {
            (Operation::Upsert, Some(value)) => value.clone(),
            (Operation::Delete, None) => Bytes::new(),
            _ => return Err(Malformed("value")),
        };
        let key = entry.key.as_ref().and_then(|key| std::str::from_utf8(key).ok()).ok_or(Malformed("key"))?;
        Ok(Record {
            record_type: self.record_type(text(DATA_SCHEMA)?)?,
            key: Arc::from(key),
            operation,
            source_version: text(SOURCE_VERSION)?.parse().map_err(|_| Malformed(SOURCE_VERSION))?,
            payload,
            source: self.source(text(SOURCE)?)?,
            sequence: text(ID)?.parse().map_err(|_| Malformed(ID))?,
            accept_time_ms,
            restates,
        })
    }

    fn record_type(&mut self, urn: &str) -> Result<RecordTypeName, Malformed> {
        if let Some((known, record_type)) = &self.record_type
            && known == urn
        {
            return Ok(record_type.clone());
        }
        let record_type: RecordTypeName = urn
            .strip_prefix(RECORD_TYPE_URN)
            .and_then(|rest| rest.replace(':', "/").parse().ok())
            .ok_or(Malformed(DATA_SCHEMA))?;
        self.record_type = Some((urn.to_owned(), record_type.clone()));
        Ok(record_type)
    }

    fn source(&mut self, text: &str) -> Result<SourceId, Malformed> {
        if let Some(source) = &self.source
            && source.as_str() == text
        {
            return Ok(source.clone());
        }
        let source: SourceId = text.parse().map_err(|_| Malformed(SOURCE))?;
        self.source = Some(source.clone());
        Ok(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Headers;

    fn stored(entry: Entry) -> StoredEntry {
        StoredEntry {
            partition: entry.partition,
            offset: 7,
            key: entry.key,
            headers: Headers(entry.headers.into_iter().map(|(name, value)| (name.into(), value)).collect()),
            value: entry.value,
            timestamp_ms: entry.timestamp_ms,
        }
    }

    #[test]
    fn a_record_comes_back_from_the_log_as_it_went_in() {
        let source: SourceId = "department/market-supervision/system/registry".parse().expect("well-formed");
        let encoder = Encoder::new(&source, &"enterprise/v1".parse().expect("well-formed"));
        for operation in [Operation::Upsert, Operation::Delete] {
            let payload = if operation == Operation::Upsert { Bytes::from_static(b"{}") } else { Bytes::new() };
            let entry = encoder.encode(3, Bytes::from_static(b"k"), operation, 5, 9, payload.clone(), 11);
            let record = Decoder::default().decode(&stored(entry)).expect("own entry");
            assert_eq!(record.record_type.as_str(), "enterprise/v1");
            assert_eq!((record.sequence, record.source_version, record.accept_time_ms), (5, 9, 11));
            assert_eq!((record.operation, record.payload, record.source), (operation, payload, source.clone()));
        }
    }

    #[test]
    fn a_record_that_is_said_again_is_the_same_record_and_says_of_which_entry_it_is() {
        let source: SourceId = "department/market-supervision/system/registry".parse().expect("well-formed");
        let encoder = Encoder::new(&source, &"enterprise/v1".parse().expect("well-formed"));
        for operation in [Operation::Upsert, Operation::Delete] {
            let payload = if operation == Operation::Upsert { Bytes::from_static(b"{}") } else { Bytes::new() };
            let entry = encoder.encode(3, Bytes::from_static(b"k"), operation, 5, 9, payload, 11);
            let said = Decoder::default().decode(&stored(entry)).expect("own entry");
            let again =
                StoredEntry { offset: 30, ..stored(restate(&said, Position { partition: 3, offset: 7 }, 20, 99)) };
            assert_eq!((again.timestamp_ms, again.value.is_none()), (99, operation == Operation::Delete));
            let read = Decoder::default().decode(&again).expect("own entry");
            assert_eq!(read, Record { restates: Some(Restated { offset: 7, behind: 20 }), ..said.clone() });
            // Nothing can be said again before it was said, nor before what it is said behind.
            let early = StoredEntry { offset: 20, ..again };
            assert_eq!(Decoder::default().decode(&early), Err(Malformed("ce_restatedbehind")));
            let early =
                StoredEntry { offset: 30, ..stored(restate(&said, Position { partition: 3, offset: 7 }, 7, 99)) };
            assert_eq!(Decoder::default().decode(&early), Err(Malformed("ce_restatedoffset")));
        }
    }

    #[test]
    fn a_foreign_entry_is_named_and_not_taken_for_a_record() {
        let foreign = StoredEntry {
            partition: 0,
            offset: 0,
            key: Some(Bytes::from_static(b"k")),
            headers: Headers::default(),
            value: Some(Bytes::from_static(b"{}")),
            timestamp_ms: 0,
        };
        assert_eq!(Decoder::default().decode(&foreign), Err(Malformed("ce_type")));
    }
}
