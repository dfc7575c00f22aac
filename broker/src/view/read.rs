//! Reading one dataset's rows, all from one moment.
//!
//! A [`Reader`] holds a snapshot: whatever it answers is the state after one whole batch of the log, and [`Reader::applied`] says after which. Its iterators
//! are lazy and unbounded; the caller bounds them.

use std::ops::Bound;

use fjall::{Readable, Snapshot};

use super::{
    Error,
    layout::{self, STALE, SUBJECT, Space},
    row::{Head, Is, Kind, Row},
    store::Store,
};
use crate::exchange::model::{Operation, Position, Record};

/// A record and where it lies in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The record.
    pub record: Record,
    /// Where it lies.
    pub position: Position,
    /// False for an older source version that arrived after a newer one: kept, never the state.
    pub applied: bool,
}

/// One dataset at one moment.
pub struct Reader {
    pub(super) store: Store,
    pub(super) space: Space,
    pub(super) snapshot: Snapshot,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("space", &self.space).finish_non_exhaustive()
    }
}

impl Reader {
    /// Passes on what was read, and takes note where it cannot be.
    pub(super) fn noted<T>(&self, read: Result<T, Error>) -> Result<T, Error> {
        read.inspect_err(|error| self.store.trouble.note(error))
    }

    /// Next offset of each partition at this moment.
    ///
    /// # Errors
    /// The store's.
    pub fn applied(&self) -> Result<Vec<u64>, Error> {
        self.snapshot
            .prefix(&self.store.meta, [b"p".as_slice(), &self.space.to_be_bytes()].concat())
            .map(|row| layout::read_u64(&row.value()?))
            .collect()
    }

    /// Offset of each partition below which history is removed.
    pub(super) fn pruned(&self) -> Result<Vec<u64>, Error> {
        let partitions = u32::try_from(self.applied()?.len()).unwrap_or(u32::MAX);
        let of = |partition| {
            let row = self.snapshot.get(&self.store.meta, layout::pruned_key(self.space, partition))?;
            row.map_or(Ok(0), |row| layout::read_u64(&row))
        };
        (0..partitions).map(of).collect()
    }

    /// The live record of a key.
    ///
    /// # Errors
    /// The store's.
    pub fn get(&self, key: &str) -> Result<Option<Item>, Error> {
        match self.head(key)? {
            Some(Head { is: Is::Live(_), position, .. }) => self.named(position).map(Some),
            _ => Ok(None),
        }
    }

    /// Of the newest state of a key, a deletion included.
    fn head(&self, key: &str) -> Result<Option<Head>, Error> {
        let read = || {
            let row = self.snapshot.get(&self.store.records, layout::record_key(self.space, key))?;
            row.map(|row| Head::decode(&row)).transpose()
        };
        self.noted(read())
    }

    /// The newest state of a key, a deletion included.
    pub(super) fn state(&self, key: &str) -> Result<Option<Item>, Error> {
        self.head(key)?.map(|head| self.named(head.position)).transpose()
    }

    /// What lies at a position, and what it did to its key.
    fn version(&self, position: Position) -> Result<Option<(Item, Kind)>, Error> {
        let read = || {
            let Some(row) = self.snapshot.get(&self.store.versions, layout::version_key(self.space, position))? else {
                return Ok(None);
            };
            let row = Row::decode(&row)?;
            let item = Item { record: row.record()?, position, applied: row.kind != Kind::Stale };
            Ok(Some((item, row.kind)))
        };
        self.noted(read())
    }

    /// What lies where a head or an index says so. One batch writes both, so in one snapshot neither is without the other.
    fn named(&self, position: Position) -> Result<Item, Error> {
        let item = self.version(position)?.map(|(item, _)| item);
        self.noted(item.ok_or(Error::Corrupt("no version where one is named")))
    }

    /// Live records in ascending byte order of their keys, after a key if one is given.
    pub fn records(&self, after: Option<&str>) -> impl Iterator<Item = Result<Item, Error>> + Send + use<> {
        let first = after.map_or_else(
            || Bound::Included(self.space.to_be_bytes().to_vec()),
            |key| Bound::Excluded(layout::record_key(self.space, key)),
        );
        let end = upper(&self.space.to_be_bytes());
        let reader = self.clone();
        self.snapshot.range(&self.store.records, (first, end)).filter_map(move |row| {
            let read = || -> Result<Option<Item>, Error> {
                let head = Head::decode(&row.value()?)?;
                if head.is == Is::Deleted {
                    return Ok(None);
                }
                reader.named(head.position).map(Some)
            };
            reader.noted(read()).transpose()
        })
    }

    /// Live records whose indexed field (by its number in the record type) has a value, in key order.
    pub fn by_index(
        &self,
        field: u16,
        value: &str,
        after: Option<&str>,
    ) -> impl Iterator<Item = Result<Item, Error>> + Send + use<> {
        self.indexed(layout::index_prefix(self.space, field, value.as_bytes()), after)
    }

    /// Live records about a subject, in key order. The kind is part of the identifier and is never guessed.
    pub fn by_subject(
        &self,
        kind: &str,
        value: &str,
        after: Option<&str>,
    ) -> impl Iterator<Item = Result<Item, Error>> + Send + use<> {
        self.indexed(layout::index_prefix(self.space, SUBJECT, &layout::subject_value(kind, value)), after)
    }

    fn indexed(
        &self,
        prefix: Vec<u8>,
        after: Option<&str>,
    ) -> impl Iterator<Item = Result<Item, Error>> + Send + use<> {
        let first = match after {
            Some(key) => Bound::Excluded([prefix.as_slice(), key.as_bytes()].concat()),
            None => Bound::Included(prefix.clone()),
        };
        let rows = self.snapshot.range(&self.store.indexes, (first, upper(&prefix)));
        let reader = self.clone();
        let prefix_bytes = prefix.len();
        rows.map(move |row| {
            let read = || {
                let index_key = row.key()?;
                let key = index_key.get(prefix_bytes..).and_then(|key| std::str::from_utf8(key).ok());
                let key = key.ok_or(Error::Corrupt("index key"))?;
                // One batch writes record and index together, so in one snapshot neither is without the other.
                reader.get(key)?.ok_or(Error::Corrupt("index without its record"))
            };
            reader.noted(read())
        })
    }

    /// The changes of a key that are still kept, newest first, below an offset if one is given. Goes back as far as retention does, and one further:
    /// the state that the oldest kept change replaced.
    ///
    /// # Errors
    /// The store's.
    pub fn history(
        &self,
        key: &str,
        before: Option<u64>,
    ) -> Result<impl Iterator<Item = Result<Item, Error>> + Send + use<>, Error> {
        let before = before.unwrap_or(u64::MAX);
        let mut state = self.noted(self.newest_below(key, before))?;
        let prefix = layout::index_prefix(self.space, STALE, key.as_bytes());
        let end = layout::stale_key(self.space, key, Position { partition: 0, offset: before });
        let mut rows = self.snapshot.range(&self.store.indexes, prefix..end).rev();
        let reader = self.clone();
        let mut stale: Option<Position> = None;
        Ok(std::iter::from_fn(move || {
            let mut step = || -> Result<Option<Item>, Error> {
                if stale.is_none() {
                    stale = rows.next().map(|row| layout::own_position(&row.key()?)).transpose()?;
                }
                // The state need not be the newest entry: one with an older source version may have come after it.
                let newest = state.take_if(|state| stale.is_none_or(|stale| stale.offset < state.offset));
                if let Some(position) = newest
                    && let Some((item, kind)) = reader.version(position)?
                {
                    state = kind.replaced();
                    return Ok(Some(item));
                }
                // What was replaced last may be removed already.
                stale.take().map(|position| reader.named(position)).transpose()
            };
            reader.noted(step()).transpose()
        }))
    }

    /// Where the newest state of a key lies, a deletion included, that lies below an offset.
    fn newest_below(&self, key: &str, before: u64) -> Result<Option<Position>, Error> {
        let Some(Head { position: newest, .. }) = self.head(key)? else { return Ok(None) };
        let mut next = Some(newest);
        if newest.offset >= before {
            // Most often a state lies right there: a page of a history ended with it, or it is what a subscriber is about to be shown.
            for offset in [before.saturating_sub(1), before] {
                let there = Position { offset, ..newest };
                let row = self.snapshot.get(&self.store.versions, layout::version_key(self.space, there))?;
                let row = row.as_ref().map(|row| Row::decode(row)).transpose()?;
                if row.is_some_and(|row| row.key == key && row.kind != Kind::Stale) {
                    next = Some(there);
                    break;
                }
            }
        }
        while let Some(own) = next.filter(|own| own.offset >= before) {
            let row = self.snapshot.get(&self.store.versions, layout::version_key(self.space, own))?;
            next = row.map(|row| Row::decode(&row).map(|row| row.kind)).transpose()?.and_then(Kind::replaced);
        }
        Ok(next)
    }

    /// The live record of a key as it stood just before a position: what a subscriber under a row filter has been shown. Exact for
    /// positions within retention.
    ///
    /// # Errors
    /// The store's.
    pub fn state_before(&self, key: &str, position: Position) -> Result<Option<Item>, Error> {
        for item in self.history(key, Some(position.offset))? {
            let item = item?;
            if item.applied {
                return Ok(Some(item).filter(|item| item.record.operation == Operation::Upsert));
            }
        }
        Ok(None)
    }

    /// Largest sequence held of a source, a partition.
    ///
    /// # Errors
    /// The store's.
    pub fn high_water(&self, source: &str) -> Result<Vec<(u32, u64)>, Error> {
        let rows = self.snapshot.prefix(&self.store.meta, layout::high_water_prefix(self.space, source));
        let rows = rows.map(|row| {
            let (key, value) = row.into_inner()?;
            Ok((layout::read_high_water_key(&key)?.1, layout::read_u64(&value)?))
        });
        self.noted(rows.collect())
    }
}

impl Clone for Reader {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), space: self.space, snapshot: self.snapshot.clone() }
    }
}

/// The end of everything that begins with a prefix.
fn upper(prefix: &[u8]) -> Bound<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Bound::Excluded(end);
        }
    }
    Bound::Unbounded
}
