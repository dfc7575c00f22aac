//! Whether a run would work, told before it is tried: configuration, state directory, certificate, exchange, catalogue, and then the adapter's own
//! check of its system. Everything that can be looked at is looked at; one failure does not hide the next.

mod report;

use std::{
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use shuqiao_proto::v1;

pub use report::{CheckReport, Finding, Verdict};

use crate::{
    ErasedAdapter, chain,
    config::{Config, Named, Publish, Subscribe},
    exchange::{Connection, Credentials, Error, Identity},
    plural,
    reconcile::{self, incomparable},
    state::{self, State},
};

/// A certificate that ends sooner than this deserves a word.
const CERTIFICATE_ENDS_SOON_S: i64 = 14 * 24 * 3_600;

/// Looks at everything. Changes nothing: at the exchange it only asks, at the legacy system the adapter only reads.
pub async fn check(adapter: &dyn ErasedAdapter, config: &Config) -> CheckReport {
    let mut report = CheckReport::default();
    state_directory(&config.state.directory(), &mut report);
    let identity = certificate(config, &mut report).await;
    match Connection::open(&config.broker).await {
        // Told of its file already.
        Err(Error::Credentials { .. }) if identity.is_none() => report.failed(
            "exchange",
            format!("{} was not asked: nobody talks to it without a certificate", config.broker.endpoint),
            "mend what is told of the certificate, then look again",
        ),
        Ok(connection) => exchange(&connection, config, identity.as_ref(), &mut report).await,
        Err(error) => report.failed(
            "exchange",
            chain(&error),
            "check broker.endpoint, broker.authorities, the network, and that the certificate is of this exchange and not revoked",
        ),
    }
    report.extend(adapter.check_with(&config.table).await);
    inbox(&config.state.path, &mut report).await;
    report
}

/// Whether the inbox still holds what was acknowledged: the same comparison as a run's.
async fn inbox(state: &Path, report: &mut CheckReport) {
    let Some(found) = report.inbox.take() else { return };
    let remembered = match State::open_beside(state).await {
        Ok(state) => {
            let remembered = state.inbox_mark().await;
            state.close().await;
            remembered
        }
        // Nothing was acknowledged yet.
        Err(state::Error::Missing(_)) => return,
        Err(error) => Err(error),
    };
    match remembered.map(|remembered| remembered.and_then(|remembered| remembered.is_lost_in(found.as_ref()))) {
        Ok(None) => {}
        Ok(Some((lost, _))) => report.failed(
            "inbox",
            format!("it has lost what was acknowledged: {lost}"),
            "bring it back; or have everything delivered to it once more: `shuqiao-adapter refresh`, then start the adapter again",
        ),
        Err(error) => report.failed("state", chain(&error), "see what holds or has damaged the state file"),
    }
}

/// As [`check`], as far as a configuration with mistakes says where to look: its certificate's files, the state's directory, and the adapter's system where its own table is
/// right. The exchange is not asked.
pub async fn check_named(named: &Named) -> CheckReport {
    let mut report = CheckReport::default();
    if let Some(directory) = &named.state {
        state_directory(directory, &mut report);
    }
    let (authorities, certificate, key) = (&named.authorities, &named.certificate, &named.key);
    credentials(authorities.as_deref(), certificate.as_deref(), key.as_deref(), &mut report).await;
    if let Some((adapter, table)) = &named.adapter {
        report.extend(adapter.check_with(table).await);
    }
    report
}

/// Whether every file is as it should be.
async fn credentials(
    authorities: Option<&Path>,
    certificate: Option<&Path>,
    key: Option<&Path>,
    report: &mut CheckReport,
) -> bool {
    let mistakes = Credentials::mistakes(authorities, certificate, key).await;
    for mistake in &mistakes {
        let remedy = "see broker.authorities, broker.certificate and broker.key";
        report.failed("certificate", chain(mistake), remedy);
    }
    mistakes.is_empty()
}

fn state_directory(directory: &Path, report: &mut CheckReport) {
    // The only way to know whether a file can be made is to make one.
    let probe = directory.join(format!(".shuqiao-check-{}", uuid::Uuid::new_v4()));
    match std::fs::File::create(&probe).and_then(|_| std::fs::remove_file(&probe)) {
        Ok(()) => report.ok("state", format!("{} is writable", directory.display())),
        Err(error) => report.failed(
            "state",
            format!("{} is not writable: {error}", directory.display()),
            "create the directory and give it to the user that runs the adapter",
        ),
    }
}

async fn certificate(config: &Config, report: &mut CheckReport) -> Option<Identity> {
    let broker = &config.broker;
    if !credentials(Some(&broker.authorities), Some(&broker.certificate), Some(&broker.key), report).await {
        return None;
    }
    let identity = match Credentials::read(&config.broker).await {
        Ok(credentials) => credentials.identity(),
        Err(error) => Err(error),
    };
    match identity {
        Err(error) => {
            report.failed("certificate", chain(&error), "see broker.authorities, broker.certificate and broker.key");
            None
        }
        Ok(identity) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            let left = identity.ends_at_s - i64::try_from(now).unwrap_or(i64::MAX);
            if left <= 0 {
                report.failed("certificate", format!("{} has ended", identity.uri), "renew it");
            } else if left < CERTIFICATE_ENDS_SOON_S {
                let days = left.unsigned_abs() / 86_400;
                let message = format!("{} ends in {days} {}", identity.uri, plural(days, "day"));
                report.warning("certificate", message, "renew it; the new files take effect without a restart");
            } else {
                report.ok("certificate", identity.uri.clone());
            }
            Some(identity)
        }
    }
}

async fn exchange(connection: &Connection, config: &Config, identity: Option<&Identity>, report: &mut CheckReport) {
    match connection.node_status().await {
        Ok(status) if status.ready => report.ok("exchange", format!("node {} is ready", status.node)),
        Ok(status) => report.warning(
            "exchange",
            format!("node {} is not ready: {}", status.node, status.not_ready_reasons.join("; ")),
            "wait, or ask the exchange's operators",
        ),
        Err(error) => {
            report.failed("exchange", chain(&error), remedy(&error));
            return;
        }
    }
    if let Some(publish) = &config.publish {
        dataset(connection, publish, identity, report).await;
    }
    if let Some(subscribe) = &config.subscribe {
        subscription(connection, config, subscribe, report).await;
    }
}

async fn dataset(connection: &Connection, publish: &Publish, identity: Option<&Identity>, report: &mut CheckReport) {
    let mut catalogue = connection.catalogue();
    let request = v1::GetDatasetRequest { name: format!("datasets/{}", publish.dataset) };
    let dataset = match connection.in_time(catalogue.get_dataset(request)).await {
        Ok(answer) => answer.into_inner(),
        Err(error) => {
            report.failed("dataset", chain(&error), "check publish.dataset, or ask an administrator to create it");
            return;
        }
    };
    let department = identity.and_then(Identity::department).unwrap_or_default();
    if dataset.owner != department {
        report.failed(
            "dataset",
            format!("{} belongs to {}, and the certificate says {department}", publish.dataset, dataset.owner),
            "publish into a dataset of your own department",
        );
    } else if dataset.record_type != publish.record_type {
        report.failed(
            "dataset",
            format!("{} takes {}, not {}", publish.dataset, dataset.record_type, publish.record_type),
            "set publish.record_type to what the dataset takes",
        );
    } else {
        report.ok("dataset", format!("{} takes {}", publish.dataset, publish.record_type));
    }
    let source = identity.and_then(Identity::source).unwrap_or_default();
    if !publish.source.is_empty() && publish.source != source {
        report.failed(
            "source",
            format!("publish.source is {}, and the certificate says {source}", publish.source),
            "leave publish.source out: the certificate names the source",
        );
    }
}

async fn subscription(connection: &Connection, config: &Config, subscribe: &Subscribe, report: &mut CheckReport) {
    let subscription = match reconcile::subscription(connection, &subscribe.subscription).await {
        Ok(subscription) => subscription,
        Err(error) => {
            let help = "create the subscription first, or check subscribe.subscription";
            report.failed("subscription", chain(&error), help);
            return;
        }
    };
    let found = format!("{} reads {}", subscribe.subscription, subscription.dataset);
    match incomparable(&subscription) {
        None => report.ok("subscription", found),
        Some((en, _)) => {
            report.warning("subscription", format!("{found}; reconciliation compares no records, since {en}"), "")
        }
    }
    // The same question that reconciliation asks: it needs what a delivery needs, a grant.
    let purpose = reconcile::purpose(config, Some(&subscription)).to_owned();
    let request = v1::GetDatasetDigestRequest { dataset: subscription.dataset, purpose, at_least: Vec::new() };
    let mut query = connection.query();
    match connection.in_time(query.get_dataset_digest(request)).await {
        Ok(answer) => {
            let count = answer.into_inner().count;
            report.ok("grant", format!("{count} {} visible to us", plural(count, "record")));
        }
        Err(error) => report.failed("grant", chain(&error), remedy(&error)),
    }
}

/// What helps where the exchange says no to asking for its status or for a dataset's digest.
fn remedy(error: &Error) -> &'static str {
    match error {
        Error::Refused { reason, .. } => match reason.as_str() {
            "IDENTITY_UNKNOWN" => "ask an administrator to enrol the department",
            "GRANT_MISSING" | "DATASET_NOT_FOUND" => "ask the dataset's owner for a grant",
            "INVALID_FIELD" => "give the subscription the grant's purpose, or name it as run.purpose",
            "GRANT_EXPIRED" | "GRANT_REVOKED" => "ask the dataset's owner to renew the grant",
            "IDENTITY_MALFORMED" => {
                "use a certificate that this exchange's authority issued to a system of the department"
            }
            "RECORD_TYPE_UNUSABLE" => {
                "ask the exchange's operators for software that compiles the dataset's record type, or its owner for a next version of it"
            }
            _ => "tell the exchange's operators the reason in brackets",
        },
        _ => "try again; if it stays so, ask the exchange's operators",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Mark;

    /// Of the reasons that `GetNodeStatus` and `GetDatasetDigest` document those that waiting does not mend.
    #[test]
    fn every_refusal_that_a_check_can_meet_has_a_remedy_of_its_own() {
        let refused = |reason: &str| Error::Refused { reason: reason.into(), message: String::new() };
        let unknown = remedy(&refused("SOMETHING_NEWER"));
        assert!(chain(&refused("SOMETHING_NEWER")).contains("(SOMETHING_NEWER)"), "the brackets that are spoken of");
        for reason in [
            v1::Reason::IdentityUnknown,
            v1::Reason::IdentityMalformed,
            v1::Reason::InvalidField,
            v1::Reason::DatasetNotFound,
            v1::Reason::GrantMissing,
            v1::Reason::GrantExpired,
            v1::Reason::GrantRevoked,
            v1::Reason::RecordTypeUnusable,
        ] {
            let name = reason.as_str_name().trim_start_matches("REASON_");
            assert_ne!(remedy(&refused(name)), unknown, "{name}");
        }
    }

    #[tokio::test]
    async fn an_inbox_that_lacks_what_was_acknowledged_fails_the_check_until_everything_is_asked_for_once_more() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("state.db");
        let checked = async |found: Option<Mark>| {
            let mut report = CheckReport { inbox: Some(found), ..CheckReport::default() };
            inbox(&path, &mut report).await;
            report.findings
        };
        assert_eq!(checked(None).await, [], "there is no state file yet");
        let state = State::open(&path).await.expect("opens");
        assert_eq!(checked(None).await, [], "nothing was acknowledged yet");
        let mark = Mark { inbox: "a".into(), deliveries: 7 };
        state.delivered(&[], &[], Some(&mark)).await.expect("noted");
        assert_eq!(checked(Some(mark.clone())).await, []);
        for found in [None, Some(Mark { deliveries: 6, ..mark.clone() })] {
            let findings = checked(found).await;
            let [lost] = findings.as_slice() else { panic!("{findings:?}") };
            assert_eq!(lost.verdict, Verdict::Failed);
            assert!(lost.message.contains("had taken 7") && lost.remedy.contains("refresh"), "{lost:?}");
        }
        state.ask_anew().await.expect("asked");
        assert_eq!(checked(None).await, [], "everything comes once more");
    }
}
