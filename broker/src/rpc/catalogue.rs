//! CatalogueService: resources as messages over [`Administration`].

use std::{str::FromStr, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use prost::Message;
use shuqiao_proto::v1::{self, catalogue_service_server::CatalogueService};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use super::{Unsent, convert, peer, resources, status};
use crate::{
    exchange::{
        Error,
        administration::{Administration, Page},
        catalogue::{
            Command, Outcome, Resource, Subscription,
            command::{DatasetRef, DepartmentRef, GrantRef, RecordTypeRef, SubscriptionRef},
        },
        delivery::Delivery,
        identity::Identity,
        model::{MalformedId, PARTITIONS_MAX},
    },
    shutdown::Tasks,
};

/// Commands of which somebody takes care, at most; further ones wait for their turn. More than the catalogue decides at once, which tells the others to come
/// back.
const COMMANDS_AT_ONCE_MAX: usize = 256;

/// The service.
#[derive(Clone, Debug)]
pub struct CatalogueRpc {
    administration: Administration,
    /// Knows the subscriptions' cursors.
    delivery: Arc<Delivery>,
    /// What commands run on.
    tasks: Tasks,
    turns: Arc<Semaphore>,
    /// Where answers find room.
    unsent: Unsent,
}

type Answer<T> = Result<Response<T>, Status>;

/// Bytes of one page, about: what would exceed them waits for the next. A grant may name a thousand fields, and a client that was not told otherwise takes
/// messages of 4 MiB.
const PAGE_BYTES_MAX: usize = 2 << 20;

/// Bytes that a resource has beyond what the command says of it, at most: etag, times, fields that never change and may be left out, framing.
const ADDED_BYTES_MAX: usize = 384;
/// Bytes of a position in a message, at most: two tags and a length, a partition below [`PARTITIONS_MAX`], an offset.
const POSITION_BYTES_MAX: usize = 2 + 3 + 11;
/// Bytes of the start and the cursor that a subscription has and the command does not say.
const PLACES_BYTES_MAX: usize = 2 * (PARTITIONS_MAX as usize * POSITION_BYTES_MAX + 8);
/// Bytes of what a record type's title (the profile bounds it) and digest add.
const DESCRIBED_BYTES_MAX: usize = 512;

/// Bytes of the answer to a command, at most. An answer is the resource as it is now: what the message says of it, and what the node adds.
pub(super) fn answer_bytes_max(message_bytes: usize, command: &Command) -> usize {
    let more = match command {
        Command::CreateSubscription(_) | Command::UpdateSubscription(_) => PLACES_BYTES_MAX,
        Command::CreateRecordType(_) => DESCRIBED_BYTES_MAX + resources::PROBLEMS_BYTES_MAX,
        _ => 0,
    };
    message_bytes + ADDED_BYTES_MAX + more
}

impl CatalogueRpc {
    /// Over the rooms of one node; commands run on `tasks` once there is room for their answer in `unsent`.
    pub fn new(administration: Administration, delivery: Arc<Delivery>, tasks: Tasks, unsent: Unsent) -> Self {
        Self { administration, delivery, tasks, turns: Arc::new(Semaphore::new(COMMANDS_AT_ONCE_MAX)), unsent }
    }

    /// Carries a command out to its end, whether or not the caller waits for it: a call that is cancelled is dropped, and a command that stands must be on the
    /// trail.
    async fn execute(&self, caller: Arc<Identity>, command: Command) -> Result<Outcome, Error> {
        let turn = self.turns.clone().acquire_owned().await.map_err(Error::internal)?;
        let administration = self.administration.clone();
        let executing = self.tasks.spawn("command", async move {
            let outcome = administration.execute(&caller, command).await;
            drop(turn);
            outcome
        });
        executing.await.unwrap_or_else(|error| Err(Error::internal(error)))
    }

    /// Carries out what `read` makes of a message, and shows the resource as it is now with `show`. A caller that left no room for the answer is refused
    /// before anything is done: told so afterwards, it would find its own change in the way of the repeat.
    async fn change<M: Message, T>(
        &self,
        name: &'static str,
        request: Request<M>,
        read: impl FnOnce(M) -> Result<Command, Error>,
        show: impl FnOnce(Resource) -> Option<T>,
    ) -> Answer<T> {
        let (caller, _) = peer::caller(&request)?;
        let message = request.into_inner();
        let message_bytes = message.encoded_len();
        let command = self.read(&caller, name, read(message)).await?;
        let room = self.unsent.keep(&caller.department, answer_bytes_max(message_bytes, &command));
        let room = room.map_err(status::of)?;
        let outcome = self.execute(caller, command).await.map_err(status::of)?;
        // The state machine answers with the kind of resource that the command names.
        let shown = outcome.resource.and_then(show).ok_or_else(|| Error::internal(WrongKind));
        shown.map(|shown| room.accompany(shown)).map_err(status::of)
    }

    /// A message that makes no command is refused, and the refusal is on the trail.
    async fn read(
        &self,
        caller: &Identity,
        name: &'static str,
        read: Result<Command, Error>,
    ) -> Result<Command, Status> {
        match read {
            Ok(command) => Ok(command),
            Err(error) => Err(status::of(self.administration.refuse(caller, name, error).await)),
        }
    }

    /// A subscription with its durable cursor.
    fn subscription(&self, one: &Subscription) -> v1::Subscription {
        resources::subscription(one, self.delivery.cursor(one).into_iter().map(convert::position).collect())
    }

    /// What the caller sees of the resource that it wants to change: some of its fields never do.
    fn current<M, T>(
        &self,
        request: &Request<M>,
        find: impl FnOnce(&Administration, &Identity, &M) -> Option<Result<T, Error>>,
    ) -> Option<T> {
        let (caller, _) = peer::caller(request).ok()?;
        find(&self.administration, &caller, request.get_ref())?.ok()
    }

    /// Carries out a deletion.
    async fn delete<M>(
        &self,
        name: &'static str,
        request: Request<M>,
        read: impl FnOnce(M) -> Result<Command, Error>,
    ) -> Answer<()> {
        let (caller, _) = peer::caller(&request)?;
        let command = self.read(&caller, name, read(request.into_inner())).await?;
        self.execute(caller, command).await.map_err(status::of)?;
        Ok(Response::new(()))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the command answered with another kind of resource")]
struct WrongKind;

/// Looks into the catalogue as the caller.
fn look<M, T>(request: Request<M>, look: impl FnOnce(&Identity, M) -> Result<T, Error>) -> Answer<T> {
    let (caller, _) = peer::caller(&request)?;
    look(&caller, request.into_inner()).map(Response::new).map_err(status::of)
}

/// The id in a name; a name of another form is no resource's.
fn id<'n>(collection: &str, kind: &'static str, name: &'n str) -> Result<&'n str, Error> {
    let id = name.strip_prefix(collection).and_then(|rest| rest.strip_prefix('/'));
    id.ok_or_else(|| Error::ResourceNotFound { kind, name: name.to_owned() })
}

/// The id and the version that a deletion names.
fn deleted<T: FromStr<Err = MalformedId>>(collection: &str, name: &str, etag: &str) -> Result<(T, u64), Error> {
    let mut fields = resources::Fields::default();
    let read = fields.name("name", collection, name).zip(fields.etag(etag));
    fields.finish(read)
}

/// A page token is the name after which the page begins, so whoever makes one up learns nothing that a list does not show.
fn after(token: &str) -> Result<String, Error> {
    let text = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    text.ok_or_else(|| {
        Error::invalid("page_token", "MALFORMED", "is no page token of this list", "不是本列表的翻页标记")
    })
}

fn token(next: Option<&str>) -> String {
    next.map(|name| URL_SAFE_NO_PAD.encode(name)).unwrap_or_default()
}

/// The resources of a page as messages, as far as they fit, and the token of the next page.
fn fill<T, M: Message>(page: &Page<Arc<T>>, name: impl Fn(&T) -> &str, show: impl Fn(&T) -> M) -> (Vec<M>, String) {
    let mut messages = Vec::with_capacity(page.items.len());
    let (mut bytes, mut last) = (0, None);
    for one in &page.items {
        let message = show(one);
        bytes += message.encoded_len();
        if bytes > PAGE_BYTES_MAX && last.is_some() {
            return (messages, token(last));
        }
        last = Some(name(one));
        messages.push(message);
    }
    (messages, token(page.next.as_deref()))
}

fn size(page_size: u32) -> usize {
    usize::try_from(page_size).unwrap_or(usize::MAX)
}

/// Shows one kind of resource.
macro_rules! show {
    ($kind:ident, $convert:expr) => {
        |resource| match resource {
            Resource::$kind(one) => Some($convert(&*one)),
            _ => None,
        }
    };
}

#[tonic::async_trait]
impl CatalogueService for CatalogueRpc {
    async fn create_department(&self, request: Request<v1::CreateDepartmentRequest>) -> Answer<v1::Department> {
        let read = |message: v1::CreateDepartmentRequest| {
            resources::new_department(resources::required("department", message.department)?)
                .map(Command::CreateDepartment)
        };
        self.change("create_department", request, read, show!(Department, resources::department)).await
    }

    async fn get_department(&self, request: Request<v1::GetDepartmentRequest>) -> Answer<v1::Department> {
        look(request, |caller, message| {
            let alias = id("departments", "department", &message.name)?;
            Ok(resources::department(&*self.administration.department(caller, alias)?))
        })
    }

    async fn list_departments(
        &self,
        request: Request<v1::ListDepartmentsRequest>,
    ) -> Answer<v1::ListDepartmentsResponse> {
        look(request, |caller, message| {
            let page =
                self.administration.departments(caller, &after(&message.page_token)?, size(message.page_size))?;
            let (departments, next_page_token) = fill(&page, |one| one.alias.as_str(), resources::department);
            Ok(v1::ListDepartmentsResponse { departments, next_page_token })
        })
    }

    async fn update_department(&self, request: Request<v1::UpdateDepartmentRequest>) -> Answer<v1::Department> {
        let current = self.current(&request, |administration, caller, message| {
            let name = &message.department.as_ref()?.name;
            Some(id("departments", "department", name).and_then(|id| administration.department(caller, id)))
        });
        let read = |message: v1::UpdateDepartmentRequest| {
            resources::department_change(resources::required("department", message.department)?, current.as_deref())
                .map(Command::UpdateDepartment)
        };
        self.change("update_department", request, read, show!(Department, resources::department)).await
    }

    async fn delete_department(&self, request: Request<v1::DeleteDepartmentRequest>) -> Answer<()> {
        let read = |message: v1::DeleteDepartmentRequest| {
            let (alias, expected) = deleted("departments", &message.name, &message.etag)?;
            Ok(Command::DeleteDepartment(DepartmentRef { alias, expected }))
        };
        self.delete("delete_department", request, read).await
    }

    async fn create_record_type(&self, request: Request<v1::CreateRecordTypeRequest>) -> Answer<v1::RecordType> {
        let read = |message: v1::CreateRecordTypeRequest| {
            resources::new_record_type(resources::required("record_type", message.record_type)?)
                .map(Command::CreateRecordType)
        };
        self.change("create_record_type", request, read, show!(RecordType, resources::record_type)).await
    }

    async fn get_record_type(&self, request: Request<v1::GetRecordTypeRequest>) -> Answer<v1::RecordType> {
        look(request, |caller, message| {
            let id = id("recordTypes", "record type", &message.name)?;
            Ok(resources::record_type(&*self.administration.record_type(caller, id)?))
        })
    }

    async fn list_record_types(
        &self,
        request: Request<v1::ListRecordTypesRequest>,
    ) -> Answer<v1::ListRecordTypesResponse> {
        look(request, |caller, message| {
            let page =
                self.administration.record_types(caller, &after(&message.page_token)?, size(message.page_size))?;
            let (record_types, next_page_token) = fill(&page, |one| one.name.as_str(), resources::listed_record_type);
            Ok(v1::ListRecordTypesResponse { record_types, next_page_token })
        })
    }

    async fn delete_record_type(&self, request: Request<v1::DeleteRecordTypeRequest>) -> Answer<()> {
        let read = |message: v1::DeleteRecordTypeRequest| {
            let (name, expected) = deleted("recordTypes", &message.name, &message.etag)?;
            Ok(Command::DeleteRecordType(RecordTypeRef { name, expected }))
        };
        self.delete("delete_record_type", request, read).await
    }

    async fn create_dataset(&self, request: Request<v1::CreateDatasetRequest>) -> Answer<v1::Dataset> {
        let read = |message: v1::CreateDatasetRequest| {
            resources::new_dataset(resources::required("dataset", message.dataset)?).map(Command::CreateDataset)
        };
        self.change("create_dataset", request, read, show!(Dataset, resources::dataset)).await
    }

    async fn get_dataset(&self, request: Request<v1::GetDatasetRequest>) -> Answer<v1::Dataset> {
        look(request, |caller, message| {
            let id = id("datasets", "dataset", &message.name)?;
            Ok(resources::dataset(&*self.administration.dataset(caller, id)?))
        })
    }

    async fn list_datasets(&self, request: Request<v1::ListDatasetsRequest>) -> Answer<v1::ListDatasetsResponse> {
        look(request, |caller, message| {
            let page = self.administration.datasets(caller, &after(&message.page_token)?, size(message.page_size))?;
            let (datasets, next_page_token) = fill(&page, |one| one.id.as_str(), resources::dataset);
            Ok(v1::ListDatasetsResponse { datasets, next_page_token })
        })
    }

    async fn update_dataset(&self, request: Request<v1::UpdateDatasetRequest>) -> Answer<v1::Dataset> {
        let current = self.current(&request, |administration, caller, message| {
            let name = &message.dataset.as_ref()?.name;
            Some(id("datasets", "dataset", name).and_then(|id| administration.dataset(caller, id)))
        });
        let read = |message: v1::UpdateDatasetRequest| {
            resources::dataset_change(resources::required("dataset", message.dataset)?, current.as_deref())
                .map(Command::UpdateDataset)
        };
        self.change("update_dataset", request, read, show!(Dataset, resources::dataset)).await
    }

    async fn delete_dataset(&self, request: Request<v1::DeleteDatasetRequest>) -> Answer<()> {
        let read = |message: v1::DeleteDatasetRequest| {
            let (id, expected) = deleted("datasets", &message.name, &message.etag)?;
            Ok(Command::DeleteDataset(DatasetRef { id, expected }))
        };
        self.delete("delete_dataset", request, read).await
    }

    async fn create_grant(&self, request: Request<v1::CreateGrantRequest>) -> Answer<v1::Grant> {
        let read = |message: v1::CreateGrantRequest| {
            resources::new_grant(resources::required("grant", message.grant)?).map(Command::CreateGrant)
        };
        self.change("create_grant", request, read, show!(Grant, resources::grant)).await
    }

    async fn get_grant(&self, request: Request<v1::GetGrantRequest>) -> Answer<v1::Grant> {
        look(request, |caller, message| {
            let id = id("grants", "grant", &message.name)?;
            Ok(resources::grant(&*self.administration.grant(caller, id)?))
        })
    }

    async fn list_grants(&self, request: Request<v1::ListGrantsRequest>) -> Answer<v1::ListGrantsResponse> {
        look(request, |caller, message| {
            let after = after(&message.page_token)?;
            let page = self.administration.grants(caller, &message.dataset, &after, size(message.page_size))?;
            let (grants, next_page_token) = fill(&page, |one| one.id.as_str(), resources::grant);
            Ok(v1::ListGrantsResponse { grants, next_page_token })
        })
    }

    async fn update_grant(&self, request: Request<v1::UpdateGrantRequest>) -> Answer<v1::Grant> {
        let current = self.current(&request, |administration, caller, message| {
            let name = &message.grant.as_ref()?.name;
            Some(id("grants", "grant", name).and_then(|id| administration.grant(caller, id)))
        });
        let read = |message: v1::UpdateGrantRequest| {
            resources::grant_change(resources::required("grant", message.grant)?, current.as_deref())
                .map(Command::UpdateGrant)
        };
        self.change("update_grant", request, read, show!(Grant, resources::grant)).await
    }

    async fn delete_grant(&self, request: Request<v1::DeleteGrantRequest>) -> Answer<()> {
        let read = |message: v1::DeleteGrantRequest| {
            let (id, expected) = deleted("grants", &message.name, &message.etag)?;
            Ok(Command::RevokeGrant(GrantRef { id, expected }))
        };
        self.delete("revoke_grant", request, read).await
    }

    async fn create_subscription(&self, request: Request<v1::CreateSubscriptionRequest>) -> Answer<v1::Subscription> {
        let read = |message: v1::CreateSubscriptionRequest| {
            resources::new_subscription(resources::required("subscription", message.subscription)?)
                .map(Command::CreateSubscription)
        };
        self.change("create_subscription", request, read, show!(Subscription, |one| self.subscription(one))).await
    }

    async fn get_subscription(&self, request: Request<v1::GetSubscriptionRequest>) -> Answer<v1::Subscription> {
        look(request, |caller, message| {
            let id = id("subscriptions", "subscription", &message.name)?;
            Ok(self.subscription(&*self.administration.subscription(caller, id)?))
        })
    }

    async fn list_subscriptions(
        &self,
        request: Request<v1::ListSubscriptionsRequest>,
    ) -> Answer<v1::ListSubscriptionsResponse> {
        look(request, |caller, message| {
            let after = after(&message.page_token)?;
            let page = self.administration.subscriptions(caller, &after, size(message.page_size))?;
            let (subscriptions, next_page_token) = fill(&page, |one| one.id.as_str(), |one| self.subscription(one));
            Ok(v1::ListSubscriptionsResponse { subscriptions, next_page_token })
        })
    }

    async fn update_subscription(&self, request: Request<v1::UpdateSubscriptionRequest>) -> Answer<v1::Subscription> {
        let current = self.current(&request, |administration, caller, message| {
            let name = &message.subscription.as_ref()?.name;
            Some(id("subscriptions", "subscription", name).and_then(|id| administration.subscription(caller, id)))
        });
        let read = |message: v1::UpdateSubscriptionRequest| {
            let subscription = resources::required("subscription", message.subscription)?;
            resources::subscription_change(subscription, message.seek, current.as_deref())
                .map(Command::UpdateSubscription)
        };
        self.change("update_subscription", request, read, show!(Subscription, |one| self.subscription(one))).await
    }

    async fn delete_subscription(&self, request: Request<v1::DeleteSubscriptionRequest>) -> Answer<()> {
        let read = |message: v1::DeleteSubscriptionRequest| {
            let (id, expected) = deleted("subscriptions", &message.name, &message.etag)?;
            Ok(Command::DeleteSubscription(SubscriptionRef { id, expected }))
        };
        self.delete("delete_subscription", request, read).await
    }
}
