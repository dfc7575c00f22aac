//! Answers of calls that a client asks for and does not read.

use tonic_prost::ProstCodec;

use super::*;

const SAY: &str = "/test.Wordy/Say";
const ANSWER_BYTES: usize = 1 << 20;

/// A service whose every answer is long.
#[derive(Clone)]
pub(super) struct Wordy;

impl NamedService for Wordy {
    const NAME: &'static str = "test.Wordy";
}

impl tower::Service<http::Request<Body>> for Wordy {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let mut grpc = tonic::server::Grpc::new(ProstCodec::<String, String>::default());
        Box::pin(async move { Ok(grpc.unary(Say, request).await) })
    }
}

struct Say;

impl tower::Service<tonic::Request<String>> for Say {
    type Response = tonic::Response<String>;
    type Error = tonic::Status;
    type Future = std::future::Ready<Result<Self::Response, tonic::Status>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), tonic::Status>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: tonic::Request<String>) -> Self::Future {
        std::future::ready(Ok(tonic::Response::new("x".repeat(ANSWER_BYTES))))
    }
}

/// SETTINGS_INITIAL_WINDOW_SIZE (4).
fn window(bytes: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&[0, 4][..], &bytes.to_be_bytes()].concat())
}

fn say(stream: u32) -> Vec<u8> {
    [call(stream, SAY, 0), frame(DATA, END_STREAM, stream, &EMPTY_MESSAGE)].concat()
}

#[tokio::test]
async fn answers_that_nobody_reads_are_bounded_and_what_ends_makes_room() {
    let (address, _, unsent, tasks) = serve_counted(&Limits { unsent_bytes_max: Size(16 << 20), ..limits() }).await;
    let mut wire = Wire::open(address).await;
    wire.send(&window(0)).await;
    let streams: Vec<u32> = (0..20).map(|number| 2 * number + 1).collect();
    wire.send(&streams.iter().flat_map(|stream| say(*stream)).collect::<Vec<_>>()).await;
    let (mut held, mut refused) = (Vec::new(), 0);
    for _ in &streams {
        let head = wire.until(|frame| frame.kind == HEADERS).await.expect("the connection stands");
        // A refusal is an answer without a message.
        if head.flags & END_STREAM == 0 { held.push(head.stream) } else { refused += 1 }
    }
    // Half of 16 MiB holds seven of what is a little more than a MiB each.
    assert_eq!((held.len(), refused), (7, 13));
    assert!((7 * ANSWER_BYTES..8 * ANSWER_BYTES).contains(&unsent.bytes()));
    assert!(wire.is_answered(101).await, "a small answer finds room");
    wire.send(&held.iter().flat_map(|stream| reset(*stream)).collect::<Vec<_>>()).await;
    let freed = async {
        while unsent.bytes() > ANSWER_BYTES {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), freed).await.expect("what ends makes room");

    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).expect("address");
    let mut client = tonic::client::Grpc::new(endpoint.connect().await.expect("listening"));
    for _ in 0..20 {
        client.ready().await.expect("stands");
        let codec = ProstCodec::<String, String>::default();
        let path = http::uri::PathAndQuery::from_static(SAY);
        let said = client.unary(tonic::Request::new(String::new()), path, codec).await.expect("room");
        assert_eq!(said.into_inner(), "x".repeat(ANSWER_BYTES), "every byte, in order");
    }
    drop((wire, client));
    tasks.drain(Duration::from_secs(5)).await;
    assert_eq!(unsent.bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_read_in_time_is_taken_back() {
    let lines = crate::rpc::tests::calls::Lines::default();
    let _kept = lines.keep("shuqiao_broker=debug");
    let limits = Limits { unread_timeout: Duration::from_secs(30), ..limits() };
    let (address, _, unsent, tasks) = serve_counted(&limits).await;
    let mut wire = Wire::open(address).await;
    wire.send(&window(0)).await;
    wire.send(&say(1)).await;
    wire.until(|frame| frame.kind == HEADERS).await.expect("the answer begins");
    tokio::time::sleep(Duration::from_secs(25)).await;
    assert!(unsent.bytes() > ANSWER_BYTES, "it has its time");
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(unsent.bytes() <= 16 << 10, "{} bytes are still held", unsent.bytes());
    // Now it reads.
    wire.send(&[window(1 << 22), frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 22).to_be_bytes())].concat()).await;
    let mut read = 0;
    let end = loop {
        let frame = wire.until(|frame| frame.stream == 1).await.expect("the connection stands");
        if frame.kind != DATA {
            break frame;
        }
        read += frame.payload.len();
    };
    assert!(end.kind == HEADERS && end.flags & END_STREAM != 0, "the call ends with a status: {end:?}");
    assert!(read <= 16 << 10, "{read} bytes came all the same");
    assert_eq!(lines.spans_of("answered", "").len(), 1);
    let answered = lines.spans_of("answered", "")[0]["request_id"].as_str().expect("an id").to_owned();
    assert!(
        lines.text().lines().any(|line| line.contains("request refused") && line.contains(&answered)),
        "late, and under the call's id: {}",
        lines.text()
    );
    drop(wire);
    tasks.drain(Duration::from_secs(5)).await;
    assert_eq!(unsent.bytes(), 0);
}
