//! A node as a process of its own, its authority, and clients of it.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use shuqiao_broker::{
    exchange::clock::Clock,
    pki::{Authority, NewAuthority, Request, Subject},
    tls::{ClientFiles, Connector},
};
use shuqiao_proto::v1::{self, catalogue_service_client::CatalogueServiceClient};
use tonic::transport::{Channel, Endpoint};

use crate::Result;

/// The dataset of all measurements.
pub(crate) const DATASET: &str = "market-supervision.enterprise";
const EXCHANGE: &str = "benchmark.example";
const ADMINISTRATOR: &str = "department/data-bureau/person/administrator";
/// The system that publishes.
pub(crate) const REGISTRY: &str = "department/market-supervision/system/registry";
/// The system that subscribes and asks.
pub(crate) const INBOX: &str = "department/taxation/system/inbox";

/// A running node. Killed when it is dropped.
pub(crate) struct Node {
    child: Child,
    pub(crate) pki: PathBuf,
    port: u16,
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone afterwards.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Makes an authority with a server certificate and one for each client, and answers where it lies.
pub(crate) fn authority(directory: &Path) -> Result<PathBuf> {
    let pki = directory.join("pki");
    let new = NewAuthority { exchange: EXCHANGE.to_owned(), valid_days: 30 };
    let authority = Authority::create(&pki, &new, Clock::system())?;
    let mut subjects = vec![Subject::Server(vec!["localhost".to_owned()])];
    for client in [ADMINISTRATOR, REGISTRY, INBOX] {
        subjects.push(Subject::Client(client.parse()?));
    }
    for subject in subjects {
        authority.issue(&Request { subject, valid_days: 30, directory: None })?;
    }
    Ok(pki)
}

impl Node {
    /// Starts a node with an empty data directory. `log` is the `[log]` part of its configuration.
    pub(crate) async fn start(directory: &Path, log: &str) -> Result<Self> {
        if directory.exists() {
            std::fs::remove_dir_all(directory)?;
        }
        std::fs::create_dir_all(directory)?;
        let directory = directory.canonicalize()?;
        let pki = authority(&directory)?;
        let (port, metrics) = (free_port()?, free_port()?);
        let at = directory.display();
        let configuration = format!(
            r#"
[node]
name = "node-1"
exchange = "{EXCHANGE}"
data_dir = "{at}/data"
listen = "127.0.0.1:{port}"
metrics_listen = "127.0.0.1:{metrics}"
log_level = "warn"
administrators = ["{ADMINISTRATOR}"]
[tls]
certificate = "{at}/pki/issued/server-localhost.pem"
key = "{at}/pki/issued/server-localhost.key.pem"
authorities = "{at}/pki/ca.pem"
{log}
"#
        );
        let path = directory.join("node.toml");
        std::fs::write(&path, configuration)?;
        let program = std::env::current_exe()?.with_file_name("shuqiao");
        if !program.exists() {
            return Err(format!("{} is missing: cargo build --release --workspace --bins", program.display()).into());
        }
        let output = std::fs::File::create(directory.join("node.log"))?;
        let child = Command::new(program)
            .arg("serve")
            .arg("--config")
            .arg(&path)
            .stderr(output)
            .stdin(Stdio::null())
            .spawn()?;
        let node = Self { child, pki, port };
        node.wait_ready().await?;
        node.enrol().await?;
        Ok(node)
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A connection of one of the clients.
    pub(crate) async fn connect(&self, client: &str) -> Result<Channel> {
        connect(&self.pki, client, self.port).await
    }

    async fn wait_ready(&self) -> Result<()> {
        for _ in 0..200 {
            if let Ok(channel) = self.connect(ADMINISTRATOR).await {
                let mut client = v1::node_service_client::NodeServiceClient::new(channel);
                if let Ok(status) = client.get_node_status(v1::GetNodeStatusRequest {}).await
                    && status.into_inner().ready
                {
                    return Ok(());
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err("the node did not become ready within 20 s: see node.log in its directory".into())
    }

    /// Two departments, the dataset and a grant of everything.
    async fn enrol(&self) -> Result<()> {
        let mut administrator = CatalogueServiceClient::new(self.connect(ADMINISTRATOR).await?);
        for (alias, code) in [("market-supervision", "11320600014149957J"), ("taxation", "11320600014149965D")] {
            administrator
                .create_department(v1::CreateDepartmentRequest {
                    department: Some(v1::Department {
                        name: format!("departments/{alias}"),
                        unified_social_credit_code: code.to_owned(),
                        display_name: alias.to_owned(),
                        ..Default::default()
                    }),
                })
                .await?;
        }
        let mut owner = CatalogueServiceClient::new(self.connect(REGISTRY).await?);
        owner
            .create_dataset(v1::CreateDatasetRequest {
                dataset: Some(v1::Dataset {
                    name: format!("datasets/{DATASET}"),
                    owner: "market-supervision".to_owned(),
                    record_type: "enterprise/v1".to_owned(),
                    title: "企业".to_owned(),
                    sharing_class: v1::SharingClass::Conditional.into(),
                    listed: true,
                    ..Default::default()
                }),
            })
            .await?;
        owner
            .create_grant(v1::CreateGrantRequest {
                grant: Some(v1::Grant {
                    name: "grants/market-supervision.benchmark".to_owned(),
                    dataset: DATASET.to_owned(),
                    grantee: "taxation".to_owned(),
                    fields: vec![v1::FieldGrant { path: String::new(), treatment: v1::Treatment::Clear.into() }],
                    purpose: "测量".to_owned(),
                    legal_basis: "无".to_owned(),
                    ..Default::default()
                }),
            })
            .await?;
        Ok(())
    }
}

/// A connection to `localhost:port` with the certificate of a client.
pub(crate) async fn connect(pki: &Path, client: &str, port: u16) -> Result<Channel> {
    let issued = pki.join("issued").join(client.replace('/', "-"));
    let with = |extension: &str| PathBuf::from(format!("{}{extension}", issued.display()));
    let files = ClientFiles { authorities: pki.join("ca.pem"), identity: Some((with(".pem"), with(".key.pem"))) };
    let connector = Connector::open(&files, None).await?;
    Ok(Endpoint::from_shared(format!("https://localhost:{port}"))?.connect_with_connector(connector).await?)
}

/// A port that nobody listens on now.
pub(crate) fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
