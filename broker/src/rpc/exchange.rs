//! ExchangeService: hands each stream to a task of its own.

use std::{sync::Arc, time::Duration};

use shuqiao_proto::{
    encoded,
    v1::{self, exchange_service_server::ExchangeService},
};
use tonic::{Code, Request, Response, Status, Streaming};

use super::{
    answers::{self, AnswerStream},
    peer, publish, subscribe,
};
use crate::{
    exchange::{Error, delivery::Delivery, publishing::Publisher},
    shutdown::Tasks,
};

/// How long a client may take to send its first message.
pub(super) const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// The service, over publishing and delivery.
#[derive(Clone, Debug)]
pub struct ExchangeRpc {
    /// Serves Publish.
    pub publisher: Arc<Publisher>,
    /// Serves Subscribe.
    pub delivery: Arc<Delivery>,
    /// How long a client may leave an answer unread.
    pub unread_timeout: Duration,
    /// What the streams run on.
    pub tasks: Tasks,
}

#[tonic::async_trait]
impl ExchangeService for ExchangeRpc {
    type PublishStream = AnswerStream<v1::PublishResponse>;
    type SubscribeStream = AnswerStream<encoded::SubscribeResponse>;

    async fn publish(
        &self,
        request: Request<Streaming<v1::PublishRequest>>,
    ) -> Result<Response<Self::PublishStream>, Status> {
        let (caller, peer) = peer::caller(&request)?;
        let (answers, stream) = answers::queue();
        let serving = publish::serve(
            self.publisher.clone(),
            caller,
            peer,
            request.into_inner(),
            answers,
            self.unread_timeout,
            self.tasks.clone(),
        );
        self.tasks.spawn("publish", serving);
        Ok(Response::new(stream))
    }

    async fn subscribe(
        &self,
        request: Request<Streaming<v1::SubscribeRequest>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let (caller, peer) = peer::caller(&request)?;
        let (answers, stream) = answers::queue();
        let serving = subscribe::serve(
            self.delivery.clone(),
            caller,
            peer,
            request.into_inner(),
            answers,
            self.unread_timeout,
            self.tasks.clone(),
        );
        self.tasks.spawn("subscribe", serving);
        Ok(Response::new(stream))
    }
}

/// What it means that the next message of a stream cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// Beyond the node's bound for a message.
    TooLarge,
    /// No message of the protocol.
    Malformed,
    /// The client is gone.
    Gone,
}

impl Unreadable {
    /// By the code that tonic gives it.
    pub(super) fn of(status: &Status) -> Self {
        match status.code() {
            Code::OutOfRange => Self::TooLarge,
            Code::Internal | Code::Unimplemented => Self::Malformed,
            _ => Self::Gone,
        }
    }
}

/// A message that is none.
pub(super) fn malformed() -> Error {
    let en = "the message cannot be read: compare the protocol's version";
    Error::invalid("request", "UNREADABLE", en, "无法解析消息，请核对协议版本")
}
