//! The command line.

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use shuqiao_adapter_sdk::{
    CheckReport, ErasedAdapter,
    config::{self, Config},
    dead_letter,
    metrics::Metrics,
    reconcile,
    runner::{self, Options},
    state::Replay,
};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    adapters,
    exit::{self, Exit},
    output::{self, Format},
    telemetry::{self, LogFormat},
};

/// Shuqiao 数桥 adapter: one process beside one legacy system. Publishes what it holds, or fills its inbox.
#[derive(Debug, Parser)]
#[command(name = "shuqiao-adapter", version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How log lines are written, to standard error.
    #[arg(long, global = true, value_enum, default_value = "plain", env = "SHUQIAO_ADAPTER_LOG_FORMAT")]
    log_format: LogFormat,
    /// Which log lines: `info`, `debug`, `warn,shuqiao_adapter_sdk=debug`.
    #[arg(long, global = true, default_value = "info", env = "SHUQIAO_ADAPTER_LOG")]
    log: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the adapter until it is told to stop (SIGTERM or Ctrl-C drains it).
    Run {
        #[command(flatten)]
        file: File,
        /// End when the source has nothing more and everything is settled, or when the subscription has been read to its end.
        #[arg(long)]
        once: bool,
    },
    /// Tell everything that is wrong before a run: configuration, files, certificates, exchange, catalogue, legacy system.
    Check {
        #[command(flatten)]
        file: File,
    },
    /// What could not be taken.
    #[command(subcommand)]
    DeadLetters(DeadLetters),
    /// Compare with the exchange 对账: do the counts add up, and do both sides hold the same records?
    Reconcile {
        #[command(flatten)]
        file: File,
        /// How long to look again while the sides differ, since what is on its way makes a difference.
        #[arg(long, default_value = "10s", value_parser = duration)]
        patience: Duration,
    },
    /// Have the next run read the source from its beginning and publish all of it once more, under new numbers: after the exchange has lost records, or
    /// where the state file came back from an old copy. Every subscriber is delivered all of it again. Not beside a running adapter.
    Resync {
        #[command(flatten)]
        file: File,
    },
    /// Have the exchange deliver everything once more to the next run, from where the subscription begins: after the inbox was removed or restored from a
    /// backup, or the grant shows other fields than it did. What the inbox holds already changes only where it is newer, or shown otherwise. Not
    /// beside a running adapter.
    Refresh {
        #[command(flatten)]
        file: File,
    },
    /// Show the adapters of this build.
    Describe {
        /// Only this one.
        adapter: Option<String>,
        /// Print its configuration file, with every key.
        #[arg(long, requires = "adapter")]
        example: bool,
        /// How the answer is written.
        #[arg(short, long, value_enum, default_value = "table")]
        output: Format,
    },
}

#[derive(Debug, Subcommand)]
enum DeadLetters {
    /// List the letters that somebody should look at, without their bytes.
    List {
        #[command(flatten)]
        file: File,
        /// Also those that are closed.
        #[arg(long)]
        all: bool,
        /// At most so many.
        #[arg(long, default_value_t = 1_000)]
        limit: u32,
    },
    /// Show one letter with its reasons and its bytes, personal data included.
    Show {
        #[command(flatten)]
        file: File,
        /// Its number.
        id: i64,
        /// Write the bytes as they were read, and nothing else.
        #[arg(long)]
        raw: bool,
    },
    /// Map letters again, or deliver them again, with the adapter and the inbox as they are now.
    Replay {
        #[command(flatten)]
        file: File,
        /// Their numbers.
        #[arg(required_unless_present = "all")]
        ids: Vec<i64>,
        /// Every open letter.
        #[arg(long, conflicts_with = "ids")]
        all: bool,
    },
}

/// Which configuration, and how to answer.
#[derive(Debug, clap::Args)]
struct File {
    /// The adapter's configuration. SHUQIAO_ADAPTER__{SECTION}__{KEY} in the environment overrides a value.
    #[arg(short, long, env = "SHUQIAO_ADAPTER_CONFIG")]
    config: PathBuf,
    /// How the answer is written.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "not a duration; write it as `30s` or `2m`".into())
}

/// The parser, with the table of exit codes in its long help.
pub fn command_line() -> clap::Command {
    let codes = exit::TABLE.iter().map(|(exit, meaning)| format!("  {}  {meaning}", exit.code())).collect::<Vec<_>>();
    Cli::command().after_long_help(format!("Exit codes:\n{}", codes.join("\n")))
}

/// Runs the command that the process's arguments say.
pub fn main() -> ExitCode {
    let cli = match command_line().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        // Help and version also arrive here; clap knows which goes where, and its code for bad usage is ours.
        Err(error) => error.exit(),
    };
    if let Err(error) = telemetry::install(cli.log_format, &cli.log) {
        output::complain(error);
        return ExitCode::from(Exit::Usage.code());
    }
    let exit = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(Box::pin(cli.command.run())),
        Err(error) => Err(Failure::new(Exit::Failure, format!("the runtime: {error}"))),
    };
    let exit = exit.unwrap_or_else(|failure| {
        output::complain(failure.message);
        failure.exit
    });
    ExitCode::from(exit.code())
}

/// What ends a command before its answer.
struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }
}

macro_rules! failures {
    ($($error:ty),+) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::new(error.class().into(), shuqiao_adapter_sdk::chain(&error))
            }
        })+
    };
}

failures!(runner::Error, reconcile::Error, dead_letter::Error);

impl Command {
    async fn run(self) -> Result<Exit, Failure> {
        match self {
            Self::Run { file, once } => run(&file, once).await,
            Self::Check { file } => check(&file).await,
            Self::DeadLetters(command) => command.run().await,
            Self::Reconcile { file, patience } => {
                let (adapter, config) = file.load()?;
                let answer = reconcile::reconcile(adapter, &config, patience.into()).await?;
                output::reconciliation(&answer, file.output);
                Ok(if answer.agrees() { Exit::Success } else { Exit::NotWell })
            }
            Self::Resync { file } => {
                let (_, config) = file.load()?;
                output::resync(&runner::resync(&config).await?, file.output);
                Ok(Exit::Success)
            }
            Self::Refresh { file } => {
                let (_, config) = file.load()?;
                runner::refresh(&config).await?;
                output::refresh(file.output);
                Ok(Exit::Success)
            }
            Self::Describe { adapter, example, output } => describe(adapter.as_deref(), example, output),
        }
    }
}

impl DeadLetters {
    async fn run(self) -> Result<Exit, Failure> {
        match self {
            Self::List { file, all, limit } => {
                let (_, config) = file.load()?;
                output::letters(&dead_letter::list(&config, !all, limit).await?, file.output);
                Ok(Exit::Success)
            }
            Self::Show { file, id, raw } => {
                let (_, config) = file.load()?;
                let letter = dead_letter::show(&config, id).await?;
                if raw {
                    output::bytes(&letter.raw);
                } else {
                    output::letter(&letter, file.output);
                }
                Ok(Exit::Success)
            }
            Self::Replay { file, ids, all } => {
                let (adapter, config) = file.load()?;
                let mut results = Vec::new();
                if all {
                    results = dead_letter::replay_all(adapter, &config).await?;
                }
                for id in ids {
                    results.push((id, dead_letter::replay(adapter, &config, id).await?));
                }
                output::replays(&results, file.output);
                let bad = |result: &Replay| matches!(result, Replay::StillBad | Replay::NotOpen);
                Ok(if results.iter().any(|(_, result)| bad(result)) { Exit::NotWell } else { Exit::Success })
            }
        }
    }
}

/// What to do about a mistake in a configuration.
const WHOLE_EXAMPLE: &str = "see `shuqiao-adapter describe ADAPTER --example`: every key, and what it means";

impl File {
    fn read(&self) -> Result<(&'static dyn ErasedAdapter, Config), config::Mistakes> {
        let adapters = adapters();
        let config = config::load(&self.config, &adapters, std::env::vars())?;
        // The configuration was checked to name one of them.
        let adapter = adapters.into_iter().find(|adapter| adapter.describe().name == config.adapter);
        let unknown = || config::Mistakes(vec![format!("adapter: no adapter is called {:?}", config.adapter)]);
        Ok((adapter.ok_or_else(unknown)?, config))
    }

    fn load(&self) -> Result<(&'static dyn ErasedAdapter, Config), Failure> {
        self.read().map_err(|mistakes| {
            let message = format!("{}: {mistakes}\n{WHOLE_EXAMPLE}", self.config.display());
            Failure::new(Exit::Configuration, message)
        })
    }
}

async fn run(file: &File, once: bool) -> Result<Exit, Failure> {
    let (adapter, config) = file.load()?;
    let broken = |error: std::io::Error| Failure::new(Exit::Failure, format!("signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(broken)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(broken)?;
    let mut registry = telemetry::registry();
    let options = Options { once, metrics: Metrics::register(&mut registry) };
    let token = CancellationToken::new();
    let page = CancellationToken::new();
    let metrics = match &config.metrics {
        Some(metrics) => {
            let listener = telemetry::listen(metrics.listen).await.map_err(|error| {
                Failure::new(Exit::Configuration, format!("[metrics] listen: {}: {error}", metrics.listen))
            })?;
            Some(telemetry::serve(listener, Arc::new(registry), page.clone()))
        }
        None => None,
    };
    let metrics = async {
        match metrics {
            Some(serving) => serving.await,
            None => page.cancelled().await,
        }
    };
    let work = async {
        let report = runner::run(adapter, &config, &options, token.clone()).await;
        page.cancel();
        report
    };
    let signals = async {
        let name = either(&mut terminate, &mut interrupt).await;
        tracing::info!(signal = name, grace = ?config.run.shutdown_grace, "draining");
        token.cancel();
        either(&mut terminate, &mut interrupt).await
    };
    tokio::select! {
        (report, ()) = async { tokio::join!(Box::pin(work), metrics) } => {
            output::run(&report?, file.output);
            Ok(Exit::Success)
        }
        // Dropping a run is a crash, and a crash loses nothing.
        name = signals => Err(Failure::new(Exit::Failure, format!("ended by a second {name}; the next run goes on"))),
    }
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

async fn check(file: &File) -> Result<Exit, Failure> {
    let report = match file.read() {
        Ok((adapter, config)) => shuqiao_adapter_sdk::check::check(adapter, &config).await,
        Err(config::Mistakes(mistakes)) => {
            let mut report = CheckReport::default();
            let last = mistakes.len();
            for (mistake, number) in mistakes.into_iter().zip(1..) {
                report.failed("configuration", mistake, if number == last { WHOLE_EXAMPLE } else { "" });
            }
            let named = config::named(&file.config, &adapters(), std::env::vars());
            report.extend(shuqiao_adapter_sdk::check::check_named(&named).await);
            output::check(&report, file.output);
            return Ok(Exit::Configuration);
        }
    };
    output::check(&report, file.output);
    Ok(if report.passed() { Exit::Success } else { Exit::NotWell })
}

fn describe(name: Option<&str>, example: bool, format: Format) -> Result<Exit, Failure> {
    let descriptors: Vec<_> = adapters()
        .iter()
        .map(|adapter| adapter.describe())
        .filter(|descriptor| name.is_none_or(|name| name == descriptor.name))
        .collect();
    if let (Some(name), []) = (name, descriptors.as_slice()) {
        return Err(Failure::new(
            Exit::Usage,
            format!("no adapter is called {name:?}; see `shuqiao-adapter describe`"),
        ));
    }
    match descriptors.first() {
        Some(descriptor) if example => output::bytes(descriptor.example.as_bytes()),
        _ => output::descriptors(&descriptors, format),
    }
    Ok(Exit::Success)
}
