//! What a record, a further subscriber and a query cost, each beside a peer that does only the unavoidable part, alternating in one run.
//!
//! ```text
//! cargo build --release --workspace --bins
//! deploy/kafka/start one target/benchmark-kafka
//! target/release/benchmark --kafka 127.0.0.1:PORT      everything
//! target/release/benchmark                             without Kafka
//! ```
//!
//! CPU is the measured process's own (`/proc/PID/stat`), not the machine's and not the client's; figures are medians. It prints one table in Markdown;
//! `tests/BENCHMARKS.md` holds the last one.

#![expect(clippy::print_stdout, reason = "a table on standard output is what this program is for")]

mod fan_out;
mod ingest;
mod node;
mod peers;
mod query;
mod records;
mod usage;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Anything that goes wrong ends the run with its text.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Debug, Parser)]
#[command(about = "Measures a node beside peers that do only the unavoidable part")]
struct Options {
    /// Bootstrap servers of a Kafka; without it the Kafka rows are left out.
    #[arg(long)]
    kafka: Option<String>,
    /// Records of one measurement.
    #[arg(long, default_value_t = 400_000)]
    records: u64,
    /// Measurements of each kind; the table has their medians.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Where the node's data and the raw file lie: on the disk that is to be measured.
    #[arg(long, default_value = "target/benchmark")]
    directory: PathBuf,
    /// Only these parts: ingest-kafka, ingest-embedded, fan-out, query.
    #[arg(long)]
    only: Vec<String>,
    #[command(subcommand)]
    peer: Option<Peer>,
}

/// The peers run as processes of their own, so that their CPU is theirs alone.
#[derive(Debug, Subcommand)]
enum Peer {
    /// A bare rdkafka loop with the node's keys, headers and bytes.
    #[command(hide = true)]
    Rdkafka {
        #[arg(long)]
        brokers: String,
        #[arg(long)]
        topic: String,
        #[arg(long)]
        records: u64,
    },
    /// A raw file with fdatasync a group.
    #[command(hide = true)]
    RawFile {
        #[arg(long)]
        path: PathBuf,
        #[arg(long)]
        records: u64,
    },
    /// A tonic service that answers without doing anything, behind the node's own acceptor.
    #[command(hide = true)]
    Echo {
        #[arg(long)]
        pki: PathBuf,
        #[arg(long)]
        port: u16,
    },
}

/// One line of the table.
struct Line {
    what: String,
    ours: String,
    peer: String,
    ratio: String,
    expected: &'static str,
}

fn main() -> Result<()> {
    let options = Options::parse();
    match &options.peer {
        Some(Peer::Rdkafka { brokers, topic, records }) => return peers::rdkafka(brokers, topic, *records),
        Some(Peer::RawFile { path, records }) => return peers::raw_file(path, *records),
        _ => {}
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        if let Some(Peer::Echo { pki, port }) = &options.peer {
            return peers::echo(pki, *port).await;
        }
        let wanted = |part: &str| options.only.is_empty() || options.only.iter().any(|only| only == part);
        let mut lines = Vec::new();
        if let (Some(kafka), true) = (&options.kafka, wanted("ingest-kafka")) {
            lines.extend(ingest::kafka(&options, kafka).await?);
        }
        if wanted("ingest-embedded") {
            lines.extend(ingest::embedded(&options).await?);
        }
        if wanted("fan-out") {
            lines.extend(fan_out::measure(&options).await?);
        }
        if wanted("query") {
            lines.extend(query::measure(&options).await?);
        }
        println!("| what | node | peer | ratio | expected |\n|---|---|---|---|---|");
        for Line { what, ours, peer, ratio, expected } in lines {
            println!("| {what} | {ours} | {peer} | {ratio} | {expected} |");
        }
        Ok(())
    })
}

/// The middle value of several.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
