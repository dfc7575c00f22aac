//! The HTTP/2 server with every bound that the configuration names.
//!
//! | `limits.` | where it holds |
//! |---|---|
//! | `streams_per_connection_max` | [`server`]: one stream more is refused (REFUSED_STREAM), the others go on |
//! | `header_bytes_max` | [`server`]: the call is answered 431, which gRPC clients show as UNKNOWN; the connection goes on |
//! | `pending_accept_resets_max` | [`server`]: GOAWAY (ENHANCE_YOUR_CALM) |
//! | `keepalive` | [`server`]: a connection that leaves a ping unanswered for 20 s is closed |
//! | `connection_age_max` | [`server`]: GOAWAY (NO_ERROR); streams go on |
//! | `connection_age_grace` | [`aged`]: the connection is closed |
//! | `message_bytes_max` | each service's `max_decoding_message_size`: OUT_OF_RANGE for a call, INVALID_ARGUMENT with its reason for a stream; the connection goes on |
//! | `arriving_bytes_max` | [`Arriving`]: what is beyond waits at the client, held back by the windows |
//! | `arrival_timeout` | [`Arriving`]: the call or the stream ends (CLIENT_TOO_SLOW); the connection goes on |
//! | `unsent_bytes_max` | [`Unsent`]: the call is refused (QUOTA_EXHAUSTED), a command before it is carried out; the connection goes on |
//! | `unread_timeout` | [`Unsent`] for the answer of a call, `rpc::exchange` for a stream: it ends (CLIENT_TOO_SLOW); the connection goes on |
//! | the others | the rooms that they bound: `tls`, `exchange::publishing`, `exchange::query` |
//!
//! Bytes that a client may send unasked for are bounded by the windows below.

mod age;
mod arriving;
mod calls;
mod methods;
mod unsent;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use age::{Aged, aged};
pub use arriving::{Admitted, Arriving, ArrivingMetrics};
pub(in crate::rpc) use calls::introduce;
pub use calls::{Called, Calls};
use tonic::transport::Server;
use tower::layer::util::{Identity, Stack};
pub use unsent::{Guarded, Room, Unsent, UnsentMetrics};

use crate::config::Limits;

/// How long a client may take to answer a keepalive ping.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes of one stream that wait to be read. A batch may be larger: it is read as it comes.
const STREAM_WINDOW_BYTES: u32 = 512 << 10;
/// Bytes of one connection that wait to be read: several streams' worth, or a publisher that is held back would hold back the acknowledgements of a subscriber
/// on the same connection. Fixed: a window that adapts to the line would adapt to a flood.
const CONNECTION_WINDOW_BYTES: u32 = 4 * STREAM_WINDOW_BYTES;

/// What every call goes through, in this order: its id and span, its request's bytes, its answer's.
pub type Layers = Stack<Unsent, Stack<Arriving, Stack<Calls, Identity>>>;

/// A server builder that gives each call its id, keeps `limits`, counts requests in `arriving` and answers in `unsent`. What it serves comes through [`aged`].
pub fn server(limits: &Limits, arriving: Arriving, unsent: Unsent) -> Server<Layers> {
    Server::builder()
        .max_concurrent_streams(limits.streams_per_connection_max)
        .http2_max_header_list_size(limits.header_bytes_max.bytes_u32())
        .http2_max_pending_accept_reset_streams(Some(limits.pending_accept_resets_max))
        .http2_keepalive_interval(Some(limits.keepalive))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .http2_adaptive_window(Some(false))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        // Without `max_connection_age_grace`: with it tonic 0.14 never says GOAWAY and cuts the connection at the end of both (see `connection_timeout_future`
        // there). The grace is kept by `aged`.
        .max_connection_age(limits.connection_age_max)
        .layer(Calls)
        .layer(arriving)
        .layer(unsent)
}
