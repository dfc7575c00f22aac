//! `x-rules`: the rules between fields, resolved to captured places.
//!
//! A pointer with `*` goes through one array, and the rule then holds for each of its elements; all such pointers of one rule go
//! through the same array, and those without `*` speak of the record around it.

use super::compile::Compiler;
use super::cross_rule::{Condition, CrossRule, Test};
use super::declare::Stars;
use super::json::Json;
use super::profile;
use super::program::{Choice, ElementGroup, Form, NodeId, Operand, Shape};
use super::schema_error::Flaw;

/// Most pairs of fields that `where-equal` compares.
const MAX_PAIRS: usize = 4;

impl<'s> Compiler<'s> {
    pub(super) fn rules(&mut self, rules: &'s Json) {
        let Some(rules) = rules.array() else {
            self.problem("/x-rules", Flaw::Expected("an array of rules"));
            return;
        };
        if rules.len() > profile::MAX_RULES {
            self.problem("/x-rules", Flaw::OutOfBounds { least: 0, most: profile::MAX_RULES });
        }
        for (index, rule) in rules.iter().enumerate().take(profile::MAX_RULES) {
            let at = format!("/x-rules/{index}");
            let name = rule.get("name").map(|name| name.text().unwrap_or_default());
            if name.is_some_and(|name| !profile::is_kebab_name(name)) {
                self.problem(&format!("{at}/name"), Flaw::BadName);
            }
            self.stars = Stars::Free;
            let test = self.test(rule, &at);
            let stars = std::mem::take(&mut self.stars);
            if self.full() {
                return;
            }
            if let Some(test) = test {
                let each = match stars {
                    Stars::Through(array) => self.group(array, &test),
                    Stars::Free | Stars::Refused => None,
                };
                self.program.rules.push(CrossRule { name: name.map(str::to_owned), test, each });
            }
        }
    }

    /// The group of captured places in the elements of this array, with those of `test` among them.
    fn group(&mut self, array: NodeId, test: &Test) -> Option<usize> {
        let next = self.program.groups.len();
        let Some(Shape::Array(rules)) = self.program.nodes.get_mut(array).map(|node| &mut node.shape) else {
            return None;
        };
        let most = rules.most;
        let number = *rules.group.get_or_insert(next);
        if number == next {
            self.program.groups.push(ElementGroup::default());
        }
        let group = self.program.groups.get_mut(number)?;
        for operand in test.operands().into_iter().filter(|operand| operand.in_element()) {
            if !group.slots.contains(&operand.slot) {
                group.slots.push(operand.slot);
            }
        }
        if most.saturating_mul(group.slots.len()) > profile::MAX_KEPT {
            let pointer = self.fields.get(array).map_or_else(String::new, |field| field.pointer.clone());
            self.problem("/x-rules", Flaw::TooManyKept { array: pointer, most: profile::MAX_KEPT });
        }
        Some(number)
    }

    fn test(&mut self, rule: &'s Json, at: &str) -> Option<Test> {
        let Some(kind) = rule.get("rule").and_then(Json::text) else {
            self.problem(at, Flaw::MissingKeyword("rule"));
            return None;
        };
        match kind {
            "not-before" => {
                self.only(rule, at, &["rule", "name", "later", "earlier"]);
                let (later, earlier) = (self.moment(rule, "later", at), self.moment(rule, "earlier", at));
                Some(Test::NotBefore { later: later?, earlier: earlier? })
            }
            "not-above" => {
                self.only(rule, at, &["rule", "name", "lesser", "greater", "where-equal"]);
                let (lesser, greater) = (self.quantity(rule, "lesser", at), self.quantity(rule, "greater", at));
                let where_equal = self.pairs(rule, at);
                Some(Test::NotAbove { lesser: lesser?, greater: greater?, where_equal })
            }
            "equal" => {
                self.only(rule, at, &["rule", "name", "left", "right"]);
                let (left, right) = (self.operand(rule, "left", at), self.operand(rule, "right", at));
                Some(Test::Equal { left: left?, right: right? })
            }
            "part-of" => {
                self.only(rule, at, &["rule", "name", "part", "whole", "from", "to"]);
                let (part, whole) = (self.operand(rule, "part", at), self.operand(rule, "whole", at));
                let (from, to) = (self.position(rule, "from", at), self.position(rule, "to", at));
                let (from, to) = (from?, to?);
                if from > to {
                    self.problem(at, Flaw::EmptyRange);
                }
                Some(Test::PartOf { part: part?, whole: whole?, from, to })
            }
            "identifier-of" => {
                self.only(rule, at, &["rule", "name", "value", "kind-field"]);
                let value = self.operand(rule, "value", at);
                let pointer = self.pointer_of(rule, "kind-field", at)?;
                let at = format!("{at}/kind-field");
                let (kind_field, node) = self.text_field(pointer, &at)?;
                let codes = self.codes_with_kind(node);
                if codes.is_empty() {
                    let needs = "a type whose codes name an identifier";
                    self.problem(&at, Flaw::WrongField { field: pointer.to_owned(), needs });
                }
                Some(Test::IdentifierOf { value: value?, kind_field, codes })
            }
            "requires" => {
                self.only(rule, at, &["rule", "name", "if", "then"]);
                let operand = self.any_operand(rule, "if", at);
                let then = self.operands(rule, "then", at, 1);
                Some(Test::Requires { condition: Condition { operand: operand?, among: None }, then })
            }
            "requires-when" => {
                self.only(rule, at, &["rule", "name", "if", "then"]);
                let condition = self.value_among(rule, "if", at);
                let then = self.operands(rule, "then", at, 1);
                let (operand, among) = condition?;
                Some(Test::Requires { condition: Condition { operand, among: Some(among) }, then })
            }
            "allowed-when" => {
                self.only(rule, at, &["rule", "name", "if", "then"]);
                let (condition, then) = (self.value_among(rule, "if", at), self.value_among(rule, "then", at));
                let ((operand, values), (field, among)) = (condition?, then?);
                Some(Test::AllowedWhen { condition: Condition { operand, among: Some(values) }, field, among })
            }
            "one-of-present" => {
                self.only(rule, at, &["rule", "name", "paths"]);
                Some(Test::OneOfPresent { paths: self.operands(rule, "paths", at, 2) })
            }
            other => {
                self.problem(&format!("{at}/rule"), Flaw::UnknownRule(other.to_owned()));
                None
            }
        }
    }

    fn pointer_of(&mut self, rule: &'s Json, member: &'static str, at: &str) -> Option<&'s str> {
        let pointer = rule.get(member).and_then(Json::text);
        if pointer.is_none() {
            self.problem(at, Flaw::MissingKeyword(member));
        }
        pointer
    }

    fn operand(&mut self, rule: &'s Json, member: &'static str, at: &str) -> Option<Operand> {
        let pointer = self.pointer_of(rule, member, at)?;
        self.text_field(pointer, &format!("{at}/{member}")).map(|(operand, _)| operand)
    }

    /// An operand of which only the presence matters.
    fn any_operand(&mut self, rule: &'s Json, member: &'static str, at: &str) -> Option<Operand> {
        let pointer = self.pointer_of(rule, member, at)?;
        let node = self.target(pointer, &format!("{at}/{member}"))?.node;
        Some(Operand { slot: self.slot(node), pointer: pointer.to_owned() })
    }

    /// A date or a time, or a date that may be open-ended.
    fn moment(&mut self, rule: &'s Json, member: &'static str, at: &str) -> Option<Operand> {
        let pointer = self.pointer_of(rule, member, at)?;
        let at = format!("{at}/{member}");
        let (operand, node) = self.text_field(pointer, &at)?;
        if !self.text_rules(node).is_some_and(|rules| matches!(rules.form, Form::Date { .. } | Form::DateTime)) {
            self.problem(&at, Flaw::WrongField { field: pointer.to_owned(), needs: "of format date or date-time" });
        }
        Some(operand)
    }

    /// A number, or a decimal text.
    fn quantity(&mut self, rule: &'s Json, member: &'static str, at: &str) -> Option<Operand> {
        let pointer = self.pointer_of(rule, member, at)?;
        let at = format!("{at}/{member}");
        let node = self.target(pointer, &at)?.node;
        let counts = match self.program.nodes.get(node).map(|node| &node.shape) {
            Some(Shape::Integer(_) | Shape::Number(_)) => true,
            Some(Shape::Text(rules)) => matches!(rules.form, Form::Decimal(_)),
            _ => false,
        };
        if !counts {
            self.problem(&at, Flaw::WrongField { field: pointer.to_owned(), needs: "a number or a decimal" });
        }
        Some(Operand { slot: self.slot(node), pointer: pointer.to_owned() })
    }

    /// A place in a text, counted from 1 as the standards count.
    fn position(&mut self, rule: &Json, member: &'static str, at: &str) -> Option<usize> {
        const MOST: usize = 64;
        let position = rule.get(member).and_then(Json::unsigned).and_then(|position| usize::try_from(position).ok());
        let position = position.filter(|position| (1..=MOST).contains(position));
        if position.is_none() {
            self.problem(&format!("{at}/{member}"), Flaw::OutOfBounds { least: 1, most: MOST });
        }
        position
    }

    /// `{"path": p, "in": [text…]}`.
    fn value_among(&mut self, rule: &'s Json, member: &'static str, at: &str) -> Option<(Operand, Choice)> {
        let at = format!("{at}/{member}");
        let value = rule.get(member).unwrap_or(&Json::Null);
        self.only(value, &at, &["path", "in"]);
        let operand = self.operand(value, "path", &at);
        let among = value.get("in").and_then(Json::texts);
        let among = among.filter(|values| (1..=profile::MAX_ENUM).contains(&values.len()));
        if among.is_none() {
            self.problem(&format!("{at}/in"), Flaw::Expected("an array of strings"));
        }
        Some((operand?, Choice::new(among?)))
    }

    fn operands(&mut self, rule: &'s Json, member: &'static str, at: &str, least: usize) -> Vec<Operand> {
        let at = format!("{at}/{member}");
        let Some(list) = rule.get(member) else {
            self.problem(&at, Flaw::MissingKeyword(member));
            return Vec::new();
        };
        let mut operands = Vec::new();
        for pointer in self.pointers(list, &at, least, profile::MAX_RULES) {
            if let Some(target) = self.target(pointer, &at) {
                operands.push(Operand { slot: self.slot(target.node), pointer: pointer.to_owned() });
            }
        }
        operands
    }

    /// `[[p, p], …]`.
    fn pairs(&mut self, rule: &'s Json, at: &str) -> Vec<(Operand, Operand)> {
        let at = format!("{at}/where-equal");
        let Some(list) = rule.get("where-equal") else {
            return Vec::new();
        };
        let pairs = list.array().unwrap_or_default();
        if pairs.is_empty() || pairs.len() > MAX_PAIRS {
            self.problem(&at, Flaw::OutOfBounds { least: 1, most: MAX_PAIRS });
        }
        let mut found = Vec::new();
        for (index, pair) in pairs.iter().enumerate().take(MAX_PAIRS) {
            let at = format!("{at}/{index}");
            let Some([one, other]) = pair.texts().and_then(|pair| <[&str; 2]>::try_from(pair).ok()) else {
                self.problem(&at, Flaw::Expected("an array of two JSON Pointers"));
                continue;
            };
            if let (Some((one, _)), Some((other, _))) = (self.text_field(one, &at), self.text_field(other, &at)) {
                found.push((one, other));
            }
        }
        found
    }
}
