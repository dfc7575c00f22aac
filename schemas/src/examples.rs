//! What a record type's examples are to give, and whether they do.
//!
//! Examples are a standard's documentation, and a wrong one misleads another city. An `expected.json` beside them names every file and no other: of a
//! valid example the key, the subject and the warnings, of an invalid one every violation. More is as wrong as less. What is said of an example names
//! places, rules and reasons, never a value: somebody's record may have been taken for one.

use crate::engine::{Facts, RecordType, Scratch, Violation};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Which examples a directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Records as they should be.
    Valid,
    /// Records that break a rule.
    Invalid,
}

/// A violation or a warning, as `expected.json` writes it and as an example gives it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// JSON Pointer to the place.
    pub path: String,
    /// The rule's stable code.
    pub rule: String,
    /// The declared name of a cross-field rule, or the reason of an identifier. An expectation that does not say it is content with any.
    #[serde(default)]
    pub name: Option<String>,
}

impl Told {
    fn all(violations: &[Violation]) -> Vec<Told> {
        let told =
            |one: &Violation| Told { path: one.path.clone(), rule: one.rule.code().to_owned(), name: one.name.clone() };
        violations.iter().map(told).collect()
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", if self.path.is_empty() { "(record)" } else { &self.path }, self.rule)?;
        self.name.iter().try_for_each(|name| write!(f, " ({name})"))
    }
}

/// How an example differs from what is expected of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// `expected.json` says nothing of the file.
    #[error("expected.json does not name it; it gives: {}", list(.0))]
    NotNamed(Vec<Told>),
    /// `expected.json` names a file that is not there.
    #[error("expected.json names it, and there is no such file")]
    NoFile,
    /// A valid example breaks rules.
    #[error("expected: none; it breaks: {}", list(.0))]
    ValidIsRefused(Vec<Told>),
    /// An invalid example breaks none.
    #[error("expected: {}; it breaks: none", list(.0))]
    InvalidIsAccepted(Vec<Told>),
    /// An invalid example breaks other rules, more or fewer.
    #[error("expected: {}; it breaks: {}", list(.expected), list(.given))]
    BreaksOtherRules {
        /// What `expected.json` names.
        expected: Vec<Told>,
        /// What the example breaks.
        given: Vec<Told>,
    },
    /// A valid example gives other warnings, more or fewer.
    #[error("expected warnings: {}; it gives: {}", list(.expected), list(.given))]
    GivesOtherWarnings {
        /// What `expected.json` names.
        expected: Vec<Told>,
        /// What the example gives.
        given: Vec<Told>,
    },
    /// A valid example has another key.
    #[error("expected is another key than that of the fields x-key")]
    OtherKey,
    /// A valid example has another subject, or one too many or too few.
    #[error("expected: a subject of kind {}; it gives: {}", .expected.as_deref().unwrap_or("none"), .given.as_deref().unwrap_or("none"))]
    OtherSubject {
        /// The kind that `expected.json` names.
        expected: Option<String>,
        /// The kind of the example's; if it is the same, the value is another.
        given: Option<String>,
    },
}

impl Mismatch {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Mismatch::NotNamed(_) => "NOT_IN_EXPECTED",
            Mismatch::NoFile => "EXPECTED_WITHOUT_FILE",
            Mismatch::ValidIsRefused(_) => "VALID_IS_REFUSED",
            Mismatch::InvalidIsAccepted(_) => "INVALID_IS_ACCEPTED",
            Mismatch::BreaksOtherRules { .. } => "BREAKS_OTHER_RULES",
            Mismatch::GivesOtherWarnings { .. } => "GIVES_OTHER_WARNINGS",
            Mismatch::OtherKey => "OTHER_KEY",
            Mismatch::OtherSubject { .. } => "OTHER_SUBJECT",
        }
    }
}

fn list(told: &[Told]) -> String {
    if told.is_empty() {
        return "none".to_owned();
    }
    told.iter().map(Told::to_string).collect::<Vec<_>>().join(", ")
}

/// What `expected.json` says of each file.
#[derive(Debug)]
pub struct Expected {
    kind: Kind,
    valid: BTreeMap<String, Valid>,
    invalid: BTreeMap<String, Vec<Told>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Valid {
    key: String,
    #[serde(default)]
    subject: Option<Subject>,
    #[serde(default)]
    warnings: Vec<Told>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject {
    kind: String,
    value: String,
}

impl Expected {
    /// Expects nothing: every file is one that is not named.
    #[must_use]
    pub fn nothing(kind: Kind) -> Expected {
        Expected { kind, valid: BTreeMap::new(), invalid: BTreeMap::new() }
    }

    /// Reads an `expected.json`: `{file: {"key", "subject"?: {"kind", "value"}, "warnings"?: [told…]}}` beside valid examples,
    /// `{file: [told…]}` beside invalid ones, each told as `{"path", "rule", "name"?}`.
    ///
    /// # Errors
    /// What is wrong with the document, a file named twice among it.
    pub fn read(kind: Kind, document: &[u8]) -> Result<Expected, serde_json::Error> {
        // Into a map alone, the latter of two files of one name would win.
        crate::engine::each_member_once(document)?;
        let mut expected = Expected::nothing(kind);
        match kind {
            Kind::Valid => expected.valid = serde_json::from_slice(document)?,
            Kind::Invalid => expected.invalid = serde_json::from_slice(document)?,
        }
        Ok(expected)
    }

    /// Holds the files of a directory, but for `expected.json` itself, to it: every mismatch, with the name of its file.
    pub fn judge(
        &self,
        record_type: &RecordType,
        files: impl IntoIterator<Item = (String, Vec<u8>)>,
    ) -> Vec<(String, Mismatch)> {
        let mut missing: BTreeSet<&String> = self.valid.keys().chain(self.invalid.keys()).collect();
        let mut scratch = Scratch::new();
        let mut mismatches = Vec::new();
        for (file, payload) in files {
            missing.remove(&file);
            let found = self.one(&file, record_type, &payload, &mut scratch);
            mismatches.extend(found.into_iter().map(|mismatch| (file.clone(), mismatch)));
        }
        mismatches.extend(missing.into_iter().map(|file| (file.clone(), Mismatch::NoFile)));
        mismatches
    }

    fn one(&self, file: &str, record_type: &RecordType, payload: &[u8], scratch: &mut Scratch) -> Vec<Mismatch> {
        let given = record_type.validate(payload, scratch).map_err(|violations| Told::all(&violations));
        match (self.kind, self.valid.get(file), self.invalid.get(file), given) {
            (Kind::Valid, _, _, Err(given)) => vec![Mismatch::ValidIsRefused(given)],
            (Kind::Valid, Some(expected), _, Ok(facts)) => expected.mismatches(&facts),
            (Kind::Invalid, _, expected, Ok(_)) => {
                vec![Mismatch::InvalidIsAccepted(expected.cloned().unwrap_or_default())]
            }
            (Kind::Invalid, _, Some(expected), Err(given)) if same(expected, &given) => Vec::new(),
            (Kind::Invalid, _, Some(expected), Err(given)) => {
                vec![Mismatch::BreaksOtherRules { expected: expected.clone(), given }]
            }
            (Kind::Valid, None, _, Ok(facts)) => vec![Mismatch::NotNamed(Told::all(facts.warnings()))],
            (Kind::Invalid, _, None, Err(given)) => vec![Mismatch::NotNamed(given)],
        }
    }
}

impl Valid {
    fn mismatches(&self, facts: &Facts<'_>) -> Vec<Mismatch> {
        let mut mismatches = Vec::new();
        if facts.key != self.key {
            mismatches.push(Mismatch::OtherKey);
        }
        let expected = self.subject.as_ref().map(|subject| (&*subject.kind, &*subject.value));
        let given = facts.subject.as_ref().map(|subject| (subject.kind, &*subject.value));
        if expected != given {
            let kind = |subject: Option<(&str, &str)>| subject.map(|(kind, _)| kind.to_owned());
            mismatches.push(Mismatch::OtherSubject { expected: kind(expected), given: kind(given) });
        }
        let given = Told::all(facts.warnings());
        if !same(&self.warnings, &given) {
            mismatches.push(Mismatch::GivesOtherWarnings { expected: self.warnings.clone(), given });
        }
        mismatches
    }
}

/// Whether each that is expected is given, once, and no other.
fn same(expected: &[Told], given: &[Told]) -> bool {
    let mut left: Vec<&Told> = given.iter().collect();
    // Those that name a name first: the others are content with what these leave.
    let (exact, any): (Vec<_>, Vec<_>) = expected.iter().partition(|told| told.name.is_some());
    let mut all_given = true;
    for told in exact.into_iter().chain(any) {
        let fits = |one: &&Told| {
            (&one.path, &one.rule) == (&told.path, &told.rule) && (told.name.is_none() || one.name == told.name)
        };
        match left.iter().position(fits) {
            Some(place) => {
                left.swap_remove(place);
            }
            None => all_given = false,
        }
    }
    all_given && left.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    const RIGHT: &str = r#"{"unified_social_credit_code":"91330100MA00000740","name":"示例有限公司"}"#;
    const KEY: &str = r#""key":"91330100MA00000740""#;
    const SUBJECT: &str = r#""subject":{"kind":"uscc","value":"91330100MA00000740"}"#;
    /// Two violations at different places, one of them with a reason.
    const WRONG: &str = r#"{"unified_social_credit_code":"91330100MA00000741","name":""}"#;

    #[track_caller]
    fn check(kind: Kind, expected: &str, payload: &str, told: &[&str]) {
        let enterprise = Registry::builtin().get("enterprise/v1").unwrap();
        let expected = Expected::read(kind, expected.as_bytes()).unwrap();
        let found = expected.judge(enterprise, [("a.json".to_owned(), payload.as_bytes().to_vec())]);
        let found: Vec<_> =
            found.iter().map(|(file, mismatch)| format!("{file} {} {mismatch}", mismatch.code())).collect();
        assert_eq!(found, told);
    }

    #[test]
    fn an_invalid_example_breaks_what_is_named_and_nothing_else() {
        let (code, name) = (
            r#"{"path":"/unified_social_credit_code","rule":"IDENTIFIER","name":"CHECK_CHARACTER_MISMATCH"}"#,
            r#"{"path":"/name","rule":"TOO_SHORT"}"#,
        );
        check(Kind::Invalid, &format!(r#"{{"a.json":[{code},{name}]}}"#), WRONG, &[]);
        check(Kind::Invalid, &format!(r#"{{"a.json":[{name},{code}]}}"#), WRONG, &[]);
        let given = "it breaks: /unified_social_credit_code IDENTIFIER (CHECK_CHARACTER_MISMATCH), /name TOO_SHORT";
        let named = "/unified_social_credit_code IDENTIFIER (CHECK_CHARACTER_MISMATCH)";
        let other = |expected: &str| format!("a.json BREAKS_OTHER_RULES expected: {expected}; {given}");
        check(Kind::Invalid, &format!(r#"{{"a.json":[{code}]}}"#), WRONG, &[&other(named)]);
        check(
            Kind::Invalid,
            &format!(r#"{{"a.json":[{code},{name},{name}]}}"#),
            WRONG,
            &[&other(&format!("{named}, /name TOO_SHORT, /name TOO_SHORT"))],
        );
        let reason = code.replace("CHECK_CHARACTER_MISMATCH", "WRONG_LENGTH");
        check(
            Kind::Invalid,
            &format!(r#"{{"a.json":[{reason},{name}]}}"#),
            WRONG,
            &[&other("/unified_social_credit_code IDENTIFIER (WRONG_LENGTH), /name TOO_SHORT")],
        );
        let accepted = "a.json INVALID_IS_ACCEPTED expected: /name TOO_SHORT; it breaks: none";
        check(Kind::Invalid, &format!(r#"{{"a.json":[{name}]}}"#), RIGHT, &[accepted]);
    }

    #[test]
    fn a_valid_example_gives_the_key_subject_and_warnings_that_are_named() {
        check(Kind::Valid, &format!(r#"{{"a.json":{{{KEY},{SUBJECT}}}}}"#), RIGHT, &[]);
        check(
            Kind::Valid,
            r#"{"a.json":{"key":"9","subject":null}}"#,
            RIGHT,
            &[
                "a.json OTHER_KEY expected is another key than that of the fields x-key",
                "a.json OTHER_SUBJECT expected: a subject of kind none; it gives: uscc",
            ],
        );
        let refused = "a.json VALID_IS_REFUSED expected: none; it breaks: \
                       /unified_social_credit_code IDENTIFIER (CHECK_CHARACTER_MISMATCH), /name TOO_SHORT";
        check(Kind::Valid, &format!(r#"{{"a.json":{{{KEY}}}}}"#), WRONG, &[refused]);
        let warned = RIGHT.replace("91330100MA00000740", "B7320621MA1MRHG20G");
        let [key, subject] = [KEY, SUBJECT].map(|text| text.replace("91330100MA00000740", "B7320621MA1MRHG20G"));
        let warning = r#""warnings":[{"path":"/unified_social_credit_code","rule":"IDENTIFIER_WARNING","name":"UNKNOWN_AUTHORITY"}]"#;
        check(Kind::Valid, &format!(r#"{{"a.json":{{{key},{subject},{warning}}}}}"#), &warned, &[]);
        let silent = "a.json GIVES_OTHER_WARNINGS expected warnings: none; it gives: \
                      /unified_social_credit_code IDENTIFIER_WARNING (UNKNOWN_AUTHORITY)";
        check(Kind::Valid, &format!(r#"{{"a.json":{{{key},{subject}}}}}"#), &warned, &[silent]);
    }

    #[test]
    fn every_file_is_named_and_every_name_is_a_file() {
        check(
            Kind::Invalid,
            "{}",
            WRONG,
            &["a.json NOT_IN_EXPECTED expected.json does not name it; it gives: \
             /unified_social_credit_code IDENTIFIER (CHECK_CHARACTER_MISMATCH), /name TOO_SHORT"],
        );
        check(
            Kind::Valid,
            &format!(r#"{{"a.json":{{{KEY},{SUBJECT}}},"b.json":{{{KEY}}}}}"#),
            RIGHT,
            &["b.json EXPECTED_WITHOUT_FILE expected.json names it, and there is no such file"],
        );
        for document in [r#"{"a.json":[],"a.json":[]}"#, r#"{"a.json":[{"path":"","rule":"X","colour":"red"}]}"#, "["] {
            assert!(Expected::read(Kind::Invalid, document.as_bytes()).is_err(), "{document}");
        }
    }
}
