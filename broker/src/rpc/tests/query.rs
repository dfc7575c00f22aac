//! QueryService.

use std::sync::Arc;

use shuqiao_proto::v1::{self, query_service_server::QueryService};
use tonic::{Code, Request};

use super::fixture::anonymous;
use crate::{
    exchange::{
        catalogue::{
            Command,
            command::NewDataset,
            fixtures::{new_dataset, system},
        },
        fixtures::{City, DATASET, OWNER, upsert},
        identity::Identity,
        publishing::Fate,
        query::{Options, PageKey, Query},
    },
    rpc::{convert, peer, query::QueryRpc},
};

fn from<T>(caller: Option<Identity>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let identity = caller.map(Arc::new);
    request.extensions_mut().insert(peer::Peer { identity, address: None, revoked: Default::default() });
    request
}

fn service(city: &City) -> QueryRpc {
    let options = Options::new(PageKey::new(&[4; 32]));
    let (catalogue, audit, view) = (city.catalogue.clone(), city.audit.clone(), city.view.clone());
    QueryRpc { query: Arc::new(Query::new(catalogue, audit, view, options, city.clock.clone())) }
}

#[tokio::test]
async fn an_answer_carries_everything_that_a_record_is_and_a_refusal_its_status() {
    let directory = tempfile::tempdir().unwrap();
    let city = City::open(directory.path()).await;
    let mut session = city.session().await;
    let sent = upsert(7, "a", "320600");
    let receipt = city.publish(&mut session, vec![sent.clone()]).await;
    drop(session);
    let Fate::Accepted { position, .. } = receipt.results[0].1.clone() else { panic!("not accepted") };
    let rpc = service(&city);

    let asked = v1::GetRecordRequest {
        dataset: DATASET.into(),
        key: "a".into(),
        purpose: "自用".into(),
        at_least: vec![convert::position(position)],
    };
    let answer = rpc.get_record(from(Some(system(OWNER)), asked.clone())).await.unwrap().into_inner();
    let expected = v1::Record {
        dataset: DATASET.into(),
        record_type: "sample/v1".into(),
        key: "a".into(),
        operation: v1::Operation::Upsert.into(),
        source_version: 7,
        payload: sent.payload,
        source: "department/market-supervision/system/registry".into(),
        sequence: 7,
        accept_time: Some(prost_types::Timestamp { seconds: 1_000, nanos: 0 }),
        position: Some(convert::position(position)),
    };
    assert_eq!(answer.record, Some(expected.clone()));

    let history = v1::ListRecordHistoryRequest {
        dataset: DATASET.into(),
        key: "a".into(),
        purpose: "自用".into(),
        ..Default::default()
    };
    let answer = rpc.list_record_history(from(Some(system(OWNER)), history)).await.unwrap().into_inner();
    assert_eq!(answer.records, [v1::HistoricRecord { record: Some(expected.clone()), applied: true }]);

    let compared = |path: &str, value: &str| v1::ComparedField { path: path.into(), value: value.into() };
    let asked_to_compare = v1::CompareRecordRequest {
        dataset: DATASET.into(),
        key: "a".into(),
        fields: vec![compared("/region", "320600"), compared("/note", "n8")],
        purpose: "自用".into(),
    };
    let answer = rpc.compare_record(from(Some(system(OWNER)), asked_to_compare)).await.unwrap().into_inner();
    let verdicts: Vec<_> = answer.verdicts.iter().map(|one| (one.path.as_str(), one.equal)).collect();
    assert_eq!(verdicts, [("/region", true), ("/note", false)]);

    let condition = v1::RowCondition { field: "region".into(), values: vec!["320600".into()] };
    let list = v1::ListRecordsRequest {
        dataset: DATASET.into(),
        filter: vec![condition],
        purpose: "自用".into(),
        ..Default::default()
    };
    let answer = rpc.list_records(from(Some(system(OWNER)), list)).await.unwrap().into_inner();
    assert_eq!((answer.records, answer.next_page_token.as_str()), (vec![expected], ""));

    let digest =
        v1::GetDatasetDigestRequest { dataset: DATASET.into(), purpose: "自用".into(), at_least: Vec::new() };
    let answer = rpc.get_dataset_digest(from(Some(system(OWNER)), digest)).await.unwrap().into_inner();
    assert_eq!((answer.count, answer.digest.len()), (1, 32));
    let next = answer.positions.iter().find(|one| one.partition == position.partition).unwrap();
    assert_eq!(next.offset, position.offset + 1);

    let missing = v1::GetRecordRequest { key: "b".into(), ..asked.clone() };
    assert_eq!(rpc.get_record(from(Some(system(OWNER)), missing)).await.unwrap_err().code(), Code::NotFound);
    let denied = rpc.get_record(from(Some(system("taxation")), asked.clone())).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    assert_eq!(rpc.get_record(from(None, asked)).await.unwrap_err().code(), Code::Unauthenticated);
    city.close().await;
}

#[tokio::test]
async fn a_private_dataset_answers_every_question_like_an_unknown_one() {
    const HIDDEN: &str = "market-supervision.hidden";
    let directory = tempfile::tempdir().unwrap();
    let city = City::open(directory.path()).await;
    let hidden = NewDataset { listed: false, ..new_dataset(HIDDEN) };
    city.command(&system(OWNER), Command::CreateDataset(hidden)).await;
    let rpc = service(&city);
    let mut told = Vec::new();
    for dataset in [HIDDEN, "market-supervision.none"] {
        let (name, key, purpose) = (|| dataset.to_owned(), || "a".to_owned(), || "核查".to_owned());
        let caller = || Some(system("taxation"));
        // What would be refused of a dataset that is seen: a field that is not indexed, a partition that is not there.
        let filter = vec![v1::RowCondition { field: "none".into(), values: vec!["x".into()] }];
        let at_least = vec![v1::Position { partition: 99, offset: 0 }];
        let get = v1::GetRecordRequest { dataset: name(), key: key(), purpose: purpose(), at_least };
        let list = v1::ListRecordsRequest { dataset: name(), filter, purpose: purpose(), ..Default::default() };
        let history =
            v1::ListRecordHistoryRequest { dataset: name(), key: key(), purpose: purpose(), ..Default::default() };
        let compare =
            v1::CompareRecordRequest { dataset: name(), key: key(), purpose: purpose(), ..Default::default() };
        let digest = v1::GetDatasetDigestRequest { dataset: name(), purpose: purpose(), ..Default::default() };
        let refusals = [
            rpc.get_record(from(caller(), get)).await.map(drop).unwrap_err(),
            rpc.list_records(from(caller(), list)).await.map(drop).unwrap_err(),
            rpc.list_record_history(from(caller(), history)).await.map(drop).unwrap_err(),
            rpc.compare_record(from(caller(), compare)).await.map(drop).unwrap_err(),
            rpc.get_dataset_digest(from(caller(), digest)).await.map(drop).unwrap_err(),
        ];
        assert!(refusals.iter().all(|status| status.code() == Code::NotFound), "{refusals:?}");
        told.push(refusals.map(|status| anonymous(&status, dataset)));
    }
    assert_eq!(told[0], told[1]);
    // The trail, too, tells them apart by the name alone that the caller wrote.
    let page = city.audit.list(&crate::exchange::audit::Query::default()).await.unwrap();
    let entry = |line: &crate::exchange::audit::Line| {
        let mut entry: serde_json::Value = serde_json::from_slice(&line.canonical).unwrap();
        entry["dataset"] = serde_json::Value::Null;
        entry
    };
    let entries: Vec<_> =
        page.lines.iter().map(entry).filter(|one| one["actor"] == "department/taxation/system/registry").collect();
    assert_eq!(entries.len(), 10);
    assert_eq!(entries[..5], entries[5..]);
    city.close().await;
}
