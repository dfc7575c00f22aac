//! Hostile input by the ten thousand: no bytes make any door of the crate panic, hang or contradict another door.
//!
//! Each target mutates what is right (the examples, the schemas, the tables, known identifiers) and lets `judges` say what must hold of
//! the answer. An ordinary run tries a bounded number of cases from a fixed seed, so that it repeats. To go on:
//!
//! ```text
//! SHUQIAO_FUZZ_SECONDS=3600 SHUQIAO_FUZZ_SEED=7 cargo test --release -p shuqiao-schemas --test fuzz
//! ```
//!
//! A failure prints the seed of its case; the same seed with `SHUQIAO_FUZZ_SECONDS` unset tries that case first. The same judges under a
//! fuzzer that looks for new paths through the code: `schemas/fuzz`.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
#![allow(clippy::print_stdout, reason = "a long run says how far it came")]

mod judges;

use rand::prelude::*;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use shuqiao_schemas::engine::{RecordType, Scratch};
use shuqiao_schemas::registry::Registry;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Runs `case` with one generator after the other: `cases` of them, or as many as the asked time allows.
fn fuzz(target: &str, cases: u64, mut case: impl FnMut(&mut ChaCha8Rng)) {
    let setting = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seconds = setting("SHUQIAO_FUZZ_SECONDS").map(Duration::from_secs);
    let first = setting("SHUQIAO_FUZZ_SEED").unwrap_or(1);
    #[allow(clippy::disallowed_types, reason = "no test pauses this clock")]
    let start = std::time::Instant::now();
    let mut done = 0;
    while seconds.map_or(done < cases, |seconds| start.elapsed() < seconds) {
        let seed = first.wrapping_add(done);
        let outcome = catch_unwind(AssertUnwindSafe(|| case(&mut ChaCha8Rng::seed_from_u64(seed))));
        if let Err(panic) = outcome {
            eprintln!("{target}: failed with SHUQIAO_FUZZ_SEED={seed}");
            resume_unwind(panic);
        }
        done += 1;
    }
    if seconds.is_some() {
        println!("{target}: {done} cases");
    }
}

fn files(folder: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().filter(|path| !path.ends_with("expected.json")).map(|path| std::fs::read(path).unwrap()).collect()
}

/// A built-in record type with its valid examples.
struct Subject {
    record_type: &'static RecordType,
    examples: Vec<Vec<u8>>,
}

fn subjects() -> Vec<Subject> {
    let registry = Registry::builtin();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let subject = |name: &str| Subject {
        record_type: registry.get(name).unwrap(),
        examples: files(&root.join(name).join("examples/valid")),
    };
    registry.names().map(subject).collect()
}

const PIECES: [&[u8]; 42] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\"",
    b"\\",
    b"\\u",
    b"\\u0000",
    b"\\ud842\\udfb7",
    b"\\ud800",
    b"\\udc00",
    b"\\/",
    b"null",
    b"true",
    b"-",
    b"0",
    b"1e308",
    b"1e-999",
    b"0.1",
    b"9223372036854775808",
    b" ",
    b"\n",
    b"\0",
    b"\x1f",
    b"\x7f",
    b"\xef\xbb\xbf",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xff",
    b"\xe4\xb8",
    "长期".as_bytes(),
    "𠮷".as_bytes(),
    "９".as_bytes(),
    b"2099-12-31",
    b"2023-02-29",
    b"\"name\":",
    b"/*/",
    b"*",
    b"|",
];

/// Changes a few places: bits, pieces of JSON and of bad encodings, parts cut out, moved or repeated.
fn mutate(rng: &mut ChaCha8Rng, bytes: &mut Vec<u8>) {
    for _ in 0..rng.random_range(1..5) {
        let at = rng.random_range(0..=bytes.len());
        let end = (at + rng.random_range(0..24)).min(bytes.len());
        match rng.random_range(0..6) {
            0 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << rng.random_range(0..8);
                }
            }
            1 => drop(bytes.drain(at..end)),
            2 => {
                let part: Vec<u8> = bytes.get(at..end).unwrap_or_default().to_vec();
                let to = rng.random_range(0..=bytes.len());
                bytes.splice(to..to, part);
            }
            3 => bytes.truncate(at.max(1)),
            _ => {
                let piece = PIECES.choose(rng).unwrap();
                let end = if rng.random_bool(0.5) { at } else { end };
                bytes.splice(at..end, piece.iter().copied());
            }
        }
    }
}

/// Changes a document and keeps it JSON: values exchanged, removed, put deeper, repeated.
fn rearrange(rng: &mut ChaCha8Rng, value: &mut Value, donor: &Value) {
    let chance = 0.04;
    if rng.random_bool(chance) {
        *value = match rng.random_range(0..7) {
            0 => Value::Null,
            1 => Value::from(rng.random_range(-3i64..1 << 20)),
            2 => Value::from(
                ["", "*", "/*/*", "#/$defs/a", "object", "array", "x-key", "(a+)+$"][rng.random_range(0..8)],
            ),
            3 => Value::Array(vec![value.clone(), value.clone()]),
            4 => pick(rng, donor).clone(),
            5 => Value::from(rng.random_bool(0.5)),
            _ => serde_json::json!({ "type": "array", "maxItems": 9, "items": value.clone() }),
        };
        return;
    }
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| rearrange(rng, item, donor)),
        Value::Object(members) => {
            if rng.random_bool(chance) && !members.is_empty() {
                let name = members.keys().nth(rng.random_range(0..members.len())).unwrap().clone();
                let moved = members.remove(&name).unwrap();
                if rng.random_bool(0.5) {
                    members.insert(
                        ["pattern", "$ref", "x-rules", "items", "oneOf"][rng.random_range(0..5)].to_owned(),
                        moved,
                    );
                }
            }
            members.values_mut().for_each(|member| rearrange(rng, member, donor));
        }
        _ => {}
    }
}

fn pick<'v>(rng: &mut ChaCha8Rng, value: &'v Value) -> &'v Value {
    let inside: Vec<&Value> = match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(members) => members.values().collect(),
        _ => Vec::new(),
    };
    match inside.choose(rng) {
        Some(inside) if rng.random_bool(0.8) => pick(rng, inside),
        _ => value,
    }
}

#[test]
fn no_bytes_are_json_here_and_not_elsewhere() {
    let examples: Vec<Vec<u8>> = subjects().into_iter().flat_map(|subject| subject.examples).collect();
    fuzz("parser", 40_000, |rng| {
        let mut payload = examples.choose(rng).unwrap().clone();
        mutate(rng, &mut payload);
        judges::parser(&payload);
    });
}

#[test]
fn no_payload_breaks_the_validator_and_what_it_accepts_is_one_record_for_all() {
    let subjects = subjects();
    let mut scratch = Scratch::new();
    fuzz("validator", 40_000, |rng| {
        let Subject { record_type, examples } = subjects.choose(rng).unwrap();
        let mut payload = examples.choose(rng).unwrap().clone();
        mutate(rng, &mut payload);
        judges::validator(record_type, &payload, &mut scratch);
    });
}

#[test]
fn no_payload_breaks_a_projection_and_what_it_refuses_leaves_nothing_behind() {
    let subjects = subjects();
    let mut scratch = Scratch::new();
    fuzz("projection", 20_000, |rng| {
        let Subject { record_type, examples } = subjects.choose(rng).unwrap();
        let mut payload = examples.choose(rng).unwrap().clone();
        if rng.random_bool(0.7) {
            mutate(rng, &mut payload);
        }
        judges::projection(record_type, &payload, &mut scratch, || rng.random());
    });
}

/// Right values of every kind, to be spoilt.
const IDENTIFIERS: [&str; 20] = [
    "91340000711771143J",
    "91350100M0001TGQXM",
    "362322198709086409",
    "D2143569X",
    "340000000016368",
    "310115342050446",
    "33010619900307001401",
    "11010519491231002X",
    "110105491231002",
    "USA310085030712",
    "1.2.156.3005.2.11100000MB0341032Y002.11330105002500287C.20240001.001.L",
    "370117002011",
    "11370800MB285591843370117002011",
    "11370800MB28559184337011700201101",
    "307001/000001",
    "320612100001",
    "I6510",
    "CNY",
    "9.1E+17",
    "９１３４００００７１１７７１１４３Ｊ",
];

#[test]
fn no_text_breaks_an_identifier_and_its_three_doors_agree() {
    fuzz("identifiers", 40_000, |rng| {
        let mut bytes = IDENTIFIERS.choose(rng).unwrap().as_bytes().to_vec();
        if rng.random_bool(0.9) {
            mutate(rng, &mut bytes);
        }
        judges::identifiers(&bytes);
    });
}

#[test]
fn no_document_breaks_the_registry_and_what_it_accepts_can_be_used() {
    let registry = Registry::builtin();
    let names: Vec<&str> = registry.names().collect();
    let schemas: Vec<&[u8]> = names.iter().map(|name| registry.schema(name).unwrap()).collect();
    let trees: Vec<Value> = schemas.iter().map(|schema| serde_json::from_slice(schema).unwrap()).collect();
    let subjects = subjects();
    let mut scratch = Scratch::new();
    let mut accepted = 0u32;
    fuzz("schemas", 3_000, |rng| {
        let number = rng.random_range(0..schemas.len());
        let document = if rng.random_bool(0.3) {
            let mut document = schemas[number].to_vec();
            mutate(rng, &mut document);
            document
        } else {
            let mut tree = trees[number].clone();
            let donor = trees.choose(rng).unwrap();
            rearrange(rng, &mut tree, donor);
            serde_json::to_vec(&tree).unwrap()
        };
        let original = registry.get(names[number]).unwrap();
        accepted += u32::from(judges::schema(&document, original, &subjects[number].examples, &mut scratch));
    });
    assert!(accepted > 0, "a mutation that is never accepted tests half of what it should");
}

#[test]
fn no_document_breaks_the_reading_of_code_tables() {
    let tables = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tables"));
    let small: Vec<&Vec<u8>> = tables.iter().filter(|table| table.len() < 8 << 10).collect();
    fuzz("tables", 5_000, |rng| {
        let mut document = small.choose(rng).unwrap().to_vec();
        mutate(rng, &mut document);
        judges::table(&document);
    });
}
