//! What all clients of the cluster have in common: settings, security, and an ear for what goes wrong.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use rdkafka::{
    ClientConfig, ClientContext,
    config::RDKafkaLogLevel,
    consumer::ConsumerContext,
    error::{KafkaError, RDKafkaErrorCode},
};
use serde::Deserialize;

use super::{Health, Options, Security};

/// Room in a batch beside the largest entry: the batch's own frame, and lengths.
const FRAME_BYTES: usize = 64 << 10;

/// The largest batch that the producer makes, and the least that a topic must take (`max.message.bytes`).
pub(super) fn batch_bytes_max(options: &Options) -> usize {
    options.entry_bytes_max + FRAME_BYTES
}

/// The settings of every client.
fn common(options: &Options) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", options.brokers.join(","))
        .set("client.id", "shuqiao")
        .set("socket.keepalive.enable", "true")
        .set("socket.nagle.disable", "true")
        .set("socket.timeout.ms", "15000")
        .set("socket.connection.setup.timeout.ms", "10000")
        // A cluster that comes back is found within a second; the library's own limit is ten.
        .set("reconnect.backoff.max.ms", "1000")
        // A node that has just come back may say that it knows no such topic. Some clients went on believing it for as long as the library's own limit, five
        // minutes.
        .set("topic.metadata.refresh.interval.ms", "10000")
        .set_log_level(RDKafkaLogLevel::Info);
    secure(&mut config, &options.security);
    config
}

fn secure(config: &mut ClientConfig, security: &Security) {
    let protocol = match (&security.tls, &security.user) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    config.set("security.protocol", protocol);
    if let Some(tls) = &security.tls {
        config.set("ssl.ca.location", tls.authorities.to_string_lossy());
        config.set("ssl.endpoint.identification.algorithm", "https");
        if let Some((certificate, key)) = &tls.identity {
            config.set("ssl.certificate.location", certificate.to_string_lossy());
            config.set("ssl.key.location", key.to_string_lossy());
        }
        if let Some(password) = &tls.key_password {
            config.set("ssl.key.password", password.expose());
        }
    }
    if let Some(user) = &security.user {
        config.set("sasl.mechanism", user.mechanism);
        config.set("sasl.username", &user.name);
        config.set("sasl.password", user.password.expose());
    }
}

/// The producer. No time-out of the library's own, and a stop at the first gap: see the module's promises.
pub(super) fn producer(options: &Options) -> ClientConfig {
    let mut config = common(options);
    config
        .set("enable.idempotence", "true")
        .set("enable.gapless.guarantee", "true")
        .set("acks", "all")
        .set("message.timeout.ms", "0")
        .set("request.timeout.ms", "10000")
        .set("linger.ms", millis(options.linger))
        .set("message.max.bytes", batch_bytes_max(options).to_string())
        .set("batch.size", batch_bytes_max(options).min(1 << 20).to_string())
        // Submissions wait for room in bytes before they get here, and one that is larger than the room goes alone: the library's own queue must not fill.
        .set("queue.buffering.max.messages", "0")
        .set("queue.buffering.max.kbytes", i32::MAX.to_string())
        .set("topic.metadata.propagation.max.ms", "60000")
        .set("statistics.interval.ms", "5000");
    config
}

/// One reader's consumer. It is assigned partitions by hand; the library asks for a group's name nevertheless, and never joins it.
pub(super) fn reader(options: &Options) -> ClientConfig {
    let mut config = common(options);
    config
        .set("group.id", "shuqiao-reader")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("allow.auto.create.topics", "false")
        // A position that is gone is an error to be told, never a jump.
        .set("auto.offset.reset", "error")
        .set("check.crcs", "true")
        .set("isolation.level", "read_committed")
        .set("max.poll.interval.ms", "86400000")
        .set("fetch.wait.max.ms", "200")
        .set("fetch.error.backoff.ms", "100")
        // How long a full queue is left alone. The library's second would be felt as stutter by whoever catches up.
        .set("fetch.queue.backoff.ms", "20")
        .set("queued.max.messages.kbytes", kibibytes(options.fetch_bytes_max))
        .set("fetch.message.max.bytes", options.fetch_bytes_max.min(1 << 20).to_string())
        .set("fetch.max.bytes", options.fetch_bytes_max.max(batch_bytes_max(options)).to_string())
        .set("message.max.bytes", batch_bytes_max(options).to_string());
    config
}

/// A client for questions about topics.
pub(super) fn asker(options: &Options) -> ClientConfig {
    let mut config = common(options);
    config.set("allow.auto.create.topics", "false").set("isolation.level", "read_committed");
    config
}

/// A client for the administration of topics.
pub(super) fn admin(options: &Options) -> ClientConfig {
    common(options)
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

fn kibibytes(bytes: usize) -> String {
    (bytes >> 10).max(1).to_string()
}

/// Hears what the library says of the cluster. Clones share what they heard.
#[derive(Clone, Debug)]
pub(super) struct Observer(Arc<Heard>);

#[derive(Debug)]
struct Heard {
    brokers: String,
    tls: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// No node is reachable.
    down: bool,
    /// The newest complaint about a connection: what "all brokers down" does not say.
    complaint: Option<String>,
    /// What the log itself has to say: submissions that are overdue.
    trouble: Option<String>,
}

impl Observer {
    pub(super) fn new(options: &Options) -> Self {
        let (brokers, tls) = (options.brokers.join(", "), options.security.tls.is_some());
        Self(Arc::new(Heard { brokers, tls, state: Mutex::default() }))
    }

    /// The cluster answered.
    pub(super) fn answered(&self) {
        let mut state = self.0.state.lock();
        if state.down || state.complaint.is_some() {
            state.down = false;
            state.complaint = None;
        }
    }

    /// Notes a complaint. One that says what to change is kept: after it come refusals without a reason.
    fn complain(&self, complaint: &str) {
        let known = &mut self.0.state.lock().complaint;
        let tls = self.0.tls;
        if known.as_deref().is_none_or(|known| hint(known, tls).is_empty()) || !hint(complaint, tls).is_empty() {
            *known = Some(complaint.to_owned());
        }
    }

    /// What the log itself knows of its state.
    pub(super) fn set_trouble(&self, trouble: Option<String>) {
        self.0.state.lock().trouble = trouble;
    }

    pub(super) fn health(&self) -> Health {
        let state = self.0.state.lock();
        match (&state.trouble, state.down) {
            (Some(trouble), _) => Health::Bad(trouble.clone()),
            (None, true) => Health::Bad(self.describe(&state, None).to_string()),
            (None, false) => Health::Good,
        }
    }

    /// Why the cluster does not answer, as far as is known.
    pub(super) fn away(&self, cause: Option<KafkaError>) -> Away {
        self.describe(&self.0.state.lock(), cause)
    }

    fn describe(&self, state: &State, cause: Option<KafkaError>) -> Away {
        let complaint = state.complaint.clone().unwrap_or_default();
        Away { brokers: self.0.brokers.clone(), hint: hint(&complaint, self.0.tls), complaint, cause }
    }
}

/// What an operator should look at, for complaints whose text does not say it. The library knows no better than to look at the state in which a peer hung up.
fn hint(complaint: &str, tls: bool) -> &'static str {
    let has = |part: &str| complaint.contains(part);
    let hung_up = has("isconnected") || has("closed by peer") || has("connection reset");
    if !tls && hung_up && has("APIVERSION_QUERY") {
        "; the address seems to speak TLS: set log.kafka.security.protocol to \"ssl\" or \"sasl_ssl\""
    } else if tls && (has("PLAINTEXT broker listener") || has("wrong version number")) {
        "; the address speaks no TLS: set log.kafka.security.protocol to \"plaintext\", or use the address of a TLS listener"
    } else if has("certificate verify failed") || has("could not be verified") || has("self-signed") {
        "; the server's certificate comes from none of log.kafka.security.authorities, or names another host"
    } else if tls && (has("certificate required") || has("bad certificate") || (hung_up && has("APIVERSION_QUERY"))) {
        "; the cluster wants another client's certificate: look at log.kafka.security.certificate and log.kafka.security.key"
    } else if has("uthentication") {
        "; look at log.kafka.security.username, password and mechanism"
    } else if has("resolve") {
        "; the name in log.kafka.brokers, or the one that the cluster advertises, is not known here"
    } else {
        ""
    }
}

/// No node of the cluster answered.
#[derive(Debug, thiserror::Error)]
#[error(
    "no node of the Kafka cluster at {brokers} (log.kafka.brokers) answers{}{complaint}{hint}",
    if .complaint.is_empty() { "" } else { ": " }
)]
pub(super) struct Away {
    brokers: String,
    complaint: String,
    hint: &'static str,
    #[source]
    cause: Option<KafkaError>,
}

/// The part of the library's statistics that says whether a node is connected.
#[derive(Deserialize)]
struct Statistics {
    brokers: std::collections::HashMap<String, BrokerState>,
}

#[derive(Deserialize)]
struct BrokerState {
    state: String,
}

impl ClientContext for Observer {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // A peer that hangs up is no error to the library, only a log line; it is what a plaintext client sees of a TLS port.
        if facility == "FAIL" {
            self.complain(message);
        }
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                tracing::warn!(facility, message, "librdkafka");
            }
            _ => tracing::debug!(facility, message, "librdkafka"),
        }
    }

    fn stats_raw(&self, statistics: &[u8]) {
        let up = serde_json::from_slice::<Statistics>(statistics)
            .is_ok_and(|statistics| statistics.brokers.values().any(|broker| broker.state == "UP"));
        if up {
            self.answered();
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka client");
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            self.0.state.lock().down = true;
        } else {
            self.complain(reason);
        }
    }
}

impl ConsumerContext for Observer {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_complaint_that_says_more_is_the_one_that_is_told() {
        let observer = Observer::new(&Options::at(vec!["k:1".into()]));
        assert_eq!(observer.health(), Health::Good);
        let transport = || KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure);
        observer.log(
            RDKafkaLogLevel::Info,
            "FAIL",
            "Disconnected: connection closed by peer (after 2ms in state APIVERSION_QUERY)",
        );
        observer.error(transport(), "Connection refused");
        observer.error(KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down");
        let Health::Bad(text) = observer.health() else { panic!("down") };
        assert!(text.contains("k:1") && text.contains("log.kafka.security.protocol"), "{text}");
        observer.answered();
        assert_eq!(observer.health(), Health::Good);
    }
}
