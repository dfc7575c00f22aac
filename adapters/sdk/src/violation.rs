//! A rule that a field breaks, as the mapping, the broker and a sink say it in the same words.

use serde::{Deserialize, Serialize};
use shuqiao_proto::v1;

/// One broken rule. Never quotes the value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// JSON Pointer into the payload, or the column or field of the record.
    pub path: String,
    /// Stable rule name, UPPER_SNAKE_CASE: what dead letters are counted by.
    pub rule: String,
    /// For a person, English.
    pub message_en: String,
    /// For a person, Chinese.
    pub message_zh: String,
}

impl Violation {
    /// A violation of `rule` at `path`.
    pub fn new(
        path: impl Into<String>,
        rule: impl Into<String>,
        message_en: impl Into<String>,
        message_zh: impl Into<String>,
    ) -> Self {
        Self { path: path.into(), rule: rule.into(), message_en: message_en.into(), message_zh: message_zh.into() }
    }
}

impl From<v1::FieldViolation> for Violation {
    fn from(wire: v1::FieldViolation) -> Self {
        Self { path: wire.path, rule: wire.rule, message_en: wire.message_en, message_zh: wire.message_zh }
    }
}
