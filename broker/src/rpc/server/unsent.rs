//! Answers that wait for their reader.
//!
//! An answer is in memory until its bytes have left, and the client decides when that is: HTTP/2 lets it ask and read nothing. So the answer of every call is
//! counted, from when it is encoded until its call ends, against a bound for the node (`limits.unsent_bytes_max`), of which one department has a half at most: beyond,
//! a call is told to come back (QUOTA_EXHAUSTED). And what is not read within `limits.unread_timeout` is taken back: the client finds CLIENT_TOO_SLOW.
//!
//! A question may be refused once it is answered: whoever comes again asks it again. A command may not: what it did would stand, and its repeat would be judged as
//! another one. So it has room kept for its answer first ([`Unsent::keep`]), and an answer that comes with its [`Room`] is never refused.
//!
//! Streams are bounded where they are written (`rpc::answers`) and pass.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use hyper::body::{Body as _, Frame};
use parking_lot::Mutex;
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::{Registry, Unit},
};
use tokio::time::Instant;
use tonic::{Status, body::Body};

use crate::{
    config::Limits,
    exchange::{Error, model::DepartmentAlias},
    request::{self, RequestId},
    rpc::{peer, status},
    shutdown::Tasks,
};

/// Bytes that an answer hands to the connection at once. What the connection holds of it cannot be taken back.
const PIECE_BYTES: usize = 16 << 10;
/// An answer of so few bytes is never refused, so that health checks are answered whatever others leave unread. A connection's streams bound how many there are.
const SMALL_BYTES: usize = 1 << 10;
/// One department has this part of the bound at most.
const DEPARTMENT_SHARE: usize = 2;
/// How often it is looked for answers to take back.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// When a call that found no room should come again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What operators see of it.
#[derive(Clone, Debug, Default)]
pub struct UnsentMetrics {
    bytes: Gauge,
    refused: Counter,
    taken_back: Counter,
}

impl UnsentMetrics {
    /// Registers under `shuqiao_answers_`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("shuqiao_answers");
        registry.register_with_unit(
            "unsent",
            "Answers that wait to be read, and room kept for some",
            Unit::Bytes,
            metrics.bytes.clone(),
        );
        registry.register("refused", "Calls refused for want of room for their answer", metrics.refused.clone());
        registry.register("taken_back", "Answers that nobody read in time", metrics.taken_back.clone());
        metrics
    }
}

/// The bound, as a layer around every service. Clones share it.
#[derive(Clone)]
pub struct Unsent(Arc<Shared>);

/// Without the answers.
impl std::fmt::Debug for Unsent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unsent").field("bytes_max", &self.0.bytes_max).finish_non_exhaustive()
    }
}

/// Room that is kept for the answer of a call. It goes with the response to where answers are counted ([`Room::accompany`]); dropped before, it is free again.
#[derive(Clone)]
pub struct Room(Arc<Kept>);

/// Without whose it is.
impl std::fmt::Debug for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Room").field("bytes", &self.0.bytes).finish_non_exhaustive()
    }
}

struct Kept {
    shared: Arc<Shared>,
    department: Option<DepartmentAlias>,
    bytes: usize,
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.subtract(&self.department, self.bytes);
        self.shared.show(&state);
    }
}

impl Room {
    /// Lets the answer take this room.
    pub fn accompany<T>(self, answer: T) -> tonic::Response<T> {
        let mut response = tonic::Response::new(answer);
        response.extensions_mut().insert(self);
        response
    }
}

struct Shared {
    bytes_max: usize,
    unread_timeout: Duration,
    metrics: UnsentMetrics,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bytes: usize,
    /// `None`: callers without identity share one count.
    departments: HashMap<Option<DepartmentAlias>, usize>,
    /// By number and so by deadline.
    waiting: BTreeMap<u64, (Instant, Arc<Mutex<Rest>>)>,
    next: u64,
}

/// What of an answer has not been handed to the connection.
struct Rest {
    department: Option<DepartmentAlias>,
    data: Bytes,
    trailers: Option<HeaderMap>,
    /// Bytes counted for it.
    counted: usize,
    taken_back: bool,
}

impl Unsent {
    /// Begins to look for answers that nobody reads.
    pub fn new(limits: &Limits, metrics: UnsentMetrics, tasks: &Tasks) -> Self {
        let shared = Arc::new(Shared {
            bytes_max: limits.unsent_bytes_max.bytes(),
            unread_timeout: limits.unread_timeout,
            metrics,
            state: Mutex::default(),
        });
        let (token, swept) = (tasks.token(), shared.clone());
        tasks.spawn("unsent answers", async move {
            loop {
                tokio::select! {
                    () = token.cancelled() => return,
                    () = tokio::time::sleep(SWEEP_INTERVAL) => swept.sweep(),
                }
            }
        });
        Self(shared)
    }

    /// Keeps room for an answer of at most so many bytes, its framing included, so that a call that finds none is refused before anything is done.
    ///
    /// # Errors
    /// [`Error::QuotaExhausted`].
    pub fn keep(&self, department: &DepartmentAlias, bytes: usize) -> Result<Room, Error> {
        let department = Some(department.clone());
        if !self.0.count(&mut self.0.state.lock(), &department, bytes) {
            return Err(no_room());
        }
        Ok(Room(Arc::new(Kept { shared: self.0.clone(), department, bytes })))
    }

    /// Counts the answer if it is whole; a stream passes.
    async fn hold(&self, department: Option<DepartmentAlias>, response: Response<Body>) -> Response<Body> {
        let (mut parts, mut body) = response.into_parts();
        let room = parts.extensions.remove::<Room>();
        if body.is_end_stream() {
            return Response::from_parts(parts, body);
        }
        // The answer of a call is encoded by the first look at it, and over by the second.
        let mut begin = VecDeque::new();
        let data = match look(&mut body).await {
            Poll::Pending => return Response::from_parts(parts, body),
            Poll::Ready(None) => return Response::from_parts(parts, Body::empty()),
            Poll::Ready(Some(first)) => match first.map(Frame::into_data) {
                Ok(Ok(data)) => data,
                Ok(Err(other)) => {
                    begin.push_back(Ok(other));
                    return Response::from_parts(parts, Body::new(Begun { begin, body }));
                }
                Err(error) => {
                    begin.push_back(Err(error));
                    return Response::from_parts(parts, Body::new(Begun { begin, body }));
                }
            },
        };
        let trailers = match look(&mut body).await {
            Poll::Ready(None) => None,
            Poll::Ready(Some(Ok(frame))) if frame.is_trailers() => frame.into_trailers().ok(),
            other => {
                begin.push_back(Ok(Frame::data(data)));
                if let Poll::Ready(Some(second)) = other {
                    begin.push_back(second);
                }
                return Response::from_parts(parts, Body::new(Begun { begin, body }));
            }
        };
        match self.0.admit(department, data, trailers, room) {
            Some(answer) => Response::from_parts(parts, Body::new(answer)),
            None => status::of(no_room()).into_http(),
        }
    }

    #[cfg(test)]
    pub(in crate::rpc) fn bytes(&self) -> usize {
        self.0.state.lock().bytes
    }
}

fn no_room() -> Error {
    Error::QuotaExhausted { what: "room for answers that wait to be read", retry_after: RETRY_AFTER }
}

/// The body's next frame, if it is there already.
async fn look(body: &mut Body) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
    poll_fn(|context| Poll::Ready(Pin::new(&mut *body).poll_frame(context))).await
}

impl Shared {
    fn admit(
        self: &Arc<Self>,
        department: Option<DepartmentAlias>,
        data: Bytes,
        trailers: Option<HeaderMap>,
        room: Option<Room>,
    ) -> Option<Answer> {
        let bytes = data.len();
        debug_assert!(room.as_ref().is_none_or(|room| bytes <= room.0.bytes), "{bytes} bytes do not fit into {room:?}");
        let mut state = self.state.lock();
        if room.is_some() {
            state.add(&department, bytes);
        } else if !self.count(&mut state, &department, bytes) {
            return None;
        }
        let rest = Arc::new(Mutex::new(Rest { department, data, trailers, counted: bytes, taken_back: false }));
        let number = state.next;
        state.next += 1;
        state.waiting.insert(number, (Instant::now() + self.unread_timeout, rest.clone()));
        self.show(&state);
        drop(state);
        // The answer has taken its place.
        drop(room);
        Some(Answer { request: RequestId::current(), shared: self.clone(), number, rest })
    }

    /// Counts so many bytes, if there is room for them.
    fn count(&self, state: &mut State, department: &Option<DepartmentAlias>, bytes: usize) -> bool {
        let own = state.departments.get(department).copied().unwrap_or_default();
        let fits = state.bytes + bytes <= self.bytes_max && own + bytes <= self.bytes_max / DEPARTMENT_SHARE;
        if bytes > SMALL_BYTES && !fits {
            self.metrics.refused.inc();
            return false;
        }
        state.add(department, bytes);
        self.show(state);
        true
    }

    /// Takes back what was not read in time.
    fn sweep(&self) {
        let now = Instant::now();
        loop {
            let mut state = self.state.lock();
            let Some(first) = state.waiting.first_entry().filter(|first| first.get().0 <= now) else { return };
            let (_, rest) = first.remove();
            let mut rest = rest.lock();
            rest.taken_back = true;
            (rest.data, rest.trailers) = (Bytes::new(), None);
            // A piece is still with the connection.
            let freed = rest.counted.saturating_sub(PIECE_BYTES);
            rest.counted -= freed;
            state.subtract(&rest.department, freed);
            self.metrics.taken_back.inc();
            self.show(&state);
        }
    }

    fn show(&self, state: &State) {
        self.metrics.bytes.set(i64::try_from(state.bytes).unwrap_or(i64::MAX));
    }
}

impl State {
    fn add(&mut self, department: &Option<DepartmentAlias>, bytes: usize) {
        self.bytes += bytes;
        *self.departments.entry(department.clone()).or_default() += bytes;
    }

    fn subtract(&mut self, department: &Option<DepartmentAlias>, bytes: usize) {
        self.bytes -= bytes;
        if let Some(count) = self.departments.get_mut(department) {
            *count -= bytes;
            if *count == 0 {
                self.departments.remove(department);
            }
        }
    }
}

/// A whole answer, in pieces.
struct Answer {
    /// Whose answer it is: it is read when the call's own code has long come back.
    request: Option<RequestId>,
    shared: Arc<Shared>,
    number: u64,
    rest: Arc<Mutex<Rest>>,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut rest = self.rest.lock();
        if std::mem::take(&mut rest.taken_back) {
            let mut trailers = HeaderMap::new();
            let told = request::on_behalf(self.request, || status::of(Error::ClientTooSlow)).add_header(&mut trailers);
            return Poll::Ready(Some(told.map(|()| Frame::trailers(trailers))));
        }
        if rest.data.is_empty() {
            return Poll::Ready(rest.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
        }
        if rest.data.len() <= PIECE_BYTES && rest.counted <= PIECE_BYTES {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut rest.data)))));
        }
        let length = rest.data.len().min(PIECE_BYTES);
        // Copied: a slice that the connection keeps would keep the whole answer in memory.
        let piece = Bytes::copy_from_slice(&rest.data.split_to(length));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.waiting.remove(&self.number);
        let rest = self.rest.lock();
        state.subtract(&rest.department, rest.counted);
        self.shared.show(&state);
    }
}

/// A stream whose begin was looked at.
struct Begun {
    begin: VecDeque<Result<Frame<Bytes>, Status>>,
    body: Body,
}

impl hyper::body::Body for Begun {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        match this.begin.pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => Pin::new(&mut this.body).poll_frame(context),
        }
    }
}

impl<S> tower::Layer<S> for Unsent {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { inner, unsent: self.clone() }
    }
}

/// A service whose answers are counted.
#[derive(Clone, Debug)]
pub struct Guarded<S> {
    inner: S,
    unsent: Unsent,
}

impl<S> tower::Service<Request<Body>> for Guarded<S>
where
    S: tower::Service<Request<Body>, Response = Response<Body>>,
    S::Error: Send,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let department = peer::department(&request);
        let (answer, unsent) = (self.inner.call(request), self.unsent.clone());
        Box::pin(async move { Ok(unsent.hold(department, answer.await?).await) })
    }
}
