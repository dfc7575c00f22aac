//! Bad payloads: each is rejected by name, loses nothing beside it, and ends no stream.

use bytes::Bytes;
use shuqiao_proto::v1::{Operation, PublishRecord, PublishStatus};
use shuqiao_tests::fixtures::{City, Enterprise, Home, Publisher, delete, enterprise::records, upsert};

const MEBIBYTE: usize = 1 << 20;

/// A stream that must go on after whatever is done to it.
struct Desk {
    stream: Publisher,
    sequence: u64,
}

impl Desk {
    async fn open(city: &City) -> Self {
        Self { stream: city.market_supervision().await.publishes().await, sequence: 0 }
    }

    /// Publishes one record with this payload under the key of enterprise 1, and answers the rules that it breaks, by path.
    async fn rules(&mut self, payload: impl Into<Bytes>) -> Vec<(String, String)> {
        self.sequence += 1;
        let record = upsert(self.sequence, &Enterprise::number(1).code, self.sequence, payload);
        self.stream.rejected(record).await
    }

    async fn breaks(&mut self, payload: impl Into<Bytes>, path: &str, rule: &str) {
        let found = self.rules(payload).await;
        assert!(found.iter().any(|(one, two)| (one.as_str(), two.as_str()) == (path, rule)), "{rule} in {found:?}");
    }
}

#[tokio::test]
async fn a_payload_that_is_no_json_is_rejected_by_name() {
    let city = City::on(Home::Embedded).await;
    let mut desk = Desk::open(&city).await;
    for text in ["", "{", "not json", "{\"a\" 1}", "{'name': 'x'}", "{} {}x"] {
        let rules = desk.rules(text).await;
        let named = rules.iter().any(|(_, rule)| ["SYNTAX", "TRAILING_BYTES"].contains(&rule.as_str()));
        assert!(named, "{text:?}: {rules:?}");
    }
    desk.breaks("[1]", "", "WRONG_TYPE").await;
    desk.breaks(Bytes::from_static(b"{\"name\": \"\xff\xfe\"}"), "", "NOT_UTF8").await;
    // GB18030 is no UTF-8.
    desk.breaks(Bytes::from_static(b"{\"name\": \"\xc4\xcf\xcd\xa8\"}"), "", "NOT_UTF8").await;
    desk.breaks("\u{feff}{}", "", "BYTE_ORDER_MARK").await;
    desk.breaks(format!("{{\"name\": {}1{}}}", "[".repeat(200), "]".repeat(200)), "/name", "TOO_DEEP").await;
    let deep = desk.rules("[".repeat(MEBIBYTE - 1)).await;
    assert!(deep.iter().any(|(_, rule)| rule == "TOO_DEEP"), "{deep:?}");
    desk.stream.accepted(records(1000..1010)).await;
}

#[tokio::test]
async fn a_payload_above_a_mebibyte_is_rejected_and_one_of_a_mebibyte_is_looked_at() {
    let city = City::on(Home::Embedded).await;
    let mut desk = Desk::open(&city).await;
    let of = |bytes: usize| {
        let frame = "{\"name\": \"\"}".len();
        format!("{{\"name\": \"{}\"}}", "x".repeat(bytes - frame))
    };
    desk.breaks(of(MEBIBYTE + 1), "payload", "TOO_LARGE").await;
    let rules = desk.rules(of(MEBIBYTE)).await;
    assert!(rules.iter().all(|(path, _)| path != "payload"), "{rules:?}");
    assert!(rules.contains(&("/name".into(), "TOO_LONG".into())), "{rules:?}");
    desk.stream.accepted(records(1000..1010)).await;
}

#[tokio::test]
async fn duplicate_members_wrong_types_and_codes_that_fail_their_check_are_rejected_by_path() {
    let city = City::on(Home::Embedded).await;
    let mut desk = Desk::open(&city).await;
    let code = Enterprise::number(1).code;
    let head = format!("{{\"unified_social_credit_code\": \"{code}\", \"name\": \"数桥示例\"");
    desk.breaks(format!("{head}, \"name\": \"二\"}}"), "/name", "DUPLICATE_KEY").await;
    desk.breaks(format!("{head}, \"n\\u0061me\": \"二\"}}"), "/name", "DUPLICATE_KEY").await;
    desk.breaks(format!("{head}, \"employee_count\": \"12\"}}"), "/employee_count", "WRONG_TYPE").await;
    desk.breaks(format!("{head}, \"registered_capital\": 5}}"), "/registered_capital", "WRONG_TYPE").await;
    desk.breaks(format!("{head}, \"status\": \"存续\"}}"), "/status", "UNKNOWN_CODE").await;
    desk.breaks(format!("{head}, \"telephone\": \"1\"}}"), "/telephone", "UNKNOWN_PROPERTY").await;
    desk.breaks(format!("{{\"unified_social_credit_code\": \"{code}\"}}"), "/name", "REQUIRED").await;
    let wrong = code.get(..17).map(|body| format!("{body}{}", if code.ends_with('0') { "1" } else { "0" }));
    let wrong =
        format!("{{\"unified_social_credit_code\": \"{}\", \"name\": \"数桥\"}}", wrong.expect("18 characters"));
    desk.breaks(wrong, "/unified_social_credit_code", "CHECK_CHARACTER_MISMATCH").await;
    // Every violation is told, not only the first.
    let several = desk.rules(format!("{head}, \"status\": \"存续\", \"valid_to\": \"2099-12-31\"}}")).await;
    assert_eq!(several.len(), 2, "{several:?}");
    desk.stream.accepted(records(1000..1010)).await;
}

#[tokio::test]
async fn a_key_that_is_not_the_payloads_is_rejected() {
    let city = City::on(Home::Embedded).await;
    let mut stream = city.market_supervision().await.publishes().await;
    let payload = Enterprise::number(1).payload();
    let other = Enterprise::number(2).code;
    let mismatch = stream.rejected(upsert(1, &other, 1, payload.clone())).await;
    assert_eq!(mismatch, [("key".to_owned(), "KEY_MISMATCH".to_owned())]);
    let cases = [(String::new(), "REQUIRED"), ("k".repeat(513), "TOO_LONG"), ("a\0b".into(), "CONTROL_CHARACTER")];
    for (sequence, (key, rule)) in (2..).zip(cases) {
        let found = stream.rejected(upsert(sequence, &key, 1, payload.clone())).await;
        assert!(found.contains(&("key".into(), rule.into())), "{rule}: {found:?}");
    }
    let nothing = PublishRecord { operation: Operation::Unspecified.into(), ..upsert(9, &other, 1, payload.clone()) };
    assert_eq!(stream.rejected(nothing).await, [("operation".to_owned(), "REQUIRED".to_owned())]);
    let full = PublishRecord { payload, ..delete(10, &other, 1) };
    assert_eq!(stream.rejected(full).await, [("payload".to_owned(), "NOT_EMPTY".to_owned())]);
    stream.accepted(records(1000..1010)).await;
}

#[tokio::test]
async fn a_bad_record_in_a_batch_costs_nobody_else_anything() {
    let city = City::on(Home::Embedded).await;
    let registry = city.market_supervision().await;
    let mut stream = registry.publishes().await;
    let mut batch = records(1..101);
    for bad in [10, 50, 99] {
        batch[bad].payload = Bytes::from_static(b"{}");
    }
    let acknowledgement = stream.publish(batch).await.expect("acknowledged");
    let receipt = acknowledgement.receipt.expect("97 were accepted");
    assert_eq!(receipt.accepted_count, 97);
    let status = registry.status().await.expect("the node's status");
    assert!(shuqiao_proto::receipt::verify(&receipt, &status.receipt_public_key), "the node signed it");
    for (index, result) in acknowledgement.results.iter().enumerate() {
        let wanted = if [10, 50, 99].contains(&index) { PublishStatus::Rejected } else { PublishStatus::Accepted };
        assert_eq!((result.sequence, result.status()), (index as u64 + 1, wanted));
    }
    // A corrected record is a new record with a new sequence.
    stream.accepted(vec![Enterprise::number(11).record(101, 11)]).await;
}

#[tokio::test]
async fn ten_thousand_rejects_in_a_row_end_no_stream_and_store_nothing() {
    let city = City::on(Home::Embedded).await;
    let mut stream = city.market_supervision().await.publishes().await;
    let code = Enterprise::number(1).code;
    let before = city.node.metric("shuqiao_log_entries_total").await;
    for batch in 0..20 {
        let bad = (1..=500).map(|number| upsert(batch * 500 + number, &code, 1, "{\"name\": 1}")).collect();
        let acknowledgement = stream.publish(bad).await.expect("acknowledged");
        assert_eq!(acknowledgement.results.len(), 500);
        assert!(acknowledgement.results.iter().all(|result| result.status() == PublishStatus::Rejected));
        assert!(acknowledgement.receipt.is_none());
    }
    assert_eq!(
        city.node
            .metric("shuqiao_publish_records_total{dataset=\"market-supervision.enterprise\",status=\"rejected\"")
            .await,
        10_000.0
    );
    // What was written is the trail's: one entry a batch.
    let entries = city.node.metric("shuqiao_log_entries_total").await - before;
    assert!(entries < 100.0, "{entries} entries for nothing accepted");
    let memory = city.node.resident_mebibytes().await;
    assert!(memory < 256.0, "{memory} MiB");
    stream.accepted(records(20_000..20_010)).await;
}
