//! What went wrong with a command, and what to do next.

use std::{
    borrow::Cow,
    io,
    path::{Path, PathBuf},
};

use shuqiao_proto::v1::Reason;
use shuqiao_schemas::identifier::inspect;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::exit::Exit;
use crate::{chain::chain, config, node, pki, tls};

/// A command's failure.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Whoever read standard output has seen enough.
    #[error("the reader has gone")]
    Pipe,
    #[error("cannot write the answer")]
    Write(#[source] io::Error),
    #[error("cannot read {what}")]
    Read { what: String, source: io::Error },
    #[error("cannot write {what}")]
    Keep { what: String, source: io::Error },
    /// Arguments that clap cannot judge.
    #[error("{0}")]
    Usage(String),
    /// A manifest, a payload: what the user gave, refused before it was sent.
    #[error("{0}")]
    Input(String),
    /// A payload that cannot be sent; those before it were.
    #[error("line {line}: {mistake}")]
    Line { line: u64, mistake: String },
    /// What is there cannot become what is wanted.
    #[error("{0}")]
    Conflict(String),
    /// What was named is not there.
    #[error("{0}")]
    NotFound(String),
    #[error("{} is no profile", .path.display())]
    Profile { path: PathBuf, source: Box<toml::de::Error> },
    #[error("{endpoint} cannot be reached")]
    Connect { endpoint: String, source: tonic::transport::Error },
    #[error("the node refused")]
    Refused(Box<Status>),
    #[error("the node closed the stream before it was done")]
    StreamEnded,
    #[error(transparent)]
    Config(#[from] config::Error),
    #[error(transparent)]
    Node(#[from] node::Error),
    #[error(transparent)]
    Pki(#[from] pki::Error),
    #[error(transparent)]
    Tls(#[from] tls::Error),
    #[error(transparent)]
    Inspect(#[from] inspect::Error),
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

impl Error {
    /// The exit code.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Pipe => Exit::Success,
            Self::Usage(_) => Exit::Usage,
            Self::Input(_) | Self::Line { .. } => Exit::Invalid,
            Self::Conflict(_) => Exit::Conflict,
            Self::NotFound(_) => Exit::NotFound,
            Self::Connect { source, .. } => match tls::refusal(source) {
                Some(_) => Exit::Denied,
                None => Exit::Unavailable,
            },
            Self::Refused(status) => judge(status).0,
            Self::StreamEnded => Exit::Unavailable,
            Self::Inspect(inspect::Error::Write(error)) if is_pipe(error) => Exit::Success,
            Self::Inspect(
                inspect::Error::NoHeader | inspect::Error::NoSuchColumn { .. } | inspect::Error::AmbiguousColumn,
            ) => Exit::Invalid,
            Self::Node(node::Error::NoDataset(_)) => Exit::NotFound,
            Self::Pki(pki::Error::NoAuthority(_) | pki::Error::UnknownSerial(_)) => Exit::NotFound,
            Self::Pki(pki::Error::Exists(_)) => Exit::Conflict,
            Self::Pki(pki::Error::Name { .. } | pki::Error::Validity) => Exit::Invalid,
            Self::Write(_)
            | Self::Read { .. }
            | Self::Keep { .. }
            | Self::Profile { .. }
            | Self::Config(_)
            | Self::Node(_)
            | Self::Pki(_)
            | Self::Tls(_)
            | Self::Inspect(_) => Exit::Failure,
        }
    }

    /// The text for a person: what happened, why, what to do next.
    pub(super) fn explain(&self) -> String {
        match self {
            Self::Refused(status) => explain_status(status),
            Self::Connect { source, .. } => {
                let mut text = format!("error: {}", chain(self));
                // What rustls says of an answer that is no TLS.
                let no_tls = text.contains("received corrupt message");
                let next = tls::refusal(source).unwrap_or(if no_tls {
                    "what listens there speaks no TLS: check the port of --endpoint (a node listens for departments on 7443, for scrapers on 7480)"
                } else {
                    "check --endpoint, that the node runs (`curl http://HOST:7480/health/ready`), and the network between"
                });
                line(&mut text, "next", next);
                text
            }
            Self::StreamEnded => {
                let mut text = format!("error: {self}");
                line(&mut text, "next", "repeat the command: what the node holds already is recognised");
                text
            }
            _ => {
                let mut text = format!("error: {}", chain(self));
                if let Some(next) = self.next() {
                    line(&mut text, "next", &next);
                }
                text
            }
        }
    }

    /// What to do next, where the text does not say it already.
    fn next(&self) -> Option<Cow<'static, str>> {
        let next = match self {
            Self::Read { what, source } => return Some(unreadable(Path::new(what), source).into()),
            Self::Line { line, .. } => {
                return Some(
                    format!(
                        "every line before it was sent, none from it on. Mend it and go on: `tail -n +{line} FILE | shuqiao publish DATASET` (of lines, not of a .json \
                         file); or repeat the whole: what was accepted is then stored once more, as newer records with the same content"
                    )
                    .into(),
                );
            }
            Self::Keep { .. } => "check the path, that you may write there, and that there is room",
            Self::Profile { .. } => "compare it with deploy/config/client.toml",
            Self::Config(config::Error::Read { path, source }) => {
                return Some(format!("{}; `deploy/config` has samples", unreadable(path, source)).into());
            }
            Self::Config(config::Error::TooLarge { .. }) => "check the path: this is no node's configuration",
            Self::Config(config::Error::NotText { .. }) => {
                "save the file as UTF-8: `iconv -f GB18030 -t UTF-8 OLD > NEW` turns a Chinese editor's other encoding into it"
            }
            Self::Config(config::Error::Mistakes(_)) => {
                "mend these, then look with `shuqiao config check`; `shuqiao config manual` tells what each key means"
            }
            Self::Node(error) => return Some(error.next_step()),
            Self::Write(_) => "check where standard output leads, and that there is room",
            Self::Pki(pki::Error::Io { .. }) => "check the path, and that you may read and write there",
            Self::Pki(pki::Error::Malformed { .. }) => "restore the file from its backup",
            Self::Tls(_) => "check --authorities, --certificate and --key: `shuqiao pki issue` makes them",
            _ => return None,
        };
        Some(next.into())
    }
}

/// What to check where a path cannot be read; a relative one means another file from another directory.
fn unreadable(path: &Path, source: &io::Error) -> String {
    let here = std::env::current_dir().ok().filter(|_| path.is_relative() && source.kind() == io::ErrorKind::NotFound);
    let from = here.map(|here| format!(" (it was looked for from {})", here.display())).unwrap_or_default();
    format!("check the path{from}, and that you may read it")
}

/// An error of writing to standard output.
pub(super) fn write_error(error: io::Error) -> Error {
    if is_pipe(&error) { Error::Pipe } else { Error::Write(error) }
}

fn is_pipe(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

fn line(text: &mut String, label: &str, what: &str) {
    text.push_str(&format!("\n  {label}: {what}"));
}

fn explain_status(status: &Status) -> String {
    let details = status.get_error_details();
    let mut text = match status.message() {
        "" => format!("error: {}", status.code().description()),
        message => format!("error: {message}"),
    };
    // What broke on the way has its cause here; what a node sends has none.
    if let Some(cause) = std::error::Error::source(status) {
        line(&mut text, "cause", &chain(cause));
    }
    if let Some(info) = details.error_info() {
        let request = details.request_info().map(|info| format!(" (request {})", info.request_id)).unwrap_or_default();
        line(&mut text, "reason", &format!("{}{request}", info.reason));
    }
    for violation in details.bad_request().map(|bad| &*bad.field_violations).unwrap_or_default() {
        line(&mut text, &violation.field, &violation.description);
    }
    if let Some(resource) = details.resource_info().filter(|resource| !resource.resource_name.is_empty()) {
        line(&mut text, &resource.resource_type, &resource.resource_name);
    }
    for violation in details.precondition_failure().map(|failure| &*failure.violations).unwrap_or_default() {
        line(&mut text, &violation.subject, &violation.description);
    }
    if let Some(delay) = details.retry_info().and_then(|info| info.retry_delay) {
        line(&mut text, "retry", &format!("in {}", humantime::format_duration(delay)));
    }
    line(&mut text, "next", judge(status).1);
    text
}

/// Exit code and remedy of a refusal: by its stable reason, else by its code.
pub(super) fn judge(status: &Status) -> (Exit, &'static str) {
    if let Some(remedy) = tls::refusal(status) {
        return (Exit::Denied, remedy);
    }
    let details = status.get_error_details();
    let reason = details.error_info().and_then(|info| Reason::from_str_name(&format!("REASON_{}", info.reason)));
    match reason {
        Some(reason) => by_reason(reason),
        None => by_code(status.code()),
    }
}

fn by_reason(reason: Reason) -> (Exit, &'static str) {
    match reason {
        Reason::Unspecified => by_code(Code::Unknown),
        Reason::IdentityUnknown => {
            (Exit::Denied, "ask an administrator to enrol your department (`shuqiao apply` with its manifest)")
        }
        Reason::IdentityMalformed => (
            Exit::Denied,
            "use a certificate of this exchange: its URI must be spiffe://{exchange}/department/{alias}/…",
        ),
        Reason::RoleRequired => (Exit::Denied, "ask an administrator to do it, or to give your department the role"),
        Reason::NotOwner => (Exit::Denied, "only the owner does this: ask the department that the name begins with"),
        Reason::GrantMissing => (Exit::Denied, "ask the dataset's owner for a grant"),
        Reason::GrantExpired => (Exit::Denied, "ask the dataset's owner to extend the grant"),
        Reason::GrantRevoked => (Exit::Denied, "ask the dataset's owner why, and for a new grant"),
        Reason::DatasetNotFound => {
            (Exit::NotFound, "check the name with `shuqiao list datasets`, or ask its owner for access")
        }
        Reason::RecordNotFound => {
            (Exit::NotFound, "check the key; the record may be deleted, or outside of the grant's rows")
        }
        Reason::ResourceNotFound => (
            Exit::NotFound,
            "check the name with `shuqiao list KIND` (departments, record-types, datasets, grants or subscriptions), or ask for access",
        ),
        Reason::AlreadyExists => (
            Exit::Conflict,
            "choose another name, or update what exists with `shuqiao apply`; a credit code belongs to one department: where its name is not yours, the code is taken",
        ),
        Reason::EtagMismatch => {
            (Exit::Conflict, "read it again (`shuqiao get`) and repeat the change on what it is now")
        }
        Reason::StillReferredTo => (Exit::Conflict, "delete what refers to it first"),
        Reason::RecordTypeNotAccepted => {
            (Exit::Invalid, "publish with the record type that the dataset accepts (`shuqiao get dataset`)")
        }
        Reason::RecordTypeUnusable => (
            Exit::Conflict,
            "`shuqiao get record-type` names the problems; upgrade the node, or go on with the next version",
        ),
        Reason::SourceFenced => {
            (Exit::Conflict, "find the other process that publishes as this system and stop one of the two")
        }
        Reason::SequenceWentBack => (Exit::Conflict, "repeat the command: it goes on from where the node stands"),
        Reason::SubscriptionTakenOver => {
            (Exit::Conflict, "another process reads this subscription now: stop one of the two")
        }
        Reason::PositionBeyondRetention => {
            (Exit::Invalid, "go on from what is still held: `shuqiao subscribe … --from beginning`")
        }
        Reason::ViewBehind => (Exit::Unavailable, "repeat in a moment; `shuqiao status` shows how far the view is"),
        Reason::BatchTooLarge => (Exit::Invalid, "send less at once: --batch-records"),
        Reason::QuotaExhausted => (Exit::Unavailable, "wait, then repeat"),
        Reason::LogUnavailable => {
            (Exit::Unavailable, "repeat when the node's log answers again: `shuqiao status` tells")
        }
        Reason::LogBelowFloor => (
            Exit::Failure,
            "tell the operators, with the request id: a topic exists with other settings than the exchange needs",
        ),
        Reason::DiskFull => (Exit::Unavailable, "tell the operators: the node's disk is full; then repeat"),
        Reason::Draining => {
            (Exit::Unavailable, "repeat: the node is stopping, another one or the restarted one will answer")
        }
        Reason::OutcomeUnknown => (Exit::Unavailable, "repeat: what was stored is recognised and not stored twice"),
        Reason::DataLoss => {
            (Exit::Failure, "tell the operators at once, with the request id: stored data fails its checksum")
        }
        Reason::Internal => (Exit::Failure, "report it with the request id"),
        Reason::InvalidField => (Exit::Invalid, "mend the fields named above"),
        Reason::ClientTooSlow => {
            (Exit::Unavailable, "read faster, with less credit, or send smaller batches, and go on")
        }
        Reason::CertificateRevoked => (Exit::Denied, "ask for a new certificate"),
    }
}

fn by_code(code: Code) -> (Exit, &'static str) {
    match code {
        Code::Ok | Code::Cancelled => (Exit::Failure, "repeat the command"),
        Code::InvalidArgument | Code::OutOfRange => (Exit::Invalid, "mend what was sent"),
        Code::NotFound => (Exit::NotFound, "check the name"),
        Code::Unauthenticated | Code::PermissionDenied => {
            (Exit::Denied, "check your certificate, or ask for the right")
        }
        Code::AlreadyExists | Code::Aborted | Code::FailedPrecondition => {
            (Exit::Conflict, "look at what is there now and repeat")
        }
        Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted => {
            (Exit::Unavailable, "wait, then repeat")
        }
        // What breaks on the way to the node has no better code.
        Code::Unknown => (Exit::Unavailable, "check that the node runs, then repeat"),
        Code::Unimplemented => (Exit::Failure, "the node is older than this program: update it"),
        Code::Internal | Code::DataLoss => (Exit::Failure, "report it"),
    }
}
