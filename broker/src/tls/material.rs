//! From files to a judgement: what the node shows and whom it trusts.

use std::{path::Path, sync::Arc};

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime, pem::PemObject},
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use tokio::io::AsyncReadExt;
use x509_parser::prelude::FromDer;

use super::{ALPN_HTTP2, CrlExpiry, Error, Files, lists, provider};

/// A revocation list of a large authority has megabytes; nothing else comes near.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// The files' bytes, as read at one moment.
pub(super) struct Raw {
    certificate: Vec<u8>,
    key: Vec<u8>,
    authorities: Vec<u8>,
    revocation_lists: Option<Vec<u8>>,
}

impl Raw {
    pub(super) async fn read(files: &Files) -> Result<Self, Error> {
        let revocation_lists = match &files.revocation_lists {
            Some(path) => Some(read("revocation lists", path).await?),
            None => None,
        };
        Ok(Self {
            certificate: read("certificate", &files.certificate).await?,
            key: read("key", &files.key).await?,
            authorities: read("authorities", &files.authorities).await?,
            revocation_lists,
        })
    }

    /// Equal digests, equal files. A key must not lie about in memory only to be compared.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        let lists = self.revocation_lists.as_deref().unwrap_or_default();
        for part in [&*self.certificate, &*self.key, &*self.authorities, lists] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        digest
    }
}

pub(super) async fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    let source = |source| Error::Read { what, path: path.to_path_buf(), source };
    let file = tokio::fs::File::open(path).await.map_err(source)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).await.map_err(source)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Error::TooLarge { path: path.to_path_buf(), limit: FILE_BYTES_MAX });
    }
    Ok(bytes)
}

/// What is in force: configuration for new connections, verifier for new and live ones.
#[derive(Debug)]
pub(super) struct Trust {
    pub(super) server: Arc<ServerConfig>,
    verifier: Arc<dyn ClientCertVerifier>,
    /// When the first revocation list runs out, seconds since 1970.
    pub(super) next_update: Option<i64>,
    /// When the node's own certificate ends, seconds since 1970.
    pub(super) not_after: i64,
}

impl Trust {
    pub(super) fn build(raw: &Raw, files: &Files, crl_expiry: CrlExpiry) -> Result<Self, Error> {
        let chain = certificates(&raw.certificate, "certificate", &files.certificate)?;
        let key = private_key(&raw.key, &files.key)?;
        let authorities = certificates(&raw.authorities, "authorities", &files.authorities)?;
        let mut roots = RootCertStore::empty();
        for authority in &authorities {
            roots
                .add(authority.clone())
                .map_err(|_| Error::MalformedCertificate { path: files.authorities.clone() })?;
        }
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
        let mut next_update = None;
        if let (Some(pem), Some(path)) = (&raw.revocation_lists, &files.revocation_lists) {
            let lists = revocation_lists(pem, path)?;
            next_update = lists::judge(&lists, path, &authorities, &files.authorities)?;
            builder = builder.with_crls(lists);
        }
        if crl_expiry == CrlExpiry::Refuse {
            builder = builder.enforce_revocation_expiration();
        }
        let verifier = builder.build()?;
        let not_after = chain.first().and_then(|own| certificate_end(own)).unwrap_or(0);
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier.clone())
            .with_single_cert(chain, key)
            .map_err(|error| mismatch(error, &files.certificate, &files.key))?;
        server.alpn_protocols = vec![ALPN_HTTP2.to_vec()];
        // A resumed session would skip the judgement of the certificate.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        server.max_early_data_size = 0;
        Ok(Self { server: Arc::new(server), verifier, next_update, not_after })
    }

    /// Judges the chain of a live connection as if it came now.
    pub(super) fn judge(&self, chain: &[CertificateDer<'static>]) -> Result<(), rustls::Error> {
        let (own, intermediates) = chain.split_first().ok_or(rustls::Error::NoCertificatesPresented)?;
        self.verifier.verify_client_cert(own, intermediates, UnixTime::now()).map(|_| ())
    }
}

pub(super) fn certificates(pem: &[u8], what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .ok()
        .filter(|certificates| !certificates.is_empty())
        .ok_or_else(|| Error::Empty { what, path: path.to_path_buf() })
}

pub(super) fn revocation_lists(pem: &[u8], path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, Error> {
    CertificateRevocationListDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .ok()
        .filter(|lists| !lists.is_empty())
        .ok_or_else(|| Error::Empty { what: "revocation lists", path: path.to_path_buf() })
}

/// What the library says of a certificate and a key, with the files' names where they do not belong together.
pub(super) fn mismatch(error: rustls::Error, certificate: &Path, key: &Path) -> Error {
    match error {
        rustls::Error::InconsistentKeys(_) => {
            Error::KeyMismatch { key: key.to_path_buf(), certificate: certificate.to_path_buf() }
        }
        other => Error::Identity(other),
    }
}

pub(super) fn private_key(pem: &[u8], path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| Error::Empty { what: "key", path: path.to_path_buf() })
}

/// The last second in which a certificate holds, since 1970.
pub(super) fn certificate_end(der: &[u8]) -> Option<i64> {
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(der).ok()?;
    Some(certificate.validity().not_after.timestamp())
}
