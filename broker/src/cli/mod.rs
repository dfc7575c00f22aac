//! The command line: a node, and everything that people and scripts ask of one.
//!
//! Promises: the exit code says what kind of failure it was ([`exit::TABLE`]); an error says what to do next; what a command answers goes to
//! standard output and nothing else does; a reader that has seen enough (`| head`) ends a command that only reads quietly, and one that changes something does
//! all of it first.

mod audit;
mod authority;
mod connection;
mod error;
mod example;
pub mod exit;
mod manifest;
mod node;
mod output;
mod publish;
mod query;
mod receipt;
mod record;
mod resource;
mod schema;
mod subscribe;
mod tools;

#[cfg(test)]
mod tests;

use std::{ffi::OsString, iter, process::ExitCode};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use self::{error::Error, exit::Exit};

/// Shuqiao 数桥: departments publish standardized records once; others query them and subscribe to them, as far as a grant allows.
#[derive(Debug, Parser)]
#[command(name = "shuqiao", version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node until it is told to stop (SIGTERM or Ctrl-C drains it).
    Serve(node::Serve),
    /// Show one resource.
    Get(resource::Get),
    /// Show all resources of a kind that you may see.
    List(resource::List),
    /// Show one resource and what belongs to it.
    Describe(resource::Describe),
    /// Create or update resources as their manifests say.
    Apply(resource::Apply),
    /// Delete a resource; a grant is revoked.
    Delete(resource::Delete),
    /// Publish records into a dataset of your department.
    Publish(publish::Publish),
    /// Print the records of a subscription and acknowledge them.
    Subscribe(subscribe::Subscribe),
    /// Ask for records; every question names its purpose.
    #[command(subcommand)]
    Query(query::Query),
    /// Read the trail of every access.
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Verify what a node signed when it took records.
    #[command(subcommand)]
    Receipt(receipt::Receipt),
    /// Show how a node stands.
    Status(node::Status),
    /// Run a small certificate authority, for sandboxes and small sites.
    #[command(subcommand)]
    Pki(authority::Pki),
    /// Compare or rebuild a node's view.
    #[command(subcommand)]
    View(node::View),
    /// Judge identifiers without a node.
    #[command(subcommand)]
    Inspect(tools::Inspect),
    /// Check, compare and show record types and code tables; no node is needed.
    #[command(subcommand)]
    Schema(schema::Schema),
    /// Look at a node's configuration.
    #[command(subcommand)]
    Config(tools::Config),
    /// Print a completion script for a shell.
    Completions(tools::Completions),
}

impl Command {
    async fn run(self) -> Result<Exit, Error> {
        match self {
            Self::Serve(command) => command.run().await,
            Self::Get(command) => command.run().await,
            Self::List(command) => command.run().await,
            Self::Describe(command) => command.run().await,
            Self::Apply(command) => command.run().await,
            Self::Delete(command) => command.run().await,
            Self::Publish(command) => command.run().await,
            Self::Subscribe(command) => command.run().await,
            Self::Query(command) => command.run().await,
            Self::Audit(command) => command.run().await,
            Self::Receipt(command) => command.run(),
            Self::Status(command) => command.run().await,
            Self::Pki(command) => command.run(),
            Self::View(command) => command.run().await,
            Self::Inspect(command) => command.run(),
            Self::Schema(command) => command.run().await,
            Self::Config(command) => command.run().await,
            Self::Completions(command) => command.run(&mut command_line()),
        }
    }
}

/// The parser, with the table of exit codes in its long help and an example in the help of each command.
fn command_line() -> clap::Command {
    let codes = exit::TABLE.iter().map(|(exit, meaning)| format!("  {}  {meaning}", exit.code())).collect::<Vec<_>>();
    example::given(Cli::command(), "").after_long_help(format!("Exit codes:\n{}", codes.join("\n")))
}

/// Runs the command that the process's arguments say.
pub fn main() -> ExitCode {
    let cli = match parse(std::env::args_os()) {
        Ok(cli) => cli,
        // Help and version also arrive here; clap knows which goes where, and its code for bad usage is ours.
        Err(error) => error.exit(),
    };
    let exit = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => finish(runtime.block_on(Box::pin(cli.command.run()))),
        Err(source) => finish(Err(Error::Read { what: "the runtime".into(), source })),
    };
    ExitCode::from(exit.code())
}

/// Runs a command in this process as if it had been typed: `["apply", "--file", "city.yaml"]`.
pub async fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    match parse(iter::once("shuqiao".into()).chain(arguments)) {
        Ok(cli) => finish(Box::pin(cli.command.run()).await),
        Err(error) => {
            output::note(&error.to_string());
            Exit::Usage
        }
    }
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    command_line().try_get_matches_from(arguments).and_then(|matches| Cli::from_arg_matches(&matches))
}

fn finish(result: Result<Exit, Error>) -> Exit {
    result.unwrap_or_else(|error| {
        let exit = error.exit();
        if exit != Exit::Success {
            output::note(&error.explain());
        }
        exit
    })
}
