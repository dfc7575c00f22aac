//! The built-in record types as other people's tools and grants meet them: an ordinary JSON Schema validator agrees on everything
//! that is JSON Schema, indexed fields are found where the record has them, and a view that masks what can be masked shows no
//! person.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use serde_json::Value;
use shuqiao_schemas::engine::{Field, FieldRule, HashAlgorithm, HashKeys, Mask, Personal, Rule, Scratch, Treatment};
use shuqiao_schemas::registry::Registry;
use std::fs;
use std::path::Path;

/// Every example of a record type and kind: file name and bytes.
fn examples(name: &str, kind: &str) -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(name).join("examples").join(kind);
    fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name() != "expected.json")
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect()
}

/// Rules that JSON Schema itself states; the others come from `x-` keywords, from formats (annotations in 2020-12) or from the
/// bytes.
fn is_standard(rule: Rule) -> bool {
    matches!(
        rule,
        Rule::WrongType
            | Rule::Required
            | Rule::UnknownProperty
            | Rule::TooShort
            | Rule::TooLong
            | Rule::Pattern
            | Rule::NotAllowed
            | Rule::TooSmall
            | Rule::TooGreat
            | Rule::TooFewItems
            | Rule::TooManyItems
    )
}

#[test]
fn an_ordinary_validator_agrees_on_all_that_is_json_schema() {
    let mut scratch = Scratch::new();
    let (mut refused, mut ours_only) = (0, 0);
    for name in Registry::builtin().names() {
        let schema: Value = serde_json::from_slice(Registry::builtin().schema(name).unwrap()).unwrap();
        let theirs = jsonschema::draft202012::new(&schema).unwrap();
        let ours = Registry::builtin().get(name).unwrap();
        for kind in ["valid", "invalid"] {
            for (file, payload) in examples(name, kind) {
                let record: Value = serde_json::from_slice(&payload).unwrap();
                let standard = match ours.validate(&payload, &mut scratch) {
                    Ok(_) => false,
                    Err(violations) => violations.iter().any(|violation| is_standard(violation.rule)),
                };
                assert_eq!(theirs.is_valid(&record), !standard, "{name} {kind}/{file}");
                refused += usize::from(standard);
                ours_only += usize::from(kind == "invalid" && !standard);
            }
        }
    }
    // Both sorts of rule are exercised, or the comparison would say little.
    assert!(refused > 20 && ours_only > 40, "{refused} {ours_only}");
}

#[test]
fn indexed_values_are_those_of_the_record() {
    let mut scratch = Scratch::new();
    for name in Registry::builtin().names() {
        let record_type = Registry::builtin().get(name).unwrap();
        let mut found = vec![0; record_type.indexed_fields().len()];
        for (file, payload) in examples(name, "valid") {
            let record: Value = serde_json::from_slice(&payload).unwrap();
            let facts = record_type.validate(&payload, &mut scratch).unwrap();
            for (number, indexed) in record_type.indexed_fields().iter().enumerate() {
                let there = record.pointer(&indexed.pointer).map(|value| value.as_str().unwrap());
                assert_eq!(facts.indexed(number).as_deref(), there, "{name} {file} {}", indexed.pointer);
                found[number] += usize::from(there.is_some());
            }
        }
        let unseen: Vec<_> = record_type.indexed_fields().iter().zip(found).filter(|(_, count)| *count == 0).collect();
        assert!(unseen.is_empty(), "{name}: no valid example has {unseen:?}");
    }
}

#[test]
fn names_of_indexed_fields_are_words_of_their_own() {
    for name in Registry::builtin().names() {
        for indexed in Registry::builtin().get(name).unwrap().indexed_fields() {
            // A listing is filtered by this word: `code` or `name` would not say whose.
            assert!(
                indexed.name == "name" && name == "enterprise/v1"
                    || !["code", "name", "id_number"].contains(&&*indexed.name),
                "{name} {}",
                indexed.name
            );
        }
    }
}

/// How a view that must not show a person treats this value; nothing for what it leaves out.
fn careful(field: &Field) -> Option<Treatment> {
    let sensitivity = field.sensitivity.unwrap();
    match (sensitivity.mask, sensitivity.personal) {
        (Mask::None, Personal::None) => Some(Treatment::Clear),
        (Mask::None, _) => None,
        _ => Some(Treatment::Masked),
    }
}

/// The values at a pointer in which `*` stands for every element.
fn values_at<'v>(value: &'v Value, pointer: &str) -> Vec<&'v str> {
    let Some((step, rest)) = pointer
        .trim_start_matches('/')
        .split_once('/')
        .or((!pointer.is_empty()).then(|| (pointer.trim_start_matches('/'), "")))
    else {
        return value.as_str().into_iter().collect();
    };
    let below = |value| values_at(value, if rest.is_empty() { "" } else { rest });
    match value {
        Value::Array(elements) if step == "*" => elements.iter().flat_map(below).collect(),
        Value::Object(members) => members.get(step).map(below).unwrap_or_default(),
        _ => Vec::new(),
    }
}

#[test]
fn a_view_that_masks_what_can_be_masked_shows_no_person() {
    let keys = HashKeys::new(HashAlgorithm::HmacSm3, b"0123456789abcdef").unwrap();
    let mut scratch = Scratch::new();
    let mut hidden = 0;
    for name in Registry::builtin().names() {
        let record_type = Registry::builtin().get(name).unwrap();
        let leaves: Vec<&Field> = record_type.fields().iter().filter(|field| field.is_leaf()).collect();
        let rules: Vec<FieldRule> = leaves
            .iter()
            .filter_map(|field| Some(FieldRule { pointer: field.pointer.clone(), treatment: careful(field)? }))
            .collect();
        let view = record_type.projection(&rules).unwrap();
        for (file, payload) in examples(name, "valid") {
            let record: Value = serde_json::from_slice(&payload).unwrap();
            record_type.validate(&payload, &mut scratch).unwrap();
            let mut shown = Vec::new();
            view.apply(&payload, &keys, &mut shown).unwrap();
            let shown: Value = serde_json::from_slice(&shown).unwrap();
            for field in &leaves {
                let (before, after) = (values_at(&record, &field.pointer), values_at(&shown, &field.pointer));
                if careful(field) == Some(Treatment::Clear) {
                    assert_eq!(before, after, "{name} {file} {}", field.pointer);
                    continue;
                }
                for value in before {
                    hidden += 1;
                    assert!(!after.contains(&value), "{name} {file} {}: shown as it is", field.pointer);
                }
            }
        }
    }
    assert!(hidden > 50, "{hidden}");
}
