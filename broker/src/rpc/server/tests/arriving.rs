//! Requests that a client begins and does not finish.

use std::{future::poll_fn, pin::Pin};

use hyper::body::Body as _;

use super::*;

const SAY: &str = "/test.Wordy/Say";
const PUBLISH: &str = "/shuqiao.exchange.v1.ExchangeService/Publish";
const MESSAGE_BYTES: usize = 300 << 10;

/// Reads whatever comes on the path of a stream, until it ends.
#[derive(Clone)]
pub(super) struct Listening;

impl NamedService for Listening {
    const NAME: &'static str = "shuqiao.exchange.v1.ExchangeService";
}

impl tower::Service<http::Request<Body>> for Listening {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let mut body = request.into_body();
        Box::pin(async move {
            loop {
                match poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
                    Some(Ok(_)) => {}
                    Some(Err(status)) => return Ok(status.into_http()),
                    None => return Ok(http::Response::new(Body::empty())),
                }
            }
        })
    }
}

/// A client that has learned how wide the server's windows are.
async fn open(address: SocketAddr) -> Wire {
    let mut wire = Wire::open(address).await;
    wire.until(|frame| frame.kind == WINDOW_UPDATE && frame.stream == 0).await.expect("a wider connection");
    wire
}

/// A string as protobuf says it (field 1), with the head of its message: 300 KiB in all.
fn message() -> Vec<u8> {
    // A tag and three bytes of length stand before the text.
    let text = MESSAGE_BYTES - 4;
    let length = [0x80 | low(text), 0x80 | low(text >> 7), low(text >> 14)];
    let bytes = u32::try_from(MESSAGE_BYTES).expect("short").to_be_bytes();
    [&[0][..], &bytes, &[0x0a], &length, &vec![b'x'; text]].concat()
}

fn low(number: usize) -> u8 {
    u8::try_from(number & 0x7f).expect("seven bits")
}

fn data(stream: u32, bytes: &[u8], last: u8) -> Vec<u8> {
    let frames = bytes.chunks(16 << 10).collect::<Vec<_>>();
    let end = frames.len() - 1;
    let one = |(number, bytes): (usize, &&[u8])| frame(DATA, if number == end { last } else { 0 }, stream, bytes);
    frames.iter().enumerate().flat_map(one).collect()
}

async fn until_it_holds(arriving: &Arriving, bytes: usize) {
    let reached = async {
        while arriving.bytes() != bytes {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(10), reached).await.is_ok();
    assert!(in_time, "room for {} bytes is held instead of {bytes}", arriving.bytes());
}

#[tokio::test]
async fn messages_that_are_not_whole_are_bounded_and_what_ends_makes_room() {
    let limits = Limits { message_bytes_max: Size(1 << 20), arriving_bytes_max: Size(4 << 20), ..limits() };
    let (address, arriving, _, tasks) = serve_counted(&limits).await;
    let mut wire = open(address).await;
    let message = message();
    let (begin, rest) = message.split_at(10 << 10);
    let begun = (0..6).flat_map(|number| [call(2 * number + 1, SAY, 0), data(2 * number + 1, begin, 0)].concat());
    wire.send(&begun.collect::<Vec<_>>()).await;
    // A quarter of 4 MiB holds three of them.
    until_it_holds(&arriving, 3 * MESSAGE_BYTES).await;
    assert!(wire.is_answered(101).await, "a small question finds an answer");
    assert_eq!(arriving.bytes(), 3 * MESSAGE_BYTES);
    wire.send(&data(1, rest, END_STREAM)).await;
    let answer = wire.until(|frame| frame.kind == HEADERS && frame.stream == 1).await.expect("stands");
    assert_eq!(answer.flags & END_STREAM, 0, "an answer with a message");
    // The next one has room when this one is over, its answer included.
    wire.send(&reset(1)).await;
    until_it_holds(&arriving, 3 * MESSAGE_BYTES).await;
    // The one that has waited is read like the others.
    wire.send(&data(7, rest, END_STREAM)).await;
    let answer = wire.until(|frame| frame.kind == HEADERS && frame.stream == 7).await.expect("stands");
    assert_eq!(answer.flags & END_STREAM, 0);
    wire.send(&[3, 5, 9, 11].map(reset).concat()).await;
    until_it_holds(&arriving, 0).await;
    assert!(wire.is_answered(103).await);
    drop(wire);
    tasks.drain(Duration::from_secs(5)).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_not_whole_in_time_is_given_up_waiting_included() {
    let timeout = Duration::from_secs(60);
    let limits = Limits {
        message_bytes_max: Size(1 << 20),
        arriving_bytes_max: Size(4 << 20),
        arrival_timeout: timeout,
        // The paused clock may jump over the time that a real socket takes for a ping's answer.
        keepalive: Duration::from_secs(24 * 3600),
        ..limits()
    };
    let (address, arriving, _, tasks) = serve_counted(&limits).await;
    let mut wire = open(address).await;
    let message = message();
    // Half a message, half a head, nothing at all, one that is whole in a call that does not end, and one too many.
    let parts = [&message[..10 << 10], &message[..3], &[], &message[..], &message[..10 << 10], &message[..10 << 10]];
    let begin = Instant::now();
    for (stream, part) in [1, 3, 5, 7, 9, 11].into_iter().zip(parts) {
        wire.send(&call(stream, SAY, 0)).await;
        if !part.is_empty() {
            wire.send(&data(stream, part, 0)).await;
        }
    }
    let mut ended = std::collections::BTreeSet::new();
    while ended.len() < 6 {
        let end = wire.until(|frame| frame.kind == HEADERS).await.expect("the connection stands");
        assert!(end.flags & END_STREAM != 0, "an answer without a message: {end:?}");
        ended.insert(end.stream);
    }
    let waited = begin.elapsed();
    assert!((timeout..2 * timeout).contains(&waited), "{waited:?}");
    until_it_holds(&arriving, 0).await;
    assert!(wire.is_answered(101).await);
    drop(wire);
    tasks.drain(Duration::from_secs(5)).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_may_be_silent_between_messages_and_not_within_one() {
    let limits = Limits { keepalive: Duration::from_secs(24 * 3600), ..limits() };
    let (address, arriving, _, tasks) = serve_counted(&limits).await;
    let mut wire = open(address).await;
    wire.send(&[call(1, PUBLISH, 0), data(1, &message(), 0)].concat()).await;
    tokio::time::sleep(limits.arrival_timeout / 2).await;
    wire.send(&data(1, &message(), 0)).await;
    tokio::time::sleep(10 * limits.arrival_timeout).await;
    assert_eq!(arriving.bytes(), 0, "what is whole is the reader's");
    let begin = Instant::now();
    wire.send(&data(1, &message()[..100], 0)).await;
    let end = wire.until(|frame| frame.stream == 1 && frame.kind == HEADERS).await.expect("the connection stands");
    assert!(end.flags & END_STREAM != 0, "{end:?}");
    let waited = begin.elapsed();
    assert!((limits.arrival_timeout..2 * limits.arrival_timeout).contains(&waited), "{waited:?}");
    until_it_holds(&arriving, 0).await;
    drop(wire);
    tasks.drain(Duration::from_secs(5)).await;
}
