//! What the validator's tests share: two small tables, a way to write a record type shortly, and one way to ask.

#![allow(dead_code, reason = "each test binary uses a part")]

use shuqiao_schemas::engine::{CodeTables, RecordType, SchemaError, Scratch};

/// The smallest record type.
pub(crate) const MINIMAL: &str = r#"{"$id":"urn:shuqiao:record-type:minimal:v1","type":"object","additionalProperties":false,
    "properties":{"id":{"type":"string","maxLength":1000000}},"required":["id"],"x-key":["/id"]}"#;

/// Tables `status` (1, 2) and `id-type` (111 a resident id, 414 a passport).
pub(crate) fn tables() -> CodeTables {
    let status = r#"{"name":"status","title":{"en":"Status","zh":"状态"},"source":"test","codes":[
        {"code":"1","en":"One","zh":"一"},{"code":"2","en":"Two","zh":"二"}]}"#;
    let id_type = r#"{"name":"id-type","title":{"en":"Document type","zh":"证件类型"},"source":"test","codes":[
        {"code":"111","en":"Resident id","zh":"公民身份号码","identifier":"resident_id"},{"code":"414","en":"Passport","zh":"普通护照"}]}"#;
    CodeTables::from_json([status.as_bytes(), id_type.as_bytes()]).unwrap()
}

/// Compiles a whole schema.
pub(crate) fn compile(schema: &str) -> Result<RecordType, SchemaError> {
    RecordType::compile(schema.as_bytes(), &tables())
}

/// A schema document from its variable parts.
pub(crate) fn schema(properties: &str, required: &str, declarations: &str) -> String {
    format!(
        r#"{{"$id":"urn:shuqiao:record-type:test:v1","type":"object","additionalProperties":false,"properties":{{{properties}}},"required":{required},{declarations}}}"#
    )
}

/// A compiled record type from the variable parts of its schema.
#[track_caller]
pub(crate) fn record_type(properties: &str, required: &str, declarations: &str) -> RecordType {
    match compile(&schema(properties, required, declarations)) {
        Ok(record_type) => record_type,
        Err(error) => panic!("{error}"),
    }
}

/// What the validator tells, as `pointer CODE`.
pub(crate) fn codes(record_type: &RecordType, payload: &[u8]) -> Vec<String> {
    match record_type.validate(payload, &mut Scratch::new()) {
        Ok(_) => Vec::new(),
        Err(violations) => {
            violations.iter().map(|violation| format!("{} {}", violation.path, violation.rule.code())).collect()
        }
    }
}
