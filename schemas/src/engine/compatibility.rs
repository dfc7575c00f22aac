//! What changed between two versions of a record type, and who can still read whom.
//!
//! *Backward*: whoever knows the new version accepts every record of the old one. *Forward*: whoever knows only the old version
//! accepts every record of the new one. Objects are closed, so even one more optional field is only backward compatible: the old
//! version would refuse it. Where a change cannot be decided (one pattern against another) it counts as breaking.

use super::dates::Decimal;
use super::program::{ArrayRules, Form, IntegerRules, NodeId, NumberRules, ObjectRules, Program, Shape, TextRules};
use super::record_type::{Field, RecordType};
use std::collections::BTreeSet;

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

    fn of(backward: bool, forward: bool) -> Class {
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

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}): {}", self.name, self.class.as_str(), self.fields.join(", "))
    }
}

/// Every difference from `old` to `new`, in the order of the schemas.
pub fn compare(old: &RecordType, new: &RecordType) -> Vec<Difference> {
    let mut comparison = Comparison { old, new, differences: Vec::new() };
    comparison.declarations();
    comparison.place(old.program.root, new.program.root);
    comparison.differences
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

struct Comparison<'a> {
    old: &'a RecordType,
    new: &'a RecordType,
    differences: Vec<Difference>,
}

/// Which way a set of allowed values went.
fn widened_or_narrowed(widened: bool, narrowed: bool) -> Option<Class> {
    (widened || narrowed).then(|| Class::of(!narrowed, !widened))
}

/// A limit that values may not pass: present or not, and which direction gives room.
fn limit<T: PartialOrd>(old: Option<T>, new: Option<T>, upper: bool) -> Option<Class> {
    match (old, new) {
        (None, None) => None,
        (None, Some(_)) => Some(Class::Forward),
        (Some(_), None) => Some(Class::Backward),
        (Some(old), Some(new)) => {
            let (more, less) = if upper { (new > old, new < old) } else { (new < old, new > old) };
            widened_or_narrowed(more, less)
        }
    }
}

/// A closed list of values; absence is the open list.
fn list<T: Ord>(old: Option<BTreeSet<T>>, new: Option<BTreeSet<T>>) -> Option<Class> {
    match (old, new) {
        (None, None) => None,
        (None, Some(_)) => Some(Class::Forward),
        (Some(_), None) => Some(Class::Backward),
        (Some(old), Some(new)) => widened_or_narrowed(!new.is_subset(&old), !old.is_subset(&new)),
    }
}

/// A condition that is there or not and cannot be compared further.
fn condition<T: PartialEq>(old: Option<T>, new: Option<T>) -> Option<Class> {
    match (old, new) {
        (None, Some(_)) => Some(Class::Forward),
        (Some(_), None) => Some(Class::Backward),
        (old, new) => (old != new).then_some(Class::Breaking),
    }
}

fn form(old: Form, new: Form) -> Option<Class> {
    match (old, new) {
        (Form::Decimal(old), Form::Decimal(new)) => {
            let wider = |a: Decimal, b: Decimal| {
                a.integer_digits > b.integer_digits
                    || a.fraction_digits > b.fraction_digits
                    || (a.negative && !b.negative)
            };
            widened_or_narrowed(wider(new, old), wider(old, new))
        }
        (old, new) => {
            condition(Some(old).filter(|form| *form != Form::Free), Some(new).filter(|form| *form != Form::Free))
        }
    }
}

impl Comparison<'_> {
    fn tell(&mut self, name: &'static str, class: Option<Class>, fields: &[String]) {
        if let Some(class) = class {
            self.differences.push(Difference { name, class, fields: fields.to_vec() });
        }
    }

    fn declarations(&mut self) {
        let (old, new) = (self.old, self.new);
        let family = |record_type: &RecordType| record_type.name().split('/').next().map(str::to_owned);
        self.tell("name-changed", (family(old) != family(new)).then_some(Class::Breaking), &[]);
        let both = |a: &[String], b: &[String]| {
            a.iter().chain(b).cloned().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
        };
        if old.key() != new.key() {
            self.tell("key-changed", Some(Class::Breaking), &both(old.key(), new.key()));
        }
        if old.subject() != new.subject() {
            let fields =
                |record_type: &RecordType| record_type.subject().map(|subject| subject.fields()).unwrap_or_default();
            self.tell("subject-changed", Some(Class::Breaking), &both(&fields(old), &fields(new)));
        }
        let indexed = |record_type: &RecordType| {
            record_type.indexed_fields().iter().map(|field| field.pointer.clone()).collect::<Vec<_>>()
        };
        if indexed(old) != indexed(new) {
            self.tell("indexed-fields-changed", Some(Class::Full), &both(&indexed(old), &indexed(new)));
        }
        let has = |program: &Program, text: &str| program.rules.iter().any(|rule| rule.test.text() == text);
        for rule in new.program.rules.iter().filter(|rule| !has(&old.program, &rule.test.text())) {
            self.tell("rule-added", Some(Class::Forward), &rule.test.pointers());
        }
        for rule in old.program.rules.iter().filter(|rule| !has(&new.program, &rule.test.text())) {
            self.tell("rule-removed", Some(Class::Backward), &rule.test.pointers());
        }
    }

    fn place(&mut self, old_id: NodeId, new_id: NodeId) {
        let (Some(old), Some(new)) = (self.old.program.nodes.get(old_id), self.new.program.nodes.get(new_id)) else {
            return;
        };
        let (Some(old_field), Some(new_field)) = (self.old.fields().get(old_id), self.new.fields().get(new_id)) else {
            return;
        };
        let at = [new_field.pointer.clone()];
        self.tell("null-allowed", (!old.nullable && new.nullable).then_some(Class::Backward), &at);
        self.tell("null-refused", (old.nullable && !new.nullable).then_some(Class::Forward), &at);
        self.documentation(old_field, new_field, &at);
        match (&old.shape, &new.shape) {
            (Shape::Object(old), Shape::Object(new)) => self.members(old, new),
            (Shape::Array(old), Shape::Array(new)) => self.array(old, new, &at),
            (Shape::Text(old), Shape::Text(new)) => self.text(old, new, &at),
            (Shape::Integer(old), Shape::Integer(new)) => self.integer(old, new, &at),
            (Shape::Number(old), Shape::Number(new)) => self.number(old, new, &at),
            (&Shape::Boolean { on: old_on, off: old_off }, &Shape::Boolean { on, off }) => {
                let class =
                    widened_or_narrowed((on && !old_on) || (off && !old_off), (old_on && !on) || (old_off && !off));
                self.tell("values-changed", class, &at);
            }
            (Shape::Null, Shape::Null) => {}
            (Shape::Integer(_), Shape::Number(_)) => self.tell("type-widened", Some(Class::Backward), &at),
            (Shape::Number(_), Shape::Integer(_)) => self.tell("type-narrowed", Some(Class::Forward), &at),
            _ => {
                let mut fields = below(self.old, old_id);
                fields.extend(below(self.new, new_id));
                fields.sort();
                fields.dedup();
                self.tell("type-changed", Some(Class::Breaking), &fields);
            }
        }
    }

    fn documentation(&mut self, old: &Field, new: &Field, at: &[String]) {
        let texts = |field: &Field| {
            [&field.title_en, &field.title_zh, &field.description_en, &field.description_zh].map(Clone::clone)
        };
        self.tell("documentation-changed", (texts(old) != texts(new)).then_some(Class::Full), at);
        self.tell("sensitivity-changed", (old.sensitivity != new.sensitivity).then_some(Class::Full), at);
    }

    fn members(&mut self, old: &ObjectRules, new: &ObjectRules) {
        for (number, member) in old.members.iter().enumerate() {
            let Some(kept) = new.names.find(&new.members, member.name.as_bytes()) else {
                let class = if old.is_required(number) { Class::Breaking } else { Class::Forward };
                self.tell("field-removed", Some(class), &below(self.old, member.node));
                continue;
            };
            let Some(counterpart) = new.members.get(kept) else {
                continue;
            };
            let at = below(self.new, counterpart.node);
            match (old.is_required(number), new.is_required(kept)) {
                (true, false) => self.tell("required-removed", Some(Class::Backward), &at),
                (false, true) => self.tell("required-added", Some(Class::Forward), &at),
                _ => {}
            }
            self.place(member.node, counterpart.node);
        }
        for (number, member) in new.members.iter().enumerate() {
            if old.names.find(&old.members, member.name.as_bytes()).is_none() {
                let class = if new.is_required(number) { Class::Breaking } else { Class::Backward };
                self.tell("field-added", Some(class), &below(self.new, member.node));
            }
        }
    }

    fn array(&mut self, old: &ArrayRules, new: &ArrayRules, at: &[String]) {
        self.tell("min-items-changed", limit(Some(old.least), Some(new.least), false), at);
        self.tell("max-items-changed", limit(Some(old.most), Some(new.most), true), at);
        self.place(old.items, new.items);
    }

    fn text(&mut self, old: &TextRules, new: &TextRules, at: &[String]) {
        let least = |rules: &TextRules| rules.least.unwrap_or(0);
        self.tell("min-length-changed", limit(Some(least(old)), Some(least(new)), false), at);
        self.tell("max-length-changed", limit(old.most, new.most, true), at);
        self.tell("max-bytes-changed", limit(old.most_gb18030, new.most_gb18030, true), at);
        let pattern = |rules: &TextRules| rules.pattern.as_ref().map(|pattern| pattern.source.clone());
        self.tell("pattern-changed", condition(pattern(old), pattern(new)), at);
        let members = |rules: &TextRules| rules.among.as_ref().map(|choice| choice.members.iter().cloned().collect());
        self.tell("values-changed", list::<String>(members(old), members(new)), at);
        let codes = |rules: &TextRules| {
            rules.table.as_ref().map(|table| table.codes().iter().map(|code| code.code.clone()).collect())
        };
        self.tell("code-table-changed", list::<String>(codes(old), codes(new)), at);
        self.tell("form-changed", form(old.form, new.form), at);
        self.tell("identifier-changed", condition(old.identifier, new.identifier), at);
    }

    fn integer(&mut self, old: &IntegerRules, new: &IntegerRules, at: &[String]) {
        self.tell("minimum-changed", limit(old.least, new.least, false), at);
        self.tell("maximum-changed", limit(old.most, new.most, true), at);
        let members = |rules: &IntegerRules| rules.among.as_ref().map(|among| among.iter().copied().collect());
        self.tell("values-changed", list::<i64>(members(old), members(new)), at);
    }

    fn number(&mut self, old: &NumberRules, new: &NumberRules, at: &[String]) {
        self.tell("minimum-changed", limit(old.least, new.least, false), at);
        self.tell("maximum-changed", limit(old.most, new.most, true), at);
        // Finite doubles order like this; zero and minus zero, which are one value, are folded by adding zero.
        let key = |value: &f64| (value + 0.0).to_bits();
        let members = |rules: &NumberRules| rules.among.as_ref().map(|among| among.iter().map(key).collect());
        self.tell("values-changed", list::<u64>(members(old), members(new)), at);
    }
}

/// A place and all places below it.
fn below(record_type: &RecordType, node: NodeId) -> Vec<String> {
    let Some(field) = record_type.fields().get(node) else {
        return Vec::new();
    };
    let inside = format!("{}/", field.pointer);
    let all = record_type.fields().iter().map(|field| &field.pointer);
    all.filter(|pointer| **pointer == field.pointer || pointer.starts_with(&inside)).cloned().collect()
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
