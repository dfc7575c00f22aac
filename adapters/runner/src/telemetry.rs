//! Log lines on standard error, and the page of metrics.

mod pages;

use std::{io::IsTerminal, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use prometheus_client::{encoding::text::encode, metrics::info::Info, registry::Registry};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Plain,
    /// One JSON object a line.
    Json,
}

/// Begins to write log lines. What goes wrong is text: there is no log to write it to.
pub(crate) fn install(format: LogFormat, filter: &str) -> Result<(), String> {
    let filter: EnvFilter = filter.parse().map_err(|error| format!("--log: {error}"))?;
    let lines =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let lines = match format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Plain => lines.boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).try_init().map_err(|error| error.to_string())
}

/// An empty registry that knows the build.
pub(crate) fn registry() -> Registry {
    let mut registry = Registry::default();
    let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("shuqiao_adapter_build", "What runs here", build);
    registry
}

/// Opens the port before the run begins, so that a port that is taken is told at once.
pub(crate) async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind(address).await?;
    tracing::info!(address = %listener.local_addr()?, "metrics");
    Ok(listener)
}

/// Serves `/metrics` and `/health/live` until the token is cancelled.
pub(crate) async fn serve(listener: TcpListener, registry: Arc<Registry>, token: CancellationToken) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/health/live", get(|| async { "alive\n" }))
        .with_state(registry);
    pages::serve(listener, router, token).await;
}

async fn metrics(State(registry): State<Arc<Registry>>) -> impl IntoResponse {
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            Ok(([(header::CONTENT_TYPE, kind)], text))
        }
        Err(_) => Err(StatusCode::INTERNAL_SERVER_ERROR),
    }
}
