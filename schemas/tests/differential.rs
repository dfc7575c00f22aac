//! The validator against two others: generated schemas of the profile, generated records, one verdict.
//!
//! Goal: whatever the profile shares with JSON Schema means here what it means elsewhere. Method: a seeded generator writes schemas
//! from the shared keywords and, for each, records that keep or nearly keep them, spelled in different ways (order of members, white
//! space, escapes). `jsonschema` must agree on the verdict and on the places of the violations, `boon` on the verdict. What only we
//! refuse (repeated members, numbers that do not survive, control characters, our own keywords) is left out here and tested by name elsewhere.
//!
//! `SHUQIAO_DIFFERENTIAL_CASES` sets the number of records (100,000 without it), `SHUQIAO_DIFFERENTIAL_SEED` the seed.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test may fail by panicking, and the generated numbers are small"
)]

mod common;

use rand::prelude::*;
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};
use shuqiao_schemas::engine::{RecordType, Rule, Scratch};
use std::collections::BTreeSet;
use std::fmt::Write;

const RECORDS_PER_SCHEMA: usize = 20;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn verdicts_and_places_agree_with_other_validators() {
    let cases = setting("SHUQIAO_DIFFERENTIAL_CASES", 100_000);
    let mut rng = ChaCha8Rng::seed_from_u64(setting("SHUQIAO_DIFFERENTIAL_SEED", 20_260_101));
    let (mut done, mut valid) = (0, 0);
    while done < cases {
        let schema = root(&mut rng);
        let judges = Judges::new(&schema);
        for _ in 0..RECORDS_PER_SCHEMA {
            let record = value_of(&mut rng, &schema, &schema, 0.04);
            let mut text = String::new();
            spell(&mut rng, &record, &mut text);
            valid += u64::from(judges.judge(&text));
            done += 1;
        }
    }
    // A generator that only wrote rubbish would prove nothing, nor would one that only wrote the valid.
    assert!(valid > done / 5 && valid < done * 9 / 10, "{valid} of {done} records were valid");
}

struct Judges {
    schema: Value,
    ours: RecordType,
    jsonschema: jsonschema::Validator,
    /// Not asked where a pattern holds `.` or `\w`: boon hands patterns to the `regex` crate as they are, where these mean more than
    /// in ECMA-262.
    boon: Option<(boon::Schemas, boon::SchemaIndex)>,
}

impl Judges {
    fn new(schema: &Value) -> Judges {
        let ours = common::compile(&schema.to_string()).unwrap_or_else(|error| panic!("{error}\n{schema}"));
        let jsonschema = jsonschema::options().should_validate_formats(true).build(schema).unwrap();
        let mut schemas = boon::Schemas::new();
        let mut compiler = boon::Compiler::new();
        compiler.enable_format_assertions();
        // Under a location of its own: boon resolves references against it, and ours are local.
        compiler.add_resource("http://localhost/schema.json", schema.clone()).unwrap();
        let index = compiler.compile("http://localhost/schema.json", &mut schemas).unwrap();
        let text = schema.to_string();
        let not_ecma = text.contains("^.{") || text.contains(r"\\w");
        Judges { schema: schema.clone(), ours, jsonschema, boon: (!not_ecma).then_some((schemas, index)) }
    }

    /// Whether the record is valid, after all agree.
    fn judge(&self, text: &str) -> bool {
        let value: Value = serde_json::from_str(text).unwrap();
        let told = self.ours.validate(text.as_bytes(), &mut Scratch::new()).err();
        let mut told = told.map(|violations| violations.to_vec()).unwrap_or_default();
        told.retain(|violation| violation.rule != Rule::ControlCharacter);
        let context = || format!("{}\n{text}\n{told:?}", self.schema);
        assert_eq!(told.is_empty(), self.jsonschema.is_valid(&value), "jsonschema disagrees: {}", context());
        if let Some((schemas, index)) = &self.boon {
            assert_eq!(told.is_empty(), schemas.validate(&value, *index).is_ok(), "boon disagrees: {}", context());
        }
        // Elements beyond `maxItems` are read only for their grammar.
        if !told.iter().any(|violation| violation.rule == Rule::TooManyItems) {
            let ours: BTreeSet<String> = told.iter().map(|violation| place(violation.rule, &violation.path)).collect();
            let theirs: BTreeSet<String> =
                self.jsonschema.iter_errors(&value).map(|error| error.instance_path().to_string()).collect();
            assert_eq!(ours, theirs, "places differ: {}", context());
        }
        told.is_empty()
    }
}

/// JSON Schema tells a missing or unknown member at the object around it, we tell it at the member.
fn place(rule: Rule, path: &str) -> String {
    match rule {
        Rule::Required | Rule::UnknownProperty => path.rsplit_once('/').map_or("", |(parent, _)| parent).to_owned(),
        _ => path.to_owned(),
    }
}

fn root(rng: &mut ChaCha8Rng) -> Value {
    let mut definitions = Map::new();
    for number in 0..rng.random_range(0..3) {
        definitions.insert(format!("d{number}"), schema(rng, 2, &[]));
    }
    let names: Vec<String> = definitions.keys().cloned().collect();
    let mut root = object(rng, 3, &names);
    root["properties"]["id"] = json!({"type": "string", "minLength": 1, "maxLength": 12});
    let required = root["required"].as_array_mut().unwrap();
    required.retain(|name| name != "id");
    required.push("id".into());
    root["$id"] = "urn:shuqiao:record-type:generated:v1".into();
    root["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    root["$defs"] = Value::Object(definitions);
    root["x-key"] = json!(["/id"]);
    root
}

const NAMES: [&str; 12] = [
    "a",
    "b",
    "name",
    "id",
    "first_line",
    "first_lime",
    "unified_social_credit_code",
    "x-y",
    "A",
    "_",
    "aa",
    "valid_from_date",
];
const PATTERNS: [&str; 7] =
    ["^[A-Z]\\d{2,}$", "[0-9]", "^\\w+$", "^(?:a|bc)*$", "^.{2,5}$", "^\\p{Han}+$", "^[^x-z]+$"];

fn object(rng: &mut ChaCha8Rng, depth: usize, definitions: &[String]) -> Value {
    let mut properties = Map::new();
    for _ in 0..rng.random_range(1..7) {
        properties.insert((*NAMES.choose(rng).unwrap()).to_owned(), schema(rng, depth.saturating_sub(1), definitions));
    }
    let required: Vec<&String> = properties.keys().filter(|_| rng.random_bool(0.4)).collect();
    json!({"type": "object", "additionalProperties": false, "required": required, "properties": properties})
}

fn schema(rng: &mut ChaCha8Rng, depth: usize, definitions: &[String]) -> Value {
    if !definitions.is_empty() && rng.random_bool(0.15) {
        return json!({"$ref": format!("#/$defs/{}", definitions.choose(rng).unwrap())});
    }
    let mut schema = match rng.random_range(0..if depth > 0 { 10 } else { 8 }) {
        0..=3 => text_schema(rng),
        4 | 5 => number_schema(rng, "integer"),
        6 => number_schema(rng, "number"),
        7 => json!({"type": "boolean"}),
        8 => object(rng, depth, definitions),
        _ => {
            let least = rng.random_range(0..3);
            json!({"type": "array", "minItems": least, "maxItems": least + rng.random_range(0..3), "items": self::schema(rng, depth - 1, definitions)})
        }
    };
    if rng.random_bool(0.2) {
        schema["type"] = json!([schema["type"], "null"]);
        if let (true, Some(list)) = (rng.random_bool(0.5), schema.get_mut("enum").and_then(Value::as_array_mut)) {
            list.push(Value::Null);
        }
    }
    schema
}

fn text_schema(rng: &mut ChaCha8Rng) -> Value {
    match rng.random_range(0..6) {
        0 => json!({"type": "string", "format": "date"}),
        1 => {
            let members = ["a", "bc", "企业", "a much longer member of the list", ""];
            json!({"type": "string", "enum": members[..rng.random_range(1..6)]})
        }
        2 => json!({"type": "string", "const": text(rng)}),
        3 => json!({"type": "string", "maxLength": 30, "pattern": PATTERNS.choose(rng).unwrap()}),
        _ => {
            let least = rng.random_range(0..4);
            json!({"type": "string", "minLength": least, "maxLength": least + rng.random_range(0..8)})
        }
    }
}

fn number_schema(rng: &mut ChaCha8Rng, kind: &str) -> Value {
    let least = rng.random_range(-20..20);
    match rng.random_range(0..5) {
        0 => json!({"type": kind, "enum": [least, least + 1, least + 7]}),
        1 => json!({"type": kind, "minimum": least}),
        2 => json!({"type": kind, "maximum": least}),
        3 if kind == "number" => {
            json!({"type": kind, "minimum": f64::from(least) + 0.5, "maximum": f64::from(least) + 9.25})
        }
        _ => json!({"type": kind, "minimum": least, "maximum": least + rng.random_range(0..30)}),
    }
}

/// A value that mostly keeps its schema; `wild` is the chance, at each place, of one that need not.
fn value_of(rng: &mut ChaCha8Rng, root: &Value, schema: &Value, wild: f64) -> Value {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let definition = &root["$defs"][reference.trim_start_matches("#/$defs/")];
        return value_of(rng, root, definition, wild);
    }
    if rng.random_bool(wild) {
        return anything(rng);
    }
    let nullable = schema["type"].is_array();
    if nullable && rng.random_bool(0.2) {
        return Value::Null;
    }
    if let Some(list) = schema.get("enum").and_then(Value::as_array).filter(|_| rng.random_bool(0.9)) {
        return list.choose(rng).unwrap().clone();
    }
    if let Some(value) = schema.get("const").filter(|_| rng.random_bool(0.9)) {
        return value.clone();
    }
    let kind = if nullable { &schema["type"][0] } else { &schema["type"] };
    let bound = |keyword: &str| schema.get(keyword).and_then(Value::as_f64);
    match kind.as_str().unwrap() {
        "object" => {
            let mut members = Map::new();
            let required = schema["required"].as_array().unwrap();
            for (name, property) in schema["properties"].as_object().unwrap() {
                let chance = if required.iter().any(|required| required == name) { 1.0 - wild / 2.0 } else { 0.6 };
                if rng.random_bool(chance) {
                    members.insert(name.clone(), value_of(rng, root, property, wild));
                }
            }
            if rng.random_bool(wild / 2.0) {
                members.insert((*NAMES.choose(rng).unwrap()).to_owned(), anything(rng));
            }
            Value::Object(members)
        }
        "array" => {
            let (least, most) = (schema["minItems"].as_u64().unwrap(), schema["maxItems"].as_u64().unwrap());
            let count = if rng.random_bool(wild) { rng.random_range(0..6) } else { rng.random_range(least..=most) };
            (0..count).map(|_| value_of(rng, root, &schema["items"], wild)).collect()
        }
        "boolean" => rng.random_bool(0.5).into(),
        kind @ ("integer" | "number") => {
            let least = bound("minimum").or(bound("maximum").map(|most| most - 10.0)).unwrap_or(-5.0);
            let most = bound("maximum").unwrap_or(least + 10.0);
            let edge = if rng.random_bool(wild) { 1.0 } else { 0.0 };
            let value = rng.random_range(least - edge..=most + edge);
            if kind == "integer" || rng.random_bool(0.5) {
                json!(value.round() as i64)
            } else {
                json!((value * 8.0).round() / 8.0)
            }
        }
        _ if schema.get("format").is_some() => date(rng).into(),
        _ if schema.get("pattern").is_some() => matching(rng, schema["pattern"].as_str().unwrap()).into(),
        _ => {
            let least = schema.get("minLength").and_then(Value::as_u64).unwrap_or(0);
            let most = schema.get("maxLength").and_then(Value::as_u64).unwrap_or(6);
            let length = if rng.random_bool(wild) { rng.random_range(0..14) } else { rng.random_range(least..=most) };
            (0..length).map(|_| character(rng)).collect::<String>().into()
        }
    }
}

fn anything(rng: &mut ChaCha8Rng) -> Value {
    match rng.random_range(0..9) {
        0 => Value::Null,
        1 => rng.random_bool(0.5).into(),
        2 => rng.random_range(-30..30).into(),
        3 => json!(f64::from(rng.random_range(-90..90)) / 4.0),
        4 | 5 => text(rng).into(),
        6 => date(rng).into(),
        7 => (0..rng.random_range(0..4)).map(|_| anything(rng)).collect(),
        _ => {
            let name = NAMES.choose(rng).unwrap();
            json!({ *name: text(rng) })
        }
    }
}

fn text(rng: &mut ChaCha8Rng) -> String {
    (0..rng.random_range(0..8)).map(|_| character(rng)).collect()
}

fn character(rng: &mut ChaCha8Rng) -> char {
    *[
        'a', 'b', 'x', 'Z', '0', '9', ' ', '"', '\\', '/', '\n', '\u{7f}', 'é', '企', '业', '·', '\u{2028}', '𠮷',
        '😀', 'e', '\u{301}',
    ]
    .choose(rng)
    .unwrap()
}

fn date(rng: &mut ChaCha8Rng) -> String {
    let year = [1900, 1999, 2000, 2023, 2024, 2100, 9999].choose(rng).unwrap();
    let text = format!("{year:04}-{:02}-{:02}", rng.random_range(0..14), rng.random_range(0..33));
    match rng.random_range(0..12) {
        0 => text.replace('-', "/"),
        1 => text.replace("-0", "-"),
        2 => format!("{text} "),
        3..8 => format!("{year:04}-{:02}-{:02}", rng.random_range(1..13), rng.random_range(1..29)),
        _ => text,
    }
}

fn matching(rng: &mut ChaCha8Rng, pattern: &str) -> String {
    let good = match pattern {
        "^[A-Z]\\d{2,}$" => "B12",
        "[0-9]" => "企7",
        "^\\w+$" => "word_1",
        "^(?:a|bc)*$" => "abca",
        "^.{2,5}$" => "企业𠮷",
        "^\\p{Han}+$" => "企业",
        _ => "abc",
    };
    if rng.random_bool(0.8) { good.to_owned() } else { text(rng) }
}

/// Writes a value in one of the many ways JSON allows.
fn spell(rng: &mut ChaCha8Rng, value: &Value, out: &mut String) {
    space(rng, out);
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            if rng.random_bool(0.5) {
                members.shuffle(rng);
            }
            out.push('{');
            for (index, (name, member)) in members.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                space(rng, out);
                spell_text(rng, name, out);
                space(rng, out);
                out.push(':');
                spell(rng, member, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                spell(rng, item, out);
            }
            out.push(']');
        }
        Value::String(text) => spell_text(rng, text, out),
        // Zero has no form with another digit before the exponent.
        Value::Number(number) if number.as_i64().is_some_and(|number| number != 0) && rng.random_bool(0.2) => {
            let form = rng.random_range(0..3);
            write!(out, "{number}{}", [".0", "e0", "0E-1"][form]).unwrap();
        }
        other => out.push_str(&other.to_string()),
    }
    space(rng, out);
}

fn space(rng: &mut ChaCha8Rng, out: &mut String) {
    if rng.random_bool(0.1) {
        out.push_str([" ", "\n", "\t", "\r\n  "].choose(rng).unwrap());
    }
}

fn spell_text(rng: &mut ChaCha8Rng, text: &str, out: &mut String) {
    let escape_all = rng.random_bool(0.1);
    out.push('"');
    for c in text.chars() {
        if escape_all || c < ' ' || c == '"' || c == '\\' {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}").unwrap();
            }
        } else {
            out.push(c);
        }
    }
    out.push('"');
}
