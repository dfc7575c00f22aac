//! After the walk: key, subject and the rules between fields, over the places that the walk captured.

use super::cross_rule::{Condition, CrossRule, Test};
use super::dates;
use super::facts::{Captured, Subject};
use super::numbers;
use super::program::{KindCode, Operand, SubjectKind};
use super::validate::{Halt, Run};
use super::violation::{Detail, Path, Rule, Violation};
use crate::identifier::{self, Kind};
use std::borrow::Cow;
use std::cmp::Ordering;

/// Joins the parts of a key.
const KEY_SEPARATOR: char = '|';

impl<'p> Run<'_, 'p> {
    /// Every declared rule, whether the walk told anything or not: a rule over refused values is left out.
    pub(super) fn cross_field_rules(&mut self) -> Result<(), Halt> {
        let program = self.program;
        for rule in &program.rules {
            match rule.each {
                None if self.holds(&rule.test) => {}
                None => self.tell_broken(rule, None)?,
                Some(group) => self.each_element(rule, group)?,
            }
        }
        Ok(())
    }

    /// One rule for every element of an array: what was captured in it is put back first.
    fn each_element(&mut self, rule: &CrossRule, group: usize) -> Result<(), Halt> {
        let program = self.program;
        let Some(slots) = program.groups.get(group).map(|group| group.slots.as_slice()) else {
            return Ok(());
        };
        let elements = self.scratch.elements.get(group).map_or(0, |kept| kept.len() / slots.len().max(1));
        for number in 0..elements {
            for (place, &slot) in slots.iter().enumerate() {
                let kept = self.scratch.elements.get(group).and_then(|kept| kept.get(number * slots.len() + place));
                if let (Some(&kept), Some(captured)) = (kept, self.scratch.captured.get_mut(slot)) {
                    *captured = kept;
                }
            }
            if !self.holds(&rule.test) {
                self.tell_broken(rule, Some(number))?;
            }
        }
        Ok(())
    }

    /// Whether the rule holds, or is about something that is not there.
    #[inline]
    fn holds(&self, test: &Test) -> bool {
        // A rule is mostly about something that is not there, so that is looked at first.
        let absent = |one: &Operand, other: &Operand| !self.present(one) || !self.present(other);
        let both = |one, other, hold: fn(&str, &str) -> bool| match (self.read(one), self.read(other)) {
            (Some(one), Some(other)) => hold(&one, &other),
            _ => true,
        };
        match test {
            Test::NotBefore { later, earlier } => absent(later, earlier) || both(later, earlier, dates::not_before),
            Test::Equal { left, right } => both(left, right, |left, right| left == right),
            Test::NotAbove { lesser, greater, where_equal } => {
                absent(lesser, greater)
                    || where_equal.iter().any(|(one, other)| self.read(one) != self.read(other))
                    || both(lesser, greater, |lesser, greater| numbers::compare(lesser, greater) != Ordering::Greater)
            }
            Test::PartOf { part, whole, .. } if absent(part, whole) => true,
            Test::PartOf { part, whole, from, to } => match (self.read(part), self.read(whole)) {
                (Some(part), Some(whole)) => is_part(&part, &whole, *from, *to),
                _ => true,
            },
            Test::IdentifierOf { value, kind_field, .. } if absent(value, kind_field) => true,
            Test::IdentifierOf { value, kind_field, codes } => match self.typed(value, kind_field, codes) {
                Some((kind, value)) => identifier::check_exact(kind, value.as_bytes()) == Ok(None),
                None => true,
            },
            Test::Requires { condition, then } => {
                !self.called_for(condition) || then.iter().all(|operand| self.present(operand))
            }
            Test::AllowedWhen { condition, field, among } => {
                !self.called_for(condition) || self.read(field).is_none_or(|value| among.contains(value.as_bytes()))
            }
            Test::OneOfPresent { paths } => paths.iter().any(|operand| self.present(operand)),
        }
    }

    fn called_for(&self, condition: &Condition) -> bool {
        match &condition.among {
            None => self.present(&condition.operand),
            Some(values) => self.read(&condition.operand).is_some_and(|value| values.contains(value.as_bytes())),
        }
    }

    /// A value that another field calls an identifier of a kind that we know.
    fn typed(&self, value: &Operand, kind_field: &Operand, codes: &[KindCode]) -> Option<(Kind, Cow<'p, str>)> {
        let code = self.read(kind_field)?;
        let known = codes.iter().find(|known| *known.code == *code)?;
        Some((known.kind, self.read(value)?))
    }

    /// Tells that a rule is broken, at the field or fields that break it.
    #[cold]
    fn tell_broken(&mut self, rule: &CrossRule, element: Option<usize>) -> Result<(), Halt> {
        let pointer = |operand: &Operand| match element {
            Some(number) => operand.pointer.replace('*', &number.to_string()),
            None => operand.pointer.clone(),
        };
        let (places, broken, detail) = match &rule.test {
            Test::NotBefore { later, earlier } => (vec![pointer(later)], Rule::NotBefore, pointer(earlier)),
            Test::NotAbove { lesser, greater, .. } => (vec![pointer(lesser)], Rule::NotAbove, pointer(greater)),
            Test::Equal { left, right } => (vec![pointer(left)], Rule::Equal, pointer(right)),
            Test::PartOf { part, whole, .. } => (vec![pointer(part)], Rule::PartOf, pointer(whole)),
            Test::IdentifierOf { value, kind_field, codes } => {
                let Some((kind, text)) = self.typed(value, kind_field, codes) else {
                    return Ok(());
                };
                let pointer = pointer(value);
                return self.identifier(kind, &text, &Path::Member(&Path::Root, pointer.trim_start_matches('/')));
            }
            Test::Requires { condition, then } => {
                let missing = then.iter().filter(|operand| !self.present(operand)).map(pointer).collect();
                (missing, Rule::RequiredBy, pointer(&condition.operand))
            }
            Test::AllowedWhen { condition, field, .. } => {
                (vec![pointer(field)], Rule::NotAllowedWith, pointer(&condition.operand))
            }
            Test::OneOfPresent { paths } => {
                let names: Vec<_> = paths.iter().map(pointer).collect();
                (names.iter().take(1).cloned().collect(), Rule::OneOfPresent, names.join(", "))
            }
        };
        for place in places {
            let mut violation = Violation::new(place, broken, Detail::Text(&detail));
            violation.name.clone_from(&rule.name);
            self.push(violation)?;
        }
        Ok(())
    }

    #[inline]
    fn present(&self, operand: &Operand) -> bool {
        self.captured(operand.slot) != Captured::Absent
    }

    #[inline]
    fn read(&self, operand: &Operand) -> Option<Cow<'p, str>> {
        self.captured(operand.slot).read(self.payload)
    }

    /// The key of the record; empty, and of no use, if a part was refused.
    pub(super) fn key(&mut self) -> Result<Cow<'p, str>, Halt> {
        let program = self.program;
        let several = program.key.len() > 1;
        let mut key = Cow::Borrowed("");
        for (index, part) in program.key.iter().enumerate() {
            // A part that is missing or wrong is told already.
            let Some(value) = self.read(part) else {
                continue;
            };
            if value.is_empty() || (several && value.contains(KEY_SEPARATOR)) {
                self.violate(part.pointer.clone(), Rule::KeyPart, Detail::None)?;
            }
            if index == 0 {
                key = value;
            } else {
                let joined = key.to_mut();
                joined.push(KEY_SEPARATOR);
                joined.push_str(&value);
            }
        }
        Ok(key)
    }

    /// Whom the record is about. Where the record says the identifier's kind itself, the identifier is held to that kind here.
    pub(super) fn subject(&mut self) -> Result<Option<Subject<'p>>, Halt> {
        let program = self.program;
        let Some(declared) = &program.subject else {
            return Ok(None);
        };
        let Some(value) = self.read(&declared.value) else {
            return Ok(None);
        };
        let kind = match &declared.kind {
            SubjectKind::Fixed(name) => name,
            SubjectKind::Field { operand, codes } => {
                let Some(code) = self.read(operand) else {
                    return Ok(None);
                };
                match codes.iter().find(|known| *known.code == *code) {
                    Some(known) => {
                        let pointer = declared.value.pointer.trim_start_matches('/');
                        self.identifier(known.kind, &value, &Path::Member(&Path::Root, pointer))?;
                        known.kind.name()
                    }
                    None => match code {
                        Cow::Borrowed(code) => code,
                        Cow::Owned(_) => {
                            self.violate(operand.pointer.clone(), Rule::SubjectKind, Detail::None)?;
                            return Ok(None);
                        }
                    },
                }
            }
        };
        Ok(Some(Subject { kind, value }))
    }
}

/// Whether `part` is the characters `from` to `to` of `whole`, counted from 1. A text that is too short has no such part, and its own
/// field says what is wrong with it.
fn is_part(part: &str, whole: &str, from: usize, to: usize) -> bool {
    let from = from.saturating_sub(1);
    if whole.is_ascii() {
        return whole.get(from..to).is_none_or(|inner| inner == part);
    }
    let inner = || whole.chars().skip(from).take(to - from);
    inner().count() < to - from || inner().eq(part.chars())
}
