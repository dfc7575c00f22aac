//! The server of pages in clear, for whoever reaches its port.
//!
//! Bounded, because its port has no access control: without it, sockets that say half a request would take every file descriptor of the process.
//!
//! Stands alike in `broker/src/telemetry/pages.rs`: the crates that both may name, `proto` and `schemas`,
//! are no place for a server. What changes here changes there.

use std::{collections::VecDeque, time::Duration};

use axum::Router;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tower::Service;

/// Connections at once. The oldest one makes room for a further one: a scrape takes milliseconds, so what is old is stuck.
const CONNECTIONS_MAX: usize = 64;
/// A request whose header takes longer is given up.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that takes longer from its first byte to its last is closed, whatever it does. Each has one request.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a request's header.
const HEADER_BYTES_MAX: usize = 16 << 10;
/// Out of file descriptors, mostly: give others time to close some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long the last answers may take when the process ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// Serves until the token is cancelled.
pub(super) async fn serve(listener: TcpListener, router: Router, token: CancellationToken) {
    let mut connections = JoinSet::new();
    let mut open = VecDeque::with_capacity(CONNECTIONS_MAX);
    loop {
        let accepted = tokio::select! {
            () = token.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let socket = match accepted {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection for metrics");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        open.retain(|connection: &tokio::task::AbortHandle| !connection.is_finished());
        if open.len() >= CONNECTIONS_MAX
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        open.push_back(connections.spawn(answer(socket, router.clone())));
    }
    let farewell = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
        tracing::debug!("connections of the metrics port were closed before their answers had left");
    }
}

/// One request, one answer.
async fn answer(socket: TcpStream, router: Router) {
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| router.clone().call(request));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(socket), service);
    match tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection of the metrics port ended"),
        Err(_) => tracing::debug!("a connection of the metrics port took too long"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn served() -> (SocketAddr, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let token = CancellationToken::new();
        let router = Router::new().route("/health/live", get(|| async { "alive\n" }));
        let tasks = tokio_util::task::TaskTracker::new();
        tasks.spawn(serve(listener, router, token.clone()));
        (address, token)
    }

    async fn half_a_request(address: SocketAddr) -> TcpStream {
        let mut socket = TcpStream::connect(address).await.expect("listening");
        socket.write_all(b"GET /health/live HTTP/1.1\r\nHo").await.expect("writable");
        socket
    }

    async fn is_closed(socket: &mut TcpStream) -> bool {
        // A reset is as good as an end.
        matches!(tokio::time::timeout(Duration::from_millis(200), socket.read(&mut [0; 64])).await, Ok(Ok(0) | Err(_)))
    }

    #[tokio::test]
    async fn a_flood_of_half_requests_is_bounded_and_others_are_answered() {
        let (address, token) = served().await;
        let mut flood = Vec::new();
        for _ in 0..CONNECTIONS_MAX + 8 {
            flood.push(half_a_request(address).await);
        }
        let mut socket = TcpStream::connect(address).await.expect("listening");
        socket.write_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("writable");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.expect("answered, and closed after it");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("alive\n"), "{answer}");
        for oldest in &mut flood[..9] {
            assert!(is_closed(oldest).await, "the oldest ones made room");
        }
        assert!(!is_closed(&mut flood[CONNECTIONS_MAX + 7]).await, "the newest ones have their time");
        token.cancel();
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_request_and_silence_are_given_up() {
        let (address, token) = served().await;
        let silent = TcpStream::connect(address).await.expect("listening");
        for mut socket in [half_a_request(address).await, silent] {
            let begin = tokio::time::Instant::now();
            // A reset is as good as an end.
            drop(socket.read_to_end(&mut Vec::new()).await);
            let lived = begin.elapsed();
            assert!(lived < HEADER_TIMEOUT + Duration::from_secs(2), "{lived:?}");
        }
        token.cancel();
    }
}
