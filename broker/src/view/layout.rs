//! How rows lie in the store: keys, values, and nothing else.
//!
//! Promises: rows of one space share a prefix, so a whole dataset can be dropped by ranges; no key is the prefix of another key's value part, because
//! lengths stand before values; decoding foreign or damaged bytes is [`Error::Corrupt`], never a panic.
//!
//! ```text
//! records   space key                                   -> row
//! indexes   space slot value key                        -> nothing              (indexed fields, subject)
//!           space HISTORY key own-offset                -> partition cause      (history of a key, in log order)
//! history   space partition cause-offset                -> kind prune-time key row
//! meta      's' space                                   -> state dataset description
//!           'n'                                         -> next space
//!           'p' space partition                         -> next offset
//!           'h' space source partition                  -> high-water sequence
//!           'o' space key                               -> offset of an entry that outlives the key's state in the log
//! ```
//!
//! Integers are big-endian. A `value` is `u16 length, bytes`; one longer than a key may be is `0xFFFF, SHA-256`, which still compares for equality.

use std::sync::Arc;

use bytes::Bytes;

use super::Error;
use crate::exchange::model::{KEY_BYTES_MAX, Operation, Position, Record};

/// The number under which one dataset's rows lie. A rebuild gets a new one.
pub(super) type Space = u32;

/// The space without rows: where a reader looks that comes while a dataset's rows go.
pub(super) const NOWHERE: Space = 0;

/// The slot of the subject among the indexes.
pub(super) const SUBJECT: u16 = 0xFFFF;
/// The slot of the history of keys.
pub(super) const HISTORY: u16 = 0xFFFE;

const VALUE_BYTES_MAX: usize = KEY_BYTES_MAX;
const HASHED: u16 = 0xFFFF;
/// Rows of another version are made anew from the log ([`super::follow`]). Those of 3 lie as those of 2 do; but who wrote 2 remembered no late entries
/// ([`super::restate`]), and passed over what was said again.
pub(super) const ROW_VERSION: u8 = 3;
/// Rows from this version on can be read, so that queries are answered from them while they are made anew.
const ROW_VERSION_READ: u8 = 2;
const ROW_HEAD_BYTES: usize = 44;

/// `space key`.
pub(super) fn record_key(space: Space, key: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 + key.len());
    bytes.extend_from_slice(&space.to_be_bytes());
    bytes.extend_from_slice(key.as_bytes());
    bytes
}

/// The record key of a row in `records`.
pub(super) fn key_of_record_key(row_key: &[u8]) -> Result<&str, Error> {
    row_key.get(4..).and_then(|key| std::str::from_utf8(key).ok()).ok_or(Error::Corrupt("record key"))
}

/// Appends `slot value`: the middle of an index key, which is also how a row remembers its own index entries.
pub(super) fn push_index_part(out: &mut Vec<u8>, slot: u16, value: &[u8]) {
    out.extend_from_slice(&slot.to_be_bytes());
    match u16::try_from(value.len()) {
        Ok(length) if value.len() <= VALUE_BYTES_MAX => {
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(value);
        }
        _ => {
            out.extend_from_slice(&HASHED.to_be_bytes());
            out.extend_from_slice(&shuqiao_proto::digest::payload_digest(value));
        }
    }
}

/// What the subject index compares: the kind travels with the identifier, so equal digits of different kinds stay apart.
pub(super) fn subject_value(kind: &str, value: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(kind.len() + 1 + value.len());
    bytes.extend_from_slice(kind.as_bytes());
    bytes.push(0x1F);
    bytes.extend_from_slice(value.as_bytes());
    bytes
}

/// `space slot value`: what all entries of one index value begin with.
pub(super) fn index_prefix(space: Space, slot: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(8 + value.len());
    bytes.extend_from_slice(&space.to_be_bytes());
    push_index_part(&mut bytes, slot, value);
    bytes
}

/// The index keys of one record, from the parts that its row remembers.
pub(super) fn index_keys(space: Space, parts: &[u8], key: &str) -> Result<Vec<Vec<u8>>, Error> {
    let mut keys = Vec::new();
    let mut rest = parts;
    while !rest.is_empty() {
        let length: [u8; 2] =
            rest.get(2..4).and_then(|bytes| bytes.try_into().ok()).ok_or(Error::Corrupt("index part"))?;
        let length = match u16::from_be_bytes(length) {
            HASHED => 32,
            length => usize::from(length),
        };
        let (part, tail) = rest.split_at_checked(4 + length).ok_or(Error::Corrupt("index part"))?;
        let mut index_key = Vec::with_capacity(4 + part.len() + key.len());
        index_key.extend_from_slice(&space.to_be_bytes());
        index_key.extend_from_slice(part);
        index_key.extend_from_slice(key.as_bytes());
        keys.push(index_key);
        rest = tail;
    }
    Ok(keys)
}

/// `space HISTORY key own-offset`.
pub(super) fn history_index_key(space: Space, key: &str, own_offset: u64) -> Vec<u8> {
    let mut bytes = index_prefix(space, HISTORY, key.as_bytes());
    bytes.extend_from_slice(&own_offset.to_be_bytes());
    bytes
}

/// The own offset of a row in the history index.
pub(super) fn own_offset(history_index_key: &[u8]) -> Result<u64, Error> {
    history_index_key.last_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes)).ok_or(Error::Corrupt("history index"))
}

/// `space partition cause-offset`.
pub(super) fn history_key(space: Space, cause: Position) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&space.to_be_bytes());
    bytes[4..].copy_from_slice(&position(cause));
    bytes
}

/// `partition offset`.
pub(super) fn position(position: Position) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&position.partition.to_be_bytes());
    bytes[4..].copy_from_slice(&position.offset.to_be_bytes());
    bytes
}

/// Reads `partition offset`.
pub(super) fn read_position(bytes: &[u8]) -> Result<Position, Error> {
    let mut cursor = Cursor(bytes);
    let position = Position { partition: cursor.u32()?, offset: cursor.u64()? };
    cursor.end().map(|()| position)
}

/// `'p' space partition`.
pub(super) fn applied_key(space: Space, partition: u32) -> Vec<u8> {
    [b"p".as_slice(), &space.to_be_bytes(), &partition.to_be_bytes()].concat()
}

/// `'h' space source`.
pub(super) fn high_water_prefix(space: Space, source: &str) -> Vec<u8> {
    // A source id is at most 4 labels of 63 (exchange::model).
    let length = u16::try_from(source.len()).unwrap_or(u16::MAX);
    [b"h".as_slice(), &space.to_be_bytes(), &length.to_be_bytes(), source.as_bytes()].concat()
}

/// `'h' space source partition`.
pub(super) fn high_water_key(space: Space, source: &str, partition: u32) -> Vec<u8> {
    let mut bytes = high_water_prefix(space, source);
    bytes.extend_from_slice(&partition.to_be_bytes());
    bytes
}

/// Reads source and partition back from a high-water key.
pub(super) fn read_high_water_key(key: &[u8]) -> Result<(&str, u32), Error> {
    let mut cursor = Cursor(key.get(5..).ok_or(Error::Corrupt("high water"))?);
    let length = usize::from(cursor.u16()?);
    let source = std::str::from_utf8(cursor.take(length)?).map_err(|_| Error::Corrupt("high water"))?;
    let partition = cursor.u32()?;
    cursor.end().map(|()| (source, partition))
}

/// `'o' space`: the keys whose state a later entry outlives.
pub(super) fn outlived_prefix(space: Space) -> [u8; 5] {
    let mut bytes = [b'o'; 5];
    bytes[1..].copy_from_slice(&space.to_be_bytes());
    bytes
}

/// `'o' space key`.
pub(super) fn outlived_key(space: Space, key: &str) -> Vec<u8> {
    [outlived_prefix(space).as_slice(), key.as_bytes()].concat()
}

/// Reads the record key back from such a key.
pub(super) fn read_outlived_key(row_key: &[u8]) -> Result<&str, Error> {
    row_key.get(5..).and_then(|key| std::str::from_utf8(key).ok()).ok_or(Error::Corrupt("outlived key"))
}

/// Reads a value that is one u64.
pub(super) fn read_u64(bytes: &[u8]) -> Result<u64, Error> {
    let mut cursor = Cursor(bytes);
    let value = cursor.u64()?;
    cursor.end().map(|()| value)
}

/// Reads a value that is one u32.
pub(super) fn read_u32(bytes: &[u8]) -> Result<u32, Error> {
    let mut cursor = Cursor(bytes);
    let value = cursor.u32()?;
    cursor.end().map(|()| value)
}

/// The state of one key as its row holds it, borrowed.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) operation: Operation,
    pub(super) source_version: u64,
    pub(super) sequence: u64,
    pub(super) accept_time_ms: i64,
    pub(super) position: Position,
    pub(super) source: &'a str,
    pub(super) record_type: &'a str,
    pub(super) payload: &'a [u8],
    /// `slot value` of each index entry that points here. They stand at the row's end, and [`Row::past`] cuts them off: nothing points at the past.
    pub(super) index_parts: &'a [u8],
}

impl<'a> Row<'a> {
    /// Encodes a record that was read from the log.
    pub(super) fn encode(record: &Record, position: Position, index_parts: &[u8]) -> Result<Vec<u8>, Error> {
        let (source, record_type) = (record.source.as_str().as_bytes(), record.record_type.as_str().as_bytes());
        let short = |length: usize| u16::try_from(length).map_err(|_| Error::Corrupt("row"));
        let payload = u32::try_from(record.payload.len()).map_err(|_| Error::Corrupt("row"))?;
        let mut bytes = Vec::with_capacity(
            ROW_HEAD_BYTES + 4 + source.len() + record_type.len() + record.payload.len() + index_parts.len(),
        );
        bytes.push(ROW_VERSION);
        bytes.push(match record.operation {
            Operation::Upsert => 1,
            Operation::Delete => 2,
        });
        bytes.extend_from_slice(&record.source_version.to_be_bytes());
        bytes.extend_from_slice(&record.sequence.to_be_bytes());
        bytes.extend_from_slice(&record.accept_time_ms.to_be_bytes());
        bytes.extend_from_slice(&self::position(position));
        bytes.extend_from_slice(&short(source.len())?.to_be_bytes());
        bytes.extend_from_slice(&short(record_type.len())?.to_be_bytes());
        bytes.extend_from_slice(&payload.to_be_bytes());
        bytes.extend_from_slice(source);
        bytes.extend_from_slice(record_type);
        bytes.extend_from_slice(&record.payload);
        bytes.extend_from_slice(index_parts);
        Ok(bytes)
    }

    /// Reads a row.
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut cursor = Cursor(bytes);
        if !(ROW_VERSION_READ..=ROW_VERSION).contains(&cursor.u8()?) {
            return Err(Error::Corrupt("row version"));
        }
        let operation = match cursor.u8()? {
            1 => Operation::Upsert,
            2 => Operation::Delete,
            _ => return Err(Error::Corrupt("row operation")),
        };
        let (source_version, sequence) = (cursor.u64()?, cursor.u64()?);
        let accept_time_ms = cursor.i64()?;
        let position = Position { partition: cursor.u32()?, offset: cursor.u64()? };
        let (source, record_type) = (usize::from(cursor.u16()?), usize::from(cursor.u16()?));
        let payload = usize::try_from(cursor.u32()?).map_err(|_| Error::Corrupt("row"))?;
        let text = |bytes: &'a [u8]| std::str::from_utf8(bytes).map_err(|_| Error::Corrupt("row text"));
        Ok(Self {
            operation,
            source_version,
            sequence,
            accept_time_ms,
            position,
            source: text(cursor.take(source)?)?,
            record_type: text(cursor.take(record_type)?)?,
            payload: cursor.take(payload)?,
            index_parts: cursor.0,
        })
    }

    /// The part of an encoded row that is kept of the past.
    pub(super) fn past(bytes: &'a [u8]) -> Result<&'a [u8], Error> {
        let index_parts = Self::decode(bytes)?.index_parts.len();
        bytes.get(..bytes.len() - index_parts).ok_or(Error::Corrupt("row"))
    }

    /// The record, owned.
    pub(super) fn record(&self, key: &str) -> Result<Record, Error> {
        Ok(Record {
            record_type: self.record_type.parse().map_err(|_| Error::Corrupt("row record type"))?,
            key: Arc::from(key),
            operation: self.operation,
            source_version: self.source_version,
            payload: Bytes::copy_from_slice(self.payload),
            source: self.source.parse().map_err(|_| Error::Corrupt("row source"))?,
            sequence: self.sequence,
            accept_time_ms: self.accept_time_ms,
            restates: None,
        })
    }
}

/// Why a row lies in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It was the state until the entry at the cause's offset replaced it.
    Superseded,
    /// It never was the state: an older source version that arrived after a newer one.
    Stale,
    /// Nothing was replaced; it reminds pruning of the tombstone that the cause left.
    Marker,
}

/// One row of the history, borrowed.
#[derive(Clone, Copy)]
pub(super) struct HistoryRow<'a> {
    pub(super) kind: Kind,
    /// Accept time of the cause: the row may go once this is older than the retention.
    pub(super) prune_time_ms: i64,
    pub(super) key: &'a str,
    /// As [`Row::past`] left it; empty for a marker.
    pub(super) row: &'a [u8],
}

impl<'a> HistoryRow<'a> {
    /// Encodes it.
    pub(super) fn encode(&self) -> Result<Vec<u8>, Error> {
        let length = u16::try_from(self.key.len()).map_err(|_| Error::Corrupt("key length"))?;
        let mut bytes = Vec::with_capacity(11 + self.key.len() + self.row.len());
        bytes.push(match self.kind {
            Kind::Superseded => 0,
            Kind::Stale => 1,
            Kind::Marker => 2,
        });
        bytes.extend_from_slice(&self.prune_time_ms.to_be_bytes());
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(self.key.as_bytes());
        bytes.extend_from_slice(self.row);
        Ok(bytes)
    }

    /// Reads it.
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut cursor = Cursor(bytes);
        let kind = match cursor.u8()? {
            0 => Kind::Superseded,
            1 => Kind::Stale,
            2 => Kind::Marker,
            _ => return Err(Error::Corrupt("history kind")),
        };
        let prune_time_ms = cursor.i64()?;
        let length = usize::from(cursor.u16()?);
        let key = std::str::from_utf8(cursor.take(length)?).map_err(|_| Error::Corrupt("history key"))?;
        Ok(Self { kind, prune_time_ms, key, row: cursor.0 })
    }
}

/// Takes fixed-width pieces off the front.
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (chunk, rest) = self.0.split_first_chunk::<N>().ok_or(Error::Corrupt("short row"))?;
        self.0 = rest;
        Ok(*chunk)
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (piece, rest) = self.0.split_at_checked(length).ok_or(Error::Corrupt("short row"))?;
        self.0 = rest;
        Ok(piece)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Error> {
        self.chunk::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Error> {
        self.chunk().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Error> {
        self.chunk().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Error> {
        self.chunk().map(u64::from_be_bytes)
    }

    fn i64(&mut self) -> Result<i64, Error> {
        self.chunk().map(i64::from_be_bytes)
    }

    fn end(&self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Corrupt("long row")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_is_never_the_prefix_of_another() {
        // "a" with key "bc" and "ab" with key "c" would share bytes without the length.
        assert!(!index_prefix(1, 0, b"ab").starts_with(&index_prefix(1, 0, b"a")));
        assert!(!history_index_key(1, "ab", 0).starts_with(&index_prefix(1, HISTORY, b"a")));
        let long = vec![b'x'; KEY_BYTES_MAX + 1];
        assert_eq!(index_prefix(1, 0, &long).len(), 4 + 2 + 2 + 32);
        assert!(index_prefix(1, 0, &long[1..]).len() > index_prefix(1, 0, &long).len());
    }

    #[test]
    fn index_parts_lead_back_to_their_keys() {
        let mut parts = Vec::new();
        push_index_part(&mut parts, 0, b"320600");
        push_index_part(&mut parts, 1, &[b'y'; 600]);
        let keys = index_keys(7, &parts, "k").expect("well-formed");
        assert_eq!(keys[0], [index_prefix(7, 0, b"320600"), b"k".to_vec()].concat());
        assert_eq!(keys[1], [index_prefix(7, 1, &[b'y'; 600]), b"k".to_vec()].concat());
        assert!(index_keys(7, &parts[..parts.len() - 1], "k").is_err());
    }

    #[test]
    fn damaged_rows_are_corrupt_and_not_a_panic() {
        let record = Record {
            record_type: "enterprise/v1".parse().expect("well-formed"),
            key: "k".into(),
            operation: Operation::Upsert,
            source_version: 3,
            payload: Bytes::new(),
            source: "department/a/system/b".parse().expect("well-formed"),
            sequence: 9,
            accept_time_ms: -1,
            restates: None,
        };
        let position = Position { partition: 2, offset: 5 };
        let bytes = Row::encode(&record, position, b"").expect("short");
        let row = Row::decode(&bytes).expect("own row");
        assert_eq!((row.record("k").expect("own row"), row.position), (record, position));
        for length in 0..bytes.len() {
            assert!(Row::decode(&bytes[..length]).is_err(), "{length}");
        }
        for (version, is_read) in [(1, false), (2, true), (3, true), (4, false)] {
            let mut other = bytes.clone();
            other[0] = version;
            assert_eq!(Row::decode(&other).is_ok(), is_read, "{version}");
        }
    }
}
