//! What the small authority promises about its files and its certificates.

use std::os::unix::fs::PermissionsExt;

use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, pem::PemObject};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::*;
use crate::exchange::clock::Clock;

const NOW_MS: i64 = 1_780_000_000_000;

fn authority(directory: &std::path::Path) -> Authority {
    let new = NewAuthority { exchange: "nantong.example".into(), valid_days: 365 };
    Authority::create(directory, &new, Clock::manual(NOW_MS)).expect("fresh directory")
}

fn client(source: &str) -> Request {
    Request { subject: Subject::Client(source.parse().expect("source")), valid_days: 30, directory: None }
}

fn revoked_serials(authority: &Authority) -> Vec<String> {
    let pem = std::fs::read(authority.crl_path()).expect("crl");
    let der = CertificateRevocationListDer::from_pem_slice(&pem).expect("one list");
    let (_, crl) = x509_parser::revocation_list::CertificateRevocationList::from_der(&der).expect("well-formed");
    crl.iter_revoked_certificates().map(|revoked| hex::encode(revoked.raw_serial())).collect()
}

#[test]
fn a_client_certificate_carries_its_spiffe_id_and_the_serial_of_the_index() {
    let directory = tempfile::tempdir().expect("tempdir");
    let authority = authority(directory.path());
    let issued = authority.issue(&client("department/taxation/system/inbox")).expect("issue");
    let pem = std::fs::read(&issued.certificate).expect("certificate");
    let der = CertificateDer::from_pem_slice(&pem).expect("pem");
    let (_, certificate) = X509Certificate::from_der(&der).expect("der");
    let names = certificate.subject_alternative_name().expect("unique").expect("present");
    assert_eq!(
        names.value.general_names,
        [GeneralName::URI("spiffe://nantong.example/department/taxation/system/inbox")]
    );
    assert_eq!(hex::encode(certificate.raw_serial()), issued.serial);
    assert_eq!(certificate.validity().not_after.timestamp(), NOW_MS / 1000 + 30 * 86_400);
    assert!(!certificate.is_ca());
    let listed = authority.list().expect("index");
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].serial.as_str(), listed[0].status), (issued.serial.as_str(), Status::Issued));
}

#[test]
fn private_keys_are_for_their_owner_only() {
    let directory = tempfile::tempdir().expect("tempdir");
    let authority = authority(directory.path());
    let issued = authority.issue(&client("department/taxation/person/li-si")).expect("issue");
    for key in [directory.path().join("ca.key.pem"), issued.key] {
        let mode = std::fs::metadata(&key).expect("key").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", key.display());
    }
}

#[test]
fn a_revocation_is_on_the_list_when_revoke_returns_and_stays_there() {
    let directory = tempfile::tempdir().expect("tempdir");
    let authority = authority(directory.path());
    assert!(revoked_serials(&authority).is_empty());
    let kept = authority.issue(&client("department/taxation/system/inbox")).expect("issue");
    let lost = authority.issue(&client("department/taxation/system/lost")).expect("issue");
    let first = authority.revoke(&lost.serial.to_uppercase()).expect("known");
    assert_eq!(revoked_serials(&authority), std::slice::from_ref(&lost.serial));
    assert_eq!(authority.revoke(&lost.serial).expect("repeat").revoke_time_ms, first.revoke_time_ms);
    // Reopened, as the next command would, and after another issue.
    let reopened = Authority::open(directory.path(), Clock::manual(NOW_MS)).expect("open");
    reopened.issue(&client("department/civil-affairs/system/x")).expect("issue");
    assert_eq!(revoked_serials(&reopened), [lost.serial]);
    assert!(matches!(reopened.revoke("00"), Err(Error::UnknownSerial(_))));
    assert!(!revoked_serials(&reopened).contains(&kept.serial));
}

#[test]
fn an_existing_authority_is_never_overwritten() {
    let directory = tempfile::tempdir().expect("tempdir");
    let authority = authority(directory.path());
    let before = std::fs::read(authority.certificate_path()).expect("certificate");
    let new = NewAuthority { exchange: "other.example".into(), valid_days: 365 };
    assert!(matches!(Authority::create(directory.path(), &new, Clock::system()), Err(Error::Exists(_))));
    assert_eq!(std::fs::read(authority.certificate_path()).expect("certificate"), before);
    let empty = tempfile::tempdir().expect("tempdir");
    assert!(matches!(Authority::open(empty.path(), Clock::system()), Err(Error::NoAuthority(_))));
}

#[test]
fn names_that_no_certificate_may_carry_are_refused() {
    let directory = tempfile::tempdir().expect("tempdir");
    let authority = authority(directory.path());
    for bad in ["-a.example", "a b", "", "a..b"] {
        let request = Request { subject: Subject::Server(vec![bad.into()]), valid_days: 30, directory: None };
        assert!(matches!(authority.issue(&request), Err(Error::Name { .. })), "{bad:?}");
    }
    let none = Request { subject: Subject::Server(Vec::new()), valid_days: 30, directory: None };
    assert!(matches!(authority.issue(&none), Err(Error::Name { .. })));
    let long = Request { valid_days: 4000, ..client("department/taxation/system/inbox") };
    assert!(matches!(authority.issue(&long), Err(Error::Validity)));
    let other = tempfile::tempdir().expect("tempdir");
    let new = NewAuthority { exchange: "Nantong/x".into(), valid_days: 365 };
    assert!(matches!(Authority::create(other.path(), &new, Clock::system()), Err(Error::Name { .. })));
}

#[test]
fn a_receipt_key_is_made_once_and_refused_when_others_may_read_it() {
    use ring::signature::KeyPair as _;
    let directory = tempfile::tempdir().expect("tempdir");
    let path = directory.path().join("receipt.key.pem");
    let made = receipt_key(&path).expect("made");
    let loaded = receipt_key(&path).expect("loaded");
    assert_eq!(made.public_key().as_ref(), loaded.public_key().as_ref());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("chmod");
    assert!(matches!(receipt_key(&path), Err(Error::KeyExposed(_))));
    std::fs::write(&path, "no key").expect("write");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    assert!(matches!(receipt_key(&path), Err(Error::Malformed { .. })));
}

#[test]
fn a_full_disk_is_told_and_leaves_no_half_of_a_file() {
    let Some(disk) = crate::exchange::fixtures::Disk::mount(1) else { return };
    let ballast = disk.fill();
    for _ in 0..2 {
        let refused = ExchangeSecret::load(&disk.path().join("exchange.secret"));
        assert!(matches!(refused, Err(Error::Io { action: "write", .. })), "{refused:?}");
    }
    let left: Vec<_> =
        std::fs::read_dir(disk.path()).expect("readable").map(|entry| entry.expect("read").path()).collect();
    assert_eq!(left, [ballast]);
}
