//! Who sees what: fields, rows, period; live streams included.

use std::time::Duration;

use shuqiao_proto::v1::{self, Treatment};
use shuqiao_tests::{
    fixtures::{
        City, DATASET, Enterprise, KEY, PURPOSE, Subscriber,
        enterprise::{REGIONS, records},
        grant, now, positions, refused, subscription,
    },
    on_both_homes,
};
use tonic::Code;

fn members(payload: &[u8]) -> Vec<String> {
    let value: serde_json::Value = serde_json::from_slice(payload).expect("JSON");
    value.as_object().expect("an object").keys().cloned().collect()
}

on_both_homes! {
    async fn fields_that_are_not_granted_leave_the_payload_before_it_leaves_the_broker(home) {
        let city = City::on(home).await;
        let registry = city.market_supervision().await;
        let mut shown = grant("market-supervision.taxation-reads", "taxation", &[KEY, "/name", "/legal_representative/name", "/legal_representative/id_number"]);
        shown.fields[2].treatment = Treatment::Masked.into();
        shown.fields[3].treatment = Treatment::Masked.into();
        registry.grants(shown).await;
        let accepted = registry.publishes().await.accepted(records(1..11)).await;
        let taxation = city.taxation().await;

        let queried = taxation.looks_up_after(&Enterprise::number(1).code, positions(&accepted)).await.expect("a record");
        let id = taxation.subscribes(subscription("taxation.enterprise", "taxation")).await;
        let delivered = taxation.reads(&id, 100).await.take(10).await;
        for record in delivered.iter().chain([&queried]) {
            let allowed = ["name", "legal_representative", "unified_social_credit_code"];
            let found = members(&record.payload);
            assert!(found.iter().all(|member| allowed.contains(&member.as_str())), "{found:?}");
            assert!(found.iter().any(|member| member == "name"), "{found:?}");
            let text = std::str::from_utf8(&record.payload).expect("UTF-8");
            assert!(!text.contains("330106199003070014") && !text.contains("欧阳示例"), "masked: {text}");
        }
        // The owner sees what it sent, byte for byte.
        let own = registry.looks_up(&Enterprise::number(1).code).await.expect("a record");
        assert_eq!(own.payload, Enterprise::number(1).payload());
    }

    async fn rows_that_are_not_granted_are_neither_delivered_nor_found(home) {
        let city = City::on(home).await;
        let registry = city.market_supervision().await;
        let mut shown = grant("market-supervision.taxation-reads", "taxation", &[""]);
        shown.rows = vec![v1::RowCondition { field: "region".into(), values: vec![REGIONS[0].into()] }];
        registry.grants(shown).await;
        let mut stream = registry.publishes().await;
        let accepted = stream.accepted(records(1..41)).await;
        let taxation = city.taxation().await;
        let id = taxation.subscribes(subscription("taxation.enterprise", "taxation")).await;
        let mut reading = taxation.reads(&id, 100).await;
        let delivered = reading.take(20).await;
        assert!(delivered.iter().all(|record| record.sequence % 2 == 0), "even numbers lie in the granted region");

        let (hidden, seen) = (Enterprise::number(1), Enterprise::number(2));
        taxation.looks_up_after(&seen.code, positions(&accepted)).await.expect("granted");
        refused(taxation.looks_up(&hidden.code).await, Code::NotFound, "RECORD_NOT_FOUND");
        let all = v1::ListRecordsRequest { dataset: DATASET.into(), page_size: 1000, purpose: PURPOSE.into(), ..Default::default() };
        let listed = taxation.query().list_records(all).await.expect("a list").into_inner().records;
        assert_eq!(listed.len(), 20);
        assert_eq!(taxation.digest(Vec::new()).await.expect("a digest").0, 20);
        // What moves out of the granted rows is no record of the reader's any more: it must not go on believing in it.
        let moved = seen.clone().with("region", REGIONS[1]);
        stream.accepted(vec![moved.record(100, 100)]).await;
        let told = reading.take(1).await;
        assert_eq!((told[0].key.as_str(), told[0].operation()), (seen.code.as_str(), v1::Operation::Delete));
        assert!(told[0].payload.is_empty());
    }

    async fn a_grant_that_expires_or_is_revoked_ends_a_live_stream_within_five_seconds(home) {
        let city = City::on(home).await;
        let registry = city.market_supervision().await;
        let mut short = grant("market-supervision.taxation-reads", "taxation", &[""]);
        short.end_time = Some(now(Duration::from_secs(8)));
        registry.grants(short).await;
        let kept = registry.grants(grant("market-supervision.civil-affairs-reads", "civil-affairs", &[""])).await;
        registry.publishes().await.accepted(records(1..11)).await;
        let (taxation, civil) = (city.taxation().await, city.civil_affairs().await);
        let one = taxation.subscribes(subscription("taxation.enterprise", "taxation")).await;
        let two = civil.subscribes(subscription("civil-affairs.enterprise", "civil-affairs")).await;
        let (mut expiring, mut revoked) = (taxation.reads(&one, 100).await, civil.reads(&two, 100).await);
        expiring.take(10).await;
        revoked.take(10).await;

        let (_, status) = expiring.ended_within(4 + 5).await;
        refused(Err::<(), _>(status), Code::PermissionDenied, "GRANT_EXPIRED");
        refused(Subscriber::open(&taxation, &one, 1).await, Code::PermissionDenied, "GRANT_EXPIRED");
        refused(taxation.looks_up(&Enterprise::number(1).code).await, Code::PermissionDenied, "GRANT_EXPIRED");

        registry.revokes(&kept).await;
        let (_, status) = revoked.ended_within(5).await;
        refused(Err::<(), _>(status), Code::PermissionDenied, "GRANT_REVOKED");
        refused(civil.looks_up(&Enterprise::number(1).code).await, Code::PermissionDenied, "GRANT_REVOKED");
    }

    async fn a_department_without_a_grant_reads_nothing(home) {
        let city = City::on(home).await;
        let registry = city.market_supervision().await;
        registry.grants(grant("market-supervision.taxation-reads", "taxation", &[""])).await;
        registry.publishes().await.accepted(records(1..11)).await;
        let taxation = city.taxation().await;
        let id = taxation.subscribes(subscription("taxation.enterprise", "taxation")).await;
        let civil = city.civil_affairs().await;
        refused(civil.looks_up(&Enterprise::number(1).code).await, Code::PermissionDenied, "GRANT_MISSING");
        refused(civil.digest(Vec::new()).await, Code::PermissionDenied, "GRANT_MISSING");
        // Another department's subscription is nobody's business.
        refused(Subscriber::open(&civil, &id, 1).await, Code::NotFound, "RESOURCE_NOT_FOUND");
        let subject = v1::ListSubjectRecordsRequest {
            subject_kind: "uscc".into(),
            subject: Enterprise::number(1).code,
            purpose: PURPOSE.into(),
            ..Default::default()
        };
        let about = civil.query().list_subject_records(subject).await.expect("a list").into_inner();
        assert!(about.records.is_empty());
    }

    async fn a_subscriber_takes_up_where_it_acknowledged(home) {
        let mut city = City::on(home).await;
        let registry = city.market_supervision().await;
        registry.grants(grant("market-supervision.taxation-reads", "taxation", &[""])).await;
        registry.publishes().await.accepted(records(1..101)).await;
        let taxation = city.taxation().await;
        let id = taxation.subscribes(subscription("taxation.enterprise", "taxation")).await;
        let mut reading = taxation.reads(&id, 40).await;
        let mut taken = Vec::new();
        while taken.len() < 40 {
            let delivery = reading.delivery().await.expect("a delivery");
            reading.acknowledge(&delivery.records).await;
            taken.extend(delivery.records);
        }
        assert_eq!(taken.len(), 40, "never more than the credit");
        reading.finish().await.expect("the cursor is told");
        city.crash().await;
        let rest = city.taxation().await.reads(&id, 1000).await.take(60).await;
        let mut sequences: Vec<_> = taken.iter().chain(&rest).map(|record| record.sequence).collect();
        sequences.sort_unstable();
        assert_eq!(sequences, (1..101).collect::<Vec<_>>(), "each once: what was acknowledged does not come again");
    }
}
