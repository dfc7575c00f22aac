//! What a schema may not be: each refusal with its place, and all of them at once.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod common;

use common::{compile, schema};
use std::fmt::Write;

fn flaws(document: &str) -> Vec<String> {
    match compile(document) {
        Ok(_) => Vec::new(),
        Err(error) => {
            error.problems().iter().map(|problem| format!("{} {}", problem.pointer, problem.flaw.code())).collect()
        }
    }
}

/// A record type whose member `f` has this schema.
fn member(schema_of_f: &str) -> String {
    schema(&format!(r#""id":{{"type":"string","maxLength":9}},"f":{schema_of_f}"#), r#"["id"]"#, r#""x-key":["/id"]"#)
}

#[test]
fn an_unknown_keyword_is_refused_by_name() {
    let error = compile(&member(r#"{"type":"string","maxLength":9,"maxlength":3,"allOf":[]}"#)).unwrap_err();
    let told = error.to_string();
    assert!(
        told.contains("/properties/f: unknown keyword `maxlength` (UNKNOWN_KEYWORD)") && told.contains("`allOf`"),
        "{told}"
    );
    for keyword in [
        "patternProperties",
        "oneOf",
        "not",
        "if",
        "multipleOf",
        "exclusiveMinimum",
        "uniqueItems",
        "$dynamicRef",
        "$anchor",
        "default",
        "x-other",
        "$comment",
    ] {
        assert_eq!(
            flaws(&member(&format!(r#"{{"type":"string","maxLength":9,"{keyword}":1}}"#))),
            ["/properties/f UNKNOWN_KEYWORD"],
            "{keyword}"
        );
    }
}

#[test]
fn a_keyword_without_effect_is_refused() {
    for (schema, keyword) in [
        (r#"{"type":"integer","maxLength":9}"#, "maxLength"),
        (r#"{"type":"string","maxLength":9,"minimum":1}"#, "minimum"),
        (r#"{"type":"string","maxLength":9,"x-key":["/id"]}"#, "x-key"),
        (r#"{"type":"string","maxLength":9,"$defs":{}}"#, "$defs"),
        (r#"{"type":"string","maxLength":9,"x-long-term":true}"#, "x-long-term"),
        (r#"{"type":"string","x-identifier":"uscc","x-lines":true}"#, "x-lines"),
        (r#"{"type":"string","format":"date","x-lines":true}"#, "x-lines"),
        (r#"{"type":"string","enum":["a"],"x-lines":true}"#, "x-lines"),
        (r#"{"type":"integer","x-lines":true}"#, "x-lines"),
        (r#"{"type":"string","format":"date","x-decimal":{"integer-digits":1,"fraction-digits":0}}"#, "x-decimal"),
        (r#"{"type":"array","maxItems":1,"items":{"type":"integer"},"enum":[[]]}"#, "enum"),
    ] {
        let error = compile(&member(schema)).unwrap_err();
        assert!(error.to_string().contains(&format!("keyword `{keyword}` has no effect here")), "{schema}: {error}");
    }
}

#[test]
fn everything_is_bounded() {
    for (schema, told) in [
        (r#"{"type":"string"}"#, "/properties/f MISSING_KEYWORD"),
        (r#"{"type":"string","pattern":"a"}"#, "/properties/f MISSING_KEYWORD"),
        (r#"{"type":"array","items":{"type":"integer"}}"#, "/properties/f MISSING_KEYWORD"),
        (r#"{"type":"array","maxItems":3}"#, "/properties/f MISSING_KEYWORD"),
        (r#"{"type":"array","maxItems":10001,"items":{"type":"integer"}}"#, "/properties/f/maxItems OUT_OF_BOUNDS"),
        (r#"{"type":"string","maxLength":1048577}"#, "/properties/f/maxLength OUT_OF_BOUNDS"),
        (r#"{"type":"string","maxLength":-1}"#, "/properties/f/maxLength OUT_OF_BOUNDS"),
        (r#"{"type":"string","maxLength":2.5}"#, "/properties/f/maxLength OUT_OF_BOUNDS"),
        (r#"{"type":"object","properties":{"a":{"type":"integer"}}}"#, "/properties/f MISSING_KEYWORD"),
        (
            r#"{"type":"object","additionalProperties":true,"properties":{"a":{"type":"integer"}}}"#,
            "/properties/f/additionalProperties EXPECTED",
        ),
        (r#"{"type":"object","additionalProperties":false}"#, "/properties/f/properties OUT_OF_BOUNDS"),
        (r#"{"type":"string","maxLength":9,"pattern":"(?:a{1000}){1000}"}"#, "/properties/f/pattern PATTERN"),
        (r#"{"type":"string","maxLength":9,"pattern":"(a)\\1"}"#, "/properties/f/pattern PATTERN"),
        (r#"{"type":"string","maxLength":1,"minLength":2}"#, "/properties/f EMPTY_RANGE"),
        (r#"{"type":"integer","minimum":3,"maximum":2}"#, "/properties/f EMPTY_RANGE"),
        (r#"{"type":"integer","minimum":1.5}"#, "/properties/f/minimum EXPECTED"),
        (r#"{"type":"string","enum":[]}"#, "/properties/f/enum OUT_OF_BOUNDS"),
        (r#"{"type":"string","enum":["a",1]}"#, "/properties/f/enum/1 EXPECTED"),
        (r#"{"type":"string","enum":["a","a"]}"#, "/properties/f/enum/1 REPEATED"),
        (r#"{"type":"string","enum":["a"],"const":"b"}"#, "/properties/f EMPTY_RANGE"),
        (
            r#"{"type":"string","x-decimal":{"integer-digits":39,"fraction-digits":0}}"#,
            "/properties/f/x-decimal/integer-digits OUT_OF_BOUNDS",
        ),
        (r#"{"type":"string","x-code-table":"nothing"}"#, "/properties/f/x-code-table UNKNOWN_TABLE"),
        (r#"{"type":"string","x-identifier":"nobody"}"#, "/properties/f/x-identifier UNKNOWN_IDENTIFIER"),
        (r#"{"type":"string","format":"email"}"#, "/properties/f/format EXPECTED"),
        (r#"{"type":"text"}"#, "/properties/f/type EXPECTED"),
        (r#"{"type":["string","integer"],"maxLength":2}"#, "/properties/f/type EXPECTED"),
        (r#"{"maxLength":2}"#, "/properties/f MISSING_KEYWORD"),
        (r#"true"#, "/properties/f EXPECTED"),
        (r##"{"$ref":"#/$defs/none"}"##, "/properties/f/$ref UNKNOWN_REFERENCE"),
        (
            r#"{"type":"integer","x-sensitivity":{"level":"high","personal":"none"}}"#,
            "/properties/f/x-sensitivity/level EXPECTED",
        ),
        (r#"{"type":"integer","examples":1}"#, "/properties/f/examples EXPECTED"),
    ] {
        let told_all = flaws(&member(schema));
        assert_eq!(told_all.first().map(String::as_str), Some(told), "{schema}: {told_all:?}");
    }
}

#[test]
fn nesting_and_multiplication_are_bounded() {
    let deep = (0..20).fold(r#"{"type":"integer"}"#.to_owned(), |inner, _| {
        format!(r#"{{"type":"array","maxItems":1,"items":{inner}}}"#)
    });
    assert!(flaws(&member(&deep)).iter().any(|flaw| flaw.ends_with("TOO_DEEP")));
    // Each definition uses the one before twice: 2^12 places from twelve lines.
    let mut definitions = r#""d0":{"type":"integer"}"#.to_owned();
    for level in 1..13 {
        let below = level - 1;
        write!(
            definitions,
            r##","d{level}":{{"type":"object","additionalProperties":false,"properties":{{"a":{{"$ref":"#/$defs/d{below}"}},"b":{{"$ref":"#/$defs/d{below}"}}}}}}"##
        )
        .unwrap();
    }
    let laughing = schema(
        r##""id":{"type":"string","maxLength":9},"f":{"$ref":"#/$defs/d12"}"##,
        r#"["id"]"#,
        &format!(r#""x-key":["/id"],"$defs":{{{definitions}}}"#),
    );
    assert!(flaws(&laughing).iter().any(|flaw| flaw.ends_with("TOO_MANY_PLACES")));
    let huge = format!("{}{}", common::MINIMAL, " ".repeat(1 << 20));
    assert_eq!(flaws(&huge), [" TOO_LARGE"]);
    assert!(flaws(&"[".repeat(10 << 10))[0].ends_with("NOT_JSON"));
}

#[test]
fn a_schema_that_refers_to_itself_is_refused() {
    let cycle = |definitions: &str| {
        flaws(&schema(
            r##""id":{"type":"string","maxLength":9},"f":{"$ref":"#/$defs/a"}"##,
            r#"["id"]"#,
            &format!(r#""x-key":["/id"],"$defs":{{{definitions}}}"#),
        ))
    };
    assert_eq!(cycle(r##""a":{"$ref":"#/$defs/a"}"##), ["/$defs/a/$ref SELF_REFERENCE"]);
    assert_eq!(
        cycle(r##""a":{"type":"array","maxItems":1,"items":{"$ref":"#/$defs/b"}},"b":{"$ref":"#/$defs/a"}"##),
        ["/$defs/b/$ref SELF_REFERENCE"]
    );
    // A definition that nothing uses is held to the profile as well.
    assert_eq!(
        cycle(r##""a":{"type":"integer"},"c":{"type":"string"},"d":{"$ref":"#/$defs/d"}"##),
        ["/$defs/c MISSING_KEYWORD", "/$defs/d/$ref SELF_REFERENCE"]
    );
}

#[test]
fn the_root_says_what_a_record_is() {
    let members = r#""id":{"type":"string","maxLength":9},"n":{"type":["string","null"],"maxLength":9},"l":{"type":"array","maxItems":2,"items":{"type":"integer"}},
        "o":{"type":"object","additionalProperties":false,"required":["x"],"properties":{"x":{"type":"string","maxLength":3}}},"i":{"type":"integer"},
        "m":{"type":"array","maxItems":2,"items":{"type":"object","additionalProperties":false,"properties":{"x":{"type":"integer"},"y":{"type":"array","maxItems":1,"items":{"type":"integer"}}}}}"#;
    for (declarations, told) in [
        (r#""title":"no key""#, " MISSING_KEYWORD"),
        (r#""x-key":[]"#, "/x-key OUT_OF_BOUNDS"),
        (r#""x-key":["/none"]"#, "/x-key NO_SUCH_FIELD"),
        (r#""x-key":["id"]"#, "/x-key NO_SUCH_FIELD"),
        (r#""x-key":["/n"]"#, "/x-key OPTIONAL_KEY"),
        (r#""x-key":["/o/x"]"#, "/x-key OPTIONAL_KEY"),
        (r#""x-key":["/i"]"#, "/x-key WRONG_FIELD"),
        (r#""x-key":["/id","/id"]"#, "/x-key REPEATED"),
        (r#""x-key":["/id"],"x-indexed":["/l/0"]"#, "/x-indexed INSIDE_ARRAY"),
        (r#""x-key":["/id"],"x-indexed":["/o"]"#, "/x-indexed WRONG_FIELD"),
        (r#""x-key":["/id"],"x-subject":{"value":"/id"}"#, "/x-subject EXPECTED"),
        (r#""x-key":["/id"],"x-subject":{"value":"/id","kind":"nobody"}"#, "/x-subject/kind UNKNOWN_IDENTIFIER"),
        (r#""x-key":["/id"],"x-subject":{"value":"/id","kind":"uscc","kind-field":"/n"}"#, "/x-subject EXPECTED"),
        (r#""x-key":["/id"],"x-subject":{"value":"/id","kind":"uscc","who":1}"#, "/x-subject UNKNOWN_KEYWORD"),
        (r#""x-key":["/id"],"x-rules":[{"rule":"magic"}]"#, "/x-rules/0/rule UNKNOWN_RULE"),
        (r#""x-key":["/id"],"x-rules":[{"rule":"equal","left":"/id"}]"#, "/x-rules/0 MISSING_KEYWORD"),
        (
            r#""x-key":["/id"],"x-rules":[{"rule":"equal","left":"/id","right":"/id","also":1}]"#,
            "/x-rules/0 UNKNOWN_KEYWORD",
        ),
        (
            r#""x-key":["/id"],"x-rules":[{"rule":"not-before","later":"/id","earlier":"/id"}]"#,
            "/x-rules/0/later WRONG_FIELD",
        ),
        (r#""x-key":["/id"],"x-indexed":["/l/*"]"#, "/x-indexed INSIDE_ARRAY"),
        (r#""x-key":["/id"],"x-rules":[{"rule":"requires","if":"/l/0","then":["/id"]}]"#, "/x-rules/0/if INSIDE_ARRAY"),
        (
            r#""x-key":["/id"],"x-rules":[{"rule":"requires","if":"/l/*","then":["/m/*/x"]}]"#,
            "/x-rules/0/then INSIDE_ARRAY",
        ),
        (
            r#""x-key":["/id"],"x-rules":[{"rule":"requires","if":"/m/*/y/*","then":["/id"]}]"#,
            "/x-rules/0/if INSIDE_ARRAY",
        ),
        (
            r#""x-key":["/id"],"x-rules":[{"rule":"not-above","lesser":"/i","greater":"/id"}]"#,
            "/x-rules/0/greater WRONG_FIELD",
        ),
        (
            r#""x-key":["/id"],"x-rules":[{"rule":"not-above","lesser":"/i","greater":"/i","where-equal":[["/id"]]}]"#,
            "/x-rules/0/where-equal/0 EXPECTED",
        ),
        (
            r#""x-key":["/id"],"x-rules":[{"rule":"part-of","part":"/id","whole":"/id","from":0,"to":2}]"#,
            "/x-rules/0/from OUT_OF_BOUNDS",
        ),
        (
            r#""x-key":["/id"],"x-rules":[{"rule":"part-of","part":"/id","whole":"/id","from":3,"to":2}]"#,
            "/x-rules/0 EMPTY_RANGE",
        ),
        (
            r#""x-key":["/id"],"x-rules":[{"rule":"identifier-of","value":"/id","kind-field":"/n"}]"#,
            "/x-rules/0/kind-field WRONG_FIELD",
        ),
        (
            r#""x-key":["/id"],"x-rules":[{"rule":"allowed-when","if":{"path":"/id","in":["1"]},"then":{"path":"/n","in":[]}}]"#,
            "/x-rules/0/then/in EXPECTED",
        ),
        (r#""x-key":["/id"],"x-rules":[{"rule":"one-of-present","paths":["/id"]}]"#, "/x-rules/0/paths OUT_OF_BOUNDS"),
        (r#""x-key":["/id"],"$schema":"http://json-schema.org/draft-07/schema#""#, "/$schema EXPECTED"),
    ] {
        let told_all = flaws(&schema(members, r#"["id","i"]"#, declarations));
        assert_eq!(told_all.first().map(String::as_str), Some(told), "{declarations}: {told_all:?}");
    }
    assert_eq!(
        flaws(r#"{"$id":"urn:other:x:v1","type":"array","maxItems":1,"items":{"type":"integer"},"x-key":["/a"]}"#),
        [" EXPECTED", "/x-key INSIDE_ARRAY", "/$id BAD_ID"]
    );
    assert_eq!(
        flaws(&schema(members, r#"["id","zz","id"]"#, r#""x-key":["/id"]"#)),
        ["/required NO_SUCH_PROPERTY", "/required REPEATED"]
    );
}

#[test]
fn all_problems_are_told_at_once_and_each_once() {
    let told = flaws(
        r##"{"$id":"nobody","type":"object","color":1,"properties":{"a b":{"type":"string"},"c":{"$ref":"#/$defs/d"},"e":{"$ref":"#/$defs/d"}},
        "$defs":{"d":{"type":"string","maxLength":9,"pattern":"("}},"x-key":["/c"]}"##,
    );
    assert_eq!(
        told,
        [
            " UNKNOWN_KEYWORD",
            " MISSING_KEYWORD",
            "/properties/a b BAD_NAME",
            "/properties/a b MISSING_KEYWORD",
            "/$defs/d/pattern PATTERN",
            "/x-key OPTIONAL_KEY",
            "/$id BAD_ID",
        ]
    );
}

#[test]
fn a_repeated_member_of_a_schema_is_refused() {
    assert_eq!(flaws(r#"{"type":"object","\u0074ype":"array"}"#), [" NOT_JSON"]);
}
