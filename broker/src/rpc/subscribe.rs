//! The Subscribe half of ExchangeService: one task a stream, which takes credit and acknowledgements while it writes records.
//!
//! Credit holds the node back, not HTTP/2 alone: what a client did not ask for is not prepared. A client that leaves an answer unread for too long is let go; its
//! cursor is where its acknowledgements put it.

use std::{sync::Arc, time::Duration};

use prost::Message;
use shuqiao_proto::{
    encoded::{self, Response},
    v1::{self, subscribe_request::Request},
};
use tonic::Streaming;

use super::{
    answers::{Answers, Keep, Unsent},
    convert,
    exchange::{Call, first, open_first, opening, unreadable},
    status,
};
use crate::exchange::{
    Error,
    catalogue::Etag,
    delivery::{Batch, Delivery, Event, Handle, Open, Stream},
    identity::Identity,
    model::Position,
};

/// How long the last cursor waits for room: whoever reads gets it, who does not will not.
const LAST_CURSOR_TIMEOUT: Duration = Duration::from_secs(1);

/// How a stream ended.
enum End {
    /// The client has said all, or is gone.
    Client,
    /// The exchange ends it.
    Exchange(Error),
}

/// Serves one stream until it ends; every end but the client's own is told as a status, at once: what waits to be read is dropped, and comes again where the
/// subscription goes on.
pub(super) async fn serve(delivery: Arc<Delivery>, call: Call<v1::SubscribeRequest, encoded::SubscribeResponse>) {
    let Call { caller, peer, mut requests, answers, unread_timeout, tasks } = call;
    let mut stream = match opening(&peer, &tasks, open(&delivery, &caller, &mut requests)).await {
        Ok(Some(stream)) => stream,
        Ok(None) => return,
        Err(error) => return answers.cut(status::of(error)),
    };
    let handle = stream.handle();
    let end = tokio::select! {
        biased;
        () = peer.revoked.cancelled() => End::Exchange(Error::CertificateRevoked),
        end = read(&mut requests, &handle) => end,
        end = write(&mut stream, &answers, unread_timeout) => end,
    };
    match end {
        End::Client => {
            if let Some(cursor) = stream.close().await
                && answers.send(response(cursor_moved(cursor)), LAST_CURSOR_TIMEOUT).await.is_err()
            {
                tracing::debug!("the client did not read where its cursor is");
            }
        }
        End::Exchange(error) => {
            answers.cut(status::of(error));
            stream.close().await;
        }
    }
}

/// Opens a stream by the first message. `None` if the client went away without one.
async fn open(
    delivery: &Delivery,
    caller: &Arc<Identity>,
    requests: &mut Streaming<v1::SubscribeRequest>,
) -> Result<Option<Stream>, Error> {
    let read = match first(requests, too_large).await {
        Ok(None) => return Ok(None),
        Ok(Some(v1::SubscribeRequest { request: Some(Request::Open(open)) })) => Ok(open),
        Ok(Some(_)) => Err(open_first()),
        Err(error) => Err(error),
    };
    let v1::SubscribeOpen { subscription, held, credit } = match read {
        Ok(open) => open,
        Err(error) => return Err(delivery.refuse(caller, error).await),
    };
    let held = held.into_iter().map(convert::read_position).collect();
    delivery.subscribe(caller, Open { subscription, held, credit }).await.map(Some)
}

fn too_large() -> Error {
    Error::invalid("request", "TOO_LARGE", "larger than a message may be", "超过单条消息的大小上限")
}

async fn read(requests: &mut Streaming<v1::SubscribeRequest>, handle: &Handle) -> End {
    loop {
        // A client that says more and more must not keep this task from writing, nor this thread from other tasks.
        tokio::task::coop::consume_budget().await;
        match requests.message().await {
            Ok(Some(v1::SubscribeRequest { request: Some(Request::Credit(credit)) })) => handle.credit(credit.records),
            Ok(Some(v1::SubscribeRequest { request: Some(Request::Acknowledge(acknowledge)) })) => {
                handle.acknowledge(acknowledge.positions.into_iter().map(convert::read_position));
            }
            Ok(Some(_)) => {
                return End::Exchange(Error::invalid(
                    "request",
                    "CREDIT_OR_ACKNOWLEDGE_EXPECTED",
                    "`open` comes once, then credit and acknowledgements",
                    "open 仅一次，其后为额度与确认",
                ));
            }
            Ok(None) => return End::Client,
            Err(status) => return unreadable(&status, too_large).map_or(End::Client, End::Exchange),
        }
    }
}

async fn write(stream: &mut Stream, answers: &Answers<encoded::SubscribeResponse>, unread_timeout: Duration) -> End {
    let mut answer =
        Response::Opened(v1::SubscribeOpened { cursor: positions(stream.cursor()), end: positions(stream.end()) });
    let mut keep: Keep = None;
    loop {
        let sent = tokio::select! {
            biased;
            sent = answers.send_keeping(response(answer), keep, unread_timeout) => sent,
            // A client that does not read is no reason to let it read on after its grant has ended.
            error = stream.ended() => return End::Exchange(error),
        };
        match sent {
            Ok(()) => {}
            Err(Unsent::Unread) => return End::Exchange(Error::ClientTooSlow),
            Err(Unsent::Gone) => return End::Client,
        }
        (answer, keep) = match stream.next().await {
            Ok(Event::Batch(batch)) => {
                let delivery = Response::Delivery(delivery_of(&batch));
                let records: Keep = Some(Box::new(batch.records));
                (delivery, records)
            }
            Ok(Event::CursorMoved(cursor)) => (cursor_moved(cursor), None),
            Err(error) => return End::Exchange(error),
        };
    }
}

fn response(response: Response) -> encoded::SubscribeResponse {
    encoded::SubscribeResponse { response: Some(response) }
}

fn cursor_moved(cursor: Vec<Position>) -> Response {
    Response::CursorMoved(v1::CursorMoved { cursor: positions(cursor) })
}

fn positions(positions: Vec<Position>) -> Vec<v1::Position> {
    positions.into_iter().map(convert::position).collect()
}

/// Encodes what nobody has been sent yet.
fn delivery_of(batch: &Batch) -> encoded::Delivery {
    let records = batch.records.iter().filter_map(|one| {
        let record = one.record()?;
        Some(one.encoded(|| {
            let shown = (one.operation(), one.payload().clone());
            convert::record(&batch.dataset, record, shown, one.position()).encode_to_vec().into()
        }))
    });
    let grant = batch.grant.as_ref().map(|(_, version)| Etag(*version).to_string()).unwrap_or_default();
    encoded::Delivery { records: records.collect(), grant }
}
