//! The layout on disk, and the only file of this home that names fjall.
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | `chunks` | topic, partition, first offset | entries ([`super::chunk`]) |
//! | `times` | topic, partition, largest timestamp so far | first offset of the chunk where it was reached |
//! | `newest` | topic, partition, record key | offset of the newest entry past the retention window |
//! | `graves` | topic, partition, offset of a tombstone past the window | timestamp, record key |
//! | `meta` | `t` name | topic's number and specification |
//! | `meta` | `n` / `f` / `c` topic, partition | next offset / first offset / compacted up to this offset |
//!
//! Numbers are big-endian, so byte order is numeric order; a timestamp's sign bit is flipped for the same reason. Every group is one fjall batch with
//! fdatasync: after a crash it is there as a whole or not at all, because a batch whose end marker is missing is cut off when the journal is read. A batch with its end
//! marker and without some of what should be before it (a power cut may write pages in any order) fails its checksum; then the store is refused as corrupt
//! and left as it is, because nobody can tell it from one that was acknowledged and has rotted.

use std::{io, ops::Range, path::Path, sync::Arc};

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{
    super::{Error, Retention, StoredEntry, Topic, TopicSpec},
    chunk,
};
use crate::store_mark;

/// One thread flushes and merges, see the view's store: several keep a processor busy with handing work to themselves.
const WORKERS: usize = 1;

/// A partition of a topic, as the store numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) topic: u32,
    pub(super) partition: u32,
}

impl Place {
    fn prefix(self) -> [u8; 8] {
        let mut key = [0; 8];
        key[..4].copy_from_slice(&self.topic.to_be_bytes());
        key[4..].copy_from_slice(&self.partition.to_be_bytes());
        key
    }

    fn at(self, number: u64) -> [u8; 16] {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&self.prefix());
        key[8..].copy_from_slice(&number.to_be_bytes());
        key
    }

    fn with(self, key: &[u8]) -> Vec<u8> {
        [&self.prefix()[..], key].concat()
    }

    fn meta(self, kind: u8) -> [u8; 9] {
        let mut key = [kind; 9];
        key[1..].copy_from_slice(&self.prefix());
        key
    }
}

/// Where a partition stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) first: u64,
    pub(super) next: u64,
    pub(super) time_ms_max: i64,
}

/// A topic as stored.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct StoredTopic {
    pub(super) id: u32,
    pub(super) partitions: u32,
    /// `None`: for ever.
    pub(super) window_ms: Option<u64>,
}

impl StoredTopic {
    pub(super) fn new(id: u32, spec: &TopicSpec) -> Self {
        let window_ms = match spec.retention {
            Retention::Forever => None,
            Retention::CompactAfter { window_ms } => Some(window_ms),
        };
        Self { id, partitions: spec.partitions, window_ms }
    }
}

/// Sizes that bound the store's memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) cache_bytes: u64,
    pub(super) memtable_bytes: u64,
}

/// The open database.
pub(super) struct Store {
    database: Database,
    chunks: Keyspace,
    times: Keyspace,
    newest: Keyspace,
    graves: Keyspace,
    meta: Keyspace,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

type Result<T> = std::result::Result<T, fjall::Error>;

impl Store {
    /// Opens or makes the store. Blocks.
    pub(super) fn open(path: &Path, sizes: Sizes) -> Result<Self> {
        let database = Database::builder(path)
            .cache_size(sizes.cache_bytes)
            .max_journaling_size(128 << 20)
            .worker_threads(WORKERS)
            .open()?;
        let keyspace =
            |name| database.keyspace(name, || KeyspaceCreateOptions::default().max_memtable_size(sizes.memtable_bytes));
        Ok(Self {
            chunks: keyspace("chunks")?,
            times: keyspace("times")?,
            newest: keyspace("newest")?,
            graves: keyspace("graves")?,
            meta: keyspace("meta")?,
            database,
        })
    }

    /// The names of the keyspaces' directories.
    pub(super) fn keyspaces(&self) -> Vec<String> {
        store_mark::names([&self.chunks, &self.times, &self.newest, &self.graves, &self.meta].map(Keyspace::path))
    }

    /// Begins an atomic change.
    pub(super) fn change(&self) -> Change<'_> {
        Change { store: self, batch: self.database.batch() }
    }

    /// Makes everything written so far survive a power cut.
    pub(super) fn sync(&self) -> Result<()> {
        self.database.persist(PersistMode::SyncAll)
    }

    /// Every topic, by name.
    pub(super) fn topics(&self) -> std::result::Result<Vec<(Topic, StoredTopic)>, Error> {
        self.meta
            .prefix(b"t")
            .map(|row| {
                let (key, value) = row.into_inner().map_err(error)?;
                let name = key.get(1..).and_then(|name| std::str::from_utf8(name).ok()).ok_or_else(malformed)?;
                let topic = serde_json::from_slice(&value).map_err(|cause| Error::Corrupt(Arc::new(cause)))?;
                Ok((Topic::stored(name), topic))
            })
            .collect()
    }

    /// Where a partition stands.
    pub(super) fn standing(&self, place: Place) -> std::result::Result<Standing, Error> {
        Ok(Standing {
            first: self.number(place.meta(b'f'))?.unwrap_or(0),
            next: self.number(place.meta(b'n'))?.unwrap_or(0),
            time_ms_max: match self.times.prefix(place.prefix()).next_back() {
                Some(row) => time_of(&row.key().map_err(error)?)?,
                None => i64::MIN,
            },
        })
    }

    /// Up to which offset a partition was compacted.
    pub(super) fn compacted(&self, place: Place) -> std::result::Result<u64, Error> {
        Ok(self.number(place.meta(b'c'))?.unwrap_or(0))
    }

    /// The offset of a key's newest entry, among those that compaction has seen.
    pub(super) fn newest(&self, place: Place, key: &[u8]) -> std::result::Result<Option<u64>, Error> {
        self.newest.get(place.with(key)).map_err(error)?.map(|value| number(&value)).transpose()
    }

    fn number<K: AsRef<[u8]>>(&self, key: K) -> std::result::Result<Option<u64>, Error> {
        self.meta.get(key).map_err(error)?.map(|value| number(&value)).transpose()
    }

    /// The first offset of the chunk that holds `offset`, or would.
    pub(super) fn chunk_of(&self, place: Place, offset: u64) -> std::result::Result<Option<u64>, Error> {
        match self.chunks.range(place.at(0)..=place.at(offset)).next_back() {
            Some(row) => Ok(Some(last_number(&row.key().map_err(error)?)?)),
            None => Ok(None),
        }
    }

    /// One chunk.
    pub(super) fn chunk(&self, place: Place, first: u64) -> std::result::Result<Option<Bytes>, Error> {
        Ok(self.chunks.get(place.at(first)).map_err(error)?.map(Bytes::from_owner))
    }

    /// The chunks whose first offsets lie in a range, oldest first.
    pub(super) fn chunks(
        &self,
        place: Place,
        firsts: Range<u64>,
    ) -> impl Iterator<Item = std::result::Result<(u64, Bytes), Error>> + use<> {
        self.chunks.range(place.at(firsts.start)..place.at(firsts.end)).map(|row| {
            let (key, value) = row.into_inner().map_err(error)?;
            Ok((last_number(&key)?, Bytes::from_owner(value)))
        })
    }

    /// The entries from an offset on, below `until`. Reads no more chunks than the caller asks entries for.
    pub(super) fn entries(
        &self,
        place: Place,
        from: u64,
        until: u64,
    ) -> std::result::Result<impl Iterator<Item = std::result::Result<StoredEntry, Error>> + use<>, Error> {
        let start = self.chunk_of(place, from)?.unwrap_or(from);
        Ok(self.chunks(place, start..until).flat_map(move |row| decode(row, place, from..until)))
    }

    /// Where to begin looking for the first entry at or after a time: every chunk before has only older ones.
    pub(super) fn time_hint(&self, place: Place, time_ms: i64) -> std::result::Result<u64, Error> {
        match self.times.range(place.at(0)..place.at(ordered(time_ms))).next_back() {
            Some(row) => number(&row.value().map_err(error)?),
            None => Ok(0),
        }
    }

    /// Rows of the time index that lie before an offset.
    pub(super) fn times_before(&self, place: Place, offset: u64, limit: usize) -> std::result::Result<Vec<i64>, Error> {
        let mut times = Vec::new();
        for row in self.times.prefix(place.prefix()).take(limit) {
            let (key, value) = row.into_inner().map_err(error)?;
            if number(&value)? >= offset {
                break;
            }
            times.push(time_of(&key)?);
        }
        Ok(times)
    }

    /// The oldest tombstones past the window: offset, timestamp, key.
    pub(super) fn graves(&self, place: Place, limit: usize) -> std::result::Result<Vec<(u64, i64, Vec<u8>)>, Error> {
        self.graves
            .prefix(place.prefix())
            .take(limit)
            .map(|row| {
                let (key, value) = row.into_inner().map_err(error)?;
                let (time, record_key) = value.split_at_checked(8).ok_or_else(malformed)?;
                Ok((last_number(&key)?, i64::from_be_bytes(array(time)?), record_key.to_vec()))
            })
            .collect()
    }
}

fn decode(
    row: std::result::Result<(u64, Bytes), Error>,
    place: Place,
    wanted: Range<u64>,
) -> Box<dyn Iterator<Item = std::result::Result<StoredEntry, Error>> + Send> {
    let entries = row.and_then(|(first, bytes)| {
        chunk::Entries::new(bytes, place.partition, first).map_err(|cause| Error::Corrupt(Arc::new(cause)))
    });
    match entries {
        Ok(entries) => Box::new(
            entries
                .map(|entry| entry.map_err(|cause| Error::Corrupt(Arc::new(cause))))
                .filter(move |entry| entry.as_ref().map_or(true, |entry| wanted.contains(&entry.offset))),
        ),
        Err(error) => Box::new(std::iter::once(Err(error))),
    }
}

/// An atomic change of the store.
pub(super) struct Change<'a> {
    store: &'a Store,
    batch: fjall::OwnedWriteBatch,
}

impl Change<'_> {
    pub(super) fn put_topic(&mut self, name: &Topic, topic: &StoredTopic) -> std::result::Result<(), Error> {
        let value = serde_json::to_vec(topic).map_err(|cause| Error::Corrupt(Arc::new(cause)))?;
        self.batch.insert(&self.store.meta, [b"t", name.as_str().as_bytes()].concat(), value);
        Ok(())
    }

    pub(super) fn put_chunk(&mut self, place: Place, first: u64, bytes: &[u8]) {
        self.batch.insert(&self.store.chunks, place.at(first), bytes);
    }

    pub(super) fn remove_chunk(&mut self, place: Place, first: u64) {
        self.batch.remove(&self.store.chunks, place.at(first));
    }

    pub(super) fn put_next(&mut self, place: Place, next: u64) {
        self.batch.insert(&self.store.meta, place.meta(b'n'), next.to_be_bytes());
    }

    pub(super) fn put_first(&mut self, place: Place, first: u64) {
        self.batch.insert(&self.store.meta, place.meta(b'f'), first.to_be_bytes());
    }

    pub(super) fn put_compacted(&mut self, place: Place, offset: u64) {
        self.batch.insert(&self.store.meta, place.meta(b'c'), offset.to_be_bytes());
    }

    pub(super) fn put_time(&mut self, place: Place, time_ms: i64, first: u64) {
        self.batch.insert(&self.store.times, place.at(ordered(time_ms)), first.to_be_bytes());
    }

    pub(super) fn remove_time(&mut self, place: Place, time_ms: i64) {
        self.batch.remove(&self.store.times, place.at(ordered(time_ms)));
    }

    pub(super) fn put_newest(&mut self, place: Place, key: &[u8], offset: u64) {
        self.batch.insert(&self.store.newest, place.with(key), offset.to_be_bytes());
    }

    pub(super) fn remove_newest(&mut self, place: Place, key: &[u8]) {
        self.batch.remove(&self.store.newest, place.with(key));
    }

    pub(super) fn put_grave(&mut self, place: Place, offset: u64, time_ms: i64, key: &[u8]) {
        self.batch.insert(&self.store.graves, place.at(offset), [&time_ms.to_be_bytes()[..], key].concat());
    }

    pub(super) fn remove_grave(&mut self, place: Place, offset: u64) {
        self.batch.remove(&self.store.graves, place.at(offset));
    }

    /// Writes the change and waits until it survives a power cut.
    pub(super) fn commit(self) -> Result<()> {
        self.batch.durability(Some(PersistMode::SyncData)).commit()
    }

    /// Writes the change in its place in the journal without waiting for the disk: a crash may undo it, the next [`Change::commit`] makes it last.
    pub(super) fn commit_lazily(self) -> Result<()> {
        self.batch.durability(Some(PersistMode::Buffer)).commit()
    }
}

/// What a failure of the store means.
pub(super) fn error(cause: fjall::Error) -> Error {
    use fjall::{Error as Fjall, LsmError as Lsm};
    match cause {
        // The system's own words say more than what the library makes of them.
        Fjall::Io(io) | Fjall::Storage(Lsm::Io(io)) => io_error(io),
        Fjall::Locked => Error::InUse,
        damage if store_mark::is_stores_damage(&damage) => Error::Corrupt(Arc::new(damage)),
        _ => Error::Unavailable(Arc::new(cause)),
    }
}

/// What a failure of the system means, where it is about the store's own files.
pub(super) fn io_error(cause: io::Error) -> Error {
    match cause.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Error::DiskFull(Arc::new(cause))
        }
        kind if store_mark::is_damage(kind) => Error::Corrupt(Arc::new(cause)),
        _ => Error::Unavailable(Arc::new(cause)),
    }
}

/// Whether the store refuses every write because an earlier one failed, or one of its own threads did. Nothing of the refused write was taken.
pub(super) fn is_poisoned(error: &fjall::Error) -> bool {
    matches!(error, fjall::Error::Poisoned)
}

fn malformed() -> Error {
    Error::Corrupt(Arc::new(chunk::Malformed))
}

fn array<const N: usize>(bytes: &[u8]) -> std::result::Result<[u8; N], Error> {
    bytes.try_into().map_err(|_| malformed())
}

fn number(value: &[u8]) -> std::result::Result<u64, Error> {
    Ok(u64::from_be_bytes(array(value)?))
}

fn last_number(key: &[u8]) -> std::result::Result<u64, Error> {
    number(key.get(8..).ok_or_else(malformed)?)
}

/// Byte order of the result is the order of the times.
fn ordered(time_ms: i64) -> u64 {
    time_ms.cast_unsigned() ^ (1 << 63)
}

fn time_of(key: &[u8]) -> std::result::Result<i64, Error> {
    Ok((last_number(key)? ^ (1 << 63)).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_order_as_bytes_as_they_do_as_numbers() {
        let times = [i64::MIN, -5, -1, 0, 1, i64::MAX];
        let keys: Vec<_> = times.map(|time| Place { topic: 1, partition: 2 }.at(ordered(time))).to_vec();
        assert!(keys.is_sorted());
        for (time, key) in times.iter().zip(&keys) {
            assert_eq!(time_of(key).expect("own key"), *time);
        }
    }
}
