//! Who is who in the city: a certificate authority, a certificate for the exchange and for everybody who talks to it, and a profile for each person.
//!
//! Certificates outlive a start and are issued anew a month before their end; the revocation list is renewed at every start.

use std::{fs, path::PathBuf};

use shuqiao_broker::{
    exchange::clock::Clock,
    pki::{Authority, CA_CERTIFICATE, CRL, NewAuthority, Request, Subject},
};

use crate::{Error, directory::Directory};

/// Trust domain of the exchange.
pub(crate) const EXCHANGE: &str = "sandbox.example";
const PKI: &str = "pki";
const CERTIFICATES: &str = "certificates";
const DAYS: u32 = 365;
const MONTH_MS: i64 = 30 * 86_400_000;
const DAYS_OF_AUTHORITY: u32 = 3_650;

/// A system or a person of a department.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) department: &'static str,
    kind: &'static str,
    name: &'static str,
}

const fn person(department: &'static str, name: &'static str) -> Member {
    Member { department, kind: "person", name }
}

const fn system(department: &'static str, name: &'static str) -> Member {
    Member { department, kind: "system", name }
}

/// Runs the exchange: enrols departments and datasets, reads the trail.
pub(crate) const ADMINISTRATOR: Member = person("data-bureau", "administrator");
/// Decides who may see market supervision's data.
pub(crate) const STEWARD: Member = person("market-supervision", "steward");
/// Publishes.
pub(crate) const REGISTRY: Member = system("market-supervision", "registry");
/// Asks, with a grant.
pub(crate) const TAX_OFFICER: Member = person("taxation", "officer");
/// Subscribes.
pub(crate) const INBOX: Member = system("taxation", "inbox");
/// Asks, without a grant.
pub(crate) const WELFARE_OFFICER: Member = person("civil-affairs", "officer");

const MEMBERS: [Member; 6] = [ADMINISTRATOR, STEWARD, REGISTRY, TAX_OFFICER, INBOX, WELFARE_OFFICER];
/// What the exchange is called by.
const HOSTS: [&str; 3] = ["127.0.0.1", "localhost", "::1"];

impl Member {
    /// The path of its SPIFFE id.
    pub(crate) fn source(self) -> String {
        format!("department/{}/{}/{}", self.department, self.kind, self.name)
    }

    fn file(self, ending: &str) -> PathBuf {
        PathBuf::from(CERTIFICATES).join(format!("{}{ending}", self.source().replace('/', "-")))
    }

    /// Its certificate, in the data directory.
    pub(crate) fn certificate(self) -> PathBuf {
        self.file(".pem")
    }

    /// Its key, in the data directory.
    pub(crate) fn key(self) -> PathBuf {
        self.file(".key.pem")
    }

    /// Its profile for `shuqiao --profile`, in the data directory. A department has one person here.
    pub(crate) fn profile(self) -> PathBuf {
        PathBuf::from("clients").join(format!("{}.toml", self.department))
    }
}

/// The authority's certificate, in the data directory.
pub(crate) fn authority() -> PathBuf {
    PathBuf::from(PKI).join(CA_CERTIFICATE)
}

/// The revocation list, in the data directory.
pub(crate) fn revocation_list() -> PathBuf {
    PathBuf::from(PKI).join(CRL)
}

/// Certificate and key of the exchange, in the data directory.
pub(crate) fn server() -> (PathBuf, PathBuf) {
    let certificates = PathBuf::from(CERTIFICATES);
    (certificates.join("server-127.0.0.1.pem"), certificates.join("server-127.0.0.1.key.pem"))
}

/// Makes the authority and every certificate that is not there or ends soon.
pub(crate) fn enrol(directory: &Directory) -> Result<(), Error> {
    let clock = Clock::system();
    let home = directory.path(PKI);
    if !home.exists() {
        // Made beside its place and renamed: a crash in between leaves no half of an authority.
        let partial = directory.path("pki.partial");
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(Error::io("remove", &partial))?;
        }
        let new = NewAuthority { exchange: EXCHANGE.into(), valid_days: DAYS_OF_AUTHORITY };
        Authority::create(&partial, &new, clock.clone())?;
        fs::rename(&partial, &home).map_err(Error::io("write", &home))?;
    }
    let authority = Authority::open(&home, clock.clone())?;
    authority.renew_crl()?;
    let issued = authority.list()?;
    let mut wanted = vec![(Subject::Server(HOSTS.map(str::to_owned).to_vec()), server())];
    for member in MEMBERS {
        let source = member.source().parse().map_err(|_| Error::Name(member.source()))?;
        wanted.push((Subject::Client(source), (member.certificate(), member.key())));
    }
    for (subject, (certificate, key)) in wanted {
        let name = subject.to_string();
        let lasts = issued.iter().any(|entry| entry.subject == name && entry.end_time_ms > clock.now_ms() + MONTH_MS);
        if !(lasts && directory.path(certificate).exists() && directory.path(key).exists()) {
            authority.issue(&Request { subject, valid_days: DAYS, directory: Some(directory.path(CERTIFICATES)) })?;
        }
    }
    Ok(())
}

/// Writes the profiles of the people, for the exchange at this endpoint.
pub(crate) fn write_profiles(directory: &Directory, endpoint: &str) -> Result<(), Error> {
    for member in [ADMINISTRATOR, STEWARD, TAX_OFFICER, WELFARE_OFFICER] {
        let text = format!(
            "# {} of the sandbox: shuqiao --profile\nendpoint = \"{endpoint}\"\nauthorities = {}\ncertificate = {}\nkey = {}\n",
            member.source(),
            directory.quoted(authority()),
            directory.quoted(member.certificate()),
            directory.quoted(member.key()),
        );
        directory.write(member.profile(), &text)?;
    }
    Ok(())
}
