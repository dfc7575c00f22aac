//! The exchange of the city: one node on the embedded log, in this process.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    time::Duration,
};

use shuqiao_adapter_sdk::{chain, config::Broker, exchange::Connection};
use shuqiao_broker::{config::Config, node, shutdown::Tasks};
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    Error,
    directory::Directory,
    identities::{self, ADMINISTRATOR},
};

const PORT: u16 = 7443;
const METRICS_PORT: u16 = 7480;
/// A node that has much in its log reads it first.
const READY_WITHIN: Duration = Duration::from_secs(120);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Where the exchange listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) exchange: u16,
    pub(crate) metrics: u16,
    /// The usual port was taken.
    pub(crate) moved: bool,
}

impl Ports {
    /// Finds free ones. Between finding and listening another process may take them; then the node says so and the city ends.
    pub(crate) fn find(wanted: Option<u16>) -> Result<Self, Error> {
        let exchange = match wanted {
            Some(port) => hold(port).map_err(|source| Error::PortTaken { port, source })?,
            None => hold(PORT).or_else(|_| hold(0)).map_err(Error::NoPort)?,
        };
        // Whoever asks for any port runs several cities at once, and they would all find the usual one free at the same moment.
        let usual = if wanted == Some(0) { 0 } else { METRICS_PORT };
        let metrics = hold(usual).or_else(|_| hold(0)).map_err(Error::NoPort)?;
        let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port()).map_err(Error::NoPort);
        let (exchange, metrics) = (port(&exchange)?, port(&metrics)?);
        Ok(Self { exchange, metrics, moved: wanted.is_none() && exchange != PORT })
    }

    /// What clients connect to. By address: `localhost` may be somebody else's on IPv6.
    pub(crate) fn endpoint(self) -> String {
        format!("https://127.0.0.1:{}", self.exchange)
    }
}

fn hold(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

/// Writes the node's configuration, as `shuqiao serve --config` takes it, too.
pub(crate) fn configure(directory: &Directory, ports: Ports) -> Result<Config, Error> {
    let (certificate, key) = identities::server();
    let text = format!(
        "# The exchange of the sandbox: written at every start. While the sandbox is down, `shuqiao serve --config` runs it alone.\n\
         [node]\nname = \"sandbox-1\"\nexchange = \"{}\"\ndata_dir = {}\nlisten = \"127.0.0.1:{}\"\nmetrics_listen = \"127.0.0.1:{}\"\n\
         administrators = [\"{}\"]\n\n[tls]\ncertificate = {}\nkey = {}\nauthorities = {}\nrevocation_lists = {}\n\n[log]\n\
         home = \"embedded\"\n",
        identities::EXCHANGE,
        directory.quoted("exchange"),
        ports.exchange,
        ports.metrics,
        ADMINISTRATOR.source(),
        directory.quoted(certificate),
        directory.quoted(key),
        directory.quoted(identities::authority()),
        directory.quoted(identities::revocation_list()),
    );
    directory.write("node.toml", &text)?;
    // The newcomer's environment may be that of another node.
    Ok(Config::parse(&text, &|_| None)?)
}

/// The node as a task.
pub(crate) type Running = JoinHandle<Result<(), node::Error>>;

/// Starts the node and waits until it is ready.
pub(crate) async fn start(
    config: Config,
    broker: &Broker,
    tasks: &Tasks,
    stop: CancellationToken,
) -> Result<Running, Error> {
    let mut running = tasks.spawn("exchange", Box::pin(node::run(config, stop.cancelled_owned())));
    let until = Instant::now() + READY_WITHIN;
    loop {
        let reason = match status(broker).await {
            Ok(None) => return Ok(running),
            Ok(Some(reason)) | Err(reason) => reason,
        };
        if Instant::now() > until {
            return Err(Error::NotReady { seconds: READY_WITHIN.as_secs(), reason });
        }
        tokio::select! {
            ended = &mut running => return Err(why_ended(ended)),
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
    }
}

/// `None`: ready.
async fn status(broker: &Broker) -> Result<Option<String>, String> {
    let connection = Connection::open(broker).await.map_err(|error| chain(&error))?;
    let status = connection.node_status().await.map_err(|error| chain(&error))?;
    Ok((!status.ready).then(|| status.not_ready_reasons.join("; ")))
}

/// What a node that nobody stopped says.
pub(crate) fn why_ended(ended: Result<Result<(), node::Error>, tokio::task::JoinError>) -> Error {
    match ended {
        Ok(Err(error)) => Error::Node(error),
        Ok(Ok(())) | Err(_) => Error::NodeEnded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_refused_where_it_was_asked_for_and_avoided_where_not() {
        let taken = hold(0).expect("a free port");
        let port = taken.local_addr().expect("bound").port();
        assert!(matches!(Ports::find(Some(port)), Err(Error::PortTaken { .. })));
        let usual = hold(PORT);
        let found = Ports::find(None).expect("a free port");
        assert!(found.exchange != 0 && found.exchange != found.metrics);
        assert_eq!(found.moved, found.exchange != PORT);
        drop(usual);
    }
}
