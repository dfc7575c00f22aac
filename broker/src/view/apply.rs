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

use std::collections::HashMap;

use fjall::OwnedWriteBatch;
use shuqiao_schemas::engine::{RecordType, Scratch};

use super::{
    Error, Reader, Target,
    batch::{Batch, Taken},
    high_water::Mark,
    layout::{self, SUBJECT, Space},
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
    pub(super) next: Vec<u64>,
    high_water: HashMap<(u32, SourceId), u64>,
    /// What the log may have forgotten of the sources, beyond what was applied.
    marks: Vec<(SourceId, Mark)>,
    /// Offset of each partition below which history is removed.
    pub(super) pruned: Vec<u64>,
    /// The partition in which the next step of pruning begins.
    pub(super) prune_next: u32,
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
        let reader = Reader { store: store.clone(), space, snapshot: store.database.snapshot() };
        let mut applier = Self {
            next: reader.applied()?,
            pruned: reader.pruned()?,
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
        let mut tally = Tally::default();
        let mut moved: HashMap<(u32, SourceId), u64> = HashMap::new();
        let mut next = self.next.clone();
        let mut taken = Vec::with_capacity(entries.len());
        for entry in entries {
            let position = Position { partition: entry.partition, offset: entry.offset };
            let reached = index(entry.partition).and_then(|at| next.get_mut(at)).ok_or(Error::Corrupt("partition"))?;
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
                taken.push(Taken { entry: position, record, index_parts: None });
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
            taken.push(Taken { entry: position, record, index_parts: Some(index_parts) });
        }

        // Key by key, each in the order of the log.
        taken.sort_by(|one, other| one.record.key.cmp(&other.record.key));
        let mut batch = Batch::new(&self.store, self.space, target, &mut self.scratch);
        for of_key in taken.chunk_by(|one, other| one.record.key == other.record.key) {
            batch.put(of_key, &mut tally)?;
        }
        let (mut writes, touched) = batch.finish();
        let pruned = self.pruned_below(&touched);
        self.put_pruned(&mut writes, &pruned);
        let moved = self.raised_by_marks(&next, moved);
        self.put_high_water(&mut writes, &moved);
        for (partition, (reached, before)) in (0_u32..).zip(next.iter().zip(&self.next)) {
            if reached != before {
                writes.insert(&self.store.meta, layout::applied_key(self.space, partition), reached.to_be_bytes());
            }
        }
        writes.commit()?;
        self.pruned = pruned;
        self.moved_to(next, moved);
        Ok(tally)
    }

    fn tell_skipped(&self, position: Position, why: &dyn std::fmt::Display) {
        tracing::warn!(
            dataset = %self.dataset, partition = position.partition, offset = position.offset, %why,
            "stored entry skipped by the view"
        );
    }
}

/// Where a partition's number stands in a list.
pub(super) fn index(partition: u32) -> Option<usize> {
    usize::try_from(partition).ok()
}

/// The index entries of a record by its standard; none for a delete. `None` if the payload is not valid, or is about another key.
pub(super) fn index_parts(compiled: &RecordType, record: &Record, scratch: &mut Scratch) -> Option<Vec<u8>> {
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
