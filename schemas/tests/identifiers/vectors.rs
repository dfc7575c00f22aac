//! Each vector of the standards and of public sources, with the verdict that it must have.

use shuqiao_schemas::identifier::{Exact, Kind, Reason, Severity, check, check_exact};

fn exact(kind: Kind, text: &str) -> Exact {
    check_exact(kind, text.as_bytes())
}

/// Every text has this verdict as exact bytes, and the same after normalising.
fn all(kind: Kind, expected: Exact, texts: &str) {
    for text in texts.split_whitespace() {
        assert_eq!(exact(kind, text), expected, "{kind} {text}");
        let verdict = check(kind, text);
        assert_eq!(verdict.reason, expected.unwrap_or_else(Some), "{kind} {text}");
        assert_eq!(verdict.is_accepted(), expected.is_ok(), "{kind} {text}");
    }
}

#[test]
fn credit_codes_of_public_companies_are_right() {
    all(Kind::Uscc, Ok(None), "
        91100000100003962T 911100001000044477 911000001000013428 911100001000054748 9144030010001686XA 91440300100012316L
        914403001922038216 9144030071526726XG 91330100799655058B 91330100716105852F 9152000071430580XT 91440300192317458F
        91440400192548256N 91440606722473344C 91110000802100433B 91110108551385082Q 91110108700000458B 91110000710926094P
        91110000710925462X 91310000132260250X 9144030027939873X7");
}

#[test]
fn credit_codes_of_other_bodies_are_right() {
    all(Kind::Uscc, Ok(None), "
        91340000711771143J 91310000741627329A 91310115342050446K 91350100M000100Y43 91110000600037341L 91320621MA1MRHG205
        91310230MA1K314J7C 91310230MA1K314K57 92141127MA0KD1Y64A 91110108MA00478Q15 12440600MB2C07549J 11100000000013338W
        11100000MB03271699 11100000MB0341032Y 113700000045030270 11370800MB28559184 11330105002500287C 11430000006122244L");
}

#[test]
fn every_outer_and_inner_check_character_can_be_zero_x_or_y() {
    all(Kind::Uscc, Ok(None), "
        91330100MA00000740 91330100MA0000496Y 91330100MA000004XA 91330100MA0000090M N2330106MF0000128D Y1330100MF0000128H
        A1110000MF0000128B 31330000MF00001288 81330000MF00001283");
}

#[test]
fn wrong_credit_codes_have_their_reasons() {
    all(
        Kind::Uscc,
        Err(Reason::CheckCharacterMismatch),
        "
        91320621MA1MRHG207 111111111111111111 911000001000039621",
    );
    all(Kind::Uscc, Err(Reason::WrongLength), "9134000071177114J 91340000711771143J0 9");
    all(
        Kind::Uscc,
        Err(Reason::WrongCharacter),
        "91340000O11771143J 9134O000711771143J 91340000711771143I 9134000071177114_J",
    );
    all(Kind::Uscc, Err(Reason::InnerCheckMismatch), "A1320621MA1MRHG217");
    // No such department: the checks are right, and the table grows.
    all(Kind::Uscc, Ok(Some(Reason::UnknownAuthority)), "B7320621MA1MRHG20G L8320621MA1MRHG204");
    assert_eq!(exact(Kind::Uscc, ""), Err(Reason::Empty));
}

#[test]
fn early_fujian_codes_are_suspect_and_no_more() {
    all(
        Kind::Uscc,
        Err(Reason::LegacySuspect),
        "
        91350100M0001TGQXM 91350211M0000XUF46 91350203M0001FUE2P 91350203M0001QKT19",
    );
    // The same misprint elsewhere is a misprint: another province, or another body.
    all(Kind::Uscc, Err(Reason::CheckCharacterMismatch), "91340100M0001TGQXM 91350100MA1MRHG207");
    // And an early code whose inner check is wrong as well is nothing.
    all(Kind::Uscc, Err(Reason::CheckCharacterMismatch), "91350100M0001TGQ1M");
}

#[test]
fn a_resident_id_that_passes_as_a_credit_code_is_named() {
    assert_eq!(exact(Kind::Uscc, "362322198709086409"), Err(Reason::ResidentIdNotUscc));
    assert_eq!(exact(Kind::ResidentId, "362322198709086409"), Ok(None));
}

#[test]
fn the_inner_check_uses_the_table_of_36() {
    // With the 31 values of GB 32100 these would end in 1, 1, 8 and 0.
    all(Kind::OrganisationCode, Ok(None), "MA1MRHG20 MB2C07549 M0001TGQX MA1K314J7");
    all(Kind::OrganisationCode, Err(Reason::CheckCharacterMismatch), "MA1MRHG21 MB2C07541 M0001TGQ8 MA1K314J0");
}

#[test]
fn organisation_codes() {
    all(Kind::OrganisationCode, Ok(None), "D2143569X 741627329 342050446 13830295X");
    all(Kind::OrganisationCode, Err(Reason::CheckCharacterMismatch), "D21435690 741627328");
    all(Kind::OrganisationCode, Err(Reason::WrongCharacter), "D2143569Y 74162732A 7416_7329");
    all(Kind::OrganisationCode, Err(Reason::WrongLength), "74162732 7416273299");
    assert_eq!(exact(Kind::OrganisationCode, "74162732-9"), Err(Reason::NotNormalForm));
    assert_eq!(check(Kind::OrganisationCode, "74162732-9").severity, Severity::Ok);
    // I, O, S, V and Z have values here, unlike in a credit code.
    assert_eq!(exact(Kind::OrganisationCode, "OISVZ0000"), Ok(None));
}

#[test]
fn the_self_defined_zone_says_nothing_between_systems() {
    let check_of = |body: &str| {
        (0..=9).map(|d| d.to_string()).chain(["X".to_owned()]).find_map(|check| {
            let reason = exact(Kind::OrganisationCode, &format!("{body}{check}"));
            (reason != Err(Reason::CheckCharacterMismatch)).then_some(reason)
        })
    };
    assert_eq!(check_of("PDY00001"), Some(Err(Reason::SelfDefinedZone)));
    assert_eq!(check_of("PDY99999"), Some(Err(Reason::SelfDefinedZone)));
    assert_eq!(check_of("PDY00000"), Some(Ok(None)));
    assert_eq!(check_of("PDX00001"), Some(Ok(None)));
}

#[test]
fn registration_numbers() {
    all(
        Kind::RegistrationNumber,
        Ok(None),
        "
        110108000000016 310230001716146 310230001716154 340000000016368 110108020854380 310141000157096 310000400311804
        440301103097413 100000000000014",
    );
    all(
        Kind::RegistrationNumber,
        Err(Reason::CheckCharacterMismatch),
        "110108000000017 191108000000014 123456123456781",
    );
    all(Kind::RegistrationNumber, Ok(Some(Reason::ThirteenDigits)), "3206811101637 3206911100272");
    // Thirteen digits from no region are a number that lost two.
    all(Kind::RegistrationNumber, Err(Reason::WrongLength), "9906811101637 11010800000001");
    all(Kind::RegistrationNumber, Err(Reason::WrongCharacter), "11010800000001X");
}

#[test]
fn tax_numbers() {
    // Region and organisation code; the region need not be the credit code's.
    all(Kind::TaxNumber, Ok(None), "310115342050446 310230342050446 91310115342050446K");
    // A household's is its owner's resident id, alone or with a sequence.
    all(Kind::TaxNumber, Ok(None), "330106199003070014 33010619900307001401");
    all(
        Kind::TaxNumber,
        Err(Reason::CheckCharacterMismatch),
        "310115342050447 330106199003070015 33010619900307001501",
    );
    all(Kind::TaxNumber, Err(Reason::ImpossibleDate), "330106199002290015");
    all(Kind::TaxNumber, Err(Reason::WrongCharacter), "3301061990030700140X 31011A342050446");
    all(Kind::TaxNumber, Err(Reason::WrongLength), "3101153420504461");
    all(Kind::TaxNumber, Ok(Some(Reason::UnknownRegion)), "999999342050446");
}

#[test]
fn resident_ids() {
    all(Kind::ResidentId, Ok(None), "11010519491231002X 330106199003070014 330106199003070022");
    all(Kind::ResidentId, Err(Reason::CheckCharacterMismatch), "110105194912310021");
    // The check character is right; the day does not exist.
    all(Kind::ResidentId, Err(Reason::ImpossibleDate), "330106199002290015");
    all(Kind::ResidentId, Err(Reason::WrongCharacter), "11010519491231002Y 1101O519491231002X");
    all(Kind::ResidentId, Err(Reason::WrongLength), "1101051949123100 11010519491231002XX");
    assert_eq!(exact(Kind::ResidentId, "11010519491231002x"), Err(Reason::NotNormalForm));
    assert_eq!(check(Kind::ResidentId, "11010519491231002x").normal, "11010519491231002X");
}

#[test]
fn permits_of_hong_kong_macao_and_taiwan_follow_the_same_rule() {
    for region in ["810000", "820000", "830000"] {
        let id = shuqiao_schemas::identifier::ResidentId::from_body(&format!("{region}19900307001")).unwrap();
        assert_eq!(exact(Kind::ResidentId, id.as_str()), Ok(None), "{region}");
    }
}

#[test]
fn an_unknown_region_is_a_reserve_and_an_abolished_one_is_not() {
    let id =
        |region: &str| shuqiao_schemas::identifier::ResidentId::from_body(&format!("{region}19600307001")).unwrap();
    assert_eq!(exact(Kind::ResidentId, id("990101").as_str()), Ok(Some(Reason::UnknownRegion)));
    // 崇文区 was abolished in 2010; the people born there keep its code.
    assert_eq!(exact(Kind::ResidentId, id("110103").as_str()), Ok(None));
}

#[test]
fn fifteen_digits_are_upgraded_by_normalising_only() {
    let verdict = check(Kind::ResidentId, "110105491231002");
    assert_eq!((verdict.normal.as_ref(), verdict.reason), ("11010519491231002X", Some(Reason::UpgradedFromFifteen)));
    assert_eq!(verdict.changes.to_string(), "upgraded_15_to_18");
    assert_eq!(exact(Kind::ResidentId, "110105491231002"), Err(Reason::NotNormalForm));
    assert_eq!(check(Kind::ResidentId, "110105490229002").reason, Some(Reason::WrongLength));
    // 996 to 999 were for people born in the century before.
    assert_eq!(check(Kind::ResidentId, "110105890307996").reason, Some(Reason::CenturyUncertain));
}

#[test]
fn foreigners_numbers() {
    let new = {
        let body = "91184019850307001";
        let weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
        let sum: usize = body.bytes().zip(weights).map(|(b, w)| usize::from(b - b'0') * w).sum();
        format!("{body}{}", char::from(b"10X98765432"[sum % 11]))
    };
    assert_eq!(exact(Kind::ForeignerId, &new), Ok(None));
    assert_eq!(exact(Kind::ForeignerId, &new.replacen("1985", "1986", 1)), Err(Reason::CheckCharacterMismatch));
    all(Kind::ForeignerId, Ok(Some(Reason::CheckNotVerified)), "USA310085030712");
    all(Kind::ForeignerId, Ok(Some(Reason::UnknownRegion)), "USA990085030712");
    all(Kind::ForeignerId, Err(Reason::ImpossibleDate), "USA310085023012");
    all(Kind::ForeignerId, Err(Reason::WrongCharacter), "US1310085030712 330106199003070014");
    all(Kind::ForeignerId, Err(Reason::WrongLength), "E12345678");
}

#[test]
fn certificate_identifiers_by_the_standard() {
    all(
        Kind::CertificateId,
        Ok(None),
        "
        1.2.156.3005.2.11100000000013338W011.11430000006122244L.20230000403.001.U
        1.2.156.3005.2.11100000000013338W009.11330105002500287C.2025052201.002.0
        1.2.156.3005.2.11100000MB0341032Y002.11330105002500287C.20240001.001.L
        1.2.156.3005.2.11100000MB0341032Y002.11330105002500287C.20240001.002.J",
    );
}

#[test]
fn certificate_identifiers_that_deviate_are_accepted_with_a_reserve() {
    all(
        Kind::CertificateId,
        Ok(Some(Reason::IssuerIsRegion)),
        "
        1.2.156.3005.2.11100000MB03271699022.340100.000000016.001.9",
    );
    // The dialect in which A counts 11: computed by hand for the standard's synthetic body, whose own check is L.
    all(Kind::CertificateId, Ok(Some(Reason::DialectA11)), &format!("{CERTIFICATE}.{}", dialect_check()));
}

const CERTIFICATE: &str = "1.2.156.3005.2.11100000MB0341032Y002.11330105002500287C.20240001.001";

fn dialect_check() -> char {
    let body = CERTIFICATE.strip_prefix("1.2.156.3005.2.").unwrap().replace('.', "");
    let p = body.chars().fold(36, |p, c| {
        let value = c.to_digit(36).unwrap() + u32::from(c.is_ascii_alphabetic());
        let p = (p + value) % 36;
        (if p == 0 { 36 } else { p }) * 2 % 37
    });
    char::from_digit((37 - p) % 36, 36).unwrap().to_ascii_uppercase()
}

#[test]
fn wrong_certificate_identifiers_have_their_reasons() {
    let bad = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ".chars().filter(|c| *c != 'L' && *c != dialect_check());
    for check in bad {
        all(Kind::CertificateId, Err(Reason::CheckCharacterMismatch), &format!("{CERTIFICATE}.{check}"));
    }
    all(Kind::CertificateId, Err(Reason::WrongRoot), "1.2.156.3005.3.X 2.11100000MB0341032Y002 91340000711771143J");
    all(
        Kind::CertificateId,
        Err(Reason::WrongStructure),
        "
        1.2.156.3005.2.11100000MB0341032Y002
        1.2.156.3005.2.11100000MB0341032Y002.11330105002500287C.20240001.000.L
        1.2.156.3005.2.11100000MB0341032Y002.11330105002500287C.20240001.1.L
        1.2.156.3005.2.11100000MB0341032Y002.11330105002500287C..001.L
        1.2.156.3005.2.11100000MB0341032Y002.11330105002500287C.20240001.001.L.L
        1.2.156.3005.2.11100000MB0341032Y02.11330105002500287C.20240001.001.L",
    );
    all(
        Kind::CertificateId,
        Err(Reason::EmbeddedCodeInvalid),
        "
        1.2.156.3005.2.11100000MB0341032X002.11330105002500287C.20240001.001.L
        1.2.156.3005.2.11100000MB0341032Y002.990100.20240001.001.L",
    );
    all(Kind::CertificateId, Err(Reason::WrongLength), &format!("1.2.156.3005.2.{}", "1".repeat(200)));
}

#[test]
fn a_certificate_file_name_is_its_identifier() {
    let name = "1.2.156.3005.2.11100000MB0341032Y002.11330105002500287C.20240001.001.L.ofd";
    let verdict = check(Kind::CertificateId, name);
    assert_eq!(verdict.severity, Severity::Ok);
    assert_eq!(verdict.normal, format!("{CERTIFICATE}.L"));
    assert_eq!(verdict.changes.to_string(), "upper_cased+file_suffix_removed");
}

#[test]
fn item_codes() {
    all(Kind::BasicItemCode, Ok(None), "370117002011 000118004000");
    all(Kind::BasicItemCode, Ok(Some(Reason::UnknownRegion)), "990117002011");
    all(Kind::BasicItemCode, Err(Reason::WrongLength), "3701170020 37011700201100");
    all(Kind::BasicItemCode, Err(Reason::WrongCharacter), "37011700201A");
    all(Kind::ImplementationCode, Ok(None), "11370800MB285591843370117002011");
    all(Kind::ImplementationCode, Err(Reason::EmbeddedCodeInvalid), "11370800MB285591853370117002011");
    all(
        Kind::ImplementationCode,
        Err(Reason::UnknownCode),
        "11370800MB285591848370117002011 11370800MB285591840370117002011",
    );
    all(Kind::ImplementationCode, Err(Reason::WrongLength), "11370800MB28559184337011700201");
    all(Kind::HandlingItemCode, Ok(None), "11370800MB28559184337011700201101");
    all(Kind::HandlingItemCode, Err(Reason::WrongCharacter), "11370800MB285591843370117002011A1");
    all(Kind::HandlingItemCode, Err(Reason::WrongLength), "11370800MB285591843370117002011");
}

#[test]
fn resource_codes() {
    all(Kind::ResourceCode, Ok(None), "307001/000001 3070010012/1 101002AB/7");
    all(Kind::ResourceCode, Ok(Some(Reason::UnknownClass)), "907001/1");
    all(Kind::ResourceCode, Err(Reason::WrongStructure), "307001 307001000001");
    all(Kind::ResourceCode, Err(Reason::WrongLength), "30700/1 307001/ /1");
    all(Kind::ResourceCode, Err(Reason::WrongCharacter), "30700A/1 307001/1/2 307001/_");
}

#[test]
fn regions_are_dated() {
    all(Kind::Region, Ok(None), "320600 320612 320614 320000 320612100 320612100001 710000 330106");
    all(Kind::Region, Ok(Some(Reason::RevokedRegion)), "320611 320624 320683 320684 110103 320621");
    all(Kind::Region, Ok(Some(Reason::UnknownRegion)), "990000 320699");
    all(Kind::Region, Err(Reason::WrongLength), "32 3206 32060 3206121000");
    all(Kind::Region, Err(Reason::WrongCharacter), "32060A");
}

#[test]
fn industries() {
    all(Kind::Industry, Ok(None), "A T I65 I6510 65 651 6510 01 97 C13 C4390 S91");
    all(Kind::Industry, Err(Reason::SectionMismatch), "A65 I66 T96 C46");
    all(Kind::Industry, Ok(Some(Reason::UnknownIndustry)), "00 98 A99");
    all(Kind::Industry, Err(Reason::WrongCharacter), "U01 i65x 6A");
    all(Kind::Industry, Err(Reason::WrongLength), "6 65101 I6");
}

#[test]
fn currencies() {
    all(Kind::Currency, Ok(None), "CNY 156 USD 840 HKD 344 EUR 978 JPY 392");
    all(Kind::Currency, Ok(Some(Reason::UnknownCurrency)), "XYZ 999");
    all(Kind::Currency, Err(Reason::WrongLength), "CN 0156");
    all(Kind::Currency, Err(Reason::WrongCharacter), "C1Y");
    assert_eq!(exact(Kind::Currency, "cny"), Err(Reason::NotNormalForm));
    let verdict = check(Kind::Currency, "RMB");
    assert_eq!((verdict.reason, verdict.suggestion.as_deref()), (Some(Reason::UnknownCode), Some("CNY")));
}

#[test]
fn normalising_tells_what_it_changed() {
    let normal = |input| {
        let verdict = check(Kind::Uscc, input);
        assert_eq!((verdict.severity, verdict.normal.as_ref()), (Severity::Ok, "91340000711771143J"), "{input}");
        verdict.changes.to_string()
    };
    assert_eq!(normal("91340000711771143J"), "");
    assert_eq!(normal("９１３４００００７１１７７１１４３Ｊ"), "full_width");
    assert_eq!(normal(" 91340000711771143J\t"), "trimmed");
    assert_eq!(normal("9134 0000 7117 7114 3J"), "spaces_removed");
    assert_eq!(normal("91340000-711771143-J"), "hyphens_removed");
    assert_eq!(normal("91340000–711771143—J"), "hyphens_removed");
    assert_eq!(normal("91340000711771143j"), "upper_cased");
    assert_eq!(normal("'91340000711771143J"), "apostrophe_removed");
    assert_eq!(normal("\u{FEFF}91340000711771143J\u{200B}"), "invisible_removed");
    assert_eq!(
        normal("\u{3000}'９１３４-００００ ７１１７７１１４３ｊ\u{A0}"),
        "full_width+trimmed+spaces_removed+hyphens_removed+upper_cased+apostrophe_removed"
    );
}

#[test]
fn a_letter_is_never_read_as_a_digit_only_suggested() {
    let verdict = check(Kind::Uscc, "9134OOOO711771143J");
    assert_eq!((verdict.severity, verdict.normal.as_ref()), (Severity::Error, "9134OOOO711771143J"));
    assert_eq!(verdict.suggestion.as_deref(), Some("91340000711771143J"));
    // Where the repaired value would be wrong too, there is nothing to suggest.
    assert_eq!(check(Kind::Uscc, "9134OOOO711771143K").suggestion, None);
    assert_eq!(check(Kind::Uscc, "91340000711771143K").suggestion, None);
}

#[test]
fn what_a_spreadsheet_destroyed_is_named() {
    for input in ["9.1E+17", "9.13206E+17", "3.20681E+14", "9e+17", " 9.1E17", "'9.1E+17"] {
        let verdict = check(Kind::Uscc, input);
        assert_eq!(verdict.reason, Some(Reason::ExcelScientificNotation), "{input}");
        assert_eq!(verdict.suggestion, None, "{input}");
    }
    for input in ["9E17", "91.1E+17", "9.1F+17", "E+17", "9.E+17", "9.1E+"] {
        assert_ne!(check(Kind::Uscc, input).reason, Some(Reason::ExcelScientificNotation), "{input}");
    }
}

#[test]
fn a_right_value_in_wrong_writing_is_said_to_be_so() {
    for text in ["91340000711771143j", "91340000-711771143-J", " 91340000711771143J", "'91340000711771143J"] {
        assert_eq!(exact(Kind::Uscc, text), Err(Reason::NotNormalForm), "{text}");
    }
    assert_eq!(exact(Kind::Uscc, "91340000-711771143-K"), Err(Reason::WrongCharacter));
}

#[test]
fn nothing_fits_an_unknown_kind() {
    assert_eq!(exact(Kind::Unknown, "91340000711771143J"), Err(Reason::NoKindFits));
}
