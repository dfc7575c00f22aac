//! What a schema may cost whoever loads it. Each document here is small, and was made to multiply: into memory, time or stack, while it
//! is compiled or for every record afterwards. It is refused with a reason that has a name, or costs no more than what it says.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod common;

use common::{compile, schema};
use shuqiao_schemas::engine::{CodeTables, MAX_VIOLATIONS, RecordType, Scratch};

/// What compiling may hold at once, in bytes: the document's tree, and a bounded program.
const MOST_BYTES: u64 = 64 << 20;

/// The reasons, each with its place; within the bound of memory.
#[track_caller]
fn flaws(document: &str) -> Vec<String> {
    assert!(document.len() <= 1 << 20, "{} bytes would be refused for that alone", document.len());
    let mut flaws = Vec::new();
    let cost = allocation_counter::measure(|| {
        if let Err(error) = compile(document) {
            flaws = error.problems().iter().map(|one| format!("{} {}", one.pointer, one.flaw.code())).collect();
        }
    });
    assert!(cost.bytes_max < MOST_BYTES, "{} bytes at once", cost.bytes_max);
    flaws
}

fn members(properties: &str, rest: &str) -> String {
    let id = r#""id":{"type":"string","maxLength":9}"#;
    let properties = if properties.is_empty() { id.to_owned() } else { format!("{id},{properties}") };
    schema(&properties, r#"["id"]"#, &format!(r#""x-key":["/id"]{rest}"#))
}

fn many(count: usize, one: impl Fn(usize) -> String) -> String {
    (0..count).map(one).collect::<Vec<_>>().join(",")
}

/// Uses the definition `d0` at about two thousand places: sixteen members, each of an object of 120.
fn used_at_two_thousand_places(definition: &str) -> String {
    let uses = many(120, |n| format!(r##""m{n}":{{"$ref":"#/$defs/d0"}}"##));
    let block = format!(r#"{{"type":"object","additionalProperties":false,"properties":{{{uses}}}}}"#);
    let blocks = many(16, |n| format!(r##""b{n}":{{"$ref":"#/$defs/block"}}"##));
    members(&blocks, &format!(r#","$defs":{{"d0":{definition},"block":{block}}}"#))
}

#[test]
fn a_chain_of_references_is_no_way_to_the_end_of_the_stack() {
    let chain = |length: usize| {
        let links = many(length, |n| format!(r##""d{n}":{{"$ref":"#/$defs/d{}"}}"##, n + 1));
        members(r##""f":{"$ref":"#/$defs/d0"}"##, &format!(r#","$defs":{{{links},"d{length}":{{"type":"integer"}}}}"#))
    };
    assert_eq!(flaws(&chain(12)), Vec::<String>::new());
    assert!(flaws(&chain(200)).contains(&"/$defs/d16 TOO_DEEP".to_owned()), "{:?}", flaws(&chain(200)));
    assert!(flaws(&chain(20_000)).contains(&"/$defs OUT_OF_BOUNDS".to_owned()));
}

#[test]
fn definitions_without_use_count_as_places() {
    let definitions = many(20, |n| {
        let fields = many(120, |f| format!(r#""f{f}":{{"type":"integer"}}"#));
        format!(r#""d{n}":{{"type":"object","additionalProperties":false,"properties":{{{fields}}}}}"#)
    });
    assert_eq!(flaws(&members("", &format!(r#","$defs":{{{definitions}}}"#))), [" TOO_MANY_PLACES"]);
}

#[test]
fn a_wrong_definition_is_told_once_and_not_for_each_use() {
    let unknown = many(150, |n| format!(r#""keyword-{n}":1"#));
    let told = flaws(&used_at_two_thousand_places(&format!(r#"{{"type":"integer",{unknown}}}"#)));
    assert_eq!(told.len(), 150);
    // Beyond two hundred reasons there is nothing more to learn.
    let unknown = many(40_000, |n| format!(r#""keyword-{n}":1"#));
    assert_eq!(flaws(&used_at_two_thousand_places(&format!(r#"{{"type":"integer",{unknown}}}"#))).len(), 200);
}

#[test]
fn what_a_definition_holds_is_held_once() {
    let values = many(1000, |n| format!(r#""{n:0>700}""#));
    assert_eq!(flaws(&used_at_two_thousand_places(&format!(r#"{{"type":"string","enum":[{values}]}}"#))), [""; 0]);
    let pattern = r#"{"type":"string","maxLength":200,"pattern":"^[\\p{Han}A-Za-z0-9]{1,40}$"}"#;
    assert_eq!(flaws(&used_at_two_thousand_places(pattern)), [""; 0]);
    let title = "名".repeat(100_000);
    assert_eq!(
        flaws(&used_at_two_thousand_places(&format!(r#"{{"type":"integer","x-title-zh":"{title}"}}"#))),
        ["/$defs/d0/x-title-zh OUT_OF_BOUNDS"]
    );
    let description = "d".repeat(4097);
    assert_eq!(
        flaws(&members(&format!(r#""f":{{"type":"integer","description":"{description}"}}"#), "")),
        ["/properties/f/description OUT_OF_BOUNDS"]
    );
}

#[test]
fn a_list_is_measured_before_it_is_read() {
    let names = many(100_000, |n| format!(r#""n{n}""#));
    let pointers = many(100_000, |n| format!(r#""/n{n}""#));
    for (document, told) in [
        (members(&format!(r#""f":{{"type":"string","enum":[{names}]}}"#), ""), "/properties/f/enum OUT_OF_BOUNDS"),
        (
            members(
                &format!(
                    r#""o":{{"type":"object","additionalProperties":false,"properties":{{"a":{{"type":"integer"}}}},"required":[{names}]}}"#
                ),
                "",
            ),
            "/properties/o/required EXPECTED",
        ),
        (
            schema(r#""id":{"type":"string","maxLength":9}"#, r#"["id"]"#, &format!(r#""x-key":[{pointers}]"#)),
            "/x-key OUT_OF_BOUNDS",
        ),
        (members("", &format!(r#","x-indexed":[{pointers}]"#)), "/x-indexed OUT_OF_BOUNDS"),
        (
            members("", &format!(r#","x-rules":[{{"rule":"one-of-present","paths":[{pointers}]}}]"#)),
            "/x-rules/0/paths OUT_OF_BOUNDS",
        ),
        (
            members("", &format!(r#","x-rules":[{{"rule":"requires","if":"/id","then":[{pointers}]}}]"#)),
            "/x-rules/0/then OUT_OF_BOUNDS",
        ),
        (
            members(
                "",
                &format!(
                    r#","x-rules":[{{"rule":"requires-when","if":{{"path":"/id","in":[{names}]}},"then":["/id"]}}]"#
                ),
            ),
            "/x-rules/0/if/in EXPECTED",
        ),
        (
            members("", &format!(r#","x-rules":[{}]"#, many(20_000, |_| r#"{"rule":"requires"}"#.to_owned()))),
            "/x-rules OUT_OF_BOUNDS",
        ),
        (members(&many(10_000, |n| format!(r#""f{n}":{{"type":"integer"}}"#)), ""), "/properties OUT_OF_BOUNDS"),
    ] {
        let told_all = flaws(&document);
        assert!(told_all.contains(&told.to_owned()), "{told}: {told_all:?}");
        assert!(told_all.len() < 150, "{told}: {} more", told_all.len());
    }
}

#[test]
fn a_pattern_costs_one_look_up_a_byte_or_is_refused() {
    for pattern in ["(?:a{1000}){1000}", "^[ab]*a[ab]{1000}$", "[ab]*a[ab]{20}c", r"(?:\\p{L}{1,900}x?){900}"] {
        let document = members(&format!(r#""f":{{"type":"string","maxLength":9,"pattern":"{pattern}"}}"#), "");
        assert_eq!(flaws(&document), ["/properties/f/pattern PATTERN"], "{pattern}");
    }
    // Each would pass alone.
    let one = |n: usize| format!(r#""f{n}":{{"type":"string","maxLength":99,"pattern":"^\\p{{L}}{{1,4}}{n}$"}}"#);
    assert_eq!(flaws(&members(&one(0), "")), [""; 0]);
    assert_eq!(flaws(&members(&many(100, one), "")), [" PATTERNS_TOO_LARGE"]);
    // And those that do not are not all tried.
    let refused =
        many(100, |n| format!(r#""f{n}":{{"type":"string","maxLength":99,"pattern":"^[ab]*a[ab]{{1000}}{n}$"}}"#));
    let told = flaws(&members(&refused, ""));
    assert_eq!(told.iter().filter(|flaw| flaw.ends_with(" PATTERN")).count(), 4, "{told:?}");
    assert!(told.contains(&" PATTERNS_TOO_LARGE".to_owned()));
}

#[test]
fn rules_over_an_array_keep_no_more_of_a_record_than_is_bounded() {
    let over = |items: usize, fields: usize| {
        let element = many(fields, |n| format!(r#""f{n}":{{"type":"string","format":"date"}}"#));
        let rules = many(fields.saturating_sub(1), |n| {
            format!(r#"{{"rule":"not-before","later":"/l/*/f{}","earlier":"/l/*/f{n}"}}"#, n + 1)
        });
        members(
            &format!(
                r#""l":{{"type":"array","maxItems":{items},"items":{{"type":"object","additionalProperties":false,"properties":{{{element}}}}}}}"#
            ),
            &format!(r#","x-rules":[{rules}]"#),
        )
    };
    assert_eq!(flaws(&over(10_000, 10)), [""; 0]);
    assert_eq!(flaws(&over(10_000, 11)), ["/x-rules TOO_MANY_KEPT"]);
    assert_eq!(flaws(&over(2_000, 50)), [""; 0]);
    // The fullest record that the bound lets in, all of its rules broken: the room that it needs is that bound's.
    let record_type = compile(&over(2_000, 50)).unwrap().with_max_payload_bytes(8 << 20);
    let element = many(50, |n| format!(r#""f{n}":"20{:02}-01-01""#, 99 - n));
    let payload = format!(r#"{{"id":"1","l":[{}]}}"#, many(2_000, |_| format!("{{{element}}}")));
    let mut scratch = Scratch::new();
    let mut told = 0;
    let cost = allocation_counter::measure(|| {
        told = record_type.validate(payload.as_bytes(), &mut scratch).unwrap_err().len();
    });
    assert_eq!(told, MAX_VIOLATIONS + 1);
    assert!(cost.bytes_max < 8 << 20, "{} bytes", cost.bytes_max);
}

#[test]
fn a_code_table_is_bounded_before_it_is_read() {
    let table =
        |codes: &str| format!(r#"{{"name":"t","title":{{"en":"T","zh":"表"}},"source":"ours","codes":[{codes}]}}"#);
    let told = |document: &str| {
        let error = CodeTables::from_json([document.as_bytes()]).unwrap_err();
        error.problems().iter().map(|one| format!("{} {}", one.pointer, one.flaw.code())).collect::<Vec<_>>()
    };
    let code = |n: usize| format!(r#"{{"code":"{n}","en":"E","zh":"码"}}"#);
    assert_eq!(told(&table(&many(25_000, code))), ["t/codes OUT_OF_BOUNDS"]);
    assert_eq!(told(&table(&many(40_000, code))), [" TOO_LARGE"]);
    let twice = format!("{},{},{}", code(7), code(8), code(7));
    assert_eq!(told(&table(&twice)), ["t/codes/2/code DUPLICATE_CODE"]);
    // The same code through an escape is the same code.
    let escaped = format!(r#"{},{{"code":"\u0037","en":"E","zh":"码"}}"#, code(7));
    assert_eq!(told(&table(&escaped)), ["t/codes/1/code DUPLICATE_CODE"]);
}

#[test]
fn the_built_in_standards_stay_far_below_the_bounds() {
    let registry = shuqiao_schemas::registry::Registry::builtin();
    for name in registry.names() {
        let document = registry.schema(name).unwrap();
        let cost = allocation_counter::measure(|| drop(RecordType::compile(document, registry.tables()).unwrap()));
        assert!(cost.bytes_max < 4 << 20, "{name}: {} bytes", cost.bytes_max);
        assert!(registry.get(name).unwrap().fields().len() < 200, "{name}");
    }
}
