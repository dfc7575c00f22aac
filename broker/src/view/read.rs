//! Reading one dataset's rows, all from one moment.
//!
//! A [`Reader`] holds a snapshot: whatever it answers is the state after one whole batch of the log, and [`Reader::applied`] says after which. Its iterators
//! are lazy and unbounded; the caller bounds them.

use std::ops::Bound;

use fjall::{Readable, Snapshot};

use super::{
    Error,
    layout::{self, HISTORY, HistoryRow, Kind, Row, SUBJECT, Space},
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

    /// The live record of a key.
    ///
    /// # Errors
    /// The store's.
    pub fn get(&self, key: &str) -> Result<Option<Item>, Error> {
        Ok(self.state(key)?.filter(|item| item.record.operation == Operation::Upsert))
    }

    /// The newest state of a key, a deletion included.
    fn state(&self, key: &str) -> Result<Option<Item>, Error> {
        match self.snapshot.get(&self.store.records, layout::record_key(self.space, key))? {
            Some(row) => item(key, &row, true).map(Some),
            None => Ok(None),
        }
    }

    /// Live records in ascending byte order of their keys, after a key if one is given.
    pub fn records(&self, after: Option<&str>) -> impl Iterator<Item = Result<Item, Error>> + Send + use<> {
        let first = after.map_or_else(
            || Bound::Included(self.space.to_be_bytes().to_vec()),
            |key| Bound::Excluded(layout::record_key(self.space, key)),
        );
        let end = upper(&self.space.to_be_bytes());
        self.snapshot.range(&self.store.records, (first, end)).filter_map(|row| {
            let read = || -> Result<Option<Item>, Error> {
                let (row_key, value) = row.into_inner()?;
                let row = Row::decode(&value)?;
                if row.operation == Operation::Delete {
                    return Ok(None);
                }
                item(layout::key_of_record_key(&row_key)?, &value, true).map(Some)
            };
            read().transpose()
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
            let index_key = row.key()?;
            let key = index_key.get(prefix_bytes..).and_then(|key| std::str::from_utf8(key).ok());
            let key = key.ok_or(Error::Corrupt("index key"))?;
            // One batch writes record and index together, so in one snapshot neither is without the other.
            reader.get(key)?.ok_or(Error::Corrupt("index without its record"))
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
        let mut state = self.state(key)?.filter(|item| item.position.offset < before);
        let prefix = layout::index_prefix(self.space, HISTORY, key.as_bytes());
        let end = layout::history_index_key(self.space, key, before);
        let mut rows = self.snapshot.range(&self.store.indexes, prefix..end).rev();
        let reader = self.clone();
        let key = key.to_owned();
        let mut past = None;
        Ok(std::iter::from_fn(move || {
            let mut step = || -> Result<Option<Item>, Error> {
                if past.is_none() {
                    past = rows.next().map(|row| row.into_inner()).transpose()?;
                }
                // The state need not be the newest entry: one with an older source version may have come after it.
                let newest = match (&past, &state) {
                    (Some((index_key, _)), Some(item)) => layout::own_offset(index_key)? < item.position.offset,
                    (None, Some(_)) => true,
                    (_, None) => false,
                };
                if newest {
                    return Ok(state.take());
                }
                let Some((_, cause)) = past.take() else { return Ok(None) };
                let row_key = layout::history_key(reader.space, layout::read_position(&cause)?);
                let row = reader.snapshot.get(&reader.store.history, row_key)?;
                let row = row.ok_or(Error::Corrupt("history index without its row"))?;
                let history = HistoryRow::decode(&row)?;
                item(&key, history.row, history.kind != Kind::Stale).map(Some)
            };
            step().transpose()
        }))
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
        self.snapshot
            .prefix(&self.store.meta, layout::high_water_prefix(self.space, source))
            .map(|row| {
                let (key, value) = row.into_inner()?;
                Ok((layout::read_high_water_key(&key)?.1, layout::read_u64(&value)?))
            })
            .collect()
    }
}

impl Clone for Reader {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), space: self.space, snapshot: self.snapshot.clone() }
    }
}

fn item(key: &str, row: &[u8], applied: bool) -> Result<Item, Error> {
    let row = Row::decode(row)?;
    Ok(Item { record: row.record(key)?, position: row.position, applied })
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
