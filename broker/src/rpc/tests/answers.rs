//! Room for the answers of commands, which is found before anything is done.

use std::{sync::Arc, time::Duration};

use prost::Message;
use shuqiao_proto::v1;
use tonic::Code;

use super::fixture::{Site, by, dataset, limits, owner, reason};
use crate::{
    exchange::{
        catalogue::{
            Command, Dataset, Department, Grant, OwnRecordType, Role, RowFilter, SharingClass, Start, Subscription,
        },
        fixtures::DATASET,
        model::{PARTITIONS_MAX, Position},
    },
    log::Topic,
    rpc::{catalogue::answer_bytes_max, convert, resources},
};

/// 9999-12-31T23:59:59.999Z.
const LATE_MS: i64 = 253_402_300_799_999;
/// The prefix of a message in a stream: a flag and a length.
const FRAME_BYTES: usize = 5;

fn label(letter: char, length: usize) -> String {
    std::iter::repeat_n(letter, length).collect()
}

/// The answer finds room in what is kept by the message.
#[track_caller]
fn fits(message: &impl Message, command: &Command, answer: &impl Message) {
    let (needed, kept) = (answer.encoded_len() + FRAME_BYTES, answer_bytes_max(message.encoded_len(), command));
    assert!(needed <= kept, "{}: {needed} bytes, and room for {kept}", command.name());
}

/// No room is kept for what has been answered: an answer that was read is let go of a moment later.
async fn settles(site: &Site, bytes: usize) {
    let settled = async {
        while site.unsent.bytes() != bytes {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), settled).await.expect("what was answered makes room");
}

/// Whatever a message may leave out, at its longest.
#[test]
fn no_answer_is_longer_than_the_room_that_is_kept_for_it() {
    let (alias, other) = (label('a', 63), label('b', 63));
    let dataset_id = format!("{alias}.{other}.{}", label('c', 52));
    let (version, etag) = (u64::MAX, "v0".to_owned());

    let one = Department {
        alias: alias.parse().unwrap(),
        unified_social_credit_code: label('0', 18),
        display_name: String::new(),
        roles: vec![Role::Administrator, Role::Auditor],
        create_time_ms: LATE_MS,
        update_time_ms: LATE_MS,
        version,
    };
    let answer = resources::department(&one);
    let message = v1::Department { name: answer.name.clone(), etag: etag.clone(), ..Default::default() };
    let command = Command::UpdateDepartment(resources::department_change(message.clone(), None).unwrap());
    fits(&v1::UpdateDepartmentRequest { department: Some(message) }, &command, &answer);

    let record_type = format!("{alias}.{other}/v9999");
    let wrong: String = (0..300).map(|number| format!("\"{}{number}\": 1, ", label('x', 600))).collect();
    let schema = format!("{{{wrong}\"type\": \"object\"}}");
    let compiled = shuqiao_schemas::own::compile::<String>(schema.as_bytes(), &[]).map(Arc::new).map_err(Arc::new);
    assert!(compiled.is_err(), "a later software's rules may be narrower");
    let one = OwnRecordType {
        name: record_type.parse().unwrap(),
        owner: alias.parse().unwrap(),
        schema,
        code_tables: Vec::new(),
        compiled,
        create_time_ms: LATE_MS,
        version,
    };
    let answer = resources::record_type(&one);
    assert!(!answer.problems.is_empty());
    let message = v1::RecordType { name: answer.name.clone(), schema: one.schema.clone(), ..Default::default() };
    let command = Command::CreateRecordType(resources::new_record_type(message.clone()).unwrap());
    fits(&v1::CreateRecordTypeRequest { record_type: Some(message) }, &command, &answer);

    let one = Dataset {
        id: dataset_id.parse().unwrap(),
        owner: alias.parse().unwrap(),
        record_type: record_type.parse().unwrap(),
        compiled: None,
        title: String::new(),
        sharing_class: SharingClass::NotShared,
        legal_basis: String::new(),
        partitions: PARTITIONS_MAX,
        retention_ms: u64::MAX,
        listed: true,
        topic: Topic::dataset("test", &dataset_id.parse().unwrap()),
        create_time_ms: LATE_MS,
        update_time_ms: LATE_MS,
        version,
    };
    let answer = resources::dataset(&one);
    let sharing_class = v1::SharingClass::NotShared.into();
    let message = v1::Dataset { name: answer.name.clone(), etag: etag.clone(), sharing_class, ..Default::default() };
    let command = Command::UpdateDataset(resources::dataset_change(message.clone(), None).unwrap());
    fits(&v1::UpdateDatasetRequest { dataset: Some(message.clone()) }, &command, &answer);
    let message = v1::Dataset { record_type: record_type.clone(), ..message };
    let command = Command::CreateDataset(resources::new_dataset(message.clone()).unwrap());
    fits(&v1::CreateDatasetRequest { dataset: Some(message) }, &command, &answer);

    let one = Grant {
        id: dataset_id.parse().unwrap(),
        dataset: dataset_id.parse().unwrap(),
        grantee: other.parse().unwrap(),
        fields: Vec::new(),
        rows: Vec::new(),
        purpose: String::new(),
        legal_basis: String::new(),
        start_ms: None,
        end_ms: None,
        revoked: false,
        create_time_ms: LATE_MS,
        update_time_ms: LATE_MS,
        version,
    };
    let answer = resources::grant(&one);
    let message = v1::Grant { name: answer.name.clone(), etag: etag.clone(), ..Default::default() };
    let command = Command::UpdateGrant(resources::grant_change(message.clone(), None).unwrap());
    fits(&v1::UpdateGrantRequest { grant: Some(message) }, &command, &answer);

    let places = || (0..PARTITIONS_MAX).map(|partition| Position { partition, offset: u64::MAX });
    let one = Subscription {
        id: dataset_id.parse().unwrap(),
        dataset: dataset_id.parse().unwrap(),
        subscriber: alias.parse().unwrap(),
        start: Start::positions(places()),
        filter: Vec::new(),
        rows: RowFilter::default(),
        purpose: String::new(),
        create_time_ms: LATE_MS,
        update_time_ms: LATE_MS,
        version,
        seek_generation: version,
    };
    let answer = resources::subscription(&one, places().map(convert::position).collect());
    let message = v1::Subscription { name: answer.name.clone(), etag, ..Default::default() };
    let command = Command::UpdateSubscription(resources::subscription_change(message.clone(), None, None).unwrap());
    fits(&v1::UpdateSubscriptionRequest { subscription: Some(message), seek: None }, &command, &answer);
}

#[tokio::test]
async fn a_command_whose_answer_finds_no_room_is_not_carried_out() {
    let mut site = Site::open().await;
    let held = site.dataset("market-supervision.other", true).await;
    let half = limits().unsent_bytes_max.bytes() / 2;
    // What the department has left unread: all that it may.
    let flood = site.unsent.keep(&owner().department, half).expect("an empty node has room");
    assert!(site.unsent.keep(&owner().department, 2_000).is_err(), "no more");

    let title = "一".repeat(1_000);
    let update = || {
        let dataset = Some(v1::Dataset { title: title.clone(), ..held.clone() });
        by(&owner(), v1::UpdateDatasetRequest { dataset })
    };
    let create = || {
        let dataset = Some(v1::Dataset { title: title.clone(), ..dataset("market-supervision.third", true) });
        by(&owner(), v1::CreateDatasetRequest { dataset })
    };
    let epoch = site.city.catalogue.snapshot().epoch;
    for _ in 0..2 {
        let refused = site.catalogue.update_dataset(update()).await.expect_err("no room");
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "QUOTA_EXHAUSTED"));
        let refused = site.catalogue.create_dataset(create()).await.expect_err("no room");
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "QUOTA_EXHAUSTED"));
    }
    assert_eq!(site.city.catalogue.snapshot().epoch, epoch, "nothing was done");
    // A few bytes always find room: whoever floods can still be kept from what it may do, and revoke.
    site.grant("one", DATASET).await;
    settles(&site, half).await;

    drop(flood);
    assert_eq!(site.unsent.bytes(), 0);
    let updated = site.catalogue.update_dataset(update()).await.expect("by the etag that was never used");
    assert_eq!(updated.into_inner().title, title);
    site.catalogue.create_dataset(create()).await.expect("new");
    settles(&site, 0).await;
    site.close().await;
}
