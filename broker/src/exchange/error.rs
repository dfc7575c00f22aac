//! What can go wrong in the domain, as the caller must understand it.
//!
//! Rooms inside `exchange/` convert their own errors into this one at their edge; `rpc/status.rs` maps it, in one exhaustive match, to a status with
//! google.rpc details. `Display` is public text: fixed, safe, without personal data. Causes stay in `source()` for the log.

use std::{sync::Arc, time::Duration};

use super::model::{DatasetId, Position, RecordTypeName};

/// The cause of an error that is ours or the infrastructure's: logged under the request id, never sent.
pub type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// A field of a request and the rule that it breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    /// Name of the field, or JSON Pointer into a payload.
    pub path: String,
    /// Stable rule name, UPPER_SNAKE_CASE.
    pub rule: String,
    /// For a person who reads English.
    pub message_en: String,
    /// 给读中文的人。
    pub message_zh: String,
}

impl FieldViolation {
    /// A violation in a request's own field.
    pub fn new(path: impl Into<String>, rule: impl Into<String>, en: impl Into<String>, zh: impl Into<String>) -> Self {
        Self { path: path.into(), rule: rule.into(), message_en: en.into(), message_zh: zh.into() }
    }
}

/// A domain error. Every variant is one row of the status table.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The request breaks rules; every violation is listed.
    #[error("the request has invalid fields")]
    InvalidField(Vec<FieldViolation>),
    /// The certificate is good, its department is not enrolled.
    #[error("the certificate's department is not enrolled in this exchange")]
    IdentityUnknown,
    /// The certificate carries no SPIFFE id of this exchange.
    #[error("the certificate carries no identity of this exchange")]
    IdentityMalformed,
    /// The operation needs a role.
    #[error("the operation needs the role {role}")]
    RoleRequired {
        /// Name of the role.
        role: &'static str,
    },
    /// The department does not own the dataset or the record type.
    #[error("{kind} {name} belongs to another department")]
    NotOwner {
        /// "dataset", "record type".
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// No grant on a dataset whose existence is public.
    #[error("no grant shows dataset {dataset} to this department")]
    GrantMissing {
        /// The dataset.
        dataset: DatasetId,
    },
    /// The grant's period is over, or has not begun.
    #[error("grant {grant} is outside its period")]
    GrantExpired {
        /// Id of the grant.
        grant: String,
    },
    /// The grant was revoked.
    #[error("grant {grant} is revoked")]
    GrantRevoked {
        /// Id of the grant.
        grant: String,
    },
    /// Unknown, or its existence is private.
    #[error("no such dataset")]
    DatasetNotFound {
        /// As the caller wrote it.
        dataset: String,
    },
    /// No live record of that key, or the row filter hides it.
    #[error("no such record")]
    RecordNotFound {
        /// The dataset.
        dataset: DatasetId,
    },
    /// Unknown, or not for this caller to see.
    #[error("no such {kind}")]
    ResourceNotFound {
        /// "department", "record type", "grant", "subscription".
        kind: &'static str,
        /// As the caller wrote it.
        name: String,
    },
    /// The name is taken by different content.
    #[error("{kind} {name} exists with different content")]
    AlreadyExists {
        /// Kind of the resource.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The resource changed since it was read.
    #[error("{kind} {name} has changed since it was read")]
    EtagMismatch {
        /// Kind of the resource.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// Something still refers to it.
    #[error("{kind} {name} is still referred to")]
    StillReferredTo {
        /// Kind of the resource.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What refers to it.
        by: String,
    },
    /// The batch names another record type.
    #[error("dataset {dataset} accepts {accepted}")]
    RecordTypeNotAccepted {
        /// The dataset.
        dataset: DatasetId,
        /// What it accepts.
        accepted: RecordTypeName,
    },
    /// This node's software cannot compile the dataset's record type, which an earlier one took, or a grant does not fit it.
    #[error("this node's software cannot apply record type {record_type} to dataset {dataset}")]
    RecordTypeUnusable {
        /// The dataset.
        dataset: DatasetId,
        /// Its record type.
        record_type: RecordTypeName,
    },
    /// A newer session of the same source has opened.
    #[error("a newer session of this source has opened: two processes run for one source")]
    SourceFenced,
    /// A sequence is not larger than the one before it.
    #[error("sequence {sequence} does not follow {previous}")]
    SequenceWentBack {
        /// The offending sequence.
        sequence: u64,
        /// The one before it in the stream.
        previous: u64,
    },
    /// A newer stream serves the subscription, or it was sought.
    #[error("a newer stream serves this subscription")]
    SubscriptionTakenOver,
    /// The log does not hold the position: retention took it, or the log ends before it.
    #[error("{}", not_held(*.position, *.first, *.next))]
    PositionBeyondRetention {
        /// What was asked for.
        position: Position,
        /// The oldest offset held.
        first: u64,
        /// The offset that the next record gets.
        next: u64,
    },
    /// The view has not applied the position in time.
    #[error("the view has not applied the position yet")]
    ViewBehind,
    /// Too many records or bytes.
    #[error("the batch is larger than {limit} {unit}")]
    BatchTooLarge {
        /// The limit.
        limit: u64,
        /// "records" or "bytes".
        unit: &'static str,
    },
    /// A bounded thing is full.
    #[error("{what} is exhausted")]
    QuotaExhausted {
        /// Which quota or queue.
        what: &'static str,
        /// When to come back.
        retry_after: Duration,
    },
    /// The log does not answer.
    #[error("the log is not available")]
    LogUnavailable(#[source] Cause),
    /// A topic exists and is not as it must be; it will not mend itself.
    #[error("a topic of the log is not as the exchange needs it: the operators have to mend it")]
    LogBelowFloor(#[source] Cause),
    /// The disk is full: nothing of what is not answered was taken.
    #[error("the node's disk is full")]
    DiskFull(#[source] Cause),
    /// The node is shutting down.
    #[error("the node is draining")]
    Draining,
    /// A deadline passed and the outcome is not known.
    #[error("the outcome is not known: repeat with the same sequence")]
    OutcomeUnknown,
    /// A checksum does not match.
    #[error("stored data fails its checksum")]
    DataLoss(#[source] Cause),
    /// The client did not read for too long, or left a message unfinished.
    #[error("the client did not read, or did not finish a message, for too long")]
    ClientTooSlow,
    /// The certificate lost its force while it was in use: it was revoked, it ended, or its authority is trusted no more.
    #[error("the certificate has been revoked, has ended, or is no longer vouched for")]
    CertificateRevoked,
    /// Our bug.
    #[error("internal error")]
    Internal(#[source] Cause),
}

fn not_held(position: Position, first: u64, next: u64) -> String {
    let Position { partition, offset } = position;
    if offset < first {
        format!("partition {partition} no longer holds offset {offset}: it begins at {first}")
    } else {
        format!("partition {partition} does not reach to offset {offset}: its next record gets {next}")
    }
}

impl Error {
    /// One invalid field.
    pub fn invalid(
        path: impl Into<String>,
        rule: impl Into<String>,
        en: impl Into<String>,
        zh: impl Into<String>,
    ) -> Self {
        Self::InvalidField(vec![FieldViolation::new(path, rule, en, zh)])
    }

    /// The stable name of what went wrong: `ErrorInfo.reason` on the wire, `denied` in the trail, a label in metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::InvalidField(_) => "INVALID_FIELD",
            Self::IdentityUnknown => "IDENTITY_UNKNOWN",
            Self::IdentityMalformed => "IDENTITY_MALFORMED",
            Self::RoleRequired { .. } => "ROLE_REQUIRED",
            Self::NotOwner { .. } => "NOT_OWNER",
            Self::GrantMissing { .. } => "GRANT_MISSING",
            Self::GrantExpired { .. } => "GRANT_EXPIRED",
            Self::GrantRevoked { .. } => "GRANT_REVOKED",
            Self::DatasetNotFound { .. } => "DATASET_NOT_FOUND",
            Self::RecordNotFound { .. } => "RECORD_NOT_FOUND",
            Self::ResourceNotFound { .. } => "RESOURCE_NOT_FOUND",
            Self::AlreadyExists { .. } => "ALREADY_EXISTS",
            Self::EtagMismatch { .. } => "ETAG_MISMATCH",
            Self::StillReferredTo { .. } => "STILL_REFERRED_TO",
            Self::RecordTypeNotAccepted { .. } => "RECORD_TYPE_NOT_ACCEPTED",
            Self::RecordTypeUnusable { .. } => "RECORD_TYPE_UNUSABLE",
            Self::SourceFenced => "SOURCE_FENCED",
            Self::SequenceWentBack { .. } => "SEQUENCE_WENT_BACK",
            Self::SubscriptionTakenOver => "SUBSCRIPTION_TAKEN_OVER",
            Self::PositionBeyondRetention { .. } => "POSITION_BEYOND_RETENTION",
            Self::ViewBehind => "VIEW_BEHIND",
            Self::BatchTooLarge { .. } => "BATCH_TOO_LARGE",
            Self::QuotaExhausted { .. } => "QUOTA_EXHAUSTED",
            Self::LogUnavailable(_) => "LOG_UNAVAILABLE",
            Self::LogBelowFloor(_) => "LOG_BELOW_FLOOR",
            Self::DiskFull(_) => "DISK_FULL",
            Self::Draining => "DRAINING",
            Self::OutcomeUnknown => "OUTCOME_UNKNOWN",
            Self::DataLoss(_) => "DATA_LOSS",
            Self::ClientTooSlow => "CLIENT_TOO_SLOW",
            Self::CertificateRevoked => "CERTIFICATE_REVOKED",
            Self::Internal(_) => "INTERNAL",
        }
    }

    /// The reason, if this is a verdict on what the caller asked for; nothing where no verdict was reached or the node is at fault.
    pub fn refusal(&self) -> Option<&'static str> {
        match self {
            Self::ViewBehind
            | Self::QuotaExhausted { .. }
            | Self::LogUnavailable(_)
            | Self::LogBelowFloor(_)
            | Self::DiskFull(_)
            | Self::Draining
            | Self::OutcomeUnknown
            | Self::DataLoss(_)
            | Self::ClientTooSlow
            | Self::CertificateRevoked
            | Self::Internal(_) => None,
            _ => Some(self.reason()),
        }
    }

    /// Our bug, with its cause for the log.
    pub fn internal(cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Internal(Arc::new(cause))
    }
}
