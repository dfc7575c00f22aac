//! The HTTP/2 server with every bound that the configuration names.

use std::time::Duration;

use tonic::transport::Server;

use crate::config::Limits;

/// How long a client may take to answer a keepalive ping.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// A server builder that keeps `limits`.
pub fn server(limits: &Limits) -> Server {
    Server::builder()
        .max_concurrent_streams(limits.streams_per_connection_max)
        .http2_max_header_list_size(limits.header_bytes_max.bytes_u32())
        .http2_max_pending_accept_reset_streams(Some(limits.pending_accept_resets_max))
        .http2_keepalive_interval(Some(limits.keepalive))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_connection_age(limits.connection_age_max)
        .max_connection_age_grace(limits.connection_age_grace)
}
