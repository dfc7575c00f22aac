//! A node's whole life: configuration in, rooms opened, served, drained.

mod descriptors;
mod files;
mod opening;
mod readiness;
mod rooms;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

pub use files::{Looked, look};
use ring::signature::KeyPair;
use rooms::Rooms;
use shuqiao_proto::v1::{
    audit_service_server::AuditServiceServer, catalogue_service_server::CatalogueServiceServer,
    exchange_service_server::ExchangeServiceServer, node_service_server::NodeServiceServer,
    query_service_server::QueryServiceServer,
};
use tokio::{net::TcpListener, signal::unix::SignalKind};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::ServingStatus;

use crate::{
    config::{Config, Mistake},
    exchange::{
        administration::Administration,
        audit::{Reading, Recovery},
        delivery::{self, Delivery},
        model::DatasetId,
        publishing::{self, Publisher},
        query::{self, Query},
    },
    log, pki, rpc,
    shutdown::Tasks,
    telemetry::{self, Readiness},
    tls, view,
};

/// How often clients' health checks learn of a change.
const HEALTH_INTERVAL: Duration = Duration::from_millis(500);
/// How long a rebuild waits for the former rows to catch up with the log, so that both sides speak of the same entries.
const REBUILD_WAIT: Duration = Duration::from_secs(600);

/// How long a rebuild waits for a dataset's task to begin, and how often it looks.
const FOLLOWED_WAIT: Duration = Duration::from_secs(10);
const FOLLOWED_INTERVAL: Duration = Duration::from_millis(20);

/// Why a node does not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Log lines or metrics cannot be had.
    #[error("telemetry cannot be set up")]
    Telemetry(#[from] telemetry::Error),
    /// The node has no usable identity.
    #[error("the node has no usable identity")]
    Tls(#[from] tls::Error),
    /// The receipt key or the exchange's secret cannot be used.
    #[error("a key of the node cannot be used")]
    Key(#[from] pki::Error),
    /// The data directory cannot be made.
    #[error("cannot make the data directory {}", .path.display())]
    DataDirectory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The log cannot be used.
    #[error("the log cannot be used")]
    Log(#[from] log::Error),
    /// The log's directory cannot be opened.
    #[error("cannot open the log in {}", .path.display())]
    OpenLog {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: log::Error,
    },
    /// The catalogue cannot be read, or held by this software.
    #[error("the catalogue cannot be used")]
    Catalogue(#[source] crate::exchange::Error),
    /// The cursors of subscriptions cannot be read.
    #[error("the cursors cannot be used")]
    Cursors(#[source] crate::exchange::Error),
    /// The view cannot be built.
    #[error("the view cannot be used")]
    View(#[source] view::Error),
    /// The view's directory cannot be opened.
    #[error("cannot open the view in {}", .path.display())]
    OpenView {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: view::Error,
    },
    /// The dataset is not in the catalogue.
    #[error("no dataset {0} in the catalogue")]
    NoDataset(DatasetId),
    /// Its rows cannot be built by this software; they stay as they are.
    #[error("the view of this dataset cannot be built")]
    Unusable(#[source] crate::exchange::Error),
    /// The port cannot be opened, or signals cannot be heard.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which address.
        address: SocketAddr,
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
    /// The services cannot describe themselves.
    #[error("the descriptors of the services are broken")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// A thread of the node panicked while it opened.
    #[error("opening a store panicked")]
    Panic(#[source] tokio::task::JoinError),
}

/// What a rebuilt view holds of one dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// The dataset.
    pub dataset: DatasetId,
    /// Whether the rebuilt rows equal, by digest, those that they replaced.
    pub equal: bool,
    /// Live records.
    pub count: u64,
    /// SHA-256 as `shuqiao_proto::digest` lays it out.
    pub digest: [u8; 32],
    /// What the log had lost, and with the old rows is gone.
    pub lost: Option<Lost>,
}

/// What an operator gave up with a rebuild.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Where the log ended, and where the view was.
    pub ahead: view::Ahead,
    /// Live records that the old rows held.
    pub records: u64,
}

/// Serves until SIGTERM or SIGINT (SIGHUP is heard and changes nothing), then drains within the grace period. `warnings` are what [`look`] found: they go into the log.
///
/// # Errors
/// Whatever keeps the node from starting, or ends it.
pub async fn serve(config: Config, warnings: &[Mistake]) -> Result<(), Error> {
    telemetry::install(config.node.log_format, &config.node.log_level)?;
    for warning in warnings {
        tracing::warn!(
            key = warning.path,
            what = warning.message,
            "something the configuration names needs looking after"
        );
    }
    let mut terminate = tokio::signal::unix::signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let mut hangup = tokio::signal::unix::signal(SignalKind::hangup()).map_err(Error::Signals)?;
    let stop = async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => return,
                // Without a way to hear Ctrl-C there is still SIGTERM.
                Ok(()) = tokio::signal::ctrl_c() => return,
                // By habit it asks a daemon to read its files again. Unheard it would end the node in the middle of its work.
                Some(()) = hangup.recv() => tracing::info!(
                    "SIGHUP changes nothing: certificates, keys and revocation lists are looked at every second, the configuration at the start"
                ),
            }
        }
    };
    run(config, stop).await
}

/// [`serve`] without signals and log lines of its own: until `stop`, for a process that is more than a node.
///
/// # Errors
/// Whatever keeps the node from starting, or ends it.
pub async fn run(config: Config, stop: impl Future<Output = ()>) -> Result<(), Error> {
    let tasks = Tasks::default();
    let mut registry = telemetry::registry();
    let readiness = Readiness::default();
    readiness.expect("listening");
    let mut edge = config.tls_options();
    edge.connections_max = descriptors::connections(edge.connections_max);
    let acceptor = tls::Acceptor::open(edge, tls::Metrics::register(&mut registry), &tasks).await?;
    let rooms = Rooms::open(&config, &mut registry, &tasks).await?;
    readiness::watch(&rooms, &readiness, &tasks);
    let (reporter, health) = tonic_health::server::health_reporter();
    let unsent = rpc::Unsent::new(&config.limits, rpc::UnsentMetrics::register(&mut registry), &tasks);
    let arriving = rpc::Arriving::new(&config.limits, rpc::ArrivingMetrics::register(&mut registry));
    let services = services(&config, &rooms, &mut registry, &readiness, &unsent, &tasks).await?.add_service(health);
    telemetry::serve(config.node.metrics_listen, registry, readiness.clone(), &tasks).await?;
    let address = config.node.listen;
    let listener = TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })?;
    let incoming = rpc::aged(tls::incoming(listener, acceptor, &tasks), &config.limits);
    let server = rpc::server(&config.limits, arriving, unsent)
        .add_routes(services)
        .serve_with_incoming_shutdown(incoming, tasks.token().cancelled_owned());
    tokio::pin!(server);
    tasks.spawn("health", report(reporter, readiness.clone(), tasks.token()));
    readiness.met("listening");
    tracing::info!(node = config.node.name, %address, home = rooms.log.home(), "serving");

    let token = tasks.token();
    let ended = tokio::select! {
        ended = &mut server => Some(ended),
        () = stop => None,
        () = token.cancelled() => None,
    };
    readiness.unmet("listening", "draining");
    tracing::info!("draining");
    // Streams end by themselves when the tasks are told to stop; meanwhile the server must go on writing their last answers.
    let grace = config.node.grace_period;
    let (left, served) = match ended {
        Some(ended) => (tasks.drain(grace).await, ended),
        None => {
            let (left, served) = tokio::join!(tasks.drain(grace), tokio::time::timeout(grace, server));
            (left, served.unwrap_or(Ok(())))
        }
    };
    rooms.log.close().await;
    tracing::info!(left, "stopped");
    served?;
    rooms.catalogue.failure().map_or(Ok(()), |error| Err(Error::Catalogue(error)))
}

/// Every service of the exchange over the rooms.
async fn services(
    config: &Config,
    rooms: &Rooms,
    registry: &mut prometheus_client::registry::Registry,
    readiness: &Readiness,
    unsent: &rpc::Unsent,
    tasks: &Tasks,
) -> Result<Routes, Error> {
    let key = pki::receipt_key(&config.receipt_key_path())?;
    let receipt_public_key = key.public_key().as_ref().to_vec();
    let publisher = Arc::new(Publisher::new(
        rooms.log.clone(),
        rooms.catalogue.clone(),
        rooms.view.clone(),
        rooms.audit.clone(),
        config.node.name.clone(),
        key,
        publishing::Options {
            batches_in_flight_max: usize::try_from(config.limits.batches_in_flight_max).unwrap_or(usize::MAX),
            batch_records_max: usize::try_from(config.limits.batch_records_max).unwrap_or(usize::MAX),
            batch_bytes_max: config.limits.batch_bytes_max.bytes(),
            ..publishing::Options::default()
        },
        rooms.clock.clone(),
        publishing::Metrics::register(registry),
        tasks.clone(),
    ));
    let delivery = Delivery::open(
        rooms.log.clone(),
        rooms.catalogue.clone(),
        rooms.audit.clone(),
        rooms.view.clone(),
        delivery::Options { metrics: delivery::Metrics::register(registry), ..config.delivery_options() },
        rooms.clock.clone(),
        tasks,
    )
    .await
    .map_err(Error::Cursors)?;
    let node = rpc::node::NodeRpc {
        node: config.node.name.clone(),
        receipt_public_key,
        start_time_ms: rooms.clock.now_ms(),
        clock: rooms.clock.clone(),
        log: rooms.log.clone(),
        catalogue: rooms.catalogue.clone(),
        view: rooms.view.clone(),
        readiness: readiness.clone(),
    };
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(shuqiao_proto::DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let administration = Administration::new(rooms.catalogue.clone(), rooms.audit.clone());
    Recovery::new(rooms.catalogue.clone(), rooms.audit.clone()).watch(tasks);
    rooms.audit.clone().sum_refusals(tasks);
    let catalogue = rpc::catalogue::CatalogueRpc::new(administration, delivery.clone(), tasks.clone(), unsent.clone());
    let unread_timeout = config.limits.unread_timeout;
    let exchange = rpc::exchange::ExchangeRpc { publisher, delivery, unread_timeout, tasks: tasks.clone() };
    let audit = rpc::audit::AuditRpc { reading: Reading::new(rooms.catalogue.clone(), rooms.audit.clone()) };
    let query = rpc::query::QueryRpc {
        query: Arc::new(Query::new(
            rooms.catalogue.clone(),
            rooms.audit.clone(),
            rooms.view.clone(),
            query::Options {
                at_once_max: config.limits.queries_at_once_max,
                metrics: query::Metrics::register(registry),
                ..query::Options::new(query::PageKey::new(&rooms.secret.derive("shuqiao page token v1")))
            },
            rooms.clock.clone(),
        )),
    };
    let bytes = config.limits.message_bytes_max.bytes();
    Ok(Routes::new(reflection)
        .add_service(NodeServiceServer::new(node).max_decoding_message_size(bytes))
        .add_service(
            ExchangeServiceServer::new(exchange).max_decoding_message_size(bytes).max_encoding_message_size(bytes),
        )
        .add_service(CatalogueServiceServer::new(catalogue).max_decoding_message_size(bytes))
        .add_service(QueryServiceServer::new(query).max_decoding_message_size(bytes).max_encoding_message_size(bytes))
        .add_service(AuditServiceServer::new(audit).max_decoding_message_size(bytes)))
}

/// Tells clients' health checks what readiness says.
async fn report(reporter: tonic_health::server::HealthReporter, readiness: Readiness, token: CancellationToken) {
    let mut ticks = tokio::time::interval(HEALTH_INTERVAL);
    loop {
        let serving = readiness.is_ready();
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        reporter.set_service_status("", status).await;
        tokio::select! {
            () = token.cancelled() => break,
            _ = ticks.tick() => {}
        }
    }
    reporter.set_service_status("", ServingStatus::NotServing).await;
}

/// Builds the view of a stopped node anew, one dataset or all.
///
/// # Errors
/// As for [`serve`]; [`Error::NoDataset`]; [`Error::Unusable`]; [`Error::OpenLog`] or [`Error::OpenView`] where another process has the store open.
pub async fn rebuild_view(config: Config, dataset: Option<DatasetId>) -> Result<Vec<Rebuilt>, Error> {
    let tasks = Tasks::default();
    let rooms = Rooms::open(&config, &mut telemetry::registry(), &tasks).await?;
    let snapshot = rooms.catalogue.snapshot();
    let only_one = dataset.is_some();
    let unknown = |id: &DatasetId| snapshot.dataset(id.as_str()).is_none();
    let (forgotten, ids): (Vec<_>, Vec<_>) = match dataset {
        Some(id) => {
            if let Some(dataset) = snapshot.dataset(id.as_str()) {
                dataset.standard().map_err(Error::Unusable)?;
            }
            vec![id]
        }
        None => {
            let known = snapshot.datasets().filter(|one| one.compiled.is_some()).map(|one| one.id.clone());
            rooms.view.held_datasets().into_iter().filter(unknown).chain(known).collect()
        }
    }
    .into_iter()
    .partition(unknown);
    let mut rebuilt = Vec::with_capacity(ids.len());
    for id in forgotten {
        match rooms.view.forgotten(&*rooms.log, &rooms.high_waters, &id).await.map_err(Error::View)? {
            Some(ahead) => {
                let records = rooms.view.abandon(&id).await.map_err(Error::View)?;
                let (count, digest) = shuqiao_proto::digest::RecordsDigest::default().finish();
                rebuilt.push(Rebuilt { dataset: id, equal: false, count, digest, lost: Some(Lost { ahead, records }) });
            }
            // Deleted: its rows go by themselves.
            None if only_one => return Err(Error::NoDataset(id)),
            None => {}
        }
    }
    for dataset in ids {
        let topic = &snapshot.dataset(dataset.as_str()).ok_or_else(|| Error::NoDataset(dataset.clone()))?.topic;
        let applied = rooms.view.applied(&dataset);
        let bounds = rooms.log.bounds(topic).await?;
        let ahead = view::ahead(&applied, &bounds);
        if ahead.is_none() {
            let ends: Vec<_> = (0..).zip(bounds.iter().map(|bounds| bounds.next)).collect();
            rooms.view.wait_applied(&dataset, &ends, REBUILD_WAIT).await.map_err(Error::View)?;
        }
        let outcome = rebuild_when_followed(&rooms.view, &dataset).await.map_err(Error::View)?;
        let (view, id) = (rooms.view.clone(), dataset.clone());
        let (count, digest) = rooms::blocking(move || view.records_digest(&id)).await?.map_err(Error::View)?;
        let lost = ahead.map(|ahead| Lost { ahead, records: outcome.before.records });
        rebuilt.push(Rebuilt { dataset, equal: outcome.before == outcome.after, count, digest, lost });
    }
    tasks.drain(config.node.grace_period).await;
    rooms.log.close().await;
    Ok(rebuilt)
}

/// A view that had caught up before it was opened is not waited for, and its task may begin to follow a moment later.
async fn rebuild_when_followed(view: &view::View, dataset: &DatasetId) -> Result<view::Rebuilt, view::Error> {
    let deadline = tokio::time::Instant::now() + FOLLOWED_WAIT;
    loop {
        match view.rebuild(dataset).await {
            Err(view::Error::NotReady(_)) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(FOLLOWED_INTERVAL).await;
            }
            other => return other,
        }
    }
}
