//! The two homes, as the suite needs them.

use std::{sync::Arc, time::Duration};

use super::super::{
    Log, Metrics, Topic,
    embedded::{self, Embedded},
    kafka::{self, Kafka},
};
use crate::exchange::clock::Clock;

/// One home, as the suite needs it.
#[async_trait::async_trait]
pub(crate) trait Home: Sync {
    /// Opens the log; again after it was closed.
    fn open(&self, in_flight_bytes_max: usize) -> Arc<dyn Log>;

    /// Gives up entries before an offset, as retention does.
    async fn trim(&self, log: &Arc<dyn Log>, topic: &Topic, partition: u32, before: u64);

    /// A retention window that the tests can sit out.
    fn window_ms(&self) -> u64;

    /// The clock that retention reads.
    fn clock(&self) -> Clock;

    /// Now, on that clock.
    fn now_ms(&self) -> i64 {
        self.clock().now_ms()
    }

    /// Lets a window pass and compaction run.
    async fn pass_window(&self, log: &Arc<dyn Log>);
}

pub(crate) struct EmbeddedHome {
    directory: tempfile::TempDir,
    clock: Clock,
    opened: parking_lot::Mutex<Option<Arc<Embedded>>>,
}

impl EmbeddedHome {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Self { directory, clock: Clock::manual(1_700_000_000_000), opened: parking_lot::Mutex::default() }
    }

    fn log(&self) -> Arc<Embedded> {
        self.opened.lock().clone().expect("open")
    }
}

#[async_trait::async_trait]
impl Home for EmbeddedHome {
    fn open(&self, in_flight_bytes_max: usize) -> Arc<dyn Log> {
        // Whoever holds the former one still holds the directory.
        *self.opened.lock() = None;
        let options = embedded::Options {
            in_flight_bytes_max,
            free_bytes_min: 0,
            // Little, so that a short test reads from memory and from the store.
            tail_bytes_max: 1 << 10,
            ..embedded::Options::at(self.directory.path())
        };
        let log = Embedded::open(options, self.clock.clone(), Metrics::default()).expect("the log opens");
        let log = Arc::new(log);
        *self.opened.lock() = Some(log.clone());
        log
    }

    async fn trim(&self, _: &Arc<dyn Log>, topic: &Topic, partition: u32, before: u64) {
        self.log().trim(topic, partition, before).await.expect("trimmed");
    }

    fn window_ms(&self) -> u64 {
        60_000
    }

    fn clock(&self) -> Clock {
        self.clock.clone()
    }

    async fn pass_window(&self, _: &Arc<dyn Log>) {
        self.clock.set(self.clock.now_ms() + 61_000);
        self.log().maintain().await.expect("maintained");
    }
}

pub(crate) struct KafkaHome(kafka::Options);

impl KafkaHome {
    /// The cluster that the environment names. Where it names none, the test is left out, and told among what was (`tests/needs`).
    pub(crate) fn from_environment() -> Option<Self> {
        kafka::tests::options().map(Self)
    }
}

#[async_trait::async_trait]
impl Home for KafkaHome {
    fn open(&self, in_flight_bytes_max: usize) -> Arc<dyn Log> {
        let options = kafka::Options { in_flight_bytes_max, ..self.0.clone() };
        Arc::new(Kafka::open(options, Metrics::default()).expect("the cluster answers"))
    }

    async fn trim(&self, _: &Arc<dyn Log>, topic: &Topic, partition: u32, before: u64) {
        kafka::tests::delete_records(&self.0, topic, partition, before).await;
    }

    fn window_ms(&self) -> u64 {
        500
    }

    fn clock(&self) -> Clock {
        Clock::system()
    }

    async fn pass_window(&self, _: &Arc<dyn Log>) {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
    }
}
