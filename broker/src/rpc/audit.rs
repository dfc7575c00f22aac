//! AuditService: the trail, read under its own rules.

use std::sync::Arc;

use shuqiao_proto::v1::{self, audit_service_server::AuditService};
use tonic::{Request, Response, Status};

use super::{peer, status};
use crate::exchange::{
    Error,
    audit::{Action, Audit, NewEntry, Outcome, Query, Target},
    catalogue::Catalogue,
    identity::Identity,
    policy,
};

/// Entries of one page where the caller does not say.
const PAGE_DEFAULT: u32 = 100;

/// The service.
#[derive(Clone, Debug)]
pub struct AuditRpc {
    /// Who may read whose entries.
    pub catalogue: Arc<Catalogue>,
    /// The trail.
    pub audit: Arc<Audit>,
}

#[tonic::async_trait]
impl AuditService for AuditRpc {
    async fn list_audit_entries(
        &self,
        request: Request<v1::ListAuditEntriesRequest>,
    ) -> Result<Response<v1::ListAuditEntriesResponse>, Status> {
        let (caller, _) = peer::caller(&request)?;
        let request = request.into_inner();
        let answer = async {
            let scope = policy::audit_scope(&self.catalogue.snapshot(), &caller)?;
            let asked = Some(request.department).filter(|asked| !asked.is_empty());
            let query = Query {
                from: from(&request.page_token, request.from_index)?,
                page_size: usize::try_from(if request.page_size == 0 { PAGE_DEFAULT } else { request.page_size })
                    .unwrap_or(usize::MAX),
                dataset: Some(request.dataset).filter(|dataset| !dataset.is_empty()),
                department: scope.as_ref().map(ToString::to_string).or_else(|| asked.clone()),
            };
            // Whoever may read only its own entries and asks for another's is shown none.
            let foreign = scope.is_some_and(|own| asked.is_some_and(|asked| asked != own.as_str()));
            let page = if foreign { Default::default() } else { self.audit.list(&query).await? };
            // The reading itself is on record before anything of it is shown.
            let target = Target { resource: Some(format!("audit/{}", query.from)), ..Target::default() };
            let count = u64::try_from(page.lines.len()).unwrap_or(u64::MAX);
            self.audit.append(NewEntry { target, count, ..NewEntry::new(&caller, Action::ReadAudit) }).await?;
            Ok(page)
        };
        let page = match answer.await {
            Ok(page) => page,
            Err(error) => return Err(status::of(self.refused(&caller, error).await)),
        };
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

impl AuditRpc {
    /// Puts a refusal on the trail. Answers with it, or with what kept it from the trail.
    async fn refused(&self, caller: &Identity, error: Error) -> Error {
        let Some(reason) = error.refusal() else { return error };
        self.catalogue.metrics().deny(reason);
        let entry = NewEntry { outcome: Outcome::Denied(reason), ..NewEntry::new(caller, Action::ReadAudit) };
        self.audit.append(entry).await.err().unwrap_or(error)
    }
}

/// A page token is the index at which the page begins.
fn from(token: &str, from_index: u64) -> Result<u64, Error> {
    if token.is_empty() {
        return Ok(from_index);
    }
    let malformed =
        |_| Error::invalid("page_token", "MALFORMED", "is no page token of this list", "不是本列表的翻页标记");
    token.parse().map_err(malformed)
}
