//! Requests that are still arriving.
//!
//! What has come of a message is in memory until it is whole, and the client decides when that is: gRPC lets it announce megabytes and send all but the last
//! byte. So a message gets room for all of it when its length is known and before any of it is taken, out of a bound for the node
//! (`limits.arriving_bytes_max`), of which one department has a quarter at most. Until there is room the message stays where it is: HTTP/2's windows hold the
//! client back. And a message that is not whole within `limits.arrival_timeout`, waiting included, is given up: the client finds CLIENT_TOO_SLOW.
//!
//! The room of a call is given back when the call is over, that of a message in a stream when the next one is asked for: until then someone works on it.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use futures::future::BoxFuture;
use http::Request;
use hyper::body::Frame;
use parking_lot::Mutex;
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::{Registry, Unit},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep},
};
use tonic::{Status, body::Body};

use super::methods;
use crate::{
    config::Limits,
    exchange::{Error, model::DepartmentAlias},
    rpc::{peer, status},
};

/// A message of so few bytes needs no room, so that questions are heard whatever others have under way. A connection's streams bound how many there are.
const SMALL_BYTES: usize = 1 << 10;
/// One department has this part of the bound at most.
const DEPARTMENT_SHARE: usize = 4;
/// Room is counted in units of so many bytes.
const UNIT_BYTES: usize = 1 << 10;
/// Departments that are remembered before those that have nothing under way are forgotten.
const DEPARTMENTS_MAX: usize = 256;
/// What stands before each message: whether it is compressed, and its length.
const HEAD_BYTES: usize = 5;

/// What operators see of it.
#[derive(Clone, Debug, Default)]
pub struct ArrivingMetrics {
    bytes: Gauge,
    late: Counter,
}

impl ArrivingMetrics {
    /// Registers under `shuqiao_requests_`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("shuqiao_requests");
        registry.register_with_unit("arriving", "Room of requests under way", Unit::Bytes, metrics.bytes.clone());
        registry.register("late", "Requests that were not whole in time", metrics.late.clone());
        metrics
    }
}

/// The bound, as a layer around every service. Clones share it.
#[derive(Clone)]
pub struct Arriving(Arc<Shared>);

/// Without the requests.
impl std::fmt::Debug for Arriving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arriving").field("free", &self.0.node.available_permits()).finish_non_exhaustive()
    }
}

struct Shared {
    message_bytes_max: usize,
    timeout: Duration,
    node: Arc<Semaphore>,
    department_units: usize,
    /// `None`: callers without identity share one count.
    departments: Mutex<HashMap<Option<DepartmentAlias>, Weak<Semaphore>>>,
    metrics: ArrivingMetrics,
}

impl Arriving {
    /// Nothing is under way yet.
    pub fn new(limits: &Limits, metrics: ArrivingMetrics) -> Self {
        let units = limits.arriving_bytes_max.bytes() / UNIT_BYTES;
        Self(Arc::new(Shared {
            message_bytes_max: limits.message_bytes_max.bytes(),
            timeout: limits.arrival_timeout,
            node: Arc::new(Semaphore::new(units)),
            department_units: units / DEPARTMENT_SHARE,
            departments: Mutex::default(),
            metrics,
        }))
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        usize::try_from(self.0.metrics.bytes.get()).expect("a size")
    }
}

impl Shared {
    /// Waits for room for a message: first in its department's part, so that only those who have room there wait for each other.
    async fn room(self: Arc<Self>, department: Option<DepartmentAlias>, bytes: usize) -> Result<Room, Error> {
        let part = {
            let mut departments = self.departments.lock();
            if departments.len() >= DEPARTMENTS_MAX {
                departments.retain(|_, part| part.strong_count() > 0);
            }
            let held = departments.get(&department).and_then(Weak::upgrade);
            held.unwrap_or_else(|| {
                let part = Arc::new(Semaphore::new(self.department_units));
                departments.insert(department, Arc::downgrade(&part));
                part
            })
        };
        // The configuration sees to it that the largest message fits.
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES).min(self.department_units)).unwrap_or(u32::MAX);
        let own = part.acquire_many_owned(units).await.map_err(|_| Error::Draining)?;
        let node = self.node.clone().acquire_many_owned(units).await.map_err(|_| Error::Draining)?;
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.metrics.bytes.inc_by(bytes);
        Ok(Room { bytes, shared: self, _permits: [own, node] })
    }
}

/// Room for one message, until it is dropped.
struct Room {
    bytes: i64,
    shared: Arc<Shared>,
    _permits: [OwnedSemaphorePermit; 2],
}

impl Drop for Room {
    fn drop(&mut self) {
        self.shared.metrics.bytes.dec_by(self.bytes);
    }
}

/// A request's body, which is read as far as there is room for it.
struct Awaited {
    shared: Arc<Shared>,
    department: Option<DepartmentAlias>,
    is_stream: bool,
    body: Body,
    /// What has been read of it and not been handed on.
    read: Bytes,
    at: At,
    room: Option<Room>,
    /// Since when something is under way: a call from its beginning, a message of a stream from its first byte.
    begun: Option<Instant>,
    timeout: Option<Pin<Box<Sleep>>>,
}

/// Where a body stands.
enum At {
    /// Before a message, with what has been read of its head.
    Head([u8; HEAD_BYTES], usize),
    /// Before a message for which there is no room yet.
    Waiting([u8; HEAD_BYTES], usize, BoxFuture<'static, Result<Room, Error>>),
    /// Within a message of which so many bytes are left.
    Message(usize),
}

impl Awaited {
    fn is_late(&mut self, context: &mut Context<'_>) -> bool {
        let Some(begun) = self.begun else { return false };
        let deadline = begun + self.shared.timeout;
        let timeout = self.timeout.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        timeout.as_mut().poll(context).is_ready()
    }

    fn late(&mut self) -> Status {
        self.shared.metrics.late.inc();
        (self.room, self.read) = (None, Bytes::new());
        status::of(Error::ClientTooSlow)
    }
}

impl hyper::body::Body for Awaited {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        loop {
            if let At::Waiting(head, length, room) = &mut this.at {
                let Poll::Ready(room) = room.as_mut().poll(context) else {
                    return if this.is_late(context) { Poll::Ready(Some(Err(this.late()))) } else { Poll::Pending };
                };
                let (head, length) = (*head, *length);
                match room {
                    Ok(room) => this.room = Some(room),
                    Err(error) => return Poll::Ready(Some(Err(status::of(error)))),
                }
                this.at = At::Message(length);
                return Poll::Ready(Some(Ok(Frame::data(Bytes::copy_from_slice(&head)))));
            }
            if matches!(this.at, At::Message(0)) {
                this.at = At::Head([0; HEAD_BYTES], 0);
                if this.is_stream {
                    (this.room, this.begun, this.timeout) = (None, None, None);
                }
            }
            if this.read.is_empty() {
                match Pin::new(&mut this.body).poll_frame(context) {
                    Poll::Pending if this.is_late(context) => return Poll::Ready(Some(Err(this.late()))),
                    frame => match ready!(frame) {
                        Some(Ok(frame)) => match frame.into_data() {
                            Ok(data) => this.read = data,
                            Err(other) => return Poll::Ready(Some(Ok(other))),
                        },
                        end => return Poll::Ready(end),
                    },
                }
                continue;
            }
            match &mut this.at {
                At::Message(left) => {
                    let piece = this.read.split_to(this.read.len().min(*left));
                    *left -= piece.len();
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
                At::Head(head, held) => {
                    this.begun.get_or_insert_with(Instant::now);
                    let rest = &mut head[*held..];
                    let count = rest.len().min(this.read.len());
                    this.read.copy_to_slice(&mut rest[..count]);
                    *held += count;
                    if *held < HEAD_BYTES {
                        continue;
                    }
                    let head = *head;
                    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
                    let length = usize::try_from(length).unwrap_or(usize::MAX);
                    // One that is too large is refused by who reads it, before it takes any of it.
                    if length <= SMALL_BYTES || length > this.shared.message_bytes_max {
                        this.at = At::Message(length);
                        return Poll::Ready(Some(Ok(Frame::data(Bytes::copy_from_slice(&head)))));
                    }
                    let room = this.shared.clone().room(this.department.clone(), length);
                    this.at = At::Waiting(head, length, Box::pin(room));
                }
                At::Waiting(..) => {}
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && matches!(self.at, At::Head(_, 0) | At::Message(0)) && self.body.is_end_stream()
    }
}

impl<S> tower::Layer<S> for Arriving {
    type Service = Admitted<S>;

    fn layer(&self, inner: S) -> Admitted<S> {
        Admitted { inner, arriving: self.clone() }
    }
}

/// A service whose requests are counted while they arrive.
#[derive(Clone, Debug)]
pub struct Admitted<S> {
    inner: S,
    arriving: Arriving,
}

impl<S: tower::Service<Request<Body>>> tower::Service<Request<Body>> for Admitted<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let department = peer::department(&request);
        let shared = self.arriving.0.clone();
        let is_stream = methods::is_streamed(request.uri().path());
        self.inner.call(request.map(|body| {
            Body::new(Awaited {
                shared,
                department,
                is_stream,
                body,
                read: Bytes::new(),
                at: At::Head([0; HEAD_BYTES], 0),
                room: None,
                begun: (!is_stream).then(Instant::now),
                timeout: None,
            })
        }))
    }
}
