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

/// A timestamp as milliseconds since 1970, cut to the millisecond; nothing outside the years 1 to 9999 or with impossible nanoseconds.
pub fn milliseconds(time: &prost_types::Timestamp) -> Option<i64> {
    // RFC 3339's range, as the message's own documentation has it.
    let seconds = (-62_135_596_800..=253_402_300_799).contains(&time.seconds).then_some(time.seconds)?;
    let nanos = (0..1_000_000_000).contains(&time.nanos).then_some(time.nanos)?;
    Some(seconds * 1_000 + i64::from(nanos / 1_000_000))
}
