//! The rooms of one node, opened in the order in which they need one another: log, catalogue, trail, view.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use shuqiao_schemas::registry::Registry as Schemas;

use super::Error;
use crate::{
    config::{Config, LogHome},
    exchange::{
        audit::{self, Audit, AuditKey},
        catalogue::{self, Catalogue, HashSecret, RecordTypes},
        clock::Clock,
    },
    log::{self, Log},
    pki::ExchangeSecret,
    shutdown::Tasks,
    view::{self, HighWaters, View},
};

/// What every service stands on.
pub(super) struct Rooms {
    pub(super) log: Arc<dyn Log>,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) audit: Arc<Audit>,
    pub(super) view: Arc<View>,
    pub(super) high_waters: Arc<HighWaters>,
    pub(super) secret: ExchangeSecret,
    pub(super) clock: Clock,
}

impl Rooms {
    /// Opens them; the catalogue and the view follow the log on `tasks`.
    pub(super) async fn open(config: &Config, registry: &mut Registry, tasks: &Tasks) -> Result<Self, Error> {
        let clock = Clock::system();
        std::fs::create_dir_all(&config.node.data_dir)
            .map_err(|source| Error::DataDirectory { path: config.node.data_dir.clone(), source })?;
        let secret = ExchangeSecret::load(&config.exchange_secret_path())?;
        let log = open_log(config, clock.clone(), registry).await?;
        log::show_health(registry, log.clone());

        let hash_secret = HashSecret::new(&secret.derive("shuqiao keyed hash v1"));
        let catalogue_options = catalogue::Options {
            administrators: config.node.administrators.clone(),
            default_partitions: config.datasets.partitions_default,
            default_retention_ms: u64::try_from(config.datasets.retention_default.as_millis()).unwrap_or(u64::MAX),
            metrics: catalogue::Metrics::register(registry),
            ..catalogue::Options::new(config.log.topic_prefix.clone(), record_types(), hash_secret)
        };
        let catalogue =
            Catalogue::open(log.clone(), catalogue_options, clock.clone(), tasks).await.map_err(Error::Catalogue)?;

        let audit_options = audit::Options {
            topic_prefix: config.log.topic_prefix.clone(),
            node: config.node.name.clone(),
            key: AuditKey::new(&secret.derive("shuqiao audit v1")),
            metrics: audit::Metrics::register(registry),
        };
        let audit = Audit::open(log.clone(), audit_options, clock.clone()).await?;

        let view_options = view::Options {
            cache_bytes: config.view.cache_bytes.0,
            clock: clock.clone(),
            metrics: view::Metrics::register(registry),
            ..view::Options::default()
        };
        let path = config.view_path();
        let opened = blocking({
            let path = path.clone();
            move || View::open(&path, view_options)
        });
        let view = opened.await?.map_err(|source| Error::OpenView { path, source })?;
        let high_waters =
            HighWaters::open(log.clone(), &config.log.topic_prefix, &config.node.name, clock.clone()).await;
        let high_waters = high_waters.map_err(Error::View)?;
        view.follow(log.clone(), catalogue.clone(), high_waters.clone(), tasks);
        Ok(Self { log, catalogue, audit, view, high_waters, secret, clock })
    }
}

/// The record types of this software.
fn record_types() -> RecordTypes {
    let schemas = Schemas::builtin();
    schemas.names().filter_map(|name| schemas.get(name)).cloned().collect()
}

async fn open_log(config: &Config, clock: Clock, registry: &mut Registry) -> Result<Arc<dyn Log>, Error> {
    let metrics = log::Metrics::register(registry);
    match config.log.home {
        LogHome::Embedded => {
            let options = config.embedded_log_options();
            let opened = blocking(move || log::embedded::Embedded::open(options, clock, metrics)).await?;
            let path = || config.embedded_log_path();
            Ok(Arc::new(opened.map_err(|source| Error::OpenLog { path: path(), source })?))
        }
        LogHome::Kafka => {
            let options = config.kafka_log_options();
            let opened = blocking(move || log::kafka::Kafka::open(options, metrics)).await??;
            Ok(Arc::new(opened))
        }
    }
}

/// Opening a store reads and repairs files.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(Error::Panic)
}
