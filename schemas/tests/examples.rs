//! Every example of every record type: a valid one is accepted with the key and subject that `expected.json` beside it names, an
//! invalid one breaks exactly the rules at the places that it names. Examples are the standards' documentation; a wrong one
//! misleads another city.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use serde_json::Value;
use shuqiao_schemas::engine::{Rule, Scratch};
use shuqiao_schemas::examples::{Expected, Kind};
use shuqiao_schemas::registry::Registry;
use std::fs;
use std::path::Path;

/// The files of a directory of examples, and what its `expected.json` says.
fn files(name: &str, kind: Kind) -> (Expected, Vec<(String, Vec<u8>)>) {
    let directory = match kind {
        Kind::Valid => "valid",
        Kind::Invalid => "invalid",
    };
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(name).join("examples").join(directory);
    let expected = Expected::read(kind, &fs::read(directory.join("expected.json")).unwrap()).unwrap();
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let files = files.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()));
    (expected, files.filter(|(file, _)| file != "expected.json").collect())
}

fn each_gives_what_is_expected(kind: Kind, least: usize) {
    let mut seen = 0;
    for name in Registry::builtin().names() {
        let (expected, files) = files(name, kind);
        seen += files.len();
        let mismatches = expected.judge(Registry::builtin().get(name).unwrap(), files);
        assert!(mismatches.is_empty(), "{name}: {mismatches:#?}");
    }
    assert!(seen >= least * Registry::builtin().names().len(), "{seen} examples");
}

#[test]
fn valid_examples_are_accepted_with_their_key_subject_and_warnings() {
    each_gives_what_is_expected(Kind::Valid, 2);
}

#[test]
fn invalid_examples_break_exactly_the_rules_that_are_named() {
    each_gives_what_is_expected(Kind::Invalid, 10);
}

#[test]
fn a_violation_never_quotes_the_value() {
    let mut scratch = Scratch::new();
    let mut compared = 0;
    for name in Registry::builtin().names() {
        let record_type = Registry::builtin().get(name).unwrap();
        for (file, payload) in files(name, Kind::Invalid).1 {
            let Ok(record) = serde_json::from_slice::<Value>(&payload) else { continue };
            let violations = record_type.validate(&payload, &mut scratch).unwrap_err();
            // A long text that a message repeats could only have come from the record; patterns and table names are the schema's.
            for violation in violations.iter().filter(|violation| violation.rule != Rule::Pattern) {
                let Some(value) = record.pointer(&violation.path).and_then(Value::as_str) else { continue };
                if value.chars().count() > 3 {
                    compared += 1;
                    let quoted = violation.message_en.contains(value) || violation.message_zh.contains(value);
                    assert!(!quoted, "{name} {file} quotes the value at {}", violation.path);
                }
            }
        }
    }
    assert!(compared > 50, "{compared} values were looked for");
}
