//! A record type as data, for whoever prints it: `shuqiao schema describe`, the console, a catalogue entry.

use super::record_type::{Field, RecordType, SubjectOf};
use super::tables::CodeTable;
use serde::Serialize;

/// A whole record type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Description {
    /// `enterprise/v1`.
    pub name: String,
    /// English title.
    pub title_en: Option<String>,
    /// Chinese title.
    pub title_zh: Option<String>,
    /// English description.
    pub description_en: Option<String>,
    /// Chinese description.
    pub description_zh: Option<String>,
    /// SHA-256 of the schema document, in hexadecimal.
    pub digest: String,
    /// Pointers to the parts of the key.
    pub key: Vec<String>,
    /// Whom a record is about.
    pub subject: Option<SubjectDescription>,
    /// Pointers to the fields that can be looked up.
    pub indexed: Vec<String>,
    /// Every field but the record itself, in the order of the schema.
    pub fields: Vec<FieldDescription>,
    /// The rules between fields.
    pub rules: Vec<RuleDescription>,
    /// The code tables that fields use.
    pub tables: Vec<TableDescription>,
}

/// Whom a record is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SubjectDescription {
    /// Pointer to the identifier.
    pub value: String,
    /// Its kind, if it is always the same.
    pub kind: Option<&'static str>,
    /// Pointer to its kind, if the record says it.
    pub kind_field: Option<String>,
}

/// One field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldDescription {
    /// JSON Pointer; `*` for the elements of an array.
    pub pointer: String,
    /// The type's name in JSON Schema.
    #[serde(rename = "type")]
    pub field_type: &'static str,
    /// Must be there whenever the object around it is.
    pub required: bool,
    /// `null` is a value.
    pub nullable: bool,
    /// English title.
    pub title_en: Option<String>,
    /// Chinese title.
    pub title_zh: Option<String>,
    /// Grade of the data (GB/T 43697).
    pub level: Option<&'static str>,
    /// Whether it is about a person (PIPL).
    pub personal: Option<&'static str>,
    /// How it can be masked.
    pub mask: Option<&'static str>,
    /// The code table of its values.
    pub code_table: Option<String>,
    /// The identifier that its values are.
    pub identifier: Option<&'static str>,
}

/// One rule between fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleDescription {
    /// Its declared name.
    pub name: Option<String>,
    /// What it says: `not-before later=/valid_to earlier=/valid_from`.
    pub text: String,
}

/// One code table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableDescription {
    /// Its name.
    pub name: String,
    /// English title.
    pub title_en: String,
    /// Chinese title.
    pub title_zh: String,
    /// Standard and clause.
    pub source: String,
    /// How many codes it has.
    pub codes: usize,
}

impl From<&CodeTable> for TableDescription {
    fn from(table: &CodeTable) -> Self {
        TableDescription {
            name: table.name().to_owned(),
            title_en: table.title_en().to_owned(),
            title_zh: table.title_zh().to_owned(),
            source: table.source().to_owned(),
            codes: table.codes().len(),
        }
    }
}

/// Describes a record type.
pub fn describe(record_type: &RecordType) -> Description {
    let root = record_type.fields().first();
    let text = |pick: fn(&Field) -> &Option<String>| root.and_then(|root| pick(root).clone());
    Description {
        name: record_type.name().to_owned(),
        title_en: text(|field| &field.title_en),
        title_zh: text(|field| &field.title_zh),
        description_en: text(|field| &field.description_en),
        description_zh: text(|field| &field.description_zh),
        digest: hex::encode(record_type.digest()),
        key: record_type.key().to_vec(),
        subject: record_type.subject().map(subject),
        indexed: record_type.indexed_fields().iter().map(|field| field.pointer.clone()).collect(),
        fields: record_type.fields().iter().skip(1).map(field).collect(),
        rules: record_type
            .program
            .rules
            .iter()
            .map(|rule| RuleDescription { name: rule.name.clone(), text: rule.test.text() })
            .collect(),
        tables: record_type.tables().map(|table| TableDescription::from(&**table)).collect(),
    }
}

fn subject(subject: &SubjectOf) -> SubjectDescription {
    match subject {
        SubjectOf::Fixed { value, kind } => {
            SubjectDescription { value: value.clone(), kind: Some(kind), kind_field: None }
        }
        SubjectOf::Typed { value, kind_field } => {
            SubjectDescription { value: value.clone(), kind: None, kind_field: Some(kind_field.clone()) }
        }
    }
}

fn field(field: &Field) -> FieldDescription {
    FieldDescription {
        pointer: field.pointer.clone(),
        field_type: field.field_type.keyword(),
        required: field.required,
        nullable: field.nullable,
        title_en: field.title_en.clone(),
        title_zh: field.title_zh.clone(),
        level: field.sensitivity.map(|declared| declared.level.as_str()),
        personal: field.sensitivity.map(|declared| declared.personal.as_str()),
        mask: field.sensitivity.map(|declared| declared.mask.as_str()),
        code_table: field.code_table.clone(),
        identifier: field.identifier.map(|kind| kind.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::CodeTables;

    #[test]
    fn a_description_holds_what_the_schema_says() {
        let schema = r##"{"$id":"urn:shuqiao:record-type:t:v1","title":"Thing","x-title-zh":"东西","type":"object","additionalProperties":false,
            "x-key":["/id"],"x-subject":{"value":"/id","kind":"uscc"},"x-indexed":["/id"],"required":["id"],
            "x-rules":[{"rule":"requires-when","name":"n","if":{"path":"/id","in":["a","b"]},"then":["/to"]}],
            "$defs":{"date":{"type":"string","format":"date","title":"Date"}},
            "properties":{"id":{"type":"string","x-identifier":"uscc","x-sensitivity":{"level":"important","personal":"none"}},
            "to":{"$ref":"#/$defs/date","x-title-zh":"截止"}}}"##;
        let described = describe(&RecordType::compile(schema.as_bytes(), &CodeTables::new()).unwrap());
        let json = serde_json::to_value(&described).unwrap();
        assert_eq!(json["name"], "t/v1");
        assert_eq!(json["title_zh"], "东西");
        assert_eq!(json["subject"]["kind"], "uscc");
        assert_eq!(json["rules"][0]["text"], "requires-when if=/id in=a,b then=/to");
        assert_eq!(json["fields"][0]["level"], "important");
        assert_eq!(json["fields"][0]["identifier"], "uscc");
        assert_eq!((&json["fields"][1]["title_en"], &json["fields"][1]["title_zh"]), (&"Date".into(), &"截止".into()));
        assert_eq!(json["fields"][1]["type"], "string");
    }
}
