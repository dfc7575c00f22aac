//! ExchangeService: hands each stream to a task of its own.

use std::{sync::Arc, time::Duration};

use shuqiao_proto::{
    encoded,
    v1::{self, exchange_service_server::ExchangeService},
};
use tonic::{Code, Request, Response, Status, Streaming};

use super::{
    answers::{self, AnswerStream, Answers},
    peer::{self, Peer},
    publish, subscribe,
};
use crate::{
    exchange::{Error, delivery::Delivery, identity::Identity, publishing::Publisher},
    shutdown::Tasks,
};

/// How long a client may take to send its first message.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

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

/// One stream, as the task that serves it gets it.
pub(super) struct Call<Q, A> {
    pub(super) caller: Arc<Identity>,
    pub(super) peer: Peer,
    pub(super) requests: Streaming<Q>,
    pub(super) answers: Answers<A>,
    pub(super) unread_timeout: Duration,
    pub(super) tasks: Tasks,
}

impl ExchangeRpc {
    fn call<Q, A>(&self, request: Request<Streaming<Q>>) -> Result<(Call<Q, A>, AnswerStream<A>), Status> {
        let (caller, peer) = peer::caller(&request)?;
        let (answers, stream) = answers::queue();
        let (unread_timeout, tasks) = (self.unread_timeout, self.tasks.clone());
        Ok((Call { caller, peer, requests: request.into_inner(), answers, unread_timeout, tasks }, stream))
    }
}

#[tonic::async_trait]
impl ExchangeService for ExchangeRpc {
    type PublishStream = AnswerStream<v1::PublishResponse>;
    type SubscribeStream = AnswerStream<encoded::SubscribeResponse>;

    async fn publish(
        &self,
        request: Request<Streaming<v1::PublishRequest>>,
    ) -> Result<Response<Self::PublishStream>, Status> {
        let (call, stream) = self.call(request)?;
        self.tasks.spawn("publish", publish::serve(self.publisher.clone(), call));
        Ok(Response::new(stream))
    }

    async fn subscribe(
        &self,
        request: Request<Streaming<v1::SubscribeRequest>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let (call, stream) = self.call(request)?;
        self.tasks.spawn("subscribe", subscribe::serve(self.delivery.clone(), call));
        Ok(Response::new(stream))
    }
}

/// Waits for a stream to be opened. That may take long: who loses its certificate meanwhile, or comes to a node that stops, is not kept waiting.
pub(super) async fn opening<T>(
    peer: &Peer,
    tasks: &Tasks,
    opened: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let draining = tasks.token();
    tokio::select! {
        biased;
        () = peer.revoked.cancelled() => Err(Error::CertificateRevoked),
        () = draining.cancelled() => Err(Error::Draining),
        opened = opened => opened,
    }
}

/// Waits for the first message. `None` if the client went away without one.
pub(super) async fn first<Q>(
    requests: &mut Streaming<Q>,
    too_large: impl FnOnce() -> Error,
) -> Result<Option<Q>, Error> {
    match tokio::time::timeout(OPEN_TIMEOUT, requests.message()).await.map_err(|_| Error::ClientTooSlow)? {
        Ok(first) => Ok(first),
        Err(status) => unreadable(&status, too_large).map_or(Ok(None), Err),
    }
}

/// The first message was another one.
pub(super) fn open_first() -> Error {
    Error::invalid("request", "OPEN_FIRST", "the first message is `open`", "首条消息应为 open")
}

/// The error of a message that cannot be read, by the code that tonic gives it; nothing where the client is gone. `too_large`: it is beyond the node's bound.
pub(super) fn unreadable(status: &Status, too_large: impl FnOnce() -> Error) -> Option<Error> {
    match status.code() {
        Code::OutOfRange => Some(too_large()),
        // It was not whole in time (`rpc::server`).
        Code::ResourceExhausted => Some(Error::ClientTooSlow),
        Code::Internal | Code::Unimplemented => {
            let en = "the message cannot be read: compare the protocol's version";
            Some(Error::invalid("request", "UNREADABLE", en, "无法解析消息，请核对协议版本"))
        }
        _ => None,
    }
}
