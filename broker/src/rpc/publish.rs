//! The Publish half of ExchangeService: one task a stream, which reads batches and writes acknowledgements in order.
//!
//! At most `batches_in_flight_max` batches wait for their acknowledgement; then the stream is not read, and HTTP/2 flow control holds the client back.

use std::{sync::Arc, time::Duration};

use shuqiao_proto::v1::{self, publish_request, publish_response};
use tokio::sync::mpsc;
use tonic::Streaming;

use super::{
    answers::{Answers, Unsent},
    convert,
    exchange::{Call, first, open_first, opening, unreadable},
    peer::Peer,
    status,
};
use crate::{
    exchange::{
        Error,
        error::FieldViolation,
        identity::Identity,
        model::Operation,
        publishing::{Acknowledgement, Batch, Fate, NewRecord, Publisher, Session},
    },
    shutdown::Tasks,
};

/// Bytes of violations and warnings in one acknowledgement, about. A batch of a thousand records that each break a hundred rules would make an answer that no
/// client takes; beyond this, each further record is told its first violation.
const VIOLATION_BYTES_MAX: usize = 2 << 20;

/// What the reading half hands to the writing half, in order.
enum Step {
    Acknowledging(tokio::task::JoinHandle<Result<Acknowledgement, Error>>),
    End(Error),
}

/// Serves one stream until it ends; every end but the client's own is told as a status.
pub(super) async fn serve(publisher: Arc<Publisher>, call: Call<v1::PublishRequest, v1::PublishResponse>) {
    let Call { caller, peer, mut requests, answers, unread_timeout, tasks } = call;
    let session = match opening(&peer, &tasks, open(&publisher, &caller, &mut requests)).await {
        Ok(Some(session)) => session,
        Ok(None) => return,
        Err(error) => return answers.finish(status::of(error)),
    };
    if answers.send(opened(&publisher, &caller, &session), unread_timeout).await.is_err() {
        return;
    }
    // One batch is being awaited by the writing half, the others stand in the channel.
    let (steps, ordered) = mpsc::channel(publisher.options().batches_in_flight_max.saturating_sub(1).max(1));
    let batch_bytes_max = publisher.options().batch_bytes_max;
    tokio::join!(read(session, peer, requests, steps, batch_bytes_max, tasks), write(ordered, answers, unread_timeout));
}

/// Opens a session by the first message. `None` if the client went away without one.
async fn open(
    publisher: &Publisher,
    caller: &Arc<Identity>,
    requests: &mut Streaming<v1::PublishRequest>,
) -> Result<Option<Session>, Error> {
    let batch_bytes_max = publisher.options().batch_bytes_max;
    let refused = match first(requests, || too_large(batch_bytes_max)).await {
        Ok(None) => return Ok(None),
        Ok(Some(v1::PublishRequest { request: Some(publish_request::Request::Open(open)) })) => {
            return publisher.open(caller, &open.dataset, &open.source).await.map(Some);
        }
        Ok(Some(_)) => open_first(),
        Err(error) => error,
    };
    Err(publisher.refuse(caller, refused).await)
}

/// A message may be larger than a batch, so one beyond the node's bound holds a batch beyond its own.
fn too_large(batch_bytes_max: usize) -> Error {
    Error::BatchTooLarge { limit: batch_bytes_max as u64, unit: "bytes" }
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
            message = requests.message() => {
                let read = match message {
                    Ok(Some(message)) => batch(message),
                    // The client has said all: what it sent is still acknowledged.
                    Ok(None) => return,
                    Err(status) => match unreadable(&status, || too_large(batch_bytes_max)) {
                        Some(error) => Err(error),
                        // The client is gone.
                        None => return,
                    },
                };
                match read {
                    Ok(batch) => Ok(batch),
                    // What cannot be read is put on the trail as what is read and refused.
                    Err(error) => Err(session.refuse(error).await),
                }
            }
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

async fn write(mut ordered: mpsc::Receiver<Step>, answers: Answers<v1::PublishResponse>, unread_timeout: Duration) {
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
                match answers.send(response(acknowledgement), unread_timeout).await {
                    Ok(()) => {}
                    // What it did not read is durable all the same: sent again, it is a repeat.
                    Err(Unsent::Unread) => return answers.cut(status::of(Error::ClientTooSlow)),
                    Err(Unsent::Gone) => return,
                }
                if let Some(failure) = failure {
                    return answers.finish(status::of(failure));
                }
            }
            Err(error) => return answers.finish(status::of(error)),
        }
    }
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
    let mut told = Told::default();
    let results =
        acknowledgement.results.into_iter().map(|(sequence, fate)| result(sequence, fate, &mut told)).collect();
    v1::PublishResponse {
        response: Some(publish_response::Response::Acknowledgement(v1::PublishAcknowledgement {
            batch_id: acknowledgement.batch_id,
            results,
            receipt: acknowledgement.receipt,
        })),
    }
}

fn result(sequence: u64, fate: Fate, told: &mut Told) -> v1::PublishResult {
    let mut result = v1::PublishResult { sequence, ..Default::default() };
    match fate {
        Fate::Accepted { position, repeat, warnings } => {
            result.set_status(v1::PublishStatus::Accepted);
            result.position = Some(convert::position(position));
            result.repeat = repeat;
            result.warnings = told.fill(warnings);
        }
        Fate::Rejected(violations) => {
            result.set_status(v1::PublishStatus::Rejected);
            result.violations = told.fill(violations);
        }
        Fate::Unknown => result.set_status(v1::PublishStatus::Unknown),
    }
    result
}

/// What one acknowledgement has told of violations so far, in bytes.
#[derive(Default)]
struct Told(usize);

impl Told {
    /// All of a record's violations; once the acknowledgement is full, the first one, and that there are more.
    fn fill(&mut self, violations: Vec<FieldViolation>) -> Vec<v1::FieldViolation> {
        let mut told = Vec::with_capacity(violations.len());
        let all = violations.len();
        for violation in violations {
            if self.0 > VIOLATION_BYTES_MAX && !told.is_empty() {
                let left = all - told.len();
                let (en, zh) = (format!("{left} more, not told here"), format!("另有 {left} 项，此处不列"));
                told.push(convert::violation(FieldViolation::new("", "TOO_MANY_VIOLATIONS", en, zh)));
                break;
            }
            let FieldViolation { path, rule, message_en, message_zh } = &violation;
            self.0 += path.len() + rule.len() + message_en.len() + message_zh.len();
            told.push(convert::violation(violation));
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn an_acknowledgement_of_nothing_but_violations_is_one_that_a_client_takes() {
        let text = "a rule that is broken, with some words about it";
        let violation = |number| FieldViolation::new(format!("/field/{number}"), "WRONG_TYPE", text, "违反的规则");
        let rejected = |sequence| (sequence, Fate::Rejected((0..100).map(violation).collect()));
        let acknowledgement = |records| Acknowledgement {
            batch_id: 1,
            results: (1..=records).map(rejected).collect(),
            receipt: None,
            failure: None,
        };
        let results = |records| match response(acknowledgement(records)).response {
            Some(publish_response::Response::Acknowledgement(said)) => said.results,
            other => panic!("{other:?}"),
        };
        assert!(results(10).iter().all(|one| one.violations.len() == 100), "a few are told everything");
        let many = results(1_000);
        assert!(many.iter().map(Message::encoded_len).sum::<usize>() < 3 << 20);
        assert_eq!(many.len(), 1_000);
        let last = many.last().expect("a result");
        let rules: Vec<_> = last.violations.iter().map(|one| one.rule.as_str()).collect();
        assert_eq!((last.status(), rules), (v1::PublishStatus::Rejected, vec!["WRONG_TYPE", "TOO_MANY_VIOLATIONS"]));
        assert_eq!(last.violations[1].message_en, "99 more, not told here");
    }
}
