//! One connection to the exchange: TLS 1.3 with our certificate, which is who we are.
//!
//! A connection is made afresh for every session, and the PEM files are read afresh for every connection: a rotated certificate
//! takes effect at the next reconnect, and everything of one session goes to one node.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use shuqiao_proto::v1::{
    GetNodeStatusRequest, NodeStatus, catalogue_service_client::CatalogueServiceClient,
    exchange_service_client::ExchangeServiceClient, node_service_client::NodeServiceClient,
    query_service_client::QueryServiceClient,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};

use super::Error;
use crate::config::Broker;

/// A delivery is at most 4 MiB of records; this leaves room for their keys and numbers.
const MESSAGE_BYTES_MAX: usize = 8 << 20;

/// A live connection to one node.
#[derive(Clone, Debug)]
pub struct Connection {
    channel: Channel,
    answer_timeout: Duration,
}

impl Connection {
    /// Reads the PEM files and connects.
    ///
    /// # Errors
    /// [`Error::Credentials`] or [`Error::Unreachable`].
    pub async fn open(broker: &Broker) -> Result<Self, Error> {
        let unreachable = |cause: Box<dyn std::error::Error + Send + Sync>| {
            Error::Unreachable(Box::new(Attempt { endpoint: broker.endpoint.clone(), cause }))
        };
        let credentials = Credentials::read(broker).await?;
        let uri: Uri = broker.endpoint.parse().map_err(|cause: http::uri::InvalidUri| unreachable(cause.into()))?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(443);
        let name = broker.server_name.clone().unwrap_or_else(|| host.clone());
        let name = ServerName::try_from(name).map_err(|cause| unreachable(cause.into()))?;
        let connector = TlsConnector::from(Arc::new(credentials.client_config()?));
        let endpoint = Endpoint::from(uri)
            .connect_timeout(broker.connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(20))
            .keep_alive_while_idle(true);
        let channel = endpoint
            .connect_with_connector(tower::service_fn(move |_: Uri| {
                let (connector, host, name) = (connector.clone(), host.clone(), name.clone());
                async move {
                    let stream = TcpStream::connect((host.as_str(), port)).await?;
                    stream.set_nodelay(true)?;
                    Ok::<_, std::io::Error>(TokioIo::new(connector.connect(name, stream).await?))
                }
            }))
            .await
            .map_err(|cause| unreachable(cause.into()))?;
        Ok(Self { channel, answer_timeout: broker.answer_timeout })
    }

    /// The streams.
    pub fn exchange(&self) -> ExchangeServiceClient<Channel> {
        ExchangeServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// The catalogue.
    pub fn catalogue(&self) -> CatalogueServiceClient<Channel> {
        CatalogueServiceClient::new(self.channel.clone())
    }

    /// The queries.
    pub fn query(&self) -> QueryServiceClient<Channel> {
        QueryServiceClient::new(self.channel.clone())
    }

    /// What the node says of itself.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn node_status(&self) -> Result<NodeStatus, Error> {
        let mut client = NodeServiceClient::new(self.channel.clone());
        let answer = self.in_time(client.get_node_status(GetNodeStatusRequest {})).await?;
        Ok(answer.into_inner())
    }

    /// Waits for an answer, but not for ever.
    ///
    /// # Errors
    /// [`Error::NoAnswer`], or what the answer says.
    pub async fn in_time<T>(&self, answer: impl Future<Output = Result<T, tonic::Status>> + Send) -> Result<T, Error> {
        match tokio::time::timeout(self.answer_timeout, answer).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Error::NoAnswer),
        }
    }
}

/// An attempt to connect, and where to.
#[derive(Debug, thiserror::Error)]
#[error("{endpoint}")]
struct Attempt {
    endpoint: String,
    #[source]
    cause: Box<dyn std::error::Error + Send + Sync>,
}

/// The PEM files of one moment.
pub struct Credentials {
    roots: Vec<CertificateDer<'static>>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    paths: (PathBuf, PathBuf, PathBuf),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("paths", &self.paths).finish_non_exhaustive()
    }
}

/// Who a certificate says we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The SPIFFE id, `spiffe://{exchange}/department/{alias}/system/{name}`.
    pub uri: String,
    /// When the certificate ends, seconds since 1970-01-01T00:00:00Z.
    pub ends_at_s: i64,
}

impl Identity {
    /// Alias of the department.
    pub fn department(&self) -> Option<&str> {
        let mut parts = self.uri.strip_prefix("spiffe://")?.split('/').skip(1);
        (parts.next() == Some("department")).then(|| parts.next()).flatten()
    }

    /// The source as which we publish: the id's path.
    pub fn source(&self) -> Option<&str> {
        self.uri.strip_prefix("spiffe://")?.split_once('/').map(|(_, path)| path)
    }
}

impl Credentials {
    /// Reads and parses the three files.
    ///
    /// # Errors
    /// [`Error::Credentials`] with the file.
    pub async fn read(broker: &Broker) -> Result<Self, Error> {
        let roots = certificates("authorities' certificate", &broker.authorities).await?;
        let chain = certificates("certificate", &broker.certificate).await?;
        let key = private_key(&broker.key).await?;
        let paths = (broker.authorities.clone(), broker.certificate.clone(), broker.key.clone());
        Ok(Self { roots, chain, key, paths })
    }

    /// What is wrong with each of the three files, as far as they are named.
    pub(crate) async fn mistakes(
        authorities: Option<&Path>,
        certificate: Option<&Path>,
        key: Option<&Path>,
    ) -> Vec<Error> {
        let mut mistakes = Vec::new();
        if let Some(path) = authorities {
            mistakes.extend(certificates("authorities' certificate", path).await.err());
        }
        if let Some(path) = certificate {
            mistakes.extend(certificates("certificate", path).await.err());
        }
        if let Some(path) = key {
            mistakes.extend(private_key(path).await.err());
        }
        mistakes
    }

    /// Who we are.
    ///
    /// # Errors
    /// [`Error::Credentials`] where the leaf has no SPIFFE id.
    pub fn identity(&self) -> Result<Identity, Error> {
        let refuse = |cause: Box<dyn std::error::Error + Send + Sync>| Error::Credentials {
            what: "certificate",
            path: self.paths.1.clone(),
            cause,
        };
        let leaf = self.chain.first().ok_or_else(|| refuse("the file holds no certificate".into()))?;
        let (_, leaf) = x509_parser::parse_x509_certificate(leaf).map_err(|error| refuse(error.to_string().into()))?;
        let names = leaf.subject_alternative_name().ok().flatten();
        let uri = names
            .iter()
            .flat_map(|names| &names.value.general_names)
            .find_map(|name| match name {
                x509_parser::extensions::GeneralName::URI(uri) if uri.starts_with("spiffe://") => Some(*uri),
                _ => None,
            })
            .ok_or_else(|| refuse("the certificate carries no SPIFFE id as URI".into()))?;
        Ok(Identity { uri: uri.to_owned(), ends_at_s: leaf.validity().not_after.timestamp() })
    }

    fn client_config(self) -> Result<ClientConfig, Error> {
        let mut roots = RootCertStore::empty();
        let (authorities, certificate, _) = &self.paths;
        for root in self.roots {
            roots.add(root).map_err(|cause| Error::Credentials {
                what: "authorities' certificate",
                path: authorities.clone(),
                cause: Box::new(cause),
            })?;
        }
        let refuse =
            |cause| Error::Credentials { what: "certificate", path: certificate.clone(), cause: Box::new(cause) };
        let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(refuse)?
            .with_root_certificates(roots)
            .with_client_auth_cert(self.chain, self.key)
            .map_err(refuse)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}

async fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    tokio::fs::read(path).await.map_err(|cause| Error::Credentials {
        what,
        path: path.to_owned(),
        cause: Box::new(cause),
    })
}

async fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let text = read("private key", path).await?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|cause| Error::Credentials {
        what: "private key",
        path: path.to_owned(),
        cause: Box::new(cause),
    })
}

async fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let text = read(what, path).await?;
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match parsed {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(Error::Credentials { what, path: path.to_owned(), cause: "no certificate in it".into() }),
        Err(cause) => Err(Error::Credentials { what, path: path.to_owned(), cause: Box::new(cause) }),
    }
}
