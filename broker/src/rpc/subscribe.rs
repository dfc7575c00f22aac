//! The Subscribe half of ExchangeService: one task a stream, which takes credit and acknowledgements while it writes records.
//!
//! Credit holds the node back, not HTTP/2 alone: what a client did not ask for is not prepared. A client that leaves an answer unread for too long is let go; its
//! cursor is where its acknowledgements put it.

use std::{sync::Arc, time::Duration};

use shuqiao_proto::v1::{self, subscribe_request::Request, subscribe_response::Response};
use tokio::sync::mpsc::{self, error::SendTimeoutError};
use tonic::{Status, Streaming};

use super::{convert, peer::Peer, status};
use crate::{
    exchange::{
        Error,
        catalogue::Etag,
        delivery::{Batch, Delivered, Delivery, Event, Handle, Open, Stream},
        identity::Identity,
        model::{Operation, Position},
    },
    shutdown::Tasks,
};

/// How long a client may take to send its first message.
const OPEN_MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may leave a delivery unread.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the last word waits for room: whoever reads gets it, who does not will not.
const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(1);

type Answers = mpsc::Sender<Result<v1::SubscribeResponse, Status>>;

/// How a stream ended.
enum End {
    /// The client has said all, or is gone.
    Client,
    /// The exchange ends it.
    Exchange(Error),
}

/// Serves one stream until it ends; every end but the client's own is told as a status.
pub(super) async fn serve(
    delivery: Arc<Delivery>,
    caller: Arc<Identity>,
    peer: Peer,
    mut requests: Streaming<v1::SubscribeRequest>,
    answers: Answers,
    tasks: Tasks,
) {
    let draining = tasks.token();
    let opened = tokio::select! {
        biased;
        () = peer.revoked.cancelled() => Err(Error::CertificateRevoked),
        () = draining.cancelled() => Err(Error::Draining),
        opened = open(&delivery, &caller, &mut requests) => opened,
    };
    let mut stream = match opened {
        Ok(Some(stream)) => stream,
        Ok(None) => return,
        Err(error) => return last_word(&answers, Err(status::of(error))).await,
    };
    let handle = stream.handle();
    let end = tokio::select! {
        biased;
        () = peer.revoked.cancelled() => End::Exchange(Error::CertificateRevoked),
        end = read(&mut requests, &handle) => end,
        end = write(&mut stream, &answers) => end,
    };
    match end {
        End::Client => {
            if let Some(cursor) = stream.close().await {
                last_word(&answers, Ok(response(cursor_moved(&cursor)))).await;
            }
        }
        End::Exchange(error) => {
            last_word(&answers, Err(status::of(error))).await;
            stream.close().await;
        }
    }
}

/// Waits for the first message. `None` if the client went away without one.
async fn open(
    delivery: &Delivery,
    caller: &Arc<Identity>,
    requests: &mut Streaming<v1::SubscribeRequest>,
) -> Result<Option<Stream>, Error> {
    let first = tokio::time::timeout(OPEN_MESSAGE_TIMEOUT, requests.message()).await;
    match first.map_err(|_| Error::ClientTooSlow)? {
        Ok(Some(v1::SubscribeRequest { request: Some(Request::Open(open)) })) => {
            let v1::SubscribeOpen { subscription, held, credit } = open;
            let held = held.into_iter().map(position).collect();
            delivery.subscribe(caller, Open { subscription, held, credit }).await.map(Some)
        }
        Ok(Some(_)) => Err(Error::invalid("request", "OPEN_FIRST", "the first message is `open`", "首条消息应为 open")),
        Ok(None) | Err(_) => Ok(None),
    }
}

async fn read(requests: &mut Streaming<v1::SubscribeRequest>, handle: &Handle) -> End {
    loop {
        match requests.message().await {
            Ok(Some(v1::SubscribeRequest { request: Some(Request::Credit(credit)) })) => handle.credit(credit.records),
            Ok(Some(v1::SubscribeRequest { request: Some(Request::Acknowledge(acknowledge)) })) => {
                handle.acknowledge(acknowledge.positions.into_iter().map(position));
            }
            Ok(Some(_)) => {
                return End::Exchange(Error::invalid(
                    "request",
                    "CREDIT_OR_ACKNOWLEDGE_EXPECTED",
                    "`open` comes once, then credit and acknowledgements",
                    "open 仅一次，其后为额度与确认",
                ));
            }
            Ok(None) | Err(_) => return End::Client,
        }
    }
}

async fn write(stream: &mut Stream, answers: &Answers) -> End {
    let mut answer = Response::Opened(v1::SubscribeOpened {
        cursor: stream.cursor().into_iter().map(convert_position).collect(),
        end: stream.end().into_iter().map(convert_position).collect(),
    });
    loop {
        let sent = tokio::select! {
            biased;
            sent = answers.send_timeout(Ok(response(answer)), SEND_TIMEOUT) => sent,
            // A client that does not read is no reason to let it read on after its grant has ended.
            error = stream.ended() => return End::Exchange(error),
        };
        match sent {
            Ok(()) => {}
            Err(SendTimeoutError::Timeout(_)) => return End::Exchange(Error::ClientTooSlow),
            Err(SendTimeoutError::Closed(_)) => return End::Client,
        }
        answer = match stream.next().await {
            Ok(Event::Batch(batch)) => Response::Delivery(delivery_of(batch)),
            Ok(Event::CursorMoved(cursor)) => cursor_moved(&cursor),
            Err(error) => return End::Exchange(error),
        };
    }
}

async fn last_word(answers: &Answers, answer: Result<v1::SubscribeResponse, Status>) {
    if answers.send_timeout(answer, LAST_WORD_TIMEOUT).await.is_err() {
        tracing::debug!("the client did not read why its stream ended");
    }
}

fn response(response: Response) -> v1::SubscribeResponse {
    v1::SubscribeResponse { response: Some(response) }
}

fn cursor_moved(cursor: &[Position]) -> Response {
    Response::CursorMoved(v1::CursorMoved { cursor: cursor.iter().copied().map(convert_position).collect() })
}

fn delivery_of(batch: Batch) -> v1::Delivery {
    let grant = batch.grant.map(|(_, version)| Etag(version).to_string()).unwrap_or_default();
    let dataset = batch.dataset.as_str();
    v1::Delivery { records: batch.records.into_iter().filter_map(|one| record(dataset, one)).collect(), grant }
}

fn record(dataset: &str, delivered: Delivered) -> Option<v1::Record> {
    let record = delivered.record()?;
    let operation = match delivered.operation {
        Operation::Upsert => v1::Operation::Upsert,
        Operation::Delete => v1::Operation::Delete,
    };
    Some(v1::Record {
        dataset: dataset.to_owned(),
        record_type: record.record_type.as_str().to_owned(),
        key: record.key.as_ref().to_owned(),
        operation: operation.into(),
        source_version: record.source_version,
        payload: delivered.payload.clone(),
        source: record.source.as_str().to_owned(),
        sequence: record.sequence,
        accept_time: Some(convert::timestamp(record.accept_time_ms)),
        position: Some(convert_position(delivered.position)),
    })
}

fn position(position: v1::Position) -> Position {
    Position { partition: position.partition, offset: position.offset }
}

fn convert_position(position: Position) -> v1::Position {
    v1::Position { partition: position.partition, offset: position.offset }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use prometheus_client::registry::Registry;
    use ring::signature::Ed25519KeyPair;
    use shuqiao_proto::v1::{
        exchange_service_client::ExchangeServiceClient, exchange_service_server::ExchangeServiceServer,
    };
    use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
    use tokio_util::sync::CancellationToken;
    use tonic_types::StatusExt;

    use super::*;
    use crate::{
        exchange::{
            catalogue::fixtures::{new_grant, new_subscription},
            delivery::{
                Metrics, Options,
                tests::fixture::{GRANT, House, SUBSCRIPTION, measured, options, taxation},
            },
            fixtures::{DATASET, delete, upsert},
            publishing::{self, Publisher},
        },
        rpc::exchange::ExchangeRpc,
    };

    /// The service on a socket of its own; every caller is taxation.
    async fn serve(house: &House, revoked: CancellationToken) -> SocketAddr {
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
        let service = ExchangeRpc { publisher: Arc::new(publisher), delivery, tasks };
        let peer = Peer { identity: Some(taxation()), address: None, revoked };
        let service = ExchangeServiceServer::with_interceptor(service, move |mut request: tonic::Request<()>| {
            request.extensions_mut().insert(peer.clone());
            Ok(request)
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let token = city.tasks.token();
        let serving = tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async move { token.cancelled().await });
        city.tasks.spawn("serve", async move { serving.await.unwrap() });
        address
    }

    type Client = (mpsc::Sender<v1::SubscribeRequest>, Streaming<v1::SubscribeResponse>);

    async fn client(address: SocketAddr, first: Request) -> Client {
        let mut client = ExchangeServiceClient::connect(format!("http://{address}")).await.unwrap();
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
        assert_eq!(
            (first.dataset.as_str(), first.record_type.as_str(), first.key.as_str()),
            (DATASET, "sample/v1", "a")
        );
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
        certificate.cancel();
        let (_asks, mut answers) = client(address, opening(0)).await;
        assert_eq!(refusal(&mut answers).await, "CERTIFICATE_REVOKED");
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
}
