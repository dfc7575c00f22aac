//! Every key of the file. The comments are the manual: what a key means, what changing it does, why its default, since when.
//!
//! A change takes effect at the next start unless the comment says otherwise.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::{
    section::section,
    value::{Secret, Size, choice},
};
use crate::exchange::model::SourceId;

choice! {
    /// How log lines are written.
    pub enum LogFormat {
        /// One JSON object a line, for collectors.
        Json = "json",
        /// For people at a terminal.
        Plain = "plain",
    }
}

choice! {
    /// Where the log lives.
    pub enum LogHome {
        /// On this machine's disk.
        Embedded = "embedded",
        /// In a Kafka cluster.
        Kafka = "kafka",
    }
}

choice! {
    /// How Kafka is spoken to.
    pub enum KafkaProtocol {
        /// In clear, for a cluster on the same machine.
        Plaintext = "plaintext",
        /// TLS; with a certificate, mutual.
        Ssl = "ssl",
        /// In clear, with a user and a password.
        SaslPlaintext = "sasl_plaintext",
        /// TLS, with a user and a password.
        SaslSsl = "sasl_ssl",
    }
}

choice! {
    /// How a password is shown to Kafka.
    pub enum SaslMechanism {
        /// The password itself: only under TLS.
        Plain = "PLAIN",
        /// A proof with SHA-256.
        ScramSha256 = "SCRAM-SHA-256",
        /// A proof with SHA-512.
        ScramSha512 = "SCRAM-SHA-512",
    }
}

choice! {
    /// What a revocation list past its end means.
    pub enum CrlExpiry {
        /// It goes on being used, with a warning every hour.
        Warn = "warn",
        /// Nobody is let in.
        Refuse = "refuse",
    }
}

section! {
    /// One node of the exchange. Relative paths are relative to the directory in which the node is started.
    pub struct Config {
        /// The node itself.
        section node: Node;
        /// Its identity.
        section tls: Tls;
        /// Where records lie.
        section log: Log;
        /// What queries read.
        section view: View;
        /// How records reach subscribers.
        section delivery: Delivery;
        /// Bounds.
        section limits: Limits;
        /// Defaults of new datasets.
        section datasets: Datasets;
    }
}

section! {
    /// The node itself.
    pub struct Node, then check {
        /// Name of this node: it stands in receipts, in the trail and in status. At most 64 of a-z, A-Z, 0-9, dot, hyphen, underscore. Changing it: receipts and entries of the past keep the former name; keep
        /// a note of both. No default: two nodes must not share a name. Since 0.1.0.
        value name: String, env "SHUQIAO_NODE_NAME";
        /// Trust domain of the exchange: the host part of the SPIFFE ids in certificates, `spiffe://{exchange}/department/…`. Changing it: every
        /// certificate must be issued anew, or its bearer is nobody. No default: it is yours. Since 0.1.0.
        value exchange: String;
        /// Directory for what the node keeps: its receipt key, the exchange's secret, the view, the embedded log. Changing it: move the content along.
        /// Without it the node makes a new receipt key and a new secret; on a Kafka home the view is rebuilt, on the embedded one the node starts empty.
        /// Default because packages make this directory. Since 0.1.0.
        value data_dir: PathBuf = "/var/lib/shuqiao";
        /// Where departments connect (gRPC over mutual TLS). Changing it: clients must follow. Default because a node that was not told otherwise
        /// should not be reachable from outside. Since 0.1.0.
        value listen: SocketAddr = "127.0.0.1:7443", env "SHUQIAO_NODE_LISTEN";
        /// Where `/metrics` and `/health` answer, in clear and without names of people or keys of records. Changing it: scrapers must follow. Default
        /// because it has no access control of its own. Since 0.1.0.
        value metrics_listen: SocketAddr = "127.0.0.1:7480", env "SHUQIAO_NODE_METRICS_LISTEN";
        /// How log lines are written to standard error. Changing it: collectors must understand the other form. Default because machines read more
        /// logs than people do. Since 0.1.0.
        value log_format: LogFormat = "json";
        /// Which log lines are written, in the syntax of `tracing`: `info`, or `info,shuqiao_broker::tls=debug`. Changing it: `debug` costs many
        /// times the lines, each call and each refusal among them, and shows neither payloads nor keys. Default because it tells of every start,
        /// stop, refused connection and failure. Since 0.1.0.
        value log_level: String = "info", env "SHUQIAO_NODE_LOG_LEVEL";
        /// How long a stopping node finishes what is in flight before it ends. Changing it: keep it below the service unit's TimeoutStopSec. Default
        /// because a batch takes milliseconds and a proxy notices a draining node within seconds. Since 0.1.0.
        value grace_period: Duration = "20s", within "1s", "10m";
        /// File of the exchange's secret: 64 hexadecimal digits behind keyed hashes in grants and digests in the trail, the same on every node. Made
        /// where it is missing. Changing it: keyed hashes change, and old digests of the trail can no longer be matched. Default is
        /// `exchange.secret` in the data directory; copy it to a second node before that one starts. Since 0.1.0.
        value exchange_secret: Option<PathBuf>;
        /// Systems or persons with the administrator's role, whatever the catalogue says: `department/city-data-bureau/person/wang-wu`. Changing it:
        /// takes effect at the next start; all nodes of an exchange should agree. Default because nobody should be an administrator by accident; the
        /// first one must stand here, since an empty catalogue has none. Since 0.1.0.
        value administrators: Vec<SourceId> = [];
    }
}

section! {
    /// The node's identity, and whose certificates it accepts. The files are watched: replacing them takes effect within seconds, without a restart.
    pub struct Tls {
        /// The node's certificate and its intermediates, PEM. Changing it: another path needs a restart, other content does not. No default: there is no
        /// exchange without identity. Since 0.1.0.
        value certificate: PathBuf;
        /// The certificate's key, PEM (PKCS#8 or SEC1). Changing it: as for the certificate; replace both, in any order. No default. Since 0.1.0.
        value key: PathBuf;
        /// The authorities that issue clients' certificates, PEM, one or several. Changing its content: live connections of an authority that is
        /// gone are cut. No default. Since 0.1.0.
        value authorities: PathBuf;
        /// The authorities' revocation lists, PEM, one for each authority and signed by it; a file that lacks one, or holds another's, keeps a node from
        /// starting, and at a running one leaves the former lists in force. Changing its content: live connections of revoked certificates are cut within
        /// 5 s. Default is none, with a warning at start: then a lost certificate is valid until its end. Since 0.1.0.
        value revocation_lists: Option<PathBuf>;
        /// What a revocation list past its nextUpdate means: `warn` goes on using it, `refuse` lets nobody in. Changing it: takes effect at the next
        /// start. Default because fifty departments locked out by one forgotten job is worse than a list that is late. Since 0.1.0.
        value revocation_list_expiry: CrlExpiry = "warn";
    }
}

section! {
    /// The log: the one place where what must not be lost lies.
    pub struct Log, then check {
        /// `embedded`: durable on this machine's disk. `kafka`: in a Kafka cluster, for every deployment that outgrows one machine. Changing it: the
        /// other home is empty; records must be published again. Default because a newcomer has no cluster. Since 0.1.0.
        value home: LogHome = "embedded";
        /// First part of every topic's name. Changing it: the node sees an empty exchange under the new name. Default because one cluster rarely serves
        /// two exchanges; give each its own prefix where it does. Since 0.1.0.
        value topic_prefix: String = "shuqiao";
        /// The log on this machine.
        section embedded: EmbeddedLog;
        /// The log in a cluster.
        section kafka: KafkaLog;
    }
}

section! {
    /// The embedded log. Used where `log.home` is `embedded`.
    pub struct EmbeddedLog {
        /// Directory of the log. Changing it: move the content along. Default is `log` in the data directory; put it on a disk of its own where the
        /// view is large. Since 0.1.0.
        value path: Option<PathBuf>;
        /// Bytes that may wait for the disk; beyond, publishers wait. Changing it: more evens out slow disks and costs as much memory. Default because it
        /// holds four of the largest batches. Since 0.1.0.
        value in_flight_bytes_max: Size = "16MiB", within "1MiB", "1GiB";
        /// Newest entries kept in memory for subscribers at the tail. Changing it: more spares reads for subscribers that lag a little, and costs memory.
        /// Default because it holds some 20,000 records of common size. Since 0.1.0.
        value tail_bytes_max: Size = "8MiB", within "1MiB", "4GiB";
        /// Below so much free disk the log takes nothing, and the node says so. No record is taken then, and nothing is shown that must be put on the
        /// trail first: queries and deliveries stop too. Changing it: less risks a store that cannot tidy itself.
        /// Default because compaction rewrites files of tens of megabytes. Since 0.1.0.
        value free_bytes_min: Size = "256MiB", within "16MiB", "1024GiB";
        /// Blocks of the store kept in memory for catch-up reads. Changing it: more helps where many subscribers lag. Default because a broker
        /// should fit into 256 MiB. Since 0.1.0.
        value cache_bytes: Size = "16MiB", within "1MiB", "16GiB";
        /// How often retention is looked after. Changing it: rarer leaves expired entries on disk for longer. Default because retention is counted in
        /// days. Since 0.1.0.
        value maintenance_interval: Duration = "1m", within "1s", "1d";
    }
}

section! {
    /// The Kafka cluster. Used where `log.home` is `kafka`.
    pub struct KafkaLog {
        /// Bootstrap servers, `host:port`. Changing it: another cluster is another, empty exchange. Obligatory with this home. Since 0.1.0.
        value brokers: Vec<String> = [], env "SHUQIAO_LOG_KAFKA_BROKERS";
        /// Replicas of each topic that the node makes. A topic that has fewer keeps a node from starting; a dataset's topic that a running node finds so,
        /// within a minute or two, takes no records until it is mended, and the node is not ready. Changing it: existing topics must be changed with
        /// Kafka's own tools first. Default because one lost machine must lose nothing; a single-node test cluster says 1. Since 0.1.0.
        value replication_factor: u16 = 3, within 1, 15;
        /// In-sync replicas without which Kafka takes nothing (`min.insync.replicas`). A topic with fewer is refused as above. Changing it: as above. Default
        /// because two copies exist before anything is acknowledged. Since 0.1.0.
        value min_insync_replicas: u16 = 2, within 1, 15;
        /// How long the producer gathers entries into one request. Changing it: more makes larger requests and slower acknowledgements. Default
        /// because batches arrive full already. Since 0.1.0.
        value linger: Duration = "5ms", within "0ms", "1s";
        /// When an entry that is not acknowledged is reported as unknown; its topic then takes nothing until Kafka has answered. Changing it: shorter tells
        /// publishers sooner that Kafka is away, and makes more of their outcomes unknown. Default because a leader election ends well within it.
        /// Since 0.1.0.
        value delivery_deadline: Duration = "30s", within "1s", "5m";
        /// How long a question to the cluster may take: topics, bounds, the first contact at start. Changing it: shorter fails sooner where the cluster is
        /// away, and wrongly where it is slow. Default because a healthy cluster answers within milliseconds. Since 0.1.0.
        value request_deadline: Duration = "10s", within "1s", "1m";
        /// Bytes that may wait for Kafka; beyond, publishers wait. Changing it: more evens out pauses of the cluster and costs as much memory. Default
        /// because a broker should fit into 256 MiB. Since 0.1.0.
        value in_flight_bytes_max: Size = "32MiB", within "1MiB", "1GiB";
        /// Bytes that each reader of the log may fetch ahead of subscribers and view. Changing it: more is faster catching up, and costs memory for each
        /// dataset that is far behind. Default because it holds several of the largest records; a reader at the tail uses next to nothing. Since 0.1.0.
        value fetch_bytes_max: Size = "4MiB", within "1MiB", "1GiB";
        /// How the cluster is spoken to.
        section security: KafkaSecurity;
    }
}

section! {
    /// How the node shows itself to Kafka. Departments never touch Kafka.
    pub struct KafkaSecurity {
        /// `plaintext`, `ssl`, `sasl_plaintext` or `sasl_ssl`. Changing it: the cluster must listen so. Default because `deploy/kafka` sets up a cluster on
        /// the same machine; across a network use `ssl`. Since 0.1.0.
        value protocol: KafkaProtocol = "plaintext";
        /// Authorities that issue the Kafka servers' certificates, PEM. Changing it: takes effect at the next start. Obligatory with TLS: the
        /// system's own list is never used. Since 0.1.0.
        value authorities: Option<PathBuf>;
        /// The node's certificate for Kafka, PEM. Changing it: takes effect at the next start. Default is none: TLS without it authenticates the
        /// server only. Since 0.1.0.
        value certificate: Option<PathBuf>;
        /// The key of that certificate, PEM. Changing it: as above. Default is none. Since 0.1.0.
        value key: Option<PathBuf>;
        /// The passphrase of that key. Changing it: as above. Default is none. Since 0.1.0.
        value key_password: Option<Secret>, env "SHUQIAO_LOG_KAFKA_KEY_PASSWORD";
        /// How the password is shown, with a `sasl_` protocol. Changing it: the user must exist for that mechanism. Default because the password
        /// itself never crosses the network. Since 0.1.0.
        value mechanism: SaslMechanism = "SCRAM-SHA-512";
        /// The user, with a `sasl_` protocol. Changing it: the user needs Describe, DescribeConfigs, Create, AlterConfigs, Read and
        /// Write on the topics that begin with `log.topic_prefix`. Default is none. Since 0.1.0.
        value username: Option<String>, env "SHUQIAO_LOG_KAFKA_USERNAME";
        /// The user's password. Changing it: takes effect at the next start. Default is none; better set by the environment than in a file.
        /// Since 0.1.0.
        value password: Option<Secret>, env "SHUQIAO_LOG_KAFKA_PASSWORD";
    }
}

section! {
    /// The view: the records as queries see them, rebuilt from the log at any time.
    pub struct View {
        /// Directory of the view. Changing it: the view is rebuilt there from the log. Default is `view` in the data directory. Since 0.1.0.
        value path: Option<PathBuf>;
        /// Blocks of the store kept in memory. Changing it: more answers more queries without the disk. Default because a broker should fit into
        /// 256 MiB. Since 0.1.0.
        value cache_bytes: Size = "32MiB", within "1MiB", "64GiB";
    }
}

section! {
    /// Delivery: the streams by which records reach subscribers.
    pub struct Delivery {
        /// Subscribe streams at once on this node; a further one is told to come back (QUOTA_EXHAUSTED). Changing it: each costs memory while records
        /// flow. Default because fifty departments with eighty subscriptions each are as many. Since 0.1.0.
        value streams_max: usize = 4096, within 1, 100000;
        /// Newest records of one dataset in memory, as projected and encoded too, shared by all its subscribers; only datasets with an open stream have any.
        /// Changing it: more lets subscribers lag a little without each reading the log by itself, and costs as much memory for each dataset that is
        /// subscribed to. Default because it holds some 8,000 records of common size. Since 0.1.0.
        value tail_bytes_max: Size = "8MiB", within "64KiB", "4GiB";
        /// Records that one subscriber may have taken and not acknowledged, whatever its credit; also the most positions that it may name as held when it
        /// reconnects. Changing it: more suits subscribers that acknowledge rarely, and makes more records come again after a crash. Default because a sink
        /// acknowledges every few hundred. Since 0.1.0.
        value unacknowledged_records_max: usize = 10000, within 1, 1000000;
        /// Bytes of those records. Changing it: as above. Default because it lets a subscriber of large records have some sixty of them. Since 0.1.0.
        value unacknowledged_bytes_max: Size = "64MiB", within "1MiB", "4GiB";
        /// How long an acknowledgement may wait for others before the cursor is written to the log. Changing it: longer writes less, and after a crash that many
        /// acknowledgements are lost, so that their records come again. Default because a write each half second is
        /// little beside the records. Since 0.1.0.
        value cursor_delay: Duration = "500ms", within "10ms", "1m";
    }
}

section! {
    /// Bounds that stop floods. None is unlimited.
    pub struct Limits, then check {
        /// Connections at once, handshakes included. Changing it: each costs memory and a file descriptor. Default because fifty departments with ten
        /// systems use an eighth of it. Since 0.1.0.
        value connections_max: usize = 4096, within 1, 100000;
        /// Connections at once from one address. Changing it: raise it where many systems stand behind one address. Default because one runaway client
        /// must leave room for others. Since 0.1.0.
        value connections_per_address_max: usize = 256, within 1, 100000;
        /// Connections at once of one department. Changing it: raise it for a department with very many systems. Default as above. Since 0.1.0.
        value connections_per_department_max: usize = 256, within 1, 100000;
        /// Handshakes at once, those included whose client has said nothing yet, and of one address at most a quarter; where one more comes, the oldest of the
        /// address that has the most is given up. Changing it: whoever wants to push an honest handshake out must open so many sockets while it lasts; each
        /// costs a file descriptor, and some memory once the client speaks. Default because with a handshake of a tenth of a second that takes ten thousand sockets a
        /// second. Since 0.1.0.
        value handshakes_max: usize = 1024, within 1, 10000;
        /// A handshake that takes longer is given up. Changing it: slow lines need more. Default because the slowest honest client needs a second.
        /// Since 0.1.0.
        value handshake_timeout: Duration = "10s", within "100ms", "2m";
        /// Age at which a connection is asked to come again (streams go on during the grace). Changing it: shorter spreads clients over new nodes
        /// sooner, and costs handshakes. Default because a changed load balancer should matter within the hour. Since 0.1.0.
        value connection_age_max: Duration = "1h", within "1m", "7d";
        /// How long streams may go on after that. Changing it: long-lived subscriptions reconnect this much later. Default because a subscription
        /// reconnects within a second without loss. Since 0.1.0.
        value connection_age_grace: Duration = "5m", within "1s", "1d";
        /// Calls and streams at once on one connection. Changing it: more for gateways that multiplex. Default as HTTP/2 recommends at least
        /// (RFC 9113 section 6.5.2). Since 0.1.0.
        value streams_per_connection_max: u32 = 100, within 1, 10000;
        /// Bytes of a call's headers; beyond, the call is refused (HTTP 431). Changing it: rarely useful. Default because ours have a few hundred.
        /// Since 0.1.0.
        value header_bytes_max: Size = "16KiB", within "1KiB", "1MiB";
        /// Streams that a client may reset before they were looked at; beyond, its connection ends. Changing it: rarely useful. Default as the library's,
        /// against rapid resets (CVE-2023-44487). Since 0.1.0.
        value pending_accept_resets_max: usize = 20, within 1, 10000;
        /// Bytes of one message; a larger one is refused: a call by OUT_OF_RANGE, a publish stream by BATCH_TOO_LARGE, a subscribe stream by INVALID_FIELD.
        /// Changing it: keep it above `batch_bytes_max` by what keys and framing need. Default because a batch has at most 4 MiB. Since 0.1.0.
        value message_bytes_max: Size = "5MiB", within "1MiB", "64MiB";
        /// Bytes of messages that are still arriving, of one department at most a quarter; further ones are left with their senders until there is room.
        /// Changing it: more suits many large batches over slow lines, and costs as much memory. At least four times `message_bytes_max`. Default because
        /// each department may then have three of the largest messages on their way. Since 0.1.0.
        value arriving_bytes_max: Size = "64MiB", within "4MiB", "64GiB";
        /// A message that is not whole after so long is given up (CLIENT_TOO_SLOW), the time included that it waits for room. Changing it: slow lines may
        /// need more for a large batch. Default because the largest message then needs less than a megabit a second. Since 0.1.0.
        value arrival_timeout: Duration = "1m", within "1s", "10m";
        /// Records of one published batch. Changing it: publishers are told when they open a stream. Default because what a batch
        /// costs beside its records is spread over enough of them by then. Since 0.1.0.
        value batch_records_max: u32 = 1000, within 1, 10000;
        /// Bytes of one published batch. Changing it: as above. Default as above. Since 0.1.0.
        value batch_bytes_max: Size = "4MiB", within "1MiB", "32MiB";
        /// Batches of one publish stream that wait for their acknowledgement. Changing it: more hides slow disks, and costs memory a stream. Default because
        /// while one is made durable the next ones are on their way. Since 0.1.0.
        value batches_in_flight_max: u32 = 8, within 1, 1000;
        /// Queries answered at once; further ones are told to come back. Any one department has half of them at most. Changing it: more for many cores. Default
        /// because each occupies a thread while it reads, and most are short. Since 0.1.0.
        value queries_at_once_max: usize = 64, within 1, 10000;
        /// Bytes of answers to calls that wait to be read, of one department at most a half; beyond, calls are told to come back (QUOTA_EXHAUSTED). A quarter as
        /// much again bounds what subscribers that are behind have not read, those of one department by half of that; beyond, each reads in small steps. Changing it: more suits many large answers over
        /// slow lines, and costs as much memory. At least twice `message_bytes_max`. Default because each department may then have a dozen of the largest
        /// answers on their way. Since 0.1.0.
        value unsent_bytes_max: Size = "128MiB", within "4MiB", "64GiB";
        /// A client that leaves an answer unread for so long is let go (CLIENT_TOO_SLOW): an answer of a stream, or the whole answer of a call. A subscriber
        /// finds its records again where it left off.
        /// Changing it: slow lines may need more; meanwhile the node keeps some answers for it. Default because a reader that is alive takes one within a
        /// second. Since 0.1.0.
        value unread_timeout: Duration = "30s", within "1s", "10m";
        /// How often an idle connection is asked whether it is alive. Changing it: shorter notices dead peers sooner. Default because firewalls forget idle
        /// connections after some minutes. Since 0.1.0.
        value keepalive: Duration = "1m", within "5s", "1h";
    }
}

section! {
    /// What a new dataset gets where its manifest does not say.
    pub struct Datasets {
        /// Partitions of a new dataset, fixed for its life. Changing it: datasets that exist keep theirs. Default because four writers use two
        /// cores well, and a department rarely has more records than that carries. Since 0.1.0.
        value partitions_default: u32 = 4, within 1, 256;
        /// How long every change of a new dataset is kept before only the newest per key stays. Changing it: datasets that exist keep theirs. Default because
        /// a subscriber that was away over a long holiday still sees every change. Since 0.1.0.
        value retention_default: Duration = "30d", within "1m", "3650d";
    }
}
