//! What becomes of a dataset whose topic an administrator of the cluster changes behind the node's back.

use std::{sync::Arc, time::Duration};

use rdkafka::admin::{AdminOptions, AlterConfig, ConfigSource, ResourceSpecifier};

use super::{Options, PATIENCE, admin, open, options};
use crate::{
    chain::chain,
    exchange::{
        Error,
        catalogue::{self, Catalogue, fixtures::system},
        clock::Clock,
        fixtures::{City, DATASET, OWNER, batch, upsert},
    },
    log::{Log, Topic},
    node,
    shutdown::Tasks,
};

/// Changes one setting of a topic, and leaves the others as they are.
async fn alter(options: &Options, topic: &Topic, name: &str, value: &str) {
    let (admin, limits) = (admin(options), AdminOptions::new());
    let specifier = ResourceSpecifier::Topic(topic.as_str());
    let described = admin.describe_configs([&specifier], &limits).await.expect("an answer");
    let described = described.into_iter().next().expect("a topic").expect("it is there");
    let kept = described.entries.iter().filter(|one| one.source == ConfigSource::DynamicTopic && one.name != name);
    let change = AlterConfig::new(specifier).set(name, value);
    let change = kept.fold(change, |change, one| match &one.value {
        Some(value) => change.set(&one.name, value),
        None => change,
    });
    let altered = admin.alter_configs([&change], &limits).await.expect("an answer");
    altered.into_iter().next().expect("a topic").expect("altered");
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waited = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waited).await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dataset_whose_topic_is_lowered_takes_nothing_and_keeps_a_node_from_starting() {
    let Some(kafka) = options() else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let clock = Clock::system();
    let options = catalogue::Options {
        topic_prefix: format!("floor-{}", uuid::Uuid::new_v4()),
        verdict_timeout: PATIENCE,
        topics_interval: Duration::from_millis(500),
        ..catalogue::fixtures::options()
    };
    let city = City::with(open(&kafka), directory.path(), clock.clone(), options.clone()).await;
    let topic = city.catalogue.snapshot().dataset(DATASET).expect("it is there").topic.clone();
    let mut session = city.session().await;
    city.publish(&mut session, vec![upsert(1, "a", "1")]).await;

    alter(&kafka, &topic, "cleanup.policy", "delete").await;
    until("a running node finds it", || !city.catalogue.below_floor().is_empty()).await;
    let refused = session.submit(batch(vec![upsert(2, "b", "1")])).await;
    assert!(matches!(refused, Err(Error::LogBelowFloor(_))), "a session that is open: {refused:?}");
    drop(session);
    let refused = city.publisher.open(&Arc::new(system(OWNER)), DATASET, "").await.map(drop);
    assert!(matches!(refused, Err(Error::LogBelowFloor(_))), "a new one: {refused:?}");
    alter(&kafka, &topic, "cleanup.policy", "compact").await;
    until("it finds it mended", || city.catalogue.below_floor().is_empty()).await;
    let mut session = city.session().await;
    city.publish(&mut session, vec![upsert(2, "b", "1")]).await;
    drop(session);
    city.close().await;

    alter(&kafka, &topic, "unclean.leader.election.enable", "true").await;
    let (log, tasks) = (open(&kafka), Tasks::default());
    let refused = Catalogue::open(log.clone(), options.clone(), clock.clone(), &tasks).await.map(drop);
    let refused = node::Error::Catalogue(refused.expect_err("it does not start"));
    let told = chain(&refused);
    let setting = format!("topic {topic} is below the floor: unclean.leader.election.enable is true, not false");
    assert!(told.contains(&setting), "{told}");
    assert!(refused.next_step().contains("mend the topic"), "{}", refused.next_step());
    assert_eq!(tasks.drain(PATIENCE).await, 0);
    log.close().await;

    alter(&kafka, &topic, "unclean.leader.election.enable", "false").await;
    City::with(open(&kafka), directory.path(), clock, options).await.close().await;
}
