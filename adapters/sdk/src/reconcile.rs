//! Reconciliation 对账: does everything add up, and do both sides hold the same records?
//!
//! Two questions. Of the counts: read = accepted + unchanged + dead letters + waiting (and delivered = taken + set aside). Of the records:
//! the digest over what we hold (what a source has published, what a sink's inbox holds) equals the exchange's digest of the dataset, as our
//! department may see it. The digests are compared when they are equal or when the time is over: what is still on its way makes no difference.

use std::time::Duration;

use serde::Serialize;
use shuqiao_proto::v1;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    AdapterError, Context, ErasedAdapter, ErrorClass,
    config::Config,
    exchange::{self, Connection},
    state,
    state::{Counts, State},
};

/// Why it could not be told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state file.
    #[error("the state")]
    State(#[from] state::Error),
    /// The exchange.
    #[error("the exchange")]
    Exchange(#[from] exchange::Error),
    /// The adapter's sink.
    #[error("the adapter")]
    Adapter(#[from] AdapterError),
}

impl Error {
    /// What trying again could do.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::State(error) => error.class(),
            Self::Exchange(error) => error.class(),
            Self::Adapter(error) => error.class(),
        }
    }
}

/// One side's count and digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Side {
    /// Live records.
    pub count: u64,
    /// `shuqiao_proto::digest`, in hex.
    pub digest: String,
}

impl Side {
    fn new((count, digest): (u64, [u8; 32])) -> Self {
        Self { count, digest: hex::encode(digest) }
    }
}

/// Ours and theirs, for one dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// "source" or "sink".
    pub role: &'static str,
    /// Id of the dataset.
    pub dataset: String,
    /// What we hold.
    pub ours: Side,
    /// What the exchange shows us.
    pub exchange: Side,
    /// Whether they are the same.
    pub equal: bool,
}

/// The whole answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reconciliation {
    /// Since the state file was made.
    pub counts: Counts,
    /// Whether the counts add up.
    pub balanced: bool,
    /// Open dead letters by rule, most first.
    pub dead_letters: Vec<(String, u64)>,
    /// A comparison for each role.
    pub comparisons: Vec<Comparison>,
}

impl Reconciliation {
    /// Whether everything is accounted for and both sides hold the same.
    pub fn agrees(&self) -> bool {
        self.balanced && self.comparisons.iter().all(|comparison| comparison.equal)
    }
}

/// How long to wait between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Reconciles; looks again for at most `patience` while the digests differ. Works beside a running adapter.
///
/// # Errors
/// [`Error`] where it cannot be told; a difference is an answer, not an error.
pub async fn reconcile(
    adapter: &dyn ErasedAdapter,
    config: &Config,
    patience: Duration,
) -> Result<Reconciliation, Error> {
    let state = State::open_beside(&config.state.path).await?;
    let connection = Connection::open(&config.broker).await?;
    let until = Instant::now() + patience;
    let mut comparisons = Vec::new();
    if let Some(publish) = &config.publish {
        let comparison = loop {
            let ours = Side::new(state.published_digest().await?);
            let at_least = state.accepted_positions().await?;
            let theirs = exchange_side(&connection, config, &publish.dataset, at_least).await;
            if let Some(comparison) = settle("source", &publish.dataset, ours, theirs, until)? {
                break comparison;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        };
        comparisons.push(comparison);
    }
    if let Some(subscribe) = &config.subscribe {
        let dataset = subscribed_dataset(&connection, &subscribe.subscription).await?;
        let directory = config.state.path.parent().unwrap_or(std::path::Path::new(".")).to_owned();
        let context = Context::new(None, true, directory, CancellationToken::new());
        let roles = adapter.open_with(&config.table, context).await?;
        let sink = roles.sink.ok_or_else(|| AdapterError::configuration("the adapter opens no sink"))?;
        let comparison = loop {
            let ours = Side::new(sink.digest().await?);
            let theirs = exchange_side(&connection, config, &dataset, Vec::new()).await;
            if let Some(comparison) = settle("sink", &dataset, ours, theirs, until)? {
                break comparison;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        };
        comparisons.push(comparison);
    }
    let counts = state.counts().await?;
    let dead_letters = state.dead_letter_reasons().await?;
    Ok(Reconciliation { counts, balanced: counts.balanced(), dead_letters, comparisons })
}

/// `None`: look again.
fn settle(
    role: &'static str,
    dataset: &str,
    ours: Side,
    theirs: Result<Side, exchange::Error>,
    until: Instant,
) -> Result<Option<Comparison>, Error> {
    let over = Instant::now() >= until;
    match theirs {
        Err(error) if over || error.class() != ErrorClass::Transient => Err(error.into()),
        Err(_) => Ok(None),
        Ok(exchange) => {
            let equal = ours == exchange;
            let comparison = Comparison { role, dataset: dataset.to_owned(), ours, exchange, equal };
            Ok((equal || over).then_some(comparison))
        }
    }
}

async fn exchange_side(
    connection: &Connection,
    config: &Config,
    dataset: &str,
    at_least: Vec<v1::Position>,
) -> Result<Side, exchange::Error> {
    let request =
        v1::GetDatasetDigestRequest { dataset: dataset.to_owned(), purpose: config.run.purpose.clone(), at_least };
    let mut query = connection.query();
    let answer = connection.in_time(query.get_dataset_digest(request)).await?.into_inner();
    Ok(Side { count: answer.count, digest: hex::encode(answer.digest) })
}

/// The dataset that a subscription reads.
pub(crate) async fn subscribed_dataset(connection: &Connection, subscription: &str) -> Result<String, exchange::Error> {
    let name = match subscription.strip_prefix("subscriptions/") {
        Some(_) => subscription.to_owned(),
        None => format!("subscriptions/{subscription}"),
    };
    let mut catalogue = connection.catalogue();
    let request = v1::GetSubscriptionRequest { name };
    Ok(connection.in_time(catalogue.get_subscription(request)).await?.into_inner().dataset)
}
