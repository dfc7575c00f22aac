//! One Subscribe call: reads at the tail or behind it, prepares batches under the client's credit, and ends when it may not go on.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures::{
    StreamExt,
    future::{BoxFuture, OptionFuture},
    stream::FuturesOrdered,
};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    time::{Interval, MissedTickBehavior},
};

use super::{
    Open, Place, Room,
    arrival::Arrival,
    batch::{Candidates, Delivered, Prepared},
    count::Count,
    feed::Feed,
    in_flight::InFlight,
    positions,
    reading::{For, Reading},
    tail::Span,
    window::{Handle, Shared, Window},
};
use crate::exchange::{
    Error,
    catalogue::{Access, Subscription},
    identity::Identity,
    model::{DatasetId, GrantId, Position, SubscriptionId},
};

/// How long the record of a stream's end may hold the end up: rights that are gone end it within 5 s.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// Records that leave together.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Of which dataset.
    pub dataset: DatasetId,
    /// In order of position within each partition.
    pub records: Vec<Delivered>,
    /// The grant and its version under which they are shown; `None` for the owner.
    pub grant: Option<(GrantId, u64)>,
}

/// What a stream has to tell.
#[derive(Clone, Debug)]
pub enum Event {
    /// Records.
    Batch(Batch),
    /// Every record before these positions is acknowledged, durably.
    CursorMoved(Vec<Position>),
}

/// A reader and what it read; the reader again, because a read that is on its way owns it.
type Read = (Reading, Vec<Arc<Arrival>>);

/// A reader of the log for partitions in which this stream is behind the tail.
struct CatchUp {
    /// Which, ascending.
    partitions: Vec<u32>,
    read: BoxFuture<'static, Result<Read, Error>>,
    /// It was let begin, and goes on to its end: what it reserved and has read would else be held by a read that waits for just that to be let go.
    begun: bool,
}

/// One Subscribe call, from its opening to its end.
pub struct Stream {
    shared: Arc<Shared>,
    caller: Arc<Identity>,
    subscription: Arc<Subscription>,
    access: Arc<Access>,
    feed: Arc<Feed>,
    cursor: Vec<u64>,
    end: Vec<u64>,
    /// Next offset to read, a partition.
    next: Vec<u64>,
    /// Read and not yet taken: at most one read.
    backlog: VecDeque<Arc<Arrival>>,
    catch_up: Option<CatchUp>,
    /// Which partition the tail is asked for first.
    turn: usize,
    preparing: FuturesOrdered<BoxFuture<'static, Result<Prepared, Error>>>,
    /// Bytes of what it has read from the log and its client has not read.
    held: Arc<Count>,
    /// The same of all streams of its department.
    of_department: Arc<Count>,
    moved: watch::Receiver<()>,
    changes: watch::Receiver<u64>,
    cursor_moves: watch::Receiver<()>,
    /// The durable cursor as the client knows it.
    told: Vec<u64>,
    ticks: Interval,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("subscription", &self.subscription.id).finish_non_exhaustive()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.room().metrics().closed();
    }
}

impl Stream {
    #[expect(clippy::too_many_arguments, reason = "the one caller is Delivery::subscribe")]
    pub(super) fn new(
        place: Place,
        caller: Arc<Identity>,
        subscription: Arc<Subscription>,
        access: Arc<Access>,
        feed: Arc<Feed>,
        cursor: Vec<u64>,
        end: Vec<u64>,
        open: &Open,
    ) -> Self {
        let room = place.room.clone();
        let of_department = room.held_by(&caller.department);
        room.metrics().opened();
        let window = Window {
            credit: u64::from(open.credit),
            in_flight: InFlight::new(&cursor, &open.held, &end),
            marked: cursor.clone(),
        };
        let mut ticks = tokio::time::interval(room.options.check_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            shared: Arc::new(Shared {
                dataset: subscription.dataset.clone(),
                generation: subscription.seek_generation,
                window: Mutex::new(window),
                wake: Notify::new(),
                place,
            }),
            caller,
            subscription,
            access,
            next: cursor.clone(),
            told: cursor.clone(),
            cursor,
            end,
            backlog: VecDeque::new(),
            catch_up: None,
            turn: 0,
            preparing: FuturesOrdered::new(),
            // Who waits for it is told when it is nothing again.
            held: Count::within(&of_department, 1),
            of_department,
            moved: feed.tail.moved(),
            feed,
            changes: room.catalogue.changes(),
            cursor_moves: room.cursors.moves(),
            ticks,
        }
    }

    /// Takes credit and acknowledgements.
    pub fn handle(&self) -> Handle {
        Handle(self.shared.clone())
    }

    /// Where delivery began.
    pub fn cursor(&self) -> Vec<Position> {
        positions(&self.cursor)
    }

    /// The log's end when the stream was opened.
    pub fn end(&self) -> Vec<Position> {
        positions(&self.end)
    }

    /// What comes next. Waits where there is nothing, or no credit. Cancel safe.
    ///
    /// # Errors
    /// Each ends the stream: [`Error::SubscriptionTakenOver`] by a newer stream or a seek; those of [`policy::may_read`](crate::exchange::policy::may_read) when the
    /// grant has ended; [`Error::ResourceNotFound`] when the subscription was deleted; [`Error::PositionBeyondRetention`]; [`Error::ViewBehind`];
    /// [`Error::LogUnavailable`]; [`Error::Draining`].
    pub async fn next(&mut self) -> Result<Event, Error> {
        match self.advance().await {
            Ok(event) => Ok(event),
            Err(error) => Err(self.refused(error).await),
        }
    }

    /// Resolves when the stream must end although nobody asks it for more: while the client does not read.
    pub async fn ended(&mut self) -> Error {
        let draining = self.room().tasks.token();
        let taken_over = self.shared.place.taken_over.clone();
        loop {
            if let Err(error) = self.check() {
                return self.refused(error).await;
            }
            tokio::select! {
                () = taken_over.cancelled() => {}
                () = draining.cancelled() => return Error::Draining,
                _ = self.changes.changed() => {}
                _ = self.ticks.tick() => {}
            }
        }
    }

    /// Ends the stream for the client's own reasons: makes durable what it acknowledged. Returns the cursor where the client does not know it yet.
    pub async fn close(mut self) -> Option<Vec<Position>> {
        let room = self.shared.place.room.clone();
        // Records that are prepared and were not sent are nobody's any more.
        self.preparing.clear();
        match tokio::time::timeout(room.options.open_timeout, room.cursors.write()).await {
            Ok(Ok(())) => self.cursor_moved().ok().flatten(),
            Ok(Err(error)) => {
                tracing::warn!(subscription = %self.subscription.id, %error, "the last acknowledgements are not durable yet");
                None
            }
            Err(_) => None,
        }
    }

    fn room(&self) -> &Arc<Room> {
        &self.shared.place.room
    }

    /// Puts on the trail why the stream ends. It ends in time, whether that succeeds or not: nothing is delivered any more.
    async fn refused(&mut self, error: Error) -> Error {
        let (room, caller, subscription) = (self.room().clone(), self.caller.clone(), self.subscription.clone());
        let told = room.end(&caller, &subscription, error.clone());
        let unrecorded = match tokio::time::timeout(END_PATIENCE, told).await {
            Ok(told) if told.reason() == error.reason() => None,
            Ok(told) => Some(told.reason()),
            Err(_) => Some("LATE"),
        };
        if let Some(unrecorded) = unrecorded {
            tracing::warn!(department = %caller.department, serial = %caller.certificate_serial, reason = error.reason(), unrecorded, "the end of a stream is not on record");
        }
        error
    }

    async fn advance(&mut self) -> Result<Event, Error> {
        let draining = self.room().tasks.token();
        let taken_over = self.shared.place.taken_over.clone();
        let (held, of_department) = (self.held.clone(), self.of_department.clone());
        let held_by_all = self.room().held.clone();
        loop {
            self.check()?;
            if let Some(cursor) = self.cursor_moved()? {
                return Ok(Event::CursorMoved(cursor));
            }
            self.launch();
            let reads = self.wants_records();
            if reads {
                self.look_around()?;
            }
            let in_tail = reads && self.is_in_tail();
            // Before the counts are looked at: what falls in between wakes the stream again.
            let (nothing, less_of_department, less) = (held.falls(), of_department.falls(), held_by_all.falls());
            let may_begin = held.get() == 0 || of_department.left() > 0;
            let mut catch_up = self.catch_up.as_mut().filter(|_| reads);
            if let Some(one) = &mut catch_up {
                one.begun |= may_begin;
            }
            let waits = catch_up.as_ref().is_some_and(|one| !one.begun);
            let catch_up = OptionFuture::from(catch_up.filter(|one| one.begun).map(|one| &mut one.read));
            tokio::select! {
                () = taken_over.cancelled() => {}
                () = draining.cancelled() => return Err(Error::Draining),
                Some(prepared) = self.preparing.next(), if !self.preparing.is_empty() => {
                    if let Some(batch) = self.finish(prepared?)? {
                        return Ok(Event::Batch(batch));
                    }
                }
                Some(read) = catch_up => self.take_read(read?),
                () = std::future::ready(()), if in_tail => self.take_tail(),
                () = nothing, if waits => {}
                () = less_of_department, if waits => {}
                () = less, if waits => {}
                _ = self.moved.changed(), if reads => {}
                () = self.shared.wake.notified() => {}
                _ = self.changes.changed() => {}
                _ = self.cursor_moves.changed() => {}
                _ = self.ticks.tick() => {}
            }
        }
    }

    /// Whether the stream may go on, by the newest snapshot and the time; takes the newest grant and filter over.
    fn check(&mut self) -> Result<(), Error> {
        if self.shared.place.taken_over.is_cancelled() {
            return Err(Error::SubscriptionTakenOver);
        }
        // Before the snapshot is taken: a change that comes in between wakes the stream again.
        self.changes.borrow_and_update();
        let snapshot = self.room().catalogue.snapshot();
        let id: &SubscriptionId = &self.subscription.id;
        if snapshot.subscription(id.as_str()).is_some_and(|found| found.seek_generation != self.shared.generation) {
            return Err(Error::SubscriptionTakenOver);
        }
        let (subscription, access) = self.room().may_subscribe(&snapshot, &self.caller, id.as_str())?;
        self.subscription = subscription;
        self.access = access;
        Ok(())
    }

    fn cursor_moved(&mut self) -> Result<Option<Vec<Position>>, Error> {
        self.cursor_moves.borrow_and_update();
        match self.room().cursors.durable(&self.subscription)? {
            Some(durable) if durable != self.told && durable.iter().zip(&self.told).all(|(new, old)| new >= old) => {
                self.told = durable;
                Ok(Some(positions(&self.told)))
            }
            _ => Ok(None),
        }
    }

    /// Whether there is room for more records, on the client's side and on ours.
    fn wants_records(&self) -> bool {
        let options = &self.room().options;
        let window = self.shared.window.lock();
        self.backlog.is_empty()
            && self.preparing.len() < options.batches_in_flight_max
            && window.credit > 0
            && window.in_flight.records() < options.unacknowledged_records_max
            && window.in_flight.bytes() < options.unacknowledged_bytes_max
    }

    /// Takes batches out of the backlog, as far as credit allows, and begins to prepare them.
    fn launch(&mut self) {
        while !self.backlog.is_empty() && self.preparing.len() < self.room().options.batches_in_flight_max {
            let arrivals = self.take_backlog();
            if arrivals.is_empty() {
                return;
            }
            self.preparing.push_back(Box::pin(self.candidates(arrivals).prepare()));
        }
    }

    fn candidates(&self, arrivals: Vec<Arc<Arrival>>) -> Candidates {
        Candidates {
            room: self.room().clone(),
            caller: self.caller.clone(),
            subscription: self.subscription.clone(),
            access: self.access.clone(),
            arrivals,
        }
    }

    fn take_backlog(&mut self) -> Vec<Arc<Arrival>> {
        let shared = self.shared.clone();
        let options = &shared.room().options;
        let mut window = shared.window.lock();
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some(arrival) = self.backlog.front() {
            if arrival.record.is_none() {
                window.in_flight.pass(arrival.position);
            } else {
                let full = taken.len() >= options.batch_records_max
                    || (bytes + arrival.bytes > options.batch_bytes_max && !taken.is_empty())
                    || window.credit == 0
                    || window.in_flight.records() >= options.unacknowledged_records_max
                    || window.in_flight.bytes() >= options.unacknowledged_bytes_max;
                if full {
                    break;
                }
                // What turns out not to be for this subscriber is given back: in flight until then, so that the cursor does not pass it.
                if window.in_flight.take(arrival.position, arrival.bytes) {
                    window.credit -= 1;
                    bytes += arrival.bytes;
                    taken.push(arrival.clone());
                }
            }
            self.backlog.pop_front();
        }
        shared.mark(&mut window, 0);
        taken
    }

    /// A batch whose audit entry is durable: the grant is looked at once more, and it goes.
    fn finish(&mut self, prepared: Prepared) -> Result<Option<Batch>, Error> {
        self.feed.tail.trim();
        self.check()?;
        let Prepared { candidates, records, passed, judged } = prepared;
        if candidates.access.grant != self.access.grant || candidates.access.view_id != self.access.view_id {
            // It was prepared under another grant: what that one showed is not what may leave now.
            let again = self.candidates(candidates.arrivals).prepare();
            self.preparing.push_front(Box::pin(again));
            return Ok(None);
        }
        let rest = candidates.arrivals.get(judged..).unwrap_or_default();
        if !rest.is_empty() {
            self.preparing.push_front(Box::pin(self.candidates(rest.to_vec()).prepare()));
        }
        if !passed.is_empty() {
            let mut window = self.shared.window.lock();
            let given_back = passed.into_iter().filter(|position| window.in_flight.settle(*position)).count();
            window.credit += given_back as u64;
            self.shared.mark(&mut window, 0);
        }
        if records.is_empty() {
            return Ok(None);
        }
        let bytes = records.iter().map(|record| record.payload().len()).sum();
        self.room().metrics().delivered(&self.subscription.dataset, records.len(), bytes);
        Ok(Some(Batch { dataset: self.subscription.dataset.clone(), records, grant: self.access.grant.clone() }))
    }

    /// Finds out in which partitions the stream is behind the tail, and sees to a reader of the log for them.
    fn look_around(&mut self) -> Result<(), Error> {
        self.moved.borrow_and_update();
        if let Some(error) = self.feed.tail.failure() {
            return Err(error);
        }
        let spans = self.feed.tail.spans();
        let reading = self.catch_up.as_ref().map(|one| one.partitions.as_slice()).unwrap_or_default();
        let is_behind = |(partition, (span, next)): &(u32, (&Span, &u64))| {
            // Who reads the log goes on until the middle of the tail: at its edge it would soon fall behind again.
            let until = if reading.contains(partition) { span.first.midpoint(span.next) } else { span.first };
            **next < until
        };
        let behind: Vec<u32> =
            (0..).zip(spans.iter().zip(&self.next)).filter(is_behind).map(|(partition, _)| partition).collect();
        if behind.is_empty() {
            self.catch_up = None;
        } else if behind != reading {
            let from: Vec<_> = behind
                .iter()
                .filter_map(|partition| Some((*partition, *self.next.get(usize::try_from(*partition).ok()?)?)))
                .collect();
            let (room, dataset) = (self.room().clone(), self.access.dataset.clone());
            let whom = For::Stream { held: self.held.clone(), of_department: self.of_department.clone() };
            let read = async move {
                let reading = Reading::open(room, dataset, &from, whom).await?;
                read_on(reading).await
            };
            self.catch_up = Some(CatchUp { partitions: behind, read: Box::pin(read), begun: false });
        }
        Ok(())
    }

    fn is_behind(&self, partition: usize) -> bool {
        let reading = self.catch_up.as_ref();
        reading.is_some_and(|one| u32::try_from(partition).is_ok_and(|partition| one.partitions.contains(&partition)))
    }

    fn is_in_tail(&self) -> bool {
        let spans = self.feed.tail.spans();
        spans
            .iter()
            .zip(&self.next)
            .enumerate()
            .any(|(partition, (span, next))| (span.first..span.next).contains(next) && !self.is_behind(partition))
    }

    fn take_tail(&mut self) {
        let (records_max, bytes_max) = {
            let options = &self.room().options;
            (options.batch_records_max, options.batch_bytes_max)
        };
        let mut bytes = 0;
        for step in 0..self.next.len() {
            let partition = (self.turn + step) % self.next.len();
            if self.is_behind(partition) || self.backlog.len() >= records_max || bytes >= bytes_max {
                continue;
            }
            let room = records_max - self.backlog.len();
            let Some(next) = self.next.get_mut(partition) else { continue };
            for arrival in self.feed.tail.read(partition, *next, room, bytes_max - bytes) {
                *next = arrival.position.offset + 1;
                bytes += arrival.bytes;
                self.backlog.push_back(arrival);
            }
        }
        self.turn = (self.turn + 1) % self.next.len().max(1);
    }

    fn take_read(&mut self, (reading, arrivals): Read) {
        self.room().metrics().caught_up_by_reading(&self.subscription.dataset);
        for arrival in arrivals {
            let Position { partition, offset } = arrival.position;
            let next = usize::try_from(partition).ok().and_then(|partition| self.next.get_mut(partition));
            // What the tail has given meanwhile comes twice.
            if let Some(next) = next.filter(|next| **next <= offset) {
                *next = offset + 1;
                self.backlog.push_back(arrival);
            }
        }
        if let Some(catch_up) = &mut self.catch_up {
            catch_up.read = Box::pin(read_on(reading));
            catch_up.begun = false;
        }
    }
}

async fn read_on(mut reading: Reading) -> Result<Read, Error> {
    let arrivals = reading.next().await?;
    Ok((reading, arrivals))
}
