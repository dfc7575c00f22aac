//! Whom a request comes from: what the TLS acceptor learned of the connection, handed to every request on it.

use std::sync::Arc;

use tonic::{Request, Status};

use crate::exchange::{Error, identity::Identity, model::DepartmentAlias};

/// Attached to each connection by `tls`; tonic copies it into every request's extensions.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The caller, or none where the certificate carries no identity of this exchange.
    pub identity: Option<Arc<Identity>>,
    /// Where the connection comes from, for the log.
    pub address: Option<std::net::SocketAddr>,
    /// Cancelled when the certificate has lost its force (it is revoked, has ended, or its authority is trusted no more): live streams end with
    /// CERTIFICATE_REVOKED.
    pub revoked: tokio_util::sync::CancellationToken,
}

/// The department of a request's caller; none where the certificate carries no identity.
pub(super) fn department<B>(request: &http::Request<B>) -> Option<DepartmentAlias> {
    let identity = request.extensions().get::<Peer>()?.identity.as_ref()?;
    Some(identity.department.clone())
}

/// The caller of a request, which the call's span names from now on.
///
/// # Errors
/// UNAUTHENTICATED: IDENTITY_MALFORMED where the connection has no identity, CERTIFICATE_REVOKED where its certificate has lost its force since it was opened.
pub fn caller<T>(request: &Request<T>) -> Result<(Arc<Identity>, Peer), Status> {
    let peer = request.extensions().get::<Peer>().ok_or_else(|| super::status::of(Error::IdentityMalformed))?;
    if peer.revoked.is_cancelled() {
        return Err(super::status::of(Error::CertificateRevoked));
    }
    match &peer.identity {
        Some(identity) => {
            super::server::introduce(identity);
            Ok((identity.clone(), peer.clone()))
        }
        None => Err(super::status::of(Error::IdentityMalformed)),
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;
    use tonic::Code;
    use tonic_types::StatusExt;

    use super::*;

    #[test]
    fn a_certificate_that_has_lost_its_force_makes_no_further_call_on_its_connection() {
        let identity =
            Identity::parse("spiffe://x/department/taxation/system/a", "x", "01".into()).expect("well-formed");
        let peer = Peer { identity: Some(Arc::new(identity)), address: None, revoked: CancellationToken::new() };
        let mut request = Request::new(());
        request.extensions_mut().insert(peer.clone());
        assert!(caller(&request).is_ok());
        peer.revoked.cancel();
        let refused = caller(&request).expect_err("revoked");
        assert_eq!(refused.code(), Code::Unauthenticated);
        assert_eq!(refused.get_error_details().error_info().expect("a reason").reason, "CERTIFICATE_REVOKED");
    }
}
