//! The types hold only right values, say what is inside, and do not show people in `Debug`.

use shuqiao_schemas::identifier::{
    Agreement, CertificateId, Currency, Evidence, ForeignerId, HandlingItemCode, HolderClass,
    Industry, Kind, LegacyUscc, OrganisationCode, Reason, Region, RegistrationNumber, ResidentId,
    ResourceClass, ResourceCode, Severity, Sex, TaxNumber, Uscc, check, detect, evidence,
    region_entries,
};

#[test]
fn a_credit_code_says_its_parts_and_is_put_together_from_them() {
    let code = Uscc::parse("91350100M000100Y43").unwrap();
    assert_eq!(
        (
            code.authority(),
            code.region(),
            code.organisation_code().to_human()
        ),
        ("91", "350100", "M000100Y-4".to_owned())
    );
    assert_eq!(
        Uscc::compose(
            "91",
            "350100",
            &OrganisationCode::from_body("M000100Y").unwrap()
        ),
        Ok(code)
    );
    assert_eq!(
        Uscc::parse("91340000711771143K"),
        Err(Reason::CheckCharacterMismatch)
    );
    assert_eq!(
        Uscc::compose(
            "91",
            "350100",
            &OrganisationCode::from_body("OISVZ000").unwrap()
        ),
        Err(Reason::WrongCharacter)
    );
    assert!(Uscc::parse("92141127MA0KD1Y64A").unwrap().is_household());
}

#[test]
fn a_legacy_code_needs_the_register() {
    let suspect = "91350211M0000XUF46";
    assert_eq!(Uscc::parse(suspect), Err(Reason::LegacySuspect));
    assert_eq!(
        LegacyUscc::confirmed(suspect, |_| false),
        Err(Reason::LegacySuspect)
    );
    let code = LegacyUscc::confirmed(suspect, |asked| asked == suspect).unwrap();
    assert_eq!(
        (code.as_str(), code.organisation_code().as_str()),
        (suspect, "M0000XUF4")
    );
    assert_eq!(
        LegacyUscc::confirmed("91350100M000100Y43", |_| true),
        Err(Reason::WrongStructure)
    );
    assert_eq!(
        LegacyUscc::confirmed("91340000711771143K", |_| true),
        Err(Reason::CheckCharacterMismatch)
    );
}

#[test]
fn a_registration_number_says_who_holds_it() {
    let class = |number| RegistrationNumber::parse(number).unwrap().holder_class();
    assert_eq!(class("310141000157096"), HolderClass::Domestic);
    assert_eq!(class("310000400311804"), HolderClass::ForeignInvested);
    assert_eq!(
        RegistrationNumber::from_body("32068160001234")
            .unwrap()
            .holder_class(),
        HolderClass::Household
    );
    // Nothing in the older kind can be checked, so it has no type.
    assert_eq!(
        RegistrationNumber::parse("3206811101637"),
        Err(Reason::WrongLength)
    );
}

#[test]
fn a_resident_id_says_birth_and_sex_and_knows_no_clock() {
    let id = ResidentId::parse("330106199003070014").unwrap();
    assert_eq!(
        (id.region(), id.birth().to_string().as_str(), id.sex()),
        ("330106", "1990-03-07", Sex::Male)
    );
    assert_eq!(
        ResidentId::parse("330106199003070022").unwrap().sex(),
        Sex::Female
    );
    let future = ResidentId::from_body("33010620990307001").unwrap();
    let day = |y, m, d| jiff::civil::Date::new(y, m, d).unwrap();
    assert_eq!(
        ResidentId::parse_at(future.as_str(), day(2099, 3, 6)),
        Err(Reason::DateInFuture)
    );
    assert_eq!(
        ResidentId::parse_at(future.as_str(), day(2099, 3, 7)),
        Ok(future)
    );
    assert_eq!(
        ResidentId::upgrade("110105491231002").map(|(id, _)| id),
        ResidentId::parse("11010519491231002X")
    );
}

#[test]
fn a_certificate_identifier_says_its_parts_and_all_its_deviations() {
    let id = CertificateId::compose("11100000MB0341032Y002", "11330105002500287C", "20240001", 2)
        .unwrap();
    assert_eq!(
        id.as_str(),
        "1.2.156.3005.2.11100000MB0341032Y002.11330105002500287C.20240001.002.J"
    );
    assert_eq!(
        (id.type_code(), id.issuer(), id.serial(), id.version()),
        ("11100000MB0341032Y002", "11330105002500287C", "20240001", 2)
    );
    assert_eq!(id.deviations().count(), 0);
    let region =
        CertificateId::parse("1.2.156.3005.2.11100000MB03271699022.340100.000000016.001.9")
            .unwrap();
    assert_eq!(
        region.deviations().collect::<Vec<_>>(),
        [Reason::IssuerIsRegion]
    );
    assert_eq!(
        CertificateId::compose("11100000MB03271699022", "340100", "1", 1),
        Err(Reason::WrongStructure)
    );
    assert_eq!(
        CertificateId::compose("11100000MB0341032Y002", "11330105002500287C", "1", 0),
        Err(Reason::WrongStructure)
    );
    let old = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        .chars()
        .find_map(|check| {
            let id = CertificateId::parse(&format!(
                "1.2.156.3005.2.062301.340100.2016_001.001.{check}"
            ))
            .ok()?;
            let found: Vec<_> = id.deviations().collect();
            (!found.contains(&Reason::DialectA11)).then_some(found)
        });
    assert_eq!(
        old,
        Some(vec![
            Reason::OldTypeCode,
            Reason::IssuerIsRegion,
            Reason::SerialUnderscore
        ])
    );
}

#[test]
fn item_resource_industry_currency_and_region_say_their_parts() {
    let handling = HandlingItemCode::parse("11370800MB28559184337011700201101").unwrap();
    let implementation = handling.implementation().unwrap();
    assert_eq!(
        implementation
            .body()
            .map(|code| code.to_string())
            .as_deref(),
        Ok("11370800MB28559184")
    );
    assert_eq!(
        (
            implementation.level(),
            implementation.basic().unwrap().region()
        ),
        (3, "37")
    );
    assert_eq!(implementation.basic().unwrap().item_type(), "01");
    let resource = ResourceCode::parse("3070010012/000001").unwrap();
    assert_eq!(
        (
            resource.class(),
            resource.classification(),
            resource.sequence()
        ),
        (ResourceClass::Departmental, "3070010012", "000001")
    );
    assert_eq!(Industry::parse("6510").unwrap().section(), Some('I'));
    assert_eq!(Industry::parse("99").unwrap().section(), None);
    let yuan = Currency::parse("156").unwrap();
    assert_eq!(
        (yuan.alpha(), yuan.numeric(), yuan.as_str()),
        (Some("CNY"), Some("156"), "156")
    );
    let street = Region::parse("320612100").unwrap();
    assert_eq!(street.entry().map(|entry| &*entry.zh), Some("通州区"));
}

#[test]
fn the_table_of_regions_is_ordered_dated_and_without_doubles() {
    let entries = region_entries();
    assert!(entries.len() > 7_000, "{}", entries.len());
    assert!(entries.windows(2).all(|pair| pair[0].code < pair[1].code));
    for entry in entries {
        assert!(
            entry.code.len() == 6 && entry.code.bytes().all(|b| b.is_ascii_digit()),
            "{}",
            entry.code
        );
        assert!(!entry.zh.is_empty(), "{}", entry.code);
        for day in [&entry.from, &entry.to].into_iter().flatten() {
            assert!(day.parse::<jiff::civil::Date>().is_ok(), "{}", entry.code);
        }
        assert!(
            entry.from.is_none() || entry.to.is_none() || entry.from < entry.to,
            "{}",
            entry.code
        );
    }
    let provinces = entries
        .iter()
        .filter(|entry| entry.to.is_none() && entry.code.ends_with("0000"))
        .count();
    // 34, the State administration's 100000 and the 830000 of residence permits.
    assert_eq!(provinces, 36);
}

#[test]
fn an_old_number_says_no_more_than_it_knows() {
    let code = Uscc::parse("91310115342050446K").unwrap();
    let other = Uscc::parse("91340000711771143J").unwrap();
    let about = |kind, number| {
        let evidence: Evidence = evidence(kind, number).unwrap();
        (evidence.about(&code), evidence.about(&other))
    };
    assert_eq!(
        about(Kind::Uscc, "91310115342050446K"),
        (Agreement::Same, Agreement::Contradicts)
    );
    assert_eq!(
        about(Kind::OrganisationCode, "342050446"),
        (Agreement::SameOrganisation, Agreement::Contradicts)
    );
    // The tax register's region differs from the code's, and that says nothing.
    assert_eq!(
        about(Kind::TaxNumber, "310230342050446"),
        (Agreement::SameOrganisation, Agreement::Contradicts)
    );
    assert_eq!(
        about(Kind::TaxNumber, "91310115342050446K"),
        (Agreement::Same, Agreement::Contradicts)
    );
    assert_eq!(
        about(Kind::TaxNumber, "33010619900307001401"),
        (Agreement::Silent, Agreement::Silent)
    );
    assert_eq!(
        about(Kind::RegistrationNumber, "310141000157096"),
        (Agreement::Silent, Agreement::Silent)
    );
    assert_eq!(
        about(Kind::ResidentId, "330106199003070014"),
        (Agreement::Silent, Agreement::Silent)
    );
    assert_eq!(
        evidence(Kind::OrganisationCode, "342050447"),
        Err(Reason::CheckCharacterMismatch)
    );
    assert_eq!(evidence(Kind::Region, "320600"), Err(Reason::NoKindFits));
    // The same legal person after it moved: another region, the same inside.
    let moved = Uscc::compose("91", "310230", &code.organisation_code()).unwrap();
    assert_eq!(
        evidence(Kind::Uscc, moved.as_str()).unwrap().about(&code),
        Agreement::SameOrganisation
    );
}

#[test]
fn debug_does_not_show_a_person() {
    let person = "330106199003070014";
    let shown = [
        format!("{:?}", ResidentId::parse(person).unwrap()),
        format!("{:?}", TaxNumber::parse(person).unwrap()),
        format!("{:?}", TaxNumber::parse(person).unwrap().form().unwrap()),
        format!("{:?}", ForeignerId::parse("USA310085030712").unwrap()),
        format!("{:?}", check(Kind::ResidentId, person)),
        format!("{:?}", detect(person)),
        format!("{:?}", detect("33010619900307OO14")),
        format!("{:?}", check(Kind::TaxNumber, person)),
        format!("{:?}", check(Kind::Uscc, person)),
    ];
    for text in shown {
        assert!(
            !text.contains("199003") && !text.contains("850307"),
            "{text}"
        );
    }
    assert_eq!(
        format!("{:?}", Uscc::parse("91340000711771143J").unwrap()),
        "Uscc(91340000711771143J)"
    );
}

#[test]
fn a_type_goes_through_json_and_keeps_wrong_values_out() {
    let code: Uscc = serde_json::from_str(r#""91340000711771143J""#).unwrap();
    assert_eq!(
        serde_json::to_string(&code).unwrap(),
        r#""91340000711771143J""#
    );
    let error = serde_json::from_str::<ResidentId>(r#""330106199003070015""#)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("check character") && !error.contains("1990"),
        "{error}"
    );
}

#[test]
fn names_and_codes_are_stable_and_their_own() {
    for kind in Kind::ALL {
        assert_eq!(kind.name().parse(), Ok(*kind));
    }
    assert!("USCC".parse::<Kind>().is_err());
    let mut codes: Vec<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
    assert!(codes.iter().all(|code| {
        code.bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    }));
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), Reason::ALL.len());
    assert!(
        Reason::ALL
            .iter()
            .all(|reason| reason.severity() != Severity::Ok)
    );
}
