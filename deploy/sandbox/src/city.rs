//! The city's whole life on one page: who is there, the exchange, the catalogue, the two adapters, the account, and how all of it ends.

use std::{cell::Cell, time::Duration};

use shuqiao_adapter_sdk::{
    config::Broker,
    reconcile::{self, Comparison, Patience},
    state::Counts,
};
use shuqiao_broker::shutdown::Tasks;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Error, Options,
    adapters::{Adapter, CSV, DATABASE},
    books::Books,
    commands,
    console::{Console, counted},
    directory::Directory,
    granted, identities, node,
    registry::{self, Likeness, Rows},
    report::{self, Report, Witnesses},
    resources::{self, DATASET},
};

/// What is on its way when reconciliation begins is there soon after; a view that is rebuilt after a crash takes longer. Where nothing moves any more,
/// what differs stays different.
const PATIENCE: Patience = Patience { longest: Duration::from_secs(60), still: Duration::from_secs(8) };
/// How long the adapters, and then the exchange, may take to end.
const GRACE: Duration = Duration::from_secs(30);

/// How the city ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every row is accounted for.
    Accounted,
    /// Something is not.
    Unaccounted,
    /// It was told to stop before the account.
    Interrupted,
}

/// Runs the city until its end: after the account with `once`, otherwise when it is told to stop.
///
/// # Errors
/// Whatever keeps the city from living. Nothing is lost then: the next start goes on.
pub async fn run(options: &Options) -> Result<Outcome, Error> {
    let console = Console::new();
    let mut signals = Signals::listen()?;
    let directory = Directory::open(options)?;
    crate::telemetry::install(&directory)?;
    let city = City::found(options, directory, console)?;
    let (adapters, exchange, stop) = (Tasks::default(), Tasks::default(), CancellationToken::new());
    let outcome = tokio::select! {
        outcome = city.live(options.once, &adapters, &exchange, &stop) => outcome,
        name = signals.next() => {
            console.say(&format!("\n{name}: draining; a second start goes on 正在收尾，再次启动将继续"));
            Ok(Outcome::Interrupted)
        }
    };
    // A second signal ends the process at once, which loses nothing either.
    let drained = async {
        let left = adapters.drain(GRACE).await;
        stop.cancel();
        left + exchange.drain(GRACE).await
    };
    tokio::select! {
        left = drained => tracing::info!(left, "ended"),
        name = signals.next() => tracing::warn!(signal = name, "ended without draining"),
    }
    match outcome {
        // The account stands; being told to stop is how a city that stays up ends.
        Ok(Outcome::Interrupted) => Ok(city.accounted.get().unwrap_or(Outcome::Interrupted)),
        outcome => outcome,
    }
}

struct City {
    console: Console,
    directory: Directory,
    registry: Rows,
    config: Box<shuqiao_broker::config::Config>,
    endpoint: String,
    source: Adapter,
    sink: Adapter,
    /// What the account said, once it stands.
    accounted: Cell<Option<Outcome>>,
}

impl City {
    /// Everything that must lie there before anybody starts.
    fn found(options: &Options, directory: Directory, console: Console) -> Result<Self, Error> {
        let what = if directory.is_new { "a new city 新建" } else { "the city goes on 继续" };
        console.say(&format!("Shuqiao 数桥 sandbox: {what}, in {}", directory.shown("").trim_end_matches('/')));
        identities::enrol(&directory)?;
        let ports = node::Ports::find(options.port)?;
        let endpoint = ports.endpoint();
        let source = Adapter::market_supervision(&directory, &endpoint)?;
        let sink = Adapter::taxation(&directory, &endpoint)?;
        identities::write_profiles(&directory, &endpoint)?;
        let config = Box::new(node::configure(&directory, ports)?);
        let registry = keep_registry(&directory)?;
        let moved = if ports.moved { " (7443 is taken 端口被占用)" } else { "" };
        console.say(&format!(
            "  exchange  交换平台  {endpoint}{moved}, metrics at http://127.0.0.1:{}/metrics\n  registry  登记库    {} ({}, GB18030)\n  \
             inbox     收件库    {} (SQLite, table shuqiao_inbox)\n  log lines 日志      {}",
            ports.metrics,
            directory.shown(CSV),
            format_args!("{}{}", counted(registry.count, "row"), if registry.edited { ", edited by hand" } else { "" }),
            directory.shown(DATABASE),
            directory.shown(crate::telemetry::FILE),
        ));
        Ok(Self { console, directory, registry, config, endpoint, source, sink, accounted: Cell::new(None) })
    }

    async fn live(
        &self,
        once: bool,
        adapters: &Tasks,
        exchange: &Tasks,
        stop: &CancellationToken,
    ) -> Result<Outcome, Error> {
        let config = (*self.config).clone();
        // Before anybody is enrolled the node answers nobody but the administrator of its configuration.
        let asking = identities::ADMINISTRATOR;
        let broker = Broker {
            certificate: self.directory.path(asking.certificate()),
            key: self.directory.path(asking.key()),
            ..self.source.config.broker.clone()
        };
        let mut running = node::start(config, &broker, exchange, stop.clone()).await?;
        let work = async {
            self.console.say("\nCatalogue 目录");
            resources::apply(&self.directory, &self.endpoint).await?;
            self.console.say("\nProgress 进度: read 读取, published 发布, set aside 搁置, delivered 交付");
            self.publish_and_follow(once, adapters).await
        };
        tokio::select! {
            outcome = Box::pin(work) => outcome,
            ended = &mut running => Err(node::why_ended(ended)),
        }
    }

    async fn publish_and_follow(&self, once: bool, tasks: &Tasks) -> Result<Outcome, Error> {
        self.source.prepare().await?;
        self.sink.prepare().await?;
        let books = Books::open(&self.source, &self.sink).await?;
        let before = books.counts().await?;
        let began_at = Instant::now();
        let mut sink = self.sink.start(false, tasks);
        let mut source = self.source.start(true, tasks);
        let work = async {
            tokio::select! {
                ended = &mut source => self.source.ended(ended).map(drop)?,
                ended = &mut sink => return Err(self.sink.too_early(ended)),
            }
            // The subscriber may still have some way to go: the digests are compared again until they are equal, or nothing moves any more.
            tokio::select! {
                both = async { tokio::try_join!(reconcile(&self.source), reconcile(&self.sink)) } => both,
                ended = &mut sink => Err(self.sink.too_early(ended)),
            }
        };
        let progress = async || books.progress(self.registry.count).await;
        let compared = self.console.watch(work, began_at, &progress).await?;
        let report = self.account(&books, &before, compared, began_at.elapsed()).await?;
        let outcome = if report.accounted { Outcome::Accounted } else { Outcome::Unaccounted };
        self.accounted.set(Some(outcome));
        self.console.say(&format!(
            "\n{}\n\n{}",
            report.show(&commands::refresh(&self.directory)),
            commands::to_try(&self.directory)
        ));
        if once {
            return Ok(outcome);
        }
        self.console.say("\nThe city stays up until Ctrl-C 按 Ctrl-C 结束. Whatever changes in the registry's file is published within seconds.\n");
        let mut source = self.source.start(false, tasks);
        let ended = async {
            tokio::select! {
                ended = &mut source => self.source.too_early(ended),
                ended = &mut sink => self.sink.too_early(ended),
            }
        };
        Err(self.console.watch(ended, began_at, &progress).await)
    }

    async fn account(
        &self,
        books: &Books,
        before: &Counts,
        (source, sink): (Comparison, Comparison),
        elapsed: Duration,
    ) -> Result<Report, Error> {
        let total = books.settled_counts(sink.ours.count).await?;
        let name = self.source.name;
        let whole = granted::whole(&self.source).await;
        let report = Report::of(Witnesses {
            registry: self.registry,
            run: total.since(before),
            total,
            set_aside: report::reasons(&books.source).await?,
            repaired: books.source.warnings().await?,
            source,
            sink,
            granted_whole: whole.map_err(|error| Error::Reconcile { adapter: name, source: error.into() })?,
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        });
        let json = serde_json::to_string_pretty(&report).unwrap_or_default();
        self.directory.write("report.json", &json)?;
        tracing::info!(dataset = DATASET, accounted = report.accounted, "reconciled");
        Ok(report)
    }
}

async fn reconcile(adapter: &Adapter) -> Result<Comparison, Error> {
    let name = adapter.name;
    let answer = Box::pin(reconcile::reconcile(adapter.adapter, &adapter.config, PATIENCE))
        .await
        .map_err(|source| Error::Reconcile { adapter: name, source })?;
    answer.comparisons.into_iter().next().ok_or(Error::AdapterEnded(name))
}

/// Writes the registry where it is not there or has grown. Answers with its rows; where somebody has edited it, it is left as it is and counted.
fn keep_registry(directory: &Directory) -> Result<Rows, Error> {
    let path = directory.path(CSV);
    let rows = directory.city.rows as usize;
    let likeness = match path.exists() {
        true => registry::compare_csv(&path, directory.city.seed, rows).map_err(Error::io("read", &path))?,
        false => Likeness::Beginning,
    };
    match likeness {
        Likeness::Same => {}
        Likeness::Beginning => {
            registry::write_csv(&path, directory.city.seed, rows).map_err(Error::io("write", &path))?;
        }
        Likeness::Other => {
            let count = registry::count_csv(&path).map_err(Error::io("read", &path))?;
            return Ok(Rows { count, edited: true });
        }
    }
    Ok(Rows { count: directory.city.rows.into(), edited: false })
}

/// SIGINT and SIGTERM, from the beginning to the end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Error> {
        let listen = |kind| signal(kind).map_err(Error::Signals);
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}
