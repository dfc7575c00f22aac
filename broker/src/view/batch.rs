//! What one batch of entries does to the keys that it speaks of, one key after another.
//!
//! A version is written once, under its position, and says what it replaced; head and indexes of a key change once, from what they were before the batch to
//! what they are after it. So within one batch no row is both removed and written, and neighbours in the store are looked up and written together.

use std::{collections::BTreeMap, sync::Arc};

use fjall::{OwnedWriteBatch, Readable, Snapshot};
use shuqiao_schemas::engine::Scratch;

use super::{
    Error, Tally, Target,
    apply::index_parts,
    layout::{self, Space},
    row::{Head, Is, Kind, Row},
    store::Store,
};
use crate::exchange::model::{Position, Record};

/// An entry that is not passed over.
pub(super) struct Taken {
    /// Where it was read.
    pub(super) entry: Position,
    pub(super) record: Record,
    /// Of a repeat nothing: it is only noted that it lies there.
    pub(super) index_parts: Option<Vec<u8>>,
}

/// One batch under construction: what it will write, and what it must see of itself.
pub(super) struct Batch<'a> {
    store: &'a Store,
    space: Space,
    target: &'a Target,
    scratch: &'a mut Scratch,
    snapshot: Snapshot,
    writes: OwnedWriteBatch,
    /// `None` removes.
    versions: BTreeMap<Position, Option<Vec<u8>>>,
    /// Keys whose state an entry of this offset outlives in a compacted log, and keys that are in order again.
    outlived: BTreeMap<Arc<str>, Option<u64>>,
    /// From where on pruning has to look again: it may have been there before.
    touched: Vec<Position>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(store: &'a Store, space: Space, target: &'a Target, scratch: &'a mut Scratch) -> Self {
        Self {
            store,
            space,
            target,
            scratch,
            snapshot: store.database.snapshot(),
            writes: store.batch(),
            versions: BTreeMap::new(),
            outlived: BTreeMap::new(),
            touched: Vec::new(),
        }
    }

    /// Takes in what the batch says of one key, in the order of the log.
    pub(super) fn put(&mut self, of_key: &[Taken], tally: &mut Tally) -> Result<(), Error> {
        let Some(key) = of_key.first().map(|one| &one.record.key) else { return Ok(()) };
        let record_key = layout::record_key(self.space, key);
        let before = self.snapshot.get(&self.store.records, &record_key)?;
        let before = before.map(|head| Head::decode(&head)).transpose()?;
        let mut state = before;
        let mut parts = &[][..];
        for one in of_key {
            let Some(index_parts) = &one.index_parts else {
                if state.is_some() {
                    self.outlived.insert(key.clone(), Some(one.entry.offset));
                }
                continue;
            };
            match self.judge(one, state)? {
                Verdict::Applied(kind) => {
                    let position = one.position();
                    self.versions.insert(position, Some(Row::of(&one.record, kind).encode()?));
                    state = Some(Head::of(&one.record, position, index_parts));
                    parts = index_parts;
                    tally.applied += 1;
                }
                Verdict::Stale => {
                    self.versions.insert(one.entry, Some(Row::of(&one.record, Kind::Stale).encode()?));
                    self.writes.insert(&self.store.indexes, layout::stale_key(self.space, key, one.entry), []);
                    tally.stale += 1;
                }
                Verdict::Moved(head) => {
                    state = Some(head);
                    tally.repeats += 1;
                }
                Verdict::Repeated => tally.repeats += 1,
            }
        }
        if let Some(head) = state
            && before != state
        {
            self.writes.insert(&self.store.records, record_key, head.encode());
            self.put_indexes(key, before, head, parts)?;
        }
        Ok(())
    }

    /// What becomes of a record where this is the state of its key. Changes what lies there already accordingly.
    fn judge(&mut self, one: &Taken, mut state: Option<Head>) -> Result<Verdict, Error> {
        let Taken { entry, record, .. } = one;
        let position = one.position();
        let oldest_ms = record.accept_time_ms.saturating_sub_unsigned(self.target.retention_ms);
        if let Some(Head { is: Is::Deleted, accept_time_ms, position: deletion, .. }) = state
            && accept_time_ms < oldest_ms
        {
            self.forget(deletion)?;
            state = None;
        }
        // Of two with one source version the later counts. What is said again was the state up to an offset, so it counts as lying there.
        let order = (record.source_version, record.restates.map_or(entry.offset, |said| said.behind));
        let stale = state.is_some_and(|held| order < (held.source_version, held.position.offset));
        if record.restates.is_none() {
            if stale {
                self.outlived.insert(record.key.clone(), Some(entry.offset));
                return Ok(Verdict::Stale);
            }
            return Ok(Verdict::Applied(state.map_or(Kind::First, |held| Kind::Replacing(held.position))));
        }
        let held = match state {
            Some(head) => Some((head, self.version(head.position)?.ok_or(Error::Corrupt("no version of a head"))?)),
            None => None,
        };
        let is_held = match &held {
            Some((_, bytes)) => {
                let held = Row::decode(bytes)?;
                held.sequence == record.sequence && held.source == record.source.as_str()
            }
            None => false,
        };
        self.outlived.insert(record.key.clone(), (stale && !is_held).then_some(entry.offset));
        if let Some((head, bytes)) = held.filter(|_| is_held) {
            let is_moved = position.offset < head.position.offset;
            if is_moved || head.is == Is::Deleted {
                // Pruning may have passed over a deletion that had to be said again first.
                self.touched.push(position);
            }
            if !is_moved {
                return Ok(Verdict::Repeated);
            }
            // Of a record that was stored twice, compaction left this view the later copy.
            self.versions.insert(head.position, None);
            let kind = self.sink(&record.key, Row::decode(&bytes)?.kind.replaced(), position)?;
            self.versions.insert(position, Some(Row::with_kind(bytes, kind)?));
            return Ok(Verdict::Moved(Head { position, ..head }));
        }
        if stale {
            // It was applied where it first lay, or compaction took that entry together with what it changed.
            return Ok(Verdict::Repeated);
        }
        // The entry that it says again is gone. What came after that one would not have been the state.
        self.touched.push(position);
        Ok(Verdict::Applied(self.sink(&record.key, state.map(|held| held.position), position)?))
    }

    /// What an entry replaces that takes a place further back: of the states of its key, those that came after it never were.
    fn sink(&mut self, key: &str, newest: Option<Position>, to: Position) -> Result<Kind, Error> {
        let mut next = newest;
        while let Some(own) = next {
            if own.partition != to.partition || own.offset < to.offset {
                return Ok(Kind::Replacing(own));
            }
            let Some(bytes) = self.version(own)? else { break };
            next = Row::decode(&bytes)?.kind.replaced();
            self.versions.insert(own, Some(Row::with_kind(bytes, Kind::Stale)?));
            self.writes.insert(&self.store.indexes, layout::stale_key(self.space, key, own), []);
        }
        Ok(Kind::First)
    }

    /// A deletion that counts no more goes with all that was before it, as if it had been pruned, which may have been done already.
    fn forget(&mut self, deletion: Position) -> Result<(), Error> {
        let mut next = Some(deletion);
        while let Some(own) = next {
            let Some(bytes) = self.version(own)? else { break };
            next = Row::decode(&bytes)?.kind.replaced();
            self.versions.insert(own, None);
        }
        Ok(())
    }

    /// What lies at a position, as this batch leaves it.
    fn version(&self, own: Position) -> Result<Option<Vec<u8>>, Error> {
        match self.versions.get(&own) {
            Some(row) => Ok(row.clone()),
            None => {
                let row = self.snapshot.get(&self.store.versions, layout::version_key(self.space, own))?;
                Ok(row.map(|bytes| bytes.to_vec()))
            }
        }
    }

    fn put_indexes(&mut self, key: &str, before: Option<Head>, after: Head, parts: &[u8]) -> Result<(), Error> {
        let old = match before {
            Some(Head { is, .. }) if is == after.is => return Ok(()),
            Some(Head { is: Is::Live(_), position, .. }) => {
                let row = self.snapshot.get(&self.store.versions, layout::version_key(self.space, position))?;
                let row = row.ok_or(Error::Corrupt("no version where one is named"))?;
                let record = Row::decode(&row)?.record()?;
                // Its standard is the one that it was taken in by, or all rows would have been made anew.
                let parts = index_parts(&self.target.compiled, &record, self.scratch);
                layout::index_keys(self.space, &parts.ok_or(Error::Corrupt("payload"))?, key)?
            }
            _ => Vec::new(),
        };
        let new = layout::index_keys(self.space, parts, key)?;
        for index_key in old {
            if !new.contains(&index_key) {
                self.writes.remove(&self.store.indexes, index_key);
            }
        }
        for index_key in new {
            self.writes.insert(&self.store.indexes, index_key, []);
        }
        Ok(())
    }

    /// Writes what was gathered, in the order of the store.
    pub(super) fn finish(mut self) -> (OwnedWriteBatch, Vec<Position>) {
        for (own, row) in self.versions {
            let version_key = layout::version_key(self.space, own);
            match row {
                Some(row) => self.writes.insert(&self.store.versions, version_key, row),
                None => self.writes.remove(&self.store.versions, version_key),
            }
        }
        for (key, by) in self.outlived {
            let row_key = layout::outlived_key(self.space, &key);
            match by {
                Some(offset) => self.writes.insert(&self.store.meta, row_key, offset.to_be_bytes()),
                None => self.writes.remove(&self.store.meta, row_key),
            }
        }
        (self.writes, self.touched)
    }
}

/// What becomes of a record.
enum Verdict {
    /// It is the state of its key, and did this to it.
    Applied(Kind),
    /// An older source version after a newer one.
    Stale,
    /// Held already, and lies further back than was known.
    Moved(Head),
    /// Said again, and held already.
    Repeated,
}

impl Taken {
    /// Where it counts as lying.
    fn position(&self) -> Position {
        Position { offset: self.record.restates.map_or(self.entry.offset, |said| said.offset), ..self.entry }
    }
}
