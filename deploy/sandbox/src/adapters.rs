//! The two adapters of the city, as their departments would run them, in this process.

use std::sync::Arc;

use shuqiao_adapter_market_supervision::MarketSupervision;
use shuqiao_adapter_sdk::{
    ErasedAdapter,
    config::{self, Config},
    runner::{self, Options, Report},
    state::State,
};
use shuqiao_adapter_taxation::Taxation;
use shuqiao_broker::shutdown::Tasks;
use tokio::task::{JoinError, JoinHandle};

use crate::{
    Error,
    directory::Directory,
    identities::{self, INBOX, Member, REGISTRY},
    resources::{DATASET, RECORD_TYPE, SUBSCRIPTION},
};

/// The registry, in the data directory.
pub(crate) const CSV: &str = "market-supervision/enterprises.csv";
/// Taxation's database, in the data directory.
pub(crate) const DATABASE: &str = "taxation/inbox.db";

/// An adapter with its configuration.
#[derive(Clone)]
pub(crate) struct Adapter {
    pub(crate) adapter: &'static dyn ErasedAdapter,
    pub(crate) name: &'static str,
    pub(crate) config: Arc<Config>,
}

/// An adapter's run as a task.
pub(crate) type Running = JoinHandle<Result<Report, runner::Error>>;

impl Adapter {
    /// Market supervision: reads the file and publishes.
    pub(crate) fn market_supervision(directory: &Directory, endpoint: &str) -> Result<Self, Error> {
        let text = format!(
            "# Market supervision of the sandbox: written at every start.\nadapter = \"market-supervision\"\n\n{}\n\
             [publish]\ndataset = \"{DATASET}\"\nrecord_type = \"{RECORD_TYPE}\"\n\n\
             [market-supervision.file]\npath = {}\nencoding = \"gb18030\"\npoll = \"2s\"\n",
            common(directory, endpoint, REGISTRY),
            directory.quoted(CSV),
        );
        Self::configure(directory, &MarketSupervision, &text)
    }

    /// Taxation: subscribes and fills its table.
    pub(crate) fn taxation(directory: &Directory, endpoint: &str) -> Result<Self, Error> {
        // In a URL's path these two would mean something.
        let path = directory.path(DATABASE).display().to_string().replace('%', "%25").replace('?', "%3F");
        let url = toml::Value::from(format!("sqlite://{path}"));
        let text = format!(
            "# Taxation of the sandbox: written at every start.\nadapter = \"taxation\"\n\n{}\n\
             [subscribe]\nsubscription = \"{SUBSCRIPTION}\"\n\n\
             [taxation]\nurl = {url}\ncreate_table = true\n",
            common(directory, endpoint, INBOX),
        );
        Self::configure(directory, &Taxation, &text)
    }

    fn configure(directory: &Directory, adapter: &'static dyn ErasedAdapter, text: &str) -> Result<Self, Error> {
        let name = adapter.describe().name;
        directory.write(format!("{name}.toml"), text)?;
        let home = directory.path(name);
        std::fs::create_dir_all(&home).map_err(Error::io("make", home))?;
        // The newcomer's environment may be that of another adapter.
        let config = config::from_text(text, &[adapter], std::iter::empty())?;
        Ok(Self { adapter, name, config: Arc::new(config) })
    }

    /// Makes its state file where there is none: whoever looks beside a run finds one.
    pub(crate) async fn prepare(&self) -> Result<(), Error> {
        State::open(&self.config.state.path).await?.close().await;
        Ok(())
    }

    /// Runs it on `tasks`: until everything is published (`once`), or until they are told to stop.
    pub(crate) fn start(&self, once: bool, tasks: &Tasks) -> Running {
        let Self { adapter, config, .. } = self.clone();
        let options = Options { once, ..Options::default() };
        let token = tasks.token();
        tasks.spawn(self.name, Box::pin(async move { runner::run(adapter, &config, &options, token).await }))
    }

    /// What an ended run says.
    pub(crate) fn ended(&self, ended: Result<Result<Report, runner::Error>, JoinError>) -> Result<Report, Error> {
        let adapter = self.name;
        ended.map_err(|_| Error::AdapterEnded(adapter))?.map_err(|source| Error::Adapter { adapter, source })
    }

    /// Why a run is over that should go on.
    pub(crate) fn too_early(&self, ended: Result<Result<Report, runner::Error>, JoinError>) -> Error {
        self.ended(ended).err().unwrap_or(Error::AdapterEnded(self.name))
    }
}

/// What both configurations say: where the exchange is, and who we are to it.
fn common(directory: &Directory, endpoint: &str, member: Member) -> String {
    format!(
        "[broker]\nendpoint = \"{endpoint}\"\nauthorities = {}\ncertificate = {}\nkey = {}\n\n[state]\npath = {}\n",
        directory.quoted(identities::authority()),
        directory.quoted(member.certificate()),
        directory.quoted(member.key()),
        directory.quoted(format!("{}/state.db", member.department)),
    )
}
