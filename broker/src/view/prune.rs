//! What goes when it is older than the retention: states that were replaced, versions that never were the state, the memory of deletions.
//!
//! Pruning walks the versions of each partition once, in the order of the log, and remembers how far it is. What an entry replaced goes when that entry is
//! too old, so the state before the oldest change that is kept is kept, too.

use fjall::{OwnedWriteBatch, Readable, Snapshot};

use super::{
    Error,
    apply::{Applier, index},
    layout,
    row::{Head, Kind, Row},
};
use crate::exchange::model::{Operation, Position};

impl Applier {
    /// Removes all of it, in steps of so many rows.
    pub(super) fn prune_all(&mut self, cutoff_ms: i64, rows_max: usize) -> Result<(), Error> {
        while self.prune(cutoff_ms, rows_max)? {}
        Ok(())
    }

    /// One step of it. Looks at `rows_max` rows, at most; true if more may be left. The next call begins behind the partition that this one stopped in, so that
    /// each has its turn.
    pub(super) fn prune(&mut self, cutoff_ms: i64, rows_max: usize) -> Result<bool, Error> {
        let snapshot = self.store.database.snapshot();
        let mut writes = self.store.batch();
        let mut pruned = self.pruned.clone();
        let (mut rows, mut stopped_in) = (0, None);
        let partitions = u32::try_from(self.next.len()).unwrap_or(u32::MAX);
        for partition in (self.prune_next..partitions).chain(0..self.prune_next) {
            let Some((from, end)) = index(partition).and_then(|at| pruned.get(at).zip(self.next.get(at))) else {
                continue;
            };
            let mut reached = *end;
            let [from, end] =
                [*from, *end].map(|offset| layout::version_key(self.space, Position { partition, offset }));
            for row in snapshot.range(&self.store.versions, from..end) {
                let (version_key, value) = row.into_inner()?;
                let own = layout::read_position(version_key.get(4..).ok_or(Error::Corrupt("version key"))?)?;
                let row = Row::decode(&value)?;
                if row.accept_time_ms >= cutoff_ms || rows == rows_max {
                    reached = own.offset;
                    stopped_in = (row.accept_time_ms < cutoff_ms).then_some(partition);
                    break;
                }
                rows += 1;
                match row.kind {
                    Kind::First => {}
                    Kind::Stale => {
                        writes.remove(&self.store.versions, version_key.clone());
                        writes.remove(&self.store.indexes, layout::stale_key(self.space, row.key, own));
                    }
                    Kind::Replacing(before) => self.remove_replaced(&snapshot, &mut writes, &pruned, own, before)?,
                }
                if row.operation == Operation::Delete && row.kind != Kind::Stale {
                    let record_key = layout::record_key(self.space, row.key);
                    let head = snapshot.get(&self.store.records, &record_key)?;
                    let head = head.map(|head| Head::decode(&head)).transpose()?;
                    if head.is_some_and(|head| head.position == own) && !self.must_stay(&snapshot, row.key, own)? {
                        writes.remove(&self.store.records, record_key);
                        writes.remove(&self.store.versions, version_key);
                    }
                }
            }
            if let Some(at) = index(partition).and_then(|at| pruned.get_mut(at)) {
                *at = reached.max(*at);
            }
            if stopped_in.is_some() {
                break;
            }
        }
        self.put_pruned(&mut writes, &pruned);
        writes.commit()?;
        self.pruned = pruned;
        if let Some(partition) = stopped_in {
            self.prune_next = (partition + 1) % partitions;
        }
        Ok(stopped_in.is_some())
    }

    /// A deletion that is still to be said again ([`super::restate`]) is not forgotten before. Once it is, or need not be any more, pruning comes back to it.
    fn must_stay(&self, snapshot: &Snapshot, key: &str, deletion: Position) -> Result<bool, Error> {
        let by = snapshot.get(&self.store.meta, layout::outlived_key(self.space, key))?;
        Ok(by.map(|by| layout::read_u64(&by)).transpose()?.is_some_and(|by| by > deletion.offset))
    }

    /// Removes what the entry `by` replaced. A key lies in one partition, but a foreign writer may have put it into several: then what is removed may still
    /// have had its own turn before it, and what it replaced goes with it.
    fn remove_replaced(
        &self,
        snapshot: &Snapshot,
        writes: &mut OwnedWriteBatch,
        pruned: &[u64],
        by: Position,
        replaced: Position,
    ) -> Result<(), Error> {
        let mut next = Some(replaced);
        while let Some(own) = next.take() {
            let version_key = layout::version_key(self.space, own);
            writes.remove(&self.store.versions, version_key);
            let pruned = index(own.partition).and_then(|at| pruned.get(at)).copied().unwrap_or_default();
            if own.partition != by.partition
                && own.offset >= pruned
                && let Some(row) = snapshot.get(&self.store.versions, version_key)?
            {
                next = Row::decode(&row)?.kind.replaced();
            }
        }
        Ok(())
    }

    /// How far history is removed once these positions are to be looked at again.
    pub(super) fn pruned_below(&self, touched: &[Position]) -> Vec<u64> {
        let mut pruned = self.pruned.clone();
        for position in touched {
            if let Some(at) = index(position.partition).and_then(|at| pruned.get_mut(at)) {
                *at = (*at).min(position.offset);
            }
        }
        pruned
    }

    pub(super) fn put_pruned(&self, writes: &mut OwnedWriteBatch, pruned: &[u64]) {
        for (partition, (reached, before)) in (0_u32..).zip(pruned.iter().zip(&self.pruned)) {
            if reached != before {
                writes.insert(&self.store.meta, layout::pruned_key(self.space, partition), reached.to_be_bytes());
            }
        }
    }
}
