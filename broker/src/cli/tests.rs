//! The command line as people and scripts meet it: arguments, manifests, exit codes, remedies.

use clap::Parser;
use shuqiao_proto::v1::Reason;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use super::{
    Cli, command_line,
    error::{Error, judge},
    exit::{Exit, TABLE},
    manifest::Manifest,
};
use crate::{node, pki};

fn refused(code: Code, message: &str, details: ErrorDetails) -> Error {
    Error::from(Status::with_error_details(code, message, details))
}

#[test]
fn the_definitions_are_sound_and_the_long_help_has_every_exit_code() {
    let mut command = command_line();
    command.clone().debug_assert();
    let help = command.render_long_help().to_string();
    for (exit, meaning) in TABLE {
        assert!(help.contains(&format!("  {}  {meaning}", exit.code())), "{meaning}");
    }
    assert_eq!(TABLE.map(|(exit, _)| exit.code()), [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn commands_are_read_as_the_documents_write_them() {
    for line in [
        "serve --config node.toml",
        "get dataset market-supervision.enterprise -o yaml",
        "list grants -o json",
        "describe subscriptions taxation.enterprise",
        "get record-type urban-management.dog-licence/v1 -o yaml",
        "list record-types",
        "apply -f a.yaml b.json manifests --dry-run",
        "delete grant market-supervision.taxation-enterprise --etag 7",
        "publish market-supervision.enterprise records.jsonl --source-version 5",
        "subscribe taxation.enterprise --from 2026-01-31T09:00:00+08:00 --limit 10 --idle 5s",
        "query get market-supervision.enterprise 91350100M000100Y43 --purpose audit",
        "query list market-supervision.enterprise --where region=350100,350200 --purpose audit",
        "query subject uscc 91350100M000100Y43 --purpose audit",
        "query compare a.b k --field /name=x --purpose audit",
        "query digest a.b --purpose reconciliation",
        "audit list --dataset a.b --limit 5",
        "audit list --last 20 --department taxation",
        "receipt verify receipts.jsonl --public-key 00",
        "receipt verify - --status status.json -o json",
        "status --endpoint localhost:7443 --authorities ca.pem --certificate c.pem --key k.pem",
        "pki init city.example --directory pki",
        "pki issue system market-supervision registry --days 30",
        "pki issue server localhost 127.0.0.1",
        "pki revoke 4a",
        "pki receipt-key receipt.key.pem",
        "view digest a.b --purpose reconciliation",
        "view rebuild --config node.toml a.b",
        "inspect identifiers --column code -o csv",
        "schema check schemas -o json",
        "schema check a.json b.json --tables tables",
        "schema check a.json --record one.json --record two.json",
        "schema diff t/v1 t/v2 t/v3 --transitive",
        "schema diff enterprise/v1 enterprise/v2 --mode full -o yaml",
        "schema describe enterprise/v1 -o json",
        "schema diff enterprise/v1 enterprise/v2 --grants grants.yaml --grants -",
        "schema diff a.b/v1 b --ask-node --endpoint localhost:7443",
        "schema tables",
        "schema tables region --tables own -o yaml",
        "config check node.toml",
        "config manual",
        "completions bash",
    ] {
        Cli::try_parse_from(std::iter::once("shuqiao").chain(line.split(' ')))
            .unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn nonsense_is_a_usage_error() {
    for line in [
        "get",
        "get city x",
        "query get a.b k",
        "subscribe a.b --from yesterday",
        "query compare a.b k --field name=x --purpose p",
        "view rebuild --config node.toml nonsense",
        "list grants -o xml",
        "schema diff a b --ask-node --grants -",
        "audit list --last 0",
        "audit list --last 10001",
        "audit list --last 5 --from 3",
        "receipt verify receipts.jsonl",
    ] {
        let error = Cli::try_parse_from(std::iter::once("shuqiao").chain(line.split(' '))).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

#[test]
fn every_reason_has_a_remedy_and_a_code_that_is_no_success() {
    for number in 1..=32 {
        let reason = Reason::try_from(number).expect("reasons are numbered without gaps");
        let mut details = ErrorDetails::new();
        let name = crate::rpc::status::reason_name(reason);
        details.set_error_info(name, shuqiao_proto::ERROR_DOMAIN, std::collections::HashMap::new());
        let (exit, remedy) = judge(&Status::with_error_details(Code::Internal, "x", details));
        assert!(exit != Exit::Success && exit != Exit::Usage && remedy.len() > 10, "{name}");
    }
}

#[test]
fn exit_codes_follow_the_table() {
    for (code, exit) in [
        (Code::InvalidArgument, Exit::Invalid),
        (Code::NotFound, Exit::NotFound),
        (Code::PermissionDenied, Exit::Denied),
        (Code::Unauthenticated, Exit::Denied),
        (Code::Aborted, Exit::Conflict),
        (Code::AlreadyExists, Exit::Conflict),
        (Code::Unavailable, Exit::Unavailable),
        (Code::DeadlineExceeded, Exit::Unavailable),
        (Code::Internal, Exit::Failure),
    ] {
        assert_eq!(Error::from(Status::new(code, "x")).exit(), exit, "{code:?}");
    }
    assert_eq!(Error::Usage(String::new()).exit(), Exit::Usage);
    assert_eq!(Error::Input(String::new()).exit(), Exit::Invalid);
    assert_eq!(Error::NotFound(String::new()).exit(), Exit::NotFound);
    assert_eq!(Error::Pipe.exit(), Exit::Success);
    for (error, exit) in [
        (Error::Pki(pki::Error::UnknownSerial("4a".into())), Exit::NotFound),
        (Error::Pki(pki::Error::NoAuthority("pki".into())), Exit::NotFound),
        (Error::Pki(pki::Error::Exists("pki".into())), Exit::Conflict),
        (Error::Pki(pki::Error::Validity), Exit::Invalid),
        (Error::Node(node::Error::NoDataset("a.b".parse().expect("an id"))), Exit::NotFound),
    ] {
        assert_eq!(error.exit(), exit, "{error}");
    }
}

#[test]
fn a_refusal_says_what_is_wrong_in_both_languages_and_what_to_do_next() {
    let mut details = ErrorDetails::new();
    details.set_error_info("INVALID_FIELD", shuqiao_proto::ERROR_DOMAIN, std::collections::HashMap::new());
    details.set_request_info("0191", "");
    details.set_bad_request(vec![FieldViolation::new("dataset.title", "REQUIRED: a title is missing / 缺少标题")]);
    let text = refused(Code::InvalidArgument, "the request has invalid fields", details).explain();
    assert_eq!(
        text,
        "error: the request has invalid fields\n  reason: INVALID_FIELD (request 0191)\n  dataset.title: REQUIRED: a title is missing / 缺少标题\n  \
         next: mend the fields named above"
    );

    let mut details = ErrorDetails::new();
    details.set_error_info("QUOTA_EXHAUSTED", shuqiao_proto::ERROR_DOMAIN, std::collections::HashMap::new());
    details.set_retry_info(Some(std::time::Duration::from_secs(2)));
    let error = refused(Code::ResourceExhausted, "queries is exhausted", details);
    assert!(error.explain().contains("\n  retry: in 2s\n"), "{}", error.explain());
    assert_eq!(error.exit(), Exit::Unavailable);
}

const MANIFESTS: &str = r#"
# The city's first two departments.
kind: department
name: taxation
unified_social_credit_code: 113502000041256789
display_name: 税务局
roles: [auditor]
---
kind: grant
name: market-supervision.taxation-enterprise
dataset: market-supervision.enterprise
grantee: taxation
fields:
  - {path: "", treatment: clear}
  - {path: /legal_representative, treatment: keyed_hash}
rows:
  - field: region
    values: ["350100"]
purpose: 税务登记
legal_basis: 税收征收管理法
end_time: 2027-01-01T00:00:00+08:00
--- # the last one
kind: subscription
name: subscriptions/taxation.enterprise
dataset: market-supervision.enterprise
subscriber: taxation
start: {time: 2026-01-01T00:00:00Z}
purpose: 税务登记
"#;

#[test]
fn manifests_are_several_documents_and_codes_of_digits_stay_text() {
    let manifests = Manifest::parse_all(MANIFESTS, "test").expect("good");
    let [Manifest::Department(department), Manifest::Grant(grant), Manifest::Subscription(subscription)] = &*manifests
    else {
        panic!("{manifests:?}")
    };
    assert_eq!(department.unified_social_credit_code, "113502000041256789");
    let wire = shuqiao_proto::v1::Department::from(department.clone());
    assert_eq!(wire.name, "departments/taxation");
    assert_eq!(wire.roles().collect::<Vec<_>>(), [shuqiao_proto::v1::Role::Auditor]);
    assert_eq!(grant.end_time.map(|time| time.to_string()).as_deref(), Some("2026-12-31T16:00:00Z"));
    assert_eq!(grant.rows[0].values, ["350100"]);
    assert!(subscription.start.is_some());
}

#[test]
fn what_get_prints_apply_takes() {
    let wire = shuqiao_proto::v1::Dataset {
        name: "datasets/market-supervision.enterprise".into(),
        etag: "3".into(),
        owner: "market-supervision".into(),
        record_type: "enterprise/v1".into(),
        title: "企业登记: \"信息\"\n与变更".into(),
        sharing_class: shuqiao_proto::v1::SharingClass::Conditional.into(),
        partitions: 4,
        retention_seconds: 60,
        listed: true,
        create_time: Some(prost_types::Timestamp { seconds: 1_780_000_000, nanos: 5_000_000 }),
        ..Default::default()
    };
    let shown = super::manifest::Dataset::from(wire);
    let yaml = super::output::yaml(&shown).expect("yaml");
    let json = super::output::json(&[&shown]).expect("json");
    for text in [format!("{yaml}\n---\n{yaml}"), json] {
        let parsed = Manifest::parse_all(&text, "test").unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert!(parsed.iter().all(|manifest| *manifest == Manifest::Dataset(shown.clone())), "{text}");
        assert!(!parsed.is_empty());
    }
}

#[test]
fn a_record_type_comes_back_byte_for_byte() {
    let schema =
        "{\n  \"$id\": \"urn:shuqiao:record-type:a.b:v1\",\t\"x\": \"# ---\n\u{1f415} : 长期 \\u4f01\"  \n}\n\n";
    let wire = shuqiao_proto::v1::RecordType {
        name: "recordTypes/a.b/v1".into(),
        etag: "v7".into(),
        owner: "a".into(),
        schema: schema.into(),
        code_tables: vec!["{\"name\": \"t\"}\r\n".into(), " ".into()],
        title: "犬".into(),
        digest: vec![7; 32],
        ..Default::default()
    };
    let shown = super::manifest::RecordType::from(wire);
    let (yaml, json) = (super::output::yaml(&shown).expect("yaml"), super::output::json(&shown).expect("json"));
    for text in [yaml, json] {
        let parsed = Manifest::parse_all(&text, "test").unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(parsed, [Manifest::RecordType(shown.clone())], "{text}");
    }
}

#[test]
fn every_bad_document_is_named() {
    let text = "kind: department\nname: x\nunified_social_credit_code: '1'\ndisplay_name: y\ncolour: red\n---\nkind: city\n---\nname: z\n";
    let error = Manifest::parse_all(text, "city.yaml").expect_err("mistakes").to_string();
    assert!(error.contains("city.yaml, document 1: ") && error.contains("colour"), "{error}");
    assert!(error.contains("document 2: kind \"city\" is not"), "{error}");
    assert!(error.contains("document 3: kind is missing"), "{error}");
    assert!(!error.contains("error: "), "the message begins with it: {error}");
}

#[test]
fn a_time_that_is_none_is_told_with_one_that_is() {
    let text = MANIFESTS.replace("2027-01-01T00:00:00+08:00", "2020-01-01");
    let error = Manifest::parse_all(&text, "city.yaml").expect_err("no time").to_string();
    assert!(error.contains("city.yaml, document 2: ") && error.contains("2026-01-31T09:00:00+08:00"), "{error}");
}

/// Goal: what `deploy/README.md` lists for each kind of manifest is what `apply` takes, no key more and none less.
#[test]
fn the_document_lists_every_key_of_a_manifest() {
    /// As serde names them where a key is unknown.
    fn keys<T: serde::de::DeserializeOwned>() -> Vec<String> {
        let error = serde_json::from_str::<T>(r#"{"?": 1}"#).err().expect("unknown").to_string();
        let known = error.split_once("expected one of ").expect("the known keys").1;
        known.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }
    use super::manifest::{Dataset, Department, Grant, RecordType, Subscription};
    let document = include_str!("../../../deploy/README.md");
    for (kind, taken) in [
        ("department", keys::<Department>()),
        ("record-type", keys::<RecordType>()),
        ("dataset", keys::<Dataset>()),
        ("grant", keys::<Grant>()),
        ("subscription", keys::<Subscription>()),
    ] {
        let row = document.lines().find_map(|line| line.strip_prefix(&format!("| `{kind}` |"))).expect(kind);
        let mut listed: Vec<_> = row.split('|').take(3).flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
        listed.push("kind");
        listed.sort_unstable();
        let mut taken: Vec<_> = taken.iter().map(String::as_str).collect();
        taken.sort_unstable();
        assert_eq!(listed, taken, "{kind}");
    }
}

#[test]
fn a_remedy_names_what_there_is() {
    let not_found = || std::io::Error::from(std::io::ErrorKind::NotFound);
    let here = std::env::current_dir().expect("a directory").display().to_string();
    let config = |path: &str| crate::config::Error::Read { path: path.into(), source: not_found() };
    for (error, named) in [
        (Error::Read { what: "no/such.yaml".into(), source: not_found() }, true),
        (Error::Read { what: "/no/such.yaml".into(), source: not_found() }, false),
        (Error::Config(config("no/such.toml")), true),
    ] {
        let text = error.explain();
        assert_eq!(text.contains(&here), named, "{text}");
        // `config check` takes the file as an argument.
        assert!(text.contains("next: check the path") && !text.contains("--config"), "{text}");
    }
}

#[test]
fn the_hint_of_a_new_authority_issues_from_that_authority() {
    let directory = tempfile::tempdir().expect("tempdir");
    let at = directory.path().join("kafka pki");
    let pki = |arguments: &[&str]| {
        let all = ["shuqiao", "pki"].iter().chain(arguments).copied();
        let line = Cli::try_parse_from(all).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
        let super::Command::Pki(command) = line.command else { panic!("pki") };
        command
    };
    let init = pki(&["init", "kafka.example", "--directory", at.to_str().expect("text")]);
    let super::authority::Pki::Init { directory, .. } = &init else { panic!("init") };
    assert_eq!(directory.option(), format!(" --directory '{}'", at.display()));
    init.run().expect("an authority");
    let odd = pki(&["issue", "person", "data bureau", "x", "--directory", at.to_str().expect("text")]);
    let error = odd.run().expect_err("a space").to_string();
    assert!(error.contains("data bureau") && error.contains("a-z, 0-9 and inner hyphens"), "{error}");
}

/// The value of a key of a unit file.
fn unit_values<'u>(unit: &'u str, key: &str) -> Vec<&'u str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

#[test]
fn service_units_are_well_formed_and_start_commands_that_exist() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/systemd");
    for name in ["shuqiao.service", "shuqiao-adapter@.service"] {
        let unit = std::fs::read_to_string(format!("{directory}/{name}")).expect(name);
        for line in unit.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let section = line.starts_with('[') && line.ends_with(']');
            let setting = line.split_once('=').is_some_and(|(key, _)| key.chars().all(char::is_alphanumeric));
            assert!(section || setting, "{name}: {line}");
        }
        for hardening in ["NoNewPrivileges", "ProtectSystem", "SystemCallFilter", "CapabilityBoundingSet"] {
            assert!(!unit_values(&unit, hardening).is_empty(), "{name}: {hardening}");
        }
    }
    let unit = std::fs::read_to_string(format!("{directory}/shuqiao.service")).expect("unit");
    let commands = [unit_values(&unit, "ExecStartPre"), unit_values(&unit, "ExecStart")].concat();
    assert_eq!(commands.len(), 2);
    for command in commands {
        Cli::try_parse_from(command.split(' ')).unwrap_or_else(|error| panic!("{command}: {error}"));
    }
    // The default of node.grace_period ends before systemd loses its patience.
    assert_eq!(unit_values(&unit, "TimeoutStopSec"), ["30s"]);
    assert!(crate::config::manual().contains("from `1s` to `10m`; default `\"20s\"`"));
}
