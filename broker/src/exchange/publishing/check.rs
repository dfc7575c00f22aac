//! The rules that one record must keep, beside those of its record type.

use shuqiao_schemas::engine::{RecordType, Scratch, Violation};

use super::NewRecord;
use crate::exchange::{
    error::FieldViolation,
    model::{KEY_BYTES_MAX, Operation, PAYLOAD_BYTES_MAX},
};

/// Checks one record. Returns its operation and the warnings, or every violation.
pub(super) fn check(
    record: &NewRecord,
    record_type: &RecordType,
    scratch: &mut Scratch,
) -> Result<(Operation, Vec<FieldViolation>), Vec<FieldViolation>> {
    let mut violations = Vec::new();
    check_key(&record.key, &mut violations);
    let Some(operation) = record.operation else {
        violations.push(FieldViolation::new("operation", "REQUIRED", "must be upsert or delete", "应为新增更新或删除"));
        return Err(violations);
    };
    let mut warnings = Vec::new();
    match operation {
        Operation::Delete => {
            if !record.payload.is_empty() {
                violations.push(FieldViolation::new(
                    "payload",
                    "NOT_EMPTY",
                    "a delete carries no payload",
                    "删除操作不得携带内容",
                ));
            }
        }
        Operation::Upsert if record.payload.len() > PAYLOAD_BYTES_MAX => {
            violations.push(FieldViolation::new(
                "payload",
                "TOO_LARGE",
                "a payload has at most 1,048,576 bytes",
                "内容至多 1,048,576 字节",
            ));
        }
        Operation::Upsert => match record_type.validate(&record.payload, scratch) {
            Ok(facts) => {
                if facts.key != record.key {
                    violations.push(FieldViolation::new(
                        "key",
                        "KEY_MISMATCH",
                        "differs from what the payload's key fields say",
                        "与内容中的主键字段不一致",
                    ));
                }
                warnings.extend(facts.warnings().iter().map(violation));
            }
            Err(found) => violations.extend(found.iter().map(violation)),
        },
    }
    if violations.is_empty() { Ok((operation, warnings)) } else { Err(violations) }
}

fn check_key(key: &str, violations: &mut Vec<FieldViolation>) {
    if key.is_empty() {
        violations.push(FieldViolation::new("key", "REQUIRED", "a record has a key", "记录应有主键"));
    } else if key.len() > KEY_BYTES_MAX {
        violations.push(FieldViolation::new("key", "TOO_LONG", "a key has at most 512 bytes", "主键至多 512 字节"));
    } else if key.bytes().any(|byte| byte < 0x20) {
        // The view separates the parts of its keys with NUL.
        violations.push(FieldViolation::new(
            "key",
            "CONTROL_CHARACTER",
            "a key holds no control characters",
            "主键不得含控制字符",
        ));
    }
}

/// A violation of the record type, as the caller sees it.
fn violation(found: &Violation) -> FieldViolation {
    FieldViolation::new(found.path.clone(), found.code(), found.message_en.clone(), found.message_zh.clone())
}
