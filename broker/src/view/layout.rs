//! Where rows lie in the store: their keys. What a row says is [`super::row`].
//!
//! Promises: rows of one space share a prefix, so a whole dataset can be dropped by ranges; no key is the prefix of another key's value part, because
//! lengths stand before values; reading foreign or damaged keys is [`Error::Corrupt`], never a panic.
//!
//! ```text
//! records   space key                                   -> head                 (of a key's newest state: little, rewritten with each change)
//! versions  space partition own-offset                  -> row                  (what one entry said, and what it replaced: written once)
//! indexes   space slot value key                        -> nothing              (indexed fields, subject)
//!           space STALE key own-offset partition        -> nothing              (what never was the state of its key)
//! meta      's' space                                   -> state dataset description
//!           'n'                                         -> next space
//!           'p' space partition                         -> next offset
//!           'c' space partition                         -> offset below which history is removed
//!           'h' space source partition                  -> high-water sequence
//!           'o' space key                               -> offset of an entry that outlives the key's state in the log
//! ```
//!
//! The history of a key is a chain: the head names the newest version, and each version the one that it replaced.
//! Integers are big-endian. A `value` is `u16 length, bytes`; one longer than a key may be is `0xFFFF, SHA-256`, which still compares for equality.

use super::{Error, row::Cursor};
use crate::exchange::model::{KEY_BYTES_MAX, Position};

/// The number under which one dataset's rows lie. A rebuild gets a new one.
pub(super) type Space = u32;

/// The space without rows: where a reader looks that comes while a dataset's rows go.
pub(super) const NOWHERE: Space = 0;

/// The slot of the subject among the indexes.
pub(super) const SUBJECT: u16 = 0xFFFF;
/// The slot of what never was the state of its key.
pub(super) const STALE: u16 = 0xFFFE;

const VALUE_BYTES_MAX: usize = KEY_BYTES_MAX;
const HASHED: u16 = 0xFFFF;
const POSITION_BYTES: usize = 12;

/// `space key`.
pub(super) fn record_key(space: Space, key: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 + key.len());
    bytes.extend_from_slice(&space.to_be_bytes());
    bytes.extend_from_slice(key.as_bytes());
    bytes
}

/// Appends `slot value`: the middle of an index key.
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

/// The index keys of one record, from their parts.
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

/// `space STALE key own-offset partition`.
pub(super) fn stale_key(space: Space, key: &str, own: Position) -> Vec<u8> {
    let mut bytes = index_prefix(space, STALE, key.as_bytes());
    bytes.extend_from_slice(&own.offset.to_be_bytes());
    bytes.extend_from_slice(&own.partition.to_be_bytes());
    bytes
}

/// Where the version lies that such a row speaks of.
pub(super) fn own_position(stale_key: &[u8]) -> Result<Position, Error> {
    let bytes = stale_key.last_chunk::<POSITION_BYTES>().ok_or(Error::Corrupt("stale key"))?;
    let mut cursor = Cursor(bytes);
    let offset = cursor.u64()?;
    Ok(Position { partition: cursor.u32()?, offset })
}

/// `space partition own-offset`.
pub(super) fn version_key(space: Space, own: Position) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&space.to_be_bytes());
    bytes[4..].copy_from_slice(&position(own));
    bytes
}

/// `partition offset`.
pub(super) fn position(position: Position) -> [u8; POSITION_BYTES] {
    let mut bytes = [0; POSITION_BYTES];
    bytes[..4].copy_from_slice(&position.partition.to_be_bytes());
    bytes[4..].copy_from_slice(&position.offset.to_be_bytes());
    bytes
}

/// Reads `partition offset`.
pub(super) fn read_position(bytes: &[u8]) -> Result<Position, Error> {
    let mut cursor = Cursor(bytes);
    let position = cursor.position()?;
    cursor.end().map(|()| position)
}

/// `'p' space partition`.
pub(super) fn applied_key(space: Space, partition: u32) -> Vec<u8> {
    [b"p".as_slice(), &space.to_be_bytes(), &partition.to_be_bytes()].concat()
}

/// `'c' space partition`.
pub(super) fn pruned_key(space: Space, partition: u32) -> Vec<u8> {
    [b"c".as_slice(), &space.to_be_bytes(), &partition.to_be_bytes()].concat()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_is_never_the_prefix_of_another() {
        // "a" with key "bc" and "ab" with key "c" would share bytes without the length.
        assert!(!index_prefix(1, 0, b"ab").starts_with(&index_prefix(1, 0, b"a")));
        let own = Position { partition: 3, offset: 7 };
        assert!(!stale_key(1, "ab", own).starts_with(&index_prefix(1, STALE, b"a")));
        assert_eq!(own_position(&stale_key(1, "ab", own)).expect("own row"), own);
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
}
