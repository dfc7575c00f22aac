//! Each call has an id, and a span in which everything is done that is done for it.
//!
//! The span names the id, the method and, once known, the caller's department and system: of a person's certificate only that it is a person's. What a client wrote
//! (arguments, headers, the path of a method that there is not) stands nowhere in it. The id goes out in the header `x-request-id` of every answer and in the
//! `RequestInfo` of every refusal. A stream's tasks live in the span of its opening.
//!
//! It costs a call some microseconds and a message nothing: what is sent and received within a call is not looked at here.

use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{HeaderName, HeaderValue, Request, Response};
use tonic::body::Body;
use tracing::{Instrument, Span, field::Empty};

use super::methods;
use crate::{
    exchange::identity::Identity,
    request::{self, RequestId},
};

/// Where the answer of a call says its id.
pub(in crate::rpc) const HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// Stands for a method that no service here has.
const NO_METHOD: &str = "unknown";

/// The ids and spans, as a layer around every service.
#[derive(Clone, Copy, Debug)]
pub struct Calls;

/// Names the caller in the span of the call that is being served.
pub(in crate::rpc) fn introduce(caller: &Identity) {
    let span = Span::current();
    span.record("department", caller.department.as_str());
    // `department/{alias}/system/{name}`, or a person's name, which no line may show.
    let mut parts = caller.source.as_str().split('/').skip(2);
    let system = match (parts.next(), parts.next()) {
        (Some("system"), Some(name)) => name,
        _ => "(person)",
    };
    span.record("system", system);
}

impl<S> tower::Layer<S> for Calls {
    type Service = Called<S>;

    fn layer(&self, inner: S) -> Called<S> {
        Called { inner }
    }
}

/// A service whose calls have ids.
#[derive(Clone, Debug)]
pub struct Called<S> {
    inner: S,
}

impl<S> tower::Service<Request<Body>> for Called<S>
where
    S: tower::Service<Request<Body>, Response = Response<Body>>,
    S::Error: Send,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, asked: Request<Body>) -> Self::Future {
        let id = RequestId::mint();
        let method = methods::name(asked.uri().path()).unwrap_or(NO_METHOD);
        // Of the highest level: where the filter leaves a line, it leaves the span that the line belongs to.
        let span = tracing::error_span!("call", request_id = %id, method, department = Empty, system = Empty);
        let answer = request::on_behalf(Some(id), || span.in_scope(|| self.inner.call(asked)));
        let answered = async move {
            let mut response = answer.await?;
            if let Ok(value) = HeaderValue::try_from(id.to_string()) {
                response.headers_mut().insert(HEADER, value);
            }
            tracing::debug!("answered");
            Ok(response)
        };
        Box::pin(id.within(answered).instrument(span))
    }
}
