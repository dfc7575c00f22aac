//! The loop of a sink: delivery, inbox, acknowledgement.
//!
//! An inbox that does not hold any more what was acknowledged is found by its mark, before the first delivery and before each: it is told, and nothing is
//! written or acknowledged until somebody has said what to do.
//!
//! A record is acknowledged once the sink has made it durable, or once it is set aside as a dead letter. What was delivered and is not acknowledged
//! stays in memory across reconnects and is named as held, so that a reconnect is no flood of repeats; after a crash it is delivered again,
//! and the sink recognises it. Memory is bounded by the window: so many records, and no more, are on their way.

use std::{
    collections::{BTreeMap, VecDeque},
    pin::Pin,
    time::Duration,
};

use shuqiao_proto::v1::{self, start_position::Start, subscribe_request::Request, subscribe_response::Response};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;

use super::{Error, Runner};
use crate::{
    AdapterError, Mark, Operation, Outcome, Record, Sink,
    config::Subscribe,
    exchange::{self, Connection},
    reconcile,
    retry::{Backoff, LONGEST},
};

/// Records handed to the sink at once.
const DELIVER_RECORDS_MAX: usize = 500;
/// No deferral is longer.
const DEFER_LONGEST: Duration = Duration::from_secs(60);
/// Requests that may wait for the transport: opening, credits, acknowledgements.
const REQUESTS_MAX: usize = 64;
/// How long to wait for the exchange to end a stream that we have ended.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
/// Two takeovers within this time are two adapters; one alone is also what moving the subscription's cursor looks like.
const TAKEN_OVER_TWICE_WITHIN: Duration = Duration::from_secs(60);

pub(super) async fn run(runner: &Runner<'_>, subscribe: &Subscribe, sink: &dyn Sink) -> Result<(), Error> {
    if !still_holds(runner, subscribe, sink).await? || !ask_anew(runner, subscribe).await? {
        return Ok(());
    }
    let mut held = Held::default();
    let mut backoff = Backoff::default();
    let mut taken_over_at: Option<Instant> = None;
    loop {
        let mut work = None;
        let began_at = Instant::now();
        let ended = Session { runner, subscribe, sink, held: &mut held, work: &mut work }.run(&mut backoff).await;
        if began_at.elapsed() > LONGEST {
            backoff.reset();
        }
        if let (Err(_), Some(work)) = (&ended, work) {
            // The stream is gone, but the sink is at work: what it finishes is acknowledged on the next stream.
            held.finished(work.await?);
        }
        let failure = match ended {
            Ok(()) => return Ok(()),
            Err(Error::Exchange(exchange::Error::TakenOver)) => {
                let again = taken_over_at.is_some_and(|before| before.elapsed() < TAKEN_OVER_TWICE_WITHIN);
                if again {
                    return Err(exchange::Error::TakenOver.into());
                }
                taken_over_at = Some(Instant::now());
                // The cursor may have been moved on purpose: what is held belongs to where it was.
                held = Held::default();
                exchange::Error::NotReady { reason: "SUBSCRIPTION_TAKEN_OVER".into(), retry_after: None }.into()
            }
            Err(error) => error,
        };
        if !runner.wait(&mut backoff, "subscribe", failure).await? {
            return Ok(());
        }
    }
}

/// Whether to go on (no: told to stop).
///
/// # Errors
/// [`Error::InboxLost`], or why it cannot be told.
async fn still_holds(runner: &Runner<'_>, subscribe: &Subscribe, sink: &dyn Sink) -> Result<bool, Error> {
    let mut backoff = Backoff::default();
    let Some(remembered) = runner.state.inbox_mark().await? else { return Ok(true) };
    loop {
        let late = || Err(AdapterError::transient("the inbox took longer than subscribe.deliver_timeout to answer"));
        let cause = match tokio::time::timeout(subscribe.deliver_timeout, sink.mark()).await.unwrap_or_else(|_| late())
        {
            Ok(found) => return not_lost(&remembered, found.as_ref()).map(|()| true),
            Err(cause) => cause,
        };
        if !runner.wait(&mut backoff, "mark", Error::Adapter { verb: "looks at its inbox", cause }).await? {
            return Ok(false);
        }
    }
}

fn not_lost(remembered: &Mark, found: Option<&Mark>) -> Result<(), Error> {
    match remembered.is_lost_in(found) {
        Some((en, zh)) => Err(Error::InboxLost(en, zh)),
        None => Ok(()),
    }
}

/// Where somebody wants everything once more, has the exchange begin where the subscription begins. Whether to go on (no: told to stop).
async fn ask_anew(runner: &Runner<'_>, subscribe: &Subscribe) -> Result<bool, Error> {
    let mut backoff = Backoff::default();
    while runner.state.asks_anew().await? {
        let asked = tokio::select! {
            asked = seek(runner, subscribe) => asked,
            () = runner.token.cancelled() => return Ok(false),
        };
        match asked {
            Ok(()) => runner.state.asked_anew().await?,
            Err(failure) => {
                if !runner.wait(&mut backoff, "seek", failure.into()).await? {
                    return Ok(false);
                }
            }
        }
    }
    Ok(true)
}

async fn seek(runner: &Runner<'_>, subscribe: &Subscribe) -> Result<(), exchange::Error> {
    let connection = Connection::open(&runner.config.broker).await?;
    let current = reconcile::subscription(&connection, &subscribe.subscription).await?;
    let seek = Some(v1::StartPosition { start: Some(beginning_of(&current)) });
    let mut catalogue = connection.catalogue();
    let request = v1::UpdateSubscriptionRequest { subscription: Some(current), seek };
    connection.in_time(catalogue.update_subscription(request)).await?;
    tracing::info!(subscription = subscribe.subscription, "asked for everything once more");
    Ok(())
}

/// Where a subscription begins. One that began "now" began when it was made.
fn beginning_of(subscription: &v1::Subscription) -> Start {
    match subscription.start.as_ref().and_then(|start| start.start.clone()) {
        Some(Start::Now(_)) => subscription.create_time.map_or(Start::Beginning(true), Start::Time),
        Some(start) => start,
        None => Start::Beginning(true),
    }
}

/// Delivered and not yet acknowledged, a queue per partition.
#[derive(Default)]
struct Held {
    partitions: BTreeMap<u32, Queue>,
    /// Done, but not yet acknowledged.
    done: Vec<v1::Position>,
}

#[derive(Default)]
struct Queue {
    records: VecDeque<Record>,
    /// The sink asked to wait; everything behind waits too.
    not_before: Option<Instant>,
}

impl Held {
    fn len(&self) -> usize {
        self.partitions.values().map(|queue| queue.records.len()).sum()
    }

    fn positions(&self) -> Vec<v1::Position> {
        let records = self.partitions.values().flat_map(|queue| &queue.records);
        records.map(|record| position(record.position)).chain(self.done.iter().copied()).collect()
    }

    fn take_in(&mut self, record: Record) {
        self.partitions.entry(record.position.0).or_default().records.push_back(record);
    }

    /// The next records for the sink, in order within each partition. They stay held until [`Held::finish`].
    fn ready(&self, now: Instant) -> Vec<Record> {
        let open = self.partitions.values().filter(|queue| queue.not_before.is_none_or(|until| until <= now));
        open.flat_map(|queue| queue.records.iter()).take(DELIVER_RECORDS_MAX).cloned().collect()
    }

    /// When the first partition that waits may go on.
    fn next_ready(&self) -> Option<Instant> {
        let waiting = self.partitions.values().filter(|queue| !queue.records.is_empty());
        waiting.filter_map(|queue| queue.not_before).min()
    }

    /// Lets go of what is done, and notes what is put off.
    fn finished(&mut self, done: Done) {
        for (record, outcome) in done.records.iter().zip(&done.outcomes) {
            let Some(queue) = self.partitions.get_mut(&record.position.0) else { continue };
            match outcome {
                Outcome::Deferred { retry_after } => {
                    // Zero would spin.
                    let wait = (*retry_after).clamp(Duration::from_millis(50), DEFER_LONGEST);
                    queue.not_before = Some(Instant::now() + wait);
                }
                Outcome::Accepted | Outcome::Rejected { .. } => {
                    queue.records.retain(|held| held.position != record.position);
                    self.done.push(position(record.position));
                }
            }
        }
    }

    /// Partitions whose wait is over go on.
    fn wake(&mut self) {
        for queue in self.partitions.values_mut() {
            queue.not_before = queue.not_before.filter(|until| *until > Instant::now());
        }
    }
}

type Work<'a> = Pin<Box<dyn Future<Output = Result<Done, Error>> + Send + 'a>>;

/// What the sink said of some records, after it is durable on both sides.
struct Done {
    records: Vec<Record>,
    outcomes: Vec<Outcome>,
}

/// One stream, with what outlives it.
struct Session<'s, 'w> {
    runner: &'w Runner<'w>,
    subscribe: &'w Subscribe,
    sink: &'w dyn Sink,
    held: &'s mut Held,
    work: &'s mut Option<Work<'w>>,
}

impl Session<'_, '_> {
    async fn run(mut self, backoff: &mut Backoff) -> Result<(), Error> {
        let opened = tokio::select! {
            opened = open(self.runner, self.subscribe, self.held) => opened?,
            () = self.runner.token.cancelled() => return Ok(()),
        };
        let (requests, mut responses, opened) = opened;
        self.runner.connected();
        let (once, idle) = (self.runner.options.once, self.runner.config.run.once_idle);
        let mut caught_up = reached(&opened.cursor, &opened.end);
        let mut heard_at = Instant::now();
        let mut stop_at = None;
        loop {
            acknowledge(&requests, &mut self.held.done).await?;
            if stop_at.is_none() {
                self.begin_work();
            }
            let resting = self.work.is_none() && self.held.len() == 0;
            if (stop_at.is_some() && self.work.is_none()) || (once && caught_up && resting) {
                break;
            }
            let wake_at = self.held.next_ready();
            tokio::select! {
                message = responses.message() => {
                    heard_at = Instant::now();
                    match message.map_err(exchange::Error::from)?.and_then(|message| message.response) {
                        Some(Response::Delivery(delivery)) => self.take_in(delivery)?,
                        Some(Response::CursorMoved(moved)) => caught_up |= reached(&moved.cursor, &opened.end),
                        Some(Response::Opened(_)) => {
                            return Err(exchange::Error::Protocol("it opened the stream twice").into());
                        }
                        None => return Err(exchange::Error::Ended.into()),
                    }
                }
                done = finished(self.work) => {
                    *self.work = None;
                    self.held.finished(done?);
                    backoff.reset();
                    heard_at = Instant::now();
                }
                () = sleep_until(wake_at), if self.work.is_none() => self.held.wake(),
                () = sleep_until(Some(heard_at + idle)), if once && resting => {
                    tracing::info!("nothing more came within run.once_idle");
                    break;
                }
                () = self.runner.token.cancelled(), if stop_at.is_none() => {
                    stop_at = Some(Instant::now() + self.runner.config.run.shutdown_grace);
                }
                () = sleep_until(stop_at) => {
                    // Not acknowledged, so delivered again to the next run.
                    *self.work = None;
                    break;
                }
            }
        }
        // The last acknowledgements are on their way: ending our half first lets the exchange take them before the stream is gone.
        drop(requests);
        let ended = async { while let Ok(Some(_)) = responses.message().await {} };
        if tokio::time::timeout(CLOSE_WITHIN, ended).await.is_err() {
            tracing::debug!("the exchange did not end the stream in time");
        }
        Ok(())
    }

    fn begin_work(&mut self) {
        if self.work.is_none() {
            let records = self.held.ready(Instant::now());
            if !records.is_empty() {
                *self.work = Some(Box::pin(deliver(self.runner, self.subscribe, self.sink, records)));
            }
        }
    }

    fn take_in(&mut self, delivery: v1::Delivery) -> Result<(), exchange::Error> {
        for wire in delivery.records {
            self.held.take_in(record(wire)?);
        }
        if self.held.len() > self.subscribe.window as usize {
            return Err(exchange::Error::Protocol("it delivers more than our credit"));
        }
        Ok(())
    }
}

/// Waits for the work, if there is any.
async fn finished(work: &mut Option<Work<'_>>) -> Result<Done, Error> {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

/// Waits until then, or for ever.
async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

type Open = (mpsc::Sender<v1::SubscribeRequest>, tonic::Streaming<v1::SubscribeResponse>, v1::SubscribeOpened);

async fn open(runner: &Runner<'_>, subscribe: &Subscribe, held: &Held) -> Result<Open, exchange::Error> {
    let connection = Connection::open(&runner.config.broker).await?;
    let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
    let positions = held.positions();
    let credit = subscribe.window.saturating_sub(u32::try_from(positions.len()).unwrap_or(u32::MAX));
    let open = v1::SubscribeOpen { subscription: subscribe.subscription.clone(), held: positions, credit };
    send(&requests, Request::Open(open)).await?;
    let mut client = connection.exchange();
    let responses = connection.in_time(client.subscribe(ReceiverStream::new(receiver))).await?;
    let mut responses = responses.into_inner();
    let first = connection.in_time(responses.message()).await?.and_then(|message| message.response);
    match first {
        Some(Response::Opened(opened)) => {
            tracing::info!(subscription = subscribe.subscription, held = held.len(), "subscribed");
            if opened.cursor.iter().any(|at| at.offset > 0) && runner.state.counts().await?.delivered == 0 {
                tracing::warn!(
                    "nothing was ever delivered to this state file, and its subscription stands further on: an inbox that was lost with it \
                     is filled by `shuqiao-adapter refresh`"
                );
            }
            Ok((requests, responses, opened))
        }
        _ => Err(exchange::Error::Protocol("its first answer is not `opened`")),
    }
}

/// Hands records to the sink until it has said something of each, then keeps what is to be kept of it.
async fn deliver(
    runner: &Runner<'_>,
    subscribe: &Subscribe,
    sink: &dyn Sink,
    records: Vec<Record>,
) -> Result<Done, Error> {
    let mut backoff = Backoff::default();
    let remembered = runner.state.inbox_mark().await?;
    let (outcomes, mark) = loop {
        let work = attempt(sink, remembered.as_ref(), &records);
        let failure = match tokio::time::timeout(subscribe.deliver_timeout, work).await {
            Ok(Ok((outcomes, mark))) if outcomes.len() == records.len() => break (outcomes, mark),
            Ok(Ok(_)) => delivers(AdapterError::protocol("the sink returned another number of outcomes than records")),
            Ok(Err(failure)) => failure,
            Err(_) => delivers(AdapterError::transient("a delivery took longer than subscribe.deliver_timeout")),
        };
        if !runner.wait(&mut backoff, "deliver", failure).await? {
            // Told to stop: nothing is said of these records, so nothing is acknowledged.
            return Ok(Done { records: Vec::new(), outcomes: Vec::new() });
        }
    };
    let (mut taken, mut refused, mut deferred) = (Vec::new(), Vec::new(), 0);
    for (record, outcome) in records.iter().zip(&outcomes) {
        match outcome {
            Outcome::Accepted => taken.push(record),
            Outcome::Rejected { reason } => refused.push((record, reason)),
            Outcome::Deferred { .. } => deferred += 1,
        }
    }
    runner.state.delivered(&taken, &refused, mark.as_ref()).await?;
    let metrics = &runner.options.metrics;
    metrics.taken.inc_by(taken.len() as u64);
    metrics.deferred.inc_by(deferred);
    metrics.dead_letters.inc_by(refused.len() as u64);
    Ok(Done { records, outcomes })
}

/// Hands records to the sink once. The mark is read before, at every attempt: a delivery raises it, so an inbox that went back by one delivery would afterwards
/// say what is remembered of it. A mark that is further on is no loss: an attempt before this one was committed and its answer came too late.
///
/// # Errors
/// [`Error::InboxLost`], or what the sink says.
async fn attempt(
    sink: &dyn Sink,
    remembered: Option<&Mark>,
    records: &[Record],
) -> Result<(Vec<Outcome>, Option<Mark>), Error> {
    let before = sink.mark().await.map_err(delivers)?;
    if let Some(remembered) = remembered {
        not_lost(remembered, before.as_ref())?;
    }
    let outcomes = sink.deliver(records).await.map_err(delivers)?;
    let after = sink.mark().await.map_err(delivers)?;
    if let Some(before) = &before {
        not_lost(before, after.as_ref())?;
    }
    Ok((outcomes, after))
}

fn delivers(cause: AdapterError) -> Error {
    Error::Adapter { verb: "delivers", cause }
}

/// Acknowledges what is done, and gives the credit back. What an error interrupts is named as held on the next stream.
async fn acknowledge(
    requests: &mpsc::Sender<v1::SubscribeRequest>,
    done: &mut Vec<v1::Position>,
) -> Result<(), exchange::Error> {
    if done.is_empty() {
        return Ok(());
    }
    // At most a window of 10,000.
    let records = u32::try_from(done.len()).unwrap_or(u32::MAX);
    send(requests, Request::Acknowledge(v1::Acknowledge { positions: done.clone() })).await?;
    done.clear();
    send(requests, Request::Credit(v1::Credit { records })).await
}

async fn send(requests: &mpsc::Sender<v1::SubscribeRequest>, request: Request) -> Result<(), exchange::Error> {
    requests.send(v1::SubscribeRequest { request: Some(request) }).await.map_err(|_| exchange::Error::Ended)
}

/// Whether a cursor has come to the log's end as it was when the stream opened.
fn reached(cursor: &[v1::Position], end: &[v1::Position]) -> bool {
    end.iter()
        .all(|end| end.offset == 0 || cursor.iter().any(|at| at.partition == end.partition && at.offset >= end.offset))
}

fn position((partition, offset): (u32, u64)) -> v1::Position {
    v1::Position { partition, offset }
}

fn record(wire: v1::Record) -> Result<Record, exchange::Error> {
    let operation = match wire.operation() {
        v1::Operation::Upsert => Operation::Upsert,
        v1::Operation::Delete => Operation::Delete,
        v1::Operation::Unspecified => return Err(exchange::Error::Protocol("a record has no operation")),
    };
    let position = wire.position.ok_or(exchange::Error::Protocol("a record has no position"))?;
    let accept_time_ms =
        wire.accept_time.map_or(0, |time| time.seconds.saturating_mul(1_000) + i64::from(time.nanos) / 1_000_000);
    Ok(Record {
        dataset: wire.dataset,
        record_type: wire.record_type,
        key: wire.key,
        operation,
        source_version: wire.source_version,
        payload: wire.payload,
        source: wire.source,
        sequence: wire.sequence,
        accept_time_ms,
        position: (position.partition, position.offset),
    })
}

#[cfg(test)]
mod tests;
