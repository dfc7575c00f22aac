//! Every example of every record type: a valid one is accepted with the key and subject that `expected.json` beside it names, an
//! invalid one breaks exactly the rules at the places that it names. Examples are the standards' documentation; a wrong one
//! misleads another city.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use serde_json::Value;
use shuqiao_schemas::engine::{RecordType, Rule, Scratch, Violation};
use shuqiao_schemas::registry::Registry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn directory(name: &str, kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name).join("examples").join(kind)
}

/// What is expected of each file, after checking that the table names every file and no other.
fn expected(directory: &Path) -> BTreeMap<String, Value> {
    let table = fs::read(directory.join("expected.json")).unwrap();
    let table: BTreeMap<String, Value> = serde_json::from_slice(&table).unwrap();
    let files: BTreeSet<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|file| file != "expected.json")
        .collect();
    let named: BTreeSet<String> = table.keys().cloned().collect();
    assert_eq!(named, files, "expected.json of {} and its files", directory.display());
    table
}

/// `(path, rule, name)`; the name where the table gives one, since it is the stable reason or the declared rule.
type Told = (String, String, Option<String>);

fn told(violations: &[Violation], wanted: &[Told]) -> Vec<Told> {
    let mut told: Vec<Told> = violations
        .iter()
        .map(|violation| {
            let (path, rule) = (violation.path.clone(), violation.rule.code().to_owned());
            let asked = wanted.iter().any(|(p, r, name)| *p == path && *r == rule && name.is_some());
            (path, rule, violation.name.clone().filter(|_| asked))
        })
        .collect();
    told.sort();
    told
}

fn wanted(list: &Value) -> Vec<Told> {
    let text = |value: &Value, member: &str| value[member].as_str().map(str::to_owned);
    let mut wanted: Vec<Told> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (text(one, "path").unwrap(), text(one, "rule").unwrap(), text(one, "name")))
        .collect();
    wanted.sort();
    wanted
}

fn each_example(kind: &str, check: impl Fn(&RecordType, &[u8], &Value, &mut Scratch) -> Result<(), String>) -> usize {
    let mut scratch = Scratch::new();
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for name in Registry::builtin().names() {
        let record_type = Registry::builtin().get(name).unwrap();
        let directory = directory(name, kind);
        for (file, expected) in expected(&directory) {
            let payload = fs::read(directory.join(&file)).unwrap();
            seen += 1;
            if let Err(problem) = check(record_type, &payload, &expected, &mut scratch) {
                wrong.push(format!("{name} {file}: {problem}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {seen}:\n{}", wrong.len(), wrong.join("\n"));
    seen
}

#[test]
fn valid_examples_are_accepted_with_their_key_and_subject() {
    let seen = each_example("valid", |record_type, payload, expected, scratch| {
        let facts = record_type.validate(payload, scratch).map_err(|violations| violations.to_string())?;
        let subject = facts.subject.as_ref().map(|subject| (subject.kind, &*subject.value));
        let wanted_subject = expected["subject"].as_object();
        let wanted_subject =
            wanted_subject.map(|subject| (subject["kind"].as_str().unwrap(), subject["value"].as_str().unwrap()));
        if facts.key != expected["key"].as_str().unwrap() || subject != wanted_subject {
            return Err("another key or subject".to_owned());
        }
        let warnings = expected.get("warnings").map(wanted).unwrap_or_default();
        let told = told(facts.warnings(), &warnings);
        if told == warnings { Ok(()) } else { Err(format!("warnings {told:?}")) }
    });
    assert!(seen >= 2 * Registry::builtin().names().len());
}

#[test]
fn invalid_examples_break_exactly_the_rules_that_they_name() {
    let seen = each_example("invalid", |record_type, payload, expected, scratch| {
        let wanted = wanted(expected);
        let violations = match record_type.validate(payload, scratch) {
            Ok(_) => return Err("accepted".to_owned()),
            Err(violations) => violations,
        };
        let told = told(&violations, &wanted);
        if told == wanted { Ok(()) } else { Err(format!("told {told:?}, wanted {wanted:?}")) }
    });
    assert!(seen >= 10 * Registry::builtin().names().len());
}

#[test]
fn a_violation_never_quotes_the_value() {
    each_example("invalid", |record_type, payload, _, scratch| {
        let Ok(Value::Object(record)) = serde_json::from_slice(payload) else {
            return Ok(());
        };
        let Err(violations) = record_type.validate(payload, scratch) else {
            return Ok(());
        };
        for violation in violations {
            // A long text that a message repeats could only have come from the record; patterns and table names are the schema's.
            if let Some(Value::String(value)) = at(&Value::Object(record.clone()), &violation.path)
                && value.chars().count() > 3
                && violation.rule != Rule::Pattern
                && (violation.message_en.contains(value) || violation.message_zh.contains(value))
            {
                return Err(format!("quotes the value at {}", violation.path));
            }
        }
        Ok(())
    });
}

fn at<'v>(record: &'v Value, pointer: &str) -> Option<&'v Value> {
    record.pointer(pointer)
}
