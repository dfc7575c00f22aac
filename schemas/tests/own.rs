//! What a department may register for itself: what passes, and each reason for which it does not.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use shuqiao_schemas::engine::Scratch;
use shuqiao_schemas::own::{Document, MAX_BYTES, MAX_TABLES, compile, examine};

const NAME: &str = "urban-management.dog-licence/v1";

fn schema(breed: &str) -> String {
    format!(
        r#"{{"$id":"urn:shuqiao:record-type:urban-management.dog-licence:v1","type":"object","additionalProperties":false,"required":["number"],
        "x-key":["/number"],"properties":{{"number":{{"type":"string","minLength":1,"maxLength":20}},
        "keeper_type":{{"type":"string","x-code-table":"holder-id-type"}},"breed":{{"type":"string",{breed}}}}}}}"#
    )
}

fn table(name: &str, codes: usize) -> String {
    let codes: Vec<_> = (0..codes).map(|code| format!(r#"{{"code":"{code}","en":"Breed","zh":"犬种"}}"#)).collect();
    format!(
        r#"{{"name":"{name}","title":{{"en":"Breeds","zh":"犬种"}},"source":"ours","codes":[{}]}}"#,
        codes.join(",")
    )
}

fn findings(schema: &str, tables: &[String]) -> Vec<String> {
    let document = |document| match document {
        Document::Schema => "schema".to_owned(),
        Document::Table(number) => format!("table {number}"),
    };
    let all = examine(NAME, schema, tables).err().unwrap_or_default();
    all.iter()
        .map(|one| format!("{} {} {}", document(one.document), one.problem.pointer, one.problem.flaw.code()))
        .collect()
}

#[test]
fn a_record_type_comes_with_tables_of_its_own_and_uses_ours() {
    let (schema, tables) = (schema(r#""x-code-table":"dog-breed""#), [table("dog-breed", 3)]);
    let examined = examine(NAME, &schema, &tables).unwrap();
    let compiled = compile(schema.as_bytes(), &tables).unwrap();
    assert_eq!((examined.name(), examined.digest()), (compiled.name(), compiled.digest()));
    let judge = |payload: &str| compiled.validate(payload.as_bytes(), &mut Scratch::new()).is_ok();
    assert!(judge(r#"{"number":"1","breed":"2","keeper_type":"111"}"#));
    assert!(!judge(r#"{"number":"1","breed":"3"}"#) && !judge(r#"{"number":"1","keeper_type":"dog"}"#));
}

#[test]
fn whatever_keeps_it_out_is_named_with_its_document() {
    let length = r#""maxLength":9"#;
    assert_eq!(findings(&schema(length), &[]), [""; 0]);
    assert_eq!(findings(&schema(length).replace("dog-licence:v1", "dog-licence:v2"), &[]), ["schema /$id OTHER_NAME"]);
    assert_eq!(findings(&schema(length).replace("urban-management.", ""), &[]), ["schema /$id OTHER_NAME"]);
    assert_eq!(findings(&schema(length), &[table("dog-breed", 1)]), ["table 0 /name UNUSED_TABLE"]);
    // A table of ours stays ours: a reader would take the one for the other.
    assert_eq!(findings(&schema(length), &[table("holder-id-type", 1)]), ["table 0 /name DUPLICATE_TABLE"]);
    let breed = r#""x-code-table":"dog-breed""#;
    let twice = [table("dog-breed", 1), table("dog-breed", 2)];
    assert_eq!(findings(&schema(breed), &twice), ["table 1 /name DUPLICATE_TABLE"]);
    assert_eq!(findings(&schema(breed), &[table("dog-breed", 5_001)]), ["table 0 /codes TOO_MANY_CODES"]);
    let doubled = table("dog-breed", 1).replace("]}", r#",{"code":"0","en":"Again","zh":"再"}]}"#);
    assert_eq!(
        findings(&schema(r#""maxLenght":9"#), &[doubled]),
        [
            "table 0 /codes/1/code DUPLICATE_CODE",
            "schema /properties/breed UNKNOWN_KEYWORD",
            "schema /properties/breed MISSING_KEYWORD",
        ]
    );
}

#[test]
fn what_is_too_large_is_not_even_read() {
    let spaces = " ".repeat(MAX_BYTES);
    assert_eq!(findings(&spaces, &[]), ["schema  NOT_JSON"]);
    assert_eq!(findings(&format!("{spaces} "), &[]), ["schema  TOO_LARGE"]);
    assert_eq!(findings(" ", &[spaces]), ["schema  TOO_LARGE"]);
    let many = vec![String::new(); MAX_TABLES + 1];
    assert_eq!(findings("{", &many), [format!("table {MAX_TABLES}  TOO_MANY_TABLES")]);
}

#[test]
fn a_table_that_we_bring_later_does_not_change_what_was_registered_before() {
    // As if `holder-id-type` had come with a later release than this record type: it goes on with its own.
    let (schema, tables) = (schema(r#""maxLength":9"#), [table("holder-id-type", 1)]);
    let compiled = compile(schema.as_bytes(), &tables).unwrap();
    let judge = |payload: &str| compiled.validate(payload.as_bytes(), &mut Scratch::new()).is_ok();
    assert!(judge(r#"{"number":"1","keeper_type":"0"}"#) && !judge(r#"{"number":"1","keeper_type":"111"}"#));
}
