//! The walk that compares two versions of a record type, place by place, and what each kind of change means.

use super::compatibility::{Class, Difference};
use super::dates::Decimal;
use super::program::{ArrayRules, Form, IntegerRules, NodeId, NumberRules, ObjectRules, Program, Shape, TextRules};
use super::record_type::{Field, RecordType};
use std::collections::BTreeSet;

/// Walks both versions side by side.
pub(super) struct Comparison<'a> {
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

impl<'a> Comparison<'a> {
    /// Every difference from `old` to `new`.
    pub(super) fn of(old: &'a RecordType, new: &'a RecordType) -> Vec<Difference> {
        let mut comparison = Comparison { old, new, differences: Vec::new() };
        comparison.declarations();
        comparison.place(old.program.root, new.program.root);
        comparison.differences
    }

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
            (Shape::Integer(old), Shape::Number(new)) => {
                self.tell("type-widened", Some(Class::Backward), &at);
                self.number(&old.as_number(), new, &at);
            }
            (Shape::Number(old), Shape::Integer(new)) => {
                self.tell("type-narrowed", Some(Class::Forward), &at);
                self.number(old, &new.as_number(), &at);
            }
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
        let pattern = |rules: &TextRules| rules.pattern.as_ref().map(|pattern| pattern.source().to_owned());
        self.tell("pattern-changed", condition(pattern(old), pattern(new)), at);
        let members = |rules: &TextRules| rules.among.as_ref().map(|choice| choice.members.iter().cloned().collect());
        self.tell("values-changed", list::<String>(members(old), members(new)), at);
        let codes = |rules: &TextRules| {
            rules.table.as_ref().map(|table| table.codes().iter().map(|code| code.code.clone()).collect())
        };
        self.tell("code-table-changed", list::<String>(codes(old), codes(new)), at);
        self.tell("form-changed", form(old.form, new.form), at);
        self.tell("lines-changed", widened_or_narrowed(new.lines && !old.lines, old.lines && !new.lines), at);
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
