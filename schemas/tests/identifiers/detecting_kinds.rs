//! A stray value is named by form and meaning before its check character is asked.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use shuqiao_schemas::identifier::{Kind, Reason, ResidentId, Severity, check_exact, detect};

fn found(input: &str) -> (Kind, Severity, Option<&'static str>) {
    let verdict = detect(input);
    (verdict.kind, verdict.severity, verdict.reason.map(Reason::code))
}

#[test]
fn each_kind_is_found() {
    let cases = [
        ("91340000711771143J", Kind::Uscc),
        ("911000001000013428", Kind::Uscc),
        ("113700000045030270", Kind::Uscc),
        ("D2143569-X", Kind::OrganisationCode),
        ("MA1MRHG20", Kind::OrganisationCode),
        ("310141000157096", Kind::RegistrationNumber),
        ("110105MA1MRHG20", Kind::TaxNumber),
        ("33010619900307001401", Kind::TaxNumber),
        ("11010519491231002x", Kind::ResidentId),
        ("330106199003070014", Kind::ResidentId),
        ("1.2.156.3005.2.11100000MB0341032Y002.11330105002500287C.20240001.001.L", Kind::CertificateId),
    ];
    for (input, kind) in cases {
        assert_eq!(found(input), (kind, Severity::Ok, None), "{input}");
    }
    // The check character is that of GB 11643, but nobody is registered in region 911840.
    assert_eq!(found(&foreigner("91184019850307001")), (Kind::ForeignerId, Severity::Ok, None));
    assert_eq!(found("USA310085030712"), (Kind::ForeignerId, Severity::Warning, Some("CHECK_NOT_VERIFIED")));
    assert_eq!(found("3206811101637"), (Kind::RegistrationNumber, Severity::Warning, Some("THIRTEEN_DIGITS")));
    assert_eq!(found("320621850115120"), (Kind::ResidentId, Severity::Warning, Some("UPGRADED_FROM_FIFTEEN")));
    // Passes the check of a registration number (one number in ten does) and holds a birthday: nobody can tell.
    assert_eq!(found("110105491231002"), (Kind::RegistrationNumber, Severity::Warning, Some("AMBIGUOUS_KIND")));
}

fn foreigner(body: &str) -> String {
    let weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    let sum: usize = body.bytes().zip(weights).map(|(b, w)| usize::from(b - b'0') * w).sum();
    format!("{body}{}", char::from(b"10X98765432"[sum % 11]))
}

#[test]
fn a_wrong_value_is_still_named_where_its_form_speaks() {
    assert_eq!(found("91340000711771143K"), (Kind::Uscc, Severity::Error, Some("CHECK_CHARACTER_MISMATCH")));
    assert_eq!(found("91340000O11771143J"), (Kind::Uscc, Severity::Error, Some("WRONG_CHARACTER")));
    assert_eq!(found("91350100M0001TGQXM"), (Kind::Uscc, Severity::Error, Some("LEGACY_SUSPECT")));
    assert_eq!(found("110105194912310021"), (Kind::ResidentId, Severity::Error, Some("CHECK_CHARACTER_MISMATCH")));
    assert_eq!(found("330106199002290015"), (Kind::ResidentId, Severity::Error, Some("IMPOSSIBLE_DATE")));
    assert_eq!(found("13830295-0"), (Kind::OrganisationCode, Severity::Error, Some("CHECK_CHARACTER_MISMATCH")));
    assert_eq!(found("110108000000017"), (Kind::RegistrationNumber, Severity::Error, Some("CHECK_CHARACTER_MISMATCH")));
}

#[test]
fn what_is_no_identifier_is_unknown() {
    for input in ["E12345678", "EA1234567", "H12345678", "hello", "南通市", "12345", "13800138000", "2024-01-01"] {
        assert_eq!(found(input), (Kind::Unknown, Severity::Error, Some("NO_KIND_FITS")), "{input}");
    }
    assert_eq!(found(" \t"), (Kind::Unknown, Severity::Error, Some("EMPTY")));
    assert_eq!(found("9.1E+17"), (Kind::Unknown, Severity::Error, Some("EXCEL_SCIENTIFIC_NOTATION")));
    assert_eq!(found(&"9".repeat(2_000)), (Kind::Unknown, Severity::Error, Some("INPUT_TOO_LONG")));
}

#[test]
fn no_resident_id_is_taken_for_a_credit_code() {
    let mut rng = ChaCha8Rng::seed_from_u64(11_643);
    let (mut passes_outer, mut taken) = (0, 0);
    for _ in 0..20_000 {
        let region = ["110105", "320621", "330106", "362322", "440300", "510104"][rng.random_range(0..6)];
        let (year, month, day) = (rng.random_range(1940..2010), rng.random_range(1..=12), rng.random_range(1..=28));
        let body = format!("{region}{year}{month:02}{day:02}{:03}", rng.random_range(1..999));
        let id = ResidentId::from_body(&body).unwrap();
        passes_outer += u32::from(outer_check_passes(id.as_str()));
        taken += u32::from(detect(id.as_str()).kind == Kind::Uscc);
        assert!(check_exact(Kind::Uscc, id.as_str().as_bytes()) != Ok(None));
    }
    // One in thirty-one passes the check character alone, which is why it is not enough.
    assert!((500..800).contains(&passes_outer), "{passes_outer}");
    assert_eq!(taken, 0);
}

fn outer_check_passes(code: &str) -> bool {
    let alphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY";
    let mut weight = 1;
    let mut sum = 0;
    for c in code[..17].chars() {
        sum += alphabet.find(c).unwrap() * weight;
        weight = weight * 3 % 31;
    }
    alphabet.chars().nth((31 - sum % 31) % 31) == code.chars().last()
}
