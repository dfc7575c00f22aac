//! Retention and compaction.
//!
//! A pass walks each partition once, from where the last pass stopped to the youngest chunk that is past the window, and remembers for each key its newest
//! entry there (in the store, not in memory). An older entry of the same key goes; a tombstone goes when it has been past the window for the window again,
//! unless a newer entry has taken its place by then. Like Kafka's, compaction looks only at what is past the window: the state as of one window ago can always
//! be read. Each slice is one atomic change that carries how far it came, so a crash neither skips nor repeats anything.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Weak},
    time::Duration,
};

use super::{
    super::Error,
    Shared, Topical, chunk, out_of_range,
    store::{self, Change, Place, Store},
};

/// A slice ends when so many entries would go: each may rewrite a chunk, and a slice is held in memory.
const REMOVED_MAX: usize = 512;
/// A slice ends after so many chunks.
const CHUNKS_MAX: usize = 64;
/// Tombstones and rows of the time index looked at in one slice.
const ROWS_MAX: usize = 512;

/// Runs passes at the configured interval until the log is dropped or closed.
pub(super) fn run(shared: &Weak<Shared>) {
    let tick = Duration::from_millis(200);
    let mut waited = Duration::ZERO;
    while let Some(shared) = shared.upgrade() {
        if shared.queue.is_closing() {
            return;
        }
        if waited >= shared.options.maintenance_interval {
            waited = Duration::ZERO;
            if let Err(error) = pass(&shared) {
                shared.note(&error);
                tracing::warn!(%error, "log maintenance did not finish");
            }
        }
        drop(shared);
        // Short, because the end of the log waits for nobody, and this thread holds the store while it works.
        std::thread::sleep(tick);
        waited += tick;
    }
}

/// One pass over all topics. Returns how many entries went.
pub(super) fn pass(shared: &Shared) -> Result<u64, Error> {
    let topics: Vec<_> = shared.topics.read().values().cloned().collect();
    let mut removed = 0;
    for topic in topics {
        let Some(window_ms) = *topic.window_ms.lock() else { continue };
        let window_ms = i64::try_from(window_ms).unwrap_or(i64::MAX);
        let horizon_ms = shared.clock.now_ms().saturating_sub(window_ms);
        for (place, partition) in topic.places().zip(&topic.partitions) {
            loop {
                let _alone = shared.housekeeping.lock();
                if shared.queue.is_closing() || shared.is_poisoned() {
                    return Ok(removed);
                }
                let store = shared.store()?;
                let next = partition.standing().next;
                let slice = compact(&store, place, next, horizon_ms)?;
                let buried = bury(&store, place, next, horizon_ms.saturating_sub(window_ms))?;
                removed += slice.removed + buried.removed;
                if !slice.more && !buried.more {
                    break;
                }
            }
        }
    }
    shared.metrics.compacted.inc_by(removed);
    Ok(removed)
}

struct Slice {
    removed: u64,
    more: bool,
}

/// Takes in the chunks that have come past the window, one slice of them.
fn compact(store: &Store, place: Place, next: u64, horizon_ms: i64) -> Result<Slice, Error> {
    let from = store.compacted(place)?;
    let mut upto = from;
    let mut newest: HashMap<Vec<u8>, u64> = HashMap::new();
    let mut superseded = HashSet::new();
    let mut graves = Vec::new();
    let mut more = false;
    let mut chunks = 0;
    for row in store.chunks(place, from..next) {
        let (first, bytes) = row?;
        if chunks == CHUNKS_MAX || superseded.len() >= REMOVED_MAX {
            more = true;
            break;
        }
        let entries: Vec<_> = chunk::Entries::new(bytes, place.partition, first)
            .and_then(Iterator::collect)
            .map_err(|cause| Error::Corrupt(Arc::new(cause)))?;
        if entries.iter().any(|entry| entry.timestamp_ms > horizon_ms) {
            break;
        }
        for entry in entries {
            upto = entry.offset + 1;
            let Some(key) = entry.key else { continue };
            let before = match newest.insert(key.to_vec(), entry.offset) {
                Some(before) => Some(before),
                None => store.newest(place, &key)?,
            };
            superseded.extend(before.filter(|before| *before < entry.offset));
            if entry.value.is_none() {
                graves.push((entry.offset, entry.timestamp_ms, key));
            }
        }
        chunks += 1;
    }
    if upto == from {
        return Ok(Slice { removed: 0, more: false });
    }
    let mut change = store.change();
    for (key, offset) in &newest {
        change.put_newest(place, key, *offset);
    }
    for (offset, time_ms, key) in graves {
        change.put_grave(place, offset, time_ms, &key);
    }
    // The newest row stays: the writer counts on it.
    let mut times = store.times_before(place, upto, ROWS_MAX)?;
    times.pop();
    for time_ms in times {
        change.remove_time(place, time_ms);
    }
    let removed = remove(store, &mut change, place, superseded)?;
    change.put_compacted(place, upto);
    change.commit_lazily().map_err(store::error)?;
    Ok(Slice { removed, more })
}

/// Removes tombstones that were the newest of their key for a second window. The last entry of a partition stays, whatever it is: without it nobody who reads
/// the log from its beginning would know that it has reached the end.
fn bury(store: &Store, place: Place, next: u64, horizon_ms: i64) -> Result<Slice, Error> {
    let mut change = store.change();
    let mut gone = HashSet::new();
    let mut opened = 0;
    for (offset, time_ms, key) in store.graves(place, ROWS_MAX)? {
        if time_ms > horizon_ms || offset + 1 == next {
            break;
        }
        opened += 1;
        change.remove_grave(place, offset);
        if store.newest(place, &key)? == Some(offset) {
            change.remove_newest(place, &key);
            gone.insert(offset);
        }
    }
    if opened == 0 {
        return Ok(Slice { removed: 0, more: false });
    }
    let removed = remove(store, &mut change, place, gone)?;
    change.commit_lazily().map_err(store::error)?;
    Ok(Slice { removed, more: opened == ROWS_MAX })
}

/// Takes entries out of their chunks.
fn remove(store: &Store, change: &mut Change<'_>, place: Place, offsets: HashSet<u64>) -> Result<u64, Error> {
    let mut by_chunk: BTreeMap<u64, HashSet<u64>> = BTreeMap::new();
    for offset in offsets {
        if let Some(first) = store.chunk_of(place, offset)? {
            by_chunk.entry(first).or_default().insert(offset);
        }
    }
    let mut removed = 0;
    for (first, offsets) in by_chunk {
        let Some(bytes) = store.chunk(place, first)? else { continue };
        removed += offsets.len() as u64;
        match chunk::without(bytes, first, &offsets).map_err(|cause| Error::Corrupt(Arc::new(cause)))? {
            Some(left) => change.put_chunk(place, first, &left),
            None => change.remove_chunk(place, first),
        }
    }
    Ok(removed)
}

/// Moves a partition's first offset.
pub(super) fn trim(shared: &Shared, topic: &Topical, partition: u32, before: u64) -> Result<(), Error> {
    let _alone = shared.housekeeping.lock();
    let store = shared.store()?;
    let state = topic.partition(partition).ok_or_else(|| Error::TopicNotFound { topic: topic.name.clone() })?;
    let standing = state.standing();
    if before > standing.next {
        return Err(out_of_range(topic, partition, before, standing));
    }
    if before <= standing.first {
        return Ok(());
    }
    let place = topic.place(partition);
    let mut change = store.change();
    change.put_first(place, before);
    change.commit().map_err(store::error)?;
    // Readers learn first, then the chunks go: a chunk that the cut divides stays, its readers begin after the cut.
    state.0.lock().0.first = before;
    let last = store.chunk_of(place, before)?.filter(|_| before < standing.next).unwrap_or(before);
    loop {
        let firsts =
            store.chunks(place, 0..last).take(CHUNKS_MAX).map(|row| Ok(row?.0)).collect::<Result<Vec<_>, Error>>()?;
        if firsts.is_empty() {
            return Ok(());
        }
        let mut change = store.change();
        for first in firsts {
            change.remove_chunk(place, first);
        }
        change.commit_lazily().map_err(store::error)?;
    }
}
