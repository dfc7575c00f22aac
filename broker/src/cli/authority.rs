//! `shuqiao pki`: the small authority of `crate::pki`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use ring::signature::KeyPair as _;

use super::{
    error::Error,
    exit::Exit,
    output::{self, Format},
};
use crate::{
    exchange::{clock::Clock, model::SourceId},
    pki::{Authority, NewAuthority, Request, Status, Subject},
};

/// Where the authority lies.
#[derive(Args, Debug)]
pub(super) struct Directory {
    /// The authority's directory. Whoever reads its ca.key.pem can be anybody: keep it off the nodes.
    #[arg(long, env = "SHUQIAO_PKI", default_value = "pki", value_name = "DIRECTORY")]
    directory: PathBuf,
}

impl Directory {
    /// As an option of the next command: SHUQIAO_PKI may name another authority there.
    pub(super) fn option(&self) -> String {
        let shown = self.directory.display().to_string();
        let plain = shown.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
        if plain { format!(" --directory {shown}") } else { format!(" --directory '{}'", shown.replace('\'', r"'\''")) }
    }

    fn open(&self) -> Result<Authority, Error> {
        Ok(Authority::open(&self.directory, Clock::system())?)
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(super) enum Pki {
    /// Make an authority, with an empty revocation list.
    Init {
        /// Trust domain of the exchange, like city.example: the host part of the SPIFFE ids.
        exchange: String,
        /// How long it holds.
        #[arg(long, default_value_t = 3650)]
        days: u32,
        #[command(flatten)]
        directory: Directory,
    },
    /// Issue a certificate with a new key.
    #[command(subcommand)]
    Issue(Issue),
    /// Revoke a certificate; nodes that watch the list cut its live connections within 5 s.
    Revoke {
        /// Its serial number, as `list` shows it.
        serial: String,
        #[command(flatten)]
        directory: Directory,
    },
    /// Show what was issued.
    List {
        /// How the answer is written.
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
        #[command(flatten)]
        directory: Directory,
    },
    /// Write the revocation list anew; it holds for 90 days.
    Crl {
        #[command(flatten)]
        directory: Directory,
    },
    /// Show a node's receipt key, making it where there is none: what verifies its receipts.
    ReceiptKey {
        /// The node's receipt.key.pem, in its data directory.
        file: PathBuf,
    },
}

/// What is issued.
#[derive(Debug, Subcommand)]
pub(super) enum Issue {
    /// Issue one for a department's system: what an adapter shows.
    System(Client),
    /// Issue one for a person of a department: what this command line shows.
    Person(Client),
    /// Issue one for a node.
    Server {
        /// Names and addresses that clients call the node by.
        #[arg(required = true)]
        names: Vec<String>,
        #[command(flatten)]
        how: How,
    },
}

/// For whom.
#[derive(Args, Debug)]
pub(super) struct Client {
    /// Alias of the department: `taxation`.
    department: String,
    /// Name of the system or person: `inbox`, `li-si`.
    name: String,
    #[command(flatten)]
    how: How,
}

/// For how long, and where to.
#[derive(Args, Debug)]
pub(super) struct How {
    /// How long it holds.
    #[arg(long, default_value_t = 365)]
    days: u32,
    /// Where certificate and key are written [default: issued/ in the authority's directory].
    #[arg(long, value_name = "DIRECTORY")]
    out: Option<PathBuf>,
    #[command(flatten)]
    directory: Directory,
}

impl Pki {
    pub(super) fn run(self) -> Result<Exit, Error> {
        match self {
            Self::Init { exchange, days, directory } => {
                let new = NewAuthority { exchange, valid_days: days };
                let authority = Authority::create(&directory.directory, &new, Clock::system())?;
                output::print(&format!(
                    "authority         {}\nrevocation list   {}\nnext              shuqiao pki issue server HOST{at}; shuqiao pki issue system DEPARTMENT NAME{at}",
                    authority.certificate_path().display(),
                    authority.crl_path().display(),
                    at = directory.option(),
                ))?;
            }
            Self::Issue(issue) => issue.run()?,
            Self::Revoke { serial, directory } => {
                let authority = directory.open()?;
                let entry = authority.revoke(&serial)?;
                output::print(&format!("{} {} revoked", entry.serial, entry.subject))?;
                output::note(&format!(
                    "copy {} to every node, if they do not read it where it is",
                    authority.crl_path().display()
                ));
            }
            Self::List { output, directory } => list(&directory.open()?, output)?,
            Self::Crl { directory } => {
                let authority = directory.open()?;
                authority.renew_crl()?;
                output::print(&authority.crl_path().display().to_string())?;
            }
            Self::ReceiptKey { file } => {
                let key = crate::pki::receipt_key(&file)?;
                output::print(&hex::encode(key.public_key()))?;
            }
        }
        Ok(Exit::Success)
    }
}

impl Issue {
    fn run(self) -> Result<(), Error> {
        let client = |kind: &str, client: &Client| {
            let source: SourceId = format!("department/{}/{kind}/{}", client.department, client.name)
                .parse()
                .map_err(|error| {
                    Error::Usage(format!(
                        "{:?}, {:?}: {error}; {{alias}} and {{name}} are each 1-63 of a-z, 0-9 and inner hyphens, beginning with a letter",
                        client.department, client.name
                    ))
                })?;
            Ok::<_, Error>(Subject::Client(source))
        };
        let (subject, how) = match self {
            Self::System(system) => (client("system", &system)?, system.how),
            Self::Person(person) => (client("person", &person)?, person.how),
            Self::Server { names, how } => (Subject::Server(names), how),
        };
        let issued =
            how.directory.open()?.issue(&Request { subject, valid_days: how.days, directory: how.out.clone() })?;
        output::print(&format!(
            "serial        {}\ncertificate   {}\nkey           {}",
            issued.serial,
            issued.certificate.display(),
            issued.key.display()
        ))
    }
}

fn list(authority: &Authority, format: Format) -> Result<(), Error> {
    let entries = authority.list()?;
    let now_ms = Clock::system().now_ms();
    let time = |ms: i64| jiff::Timestamp::from_millisecond(ms).map(|time| time.to_string()).unwrap_or_default();
    output::print(&match format {
        Format::Json => output::json(&entries)?,
        Format::Yaml => output::yaml(&entries)?,
        Format::Table => output::table(
            ["serial", "subject", "until", "status"],
            entries.iter().map(|entry| {
                let status = match entry.status {
                    Status::Revoked => "revoked",
                    Status::Issued if entry.end_time_ms < now_ms => "expired",
                    Status::Issued => "issued",
                };
                vec![entry.serial.clone(), entry.subject.clone(), time(entry.end_time_ms), status.to_owned()]
            }),
        ),
    })
}
