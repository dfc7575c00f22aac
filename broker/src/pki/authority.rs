//! Making the authority, issuing, revoking.

use std::{
    fmt, fs,
    net::IpAddr,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason, RevokedCertParams,
    SanType, SerialNumber,
};
use serde::{Deserialize, Serialize};

use super::{CA_CERTIFICATE, CRL, Error, files};
use crate::exchange::{clock::Clock, model::SourceId};

const CA_KEY: &str = "ca.key.pem";
const INDEX: &str = "index.json";
const ISSUED: &str = "issued";
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Certificates begin a little in the past, for clients whose clocks are slow.
const SKEW: Duration = Duration::from_secs(300);
/// A new CRL is written with every command, and by `pki crl`; it says that it holds for so long.
const CRL_VALIDITY: Duration = Duration::from_secs(90 * 24 * 3600);
const VALIDITY_DAYS_MAX: u32 = 3650;

/// What a new authority is for.
#[derive(Clone, Debug)]
pub struct NewAuthority {
    /// Trust domain of the exchange: the host part of its SPIFFE ids.
    pub exchange: String,
    /// How long the authority's own certificate holds, in days.
    pub valid_days: u32,
}

/// Whom a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A department's system or person, by the path of its SPIFFE id: `department/taxation/system/inbox`.
    Client(SourceId),
    /// A node of the exchange, by the names and addresses that clients call it by.
    Server(Vec<String>),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(source) => source.fmt(f),
            Self::Server(names) => write!(f, "server/{}", names.join(",")),
        }
    }
}

/// A certificate to issue.
#[derive(Clone, Debug)]
pub struct Request {
    /// Whom it is for.
    pub subject: Subject,
    /// How long it holds, in days.
    pub valid_days: u32,
    /// Where certificate and key are written, as `{name}.pem` and `{name}.key.pem`. `None`: the authority's own `issued/`.
    pub directory: Option<PathBuf>,
}

/// What was issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Issued {
    /// Serial number, hex of its big-endian bytes.
    pub serial: String,
    /// The certificate's file.
    pub certificate: PathBuf,
    /// The key's file.
    pub key: PathBuf,
}

/// How a certificate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// In force, or past its end.
    Issued,
    /// On the revocation list.
    Revoked,
}

/// One line of the authority's index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Serial number, hex of its big-endian bytes.
    pub serial: String,
    /// Whom it was issued to.
    pub subject: String,
    /// When it was issued, milliseconds since 1970.
    pub issue_time_ms: i64,
    /// When it ends, milliseconds since 1970.
    pub end_time_ms: i64,
    /// How it stands.
    pub status: Status,
    /// When it was revoked, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoke_time_ms: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct Index {
    exchange: String,
    /// Grows with every change: the CRL's number.
    revision: u64,
    entries: Vec<Entry>,
}

/// A certificate authority in a directory.
pub struct Authority {
    directory: PathBuf,
    clock: Clock,
    issuer: Issuer<'static, KeyPair>,
}

/// Without the key.
impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes an authority in `directory`, with an empty revocation list.
    ///
    /// # Errors
    /// [`Error::Exists`] where there is one already; [`Error::Name`], [`Error::Validity`], [`Error::Io`].
    pub fn create(directory: &Path, new: &NewAuthority, clock: Clock) -> Result<Self, Error> {
        check_exchange(&new.exchange)?;
        if !(1..=VALIDITY_DAYS_MAX).contains(&new.valid_days) {
            return Err(Error::Validity);
        }
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(directory.join(ISSUED))
            .map_err(files::io("write", directory))?;
        let _lock = files::lock(directory)?;
        let key = KeyPair::generate()?;
        let mut params = params(&format!("{} certificate authority", new.exchange), &clock, new.valid_days);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.serial_number = Some(serial()?);
        // The key comes first and refuses to overwrite: whatever happens, an older authority stays as it was.
        if !files::create(&directory.join(CA_KEY), key.serialize_pem().as_bytes(), files::PRIVATE)? {
            return Err(Error::Exists(directory.to_path_buf()));
        }
        let certificate = params.self_signed(&key)?;
        files::replace(&directory.join(CA_CERTIFICATE), certificate.pem().as_bytes(), files::PUBLIC)?;
        let authority = Self { directory: directory.to_path_buf(), clock, issuer: Issuer::new(params, key) };
        authority.store(Index { exchange: new.exchange.clone(), revision: 0, entries: Vec::new() })?;
        Ok(authority)
    }

    /// Opens the authority of a directory.
    ///
    /// # Errors
    /// [`Error::NoAuthority`], [`Error::Malformed`], [`Error::Io`].
    pub fn open(directory: &Path, clock: Clock) -> Result<Self, Error> {
        let key_path = directory.join(CA_KEY);
        if !key_path.exists() {
            return Err(Error::NoAuthority(directory.to_path_buf()));
        }
        let key = KeyPair::from_pem(&files::read(&key_path)?)
            .map_err(|_| Error::Malformed { path: key_path, expected: "a private key (PKCS#8, PEM)" })?;
        let certificate_path = directory.join(CA_CERTIFICATE);
        let issuer = Issuer::from_ca_cert_pem(&files::read(&certificate_path)?, key)
            .map_err(|_| Error::Malformed { path: certificate_path, expected: "an authority's certificate (PEM)" })?;
        Ok(Self { directory: directory.to_path_buf(), clock, issuer })
    }

    /// The authority's certificate: what clients and nodes trust.
    pub fn certificate_path(&self) -> PathBuf {
        self.directory.join(CA_CERTIFICATE)
    }

    /// The revocation list: what nodes watch.
    pub fn crl_path(&self) -> PathBuf {
        self.directory.join(CRL)
    }

    /// Issues a certificate with a new key. Issuing again for the same subject replaces the files (a renewal); the old certificate stays valid
    /// until its end or its revocation.
    ///
    /// # Errors
    /// [`Error::Validity`], [`Error::Name`], [`Error::Io`], [`Error::Certificate`].
    pub fn issue(&self, request: &Request) -> Result<Issued, Error> {
        if !(1..=VALIDITY_DAYS_MAX).contains(&request.valid_days) {
            return Err(Error::Validity);
        }
        let _lock = files::lock(&self.directory)?;
        let mut index = self.load()?;
        let mut params = params(&request.subject.to_string(), &self.clock, request.valid_days);
        let serial = serial()?;
        let serial_hex = hex::encode(serial.as_ref());
        params.serial_number = Some(serial);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let name = match &request.subject {
            Subject::Client(source) => {
                let uri = format!("spiffe://{}/{source}", index.exchange);
                params.subject_alt_names = vec![SanType::URI(uri.try_into()?)];
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
                source.as_str().replace('/', "-")
            }
            Subject::Server(names) => {
                params.subject_alt_names = names.iter().map(|name| server_name(name)).collect::<Result<_, _>>()?;
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
                let first = names.first().ok_or_else(|| Error::Name {
                    name: String::new(),
                    kind: "server",
                    rule: "a server's certificate has at least one DNS name or address",
                })?;
                format!("server-{}", first.replace(':', "-"))
            }
        };
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let now_ms = self.clock.now_ms();
        index.entries.push(Entry {
            serial: serial_hex.clone(),
            subject: request.subject.to_string(),
            issue_time_ms: now_ms,
            end_time_ms: now_ms + i64::from(request.valid_days) * 86_400_000,
            status: Status::Issued,
            revoke_time_ms: None,
        });
        // Index first: a certificate that exists can always be revoked.
        self.store(index)?;
        let directory = request.directory.clone().unwrap_or_else(|| self.directory.join(ISSUED));
        fs::create_dir_all(&directory).map_err(files::io("write", &directory))?;
        let issued = Issued {
            serial: serial_hex,
            certificate: directory.join(format!("{name}.pem")),
            key: directory.join(format!("{name}.key.pem")),
        };
        files::replace(&issued.key, key.serialize_pem().as_bytes(), files::PRIVATE)?;
        files::replace(&issued.certificate, certificate.pem().as_bytes(), files::PUBLIC)?;
        Ok(issued)
    }

    /// Revokes a certificate: index, then revocation list. Repeating it is safe. Nodes that watch the list cut its live connections within 5 s.
    ///
    /// # Errors
    /// [`Error::UnknownSerial`], [`Error::Io`].
    pub fn revoke(&self, serial: &str) -> Result<Entry, Error> {
        let _lock = files::lock(&self.directory)?;
        let mut index = self.load()?;
        let now_ms = self.clock.now_ms();
        let entry = index
            .entries
            .iter_mut()
            .find(|entry| entry.serial.eq_ignore_ascii_case(serial))
            .ok_or_else(|| Error::UnknownSerial(serial.to_owned()))?;
        entry.status = Status::Revoked;
        entry.revoke_time_ms.get_or_insert(now_ms);
        let entry = entry.clone();
        self.store(index)?;
        Ok(entry)
    }

    /// Writes the revocation list anew, with a new end.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`].
    pub fn renew_crl(&self) -> Result<(), Error> {
        let _lock = files::lock(&self.directory)?;
        let index = self.load()?;
        self.store(index)
    }

    /// Every certificate issued, oldest first.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`].
    pub fn list(&self) -> Result<Vec<Entry>, Error> {
        Ok(self.load()?.entries)
    }

    fn load(&self) -> Result<Index, Error> {
        let path = self.directory.join(INDEX);
        serde_json::from_str(&files::read(&path)?)
            .map_err(|_| Error::Malformed { path, expected: "an index of certificates (JSON)" })
    }

    /// Writes index and revocation list. In this order: a crash between the two is mended by the next command.
    fn store(&self, mut index: Index) -> Result<(), Error> {
        index.revision += 1;
        let json = serde_json::to_string_pretty(&index)
            .map_err(|_| Error::Malformed { path: self.directory.join(INDEX), expected: "an index of certificates" })?;
        files::replace(&self.directory.join(INDEX), json.as_bytes(), files::PUBLIC)?;
        let now = at(self.clock.now_ms());
        let revoked_certs = index
            .entries
            .iter()
            .filter(|entry| entry.status == Status::Revoked)
            .map(|entry| {
                let serial = hex::decode(&entry.serial).map_err(|_| Error::Malformed {
                    path: self.directory.join(INDEX),
                    expected: "hex serial numbers",
                })?;
                Ok(RevokedCertParams {
                    serial_number: SerialNumber::from_slice(&serial),
                    revocation_time: at(entry.revoke_time_ms.unwrap_or(entry.issue_time_ms)),
                    reason_code: Some(RevocationReason::Unspecified),
                    invalidity_date: None,
                })
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let crl = CertificateRevocationListParams {
            this_update: now - SKEW,
            next_update: now + CRL_VALIDITY,
            crl_number: SerialNumber::from(index.revision),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        }
        .signed_by(&self.issuer)?;
        files::replace(&self.crl_path(), crl.pem()?.as_bytes(), files::PUBLIC)
    }
}

/// What all certificates share.
fn params(common_name: &str, clock: &Clock, valid_days: u32) -> CertificateParams {
    let now = at(clock.now_ms());
    let mut distinguished_name = DistinguishedName::new();
    // X.520 bounds a common name at 64 characters; identity is in the alternative name anyway.
    distinguished_name.push(DnType::CommonName, common_name.chars().take(64).collect::<String>());
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished_name;
    params.not_before = now - SKEW;
    params.not_after = now + DAY * valid_days;
    params
}

/// 16 random bytes as a positive number without leading zero, so that its DER and its hex are the same bytes (RFC 5280 section 4.1.2.2: at most 20).
fn serial() -> Result<SerialNumber, Error> {
    use ring::rand::SecureRandom as _;
    let mut bytes = [0_u8; 16];
    ring::rand::SystemRandom::new().fill(&mut bytes).map_err(|_| Error::Key)?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn server_name(name: &str) -> Result<SanType, Error> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() <= 253 && name.split('.').all(label) {
        Ok(SanType::DnsName(name.to_owned().try_into()?))
    } else {
        Err(Error::Name { name: name.to_owned(), kind: "server", rule: "a DNS name or an IP address" })
    }
}

/// SPIFFE-ID section 2.1: a trust domain is lower-case letters, digits, dots, hyphens and underscores.
fn check_exchange(exchange: &str) -> Result<(), Error> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    if (1..=255).contains(&exchange.len()) && exchange.bytes().all(allowed) {
        Ok(())
    } else {
        Err(Error::Name {
            name: exchange.to_owned(),
            kind: "exchange",
            rule: "1-255 of a-z, 0-9, dot, hyphen and underscore",
        })
    }
}

/// A time as rcgen takes it: whole seconds.
fn at(ms: i64) -> time::OffsetDateTime {
    rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(ms / 1000).unwrap_or(0))
}
