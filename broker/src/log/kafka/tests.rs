//! What only this home can do. Runs where `SHUQIAO_TEST_KAFKA` names a cluster; faults are inflicted on clusters of their own, started by `deploy/kafka`.

use rdkafka::{
    TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    topic_partition_list::Offset,
};

use super::{super::Topic, Observer, Options, client, signed};
use crate::log::Metrics;

/// The cluster that the environment names, which may have one node.
pub(in crate::log) fn options() -> Option<Options> {
    let brokers = std::env::var("SHUQIAO_TEST_KAFKA").ok().filter(|brokers| !brokers.is_empty())?;
    let brokers = brokers.split(',').map(str::to_owned).collect();
    Some(Options { replication_factor: 1, min_insync_replicas: 1, ..Options::at(brokers) })
}

/// Gives up records as retention does.
pub(in crate::log) async fn delete_records(options: &Options, topic: &Topic, partition: u32, before: u64) {
    let observer = Observer::new(Metrics::default(), options);
    let admin: AdminClient<Observer> = client::admin(options).create_with_context(observer).expect("a client");
    let mut list = TopicPartitionList::new();
    let offset = Offset::Offset(i64::try_from(before).expect("small"));
    list.add_partition_offset(topic.as_str(), signed(partition), offset).expect("added");
    let deleted = admin.delete_records(&list, &AdminOptions::new()).await.expect("deleted");
    deleted.elements().iter().for_each(|element| element.error().expect("deleted"));
}
