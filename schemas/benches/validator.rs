//! What checking and projecting a record costs, beside what others need for less: one table in Markdown on standard output.
//!
//! `cargo bench -p shuqiao-schemas --bench validator`, with `-- WORD` for the contenders whose name holds the word (a profiler wants
//! one alone). Each contender takes its turn in each of nine rounds, so that a slow moment of the machine hits all alike; the median
//! counts. All rules of `enterprise/v1` are on for us; `jsonschema` and `boon` get the same document and check what they know of it (no
//! dates, identifiers, tables, byte lengths, decimals or rules between fields), and `jsonschema` once more with our keywords taught
//! to it, all but the rules between fields.

#![allow(clippy::print_stdout, reason = "printing the table is what it is for")]
#![allow(clippy::unwrap_used, reason = "a benchmark of something that does not work should end")]
#![allow(clippy::disallowed_types, reason = "no test pauses this clock: real time is what is measured")]

#[path = "contenders/taught.rs"]
mod taught;

use shuqiao_schemas::engine::{
    CodeTables, FieldRule, HashAlgorithm, HashKeys, Projection, RecordType, Scratch, Treatment,
};
use std::hint::black_box;
use std::time::{Duration, Instant};

const ROUNDS: usize = 9;
/// Long enough that the clock's own cost and resolution vanish.
const TURN: Duration = Duration::from_millis(200);

const SCHEMA: &[u8] = include_bytes!("../enterprise/v1/schema.json");
const RECORDS: [(&str, &[u8]); 2] =
    [("300 B", include_bytes!("records/enterprise-300.json")), ("2 KB", include_bytes!("records/enterprise-2k.json"))];

type Contender<'a> = (&'static str, Box<dyn FnMut() + 'a>);

fn main() {
    let word = std::env::args().skip(1).find(|word| !word.starts_with("--"));
    let record_type = enterprise();
    let schema: serde_json::Value = serde_json::from_slice(SCHEMA).unwrap();
    let jsonschema = jsonschema::validator_for(&schema).unwrap();
    let taught = taught::validator(&schema, &tables());
    let mut schemas = boon::Schemas::new();
    let mut compiler = boon::Compiler::new();
    compiler.add_resource("http://localhost/schema.json", schema).unwrap();
    let index = compiler.compile("http://localhost/schema.json", &mut schemas).unwrap();
    let keys = HashKeys::new(HashAlgorithm::HmacSm3, &[7; 32]).unwrap();
    let (clear, mixed) = (clear_view(&record_type), mixed_view(&record_type));

    let mut columns = Vec::new();
    for (_, record) in RECORDS {
        let value: serde_json::Value = serde_json::from_slice(record).unwrap();
        assert!(jsonschema.is_valid(&value) && taught.is_valid(&value) && schemas.validate(&value, index).is_ok());
        let (mut scratch, mut out, mut out_mixed, mut copy) = (Scratch::new(), Vec::new(), Vec::new(), Vec::new());
        record_type.validate(record, &mut scratch).unwrap();
        let contenders: Vec<Contender<'_>> = vec![
            (
                "**shuqiao** validate, facts found",
                Box::new(|| drop(black_box(record_type.validate(black_box(record), &mut scratch)))),
            ),
            (
                "**shuqiao** project, half of the fields clear",
                Box::new(|| {
                    out.clear();
                    clear.apply(black_box(record), &keys, &mut out).unwrap();
                    black_box(&out);
                }),
            ),
            (
                "**shuqiao** project, one mask and one HMAC-SM3 among them",
                Box::new(|| {
                    out_mixed.clear();
                    mixed.apply(black_box(record), &keys, &mut out_mixed).unwrap();
                    black_box(&out_mixed);
                }),
            ),
            (
                "serde_json parse to Value",
                Box::new(|| drop(black_box(serde_json::from_slice::<serde_json::Value>(black_box(record))))),
            ),
            (
                "simd-json parse to BorrowedValue (with the copy it needs)",
                Box::new(|| {
                    copy.clear();
                    copy.extend_from_slice(black_box(record));
                    drop(black_box(simd_json::to_borrowed_value(&mut copy)));
                }),
            ),
            (
                "sonic-rs parse to Value",
                Box::new(|| drop(black_box(sonic_rs::from_slice::<sonic_rs::Value>(black_box(record))))),
            ),
            (
                "jsonschema, parsed value at hand",
                Box::new(|| {
                    black_box(jsonschema.is_valid(black_box(&value)));
                }),
            ),
            (
                "jsonschema with serde_json parse",
                Box::new(|| {
                    let value: serde_json::Value = serde_json::from_slice(black_box(record)).unwrap();
                    black_box(jsonschema.is_valid(&value));
                }),
            ),
            (
                "jsonschema taught our keywords, with serde_json parse",
                Box::new(|| {
                    let value: serde_json::Value = serde_json::from_slice(black_box(record)).unwrap();
                    black_box(taught.is_valid(&value));
                }),
            ),
            (
                "boon, parsed value at hand",
                Box::new(|| {
                    black_box(schemas.validate(black_box(&value), index).is_ok());
                }),
            ),
            (
                "boon with serde_json parse",
                Box::new(|| {
                    let value: serde_json::Value = serde_json::from_slice(black_box(record)).unwrap();
                    black_box(schemas.validate(&value, index).is_ok());
                }),
            ),
        ];
        let wanted = |name: &str| word.as_deref().is_none_or(|word| name.contains(word));
        columns.push(measure(contenders.into_iter().filter(|(name, _)| wanted(name)).collect()));
    }
    print(&columns);
}

/// Median nanoseconds per call of each contender.
fn measure(mut contenders: Vec<Contender<'_>>) -> Vec<(&'static str, f64)> {
    let mut times = vec![Vec::with_capacity(ROUNDS); contenders.len()];
    for _ in 0..ROUNDS {
        for ((_, run), times) in contenders.iter_mut().zip(&mut times) {
            times.push(turn(run));
        }
    }
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times.get(ROUNDS / 2).copied().unwrap_or(f64::NAN)
    };
    contenders.iter().zip(times).map(|((name, _), times)| (*name, median(times))).collect()
}

fn turn(run: &mut dyn FnMut()) -> f64 {
    const BATCH: u32 = 256;
    let start = Instant::now();
    let mut calls = 0u32;
    while start.elapsed() < TURN {
        for _ in 0..BATCH {
            run();
        }
        calls += BATCH;
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
}

fn print(columns: &[Vec<(&'static str, f64)>]) {
    let names: Vec<String> =
        RECORDS.iter().map(|(name, record)| format!("{name} record ({} bytes), ns", record.len())).collect();
    println!("| | {} | of serde_json |", names.join(" | of serde_json | "));
    println!("|---|{}", "---:|---:|".repeat(columns.len()));
    let base: Vec<f64> = columns
        .iter()
        .map(|column| column.iter().find(|(name, _)| name.starts_with("serde_json")).map_or(f64::NAN, |row| row.1))
        .collect();
    for (row, (name, _)) in columns[0].iter().enumerate() {
        let cells: Vec<String> = columns
            .iter()
            .zip(&base)
            .map(|(column, base)| format!("{:.0} | {:.2}", column[row].1, column[row].1 / base))
            .collect();
        println!("| {name} | {} |", cells.join(" | "));
    }
}

fn tables() -> CodeTables {
    let tables = [
        &include_bytes!("../tables/enterprise-status.json")[..],
        include_bytes!("../tables/holder-id-type.json"),
        include_bytes!("../tables/money-unit.json"),
        include_bytes!("../tables/currency.json"),
        include_bytes!("../tables/registration-business-type.json"),
    ];
    CodeTables::from_json(tables).unwrap()
}

fn enterprise() -> RecordType {
    RecordType::compile(SCHEMA, &tables()).unwrap()
}

const CLEAR: [&str; 12] = [
    "/unified_social_credit_code",
    "/name",
    "/registered_capital",
    "/established_on",
    "/status",
    "/region",
    "/registered_address",
    "/business_scope",
    "/investors",
    "/enterprise_type",
    "/industry_code",
    "/is_public",
];

fn rules(pointers: &[&str], treatment: Treatment) -> impl Iterator<Item = FieldRule> {
    pointers.iter().map(move |pointer| FieldRule { pointer: (*pointer).to_owned(), treatment })
}

fn clear_view(record_type: &RecordType) -> Projection {
    record_type.projection(&rules(&CLEAR, Treatment::Clear).collect::<Vec<_>>()).unwrap()
}

fn mixed_view(record_type: &RecordType) -> Projection {
    let treated = rules(&CLEAR[1..], Treatment::Clear)
        .chain(rules(&["/unified_social_credit_code"], Treatment::KeyedHash))
        .chain(rules(&["/legal_representative/name"], Treatment::Masked));
    record_type.projection(&treated.collect::<Vec<_>>()).unwrap()
}
