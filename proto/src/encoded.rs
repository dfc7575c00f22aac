//! What a node sends on a Subscribe stream, with records that are encoded already.
//!
//! On the wire a repeated message and a repeated `bytes` field are the same: a tag, a length, the bytes. So a node encodes a record once and sends it to every
//! subscriber that is shown the same; a client reads [`v1::SubscribeResponse`].

use std::fmt;

use bytes::Bytes;

use crate::v1;

/// [`v1::SubscribeResponse`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct SubscribeResponse {
    /// One of three.
    #[prost(oneof = "Response", tags = "1, 2, 3")]
    pub response: Option<Response>,
}

/// What is said.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Response {
    /// The answer to the opening.
    #[prost(message, tag = "1")]
    Opened(v1::SubscribeOpened),
    /// Records.
    #[prost(message, tag = "2")]
    Delivery(Delivery),
    /// The durable cursor has moved.
    #[prost(message, tag = "3")]
    CursorMoved(v1::CursorMoved),
}

/// [`v1::Delivery`].
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct Delivery {
    /// Each an encoded [`v1::Record`].
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub records: Vec<Bytes>,
    /// The version (etag) of the grant.
    #[prost(string, tag = "2")]
    pub grant: String,
}

/// How many records, none of them.
impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").field("records", &self.records.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    fn record(sequence: u64) -> v1::Record {
        v1::Record {
            dataset: "a.b".into(),
            record_type: "sample/v1".into(),
            key: "91320600".into(),
            operation: v1::Operation::Upsert.into(),
            source_version: 7,
            payload: Bytes::from_static(b"{}"),
            source: "department/a/system/b".into(),
            sequence,
            accept_time: Some(prost_types::Timestamp { seconds: 1, nanos: 2 }),
            position: Some(v1::Position { partition: 3, offset: sequence }),
        }
    }

    #[test]
    fn a_client_reads_what_a_node_has_encoded_as_the_message_of_the_protocol() {
        let position = v1::Position { partition: 1, offset: 2 };
        let records: Vec<_> = (0..3).map(record).collect();
        let pairs = [
            (
                Response::Opened(v1::SubscribeOpened { cursor: vec![position], end: vec![position] }),
                v1::subscribe_response::Response::Opened(v1::SubscribeOpened {
                    cursor: vec![position],
                    end: vec![position],
                }),
            ),
            (
                Response::Delivery(Delivery {
                    records: records.iter().map(|record| record.encode_to_vec().into()).collect(),
                    grant: "v9".into(),
                }),
                v1::subscribe_response::Response::Delivery(v1::Delivery { records, grant: "v9".into() }),
            ),
            (
                Response::CursorMoved(v1::CursorMoved { cursor: vec![position] }),
                v1::subscribe_response::Response::CursorMoved(v1::CursorMoved { cursor: vec![position] }),
            ),
        ];
        for (sent, read) in pairs {
            let bytes = SubscribeResponse { response: Some(sent) }.encode_to_vec();
            let expected = v1::SubscribeResponse { response: Some(read) };
            assert!(bytes == expected.encode_to_vec(), "the same bytes");
            assert!(v1::SubscribeResponse::decode(&*bytes).is_ok_and(|message| message == expected));
        }
    }

    #[test]
    fn no_debug_prints_a_key_a_payload_or_a_value() {
        let record = record(1);
        let condition = v1::RowCondition { field: "holder".into(), values: vec!["91320600".into()] };
        let asked = v1::ListSubjectRecordsRequest { subject: "91320600".into(), ..Default::default() };
        let delivery = v1::Delivery { records: vec![record.clone()], grant: String::new() };
        let sent = Delivery { records: vec![record.encode_to_vec().into()], grant: String::new() };
        for text in [format!("{record:?}{delivery:?}"), format!("{condition:?}{asked:?}"), format!("{sent:?}")] {
            assert!(!text.contains("91320600") && !text.contains("{}"), "{text}");
        }
    }
}
