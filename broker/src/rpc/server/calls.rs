//! Each call has an id, and a span in which everything is done that is done for it.
//!
//! The span names the id, the method and, once known, the caller's department and system: of a person's certificate only that it is a person's. What a client wrote
//! (arguments, headers, the path of a method that there is not) stands nowhere in it. The id goes out in the header `x-request-id` of every answer and in the
//! `RequestInfo` of every refusal. A stream's tasks live in the span of its opening.
//!
//! It costs a call some microseconds and a message nothing: what is sent and received within a call is not looked at here.

use std::{
    collections::HashSet,
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use http::{HeaderName, HeaderValue, Request, Response};
use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::body::Body;
use tracing::{Instrument, Span, field::Empty};

use crate::{
    exchange::identity::Identity,
    request::{self, RequestId},
};

/// Where the answer of a call says its id.
pub(in crate::rpc) const HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// Stands for a method that no service here has.
const NO_METHOD: &str = "unknown";

/// The ids and spans, as a layer around every service. Clones share what they know of methods.
#[derive(Clone, Debug)]
pub struct Calls {
    methods: Arc<HashSet<String>>,
}

impl Calls {
    /// Knows the methods of the exchange and of health checks.
    pub fn new() -> Self {
        let sets = [shuqiao_proto::DESCRIPTOR_SET, tonic_health::pb::FILE_DESCRIPTOR_SET];
        // Descriptors that were compiled in are well-formed; a set that were not would leave its methods nameless.
        let files = sets.into_iter().filter_map(|set| FileDescriptorSet::decode(set).ok()).flat_map(|set| set.file);
        let methods = files.flat_map(|file| {
            let package = file.package().to_owned();
            file.service.into_iter().flat_map(move |service| {
                let service_name = format!("/{package}.{}", service.name());
                service.method.into_iter().map(move |method| format!("{service_name}/{}", method.name()))
            })
        });
        Self { methods: Arc::new(methods.collect()) }
    }
}

impl Default for Calls {
    fn default() -> Self {
        Self::new()
    }
}

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
        Called { inner, calls: self.clone() }
    }
}

/// A service whose calls have ids.
#[derive(Clone, Debug)]
pub struct Called<S> {
    inner: S,
    calls: Calls,
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
        let method = self.calls.methods.get(asked.uri().path()).map_or(NO_METHOD, String::as_str);
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
