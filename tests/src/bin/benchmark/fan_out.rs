//! What subscribers cost: the same records published to nobody, then to 1, 2, 8 and 48 subscribers at the tail.
//!
//! The first one pays for the dataset's reader, which all share; a further one for what is left of a delivery that is projected and encoded already.

use shuqiao_proto::v1::{
    self, catalogue_service_client::CatalogueServiceClient, exchange_service_client::ExchangeServiceClient,
    subscribe_request::Request as Sent, subscribe_response::Response as Answer,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    Line, Options, Result, ingest, median,
    node::{DATASET, INBOX, Node},
    usage,
};

const SUBSCRIBERS: [usize; 4] = [1, 2, 8, 48];
/// Records that a subscriber may have in flight.
const CREDIT: u32 = 10_000;
/// After so many records a subscriber acknowledges and gives credit again.
const ACKNOWLEDGE_EVERY: u32 = 1_000;

/// CPU of the node a million records published, in parts of the ingest: what the first subscriber adds, then what each further one does.
pub(crate) async fn measure(options: &Options) -> Result<Vec<Line>> {
    let node = Node::start(&options.directory.join("fan-out"), "").await?;
    // Every measurement of a round publishes the same count.
    let count = (options.records / 2).max(1_000);
    let mut first = 1;
    ingest::publish(&node, first, count).await?;
    first += count;
    let mut costs = vec![Vec::new(); SUBSCRIBERS.len() + 1];
    for round in 0..options.rounds {
        for (kind, subscribers) in std::iter::once(&0).chain(&SUBSCRIBERS).enumerate() {
            let cost = one(&node, first, count, *subscribers, round).await?;
            first += count;
            costs.get_mut(kind).ok_or("a kind too many")?.push(cost);
        }
    }
    let medians: Vec<f64> = costs.into_iter().map(median).collect();
    let [alone, first, ..] = medians[..] else { return Err("too few measurements".into()) };
    let line = |what: &str, cost: f64, expected| {
        let what = format!("{what}, CPU-s per million; peer: ingest alone");
        ingest::line(&what, format!("{cost:.2}"), format!("{alone:.2}"), cost / alone, expected)
    };
    let mut lines = vec![line("the first subscriber", first - alone, "")];
    for (cost, subscribers) in medians.iter().skip(1).zip(SUBSCRIBERS).skip(1) {
        #[expect(clippy::cast_precision_loss, reason = "at most 48")]
        let each = (cost - first) / (subscribers - 1) as f64;
        lines.push(line(&format!("each further one of {subscribers} subscribers"), each, "≤ 0.15"));
    }
    Ok(lines)
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^52")]
async fn one(node: &Node, first: u64, count: u64, subscribers: usize, round: usize) -> Result<f64> {
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..subscribers {
        let name = format!("taxation.s{subscribers}-{round}-{number}");
        let mut catalogue = CatalogueServiceClient::new(node.connect(INBOX).await?);
        catalogue
            .create_subscription(v1::CreateSubscriptionRequest {
                subscription: Some(v1::Subscription {
                    name: format!("subscriptions/{name}"),
                    dataset: DATASET.to_owned(),
                    start: Some(v1::StartPosition { start: Some(v1::start_position::Start::Now(true)) }),
                    purpose: "测量".to_owned(),
                    ..Default::default()
                }),
            })
            .await?;
        let mut stream = Subscriber::open(node, &name).await?;
        tasks.spawn(async move { stream.take(count).await });
    }
    let before = usage::of(node.pid())?;
    ingest::publish(node, first, count).await?;
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok((usage::settled(node.pid()).await?.cpu_seconds - before.cpu_seconds) * 1e6 / count as f64)
}

struct Subscriber {
    requests: mpsc::Sender<v1::SubscribeRequest>,
    answers: tonic::Streaming<v1::SubscribeResponse>,
}

impl Subscriber {
    async fn open(node: &Node, name: &str) -> Result<Self> {
        let mut client = ExchangeServiceClient::new(node.connect(INBOX).await?).max_decoding_message_size(8 << 20);
        let (requests, outgoing) = mpsc::channel(4);
        let open =
            v1::SubscribeOpen { subscription: format!("subscriptions/{name}"), held: Vec::new(), credit: CREDIT };
        requests.send(v1::SubscribeRequest { request: Some(Sent::Open(open)) }).await?;
        let mut answers = client.subscribe(ReceiverStream::new(outgoing)).await?.into_inner();
        match answers.message().await?.and_then(|answer| answer.response) {
            Some(Answer::Opened(_)) => Ok(Self { requests, answers }),
            _ => Err("the subscription did not open".into()),
        }
    }

    async fn take(&mut self, count: u64) -> Result<()> {
        let (mut taken, mut since) = (0, 0);
        let mut positions = Vec::new();
        while taken < count {
            let answer = self.answers.message().await?.ok_or("the subscription ended")?;
            let Some(Answer::Delivery(delivery)) = answer.response else { continue };
            taken += delivery.records.len() as u64;
            since += u32::try_from(delivery.records.len())?;
            positions.extend(delivery.records.into_iter().filter_map(|record| record.position));
            if since >= ACKNOWLEDGE_EVERY || taken == count {
                let acknowledge = v1::Acknowledge { positions: std::mem::take(&mut positions) };
                self.requests.send(v1::SubscribeRequest { request: Some(Sent::Acknowledge(acknowledge)) }).await?;
                let credit = v1::Credit { records: since };
                self.requests.send(v1::SubscribeRequest { request: Some(Sent::Credit(credit)) }).await?;
                since = 0;
            }
        }
        Ok(())
    }
}
