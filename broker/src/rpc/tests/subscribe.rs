//! The Subscribe half of ExchangeService, over a loopback connection.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use prometheus_client::registry::Registry;
use ring::signature::Ed25519KeyPair;
use shuqiao_proto::v1::{
    self, exchange_service_client::ExchangeServiceClient, exchange_service_server::ExchangeServiceServer,
    subscribe_request::Request, subscribe_response::Response,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming, transport::Endpoint};
use tonic_types::StatusExt;

use crate::{
    exchange::{
        catalogue::{
            Etag,
            fixtures::{new_grant, new_subscription},
        },
        delivery::{
            Metrics, Options,
            tests::fixture::{GRANT, House, SUBSCRIPTION, measured, options, taxation},
        },
        fixtures::{DATASET, delete, upsert},
        publishing::{self, Publisher},
    },
    rpc::{exchange::ExchangeRpc, peer::Peer},
};

/// The service on a socket of its own; every caller is taxation.
async fn serve(house: &House, revoked: CancellationToken) -> SocketAddr {
    serve_patiently(house, revoked, Duration::from_secs(30)).await
}

async fn serve_patiently(house: &House, revoked: CancellationToken, unread_timeout: Duration) -> SocketAddr {
    let city = &house.city;
    let publisher = Publisher::new(
        city.log.clone(),
        city.catalogue.clone(),
        city.view.clone(),
        city.audit.clone(),
        "node-1".into(),
        Ed25519KeyPair::from_seed_unchecked(&[3; 32]).unwrap(),
        publishing::Options::default(),
        city.clock.clone(),
        publishing::Metrics::default(),
        city.tasks.clone(),
    );
    let (delivery, tasks) = (house.delivery.clone(), city.tasks.clone());
    let service = ExchangeRpc { publisher: Arc::new(publisher), delivery, unread_timeout, tasks };
    let peer = Peer { identity: Some(taxation()), address: None, revoked };
    let service = ExchangeServiceServer::with_interceptor(service, move |mut request: tonic::Request<()>| {
        request.extensions_mut().insert(peer.clone());
        Ok(request)
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let token = city.tasks.token();
    let serving = tonic::transport::Server::builder()
        .layer(crate::rpc::Calls)
        .add_service(service)
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async move { token.cancelled().await });
    city.tasks.spawn("serve", async move { serving.await.unwrap() });
    address
}

type Client = (mpsc::Sender<v1::SubscribeRequest>, Streaming<v1::SubscribeResponse>);

async fn client(address: SocketAddr, first: Request) -> Client {
    // The smallest window that HTTP/2 begins with: a client that does not read is noticed after 64 KiB.
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let channel = endpoint.initial_stream_window_size(65_535).connect().await.unwrap();
    let mut client = ExchangeServiceClient::new(channel);
    let (asks, receiver) = mpsc::channel(16);
    asks.send(v1::SubscribeRequest { request: Some(first) }).await.unwrap();
    let answers = client.subscribe(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    (asks, answers)
}

fn opening(credit: u32) -> Request {
    let subscription = format!("subscriptions/{SUBSCRIPTION}");
    Request::Open(v1::SubscribeOpen { subscription, held: Vec::new(), credit })
}

async fn answer(answers: &mut Streaming<v1::SubscribeResponse>) -> Result<Option<Response>, Status> {
    let message = tokio::time::timeout(Duration::from_secs(10), answers.message()).await.expect("an answer comes");
    Ok(message?.and_then(|message| message.response))
}

async fn refusal(answers: &mut Streaming<v1::SubscribeResponse>) -> String {
    loop {
        match answer(answers).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended without a status"),
            Err(status) => return status.get_details_error_info().expect("a reason").reason,
        }
    }
}

#[tokio::test]
async fn a_client_that_ends_its_half_learns_where_its_cursor_is() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::granted(directory.path()).await;
    house.publish(vec![upsert(1, "a", "320600"), upsert(2, "b", "320600"), delete(3, "a")]).await;
    let address = serve(&house, CancellationToken::new()).await;
    let (asks, mut answers) = client(address, opening(10)).await;
    let Ok(Some(Response::Opened(opened))) = answer(&mut answers).await else { panic!("not opened") };
    let mut records = Vec::new();
    while records.len() < 3 {
        if let Ok(Some(Response::Delivery(delivery))) = answer(&mut answers).await {
            let version = house.city.catalogue.snapshot().grant(GRANT).unwrap().version;
            assert_eq!(delivery.grant, Etag(version).to_string());
            records.extend(delivery.records);
        }
    }
    records.sort_by_key(|record| record.sequence);
    let first = &records[0];
    assert_eq!((first.dataset.as_str(), first.record_type.as_str(), first.key.as_str()), (DATASET, "sample/v1", "a"));
    assert_eq!((first.operation(), first.source_version), (v1::Operation::Upsert, 1));
    assert_eq!(first.payload, upsert(1, "a", "320600").payload);
    assert_eq!((records[2].operation(), records[2].payload.len()), (v1::Operation::Delete, 0));

    let positions = records.iter().filter_map(|record| record.position).collect();
    let acknowledge = Request::Acknowledge(v1::Acknowledge { positions });
    asks.send(v1::SubscribeRequest { request: Some(acknowledge) }).await.unwrap();
    drop(asks);
    let mut cursor = opened.cursor;
    while let Some(said) = answer(&mut answers).await.unwrap() {
        let Response::CursorMoved(moved) = said else { panic!("{said:?}") };
        cursor = moved.cursor;
    }
    assert_eq!(cursor, opened.end);
    house.close().await;
}

#[tokio::test]
async fn a_stream_that_ends_long_after_its_opening_ends_under_the_id_of_its_opening() {
    let lines = super::calls::Lines::default();
    let _kept = lines.keep("shuqiao_broker=debug");
    let directory = tempfile::tempdir().unwrap();
    let house = House::granted(directory.path()).await;
    let address = serve(&house, CancellationToken::new()).await;
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let (asks, receiver) = mpsc::channel(16);
    asks.send(v1::SubscribeRequest { request: Some(opening(10)) }).await.unwrap();
    let response = ExchangeServiceClient::new(channel).subscribe(ReceiverStream::new(receiver)).await.unwrap();
    let id = response.metadata().get("x-request-id").expect("it says its id").to_str().unwrap().to_owned();
    let mut answers = response.into_inner();
    assert!(matches!(answer(&mut answers).await, Ok(Some(Response::Opened(_)))));
    house.revoke().await;
    let status = loop {
        if let Err(status) = answer(&mut answers).await {
            break status;
        }
    };
    assert_eq!(super::calls::refused_id(&status), id);
    let spans = lines.spans_of("request refused", &id);
    let names: Vec<_> = spans.iter().map(|span| span["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, ["call", "task"]);
    assert_eq!((&spans[0]["request_id"], &spans[0]["department"]), (&id.as_str().into(), &"taxation".into()));
    drop(asks);
    house.close().await;
}

#[tokio::test]
async fn every_end_that_is_not_the_clients_has_its_reason() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::granted(directory.path()).await;
    let certificate = CancellationToken::new();
    let address = serve(&house, certificate.clone()).await;

    let (_asks, mut answers) = client(address, Request::Credit(v1::Credit { records: 1 })).await;
    assert_eq!(refusal(&mut answers).await, "INVALID_FIELD");
    let unknown = v1::SubscribeOpen { subscription: "taxation.none".into(), ..Default::default() };
    let (_asks, mut answers) = client(address, Request::Open(unknown)).await;
    assert_eq!(refusal(&mut answers).await, "RESOURCE_NOT_FOUND");

    let (older_asks, mut older) = client(address, opening(0)).await;
    answer(&mut older).await.unwrap();
    let (asks, mut answers) = client(address, opening(0)).await;
    assert_eq!(refusal(&mut older).await, "SUBSCRIPTION_TAKEN_OVER");
    answer(&mut answers).await.unwrap();
    asks.send(v1::SubscribeRequest { request: Some(opening(0)) }).await.unwrap();
    assert_eq!(refusal(&mut answers).await, "INVALID_FIELD");

    let (asks, mut answers) = client(address, opening(0)).await;
    answer(&mut answers).await.unwrap();
    house.revoke().await;
    assert_eq!(refusal(&mut answers).await, "GRANT_REVOKED");
    // A stream that says nothing yet, and one that comes afterwards.
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let mut silent = ExchangeServiceClient::new(channel);
    let (_asks, unsaid) = mpsc::channel(1);
    let mut answers = silent.subscribe(ReceiverStream::new(unsaid)).await.unwrap().into_inner();
    certificate.cancel();
    assert_eq!(refusal(&mut answers).await, "CERTIFICATE_REVOKED");
    let (_asks, unsaid) = mpsc::channel(1);
    let refused = silent.subscribe(ReceiverStream::new(unsaid)).await.expect_err("no further call");
    assert_eq!(refused.get_details_error_info().expect("a reason").reason, "CERTIFICATE_REVOKED");
    drop((older_asks, asks));
    house.close().await;
}

#[tokio::test]
async fn a_draining_node_says_so_and_keeps_what_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    // So long that only the draining itself writes the cursor.
    let options = Options { cursor_delay: Duration::from_secs(600), metrics, ..options() };
    let house = House::with(directory.path(), options).await;
    house.grant(new_grant(GRANT, DATASET, "taxation")).await;
    house.subscription(new_subscription(SUBSCRIPTION, DATASET)).await;
    house.publish(vec![upsert(1, "a", "320600")]).await;
    let address = serve(&house, CancellationToken::new()).await;
    let (asks, mut answers) = client(address, opening(1)).await;
    let position = loop {
        if let Some(Response::Delivery(delivery)) = answer(&mut answers).await.unwrap() {
            break delivery.records[0].position;
        }
    };
    let acknowledge = Request::Acknowledge(v1::Acknowledge { positions: position.into_iter().collect() });
    asks.send(v1::SubscribeRequest { request: Some(acknowledge) }).await.unwrap();
    while measured(&registry, "shuqiao_delivery_acknowledged_total{") == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::join!(house.close(), async {
        assert_eq!(refusal(&mut answers).await, "DRAINING");
        drop((asks, answers));
    });
    let house = House::open(directory.path()).await;
    let place = position.unwrap();
    let cursor = house.cursor();
    assert_eq!(cursor.get(place.partition as usize), Some(&(place.offset + 1)));
    house.close().await;
}

/// A subscriber with credit for everything that reads nothing, when the node has come to a stop over it; and how many records the node has taken up for it.
async fn sleeper(house: &House, registry: &Registry, address: SocketAddr) -> (Client, u64) {
    house.publish((1..=3_000).map(|n| upsert(n, &format!("k{n}"), "320600")).collect()).await;
    let sleeping = client(address, opening(10_000)).await;
    let taken = || measured(registry, "shuqiao_delivery_records_total{");
    let mut before = 0;
    while taken() == 0 || taken() != before {
        before = taken();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    (sleeping, before)
}

/// The records that still come, and the reason with which the stream ends.
async fn rest(answers: &mut Streaming<v1::SubscribeResponse>) -> (u64, String) {
    let mut records = 0;
    loop {
        match answer(answers).await {
            Ok(Some(Response::Delivery(delivery))) => records += delivery.records.len() as u64,
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended without a status"),
            Err(status) => return (records, status.get_details_error_info().expect("a reason").reason),
        }
    }
}

/// Small batches, so that many wait.
const BATCH_RECORDS: usize = 20;
/// The node keeps four answers, and holds a fifth in its hand.
const WAITING: u64 = 5 * BATCH_RECORDS as u64;

async fn watched(directory: &std::path::Path) -> (House, Registry) {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let house = House::with(directory, Options { batch_records_max: BATCH_RECORDS, metrics, ..options() }).await;
    house.grant(new_grant(GRANT, DATASET, "taxation")).await;
    house.subscription(new_subscription(SUBSCRIPTION, DATASET)).await;
    (house, registry)
}

async fn ended(registry: &Registry) {
    while measured(registry, "shuqiao_delivery_streams ") > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_let_go_and_learns_why() {
    let directory = tempfile::tempdir().unwrap();
    let (house, registry) = watched(directory.path()).await;
    let address = serve_patiently(&house, CancellationToken::new(), Duration::from_millis(500)).await;
    let ((_asks, mut answers), taken) = sleeper(&house, &registry, address).await;
    assert!((1..3_000).contains(&taken), "{taken} records were taken up for a client that does not read");
    ended(&registry).await;
    let (records, reason) = rest(&mut answers).await;
    assert_eq!(reason, "CLIENT_TOO_SLOW");
    assert!(records + WAITING <= taken, "{records} of {taken}: what waited was freed");
    // Nothing of it was acknowledged: it comes again.
    let (_asks, mut answers) = client(address, opening(10_000)).await;
    let mut again = 0;
    while again < 3_000 {
        if let Some(Response::Delivery(delivery)) = answer(&mut answers).await.unwrap() {
            again += delivery.records.len();
        }
    }
    drop(answers);
    house.close().await;
}

#[tokio::test]
async fn what_waits_to_be_read_does_not_leave_after_its_grant_has_ended() {
    let directory = tempfile::tempdir().unwrap();
    let (house, registry) = watched(directory.path()).await;
    let address = serve(&house, CancellationToken::new()).await;
    let ((_asks, mut answers), taken) = sleeper(&house, &registry, address).await;
    house.revoke().await;
    ended(&registry).await;
    let (records, reason) = rest(&mut answers).await;
    assert_eq!(reason, "GRANT_REVOKED");
    assert!(records + WAITING <= taken, "{records} of {taken} left");
    house.close().await;
}

#[tokio::test]
async fn a_stream_that_begins_with_another_message_is_refused_and_on_the_trail() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::open(directory.path()).await;
    let address = serve(&house, CancellationToken::new()).await;
    let (_asks, mut answers) = client(address, Request::Credit(v1::Credit { records: 1 })).await;
    let subscribing = answers.message().await.expect_err("no opening");
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let mut publishing = ExchangeServiceClient::new(endpoint.connect().await.unwrap());
    let batch = v1::publish_request::Request::Batch(v1::PublishBatch::default());
    let first = v1::PublishRequest { request: Some(batch) };
    let mut answers = publishing.publish(tokio_stream::iter([first])).await.unwrap().into_inner();
    let publishing = answers.message().await.expect_err("no opening");
    for refused in [subscribing, publishing] {
        assert_eq!(refused.get_details_error_info().unwrap().reason, "INVALID_FIELD");
    }
    for action in ["subscribe", "publish"] {
        let [entry] = &house.trail(action).await[..] else { panic!("one entry of {action}") };
        assert_eq!(
            (&entry["outcome"]["denied"], &entry["dataset"]),
            (&"INVALID_FIELD".into(), &serde_json::Value::Null)
        );
        assert_eq!(entry["actor"], "department/taxation/system/registry");
    }
    house.close().await;
}
