//! The view that a grant allows: some fields clear, some masked, some as keyed hashes, the rest absent.
//!
//! A projection is compiled from the grant's field rules and then applied to any number of valid records in one pass each, writing
//! the reduced record. It holds no key; two grants that show the same have the same [`ProjectionId`], so that a record is projected
//! once for all of them. Whatever a rule does not name is absent: forgetting a field can only show less.

use super::escapes;
use super::hash_keys::HashKeys;
use super::lexer::{self, Cursor, Stop};
use super::mask::Mask;
use super::program::{NodeId, ObjectRules, Program, Shape};
use super::record_type::{FieldType, RecordType};
use super::schema_error::{Flaw, Problem, SchemaError};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// How a grant shows a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Treatment {
    /// As it is; for an object or array, all that is in it.
    Clear,
    /// Through the mask that the schema declares for it.
    Masked,
    /// As a keyed hash, so that equal values can be matched and nothing else learned.
    KeyedHash,
}

/// One line of a grant. A pointer that is not named is absent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FieldRule {
    /// JSON Pointer of a field; `*` for every element of an array.
    pub pointer: String,
    /// How it is shown.
    pub treatment: Treatment,
}

/// Says which view this is: equal for equal views of one version of a record type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProjectionId([u8; 32]);

impl ProjectionId {
    /// SHA-256 over the record type's schema and the treatment of every leaf.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Display for ProjectionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Why a record could not be projected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProjectError {
    /// The payload is no valid record of the projection's type. What was written so far has been taken back.
    #[error("the payload is no valid record of this type")]
    NotValid,
}

impl From<Stop> for ProjectError {
    fn from(_: Stop) -> Self {
        ProjectError::NotValid
    }
}

/// What happens to one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Absent,
    Clear,
    Masked(Mask),
    /// With the number of its pointer.
    Hashed(usize),
    /// Some of what is inside is shown.
    Partly,
}

/// A compiled view. Immutable; share it.
#[derive(Debug, Clone)]
pub struct Projection {
    program: Arc<Program>,
    /// At the node's index.
    actions: Vec<Action>,
    hashed: Vec<String>,
    id: ProjectionId,
}

impl RecordType {
    /// Compiles a grant's field rules. Of a rule for an object and one for a field in it, the nearer wins.
    ///
    /// # Errors
    /// Every rule that names no field, names one twice, or asks for a mask that the schema does not declare, or for mask or hash of
    /// what is no single value.
    pub fn projection(&self, rules: &[FieldRule]) -> Result<Projection, SchemaError> {
        let fields = self.fields();
        let mut problems = Vec::new();
        let mut given: Vec<Option<Action>> = vec![None; fields.len()];
        let mut hashed = Vec::new();
        for rule in rules {
            let mut problem = |flaw| problems.push(Problem { pointer: rule.pointer.clone(), flaw });
            let Some((number, field)) = fields.iter().enumerate().find(|(_, field)| field.pointer == rule.pointer)
            else {
                problem(Flaw::NoSuchField(rule.pointer.clone()));
                continue;
            };
            let mask = field.sensitivity.map(|declared| declared.mask).unwrap_or_default();
            let action = match rule.treatment {
                Treatment::Clear => Action::Clear,
                Treatment::Masked if field.field_type == FieldType::Text && mask != Mask::None => Action::Masked(mask),
                Treatment::KeyedHash if field.is_leaf() => {
                    hashed.push(rule.pointer.clone());
                    Action::Hashed(hashed.len() - 1)
                }
                Treatment::Masked | Treatment::KeyedHash => {
                    problem(Flaw::NoTreatment(rule.pointer.clone()));
                    continue;
                }
            };
            let place = given.get_mut(number);
            if place.as_ref().is_some_and(|place| place.is_some()) {
                problem(Flaw::Repeated(rule.pointer.clone()));
            }
            if let Some(place) = place {
                *place = Some(action);
            }
        }
        SchemaError::unless_none(problems)?;
        let mut actions = vec![Action::Absent; fields.len()];
        settle(&self.program, &given, self.program.root, Action::Absent, &mut actions);
        let id = self.projection_id(&actions);
        Ok(Projection { program: Arc::clone(&self.program), actions, hashed, id })
    }

    fn projection_id(&self, actions: &[Action]) -> ProjectionId {
        let mut digest = Sha256::new_with_prefix(b"shuqiao projection v1\0");
        digest.update(self.digest());
        for (field, action) in self.fields().iter().zip(actions).filter(|(field, _)| field.is_leaf()) {
            digest.update(field.pointer.as_bytes());
            digest.update(match action {
                Action::Absent | Action::Partly => [0, 0],
                Action::Clear => [0, 1],
                Action::Hashed(_) => [0, 2],
                Action::Masked(_) => [0, 3],
            });
        }
        ProjectionId(digest.finalize().into())
    }
}

/// Settles the action of a place and of all below it. `around` is what the nearest rule further out says.
fn settle(program: &Program, given: &[Option<Action>], node: NodeId, around: Action, actions: &mut [Action]) -> Action {
    let own = given.get(node).copied().flatten().unwrap_or(around);
    let mut children = Vec::new();
    match program.nodes.get(node).map(|node| &node.shape) {
        Some(Shape::Object(object)) => children.extend(object.members.iter().map(|member| member.node)),
        Some(Shape::Array(array)) => children.push(array.items),
        _ => {}
    }
    // Without children this is a leaf; with them, it is what all of them are, or partly.
    let mut settled = None;
    for child in children {
        let one = settle(program, given, child, own, actions);
        settled = Some(match settled {
            None if matches!(one, Action::Clear | Action::Absent) => one,
            Some(same) if same == one && matches!(one, Action::Clear | Action::Absent) => one,
            _ => Action::Partly,
        });
    }
    let action = settled.unwrap_or(own);
    if let Some(place) = actions.get_mut(node) {
        *place = action;
    }
    action
}

impl Projection {
    /// Says which view this is.
    pub fn id(&self) -> ProjectionId {
        self.id
    }

    /// Shows every field as it is: the bytes pass unchanged.
    pub fn is_identity(&self) -> bool {
        self.action(self.program.root) == Action::Clear
    }

    /// Appends the reduced record to `out`. The payload must be a valid record of the type; clear values keep their bytes, names are
    /// written compactly in the order of the payload. Allocates only for `out`, for masks and for values with escapes.
    ///
    /// # Errors
    /// [`ProjectError::NotValid`] if it is not; then `out` is as it was.
    pub fn apply(&self, payload: &[u8], keys: &HashKeys, out: &mut Vec<u8>) -> Result<(), ProjectError> {
        if self.is_identity() {
            out.extend_from_slice(payload);
            return Ok(());
        }
        let text = lexer::utf8(payload).map_err(|_| ProjectError::NotValid)?;
        let length_before = out.len();
        let mut writer = Writer { projection: self, cursor: Cursor::new(text), keys, out, masked: String::new() };
        let written = writer.record();
        if written.is_err() {
            out.truncate(length_before);
        }
        written
    }

    fn action(&self, node: NodeId) -> Action {
        self.actions.get(node).copied().unwrap_or(Action::Absent)
    }
}

struct Writer<'a, 'p> {
    projection: &'a Projection,
    cursor: Cursor<'p>,
    keys: &'a HashKeys,
    out: &'a mut Vec<u8>,
    masked: String,
}

impl Writer<'_, '_> {
    fn record(&mut self) -> Result<(), ProjectError> {
        self.cursor.skip_space();
        let root = self.projection.program.root;
        match self.projection.action(root) {
            Action::Absent => {
                self.cursor.skip_value()?;
                self.out.extend_from_slice(b"{}");
            }
            action => self.value(root, action)?,
        }
        self.cursor.skip_space();
        if self.cursor.at_end() { Ok(()) } else { Err(ProjectError::NotValid) }
    }

    fn value(&mut self, id: NodeId, action: Action) -> Result<(), ProjectError> {
        if action != Action::Clear && self.cursor.eat(b"null") {
            self.out.extend_from_slice(b"null");
            return Ok(());
        }
        let projection = self.projection;
        match (action, projection.program.nodes.get(id).map(|node| &node.shape)) {
            (Action::Clear, _) => self.copy(self.cursor.at),
            (Action::Masked(mask), _) => self.masked(mask),
            (Action::Hashed(number), _) => self.hashed(number),
            (Action::Partly, Some(Shape::Object(object))) => self.object(object),
            (Action::Partly, Some(Shape::Array(array))) => self.array(array.items),
            _ => Err(ProjectError::NotValid),
        }
    }

    /// Copies the bytes from `start` to the end of the value that comes next.
    fn copy(&mut self, start: usize) -> Result<(), ProjectError> {
        self.cursor.skip_value()?;
        self.out.extend_from_slice(self.cursor.slice(start, self.cursor.at).as_bytes());
        Ok(())
    }

    fn object(&mut self, rules: &ObjectRules) -> Result<(), ProjectError> {
        if self.cursor.peek() != b'{' {
            return Err(ProjectError::NotValid);
        }
        self.out.push(b'{');
        self.cursor.enter()?;
        let (mut next, mut first) = (0, true);
        if self.cursor.peek() == b'}' {
            self.cursor.leave();
        } else {
            loop {
                let start = self.cursor.at;
                let Some((number, compact)) = rules.next_member(&mut self.cursor, next)? else {
                    return Err(ProjectError::NotValid);
                };
                next = number + 1;
                let Some(member) = rules.members.get(number) else {
                    return Err(ProjectError::NotValid);
                };
                let action = self.projection.action(member.node);
                if action == Action::Absent {
                    self.cursor.skip_value()?;
                } else {
                    if !std::mem::take(&mut first) {
                        self.out.push(b',');
                    }
                    if compact && action == Action::Clear {
                        self.copy(start)?;
                    } else {
                        self.out.extend_from_slice(&member.compact.bytes);
                        self.value(member.node, action)?;
                    }
                }
                if !self.cursor.next_or(b'}')? {
                    break;
                }
            }
        }
        self.out.push(b'}');
        Ok(())
    }

    fn array(&mut self, items: NodeId) -> Result<(), ProjectError> {
        if self.cursor.peek() != b'[' {
            return Err(ProjectError::NotValid);
        }
        let action = self.projection.action(items);
        self.out.push(b'[');
        self.cursor.enter()?;
        if self.cursor.peek() == b']' {
            self.cursor.leave();
        } else {
            loop {
                self.value(items, action)?;
                if !self.cursor.next_or(b']')? {
                    break;
                }
                self.out.push(b',');
            }
        }
        self.out.push(b']');
        Ok(())
    }

    fn masked(&mut self, mask: Mask) -> Result<(), ProjectError> {
        let token = self.cursor.string()?;
        let value = self.cursor.decode(token);
        self.masked.clear();
        mask.apply(&value, &mut self.masked);
        self.out.push(b'"');
        escapes::escape(&self.masked, self.out);
        self.out.push(b'"');
        Ok(())
    }

    fn hashed(&mut self, number: usize) -> Result<(), ProjectError> {
        let pointer = self.projection.hashed.get(number).map_or("", String::as_str);
        let hash = if self.cursor.peek() == b'"' {
            let token = self.cursor.string()?;
            self.keys.hash(pointer, &self.cursor.decode(token))
        } else {
            let start = self.cursor.at;
            self.cursor.skip_value()?;
            self.keys.hash(pointer, self.cursor.slice(start, self.cursor.at))
        };
        self.out.push(b'"');
        self.out.extend_from_slice(&hash);
        self.out.push(b'"');
        Ok(())
    }
}
