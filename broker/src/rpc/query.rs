//! QueryService: translates questions and answers.

use std::sync::Arc;

use shuqiao_proto::v1::{self, query_service_server::QueryService};
use tonic::{Request, Response, Status};

use super::{convert, peer, resources, status};
use crate::exchange::query::{Compared, Page, Paging, Query, Question, Shown};

/// The service, over the queries of one node.
#[derive(Clone, Debug)]
pub struct QueryRpc {
    /// What answers.
    pub query: Arc<Query>,
}

#[tonic::async_trait]
impl QueryService for QueryRpc {
    async fn get_record(
        &self,
        request: Request<v1::GetRecordRequest>,
    ) -> Result<Response<v1::GetRecordResponse>, Status> {
        let (caller, _) = peer::caller(&request)?;
        let v1::GetRecordRequest { dataset, key, purpose, at_least } = request.into_inner();
        let found = self.query.get(&caller, &question(dataset, purpose, &at_least), &key).await;
        let record = Some(record(found.map_err(status::of)?));
        Ok(Response::new(v1::GetRecordResponse { record }))
    }

    async fn list_records(
        &self,
        request: Request<v1::ListRecordsRequest>,
    ) -> Result<Response<v1::ListRecordsResponse>, Status> {
        let (caller, _) = peer::caller(&request)?;
        let v1::ListRecordsRequest { dataset, filter, page_size, page_token, purpose, at_least } = request.into_inner();
        let filter = resources::conditions(filter);
        let paging = Paging { size: page_size, token: page_token };
        let found = self.query.list(&caller, &question(dataset, purpose, &at_least), &filter, &paging).await;
        let (records, next_page_token) = page(found.map_err(status::of)?);
        Ok(Response::new(v1::ListRecordsResponse { records, next_page_token }))
    }

    async fn list_subject_records(
        &self,
        request: Request<v1::ListSubjectRecordsRequest>,
    ) -> Result<Response<v1::ListSubjectRecordsResponse>, Status> {
        let (caller, _) = peer::caller(&request)?;
        let v1::ListSubjectRecordsRequest { subject_kind, subject, page_size, page_token, purpose } =
            request.into_inner();
        let paging = Paging { size: page_size, token: page_token };
        let found = self.query.by_subject(&caller, &purpose, (&subject_kind, &subject), &paging).await;
        let (records, next_page_token) = page(found.map_err(status::of)?);
        Ok(Response::new(v1::ListSubjectRecordsResponse { records, next_page_token }))
    }

    async fn list_record_history(
        &self,
        request: Request<v1::ListRecordHistoryRequest>,
    ) -> Result<Response<v1::ListRecordHistoryResponse>, Status> {
        let (caller, _) = peer::caller(&request)?;
        let v1::ListRecordHistoryRequest { dataset, key, page_size, page_token, purpose } = request.into_inner();
        let paging = Paging { size: page_size, token: page_token };
        let found = self.query.history(&caller, &question(dataset, purpose, &[]), &key, &paging).await;
        let Page { records, next } = found.map_err(status::of)?;
        let historic = |shown: Shown| v1::HistoricRecord { applied: shown.applied, record: Some(record(shown)) };
        let records = records.into_iter().map(historic).collect();
        Ok(Response::new(v1::ListRecordHistoryResponse { records, next_page_token: next }))
    }

    async fn compare_record(
        &self,
        request: Request<v1::CompareRecordRequest>,
    ) -> Result<Response<v1::CompareRecordResponse>, Status> {
        let (caller, _) = peer::caller(&request)?;
        let v1::CompareRecordRequest { dataset, key, fields, purpose } = request.into_inner();
        let fields: Vec<_> =
            fields.into_iter().map(|v1::ComparedField { path, value }| Compared { path, value }).collect();
        let verdicts = self.query.compare(&caller, &question(dataset, purpose, &[]), &key, &fields).await;
        let verdicts = verdicts.map_err(status::of)?.into_iter().zip(fields);
        let verdicts = verdicts.map(|(equal, field)| v1::FieldVerdict { path: field.path, equal }).collect();
        Ok(Response::new(v1::CompareRecordResponse { verdicts }))
    }

    async fn get_dataset_digest(
        &self,
        request: Request<v1::GetDatasetDigestRequest>,
    ) -> Result<Response<v1::GetDatasetDigestResponse>, Status> {
        let (caller, _) = peer::caller(&request)?;
        let v1::GetDatasetDigestRequest { dataset, purpose, at_least } = request.into_inner();
        let found = self.query.digest(&caller, &question(dataset, purpose, &at_least)).await.map_err(status::of)?;
        Ok(Response::new(v1::GetDatasetDigestResponse {
            count: found.count,
            digest: found.digest.to_vec(),
            positions: convert::positions(found.applied),
        }))
    }
}

fn question(dataset: String, purpose: String, at_least: &[v1::Position]) -> Question {
    Question { dataset, purpose, at_least: at_least.iter().map(convert::read_position).collect() }
}

fn record(shown: Shown) -> v1::Record {
    convert::record(&shown.dataset, shown.record, shown.position)
}

fn page(page: Page) -> (Vec<v1::Record>, String) {
    (page.records.into_iter().map(record).collect(), page.next)
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::exchange::{
        catalogue::fixtures::system,
        fixtures::{City, DATASET, OWNER, upsert},
        identity::Identity,
        query::{Options, PageKey},
    };

    fn from<T>(caller: Option<Identity>, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let identity = caller.map(Arc::new);
        request.extensions_mut().insert(peer::Peer { identity, address: None, revoked: Default::default() });
        request
    }

    #[tokio::test]
    async fn an_answer_carries_everything_that_a_record_is_and_a_refusal_its_status() {
        let directory = tempfile::tempdir().unwrap();
        let city = City::open(directory.path()).await;
        let mut session = city.session().await;
        let sent = upsert(7, "a", "320600");
        let receipt = city.publish(&mut session, vec![sent.clone()]).await;
        drop(session);
        let crate::exchange::publishing::Fate::Accepted { position, .. } = receipt.results[0].1.clone() else {
            panic!("not accepted")
        };
        let options = Options::new(PageKey::new(&[4; 32]).unwrap());
        let (catalogue, audit, view) = (city.catalogue.clone(), city.audit.clone(), city.view.clone());
        let rpc = QueryRpc { query: Arc::new(Query::new(catalogue, audit, view, options, city.clock.clone())) };

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
}
