//! Departments, datasets, grants and subscriptions: the same five verbs for each.

use std::{io::Read, path::PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;
use shuqiao_proto::v1::{
    self, catalogue_service_client::CatalogueServiceClient, node_service_client::NodeServiceClient,
};
use tonic::{Code, Status, transport::Channel};

use super::{
    connection::Connection,
    error::Error,
    exit::Exit,
    manifest::{Dataset, Department, Grant, Manifest, Subscription, full_name},
    output::{self, Format},
};

/// Manifests are written by people; nothing honest is larger.
const MANIFEST_BYTES_MAX: u64 = 16 << 20;
const PAGE_SIZE: u32 = 1000;

type Client = CatalogueServiceClient<Channel>;

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// An organ of government.
    #[value(alias = "departments")]
    Department,
    /// A department's holding of records of one type.
    #[value(alias = "datasets")]
    Dataset,
    /// Who may see what of a dataset.
    #[value(alias = "grants")]
    Grant,
    /// A department's place in a dataset's stream.
    #[value(alias = "subscriptions")]
    Subscription,
}

/// One kind of resource: its calls, and how it is shown.
trait Resource: Clone + PartialEq + Serialize + From<Self::Wire> + Into<Self::Wire> {
    type Wire;
    const KIND: &'static str;
    const COLLECTION: &'static str;
    const COLUMNS: &'static [&'static str];
    fn row(&self) -> Vec<String>;
    fn name(&self) -> &str;
    fn etag(&self) -> &str;
    fn set_etag(&mut self, etag: String);
    /// Takes over from what exists whatever a manifest may leave open, so that the two are equal exactly if nothing is to be changed.
    fn complete(&mut self, current: &Self);
    async fn fetch(client: &mut Client, name: String) -> Result<Self::Wire, Status>;
    async fn page(client: &mut Client, token: String) -> Result<(Vec<Self::Wire>, String), Status>;
    async fn create(client: &mut Client, wire: Self::Wire) -> Result<Self::Wire, Status>;
    async fn update(client: &mut Client, wire: Self::Wire) -> Result<Self::Wire, Status>;
    async fn remove(client: &mut Client, name: String, etag: String) -> Result<(), Status>;
}

macro_rules! resource {
    (
        $type:ident, $kind:literal, $collection:literal, $field:ident, $list_field:ident,
        $get:ident $get_request:ident, $list:ident $list_request:ident, $create:ident $create_request:ident,
        $update:ident $update_request:ident, $delete:ident $delete_request:ident,
        columns $columns:expr, row $row:expr, complete $complete:expr
    ) => {
        impl Resource for $type {
            type Wire = v1::$type;
            const KIND: &'static str = $kind;
            const COLLECTION: &'static str = $collection;
            const COLUMNS: &'static [&'static str] = &$columns;
            fn row(&self) -> Vec<String> {
                let row: fn(&Self) -> Vec<String> = $row;
                row(self)
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
            fn complete(&mut self, current: &Self) {
                self.name.clone_from(&current.name);
                self.etag.clone_from(&current.etag);
                self.create_time = current.create_time;
                self.update_time = current.update_time;
                let complete: fn(&mut Self, &Self) = $complete;
                complete(self, current);
            }
            async fn fetch(client: &mut Client, name: String) -> Result<Self::Wire, Status> {
                Ok(client.$get(v1::$get_request { name }).await?.into_inner())
            }
            #[allow(clippy::needless_update, reason = "some list requests have a filter more")]
            async fn page(client: &mut Client, page_token: String) -> Result<(Vec<Self::Wire>, String), Status> {
                let request = v1::$list_request { page_size: PAGE_SIZE, page_token, ..Default::default() };
                let page = client.$list(request).await?.into_inner();
                Ok((page.$list_field, page.next_page_token))
            }
            async fn create(client: &mut Client, wire: Self::Wire) -> Result<Self::Wire, Status> {
                Ok(client.$create(v1::$create_request { $field: Some(wire) }).await?.into_inner())
            }
            #[allow(clippy::needless_update, reason = "a subscription's update may seek")]
            async fn update(client: &mut Client, wire: Self::Wire) -> Result<Self::Wire, Status> {
                let request = v1::$update_request { $field: Some(wire), ..Default::default() };
                Ok(client.$update(request).await?.into_inner())
            }
            async fn remove(client: &mut Client, name: String, etag: String) -> Result<(), Status> {
                client.$delete(v1::$delete_request { name, etag }).await.map(|_| ())
            }
        }
    };
}

resource! {
    Department, "department", "departments", department, departments,
    get_department GetDepartmentRequest, list_departments ListDepartmentsRequest, create_department CreateDepartmentRequest,
    update_department UpdateDepartmentRequest, delete_department DeleteDepartmentRequest,
    columns ["name", "code", "display name", "roles"],
    row |department| vec![
        department.name.clone(),
        department.unified_social_credit_code.clone(),
        department.display_name.clone(),
        department.roles.iter().map(|role| format!("{role:?}").to_lowercase()).collect::<Vec<_>>().join(","),
    ],
    complete |_, _| ()
}

resource! {
    Dataset, "dataset", "datasets", dataset, datasets,
    get_dataset GetDatasetRequest, list_datasets ListDatasetsRequest, create_dataset CreateDatasetRequest,
    update_dataset UpdateDatasetRequest, delete_dataset DeleteDatasetRequest,
    columns ["name", "record type", "title", "sharing", "partitions", "listed"],
    row |dataset| vec![
        dataset.name.clone(),
        dataset.record_type.clone(),
        dataset.title.clone(),
        dataset.sharing_class.map(|class| format!("{class:?}").to_lowercase()).unwrap_or_default(),
        dataset.partitions.to_string(),
        dataset.listed.to_string(),
    ],
    complete |wanted, current| {
        if wanted.partitions == 0 {
            wanted.partitions = current.partitions;
        }
        if wanted.retention_seconds == 0 {
            wanted.retention_seconds = current.retention_seconds;
        }
    }
}

resource! {
    Grant, "grant", "grants", grant, grants,
    get_grant GetGrantRequest, list_grants ListGrantsRequest, create_grant CreateGrantRequest,
    update_grant UpdateGrantRequest, delete_grant DeleteGrantRequest,
    columns ["name", "dataset", "grantee", "fields", "purpose", "until", "revoked"],
    row |grant| vec![
        grant.name.clone(),
        grant.dataset.clone(),
        grant.grantee.clone(),
        grant.fields.len().to_string(),
        grant.purpose.clone(),
        grant.end_time.map(|time| time.to_string()).unwrap_or_default(),
        grant.revoked.to_string(),
    ],
    complete |wanted, current| {
        wanted.revoked = current.revoked;
        if wanted.start_time.is_none() {
            wanted.start_time = current.start_time;
        }
    }
}

resource! {
    Subscription, "subscription", "subscriptions", subscription, subscriptions,
    get_subscription GetSubscriptionRequest, list_subscriptions ListSubscriptionsRequest, create_subscription CreateSubscriptionRequest,
    update_subscription UpdateSubscriptionRequest, delete_subscription DeleteSubscriptionRequest,
    columns ["name", "dataset", "purpose", "cursor"],
    row |subscription| vec![
        subscription.name.clone(),
        subscription.dataset.clone(),
        subscription.purpose.clone(),
        subscription.cursor.iter().map(|position| format!("{}:{}", position.partition, position.offset)).collect::<Vec<_>>().join(" "),
    ],
    // Where a subscription began matters once; a seek is `subscribe --from`.
    complete |wanted, current| {
        wanted.start.clone_from(&current.start);
        wanted.cursor.clone_from(&current.cursor);
    }
}

/// Calls a generic function with the type of a kind.
macro_rules! dispatch {
    ($kind:expr, $function:ident($($argument:expr),*)) => {
        match $kind {
            Kind::Department => $function::<Department>($($argument),*).await,
            Kind::Dataset => $function::<Dataset>($($argument),*).await,
            Kind::Grant => $function::<Grant>($($argument),*).await,
            Kind::Subscription => $function::<Subscription>($($argument),*).await,
        }
    };
}

/// `shuqiao get KIND NAME`.
#[derive(Args, Debug)]
pub(super) struct Get {
    #[arg(value_enum)]
    kind: Kind,
    /// Its id, with or without its collection: `taxation`, `departments/taxation`.
    name: String,
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connection: Connection,
}

impl Get {
    pub(super) async fn run(self) -> Result<Exit, Error> {
        let mut client = connect(&self.connection).await?;
        dispatch!(self.kind, get(&mut client, &self.name, self.output))
    }
}

async fn get<R: Resource>(client: &mut Client, name: &str, format: Format) -> Result<Exit, Error> {
    let resource = R::from(R::fetch(client, full_name(R::COLLECTION, name)).await?);
    show_one(&resource, format)
}

/// `shuqiao list KIND`.
#[derive(Args, Debug)]
pub(super) struct List {
    #[arg(value_enum)]
    kind: Kind,
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connection: Connection,
}

impl List {
    pub(super) async fn run(self) -> Result<Exit, Error> {
        let mut client = connect(&self.connection).await?;
        dispatch!(self.kind, list(&mut client, self.output))
    }
}

async fn list<R: Resource>(client: &mut Client, format: Format) -> Result<Exit, Error> {
    show_all(&all::<R>(client).await?, format)
}

async fn all<R: Resource>(client: &mut Client) -> Result<Vec<R>, Error> {
    let mut resources = Vec::new();
    let mut token = String::new();
    loop {
        let (page, next) = R::page(client, token).await?;
        resources.extend(page.into_iter().map(R::from));
        if next.is_empty() {
            return Ok(resources);
        }
        token = next;
    }
}

fn show_one<R: Resource>(resource: &R, format: Format) -> Result<Exit, Error> {
    output::print(&match format {
        Format::Table => output::table(R::COLUMNS.iter().copied(), [resource.row()]),
        Format::Json => output::json(resource)?,
        Format::Yaml => output::yaml(resource)?,
    })?;
    Ok(Exit::Success)
}

fn show_all<R: Resource>(resources: &[R], format: Format) -> Result<Exit, Error> {
    output::print(&match format {
        Format::Table => output::table(R::COLUMNS.iter().copied(), resources.iter().map(Resource::row)),
        Format::Json => output::json(&resources)?,
        Format::Yaml => resources.iter().map(output::yaml).collect::<Result<Vec<_>, _>>()?.join("\n---\n"),
    })?;
    Ok(Exit::Success)
}

/// `shuqiao describe KIND NAME`.
#[derive(Args, Debug)]
pub(super) struct Describe {
    #[arg(value_enum)]
    kind: Kind,
    /// Its id, with or without its collection.
    name: String,
    #[command(flatten)]
    connection: Connection,
}

impl Describe {
    pub(super) async fn run(self) -> Result<Exit, Error> {
        let channel = self.connection.open().await?;
        let mut client = Client::new(channel.clone());
        dispatch!(self.kind, get(&mut client, &self.name, Format::Yaml))?;
        let id = self.name.rsplit('/').next().unwrap_or_default();
        match self.kind {
            Kind::Department => {
                let mut datasets = all::<Dataset>(&mut client).await?;
                datasets.retain(|dataset| dataset.owner == id);
                related("datasets", &datasets)?;
                let mut grants = all::<Grant>(&mut client).await?;
                grants.retain(|grant| grant.grantee == id);
                related("grants to it", &grants)?;
            }
            Kind::Dataset => {
                let mut grants = all::<Grant>(&mut client).await?;
                grants.retain(|grant| grant.dataset.trim_start_matches("datasets/") == id);
                related("grants", &grants)?;
                progress(channel, id, &[]).await?;
            }
            Kind::Grant => {}
            Kind::Subscription => {
                let wire = Subscription::fetch(&mut client, full_name(Subscription::COLLECTION, id)).await?;
                let dataset = wire.dataset.trim_start_matches("datasets/").to_owned();
                progress(channel, &dataset, &wire.cursor).await?;
            }
        }
        Ok(Exit::Success)
    }
}

fn related<R: Resource>(title: &str, resources: &[R]) -> Result<(), Error> {
    if resources.is_empty() {
        return output::print(&format!("\n# {title}: none that you may see"));
    }
    output::print(&format!(
        "\n# {title}\n{}",
        output::table(R::COLUMNS.iter().copied(), resources.iter().map(Resource::row))
    ))
}

/// Where log, view and, if given, a cursor stand, a partition.
async fn progress(channel: Channel, dataset: &str, cursor: &[v1::Position]) -> Result<(), Error> {
    let status = NodeServiceClient::new(channel).get_node_status(v1::GetNodeStatusRequest {}).await?.into_inner();
    let Some(found) = status.datasets.iter().find(|found| found.dataset == dataset) else {
        return Ok(());
    };
    let offset = |positions: &[v1::Position], partition| {
        let position = positions.iter().find(|position| position.partition == partition);
        position.map(|position| position.offset.to_string()).unwrap_or_default()
    };
    let rows = found.log_end.iter().map(|end| {
        let mut row =
            vec![end.partition.to_string(), end.offset.to_string(), offset(&found.view_applied, end.partition)];
        if !cursor.is_empty() {
            row.push(offset(cursor, end.partition));
        }
        row
    });
    let columns = ["partition", "log end", "view", "cursor"].into_iter().take(if cursor.is_empty() { 3 } else { 4 });
    output::print(&format!("\n# progress on node {}\n{}", status.node, output::table(columns, rows)))
}

/// `shuqiao apply -f FILE…`.
#[derive(Args, Debug)]
pub(super) struct Apply {
    /// YAML or JSON files with manifests; `-` is standard input. All are read before anything is sent; departments come first, then datasets, grants
    /// and subscriptions.
    #[arg(short, long = "file", required = true, num_args = 1.., value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Apply {
    pub(super) async fn run(self) -> Result<Exit, Error> {
        let mut manifests = Vec::new();
        for path in &self.files {
            manifests.extend(Manifest::parse_all(&read(path)?, &path.display().to_string())?);
        }
        if manifests.is_empty() {
            return Err(Error::Input("there is no manifest in what was given".into()));
        }
        manifests.sort_by_key(Manifest::rank);
        let mut client = connect(&self.connection).await?;
        for manifest in manifests {
            match manifest {
                Manifest::Department(wanted) => apply(&mut client, wanted, self.dry_run).await?,
                Manifest::Dataset(wanted) => apply(&mut client, wanted, self.dry_run).await?,
                Manifest::Grant(wanted) => apply(&mut client, wanted, self.dry_run).await?,
                Manifest::Subscription(wanted) => apply(&mut client, wanted, self.dry_run).await?,
            }
        }
        Ok(Exit::Success)
    }
}

/// What applying a manifest amounts to.
#[derive(Debug, PartialEq, Eq)]
enum Change<R> {
    Create(R),
    Update(R),
    Nothing,
}

/// Compares what is wanted with what is. An etag in the manifest is kept: whoever wrote it down insists on it.
fn change<R: Resource>(mut wanted: R, current: Option<R>) -> Change<R> {
    let Some(current) = current else {
        return Change::Create(wanted);
    };
    let insisted = Some(wanted.etag().to_owned()).filter(|etag| !etag.is_empty());
    wanted.complete(&current);
    if wanted == current {
        return Change::Nothing;
    }
    if let Some(etag) = insisted {
        wanted.set_etag(etag);
    }
    Change::Update(wanted)
}

async fn apply<R: Resource>(client: &mut Client, wanted: R, dry_run: bool) -> Result<(), Error> {
    let name = full_name(R::COLLECTION, wanted.name());
    let current = match R::fetch(client, name.clone()).await {
        Ok(wire) => Some(R::from(wire)),
        Err(status) if status.code() == Code::NotFound => None,
        Err(status) => return Err(status.into()),
    };
    let done = match change(wanted, current) {
        Change::Nothing => "unchanged",
        Change::Create(_) if dry_run => "would be created",
        Change::Update(_) if dry_run => "would be updated",
        Change::Create(wanted) => {
            R::create(client, wanted.into()).await?;
            "created"
        }
        Change::Update(wanted) => {
            R::update(client, wanted.into()).await?;
            "updated"
        }
    };
    output::print(&format!("{name} {done}"))
}

fn read(path: &PathBuf) -> Result<String, Error> {
    let error = |source| Error::Read { what: path.display().to_string(), source };
    let mut text = String::new();
    if path.as_os_str() == "-" {
        std::io::stdin().take(MANIFEST_BYTES_MAX).read_to_string(&mut text).map_err(error)?;
    } else {
        let file = std::fs::File::open(path).map_err(error)?;
        file.take(MANIFEST_BYTES_MAX).read_to_string(&mut text).map_err(error)?;
    }
    Ok(text)
}

/// `shuqiao delete KIND NAME`.
#[derive(Args, Debug)]
pub(super) struct Delete {
    #[arg(value_enum)]
    kind: Kind,
    /// Its id, with or without its collection.
    name: String,
    /// Only if it still has this etag [default: the etag that it has now].
    #[arg(long)]
    etag: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

impl Delete {
    pub(super) async fn run(self) -> Result<Exit, Error> {
        let mut client = connect(&self.connection).await?;
        dispatch!(self.kind, delete(&mut client, &self.name, self.etag.clone()))
    }
}

async fn delete<R: Resource>(client: &mut Client, name: &str, etag: Option<String>) -> Result<Exit, Error> {
    let name = full_name(R::COLLECTION, name);
    let etag = match etag {
        Some(etag) => etag,
        None => R::from(R::fetch(client, name.clone()).await?).etag().to_owned(),
    };
    R::remove(client, name.clone(), etag).await?;
    output::print(&format!("{name} {}", if R::KIND == "grant" { "revoked" } else { "deleted" }))?;
    Ok(Exit::Success)
}

async fn connect(connection: &Connection) -> Result<Client, Error> {
    Ok(Client::new(connection.open().await?).max_decoding_message_size(super::connection::MESSAGE_BYTES_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dataset(title: &str) -> Dataset {
        Dataset {
            kind: "dataset".into(),
            name: "taxation.notice".into(),
            owner: "taxation".into(),
            title: title.into(),
            ..Dataset::default()
        }
    }

    fn existing() -> Dataset {
        Dataset {
            name: "datasets/taxation.notice".into(),
            etag: "7".into(),
            partitions: 4,
            retention_seconds: 60,
            create_time: Some("2026-01-01T00:00:00Z".parse().expect("time")),
            ..dataset("Notices")
        }
    }

    #[test]
    fn what_a_manifest_leaves_open_is_no_change() {
        assert_eq!(change(dataset("Notices"), Some(existing())), Change::Nothing);
        assert!(matches!(change(dataset("Notices"), None), Change::Create(_)));
    }

    #[test]
    fn an_update_carries_the_etag_that_was_read_or_the_one_insisted_on() {
        let Change::Update(update) = change(dataset("Tax notices"), Some(existing())) else {
            panic!("a title changed")
        };
        assert_eq!((update.etag.as_str(), update.partitions), ("7", 4));
        let insisted = Dataset { etag: "6".into(), ..dataset("Tax notices") };
        let Change::Update(update) = change(insisted, Some(existing())) else { panic!("a title changed") };
        assert_eq!(update.etag, "6");
    }
}
