//! The rows of a real register, where they lie beside the project. They are not ours to copy in, so without them the test is
//! left out.

use std::collections::BTreeMap;

use shuqiao_schemas::identifier::inspect::{self, Format, Options};
use shuqiao_schemas::identifier::{Kind, detect};

fn rows() -> Option<Vec<u8>> {
    Some(std::fs::read(shuqiao_test_needs::real_registry()?).expect("the registry's file"))
}

#[test]
fn the_rows_of_nantong_are_what_they_are_known_to_be() {
    let Some(file) = rows() else { return };
    let options = Options { column: Some("统一社会信用代码".to_owned()), format: Format::Csv };
    let mut out = Vec::new();
    let summary = inspect::run(file.as_slice(), &mut out, &options).unwrap();
    assert_eq!((summary.rows, summary.error), (5_072, 0));
    assert_eq!(summary.of_kind(Kind::Uscc), 4_873);
    assert_eq!(summary.of_kind(Kind::RegistrationNumber), 196 + 2);
    assert_eq!(summary.of_kind(Kind::OrganisationCode), 1);

    let mut reasons = BTreeMap::<_, u32>::new();
    for row in csv::Reader::from_reader(out.as_slice()).records().map(Result::unwrap) {
        *reasons.entry((row[1].to_owned(), row[4].to_owned())).or_default() += 1;
    }
    let count =
        |kind: &str, reason: &str| reasons.get(&(kind.to_owned(), reason.to_owned())).copied().unwrap_or_default();
    assert_eq!(count("uscc", ""), 4_873, "{reasons:?}");
    assert_eq!(count("registration_number", "THIRTEEN_DIGITS"), 2);
    // About one registration number in ten also passes for a tax number, and the warning says so.
    assert_eq!(count("registration_number", "") + count("registration_number", "AMBIGUOUS_KIND"), 196);
    assert_eq!(count("organisation_code", ""), 1);
}

#[test]
fn no_code_of_nantong_survives_a_misprint_unseen() {
    let Some(file) = rows() else { return };
    let mut reader = csv::Reader::from_reader(file.as_slice());
    let codes = reader.records().map(Result::unwrap).map(|row| row[1].to_owned()).filter(|code| code.len() == 18);
    for (i, code) in codes.enumerate() {
        let mut wrong = code.clone().into_bytes();
        let place = 8 + i % 10;
        wrong[place] = if wrong[place] == b'7' { b'1' } else { b'7' };
        let wrong = String::from_utf8(wrong).unwrap();
        assert!(!detect(&wrong).is_accepted(), "row {i}");
    }
}
