//! The configuration of a node: one TOML file, and environment variables for addresses and secrets.
//!
//! Promises: unknown keys are refused; every mistake is reported, with its path and line, before any port opens; no secret appears in `Debug`, in an error
//! or in the manual. The manual is generated from the comments of `config/sections.rs`.

mod manual;
mod report;
mod section;
mod sections;
mod value;

#[cfg(test)]
mod tests;

use std::{
    io::Read,
    path::{Path, PathBuf},
};

pub use manual::manual;
use report::Report;
pub use report::{Error, Mistake};
use section::{Reader, Section};
pub use sections::{
    Config, CrlExpiry, Datasets, Delivery, EmbeddedLog, KafkaLog, KafkaProtocol, KafkaSecurity, Limits, Log, LogFormat,
    LogHome, Node, SaslMechanism, Tls, View,
};
use toml::de::DeTable;
pub use value::{Secret, Size};

/// Bytes of a file, at most: a hundred times what all keys with comments take, and little enough where a path leads elsewhere.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Bytes of a node's name, at most.
const NAME_BYTES_MAX: usize = 64;
/// Bytes of a trust domain, at most (SPIFFE-ID, section 2.1).
const EXCHANGE_BYTES_MAX: usize = 255;

/// A file as far as it can be read.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What it says, with the default in the place of each value that is malformed. `None` where an obligatory key is missing or malformed.
    pub config: Option<Config>,
    /// Everything that is wrong with it, in its order; what has no line comes last.
    pub mistakes: Vec<Mistake>,
}

impl Draft {
    /// The configuration, if nothing is wrong with it.
    ///
    /// # Errors
    /// [`Error::Mistakes`] with all of them.
    pub fn finish(self) -> Result<Config, Error> {
        self.config.filter(|_| self.mistakes.is_empty()).ok_or(Error::Mistakes(self.mistakes))
    }
}

impl Config {
    /// Reads a file, with the process's environment.
    ///
    /// # Errors
    /// Those of [`Config::draft`] and [`Draft::finish`].
    pub fn load(path: &Path) -> Result<Self, Error> {
        Self::draft(path)?.finish()
    }

    /// Reads a file with the process's environment, as far as it goes.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::TooLarge`], [`Error::NotText`].
    pub fn draft(path: &Path) -> Result<Draft, Error> {
        let text = read(path)?;
        Ok(Self::sketch(&text, &|name| std::env::var(name).ok().filter(|value| !value.is_empty())))
    }

    /// Reads a text, with the variables that `environment` knows.
    ///
    /// # Errors
    /// [`Error::Mistakes`] with all of them.
    pub fn parse(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, Error> {
        Self::sketch(text, environment).finish()
    }

    fn sketch(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> Draft {
        let (document, syntax) = DeTable::parse_recoverable(text);
        let mut report = Report::new(text, environment);
        for error in &syntax {
            report.mistake("", error.span(), error.message().to_owned());
        }
        let config = Self::read(Reader::new(Some(document.get_ref()), String::new(), &mut report));
        Draft { config, mistakes: report.finish() }
    }

    /// Where the embedded log lies.
    pub fn embedded_log_path(&self) -> PathBuf {
        self.log.embedded.path.clone().unwrap_or_else(|| self.node.data_dir.join("log"))
    }

    /// Where the view lies.
    pub fn view_path(&self) -> PathBuf {
        self.view.path.clone().unwrap_or_else(|| self.node.data_dir.join("view"))
    }

    /// Where the node's receipt key lies.
    pub fn receipt_key_path(&self) -> PathBuf {
        self.node.data_dir.join("receipt.key.pem")
    }

    /// Where the exchange's secret lies.
    pub fn exchange_secret_path(&self) -> PathBuf {
        self.node.exchange_secret.clone().unwrap_or_else(|| self.node.data_dir.join("exchange.secret"))
    }

    /// How the embedded log is set up.
    pub fn embedded_log_options(&self) -> crate::log::embedded::Options {
        let section = &self.log.embedded;
        crate::log::embedded::Options {
            in_flight_bytes_max: section.in_flight_bytes_max.bytes(),
            tail_bytes_max: section.tail_bytes_max.bytes(),
            free_bytes_min: section.free_bytes_min.0,
            cache_bytes: section.cache_bytes.0,
            maintenance_interval: section.maintenance_interval,
            ..crate::log::embedded::Options::at(self.embedded_log_path())
        }
    }

    /// How the Kafka log is set up.
    pub fn kafka_log_options(&self) -> crate::log::kafka::Options {
        let section = &self.log.kafka;
        crate::log::kafka::Options {
            security: section.security.options(),
            replication_factor: section.replication_factor,
            min_insync_replicas: section.min_insync_replicas,
            linger: section.linger,
            delivery_deadline: section.delivery_deadline,
            request_deadline: section.request_deadline,
            in_flight_bytes_max: section.in_flight_bytes_max.bytes(),
            fetch_bytes_max: section.fetch_bytes_max.bytes(),
            ..crate::log::kafka::Options::at(section.brokers.clone())
        }
    }

    /// How delivery is set up.
    pub fn delivery_options(&self) -> crate::exchange::delivery::Options {
        let section = &self.delivery;
        crate::exchange::delivery::Options {
            streams_max: section.streams_max,
            unacknowledged_records_max: section.unacknowledged_records_max,
            unacknowledged_bytes_max: section.unacknowledged_bytes_max.bytes(),
            tail_bytes_max: section.tail_bytes_max.bytes(),
            held_bytes_max: self.limits.unsent_bytes_max.bytes() / 4,
            cursor_delay: section.cursor_delay,
            ..crate::exchange::delivery::Options::new(self.log.topic_prefix.clone())
        }
    }

    /// How the acceptor is set up.
    pub fn tls_options(&self) -> crate::tls::Options {
        let files = crate::tls::Files {
            certificate: self.tls.certificate.clone(),
            key: self.tls.key.clone(),
            authorities: self.tls.authorities.clone(),
            revocation_lists: self.tls.revocation_lists.clone(),
        };
        crate::tls::Options {
            crl_expiry: match self.tls.revocation_list_expiry {
                CrlExpiry::Warn => crate::tls::CrlExpiry::Warn,
                CrlExpiry::Refuse => crate::tls::CrlExpiry::Refuse,
            },
            handshake_timeout: self.limits.handshake_timeout,
            handshakes_max: self.limits.handshakes_max,
            connections_max: self.limits.connections_max,
            connections_per_address_max: self.limits.connections_per_address_max,
            connections_per_department_max: self.limits.connections_per_department_max,
            keepalive: self.limits.keepalive,
            ..crate::tls::Options::new(self.node.exchange.clone(), files)
        }
    }
}

fn read(path: &Path) -> Result<String, Error> {
    let source = |source| Error::Read { path: path.to_path_buf(), source };
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(source)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(source)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Error::TooLarge { path: path.to_path_buf(), limit: FILE_BYTES_MAX });
    }
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        let before = error.as_bytes().iter().take(offset);
        let line = before.filter(|byte| **byte == b'\n').count() + 1;
        Error::NotText { path: path.to_path_buf(), line, offset }
    })
}

impl Node {
    fn check(&self, report: &mut Report<'_>) {
        // It stands in receipts, on the trail and in topics, where it must look the same to everybody.
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if self.name.len() > NAME_BYTES_MAX || !self.name.bytes().all(letter) {
            report.mistake("node.name", None, "must be at most 64 of a-z, A-Z, 0-9, dot, hyphen, underscore");
        }
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
        if self.exchange.len() > EXCHANGE_BYTES_MAX || !self.exchange.bytes().all(letter) {
            let message = "must be a trust domain: at most 255 of a-z, 0-9, dot, hyphen, underscore";
            report.mistake("node.exchange", None, message);
        }
        if self.listen == self.metrics_listen && self.listen.port() != 0 {
            report.mistake("node.metrics_listen", None, "must differ from node.listen");
        }
        if self.log_level.parse::<tracing_subscriber::EnvFilter>().is_err() {
            let message = "must be a filter like \"info\" or \"info,shuqiao_broker::tls=debug\"";
            report.mistake("node.log_level", None, message);
        }
    }
}

impl Limits {
    fn check(&self, report: &mut Report<'_>) {
        if self.message_bytes_max <= self.batch_bytes_max {
            report.mistake("limits.message_bytes_max", None, "must be larger than limits.batch_bytes_max");
        }
        if self.arriving_bytes_max.0 / 4 < self.message_bytes_max.0 {
            report.mistake("limits.arriving_bytes_max", None, "must be at least four times limits.message_bytes_max");
        }
        if self.unsent_bytes_max.0 / 2 < self.message_bytes_max.0 {
            report.mistake("limits.unsent_bytes_max", None, "must be at least twice limits.message_bytes_max");
        }
    }
}

impl Log {
    fn check(&self, report: &mut Report<'_>) {
        let prefix = &self.topic_prefix;
        let topic = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if prefix.len() > 48 || !prefix.bytes().all(topic) {
            report.mistake("log.topic_prefix", None, "must be at most 48 of a-z, A-Z, 0-9, dot, hyphen, underscore");
        }
        if self.home == LogHome::Kafka {
            self.kafka.check(report);
        }
    }
}

impl KafkaLog {
    fn check(&self, report: &mut Report<'_>) {
        let mut wrong = |key: &str, message: &str| report.mistake(format!("log.kafka.{key}"), None, message);
        if self.brokers.is_empty() {
            wrong("brokers", "is missing: with log.home = \"kafka\" there must be at least one \"host:port\"");
        }
        let address = |broker: &String| broker.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        if !self.brokers.iter().all(address) {
            wrong("brokers", "must each be \"host:port\"");
        }
        if self.min_insync_replicas > self.replication_factor {
            wrong("min_insync_replicas", "must not be larger than replication_factor: nothing could ever be written");
        }
        let security = &self.security;
        let (tls, sasl) = security.protocol.parts();
        if tls && security.authorities.is_none() {
            wrong("security.authorities", "is missing: TLS needs the authorities that issue the servers' certificates");
        }
        if security.certificate.is_some() != security.key.is_some() {
            wrong("security.certificate", "and security.key must stand together");
        }
        if sasl && (security.username.is_none() || security.password.is_none()) {
            wrong("security.username", "and security.password are missing: a sasl_ protocol needs both");
        }
        if security.protocol == KafkaProtocol::SaslPlaintext && security.mechanism == SaslMechanism::Plain {
            wrong("security.mechanism", "must not be PLAIN without TLS: the password would cross the network in clear");
        }
    }
}

impl KafkaProtocol {
    /// Whether it has TLS, and whether it has a user.
    fn parts(self) -> (bool, bool) {
        match self {
            Self::Plaintext => (false, false),
            Self::Ssl => (true, false),
            Self::SaslPlaintext => (false, true),
            Self::SaslSsl => (true, true),
        }
    }
}

impl KafkaSecurity {
    /// What the protocol needs of the section; what else stands there is not used. Nothing that it needs is missing: [`KafkaLog::check`] saw to that.
    fn options(&self) -> crate::log::kafka::Security {
        use crate::log::kafka::{Security, TlsFiles, User};
        let (tls, sasl) = self.protocol.parts();
        Security {
            tls: self.authorities.clone().filter(|_| tls).map(|authorities| TlsFiles {
                authorities,
                identity: self.certificate.clone().zip(self.key.clone()),
                key_password: self.key_password.clone(),
            }),
            user: self.username.clone().zip(self.password.clone()).filter(|_| sasl).map(|(name, password)| User {
                mechanism: match self.mechanism {
                    SaslMechanism::Plain => "PLAIN",
                    SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
                    SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
                },
                name,
                password,
            }),
        }
    }
}
