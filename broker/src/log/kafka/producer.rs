//! Hands submissions to librdkafka, and tells their submitters what became of them.
//!
//! One counter a submission: a delivery report is a slot and an index, and the last one resolves the submission's [`Pending`]. What failures mean:
//!
//! - a submission is past its deadline: it is reported as unknown, while its entries stay where they are and keep their room. Its topic takes nothing until
//!   they have been acknowledged, so nothing can overtake them;
//! - a delivery fails, or the library stops at a gap: the producer is purged, everything that lay in it fails with it, and a fresh one takes its place.
//!
//! So whatever is behind a failure fails too, or waits for it: what a partition lacks is a suffix of what was submitted to it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use parking_lot::RwLock;
use rdkafka::{
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer as _, PurgeConfig},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::Instant,
};

use super::{
    super::{Entry, Error, Metrics, Pending},
    Observer, Options, Shared, Topical, client,
    flight::{Reports, Submission, mark},
    signed, unavailable,
};

/// How long the thread listens for delivery reports before it looks at deadlines.
const LISTEN: Duration = Duration::from_millis(50);
/// How long a producer that is given up may take to report what it purged.
const PURGE: Duration = Duration::from_secs(5);
/// What an entry costs in memory beside its bytes: the library's own frame of a message and of its headers.
const ENTRY_OVERHEAD_BYTES: usize = 256;

/// The submitting half: shared by all tasks.
pub(super) struct Producer {
    /// `None` while one producer follows another, and after the end.
    client: RwLock<Option<Arc<BaseProducer<Reports>>>>,
    reports: Reports,
    room: Arc<Semaphore>,
}

/// No room in time.
#[derive(Debug, thiserror::Error)]
#[error("no room within {} ms for {bytes} bytes more (log.kafka.in_flight_bytes_max)", .waited.as_millis())]
struct Full {
    waited: Duration,
    bytes: usize,
}

/// The topic waits for the fate of earlier submissions.
#[derive(Debug, thiserror::Error)]
#[error("earlier entries of the topic are not acknowledged yet")]
struct Waiting;

impl Producer {
    pub(super) fn create(options: &Options, observer: Observer, metrics: Metrics) -> Result<Self, Error> {
        let reports = Reports { observer, metrics, flight: Arc::default(), broken: Arc::default() };
        let client = client::producer(options).create_with_context(reports.clone()).map_err(unavailable)?;
        let room = Arc::new(Semaphore::new(options.in_flight_bytes_max.min(Semaphore::MAX_PERMITS)));
        Ok(Self { client: RwLock::new(Some(Arc::new(client))), reports, room })
    }

    /// See [`super::Log::submit`].
    pub(super) async fn submit(
        &self,
        shared: &Shared,
        topic: Arc<Topical>,
        entries: Vec<Entry>,
    ) -> Result<Pending, Error> {
        if entries.is_empty() {
            return Ok(Box::pin(std::future::ready(Vec::new())));
        }
        let options = &shared.options;
        let mut bytes = 0;
        for entry in &entries {
            let size = super::super::entry_bytes(entry);
            if size > options.entry_bytes_max {
                return Err(Error::TooLarge { bytes: size, limit: options.entry_bytes_max });
            }
            if entry.partition >= topic.partitions {
                return Err(topic.not_found());
            }
            bytes += size;
        }
        let permit = self.reserve(options, bytes + entries.len() * ENTRY_OVERHEAD_BYTES).await?;
        let give_up = Instant::now() + options.delivery_deadline;
        loop {
            // The lock is held only while one producer follows another; a worker must not block for so long.
            if let Some(client) = self.client.try_read() {
                shared.check_open()?;
                let client = client.as_ref().ok_or_else(|| Error::Unavailable(Arc::new(shared.observer.away(None))))?;
                return self.hand_over(client, options, &topic, &entries, bytes, permit);
            }
            if Instant::now() >= give_up {
                return Err(Error::Unavailable(Arc::new(shared.observer.away(None))));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits for room for so many bytes. Submissions get it in the order in which they ask, so a large one is not starved by small ones.
    async fn reserve(&self, options: &Options, bytes: usize) -> Result<OwnedSemaphorePermit, Error> {
        // One that is larger than the whole room goes alone.
        let permits = u32::try_from(bytes.clamp(1, options.in_flight_bytes_max)).unwrap_or(u32::MAX);
        match tokio::time::timeout(options.delivery_deadline, self.room.clone().acquire_many_owned(permits)).await {
            Ok(permit) => permit.map_err(|_| Error::Closed),
            Err(_) => Err(unavailable(Full { waited: options.delivery_deadline, bytes })),
        }
    }

    /// Fixes the submission's place in the order. Nothing waits in here: a submission is handed over whole.
    fn hand_over(
        &self,
        client: &BaseProducer<Reports>,
        options: &Options,
        topic: &Arc<Topical>,
        entries: &[Entry],
        bytes: usize,
        permit: OwnedSemaphorePermit,
    ) -> Result<Pending, Error> {
        let _order = topic.order.lock();
        topic.fence.check()?;
        if Shared::overdue(topic) > 0 || self.reports.broken.load(Ordering::Acquire) {
            return Err(unavailable(Waiting));
        }
        let (reply, told) = oneshot::channel();
        let count = entries.len();
        let slot = self.reports.flight.lock().insert(Instant::now() + options.delivery_deadline, |number| Submission {
            number,
            topic: topic.clone(),
            results: vec![None; count],
            remaining: count,
            bytes: bytes as u64,
            reply: Some(reply),
            raised: None,
            permit,
        });
        for (index, entry) in entries.iter().enumerate() {
            let Err(cause) = send(client, topic, entry, mark(slot, index)) else { continue };
            // Nothing behind this entry is handed over, and what was before it keeps its place.
            let error = unavailable(cause);
            let mut flight = self.reports.flight.lock();
            if index == 0 {
                flight.remove(slot);
                return Err(error);
            }
            if let Some(submission) = flight.get(slot) {
                (index..count).for_each(|index| submission.report(index, Err(error.clone())));
            }
            self.reports.settle(&mut flight, slot);
            break;
        }
        Ok(Box::pin(async move {
            match told.await {
                Ok((results, raised)) => {
                    // From here on the submitter knows: the topic may take entries again.
                    drop(raised);
                    results
                }
                Err(_) => vec![Err(Error::Closed); count],
            }
        }))
    }
}

fn send(client: &BaseProducer<Reports>, topic: &Topical, entry: &Entry, mark: usize) -> Result<(), KafkaError> {
    let headers = (!entry.headers.is_empty()).then(|| {
        entry.headers.iter().fold(OwnedHeaders::new_with_capacity(entry.headers.len()), |headers, (name, value)| {
            headers.insert(Header { key: name, value: Some(&value[..]) })
        })
    });
    let record = BaseRecord {
        topic: topic.name.as_str(),
        partition: Some(signed(entry.partition)),
        payload: entry.value.as_deref(),
        key: entry.key.as_deref(),
        // The library takes 0 for "now", and Kafka knows no time before 1970.
        timestamp: Some(entry.timestamp_ms.max(1)),
        headers,
        delivery_opaque: mark,
    };
    client.send(record).map_err(|(cause, _)| cause)
}

/// Serves delivery reports and deadlines until the log is closed; then flushes.
pub(super) fn run(shared: &Shared) {
    let producer = &shared.producer;
    let reports = &producer.reports;
    let mut troubled = false;
    while !*shared.closing.borrow() {
        let client = producer.client.read().clone();
        match &client {
            Some(client) => client.poll(LISTEN),
            None => std::thread::sleep(LISTEN),
        }
        // Serves the asker's complaints; it is assigned nothing, so no entries come.
        while shared.asker.poll(Duration::from_millis(1)).is_some() {}
        reports.sweep(shared.options.delivery_deadline);
        let overdue = shared.topics.read().values().any(|topic| Shared::overdue(topic) > 0);
        if overdue != troubled {
            troubled = overdue;
            shared.observer.set_trouble(overdue.then(|| unavailable_text(shared)));
        }
        let fatal = client.as_ref().and_then(|client| client.client().fatal_error());
        if fatal.is_some() || client.is_none() || reports.broken.load(Ordering::Acquire) {
            drop(client);
            replace(shared, fatal);
        }
    }
    finish(shared);
    shared.ended.send_replace(true);
}

fn unavailable_text(shared: &Shared) -> String {
    format!("entries are not acknowledged in time; {}", shared.observer.away(None))
}

/// Gives the producer up: everything in it fails, and its successor starts empty.
fn replace(shared: &Shared, fatal: Option<(RDKafkaErrorCode, String)>) {
    let producer = &shared.producer;
    // Nobody hands anything over from here on until the successor is there.
    let mut client = producer.client.write();
    tracing::error!(fatal = fatal.map(|(_, reason)| reason), "producer given up: a delivery failed");
    if let Some(client) = client.take() {
        client.purge(PurgeConfig::default().queue().inflight());
        if let Err(error) = client.flush(PURGE) {
            tracing::warn!(%error, "the producer did not report everything that it purged");
        }
    }
    producer.reports.abandon(&unavailable(KafkaError::MessageProduction(RDKafkaErrorCode::PurgeQueue)));
    shared.metrics.producer_restarts.inc();
    match client::producer(&shared.options).create_with_context(producer.reports.clone()) {
        Ok(successor) => {
            producer.reports.broken.store(false, Ordering::Release);
            *client = Some(Arc::new(successor));
        }
        // Tried again with the next round.
        Err(error) => tracing::error!(%error, "no new producer"),
    }
}

/// Waits for what is queued, as long as a delivery may take, and ends the producer.
fn finish(shared: &Shared) {
    let producer = &shared.producer;
    if let Some(client) = producer.client.write().take()
        && client.flush(shared.options.delivery_deadline).is_err()
    {
        tracing::error!("entries are lost with the end of the log: the cluster did not acknowledge them in time");
        client.purge(PurgeConfig::default().queue().inflight());
        if let Err(error) = client.flush(PURGE) {
            tracing::warn!(%error, "the producer did not report everything that it purged");
        }
    }
    producer.reports.abandon(&Error::Closed);
}
