//! A node's services on the embedded log, and callers of every kind.

use std::sync::Arc;

use shuqiao_proto::v1::{
    self, audit_service_client::AuditServiceClient, audit_service_server::AuditServiceServer,
    catalogue_service_client::CatalogueServiceClient, catalogue_service_server::CatalogueServiceServer,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Status,
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;

use crate::{
    config::{Config, Limits},
    exchange::{
        administration::Administration,
        audit::Reading,
        catalogue::fixtures as catalogue,
        delivery::{self, Delivery},
        fixtures::City,
        identity::Identity,
    },
    rpc::{Unsent, UnsentMetrics, audit::AuditRpc, catalogue::CatalogueRpc, peer::Peer},
    shutdown::Tasks,
};

/// Where a test says who calls: the certificate's URI, which in a node comes from the connection.
const CALLER: &str = "caller";

/// The services of one node, and a connection to them.
pub(super) struct Site {
    pub(super) city: City,
    pub(super) catalogue: CatalogueServiceClient<Channel>,
    pub(super) audit: AuditServiceClient<Channel>,
    pub(super) unsent: Unsent,
    pub(super) channel: Channel,
    server: Tasks,
    _directory: tempfile::TempDir,
}

impl Site {
    /// The city of the fixtures: three departments, and a listed dataset of market supervision's.
    pub(super) async fn open() -> Self {
        let directory = tempfile::tempdir().expect("tempdir");
        let city = City::open(directory.path()).await;
        let delivery = Delivery::open(
            city.log.clone(),
            city.catalogue.clone(),
            city.audit.clone(),
            city.view.clone(),
            delivery::Options::new("test"),
            city.clock.clone(),
            &city.tasks,
        );
        let administration = Administration::new(city.catalogue.clone(), city.audit.clone());
        let server = Tasks::default();
        let unsent = Unsent::new(&limits(), UnsentMetrics::default(), &server);
        let delivery = delivery.await.expect("opens");
        let catalogue = CatalogueRpc::new(administration, delivery, city.tasks.clone(), unsent.clone());
        let audit = AuditRpc { reading: Reading::new(city.catalogue.clone(), city.audit.clone()) };
        let bytes = limits().message_bytes_max.bytes();
        let catalogue = CatalogueServiceServer::new(catalogue).max_decoding_message_size(bytes);
        let audit = AuditServiceServer::new(audit).max_decoding_message_size(bytes);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let arriving = crate::rpc::Arriving::new(&limits(), crate::rpc::ArrivingMetrics::default());
        let router = crate::rpc::server(&limits(), arriving, unsent.clone())
            .add_service(InterceptedService::new(catalogue, introduce))
            .add_service(InterceptedService::new(audit, introduce));
        let incoming = crate::rpc::aged(TcpListenerStream::new(listener), &limits());
        let stop = server.token();
        server.spawn("server", async move {
            router.serve_with_incoming_shutdown(incoming, stop.cancelled_owned()).await.expect("serves");
        });
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let channel = endpoint.connect().await.expect("listening");
        Self {
            city,
            catalogue: CatalogueServiceClient::new(channel.clone()),
            audit: AuditServiceClient::new(channel.clone()),
            channel,
            unsent,
            server,
            _directory: directory,
        }
    }

    pub(super) async fn close(self) {
        drop((self.catalogue, self.audit, self.channel));
        assert_eq!(self.server.drain(std::time::Duration::from_secs(30)).await, 0);
        self.city.close().await;
    }

    /// Gives taxation the auditor's role.
    pub(super) async fn make_taxation_auditor(&mut self) {
        let name = "departments/taxation".to_owned();
        let request = by(&administrator(), v1::GetDepartmentRequest { name });
        let mut department = self.catalogue.get_department(request).await.expect("enrolled").into_inner();
        department.roles = vec![v1::Role::Auditor.into()];
        let request = by(&administrator(), v1::UpdateDepartmentRequest { department: Some(department) });
        self.catalogue.update_department(request).await.expect("an administrator may");
    }

    /// A dataset of market supervision's, by its own hand.
    pub(super) async fn dataset(&mut self, id: &str, listed: bool) -> v1::Dataset {
        let dataset = Some(dataset(id, listed));
        self.catalogue
            .create_dataset(by(&owner(), v1::CreateDatasetRequest { dataset }))
            .await
            .expect("new")
            .into_inner()
    }

    /// A grant to taxation, by the owner's hand.
    pub(super) async fn grant(&mut self, id: &str, dataset: &str) -> v1::Grant {
        let grant = Some(grant(id, dataset));
        self.catalogue.create_grant(by(&owner(), v1::CreateGrantRequest { grant })).await.expect("new").into_inner()
    }
}

fn introduce(mut request: Request<()>) -> Result<Request<()>, Status> {
    let uri = request.metadata().get(CALLER).and_then(|uri| uri.to_str().ok()).map(ToOwned::to_owned);
    let identity = uri.and_then(|uri| Identity::parse(&uri, "test", "01".into()).ok()).map(Arc::new);
    request.extensions_mut().insert(Peer { identity, address: None, revoked: CancellationToken::new() });
    Ok(request)
}

/// A request of this caller's.
pub(super) fn by<T>(caller: &Identity, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let uri = format!("spiffe://test/{}", caller.source);
    request.metadata_mut().insert(CALLER, uri.parse().expect("ASCII"));
    request
}

pub(super) fn administrator() -> Identity {
    catalogue::administrator()
}

pub(super) fn owner() -> Identity {
    catalogue::system(crate::exchange::fixtures::OWNER)
}

pub(super) fn taxation() -> Identity {
    catalogue::system("taxation")
}

/// Enrolled, and concerned by nothing.
pub(super) fn bystander() -> Identity {
    catalogue::system("civil-affairs")
}

pub(super) fn limits() -> Limits {
    let text = "[node]\nname = \"n\"\nexchange = \"e\"\n[tls]\ncertificate = \"c\"\nkey = \"k\"\nauthorities = \"a\"\n";
    Config::parse(text, &|_| None).expect("minimal").limits
}

pub(super) fn dataset(id: &str, listed: bool) -> v1::Dataset {
    v1::Dataset {
        name: format!("datasets/{id}"),
        record_type: "sample/v1".into(),
        title: "样例".into(),
        sharing_class: v1::SharingClass::Conditional.into(),
        listed,
        ..Default::default()
    }
}

pub(super) fn grant(id: &str, dataset: &str) -> v1::Grant {
    v1::Grant {
        name: format!("grants/market-supervision.{id}"),
        dataset: dataset.into(),
        grantee: "taxation".into(),
        fields: vec![v1::FieldGrant { path: String::new(), treatment: v1::Treatment::Clear.into() }],
        purpose: "核查".into(),
        legal_basis: "某办法第三条".into(),
        ..Default::default()
    }
}

pub(super) fn subscription(id: &str, dataset: &str) -> v1::Subscription {
    v1::Subscription {
        name: format!("subscriptions/{id}"),
        dataset: dataset.into(),
        purpose: "核查".into(),
        ..Default::default()
    }
}

/// The stable reason of a refusal.
pub(super) fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

/// `field RULE` of every violation.
pub(super) fn violations(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    let told = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
    told.iter()
        .map(|one| {
            let (rule, _) = one.description.split_once(": ").expect("RULE: text");
            format!("{} {rule}", one.field)
        })
        .collect()
}

/// A refusal without what differs by nature: the request's id, and the name that the caller itself wrote.
pub(super) fn anonymous(status: &Status, name: &str) -> String {
    let mut details = status.get_error_details();
    details.set_request_info("", "");
    format!("{:?} {} {details:?}", status.code(), status.message()).replace(name, "NAME")
}
