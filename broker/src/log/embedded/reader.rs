//! Reads some partitions of one topic: from memory at the tail, from the store behind it.

use std::sync::Arc;

use tokio::sync::watch;

use super::{
    super::{Error, Reader, StoredEntry, stored_bytes},
    Recent, Shared, Topical, chunk, out_of_range, unavailable,
};

/// See [`Reader`].
#[derive(Debug)]
pub(super) struct EmbeddedReader {
    shared: Arc<Shared>,
    topic: Arc<Topical>,
    /// Partition and next offset.
    cursors: Vec<(u32, u64)>,
    /// Which cursor begins the next round, so that a busy partition does not starve the others.
    turn: usize,
    commits: watch::Receiver<u64>,
    ended: watch::Receiver<bool>,
}

/// What one look at a partition found.
enum Found {
    Nothing,
    InMemory(Vec<Recent>),
    /// Entries up to here lie in the store only.
    InStore(u64),
}

/// What is gathered for one call.
#[derive(Default)]
struct Gathered {
    entries: Vec<StoredEntry>,
    bytes: usize,
}

impl Gathered {
    fn push(&mut self, entry: StoredEntry) {
        self.bytes += stored_bytes(&entry);
        self.entries.push(entry);
    }

    fn is_full(&self, max_entries: usize, max_bytes: usize) -> bool {
        self.entries.len() >= max_entries.max(1) || (self.bytes >= max_bytes && !self.entries.is_empty())
    }
}

impl EmbeddedReader {
    pub(super) fn new(
        shared: Arc<Shared>,
        topic: Arc<Topical>,
        cursors: Vec<(u32, u64)>,
        ended: watch::Receiver<bool>,
    ) -> Self {
        let commits = topic.commits.subscribe();
        Self { shared, topic, cursors, turn: 0, commits, ended }
    }

    /// What a partition has from the cursor on.
    fn look(&self, partition: u32, cursor: u64) -> Result<Found, Error> {
        let Some(state) = self.topic.partition(partition) else {
            return Err(Error::TopicNotFound { topic: self.topic.name.clone() });
        };
        let (standing, recent) = &*state.0.lock();
        if cursor < standing.first || cursor > standing.next {
            return Err(out_of_range(&self.topic, partition, cursor, *standing));
        }
        if cursor == standing.next {
            return Ok(Found::Nothing);
        }
        match recent.front() {
            Some(oldest) if oldest.first <= cursor => {
                let at = recent.partition_point(|chunk| chunk.next <= cursor);
                // Chunks share their bytes: this copies references, and no more of them than one call returns.
                Ok(Found::InMemory(recent.iter().skip(at).take(64).cloned().collect()))
            }
            Some(oldest) => Ok(Found::InStore(oldest.first)),
            None => Ok(Found::InStore(standing.next)),
        }
    }
}

#[async_trait::async_trait]
impl Reader for EmbeddedReader {
    async fn next(&mut self, max_entries: usize, max_bytes: usize) -> Result<Vec<StoredEntry>, Error> {
        loop {
            self.commits.borrow_and_update();
            let mut gathered = Gathered::default();
            let mut moved = self.cursors.clone();
            let mut behind = None;
            for step in 0..self.cursors.len() {
                let index = (self.turn + step) % self.cursors.len();
                let (partition, cursor) = self.cursors[index];
                match self.look(partition, cursor)? {
                    Found::Nothing => {}
                    Found::InMemory(chunks) => {
                        moved[index].1 = gather(chunks, partition, cursor, &mut gathered, max_entries, max_bytes)?;
                    }
                    Found::InStore(until) => behind = behind.or(Some((index, until))),
                }
                if gathered.is_full(max_entries, max_bytes) {
                    break;
                }
            }
            // Partitions that are behind come first: they would starve beside a busy tail.
            if let Some((index, until)) = behind {
                let (partition, cursor) = self.cursors[index];
                let (entries, next) = self.read_store(partition, cursor, until, max_entries, max_bytes).await?;
                self.cursors[index].1 = next;
                self.turn = (index + 1) % self.cursors.len();
                if entries.is_empty() {
                    // Everything in between was compacted away.
                    continue;
                }
                return Ok(entries);
            }
            if !gathered.entries.is_empty() {
                self.cursors = moved;
                self.turn = (self.turn + 1) % self.cursors.len();
                return Ok(gathered.entries);
            }
            tokio::select! {
                changed = self.commits.changed() => changed.map_err(|_| Error::Closed)?,
                _ = self.ended.wait_for(|ended| *ended) => return Err(Error::Closed),
            }
        }
    }
}

impl EmbeddedReader {
    async fn read_store(
        &self,
        partition: u32,
        from: u64,
        until: u64,
        max_entries: usize,
        max_bytes: usize,
    ) -> Result<(Vec<StoredEntry>, u64), Error> {
        let store = self.shared.store()?;
        let place = self.topic.place(partition);
        let read = tokio::task::spawn_blocking(move || {
            let mut gathered = Gathered::default();
            let mut next = until;
            for entry in store.entries(place, from, until)? {
                let entry = entry?;
                if gathered.is_full(max_entries, max_bytes) {
                    next = entry.offset;
                    break;
                }
                gathered.push(entry);
            }
            Ok((gathered.entries, next))
        });
        read.await.map_err(unavailable)?.inspect_err(|error| self.shared.note(error))
    }
}

/// Decodes chunks from the cursor on until the call is full. Returns the new cursor.
fn gather(
    chunks: Vec<Recent>,
    partition: u32,
    cursor: u64,
    gathered: &mut Gathered,
    max_entries: usize,
    max_bytes: usize,
) -> Result<u64, Error> {
    let mut cursor = cursor;
    for Recent { first, next, bytes } in chunks {
        for entry in chunk::Entries::new(bytes, partition, first).map_err(|cause| Error::Corrupt(Arc::new(cause)))? {
            let entry = entry.map_err(|cause| Error::Corrupt(Arc::new(cause)))?;
            if entry.offset < cursor {
                continue;
            }
            if gathered.is_full(max_entries, max_bytes) {
                return Ok(entry.offset);
            }
            gathered.push(entry);
        }
        cursor = next;
    }
    Ok(cursor)
}
