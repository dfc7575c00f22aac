//! A department's own record type as people write it: the documents within the manifest, as `get -o yaml` prints them. `apply` also takes the documents
//! themselves ([`super::super::schema::own`]).

use serde::{Deserialize, Serialize};
use shuqiao_proto::v1;

use super::{Time, full_name, time};

/// Why a node's software cannot compile it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct Problem {
    pub(in crate::cli) path: String,
    pub(in crate::cli) rule: String,
    pub(in crate::cli) message_en: String,
    pub(in crate::cli) message_zh: String,
}

/// A record type of a department's own (部门自有记录标准).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct RecordType {
    pub(in crate::cli) kind: String,
    pub(in crate::cli) name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(in crate::cli) etag: String,
    /// Not there: the department that the name begins with.
    #[serde(default)]
    pub(in crate::cli) owner: String,
    /// JSON text. Lists leave it out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(in crate::cli) schema: String,
    /// JSON texts. Lists leave them out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::cli) code_tables: Vec<String>,
    /// Output only.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(in crate::cli) title: String,
    /// Output only: SHA-256 of the schema, in hexadecimal.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(in crate::cli) digest: String,
    /// Output only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::cli) problems: Vec<Problem>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) create_time: Option<Time>,
}

impl RecordType {
    /// What is to be sent.
    pub(in crate::cli) fn new(id: &str, schema: String, code_tables: Vec<String>) -> Self {
        Self { kind: "record-type".into(), name: id.into(), schema, code_tables, ..Self::default() }
    }
}

impl From<v1::RecordType> for RecordType {
    fn from(wire: v1::RecordType) -> Self {
        let problem = |one: v1::FieldViolation| Problem {
            path: one.path,
            rule: one.rule,
            message_en: one.message_en,
            message_zh: one.message_zh,
        };
        Self {
            kind: "record-type".into(),
            name: wire.name,
            etag: wire.etag,
            owner: wire.owner,
            schema: wire.schema,
            code_tables: wire.code_tables,
            title: wire.title,
            digest: hex::encode(wire.digest),
            problems: wire.problems.into_iter().map(problem).collect(),
            create_time: time(wire.create_time),
        }
    }
}

impl From<RecordType> for v1::RecordType {
    fn from(manifest: RecordType) -> Self {
        Self {
            name: full_name("recordTypes", &manifest.name),
            owner: manifest.owner,
            schema: manifest.schema,
            code_tables: manifest.code_tables,
            ..Self::default()
        }
    }
}
