//! `shuqiao get`, `list` and `describe`.

use clap::Args;
use shuqiao_proto::v1::{self, node_service_client::NodeServiceClient};
use tonic::transport::Channel;

use super::{
    super::{
        connection::Connection,
        error::Error,
        exit::Exit,
        manifest::{Dataset, Department, Grant, RecordType, Subscription, full_name},
        output::{self, Format},
    },
    Client, Kind, Resource, client, connect, grant, record_type,
};

/// `shuqiao get KIND NAME`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Get {
    /// What kind of resource.
    #[arg(value_enum)]
    kind: Kind,
    /// Its id, with or without its collection: `taxation`, `departments/taxation`.
    name: String,
    /// How the answer is written.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connection: Connection,
}

impl Get {
    pub(in crate::cli) async fn run(self) -> Result<Exit, Error> {
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
pub(in crate::cli) struct List {
    /// What kind of resource.
    #[arg(value_enum)]
    kind: Kind,
    /// How the answer is written.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connection: Connection,
}

impl List {
    pub(in crate::cli) async fn run(self) -> Result<Exit, Error> {
        let mut client = connect(&self.connection).await?;
        dispatch!(self.kind, list(&mut client, self.output))
    }
}

async fn list<R: Resource>(client: &mut Client, format: Format) -> Result<Exit, Error> {
    show_all(&all::<R>(client).await?, format)
}

pub(super) async fn all<R: Resource>(client: &mut Client) -> Result<Vec<R>, Error> {
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
pub(in crate::cli) struct Describe {
    /// What kind of resource.
    #[arg(value_enum)]
    kind: Kind,
    /// Its id, with or without its collection.
    name: String,
    #[command(flatten)]
    connection: Connection,
}

impl Describe {
    pub(in crate::cli) async fn run(self) -> Result<Exit, Error> {
        let channel = self.connection.open().await?;
        let mut client = client(channel.clone());
        if self.kind == Kind::RecordType {
            return record_type::describe(&mut client, &self.name).await;
        }
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
            Kind::Grant => grant::describe(&mut client, id).await?,
            Kind::RecordType => {}
            Kind::Subscription => {
                let wire = Subscription::fetch(&mut client, full_name(Subscription::COLLECTION, id)).await?;
                let dataset = wire.dataset.trim_start_matches("datasets/").to_owned();
                progress(channel, &dataset, &wire.cursor).await?;
            }
        }
        Ok(Exit::Success)
    }
}

pub(super) fn related<R: Resource>(title: &str, resources: &[R]) -> Result<(), Error> {
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
    // The log may not have said where it ends.
    let partitions: std::collections::BTreeSet<_> =
        [&*found.log_end, &*found.view_applied, cursor].concat().iter().map(|position| position.partition).collect();
    let offset = |positions: &[v1::Position], partition: u32| {
        let position = positions.iter().find(|position| position.partition == partition);
        position.map(|position| position.offset.to_string()).unwrap_or_default()
    };
    let rows = partitions.iter().map(|partition| {
        let mut row =
            vec![partition.to_string(), offset(&found.log_end, *partition), offset(&found.view_applied, *partition)];
        if !cursor.is_empty() {
            row.push(offset(cursor, *partition));
        }
        row
    });
    let columns = ["partition", "log end", "view", "cursor"].into_iter().take(if cursor.is_empty() { 3 } else { 4 });
    output::print(&format!("\n# progress on node {}\n{}", status.node, output::table(columns, rows)))
}
