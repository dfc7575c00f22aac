//! Payloads from a file or a pipe, and the keys within them.

use std::path::Path;

use bytes::Bytes;
use serde::de::IgnoredAny;
use shuqiao_schemas::registry::Registry;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader};

use super::Error;
use crate::exchange::model::PAYLOAD_BYTES_MAX;

/// A .json file is read whole; larger holdings come as lines.
const WHOLE_BYTES_MAX: u64 = 64 << 20;

/// One payload, byte for byte, and the line on which it begins.
#[derive(PartialEq, Eq)]
pub(super) struct Payload {
    pub(super) line: u64,
    pub(super) bytes: Bytes,
}

/// Where it stands, not what it says.
impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Payload").field("line", &self.line).field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

/// Yields payloads in order.
pub(super) enum Payloads {
    Lines { reader: Box<dyn AsyncBufRead + Send + Unpin>, line: u64 },
    Whole(std::vec::IntoIter<Payload>),
}

impl Payloads {
    /// Lines, or, where the name ends in `.json`, one document or a list of them.
    pub(super) async fn open(path: &Path) -> Result<Self, Error> {
        let error = |source| Error::Read { what: path.display().to_string(), source };
        if path.as_os_str() == "-" {
            return Ok(Self::Lines { reader: Box::new(BufReader::new(tokio::io::stdin())), line: 0 });
        }
        let file = tokio::fs::File::open(path).await.map_err(error)?;
        if path.extension().is_some_and(|extension| extension == "json") {
            let mut bytes = Vec::new();
            file.take(WHOLE_BYTES_MAX + 1).read_to_end(&mut bytes).await.map_err(error)?;
            if bytes.len() as u64 > WHOLE_BYTES_MAX {
                return Err(Error::Input(format!(
                    "{} is larger than 64 MiB: give it as lines (.jsonl)",
                    path.display()
                )));
            }
            return Ok(Self::Whole(split(&Bytes::from(bytes))?.into_iter()));
        }
        Ok(Self::Lines { reader: Box::new(BufReader::new(file)), line: 0 })
    }

    pub(super) async fn next(&mut self) -> Result<Option<Payload>, Error> {
        let (reader, line) = match self {
            Self::Whole(payloads) => return Ok(payloads.next()),
            Self::Lines { reader, line } => (reader, line),
        };
        loop {
            let mut bytes = Vec::new();
            let mut bounded = reader.take(PAYLOAD_BYTES_MAX as u64 + 2);
            let read = bounded.read_until(b'\n', &mut bytes).await;
            if read.map_err(|source| Error::Read { what: "the payloads".into(), source })? == 0 {
                return Ok(None);
            }
            *line += 1;
            let text = bytes.trim_ascii();
            if text.len() > PAYLOAD_BYTES_MAX {
                return Err(Error::Line { line: *line, mistake: "a payload has at most 1 MiB".into() });
            }
            if !text.is_empty() {
                return Ok(Some(Payload { line: *line, bytes: Bytes::copy_from_slice(text) }));
            }
        }
    }
}

/// The documents of a JSON file: those of a list, or the one that it is. Slices of the file: nothing is parsed and written again.
fn split(file: &Bytes) -> Result<Vec<Payload>, Error> {
    let text = file.trim_ascii();
    let mut rest = text.strip_prefix(b"[").unwrap_or(text);
    let in_list = rest.len() < text.len();
    let mut payloads = Vec::new();
    loop {
        rest = rest.trim_ascii_start();
        if in_list && !payloads.is_empty() {
            rest = rest.strip_prefix(b",").unwrap_or(rest).trim_ascii_start();
        }
        if rest.is_empty() || (in_list && rest == b"]") {
            return Ok(payloads);
        }
        let line = line_of(file, rest);
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<IgnoredAny>();
        match values.next() {
            Some(Ok(IgnoredAny)) => {}
            _ => {
                return Err(Error::Input(format!(
                    "line {line}: not JSON, or not a list of payloads; nothing was sent"
                )));
            }
        }
        let (payload, behind) = rest.split_at(values.byte_offset());
        payloads.push(Payload { line, bytes: file.slice_ref(payload) });
        rest = behind;
    }
}

/// The line, from 1, on which a tail of the file begins.
fn line_of(file: &[u8], rest: &[u8]) -> u64 {
    let before = file.len() - rest.len();
    file.iter().take(before).filter(|byte| **byte == b'\n').count() as u64 + 1
}

/// The key fields of a record type.
pub(super) struct Keys(Vec<String>);

impl Keys {
    /// From the flags, else from the standards that this program has.
    pub(super) fn of(record_type: &str, pointers: &[String]) -> Result<Self, Error> {
        if !pointers.is_empty() {
            return Ok(Self(pointers.to_vec()));
        }
        let schema = Registry::builtin().schema(record_type).ok_or_else(|| {
            Error::Usage(format!(
                "this program does not know the record type {record_type}: say where its key is, with --key-pointer /POINTER"
            ))
        })?;
        Ok(Self::of_schema(schema))
    }

    /// As a record type's document declares them.
    pub(super) fn of_schema(schema: &[u8]) -> Self {
        let schema: serde_json::Value = serde_json::from_slice(schema).unwrap_or_default();
        let pointers = schema["x-key"].as_array().into_iter().flatten().filter_map(|pointer| pointer.as_str());
        Self(pointers.map(str::to_owned).collect())
    }

    /// The record's key: its key fields joined by `|`. Whether they are right is for the node to say.
    pub(super) fn read(&self, payload: &Payload) -> Result<String, Error> {
        let line = payload.line;
        let value: serde_json::Value = serde_json::from_slice(&payload.bytes)
            .map_err(|error| Error::Line { line, mistake: format!("not JSON: {error}") })?;
        let parts = self.0.iter().map(|pointer| match value.pointer(pointer).and_then(serde_json::Value::as_str) {
            Some(part) => Ok(part),
            None => Err(Error::Line { line, mistake: format!("the key field {pointer} is missing or no text") }),
        });
        Ok(parts.collect::<Result<Vec<_>, _>>()?.join("|"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(file: &'static str) -> Vec<(u64, String)> {
        let payloads = split(&Bytes::from_static(file.as_bytes())).expect("good");
        payloads.iter().map(|payload| (payload.line, String::from_utf8_lossy(&payload.bytes).into_owned())).collect()
    }

    #[test]
    fn a_json_file_is_one_payload_or_a_list_of_them_byte_for_byte() {
        assert_eq!(texts("{\"a\" : 1.0}\n"), [(1, "{\"a\" : 1.0}".to_owned())]);
        assert_eq!(
            texts("[\n {\"a\":1},\n {\"b\": [2]}\n]\n"),
            [(2, "{\"a\":1}".to_owned()), (3, "{\"b\": [2]}".to_owned())]
        );
        assert!(texts("[]").is_empty());
        split(&Bytes::from_static(b"[{\"a\":1}, nonsense]")).expect_err("not JSON");
    }

    #[test]
    fn a_key_is_read_from_the_payload_by_the_standard_s_key_fields() {
        let keys = Keys::of("enterprise/v1", &[]).expect("built in");
        let payload =
            Payload { line: 1, bytes: Bytes::from_static(br#"{"unified_social_credit_code":"91350100M000100Y43"}"#) };
        assert_eq!(keys.read(&payload).expect("present"), "91350100M000100Y43");
        let without = Payload { line: 7, bytes: Bytes::from_static(b"{}") };
        let error = keys.read(&without).expect_err("missing").to_string();
        assert_eq!(error, "line 7: the key field /unified_social_credit_code is missing or no text");
        assert!(matches!(Keys::of("nonsense/v9", &[]), Err(Error::Usage(_))));
    }
}
