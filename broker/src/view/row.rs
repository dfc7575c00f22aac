//! What a row says: the head of a key's state, and what one entry said. Reading foreign or damaged bytes is [`Error::Corrupt`], never a panic.

use std::sync::Arc;

use bytes::Bytes;
use shuqiao_proto::digest::payload_digest;

use super::{Error, layout};
use crate::exchange::model::{Operation, Position, Record};

/// Rows of another version are made anew from the log ([`super::store`]).
pub(super) const ROW_VERSION: u8 = 4;
const POSITION_BYTES: usize = 12;
/// Of a head without its digest.
const HEAD_BYTES: usize = 30;
/// Of a row without its texts and its payload.
const ROW_BYTES: usize = 49;
/// Where a row says what it did to its key.
const KIND: std::ops::Range<usize> = 1..2 + POSITION_BYTES;
/// Bytes of a digest of index parts.
const PARTS_DIGEST_BYTES: usize = 16;

/// What a later entry of the same key must know of the newest state: all that decides about it, and where its row lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) source_version: u64,
    pub(super) accept_time_ms: i64,
    pub(super) position: Position,
    pub(super) is: Is,
}

/// What the newest state of a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Is {
    /// A record, with the digest of its index parts: a change that leaves them alone need not know them.
    Live([u8; PARTS_DIGEST_BYTES]),
    /// A tombstone.
    Deleted,
}

impl Head {
    /// The head of a record that becomes the state.
    pub(super) fn of(record: &Record, position: Position, index_parts: &[u8]) -> Self {
        let is = match record.operation {
            Operation::Upsert => {
                let mut digest = [0; PARTS_DIGEST_BYTES];
                digest.copy_from_slice(&payload_digest(index_parts)[..PARTS_DIGEST_BYTES]);
                Is::Live(digest)
            }
            Operation::Delete => Is::Deleted,
        };
        Self { source_version: record.source_version, accept_time_ms: record.accept_time_ms, position, is }
    }

    /// Encodes it.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + PARTS_DIGEST_BYTES);
        bytes.push(ROW_VERSION);
        bytes.push(match self.is {
            Is::Live(_) => 1,
            Is::Deleted => 2,
        });
        bytes.extend_from_slice(&self.source_version.to_be_bytes());
        bytes.extend_from_slice(&self.accept_time_ms.to_be_bytes());
        bytes.extend_from_slice(&layout::position(self.position));
        if let Is::Live(digest) = &self.is {
            bytes.extend_from_slice(digest);
        }
        bytes
    }

    /// Reads a head.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut cursor = Cursor(bytes);
        if cursor.u8()? != ROW_VERSION {
            return Err(Error::Corrupt("row version"));
        }
        let operation = cursor.u8()?;
        let (source_version, accept_time_ms, position) = (cursor.u64()?, cursor.i64()?, cursor.position()?);
        let is = match operation {
            1 => Is::Live(cursor.chunk()?),
            2 => Is::Deleted,
            _ => return Err(Error::Corrupt("row operation")),
        };
        cursor.end()?;
        Ok(Self { source_version, accept_time_ms, position, is })
    }
}

/// What an entry did to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Became the state where there was none.
    First,
    /// Became the state in the place of what lies there, which goes when this entry is older than the retention.
    Replacing(Position),
    /// Never was the state: an older source version that arrived after a newer one.
    Stale,
}

impl Kind {
    /// Where what it replaced lies, unless that is removed already.
    pub(super) fn replaced(self) -> Option<Position> {
        match self {
            Self::Replacing(before) => Some(before),
            Self::First | Self::Stale => None,
        }
    }

    fn encode(self) -> [u8; 1 + POSITION_BYTES] {
        let mut bytes = [0; 1 + POSITION_BYTES];
        match self {
            Self::First => {}
            Self::Replacing(before) => {
                bytes[0] = 1;
                bytes[1..].copy_from_slice(&layout::position(before));
            }
            Self::Stale => bytes[0] = 2,
        }
        bytes
    }
}

/// What one entry said, borrowed.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) kind: Kind,
    pub(super) operation: Operation,
    pub(super) source_version: u64,
    pub(super) sequence: u64,
    pub(super) accept_time_ms: i64,
    pub(super) key: &'a str,
    pub(super) source: &'a str,
    pub(super) record_type: &'a str,
    pub(super) payload: &'a [u8],
}

impl<'a> Row<'a> {
    /// What a record says, before it is encoded.
    pub(super) fn of(record: &'a Record, kind: Kind) -> Self {
        Self {
            kind,
            operation: record.operation,
            source_version: record.source_version,
            sequence: record.sequence,
            accept_time_ms: record.accept_time_ms,
            key: &record.key,
            source: record.source.as_str(),
            record_type: record.record_type.as_str(),
            payload: &record.payload,
        }
    }

    /// Encodes it.
    pub(super) fn encode(&self) -> Result<Vec<u8>, Error> {
        let texts = [self.key.as_bytes(), self.source.as_bytes(), self.record_type.as_bytes()];
        let payload = u32::try_from(self.payload.len()).map_err(|_| Error::Corrupt("row"))?;
        let length = texts.iter().map(|text| text.len()).sum::<usize>() + self.payload.len();
        let mut bytes = Vec::with_capacity(ROW_BYTES + length);
        bytes.push(ROW_VERSION);
        bytes.extend_from_slice(&self.kind.encode());
        bytes.push(match self.operation {
            Operation::Upsert => 1,
            Operation::Delete => 2,
        });
        bytes.extend_from_slice(&self.source_version.to_be_bytes());
        bytes.extend_from_slice(&self.sequence.to_be_bytes());
        bytes.extend_from_slice(&self.accept_time_ms.to_be_bytes());
        for text in texts {
            let length = u16::try_from(text.len()).map_err(|_| Error::Corrupt("row"))?;
            bytes.extend_from_slice(&length.to_be_bytes());
        }
        bytes.extend_from_slice(&payload.to_be_bytes());
        for text in texts {
            bytes.extend_from_slice(text);
        }
        bytes.extend_from_slice(self.payload);
        Ok(bytes)
    }

    /// Reads a row.
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut cursor = Cursor(bytes);
        if cursor.u8()? != ROW_VERSION {
            return Err(Error::Corrupt("row version"));
        }
        let (kind, before) = (cursor.u8()?, cursor.position()?);
        let kind = match kind {
            0 => Kind::First,
            1 => Kind::Replacing(before),
            2 => Kind::Stale,
            _ => return Err(Error::Corrupt("row kind")),
        };
        let operation = match cursor.u8()? {
            1 => Operation::Upsert,
            2 => Operation::Delete,
            _ => return Err(Error::Corrupt("row operation")),
        };
        let (source_version, sequence, accept_time_ms) = (cursor.u64()?, cursor.u64()?, cursor.i64()?);
        let [key, source, record_type] = [cursor.u16()?, cursor.u16()?, cursor.u16()?].map(usize::from);
        let payload = usize::try_from(cursor.u32()?).map_err(|_| Error::Corrupt("row"))?;
        let text = |bytes: &'a [u8]| std::str::from_utf8(bytes).map_err(|_| Error::Corrupt("row text"));
        let row = Self {
            kind,
            operation,
            source_version,
            sequence,
            accept_time_ms,
            key: text(cursor.take(key)?)?,
            source: text(cursor.take(source)?)?,
            record_type: text(cursor.take(record_type)?)?,
            payload: cursor.take(payload)?,
        };
        cursor.end().map(|()| row)
    }

    /// An encoded row that did something else to its key.
    pub(super) fn with_kind(mut bytes: Vec<u8>, kind: Kind) -> Result<Vec<u8>, Error> {
        bytes.get_mut(KIND).ok_or(Error::Corrupt("row"))?.copy_from_slice(&kind.encode());
        Ok(bytes)
    }

    /// The record, owned.
    pub(super) fn record(&self) -> Result<Record, Error> {
        Ok(Record {
            record_type: self.record_type.parse().map_err(|_| Error::Corrupt("row record type"))?,
            key: Arc::from(self.key),
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

    pub(super) fn position(&mut self) -> Result<Position, Error> {
        Ok(Position { partition: self.u32()?, offset: self.u64()? })
    }

    pub(super) fn end(&self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Corrupt("long row")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let row = Row::of(&record, Kind::Replacing(position));
        let bytes = row.encode().expect("short");
        let read = Row::decode(&bytes).expect("own row");
        assert_eq!((read.record().expect("own row"), read.kind), (record.clone(), Kind::Replacing(position)));
        for kind in [Kind::First, Kind::Stale] {
            let other = Row { kind, ..row }.encode().expect("short");
            assert_eq!(Row::with_kind(bytes.clone(), kind).expect("a row"), other);
            assert_eq!(Row::decode(&other).expect("own row").kind, kind);
        }
        for length in 0..bytes.len() {
            assert!(Row::decode(&bytes[..length]).is_err(), "{length}");
        }
        assert!(Row::decode(&[&bytes[..], b"x"].concat()).is_err(), "nothing stands behind it");
        for operation in [Operation::Upsert, Operation::Delete] {
            let head = Head::of(&Record { operation, ..record.clone() }, position, b"parts");
            let bytes = head.encode();
            assert_eq!(Head::decode(&bytes).expect("own head"), head);
            for length in 0..bytes.len() {
                assert!(Head::decode(&bytes[..length]).is_err(), "{length}");
            }
        }
    }
}
