//! Departments' own record types: the same verbs, but nothing of one ever changes.

use std::sync::Arc;

use shuqiao_proto::v1;
use shuqiao_schemas::{
    engine::{self, describe as description},
    own,
    registry::Registry,
};
use tonic::{Code, Status};

use super::{
    super::{
        error::Error,
        exit::Exit,
        manifest::{Dataset, RecordType, full_name},
        output, schema,
    },
    Client, PAGE_SIZE, Resource,
    show::{all, related},
};

/// A standard of this program's, or a department's own as the node has it. None where the node knows no such name, or this program cannot compile it.
pub(in crate::cli) async fn compiled(
    client: &mut Client,
    name: &str,
) -> Result<Option<Arc<engine::RecordType>>, Error> {
    if let Some(known) = Registry::builtin().get(name) {
        return Ok(Some(known.clone()));
    }
    match RecordType::fetch(client, full_name(RecordType::COLLECTION, name)).await {
        Ok(found) => Ok(own::compile(found.schema.as_bytes(), &found.code_tables).ok().map(Arc::new)),
        Err(status) if matches!(status.code(), Code::NotFound | Code::InvalidArgument) => Ok(None),
        Err(status) => Err(status.into()),
    }
}

impl Resource for RecordType {
    type Wire = v1::RecordType;
    const KIND: &'static str = "record-type";
    const COLLECTION: &'static str = "recordTypes";
    const COLUMNS: &'static [&'static str] = &["name", "owner", "title", "created", "problems"];

    fn row(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.owner.clone(),
            self.title.clone(),
            self.create_time.map(|time| time.to_string()).unwrap_or_default(),
            self.problems.len().to_string(),
        ]
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn etag(&self) -> &str {
        &self.etag
    }

    fn set_etag(&mut self, etag: String) {
        self.etag = etag;
    }

    /// Only the documents are wanted; without an obstacle they are what is there.
    fn complete(&mut self, current: &Self) {
        self.clone_from(current);
    }

    fn obstacle(&self, current: &Self) -> Option<&'static str> {
        let same = self.schema == current.schema && self.code_tables == current.code_tables;
        (!same).then_some(
            "is registered with other documents, and a name never changes its meaning: register the change as the next version, /v2 beside /v1 \
             (`shuqiao schema diff` tells what it changes)",
        )
    }

    async fn fetch(client: &mut Client, name: String) -> Result<Self::Wire, Status> {
        Ok(client.get_record_type(v1::GetRecordTypeRequest { name }).await?.into_inner())
    }

    async fn page(client: &mut Client, page_token: String) -> Result<(Vec<Self::Wire>, String), Status> {
        let request = v1::ListRecordTypesRequest { page_size: PAGE_SIZE, page_token };
        let page = client.list_record_types(request).await?.into_inner();
        Ok((page.record_types, page.next_page_token))
    }

    async fn create(client: &mut Client, wire: Self::Wire) -> Result<Self::Wire, Status> {
        let request = v1::CreateRecordTypeRequest { record_type: Some(wire) };
        Ok(client.create_record_type(request).await?.into_inner())
    }

    /// There is no such call. What differs is an obstacle, so nobody comes here; if somebody did, the node would refuse it in its own words.
    async fn update(client: &mut Client, wire: Self::Wire) -> Result<Self::Wire, Status> {
        Self::create(client, wire).await
    }

    async fn remove(client: &mut Client, name: String, etag: String) -> Result<(), Status> {
        client.delete_record_type(v1::DeleteRecordTypeRequest { name, etag }).await.map(|_| ())
    }
}

/// What it says, as people read it, and who uses it.
pub(super) async fn describe(client: &mut Client, name: &str) -> Result<Exit, Error> {
    let found = RecordType::from(RecordType::fetch(client, full_name(RecordType::COLLECTION, name)).await?);
    match own::compile(found.schema.as_bytes(), &found.code_tables) {
        Ok(compiled) => output::print(&schema::page(&description(&compiled)))?,
        Err(error) => {
            let flaws: Vec<_> = error.problems().iter().map(|problem| format!("\n  {problem}")).collect();
            output::print(&format!("{}: this program cannot compile it:{}", found.name, flaws.concat()))?;
        }
    }
    if !found.problems.is_empty() {
        let rows = found.problems.iter().map(|one| vec![one.path.clone(), one.rule.clone(), one.message_en.clone()]);
        output::print(&format!(
            "\n# the node cannot compile it\n{}",
            output::table(["place", "code", "message"], rows)
        ))?;
    }
    let mut datasets = all::<Dataset>(client).await?;
    let id = found.name.trim_start_matches("recordTypes/");
    datasets.retain(|dataset| dataset.record_type == id);
    related("datasets", &datasets)?;
    Ok(Exit::Success)
}
