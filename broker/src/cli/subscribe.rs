//! `shuqiao subscribe`: records to standard output, a line each, acknowledged once they are written.

use std::time::Duration;

use clap::Args;
use futures::future::OptionFuture;
use shuqiao_proto::v1::{
    self, catalogue_service_client::CatalogueServiceClient, exchange_service_client::ExchangeServiceClient,
    subscribe_request::Request as Ask, subscribe_response::Response as Said,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{
    connection::{Connection, MESSAGE_BYTES_MAX},
    error::Error,
    exit::Exit,
    manifest::{Start, Time, full_name},
    output, record,
};

/// Acknowledgements and credits on their way to the node.
const QUEUE_MAX: usize = 16;

/// `shuqiao subscribe SUBSCRIPTION`.
#[derive(Args, Debug)]
pub(super) struct Subscribe {
    /// An existing subscription of your department (`shuqiao apply` makes one).
    subscription: String,
    /// Move its cursor first: `beginning`, `now`, or a time like 2026-01-31T09:00:00+08:00.
    #[arg(long, value_parser = start, value_name = "WHERE")]
    from: Option<Start>,
    /// End after so many records.
    #[arg(long, value_name = "RECORDS")]
    limit: Option<u64>,
    /// End once no record has come for so long.
    #[arg(long, value_parser = humantime::parse_duration, value_name = "DURATION")]
    idle: Option<Duration>,
    /// Records in flight.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    credit: u32,
    #[command(flatten)]
    connection: Connection,
}

fn start(text: &str) -> Result<Start, String> {
    match text {
        "beginning" => Ok(Start::Beginning),
        "now" => Ok(Start::Now),
        time => time.parse::<Time>().map(Start::Time),
    }
}

impl Subscribe {
    pub(super) async fn run(self) -> Result<Exit, Error> {
        let channel = self.connection.open().await?;
        let name = full_name("subscriptions", &self.subscription);
        if let Some(from) = &self.from {
            let mut catalogue = CatalogueServiceClient::new(channel.clone());
            let current = catalogue.get_subscription(v1::GetSubscriptionRequest { name: name.clone() }).await?;
            let request =
                v1::UpdateSubscriptionRequest { subscription: Some(current.into_inner()), seek: Some(from.to_wire()) };
            catalogue.update_subscription(request).await?;
        }
        let first_credit =
            self.limit.map_or(self.credit, |limit| self.credit.min(u32::try_from(limit).unwrap_or(u32::MAX)));
        let (asks, receiver) = mpsc::channel(QUEUE_MAX);
        let ask = |ask: Ask| {
            let asks = asks.clone();
            async move {
                let request = v1::SubscribeRequest { request: Some(ask) };
                asks.send(request).await.map_err(|_| Error::StreamEnded)
            }
        };
        let open = v1::SubscribeOpen { subscription: name, held: Vec::new(), credit: first_credit };
        ask(Ask::Open(open)).await?;
        let mut client = ExchangeServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let mut answers = client.subscribe(ReceiverStream::new(receiver)).await?.into_inner();

        let mut printed: u64 = 0;
        let mut last = tokio::time::Instant::now();
        loop {
            let idle = OptionFuture::from(self.idle.map(|idle| tokio::time::sleep_until(last + idle)));
            let said = tokio::select! {
                said = answers.message() => said?,
                Some(()) = idle => break,
                signal = tokio::signal::ctrl_c() => {
                    signal.map_err(|source| Error::Read { what: "signals".into(), source })?;
                    break;
                }
            };
            match said.and_then(|said| said.response) {
                None => return Err(Error::StreamEnded),
                Some(Said::Opened(_) | Said::CursorMoved(_)) => {}
                Some(Said::Delivery(delivery)) => {
                    last = tokio::time::Instant::now();
                    let count = u32::try_from(delivery.records.len()).unwrap_or(u32::MAX);
                    for record in &delivery.records {
                        output::print(&record::line(record, None)?)?;
                    }
                    // Written and flushed: only now. Whoever kills this process between the two sees the records again, never loses one.
                    let positions = delivery.records.iter().filter_map(|record| record.position).collect();
                    // A stream that takes nothing more says why among its answers.
                    let acknowledged = ask(Ask::Acknowledge(v1::Acknowledge { positions })).await.is_ok();
                    printed += u64::from(count);
                    let wanted = self
                        .limit
                        .map_or(u64::from(count), |limit| limit.saturating_sub(printed).min(u64::from(count)));
                    if self.limit.is_some_and(|limit| printed >= limit) {
                        break;
                    }
                    let records = u32::try_from(wanted).unwrap_or(count);
                    if acknowledged && ask(Ask::Credit(v1::Credit { records })).await.is_err() {
                        tracing::debug!("the stream takes no credit any more");
                    }
                }
            }
        }
        // Closing our half lets the node take the last acknowledgement before it closes its own.
        drop(asks);
        while let Ok(Some(_)) =
            tokio::time::timeout(Duration::from_secs(5), answers.message()).await.unwrap_or(Ok(None))
        {}
        output::note(&output::count(printed, "record"));
        Ok(Exit::Success)
    }
}
