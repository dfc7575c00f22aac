//! One TOML file an adapter: where the exchange is, who we are, what we publish or subscribe to, where the state lives, and the adapter's own
//! table.
//!
//! Unknown keys are refused, and all mistakes are told at once, each with its path, the rule, and no value. Environment variables
//! `SHUQIAO_ADAPTER__{SECTION}__{KEY}` override single values, for addresses and secrets; a section within a section is one `__` more.

mod parse;
mod section;
mod values;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use bytesize::ByteSize;
use serde::Deserialize;

pub use parse::{Mistakes, Named, from_text, load, named, override_from};
pub(crate) use section::own_table;
pub use values::{Secret, duration, secret_of};

/// A whole configuration. Build it with [`load`] or [`from_text`], or as a value for an adapter in the same process.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the adapter, as [`crate::Descriptor::name`] says it.
    pub adapter: String,
    /// Where the exchange is and with which certificate to reach it.
    pub broker: Broker,
    /// Where checkpoints, outbox and dead letters live.
    pub state: StateFile,
    /// For a source.
    pub publish: Option<Publish>,
    /// For a sink.
    pub subscribe: Option<Subscribe>,
    /// How the loop behaves.
    pub run: Run,
    /// Where metrics are shown; none without it.
    pub metrics: Option<Metrics>,
    /// The adapter's own table, `[{adapter}]`.
    pub table: toml::Table,
}

#[cfg(test)]
impl Config {
    /// Names no adapter and an exchange that is not there.
    pub(crate) fn of_nobody(state: impl Into<PathBuf>) -> Self {
        let broker = Broker {
            endpoint: "https://127.0.0.1:1".into(),
            server_name: None,
            authorities: PathBuf::new(),
            certificate: PathBuf::new(),
            key: PathBuf::new(),
            connect_timeout: values::ten_seconds(),
            answer_timeout: values::sixty_seconds(),
        };
        Self {
            adapter: String::new(),
            broker,
            state: StateFile { path: state.into() },
            publish: None,
            subscribe: None,
            run: Run::default(),
            metrics: None,
            table: toml::Table::new(),
        }
    }
}

/// `[broker]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    /// `https://host:port`. Never plain: identity is the client's certificate.
    pub endpoint: String,
    /// The name in the server's certificate, where it is not the endpoint's host.
    pub server_name: Option<String>,
    /// PEM file: the authorities whose certificates we take for the exchange's.
    pub authorities: PathBuf,
    /// PEM file: our chain, leaf first. Read again at every connection, so a rotated certificate needs no restart.
    pub certificate: PathBuf,
    /// PEM file: our private key.
    pub key: PathBuf,
    /// How long one attempt to connect may take. Default 10 s.
    #[serde(default = "values::ten_seconds", deserialize_with = "values::duration")]
    pub connect_timeout: Duration,
    /// How long to wait for the answer to a call, an opened stream or an acknowledgement before connecting anew. Default 60 s: a node that has
    /// just started first reads what its log holds.
    #[serde(default = "values::sixty_seconds", deserialize_with = "values::duration")]
    pub answer_timeout: Duration,
}

/// `[state]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateFile {
    /// The SQLite file. It is the source's memory of its sequences: keep it with the system, and never share it between two adapters.
    pub path: PathBuf,
}

impl StateFile {
    /// Where it lies: the adapter may keep files of its own there.
    pub fn directory(&self) -> PathBuf {
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        parent.unwrap_or(Path::new(".")).to_owned()
    }
}

/// `[publish]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// Id of the dataset: `market-supervision.enterprise`.
    pub dataset: String,
    /// Version of the standard of every record: `enterprise/v1`.
    pub record_type: String,
    /// The system that publishes, `department/{alias}/system/{name}`. Empty (the default): as the certificate says.
    #[serde(default)]
    pub source: String,
    /// Records in a batch, at most; 1-1,000, and never more than the node allows. Default 500.
    #[serde(default = "values::batch_records")]
    pub batch_records: usize,
    /// Bytes in a batch, at most; 4 KiB-4 MiB. Default 2 MiB. A single record may be larger (to 1 MiB of payload).
    #[serde(default = "values::batch_bytes")]
    pub batch_bytes: ByteSize,
    /// When so much waits in the outbox, reading from the legacy system pauses. Default 64 MiB.
    #[serde(default = "values::outbox_bytes")]
    pub outbox_bytes: ByteSize,
}

impl Publish {
    /// With the defaults.
    pub fn new(dataset: impl Into<String>, record_type: impl Into<String>) -> Self {
        Self {
            dataset: dataset.into(),
            record_type: record_type.into(),
            source: String::new(),
            batch_records: values::batch_records(),
            batch_bytes: values::batch_bytes(),
            outbox_bytes: values::outbox_bytes(),
        }
    }
}

/// `[subscribe]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscribe {
    /// Id of the subscription: `taxation.enterprise`.
    pub subscription: String,
    /// Records that may be on their way and not yet durable here; 1-10,000. Default 2,000.
    #[serde(default = "values::window")]
    pub window: u32,
    /// How long the sink may take for one delivery. Default 60 s.
    #[serde(default = "values::sixty_seconds", deserialize_with = "values::duration")]
    pub deliver_timeout: Duration,
}

impl Subscribe {
    /// With the defaults.
    pub fn new(subscription: impl Into<String>) -> Self {
        Self { subscription: subscription.into(), window: values::window(), deliver_timeout: values::sixty_seconds() }
    }
}

/// `[run]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Run {
    /// With `--once`: how many failures in a row end the run. A run that follows tries for ever. Default 10.
    pub once_attempts: u32,
    /// With `--once`: a sink that hears nothing for so long has everything. Default 5 s.
    #[serde(deserialize_with = "values::duration")]
    pub once_idle: Duration,
    /// How long one read from the source, or one settling, may take before it is tried again. Default 2 min.
    #[serde(deserialize_with = "values::duration")]
    pub source_timeout: Duration,
    /// How long a shutdown waits for what is on its way. Default 10 s. What is not acknowledged by then stays in the outbox.
    #[serde(deserialize_with = "values::duration")]
    pub shutdown_grace: Duration,
    /// The purpose that reconciliation names to the exchange, as every query must. Default: what the subscription is for, since the grant covers
    /// nothing else; where nothing is subscribed, `对账 reconciliation`, since an owner needs no grant.
    pub purpose: Option<String>,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            once_attempts: 10,
            once_idle: Duration::from_secs(5),
            source_timeout: Duration::from_secs(120),
            shutdown_grace: Duration::from_secs(10),
            purpose: None,
        }
    }
}

/// `[metrics]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Address and port of the Prometheus page.
    pub listen: SocketAddr,
}
