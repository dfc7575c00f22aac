//! Identity and transport: TLS 1.3, mutual, always on. The only room that names rustls.
//!
//! Promises:
//!
//! - a connection exists only if its certificate was issued by a trusted authority, is in its time and is not revoked; what it says of the caller is parsed
//!   once and handed to every request as [`crate::rpc::peer::Peer`];
//! - certificate, key, authorities and revocation lists are watched and replaced without a restart. A broken new file keeps the old ones in force and
//!   is logged; a file that is replaced half (certificate before key) is tried again when the other half arrives;
//! - a live connection is held to the same judgement as a new one: after every replacement (a list that revokes it, authorities that no longer vouch for it),
//!   when its certificate ends, and once a minute, its certificate is verified again. Where that fails the connection's `revoked` token is cancelled, so that
//!   streams end with CERTIFICATE_REVOKED and new calls are refused, and the socket is closed a little later. With a poll every second both happen within 5 s;
//! - everything is bounded: handshakes at once, in all and per address, and their time; connections in all, per address and per department. An IPv6 network of
//!   64 bits counts as one address;
//! - whoever says nothing, or stops in the middle of a handshake, keeps nobody out: where a bound is reached, the oldest unfinished handshake of the address that
//!   has the most makes room;
//! - what anybody can cause is logged once a second and kind, with the number of what was not, and counted each time.
//!
//! Refuses: TLS 1.2, session resumption and tickets (each connection is judged anew), early data, and any protocol but HTTP/2.
//!
//! Revocation: as soon as there is one revocation list, every authority needs one, signed by itself; files where one is missing, or is somebody else's, do not
//! come into force. A list past its
//! `nextUpdate` goes on being used and is complained about ([`CrlExpiry::Warn`], the default: fifty departments locked out because one job did not run
//! helps nobody), or refuses everybody ([`CrlExpiry::Refuse`]).

mod acceptor;
mod check;
mod client;
mod connection;
mod incoming;
mod lists;
mod material;
mod metrics;
mod registry;
mod watch;

#[cfg(test)]
mod tests;

use std::{path::PathBuf, sync::Arc, time::Duration};

pub use acceptor::Acceptor;
pub use check::{Concern, Finding, Time, What, check, check_client};
pub use client::{ClientFiles, Connector, refusal};
pub use connection::Connection;
pub use incoming::incoming;
pub use metrics::Metrics;

/// What can go wrong before a connection stands.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read the {what} {}", .path.display())]
    Read {
        /// "certificate", "key", "authorities", "revocation lists".
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file holds nothing of its kind.
    #[error("{} holds no {what} (PEM)", .path.display())]
    Empty {
        /// What was expected.
        what: &'static str,
        /// Which file.
        path: PathBuf,
    },
    /// A file is larger than anything reasonable.
    #[error("{} is larger than {limit} bytes", .path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// The library refuses the files: a kind of key that it does not know.
    #[error("the files do not make an identity")]
    Identity(#[from] rustls::Error),
    /// Authorities or revocation lists cannot be used to verify clients.
    #[error("the authorities or revocation lists cannot be used")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// The key is another certificate's.
    #[error("{} is not the key of the certificate in {}", .key.display(), .certificate.display())]
    KeyMismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// A certificate cannot be parsed.
    #[error("{} holds a certificate that cannot be parsed", .path.display())]
    MalformedCertificate {
        /// Which file.
        path: PathBuf,
    },
    /// A revocation list cannot be parsed.
    #[error("{} holds a revocation list that cannot be parsed", .path.display())]
    MalformedList {
        /// Which file.
        path: PathBuf,
    },
    /// A revocation list of somebody who is no authority here.
    #[error(
        "{} holds a revocation list of {issuer:?}, which is none of the authorities: put the lists of the certificates in tls.authorities there \
         (an intermediate that issues lists belongs among them)",
        .path.display()
    )]
    ForeignList {
        /// Which file.
        path: PathBuf,
        /// Whom the list names as its issuer.
        issuer: String,
    },
    /// A revocation list that names an authority and was not signed by it.
    #[error(
        "{} holds a revocation list in the name of {issuer:?} that this authority's key did not sign: fetch the authority's own list, and see that \
         tls.authorities holds its present certificate",
        .path.display()
    )]
    ForgedList {
        /// Which file.
        path: PathBuf,
        /// Whom the list names as its issuer.
        issuer: String,
    },
    /// An authority without a list beside others that have one: all of its clients would be refused.
    #[error(
        "{} holds no revocation list of the authority {authority:?}, so that nobody of it could be let in: add its list, or take it out of tls.authorities",
        .path.display()
    )]
    NoList {
        /// Which file.
        path: PathBuf,
        /// Whose list is missing.
        authority: String,
    },
    /// The name to expect in the server's certificate is neither DNS name nor address.
    #[error("{0:?} is no server name")]
    ServerName(String),
}

/// The node's files, all PEM.
#[derive(Clone, Debug)]
pub struct Files {
    /// The node's certificate, then its intermediates.
    pub certificate: PathBuf,
    /// The key of the certificate, PKCS#8 or SEC1.
    pub key: PathBuf,
    /// The authorities whose client certificates are accepted.
    pub authorities: PathBuf,
    /// Revocation lists of the authorities, one of each. `None`: nothing is ever revoked.
    pub revocation_lists: Option<PathBuf>,
}

/// What a revocation list past its `nextUpdate` means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CrlExpiry {
    /// It goes on being used, and is complained about.
    #[default]
    Warn,
    /// Nobody of that authority is let in.
    Refuse,
}

/// How the acceptor behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Trust domain of the exchange.
    pub exchange: String,
    /// Where identity comes from.
    pub files: Files,
    /// What an old revocation list means.
    pub crl_expiry: CrlExpiry,
    /// A handshake that takes longer is given up.
    pub handshake_timeout: Duration,
    /// Handshakes at once, sockets that have said nothing yet included, and a quarter of them of one address: beyond that, the oldest makes room for the next.
    pub handshakes_max: usize,
    /// Connections at once, handshakes included; further ones are closed.
    pub connections_max: usize,
    /// Connections at once from one address.
    pub connections_per_address_max: usize,
    /// Connections at once of one department.
    pub connections_per_department_max: usize,
    /// TCP keepalive: idle time before the first probe, and between probes.
    pub keepalive: Duration,
    /// How often the files are looked at.
    pub reload_interval: Duration,
    /// From the `revoked` token to the closed socket: time for streams to say why they end.
    pub cut_delay: Duration,
}

impl Options {
    /// The defaults for a node with these files.
    pub fn new(exchange: impl Into<String>, files: Files) -> Self {
        Self {
            exchange: exchange.into(),
            files,
            crl_expiry: CrlExpiry::default(),
            handshake_timeout: Duration::from_secs(10),
            handshakes_max: 1024,
            connections_max: 4096,
            connections_per_address_max: 256,
            connections_per_department_max: 256,
            keepalive: Duration::from_secs(60),
            reload_interval: Duration::from_secs(1),
            cut_delay: Duration::from_secs(2),
        }
    }
}

/// The one crypto provider, passed explicitly: no process-wide default to race for.
fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The only application protocol.
const ALPN_HTTP2: &[u8] = b"h2";
