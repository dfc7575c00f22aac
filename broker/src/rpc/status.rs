//! The one place where a domain error becomes a gRPC status with google.rpc details.
//!
//! Every row of the table has a stable `ErrorInfo.reason` (`proto/…/error_details.proto`) and the detail that its class of error carries. Causes are
//! logged here, under the request id, and never sent.

use std::time::Duration;

use shuqiao_proto::{ERROR_DOMAIN, v1::Reason};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::{
    chain::chain,
    exchange::{self, Error},
    request::RequestId,
};

/// How long a caller waits before it tries again where the error itself does not say.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Bytes of the violations that a status tells. Details travel in a header, and a client refuses headers of more than 16 KiB, with an error that says nothing.
const VIOLATIONS_BYTES_MAX: usize = 4 << 10;
/// Characters of a name that is told back. No id is longer.
const NAME_CHARACTERS_MAX: usize = 200;

/// The stable name of a reason: the enum value without its prefix.
pub fn reason_name(reason: Reason) -> &'static str {
    reason.as_str_name().trim_start_matches("REASON_")
}

/// The status, reason and details of an error, under the id of the call that meets with it. Logs the cause where there is one.
pub fn of(error: Error) -> Status {
    let request_id = RequestId::current().unwrap_or_else(RequestId::mint).to_string();
    let (code, reason) = row(&error);
    let mut details = ErrorDetails::new();
    details.set_error_info(reason_name(reason), ERROR_DOMAIN, std::collections::HashMap::new());
    details.set_request_info(request_id.clone(), "");
    if let Some(source) = std::error::Error::source(&error) {
        tracing::error!(request_id, reason = reason_name(reason), error = %chain(source), "request failed");
    } else {
        // The caller was told this id: whoever looks into it must find it. At a level of its own, since everybody may be refused as often as it asks.
        tracing::debug!(request_id, reason = reason_name(reason), "request refused");
    }
    describe(&error, &mut details);
    Status::with_error_details(code, error.to_string(), details)
}

/// The table: which code and reason an error has.
fn row(error: &Error) -> (Code, Reason) {
    match error {
        Error::InvalidField(_) => (Code::InvalidArgument, Reason::InvalidField),
        Error::IdentityUnknown => (Code::Unauthenticated, Reason::IdentityUnknown),
        Error::IdentityMalformed => (Code::Unauthenticated, Reason::IdentityMalformed),
        Error::RoleRequired { .. } => (Code::PermissionDenied, Reason::RoleRequired),
        Error::NotOwner { .. } => (Code::PermissionDenied, Reason::NotOwner),
        Error::GrantMissing { .. } => (Code::PermissionDenied, Reason::GrantMissing),
        Error::GrantExpired { .. } => (Code::PermissionDenied, Reason::GrantExpired),
        Error::GrantRevoked { .. } => (Code::PermissionDenied, Reason::GrantRevoked),
        Error::DatasetNotFound { .. } => (Code::NotFound, Reason::DatasetNotFound),
        Error::RecordNotFound { .. } => (Code::NotFound, Reason::RecordNotFound),
        Error::ResourceNotFound { .. } => (Code::NotFound, Reason::ResourceNotFound),
        Error::AlreadyExists { .. } => (Code::AlreadyExists, Reason::AlreadyExists),
        Error::EtagMismatch { .. } => (Code::Aborted, Reason::EtagMismatch),
        Error::StillReferredTo { .. } => (Code::FailedPrecondition, Reason::StillReferredTo),
        Error::RecordTypeNotAccepted { .. } => (Code::FailedPrecondition, Reason::RecordTypeNotAccepted),
        Error::RecordTypeUnusable { .. } => (Code::FailedPrecondition, Reason::RecordTypeUnusable),
        Error::SourceFenced => (Code::Aborted, Reason::SourceFenced),
        Error::SequenceWentBack { .. } => (Code::Aborted, Reason::SequenceWentBack),
        Error::SubscriptionTakenOver => (Code::Aborted, Reason::SubscriptionTakenOver),
        Error::PositionBeyondRetention { .. } => (Code::OutOfRange, Reason::PositionBeyondRetention),
        Error::ViewBehind => (Code::FailedPrecondition, Reason::ViewBehind),
        Error::BatchTooLarge { .. } => (Code::InvalidArgument, Reason::BatchTooLarge),
        Error::QuotaExhausted { .. } => (Code::ResourceExhausted, Reason::QuotaExhausted),
        Error::LogUnavailable(_) => (Code::Unavailable, Reason::LogUnavailable),
        Error::LogBelowFloor(_) => (Code::FailedPrecondition, Reason::LogBelowFloor),
        Error::DiskFull(_) => (Code::ResourceExhausted, Reason::DiskFull),
        Error::Draining => (Code::Unavailable, Reason::Draining),
        Error::OutcomeUnknown => (Code::DeadlineExceeded, Reason::OutcomeUnknown),
        Error::DataLoss(_) => (Code::DataLoss, Reason::DataLoss),
        Error::ClientTooSlow => (Code::ResourceExhausted, Reason::ClientTooSlow),
        Error::CertificateRevoked => (Code::Unauthenticated, Reason::CertificateRevoked),
        Error::Internal(_) => (Code::Internal, Reason::Internal),
    }
}

/// Adds the detail that the class of error carries beside ErrorInfo and RequestInfo.
fn describe(error: &Error, details: &mut ErrorDetails) {
    match error {
        Error::InvalidField(violations) => {
            details.set_bad_request(told(violations));
        }
        Error::BatchTooLarge { limit, unit } => {
            details.add_bad_request_violation("batch", format!("at most {limit} {unit} / 至多 {limit}"));
        }
        Error::DatasetNotFound { dataset } => {
            details.set_resource_info("dataset", short(dataset), "", "check the name, or ask for access");
        }
        Error::RecordNotFound { dataset } => {
            details.set_resource_info("record", dataset.as_str(), "", "no live record of that key is visible");
        }
        Error::ResourceNotFound { kind, name } => {
            details.set_resource_info(*kind, short(name), "", "check the name, or ask for access");
        }
        Error::AlreadyExists { kind, name } => {
            details.set_resource_info(*kind, name, "", "choose another name, or update the existing one");
        }
        Error::StillReferredTo { kind, name, by } => {
            details.add_precondition_failure_violation(*kind, name, format!("still referred to by {by}"));
        }
        Error::RecordTypeNotAccepted { dataset, accepted } => {
            details.add_precondition_failure_violation(
                "record_type",
                dataset.as_str(),
                format!("upgrade: the dataset accepts {accepted}"),
            );
        }
        Error::RecordTypeUnusable { dataset, record_type } => {
            details.add_precondition_failure_violation(
                "record_type",
                dataset.as_str(),
                format!(
                    "run software that compiles {record_type}, or publish under a next version of it / 请运行能够编译该记录标准的软件，或改用其下一版本"
                ),
            );
        }
        Error::ViewBehind => {
            details.add_precondition_failure_violation("position", "view", "repeat when the view has caught up");
            details.set_retry_info(Some(RETRY_DELAY));
        }
        Error::LogBelowFloor(_) => {
            let what = "tell the operators, with the request id: the node's log names the topic and its settings / 请将请求编号告知运维人员：节点日志载明主题及其设置";
            details.add_precondition_failure_violation("log", "topic", what);
        }
        Error::QuotaExhausted { retry_after, .. } => {
            details.set_retry_info(Some(*retry_after));
        }
        Error::LogUnavailable(_) | Error::DiskFull(_) | Error::Draining | Error::ClientTooSlow => {
            details.set_retry_info(Some(RETRY_DELAY));
        }
        Error::IdentityUnknown
        | Error::IdentityMalformed
        | Error::RoleRequired { .. }
        | Error::NotOwner { .. }
        | Error::GrantMissing { .. }
        | Error::GrantExpired { .. }
        | Error::GrantRevoked { .. }
        | Error::EtagMismatch { .. }
        | Error::SourceFenced
        | Error::SequenceWentBack { .. }
        | Error::SubscriptionTakenOver
        | Error::PositionBeyondRetention { .. }
        | Error::OutcomeUnknown
        | Error::DataLoss(_)
        | Error::CertificateRevoked
        | Error::Internal(_) => {}
    }
}

/// Violations as far as they fit, at least one; then how many more there are.
fn told(violations: &[exchange::error::FieldViolation]) -> Vec<FieldViolation> {
    let (mut told, mut bytes) = (Vec::new(), 0);
    for violation in violations {
        let text = format!("{}: {} / {}", violation.rule, violation.message_en, violation.message_zh);
        bytes += violation.path.len() + text.len();
        if bytes > VIOLATIONS_BYTES_MAX && !told.is_empty() {
            let left = violations.len() - told.len();
            told.push(FieldViolation::new("", format!("TOO_MANY_VIOLATIONS: and {left} more / 另有 {left} 项")));
            break;
        }
        told.push(FieldViolation::new(violation.path.clone(), text));
    }
    told
}

/// A name as the caller wrote it, which may be no name at all.
fn short(name: &str) -> String {
    name.chars().take(NAME_CHARACTERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{error::FieldViolation, model::Position};

    /// One of each variant; the match makes the compiler ask for a new one.
    fn every() -> Vec<Error> {
        let dataset = || "a.b".parse().expect("an id");
        let name = || "x".to_owned();
        let cause = || std::sync::Arc::new(std::io::Error::other("the cause stays in the log"));
        let all = vec![
            Error::InvalidField(vec![FieldViolation::new("purpose", "REQUIRED", "required", "必填")]),
            Error::IdentityUnknown,
            Error::IdentityMalformed,
            Error::RoleRequired { role: "administrator" },
            Error::NotOwner { kind: "dataset", name: name() },
            Error::GrantMissing { dataset: dataset() },
            Error::GrantExpired { grant: name() },
            Error::GrantRevoked { grant: name() },
            Error::DatasetNotFound { dataset: name() },
            Error::RecordNotFound { dataset: dataset() },
            Error::ResourceNotFound { kind: "grant", name: name() },
            Error::AlreadyExists { kind: "grant", name: name() },
            Error::EtagMismatch { kind: "grant", name: name() },
            Error::StillReferredTo { kind: "dataset", name: name(), by: name() },
            Error::RecordTypeNotAccepted { dataset: dataset(), accepted: "a/v1".parse().expect("a name") },
            Error::RecordTypeUnusable { dataset: dataset(), record_type: "a.b/v1".parse().expect("a name") },
            Error::SourceFenced,
            Error::SequenceWentBack { sequence: 1, previous: 2 },
            Error::SubscriptionTakenOver,
            Error::PositionBeyondRetention { position: Position { partition: 0, offset: 1 }, first: 2, next: 3 },
            Error::ViewBehind,
            Error::BatchTooLarge { limit: 1, unit: "records" },
            Error::QuotaExhausted { what: "queries at once", retry_after: Duration::from_secs(3) },
            Error::LogUnavailable(cause()),
            Error::LogBelowFloor(cause()),
            Error::DiskFull(cause()),
            Error::Draining,
            Error::OutcomeUnknown,
            Error::DataLoss(cause()),
            Error::ClientTooSlow,
            Error::CertificateRevoked,
            Error::Internal(cause()),
        ];
        let reasons: std::collections::BTreeSet<_> = all.iter().map(Error::reason).collect();
        assert_eq!(reasons.len(), all.len(), "one of each");
        all
    }

    #[test]
    fn a_status_is_small_whatever_the_caller_wrote() {
        let violation =
            |number| FieldViolation::new(format!("fields[{number}].path"), "UNKNOWN_FIELD_PATH", "no", "无");
        let status = of(Error::InvalidField((0..1_000).map(violation).collect()));
        let details = status.get_error_details();
        let told = &details.bad_request().expect("by field").field_violations;
        let last = told.last().expect("one").description.clone();
        assert_eq!(last, format!("TOO_MANY_VIOLATIONS: and {0} more / 另有 {0} 项", 1_000 - (told.len() - 1)));
        let long = "x".repeat(1 << 20);
        let named = [
            Error::DatasetNotFound { dataset: long.clone() },
            Error::ResourceNotFound { kind: "grant", name: "数".repeat(100_000) },
            Error::InvalidField(vec![FieldViolation::new("a", "B", "c", "d")]),
        ];
        for status in named.map(of).iter().chain([&status]) {
            assert!(status.details().len() + status.message().len() < 6 << 10, "{}", status.details().len());
        }
    }

    #[test]
    fn every_row_has_its_reason_its_request_and_the_detail_of_its_class() {
        for error in every() {
            let (code, reason) = row(&error);
            assert_eq!(reason_name(reason), error.reason(), "the wire and the domain name it alike");
            let status = of(error);
            assert_eq!(status.code(), code);
            let details = status.get_error_details();
            let info = details.error_info().expect("every status has a reason");
            assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason_name(reason), ERROR_DOMAIN));
            assert!(!details.request_info().expect("every status names its request").request_id.is_empty());
            assert!(!status.message().contains("cause"), "a cause is never sent");
            match code {
                Code::InvalidArgument => assert!(details.bad_request().is_some(), "{reason:?}"),
                Code::NotFound | Code::AlreadyExists => assert!(details.resource_info().is_some(), "{reason:?}"),
                Code::Unavailable | Code::ResourceExhausted => assert!(details.retry_info().is_some(), "{reason:?}"),
                Code::FailedPrecondition => {
                    assert!(details.precondition_failure().is_some(), "{reason:?}");
                    // Of what has to be changed first, only a view that is behind changes by itself.
                    assert_eq!(details.retry_info().is_some(), reason == Reason::ViewBehind, "{reason:?}");
                }
                _ => {}
            }
        }
    }
}
