//! How entries lie in the store: one chunk for the entries that one submission has for one partition.
//!
//! A chunk costs the store one key, whatever the number of its entries; so batches are cheap and single entries no dearer than they must be. Offsets are
//! relative to the chunk's first, because a chunk is encoded by its submitter before the writer knows where it will lie. Header names stand once a chunk.
//!
//! ```text
//! u8 form = 1    varint names { u8 length, bytes }…
//! entry… = varint offset delta   i64be timestamp   u8 flags (1 key, 2 value)   [varint length, key]   [varint length, value]
//!          varint headers { u8 name, varint length, bytes }…
//! ```
//!
//! The store guards every block by a checksum; what is refused here is a chunk of another form.

use std::{collections::HashSet, sync::Arc};

use bytes::{BufMut, Bytes};

use super::super::{Entry, Headers, StoredEntry};

const FORM: u8 = 1;
const HAS_KEY: u8 = 1;
const HAS_VALUE: u8 = 2;

/// The bytes are no chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stored chunk is malformed")]
pub(super) struct Malformed;

/// Collects the entries of one partition.
#[derive(Default)]
pub(super) struct Builder {
    names: Vec<Box<str>>,
    body: Vec<u8>,
    count: u64,
    time_ms_max: Option<i64>,
}

impl Builder {
    /// Adds the next entry; its offset is its place in the chunk.
    pub(super) fn push(&mut self, entry: &Entry) {
        let delta = self.count;
        self.put(
            delta,
            entry.timestamp_ms,
            entry.key.as_ref(),
            entry.value.as_ref(),
            entry.headers.iter().map(|(name, value)| (*name, value)),
        );
    }

    /// Adds an entry that was stored before, `delta` after the chunk's first offset.
    pub(super) fn push_stored(&mut self, delta: u64, entry: &StoredEntry) {
        self.put(
            delta,
            entry.timestamp_ms,
            entry.key.as_ref(),
            entry.value.as_ref(),
            entry.headers.0.iter().map(|(name, value)| (&**name, value)),
        );
    }

    fn put<'a>(
        &mut self,
        delta: u64,
        timestamp_ms: i64,
        key: Option<&Bytes>,
        value: Option<&Bytes>,
        headers: impl ExactSizeIterator<Item = (&'a str, &'a Bytes)>,
    ) {
        let body = &mut self.body;
        put_varint(body, delta);
        body.put_i64(timestamp_ms);
        body.put_u8(if key.is_some() { HAS_KEY } else { 0 } | if value.is_some() { HAS_VALUE } else { 0 });
        for part in [key, value].into_iter().flatten() {
            put_bytes(body, part);
        }
        // Names are constants of the exchange, a dozen in all: what exceeds a byte is left out, and nothing does.
        put_varint(body, headers.len() as u64);
        for (name, value) in headers {
            let index = self.names.iter().position(|known| **known == *name).unwrap_or_else(|| {
                self.names.push(name.into());
                self.names.len() - 1
            });
            body.put_u8(u8::try_from(index).unwrap_or(u8::MAX));
            put_bytes(body, value);
        }
        self.count += 1;
        self.time_ms_max = self.time_ms_max.max(Some(timestamp_ms));
    }

    /// How many entries it has.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The newest timestamp, 0 without entries.
    pub(super) fn time_ms_max(&self) -> i64 {
        self.time_ms_max.unwrap_or(0)
    }

    /// The chunk's bytes.
    pub(super) fn finish(self) -> Bytes {
        let names: usize = self.names.iter().map(|name| name.len() + 1).sum();
        let mut bytes = Vec::with_capacity(2 + names + self.body.len());
        bytes.put_u8(FORM);
        put_varint(&mut bytes, self.names.len() as u64);
        for name in &self.names {
            bytes.put_u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
            bytes.extend_from_slice(name.as_bytes());
        }
        bytes.extend_from_slice(&self.body);
        bytes.into()
    }
}

/// Reads the entries of a chunk whose first offset is `first`. Keys, values and headers share the chunk's memory.
pub(super) struct Entries {
    names: Vec<Arc<str>>,
    bytes: Bytes,
    at: usize,
    partition: u32,
    first: u64,
}

impl Entries {
    /// # Errors
    /// [`Malformed`] for another form.
    pub(super) fn new(bytes: Bytes, partition: u32, first: u64) -> Result<Self, Malformed> {
        let mut entries = Self { names: Vec::new(), bytes, at: 0, partition, first };
        if entries.u8()? != FORM {
            return Err(Malformed);
        }
        for _ in 0..entries.varint()? {
            let length = usize::from(entries.u8()?);
            let name = entries.part(length)?;
            entries.names.push(std::str::from_utf8(&name).map_err(|_| Malformed)?.into());
        }
        Ok(entries)
    }

    fn part(&mut self, length: usize) -> Result<Bytes, Malformed> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len()).ok_or(Malformed)?;
        let part = self.bytes.slice(self.at..end);
        self.at = end;
        Ok(part)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        let byte = *self.bytes.get(self.at).ok_or(Malformed)?;
        self.at += 1;
        Ok(byte)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn sized(&mut self) -> Result<Bytes, Malformed> {
        let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
        self.part(length)
    }

    fn entry(&mut self) -> Result<StoredEntry, Malformed> {
        let offset = self.first.checked_add(self.varint()?).ok_or(Malformed)?;
        let time = self.part(8)?;
        let timestamp_ms = i64::from_be_bytes(time.as_ref().try_into().map_err(|_| Malformed)?);
        let flags = self.u8()?;
        let key = if flags & HAS_KEY == 0 { None } else { Some(self.sized()?) };
        let value = if flags & HAS_VALUE == 0 { None } else { Some(self.sized()?) };
        let count = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
        // A malformed count must not reserve memory: every header takes at least two bytes.
        let mut headers = Vec::with_capacity(count.min((self.bytes.len() - self.at) / 2));
        for _ in 0..count {
            let index = usize::from(self.u8()?);
            let name = self.names.get(index).ok_or(Malformed)?.clone();
            headers.push((name, self.sized()?));
        }
        Ok(StoredEntry { partition: self.partition, offset, key, headers: Headers(headers), value, timestamp_ms })
    }
}

impl Iterator for Entries {
    type Item = Result<StoredEntry, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        (self.at < self.bytes.len()).then(|| {
            self.entry().inspect_err(|_| {
                self.at = self.bytes.len();
            })
        })
    }
}

/// The chunk without some of its entries; `None` if nothing is left.
///
/// # Errors
/// [`Malformed`] for another form.
pub(super) fn without(bytes: Bytes, first: u64, removed: &HashSet<u64>) -> Result<Option<Bytes>, Malformed> {
    let mut builder = Builder::default();
    for entry in Entries::new(bytes, 0, first)? {
        let entry = entry?;
        if !removed.contains(&entry.offset) {
            builder.push_stored(entry.offset - first, &entry);
        }
    }
    Ok((builder.count() > 0).then(|| builder.finish()))
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
}

fn put_bytes(bytes: &mut Vec<u8>, part: &Bytes) {
    put_varint(bytes, part.len() as u64);
    bytes.extend_from_slice(part);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entries() -> impl Strategy<Value = Vec<Entry>> {
        let part = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from));
        let headers = proptest::collection::vec(
            (
                prop_oneof![Just("ce_id"), Just("ce_type"), Just("")],
                proptest::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from),
            ),
            0..4,
        );
        let entry = (part(), part(), headers, any::<i64>()).prop_map(|(key, value, headers, timestamp_ms)| Entry {
            partition: 3,
            key,
            headers,
            value,
            timestamp_ms,
        });
        proptest::collection::vec(entry, 1..20)
    }

    fn build(entries: &[Entry]) -> Bytes {
        let mut builder = Builder::default();
        entries.iter().for_each(|entry| builder.push(entry));
        builder.finish()
    }

    proptest! {
        #[test]
        fn entries_come_back_as_they_went_in(entries in entries()) {
            let stored: Vec<_> = Entries::new(build(&entries), 3, 100).expect("own form").map(|entry| entry.expect("own form")).collect();
            prop_assert_eq!(stored.len(), entries.len());
            for (index, (stored, entry)) in stored.iter().zip(&entries).enumerate() {
                prop_assert_eq!(stored.offset, 100 + index as u64);
                prop_assert_eq!((&stored.key, &stored.value, stored.timestamp_ms), (&entry.key, &entry.value, entry.timestamp_ms));
                let headers: Vec<_> = entry.headers.iter().map(|(name, value)| (Arc::from(*name), value.clone())).collect();
                prop_assert_eq!(&stored.headers.0, &headers);
            }
        }

        #[test]
        fn removal_keeps_the_other_entries_where_they_were(entries in entries(), seed in any::<u32>()) {
            let removed: HashSet<u64> = (0..entries.len() as u64).filter(|n| seed >> n & 1 == 1).map(|n| n + 7).collect();
            let left = without(build(&entries), 7, &removed).expect("own form");
            let offsets: Vec<u64> = left.map_or(Vec::new(), |bytes| Entries::new(bytes, 3, 7).expect("own form").map(|entry| entry.expect("own form").offset).collect());
            let expected: Vec<u64> = (0..entries.len() as u64).map(|n| n + 7).filter(|offset| !removed.contains(offset)).collect();
            prop_assert_eq!(offsets, expected);
        }

        #[test]
        fn damaged_bytes_are_refused_and_never_panic(entries in entries(), at in any::<prop::sample::Index>(), bytes in any::<u8>(), cut in any::<prop::sample::Index>()) {
            let mut damaged = build(&entries).to_vec();
            let index = at.index(damaged.len());
            damaged[index] = bytes;
            damaged.truncate(cut.index(damaged.len()) + 1);
            // Every entry takes bytes, so reading ends whatever the damage says.
            if let Ok(read) = Entries::new(damaged.clone().into(), 0, 0) {
                prop_assert!(read.count() <= damaged.len());
            }
        }
    }
}
