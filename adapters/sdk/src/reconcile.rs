//! Reconciliation 对账: does everything add up, and do both sides hold the same records?
//!
//! Two questions. Of the counts: read = accepted + unchanged + dead letters + waiting (and delivered = taken + set aside). Of the records:
//! the digest over what we hold (what a source has published, what a sink's inbox holds) equals the exchange's digest of the dataset, as our
//! department may see it. The digests are compared when they are equal or when the time is over: what is still on its way makes no difference. A
//! subscription that takes only some of the records has nothing to compare, and the answer says so.

use std::time::Duration;

use serde::Serialize;
use shuqiao_proto::v1;
use tokio::time::Instant;

use crate::{
    AdapterError, ErasedAdapter, ErrorClass,
    adapter::open_sink,
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

/// Why two sides were not compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct NotCompared {
    /// "source" or "sink".
    pub role: &'static str,
    /// For a person, English.
    pub reason_en: &'static str,
    /// For a person, Chinese.
    pub reason_zh: &'static str,
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
    /// Roles that have none, and why.
    pub not_compared: Vec<NotCompared>,
}

impl Reconciliation {
    /// Whether everything is accounted for, and both sides hold the same as far as they can be compared.
    pub fn agrees(&self) -> bool {
        self.balanced && self.comparisons.iter().all(|comparison| comparison.equal)
    }
}

/// How long to wait between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// How long to look again while the sides differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// At most so long.
    pub longest: Duration,
    /// Not after neither side has moved for so long: nothing is on its way then.
    pub still: Duration,
}

impl From<Duration> for Patience {
    /// So long, whether anything moves or not.
    fn from(longest: Duration) -> Self {
        Self { longest, still: longest }
    }
}

/// Reconciles; looks again with `patience` while the digests differ. Works beside a running adapter.
///
/// # Errors
/// [`Error`] where it cannot be told; a difference is an answer, not an error.
pub async fn reconcile(
    adapter: &dyn ErasedAdapter,
    config: &Config,
    patience: Patience,
) -> Result<Reconciliation, Error> {
    let state = State::open_beside(&config.state.path).await?;
    let connection = Connection::open(&config.broker).await?;
    let (mut comparisons, mut not_compared) = (Vec::new(), Vec::new());
    if let Some(publish) = &config.publish {
        still_held(&connection, &publish.dataset, &state.accepted_positions().await?).await?;
        let mut looking = Looking::new("source", &publish.dataset, patience);
        let comparison = loop {
            let ours = Side::new(state.published_digest().await?);
            let at_least = state.accepted_positions().await?;
            let theirs = exchange_side(&connection, &publish.dataset, purpose(config, None), at_least).await;
            if let Some(comparison) = looking.judge(ours, theirs)? {
                break comparison;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        };
        comparisons.push(comparison);
    }
    if let Some(subscribe) = &config.subscribe {
        let subscription = subscription(&connection, &subscribe.subscription).await?;
        match incomparable(&subscription) {
            Some((reason_en, reason_zh)) => not_compared.push(NotCompared { role: "sink", reason_en, reason_zh }),
            None => comparisons.push(compare_sink(adapter, config, &connection, &subscription, patience).await?),
        }
    }
    let counts = state.counts().await?;
    let dead_letters = state.dead_letter_reasons().await?;
    Ok(Reconciliation { counts, balanced: counts.balanced(), dead_letters, comparisons, not_compared })
}

/// A position that was acknowledged and lies behind the log's end would be waited for in vain. A dataset that the node does not name is left to the comparison.
async fn still_held(connection: &Connection, dataset: &str, accepted: &[v1::Position]) -> Result<(), exchange::Error> {
    let status = connection.node_status().await?;
    let ends = status.datasets.into_iter().find(|one| one.dataset == dataset).map(|one| one.log_end);
    match ends.and_then(|ends| lost(accepted, &ends)) {
        Some(words) => Err(exchange::Error::Lost(words)),
        None => Ok(()),
    }
}

/// What was accepted and is no longer below the log's end.
fn lost(accepted: &[v1::Position], ends: &[v1::Position]) -> Option<String> {
    let end = |partition| ends.iter().find(|end| end.partition == partition).map_or(0, |end| end.offset);
    accepted.iter().find(|held| held.offset >= end(held.partition)).map(|held| {
        let v1::Position { partition, offset } = held;
        format!(
            "partition {partition} of its log ends at offset {}, and it has acknowledged offset {offset}",
            end(*partition)
        )
    })
}

async fn compare_sink(
    adapter: &dyn ErasedAdapter,
    config: &Config,
    connection: &Connection,
    subscription: &v1::Subscription,
    patience: Patience,
) -> Result<Comparison, Error> {
    let (dataset, purpose) = (&subscription.dataset, purpose(config, Some(subscription)));
    let sink = open_sink(adapter, config).await?;
    let mut looking = Looking::new("sink", dataset, patience);
    loop {
        let ours = Side::new(sink.digest().await?);
        let theirs = exchange_side(connection, dataset, purpose, Vec::new()).await;
        if let Some(comparison) = looking.judge(ours, theirs)? {
            return Ok(comparison);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Two sides looked at again and again.
struct Looking<'a> {
    role: &'static str,
    dataset: &'a str,
    until: Instant,
    still: Duration,
    /// Both as they were at the last look, and since when.
    seen: Option<(Side, Side, Instant)>,
}

impl<'a> Looking<'a> {
    fn new(role: &'static str, dataset: &'a str, patience: Patience) -> Self {
        Self { role, dataset, until: Instant::now() + patience.longest, still: patience.still, seen: None }
    }

    /// `None`: look again.
    fn judge(&mut self, ours: Side, theirs: Result<Side, exchange::Error>) -> Result<Option<Comparison>, Error> {
        let now = Instant::now();
        let over = now >= self.until;
        let exchange = match theirs {
            Err(error) if over || error.class() != ErrorClass::Transient => return Err(error.into()),
            Err(_) => {
                self.seen = None;
                return Ok(None);
            }
            Ok(exchange) => exchange,
        };
        let since = match &self.seen {
            Some((one, other, since)) if (one, other) == (&ours, &exchange) => *since,
            _ => now,
        };
        let equal = ours == exchange;
        if equal || over || now.duration_since(since) >= self.still {
            return Ok(Some(Comparison { role: self.role, dataset: self.dataset.to_owned(), ours, exchange, equal }));
        }
        self.seen = Some((ours, exchange, since));
        Ok(None)
    }
}

async fn exchange_side(
    connection: &Connection,
    dataset: &str,
    purpose: &str,
    at_least: Vec<v1::Position>,
) -> Result<Side, exchange::Error> {
    let request = v1::GetDatasetDigestRequest { dataset: dataset.to_owned(), purpose: purpose.to_owned(), at_least };
    let mut query = connection.query();
    let answer = connection.in_time(query.get_dataset_digest(request)).await?.into_inner();
    Ok(Side { count: answer.count, digest: hex::encode(answer.digest) })
}

/// A subscription of our department.
pub(crate) async fn subscription(connection: &Connection, id: &str) -> Result<v1::Subscription, exchange::Error> {
    let name = match id.strip_prefix("subscriptions/") {
        Some(_) => id.to_owned(),
        None => format!("subscriptions/{id}"),
    };
    let mut catalogue = connection.catalogue();
    Ok(connection.in_time(catalogue.get_subscription(v1::GetSubscriptionRequest { name })).await?.into_inner())
}

/// What an owner asks its own dataset for.
const PURPOSE: &str = "对账 reconciliation";

/// What the exchange is asked for: as configured, or what the subscription is for.
pub(crate) fn purpose<'a>(config: &'a Config, subscription: Option<&'a v1::Subscription>) -> &'a str {
    let own = subscription.map_or(PURPOSE, |subscription| &subscription.purpose);
    config.run.purpose.as_deref().unwrap_or(own)
}

/// Why an inbox need not hold what the exchange shows us: the subscription takes only some of it. In English and Chinese.
pub(crate) fn incomparable(subscription: &v1::Subscription) -> Option<(&'static str, &'static str)> {
    use v1::start_position::Start;
    let start = subscription.start.as_ref().and_then(|start| start.start.as_ref());
    if !subscription.filter.is_empty() {
        Some(("the subscription has a filter", "订阅设有筛选条件"))
    } else if start.is_some_and(|start| !matches!(start, Start::Beginning(_))) {
        Some(("the subscription does not begin at the beginning", "订阅并非从最早的数据开始"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use v1::start_position::Start;

    use super::*;

    fn subscription(start: Option<Start>, filter: Vec<v1::RowCondition>) -> v1::Subscription {
        let start = Some(v1::StartPosition { start });
        v1::Subscription { start, filter, purpose: "税源核查".into(), ..v1::Subscription::default() }
    }

    #[test]
    fn a_sink_asks_for_what_its_subscription_is_for_unless_it_is_told_otherwise() {
        let mut config = Config::of_nobody("state.db");
        let whole = subscription(None, Vec::new());
        assert_eq!(purpose(&config, Some(&whole)), "税源核查");
        assert_eq!(purpose(&config, None), PURPOSE);
        config.run.purpose = Some("税源核查 年度".into());
        assert_eq!(purpose(&config, Some(&whole)), "税源核查 年度");
    }

    fn side(count: u64) -> Side {
        Side { count, digest: "aa".into() }
    }

    #[tokio::test(start_paused = true)]
    async fn sides_that_differ_are_looked_at_again_for_as_long_as_one_of_them_moves() {
        let second = Duration::from_secs(1);
        let patience = Patience { longest: 20 * second, still: 3 * second };
        let mut looking = Looking::new("sink", "d", patience);
        for held in 0..6 {
            assert_eq!(looking.judge(side(held), Ok(side(9))).expect("no error"), None, "{held}: it moves");
            tokio::time::advance(second).await;
        }
        // An exchange that is away for a moment tells nothing of standing still.
        tokio::time::advance(second).await;
        assert_eq!(looking.judge(side(5), Err(exchange::Error::NoAnswer)).expect("it passes"), None);
        tokio::time::advance(second).await;
        for _ in 0..3 {
            assert_eq!(looking.judge(side(5), Ok(side(9))).expect("no error"), None);
            tokio::time::advance(second).await;
        }
        let told = looking.judge(side(5), Ok(side(9))).expect("no error").expect("nothing moves any more");
        assert_eq!((told.equal, told.ours.count, told.exchange.count), (false, 5, 9));

        let mut looking = Looking::new("sink", "d", (2 * second).into());
        assert_eq!(looking.judge(side(1), Ok(side(2))).expect("no error"), None);
        tokio::time::advance(2 * second).await;
        assert!(looking.judge(side(2), Ok(side(3))).expect("no error").is_some(), "the time is over");
        assert!(looking.judge(side(3), Ok(side(3))).expect("no error").expect("at once").equal);
    }

    #[test]
    fn what_was_acknowledged_and_lies_behind_the_logs_end_is_lost() {
        let at = |partition, offset| v1::Position { partition, offset };
        assert_eq!(lost(&[at(0, 4), at(1, 0)], &[at(0, 5), at(1, 1)]), None);
        assert_eq!(lost(&[], &[]), None);
        let told = lost(&[at(0, 4), at(1, 9)], &[at(0, 5), at(1, 9)]).expect("lost");
        assert!(told.contains("partition 1") && told.contains("offset 9"), "{told}");
        assert!(lost(&[at(2, 0)], &[at(0, 5)]).is_some(), "a partition that is gone");
    }

    #[test]
    fn only_a_subscription_that_takes_everything_is_compared() {
        for (start, whole) in [
            (None, true),
            (Some(Start::Beginning(true)), true),
            (Some(Start::Now(true)), false),
            (Some(Start::Time(Default::default())), false),
            (Some(Start::Positions(Default::default())), false),
        ] {
            assert_eq!(incomparable(&subscription(start.clone(), Vec::new())).is_none(), whole, "{start:?}");
        }
        assert!(incomparable(&subscription(None, vec![v1::RowCondition::default()])).is_some());
    }
}
