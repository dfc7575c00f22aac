//! Whom a request comes from: what the TLS acceptor learned of the connection, handed to every request on it.

use std::sync::Arc;

use tonic::{Request, Status};

use crate::exchange::{Error, identity::Identity};

/// Attached to each connection by `tls`; tonic copies it into every request's extensions.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The caller, or none where the certificate carries no identity of this exchange.
    pub identity: Option<Arc<Identity>>,
    /// Where the connection comes from, for the log.
    pub address: Option<std::net::SocketAddr>,
    /// Cancelled when the certificate is revoked: live streams end with CERTIFICATE_REVOKED.
    pub revoked: tokio_util::sync::CancellationToken,
}

/// The caller of a request, which the call's span names from now on.
///
/// # Errors
/// UNAUTHENTICATED (IDENTITY_MALFORMED) where the connection has no identity.
pub fn caller<T>(request: &Request<T>) -> Result<(Arc<Identity>, Peer), Status> {
    let peer = request.extensions().get::<Peer>().ok_or_else(|| super::status::of(Error::IdentityMalformed))?;
    match &peer.identity {
        Some(identity) => {
            super::server::introduce(identity);
            Ok((identity.clone(), peer.clone()))
        }
        None => Err(super::status::of(Error::IdentityMalformed)),
    }
}
