//! The contract suite: what [`Log`] promises, as tests that run on both homes.
//!
//! On Kafka they run where `SHUQIAO_TEST_KAFKA` names a cluster (`deploy/kafka/start one DIR`), and are left out where it does not. Faults (a process
//! that is killed, a disk that is full, a cluster that hangs) differ from home to home, and so do the tests of what is true through them: each home has its own.

mod appending;
pub(crate) mod homes;
mod reading;
mod topics;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::join_all;
use tokio::time::Instant;

use self::{
    appending::*,
    homes::{EmbeddedHome, Home, KafkaHome},
    reading::*,
    topics::*,
};
use super::{Bounds, Entry, Error, Health, Log, Reader, Retention, StoredEntry, Topic, TopicSpec};

/// Room for what is in flight, more than any test needs that does not speak of it.
const ROOM: usize = 16 << 20;
/// For what a log does by itself, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

/// Each test of the suite, once for each home.
macro_rules! contract {
    ($($name:ident,)*) => {
        mod on_embedded {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(&super::EmbeddedHome::new()).await;
                }
            )*
        }
        mod on_kafka {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    if let Some(home) = super::KafkaHome::from_environment() {
                        super::$name(&home).await;
                    }
                }
            )*
        }
    };
}

contract! {
    entries_of_a_partition_lie_in_the_order_in_which_they_were_submitted,
    many_submitters_get_the_offsets_at_which_their_entries_lie,
    what_is_acknowledged_is_there_after_the_log_was_opened_anew,
    an_entry_comes_back_as_it_was_appended,
    reading_begins_at_a_position,
    a_position_that_is_not_held_is_told_with_what_is,
    a_reader_that_retention_overtook_is_told,
    reading_begins_at_a_time,
    a_reader_at_the_tail_is_woken_by_the_append,
    a_read_that_was_given_up_loses_nothing,
    a_read_returns_no_more_than_was_asked_for,
    a_submission_larger_than_the_room_goes_alone_and_others_wait,
    a_submission_that_was_given_up_queued_nothing,
    an_entry_that_is_too_large_is_refused_with_everything_beside_it,
    a_topic_that_was_never_made_is_not_found,
    a_topic_is_made_once_and_keeps_its_partitions,
    a_topic_that_somebody_else_made_is_known_by_its_name,
    closing_flushes_and_then_everything_is_refused,
    compaction_keeps_the_newest_of_each_key_at_its_place,
}

fn topic() -> Topic {
    Topic::stored(&format!("contract-{}", uuid::Uuid::new_v4()))
}

async fn made(log: &Arc<dyn Log>, partitions: u32, retention: Retention) -> Topic {
    let topic = topic();
    log.ensure_topic(&TopicSpec { topic: topic.clone(), partitions, retention }).await.expect("made");
    topic
}

fn entry(partition: u32, value: impl Into<Bytes>) -> Entry {
    let (key, headers) = (Some(Bytes::from_static(b"key")), vec![("ce_id", Bytes::from_static(b"7"))]);
    Entry { partition, key, headers, value: Some(value.into()), timestamp_ms: 1_700_000_000_000 }
}

fn numbered(partition: u32, number: usize) -> Entry {
    entry(partition, number.to_string())
}

async fn append(log: &Arc<dyn Log>, topic: &Topic, entries: Vec<Entry>) -> Vec<u64> {
    let pending = log.submit(topic, entries).await.expect("submitted");
    pending.await.into_iter().map(|outcome| outcome.expect("durable")).collect()
}

/// So many entries of a reader, or a failure after a while.
async fn take(reader: &mut Box<dyn Reader>, count: usize) -> Vec<StoredEntry> {
    let mut entries = Vec::new();
    while entries.len() < count {
        let next = tokio::time::timeout(PATIENCE, reader.next(1_000, 1 << 20));
        entries.extend(next.await.expect("entries arrive").expect("readable"));
    }
    entries
}

fn value(entry: &StoredEntry) -> &str {
    std::str::from_utf8(entry.value.as_deref().expect("a value")).expect("text")
}
