//! What a node says of itself: log lines, metrics, health.
//!
//! Promises: readiness tells the truth. A node is ready when every condition that was ever named holds, and says which do not, and why. The server answers
//! on a port of its own, in clear, and shows ids of datasets, subscriptions and departments, never keys or payloads.

mod pages;

use std::{collections::BTreeMap, io::IsTerminal, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text::encode},
    metrics::gauge::ConstGauge,
    registry::{Registry, Unit},
};
use tokio::net::TcpListener;
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{config, shutdown::Tasks};

/// What can go wrong with telemetry.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter is malformed.
    #[error("the log level is no filter")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Another subscriber is installed already.
    #[error("log lines are written by somebody else already")]
    Installed(#[from] tracing_subscriber::util::TryInitError),
    /// The port cannot be opened.
    #[error("cannot listen on {address} for metrics")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Begins to write log lines to standard error. Once a process.
///
/// # Errors
/// [`Error::Filter`], [`Error::Installed`].
pub fn install(format: config::LogFormat, filter: &str) -> Result<(), Error> {
    let filter: EnvFilter = filter.parse()?;
    let colours = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    let lines = match format {
        config::LogFormat::Json => lines.json().flatten_event(true).boxed(),
        config::LogFormat::Plain => lines.boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).try_init()?;
    Ok(())
}

/// Which conditions of the node's work hold. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, Option<String>>>>);

impl Readiness {
    /// Names a condition that does not hold yet. Do this for all of them before the server answers.
    pub fn expect(&self, condition: &'static str) {
        self.unmet(condition, "not yet");
    }

    /// The condition holds.
    pub fn met(&self, condition: &'static str) {
        self.0.lock().insert(condition, None);
    }

    /// The condition does not hold; `reason` is for an operator.
    pub fn unmet(&self, condition: &'static str, reason: impl Into<String>) {
        self.0.lock().insert(condition, Some(reason.into()));
    }

    /// Whether every condition holds.
    pub fn is_ready(&self) -> bool {
        self.0.lock().values().all(Option::is_none)
    }

    /// What does not hold, a line each: `log: the cluster does not answer`.
    pub fn reasons(&self) -> Vec<String> {
        let conditions = self.0.lock();
        conditions.iter().filter_map(|(condition, reason)| Some(format!("{condition}: {}", reason.as_ref()?))).collect()
    }
}

/// The process: memory, processor time, descriptors, as the kernel counts them.
#[derive(Debug, Default)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        if let Some(bytes) = resident_bytes() {
            let gauge = ConstGauge::new(i64::try_from(bytes).unwrap_or(i64::MAX));
            let metric = encoder.encode_descriptor(
                "process_resident_memory",
                "Memory of the process that is in RAM",
                Some(&Unit::Bytes),
                gauge.metric_type(),
            )?;
            gauge.encode(metric)?;
        }
        if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
            let gauge = ConstGauge::new(i64::try_from(entries.count()).unwrap_or(i64::MAX));
            let metric =
                encoder.encode_descriptor("process_open_fds", "Open file descriptors", None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}

/// `VmRSS` of /proc/self/status (proc(5)), which counts in KiB whatever the page size.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

/// An empty registry that knows the process and the build. Modules register their own metrics in it.
pub fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Process));
    let build = prometheus_client::metrics::info::Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("shuqiao_build", "What runs here", build);
    registry
}

struct Shared {
    registry: Registry,
    readiness: Readiness,
}

/// Serves `/metrics`, `/health/live` and `/health/ready` until the tasks are told to stop. Answers with the address bound.
///
/// # Errors
/// [`Error::Listen`].
pub async fn serve(
    address: SocketAddr,
    registry: Registry,
    readiness: Readiness,
    tasks: &Tasks,
) -> Result<SocketAddr, Error> {
    let listen = |source| Error::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let bound = listener.local_addr().map_err(listen)?;
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/health/live", get(|| async { "alive\n" }))
        .route("/health/ready", get(ready))
        .with_state(Arc::new(Shared { registry, readiness }));
    let token = tasks.token();
    tasks.spawn("metrics server", pages::serve(listener, router, token));
    Ok(bound)
}

async fn metrics(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let mut text = String::new();
    match encode(&mut text, &shared.registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            Ok(([(header::CONTENT_TYPE, kind)], text))
        }
        Err(_) => Err(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

async fn ready(State(shared): State<Arc<Shared>>) -> (StatusCode, String) {
    let reasons = shared.readiness.reasons();
    if reasons.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;

    async fn get_page(address: SocketAddr, path: &str) -> String {
        let mut socket = TcpStream::connect(address).await.expect("listening");
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.expect("write");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.expect("read");
        answer
    }

    #[tokio::test]
    async fn readiness_tells_what_is_missing_until_nothing_is() {
        let tasks = Tasks::default();
        let readiness = Readiness::default();
        readiness.expect("log");
        readiness.expect("view");
        let address = serve("127.0.0.1:0".parse().expect("address"), registry(), readiness.clone(), &tasks)
            .await
            .expect("a free port");
        readiness.met("view");
        readiness.unmet("log", "the cluster does not answer");
        let answer = get_page(address, "/health/ready").await;
        assert!(
            answer.starts_with("HTTP/1.1 503") && answer.ends_with("log: the cluster does not answer\n"),
            "{answer}"
        );
        assert!(!answer.contains("view"));
        assert!(get_page(address, "/health/live").await.starts_with("HTTP/1.1 200"));
        readiness.met("log");
        assert!(readiness.is_ready());
        assert!(get_page(address, "/health/ready").await.starts_with("HTTP/1.1 200"));
        readiness.unmet("log", "disk full");
        assert!(get_page(address, "/health/ready").await.starts_with("HTTP/1.1 503"));
        assert_eq!(tasks.drain(Duration::from_secs(5)).await, 0);
    }

    #[tokio::test]
    async fn metrics_have_the_process_and_whatever_modules_register() {
        let tasks = Tasks::default();
        let mut registry = registry();
        crate::tls::Metrics::register(&mut registry);
        let address = serve("127.0.0.1:0".parse().expect("address"), registry, Readiness::default(), &tasks)
            .await
            .expect("a free port");
        let answer = get_page(address, "/metrics").await;
        for name in [
            "process_resident_memory_bytes ",
            "process_open_fds ",
            "shuqiao_build_info{",
            "shuqiao_tls_connections 0",
            "# EOF",
        ] {
            assert!(answer.contains(name), "{name} in {answer}");
        }
        assert_eq!(tasks.drain(Duration::from_secs(5)).await, 0);
    }
}
