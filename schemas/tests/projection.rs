//! What a grant shows: each treatment, the nearest rule, equal views, and that nothing unnamed ever gets out.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod common;

use Treatment::{Clear, KeyedHash, Masked};
use common::record_type;
use shuqiao_schemas::engine::{
    FieldRule, HashAlgorithm, HashKeys, ProjectError, Projection, RecordType, Scratch, Treatment,
};

fn person() -> RecordType {
    record_type(
        r#""id":{"type":"string","maxLength":18,"x-sensitivity":{"level":"general","personal":"sensitive","mask":"resident_id"}},
        "name":{"type":"string","maxLength":50,"x-sensitivity":{"level":"general","personal":"personal","mask":"name"}},
        "age":{"type":["integer","null"]},
        "home":{"type":["object","null"],"additionalProperties":false,"properties":{
            "street":{"type":"string","maxLength":50,"x-sensitivity":{"level":"general","personal":"personal","mask":"address"}},
            "code":{"type":"string","maxLength":6}}},
        "phones":{"type":"array","maxItems":5,"items":{"type":"object","additionalProperties":false,"properties":{
            "number":{"type":"string","maxLength":20,"x-sensitivity":{"level":"general","personal":"personal","mask":"mobile"}},
            "kind":{"type":"string","maxLength":5}}}}"#,
        r#"["id"]"#,
        r#""x-key":["/id"]"#,
    )
}

const RECORD: &str = r#"{"id":"330106199003070014","name":"张小明","age":34,"home":{"street":"江苏省南通市崇川区人民路1号","code":"226000"},"phones":[{"number":"13800138000","kind":"a"},{"kind":"b","number":"13900139000"}]}"#;

fn keys() -> HashKeys {
    HashKeys::new(HashAlgorithm::HmacSm3, b"0123456789abcdef").unwrap()
}

fn rules(rules: &[(&str, Treatment)]) -> Vec<FieldRule> {
    rules.iter().map(|&(pointer, treatment)| FieldRule { pointer: pointer.to_owned(), treatment }).collect()
}

fn view(given: &[(&str, Treatment)]) -> Projection {
    person().projection(&rules(given)).unwrap()
}

fn shown(given: &[(&str, Treatment)], payload: &str) -> String {
    let mut out = b"before ".to_vec();
    view(given).apply(payload.as_bytes(), &keys(), &mut out).unwrap();
    String::from_utf8(out).unwrap().strip_prefix("before ").unwrap().to_owned()
}

#[test]
fn what_no_rule_names_is_absent() {
    assert_eq!(shown(&[], RECORD), "{}");
    assert_eq!(shown(&[("/age", Clear)], RECORD), r#"{"age":34}"#);
    assert_eq!(shown(&[("/home/code", Clear)], RECORD), r#"{"home":{"code":"226000"}}"#);
    assert_eq!(shown(&[("/phones/*/kind", Clear)], RECORD), r#"{"phones":[{"kind":"a"},{"kind":"b"}]}"#);
}

#[test]
fn masks_and_hashes_stand_in_for_values() {
    assert_eq!(
        shown(&[("/id", Masked), ("/name", Masked), ("/home/street", Masked), ("/phones/*/number", Masked)], RECORD),
        r#"{"id":"330106********0014","name":"张*明","home":{"street":"江苏省南通市崇川区****"},"phones":[{"number":"138****8000"},{"number":"139****9000"}]}"#
    );
    let hash = |pointer: &str, value: &str| String::from_utf8(keys().hash(pointer, value).to_vec()).unwrap();
    assert_eq!(
        shown(&[("/id", KeyedHash), ("/age", KeyedHash)], RECORD),
        format!(r#"{{"id":"{}","age":"{}"}}"#, hash("/id", "330106199003070014"), hash("/age", "34"))
    );
}

#[test]
fn escapes_and_white_space_do_not_change_what_is_shown() {
    let odd = "\n{ \"age\" : null ,\"n\\u0061me\": \"\\u5f20\\u4e09\" , \"id\":\"330106199003070014\" }";
    assert_eq!(
        shown(&[("/id", KeyedHash), ("/name", Masked), ("/age", Clear)], odd),
        format!(
            r#"{{"age":null,"name":"张*","id":"{}"}}"#,
            String::from_utf8(keys().hash("/id", "330106199003070014").to_vec()).unwrap()
        )
    );
    let quoted = r#"{"id":"1","name":"\"a\\\u0001b"}"#;
    let masked = shown(&[("/name", Masked)], quoted);
    assert_eq!(masked, r#"{"name":"\"***b"}"#);
    serde_json::from_str::<serde_json::Value>(&masked).unwrap();
}

#[test]
fn null_stays_null_whatever_the_treatment() {
    let nulls = r#"{"id":"1","age":null,"home":null}"#;
    assert_eq!(shown(&[("/age", KeyedHash), ("/home/street", Masked)], nulls), r#"{"age":null,"home":null}"#);
}

#[test]
fn the_nearer_rule_wins_and_a_whole_view_passes_the_bytes() {
    assert_eq!(
        shown(&[("/home", Clear), ("/home/street", Masked)], RECORD),
        r#"{"home":{"street":"江苏省南通市崇川区****","code":"226000"}}"#
    );
    let everything = view(&[("", Clear)]);
    assert!(everything.is_identity());
    let spaced = format!(" {RECORD}\n");
    assert_eq!(shown(&[("", Clear)], &spaced), spaced);
    assert!(
        view(&[("/id", Clear), ("/name", Clear), ("/age", Clear), ("/home", Clear), ("/phones", Clear)]).is_identity()
    );
    assert!(!view(&[("", Clear), ("/id", Masked)]).is_identity());
}

#[test]
fn equal_views_have_equal_ids() {
    let whole = view(&[("/home", Clear), ("/id", Masked)]);
    assert_eq!(whole.id(), view(&[("/id", Masked), ("/home/code", Clear), ("/home/street", Clear)]).id());
    for other in [
        view(&[("/home", Clear)]),
        view(&[("/home", Clear), ("/id", Clear)]),
        view(&[("/home", Clear), ("/id", KeyedHash)]),
        view(&[("/home/code", Clear), ("/id", Masked)]),
    ] {
        assert_ne!(whole.id(), other.id());
    }
    assert_eq!(whole.id().to_string().len(), 64);
}

#[test]
fn rules_that_cannot_be_kept_are_refused_together() {
    let error = person()
        .projection(&rules(&[
            ("/nobody", Clear),
            ("/age", Masked),
            ("/home", KeyedHash),
            ("/home/code", Masked),
            ("/id", Clear),
            ("/id", Masked),
        ]))
        .unwrap_err();
    let told: Vec<_> =
        error.problems().iter().map(|problem| format!("{} {}", problem.pointer, problem.flaw.code())).collect();
    assert_eq!(
        told,
        ["/nobody NO_SUCH_FIELD", "/age NO_TREATMENT", "/home NO_TREATMENT", "/home/code NO_TREATMENT", "/id REPEATED"]
    );
}

#[test]
fn an_invalid_record_leaves_nothing_behind() {
    let view = view(&[("/id", Clear), ("/home/code", Clear)]);
    for payload in [
        r#"{"id":"1","extra":2}"#,
        r#"{"id":"1""#,
        r#"{"id":"1","home":3}"#,
        r#"[]"#,
        "",
        r#"{"id":"1"}{"#,
        "{\"id\":\"\u{1}\"}",
    ] {
        let mut out = b"before".to_vec();
        assert_eq!(view.apply(payload.as_bytes(), &keys(), &mut out), Err(ProjectError::NotValid), "{payload}");
        assert_eq!(out, b"before");
    }
    assert_eq!(view.apply(b"{\"id\":\"\xff\"}", &keys(), &mut Vec::new()), Err(ProjectError::NotValid));
}

#[test]
fn a_view_of_all_required_fields_is_still_a_valid_record() {
    let person = person();
    let mut out = Vec::new();
    person
        .projection(&rules(&[("/id", Clear), ("/phones", Clear)]))
        .unwrap()
        .apply(RECORD.as_bytes(), &keys(), &mut out)
        .unwrap();
    person.validate(&out, &mut Scratch::new()).unwrap();
}
