//! After the walk: key, subject and the rules between fields, over the places that the walk captured.

use super::declare::not_before;
use super::facts::{Captured, Subject};
use super::program::{CrossRule, Operand, SubjectKind, Test};
use super::validate::{Halt, Run};
use super::violation::{Detail, Path, Rule, Violation};
use std::borrow::Cow;

/// Joins the parts of a key.
const KEY_SEPARATOR: char = '|';

/// Positions 9 to 17 of a unified social credit code are the organisation code (GB 32100-2015, 4.1).
const ORGANISATION_CODE_IN_USCC: std::ops::Range<usize> = 8..17;

impl<'p> Run<'_, 'p> {
    /// Every declared rule, whether the walk told anything or not: a rule over refused values is left out.
    pub(super) fn cross_field_rules(&mut self) -> Result<(), Halt> {
        let program = self.program;
        for rule in &program.rules {
            if !self.holds(&rule.test) {
                self.tell_broken(rule)?;
            }
        }
        Ok(())
    }

    /// Whether the rule holds, or is about something that is not there.
    #[inline]
    fn holds(&self, test: &Test) -> bool {
        let both = |one, other, hold: fn(&[u8], &[u8]) -> bool| match (self.read(one), self.read(other)) {
            (Some(one), Some(other)) => hold(one.as_bytes(), other.as_bytes()),
            _ => true,
        };
        match test {
            Test::NotBefore { later, earlier } => both(later, earlier, not_before),
            Test::Equal { left, right } => both(left, right, |left, right| left == right),
            Test::Requires { condition, among, then } => {
                let called_for = match among {
                    None => self.present(condition),
                    Some(values) => {
                        self.read(condition).is_some_and(|value| values.iter().any(|known| *known == value))
                    }
                };
                !called_for || then.iter().all(|operand| self.present(operand))
            }
            Test::OneOfPresent { paths } => paths.iter().any(|operand| self.present(operand)),
            Test::OrganisationCodeOf { organisation_code, uscc } => both(organisation_code, uscc, |code, whole| {
                // GB 11714 prints a hyphen before the check character; machines leave it out.
                let inner = whole.get(ORGANISATION_CODE_IN_USCC);
                inner.is_none_or(|inner| code == inner || code.iter().filter(|&&byte| byte != b'-').eq(inner))
            }),
        }
    }

    /// Tells that a rule is broken, at the field or fields that break it.
    #[cold]
    fn tell_broken(&mut self, rule: &CrossRule) -> Result<(), Halt> {
        let (places, broken, detail): (Vec<&Operand>, _, _) = match &rule.test {
            Test::NotBefore { later, earlier } => (vec![later], Rule::NotBefore, earlier.pointer.clone()),
            Test::Equal { left, right } => (vec![left], Rule::Equal, right.pointer.clone()),
            Test::Requires { condition, then, .. } => {
                let missing = then.iter().filter(|operand| !self.present(operand)).collect();
                (missing, Rule::RequiredBy, condition.pointer.clone())
            }
            Test::OneOfPresent { paths } => {
                let names: Vec<_> = paths.iter().map(|operand| operand.pointer.as_str()).collect();
                (paths.iter().take(1).collect(), Rule::OneOfPresent, names.join(", "))
            }
            Test::OrganisationCodeOf { organisation_code, uscc } => {
                (vec![organisation_code], Rule::OrganisationCodeOf, uscc.pointer.clone())
            }
        };
        for place in places {
            let mut violation = Violation::new(place.pointer.clone(), broken, Detail::Text(&detail));
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
        self.captured(operand.slot).read(&self.cursor)
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
