//! Over any bytes: no panic, one severity per side, normalising once is enough, and the doors agree with one another.

use proptest::prelude::*;
use shuqiao_schemas::identifier::{
    CertificateId, Currency, ForeignerId, INPUT_BYTES_MAX, Industry, Kind, OrganisationCode,
    Region, RegistrationNumber, ResidentId, ResourceCode, Severity, TaxNumber, Uscc, check,
    check_exact, detect, normalise,
};

/// Texts that look like identifiers more often than random ones do.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[0-9A-Z]{1,40}",
        "[0-9]{6,20}",
        "['‘]?[ \u{3000}]?[0-9０-９A-Za-zＡ-ｚ \u{A0}–-]{9,24}[\u{200B} ]?",
        "1\\.2\\.156\\.3005\\.2(\\.[0-9A-Z_]{0,24}){0,7}",
        "[0-9]{1,2}(\\.[0-9]{0,4})?[Ee][+-]?[0-9]{0,3}",
        "[1-9][0-9]{5}(19|20)[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9])[0-9]{3}[0-9Xx]",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, rng_seed: proptest::test_runner::RngSeed::Fixed(2_260), ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_have_a_verdict_of_the_right_side(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        for kind in Kind::ALL {
            match check_exact(*kind, &bytes) {
                Ok(reserve) => prop_assert!(reserve.is_none_or(|reason| reason.severity() == Severity::Warning)),
                Err(reason) => prop_assert_eq!(reason.severity(), Severity::Error),
            }
        }
    }

    #[test]
    fn normalising_twice_is_normalising_once(text in texts()) {
        let (once, changes) = normalise(&text);
        let (twice, none) = normalise(&once);
        prop_assert_eq!(&twice, &once);
        prop_assert!(none.is_empty());
        prop_assert_eq!(changes.is_empty(), once == text.as_str());
    }

    #[test]
    fn a_severity_goes_with_its_reason(text in texts()) {
        for verdict in Kind::ALL.iter().map(|kind| check(*kind, &text)).chain([detect(&text)]) {
            match verdict.reason {
                None => prop_assert_eq!(verdict.severity, Severity::Ok),
                Some(reason) => prop_assert_eq!(verdict.severity, reason.severity()),
            }
        }
    }

    #[test]
    fn what_check_accepts_is_exactly_right_in_its_normal_form(text in texts()) {
        for kind in Kind::ALL {
            let verdict = check(*kind, &text);
            prop_assert_eq!(verdict.is_accepted(), check_exact(*kind, verdict.normal.as_bytes()).is_ok());
            if let Some(suggestion) = &verdict.suggestion {
                prop_assert!(check_exact(*kind, suggestion.as_bytes()).is_ok());
                prop_assert!(!verdict.is_accepted());
            }
        }
    }

    #[test]
    fn a_type_holds_what_its_check_accepts(text in texts()) {
        let text = normalise(&text).0;
        let exact = |kind| check_exact(kind, text.as_bytes()).is_ok();
        let holds = |parsed: Option<String>, kind| {
            prop_assert_eq!(parsed.is_some(), exact(kind), "{}", kind);
            prop_assert!(parsed.is_none_or(|parsed| parsed == text));
            Ok(())
        };
        holds(Uscc::parse(&text).ok().map(|v| v.to_string()), Kind::Uscc)?;
        holds(OrganisationCode::parse(&text).ok().map(|v| v.to_string()), Kind::OrganisationCode)?;
        if text.len() != 13 {
            holds(RegistrationNumber::parse(&text).ok().map(|v| v.to_string()), Kind::RegistrationNumber)?;
        }
        holds(TaxNumber::parse(&text).ok().map(|v| v.to_string()), Kind::TaxNumber)?;
        holds(ResidentId::parse(&text).ok().map(|v| v.to_string()), Kind::ResidentId)?;
        holds(ForeignerId::parse(&text).ok().map(|v| v.to_string()), Kind::ForeignerId)?;
        holds(CertificateId::parse(&text).ok().map(|v| v.to_string()), Kind::CertificateId)?;
        holds(ResourceCode::parse(&text).ok().map(|v| v.to_string()), Kind::ResourceCode)?;
        holds(Region::parse(&text).ok().map(|v| v.to_string()), Kind::Region)?;
        holds(Industry::parse(&text).ok().map(|v| v.to_string()), Kind::Industry)?;
        holds(Currency::parse(&text).ok().map(|v| v.to_string()), Kind::Currency)?;
    }

    #[test]
    fn what_is_put_together_is_right(body in "[0-9A-HJ-NPQRTUWXY]{8}", region in "[1-9][0-9]{5}", day in "(19|20)[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|1[0-9]|2[0-8])", sequence in "[0-9]{3}") {
        if let Ok(organisation) = OrganisationCode::from_body(&body) {
            let code = Uscc::compose("91", &region, &organisation).unwrap();
            prop_assert_eq!(Uscc::parse(code.as_str()), Ok(code));
            prop_assert_eq!(code.organisation_code(), organisation);
        }
        let id = ResidentId::from_body(&format!("{region}{day}{sequence}")).unwrap();
        prop_assert_eq!(id.birth().strftime("%Y%m%d").to_string(), day.as_str());
        prop_assert_eq!(RegistrationNumber::from_body(&format!("{region}{day}")).map(|number| number.region().to_owned()), Ok(region));
    }
}

#[test]
fn a_very_long_input_is_left_alone() {
    let long = "９".repeat(INPUT_BYTES_MAX);
    assert!(normalise(&long).1.is_empty());
    for kind in Kind::ALL {
        assert_eq!(check(*kind, &long).severity, Severity::Error, "{kind}");
    }
}
