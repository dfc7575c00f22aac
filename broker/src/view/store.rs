//! The embedded store under the view: the only file that opens it, and the life of spaces.
//!
//! A space holds one dataset's rows. A rebuild fills a new space beside the live one and then swaps them in one batch, so that queries see the old state or
//! the new, never half. A crash in between leaves a space that is not live; opening drops it.
//!
//! Durability: each batch goes to the journal and from there to the operating system, not to the disk. The log is the truth, so a power cut may cost the
//! view its newest batches, never its consistency: the journal is recovered to a whole batch, and each batch carries the position up to which it speaks.

use std::{path::Path, sync::Arc};

use fjall::{
    Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable,
    compaction::Leveled,
    config::{BloomConstructionPolicy, FilterPolicy, FilterPolicyEntry},
};

use super::{
    Error,
    layout::{self, Space},
    mend::Trouble,
    row::{self, ROW_VERSION},
};
use crate::{
    exchange::model::DatasetId,
    store_mark::{self, Mark},
};

/// Rows removed in one batch while a space is dropped.
const DROP_ROWS: usize = 10_000;
/// Of each keyspace: one is filled while others are flushed, and all of them are in memory.
const MEMTABLE_BYTES: u64 = 8 << 20;
/// Flushed memtables that wait until they are merged together. Each merge rewrites what the ones before have merged, so fewer are cheaper; but a look-up asks
/// every run that waits, of most of them only the filter.
const WAITING_RUNS: u8 = 8;
/// Of the versions, which are most of all bytes and are looked up one by one. Merged they go further down by themselves: each partition's are in ascending order.
const WAITING_VERSION_RUNS: u8 = 16;
/// From so many runs that wait on fjall 3.1 slows every write, and stops them all at 30 until a merge, which the number of runs above has to bring about first.
const SLOWING_RUNS: u8 = 20;
const _: () = assert!(WAITING_RUNS < SLOWING_RUNS && WAITING_VERSION_RUNS < SLOWING_RUNS, "writes would stop for good");
/// Of a merged table of versions. What has gone down is not rewritten, so little of it should lie above.
const VERSION_TABLE_BYTES: u64 = 16 << 20;
/// One thread flushes and merges. Of several, fjall 3.1 keeps the first for flushes, and that one hands itself the waiting merges over and over while another
/// merges: a whole processor for nothing.
const WORKERS: usize = 1;

/// Where rows before version 4 kept the past.
const FORMER_HISTORY: &str = "history";

const LIVE: u8 = 1;
const BUILDING: u8 = 2;
const DROPPING: u8 = 3;

/// The keyspaces. Clones share them.
#[derive(Clone)]
pub(super) struct Store {
    pub(super) database: Database,
    pub(super) records: Keyspace,
    pub(super) versions: Keyspace,
    pub(super) indexes: Keyspace,
    pub(super) meta: Keyspace,
    pub(super) trouble: Arc<Trouble>,
}

/// A live space as found at opening.
pub(super) struct Found {
    pub(super) dataset: DatasetId,
    pub(super) space: Space,
}

impl Store {
    /// Opens or makes the store. Drops what a crash left half-built, and what this software cannot read: the log has it all. Refuses one that lacks what it
    /// held: of what is left nobody could tell.
    pub(super) fn open(path: &Path, cache_bytes: u64) -> Result<(Self, Vec<Found>), Error> {
        std::fs::create_dir_all(path).map_err(|error| Error::Disk(Arc::new(error)))?;
        let mark = store_mark::look(path)?;
        let database = Database::builder(path).cache_size(cache_bytes).worker_threads(WORKERS).open()?;
        let with = |filter, merging: Leveled| {
            move || {
                KeyspaceCreateOptions::default()
                    .max_memtable_size(MEMTABLE_BYTES)
                    .compaction_strategy(Arc::new(merging))
                    .filter_policy(filter)
            }
        };
        let merging = || Leveled::default().with_l0_threshold(WAITING_RUNS);
        let merging_versions =
            Leveled::default().with_l0_threshold(WAITING_VERSION_RUNS).with_table_target_size(VERSION_TABLE_BYTES);
        let bloom = || FilterPolicy::all(FilterPolicyEntry::Bloom(BloomConstructionPolicy::BitsPerKey(10.0)));
        let store = Self {
            records: database.keyspace("records", with(bloom(), merging()))?,
            versions: database.keyspace("versions", with(bloom(), merging_versions))?,
            // Read by ranges only, which ask no filter.
            indexes: database.keyspace("indexes", with(FilterPolicy::disabled(), merging()))?,
            meta: database.keyspace("meta", with(bloom(), merging()))?,
            trouble: Arc::new(Trouble::at(path)),
            database,
        };
        let mut live = Vec::new();
        for space in store.spaces()? {
            let (state, dataset, description) = store.describe(space)?.ok_or(Error::Corrupt("space"))?;
            let is_readable = description.last() == Some(&ROW_VERSION);
            if state == LIVE && is_readable {
                live.push(Found { dataset, space });
                continue;
            }
            if state == LIVE {
                tracing::warn!(%dataset, "rows of another layout are removed; the view is made anew from the log");
            }
            store.drop_space(space)?;
        }
        if store.database.keyspace_exists(FORMER_HISTORY) {
            let former = store.database.keyspace(FORMER_HISTORY, KeyspaceCreateOptions::default)?;
            store.database.delete_keyspace(former)?;
        }
        let keyspaces = [&store.records, &store.versions, &store.indexes, &store.meta].map(Keyspace::path);
        let whole = Mark { keyspaces: store_mark::names(keyspaces), ..Mark::default() };
        if mark.as_ref() != Some(&whole) {
            whole.write(path)?;
        }
        Ok((store, live))
    }

    /// A batch that reaches the operating system before `commit` returns.
    pub(super) fn batch(&self) -> OwnedWriteBatch {
        self.database.batch().durability(Some(PersistMode::Buffer))
    }

    fn spaces(&self) -> Result<Vec<Space>, Error> {
        self.meta
            .prefix(b"s")
            .map(|row| layout::read_u32(row.key()?.get(1..).ok_or(Error::Corrupt("space"))?))
            .collect()
    }

    /// State, dataset and description of a space.
    fn describe(&self, space: Space) -> Result<Option<(u8, DatasetId, Vec<u8>)>, Error> {
        let Some(value) = self.meta.get(space_key(space))? else { return Ok(None) };
        let mut cursor = row::Cursor(&value);
        let state = cursor.u8()?;
        let length = usize::from(cursor.u16()?);
        let dataset = std::str::from_utf8(cursor.take(length)?)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or(Error::Corrupt("space"))?;
        Ok(Some((state, dataset, cursor.0.to_vec())))
    }

    /// What the live rows were made with; another description means that they must be made again.
    pub(super) fn description(&self, space: Space) -> Result<Vec<u8>, Error> {
        Ok(self.describe(space)?.map(|(_, _, description)| description).unwrap_or_default())
    }

    /// Takes a new number for rows that nobody sees yet. `first` is where the log begins, a partition.
    pub(super) fn begin_space(&self, dataset: &DatasetId, description: &[u8], first: &[u64]) -> Result<Space, Error> {
        // Numbers come from a counter, so rows of a space that is still being dropped are never taken for new ones.
        let next = match self.meta.get(b"n")? {
            Some(value) => layout::read_u32(&value)?,
            None => 1,
        };
        let mut batch = self.batch();
        batch.insert(&self.meta, b"n", (next + 1).to_be_bytes());
        batch.insert(&self.meta, space_key(next), space_value(BUILDING, dataset, description));
        for (partition, offset) in (0_u32..).zip(first) {
            batch.insert(&self.meta, layout::applied_key(next, partition), offset.to_be_bytes());
        }
        batch.commit()?;
        Ok(next)
    }

    /// Makes a built space the live one, in one batch. The old one's rows go afterwards.
    pub(super) fn make_live(&self, dataset: &DatasetId, space: Space, old: Option<Space>) -> Result<(), Error> {
        let description = self.description(space)?;
        let mut batch = self.batch();
        batch.insert(&self.meta, space_key(space), space_value(LIVE, dataset, &description));
        if let Some(old) = old {
            batch.insert(&self.meta, space_key(old), space_value(DROPPING, dataset, &[]));
        }
        batch.commit()?;
        Ok(())
    }

    /// Says that a space is no longer live; its rows go with [`Store::drop_space`].
    pub(super) fn retire(&self, dataset: &DatasetId, space: Space) -> Result<(), Error> {
        let mut batch = self.batch();
        batch.insert(&self.meta, space_key(space), space_value(DROPPING, dataset, &[]));
        batch.commit()?;
        Ok(())
    }

    /// Removes every row of a space. Safe to repeat, safe to interrupt: the space's own row goes last.
    pub(super) fn drop_space(&self, space: Space) -> Result<(), Error> {
        let snapshot = self.database.snapshot();
        let prefix = space.to_be_bytes();
        let mut batch = self.batch();
        let mut rows = 0;
        let own = |tag: &[u8]| [tag, &prefix].concat();
        let ranges = [
            (&self.records, prefix.to_vec()),
            (&self.indexes, prefix.to_vec()),
            (&self.versions, prefix.to_vec()),
            (&self.meta, own(b"p")),
            (&self.meta, own(b"c")),
            (&self.meta, own(b"h")),
            (&self.meta, own(b"o")),
        ];
        for (keyspace, prefix) in ranges {
            for row in snapshot.prefix(keyspace, prefix) {
                batch.remove(keyspace, row.key()?);
                rows += 1;
                if rows % DROP_ROWS == 0 {
                    std::mem::replace(&mut batch, self.batch()).commit()?;
                }
            }
        }
        batch.remove(&self.meta, space_key(space));
        batch.commit()?;
        Ok(())
    }

    /// Next offset of each partition.
    pub(super) fn applied(&self, space: Space) -> Result<Vec<u64>, Error> {
        self.meta
            .prefix([b"p".as_slice(), &space.to_be_bytes()].concat())
            .map(|row| layout::read_u64(&row.value()?))
            .collect()
    }
}

/// Whether the store refuses every write because an earlier one failed, or one of its own threads did.
pub(super) fn is_poisoned(error: &Error) -> bool {
    matches!(error, Error::Store(cause) if matches!(**cause, fjall::Error::Poisoned))
}

fn space_key(space: Space) -> [u8; 5] {
    let mut key = [b's'; 5];
    key[1..].copy_from_slice(&space.to_be_bytes());
    key
}

fn space_value(state: u8, dataset: &DatasetId, description: &[u8]) -> Vec<u8> {
    // A dataset id is at most 180 bytes (exchange::model).
    let length = u16::try_from(dataset.as_str().len()).unwrap_or(u16::MAX);
    [&[state], length.to_be_bytes().as_slice(), dataset.as_str().as_bytes(), description].concat()
}
