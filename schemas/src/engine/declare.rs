//! The root's declarations: key, subject, indexed fields and cross-field rules, resolved to captured places.

use super::compile::Compiler;
use super::dates;
use super::json::Json;
use super::profile;
use super::program::{
    CrossRule, Form, KindCode, NodeId, Operand, Shape, Slot, SubjectKind, SubjectPlaces, Test, TextRules,
};
use super::schema_error::Flaw;
use crate::identifier;

/// A resolved pointer.
struct Target {
    node: NodeId,
    /// Every step is required and not nullable.
    always: bool,
}

impl<'s> Compiler<'s> {
    pub(super) fn declarations(&mut self) {
        let root = self.root;
        match root.get("x-key") {
            None => self.problem("", Flaw::MissingKeyword("x-key")),
            Some(key) => self.key(key),
        }
        if let Some(subject) = root.get("x-subject") {
            self.subject(subject);
        }
        if let Some(indexed) = root.get("x-indexed") {
            self.indexed(indexed);
        }
        if let Some(rules) = root.get("x-rules") {
            self.rules(rules);
        }
    }

    fn pointers(&mut self, json: &'s Json, at: &str, least: usize, most: usize) -> Vec<&'s str> {
        let Some(pointers) = json.texts() else {
            self.problem(at, Flaw::Expected("an array of JSON Pointers"));
            return Vec::new();
        };
        if !(least..=most).contains(&pointers.len()) {
            self.problem(at, Flaw::OutOfBounds { least, most });
        }
        for (index, pointer) in pointers.iter().enumerate() {
            if pointers.iter().take(index).any(|earlier| earlier == pointer) {
                self.problem(at, Flaw::Repeated((*pointer).to_owned()));
            }
        }
        pointers.into_iter().take(most).collect()
    }

    fn target(&mut self, pointer: &str, at: &str) -> Option<Target> {
        let steps = pointer.strip_prefix('/');
        let mut target = Target { node: self.program.root, always: true };
        for step in steps.unwrap_or_default().split('/') {
            let node = self.program.nodes.get(target.node)?;
            let next = match &node.shape {
                Shape::Object(object) => {
                    object.names.find(&object.members, step.as_bytes()).map(|number| (object, number))
                }
                Shape::Array(_) => {
                    self.problem(at, Flaw::InsideArray(pointer.to_owned()));
                    return None;
                }
                _ => None,
            };
            let Some((object, number)) = next else {
                self.problem(at, Flaw::NoSuchField(pointer.to_owned()));
                return None;
            };
            let required = object.is_required(number);
            let child = object.members.get(number)?.node;
            let nullable = self.program.nodes.get(child).is_none_or(|node| node.nullable);
            target = Target { node: child, always: target.always && required && !nullable };
        }
        steps.map(|_| target)
    }

    fn slot(&mut self, node: NodeId) -> Slot {
        let next = self.program.slots;
        match self.program.nodes.get_mut(node) {
            Some(node) => *node.slot.get_or_insert_with(|| {
                self.program.slots += 1;
                next
            }),
            None => next,
        }
    }

    fn text_rules(&self, node: NodeId) -> Option<&TextRules> {
        match self.program.nodes.get(node).map(|node| &node.shape) {
            Some(Shape::Text(rules)) => Some(rules),
            _ => None,
        }
    }

    /// A text field, captured.
    fn text_field(&mut self, pointer: &str, at: &str) -> Option<(Operand, NodeId)> {
        let target = self.target(pointer, at)?;
        if self.text_rules(target.node).is_none() {
            self.problem(at, Flaw::WrongField { field: pointer.to_owned(), needs: "a string" });
            return None;
        }
        Some((Operand { slot: self.slot(target.node), pointer: pointer.to_owned() }, target.node))
    }

    fn key(&mut self, key: &'s Json) {
        for pointer in self.pointers(key, "/x-key", 1, profile::MAX_KEY_PARTS) {
            let Some(target) = self.target(pointer, "/x-key") else {
                continue;
            };
            if !target.always {
                self.problem("/x-key", Flaw::OptionalKey(pointer.to_owned()));
            }
            if let Some((operand, _)) = self.text_field(pointer, "/x-key") {
                self.program.key.push(operand);
            }
        }
    }

    fn subject(&mut self, subject: &'s Json) {
        const AT: &str = "/x-subject";
        self.only(subject, AT, &["value", "kind", "kind-field"]);
        let Some(pointer) = subject.get("value").and_then(Json::text) else {
            self.problem(AT, Flaw::MissingKeyword("value"));
            return;
        };
        let value = self.text_field(pointer, AT);
        let kind = match (subject.get("kind").map(Json::text), subject.get("kind-field").map(Json::text)) {
            (Some(Some(name)), None) => match name.parse::<identifier::Kind>() {
                Ok(kind) => Some(SubjectKind::Fixed(kind.name())),
                Err(_) => {
                    self.problem("/x-subject/kind", Flaw::UnknownIdentifier(name.to_owned()));
                    None
                }
            },
            (None, Some(Some(pointer))) => self
                .text_field(pointer, AT)
                .map(|(operand, node)| SubjectKind::Field { operand, codes: self.codes_with_kind(node) }),
            _ => {
                self.problem(AT, Flaw::Expected("either `kind` or `kind-field`"));
                None
            }
        };
        if let (Some((value, _)), Some(kind)) = (value, kind) {
            self.program.subject = Some(SubjectPlaces { value, kind });
        }
    }

    /// What the type codes of a document mean: the table's own word, and the kinds' names as they are.
    fn codes_with_kind(&self, node: NodeId) -> Vec<KindCode> {
        let Some(rules) = self.text_rules(node) else {
            return Vec::new();
        };
        let from_table =
            rules.table.iter().flat_map(|table| table.codes()).filter_map(|code| Some((&code.code, code.identifier?)));
        let from_names = rules
            .among
            .iter()
            .flat_map(|choice| &choice.members)
            .filter_map(|name| Some((name, name.parse::<identifier::Kind>().ok()?)));
        from_table.chain(from_names).map(|(code, kind)| KindCode { code: code.clone(), kind }).collect()
    }

    fn indexed(&mut self, indexed: &'s Json) {
        for pointer in self.pointers(indexed, "/x-indexed", 0, profile::MAX_INDEXED) {
            let Some(target) = self.target(pointer, "/x-indexed") else {
                continue;
            };
            match self.program.nodes.get(target.node).map(|node| &node.shape) {
                Some(Shape::Object(_) | Shape::Array(_)) => {
                    self.problem("/x-indexed", Flaw::WrongField { field: pointer.to_owned(), needs: "a scalar" });
                }
                _ => {
                    let slot = self.slot(target.node);
                    self.program.indexed.push(Operand { slot, pointer: pointer.to_owned() });
                    if let Some(field) = self.fields.get_mut(target.node) {
                        field.indexed = true;
                    }
                }
            }
        }
    }

    fn rules(&mut self, rules: &'s Json) {
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
            if let Some(test) = self.test(rule, &at) {
                self.program.rules.push(CrossRule { name: name.map(str::to_owned), test });
            }
        }
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
            "equal" => {
                self.only(rule, at, &["rule", "name", "left", "right"]);
                let (left, right) = (self.operand(rule, "left", at), self.operand(rule, "right", at));
                Some(Test::Equal { left: left?, right: right? })
            }
            "requires" => {
                self.only(rule, at, &["rule", "name", "if", "then"]);
                let condition = self.any_operand(rule, "if", at);
                let then = self.operands(rule, "then", at, 1);
                Some(Test::Requires { condition: condition?, among: None, then })
            }
            "requires-when" => {
                self.only(rule, at, &["rule", "name", "if", "then"]);
                let then = self.operands(rule, "then", at, 1);
                let at = format!("{at}/if");
                let condition = rule.get("if").unwrap_or(&Json::Null);
                self.only(condition, &at, &["path", "in"]);
                let operand = self.operand(condition, "path", &at);
                let among = condition
                    .get("in")
                    .and_then(Json::texts)
                    .filter(|values| (1..=profile::MAX_ENUM).contains(&values.len()));
                if among.is_none() {
                    self.problem(&format!("{at}/in"), Flaw::Expected("an array of strings"));
                }
                Some(Test::Requires {
                    condition: operand?,
                    among: Some(among?.into_iter().map(str::to_owned).collect()),
                    then,
                })
            }
            "one-of-present" => {
                self.only(rule, at, &["rule", "name", "paths"]);
                Some(Test::OneOfPresent { paths: self.operands(rule, "paths", at, 2) })
            }
            "organisation-code-of" => {
                self.only(rule, at, &["rule", "name", "organisation-code", "uscc"]);
                let (code, uscc) = (self.operand(rule, "organisation-code", at), self.operand(rule, "uscc", at));
                Some(Test::OrganisationCodeOf { organisation_code: code?, uscc: uscc? })
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
        let target = self.target(pointer, &format!("{at}/{member}"))?;
        Some(Operand { slot: self.slot(target.node), pointer: pointer.to_owned() })
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
}

/// Whether `later` is not before `earlier`, for two texts that are valid dates or times of one offset: they sort as text. A date
/// against a time is compared by the day.
pub(super) fn not_before(later: &[u8], earlier: &[u8]) -> bool {
    if later == dates::LONG_TERM.as_bytes() {
        return true;
    }
    if earlier == dates::LONG_TERM.as_bytes() {
        return false;
    }
    let common = later.len().min(earlier.len());
    later.get(..common) >= earlier.get(..common)
}
