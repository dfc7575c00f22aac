//! The client's half: how the command line (and a test) reaches a node.

use std::{
    future::Future,
    io,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{ALPN_HTTP2, Error, material, provider};

/// A server that says nothing for so long is taken at its handshake's word.
const VERDICT: Duration = Duration::from_secs(5);

/// A client's files, all PEM.
#[derive(Clone, Debug)]
pub struct ClientFiles {
    /// The authorities whose server certificates are accepted.
    pub authorities: PathBuf,
    /// The client's certificate and its key. `None`: come without (and be refused).
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Connects with mutual TLS 1.3. For tonic's `Endpoint::connect_with_connector`.
#[derive(Clone)]
pub struct Connector {
    config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
}

/// Without keys.
impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

impl Connector {
    /// Reads the files. `server_name` is what the node's certificate must say where that is not the host of the address.
    ///
    /// # Errors
    /// Whatever is wrong with the files or the name.
    pub async fn open(files: &ClientFiles, server_name: Option<&str>) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        let authorities = material::read("authorities", &files.authorities).await?;
        for authority in material::certificates(&authorities, "authorities", &files.authorities)? {
            roots.add(authority).map_err(|_| Error::MalformedCertificate { path: files.authorities.clone() })?;
        }
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots);
        let mut config = match &files.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = material::read("certificate", certificate).await?;
                let key_pem = material::read("key", key).await?;
                builder
                    .with_client_auth_cert(
                        material::certificates(&chain, "certificate", certificate)?,
                        material::private_key(&key_pem, key)?,
                    )
                    .map_err(|error| material::mismatch(error, certificate, key))?
            }
        };
        config.alpn_protocols = vec![ALPN_HTTP2.to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Self { config: Arc::new(config), server_name: server_name.map(parse).transpose()? })
    }
}

fn parse(name: &str) -> Result<ServerName<'static>, Error> {
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(bare.to_owned()).map_err(|_| Error::ServerName(name.to_owned()))
}

impl tower::Service<http::Uri> for Connector {
    type Response = TokioIo<BufReader<TlsStream<TcpStream>>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: http::Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let host = uri.host().ok_or_else(|| io::Error::other("the endpoint has no host"))?;
            let port = uri.port_u16().unwrap_or(443);
            let name = match this.server_name {
                Some(name) => name,
                None => parse(host).map_err(io::Error::other)?,
            };
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            let socket = TcpStream::connect((bare, port)).await?;
            socket.set_nodelay(true)?;
            let stream = TlsConnector::from(this.config).connect(name, socket).await?;
            // In TLS 1.3 the server judges after the client believes itself connected. An HTTP/2 server speaks first (its SETTINGS), so its first
            // byte is the verdict; an alert in its place is reported as the reason, instead of whatever breaks a moment later.
            let mut stream = BufReader::new(stream);
            if let Ok(verdict) = tokio::time::timeout(VERDICT, stream.fill_buf()).await
                && verdict?.is_empty()
            {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the node closed the connection"));
            }
            Ok(TokioIo::new(stream))
        })
    }
}

/// What to do about a refusal during the handshake, where that is why an error came about.
///
/// HTTP/2 keeps only the text of an I/O error (h2 0.4, `proto::Error::Io`), so the text of rustls is what there is to go by; a test holds the two together.
pub fn refusal(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    const ALERT: &str = "received fatal alert: ";
    std::iter::successors(Some(error), |error| error.source()).find_map(|cause| {
        let text = cause.to_string();
        if text.contains("invalid peer certificate: ") {
            return Some(
                "the node's certificate is not good for this endpoint: check --authorities, --server-name and its validity",
            );
        }
        let (_, alert) = text.split_once(ALERT)?;
        let alert = alert.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        Some(match alert {
            "CertificateRequired" => "the node wants a certificate: give --certificate and --key",
            "CertificateExpired" => "your certificate has expired: ask for a new one",
            "CertificateRevoked" => "your certificate is revoked: ask for a new one",
            "UnsupportedCertificate" => {
                "your certificate is not for a client: use one of a system or a person (`shuqiao pki issue system` makes it)"
            }
            "UnknownCA" | "BadCertificate" | "DecryptError" | "CertificateUnknown" => {
                "the node does not trust your certificate's authority: use one that this exchange has issued"
            }
            _ => "the node refused the handshake: its log says why",
        })
    })
}
