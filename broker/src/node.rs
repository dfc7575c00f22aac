//! A node's whole life: configuration in, rooms assembled, served, drained.

use tokio::{net::TcpListener, signal::unix::SignalKind};
use tonic::transport::Server;

use crate::{
    config::Config,
    exchange::model::DatasetId,
    shutdown::Tasks,
    telemetry::{self, Readiness},
    tls,
};

/// Why a node does not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Log lines or metrics cannot be had.
    #[error("telemetry cannot be set up")]
    Telemetry(#[from] telemetry::Error),
    /// The node has no usable identity.
    #[error("the node has no usable identity")]
    Tls(#[from] tls::Error),
    /// The port cannot be opened, or signals cannot be heard.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which address.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The server ended by itself.
    #[error("the server ended")]
    Server(#[from] tonic::transport::Error),
    /// The process cannot hear signals.
    #[error("cannot hear signals")]
    Signals(#[source] std::io::Error),
    /// The view of this build has nothing to rebuild.
    #[error("this node has no view")]
    NoView,
}

/// What a rebuilt view holds of one dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// The dataset.
    pub dataset: DatasetId,
    /// Live records.
    pub count: u64,
    /// SHA-256 as `shuqiao_proto::digest` lays it out.
    pub digest: [u8; 32],
}

/// Serves until SIGTERM or SIGINT, then drains within the grace period.
///
/// # Errors
/// Whatever keeps the node from starting.
pub async fn serve(config: Config) -> Result<(), Error> {
    telemetry::install(config.node.log_format, &config.node.log_level)?;
    let tasks = Tasks::default();
    let mut registry = telemetry::registry();
    let readiness = Readiness::default();
    readiness.expect("listening");
    let acceptor = tls::Acceptor::open(config.tls_options(), tls::Metrics::register(&mut registry), &tasks).await?;
    telemetry::serve(config.node.metrics_listen, registry, readiness.clone(), &tasks).await?;
    let address = config.node.listen;
    let listener = TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })?;
    let incoming = tls::incoming(listener, acceptor, &tasks);
    let (_, health) = tonic_health::server::health_reporter();
    let mut terminate = tokio::signal::unix::signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            // Without a way to hear Ctrl-C there is still SIGTERM.
            Ok(()) = tokio::signal::ctrl_c() => {}
        }
    };
    readiness.met("listening");
    tracing::info!(node = config.node.name, %address, "serving");
    Server::builder().add_service(health).serve_with_incoming_shutdown(incoming, stop).await?;
    let left = tasks.drain(config.node.grace_period).await;
    tracing::info!(left, "stopped");
    Ok(())
}

/// Builds the view of a stopped node anew.
///
/// # Errors
/// [`Error::NoView`].
#[expect(clippy::unused_async, reason = "the caller waits for it: a rebuild reads the whole log")]
pub async fn rebuild_view(_config: Config, _dataset: Option<DatasetId>) -> Result<Vec<Rebuilt>, Error> {
    Err(Error::NoView)
}
