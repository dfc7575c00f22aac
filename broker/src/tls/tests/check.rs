//! What is said of the files before they come into force, and that the acceptor judges alike.

use std::os::unix::fs::PermissionsExt;

use super::*;

const DAY_MS: i64 = 86_400_000;

struct Laid {
    directory: tempfile::TempDir,
    authority: Authority,
    files: Files,
}

/// A server's certificate of 30 days, an authority of 365, a list of 90.
fn laid() -> Laid {
    let directory = tempfile::tempdir().expect("tempdir");
    let authority = authority(directory.path(), Clock::system());
    let files = server_files(&authority);
    Laid { directory, authority, files }
}

/// Keys with mistakes and keys with concerns, some days from now. That the acceptor opens exactly where there is no mistake is asserted on the way.
async fn found(files: &Files, days: i64) -> (Vec<&'static str>, Vec<(&'static str, String)>) {
    let now_ms = Clock::system().now_ms() + days * DAY_MS;
    let (mut mistakes, mut concerns) = (Vec::new(), Vec::new());
    for Finding { key, what } in check(files, CrlExpiry::Warn, now_ms).await {
        match what {
            What::Mistake(_) => mistakes.push(key),
            What::Concern(concern) => concerns.push((key, concern.to_string())),
        }
    }
    let tasks = Tasks::default();
    let opened = Acceptor::open(Options::new(EXCHANGE, files.clone()), Metrics::default(), &tasks).await;
    assert_eq!(opened.is_ok(), mistakes.is_empty(), "{mistakes:?} {:?}", opened.err());
    tasks.drain(PROMISE).await;
    (mistakes, concerns)
}

#[tokio::test]
async fn good_files_leave_nothing_to_say() {
    let laid = laid();
    assert_eq!(found(&laid.files, 0).await, (vec![], vec![]));
    let none = Files { revocation_lists: None, ..laid.files.clone() };
    assert_eq!(found(&none, 0).await, (vec![], vec![]));
}

#[tokio::test]
async fn each_file_that_cannot_be_used_is_named_whatever_the_others_are_like() {
    let laid = laid();
    let stranger = tempfile::tempdir().expect("tempdir");
    let new = NewAuthority { exchange: "other.example".into(), valid_days: 365 };
    let stranger = Authority::create(stranger.path(), &new, Clock::system()).expect("fresh");
    let theirs = server_certificate(&stranger);
    let scribble = laid.directory.path().join("scribble");
    std::fs::write(&scribble, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").expect("written");
    let nowhere = laid.directory.path().join("nowhere");
    let good = || laid.files.clone();
    for (files, expected) in [
        (Files { key: theirs.key.clone(), ..good() }, vec!["key"]),
        (Files { certificate: theirs.certificate.clone(), ..good() }, vec!["key"]),
        (Files { certificate: scribble.clone(), ..good() }, vec!["certificate"]),
        (Files { certificate: nowhere.clone(), ..good() }, vec!["certificate"]),
        (Files { key: nowhere.clone(), ..good() }, vec!["key"]),
        (Files { authorities: scribble.clone(), ..good() }, vec!["authorities"]),
        (Files { revocation_lists: Some(stranger.crl_path()), ..good() }, vec!["revocation_lists"]),
        (Files { authorities: stranger.certificate_path(), ..good() }, vec!["revocation_lists"]),
        (
            Files {
                certificate: nowhere.clone(),
                key: scribble.clone(),
                authorities: nowhere.clone(),
                revocation_lists: Some(nowhere.clone()),
            },
            vec!["certificate", "key", "authorities", "revocation_lists"],
        ),
    ] {
        let (mut mistakes, _) = found(&files, 0).await;
        mistakes.dedup();
        assert_eq!(mistakes, expected, "{files:?}");
    }
}

#[tokio::test]
async fn what_ends_has_ended_or_has_not_begun_is_a_concern() {
    let laid = laid();
    let said = async |days| {
        let (mistakes, concerns) = found(&laid.files, days).await;
        assert_eq!(mistakes, Vec::<&str>::new(), "time makes no mistake");
        concerns
    };
    let [(key, text)] = &said(25).await[..] else { panic!("the certificate alone") };
    assert!(*key == "certificate" && text.contains("ends on") && text.contains("put a new one"), "{text}");
    let [(key, text)] = &said(31).await[..] else { panic!("the certificate alone") };
    assert!(*key == "certificate" && text.contains("ended on"), "{text}");
    let concerns = said(70).await;
    assert!(concerns.iter().any(|(key, text)| *key == "revocation_lists" && text.contains("ends on")), "{concerns:?}");
    let concerns = said(100).await;
    assert!(concerns.iter().any(|(key, text)| *key == "revocation_lists" && text.contains("not known here")));
    let concerns = said(340).await;
    assert!(concerns.iter().any(|(key, text)| *key == "authorities" && text.contains("ends on")), "{concerns:?}");
    let concerns = said(-30).await;
    assert!(concerns.iter().any(|(key, text)| *key == "certificate" && text.contains("holds from")), "{concerns:?}");

    let list_past_its_end = Clock::system().now_ms() + 100 * DAY_MS;
    let strict = check(&laid.files, CrlExpiry::Refuse, list_past_its_end).await;
    let told = |finding: &Finding| matches!(&finding.what, What::Concern(concern) if concern.to_string().contains("nobody is let in"));
    assert!(strict.iter().any(told), "{strict:?}");
}

#[tokio::test]
async fn a_certificate_without_a_host_and_a_key_for_everybody_are_concerns() {
    let laid = laid();
    let client = client_certificate(&laid.authority, "department/taxation/system/inbox");
    let files = Files { certificate: client.certificate, key: client.key.clone(), ..laid.files.clone() };
    let (mistakes, concerns) = found(&files, 0).await;
    assert!(mistakes.is_empty() && concerns.len() == 1 && concerns[0].1.contains("subjectAltName"), "{concerns:?}");
    std::fs::set_permissions(&client.key, std::fs::Permissions::from_mode(0o644)).expect("opened to all");
    let (_, concerns) = found(&files, 0).await;
    assert!(concerns.iter().any(|(key, text)| *key == "key" && text.contains("chmod o-r")), "{concerns:?}");
}
