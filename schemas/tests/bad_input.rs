//! What must not get in, whatever the record type says: broken encodings, broken JSON, and numbers and names that would mean
//! something else to the next reader. And that no bytes at all make any part of the engine panic.

#![allow(clippy::unwrap_used, clippy::string_slice, reason = "a test may fail by panicking")]

mod common;

use common::{codes, record_type};
use proptest::prelude::*;
use shuqiao_schemas::engine::{FieldRule, HashAlgorithm, HashKeys, RecordType, Scratch, Treatment};

fn subject() -> RecordType {
    record_type(
        r#""id":{"type":"string","maxLength":18,"x-sensitivity":{"level":"general","personal":"sensitive","mask":"resident_id"}},
        "a":{"type":"integer"},"s":{"type":["string","null"],"maxLength":1000,"pattern":"^(?:a+)+$","x-max-bytes-gb18030":900},
        "d":{"type":"string","format":"date","x-long-term":true},
        "o":{"type":"object","additionalProperties":false,"properties":{"x":{"type":"number"},"y":{"type":"array","maxItems":3,"items":{"type":"boolean"}}}}"#,
        r#"["id"]"#,
        r#""x-key":["/id"],"x-indexed":["/a","/d"],"x-rules":[{"rule":"requires","if":"/a","then":["/o"]}]"#,
    )
}

#[track_caller]
fn refused(payload: &[u8], told: &str) {
    assert_eq!(codes(&subject(), payload), [told], "{:?}", String::from_utf8_lossy(&payload[..payload.len().min(60)]));
}

#[test]
fn overlong_utf8_is_refused() {
    // A slash in two, three and four bytes; NUL in two; and the longest of each length that is overlong.
    for overlong in [
        &b"\xc0\xaf"[..],
        b"\xe0\x80\xaf",
        b"\xf0\x80\x80\xaf",
        b"\xc0\x80",
        b"\xc1\xbf",
        b"\xe0\x9f\xbf",
        b"\xf0\x8f\xbf\xbf",
    ] {
        refused(&[b"{\"id\":\"", overlong, b"\"}"].concat(), " NOT_UTF8");
    }
}

#[test]
fn other_broken_encodings_are_refused() {
    for bytes in [
        &b"{\"id\":\"\xff\"}"[..],
        b"{\"id\":\"\xed\xa0\x80\"}",     // an encoded surrogate
        b"{\"id\":\"\xf4\x90\x80\x80\"}", // beyond Unicode
        b"{\"id\":\"\xe4\xb8\"}",         // cut short
        b"\xc6\xf3\xd2\xb5",              // GB18030
        b"\xff\xfe{\x00}\x00",            // UTF-16
    ] {
        refused(bytes, " NOT_UTF8");
    }
}

#[test]
fn a_byte_order_mark_is_refused() {
    refused("\u{FEFF}{\"id\":\"1\"}".as_bytes(), " BYTE_ORDER_MARK");
}

#[test]
fn broken_json_is_refused_at_its_place() {
    for (text, told) in [
        ("", " SYNTAX"),
        ("   ", " SYNTAX"),
        ("{", " SYNTAX"),
        ("{\"id\":\"1\"", " SYNTAX"),
        ("{\"id\":\"1\",}", " SYNTAX"),
        ("{\"id\":'1'}", "/id SYNTAX"),
        ("{\"id\":\"1\n\"}", "/id SYNTAX"),
        ("{\"id\":\"1\u{0}\"}", "/id SYNTAX"),
        ("{\"id\":\"\\x31\"}", "/id SYNTAX"),
        ("{\"a\":01,\"id\":\"1\"}", " SYNTAX"),
        ("{\"a\":+1,\"id\":\"1\"}", "/a SYNTAX"),
        ("{\"o\":{\"y\":[true,fals]},\"id\":\"1\"}", "/o/y/1 SYNTAX"),
        ("{\"o\":{\"x\":NaN},\"id\":\"1\"}", "/o/x SYNTAX"),
        ("{\"id\":\"1\"} x", " TRAILING_BYTES"),
        ("{\"id\":\"1\"}{\"id\":\"1\"}", " TRAILING_BYTES"),
        ("{\"id\":\"1\"}\u{0}", " TRAILING_BYTES"),
        ("[]", " WRONG_TYPE"),
        ("null", " WRONG_TYPE"),
    ] {
        refused(text.as_bytes(), told);
    }
}

#[test]
fn ten_megabytes_of_brackets_end_at_the_depth_limit() {
    let brackets = "[".repeat(10 << 20);
    assert_eq!(codes(&subject().with_max_payload_bytes(usize::MAX), brackets.as_bytes()), [" TOO_DEEP"]);
    refused(brackets.as_bytes(), " PAYLOAD_TOO_LARGE");
    let objects = format!(r#"{{"id":"1","o":{}"#, r#"{"z":"#.repeat(1000));
    assert_eq!(codes(&subject(), objects.as_bytes()).last().map(String::as_str), Some("/o TOO_DEEP"));
}

#[test]
fn lone_surrogates_are_refused() {
    for half in [r"\ud800", r"\udfff", r"\ud800\ud800", r"\ud800a", r"\udc00\ud800"] {
        refused(format!(r#"{{"id":"{half}"}}"#).as_bytes(), "/id LONE_SURROGATE");
    }
    assert_eq!(codes(&subject(), r#"{"id":"\ud842\udfb7"}"#.as_bytes()), Vec::<String>::new());
}

#[test]
fn nul_is_refused() {
    refused(br#"{"id":"a\u0000b"}"#, "/id NUL_CHARACTER");
    refused(b"{\"id\":\"a\0b\"}", "/id SYNTAX");
    refused(b"{\"id\":\"a\"}\0", " TRAILING_BYTES");
    refused(b"\0", " SYNTAX");
}

#[test]
fn control_characters_are_refused_however_they_are_written() {
    for control in
        ["\\u001b", "\\b", "\\f", "\\n", "\\r", "\\t", "\\u0085", "\\u007f", "\u{7f}", "\u{80}", "\u{85}", "\u{9f}"]
    {
        for text in [format!("{control}1"), format!("1{control}"), format!("1 of more bytes{control}企")] {
            refused(format!(r#"{{"id":"{text}"}}"#).as_bytes(), "/id CONTROL_CHARACTER");
        }
    }
    // Their neighbours are characters like others, and a harmless one with the lead byte of C1 lets nothing else through or stop.
    for text in ["·", "\u{a0}", " ~", "企", "\u{2028}", "\\\\n"] {
        assert_eq!(codes(&subject(), format!(r#"{{"id":"{text}"}}"#).as_bytes()), Vec::<String>::new(), "{text:?}");
    }
    refused("{\"id\":\"阿·卜\u{9f}\"}".as_bytes(), "/id CONTROL_CHARACTER");
    // What is closed by a form is told by the form, once.
    refused("{\"id\":\"1\",\"d\":\"2024-01-01\u{7f}\"}".as_bytes(), "/d DATE");
}

#[test]
fn lines_stand_where_the_schema_says_so_and_no_other_control_character() {
    let lines = record_type(
        r#""id":{"type":"string","maxLength":18},"t":{"type":"string","maxLength":18,"x-lines":true}"#,
        r#"["id"]"#,
        r#""x-key":["/id"]"#,
    );
    for text in ["\\n", "\\r\\n", "\\t", "\\u000a", "a\\nb"] {
        assert_eq!(codes(&lines, format!(r#"{{"id":"1","t":"{text}"}}"#).as_bytes()), Vec::<String>::new(), "{text}");
        assert_eq!(codes(&lines, format!(r#"{{"id":"{text}"}}"#).as_bytes()), ["/id CONTROL_CHARACTER"], "{text}");
    }
    for text in ["\\u001b", "\\u000b", "\u{7f}", "\u{85}"] {
        assert_eq!(
            codes(&lines, format!(r#"{{"id":"1","t":"{text}"}}"#).as_bytes()),
            ["/t CONTROL_CHARACTER"],
            "{text}"
        );
    }
}

#[test]
fn keys_repeated_through_escapes_are_refused() {
    refused(br#"{"id":"1","a":1,"\u0061":2,"o":{}}"#, "/a DUPLICATE_KEY");
    refused(br#"{"id":"1","a":1,"a":1,"o":{}}"#, "/a DUPLICATE_KEY");
    refused(br#"{"\u0069d":"1","id":"1"}"#, "/id DUPLICATE_KEY");
    // Not only what was last, and not only what stands in the order of the schema.
    refused(br#"{"s":"a","id":"1","s" : "a"}"#, "/s DUPLICATE_KEY");
    refused(br#"{"d":"2024-01-01","id":"1","s":"a","d":"2024-01-01"}"#, "/d DUPLICATE_KEY");
    refused(br#"{"id":"1","o":{"x":1,"\u0078":1}}"#, "/o/x DUPLICATE_KEY");
}

#[test]
fn numbers_of_ten_thousand_digits_are_refused() {
    let digits = "9".repeat(10_000);
    for number in
        [digits.clone(), format!("-{digits}"), format!("0.{digits}"), format!("1e{digits}"), format!("{digits}.5E-9")]
    {
        refused(format!(r#"{{"id":"1","o":{{"x":{number}}}}}"#).as_bytes(), "/o/x NUMBER_NOT_EXACT");
        refused(format!(r#"{{"a":{number},"id":"1","o":{{}}}}"#).as_bytes(), "/a NUMBER_NOT_EXACT");
    }
}

#[test]
fn numbers_that_would_change_are_refused() {
    for number in ["9223372036854775808", "-9223372036854775809", "1e19999", "1e-19999"] {
        refused(format!(r#"{{"id":"1","o":{{"x":{number}}}}}"#).as_bytes(), "/o/x NUMBER_NOT_EXACT");
    }
    refused(br#"{"id":"1","o":{"x":0.10000000000000000555}}"#, "/o/x NUMBER_NOT_EXACT");
}

#[test]
fn a_pattern_made_to_blow_up_takes_linear_time() {
    let payload = format!(r#"{{"id":"1","s":"{}b"}}"#, "a".repeat(898));
    refused(payload.as_bytes(), "/s PATTERN");
}

fn keys() -> HashKeys {
    HashKeys::new(HashAlgorithm::HmacSha256, &[7; 32]).unwrap()
}

/// Bytes that look like records often enough to get past the first token: pieces of JSON in any order, and whole records with up
/// to three places overwritten.
fn nearly_records() -> impl Strategy<Value = Vec<u8>> {
    let whole = prop::sample::select(vec![
        r#"{"id":"1","a":-3,"s":"aaaa","d":"2024-02-29","o":{"x":0.5,"y":[true,false]}}"#,
        r#" { "o" : { "y" : [ ] } , "d" : "长期" , "\u0069d" : "\u4f01\ud842\udfb7" } "#,
        r#"{"id":"330106199003070014","s":null,"d":"\u957f\u671f"}"#,
    ]);
    let edits = prop::collection::vec((any::<prop::sample::Index>(), 0usize..4, piece()), 0..4);
    let edited = (whole, edits).prop_map(|(whole, edits)| {
        let mut record = whole.as_bytes().to_vec();
        for (place, length, piece) in edits {
            let start = place.index(record.len() + 1);
            let end = (start + length).min(record.len());
            record.splice(start..end, piece);
        }
        record
    });
    prop_oneof![prop::collection::vec(piece(), 0..24).prop_map(|pieces| pieces.concat()), edited]
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    let pieces = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"id\":",
        "\"a\":",
        "\"s\":",
        "\"d\":",
        "\"o\":",
        "\"x\":",
        "\"y\":",
        "\"长期\"",
        "null",
        "true",
        "1",
        "-0.5e3",
        "1e999",
        "\"",
        "\\",
        "\\u",
        "\\ud800",
        "\\udc00",
        "\\u0000",
        "\\n",
        " ",
        "\n",
        "\u{FEFF}",
        "\"2024-02-30\"",
        "aaaa",
        "企业",
        "𠮷",
    ];
    prop_oneof![
        prop::sample::select(pieces.map(|piece| piece.as_bytes().to_vec()).to_vec()),
        prop::collection::vec(any::<u8>(), 0..4),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, rng_seed: prop::test_runner::RngSeed::Fixed(4), ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_validator_panic_and_what_it_accepts_is_json(payload in nearly_records()) {
        let subject = subject_once();
        let mut scratch = Scratch::new();
        if let Ok(facts) = subject.validate(&payload, &mut scratch) {
            let json: serde_json::Value = serde_json::from_slice(&payload).unwrap();
            prop_assert_eq!(json["id"].as_str(), Some(&*facts.key));
            let date = facts.indexed(1);
            prop_assert_eq!(json.get("d").and_then(|date| date.as_str()), date.as_deref());
        }
    }

    #[test]
    fn no_bytes_make_a_projection_panic_and_what_it_writes_of_a_record_is_json(payload in nearly_records()) {
        let subject = subject_once();
        let rule = |pointer: &str, treatment| FieldRule { pointer: pointer.to_owned(), treatment };
        let view = subject
            .projection(&[rule("/id", Treatment::Masked), rule("/a", Treatment::KeyedHash), rule("/o/y", Treatment::Clear)])
            .unwrap();
        let mut out = Vec::new();
        let written = view.apply(&payload, &keys(), &mut out);
        if subject.validate(&payload, &mut Scratch::new()).is_ok() {
            prop_assert!(written.is_ok());
            let before: serde_json::Value = serde_json::from_slice(&payload).unwrap();
            let after: serde_json::Value = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(&before["o"]["y"], &after["o"]["y"]);
            prop_assert!(after.get("s").is_none() && after["o"].get("x").is_none());
        } else if written.is_err() {
            prop_assert!(out.is_empty());
        }
    }

    #[test]
    fn no_bytes_make_the_schema_compiler_panic(document in nearly_schemas()) {
        let compiled = RecordType::compile(&document, &common::tables());
        if let Err(error) = compiled {
            prop_assert!(!error.problems().is_empty());
        }
    }
}

fn subject_once() -> &'static RecordType {
    static SUBJECT: std::sync::LazyLock<RecordType> = std::sync::LazyLock::new(subject);
    &SUBJECT
}

/// A valid schema with some of its bytes changed, or pieces of it exchanged.
fn nearly_schemas() -> impl Strategy<Value = Vec<u8>> {
    let whole = common::schema(
        r##""id":{"type":"string","maxLength":18},"d":{"$ref":"#/$defs/d"},"o":{"type":"object","additionalProperties":false,"properties":{"x":{"type":"number","minimum":1}}}"##,
        r#"["id"]"#,
        r#""x-key":["/id"],"x-subject":{"value":"/id","kind":"uscc"},"$defs":{"d":{"type":["string","null"],"format":"date"}},"x-rules":[{"rule":"equal","left":"/id","right":"/d"}]"#,
    );
    let piece = prop::sample::select(vec![
        "1",
        "\"x\"",
        "null",
        "[]",
        "{}",
        "true",
        "\"type\"",
        "\"/\"",
        "\"/*\"",
        "-1",
        "1e300",
        "\"object\"",
        "\"#/$defs/d\"",
        "[\"/id\"]",
    ]);
    prop::collection::vec((any::<prop::sample::Index>(), 0usize..12, piece), 1..4).prop_map(move |edits| {
        let mut document = whole.clone().into_bytes();
        for (place, length, piece) in edits {
            // Edits start where a value starts, so that most results are still JSON.
            let starts: Vec<usize> =
                document.iter().enumerate().filter(|(_, byte)| **byte == b':').map(|(at, _)| at + 1).collect();
            if starts.is_empty() {
                break;
            }
            let start = *place.get(&starts);
            let end = document[start..]
                .iter()
                .position(|byte| matches!(byte, b',' | b'}'))
                .map_or(document.len(), |at| start + at);
            let end = if length < 8 { end } else { (start + length).min(document.len()) };
            document.splice(start..end, piece.bytes());
        }
        document
    })
}
