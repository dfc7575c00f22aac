//! Departments, record types, datasets, grants and subscriptions: the same five verbs for each.

use clap::ValueEnum;
use serde::Serialize;
use shuqiao_proto::v1::{self, catalogue_service_client::CatalogueServiceClient};
use tonic::{Status, transport::Channel};

use super::{
    connection::{Connection, MESSAGE_BYTES_MAX},
    error::Error,
    manifest::{Dataset, Department, Grant, Subscription, Time},
};

/// Calls a generic function with the type of a kind.
macro_rules! dispatch {
    ($kind:expr, $function:ident($($argument:expr),*)) => {
        match $kind {
            Kind::Department => $function::<Department>($($argument),*).await,
            Kind::RecordType => $function::<RecordType>($($argument),*).await,
            Kind::Dataset => $function::<Dataset>($($argument),*).await,
            Kind::Grant => $function::<Grant>($($argument),*).await,
            Kind::Subscription => $function::<Subscription>($($argument),*).await,
        }
    };
}

mod change;
mod grant;
mod record_type;
mod show;

pub(super) use change::{Apply, Delete};
pub(super) use record_type::compiled;
pub(super) use show::{Describe, Get, List};

const PAGE_SIZE: u32 = 1000;

/// What speaks with a node's catalogue.
pub(super) type Client = CatalogueServiceClient<Channel>;

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// An organ of government.
    #[value(alias = "departments")]
    Department,
    /// A record type of a department's own.
    #[value(alias = "record-types")]
    RecordType,
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
    /// Takes over from what exists whatever a manifest may leave open, and writes the rest as a node does, so that the two are equal exactly if nothing is
    /// to be changed.
    fn complete(&mut self, current: &Self);
    /// Why what exists can never become what is wanted, if that is so.
    fn obstacle(&self, _current: &Self) -> Option<&'static str> {
        None
    }
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
        $(, obstacle $obstacle:expr)?
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
            $(fn obstacle(&self, current: &Self) -> Option<&'static str> {
                let obstacle: fn(&Self, &Self) -> Option<&'static str> = $obstacle;
                obstacle(self, current)
            })?
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
    complete |wanted, _| {
        wanted.roles.sort_unstable();
        wanted.roles.dedup();
    }
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
        if wanted.owner.is_empty() {
            wanted.owner.clone_from(&current.owner);
        }
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
        wanted.start_time = wanted.start_time.map(Time::to_the_millisecond);
        wanted.end_time = wanted.end_time.map(Time::to_the_millisecond);
    },
    obstacle |wanted, current| {
        let revoked = current.revoked && !wanted.revoked;
        revoked.then_some("is revoked, and stays so: grant anew under another name, or say `revoked: true` in the manifest")
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

/// Connects to a node's catalogue.
pub(super) async fn connect(connection: &Connection) -> Result<Client, Error> {
    Ok(client(connection.open().await?))
}

/// All datasets and grants that the caller may see.
pub(super) async fn datasets_and_grants(client: &mut Client) -> Result<(Vec<Dataset>, Vec<Grant>), Error> {
    Ok((show::all(client).await?, show::all(client).await?))
}

fn client(channel: Channel) -> Client {
    Client::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX)
}
