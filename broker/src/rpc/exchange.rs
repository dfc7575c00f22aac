//! ExchangeService: hands each stream to a task of its own.

use std::sync::Arc;

use shuqiao_proto::v1::{self, exchange_service_server::ExchangeService};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{peer, publish, subscribe};
use crate::{
    exchange::{delivery::Delivery, publishing::Publisher},
    shutdown::Tasks,
};

/// Answers that wait to be written to the socket, at most.
const ANSWERS_MAX: usize = 4;

/// The service, over publishing and delivery.
#[derive(Clone, Debug)]
pub struct ExchangeRpc {
    /// Serves Publish.
    pub publisher: Arc<Publisher>,
    /// Serves Subscribe.
    pub delivery: Arc<Delivery>,
    /// What the streams run on.
    pub tasks: Tasks,
}

#[tonic::async_trait]
impl ExchangeService for ExchangeRpc {
    type PublishStream = ReceiverStream<Result<v1::PublishResponse, Status>>;
    type SubscribeStream = ReceiverStream<Result<v1::SubscribeResponse, Status>>;

    async fn publish(
        &self,
        request: Request<Streaming<v1::PublishRequest>>,
    ) -> Result<Response<Self::PublishStream>, Status> {
        let (caller, peer) = peer::caller(&request)?;
        let (answers, stream) = mpsc::channel(ANSWERS_MAX);
        let serving =
            publish::serve(self.publisher.clone(), caller, peer, request.into_inner(), answers, self.tasks.clone());
        self.tasks.spawn("publish", serving);
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn subscribe(
        &self,
        request: Request<Streaming<v1::SubscribeRequest>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let (caller, peer) = peer::caller(&request)?;
        let (answers, stream) = mpsc::channel(ANSWERS_MAX);
        let serving =
            subscribe::serve(self.delivery.clone(), caller, peer, request.into_inner(), answers, self.tasks.clone());
        self.tasks.spawn("subscribe", serving);
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}
