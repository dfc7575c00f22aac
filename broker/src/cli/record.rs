//! Records as lines of JSON, payload bytes as they came.

use serde::Serialize;
use shuqiao_proto::v1;

use super::{
    error::Error,
    manifest::{Position, Time},
    output::{self, Format},
};

/// Payload characters that a table shows.
const SHOWN_MAX: usize = 100;

#[derive(Serialize)]
struct Head<'a> {
    dataset: &'a str,
    record_type: &'a str,
    key: &'a str,
    operation: &'static str,
    source_version: u64,
    source: &'a str,
    sequence: u64,
    accept_time: Option<Time>,
    position: Option<Position>,
    #[serde(skip_serializing_if = "Option::is_none")]
    applied: Option<bool>,
}

fn operation(record: &v1::Record) -> &'static str {
    match record.operation() {
        v1::Operation::Upsert => "upsert",
        v1::Operation::Delete => "delete",
        v1::Operation::Unspecified => "unspecified",
    }
}

/// One line of JSON. The payload is spliced in byte for byte, except that line ends between its tokens become spaces: numbers and the order of
/// members stay as the source wrote them.
pub(super) fn line(record: &v1::Record, applied: Option<bool>) -> Result<String, Error> {
    let head = Head {
        dataset: &record.dataset,
        record_type: &record.record_type,
        key: &record.key,
        operation: operation(record),
        source_version: record.source_version,
        source: &record.source,
        sequence: record.sequence,
        accept_time: record.accept_time.as_ref().and_then(Time::from_wire),
        position: record.position.map(|position| Position { partition: position.partition, offset: position.offset }),
        applied,
    };
    let mut line = serde_json::to_string(&head).map_err(|error| Error::Write(error.into()))?;
    let payload = match std::str::from_utf8(&record.payload) {
        Ok("") => "null".to_owned(),
        // In JSON text a raw line end can only stand between tokens (RFC 8259 section 7).
        Ok(payload) => payload.replace(['\n', '\r'], " "),
        Err(_) => return Err(Error::Input("the node sent a payload that is not UTF-8".into())),
    };
    line.pop();
    line.push_str(",\"payload\":");
    line.push_str(&payload);
    line.push('}');
    Ok(line)
}

/// Prints records in a format. JSON is a line a record.
pub(super) fn show(records: &[(v1::Record, Option<bool>)], format: Format) -> Result<(), Error> {
    match format {
        Format::Json => records.iter().try_for_each(|(record, applied)| output::print(&line(record, *applied)?)),
        Format::Yaml => {
            for (record, applied) in records {
                let value: serde_json::Value =
                    serde_json::from_str(&line(record, *applied)?).map_err(|error| Error::Input(error.to_string()))?;
                output::print(&format!("---\n{}", output::yaml(&value)?))?;
            }
            Ok(())
        }
        Format::Table => {
            let rows = records.iter().map(|(record, _)| {
                vec![
                    record.dataset.clone(),
                    record.key.clone(),
                    operation(record).to_owned(),
                    record.source_version.to_string(),
                    record
                        .accept_time
                        .as_ref()
                        .and_then(Time::from_wire)
                        .map(|time| time.to_string())
                        .unwrap_or_default(),
                    shorten(&String::from_utf8_lossy(&record.payload)),
                ]
            });
            output::print(&output::table(["dataset", "key", "operation", "version", "accepted", "payload"], rows))
        }
    }
}

fn shorten(text: &str) -> String {
    let mut shown: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN_MAX).collect();
    if text.chars().count() > SHOWN_MAX {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line_and_its_payload_keeps_order_and_numbers() {
        let record = v1::Record {
            key: "k\"1".into(),
            operation: v1::Operation::Upsert.into(),
            payload: bytes::Bytes::from_static(b"{\n  \"b\": 1.10,\r\n  \"a\": 12345678901234567890123\n}"),
            position: Some(v1::Position { partition: 1, offset: 9 }),
            ..v1::Record::default()
        };
        let line = line(&record, None).expect("line");
        assert!(!line.contains('\n'));
        assert!(
            line.ends_with(
                r#""position":{"partition":1,"offset":9},"payload":{   "b": 1.10,    "a": 12345678901234567890123 }}"#
            ),
            "{line}"
        );
        let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(value["key"], "k\"1");
    }

    #[test]
    fn a_delete_has_no_payload() {
        let record = v1::Record { operation: v1::Operation::Delete.into(), ..v1::Record::default() };
        assert!(line(&record, Some(false)).expect("line").ends_with(r#""applied":false,"payload":null}"#));
    }
}
