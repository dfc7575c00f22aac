//! Reading a dataset's log for delivery: the one reader at its end, and the readers of subscribers that are behind.
//!
//! Repeats are passed over by the rule that every reader keeps: a sequence at or below the highest seen of its source in the partition. A reader that begins in
//! the middle has not seen what lies before, so of each source it judges the first entries by the view, which has: the view holds a row at the entry's own position
//! unless it passed the entry over. From the first entry that is no repeat on, the highest sequence is known and nothing is looked up any more.
//!
//! A record that is said again (`view::restate`) is no repeat: to a subscriber that began behind its first entry, or after compaction took it, it is the only one.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;

use super::{
    Room,
    arrival::Arrival,
    count::{Count, Reserved},
};
use crate::{
    exchange::{
        Error,
        catalogue::Dataset,
        envelope,
        model::{Position, Record, SourceId},
    },
    log::{Reader, StoredEntry},
    view,
};

/// Entries of one read.
const ENTRIES_MAX: usize = 500;
const BYTES_MAX: usize = 1 << 20;
/// One read of a stream takes this part of the bytes that streams may still hold,
const PART_OF_WHAT_IS_LEFT: usize = 16;
/// and no less than this.
const LITTLE_BYTES: usize = 64 << 10;
/// How long a read of a stream may keep room for what it brings: where nothing is left before the log's end, it would keep it for nothing.
const RESERVED_MAX: Duration = Duration::from_secs(1);
/// Changes of one key that are looked at, at most.
pub(super) const HISTORY_MAX: usize = 10_000;

/// A reader of some partitions. Entries that were read and not yet judged wait in it, so an error loses nothing: call it again.
pub(super) struct Reading {
    room: Arc<Room>,
    dataset: Arc<Dataset>,
    reader: Box<dyn Reader>,
    waiting: VecDeque<StoredEntry>,
    /// What a stream's read may bring, and what waits of it.
    reserved: Option<Reserved>,
    decoder: envelope::Decoder,
    /// Highest sequence seen, a partition and source.
    high_water: HashMap<(u32, SourceId), u64>,
    whom: For,
}

/// Whom entries are read for, and what counts them.
pub(super) enum For {
    /// A tail: what is made of them.
    Tail(Arc<Count>),
    /// One stream: all that they are, and what its department is about to read.
    Stream { held: Arc<Count>, of_department: Arc<Count> },
}

/// What the view knows of one entry.
enum Known {
    /// It was taken.
    Taken,
    /// It was passed over: a repeat, or no longer a valid record.
    PassedOver,
    /// Older than what the view remembers.
    Forgotten,
}

impl Reading {
    /// Opens a reader at these next offsets.
    pub(super) async fn open(
        room: Arc<Room>,
        dataset: Arc<Dataset>,
        from: &[(u32, u64)],
        whom: For,
    ) -> Result<Self, Error> {
        let reader = room.log.read(&dataset.topic, from).await?;
        Ok(Self {
            room,
            dataset,
            reader,
            waiting: VecDeque::new(),
            reserved: None,
            decoder: envelope::Decoder::default(),
            high_water: HashMap::new(),
            whom,
        })
    }

    /// The next entries, at least one. Waits at the log's end.
    pub(super) async fn next(&mut self) -> Result<Vec<Arc<Arrival>>, Error> {
        if self.waiting.is_empty() {
            let entries = match &self.whom {
                For::Stream { of_department, .. } => {
                    let of_department = of_department.clone();
                    self.read_for_stream(&of_department).await?
                }
                For::Tail(_) => self.reader.next(ENTRIES_MAX, BYTES_MAX).await?,
            };
            self.waiting = entries.into();
        }
        let mut arrivals = Vec::with_capacity(self.waiting.len());
        while let Some(entry) = self.waiting.front() {
            let position = Position { partition: entry.partition, offset: entry.offset };
            let record = match self.decoder.decode(entry) {
                Ok(record) => match self.is_repeat(&record, position).await {
                    Ok(true) => {
                        self.room.metrics().passed_over(&self.dataset.id, "repeat");
                        None
                    }
                    Ok(false) => Some(record),
                    // What was judged already is not lost; the entry waits for the next call.
                    Err(_) if !arrivals.is_empty() => return Ok(arrivals),
                    Err(error) => return Err(error),
                },
                Err(malformed) => {
                    let Position { partition, offset } = position;
                    tracing::warn!(dataset = %self.dataset.id, partition, offset, %malformed, "stored entry is no record and is not delivered");
                    self.room.metrics().passed_over(&self.dataset.id, "foreign");
                    None
                }
            };
            arrivals.push(Arc::new(match &self.whom {
                For::Tail(projected) => Arrival::in_tail(position, record, projected),
                For::Stream { held, .. } => Arrival::in_stream(position, record, held),
            }));
            if let (Some(judged), Some(reserved)) = (self.waiting.pop_front(), &mut self.reserved) {
                reserved.let_go(entry_bytes(&judged));
            }
        }
        self.reserved = None;
        Ok(arrivals)
    }

    /// Reads for one stream. What that may bring is counted first: streams that read at once, as all do after a start, would else find the same room.
    async fn read_for_stream(&mut self, of_department: &Arc<Count>) -> Result<Vec<StoredEntry>, Error> {
        // The less is left for its department, or for all streams, the less one takes of it.
        let bytes_max = (of_department.left() / PART_OF_WHAT_IS_LEFT).clamp(LITTLE_BYTES, BYTES_MAX);
        let mut reserved = Reserved::new(of_department, bytes_max);
        let read = tokio::time::timeout(RESERVED_MAX, self.reader.next(ENTRIES_MAX, bytes_max)).await;
        let entries = match read {
            Ok(read) => read?,
            Err(_) => {
                reserved.set(0);
                self.reader.next(ENTRIES_MAX, LITTLE_BYTES).await?
            }
        };
        reserved.set(entries.iter().map(entry_bytes).sum());
        self.reserved = Some(reserved);
        Ok(entries)
    }

    async fn is_repeat(&mut self, record: &Record, position: Position) -> Result<bool, Error> {
        if record.restates.is_some() {
            return Ok(false);
        }
        let number = (position.partition, record.source.clone());
        if let Some(high) = self.high_water.get_mut(&number) {
            let repeat = record.sequence <= *high;
            *high = record.sequence.max(*high);
            return Ok(repeat);
        }
        let until = [(position.partition, position.offset + 1)];
        self.room.view.wait_applied(&self.dataset.id, &until, self.room.options.view_timeout).await?;
        let (view, dataset, wanted) = (self.room.view.clone(), self.dataset.clone(), record.clone());
        let oldest_ms = self.room.clock.now_ms().saturating_sub_unsigned(dataset.retention_ms);
        let known = tokio::task::spawn_blocking(move || {
            let reader = view.reader(&dataset.id)?;
            known(&reader, &wanted, position, oldest_ms)
        });
        match known.await.map_err(Error::internal)?? {
            // The highest before it is unknown still: higher than this one, or the same.
            Known::PassedOver => Ok(true),
            // Forgotten ones may be repeats of what nobody remembers: delivered, and the sink compares versions.
            Known::Taken | Known::Forgotten => {
                self.high_water.insert(number, record.sequence);
                Ok(false)
            }
        }
    }
}

/// Bytes of an entry that waits to be judged.
fn entry_bytes(entry: &StoredEntry) -> usize {
    entry.key.as_ref().map_or(0, Bytes::len) + entry.value.as_ref().map_or(0, Bytes::len)
}

fn known(reader: &view::Reader, wanted: &Record, position: Position, oldest_ms: i64) -> Result<Known, view::Error> {
    for (step, item) in reader.history(&wanted.key, Some(position.offset + 1))?.take(HISTORY_MAX).enumerate() {
        let item = item?;
        if step == 0 && item.position.offset == position.offset {
            return Ok(Known::Taken);
        }
        if item.record.source == wanted.source && item.record.sequence == wanted.sequence {
            return Ok(Known::PassedOver);
        }
    }
    // Within retention the view keeps a row for everything that it took.
    Ok(if wanted.accept_time_ms >= oldest_ms { Known::PassedOver } else { Known::Forgotten })
}
