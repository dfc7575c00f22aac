//! What needs no node: identifiers, configuration, completions.

use std::{
    fs::File,
    io::{BufReader, Write},
    path::PathBuf,
};

use clap::{Args, Subcommand};
use clap_complete::Shell;
use shuqiao_schemas::identifier::inspect;

use super::{
    error::{Error, write_error},
    exit::Exit,
    output,
};

/// `shuqiao inspect …`.
#[derive(Debug, Subcommand)]
pub(super) enum Inspect {
    /// Judge every line of a file, or one column of a CSV file: which kind of identifier it is, whether it is right, and why not.
    Identifiers {
        /// The file; `-` is standard input.
        #[arg(default_value = "-")]
        file: PathBuf,
        /// A column of a CSV file with a header.
        #[arg(long, value_name = "NAME")]
        column: Option<String>,
        /// `table`, `csv` or `jsonl`.
        #[arg(short, long, default_value = "table")]
        output: inspect::Format,
    },
}

impl Inspect {
    pub(super) fn run(self) -> Result<Exit, Error> {
        let Self::Identifiers { file, column, output } = self;
        let options = inspect::Options { column, format: output };
        let out = std::io::stdout().lock();
        let summary = if file.as_os_str() == "-" {
            inspect::run(std::io::stdin().lock(), out, &options)?
        } else {
            let source =
                File::open(&file).map_err(|source| Error::Read { what: file.display().to_string(), source })?;
            inspect::run(BufReader::new(source), out, &options)?
        };
        output::note(&format!(
            "{}: {} ok, {}, {}",
            output::count(summary.rows, "row"),
            summary.ok,
            output::count(summary.warning, "warning"),
            output::count(summary.error, "error")
        ));
        Ok(Exit::Success)
    }
}

/// `shuqiao config …`.
#[derive(Debug, Subcommand)]
pub(super) enum Config {
    /// Report every mistake of a node's configuration and of the certificates, keys and directories that it names, and start nothing.
    ///
    /// Run it on the node's machine as the node's user: what that user cannot read or write is a mistake. A mistake keeps `shuqiao serve` from starting (exit code
    /// 1); a warning (a certificate that ends soon) does not.
    Check {
        /// The node's configuration.
        #[arg(env = "SHUQIAO_CONFIG")]
        file: PathBuf,
    },
    /// Print what every key means.
    Manual,
}

impl Config {
    pub(super) async fn run(self) -> Result<Exit, Error> {
        match self {
            Self::Check { file } => {
                let (_, warnings) = super::node::load(&file).await?;
                for warning in &warnings {
                    output::note(&format!("warning: {warning}"));
                }
                let warnings = output::count(warnings.len(), "warning");
                output::print(&format!("{}: no mistakes, {warnings}", file.display()))?;
            }
            Self::Manual => output::print(crate::config::manual().trim_end())?,
        }
        Ok(Exit::Success)
    }
}

/// `shuqiao completions SHELL`.
#[derive(Args, Debug)]
pub(super) struct Completions {
    /// Which shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self, command_line: &mut clap::Command) -> Result<Exit, Error> {
        // Into memory first: the generator panics where a pipe has closed.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, command_line, "shuqiao", &mut script);
        std::io::stdout().lock().write_all(&script).map_err(write_error)?;
        Ok(Exit::Success)
    }
}
