//! Empty, minimal, full, then each bad value.

use std::{path::PathBuf, time::Duration};

use super::{section::Described, *};

const MINIMAL: &str = r#"
[node]
name = "node-1"
exchange = "nantong.example"

[tls]
certificate = "server.pem"
key = "server.key.pem"
authorities = "ca.pem"
"#;

fn parse(text: &str) -> Result<Config, Error> {
    Config::parse(text, &|_| None)
}

fn mistakes(text: &str) -> Vec<String> {
    parse(text).expect_err("mistakes").mistakes().iter().map(ToString::to_string).collect()
}

/// The minimal file with one key more, in its section.
fn with(section: &str, line: &str) -> String {
    let header = format!("[{section}]");
    if MINIMAL.contains(&header) {
        MINIMAL.replace(&header, &format!("{header}\n{line}"))
    } else {
        format!("{MINIMAL}\n{header}\n{line}\n")
    }
}

#[test]
fn an_empty_file_names_every_key_that_is_missing() {
    assert_eq!(
        mistakes(""),
        [
            "node.name: is missing: text",
            "node.exchange: is missing: text",
            "tls.certificate: is missing: path",
            "tls.key: is missing: path",
            "tls.authorities: is missing: path",
        ]
    );
}

#[test]
fn a_minimal_file_gets_the_defaults() {
    let config = parse(MINIMAL).expect("minimal");
    assert_eq!(config.node.listen.to_string(), "127.0.0.1:7443");
    assert_eq!(config.node.grace_period, Duration::from_secs(20));
    assert_eq!(config.log.home, LogHome::Embedded);
    assert_eq!(config.limits.batch_bytes_max, Size(4 << 20));
    assert_eq!(config.datasets.retention_default, Duration::from_secs(30 * 86_400));
    assert_eq!(config.embedded_log_path(), PathBuf::from("/var/lib/shuqiao/log"));
    assert!(config.tls.revocation_lists.is_none() && config.node.administrators.is_empty());
    let options = config.tls_options();
    assert_eq!((options.connections_max, options.exchange.as_str()), (4096, "nantong.example"));
    // The file's defaults are the log's own: one truth, said twice, held together here.
    assert_eq!(config.embedded_log_options(), crate::log::embedded::Options::at("/var/lib/shuqiao/log"));
    assert_eq!(config.kafka_log_options(), crate::log::kafka::Options::at(Vec::new()));
}

#[test]
fn every_key_of_a_full_file_is_taken() {
    let mut described = Vec::new();
    Config::describe("", &mut described);
    let given = |path: &str| match path {
        "node.name" => Some("\"n\""),
        "node.exchange" => Some("\"x.example\""),
        "node.administrators" => Some("[\"department/data-bureau/person/wang-wu\"]"),
        "log.home" => Some("\"kafka\""),
        "log.kafka.brokers" => Some("[\"k1:9092\", \"k2:9092\"]"),
        "log.kafka.security.protocol" => Some("\"sasl_ssl\""),
        _ => None,
    };
    // Tables as dotted keys: one line a key, in any order.
    let text = described.iter().fold(String::new(), |text, described| match described {
        Described::Section { .. } => text,
        Described::Field(field) => {
            let value = given(&field.path).or(field.default).unwrap_or("\"text\"");
            format!("{text}{} = {value}\n", field.path)
        }
    });
    let config = parse(&text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.log.kafka.brokers, ["k1:9092", "k2:9092"]);
    assert_eq!(config.node.administrators[0].as_str(), "department/data-bureau/person/wang-wu");
    assert_eq!(config.view_path(), PathBuf::from("text"));
}

#[test]
fn each_bad_value_is_named_with_its_path_and_what_would_be_right() {
    for (section, line, expected) in [
        (
            "node",
            "listen = 7443",
            "line 3: node.listen: must be an IP address and port in quotes, like \"0.0.0.0:7443\" or \"[::]:7443\", not an integer",
        ),
        (
            "node",
            "listen = \"localhost\"",
            "line 3: node.listen: must be an IP address and port in quotes, like \"0.0.0.0:7443\" or \"[::]:7443\"",
        ),
        (
            "node",
            "grace_period = 20",
            "line 3: node.grace_period: must be a duration in quotes with its unit, like \"30s\", \"5m\" or \"7d\", not an integer",
        ),
        (
            "node",
            "grace_period = \"20\"",
            "line 3: node.grace_period: must be a duration in quotes with its unit, like \"30s\", \"5m\" or \"7d\"",
        ),
        ("node", "grace_period = \"1h\"", "line 3: node.grace_period: must be from \"1s\" to \"10m\""),
        ("node", "log_format = \"xml\"", "line 3: node.log_format: must be \"json\" or \"plain\""),
        (
            "node",
            "log_level = \"a=b=c\"",
            "node.log_level: must be a filter like \"info\" or \"info,shuqiao_broker::tls=debug\"",
        ),
        ("node", "data_dir = \"\"", "line 3: node.data_dir: must not be empty"),
        ("node", "metrics_listen = \"127.0.0.1:7443\"", "node.metrics_listen: must differ from node.listen"),
        ("node", "administrators = \"x\"", "line 3: node.administrators: must be a list in brackets, not a string"),
        (
            "node",
            "administrators = [\"wang-wu\"]",
            "line 3: node.administrators: item 1: source must be department/{alias}/system/{name} or department/{alias}/person/{name}",
        ),
        ("tls", "revocation_list_expiry = true", "line 7: tls.revocation_list_expiry: must be \"warn\" or \"refuse\""),
        (
            "tls",
            "crl = \"crl.pem\"",
            "line 7: tls.crl: is unknown; known here: authorities, certificate, key, revocation_list_expiry, revocation_lists",
        ),
        ("log", "home = \"disk\"", "line 12: log.home: must be \"embedded\" or \"kafka\""),
        (
            "log",
            "home = \"kafka\"",
            "log.kafka.brokers: is missing: with log.home = \"kafka\" there must be at least one \"host:port\"",
        ),
        (
            "log",
            "topic_prefix = \"数桥\"",
            "log.topic_prefix: must be at most 48 of a-z, A-Z, 0-9, dot, hyphen, underscore",
        ),
        ("log", "kafka = 1", "line 12: log.kafka: must be a table: [log.kafka]"),
        (
            "limits",
            "message_bytes_max = \"4MB\"",
            "line 12: limits.message_bytes_max: must be a size in quotes with its unit (B, KiB, MiB, GiB), like \"4MiB\"",
        ),
        (
            "limits",
            "message_bytes_max = \"2MiB\"",
            "limits.message_bytes_max: must be larger than limits.batch_bytes_max",
        ),
        (
            "limits",
            "batch_records_max = -1",
            "line 12: limits.batch_records_max: must be a whole number from 0 to 4294967295",
        ),
        ("limits", "batch_records_max = 0", "line 12: limits.batch_records_max: must be from 1 to 10000"),
        ("datasets", "partitions_default = 257", "line 12: datasets.partitions_default: must be from 1 to 256"),
        (
            "dataset",
            "partitions_default = 4",
            "line 11: dataset: is unknown; known here: datasets, delivery, limits, log, node, tls, view",
        ),
    ] {
        assert_eq!(mistakes(&with(section, line)), [expected], "{line}");
    }
}

#[test]
fn a_node_s_name_looks_the_same_to_everybody() {
    let named = |name: &str| MINIMAL.replace("\"node-1\"", &format!("\"{name}\""));
    parse(&named(&"n".repeat(64))).expect("64 letters are a name");
    for bad in ["node\\u0007", "node\\n1", "节点一", "node 1", &"n".repeat(65)] {
        assert_eq!(
            mistakes(&named(bad)),
            ["node.name: must be at most 64 of a-z, A-Z, 0-9, dot, hyphen, underscore"],
            "{bad:?}"
        );
    }
}

#[test]
fn every_wrong_administrator_is_told() {
    let line = "administrators = [\"wang-wu\", \"department/data-bureau/person/wang-wu\", 7, \"li-si\"]";
    assert_eq!(
        mistakes(&with("node", line)),
        [
            "line 3: node.administrators: items 1, 4: source must be department/{alias}/system/{name} or department/{alias}/person/{name}; \
          item 3: must be system or person in quotes, not an integer"
        ]
    );
}

#[test]
fn a_file_that_is_no_text_of_ours_says_where_it_stops_being_one() {
    let directory = tempfile::tempdir().expect("tempdir");
    let path = directory.path().join("node.toml");
    let load = |content: &[u8]| {
        std::fs::write(&path, content).expect("written");
        Config::load(&path)
    };
    load(format!("\u{feff}{MINIMAL}").as_bytes()).expect("an editor's byte order mark is no mistake");
    let (line, offset) = match load(&[MINIMAL.as_bytes(), b"# \xca\xfd\n"].concat()) {
        Err(Error::NotText { line, offset, .. }) => (line, offset),
        other => panic!("{other:?}"),
    };
    assert_eq!((line, offset), (MINIMAL.lines().count() + 1, MINIMAL.len() + 2));
    std::fs::File::create(&path).and_then(|file| file.set_len(5 << 20)).expect("a file of nothing");
    assert!(matches!(Config::load(&path), Err(Error::TooLarge { .. })));
}

#[test]
fn all_mistakes_are_reported_at_once_in_the_order_of_the_file() {
    let text = "[node]\nname = 1\nlisten = \"x\"\nnmae = \"y\"\n[limits]\nkeepalive = \"1ms\"\nkeepalive = \"2m\"\n[tls]\nkey = \"k\"\ncertificate = \"c\"\n";
    let mistakes = mistakes(text);
    let paths: Vec<_> =
        mistakes.iter().map(|mistake| mistake.split(": ").take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        paths,
        [
            "line 2 node.name",
            "line 3 node.listen",
            "line 4 node.nmae",
            "line 6 limits.keepalive",
            "line 7 duplicate key",
            "node.exchange is missing",
            "tls.authorities is missing"
        ]
    );
}

#[test]
fn one_mistake_hides_no_other() {
    // A malformed value, one out of bounds, a missing key, and what only two keys together get wrong, in four sections.
    let text = "[node]\nexchange = \"Stadt\"\nname = \"n\"\ngrace_period = 20\n[tls]\nkey = \"k\"\ncertificate = \"c\"\n\
                [log]\nhome = \"kafka\"\n[log.kafka]\nreplication_factor = 1\nlinger = \"2m\"\n[limits]\nmessage_bytes_max = \"2MiB\"\nkeepalive = \"1ms\"\n";
    let found = mistakes(text);
    let paths: Vec<_> = ["node.grace_period", "log.kafka.linger", "limits.keepalive", "node.exchange"]
        .into_iter()
        .chain(["tls.authorities", "log.kafka.brokers", "log.kafka.min_insync_replicas", "limits.message_bytes_max"])
        .collect();
    for path in &paths {
        assert_eq!(
            found.iter().filter(|mistake| mistake.contains(&format!("{path}: "))).count(),
            1,
            "{path}: {found:#?}"
        );
    }
    assert_eq!(found.len(), paths.len(), "{found:#?}");
}

#[test]
fn kafka_settings_that_could_never_work_are_refused_before_a_port_opens() {
    let kafka = |lines: &str| {
        mistakes(&format!("{MINIMAL}\n[log]\nhome = \"kafka\"\n[log.kafka]\nbrokers = [\"k:9092\"]\n{lines}"))
    };
    assert_eq!(
        kafka("replication_factor = 1"),
        ["log.kafka.min_insync_replicas: must not be larger than replication_factor: nothing could ever be written"]
    );
    assert_eq!(
        kafka("[log.kafka.security]\nprotocol = \"sasl_plaintext\"\nmechanism = \"PLAIN\"\nkey = \"k\""),
        [
            "log.kafka.security.certificate: and security.key must stand together",
            "log.kafka.security.username: and security.password are missing: a sasl_ protocol needs both",
            "log.kafka.security.mechanism: must not be PLAIN without TLS: the password would cross the network in clear",
        ]
    );
    assert_eq!(
        kafka("[log.kafka.security]\nprotocol = \"ssl\""),
        ["log.kafka.security.authorities: is missing: TLS needs the authorities that issue the servers' certificates"]
    );
}

#[test]
fn the_protocol_says_which_parts_of_the_security_to_kafka_are_used() {
    let security = |protocol: &str| {
        let text = format!(
            "{MINIMAL}\n[log]\nhome = \"kafka\"\n[log.kafka]\nbrokers = [\"k:9092\"]\n[log.kafka.security]\nprotocol = \"{protocol}\"\n\
             authorities = \"ca\"\ncertificate = \"c\"\nkey = \"k\"\nusername = \"u\"\npassword = \"p\"\n"
        );
        parse(&text).unwrap_or_else(|error| panic!("{error}")).kafka_log_options().security
    };
    for (protocol, tls, user) in
        [("plaintext", false, false), ("ssl", true, false), ("sasl_plaintext", false, true), ("sasl_ssl", true, true)]
    {
        let security = security(protocol);
        assert_eq!((security.tls.is_some(), security.user.is_some()), (tls, user), "{protocol}");
        assert!(security.tls.is_none_or(|tls| tls.identity == Some(("c".into(), "k".into()))), "{protocol}");
    }
}

#[test]
fn the_environment_wins_over_the_file_and_its_mistakes_name_the_variable() {
    let environment = |name: &str| match name {
        "SHUQIAO_NODE_LISTEN" => Some("0.0.0.0:1".to_owned()),
        "SHUQIAO_LOG_KAFKA_BROKERS" => Some("a:1, b:2".to_owned()),
        _ => None,
    };
    let config = Config::parse(&with("node", "listen = \"127.0.0.1:9\""), &environment).expect("good");
    assert_eq!(config.node.listen.to_string(), "0.0.0.0:1");
    assert_eq!(config.log.kafka.brokers, ["a:1", "b:2"]);
    let bad = |name: &str| (name == "SHUQIAO_NODE_LISTEN").then(|| "here".to_owned());
    let error = Config::parse(MINIMAL, &bad).expect_err("bad variable");
    assert_eq!(error.mistakes()[0].path, "node.listen (environment variable SHUQIAO_NODE_LISTEN)");
}

#[test]
fn a_secret_is_in_no_debug_text_and_in_no_error() {
    let text = format!("{MINIMAL}\n[log.kafka.security]\nusername = \"u\"\npassword = \"hunter2-秘密\"\n");
    let config = parse(&text).expect("good");
    assert_eq!(config.log.kafka.security.password.as_ref().map(Secret::expose), Some("hunter2-秘密"));
    assert!(!format!("{config:?}").contains("hunter2"));
    let wrong = text.replace("password = \"hunter2-秘密\"", "password = [\"hunter2\"]");
    assert!(!mistakes(&wrong).join("\n").contains("hunter2"));
}

#[test]
fn the_committed_manual_is_the_one_that_the_comments_make() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/config/MANUAL.md");
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(committed == manual(), "run: cargo run -p shuqiao-broker -- config manual > deploy/config/MANUAL.md");
}

#[test]
fn every_comment_says_what_a_change_does_why_the_default_and_since_when() {
    let mut described = Vec::new();
    Config::describe("", &mut described);
    for described in described {
        match described {
            Described::Section { path, docs } => assert!(!docs.is_empty(), "{path}"),
            Described::Field(field) => {
                let docs = field.docs.join(" ");
                assert!(docs.contains("Changing it"), "{}: what does a change do?", field.path);
                assert!(docs.contains("efault") || docs.contains("Obligatory"), "{}: why this default?", field.path);
                assert!(docs.trim_end().ends_with("."), "{}", field.path);
                assert!(docs.contains("Since 0."), "{}: since when?", field.path);
            }
        }
    }
}

#[test]
fn sizes_are_written_as_they_are_read() {
    for text in ["0B", "1023B", "1KiB", "1536KiB", "4MiB", "3GiB"] {
        let size = <Size as value::Value>::parse_text(text).expect("good");
        let canonical = if text == "0B" { "0GiB" } else { text };
        assert_eq!(size.to_string(), canonical);
    }
    for bad in ["", "4", "MiB", "-1MiB", "4.5MiB", "99999999999GiB", "4mib"] {
        <Size as value::Value>::parse_text(bad).expect_err(bad);
    }
}

/// Every sample in `deploy/config` that is a node's configuration.
#[test]
fn the_sample_configurations_are_good() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/config");
    for (name, home) in [("embedded.toml", LogHome::Embedded), ("kafka.toml", LogHome::Kafka)] {
        let text = std::fs::read_to_string(format!("{directory}/{name}")).expect(name);
        let config = parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(config.log.home, home);
    }
}
