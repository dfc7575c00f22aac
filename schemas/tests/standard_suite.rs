//! The groups of the JSON-Schema-Test-Suite that speak of keywords of the profile.
//!
//! The suite is not copied here. It comes inside a registry package, the source distribution of Python's `jsonschema`; `tests/run` fetches it, and by
//! hand it is:
//!
//! ```text
//! pip download jsonschema==4.23.0 --no-deps --no-binary :all: && tar xzf jsonschema-4.23.0.tar.gz
//! SHUQIAO_JSON_SCHEMA_SUITE=$PWD/jsonschema-4.23.0/json/tests/draft2020-12 \
//!     cargo test -p shuqiao-schemas --test standard_suite -- --ignored
//! ```
//!
//! A case of the suite is mostly not a schema of the profile as it stands: it has no `type`, no bounds, open objects. It is rewritten
//! for its instance into one that must give the same verdict: `type` is the instance's own where the case names none (other types
//! would be ignored), bounds far above the instance are added, members that an open object would take are declared. A case with a
//! keyword outside the profile, or one that cannot be rewritten without changing what it asks, is left out and counted.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use serde_json::{Map, Value, json};
use shuqiao_schemas::engine::{CodeTables, RecordType, Rule, Scratch};
use std::path::PathBuf;

const FILES: [&str; 15] = [
    "type",
    "enum",
    "const",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "pattern",
    "minimum",
    "maximum",
    "optional/format/date",
];

const ANNOTATIONS: [&str; 5] = ["$schema", "title", "description", "$comment", "default"];
const TEXT: [&str; 4] = ["minLength", "maxLength", "pattern", "format"];
const NUMERIC: [&str; 2] = ["minimum", "maximum"];
const STRUCTURE: [&str; 6] = ["properties", "required", "additionalProperties", "items", "minItems", "maxItems"];
const ANY: [&str; 3] = ["type", "enum", "const"];

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// A schema of the profile that must judge `data` as `schema` does, if there is one.
fn adapt(schema: &Value, data: Option<&Value>) -> Option<Value> {
    let nothing = Map::new();
    let asked = match schema {
        Value::Bool(true) => &nothing,
        other => other.as_object()?,
    };
    let known = [&ANNOTATIONS[..], &TEXT, &NUMERIC, &STRUCTURE, &ANY].concat();
    if asked.keys().any(|keyword| !known.contains(&keyword.as_str())) {
        return None;
    }
    let declared = match asked.get("type") {
        None => data.map_or("string", type_of),
        Some(Value::String(name)) => name.as_str(),
        Some(_) => return None,
    };
    let mut made = Map::new();
    made.insert("type".to_owned(), declared.into());
    let keep = |made: &mut Map<String, Value>, keywords: &[&str]| {
        for keyword in keywords {
            if let Some(value) = asked.get(*keyword) {
                made.insert((*keyword).to_owned(), value.clone());
            }
        }
    };
    match declared {
        "string" => {
            keep(&mut made, &TEXT);
            made.entry("maxLength").or_insert(100_000.into());
        }
        "number" | "integer" => keep(&mut made, &NUMERIC),
        "array" => array(asked, data, &mut made)?,
        "object" => object(asked, data, &mut made)?,
        _ => {}
    }
    let fits = |value: &Value| type_of(value) == declared || (declared == "integer" && value.is_number());
    for keyword in ["enum", "const"].into_iter().filter(|keyword| asked.contains_key(*keyword)) {
        let list = match asked.get(keyword)? {
            Value::Array(list) if keyword == "enum" => list.clone(),
            one => vec![one.clone()],
        };
        let list: Vec<Value> = list.into_iter().filter(fits).collect();
        let scalar = !matches!(declared, "array" | "object" | "null");
        (scalar && !list.is_empty()).then(|| made.insert("enum".to_owned(), list.into()))?;
    }
    Some(Value::Object(made))
}

fn array(asked: &Map<String, Value>, data: Option<&Value>, made: &mut Map<String, Value>) -> Option<()> {
    let any = Value::Bool(true);
    let of = asked.get("items").unwrap_or(&any);
    let elements = data.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    // One schema must do for all elements.
    let items: Vec<Value> = match elements {
        [] => vec![adapt(of, None)?],
        elements => elements.iter().map(|element| adapt(of, Some(element))).collect::<Option<_>>()?,
    };
    let first = items.first()?;
    items.iter().all(|other| other == first).then_some(())?;
    made.insert("items".to_owned(), first.clone());
    made.insert("maxItems".to_owned(), asked.get("maxItems").cloned().unwrap_or(10_000.into()));
    asked.get("minItems").map(|least| made.insert("minItems".to_owned(), least.clone()));
    Some(())
}

fn object(asked: &Map<String, Value>, data: Option<&Value>, made: &mut Map<String, Value>) -> Option<()> {
    let nothing = Map::new();
    let members = data.and_then(Value::as_object).unwrap_or(&nothing);
    let declared = asked.get("properties").and_then(Value::as_object).unwrap_or(&nothing);
    let mut properties = Map::new();
    for (name, schema) in declared {
        properties.insert(name.clone(), adapt(schema, members.get(name))?);
    }
    let any = Value::Bool(true);
    let others = asked.get("additionalProperties").unwrap_or(&any);
    if others != &Value::Bool(false) {
        for (name, value) in members.iter().filter(|(name, _)| !declared.contains_key(*name)) {
            properties.insert(name.clone(), adapt(others, Some(value))?);
        }
    }
    let required = asked.get("required").cloned().unwrap_or(json!([]));
    for name in required.as_array()?.iter().filter_map(Value::as_str) {
        if !properties.contains_key(name) {
            properties.insert(name.to_owned(), json!({"type": "string", "maxLength": 9}));
        }
    }
    if properties.is_empty() {
        properties.insert("unused".to_owned(), json!({"type": "boolean"}));
    }
    made.insert("properties".to_owned(), properties.into());
    made.insert("required".to_owned(), required);
    made.insert("additionalProperties".to_owned(), false.into());
    Some(())
}

#[test]
#[ignore = "reads the suite from a package that is not part of this repository: the top of this file says how"]
fn verdicts_are_those_of_the_suite() {
    let root = std::env::var("SHUQIAO_JSON_SCHEMA_SUITE").expect("SHUQIAO_JSON_SCHEMA_SUITE names the suite's folder");
    let (mut judged, mut left_out) = (0, 0);
    for file in FILES {
        let path = PathBuf::from(&root).join(format!("{file}.json"));
        let groups: Vec<Value> = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let before = judged;
        for group in &groups {
            for case in group["tests"].as_array().unwrap() {
                let Some(adapted) = adapt(&group["schema"], Some(&case["data"])) else {
                    left_out += 1;
                    continue;
                };
                let schema = json!({"$id": "urn:shuqiao:record-type:suite:v1", "type": "object", "x-key": ["/id"],
                    "properties": {"id": {"type": "string", "maxLength": 1}, "v": adapted}, "required": ["id"],
                    "additionalProperties": false});
                let Ok(record_type) = RecordType::compile(schema.to_string().as_bytes(), &CodeTables::new()) else {
                    left_out += 1;
                    continue;
                };
                let payload = json!({"id": "1", "v": case["data"]}).to_string();
                let told = record_type.validate(payload.as_bytes(), &mut Scratch::new()).err();
                // What the profile refuses whatever a schema says: JSON Schema has no word for it.
                let ours = |rule| matches!(rule, Rule::NumberNotExact | Rule::NulCharacter | Rule::ControlCharacter);
                if told.as_ref().is_some_and(|told| told.iter().any(|violation| ours(violation.rule))) {
                    left_out += 1;
                    continue;
                }
                let context =
                    format!("{file}: {} / {}: {adapted} {payload}", group["description"], case["description"]);
                assert_eq!(told.is_none(), case["valid"].as_bool().unwrap(), "{context} {told:?}");
                judged += 1;
            }
        }
        println!("{file}: {} cases", judged - before);
        assert!(judged > before, "no case of {file} could be judged");
    }
    println!("{judged} cases judged, {left_out} left out");
    assert!(judged >= 150, "{judged} cases judged");
}
