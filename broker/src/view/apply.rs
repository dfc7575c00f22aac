//! From entries of the log to rows: one atomic batch for each batch of entries, with the position in it.
//!
//! The rules, in the order in which an entry meets them:
//!
//! 1. below the applied position: seen already, passed over;
//! 2. no record, or a payload that its standard no longer takes: skipped visibly (counted, its position logged), because a foreign entry must not stop a
//!    dataset;
//! 3. sequence at or below the high water of (source, partition): a repeat, stored once is enough. An entry that says a record again ([`super::restate`]) is
//!    not judged by its sequence, but by where it says that it stands, so that it changes nothing where its first entry was applied;
//! 4. source version below the one held: kept in the history, never the state. A tombstone counts for as long as the dataset's retention, by the
//!    entries' own times, so that a rebuild from a compacted log comes to the same verdict;
//! 5. otherwise it becomes the state, and what it replaces becomes history.
//!
//! Where compaction has taken a source's last entry, the marks of [`super::high_water`] say how far the source came.
//!
//! One applier writes one space, and one task owns it: nothing here locks.

use std::{collections::HashMap, sync::Arc};

use fjall::{OwnedWriteBatch, Readable, Snapshot, UserValue};
use shuqiao_schemas::engine::{RecordType, Scratch};

use super::{
    Error, Target,
    high_water::Mark,
    layout::{self, HistoryRow, Kind, Row, SUBJECT, Space},
    store::Store,
};
use crate::{
    exchange::{
        envelope,
        model::{DatasetId, Operation, Position, Record, SourceId},
    },
    log::StoredEntry,
};

/// What became of the entries of one batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Became the state of their key.
    pub applied: u64,
    /// Older source versions after newer ones.
    pub stale: u64,
    /// Held already.
    pub repeats: u64,
    /// No records, or no longer valid.
    pub skipped: u64,
}

/// Writes the rows of one space.
pub(super) struct Applier {
    pub(super) store: Store,
    dataset: DatasetId,
    pub(super) space: Space,
    next: Vec<u64>,
    high_water: HashMap<(u32, SourceId), u64>,
    /// What the log may have forgotten of the sources, beyond what was applied.
    marks: Vec<(SourceId, Mark)>,
    /// The partition in which the next step of pruning begins.
    prune_next: u32,
    /// Where the pruning that is under way goes on in each partition; `None` where it is done.
    prune_from: Vec<Option<u64>>,
    decoder: envelope::Decoder,
    scratch: Scratch,
}

impl Applier {
    /// Takes up a space where its last batch ended. The marks that speak of what it holds are taken in.
    pub(super) fn load(
        store: &Store,
        dataset: &DatasetId,
        space: Space,
        marks: Vec<(SourceId, Mark)>,
    ) -> Result<Self, Error> {
        let mut high_water = HashMap::new();
        for row in store.meta.prefix([b"h".as_slice(), &space.to_be_bytes()].concat()) {
            let (key, value) = row.into_inner()?;
            let (source, partition) = layout::read_high_water_key(&key)?;
            let source = source.parse().map_err(|_| Error::Corrupt("high water"))?;
            high_water.insert((partition, source), layout::read_u64(&value)?);
        }
        let next = store.applied(space)?;
        let mut applier = Self {
            prune_from: vec![Some(0); next.len()],
            next,
            store: store.clone(),
            dataset: dataset.clone(),
            space,
            high_water,
            marks,
            prune_next: 0,
            decoder: envelope::Decoder::default(),
            scratch: Scratch::new(),
        };
        let raised = applier.raised_by_marks(&applier.next, HashMap::new());
        if !raised.is_empty() {
            let mut batch = store.batch();
            applier.put_high_water(&mut batch, &raised);
            batch.commit()?;
        }
        applier.moved_to(applier.next.clone(), raised);
        Ok(applier)
    }

    /// Largest sequence of each source and partition, and the offset below which it is.
    pub(super) fn seen(&self) -> Vec<(SourceId, Mark)> {
        let mark = |((partition, source), sequence): (&(u32, SourceId), &u64)| {
            let below = *self.next.get(usize::try_from(*partition).ok()?)?;
            Some((source.clone(), Mark { partition: *partition, sequence: *sequence, below }))
        };
        self.high_water.iter().filter_map(mark).collect()
    }

    /// What moves when everything below `next` is applied: what the entries say, and the marks that speak of no more than that.
    fn raised_by_marks(&self, next: &[u64], mut moved: HashMap<(u32, SourceId), u64>) -> HashMap<(u32, SourceId), u64> {
        for (source, mark) in &self.marks {
            let reached = usize::try_from(mark.partition).ok().and_then(|partition| next.get(partition));
            let number = (mark.partition, source.clone());
            let held = moved.get(&number).or_else(|| self.high_water.get(&number));
            if reached.is_some_and(|reached| mark.below <= *reached) && held.is_none_or(|held| *held < mark.sequence) {
                moved.insert(number, mark.sequence);
            }
        }
        moved
    }

    /// What a mark says of the source's entries before a position.
    fn marked(&self, position: Position, source: &SourceId) -> Option<u64> {
        let of_it = |(marked, mark): &&(SourceId, Mark)| {
            mark.partition == position.partition && mark.below <= position.offset && marked == source
        };
        self.marks.iter().filter(of_it).map(|(_, mark)| mark.sequence).max()
    }

    fn put_high_water(&self, batch: &mut OwnedWriteBatch, moved: &HashMap<(u32, SourceId), u64>) {
        for ((partition, source), sequence) in moved {
            let key = layout::high_water_key(self.space, source.as_str(), *partition);
            batch.insert(&self.store.meta, key, sequence.to_be_bytes());
        }
    }

    /// The store holds it now.
    fn moved_to(&mut self, next: Vec<u64>, moved: HashMap<(u32, SourceId), u64>) {
        self.high_water.extend(moved);
        let reached = |mark: &Mark| usize::try_from(mark.partition).ok().and_then(|partition| next.get(partition));
        self.marks.retain(|(_, mark)| reached(mark).is_some_and(|reached| mark.below > *reached));
        self.next = next;
    }

    /// Next offset of each partition.
    pub(super) fn next(&self) -> &[u64] {
        &self.next
    }

    /// Applies entries in one batch. On an error nothing of them is stored, and this applier must be loaded again.
    pub(super) fn apply(&mut self, target: &Target, entries: &[StoredEntry]) -> Result<Tally, Error> {
        let mut pending = Pending {
            space: self.space,
            snapshot: self.store.database.snapshot(),
            batch: self.store.batch(),
            states: HashMap::new(),
            outlived: HashMap::new(),
        };
        let mut tally = Tally::default();
        let mut moved: HashMap<(u32, SourceId), u64> = HashMap::new();
        let mut next = self.next.clone();
        for entry in entries {
            let position = Position { partition: entry.partition, offset: entry.offset };
            let partition = usize::try_from(entry.partition).unwrap_or(usize::MAX);
            let reached = next.get_mut(partition).ok_or(Error::Corrupt("partition"))?;
            if entry.offset < *reached {
                continue;
            }
            *reached = entry.offset + 1;

            let record = match self.decoder.decode(entry) {
                Ok(record) => record,
                Err(malformed) => {
                    tally.skipped += 1;
                    self.tell_skipped(position, &malformed);
                    continue;
                }
            };
            let number = (entry.partition, record.source.clone());
            let held = moved.get(&number).or_else(|| self.high_water.get(&number)).copied();
            if record.restates.is_some() {
                // What its source said before it lay before it, too.
                moved.insert(number, held.unwrap_or(0).max(record.sequence));
            } else if held.max(self.marked(position, &record.source)).is_some_and(|held| record.sequence <= held) {
                tally.repeats += 1;
                pending.outlives(&self.store, &record.key, position)?;
                continue;
            } else {
                // Whatever becomes of it, the log holds it: sending it again is a repeat.
                moved.insert(number, record.sequence);
            }

            let Some(index_parts) = index_parts(&target.compiled, &record, &mut self.scratch) else {
                tally.skipped += 1;
                self.tell_skipped(position, &"payload no longer satisfies its record type");
                continue;
            };
            match pending.put(&self.store, target.retention_ms, &record, position, &index_parts)? {
                Put::Applied => tally.applied += 1,
                Put::Stale => tally.stale += 1,
                Put::Repeated => tally.repeats += 1,
            }
        }

        let Pending { mut batch, states, outlived, .. } = pending;
        for (key, by) in outlived {
            let row_key = layout::outlived_key(self.space, &key);
            match by {
                Some(offset) => batch.insert(&self.store.meta, row_key, offset.to_be_bytes()),
                None => batch.remove(&self.store.meta, row_key),
            }
        }
        // Indexes change once a key, from what it was before the batch to what it is after: within one batch no key is both removed and written.
        // In order, so that each finds its place in the store near the one before.
        let mut states: Vec<_> = states.iter().collect();
        states.sort_unstable_by_key(|(key, _)| *key);
        for (key, state) in states {
            let Some(row) = &state.after else { continue };
            batch.insert(&self.store.records, layout::record_key(self.space, key), row.clone());
            let before = match &state.before {
                Some(bytes) => Row::decode(bytes)?.index_parts,
                None => &[],
            };
            let after = Row::decode(row)?.index_parts;
            if before != after {
                let after = layout::index_keys(self.space, after, key)?;
                for index_key in layout::index_keys(self.space, before, key)? {
                    if !after.contains(&index_key) {
                        batch.remove(&self.store.indexes, index_key);
                    }
                }
                for index_key in after {
                    batch.insert(&self.store.indexes, index_key, []);
                }
            }
        }
        let moved = self.raised_by_marks(&next, moved);
        self.put_high_water(&mut batch, &moved);
        for (partition, (reached, before)) in (0_u32..).zip(next.iter().zip(&self.next)) {
            if reached != before {
                batch.insert(&self.store.meta, layout::applied_key(self.space, partition), reached.to_be_bytes());
            }
        }
        batch.commit()?;
        self.moved_to(next, moved);
        Ok(tally)
    }

    fn tell_skipped(&self, position: Position, why: &dyn std::fmt::Display) {
        tracing::warn!(
            dataset = %self.dataset, partition = position.partition, offset = position.offset, %why,
            "stored entry skipped by the view"
        );
    }

    /// Removes all history, and the memory of deletions, whose cause is older than the retention, in steps of so many rows.
    pub(super) fn prune_all(&mut self, cutoff_ms: i64, rows_max: usize) -> Result<(), Error> {
        self.prune_from.fill(Some(0));
        while self.prune(cutoff_ms, rows_max)? {}
        Ok(())
    }

    /// One step of it. Looks at `rows_max` rows, at most; true if more may be left. The next call begins behind the partition that this one stopped in, so that
    /// each has its turn, and behind the rows that this one looked at: those that must stay are passed over once, not by every call, so calls that are repeated
    /// come to an end.
    pub(super) fn prune(&mut self, cutoff_ms: i64, rows_max: usize) -> Result<bool, Error> {
        let snapshot = self.store.database.snapshot();
        let mut batch = self.store.batch();
        let mut rows = 0;
        let partitions = u32::try_from(self.next.len()).unwrap_or(u32::MAX);
        for partition in (self.prune_next..partitions).chain(0..self.prune_next) {
            let slot = usize::try_from(partition).ok().and_then(|partition| self.prune_from.get_mut(partition));
            let Some(from) = slot else { continue };
            let Some(first) = *from else { continue };
            let key = |offset| layout::history_key(self.space, Position { partition, offset });
            for row in snapshot.range(&self.store.history, key(first)..=key(u64::MAX)) {
                let (row_key, value) = row.into_inner()?;
                let cause = layout::read_position(row_key.get(4..).ok_or(Error::Corrupt("history key"))?)?;
                if rows == rows_max {
                    batch.commit()?;
                    *from = Some(cause.offset);
                    self.prune_next = (partition + 1) % partitions;
                    return Ok(true);
                }
                let history = HistoryRow::decode(&value)?;
                if history.prune_time_ms >= cutoff_ms {
                    break;
                }
                rows += 1;
                let record_key = layout::record_key(self.space, history.key);
                let state = snapshot.get(&self.store.records, &record_key)?;
                let state = state.as_ref().map(|bytes| Row::decode(bytes)).transpose()?;
                let is_tombstone =
                    state.is_some_and(|state| state.operation == Operation::Delete && state.position == cause);
                // A deletion that is still to be said again is not forgotten before.
                let outlived = layout::outlived_key(self.space, history.key);
                if is_tombstone && snapshot.contains_key(&self.store.meta, outlived)? {
                    continue;
                }
                if history.kind != Kind::Marker {
                    let own = Row::decode(history.row)?.position.offset;
                    batch.remove(&self.store.indexes, layout::history_index_key(self.space, history.key, own));
                }
                if is_tombstone {
                    batch.remove(&self.store.records, record_key);
                }
                batch.remove(&self.store.history, row_key);
            }
            *from = None;
        }
        batch.commit()?;
        self.prune_from.fill(Some(0));
        Ok(false)
    }
}

/// A key that the batch touches: its row in the store, and the one that will replace it.
struct State {
    before: Option<UserValue>,
    after: Option<UserValue>,
}

/// One batch under construction: what it will write, and what it must see of itself.
struct Pending {
    space: Space,
    snapshot: Snapshot,
    batch: OwnedWriteBatch,
    states: HashMap<Arc<str>, State>,
    /// Keys whose state an entry of this offset outlives in a compacted log, and keys that are in order again.
    outlived: HashMap<Arc<str>, Option<u64>>,
}

/// What became of a record.
enum Put {
    /// It is the state of its key.
    Applied,
    /// An older source version after a newer one.
    Stale,
    /// Said again, and held already.
    Repeated,
}

impl Pending {
    /// What is held of a key, as encoded.
    fn held(&mut self, store: &Store, key: &Arc<str>) -> Result<Option<UserValue>, Error> {
        if !self.states.contains_key(key) {
            let before = self.snapshot.get(&store.records, layout::record_key(self.space, key))?;
            self.states.insert(key.clone(), State { before, after: None });
        }
        Ok(self.states.get(key).and_then(|state| state.after.clone().or_else(|| state.before.clone())))
    }

    /// The entry at a position is the newest of its key in the log, and is not what the view holds.
    fn outlives(&mut self, store: &Store, key: &Arc<str>, by: Position) -> Result<(), Error> {
        if self.held(store, key)?.is_some() {
            self.outlived.insert(key.clone(), Some(by.offset));
        }
        Ok(())
    }

    /// Makes the record the state of its key, or history where it is stale. `entry` is where it was read.
    fn put(
        &mut self,
        store: &Store,
        retention_ms: u64,
        record: &Record,
        entry: Position,
        index_parts: &[u8],
    ) -> Result<Put, Error> {
        let key = &record.key;
        let position = Position { offset: record.restates.map_or(entry.offset, |said| said.offset), ..entry };
        let held = self.held(store, key)?;
        let held = held.as_ref().map(|bytes| Row::decode(bytes).map(|row| (row, bytes))).transpose()?;
        let held = held.filter(|(row, _)| {
            row.operation == Operation::Upsert
                || row.accept_time_ms >= record.accept_time_ms.saturating_sub_unsigned(retention_ms)
        });
        let row = UserValue::from(Row::encode(record, position, index_parts)?);

        // Of two with one source version the later counts. What is said again was the state up to an offset, so it counts as lying there.
        let order = (record.source_version, record.restates.map_or(entry.offset, |said| said.behind));
        let held_order = held.as_ref().map(|(held, _)| (held.source_version, held.position.offset));
        let stale = held_order.is_some_and(|held| order < held);
        let mut keep = |kind, cause, prune_time_ms, bytes: &[u8]| -> Result<(), Error> {
            let history = HistoryRow { kind, prune_time_ms, key, row: bytes }.encode()?;
            self.batch.insert(&store.history, layout::history_key(self.space, cause), history);
            Ok(())
        };
        let time_ms = record.accept_time_ms;
        if record.restates.is_some() {
            let is_held = held
                .as_ref()
                .is_some_and(|(held, _)| held.sequence == record.sequence && held.source == record.source.as_str());
            self.outlived.insert(key.clone(), (stale && !is_held).then_some(entry.offset));
            if is_held && held.as_ref().is_some_and(|(held, _)| position.offset < held.position.offset) {
                // Of a record that was stored twice, compaction left this view the later copy.
                if record.operation == Operation::Delete {
                    keep(Kind::Marker, position, time_ms, &[])?;
                }
                if let Some(state) = self.states.get_mut(key) {
                    state.after = Some(row);
                }
                return Ok(Put::Repeated);
            }
            if is_held || stale {
                // It was applied where it first lay, or compaction took that entry together with what it changed.
                return Ok(Put::Repeated);
            }
        } else if stale {
            self.outlived.insert(key.clone(), Some(entry.offset));
        }
        let past = match &held {
            _ if stale => Some((position.offset, position)),
            // The entry that it restates is gone, and this one came after it: it would not have been the state.
            Some((held, bytes)) if held.position.offset > position.offset => {
                keep(Kind::Stale, entry, held.accept_time_ms, Row::past(bytes)?)?;
                if record.operation == Operation::Delete {
                    keep(Kind::Marker, position, time_ms, &[])?;
                }
                Some((held.position.offset, entry))
            }
            Some((held, bytes)) => {
                keep(Kind::Superseded, position, time_ms, Row::past(bytes)?)?;
                Some((held.position.offset, position))
            }
            None if record.operation == Operation::Delete => {
                keep(Kind::Marker, position, time_ms, &[])?;
                None
            }
            None => None,
        };
        if stale {
            keep(Kind::Stale, position, time_ms, Row::past(&row)?)?;
        }
        if let Some((own_offset, cause)) = past {
            let index_key = layout::history_index_key(self.space, key, own_offset);
            self.batch.insert(&store.indexes, index_key, layout::position(cause));
        }
        if let Some(state) = self.states.get_mut(key)
            && !stale
        {
            state.after = Some(row);
        }
        Ok(if stale { Put::Stale } else { Put::Applied })
    }
}

/// The index entries of a record by its standard; none for a delete. `None` if the payload is not valid, or is about another key.
fn index_parts(compiled: &RecordType, record: &Record, scratch: &mut Scratch) -> Option<Vec<u8>> {
    let mut parts = Vec::new();
    if record.operation == Operation::Delete {
        return Some(parts);
    }
    let facts = compiled.validate(&record.payload, scratch).ok()?;
    if facts.key != *record.key {
        return None;
    }
    for (slot, number) in (0_u16..).zip(0..compiled.indexed_fields().len()) {
        if let Some(value) = facts.indexed(number) {
            layout::push_index_part(&mut parts, slot, value.as_bytes());
        }
    }
    if let Some(subject) = &facts.subject {
        layout::push_index_part(&mut parts, SUBJECT, &layout::subject_value(subject.kind, &subject.value));
    }
    Some(parts)
}
