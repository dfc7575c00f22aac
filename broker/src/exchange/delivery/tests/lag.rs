//! How far subscriptions are behind, told whether anybody reads or not.

use std::time::Duration;

use prometheus_client::registry::Registry;

use super::{
    super::{Metrics, Options},
    fixture::{GRANT, House, SUBSCRIPTION, options, places, records, taxation},
};
use crate::exchange::{
    catalogue::{
        Command, Start,
        command::{NewSubscription, SubscriptionRef},
        fixtures::{new_grant, new_subscription},
    },
    fixtures::{DATASET, upsert},
};

/// What the series of a subscription says; nothing where there is none.
fn lag(registry: &Registry, subscription: &str) -> Option<u64> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    let begins = format!("shuqiao_subscription_lag{{subscription=\"{subscription}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&begins)?.parse().ok())
}

async fn shows(registry: &Registry, subscription: &str, wanted: Option<u64>) {
    let shown = async {
        while lag(registry, subscription) != wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), shown).await;
    waited.unwrap_or_else(|_| panic!("{subscription}: {:?} instead of {wanted:?}", lag(registry, subscription)));
}

#[tokio::test]
async fn a_subscription_that_nobody_reads_is_seen_to_fall_behind_until_it_is_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let options = Options { lag_interval: Duration::from_millis(20), metrics, ..options() };
    let house = House::with(directory.path(), options.clone()).await;
    house.grant(new_grant(GRANT, DATASET, "taxation")).await;
    house.publish(vec![upsert(1, "a", "1"), upsert(2, "b", "1")]).await;
    let now = house.city.clock.now_ms();
    let started = |id: &str, start| NewSubscription { start, ..new_subscription(id, DATASET) };
    house.subscription(started(SUBSCRIPTION, Start::Beginning)).await;
    house.subscription(started("taxation.from-now", Start::Now(Vec::new()))).await;
    house.subscription(started("taxation.by-time", Start::Time(now))).await;
    house.subscription(started("taxation.by-later-time", Start::Time(now + 1_000))).await;
    // Nobody has ever read them.
    for (id, behind) in
        [(SUBSCRIPTION, 2), ("taxation.from-now", 0), ("taxation.by-time", 2), ("taxation.by-later-time", 0)]
    {
        shows(&registry, id, Some(behind)).await;
    }

    let mut stream = house.stream(100).await;
    let taken = records(&mut stream, 2).await;
    stream.handle().acknowledge(places(&taken));
    shows(&registry, SUBSCRIPTION, Some(0)).await;
    stream.close().await;
    house.city.clock.set(now + 2_000);
    house.publish(vec![upsert(3, "c", "1"), upsert(4, "d", "1"), upsert(5, "a", "1")]).await;
    for (id, behind) in
        [(SUBSCRIPTION, 3), ("taxation.from-now", 3), ("taxation.by-time", 5), ("taxation.by-later-time", 3)]
    {
        shows(&registry, id, Some(behind)).await;
    }

    let found = house.city.catalogue.snapshot().subscription(SUBSCRIPTION).unwrap().clone();
    let gone = SubscriptionRef { id: found.id.clone(), expected: found.version };
    house.city.command(&taxation(), Command::DeleteSubscription(gone)).await;
    shows(&registry, SUBSCRIPTION, None).await;
    shows(&registry, "taxation.from-now", Some(3)).await;
    house.close().await;
}
