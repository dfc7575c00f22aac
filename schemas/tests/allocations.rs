//! A valid record costs no allocation, once the scratch room has grown and the expression engine has its caches.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use shuqiao_schemas::engine::{CodeTables, FieldRule, HashAlgorithm, HashKeys, RecordType, Scratch, Treatment};

const RECORDS: [&[u8]; 2] =
    [include_bytes!("../benches/records/enterprise-300.json"), include_bytes!("../benches/records/enterprise-2k.json")];

fn enterprise() -> RecordType {
    let tables = [
        &include_bytes!("../tables/enterprise-status.json")[..],
        include_bytes!("../tables/holder-id-type.json"),
        include_bytes!("../tables/money-unit.json"),
        include_bytes!("../tables/currency.json"),
        include_bytes!("../tables/registration-business-type.json"),
    ];
    let tables = CodeTables::from_json(tables).unwrap();
    RecordType::compile(include_bytes!("../enterprise/v1/schema.json"), &tables).unwrap()
}

#[test]
fn a_valid_record_costs_no_allocation() {
    let record_type = enterprise();
    let mut scratch = Scratch::new();
    for record in RECORDS {
        record_type.validate(record, &mut scratch).unwrap();
    }
    for record in RECORDS {
        let counted = allocation_counter::measure(|| {
            for _ in 0..100 {
                let facts = record_type.validate(record, &mut scratch).unwrap();
                assert_eq!(facts.key, "91330106MA2XY0K38A");
                assert_eq!(facts.subject.as_ref().map(|subject| subject.kind), Some("uscc"));
                assert!((0..6).any(|field| facts.indexed(field).is_some()));
            }
        });
        assert_eq!((counted.count_total, counted.bytes_total), (0, 0));
    }
}

#[test]
fn an_escaped_value_is_decoded_into_the_scratch_room() {
    let record_type = enterprise();
    let mut scratch = Scratch::new();
    let record = r#"{"unified_social_credit_code":"91330106MA2XY0K38A","name":"\u676d\u5dde\ud842\udfb7\"公司"}"#;
    record_type.validate(record.as_bytes(), &mut scratch).unwrap();
    let counted = allocation_counter::measure(|| {
        record_type.validate(record.as_bytes(), &mut scratch).unwrap();
    });
    assert_eq!(counted.count_total, 0);
}

#[test]
fn a_projection_without_masks_costs_no_allocation_but_its_output() {
    let record_type = enterprise();
    let rule = |pointer: &str, treatment| FieldRule { pointer: pointer.to_owned(), treatment };
    let view = record_type
        .projection(&[rule("/name", Treatment::Clear), rule("/unified_social_credit_code", Treatment::KeyedHash)])
        .unwrap();
    let keys = HashKeys::new(HashAlgorithm::HmacSha256, &[1; 32]).unwrap();
    let mut out = Vec::with_capacity(4096);
    let counted = allocation_counter::measure(|| {
        view.apply(RECORDS[1], &keys, &mut out).unwrap();
    });
    assert!(!out.is_empty());
    assert_eq!(counted.count_total, 0);
}

#[test]
fn the_counter_counts() {
    let counted = allocation_counter::measure(|| drop(std::hint::black_box(vec![0u8; 10])));
    assert_eq!(counted.count_total, 1);
}
