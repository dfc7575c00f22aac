//! Unary queries by key, audited and projected, beside a service that does nothing on the same TLS.

use std::process::{Child, Command};

use shuqiao_proto::v1::{self, query_service_client::QueryServiceClient};
use tokio::{task::JoinSet, time::Instant};
use tonic::transport::Channel;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    Line, Options, Result, ingest, median,
    node::{self, DATASET, INBOX, Node},
    records,
};

/// Calls that wait for their answer at once, on one connection.
const CONCURRENT: u64 = 32;
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

/// Answers a second, both sides in turn.
pub(crate) async fn measure(options: &Options) -> Result<Vec<Line>> {
    let node = Node::start(&options.directory.join("query"), "").await?;
    ingest::publish(&node, 1, KEYS).await?;
    let port = node::free_port()?;
    let peer = Command::new(std::env::current_exe()?)
        .args(["echo", "--port", &port.to_string(), "--pki"])
        .arg(&node.pki)
        .spawn()?;
    let _peer = Peer(peer);
    let channel = node.connect(INBOX).await?;
    let echo = loop {
        match node::connect(&node.pki, INBOX, port).await {
            Ok(channel) => break channel,
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
        }
    };
    let calls = (options.records / 8).max(1_000);
    let (mut ours, mut peers) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        ours.push(rate(calls, channel.clone(), ask).await?);
        peers.push(rate(calls, echo.clone(), check).await?);
    }
    let (ours, peer) = (median(ours), median(peers));
    let what = "GetRecord, answers/s; peer: empty tonic service on the same TLS";
    Ok(vec![ingest::line(what, format!("{ours:.0}"), format!("{peer:.0}"), ours / peer, "≥ 0.8")])
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
async fn rate<F>(calls: u64, channel: Channel, call: fn(Channel, u64) -> F) -> Result<f64>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for worker in 0..CONCURRENT {
        let channel = channel.clone();
        tasks.spawn(async move {
            for number in (worker..calls).step_by(usize::try_from(CONCURRENT)?) {
                call(channel.clone(), number).await?;
            }
            Result::Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(calls as f64 / begun.elapsed().as_secs_f64())
}
