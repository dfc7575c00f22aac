//! The trail as it is read: under its own rules, and on record itself.

use std::sync::Arc;

use super::{Action, Audit, NewEntry, Page, Query, Target};
use crate::exchange::{Error, catalogue::Catalogue, identity::Identity, policy, refusal::refuse};

/// Entries of one page where the caller does not say.
const PAGE_DEFAULT: usize = 100;

/// Reads the trail for callers.
#[derive(Clone, Debug)]
pub struct Reading {
    catalogue: Arc<Catalogue>,
    audit: Arc<Audit>,
}

/// What a caller asks for. Empty texts ask for everything.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// First index wanted.
    pub from: u64,
    /// Where the page before said that this one begins; goes before `from`.
    pub page_token: String,
    /// At most so many; 0 leaves it to the node.
    pub page_size: usize,
    /// Only of this dataset.
    pub dataset: String,
    /// Only of this actor's department.
    pub department: String,
}

impl Reading {
    /// Over the rooms of one node.
    pub fn new(catalogue: Arc<Catalogue>, audit: Arc<Audit>) -> Self {
        Self { catalogue, audit }
    }

    /// A page of what the caller may read. The reading is on record before anything of it is shown, and so is its refusal.
    ///
    /// # Errors
    /// Those of [`policy::audit_scope`] and of [`Audit::list`]; INVALID_FIELD for a token that is none; what kept the reading from the trail.
    pub async fn page(&self, caller: &Identity, asked: Asked) -> Result<Page, Error> {
        match self.read(caller, asked).await {
            Ok(page) => Ok(page),
            Err(error) => {
                Err(refuse(&self.catalogue, &self.audit, NewEntry::new(caller, Action::ReadAudit), error).await)
            }
        }
    }

    async fn read(&self, caller: &Identity, asked: Asked) -> Result<Page, Error> {
        let scope = policy::audit_scope(&self.catalogue.snapshot(), caller)?;
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        let department = some(asked.department);
        let query = Query {
            from: begin(&asked.page_token, asked.from)?,
            page_size: if asked.page_size == 0 { PAGE_DEFAULT } else { asked.page_size },
            dataset: some(asked.dataset),
            department: scope.as_ref().map(ToString::to_string).or_else(|| department.clone()),
        };
        // Whoever may read only its own entries and asks for another's is shown none.
        let foreign = scope.is_some_and(|own| department.is_some_and(|asked| asked != own.as_str()));
        let page = if foreign { Page::default() } else { self.audit.list(&query).await? };
        let target = Target { resource: Some(format!("audit/{}", query.from)), ..Target::default() };
        let count = u64::try_from(page.lines.len()).unwrap_or(u64::MAX);
        self.audit.append(NewEntry { target, count, ..NewEntry::new(caller, Action::ReadAudit) }).await?;
        Ok(page)
    }
}

/// A page token is the index at which the page begins.
fn begin(token: &str, from: u64) -> Result<u64, Error> {
    if token.is_empty() {
        return Ok(from);
    }
    let malformed =
        |_| Error::invalid("page_token", "MALFORMED", "is no page token of this list", "不是本列表的翻页标记");
    token.parse().map_err(malformed)
}
