//! What is wrong with PEM files before anything depends on them: all of it, not only what comes first.

use std::{fmt, os::unix::fs::PermissionsExt, path::Path};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer},
    sign::CertifiedKey,
};
use x509_parser::prelude::{ASN1Time, FromDer, GeneralName, Validity, X509Certificate};

use super::{CrlExpiry, Error, Files, lists, material, provider};

/// What ends within a quarter of its life, and within so many seconds at the most, ends soon: a month, of a certificate that holds a year.
const SOON_S_MAX: i64 = 30 * 86_400;

/// Something about one file.
#[derive(Debug)]
pub struct Finding {
    /// Last part of the key that names the file: `certificate`, `key`, `authorities`, `revocation_lists`.
    pub key: &'static str,
    /// What it is.
    pub what: What,
}

/// How grave it is.
#[derive(Debug)]
pub enum What {
    /// The files cannot be used.
    Mistake(Error),
    /// They can, and somebody should look after them.
    Concern(Concern),
}

/// What does not keep files from being used.
#[derive(Debug, thiserror::Error)]
pub enum Concern {
    /// A certificate is past its end.
    #[error("{path} ended on {end}: nobody who checks it connects")]
    Ended {
        /// Which file.
        path: String,
        /// When.
        end: Time,
    },
    /// A certificate or a revocation list is near its end.
    #[error("{path} ends on {end}: put a new one in its place before that")]
    EndsSoon {
        /// Which file.
        path: String,
        /// When.
        end: Time,
    },
    /// A certificate is not valid yet.
    #[error("{path} holds from {start} on only: nobody who checks it connects before that")]
    NotYet {
        /// Which file.
        path: String,
        /// When it begins.
        start: Time,
    },
    /// A server's certificate says no name that a client could compare.
    #[error("{path} names neither host nor address (subjectAltName): no client takes it for this node's")]
    Nameless {
        /// Which file.
        path: String,
    },
    /// A revocation list is past its `nextUpdate`.
    #[error("{path} holds a revocation list that ended on {end}: {consequence}")]
    ListEnded {
        /// Which file.
        path: String,
        /// When.
        end: Time,
        /// What follows from it.
        consequence: &'static str,
    },
    /// Everybody on this machine may read a private key.
    #[error("{path} is readable by everybody on this machine: run chmod o-r on it")]
    KeyExposed {
        /// Which file.
        path: String,
    },
}

/// Seconds since 1970, shown as RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub i64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.0) {
            Ok(time) => time.fmt(f),
            Err(_) => self.0.fmt(f),
        }
    }
}

/// Looks at a node's files as [`super::Acceptor::open`] would read them. Without [`What::Mistake`] it opens.
pub async fn check(files: &Files, crl_expiry: CrlExpiry, now_ms: i64) -> Vec<Finding> {
    let mut check = Check { findings: Vec::new(), now_s: now_ms.div_euclid(1000) };
    check.identity(&files.certificate, &files.key, true).await;
    let authorities = check.authorities(&files.authorities).await;
    if let Some(path) = &files.revocation_lists {
        check.lists(path, authorities.as_deref(), &files.authorities, crl_expiry).await;
    }
    check.findings
}

/// Looks at the files with which a node is a client. A key with a passphrase is not opened.
pub async fn check_client(
    authorities: &Path,
    identity: Option<(&Path, &Path)>,
    passphrase: bool,
    now_ms: i64,
) -> Vec<Finding> {
    let mut check = Check { findings: Vec::new(), now_s: now_ms.div_euclid(1000) };
    check.authorities(authorities).await;
    match identity {
        Some((certificate, key)) if passphrase => {
            check.certificate(certificate, false).await;
            check.read("key", "key", key).await;
        }
        Some((certificate, key)) => check.identity(certificate, key, false).await,
        None => {}
    }
    check.findings
}

struct Check {
    findings: Vec<Finding>,
    now_s: i64,
}

impl Check {
    fn mistake<T>(&mut self, key: &'static str, result: Result<T, Error>) -> Option<T> {
        result.map_err(|error| self.findings.push(Finding { key, what: What::Mistake(error) })).ok()
    }

    fn concern(&mut self, key: &'static str, concern: Concern) {
        self.findings.push(Finding { key, what: What::Concern(concern) });
    }

    async fn read(&mut self, key: &'static str, what: &'static str, path: &Path) -> Option<Vec<u8>> {
        let bytes = material::read(what, path).await;
        self.mistake(key, bytes)
    }

    async fn certificate(&mut self, path: &Path, server: bool) -> Option<Vec<CertificateDer<'static>>> {
        let pem = self.read("certificate", "certificate", path).await?;
        let chain = material::certificates(&pem, "certificate", path);
        let chain = self.mistake("certificate", chain)?;
        let own = chain.first()?;
        let parsed =
            X509Certificate::from_der(own).map_err(|_| Error::MalformedCertificate { path: path.to_path_buf() });
        let (_, own) = self.mistake("certificate", parsed)?;
        self.times("certificate", path, own.validity());
        if server && !names_a_host(&own) {
            self.concern("certificate", Concern::Nameless { path: path.display().to_string() });
        }
        Some(chain)
    }

    /// Certificate and key, and whether they belong together.
    async fn identity(&mut self, certificate: &Path, key_path: &Path, server: bool) {
        let chain = self.certificate(certificate, server).await;
        let Some(pem) = self.read("key", "key", key_path).await else { return };
        let readable = std::fs::metadata(key_path).is_ok_and(|file| file.permissions().mode() & 0o004 != 0);
        if readable {
            self.concern("key", Concern::KeyExposed { path: key_path.display().to_string() });
        }
        let key = material::private_key(&pem, key_path);
        let Some(key) = self.mistake("key", key) else { return };
        if let Some(chain) = chain {
            self.mistake("key", belong_together(chain, key, certificate, key_path));
        }
    }

    async fn authorities(&mut self, path: &Path) -> Option<Vec<CertificateDer<'static>>> {
        let pem = self.read("authorities", "authorities", path).await?;
        let authorities = material::certificates(&pem, "authorities", path);
        let authorities = self.mistake("authorities", authorities)?;
        let mut roots = RootCertStore::empty();
        for der in &authorities {
            let malformed = || Error::MalformedCertificate { path: path.to_path_buf() };
            let parsed = roots.add(der.clone()).map_err(|_| malformed()).and_then(|()| {
                let (_, authority) = X509Certificate::from_der(der).map_err(|_| malformed())?;
                Ok(authority)
            });
            let authority = self.mistake("authorities", parsed)?;
            self.times("authorities", path, authority.validity());
        }
        Some(authorities)
    }

    async fn lists(
        &mut self,
        path: &Path,
        authorities: Option<&[CertificateDer<'static>]>,
        authorities_path: &Path,
        expiry: CrlExpiry,
    ) {
        let key = "revocation_lists";
        let Some(pem) = self.read(key, "revocation lists", path).await else { return };
        let lists = material::revocation_lists(&pem, path);
        let Some(lists) = self.mistake(key, lists) else { return };
        // Without the authorities nobody can say whose lists they are.
        let Some(authorities) = authorities else { return };
        let judged = lists::judge(&lists, path, authorities, authorities_path);
        if self.mistake(key, judged).is_none() {
            return;
        }
        for (start, end) in lists.iter().filter_map(times_of_list) {
            if end < self.now_s {
                let consequence = match expiry {
                    CrlExpiry::Warn => "what was revoked since then is not known here",
                    CrlExpiry::Refuse => "nobody is let in (tls.revocation_list_expiry)",
                };
                let path = path.display().to_string();
                self.concern(key, Concern::ListEnded { path, end: Time(end), consequence });
            } else if self.soon(start, end) {
                self.concern(key, Concern::EndsSoon { path: path.display().to_string(), end: Time(end) });
            }
        }
    }

    fn times(&mut self, key: &'static str, path: &Path, validity: &Validity) {
        let seconds = |time: ASN1Time| time.timestamp();
        let (start, end) = (seconds(validity.not_before), seconds(validity.not_after));
        let path = path.display().to_string();
        if end < self.now_s {
            self.concern(key, Concern::Ended { path, end: Time(end) });
        } else if start > self.now_s {
            self.concern(key, Concern::NotYet { path, start: Time(start) });
        } else if self.soon(start, end) {
            self.concern(key, Concern::EndsSoon { path, end: Time(end) });
        }
    }

    fn soon(&self, start: i64, end: i64) -> bool {
        end - self.now_s < ((end - start) / 4).min(SOON_S_MAX)
    }
}

/// Whether the key is the certificate's, and one that can be used.
fn belong_together(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    certificate: &Path,
    key_path: &Path,
) -> Result<(), Error> {
    match CertifiedKey::from_der(chain, key, &provider()) {
        Ok(_) => Ok(()),
        Err(error) => Err(material::mismatch(error, certificate, key_path)),
    }
}

fn names_a_host(certificate: &X509Certificate<'_>) -> bool {
    let names = certificate.subject_alternative_name().ok().flatten();
    names.is_some_and(|names| {
        let host = |name: &GeneralName<'_>| matches!(name, GeneralName::DNSName(_) | GeneralName::IPAddress(_));
        names.value.general_names.iter().any(host)
    })
}

/// From when to when a list holds, seconds since 1970.
fn times_of_list(der: &CertificateRevocationListDer<'_>) -> Option<(i64, i64)> {
    let (_, list) = x509_parser::revocation_list::CertificateRevocationList::from_der(der).ok()?;
    Some((list.last_update().timestamp(), list.next_update()?.timestamp()))
}
