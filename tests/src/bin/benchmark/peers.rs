//! The unavoidable part alone: what Kafka, a disk and gRPC cost whoever uses them.

use std::{
    io::Write,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rdkafka::{
    ClientConfig, ClientContext,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    message::{DeliveryResult, Header, OwnedHeaders},
    producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer},
};
use shuqiao_broker::{shutdown::Tasks, tls};
use tokio::time::Instant;

use crate::{Result, records, usage};

/// Counts what Kafka has acknowledged.
#[derive(Clone, Default)]
struct Acknowledged(Arc<AtomicU64>);

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_ok() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Writes the node's keys, headers and bytes with the node's settings, and prints seconds and CPU-seconds.
pub(crate) fn rdkafka(brokers: &str, topic: &str, count: u64) -> Result<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    let new = NewTopic::new(topic, 4, TopicReplication::Fixed(1));
    let made = runtime.block_on(admin.create_topics(&[new], &AdminOptions::new()))?;
    for outcome in made {
        outcome.map_err(|(topic, code)| format!("{topic}: {code}"))?;
    }
    config.set("enable.idempotence", "true").set("acks", "all").set("linger.ms", "5");
    let acknowledged = Acknowledged::default();
    let producer: ThreadedProducer<Acknowledged> = config.create_with_context(acknowledged.clone())?;
    // The client needs half a second before its first acknowledgement: not what is measured. Nor is the making of the records.
    send(&producer, topic, 0, &records::record(0)?)?;
    let prepared = (1..=count).map(records::record).collect::<Result<Vec<_>>>()?;
    producer.flush(Duration::from_secs(30))?;
    let before = usage::of(std::process::id())?;
    let begun = Instant::now();
    for (number, record) in (1..=count).zip(&prepared) {
        send(&producer, topic, number, record)?;
    }
    producer.flush(Duration::from_secs(60))?;
    let seconds = begun.elapsed().as_secs_f64();
    let cpu_seconds = usage::of(std::process::id())?.cpu_seconds - before.cpu_seconds;
    let held = acknowledged.0.load(Ordering::Relaxed);
    if held != count + 1 {
        return Err(format!("{held} of {} acknowledged", count + 1).into());
    }
    println!("{seconds} {cpu_seconds}");
    Ok(())
}

fn send(
    producer: &ThreadedProducer<Acknowledged>,
    topic: &str,
    number: u64,
    (key, payload): &(String, Vec<u8>),
) -> Result<()> {
    let number = number.to_string();
    let header = |key, value| Header { key, value: Some(value) };
    let headers = OwnedHeaders::new_with_capacity(7)
        .insert(header("ce_specversion", "1.0"))
        .insert(header("ce_id", number.as_str()))
        .insert(header("ce_source", crate::node::REGISTRY))
        .insert(header("ce_type", "shuqiao.record.upsert"))
        .insert(header("ce_dataschema", "urn:shuqiao:record-type:enterprise:v1"))
        .insert(header("ce_sourceversion", number.as_str()))
        .insert(header("content-type", "application/json"));
    let mut record = BaseRecord::to(topic).key(key).payload(payload).headers(headers);
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((error, back)) => {
                if error.rdkafka_error_code() != Some(rdkafka::types::RDKafkaErrorCode::QueueFull) {
                    return Err(error.into());
                }
                record = back;
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// Writes each batch's keys and bytes with one write and one fdatasync, and prints seconds and CPU-seconds.
pub(crate) fn raw_file(path: &Path, count: u64) -> Result<()> {
    let mut file = std::fs::File::create(path)?;
    let prepared = (1..=count).map(records::record).collect::<Result<Vec<_>>>()?;
    let before = usage::of(std::process::id())?;
    let begun = Instant::now();
    let mut group = Vec::new();
    for batch in prepared.chunks(usize::try_from(records::BATCH)?) {
        group.clear();
        for (key, payload) in batch {
            group.extend_from_slice(key.as_bytes());
            group.extend_from_slice(payload);
        }
        file.write_all(&group)?;
        file.sync_data()?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("{seconds} {}", usage::of(std::process::id())?.cpu_seconds - before.cpu_seconds);
    Ok(())
}

/// Serves gRPC's health check, which looks into one map, behind the node's own acceptor, until it is killed.
pub(crate) async fn echo(pki: &Path, port: u16) -> Result<()> {
    let tasks = Tasks::default();
    let issued = pki.join("issued");
    let files = tls::Files {
        certificate: issued.join("server-localhost.pem"),
        key: issued.join("server-localhost.key.pem"),
        authorities: pki.join("ca.pem"),
        revocation_lists: None,
    };
    let options = tls::Options::new("benchmark.example".to_owned(), files);
    let acceptor = tls::Acceptor::open(options, tls::Metrics::default(), &tasks).await?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("", tonic_health::ServingStatus::Serving).await;
    let incoming = tls::incoming(listener, acceptor, &tasks);
    tonic::transport::Server::builder().add_service(health).serve_with_incoming(incoming).await?;
    Ok(())
}
