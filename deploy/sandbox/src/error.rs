//! Why the city does not start, or ended.

use std::path::PathBuf;

use shuqiao_adapter_sdk::{config::Mistakes, reconcile, runner, state};
use shuqiao_broker::{cli::exit::Exit, config, node, pki};

/// Each says what to do next, unless its cause does.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory of the city.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// "read", "write", "lock", ...
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The directory belongs to somebody else.
    #[error("{} holds files that are no city's: choose another --data-dir", .0.display())]
    Foreign(PathBuf),
    /// Two sandboxes in one directory.
    #[error("a sandbox runs in {} already: end it first, or choose another --data-dir", .0.display())]
    Running(PathBuf),
    /// A remembered file cannot be understood.
    #[error("{} is damaged: begin anew with --fresh", .0.display())]
    Damaged(PathBuf),
    /// Paths go into configuration files.
    #[error("{} is not UTF-8: choose another --data-dir", .0.display())]
    NotUtf8(PathBuf),
    /// Other enterprises than those that are published already.
    #[error(
        "the city was made with --seed {remembered} --rows {rows}: its registry can only grow; --fresh makes another"
    )]
    OtherCity {
        /// Its seed.
        remembered: u64,
        /// Its rows.
        rows: u32,
    },
    /// The port that was asked for.
    #[error("port {port} is taken: give another --port, or 0 for any")]
    PortTaken {
        /// Which.
        port: u16,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No port at all.
    #[error("this machine gives no port on 127.0.0.1")]
    NoPort(#[source] std::io::Error),
    /// Our certificates.
    #[error("the city's certificate authority")]
    Pki(#[from] pki::Error),
    /// A name in our own tables.
    #[error("{0:?} is no name of a system or person")]
    Name(String),
    /// The node's configuration as we wrote it.
    #[error("the node's configuration")]
    NodeConfig(#[from] config::Error),
    /// An adapter's configuration as we wrote it.
    #[error("an adapter's configuration")]
    AdapterConfig(#[from] Mistakes),
    /// The node ended by itself.
    #[error("the exchange ended")]
    Node(#[source] node::Error),
    /// The node ended without saying why.
    #[error("the exchange ended by itself")]
    NodeEnded,
    /// The node does not become ready.
    #[error("the exchange is not ready after {seconds} s ({reason}): see the log file")]
    NotReady {
        /// How long was waited.
        seconds: u64,
        /// What it said last.
        reason: String,
    },
    /// A resource could not be applied; the command line has said why.
    #[error("{} could not be applied ({exit:?})", .file.display())]
    Apply {
        /// Its manifest.
        file: PathBuf,
        /// As which kind of failure.
        exit: Exit,
    },
    /// An adapter ended with an error.
    #[error("the adapter of {adapter}")]
    Adapter {
        /// Whose.
        adapter: &'static str,
        /// Why.
        #[source]
        source: runner::Error,
    },
    /// An adapter's task is gone.
    #[error("the adapter of {0} ended by itself")]
    AdapterEnded(&'static str),
    /// Reconciliation could not be told.
    #[error("reconciliation of {adapter}")]
    Reconcile {
        /// Whose.
        adapter: &'static str,
        /// Why.
        #[source]
        source: reconcile::Error,
    },
    /// An adapter's state file.
    #[error("the state of an adapter")]
    State(#[from] state::Error),
    /// The process cannot hear signals.
    #[error("cannot hear signals")]
    Signals(#[source] std::io::Error),
}

impl Error {
    /// For `map_err` on what the file system says.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
