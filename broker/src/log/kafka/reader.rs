//! Reads some partitions of one topic: a consumer of its own, on a thread of its own.
//!
//! The thread hands over whole runs of entries through a short queue; when nobody takes them it stops polling, and the library stops fetching when its own
//! queue is full. An entry that arrives wakes the reader at once. A reader that hears nothing for a while asks the cluster for the bounds: that tells a quiet
//! topic from a cluster that is away, from a position that retention overtook, and from a consumer that has fallen silent, which is then replaced.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use rdkafka::{
    Message as _, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
    message::{BorrowedMessage, Headers as _},
    topic_partition_list::Offset,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};

use super::{
    super::{Bounds, Error, Headers, Reader, StoredEntry},
    Observer, Shared, Topical, client, signed, unavailable,
};

/// A run handed over has at most so many entries, and about so many bytes.
const RUN_ENTRIES_MAX: usize = 512;
const RUN_BYTES_MAX: usize = 256 << 10;
/// Header names that a reader remembers: ours are seven.
const NAMES_MAX: usize = 16;
/// Runs that wait for the reader.
const RUNS_MAX: usize = 2;
/// A reader that hears nothing for so long asks for the bounds.
const QUIET_MAX: Duration = Duration::from_secs(10);
/// How often the thread looks whether its reader is gone.
const LISTEN: Duration = Duration::from_millis(100);

/// See [`Reader`].
pub(super) struct KafkaReader {
    shared: Arc<Shared>,
    topic: Arc<Topical>,
    /// Partition and next offset; what waits below lies before it.
    cursors: Vec<(u32, u64)>,
    /// Received and not returned yet.
    waiting: VecDeque<StoredEntry>,
    feed: Option<Feed>,
    /// When the cluster was last heard of.
    heard: Instant,
    /// When the bounds are asked for, unless something arrives.
    ask_at: Instant,
    /// The question under way: it outlives a call that is dropped.
    question: Option<JoinHandle<Result<Vec<Bounds>, Error>>>,
    /// The last question showed entries, and none has arrived since.
    behind: bool,
    closing: watch::Receiver<bool>,
}

/// What the thread sends.
type Run = Result<Vec<StoredEntry>, Lost>;

/// The consumer has no position any more, or died.
struct Lost;

/// The reading end of a thread. Dropped, the thread ends.
struct Feed {
    runs: mpsc::Receiver<Run>,
    unwanted: Arc<AtomicBool>,
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.unwanted.store(true, Ordering::Release);
    }
}

impl KafkaReader {
    pub(super) fn new(shared: Arc<Shared>, topic: Arc<Topical>, cursors: Vec<(u32, u64)>) -> Self {
        let now = Instant::now();
        let closing = shared.closing.subscribe();
        Self {
            shared,
            topic,
            cursors,
            waiting: VecDeque::new(),
            feed: None,
            heard: now,
            ask_at: now + QUIET_MAX,
            question: None,
            behind: false,
            closing,
        }
    }

    fn open(&self) -> Result<Feed, Error> {
        let (sender, runs) = mpsc::channel(RUNS_MAX);
        let unwanted = Arc::new(AtomicBool::new(false));
        let consumer: BaseConsumer<Observer> = client::reader(&self.shared.options)
            .create_with_context(self.shared.observer.clone())
            .map_err(unavailable)?;
        let thread =
            Thread { topic: self.topic.clone(), cursors: self.cursors.clone(), sender, unwanted: unwanted.clone() };
        std::thread::Builder::new()
            .name("log-reader".into())
            .spawn(move || thread.run(&consumer))
            .map_err(unavailable)?;
        Ok(Feed { runs, unwanted })
    }

    /// Takes in a run. What was there before a consumer was replaced is not taken twice.
    fn take_in(&mut self, run: Vec<StoredEntry>) {
        for entry in run {
            let Some((_, next)) = self.cursors.iter_mut().find(|(partition, _)| *partition == entry.partition) else {
                continue;
            };
            if entry.offset >= *next {
                *next = entry.offset + 1;
                self.waiting.push_back(entry);
            }
        }
        self.heard = Instant::now();
        self.behind = false;
        self.put_off();
    }

    /// The next question is asked when it has been quiet again.
    fn put_off(&mut self) {
        self.ask_at = Instant::now() + QUIET_MAX;
    }

    /// What the bounds say about this reader.
    fn judge(&mut self, bounds: Result<Vec<Bounds>, Error>, lost: bool) -> Result<(), Error> {
        self.put_off();
        let bounds = match bounds {
            Ok(bounds) => bounds,
            Err(error) if self.heard.elapsed() >= self.shared.options.delivery_deadline => {
                // The next call has the whole time again.
                self.heard = Instant::now();
                return Err(error);
            }
            Err(_) => return Ok(()),
        };
        self.heard = Instant::now();
        let mut behind = false;
        for (partition, next) in &self.cursors {
            let held = usize::try_from(*partition).ok().and_then(|partition| bounds.get(partition));
            let held = held.ok_or_else(|| self.topic.not_found())?;
            if !(held.first..=held.next).contains(next) {
                return Err(self.topic.out_of_range(*partition, *next, *held));
            }
            behind |= *next < held.next;
        }
        if lost || (behind && self.behind) {
            // Twice in a row there was something to read, and nothing arrived in between.
            tracing::warn!(topic = %self.topic.name, "reader replaced: it had fallen silent");
            self.shared.metrics.reader_restarts.inc();
            self.feed = None;
        }
        self.behind = behind;
        Ok(())
    }

    fn hand_out(&mut self, max_entries: usize, max_bytes: usize) -> Vec<StoredEntry> {
        let mut bytes = 0;
        let mut count = 0;
        for entry in self.waiting.iter().take(max_entries.max(1)) {
            if count > 0 && bytes >= max_bytes {
                break;
            }
            bytes += super::super::stored_bytes(entry);
            count += 1;
        }
        self.waiting.drain(..count).collect()
    }
}

#[async_trait::async_trait]
impl Reader for KafkaReader {
    async fn next(&mut self, max_entries: usize, max_bytes: usize) -> Result<Vec<StoredEntry>, Error> {
        loop {
            if !self.waiting.is_empty() {
                return Ok(self.hand_out(max_entries, max_bytes));
            }
            if *self.closing.borrow() {
                return Err(Error::Closed);
            }
            if self.feed.is_none() {
                self.feed = Some(self.open()?);
            }
            let Some(feed) = &mut self.feed else { continue };
            let asking = self.question.is_some();
            tokio::select! {
                biased;
                run = feed.runs.recv() => match run {
                    Some(Ok(run)) => self.take_in(run),
                    Some(Err(Lost)) | None => {
                        let bounds = self.shared.clone().bounds(self.topic.clone()).await;
                        // The consumer is gone either way. The wait keeps a cluster that is away from being asked without pause.
                        self.judge(bounds, true)?;
                        self.feed = None;
                        tokio::time::sleep(LISTEN).await;
                    }
                },
                answer = async { match &mut self.question {
                    Some(question) => question.await,
                    None => std::future::pending().await,
                } } => {
                    self.question = None;
                    self.judge(answer.unwrap_or_else(|error| Err(unavailable(error))), false)?;
                }
                () = tokio::time::sleep_until(self.ask_at), if !asking => {
                    let shared = self.shared.clone();
                    let topic = self.topic.clone();
                    self.question = Some(tokio::task::spawn_blocking(move || shared.ask_bounds(&topic)));
                }
                changed = self.closing.changed() => if changed.is_err() { return Err(Error::Closed) },
            }
        }
    }
}

/// What the thread owns beside the consumer.
struct Thread {
    topic: Arc<Topical>,
    cursors: Vec<(u32, u64)>,
    sender: mpsc::Sender<Run>,
    unwanted: Arc<AtomicBool>,
}

impl Thread {
    fn run(self, consumer: &BaseConsumer<Observer>) {
        if let Err(error) = self.assign(consumer) {
            tracing::error!(%error, topic = %self.topic.name, "reader without partitions");
            let _gone = self.sender.blocking_send(Err(Lost));
            return;
        }
        let mut names = Names::default();
        while !self.unwanted.load(Ordering::Acquire) {
            let Some(first) = consumer.poll(LISTEN) else { continue };
            let (entries, lost) = gather(consumer, first, &mut names);
            if !entries.is_empty() && self.sender.blocking_send(Ok(entries)).is_err() {
                return;
            }
            if lost {
                let _gone = self.sender.blocking_send(Err(Lost));
                return;
            }
        }
    }

    /// The list must not outlive this: a consumer that is dropped before it never ends.
    fn assign(&self, consumer: &BaseConsumer<Observer>) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::with_capacity(self.cursors.len());
        for (partition, next) in &self.cursors {
            let offset = Offset::Offset(i64::try_from(*next).unwrap_or(i64::MAX));
            list.add_partition_offset(self.topic.name.as_str(), signed(*partition), offset)?;
        }
        consumer.assign(&list)
    }
}

/// The first message and what lies ready behind it. True where the consumer has lost its position.
fn gather(
    consumer: &BaseConsumer<Observer>,
    first: Result<BorrowedMessage<'_>, KafkaError>,
    names: &mut Names,
) -> (Vec<StoredEntry>, bool) {
    let mut entries = Vec::new();
    let mut memory = BytesMut::new();
    let mut bytes = 0;
    let mut next = Some(first);
    while let Some(message) = next {
        match message {
            Ok(message) => {
                let entry = stored(&message, &mut memory, names);
                bytes += super::super::stored_bytes(&entry);
                entries.push(entry);
            }
            Err(error) if is_lost(&error) => return (entries, true),
            // The library goes on by itself: another leader, another connection.
            Err(_) => {}
        }
        if entries.len() >= RUN_ENTRIES_MAX || bytes >= RUN_BYTES_MAX {
            break;
        }
        next = consumer.poll(Duration::ZERO);
    }
    (entries, false)
}

fn is_lost(error: &KafkaError) -> bool {
    matches!(error, KafkaError::MessageConsumptionFatal(_))
        || matches!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange | RDKafkaErrorCode::Fatal)
        )
}

/// Header names met so far.
#[derive(Default)]
struct Names(Vec<Arc<str>>);

impl Names {
    /// One text for all headers of that name.
    fn share(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.iter().find(|known| ***known == *name) {
            return known.clone();
        }
        let name: Arc<str> = name.into();
        // Whoever else writes into the topic may name headers as he likes: those beyond the first few are not kept.
        if self.0.len() < NAMES_MAX {
            self.0.push(name.clone());
        }
        name
    }
}

/// Copies a message out of the library's memory. The entries of a run share theirs: an allocation for each part would cost more than the copy.
fn stored(message: &BorrowedMessage<'_>, memory: &mut BytesMut, names: &mut Names) -> StoredEntry {
    let mut copy = |part: &[u8]| -> Bytes {
        if memory.capacity() < part.len() {
            *memory = BytesMut::with_capacity(part.len().max(64 << 10));
        }
        memory.extend_from_slice(part);
        memory.split().freeze()
    };
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers.iter().map(|header| (names.share(header.key), copy(header.value.unwrap_or_default()))).collect()
    });
    StoredEntry {
        partition: u32::try_from(message.partition()).unwrap_or(u32::MAX),
        offset: u64::try_from(message.offset()).unwrap_or(u64::MAX),
        key: message.key().map(&mut copy),
        headers: Headers(headers),
        value: message.payload().map(&mut copy),
        timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
    }
}
