//! From an accepted socket to a known caller.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use rustls::pki_types::CertificateDer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{
    Connection, Error, Metrics, Options,
    connection::Cut,
    material::{Raw, Trust, certificate_end},
    registry::{Full, Limits, Live, Registry, Slot},
    watch,
};
use crate::{exchange::identity::Identity, rpc::peer::Peer, shutdown::Tasks, throttle::Throttle};

/// A refused client has so long, and so many reads of a KiB, to take the reason.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_READS_MAX: usize = 64;

/// One address has this part of the handshakes at most.
const ADDRESS_SHARE: usize = 4;
/// Between two lines about refused connections of one kind: anybody may cause as many as it likes.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

/// Why a socket became no connection. For the log and the metrics; the client sees a closed socket or a TLS alert.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("the handshake failed")]
    Handshake(#[source] std::io::Error),
    #[error("the handshake took too long")]
    Timeout,
    #[error(transparent)]
    Full(#[from] Full),
    #[error("the certificate lost its force during the handshake")]
    Overtaken(#[source] rustls::Error),
}

impl Refused {
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Handshake(_) => "failed",
            Self::Timeout => "timeout",
            Self::Full(full) => full.outcome(),
            Self::Overtaken(_) => "revoked",
        }
    }
}

/// Judges connections, and goes on judging them while they live.
#[derive(Debug)]
pub struct Acceptor {
    pub(super) options: Options,
    pub(super) metrics: Metrics,
    pub(super) registry: Arc<Registry>,
    pub(super) trust: ArcSwap<Trust>,
    told: Throttle,
}

impl Acceptor {
    /// Reads the files and begins to watch them.
    ///
    /// # Errors
    /// Whatever is wrong with the files: a node does not start without an identity.
    pub async fn open(options: Options, metrics: Metrics, tasks: &Tasks) -> Result<Arc<Self>, Error> {
        let raw = Raw::read(&options.files).await?;
        let trust = Trust::build(&raw, &options.files, options.crl_expiry)?;
        let limits = Limits {
            total: options.connections_max,
            per_address: options.connections_per_address_max,
            per_department: options.connections_per_department_max,
            handshakes: options.handshakes_max,
            handshakes_per_address: (options.handshakes_max / ADDRESS_SHARE).max(1),
        };
        let registry = Registry::new(limits, metrics.clone());
        let (trust, told) = (ArcSwap::from_pointee(trust), Throttle::each(TELL_INTERVAL));
        let acceptor = Arc::new(Self { options, metrics, registry, trust, told });
        if acceptor.options.files.revocation_lists.is_none() {
            tracing::warn!("no revocation list is configured: a lost certificate stays valid until its end");
        }
        tasks.spawn("tls files", watch::run(acceptor.clone(), raw.digest(), tasks.clone()));
        Ok(acceptor)
    }

    /// Completes a handshake.
    pub(super) async fn accept(
        &self,
        socket: TcpStream,
        address: SocketAddr,
        mut slot: Slot,
    ) -> Result<Connection, Refused> {
        let end = Instant::now() + self.options.handshake_timeout;
        // A socket that says nothing costs a task and a descriptor, and no TLS session. One that was closed is found out by the handshake.
        let spoken = timeout_at(end, socket.peek(&mut [0])).await.map_err(|_| Refused::Timeout)?;
        spoken.map_err(Refused::Handshake)?;
        let trust = self.trust.load_full();
        let handshake = TlsAcceptor::from(trust.server.clone()).accept(socket).into_fallible();
        let stream = match timeout_at(end, handshake).await.map_err(|_| Refused::Timeout)? {
            Ok(stream) => stream,
            Err((error, socket)) => {
                linger(socket).await;
                return Err(Refused::Handshake(error));
            }
        };
        let chain = chain_of(&stream);
        let identity = chain.first().and_then(|own| identity_of(own, &self.options.exchange)).map(Arc::new);
        // What cannot be parsed was not verified either: it has ended.
        let not_after_s = chain.first().and_then(|own| certificate_end(own)).unwrap_or(i64::MIN);
        let (revoked, cut) = (CancellationToken::new(), Arc::new(Cut::default()));
        let live = Live { chain, not_after_s, identity, revoked, cut };
        slot.enter(live.clone())?;
        // Files replaced while the handshake ran: whoever replaced them looked at the connections before this one was among them, so it is judged here.
        let now = self.trust.load_full();
        if !Arc::ptr_eq(&now, &trust) {
            now.judge(&live.chain).map_err(Refused::Overtaken)?;
        }
        let peer = Peer { identity: live.identity, address: Some(address), revoked: live.revoked };
        Ok(Connection::new(stream, peer, live.cut, slot))
    }

    /// Counts a connection that was refused, and says so unless that was just said of others.
    pub(super) fn refuse(&self, address: SocketAddr, refused: &Refused) {
        let outcome = refused.outcome();
        self.metrics.handshake(outcome);
        let Some(left_out) = self.told.pass(outcome) else { return };
        let cause = std::error::Error::source(refused).map(ToString::to_string).unwrap_or_default();
        // A bound that is reached concerns whoever runs the node; what else is wrong, the client.
        if matches!(refused, Refused::Full(_)) {
            tracing::warn!(%address, outcome, error = %refused, left_out, "connection refused");
        } else {
            tracing::info!(%address, outcome, error = %refused, cause, left_out, "connection refused");
        }
    }

    /// Says that no connection can be accepted, unless that was just said.
    pub(super) fn tell_unaccepted(&self, error: &std::io::Error) {
        if let Some(left_out) = self.told.pass("accept") {
            tracing::warn!(%error, left_out, "cannot accept a connection");
        }
    }
}

/// Lets the client read the alert that says why. A socket that is closed while bytes of the client are unread is reset, and a reset overtakes the alert:
/// the client would learn of a broken pipe instead of an expired certificate.
async fn linger(mut socket: TcpStream) {
    let mut scratch = [0_u8; 1024];
    let read_to_end = async {
        if socket.shutdown().await.is_err() {
            return;
        }
        for _ in 0..LINGER_READS_MAX {
            if !matches!(socket.read(&mut scratch).await, Ok(1..)) {
                return;
            }
        }
    };
    // Either way the socket is closed now.
    drop(tokio::time::timeout(LINGER, read_to_end).await);
}

fn chain_of(stream: &TlsStream<TcpStream>) -> Arc<[CertificateDer<'static>]> {
    let (_, session) = stream.get_ref();
    // Present because the verifier demands one; an empty chain has no identity and fails every later judgement.
    session.peer_certificates().unwrap_or_default().into()
}

/// The identity in the certificate: its only URI name, as SPIFFE demands (X509-SVID section 2).
fn identity_of(der: &[u8], exchange: &str) -> Option<Identity> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let uri = uris.next()?;
    if uris.next().is_some() {
        return None;
    }
    // DER writes a leading zero where the first bit is set; the number has none.
    let serial = certificate.raw_serial();
    let serial = serial.strip_prefix(&[0]).filter(|rest| !rest.is_empty()).unwrap_or(serial);
    Identity::parse(uri, exchange, hex::encode(serial)).ok()
}
