//! Nouns of the domain as messages, shared by the services.

use shuqiao_proto::v1;

use crate::exchange::error::FieldViolation;

/// A violation as the caller reads it.
pub fn violation(violation: FieldViolation) -> v1::FieldViolation {
    let FieldViolation { path, rule, message_en, message_zh } = violation;
    v1::FieldViolation { path, rule, message_en, message_zh }
}

/// Milliseconds since 1970 as a timestamp.
pub fn timestamp(time_ms: i64) -> prost_types::Timestamp {
    let nanos = i32::try_from(time_ms.rem_euclid(1000) * 1_000_000).unwrap_or(0);
    prost_types::Timestamp { seconds: time_ms.div_euclid(1000), nanos }
}
