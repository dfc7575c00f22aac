//! The bounds against a client that keeps to none: HTTP/2 frames written by hand (RFC 9113) over a real loopback connection.
//!
//! Where a test waits for an hour, tokio's clock is paused: it moves on when nothing else can happen, and sockets are looked at before it does.

mod arriving;
mod unsent;

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use futures::future::BoxFuture;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::Instant,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{body::Body, server::NamedService};

use super::*;
use crate::{
    config::{Config, Size},
    shutdown::Tasks,
};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

const WATCH: &str = "/grpc.health.v1.Health/Watch";
const CHECK: &str = "/grpc.health.v1.Health/Check";
/// An empty message: no compression, no bytes.
const EMPTY_MESSAGE: [u8; 5] = [0; 5];

fn limits() -> Limits {
    let text = "[node]\nname = \"n\"\nexchange = \"e\"\n[tls]\ncertificate = \"c\"\nkey = \"k\"\nauthorities = \"a\"\n";
    Config::parse(text, &|_| None).expect("minimal").limits
}

/// A service that takes calls and reads nothing of them.
#[derive(Clone)]
struct Deaf;

impl NamedService for Deaf {
    const NAME: &'static str = "test.Deaf";
}

impl tower::Service<http::Request<Body>> for Deaf {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let _held = request;
            std::future::pending().await
        })
    }
}

/// A server with these limits, health checks and [`Deaf`].
async fn serve(limits: &Limits) -> (SocketAddr, Tasks) {
    let (address, _, _, tasks) = serve_counted(limits).await;
    (address, tasks)
}

/// The same with [`unsent::Wordy`] and [`arriving::Listening`], and what counts the bytes of its requests and answers.
async fn serve_counted(limits: &Limits) -> (SocketAddr, Arriving, Unsent, Tasks) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let (_, health) = tonic_health::server::health_reporter();
    let tasks = Tasks::default();
    let unsent = Unsent::new(limits, UnsentMetrics::default(), &tasks);
    let arriving = Arriving::new(limits, ArrivingMetrics::default());
    let mut router = server(limits, arriving.clone(), unsent.clone());
    let router =
        router.add_service(health).add_service(Deaf).add_service(unsent::Wordy).add_service(arriving::Listening);
    let incoming = aged(TcpListenerStream::new(listener), limits);
    let stop = tasks.token();
    tasks.spawn("server", async move {
        router.serve_with_incoming_shutdown(incoming, stop.cancelled_owned()).await.expect("serves");
    });
    (address, arriving, unsent, tasks)
}

#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    /// The error code of a RST_STREAM or GOAWAY.
    fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        number(&self.payload[at..at + 4])
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// A client of frames.
struct Wire {
    socket: TcpStream,
    answers_pings: bool,
}

impl Wire {
    async fn open(address: SocketAddr) -> Self {
        let mut socket = TcpStream::connect(address).await.expect("listening");
        socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("writable");
        let mut wire = Self { socket, answers_pings: true };
        wire.send(&frame(SETTINGS, 0, 0, &[])).await;
        wire
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.expect("writable");
    }

    /// The next frame; none where the server has closed. Answers what must be answered.
    async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.socket.read_exact(&mut head).await.ok()?;
        let mut payload = vec![0; number(&head[..3]) as usize];
        self.socket.read_exact(&mut payload).await.ok()?;
        let read = Frame { kind: head[3], flags: head[4], stream: number(&head[5..]) & 0x7fff_ffff, payload };
        match (read.kind, read.flags & ACK) {
            (SETTINGS, 0) => self.send(&frame(SETTINGS, ACK, 0, &[])).await,
            // A server that is closing may not take it any more.
            (PING, 0) if self.answers_pings => drop(self.socket.write_all(&frame(PING, ACK, 0, &read.payload)).await),
            _ => {}
        }
        Some(read)
    }

    /// The next frame that is asked for, or the server's end.
    async fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if wanted(&frame) {
                return Some(frame);
            }
        }
    }

    /// Whether a health check on this stream is answered.
    async fn is_answered(&mut self, stream: u32) -> bool {
        self.send(&[call(stream, CHECK, 0), frame(DATA, END_STREAM, stream, &EMPTY_MESSAGE)].concat()).await;
        self.until(|frame| frame.kind == HEADERS && frame.stream == stream).await.is_some()
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The HEADERS of a gRPC call, in HPACK literals that are not indexed (RFC 7541 section 6.2.2), no byte of them in Huffman's code.
fn call(stream: u32, path: &str, padding: usize) -> Vec<u8> {
    // POST and http from the static table, then :path (4), :authority (1) and content-type (31) by their names there.
    let mut block = vec![0x83, 0x86];
    let mut literal = |name: &[u8], value: &str| {
        block.extend_from_slice(name);
        length(&mut block, value.len());
        block.extend_from_slice(value.as_bytes());
    };
    literal(&[0x04], path);
    literal(&[0x01], "localhost");
    literal(&[0x0f, 0x10], "application/grpc");
    literal(b"\0\x02te", "trailers");
    if padding > 0 {
        literal(b"\0\x07padding", &"x".repeat(padding));
    }
    frame(HEADERS, END_HEADERS, stream, &block)
}

/// A length with a prefix of seven bits (RFC 7541 section 5.1).
fn length(block: &mut Vec<u8>, mut length: usize) {
    let byte = |value: usize| u8::try_from(value).expect("seven bits");
    if length < 127 {
        return block.push(byte(length));
    }
    block.push(127);
    length -= 127;
    while length >= 128 {
        block.push(0x80 | byte(length % 128));
        length /= 128;
    }
    block.push(byte(length));
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}

#[tokio::test]
async fn a_stream_too_many_is_refused_and_the_others_go_on() {
    let (address, tasks) = serve(&Limits { streams_per_connection_max: 2, ..limits() }).await;
    let mut wire = Wire::open(address).await;
    for stream in [1, 3, 5] {
        wire.send(&[call(stream, WATCH, 0), frame(DATA, END_STREAM, stream, &EMPTY_MESSAGE)].concat()).await;
    }
    let refused = wire.until(|frame| frame.kind == RST_STREAM).await.expect("the connection stands");
    assert_eq!((refused.stream, refused.code()), (5, REFUSED_STREAM));
    // One of the two ends: there is room again.
    wire.send(&reset(1)).await;
    assert!(wire.is_answered(7).await);
    drop(wire);
    tasks.drain(Duration::from_secs(30)).await;
}

#[tokio::test]
async fn headers_beyond_the_bound_are_refused_and_the_connection_goes_on() {
    let (address, tasks) = serve(&Limits { header_bytes_max: Size(4 << 10), ..limits() }).await;
    let mut wire = Wire::open(address).await;
    wire.send(&call(1, CHECK, 8 << 10)).await;
    let refused = wire.until(|frame| frame.stream == 1).await.expect("the connection stands");
    assert!(refused.kind == HEADERS && refused.flags & END_STREAM != 0, "an answer without a message: {refused:?}");
    assert!(wire.is_answered(3).await);

    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).expect("address");
    let mut client = tonic_health::pb::health_client::HealthClient::new(endpoint.connect().await.expect("listening"));
    let mut request = tonic::Request::new(tonic_health::pb::HealthCheckRequest::default());
    request.metadata_mut().insert("padding", "x".repeat(8 << 10).parse().expect("text"));
    let refused = client.check(request).await.expect_err("too large");
    assert_eq!(refused.code(), tonic::Code::Unknown);
    assert!(refused.message().contains("431"), "{refused:?}");
    client.check(tonic_health::pb::HealthCheckRequest::default()).await.expect("the connection goes on");
    drop((wire, client));
    tasks.drain(Duration::from_secs(30)).await;
}

/// Calls that are reset at once, all in one write.
async fn resets_are_suffered(count: u32, limits: &Limits) -> Option<u32> {
    let (address, tasks) = serve(limits).await;
    let mut wire = Wire::open(address).await;
    let flood: Vec<u8> = (0..count).flat_map(|n| [call(2 * n + 1, CHECK, 0), reset(2 * n + 1)].concat()).collect();
    let last = [call(2 * count + 1, CHECK, 0), frame(DATA, END_STREAM, 2 * count + 1, &EMPTY_MESSAGE)].concat();
    // In one write, which one read of the server's takes: what it left unread when it closes would cost us its last word.
    wire.send(&[flood, last].concat()).await;
    let end = wire.until(|frame| frame.kind == GOAWAY || frame.stream == 2 * count + 1).await.expect("a last word");
    let code = (end.kind == GOAWAY).then(|| end.code());
    drop(wire);
    tasks.drain(Duration::from_secs(30)).await;
    code
}

#[tokio::test]
async fn a_flood_of_resets_ends_the_connection() {
    let flood = 50;
    let strict = Limits { pending_accept_resets_max: 20, ..limits() };
    assert_eq!(resets_are_suffered(flood, &strict).await, Some(ENHANCE_YOUR_CALM));
    let lenient = Limits { pending_accept_resets_max: 10_000, ..limits() };
    assert_eq!(resets_are_suffered(flood, &lenient).await, None, "the bound is the configuration's");
}

#[tokio::test]
async fn a_stream_that_nobody_reads_leaves_room_for_the_others() {
    let (address, tasks) = serve(&limits()).await;
    let mut wire = Wire::open(address).await;
    let settings = wire.until(|frame| frame.kind == SETTINGS && frame.flags & ACK == 0).await.expect("settings");
    let window = settings.payload.chunks(6).find(|setting| number(&setting[..2]) == 4).expect("a window of streams");
    let window = number(&window[2..]) as usize;
    let update =
        wire.until(|frame| frame.kind == WINDOW_UPDATE && frame.stream == 0).await.expect("a wider connection");
    assert!(65_535 + number(&update.payload) as usize >= 4 * window);
    wire.send(&call(1, "/test.Deaf/Listen", 0)).await;
    for chunk in vec![0; window].chunks(16 << 10) {
        wire.send(&frame(DATA, 0, 1, chunk)).await;
    }
    assert!(wire.is_answered(3).await);
    drop(wire);
    tasks.drain(Duration::from_secs(30)).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_no_ping_is_cut() {
    let (address, tasks) = serve(&Limits { keepalive: Duration::from_secs(60), ..limits() }).await;
    let mut wire = Wire { answers_pings: false, ..Wire::open(address).await };
    let begin = Instant::now();
    wire.until(|frame| frame.kind == PING && frame.flags & ACK == 0).await.expect("it is asked whether it lives");
    assert!(wire.until(|_| false).await.is_none());
    let lived = begin.elapsed();
    assert!((Duration::from_secs(80)..Duration::from_secs(90)).contains(&lived), "{lived:?}");
    tasks.drain(Duration::from_secs(30)).await;
}

#[tokio::test(start_paused = true)]
async fn an_old_connection_is_asked_to_go_and_cut_after_the_grace() {
    let (age, grace) = (Duration::from_secs(3600), Duration::from_secs(300));
    // No ping within this life: the paused clock may jump over the time that a real socket takes for the answer.
    let keepalive = Duration::from_secs(24 * 3600);
    let limits = Limits { connection_age_max: age, connection_age_grace: grace, keepalive, ..limits() };
    let (address, tasks) = serve(&limits).await;
    let mut wire = Wire::open(address).await;
    let begin = Instant::now();
    // A stream that would go on for ever.
    wire.send(&[call(1, WATCH, 0), frame(DATA, END_STREAM, 1, &EMPTY_MESSAGE)].concat()).await;
    let asked = wire.until(|frame| frame.kind == GOAWAY).await.expect("it is asked to go");
    assert_eq!((asked.code(), begin.elapsed().as_secs()), (0, age.as_secs()));
    while wire.next().await.is_some_and(|frame| frame.kind != RST_STREAM) {}
    let lived = begin.elapsed();
    assert!((age + grace..age + grace + Duration::from_secs(2)).contains(&lived), "{lived:?}");
    tasks.drain(Duration::from_secs(30)).await;
}
