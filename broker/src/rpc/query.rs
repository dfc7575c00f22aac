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
    Question { dataset, purpose, at_least: at_least.iter().copied().map(convert::read_position).collect() }
}

fn record(shown: Shown) -> v1::Record {
    let Shown { dataset, record, position, .. } = shown;
    convert::record(&dataset, &record, (record.operation, record.payload.clone()), position)
}

fn page(page: Page) -> (Vec<v1::Record>, String) {
    (page.records.into_iter().map(record).collect(), page.next)
}
