//! What must hold of any answer, whatever the bytes are. The bounded run of the tests and the targets of `schemas/fuzz` share it: they
//! differ only in where the bytes come from.

use serde::de::IgnoredAny;
use serde_json::Value;
use shuqiao_schemas::engine::{
    CodeTables, FieldRule, HashAlgorithm, HashKeys, RecordType, Rule, Scratch, Treatment, compatibility, describe,
};
use shuqiao_schemas::identifier::{Kind, Severity, check, check_exact, detect, normalise};
use shuqiao_schemas::registry::Registry;
use std::sync::LazyLock;

/// The built-in record type of this number, counted around.
pub(crate) fn record_type(number: usize) -> &'static RecordType {
    let registry = Registry::builtin();
    let name = registry.names().nth(number % registry.names().len()).expect("counted around");
    registry.get(name).expect("one of the names")
}

/// Reading JSON: what is grammar is what serde_json takes for grammar.
pub(crate) fn parser(payload: &[u8]) {
    let told = record_type(0).validate(payload, &mut Scratch::new()).err();
    let told: Vec<Rule> =
        told.iter().flat_map(|violations| violations.iter()).map(|violation| violation.rule).collect();
    let any = |rules: &[Rule]| told.iter().any(|rule| rules.contains(rule));
    // Beyond these nothing more is read, or serde_json has another bound.
    if any(&[Rule::TooDeep, Rule::TooManyViolations, Rule::PayloadTooLarge]) {
        return;
    }
    let theirs = std::str::from_utf8(payload).is_ok() && serde_json::from_slice::<IgnoredAny>(payload).is_ok();
    let ours = !any(&[Rule::NotUtf8, Rule::ByteOrderMark, Rule::Syntax, Rule::TrailingBytes]);
    assert_eq!(ours, theirs, "{told:?}");
}

/// Validation: what is accepted is one record for everybody, and what is refused has its reasons.
pub(crate) fn validator(record_type: &RecordType, payload: &[u8], scratch: &mut Scratch) {
    match record_type.validate(payload, scratch) {
        Ok(facts) => {
            let json: Value = serde_json::from_slice(payload).expect("accepted, so JSON");
            let part = |pointer: &String| json.pointer(pointer).and_then(Value::as_str).expect("a key").to_owned();
            assert_eq!(facts.key, record_type.key().iter().map(part).collect::<Vec<_>>().join("|"));
            for (number, field) in record_type.indexed_fields().iter().enumerate() {
                let there = json.pointer(&field.pointer).is_some_and(|value| !value.is_null());
                assert_eq!(facts.indexed(number).is_some(), there, "{}", field.pointer);
            }
        }
        Err(violations) => {
            assert!(!violations.is_empty());
            for violation in violations.iter() {
                assert!(violation.path.is_empty() || violation.path.starts_with('/'));
                assert!(!violation.path.contains('*'), "{}", violation.path);
            }
        }
    }
}

static KEYS: LazyLock<HashKeys> =
    LazyLock::new(|| HashKeys::new(HashAlgorithm::HmacSm3, &[5; 32]).expect("long enough"));

/// Projection: a valid record is shown and shows nothing of its own making; any other leaves nothing behind. `choose` is asked for each
/// field: 0 to 3 leave it out, 4 shows it, 5 masks, 6 hashes it.
pub(crate) fn projection(
    record_type: &RecordType,
    payload: &[u8],
    scratch: &mut Scratch,
    mut choose: impl FnMut() -> u8,
) {
    let mut rules = Vec::new();
    for field in record_type.fields().iter().skip(1) {
        let treatment = match choose() % 7 {
            0..4 => continue,
            4 => Treatment::Clear,
            5 => Treatment::Masked,
            _ => Treatment::KeyedHash,
        };
        rules.push(FieldRule { pointer: field.pointer.clone(), treatment });
    }
    let view = loop {
        match record_type.projection(&rules) {
            Ok(view) => break view,
            // What has no mask, or is no single value, is shown as it is.
            Err(error) => {
                for problem in error.problems() {
                    for rule in rules.iter_mut().filter(|rule| rule.pointer == problem.pointer) {
                        rule.treatment = Treatment::Clear;
                    }
                }
            }
        }
    };
    let valid = record_type.validate(payload, scratch).is_ok();
    let mut out = b"before".to_vec();
    match view.apply(payload, &KEYS, &mut out) {
        Ok(()) if valid => {
            let shown: Value = serde_json::from_slice(&out["before".len()..]).expect("JSON");
            let whole: Value = serde_json::from_slice(payload).expect("JSON");
            for name in shown.as_object().expect("an object").keys() {
                assert!(whole.get(name).is_some(), "{name}");
            }
        }
        Ok(()) => assert!(out.starts_with(b"before")),
        Err(_) => {
            assert!(!valid, "a valid record was not projected");
            assert_eq!(out, b"before");
        }
    }
}

/// Every kind of identifier: a warning is no error, normalising once is enough, and the three doors agree.
pub(crate) fn identifiers(bytes: &[u8]) {
    for kind in Kind::ALL {
        match check_exact(*kind, bytes) {
            Ok(reserve) => assert!(reserve.is_none_or(|reason| reason.severity() == Severity::Warning)),
            Err(reason) => assert_eq!(reason.severity(), Severity::Error),
        }
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (normal, _) = normalise(text);
    assert_eq!(normalise(&normal).0, normal);
    let found = detect(text);
    for kind in Kind::ALL {
        let verdict = check(*kind, text);
        assert_eq!(verdict.is_accepted(), check_exact(*kind, verdict.normal.as_bytes()).is_ok(), "{kind}");
        if found.kind == *kind && found.severity == Severity::Ok {
            assert!(verdict.is_accepted(), "{kind}");
        }
    }
}

/// A schema: refused with reasons, or a record type that can be used. Whether it was taken.
pub(crate) fn schema(document: &[u8], original: &RecordType, examples: &[Vec<u8>], scratch: &mut Scratch) -> bool {
    match RecordType::compile(document, Registry::builtin().tables()) {
        Err(error) => {
            assert!(!error.problems().is_empty());
            false
        }
        Ok(record_type) => {
            assert_eq!(compatibility::compare(&record_type, &record_type), []);
            compatibility::class(&compatibility::compare(original, &record_type));
            assert_eq!(describe(&record_type).fields.len() + 1, record_type.fields().len());
            for example in examples {
                drop(record_type.validate(example, scratch));
            }
            true
        }
    }
}

/// A code table: refused with reasons, or one that holds its own codes.
pub(crate) fn table(document: &[u8]) {
    match CodeTables::from_json([document]) {
        Err(error) => assert!(!error.problems().is_empty()),
        Ok(tables) => {
            for table in tables.iter() {
                assert!(table.codes().iter().all(|code| table.contains(&code.code)));
            }
        }
    }
}
