//! The pass over a record's bytes.
//!
//! One walk checks grammar and rules together and captures the places that key, subject, indexes and cross-field rules need. A
//! valid record costs no allocation: paths live on the stack, captured values are spans, escaped strings are decoded into the
//! caller's scratch room. Rules go on after a violation; grammar cannot, for nothing after a broken token has a known place.

use super::facts::{Captured, Facts, Scratch, Subject};
use super::lexer::{self, Cursor, MAX_DOCUMENT_DEPTH, Stop, Text};
use super::numbers::{self, Value};
use super::profile::MAX_INDEXED;
use super::program::{
    ArrayRules, Form, IntegerRules, Node, NodeId, NumberRules, ObjectRules, Program, Shape, TextRules,
};
use super::violation::{Detail, MAX_VIOLATIONS, Path, Rule, Violation, Violations};
use super::{escapes, text};
use crate::identifier;
use std::borrow::Cow;

/// Why the walk ended early; whatever there was to tell is told already.
pub(crate) enum Halt {
    /// To be told at the place where it is caught.
    Grammar(Stop),
    Told,
}

impl From<Stop> for Halt {
    fn from(stop: Stop) -> Halt {
        Halt::Grammar(stop)
    }
}

/// Validates one payload.
pub(crate) fn run<'p>(
    program: &Program,
    max_bytes: usize,
    payload: &'p [u8],
    scratch: &mut Scratch,
) -> Result<Facts<'p>, Violations> {
    let refuse = |rule, count| Err(Violations(vec![Violation::new(String::new(), rule, Detail::Count(count))]));
    if payload.len() > max_bytes {
        return refuse(Rule::PayloadTooLarge, max_bytes);
    }
    let text = match lexer::utf8(payload) {
        Ok(text) => text,
        Err(valid_up_to) => return refuse(Rule::NotUtf8, valid_up_to),
    };
    scratch.captured.clear();
    scratch.captured.resize(program.slots, Captured::Absent);
    scratch.elements.iter_mut().for_each(Vec::clear);
    if scratch.elements.len() < program.groups.len() {
        scratch.elements.resize_with(program.groups.len(), Vec::new);
    }
    let raw_controls = text::raw_controls(payload);
    let mut run = Run { program, payload: text, raw_controls, scratch, violations: Vec::new(), warnings: Vec::new() };
    match run.record() {
        Ok((key, subject)) if run.violations.is_empty() => Ok(run.into_facts(key, subject)),
        _ => Err(Violations(run.violations)),
    }
}

/// The state of one pass. Where it stands is in a cursor of its own, which the walk hands on: what only judges a value cannot move it,
/// so it stays in registers meanwhile.
pub(crate) struct Run<'r, 'p> {
    pub(super) program: &'r Program,
    pub(super) payload: &'p str,
    /// Somewhere in the payload stands a control character that needs no escape. Rare: then every text is gone through.
    raw_controls: bool,
    pub(super) scratch: &'r mut Scratch,
    violations: Vec<Violation>,
    warnings: Vec<Violation>,
}

impl<'r, 'p> Run<'r, 'p> {
    fn record(&mut self) -> Result<(Cow<'p, str>, Option<Subject<'p>>), Halt> {
        let cursor = &mut Cursor::new(self.payload);
        if cursor.eat("\u{FEFF}".as_bytes()) {
            self.violate(Path::Root.pointer(), Rule::ByteOrderMark, Detail::None)?;
        }
        cursor.skip_space();
        self.value(cursor, self.program.root, &Path::Root)?;
        cursor.skip_space();
        if !cursor.at_end() {
            self.violate(Path::Root.pointer(), Rule::TrailingBytes, Detail::None)?;
        }
        let key = self.key()?;
        let subject = self.subject()?;
        self.cross_field_rules()?;
        Ok((key, subject))
    }

    fn into_facts(self, key: Cow<'p, str>, subject: Option<Subject<'p>>) -> Facts<'p> {
        let mut indexed = [Captured::Absent; MAX_INDEXED];
        for (place, operand) in indexed.iter_mut().zip(&self.program.indexed) {
            *place = self.captured(operand.slot);
        }
        Facts { key, subject, payload: self.payload, indexed, warnings: self.warnings }
    }

    #[inline]
    pub(super) fn captured(&self, slot: usize) -> Captured {
        self.scratch.captured.get(slot).copied().unwrap_or_default()
    }

    /// Tells a violation; the walk ends when there are too many.
    #[cold]
    pub(super) fn violate(&mut self, pointer: String, rule: Rule, detail: Detail<'_>) -> Result<(), Halt> {
        self.push(Violation::new(pointer, rule, detail))
    }

    #[cold]
    pub(super) fn push(&mut self, violation: Violation) -> Result<(), Halt> {
        self.violations.push(violation);
        if self.violations.len() < MAX_VIOLATIONS {
            return Ok(());
        }
        self.violations.push(Violation::new(String::new(), Rule::TooManyViolations, Detail::Count(MAX_VIOLATIONS)));
        Err(Halt::Told)
    }

    #[cold]
    fn tell(&mut self, stop: Stop, at: usize, path: &Path<'_>) -> Halt {
        let (rule, count) = match stop {
            Stop::Syntax => (Rule::Syntax, at),
            Stop::TooDeep => (Rule::TooDeep, MAX_DOCUMENT_DEPTH),
        };
        // The walk ends either way.
        drop(self.violate(path.pointer(), rule, Detail::Count(count)));
        Halt::Told
    }

    /// One value at one place, and its capture. Part of the loops of [`Run::object`] and [`Run::array`], so that a text, which most
    /// values are, costs no call.
    #[inline(always)]
    fn value(&mut self, cursor: &mut Cursor<'p>, id: NodeId, path: &Path<'_>) -> Result<(), Halt> {
        let program = self.program;
        let Some(node) = program.nodes.get(id) else {
            return Err(Halt::Told);
        };
        if let (b'"', Shape::Text(rules)) = (cursor.peek(), &node.shape)
            && let Some(token) = cursor.plain_string()
        {
            if !self.raw_controls && rules.accepts(cursor.between(token.start, token.end)) {
                self.capture(node, Captured::text(token));
                return Ok(());
            }
            return self.judged(node, |run| {
                run.text(rules, token, path)?;
                Ok(Captured::text(token))
            });
        }
        self.judged(node, |run| {
            run.other_value(cursor, node, path).map_err(|halt| match halt {
                Halt::Grammar(stop) => run.tell(stop, cursor.at, path),
                Halt::Told => Halt::Told,
            })
        })
    }

    /// Captures what `judge` found, or that it was refused.
    #[inline(always)]
    fn judged(&mut self, node: &Node, judge: impl FnOnce(&mut Self) -> Result<Captured, Halt>) -> Result<(), Halt> {
        let told_before = self.violations.len();
        let captured = judge(self)?;
        self.capture(node, if self.violations.len() == told_before { captured } else { Captured::Refused });
        Ok(())
    }

    #[inline(always)]
    fn capture(&mut self, node: &Node, captured: Captured) {
        if let Some(place) = node.slot.and_then(|slot| self.scratch.captured.get_mut(slot)) {
            *place = captured;
        }
    }

    /// Anything but a plain text where a text should be.
    #[inline(never)]
    fn other_value(&mut self, cursor: &mut Cursor<'p>, node: &'r Node, path: &Path<'_>) -> Result<Captured, Halt> {
        let start = cursor.at;
        match (cursor.peek(), &node.shape) {
            (b'"', Shape::Text(rules)) => {
                let token = cursor.string()?;
                self.text(rules, token, path)?;
                return Ok(Captured::text(token));
            }
            (b'{', Shape::Object(rules)) => self.object(cursor, rules, path)?,
            (b'[', Shape::Array(rules)) => self.array(cursor, rules, path)?,
            (b'-' | b'0'..=b'9', Shape::Integer(rules)) => self.integer(cursor, rules, path)?,
            (b'-' | b'0'..=b'9', Shape::Number(rules)) => self.number(cursor, rules, path)?,
            (b't', &Shape::Boolean { on, .. }) => self.boolean(cursor, b"true", on, path)?,
            (b'f', &Shape::Boolean { off, .. }) => self.boolean(cursor, b"false", off, path)?,
            (b'n', _) if node.nullable => {
                cursor.literal(b"null")?;
                return Ok(Captured::Absent);
            }
            (_, shape) => {
                cursor.skip_value()?;
                self.violate(path.pointer(), Rule::WrongType, Detail::Text(type_name(shape)))?;
            }
        }
        Ok(Captured::Plain { start, end: cursor.at })
    }

    #[inline(never)]
    fn object(&mut self, cursor: &mut Cursor<'p>, rules: &'r ObjectRules, path: &Path<'_>) -> Result<(), Halt> {
        cursor.enter()?;
        let mut seen = 0u128;
        // The member expected next: records are mostly written in the order of their schema.
        let mut next = 0;
        if cursor.peek() == b'}' {
            cursor.leave();
        } else {
            loop {
                let start = cursor.at;
                match rules.next_member(cursor, next)? {
                    Some((number, _)) => {
                        let Some(member) = rules.members.get(number) else {
                            return Err(Halt::Told);
                        };
                        let below = Path::Member(path, &member.name);
                        if seen & member.bit != 0 {
                            self.violate(below.pointer(), Rule::DuplicateKey, Detail::None)?;
                        }
                        next = number + 1;
                        seen |= member.bit;
                        self.value(cursor, member.node, &below)?;
                    }
                    None => {
                        self.unknown_member(start, path)?;
                        cursor.skip_value()?;
                    }
                }
                if !cursor.next_or(b'}')? {
                    break;
                }
            }
        }
        if rules.required & !seen != 0 {
            for (number, member) in rules.members.iter().enumerate() {
                if rules.is_required(number) && seen >> number & 1 == 0 {
                    self.violate(Path::Member(path, &member.name).pointer(), Rule::Required, Detail::None)?;
                }
            }
        }
        Ok(())
    }

    /// Tells of a member that the record type does not have, whose name starts at `start`.
    #[cold]
    fn unknown_member(&mut self, start: usize, path: &Path<'_>) -> Result<(), Halt> {
        let mut again = Cursor::new(self.payload);
        again.at = start;
        let token = again.string()?;
        self.violate(path.unknown_member(&again.decode(token)), Rule::UnknownProperty, Detail::None)
    }

    #[inline(never)]
    fn array(&mut self, cursor: &mut Cursor<'p>, rules: &ArrayRules, path: &Path<'_>) -> Result<(), Halt> {
        cursor.enter()?;
        let mut count = 0;
        if cursor.peek() == b']' {
            cursor.leave();
        } else {
            loop {
                // Elements beyond the bound are refused as a whole: only their grammar is read.
                if count < rules.most {
                    self.value(cursor, rules.items, &Path::Element(path, count))?;
                    if let Some(group) = rules.group {
                        self.keep_element(group);
                    }
                } else {
                    cursor.skip_value()?;
                }
                count += 1;
                if !cursor.next_or(b']')? {
                    break;
                }
            }
        }
        if count < rules.least {
            self.violate(path.pointer(), Rule::TooFewItems, Detail::Count(rules.least))?;
        }
        if count > rules.most {
            self.violate(path.pointer(), Rule::TooManyItems, Detail::Count(rules.most))?;
        }
        Ok(())
    }

    /// Puts what was captured in an element aside, and makes room for the next one.
    fn keep_element(&mut self, group: usize) {
        let Scratch { captured, elements, .. } = &mut *self.scratch;
        if let (Some(group), Some(kept)) = (self.program.groups.get(group), elements.get_mut(group)) {
            kept.extend(group.slots.iter().map(|&slot| captured.get_mut(slot).map(std::mem::take).unwrap_or_default()));
        }
    }

    fn boolean(&mut self, cursor: &mut Cursor<'p>, literal: &[u8], allowed: bool, path: &Path<'_>) -> Result<(), Halt> {
        cursor.literal(literal)?;
        if allowed { Ok(()) } else { self.violate(path.pointer(), Rule::NotAllowed, Detail::None) }
    }

    fn exact_number(&mut self, cursor: &mut Cursor<'p>, path: &Path<'_>) -> Result<Option<Value>, Halt> {
        let token = cursor.number()?;
        let value = numbers::exact(cursor.slice(token.start, token.end), token.plain);
        if value.is_none() {
            self.violate(path.pointer(), Rule::NumberNotExact, Detail::None)?;
        }
        Ok(value)
    }

    #[inline(never)]
    fn integer(&mut self, cursor: &mut Cursor<'p>, rules: &IntegerRules, path: &Path<'_>) -> Result<(), Halt> {
        let value = match self.exact_number(cursor, path)? {
            Some(Value::Integer(value)) => value,
            Some(Value::Double(_)) => {
                return self.violate(path.pointer(), Rule::WrongType, Detail::Text("integer"));
            }
            None => return Ok(()),
        };
        if let Some(least) = rules.least.filter(|&least| value < least) {
            self.violate(path.pointer(), Rule::TooSmall, Detail::Text(&least.to_string()))?;
        }
        if let Some(most) = rules.most.filter(|&most| value > most) {
            self.violate(path.pointer(), Rule::TooGreat, Detail::Text(&most.to_string()))?;
        }
        if rules.among.as_ref().is_some_and(|among| !among.contains(&value)) {
            self.violate(path.pointer(), Rule::NotAllowed, Detail::None)?;
        }
        Ok(())
    }

    #[inline(never)]
    #[expect(
        clippy::cast_precision_loss,
        reason = "bounds of a `number` are doubles; integers are compared as JSON Schema compares them"
    )]
    fn number(&mut self, cursor: &mut Cursor<'p>, rules: &NumberRules, path: &Path<'_>) -> Result<(), Halt> {
        let value = match self.exact_number(cursor, path)? {
            Some(Value::Integer(value)) => value as f64,
            Some(Value::Double(value)) => value,
            None => return Ok(()),
        };
        if let Some(least) = rules.least.filter(|&least| value < least) {
            self.violate(path.pointer(), Rule::TooSmall, Detail::Text(&least.to_string()))?;
        }
        if let Some(most) = rules.most.filter(|&most| value > most) {
            self.violate(path.pointer(), Rule::TooGreat, Detail::Text(&most.to_string()))?;
        }
        if rules.among.as_ref().is_some_and(|among| !among.contains(&value)) {
            self.violate(path.pointer(), Rule::NotAllowed, Detail::None)?;
        }
        Ok(())
    }

    /// The rules of a text, one by one.
    #[cold]
    fn text(&mut self, rules: &TextRules, token: Text, path: &Path<'_>) -> Result<(), Halt> {
        if !token.escaped() {
            return self.plain_text(rules, self.payload.get(token.start..token.end).unwrap_or_default(), path);
        }
        self.escaped_text(rules, token, path)
    }

    #[cold]
    fn escaped_text(&mut self, rules: &TextRules, token: Text, path: &Path<'_>) -> Result<(), Halt> {
        if token.lone_surrogate() {
            self.violate(path.pointer(), Rule::LoneSurrogate, Detail::None)?;
        }
        if token.nul() {
            self.violate(path.pointer(), Rule::NulCharacter, Detail::None)?;
        }
        let mut value = std::mem::take(&mut self.scratch.text);
        value.clear();
        escapes::unescape(self.payload.get(token.start..token.end).unwrap_or_default(), &mut value);
        let told = self.plain_text(rules, &value, path);
        self.scratch.text = value;
        told
    }

    fn plain_text(&mut self, rules: &TextRules, value: &str, path: &Path<'_>) -> Result<(), Halt> {
        if rules.is_free() && text::holds_control(value, rules.lines) {
            self.violate(path.pointer(), Rule::ControlCharacter, Detail::None)?;
        }
        if let Some(least) = rules.least.filter(|&least| !text::at_least(value, least)) {
            self.violate(path.pointer(), Rule::TooShort, Detail::Count(least))?;
        }
        if let Some(most) = rules.most.filter(|&most| !text::at_most(value, most)) {
            self.violate(path.pointer(), Rule::TooLong, Detail::Count(most))?;
        }
        if let Some(most) = rules.most_gb18030.filter(|&most| !text::fits_gb18030(value, most)) {
            self.violate(path.pointer(), Rule::TooManyBytes, Detail::Count(most))?;
        }
        if let Some(pattern) = rules.pattern.as_ref().filter(|pattern| !pattern.is_match(value.as_bytes())) {
            self.violate(path.pointer(), Rule::Pattern, Detail::Text(pattern.source()))?;
        }
        if rules.among.as_ref().is_some_and(|choice| !choice.contains(value.as_bytes())) {
            self.violate(path.pointer(), Rule::NotAllowed, Detail::None)?;
        }
        if let Some(table) = rules.table.as_ref().filter(|table| !table.contains(value)) {
            self.violate(path.pointer(), Rule::UnknownCode, Detail::Text(table.name()))?;
        }
        if let Some(rule) = rules.form.broken_by(value.as_bytes()) {
            let digits;
            let detail = match rules.form {
                Form::Decimal(decimal) => {
                    digits = format!("{}, {}", decimal.integer_digits, decimal.fraction_digits);
                    Detail::Text(&digits)
                }
                _ => Detail::None,
            };
            self.violate(path.pointer(), rule, detail)?;
        }
        if let Some(kind) = rules.identifier {
            self.identifier(kind, value, path)?;
        }
        Ok(())
    }

    /// Checks an identifier; suspicion is a warning, a fault a violation.
    pub(super) fn identifier(&mut self, kind: identifier::Kind, value: &str, path: &Path<'_>) -> Result<(), Halt> {
        match identifier::check_exact(kind, value.as_bytes()) {
            Ok(None) => Ok(()),
            Ok(Some(reason)) => self.doubt(Rule::IdentifierWarning, reason, path),
            Err(reason) => self.doubt(Rule::Identifier, reason, path),
        }
    }

    /// Tells what is wrong with an identifier, once: its own field, the subject and a rule between fields may all ask for it.
    #[cold]
    fn doubt(&mut self, rule: Rule, reason: identifier::Reason, path: &Path<'_>) -> Result<(), Halt> {
        let doubt = Violation::new(path.pointer(), rule, Detail::Reason(reason));
        let list = if rule == Rule::Identifier { &self.violations } else { &self.warnings };
        if list.contains(&doubt) {
            return Ok(());
        }
        if rule == Rule::Identifier {
            return self.push(doubt);
        }
        if self.warnings.len() < MAX_VIOLATIONS {
            self.warnings.push(doubt);
        }
        Ok(())
    }
}

fn type_name(shape: &Shape) -> &'static str {
    match shape {
        Shape::Object(_) => "object",
        Shape::Array(_) => "array",
        Shape::Text(_) => "string",
        Shape::Integer(_) => "integer",
        Shape::Number(_) => "number",
        Shape::Boolean { .. } => "boolean",
        Shape::Null => "null",
    }
}
