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
