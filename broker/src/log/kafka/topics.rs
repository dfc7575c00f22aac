//! Topics: made with the right settings, and checked against the floor.

use std::time::Duration;

use rdkafka::{
    admin::{
        AdminClient, AdminOptions, AlterConfig, ConfigResource, ConfigSource, NewTopic, ResourceSpecifier,
        TopicReplication,
    },
    consumer::Consumer,
    error::RDKafkaErrorCode,
};

use super::{
    super::{Error, Retention, Topic, TopicSpec},
    Observer, Shared, client, signed, unavailable,
};

const CLEANUP: &str = "cleanup.policy";
const LAG_MIN: &str = "min.compaction.lag.ms";
const LAG_MAX: &str = "max.compaction.lag.ms";
const TOMBSTONES: &str = "delete.retention.ms";
const IN_SYNC: &str = "min.insync.replicas";
const BATCH: &str = "max.message.bytes";
const UNCLEAN: &str = "unclean.leader.election.enable";
const TIME: &str = "message.timestamp.type";
const AFTER: &str = "message.timestamp.after.max.ms";
const RETENTION_MS: &str = "retention.ms";
const RETENTION_BYTES: &str = "retention.bytes";

/// For each partition, how many replicas it has and whether it has a leader.
type Layout = Vec<(usize, bool)>;

/// What the cluster knows of a topic's partitions; `None` where there is no such topic.
pub(super) fn layout(shared: &Shared, topic: &Topic) -> Result<Option<Layout>, Error> {
    let metadata = shared.ask(|deadline| shared.asker.fetch_metadata(Some(topic.as_str()), deadline))?;
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic.as_str()) else { return Ok(None) };
    if let Some(error) = found.error() {
        return match RDKafkaErrorCode::from(error) {
            RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic => Ok(None),
            code => Err(unavailable(code)),
        };
    }
    let partition =
        |partition: &rdkafka::metadata::MetadataPartition| (partition.replicas().len(), partition.leader() >= 0);
    Ok(Some(found.partitions().iter().map(partition).collect()))
}

/// The settings of a topic that are the log's business.
fn settings(shared: &Shared, spec: &TopicSpec) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        (IN_SYNC, shared.options.min_insync_replicas.to_string()),
        (BATCH, client::batch_bytes_max(&shared.options).to_string()),
        (UNCLEAN, "false".to_owned()),
        (TIME, "CreateTime".to_owned()),
        // Kafka's hour would refuse entries of a node whose clock is ahead, in the middle of a partition.
        (AFTER, i64::MAX.to_string()),
    ];
    settings.extend(retention(spec.retention));
    settings
}

fn retention(retention: Retention) -> Vec<(&'static str, String)> {
    match retention {
        Retention::Forever => {
            vec![(CLEANUP, "delete".to_owned()), (RETENTION_MS, "-1".to_owned()), (RETENTION_BYTES, "-1".to_owned())]
        }
        Retention::CompactAfter { window_ms } => {
            let window = i64::try_from(window_ms).unwrap_or(i64::MAX);
            vec![
                (CLEANUP, "compact".to_owned()),
                (LAG_MIN, window.to_string()),
                // By then compaction has looked at an entry, however little there is to gain.
                (LAG_MAX, window.saturating_mul(2).max(1).to_string()),
                (TOMBSTONES, window.to_string()),
            ]
        }
    }
}

/// Makes the topic, or checks the one that exists.
pub(super) async fn ensure(shared: &Shared, spec: &TopicSpec) -> Result<(), Error> {
    let admin = admin(shared)?;
    within_deadline(shared, async {
        match layout(shared, &spec.topic)? {
            Some(layout) => set(shared, &admin, spec, &layout).await,
            None => create(shared, &admin, spec).await,
        }
    })
    .await
}

/// Checks the topic, which must be there, and changes nothing.
pub(super) async fn look(shared: &Shared, spec: &TopicSpec) -> Result<(), Error> {
    let admin = admin(shared)?;
    within_deadline(shared, async {
        let layout = layout(shared, &spec.topic)?;
        let layout = layout.ok_or_else(|| Error::TopicNotFound { topic: spec.topic.clone() })?;
        check(shared, &admin, spec, &layout).await.map(drop)
    })
    .await
}

fn admin(shared: &Shared) -> Result<AdminClient<Observer>, Error> {
    client::admin(&shared.options).create_with_context(shared.observer.clone()).map_err(unavailable)
}

/// The library's own limits are several and add up; this one is over all of them.
async fn within_deadline(shared: &Shared, work: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    tokio::time::timeout(shared.options.request_deadline * 3, work).await.map_err(unavailable)?
}

fn admin_options(deadline: Duration) -> AdminOptions {
    AdminOptions::new().request_timeout(Some(deadline)).operation_timeout(Some(deadline))
}

async fn create(shared: &Shared, admin: &AdminClient<Observer>, spec: &TopicSpec) -> Result<(), Error> {
    let options = &shared.options;
    let settings = settings(shared, spec);
    let replicas = TopicReplication::Fixed(i32::from(options.replication_factor));
    let topic = settings
        .iter()
        .fold(NewTopic::new(spec.topic.as_str(), signed(spec.partitions), replicas), |topic, (name, value)| {
            topic.set(name, value)
        });
    let made = admin
        .create_topics([&topic], &admin_options(options.request_deadline))
        .await
        .map_err(|cause| shared.away(cause))?;
    match made.into_iter().next() {
        Some(Ok(_)) => {}
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => {}
        Some(Err((_, RDKafkaErrorCode::InvalidReplicationFactor))) => {
            let wanted = options.replication_factor;
            let violations = format!(
                "the cluster has fewer nodes than its replicas should be: {wanted} (log.kafka.replication_factor)"
            );
            return Err(Error::BelowFloor { topic: spec.topic.clone(), violations });
        }
        Some(Err((_, code))) => return Err(unavailable(code)),
        None => return Err(unavailable(RDKafkaErrorCode::BadMessage)),
    }
    // Another node may have made it meanwhile, so it is looked at; and it is of use only once each partition has a leader.
    let give_up = tokio::time::Instant::now() + options.request_deadline;
    loop {
        match layout(shared, &spec.topic)? {
            Some(layout) if layout.iter().all(|(_, led)| *led) => return set(shared, admin, spec, &layout).await,
            _ if tokio::time::Instant::now() > give_up => {
                return Err(unavailable(RDKafkaErrorCode::LeaderNotAvailable));
            }
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// The settings of a topic that is above the floor.
async fn check(
    shared: &Shared,
    admin: &AdminClient<Observer>,
    spec: &TopicSpec,
    layout: &[(usize, bool)],
) -> Result<ConfigResource, Error> {
    let described = described(shared, admin, &ResourceSpecifier::Topic(spec.topic.as_str())).await?;
    let violations = violations(shared, spec, layout, &described);
    match violations.is_empty() {
        true => Ok(described),
        false => Err(Error::BelowFloor { topic: spec.topic.clone(), violations: violations.join("; ") }),
    }
}

/// Checks a topic and sets how long its entries stay.
async fn set(
    shared: &Shared,
    admin: &AdminClient<Observer>,
    spec: &TopicSpec,
    layout: &[(usize, bool)],
) -> Result<(), Error> {
    let described = check(shared, admin, spec, layout).await?;
    let specifier = ResourceSpecifier::Topic(spec.topic.as_str());
    let limits = admin_options(shared.options.request_deadline);
    let stale: Vec<_> = retention(spec.retention)
        .into_iter()
        .filter(|(name, value)| described.get(name).and_then(|entry| entry.value.as_deref()) != Some(value))
        .collect();
    if stale.is_empty() {
        return Ok(());
    }
    // The dataset's retention was changed. This request replaces all settings, so those that are set go along.
    let kept = described.entries.iter().filter(|entry| entry.source == ConfigSource::DynamicTopic);
    let kept = kept.filter_map(|entry| Some((entry.name.as_str(), entry.value.as_deref()?)));
    let mut change = AlterConfig::new(specifier);
    for (name, value) in kept.filter(|(name, _)| !stale.iter().any(|(changed, _)| changed == name)) {
        change = change.set(name, value);
    }
    for (name, value) in &stale {
        change = change.set(name, value);
    }
    let changed = admin.alter_configs([&change], &limits).await.map_err(|cause| shared.away(cause))?;
    match changed.into_iter().next() {
        Some(Ok(_)) => {
            tracing::info!(topic = %spec.topic, "retention changed");
            Ok(())
        }
        Some(Err((_, code))) => Err(unavailable(code)),
        None => Err(unavailable(RDKafkaErrorCode::BadMessage)),
    }
}

/// A topic's settings. The node that is asked may not have heard yet of a topic that was just made: it says that there is none, or tells no setting at all.
async fn described(
    shared: &Shared,
    admin: &AdminClient<Observer>,
    specifier: &ResourceSpecifier<'_>,
) -> Result<ConfigResource, Error> {
    let deadline = shared.options.request_deadline;
    let give_up = tokio::time::Instant::now() + deadline;
    loop {
        let answer = admin
            .describe_configs([specifier], &admin_options(deadline))
            .await
            .map_err(|cause| shared.away(cause))?
            .into_iter()
            .next()
            .unwrap_or(Err(RDKafkaErrorCode::BadMessage));
        let code = match answer {
            Ok(described) if described.get(CLEANUP).is_some_and(|entry| entry.value.is_some()) => return Ok(described),
            Ok(_) => RDKafkaErrorCode::UnknownTopicOrPartition,
            Err(code) => code,
        };
        if code != RDKafkaErrorCode::UnknownTopicOrPartition || tokio::time::Instant::now() > give_up {
            return Err(unavailable(code));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Every setting that is below the floor, for an operator.
fn violations(shared: &Shared, spec: &TopicSpec, layout: &[(usize, bool)], described: &ConfigResource) -> Vec<String> {
    let options = &shared.options;
    let mut wrong = Vec::new();
    if u32::try_from(layout.len()) != Ok(spec.partitions) {
        wrong.push(format!("its partition count is {}, not {}", layout.len(), spec.partitions));
    }
    let replicas = layout.iter().map(|(replicas, _)| *replicas).min().unwrap_or(0);
    if replicas < usize::from(options.replication_factor) {
        let floor = options.replication_factor;
        wrong
            .push(format!("a partition's replication is {replicas}, less than {floor} (log.kafka.replication_factor)"));
    }
    let text = |name: &str| described.get(name).and_then(|entry| entry.value.as_deref()).unwrap_or("");
    let number = |name: &str| text(name).parse::<i64>().unwrap_or(0);
    let in_sync = i64::from(options.min_insync_replicas);
    if number(IN_SYNC) < in_sync {
        wrong.push(format!("{IN_SYNC} is {}, less than {in_sync} (log.kafka.min_insync_replicas)", text(IN_SYNC)));
    }
    let batch = i64::try_from(client::batch_bytes_max(options)).unwrap_or(i64::MAX);
    if number(BATCH) < batch {
        wrong.push(format!("{BATCH} is {}, less than {batch}", text(BATCH)));
    }
    let wanted = retention(spec.retention);
    let policy = [(CLEANUP, wanted[0].1.as_str()), (UNCLEAN, "false"), (TIME, "CreateTime")];
    for (name, value) in policy {
        if text(name) != value {
            wrong.push(format!("{name} is {}, not {value}", text(name)));
        }
    }
    if spec.retention == Retention::Forever {
        for name in [RETENTION_MS, RETENTION_BYTES] {
            if number(name) != -1 {
                wrong.push(format!("{name} is {}, not -1: entries would be deleted", text(name)));
            }
        }
    }
    wrong
}
