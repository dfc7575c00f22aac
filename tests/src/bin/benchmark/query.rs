//! Unary queries by key, audited and projected, beside a service that does nothing on the same TLS.

use std::process::{Child, Command};

use shuqiao_proto::v1::{self, query_service_client::QueryServiceClient};
use tokio::{task::JoinSet, time::Instant};
use tonic::transport::Channel;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    Line, Options, Result, ingest, median,
    node::{self, DATASET, INBOX, Node},
    records, usage,
};

/// Calls that wait for their answer at once on one connection.
const CONCURRENT: u64 = 16;
/// Connections; a node reads its view for 32 callers of one department at once. An answer waits for its audit entry's fdatasync, which many share.
const CONNECTIONS: [usize; 2] = [1, 2];
/// Keys that are asked for.
const KEYS: u64 = 10_000;

/// A process that is killed when it is dropped.
struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone afterwards.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Answers a second and what they cost, both sides in turn.
pub(crate) async fn measure(options: &Options) -> Result<Vec<Line>> {
    let node = Node::start(&options.directory.join("query"), "").await?;
    ingest::publish(&node, 1, KEYS).await?;
    let port = node::free_port()?;
    let peer = Command::new(std::env::current_exe()?)
        .args(["echo", "--port", &port.to_string(), "--pki"])
        .arg(&node.pki)
        .spawn()?;
    let peer = Peer(peer);
    let echo = loop {
        match node::connect(&node.pki, INBOX, port).await {
            Ok(channel) => break channel,
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
        }
    };
    let calls = (options.records / 8).max(1_000);
    let mut lines = Vec::new();
    for connections in CONNECTIONS {
        let (mut channels, mut echoes) = (vec![node.connect(INBOX).await?], vec![echo.clone()]);
        for _ in 1..connections {
            channels.push(node.connect(INBOX).await?);
            echoes.push(node::connect(&node.pki, INBOX, port).await?);
        }
        let (mut ours, mut peers) = (Vec::new(), Vec::new());
        for _ in 0..options.rounds {
            ours.push(rate(calls, &channels, node.pid(), ask).await?);
            peers.push(rate(calls, &echoes, peer.0.id(), check).await?);
        }
        let what = |what| {
            let callers = CONCURRENT * connections as u64;
            format!("GetRecord, {callers} callers, {what}; peer: empty tonic service on the same TLS")
        };
        let each = |costs: &[Cost], of: fn(&Cost) -> f64| median(costs.iter().map(of).collect());
        let line = |what: &str, of: fn(&Cost) -> f64, expected| {
            let (ours, peer) = (each(&ours, of), each(&peers, of));
            ingest::line(what, format!("{ours:.0}"), format!("{peer:.0}"), ours / peer, expected)
        };
        lines.push(line(&what("answers/s"), |cost| cost.per_second, "≥ 0.8"));
        lines.push(line(&what("CPU-s per million"), |cost| cost.cpu_seconds_per_million, ""));
    }
    Ok(lines)
}

/// What answers cost the measured process.
struct Cost {
    per_second: f64,
    cpu_seconds_per_million: f64,
}

async fn ask(channel: Channel, number: u64) -> Result<()> {
    let (key, _) = records::record(1 + number % KEYS)?;
    let request =
        v1::GetRecordRequest { dataset: DATASET.to_owned(), key, purpose: "测量".to_owned(), at_least: Vec::new() };
    let answer = QueryServiceClient::new(channel).get_record(request).await?.into_inner();
    answer.record.map(|_| ()).ok_or_else(|| "an answer without a record".into())
}

async fn check(channel: Channel, _: u64) -> Result<()> {
    HealthClient::new(channel).check(HealthCheckRequest { service: String::new() }).await?;
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^52")]
async fn rate<F>(calls: u64, channels: &[Channel], pid: u32, call: fn(Channel, u64) -> F) -> Result<Cost>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let before = usage::of(pid)?;
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    let callers = CONCURRENT * channels.len() as u64;
    for (caller, channel) in (0..callers).zip(channels.iter().cycle()) {
        let channel = channel.clone();
        tasks.spawn(async move {
            for number in (caller..calls).step_by(usize::try_from(callers)?) {
                call(channel.clone(), number).await?;
            }
            Result::Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let cpu_seconds = usage::of(pid)?.cpu_seconds - before.cpu_seconds;
    Ok(Cost { per_second: calls as f64 / seconds, cpu_seconds_per_million: cpu_seconds * 1e6 / calls as f64 })
}
