//! What a talk with the exchange ends with, and whether trying again can help.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{ErrorClass, state};

/// Why a session with the exchange ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the configuration cannot be used.
    #[error("{what} {path:?} cannot be used")]
    Credentials {
        /// "certificate", "private key", "authorities' certificate".
        what: &'static str,
        /// Which file.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No connection, or it broke.
    #[error("the exchange is not reachable")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The exchange asks to come back later, or did not say what became of a batch.
    #[error("the exchange is not ready ({reason})")]
    NotReady {
        /// The reason that it gave.
        reason: String,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// No answer within `broker.answer_timeout`.
    #[error("the exchange did not answer in time")]
    NoAnswer,
    /// The exchange ended the stream without a status.
    #[error("the exchange ended the stream")]
    Ended,
    /// Two processes publish as one source; the newer one goes on.
    #[error("two adapters run for one source (SOURCE_FENCED): a newer session has taken its place; stop one of them")]
    Fenced,
    /// Two processes read one subscription; the newer one goes on.
    #[error(
        "two adapters run for one subscription (SUBSCRIPTION_TAKEN_OVER): a newer stream has taken its place; stop one of them"
    )]
    TakenOver,
    /// Somebody has to change something first.
    #[error("the exchange refuses ({reason}): {message}")]
    Refused {
        /// Stable reason.
        reason: String,
        /// Its words.
        message: String,
    },
    /// The exchange does not keep the protocol.
    #[error("the exchange does not keep the protocol: {0}")]
    Protocol(&'static str),
    /// It does not know any more what it has acknowledged.
    #[error(
        "the exchange has lost what it acknowledged: {0}. Ask its operators to restore its log; where they cannot, or where this state file is another \
         exchange's, `shuqiao-adapter resync` has everything published once more \
         枢桥已不再持有其确认过的数据：请运维恢复日志；无法恢复时，或本状态文件属于另一枢桥时，用 shuqiao-adapter resync 重新发布全部数据"
    )]
    Lost(String),
    /// A receipt does not say what the acknowledgement says, or its signature is not the node's.
    #[error("the receipt of a batch does not verify: {0}")]
    Receipt(&'static str),
    /// Our own state file.
    #[error("the state file")]
    State(#[from] state::Error),
}

impl Error {
    /// What trying again can do.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Credentials { .. } | Self::Refused { .. } | Self::Fenced | Self::TakenOver => {
                ErrorClass::Configuration
            }
            Self::Unreachable(_) | Self::NotReady { .. } | Self::NoAnswer | Self::Ended => ErrorClass::Transient,
            Self::Protocol(_) | Self::Lost(_) | Self::Receipt(_) => ErrorClass::Protocol,
            Self::State(error) => error.class(),
        }
    }

    /// How long the exchange asks to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NotReady { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let reason = status.get_details_error_info().map(|info| info.reason);
        let name = || reason.clone().unwrap_or_else(|| format!("{:?}", status.code()));
        match (status.code(), reason.as_deref()) {
            (_, Some("SOURCE_FENCED")) => Self::Fenced,
            (_, Some("SUBSCRIPTION_TAKEN_OVER")) => Self::TakenOver,
            (_, Some("SEQUENCE_WENT_BACK")) => Self::Protocol("it says that a sequence went back"),
            // Of these an operator mends the second: nothing is lost meanwhile, so it is worth waiting for.
            (_, Some("VIEW_BEHIND" | "LOG_BELOW_FLOOR"))
            | (
                Code::Unavailable
                | Code::DeadlineExceeded
                | Code::ResourceExhausted
                | Code::Internal
                | Code::Cancelled
                | Code::Aborted,
                _,
            ) => Self::NotReady {
                reason: name(),
                retry_after: status.get_details_retry_info().and_then(|info| info.retry_delay),
            },
            // Never the exchange's own: the transport below it.
            (Code::Unknown | Code::Ok, _) => Self::Unreachable(Box::new(status)),
            (
                Code::InvalidArgument
                | Code::NotFound
                | Code::AlreadyExists
                | Code::PermissionDenied
                | Code::FailedPrecondition
                | Code::OutOfRange
                | Code::Unimplemented
                | Code::DataLoss
                | Code::Unauthenticated,
                _,
            ) => Self::Refused { reason: name(), message: words(&status) },
        }
    }
}

/// The status's own words, and those of every field that it refuses: they name path and rule, never a value.
fn words(status: &Status) -> String {
    let refused = status.get_details_bad_request().map(|refused| refused.field_violations).unwrap_or_default();
    let fields = refused.into_iter().map(|violation| format!("{}: {}", violation.field, violation.description));
    std::iter::once(status.message().to_owned()).chain(fields).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;

    #[test]
    fn a_status_says_whether_to_wait_or_to_stop() {
        let with = |code, reason: &str| {
            let mut details = ErrorDetails::new();
            details.set_error_info(reason, shuqiao_proto::ERROR_DOMAIN, std::collections::HashMap::new());
            details.set_retry_info(Some(Duration::from_secs(3)));
            Error::from(Status::with_error_details(code, "words", details))
        };
        assert!(matches!(with(Code::Aborted, "SOURCE_FENCED"), Error::Fenced));
        assert!(matches!(with(Code::Aborted, "SUBSCRIPTION_TAKEN_OVER"), Error::TakenOver));
        assert_eq!(with(Code::Unavailable, "LOG_UNAVAILABLE").retry_after(), Some(Duration::from_secs(3)));
        for (code, reason, class) in [
            (Code::Unavailable, "DRAINING", ErrorClass::Transient),
            (Code::ResourceExhausted, "QUOTA_EXHAUSTED", ErrorClass::Transient),
            (Code::FailedPrecondition, "VIEW_BEHIND", ErrorClass::Transient),
            (Code::FailedPrecondition, "LOG_BELOW_FLOOR", ErrorClass::Transient),
            (Code::FailedPrecondition, "RECORD_TYPE_NOT_ACCEPTED", ErrorClass::Configuration),
            (Code::PermissionDenied, "GRANT_REVOKED", ErrorClass::Configuration),
            (Code::NotFound, "DATASET_NOT_FOUND", ErrorClass::Configuration),
            (Code::Unauthenticated, "IDENTITY_UNKNOWN", ErrorClass::Configuration),
            (Code::Aborted, "SEQUENCE_WENT_BACK", ErrorClass::Protocol),
        ] {
            assert_eq!(with(code, reason).class(), class, "{reason}");
        }
        let mut details = ErrorDetails::new();
        details.add_bad_request_violation("purpose", "PURPOSE_NOT_GRANTED: must be the grant's purpose");
        let refused = Error::from(Status::with_error_details(Code::InvalidArgument, "a field", details)).to_string();
        assert!(refused.ends_with("a field; purpose: PURPOSE_NOT_GRANTED: must be the grant's purpose"), "{refused}");
        assert_eq!(Error::from(Status::unknown("h2 reset")).class(), ErrorClass::Transient);
    }
}
