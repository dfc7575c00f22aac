//! Each rule of the profile, broken once: what the validator says, where, and that it says nothing about a record that keeps them.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod common;

use common::{codes, compile, record_type};
use shuqiao_schemas::engine::{MAX_VIOLATIONS, Rule, Scratch};
use std::borrow::Cow;

/// A record type with one more member `f` of the given schema, and an optional `t`.
fn with_member(schema: &str) -> shuqiao_schemas::engine::RecordType {
    record_type(
        &format!(r#""id": {{"type":"string","minLength":1,"maxLength":20}}, "f": {schema}"#),
        r#"["id"]"#,
        r#""x-key":["/id"]"#,
    )
}

/// Values that member `f` takes, and values that it does not with the code it is told.
#[track_caller]
fn check(schema: &str, good: &[&str], bad: &[(&str, &str)]) {
    let compiled = with_member(schema);
    for value in good {
        let payload = format!(r#"{{"id":"1","f":{value}}}"#);
        assert_eq!(codes(&compiled, payload.as_bytes()), Vec::<String>::new(), "{schema} {value}");
    }
    for (value, code) in bad {
        let payload = format!(r#"{{"id":"1","f":{value}}}"#);
        assert_eq!(codes(&compiled, payload.as_bytes()), [format!("/f {code}")], "{schema} {value}");
    }
}

#[test]
fn lengths_count_characters_and_gb18030_bytes() {
    check(
        r#"{"type":"string","minLength":2,"maxLength":3}"#,
        &[r#""ab""#, r#""企业家""#, r#""𠮷\ud842\udfb7""#],
        &[(r#""a""#, "TOO_SHORT"), (r#""企""#, "TOO_SHORT"), (r#""abcd""#, "TOO_LONG"), (r#""企业家们""#, "TOO_LONG")],
    );
    check(
        r#"{"type":"string","x-max-bytes-gb18030":4}"#,
        &[r#""abcd""#, r#""企业""#, r#""𠮷""#],
        &[(r#""abcde""#, "TOO_MANY_BYTES"), (r#""企业a""#, "TOO_MANY_BYTES"), (r#""\ud842\udfb7a""#, "TOO_MANY_BYTES")],
    );
}

#[test]
fn patterns_enumerations_constants_and_tables_close_a_text() {
    check(
        r#"{"type":"string","maxLength":9,"pattern":"^\\d{3}$"}"#,
        &[r#""123""#, r#""\u0031\u0032\u0033""#],
        &[(r#""12a""#, "PATTERN"), (r#""١٢٣""#, "PATTERN")],
    );
    check(
        r#"{"type":"string","enum":["a","a-long-member"]}"#,
        &[r#""a""#, r#""a-long-member""#],
        &[(r#""b""#, "NOT_ALLOWED")],
    );
    check(r#"{"type":"string","const":"a"}"#, &[r#""a""#], &[(r#""b""#, "NOT_ALLOWED")]);
    check(r#"{"type":"string","x-code-table":"status"}"#, &[r#""1""#, r#""2""#], &[(r#""3""#, "UNKNOWN_CODE")]);
    check(r#"{"type":["string","null"],"enum":["a",null]}"#, &["null", r#""a""#], &[(r#""b""#, "NOT_ALLOWED")]);
    check(r#"{"type":["string","null"],"enum":["a"]}"#, &[r#""a""#], &[("null", "WRONG_TYPE")]);
    check(r#"{"type":"boolean","const":true}"#, &["true"], &[("false", "NOT_ALLOWED")]);
    check(r#"{"type":"integer","enum":[1,2]}"#, &["1", "2.0"], &[("3", "NOT_ALLOWED")]);
}

#[test]
fn numbers_keep_their_bounds_and_survive() {
    check(
        r#"{"type":"integer","minimum":-1,"maximum":10}"#,
        &["-1", "10", "1e1", "10.0", "-0"],
        &[
            ("-2", "TOO_SMALL"),
            ("11", "TOO_GREAT"),
            ("1.5", "WRONG_TYPE"),
            ("99999999999999999999", "NUMBER_NOT_EXACT"),
            ("1e999", "NUMBER_NOT_EXACT"),
            ("\"1\"", "WRONG_TYPE"),
        ],
    );
    check(
        r#"{"type":"number","minimum":0.5,"maximum":2}"#,
        &["0.5", "2", "1.25e0"],
        &[("0.25", "TOO_SMALL"), ("3", "TOO_GREAT"), ("1.00000000000000000001", "NUMBER_NOT_EXACT")],
    );
    check(r#"{"type":"number"}"#, &["0"], &[(&"1".repeat(10_000), "NUMBER_NOT_EXACT")]);
}

#[test]
fn dates_times_and_decimals_have_one_form() {
    check(
        r#"{"type":"string","format":"date"}"#,
        &[r#""2024-02-29""#, r#""2099-12-31""#],
        &[(r#""2023-02-29""#, "DATE"), (r#""长期""#, "DATE")],
    );
    check(
        r#"{"type":"string","format":"date","x-long-term":true}"#,
        &[r#""2024-02-29""#, r#""长期""#, r#""\u957f\u671f""#],
        &[(r#""2099-12-31""#, "PLACEHOLDER_DATE"), (r#""9999-12-31""#, "PLACEHOLDER_DATE"), (r#""永久""#, "DATE")],
    );
    check(
        r#"{"type":"string","format":"date-time"}"#,
        &[r#""2024-02-29T12:00:00+08:00""#],
        &[(r#""2024-02-29T12:00:00Z""#, "DATE_TIME")],
    );
    check(
        r#"{"type":"string","x-decimal":{"integer-digits":3,"fraction-digits":2}}"#,
        &[r#""0""#, r#""999.99""#],
        &[(r#""1000""#, "DECIMAL"), (r#""1.005""#, "DECIMAL"), (r#""-1""#, "DECIMAL"), (r#""1e2""#, "DECIMAL")],
    );
    check(
        r#"{"type":"string","x-decimal":{"integer-digits":3,"fraction-digits":2,"negative":true}}"#,
        &[r#""-1""#],
        &[(r#""-0""#, "DECIMAL")],
    );
}

#[test]
fn arrays_are_counted_and_their_elements_checked_by_index() {
    let compiled = with_member(r#"{"type":"array","minItems":1,"maxItems":2,"items":{"type":"integer"}}"#);
    assert_eq!(codes(&compiled, br#"{"id":"1","f":[]}"#), ["/f TOO_FEW_ITEMS"]);
    assert_eq!(codes(&compiled, br#"{"id":"1","f":[1,"x",true]}"#), ["/f/1 WRONG_TYPE", "/f TOO_MANY_ITEMS"]);
    assert_eq!(codes(&compiled, br#"{"id":"1","f":[1 , 2 ]}"#), Vec::<String>::new());
}

#[test]
fn every_violation_is_told_in_one_answer() {
    let compiled = record_type(
        r#""id":{"type":"string","minLength":1,"maxLength":3},"a":{"type":"object","additionalProperties":false,"required":["x","y"],
        "properties":{"x":{"type":"integer"},"y":{"type":["string","null"],"maxLength":2}}},"d":{"type":"string","format":"date"}"#,
        r#"["id","d"]"#,
        r#""x-key":["/id"]"#,
    );
    let told =
        codes(&compiled, r#"{"a":{"y":"abc","x":"1","z":0},"extra":{"deep":[1]},"id":"long","张三":1}"#.as_bytes());
    assert_eq!(
        told,
        [
            "/a/y TOO_LONG",
            "/a/x WRONG_TYPE",
            "/a/z UNKNOWN_PROPERTY",
            "/extra UNKNOWN_PROPERTY",
            "/id TOO_LONG",
            " UNKNOWN_PROPERTY",
            "/d REQUIRED"
        ]
    );
}

#[test]
fn messages_speak_two_languages_and_never_quote_the_value() {
    let compiled = with_member(
        r#"{"type":"string","maxLength":5,"pattern":"^x","format":"date","enum":["x"],"x-code-table":"status","x-max-bytes-gb18030":4}"#,
    );
    let secret = "330106199003070014";
    let payload = format!(r#"{{"id":"{secret}{secret}","f":"{secret}","{secret} 张":1}}"#);
    let told = compiled.validate(payload.as_bytes(), &mut Scratch::new()).unwrap_err();
    assert_eq!(told.len(), 8);
    for violation in told.iter() {
        assert!(!format!("{violation:?} {violation}").contains(secret));
        assert!(!violation.message_en.is_empty() && !violation.message_zh.is_ascii());
    }
}

#[test]
fn there_is_an_end_to_what_is_told() {
    let compiled = with_member(r#"{"type":"array","maxItems":500,"items":{"type":"integer"}}"#);
    let payload = format!(r#"{{"id":"1","f":[{}]}}"#, ["true"; 400].join(","));
    let told = compiled.validate(payload.as_bytes(), &mut Scratch::new()).unwrap_err();
    assert_eq!(told.len(), MAX_VIOLATIONS + 1);
    assert_eq!(told.last().unwrap().rule, Rule::TooManyViolations);
}

#[test]
fn the_order_of_members_and_the_white_space_between_them_do_not_matter() {
    let compiled = record_type(
        r#""a":{"type":"string","maxLength":3},"b":{"type":"integer"},"c":{"type":"boolean"},"d":{"type":"integer"},"e":{"type":"integer"},"f":{"type":"integer"}"#,
        r#"["a"]"#,
        r#""x-key":["/a"],"x-indexed":["/b","/c","/f"]"#,
    );
    for payload in [
        r#"{"a":"k","b":7,"c":true,"f":9}"#,
        "\n{ \"f\" :\t9 , \"c\" : true,\r\n\"b\":7,\"a\":\"k\" }\n",
        r#"{"\u0062":7,"f":9,"a":"\u006b","c":true}"#,
    ] {
        let mut scratch = Scratch::new();
        let facts = compiled.validate(payload.as_bytes(), &mut scratch).unwrap();
        assert_eq!(facts.key, "k");
        let indexed: Vec<_> = (0..4).map(|number| facts.indexed(number)).collect();
        assert_eq!(indexed, [Some(Cow::Borrowed("7")), Some(Cow::Borrowed("true")), Some(Cow::Borrowed("9")), None]);
    }
}

#[test]
fn facts_borrow_from_the_payload() {
    let compiled = record_type(
        r#""a":{"type":"string","maxLength":30},"b":{"type":"string","maxLength":30}"#,
        r#"["a","b"]"#,
        r#""x-key":["/a","/b"],"x-indexed":["/b"]"#,
    );
    let mut scratch = Scratch::new();
    let facts = compiled.validate(r#"{"a":"x","b":"企业"}"#.as_bytes(), &mut scratch).unwrap();
    assert_eq!(facts.key, "x|企业");
    assert!(matches!(facts.indexed(0), Some(Cow::Borrowed("企业"))));
    assert_eq!(codes(&compiled, br#"{"a":"x|y","b":"z"}"#), ["/a KEY_PART"]);
    assert_eq!(codes(&compiled, br#"{"a":"","b":"z"}"#), ["/a KEY_PART"]);
}

#[test]
fn the_subject_carries_its_kind() {
    let members = r#""id":{"type":"string","maxLength":30},"type":{"type":"string","x-code-table":"id-type"}"#;
    let compiled =
        record_type(members, r#"["id"]"#, r#""x-key":["/id"],"x-subject":{"value":"/id","kind-field":"/type"}"#);
    let mut scratch = Scratch::new();
    for (code, value, kind) in [("111", "11010519491231002X", Some("resident_id")), ("414", "E12345678", Some("414"))] {
        let payload = format!(r#"{{"id":"{value}","type":"{code}"}}"#);
        let facts = compiled.validate(payload.as_bytes(), &mut scratch).unwrap();
        assert_eq!(facts.subject.map(|subject| subject.kind), kind);
    }
    assert!(compiled.validate(br#"{"id":"E12345678"}"#, &mut scratch).unwrap().subject.is_none());
    assert_eq!(codes(&compiled, br#"{"id":"E12345678","type":"111"}"#), ["/id IDENTIFIER"]);
    assert_eq!(codes(&compiled, br#"{"id":"E1","type":"\u00341\u0034"}"#), ["/type SUBJECT_KIND"]);
    let fixed = record_type(members, r#"["id"]"#, r#""x-key":["/id"],"x-subject":{"value":"/id","kind":"uscc"}"#);
    assert_eq!(fixed.validate(br#"{"id":"x"}"#, &mut scratch).unwrap().subject.unwrap().kind, "uscc");
}

#[test]
fn what_subject_and_rule_both_say_of_a_number_is_told_once() {
    let members = r#""id":{"type":"string","maxLength":30},"type":{"type":"string","x-code-table":"id-type"}"#;
    let declared = r#""x-key":["/id"],"x-subject":{"value":"/id","kind-field":"/type"},"x-rules":[{"rule":"identifier-of","value":"/id","kind-field":"/type"}]"#;
    let compiled = record_type(members, r#"["id"]"#, declared);
    assert_eq!(codes(&compiled, br#"{"id":"E12345678","type":"111"}"#), ["/id IDENTIFIER"]);
    let doubtful = shuqiao_schemas::identifier::ResidentId::from_body("99010119600307001").unwrap();
    let payload = format!(r#"{{"id":"{}","type":"111"}}"#, doubtful.as_str());
    let mut scratch = Scratch::new();
    let facts = compiled.validate(payload.as_bytes(), &mut scratch).unwrap();
    let warnings: Vec<_> = facts.warnings().iter().map(|warning| (&*warning.path, warning.code())).collect();
    assert_eq!(warnings, [("/id", "UNKNOWN_REGION")]);
}

#[test]
fn cross_field_rules_name_the_field_that_must_change() {
    let compiled = record_type(
        r#""id":{"type":"string","maxLength":9},"from":{"type":"string","format":"date"},"to":{"type":"string","format":"date","x-long-term":true},
        "at":{"type":"string","format":"date-time"},"l":{"type":["string","null"],"maxLength":9},"r":{"type":"string","maxLength":9},
        "code":{"type":"string","maxLength":10},"uscc":{"type":"string","maxLength":18}"#,
        r#"["id"]"#,
        r#""x-key":["/id"],"x-rules":[
        {"rule":"not-before","name":"end-after-start","later":"/to","earlier":"/from"},
        {"rule":"not-before","later":"/at","earlier":"/from"},
        {"rule":"equal","left":"/l","right":"/r"},
        {"rule":"requires","if":"/at","then":["/from"]},
        {"rule":"requires-when","if":{"path":"/r","in":["x"]},"then":["/l","/code"]},
        {"rule":"part-of","part":"/code","whole":"/uscc","from":9,"to":17}]"#,
    );
    for (rest, told) in [
        (r#""from":"2024-01-02","to":"2024-01-02""#, vec![]),
        (r#""from":"2024-01-02","to":"长期""#, vec![]),
        (r#""to":"2024-01-01","from":"2024-01-02""#, vec!["/to NOT_BEFORE"]),
        (r#""to":"2024-01-00","from":"2024-01-02""#, vec!["/to DATE"]),
        (r#""from":"2024-01-02","at":"2024-01-02T00:00:00+08:00""#, vec![]),
        (r#""from":"2024-01-02","at":"2024-01-01T23:59:59+08:00""#, vec!["/at NOT_BEFORE"]),
        (r#""at":"2024-01-01T23:59:59+08:00""#, vec!["/from REQUIRED_BY"]),
        (r#""l":"a","r":"\u0061""#, vec![]),
        (r#""l":"a","r":"b""#, vec!["/l EQUAL"]),
        (r#""l":null,"r":"b""#, vec![]),
        (r#""l":null,"r":"x""#, vec!["/l REQUIRED_BY", "/code REQUIRED_BY"]),
        (r#""code":"711771143","uscc":"91340000711771143J""#, vec![]),
        (r#""code":"711771144","uscc":"91340000711771143J""#, vec!["/code PART_OF"]),
        // Positions count characters. Too short to have the part: left to the field's own rules.
        (r#""code":"企业甲乙丙丁戊己庚","uscc":"統一社会信用代碼甲企业甲乙丙丁戊己庚""#, vec!["/code PART_OF"]),
        (r#""code":"企业甲乙丙丁戊己庚","uscc":"統一社会信用代碼企业甲乙丙丁戊己庚""#, vec![]),
        (r#""code":"711771144","uscc":"9134""#, vec![]),
        (r#""code":"711771144","uscc":"企企企企企企""#, vec![]),
    ] {
        assert_eq!(codes(&compiled, format!(r#"{{"id":"1",{rest}}}"#).as_bytes()), told, "{rest}");
    }
    let told =
        compiled.validate(br#"{"id":"1","from":"2024-01-02","to":"2024-01-01"}"#, &mut Scratch::new()).unwrap_err();
    assert_eq!(told[0].name.as_deref(), Some("end-after-start"));
}

#[test]
fn a_quantity_is_compared_where_its_unit_is_the_same() {
    let compiled = record_type(
        r#""id":{"type":"string","maxLength":9},"promised":{"type":"integer"},"limit":{"type":"number"},"unit":{"type":"string","maxLength":3},
        "limit_unit":{"type":"string","maxLength":3},"paid":{"type":"string","x-decimal":{"integer-digits":38,"fraction-digits":2}},
        "owed":{"type":"string","x-decimal":{"integer-digits":38,"fraction-digits":6}}"#,
        r#"["id"]"#,
        r#""x-key":["/id"],"x-rules":[
        {"rule":"not-above","lesser":"/promised","greater":"/limit","where-equal":[["/unit","/limit_unit"]]},
        {"rule":"not-above","lesser":"/paid","greater":"/owed"}]"#,
    );
    for (rest, told) in [
        (r#""promised":5,"limit":5"#, vec![]),
        (r#""promised":5,"limit":0.5e1"#, vec![]),
        (r#""promised":6,"limit":5.5"#, vec!["/promised NOT_ABOVE"]),
        (r#""promised":6,"limit":5,"unit":"d","limit_unit":"d""#, vec!["/promised NOT_ABOVE"]),
        (r#""promised":6,"limit":5,"unit":"d","limit_unit":"wd""#, vec![]),
        (r#""promised":6,"limit":5,"unit":"d""#, vec![]),
        (r#""promised":6"#, vec![]),
        (r#""paid":"100","owed":"100.000000""#, vec![]),
        (r#""paid":"100.01","owed":"100.009999""#, vec!["/paid NOT_ABOVE"]),
        // As texts, and as doubles, these two compare the other way round or not at all.
        (r#""paid":"9","owed":"10""#, vec![]),
        (r#""paid":"100000000000000000000000000001","owed":"100000000000000000000000000000""#, vec!["/paid NOT_ABOVE"]),
    ] {
        assert_eq!(codes(&compiled, format!(r#"{{"id":"1",{rest}}}"#).as_bytes()), told, "{rest}");
    }
}

#[test]
fn a_value_is_held_to_what_another_field_says() {
    let compiled = record_type(
        r#""id":{"type":"string","maxLength":9},"type":{"type":"string","x-code-table":"id-type"},"number":{"type":"string","maxLength":20},
        "who":{"type":"string","enum":["person","firm"]}"#,
        r#"["id"]"#,
        r#""x-key":["/id"],"x-rules":[
        {"rule":"identifier-of","name":"number-is-what-it-says","value":"/number","kind-field":"/type"},
        {"rule":"allowed-when","name":"persons-have-documents","if":{"path":"/who","in":["person"]},"then":{"path":"/type","in":["111","414"]}},
        {"rule":"allowed-when","if":{"path":"/who","in":["firm"]},"then":{"path":"/type","in":["414"]}}]"#,
    );
    for (rest, told) in [
        (r#""type":"111","number":"330106199003070014""#, vec![]),
        (r#""type":"\u0031\u0031\u0031","number":"\u0033301061990030700\u0031\u0034""#, vec![]),
        (r#""type":"111","number":"330106199003070015""#, vec!["/number IDENTIFIER"]),
        (r#""type":"414","number":"E12345678""#, vec![]),
        (r#""number":"330106199003070015""#, vec![]),
        (r#""type":"9","number":"330106199003070015""#, vec!["/type UNKNOWN_CODE"]),
        (r#""who":"person","type":"414""#, vec![]),
        (r#""who":"firm","type":"111""#, vec!["/type NOT_ALLOWED_WITH"]),
        (r#""who":"firm""#, vec![]),
    ] {
        assert_eq!(codes(&compiled, format!(r#"{{"id":"1",{rest}}}"#).as_bytes()), told, "{rest}");
    }
    let payload = br#"{"id":"1","type":"111","number":"990101199003070017"}"#;
    let mut scratch = Scratch::new();
    if let Ok(facts) = compiled.validate(payload, &mut scratch) {
        assert_eq!(facts.warnings().first().map(|warning| warning.path.as_str()), Some("/number"));
    }
}

#[test]
fn a_rule_with_a_star_holds_for_every_element_and_names_the_one_that_breaks_it() {
    let compiled = record_type(
        r#""id":{"type":"string","maxLength":9},"code":{"type":"string","maxLength":9},
        "steps":{"type":["array","null"],"maxItems":4,"items":{"type":["object","null"],"additionalProperties":false,"properties":{
            "from":{"type":"string","format":"date"},"to":{"type":"string","format":"date"},"code":{"type":"string","maxLength":9},
            "at":{"type":"object","additionalProperties":false,"properties":{"place":{"type":"string","maxLength":9}}}}}},
        "words":{"type":"array","maxItems":3,"items":{"type":"string","maxLength":9}}"#,
        r#"["id"]"#,
        r#""x-key":["/id"],"x-rules":[
        {"rule":"not-before","name":"in-order","later":"/steps/*/to","earlier":"/steps/*/from"},
        {"rule":"requires","if":"/steps/*/to","then":["/steps/*/from","/steps/*/at/place"]},
        {"rule":"part-of","part":"/code","whole":"/steps/*/code","from":1,"to":2},
        {"rule":"allowed-when","if":{"path":"/code","in":["ab"]},"then":{"path":"/words/*","in":["x","y"]}}]"#,
    );
    for (rest, told) in [
        (r#""steps":null"#, vec![]),
        (r#""steps":[]"#, vec![]),
        (r#""steps":[null,{}]"#, vec![]),
        (r#""steps":[{"from":"2024-01-02","to":"2024-01-02","at":{"place":"x"}}]"#, vec![]),
        (
            r#""steps":[{"from":"2024-01-02"},{"at":{"place":"x"},"to":"2024-01-01","from":"2024-01-02"},{"from":"2024-01-09"}]"#,
            vec!["/steps/1/to NOT_BEFORE"],
        ),
        // The start of one step is not the start of the next.
        (
            r#""steps":[{"from":"2024-01-02"},{"to":"2024-01-03"}]"#,
            vec!["/steps/1/from REQUIRED_BY", "/steps/1/at/place REQUIRED_BY"],
        ),
        (r#""steps":[{"from":"2024-01-99","to":"2024-01-01","at":{"place":"x"}}]"#, vec!["/steps/0/from DATE"]),
        // The record around the array may come before or after it.
        (r#""code":"ab","steps":[{"code":"abc"},{"code":"axc"}]"#, vec!["/code PART_OF"]),
        (r#""steps":[{"code":"abc"},{"code":"abd"}],"code":"ab""#, vec![]),
        (r#""words":["x","z","y"],"code":"ab""#, vec!["/words/1 NOT_ALLOWED_WITH"]),
    ] {
        assert_eq!(codes(&compiled, format!(r#"{{"id":"1",{rest}}}"#).as_bytes()), told, "{rest}");
    }
    // What one record left behind is not seen by the next, of this type or another.
    let mut scratch = Scratch::new();
    let wrong = br#"{"id":"1","steps":[{"from":"2024-01-02","to":"2024-01-01","at":{"place":"x"}}]}"#;
    let told = compiled.validate(wrong, &mut scratch).unwrap_err();
    assert_eq!((told[0].path.as_str(), told[0].name.as_deref()), ("/steps/0/to", Some("in-order")));
    assert!(compiled.validate(br#"{"id":"1"}"#, &mut scratch).is_ok());
    assert!(compile(common::MINIMAL).unwrap().validate(br#"{"id":"1"}"#, &mut scratch).is_ok());
}

#[test]
fn one_of_several_fields_must_be_there() {
    let compiled = record_type(
        r#""id":{"type":"string","maxLength":9},"a":{"type":["string","null"],"maxLength":9},"b":{"type":"integer"}"#,
        r#"["id"]"#,
        r#""x-key":["/id"],"x-rules":[{"rule":"one-of-present","paths":["/a","/b"]}]"#,
    );
    assert_eq!(codes(&compiled, br#"{"id":"1","b":1}"#), Vec::<String>::new());
    assert_eq!(codes(&compiled, br#"{"id":"1","a":null}"#), ["/a ONE_OF_PRESENT"]);
}

#[test]
fn a_payload_has_a_size_limit() {
    let compiled = compile(common::MINIMAL).unwrap().with_max_payload_bytes(20);
    assert_eq!(codes(&compiled, br#"{"id":"1"}         "#), Vec::<String>::new());
    assert_eq!(codes(&compiled, br#"{"id":"1"}           "#), [" PAYLOAD_TOO_LARGE"]);
    let large = format!(r#"{{"id":"{}"}}"#, "a".repeat(1 << 20));
    assert_eq!(codes(&compile(common::MINIMAL).unwrap(), large.as_bytes()), [" PAYLOAD_TOO_LARGE"]);
}
