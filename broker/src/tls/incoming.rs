//! The accept loop: sockets in, judged connections out.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures::Stream;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
};
use tokio_stream::wrappers::ReceiverStream;

use super::{Acceptor, Connection, registry::Slot};
use crate::shutdown::Tasks;

/// Out of file descriptors, mostly: give others time to close some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections that stand and wait for the server to take them.
const READY_MAX: usize = 16;

/// Accepts until the tasks are told to stop; then the stream ends. For tonic's `serve_with_incoming_shutdown`.
///
/// An item is never an error: a failed handshake concerns its client alone, and tonic would end the server on most kinds.
pub fn incoming(
    listener: TcpListener,
    acceptor: Arc<Acceptor>,
    tasks: &Tasks,
) -> impl Stream<Item = io::Result<Connection>> + Send + 'static {
    let (sender, receiver) = mpsc::channel(READY_MAX);
    tasks.spawn("tls accept", accept(listener, acceptor, sender, tasks.clone()));
    ReceiverStream::new(receiver)
}

async fn accept(
    listener: TcpListener,
    acceptor: Arc<Acceptor>,
    sender: mpsc::Sender<io::Result<Connection>>,
    tasks: Tasks,
) {
    let token = tasks.token();
    let turns = Arc::new(Semaphore::new(acceptor.options.handshakes_max));
    loop {
        // Accepted at once, whoever it is: in the kernel's backlog an address that floods would stand before all others. The registry bounds who waits here.
        let accepted = tokio::select! {
            () = token.cancelled() => return,
            () = sender.closed() => return,
            accepted = listener.accept() => accepted,
        };
        let (socket, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // The registry counts an IPv4 client of a dual-stack listener as IPv4.
        let slot = match acceptor.registry.admit(canonical(address.ip())) {
            Ok(slot) => slot,
            Err(full) => {
                acceptor.metrics.handshake(full.outcome());
                tracing::warn!(%address, outcome = full.outcome(), "connection refused");
                continue;
            }
        };
        let (acceptor, sender, token, turns) = (acceptor.clone(), sender.clone(), token.clone(), turns.clone());
        tasks.spawn("tls handshake", async move {
            let handshake = in_turn(&acceptor, &turns, socket, address, slot);
            let connection = tokio::select! { () = token.cancelled() => None, done = handshake => done };
            if let Some(connection) = connection
                && sender.send(Ok(connection)).await.is_err()
            {
                tracing::debug!(%address, "the server has stopped: connection closed");
            }
        });
    }
}

/// [`handshake`] as soon as its address and the node have a turn for it. Waiting for one is bounded by what a handshake may take.
async fn in_turn(
    acceptor: &Acceptor,
    turns: &Semaphore,
    socket: TcpStream,
    address: SocketAddr,
    slot: Slot,
) -> Option<Connection> {
    let own = slot.turns();
    // The address's own turn first: whoever waits for it must not hold one that others could use.
    let turn = async { (own.acquire().await, turns.acquire().await) };
    let Ok(_turn) = tokio::time::timeout(acceptor.options.handshake_timeout, turn).await else {
        acceptor.metrics.handshake("timeout");
        tracing::info!(%address, "connection refused: too many handshakes before it");
        return None;
    };
    handshake(acceptor, socket, address, slot).await
}

async fn handshake(acceptor: &Acceptor, socket: TcpStream, address: SocketAddr, slot: Slot) -> Option<Connection> {
    if let Err(error) = prepare(&socket, acceptor.options.keepalive) {
        tracing::debug!(%address, %error, "socket options not set");
    }
    match acceptor.accept(socket, address, slot).await {
        Ok(connection) => {
            acceptor.metrics.handshake("accepted");
            Some(connection)
        }
        Err(refused) => {
            acceptor.metrics.handshake(refused.outcome());
            let cause = std::error::Error::source(&refused).map(ToString::to_string).unwrap_or_default();
            tracing::info!(%address, error = %refused, cause, "connection refused");
            None
        }
    }
}

fn prepare(socket: &TcpStream, keepalive: Duration) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new().with_time(keepalive).with_interval(keepalive);
    socket2::SockRef::from(socket).set_tcp_keepalive(&keepalive)
}

fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}
