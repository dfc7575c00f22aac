//! The contract that every adapter runs in its own tests: what the traits say in prose, as assertions. They panic, because tests are their only
//! callers.

use std::collections::BTreeMap;

use tokio_util::sync::CancellationToken;

use crate::{Batch, Context, ErasedAdapter, Operation, Outcome, Position, Record, Row, Sink};

/// A key that no text column of PostgreSQL holds.
const MAY_BE_REFUSED: &str = "nul\0key";
/// Whatever a finite source has more batches than this for, it does not end.
const BATCHES_MAX: usize = 100_000;

/// The descriptor is complete, and its example is TOML that names the adapter and parses as its table.
///
/// # Panics
/// Where it is not so.
pub fn descriptor_is_whole(adapter: &dyn ErasedAdapter) {
    let descriptor = adapter.describe();
    assert!(!descriptor.title_en.is_empty() && !descriptor.title_zh.is_empty(), "the titles are empty");
    assert!(descriptor.source || descriptor.sink, "the adapter does nothing");
    assert!(!descriptor.record_types.is_empty(), "the adapter names no record type");
    let example: toml::Table = descriptor.example.parse().expect("the example is TOML");
    assert_eq!(example.get("adapter").and_then(toml::Value::as_str), Some(descriptor.name), "the example's adapter");
    let own = example.get(descriptor.name).and_then(toml::Value::as_table).cloned().unwrap_or_default();
    assert_eq!(adapter.config_mistakes(&own), Vec::<String>::new(), "the example's own table");
    let mut unknown = own;
    unknown.insert("no_such_key".into(), toml::Value::Boolean(true));
    assert!(!adapter.config_mistakes(&unknown).is_empty(), "an unknown key is not refused");
}

/// Opens the source with `once`, reads to its end, and checks each verb's promise: resumable from every position, cancel safe, the same rows
/// every time, and every raw row maps again to what it mapped to. A source that reads with an overlap may yield rows again when it is
/// resumed, but none twice that it never yielded. The legacy system must not change meanwhile. Returns every row.
///
/// # Panics
/// Where a promise is not kept.
pub async fn source_keeps_its_promises(adapter: &dyn ErasedAdapter, table: &toml::Table) -> Vec<Row> {
    let batches = read_all(adapter, table, None, false).await;
    let rows: Vec<Row> = batches.iter().flat_map(|batch| batch.rows.clone()).collect();

    let cancelled = read_all(adapter, table, None, true).await;
    assert_eq!(raws(&cancelled), raws(&batches), "a cancelled next_batch loses or doubles rows");

    // First, middle and last position stand for all: each read is a whole pass.
    let mut places = vec![0, batches.len() / 2, batches.len().saturating_sub(1)];
    places.dedup();
    for place in places {
        let Some(batch) = batches.get(place) else { continue };
        let rest = raws(&read_all(adapter, table, Some(batch.position.clone()), false).await);
        let missed = raws(&batches[place + 1..]).into_iter().find(|raw| !rest.contains(raw));
        assert_eq!(missed, None, "resuming behind batch {place} loses a row");
        let invented = rest.iter().find(|raw| !rows.iter().any(|row| row.raw == **raw));
        assert_eq!(invented, None, "resuming behind batch {place} yields a row that is not there");
        let repeated = rest.len() > rows.len();
        assert!(!repeated, "resuming behind batch {place} yields more than everything");
    }

    let bytes: Vec<&[u8]> = rows.iter().map(|row| row.raw.as_ref()).collect();
    let again = adapter.remap_with(table, &bytes).await.expect("the mapping can be tried");
    assert_eq!(again.len(), rows.len(), "mapping again answers one for each");
    for (row, again) in rows.iter().zip(again) {
        assert!(!row.place.is_empty(), "a row does not say where it stands");
        match (&row.mapped, again) {
            (Ok(first), Ok(again)) => assert_eq!(first, &again, "{}: mapping is not repeatable", row.place),
            (Err(first), Err(again)) => {
                assert!(!first.violations.is_empty(), "{}: set aside without a reason", row.place);
                assert_eq!(rules(first), rules(&again), "{}: mapping is not repeatable", row.place);
            }
            _ => panic!("{}: mapping is not repeatable", row.place),
        }
    }
    rows
}

fn rules(error: &crate::MappingError) -> Vec<(&str, &str)> {
    error.violations.iter().map(|violation| (violation.path.as_str(), violation.rule.as_str())).collect()
}

fn raws(batches: &[Batch]) -> Vec<bytes::Bytes> {
    batches.iter().flat_map(|batch| batch.rows.iter().map(|row| row.raw.clone())).collect()
}

async fn read_all(
    adapter: &dyn ErasedAdapter,
    table: &toml::Table,
    from: Option<Position>,
    cancel: bool,
) -> Vec<Batch> {
    let directory = std::env::temp_dir();
    let context = Context::new(from, true, directory, CancellationToken::new());
    let mut source = adapter.open_with(table, context).await.expect("opens").source.expect("a source");
    let mut batches = Vec::new();
    for _ in 0..BATCHES_MAX {
        if cancel {
            // Polled once and dropped, as the runner does when something else comes first.
            let next = source.next_batch();
            let mut next = std::pin::pin!(next);
            if let std::task::Poll::Ready(batch) = futures::poll!(next.as_mut()) {
                match batch.expect("reads") {
                    Some(batch) => batches.push(batch),
                    None => return batches,
                }
                continue;
            }
        }
        match source.next_batch().await.expect("reads") {
            Some(batch) => {
                source.settle(&batch.position).await.expect("settles");
                batches.push(batch);
            }
            None => return batches,
        }
    }
    panic!("the source does not end")
}

/// Delivers to an **empty** inbox what the contract speaks of: repeats, older after newer, deletes, delete and return, another showing of the
/// same record, keys in every order, payload bytes that a text column would change; and compares the digest each time. All of it is to be accepted, but for a
/// record that some columns cannot hold, which may be refused. `record_type` is what the records claim to be.
///
/// # Panics
/// Where a promise is not kept.
pub async fn sink_keeps_its_promises(sink: &dyn Sink, dataset: &str, record_type: &str) {
    let mut model = Model::default();
    let record = |key: &str, version: u64, offset: u64, payload: Option<&str>| Record {
        dataset: dataset.into(),
        record_type: record_type.into(),
        key: key.into(),
        operation: if payload.is_some() { Operation::Upsert } else { Operation::Delete },
        source_version: version,
        payload: payload.unwrap_or_default().to_owned().into_bytes().into(),
        source: "department/contract/system/test".into(),
        sequence: offset + 1,
        accept_time_ms: 1_700_000_000_000,
        position: (u32::from(key.ends_with('b')), offset),
    };
    assert_eq!(sink.digest().await.expect("digest").0, 0, "the inbox is not empty");
    let steps: Vec<Vec<Record>> = vec![
        vec![],
        vec![record("k1", 1, 0, Some(r#"{"a":1}"#)), record("k0b", 1, 0, Some(r#"{"a": 1.0}"#))],
        // Repeats change nothing.
        vec![record("k1", 1, 0, Some(r#"{"a":1}"#)), record("k0b", 1, 0, Some(r#"{"a": 1.0}"#))],
        // Newer, then older; both orders, within one delivery and across deliveries.
        vec![record("k1", 3, 2, Some(r#"{"a":3}"#)), record("k1", 2, 3, Some(r#"{"a":2}"#))],
        vec![record("k1", 2, 4, Some(r#"{"a":2}"#))],
        // The same version with other content: the later one in the log is the state.
        vec![record("k1", 3, 5, Some(r#"{"a":33}"#))],
        // A delete, an older upsert after it, then a return; all of one key within one delivery too.
        vec![record("k1", 4, 6, None), record("k1", 3, 7, Some(r#"{"a":3}"#))],
        vec![record("k1", 5, 8, Some(r#"{"a":5}"#))],
        vec![record("k2", 1, 9, Some("{}")), record("k2", 2, 10, None), record("k2", 3, 11, Some(r#"{"b":1}"#))],
        // A delete of what was never there.
        vec![record("never", 1, 12, None)],
        // Key order is by bytes, not by a language; payload bytes survive exactly.
        vec![
            record("中", 1, 13, Some("{\"n\":\"\\u0000 \\ud83d\\ude00\", \"x\" : 1e2}")),
            record("Z", 1, 14, Some("{\"name\":\"𠮷䶮·\"}")),
            record("a'\"\\;--", 1, 15, Some(r#"{"q":"'\\''"}"#)),
            record("é", 1, 16, Some("{ }")),
            record(&"k".repeat(512), u64::from(u32::MAX), 17, Some("{\"long\":true}")),
        ],
        // The same record once more, of which the grant shows something else by now, as after a refresh.
        vec![record("é", 1, 16, Some(r#"{"more":1}"#))],
        // The largest version that the exchange takes from an adapter.
        vec![record("big", 9_223_372_036_854_775_807, 18, Some("{}"))],
        // A sink may refuse the whole of this one, and then need not count it.
        vec![record(MAY_BE_REFUSED, 1, 19, Some("{}"))],
    ];
    let mut mark = sink.mark().await.expect("mark");
    assert_eq!(mark, None, "an inbox that has never taken anything says nothing of itself");
    for (number, records) in steps.iter().enumerate() {
        let outcomes = sink.deliver(records).await.unwrap_or_else(|error| panic!("step {number}: {}", error.chain()));
        assert_eq!(outcomes.len(), records.len(), "step {number}: one outcome a record");
        model.apply_taken(records, &outcomes);
        assert_eq!(
            sink.digest().await.expect("digest"),
            model.digest(),
            "step {number}: the inbox holds something else"
        );
        let now = sink.mark().await.expect("mark");
        if let Some(before) = &mark {
            let now = now.as_ref().expect("an inbox that has said something of itself goes on to");
            assert_eq!(now.inbox, before.inbox, "step {number}: it is another one");
            let taken = outcomes.contains(&Outcome::Accepted);
            assert!(now.deliveries >= before.deliveries, "step {number}: the inbox says that it went back");
            let moved = now.deliveries > before.deliveries || !taken;
            assert!(moved, "step {number}: the inbox does not say that it has taken a delivery");
        }
        mark = now;
    }
    // Everything once more, as after a lost cursor: the newest state stays. Replaying the whole log ends where the log ends; equal versions end with the later
    // one, as before.
    for records in &steps {
        let outcomes = sink.deliver(records).await.expect("delivers again");
        assert_eq!(outcomes.len(), records.len(), "delivered again: one outcome a record");
        model.apply_taken(records, &outcomes);
    }
    assert_eq!(sink.digest().await.expect("digest"), model.digest(), "after a second delivery of everything");
}

/// What an inbox should hold.
#[derive(Default)]
struct Model {
    records: BTreeMap<String, Record>,
}

impl Model {
    fn apply_taken(&mut self, records: &[Record], outcomes: &[Outcome]) {
        for (record, outcome) in records.iter().zip(outcomes) {
            match outcome {
                Outcome::Accepted => self.apply(record),
                Outcome::Rejected { .. } if record.key == MAY_BE_REFUSED => {}
                other => panic!("offset {}: {other:?}", record.position.1),
            }
        }
    }

    fn apply(&mut self, record: &Record) {
        let newer = self
            .records
            .get(&record.key)
            .is_none_or(|held| (record.source_version, record.position.1) >= (held.source_version, held.position.1));
        if newer {
            self.records.insert(record.key.clone(), record.clone());
        }
    }

    fn digest(&self) -> (u64, [u8; 32]) {
        let mut digest = shuqiao_proto::digest::RecordsDigest::default();
        for record in self.records.values().filter(|record| record.operation == Operation::Upsert) {
            digest.add(&record.key, record.source_version, &record.payload);
        }
        digest.finish()
    }
}
