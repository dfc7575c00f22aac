//! What an adapter is: a description, a check, and the roles that it opens. A blanket implementation erases its configuration type, so that a
//! registry of adapters is a plain list.

use std::path::PathBuf;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::{
    AdapterError, CheckReport, MappingError, Position, Sink, Source, SourceRecord,
    config::{Config, own_table},
};

/// A department's adapter. Implemented on a unit struct; does each thing once, and leaves retry, deadlines, dead letters, metrics and
/// shutdown to the runner.
#[async_trait]
pub trait Adapter: Send + Sync + 'static {
    /// The adapter's own table of the configuration file. Derive `Deserialize`: unknown keys are refused, and every mistake is told at once, without more.
    type Config: DeserializeOwned + Send + Sync + 'static;

    /// What it is called and what it does.
    fn descriptor() -> Descriptor;

    /// Mistakes that the type cannot express, all of them, each as "key: what would be right", or "key, key: …"; a key within a section as
    /// "section.key". Pure; called before anything opens, also beside mistakes that the type did find: those of the same keys are then not told twice.
    fn mistakes(_config: &Self::Config) -> Vec<String> {
        Vec::new()
    }

    /// A harmless form of the real work: reaches the system, reads a row, looks for its table. Needs no permission that a run does not need.
    async fn check(config: &Self::Config) -> CheckReport;

    /// Opens the source, the sink, or both.
    ///
    /// # Errors
    /// [`AdapterError`]; a transient one is tried again.
    async fn open(config: Self::Config, context: Context) -> Result<Roles, AdapterError>;

    /// Maps the raw bytes of dead letters again, with the mapping as it is now: one answer for each, in their order. The outer error: the mapping could not be
    /// tried (a file with the header is not readable). An adapter without a source keeps the default, which says so.
    ///
    /// # Errors
    /// [`AdapterError`].
    async fn remap(
        _config: &Self::Config,
        _raws: &[&[u8]],
    ) -> Result<Vec<Result<SourceRecord, MappingError>>, AdapterError> {
        Err(AdapterError::configuration("this adapter has no source, so it maps nothing"))
    }
}

/// What an adapter is called and what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Name in configuration files and on the command line: "market-supervision".
    pub name: &'static str,
    /// For a person, English, one line.
    pub title_en: &'static str,
    /// For a person, Chinese, one line.
    pub title_zh: &'static str,
    /// Whether it can read and publish.
    pub source: bool,
    /// Whether it can subscribe and write.
    pub sink: bool,
    /// The record types that it publishes or takes: "enterprise/v1".
    pub record_types: &'static [&'static str],
    /// A whole, commented configuration file.
    pub example: &'static str,
}

/// What the runner gives to an adapter when it opens.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Context {
    /// The last position whose rows are all durable or set aside; `None` at the very first start.
    pub position: Option<Position>,
    /// Whether to end when the system has no more rows (`--once`) instead of following it.
    pub once: bool,
    /// A directory for files of the adapter's own; it exists and is writable.
    pub directory: PathBuf,
    /// Cancelled when the process is told to stop.
    pub token: CancellationToken,
}

impl Context {
    /// A context, as the runner makes it and as an adapter's own tests may.
    pub fn new(position: Option<Position>, once: bool, directory: PathBuf, token: CancellationToken) -> Self {
        Self { position, once, directory, token }
    }
}

/// What an adapter opened. One with both roles sets the other field, too.
#[derive(Default)]
#[non_exhaustive]
pub struct Roles {
    /// Reads and is published.
    pub source: Option<Box<dyn Source>>,
    /// Is subscribed and writes.
    pub sink: Option<Box<dyn Sink>>,
}

impl Roles {
    /// Only a source.
    pub fn source(source: impl Source + 'static) -> Self {
        Self { source: Some(Box::new(source)), sink: None }
    }

    /// Only a sink.
    pub fn sink(sink: impl Sink + 'static) -> Self {
        Self { source: None, sink: Some(Box::new(sink)) }
    }
}

impl std::fmt::Debug for Roles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Roles").field("source", &self.source.is_some()).field("sink", &self.sink.is_some()).finish()
    }
}

/// [`Adapter`] without its associated type: what a registry holds. Implemented for every adapter, by no one by hand.
#[async_trait]
pub trait ErasedAdapter: Send + Sync {
    /// See [`Adapter::descriptor`].
    fn describe(&self) -> Descriptor;

    /// Parses the adapter's table; every mistake that can be told at once.
    fn config_mistakes(&self, table: &toml::Table) -> Vec<String>;

    /// See [`Adapter::check`]. A table that does not parse is one failed finding a mistake.
    async fn check_with(&self, table: &toml::Table) -> CheckReport;

    /// See [`Adapter::open`].
    ///
    /// # Errors
    /// [`AdapterError`]; configuration where the table does not parse.
    async fn open_with(&self, table: &toml::Table, context: Context) -> Result<Roles, AdapterError>;

    /// See [`Adapter::remap`].
    ///
    /// # Errors
    /// [`AdapterError`]; configuration where the table does not parse.
    async fn remap_with(
        &self,
        table: &toml::Table,
        raws: &[&[u8]],
    ) -> Result<Vec<Result<SourceRecord, MappingError>>, AdapterError>;
}

/// Opens the sink for a command that looks at it or writes a few records, beside whatever runs.
///
/// # Errors
/// Those of [`Adapter::open`]; configuration where the adapter opens no sink.
pub(crate) async fn open_sink(adapter: &dyn ErasedAdapter, config: &Config) -> Result<Box<dyn Sink>, AdapterError> {
    let context = Context::new(None, true, config.state.directory(), CancellationToken::new());
    let roles = adapter.open_with(&config.table, context).await?;
    roles.sink.ok_or_else(|| AdapterError::configuration("the adapter opens no sink"))
}

fn parse<A: Adapter>(table: &toml::Table) -> Result<A::Config, Vec<String>> {
    own_table(A::descriptor().name, table, A::mistakes)
}

fn parse_to_open<A: Adapter>(table: &toml::Table) -> Result<A::Config, AdapterError> {
    parse::<A>(table).map_err(|mistakes| AdapterError::configuration(mistakes.join("; ")))
}

#[async_trait]
impl<A: Adapter> ErasedAdapter for A {
    fn describe(&self) -> Descriptor {
        A::descriptor()
    }

    fn config_mistakes(&self, table: &toml::Table) -> Vec<String> {
        parse::<A>(table).err().unwrap_or_default()
    }

    async fn check_with(&self, table: &toml::Table) -> CheckReport {
        match parse::<A>(table) {
            Ok(config) => A::check(&config).await,
            Err(mistakes) => {
                let mut report = CheckReport::default();
                for mistake in mistakes {
                    report.failed("configuration", mistake, "see config.example.toml of the adapter");
                }
                report
            }
        }
    }

    async fn open_with(&self, table: &toml::Table, context: Context) -> Result<Roles, AdapterError> {
        A::open(parse_to_open::<A>(table)?, context).await
    }

    async fn remap_with(
        &self,
        table: &toml::Table,
        raws: &[&[u8]],
    ) -> Result<Vec<Result<SourceRecord, MappingError>>, AdapterError> {
        A::remap(&parse_to_open::<A>(table)?, raws).await
    }
}
