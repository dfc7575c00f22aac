//! The root's declarations: key, subject and indexed fields, resolved to captured places. The rules are in [`super::declare_rules`].

use super::compile::Compiler;
use super::json::Json;
use super::profile;
use super::program::{KindCode, NodeId, Operand, Shape, Slot, SubjectKind, SubjectPlaces, TextRules};
use super::schema_error::Flaw;
use crate::identifier;

/// Whether a pointer may go through an array.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Stars {
    /// No: there must be one value.
    #[default]
    Refused,
    /// Through any one array.
    Free,
    /// Through this array and no other.
    Through(NodeId),
}

/// A resolved pointer.
pub(super) struct Target {
    pub(super) node: NodeId,
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

    pub(super) fn pointers(&mut self, json: &'s Json, at: &str, least: usize, most: usize) -> Vec<&'s str> {
        let Some(pointers) = json.texts() else {
            self.problem(at, Flaw::Expected("an array of JSON Pointers"));
            return Vec::new();
        };
        if !(least..=most).contains(&pointers.len()) {
            self.problem(at, Flaw::OutOfBounds { least, most });
            return Vec::new();
        }
        for (index, pointer) in pointers.iter().enumerate() {
            if pointers.iter().take(index).any(|earlier| earlier == pointer) {
                self.problem(at, Flaw::Repeated((*pointer).to_owned()));
            }
        }
        pointers
    }

    pub(super) fn target(&mut self, pointer: &str, at: &str) -> Option<Target> {
        let steps = pointer.strip_prefix('/');
        let mut target = Target { node: self.program.root, always: true };
        for step in steps.unwrap_or_default().split('/') {
            let node = self.program.nodes.get(target.node)?;
            let next = match &node.shape {
                Shape::Object(object) => {
                    object.names.find(&object.members, step.as_bytes()).map(|number| (object, number))
                }
                Shape::Array(array) => {
                    let free = match self.stars {
                        Stars::Refused => false,
                        Stars::Free => true,
                        Stars::Through(known) => known == target.node,
                    };
                    if !free || step != "*" {
                        self.problem(at, Flaw::InsideArray(pointer.to_owned()));
                        return None;
                    }
                    self.stars = Stars::Through(target.node);
                    target = Target { node: array.items, always: false };
                    continue;
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

    pub(super) fn slot(&mut self, node: NodeId) -> Slot {
        let next = self.program.slots;
        match self.program.nodes.get_mut(node) {
            Some(node) => *node.slot.get_or_insert_with(|| {
                self.program.slots += 1;
                next
            }),
            None => next,
        }
    }

    pub(super) fn text_rules(&self, node: NodeId) -> Option<&TextRules> {
        match self.program.nodes.get(node).map(|node| &node.shape) {
            Some(Shape::Text(rules)) => Some(rules),
            _ => None,
        }
    }

    /// A text field, captured.
    pub(super) fn text_field(&mut self, pointer: &str, at: &str) -> Option<(Operand, NodeId)> {
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
    pub(super) fn codes_with_kind(&self, node: NodeId) -> Vec<KindCode> {
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
}
