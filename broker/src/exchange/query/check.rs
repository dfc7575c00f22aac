//! The form of a question, held against what the caller is shown: nobody narrows, compares or looks up by a field that it does not see in clear.

use shuqiao_schemas::engine::{IndexedField, RecordType};

use super::{Access, Compared, RowCondition, Violations};
use crate::exchange::{catalogue::TEXT_CHARACTERS_MAX, model::KEY_BYTES_MAX};

/// Fields of one comparison, at most.
pub const COMPARED_FIELDS_MAX: usize = 64;
/// Conditions of one filter, at most.
pub const CONDITIONS_MAX: usize = 16;
/// Values of one condition, at most: the first condition opens a reader for each.
pub const VALUES_MAX: usize = 64;
/// A value that is compared with has at most so many bytes.
const COMPARED_BYTES_MAX: usize = 64 << 10;
/// A subject and its kind have at most so many bytes.
const SUBJECT_BYTES_MAX: usize = 128;

/// A record key, of whatever record.
pub(super) fn key(found: &mut Violations, key: &str) {
    if key.is_empty() {
        found.add("key", "REQUIRED", "must not be empty", "不能为空");
    } else if key.len() > KEY_BYTES_MAX {
        found.add("key", "TOO_LONG", format!("at most {KEY_BYTES_MAX} bytes"), format!("至多 {KEY_BYTES_MAX} 字节"));
    }
}

/// A filter: its form, and that the access shows what it narrows by.
pub(super) fn filter(found: &mut Violations, access: &Access, filter: &[RowCondition]) {
    if filter.len() > CONDITIONS_MAX {
        let (en, zh) = (format!("at most {CONDITIONS_MAX} conditions"), format!("至多 {CONDITIONS_MAX} 个条件"));
        found.add("filter", "TOO_MANY", en, zh);
    }
    let indexed = access.record_type().indexed_fields();
    for (number, condition) in filter.iter().enumerate().take(CONDITIONS_MAX) {
        let (field, values) = (format!("filter[{number}].field"), format!("filter[{number}].values"));
        match indexed.iter().find(|one| one.name == condition.field) {
            None => {
                let names = indexed.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(", ");
                let (en, zh) =
                    (format!("no indexed field; indexed: {names}"), format!("不是可检索字段；可检索：{names}"));
                found.add(field, "NOT_INDEXED", en, zh);
            }
            Some(_) if !access.grants_index(&condition.field) => {
                let (en, zh) = ("the grant does not show this field in clear", "授权未以明文提供此字段");
                found.add(field, "FIELD_NOT_GRANTED", en, zh);
            }
            Some(one) => codes(found, access.record_type(), &values, one, condition),
        }
        if condition.values.is_empty() {
            found.add(&values, "REQUIRED", "name at least one value", "至少列出一个取值");
        }
        if condition.values.len() > VALUES_MAX {
            found.add(&values, "TOO_MANY", format!("at most {VALUES_MAX} values"), format!("至多 {VALUES_MAX} 个取值"));
        }
        if condition.values.iter().any(|value| value.chars().nth(TEXT_CHARACTERS_MAX).is_some()) {
            let most = TEXT_CHARACTERS_MAX;
            found.add(&values, "TOO_LONG", format!("at most {most} characters"), format!("不得超过 {most} 个字符"));
        }
    }
}

/// No record has a code that the field's table lacks: an answer without records would say that there is no such record, and not that there is no such code.
fn codes(
    found: &mut Violations,
    record_type: &RecordType,
    path: &str,
    indexed: &IndexedField,
    condition: &RowCondition,
) {
    let Some(name) = record_type.field(&indexed.pointer).and_then(|field| field.code_table.as_deref()) else { return };
    let Some(table) = record_type.tables().find(|table| table.name() == name) else { return };
    if condition.values.iter().take(VALUES_MAX).any(|value| !table.contains(value)) {
        let (en, zh) = (format!("not a code of the table {name}"), format!("不是代码表 {name} 中的代码"));
        found.add(path, "UNKNOWN_CODE", en, zh);
    }
}

/// What is to be compared: its form, and that the access shows it.
pub(super) fn compared(found: &mut Violations, access: &Access, fields: &[Compared]) {
    if fields.is_empty() {
        found.add("fields", "REQUIRED", "name at least one field", "至少列出一个字段");
    }
    if fields.len() > COMPARED_FIELDS_MAX {
        let most = COMPARED_FIELDS_MAX;
        found.add("fields", "TOO_MANY", format!("at most {most} fields"), format!("至多 {most} 个字段"));
    }
    for (number, field) in fields.iter().enumerate().take(COMPARED_FIELDS_MAX) {
        let path = format!("fields[{number}].path");
        if field.path.split('/').any(|step| step == "*") {
            found.add(path, "NOT_A_VALUE", "name one element by its number", "应以序号指明某一元素");
        } else if !access.grants_field(&field.path) {
            let (en, zh) = ("no single value that the grant shows in clear", "不是授权以明文提供的单值字段");
            found.add(path, "FIELD_NOT_GRANTED", en, zh);
        }
        if field.value.len() > COMPARED_BYTES_MAX {
            let (en, zh) = (format!("at most {COMPARED_BYTES_MAX} bytes"), format!("至多 {COMPARED_BYTES_MAX} 字节"));
            found.add(format!("fields[{number}].value"), "TOO_LONG", en, zh);
        }
    }
}

/// A subject and its kind.
pub(super) fn subject(found: &mut Violations, kind: &str, value: &str) {
    for (path, text) in [("subject_kind", kind), ("subject", value)] {
        found.required(path, text);
        if text.len() > SUBJECT_BYTES_MAX {
            let (en, zh) = (format!("at most {SUBJECT_BYTES_MAX} bytes"), format!("至多 {SUBJECT_BYTES_MAX} 字节"));
            found.add(path, "TOO_LONG", en, zh);
        }
    }
}
