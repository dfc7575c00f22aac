//! The accept loop: sockets in, judged connections out.

use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures::Stream;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    Acceptor, Connection,
    acceptor::Refused,
    registry::{Full, Slot},
};
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
                acceptor.tell_unaccepted(&error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let slot = match acceptor.registry.admit(canonical(address.ip())) {
            Ok(slot) => slot,
            Err(full) => {
                acceptor.refuse(address, &full.into());
                continue;
            }
        };
        let (acceptor, sender, token) = (acceptor.clone(), sender.clone(), token.clone());
        tasks.spawn("tls handshake", async move {
            let displaced = slot.displaced();
            let handshake = handshake(&acceptor, socket, address, slot);
            let done = tokio::select! {
                () = token.cancelled() => return,
                () = displaced.cancelled() => Err(Full::Displaced.into()),
                done = handshake => done,
            };
            match done {
                Ok(connection) => {
                    acceptor.metrics.handshake("accepted");
                    if sender.send(Ok(connection)).await.is_err() {
                        tracing::debug!(%address, "the server has stopped: connection closed");
                    }
                }
                Err(refused) => acceptor.refuse(address, &refused),
            }
        });
    }
}

async fn handshake(
    acceptor: &Acceptor,
    socket: TcpStream,
    address: SocketAddr,
    slot: Slot,
) -> Result<Connection, Refused> {
    if let Err(error) = prepare(&socket, acceptor.options.keepalive) {
        tracing::debug!(%address, %error, "socket options not set");
    }
    acceptor.accept(socket, address, slot).await
}

fn prepare(socket: &TcpStream, keepalive: Duration) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new().with_time(keepalive).with_interval(keepalive);
    socket2::SockRef::from(socket).set_tcp_keepalive(&keepalive)
}

/// Whom the bounds count as one: an IPv4 client of a dual-stack listener as IPv4, and of IPv6 the network of 64 bits, all of whose addresses one machine may
/// have (RFC 4291 section 2.5.4, RFC 8981).
fn canonical(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_of_one_machine_count_as_one() {
        let of = |address: &str| canonical(address.parse().expect("an address")).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!((of("::ffff:192.0.2.1").as_str(), of("192.0.2.1").as_str()), ("192.0.2.1", "192.0.2.1"));
    }
}
