//! Publishing through everything: mutual TLS, permission, validation, a durable log, the trail, receipts.

use std::process::Command;

use futures::StreamExt;
use shuqiao_proto::v1::{
    self, exchange_service_client::ExchangeServiceClient, publish_request::Request as Sent,
    publish_response::Response as Answer,
};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    Line, Options, Result, median,
    node::{DATASET, Node, REGISTRY},
    records::{self, BATCH},
    usage,
};

/// Batches that a client has in flight; the node takes as many.
const IN_FLIGHT: usize = 8;

/// Seconds, and CPU-seconds of the measured process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    seconds: f64,
    cpu_seconds: f64,
}

/// Publishes records with sequences from `first` and waits for every acknowledgement.
pub(crate) async fn publish(node: &Node, first: u64, count: u64) -> Result<()> {
    let mut client = ExchangeServiceClient::new(node.connect(REGISTRY).await?)
        .max_decoding_message_size(8 << 20)
        .max_encoding_message_size(8 << 20);
    let (requests, outgoing) = mpsc::channel(IN_FLIGHT);
    let open = v1::PublishOpen { dataset: DATASET.to_owned(), source: String::new() };
    requests.send(v1::PublishRequest { request: Some(Sent::Open(open)) }).await?;
    let mut answers = client.publish(ReceiverStream::new(outgoing)).await?.into_inner();
    match answers.message().await?.and_then(|answer| answer.response) {
        Some(Answer::Opened(_)) => {}
        _ => return Err("the stream did not open".into()),
    }
    let sending = async {
        let mut next = first;
        while next < first + count {
            let size = BATCH.min(first + count - next);
            let batch = records::batch(next, next, size)?;
            requests.send(v1::PublishRequest { request: Some(Sent::Batch(batch)) }).await?;
            next += size;
        }
        drop(requests);
        Result::Ok(())
    };
    let receiving = async {
        let mut accepted = 0;
        while let Some(answer) = answers.next().await {
            let Some(Answer::Acknowledgement(acknowledgement)) = answer?.response else { continue };
            let new = |result: &&v1::PublishResult| result.status() == v1::PublishStatus::Accepted && !result.repeat;
            accepted += acknowledgement.results.iter().filter(new).count() as u64;
            if accepted == count {
                break;
            }
        }
        if accepted == count { Ok(()) } else { Err(format!("{accepted} of {count} records were accepted").into()) }
    };
    let (sent, received): (Result<()>, Result<()>) = tokio::join!(sending, receiving);
    sent.and(received)
}

/// One measurement of the node: the first records of a fresh node warm it up.
async fn measure(node: &Node, first: u64, count: u64) -> Result<Cost> {
    let before = usage::of(node.pid())?;
    let begun = Instant::now();
    publish(node, first, count).await?;
    let seconds = begun.elapsed().as_secs_f64();
    // What acknowledged records have still to cost, above all in the view, is theirs, not the next measurement's.
    Ok(Cost { seconds, cpu_seconds: usage::settled(node.pid()).await?.cpu_seconds - before.cpu_seconds })
}

/// Runs a peer and reads `seconds cpu_seconds` from its output.
fn peer(arguments: &[&str]) -> Result<Cost> {
    let output = Command::new(std::env::current_exe()?).args(arguments).output()?;
    if !output.status.success() {
        return Err(format!("the peer failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let text = String::from_utf8(output.stdout)?;
    let mut numbers = text.split_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(seconds), Some(cpu_seconds)) => Ok(Cost { seconds: seconds?, cpu_seconds: cpu_seconds? }),
        _ => Err("the peer printed no figures".into()),
    }
}

/// The node on Kafka beside a bare rdkafka loop on the same Kafka.
pub(crate) async fn kafka(options: &Options, brokers: &str) -> Result<Vec<Line>> {
    let prefix = format!("benchmark-{}", std::process::id());
    let log = format!(
        "[log]\nhome = \"kafka\"\ntopic_prefix = \"{prefix}\"\n[log.kafka]\nbrokers = [\"{brokers}\"]\nreplication_factor = 1\nmin_insync_replicas = 1"
    );
    let node = Node::start(&options.directory.join("kafka"), &log).await?;
    let records = options.records.to_string();
    let alternate = |round: usize| {
        let topic = format!("{prefix}-peer-{round}");
        let records = records.clone();
        let brokers = brokers.to_owned();
        move || peer(&["rdkafka", "--brokers", &brokers, "--topic", &topic, "--records", &records])
    };
    let (ours, peers) = rounds(options, &node, alternate).await?;
    Ok(vec![
        cpu_line(
            "ingest on Kafka, CPU-s per million; peer: bare rdkafka loop",
            &ours,
            &peers,
            options.records,
            "≤ 2.0",
        ),
        rate_line("ingest on Kafka, records/s; peer as above", &ours, &peers, options.records, ""),
        memory_line("memory of the node on Kafka, peak", &node)?,
    ])
}

/// The node on the embedded log beside a raw file with fdatasync a group.
pub(crate) async fn embedded(options: &Options) -> Result<Vec<Line>> {
    let node = Node::start(&options.directory.join("embedded"), "").await?;
    let path = options.directory.join("raw-file");
    let (path, records) = (path.display().to_string(), options.records.to_string());
    let alternate = |_| {
        let (path, records) = (path.clone(), records.clone());
        move || peer(&["raw-file", "--path", &path, "--records", &records])
    };
    let (ours, peers) = rounds(options, &node, alternate).await?;
    std::fs::remove_file(&path)?;
    Ok(vec![
        rate_line(
            "ingest on the embedded log, records/s; peer: raw file, fdatasync a group",
            &ours,
            &peers,
            options.records,
            "≥ 0.6",
        ),
        cpu_line("ingest on the embedded log, CPU-s per million; peer as above", &ours, &peers, options.records, ""),
        memory_line("memory of the node on the embedded log, peak", &node)?,
    ])
}

/// Warms up, then measures the node and the peer in turn.
async fn rounds<P>(
    options: &Options,
    node: &Node,
    mut alternate: impl FnMut(usize) -> P,
) -> Result<(Vec<Cost>, Vec<Cost>)>
where
    P: FnOnce() -> Result<Cost> + Send + 'static,
{
    let mut next = 1;
    let warm_up = (options.records / 10).max(BATCH);
    measure(node, next, warm_up).await?;
    next += warm_up;
    let (mut ours, mut peers) = (Vec::new(), Vec::new());
    for round in 0..options.rounds {
        ours.push(measure(node, next, options.records).await?);
        next += options.records;
        peers.push(tokio::task::spawn_blocking(alternate(round)).await??);
    }
    Ok((ours, peers))
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^52")]
fn cpu_line(what: &str, ours: &[Cost], peers: &[Cost], records: u64, expected: &'static str) -> Line {
    let per_million =
        |costs: &[Cost]| median(costs.iter().map(|cost| cost.cpu_seconds * 1e6 / records as f64).collect());
    let (ours, peer) = (per_million(ours), per_million(peers));
    line(what, format!("{ours:.2}"), format!("{peer:.2}"), ours / peer, expected)
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^52")]
fn rate_line(what: &str, ours: &[Cost], peers: &[Cost], records: u64, expected: &'static str) -> Line {
    let rate = |costs: &[Cost]| median(costs.iter().map(|cost| records as f64 / cost.seconds).collect());
    let (ours, peer) = (rate(ours), rate(peers));
    line(what, format!("{ours:.0}"), format!("{peer:.0}"), ours / peer, expected)
}

pub(crate) fn line(what: &str, ours: String, peer: String, ratio: f64, expected: &'static str) -> Line {
    Line { what: what.to_owned(), ours, peer, ratio: format!("{ratio:.2}"), expected }
}

fn memory_line(what: &str, node: &Node) -> Result<Line> {
    let mebibytes = usage::of(node.pid())?.peak_bytes >> 20;
    Ok(Line {
        what: what.to_owned(),
        ours: format!("{mebibytes} MiB"),
        peer: String::new(),
        ratio: String::new(),
        expected: "< 256 MiB",
    })
}
