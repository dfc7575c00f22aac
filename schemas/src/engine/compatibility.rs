//! What changed between two versions of a record type, and who can still read whom.
//!
//! *Backward*: whoever knows the new version accepts every record of the old one. *Forward*: whoever knows only the old version
//! accepts every record of the new one. Objects are closed, so even one more optional field is only backward compatible: the old
//! version would refuse it. Where a change cannot be decided (one pattern against another) it counts as breaking.

use super::comparison::Comparison;
use super::record_type::RecordType;

/// Who can still read whom after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Both directions: no record's validity changes.
    Full,
    /// Only the new version reads the old one's records.
    Backward,
    /// Only the old version reads the new one's records.
    Forward,
    /// Neither.
    Breaking,
}

impl Class {
    /// The stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Full => "full",
            Class::Backward => "backward",
            Class::Forward => "forward",
            Class::Breaking => "breaking",
        }
    }

    /// The class of two changes together.
    #[must_use]
    pub fn and(self, other: Class) -> Class {
        Class::of(
            self.keeps(Mode::Backward) && other.keeps(Mode::Backward),
            self.keeps(Mode::Forward) && other.keeps(Mode::Forward),
        )
    }

    /// Whether a change of this class is allowed in this mode.
    pub fn keeps(self, mode: Mode) -> bool {
        match mode {
            Mode::Backward => matches!(self, Class::Full | Class::Backward),
            Mode::Forward => matches!(self, Class::Full | Class::Forward),
            Mode::Full => self == Class::Full,
        }
    }

    pub(super) fn of(backward: bool, forward: bool) -> Class {
        match (backward, forward) {
            (true, true) => Class::Full,
            (true, false) => Class::Backward,
            (false, true) => Class::Forward,
            (false, false) => Class::Breaking,
        }
    }
}

/// Which promise a new version must keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// New readers, old records.
    Backward,
    /// Old readers, new records.
    Forward,
    /// Both.
    Full,
}

/// One thing that differs between two versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What kind of change, in kebab-case: `field-added`, `required-removed`, …
    pub name: &'static str,
    /// Who can still read whom.
    pub class: Class,
    /// Pointers of the fields it touches: grants over these are hit.
    pub fields: Vec<String>,
}

impl Difference {
    /// Whether it touches what a pointer of a grant shows, masks or filters by: this very field, one inside of it, or one around it. What is no
    /// field's alone (another name of the record type) touches every pointer.
    pub fn touches(&self, pointer: &str) -> bool {
        self.fields.is_empty()
            || self.fields.iter().any(|field| is_at_or_below(field, pointer) || is_at_or_below(pointer, field))
    }
}

/// Whether `pointer` is `above` or somewhere inside of it.
fn is_at_or_below(pointer: &str, above: &str) -> bool {
    pointer.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A difference that hits a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit<'a> {
    /// What changes.
    pub difference: &'a Difference,
    /// Those of the grant's pointers that it touches, in their order.
    pub pointers: Vec<&'a str>,
}

/// Which differences hit a grant over these pointers (`/name`, `/holder`, `/steps/*/name`, or the empty one for the whole record), and where.
pub fn hits<'a>(differences: &'a [Difference], pointers: &[&'a str]) -> Vec<Hit<'a>> {
    let hit = |difference: &'a Difference| Hit {
        difference,
        pointers: pointers.iter().copied().filter(|pointer| difference.touches(pointer)).collect(),
    };
    differences.iter().map(hit).filter(|hit| !hit.pointers.is_empty()).collect()
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}): {}", self.name, self.class.as_str(), self.fields.join(", "))
    }
}

/// Every difference from `old` to `new`, in the order of the schemas.
pub fn compare(old: &RecordType, new: &RecordType) -> Vec<Difference> {
    Comparison::of(old, new)
}

/// The class of all differences together.
pub fn class(differences: &[Difference]) -> Class {
    differences.iter().fold(Class::Full, |class, difference| class.and(difference.class))
}

/// A difference that breaks the promise, and the version that it was found against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// Name of the earlier version.
    pub against: String,
    /// What breaks the promise.
    pub difference: Difference,
}

/// Holds `new` to `mode` against the versions before it, oldest first: against all of them if `transitive`, else against the last.
/// Empty if the promise is kept.
pub fn check(history: &[&RecordType], new: &RecordType, mode: Mode, transitive: bool) -> Vec<Breach> {
    let first = if transitive { 0 } else { history.len().saturating_sub(1) };
    let versions = history.get(first..).unwrap_or_default();
    let against = |old: &&RecordType| {
        let against = old.name().to_owned();
        compare(old, new)
            .into_iter()
            .filter(|difference| !difference.class.keeps(mode))
            .map(move |difference| Breach { against: against.clone(), difference })
            .collect::<Vec<_>>()
    };
    versions.iter().flat_map(against).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{CodeTables, RecordType};

    fn version(number: u32, member: &str, rest: &str) -> RecordType {
        let schema = format!(
            r#"{{"$id":"urn:shuqiao:record-type:t:v{number}","type":"object","additionalProperties":false,"x-key":["/id"],
            "properties":{{"id":{{"type":"string","maxLength":9}},"b":{{"type":"string","format":"date"}}{member}}}{rest}}}"#
        );
        RecordType::compile(schema.as_bytes(), &CodeTables::new()).unwrap()
    }

    const ID: &str = r#","required":["id"]"#;

    fn told(old: &RecordType, new: &RecordType) -> Vec<String> {
        compare(old, new)
            .iter()
            .map(|difference| {
                format!("{} {} {}", difference.name, difference.class.as_str(), difference.fields.join(","))
            })
            .collect()
    }

    /// From member `f` of the first schema to that of the second, and back: the class must turn around.
    #[track_caller]
    fn check_member(old: &str, new: &str, expected: &str) {
        let (old, new) = (version(1, &format!(r#","f":{old}"#), ID), version(2, &format!(r#","f":{new}"#), ID));
        assert_eq!(told(&old, &new), [expected]);
        let turned = match class(&compare(&old, &new)) {
            Class::Backward => Class::Forward,
            Class::Forward => Class::Backward,
            same => same,
        };
        assert_eq!(class(&compare(&new, &old)), turned, "{expected}");
    }

    #[test]
    fn each_change_has_its_name_class_and_field() {
        for (old, new, expected) in [
            (
                r#"{"type":"string","maxLength":9}"#,
                r#"{"type":"string","maxLength":10}"#,
                "max-length-changed backward /f",
            ),
            (
                r#"{"type":"string","maxLength":9}"#,
                r#"{"type":"string","maxLength":9,"minLength":1}"#,
                "min-length-changed forward /f",
            ),
            (
                r#"{"type":"string","maxLength":9}"#,
                r#"{"type":"string","maxLength":9,"x-max-bytes-gb18030":9}"#,
                "max-bytes-changed forward /f",
            ),
            (
                r#"{"type":"string","maxLength":9}"#,
                r#"{"type":"string","maxLength":9,"pattern":"a"}"#,
                "pattern-changed forward /f",
            ),
            (
                r#"{"type":"string","maxLength":9,"pattern":"b"}"#,
                r#"{"type":"string","maxLength":9,"pattern":"a"}"#,
                "pattern-changed breaking /f",
            ),
            (
                r#"{"type":"string","enum":["a"]}"#,
                r#"{"type":"string","enum":["a","b"]}"#,
                "values-changed backward /f",
            ),
            (
                r#"{"type":"string","enum":["a","c"]}"#,
                r#"{"type":"string","enum":["a","b"]}"#,
                "values-changed breaking /f",
            ),
            (
                r#"{"type":"string","format":"date"}"#,
                r#"{"type":"string","format":"date-time"}"#,
                "form-changed breaking /f",
            ),
            (
                r#"{"type":"string","x-identifier":"uscc"}"#,
                r#"{"type":"string","x-identifier":"resident_id"}"#,
                "identifier-changed breaking /f",
            ),
            (
                r#"{"type":"string","maxLength":9}"#,
                r#"{"type":"string","maxLength":9,"x-lines":true}"#,
                "lines-changed backward /f",
            ),
            (r#"{"type":"integer"}"#, r#"{"type":["integer","null"]}"#, "null-allowed backward /f"),
            (r#"{"type":"integer"}"#, r#"{"type":"number"}"#, "type-widened backward /f"),
            (r#"{"type":"integer"}"#, r#"{"type":"boolean"}"#, "type-changed breaking /f"),
            (r#"{"type":"integer","minimum":1}"#, r#"{"type":"integer","minimum":0}"#, "minimum-changed backward /f"),
            (r#"{"type":"number","maximum":1}"#, r#"{"type":"number"}"#, "maximum-changed backward /f"),
            (r#"{"type":"boolean"}"#, r#"{"type":"boolean","const":true}"#, "values-changed forward /f"),
            (r#"{"type":"integer"}"#, r#"{"type":"integer","title":"F"}"#, "documentation-changed full /f"),
            (
                r#"{"type":"integer"}"#,
                r#"{"type":"integer","x-sensitivity":{"level":"core","personal":"none"}}"#,
                "sensitivity-changed full /f",
            ),
            (
                r#"{"type":"array","maxItems":2,"items":{"type":"integer"}}"#,
                r#"{"type":"array","maxItems":3,"items":{"type":"integer"}}"#,
                "max-items-changed backward /f",
            ),
            (
                r#"{"type":"array","maxItems":2,"items":{"type":"integer"}}"#,
                r#"{"type":"array","maxItems":2,"items":{"type":"integer","maximum":1}}"#,
                "maximum-changed forward /f/*",
            ),
            (
                r#"{"type":"string","x-decimal":{"integer-digits":1,"fraction-digits":2}}"#,
                r#"{"type":"string","x-decimal":{"integer-digits":2,"fraction-digits":1}}"#,
                "form-changed breaking /f",
            ),
        ] {
            check_member(old, new, expected);
        }
    }

    #[test]
    fn a_wider_type_with_narrower_bounds_is_no_wider() {
        let (old, new) = (
            version(1, r#","f":{"type":"integer","minimum":0,"maximum":9}"#, ID),
            version(2, r#","f":{"type":"number","minimum":1}"#, ID),
        );
        let expected = ["type-widened backward /f", "minimum-changed forward /f", "maximum-changed backward /f"];
        assert_eq!(told(&old, &new), expected);
        assert_eq!(class(&compare(&old, &new)), Class::Breaking);
        let turned = ["type-narrowed forward /f", "minimum-changed backward /f", "maximum-changed forward /f"];
        assert_eq!(told(&new, &old), turned);
    }

    #[test]
    fn members_come_and_go_with_all_that_is_in_them() {
        let bare = version(1, "", ID);
        let object = r#","f":{"type":"object","additionalProperties":false,"properties":{"a":{"type":"integer"}}}"#;
        let optional = version(2, object, ID);
        let required = version(2, object, r#","required":["id","f"]"#);
        assert_eq!(told(&bare, &optional), ["field-added backward /f,/f/a"]);
        assert_eq!(told(&optional, &bare), ["field-removed forward /f,/f/a"]);
        assert_eq!(told(&bare, &required), ["field-added breaking /f,/f/a"]);
        assert_eq!(told(&required, &bare), ["field-removed breaking /f,/f/a"]);
        assert_eq!(told(&optional, &required), ["required-added forward /f,/f/a"]);
        assert_eq!(told(&required, &optional), ["required-removed backward /f,/f/a"]);
    }

    #[test]
    fn declarations_are_part_of_the_meaning() {
        let plain = version(1, "", r#","required":["id","b"]"#);
        let indexed = version(2, "", r#","required":["id","b"],"x-indexed":["/b"]"#);
        let subject = version(2, "", r#","required":["id","b"],"x-subject":{"value":"/id","kind":"uscc"}"#);
        let rule = version(2, "", r#","required":["id","b"],"x-rules":[{"rule":"equal","left":"/id","right":"/b"}]"#);
        assert_eq!(told(&plain, &indexed), ["indexed-fields-changed full /b"]);
        assert_eq!(told(&plain, &subject), ["subject-changed breaking /id"]);
        assert_eq!(told(&plain, &rule), ["rule-added forward /id,/b"]);
        assert_eq!(told(&rule, &plain), ["rule-removed backward /id,/b"]);
        assert_eq!(told(&rule, &rule), Vec::<String>::new());
    }

    #[test]
    fn a_grant_is_hit_where_it_shows_what_changes() {
        let object = |inside: &str| {
            format!(
                r#","f":{{"type":"object","additionalProperties":false,"properties":{{"a":{{"type":"integer"}}{inside}}}}},"fa":{{"type":"integer"}}"#
            )
        };
        let old = version(1, &object(""), ID);
        let new = version(2, &object(r#","b":{"type":"integer"}"#), ID);
        let differences = compare(&old, &new);
        assert_eq!(told(&old, &new), ["field-added backward /f/b"]);
        let hit = |pointers: &[&str]| {
            let hits = hits(&differences, pointers);
            assert!(hits.iter().all(|hit| hit.difference.name == "field-added"));
            hits.into_iter().flat_map(|hit| hit.pointers).collect::<Vec<_>>().join(" ")
        };
        // The whole of the object or of the record takes the new field in; its neighbours, by name or by spelling, do not.
        assert_eq!(hit(&["/id", "/f"]), "/f");
        assert_eq!(hit(&["", "/fa", "/f/a"]), "");
        assert_eq!(hits(&differences, &[""]).len(), 1);
        assert_eq!(hit(&["/f/b"]), "/f/b");
        assert_eq!(hits(&differences, &["/id", "/fa", "/f/a", "/f/bc"]), []);
        // A change of what is around a field is a change of the field.
        let gone = version(3, r#","fa":{"type":"integer"}"#, ID);
        let differences = compare(&new, &gone);
        let touched = hits(&differences, &["/f/a", "/fa", "/f"]);
        assert_eq!(touched.iter().map(|hit| hit.pointers.clone()).collect::<Vec<_>>(), [["/f/a", "/f"]]);
        // Another name is everybody's matter.
        let renamed = Difference { name: "name-changed", class: Class::Breaking, fields: Vec::new() };
        assert!(renamed.touches("/id") && renamed.touches(""));
    }

    #[test]
    fn a_promise_can_hold_to_the_last_version_and_not_to_all() {
        let first = version(1, r#","f":{"type":"integer"}"#, ID);
        let second = version(2, "", ID);
        let third = version(3, r#","f":{"type":"boolean"}"#, ID);
        let history = [&first, &second];
        assert_eq!(check(&history, &third, Mode::Backward, false), []);
        let breaches = check(&history, &third, Mode::Backward, true);
        assert_eq!(breaches.len(), 1);
        assert_eq!((breaches[0].against.as_str(), breaches[0].difference.name), ("t/v1", "type-changed"));
        assert_eq!(check(&history, &third, Mode::Forward, false)[0].difference.name, "field-added");
        assert_eq!(check(&history, &third, Mode::Full, false).len(), 1);
        assert_eq!(check(&[], &third, Mode::Full, true), []);
    }
}
