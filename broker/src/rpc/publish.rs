//! The Publish half of ExchangeService: one task a stream, which reads batches and writes acknowledgements in order.
//!
//! At most `batches_in_flight_max` batches wait for their acknowledgement; then the stream is not read, and HTTP/2 flow control holds the client back.

use std::{sync::Arc, time::Duration};

use shuqiao_proto::v1::{self, publish_request, publish_response};
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};

use super::{convert, peer::Peer, status};
use crate::{
    exchange::{
        Error,
        identity::Identity,
        model::Operation,
        publishing::{Acknowledgement, Batch, Fate, NewRecord, Publisher, Session},
    },
    shutdown::Tasks,
};

/// How long a client may take to send its first message.
const OPEN_MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may leave an acknowledgement unread.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

type Answers = mpsc::Sender<Result<v1::PublishResponse, Status>>;

/// What the reading half hands to the writing half, in order.
enum Step {
    Acknowledging(tokio::task::JoinHandle<Result<Acknowledgement, Error>>),
    End(Error),
}

/// Serves one stream until it ends; every end but the client's own is told as a status.
pub(super) async fn serve(
    publisher: Arc<Publisher>,
    caller: Arc<Identity>,
    peer: Peer,
    mut requests: Streaming<v1::PublishRequest>,
    answers: Answers,
    tasks: Tasks,
) {
    let draining = tasks.token();
    // Opening may wait for the view: who loses its certificate meanwhile, or comes to a node that stops, is not kept waiting.
    let opening = tokio::select! {
        biased;
        () = peer.revoked.cancelled() => Err(Error::CertificateRevoked),
        () = draining.cancelled() => Err(Error::Draining),
        opening = open(&publisher, &caller, &mut requests) => opening,
    };
    let session = match opening {
        Ok(Some(session)) => session,
        Ok(None) => return,
        Err(error) => return fail(&answers, error).await,
    };
    if !send(&answers, Ok(opened(&publisher, &caller, &session))).await {
        return;
    }
    // One batch is being awaited by the writing half, the others stand in the channel.
    let (steps, ordered) = mpsc::channel(publisher.options().batches_in_flight_max.saturating_sub(1).max(1));
    let batch_bytes_max = publisher.options().batch_bytes_max;
    tokio::join!(read(session, peer, requests, steps, batch_bytes_max, tasks), write(ordered, answers));
}

/// Waits for the first message. `None` if the client went away without one.
async fn open(
    publisher: &Publisher,
    caller: &Arc<Identity>,
    requests: &mut Streaming<v1::PublishRequest>,
) -> Result<Option<Session>, Error> {
    let first = tokio::time::timeout(OPEN_MESSAGE_TIMEOUT, requests.message()).await;
    match first.map_err(|_| Error::ClientTooSlow)? {
        Ok(Some(v1::PublishRequest { request: Some(publish_request::Request::Open(open)) })) => {
            publisher.open(caller, &open.dataset, &open.source).await.map(Some)
        }
        Ok(Some(_)) => Err(Error::invalid("request", "OPEN_FIRST", "the first message is `open`", "首条消息应为 open")),
        Ok(None) | Err(_) => Ok(None),
    }
}

fn opened(publisher: &Publisher, caller: &Identity, session: &Session) -> v1::PublishResponse {
    let options = publisher.options();
    let high_water: Vec<_> =
        session.high_water().map(|(partition, sequence)| v1::HighWater { partition, sequence }).collect();
    v1::PublishResponse {
        response: Some(publish_response::Response::Opened(v1::PublishOpened {
            last_sequence: high_water.iter().map(|mark| mark.sequence).max().unwrap_or(0),
            high_water,
            max_batches_in_flight: u32::try_from(options.batches_in_flight_max).unwrap_or(u32::MAX),
            max_batch_records: u32::try_from(options.batch_records_max).unwrap_or(u32::MAX),
            max_batch_bytes: options.batch_bytes_max as u64,
            source: caller.source.as_str().to_owned(),
        })),
    }
}

async fn read(
    mut session: Session,
    peer: Peer,
    mut requests: Streaming<v1::PublishRequest>,
    steps: mpsc::Sender<Step>,
    batch_bytes_max: usize,
    tasks: Tasks,
) {
    let fenced = session.fenced();
    let draining = tasks.token();
    loop {
        let message = tokio::select! {
            biased;
            () = peer.revoked.cancelled() => Err(Error::CertificateRevoked),
            () = fenced.cancelled() => Err(Error::SourceFenced),
            () = draining.cancelled() => Err(Error::Draining),
            () = steps.closed() => return,
            message = requests.message() => match message {
                Ok(Some(message)) => batch(message),
                // The client has said all: what it sent is still acknowledged.
                Ok(None) => return,
                Err(broken) => match broken.code() {
                    // Larger than any message may be, of which a batch takes up nearly all.
                    Code::OutOfRange => {
                        Err(session.refuse(Error::BatchTooLarge { limit: batch_bytes_max as u64, unit: "bytes" }).await)
                    }
                    Code::Internal => {
                        let (en, zh) = ("the message cannot be read: compare the protocol's version", "无法解析消息，请核对协议版本");
                        Err(Error::invalid("request", "UNREADABLE", en, zh))
                    }
                    // The client is gone.
                    _ => return,
                },
            },
        };
        let step = match message {
            Ok(batch) => match session.submit(batch).await {
                Ok(acknowledging) => Step::Acknowledging(acknowledging),
                Err(error) => Step::End(error),
            },
            Err(error) => Step::End(error),
        };
        let last = matches!(step, Step::End(_));
        if steps.send(step).await.is_err() || last {
            return;
        }
    }
}

async fn write(mut ordered: mpsc::Receiver<Step>, answers: Answers) {
    while let Some(step) = ordered.recv().await {
        let acknowledgement = match step {
            Step::Acknowledging(acknowledging) => {
                acknowledging.await.unwrap_or_else(|error| Err(Error::internal(error)))
            }
            Step::End(error) => Err(error),
        };
        match acknowledgement {
            Ok(mut acknowledgement) => {
                let failure = acknowledgement.failure.take();
                if !send(&answers, Ok(response(acknowledgement))).await {
                    return;
                }
                if let Some(failure) = failure {
                    return fail(&answers, failure).await;
                }
            }
            Err(error) => return fail(&answers, error).await,
        }
    }
}

/// Sends one answer; false if the client is gone or does not read.
async fn send(answers: &Answers, answer: Result<v1::PublishResponse, Status>) -> bool {
    answers.send_timeout(answer, SEND_TIMEOUT).await.is_ok()
}

async fn fail(answers: &Answers, error: Error) {
    // A client that does not read its acknowledgements does not read its status either.
    let _unread = send(answers, Err(status::of(error))).await;
}

fn batch(message: v1::PublishRequest) -> Result<Batch, Error> {
    let Some(publish_request::Request::Batch(batch)) = message.request else {
        return Err(Error::invalid(
            "request",
            "BATCH_EXPECTED",
            "`open` comes once, then batches",
            "open 仅一次，其后为批次",
        ));
    };
    let records = batch
        .records
        .into_iter()
        .map(|record| NewRecord {
            operation: match record.operation() {
                v1::Operation::Upsert => Some(Operation::Upsert),
                v1::Operation::Delete => Some(Operation::Delete),
                v1::Operation::Unspecified => None,
            },
            sequence: record.sequence,
            key: record.key,
            source_version: record.source_version,
            payload: record.payload,
        })
        .collect();
    Ok(Batch { batch_id: batch.batch_id, record_type: batch.record_type, records })
}

fn response(acknowledgement: Acknowledgement) -> v1::PublishResponse {
    let results = acknowledgement.results.into_iter().map(|(sequence, fate)| result(sequence, fate)).collect();
    v1::PublishResponse {
        response: Some(publish_response::Response::Acknowledgement(v1::PublishAcknowledgement {
            batch_id: acknowledgement.batch_id,
            results,
            receipt: acknowledgement.receipt,
        })),
    }
}

fn result(sequence: u64, fate: Fate) -> v1::PublishResult {
    let mut result = v1::PublishResult { sequence, ..Default::default() };
    match fate {
        Fate::Accepted { position, repeat, warnings } => {
            result.set_status(v1::PublishStatus::Accepted);
            result.position = Some(v1::Position { partition: position.partition, offset: position.offset });
            result.repeat = repeat;
            result.warnings = warnings.into_iter().map(convert::violation).collect();
        }
        Fate::Rejected(violations) => {
            result.set_status(v1::PublishStatus::Rejected);
            result.violations = violations.into_iter().map(convert::violation).collect();
        }
        Fate::Unknown => result.set_status(v1::PublishStatus::Unknown),
    }
    result
}
