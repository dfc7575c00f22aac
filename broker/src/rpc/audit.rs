//! AuditService: translates, and leaves the rules to [`Reading`].

use shuqiao_proto::v1::{self, audit_service_server::AuditService};
use tonic::{Request, Response, Status};

use super::{peer, status};
use crate::exchange::audit::{Asked, Reading};

/// The service.
#[derive(Clone, Debug)]
pub struct AuditRpc {
    /// Reads the trail.
    pub reading: Reading,
}

#[tonic::async_trait]
impl AuditService for AuditRpc {
    async fn list_audit_entries(
        &self,
        request: Request<v1::ListAuditEntriesRequest>,
    ) -> Result<Response<v1::ListAuditEntriesResponse>, Status> {
        let (caller, _) = peer::caller(&request)?;
        let request = request.into_inner();
        let asked = Asked {
            from: request.from_index,
            page_token: request.page_token,
            page_size: usize::try_from(request.page_size).unwrap_or(usize::MAX),
            dataset: request.dataset,
            department: request.department,
        };
        let page = self.reading.page(&caller, asked).await.map_err(status::of)?;
        let entries = page.lines.into_iter().map(|line| v1::AuditEntry {
            index: line.index,
            leaf_hash: line.leaf_hash().to_vec(),
            canonical: line.canonical.into(),
        });
        let entries = entries.collect();
        let next_page_token = page.next.map(|next| next.to_string()).unwrap_or_default();
        Ok(Response::new(v1::ListAuditEntriesResponse { entries, next_page_token, end_index: page.end }))
    }
}
