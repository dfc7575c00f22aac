//! Nouns of the domain as messages, shared by the services.

use bytes::Bytes;
use shuqiao_proto::v1;

use crate::exchange::{
    error::FieldViolation,
    model::{DatasetId, Operation, Position, Record},
};

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

/// A position as a message.
pub fn position(position: Position) -> v1::Position {
    v1::Position { partition: position.partition, offset: position.offset }
}

/// Next offsets in order of partition, as positions.
pub fn positions(offsets: impl IntoIterator<Item = u64>) -> Vec<v1::Position> {
    (0..).zip(offsets).map(|(partition, offset)| v1::Position { partition, offset }).collect()
}

/// A position that a caller names.
pub fn read_position(position: v1::Position) -> Position {
    Position { partition: position.partition, offset: position.offset }
}

/// A record, with what it has become for the caller: a record that left the granted rows is a delete, and a payload shows what is granted.
pub fn record(
    dataset: &DatasetId,
    record: &Record,
    (operation, payload): (Operation, Bytes),
    position: Position,
) -> v1::Record {
    let operation = match operation {
        Operation::Upsert => v1::Operation::Upsert,
        Operation::Delete => v1::Operation::Delete,
    };
    v1::Record {
        dataset: dataset.as_str().to_owned(),
        record_type: record.record_type.as_str().to_owned(),
        key: record.key.as_ref().to_owned(),
        operation: operation.into(),
        source_version: record.source_version,
        payload,
        source: record.source.as_str().to_owned(),
        sequence: record.sequence,
        accept_time: Some(timestamp(record.accept_time_ms)),
        position: Some(self::position(position)),
    }
}

/// A timestamp as milliseconds since 1970, cut to the millisecond; nothing outside the years 1 to 9999 or with impossible nanoseconds.
pub fn milliseconds(time: &prost_types::Timestamp) -> Option<i64> {
    // RFC 3339's range, as the message's own documentation has it.
    let seconds = (-62_135_596_800..=253_402_300_799).contains(&time.seconds).then_some(time.seconds)?;
    let nanos = (0..1_000_000_000).contains(&time.nanos).then_some(time.nanos)?;
    Some(seconds * 1_000 + i64::from(nanos / 1_000_000))
}
