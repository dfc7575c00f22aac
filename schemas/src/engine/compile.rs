//! From a schema document to a [`Program`], or to every reason why not.
//!
//! The compiler goes on after a problem: whoever writes a record type sees all of them at once. What it builds after a problem is
//! thrown away, so it may be wrong there; it may not panic or cost more than the bounds of [`super::profile`].
//!
//! What bounds the compiler itself, since a department may send anything: a definition is expanded for each of its uses, but no more
//! than [`profile::MAX_PLACES`] in all; a single value's rules are compiled once, however many places refer to them; a list is measured
//! before it is read; and after [`MAX_PROBLEMS`] problems it gives up.

use super::declare::Stars;
use super::json::Json;
use super::profile::{self, Place};
use super::program::{ArrayRules, Literal, Member, NameTable, Node, NodeId, ObjectRules, Program, Shape};
use super::record_type::{Field, FieldType, Sensitivity};
use super::schema_error::{Flaw, MAX_PROBLEMS, Problem};
use super::tables::CodeTables;
use std::collections::{HashMap, HashSet};

/// The compiler's state.
pub(crate) struct Compiler<'s> {
    pub(super) root: &'s Json,
    pub(super) tables: &'s CodeTables,
    problems: Vec<Problem>,
    told: HashSet<Problem>,
    pub(super) program: Program,
    /// What people need to know of each node, at the node's index.
    pub(super) fields: Vec<Field>,
    /// Definitions being expanded, innermost last.
    open: Vec<&'s str>,
    used: HashSet<&'s str>,
    /// Places so far, those of definitions that nothing uses among them.
    places: usize,
    /// The rules of single values, by where their schema is in memory: in the document that is borrowed all the while.
    scalars: HashMap<*const Json, Scalar>,
    /// What the tables of patterns may still take.
    pub(super) pattern_bytes_left: usize,
    /// What the pointer at hand may go through.
    pub(super) stars: Stars,
}

/// What a schema of a single value compiles to.
#[derive(Clone)]
struct Scalar {
    shape: Shape,
    nullable: bool,
}

/// Where the compiler stands: in the document and in the record.
#[derive(Clone)]
pub(super) struct At {
    pub(super) schema: String,
    record: String,
    depth: usize,
    required: bool,
}

impl At {
    pub(super) fn below(&self, keyword: &str) -> String {
        format!("{}/{keyword}", self.schema)
    }
}

impl<'s> Compiler<'s> {
    pub(crate) fn new(root: &'s Json, tables: &'s CodeTables) -> Self {
        Compiler {
            root,
            tables,
            problems: Vec::new(),
            told: HashSet::new(),
            program: Program::default(),
            fields: Vec::new(),
            open: Vec::new(),
            used: HashSet::new(),
            places: 0,
            scalars: HashMap::new(),
            pattern_bytes_left: profile::MAX_PATTERN_TABLES_BYTES,
            stars: Stars::Refused,
        }
    }

    /// Compiles the whole document; look at `problems` before using anything.
    pub(crate) fn run(&mut self) {
        let at = At { schema: String::new(), record: String::new(), depth: 1, required: true };
        self.program.root = self.schema(self.root, &at);
        if !matches!(self.program.nodes.get(self.program.root).map(|node| &node.shape), Some(Shape::Object(_))) {
            self.problem("", Flaw::Expected("a record: `type` object"));
        }
        self.declarations();
        self.unused_definitions();
    }

    /// Notes a problem, once: a definition's is found at each of its uses.
    pub(super) fn problem(&mut self, pointer: &str, flaw: Flaw) {
        let problem = Problem { pointer: pointer.to_owned(), flaw };
        if !self.full() && self.told.insert(problem.clone()) {
            self.problems.push(problem);
        }
    }

    /// So many problems are told that to look for more would only cost time.
    pub(super) fn full(&self) -> bool {
        self.problems.len() >= MAX_PROBLEMS
    }

    /// The problems, in the order in which they were found.
    pub(crate) fn into_parts(self) -> (Program, Vec<Field>, Vec<Problem>) {
        (self.program, self.fields, self.problems)
    }

    /// The definitions of the document, as many as there may be.
    fn definitions(&mut self) -> &'s [(String, Json)] {
        let definitions = self.root.get("$defs").and_then(Json::members).unwrap_or_default();
        if definitions.len() > profile::MAX_DEFINITIONS {
            self.problem("/$defs", Flaw::OutOfBounds { least: 0, most: profile::MAX_DEFINITIONS });
        }
        definitions.get(..profile::MAX_DEFINITIONS).unwrap_or(definitions)
    }

    /// A definition that nothing refers to is held to the profile too; what it compiles to is dropped.
    fn unused_definitions(&mut self) {
        for (name, schema) in self.definitions() {
            if !self.used.contains(name.as_str()) {
                let (nodes, fields) = (self.program.nodes.len(), self.fields.len());
                let at = At { schema: format!("/$defs/{name}"), record: String::new(), depth: 1, required: false };
                self.open.push(name);
                self.schema(schema, &at);
                self.open.pop();
                self.program.nodes.truncate(nodes);
                self.fields.truncate(fields);
            }
        }
    }

    fn schema(&mut self, schema: &'s Json, at: &At) -> NodeId {
        if self.full() {
            return 0;
        }
        if at.depth > profile::MAX_DEPTH || self.open.len() > profile::MAX_DEPTH {
            self.problem(&at.schema, Flaw::TooDeep(profile::MAX_DEPTH));
            return self.placeholder(at);
        }
        if self.places >= profile::MAX_PLACES {
            self.problem("", Flaw::TooManyPlaces(profile::MAX_PLACES));
            return 0;
        }
        if schema.members().is_none() {
            self.problem(&at.schema, Flaw::Expected("a schema object"));
            return self.placeholder(at);
        }
        match schema.get("$ref") {
            Some(reference) => self.reference(schema, reference, at),
            None => self.typed(schema, at),
        }
    }

    fn placeholder(&mut self, at: &At) -> NodeId {
        self.node(Shape::Null, true, Field::new(at.record.clone(), FieldType::Null, true, at.required))
    }

    fn node(&mut self, shape: Shape, nullable: bool, field: Field) -> NodeId {
        self.places += 1;
        self.program.nodes.push(Node { nullable, slot: None, shape });
        self.fields.push(field);
        self.program.nodes.len() - 1
    }

    /// `$ref` with annotations beside it: the definition's place, under this place's titles.
    fn reference(&mut self, schema: &'s Json, reference: &'s Json, at: &At) -> NodeId {
        self.keywords(schema, at, |place| matches!(place, Place::Reference | Place::Anywhere));
        let text = reference.text().unwrap_or_default();
        let definitions = self.definitions();
        let found = text.strip_prefix("#/$defs/").and_then(|name| definitions.iter().find(|(known, _)| known == name));
        let Some((name, definition)) = found else {
            self.problem(&at.below("$ref"), Flaw::UnknownReference(text.to_owned()));
            return self.placeholder(at);
        };
        if self.open.contains(&name.as_str()) {
            self.problem(&at.below("$ref"), Flaw::SelfReference);
            return self.placeholder(at);
        }
        self.used.insert(name);
        self.open.push(name);
        let id = self.schema(definition, &At { schema: format!("/$defs/{name}"), ..at.clone() });
        self.open.pop();
        self.annotate(schema, at, id);
        id
    }

    /// Checks that every member is a keyword of the profile and may stand here.
    fn keywords(&mut self, schema: &Json, at: &At, allowed: impl Fn(Place) -> bool) {
        for (keyword, _) in schema.members().unwrap_or_default() {
            if self.full() {
                return;
            }
            match profile::place(keyword) {
                None => self.problem(&at.schema, Flaw::UnknownKeyword(keyword.clone())),
                Some(Place::Root) if at.schema.is_empty() => {}
                Some(place) if allowed(place) => {}
                Some(_) => self.problem(&at.schema, Flaw::MisplacedKeyword(keyword.clone())),
            }
        }
    }

    fn typed(&mut self, schema: &'s Json, at: &At) -> NodeId {
        let Some((field_type, null_allowed)) = self.type_of(schema, at) else {
            self.keywords(schema, at, |_| true);
            return self.placeholder(at);
        };
        self.keywords(schema, at, |place| match place {
            Place::Anywhere | Place::Typed => true,
            Place::Object => field_type == FieldType::Object,
            Place::Array => field_type == FieldType::Array,
            Place::Text => field_type == FieldType::Text,
            Place::Numeric => matches!(field_type, FieldType::Integer | FieldType::Number),
            Place::Scalar => {
                matches!(field_type, FieldType::Text | FieldType::Integer | FieldType::Number | FieldType::Boolean)
            }
            Place::Root | Place::Reference => false,
        });
        let id = match field_type {
            FieldType::Object | FieldType::Array => {
                let field = Field::new(at.record.clone(), field_type, null_allowed, at.required);
                // The node comes before its children, so that the arena is in the order of the document.
                let id = self.node(Shape::Null, null_allowed, field);
                let shape =
                    if field_type == FieldType::Object { self.object(schema, at) } else { self.array(schema, at) };
                if let Some(node) = self.program.nodes.get_mut(id) {
                    node.shape = shape;
                }
                id
            }
            _ => {
                let Scalar { shape, nullable } = self.scalar(schema, at, field_type, null_allowed);
                let mut field = Field::new(at.record.clone(), field_type, nullable, at.required);
                if let Shape::Text(rules) = &shape {
                    field.code_table = rules.table.as_ref().map(|table| table.name().to_owned());
                    field.identifier = rules.identifier;
                }
                self.node(shape, nullable, field)
            }
        };
        self.annotate(schema, at, id);
        id
    }

    /// A single value's rules; from the second place of a definition on, those of the first.
    fn scalar(&mut self, schema: &'s Json, at: &At, field_type: FieldType, null_allowed: bool) -> Scalar {
        if let Some(known) = self.scalars.get(&std::ptr::from_ref(schema)) {
            return known.clone();
        }
        let among = self.among(schema, at);
        let allows = |value: &Json| among.as_ref().is_none_or(|among| among.contains(&value));
        let nullable = null_allowed && allows(&Json::Null);
        let shape = match field_type {
            FieldType::Text => self.text(schema, at, among.as_deref()),
            FieldType::Integer => self.integer(schema, at, among.as_deref()),
            FieldType::Number => self.number(schema, at, among.as_deref()),
            FieldType::Boolean => Shape::Boolean { on: allows(&Json::Bool(true)), off: allows(&Json::Bool(false)) },
            FieldType::Null | FieldType::Object | FieldType::Array => Shape::Null,
        };
        let scalar = Scalar { shape, nullable };
        self.scalars.insert(schema, scalar.clone());
        scalar
    }

    fn type_of(&mut self, schema: &Json, at: &At) -> Option<(FieldType, bool)> {
        let name = |json: &Json| json.text().and_then(FieldType::from_keyword);
        let found = match schema.get("type") {
            None => {
                self.problem(&at.schema, Flaw::MissingKeyword("type"));
                return None;
            }
            Some(Json::Array(names)) => match names.as_slice() {
                [one, null] if null.text() == Some("null") => {
                    name(one).filter(|one| *one != FieldType::Null).map(|one| (one, true))
                }
                _ => None,
            },
            Some(one) => name(one).map(|one| (one, one == FieldType::Null)),
        };
        if found.is_none() {
            self.problem(&at.below("type"), Flaw::Expected("a type's name, or an array of one and \"null\""));
        }
        found
    }

    fn object(&mut self, schema: &'s Json, at: &At) -> Shape {
        match schema.get("additionalProperties") {
            Some(Json::Bool(false)) => {}
            Some(_) => self.problem(&at.below("additionalProperties"), Flaw::Expected("false")),
            None => self.problem(&at.schema, Flaw::MissingKeyword("additionalProperties")),
        }
        let properties = schema.get("properties").and_then(Json::members).unwrap_or_default();
        if properties.is_empty() || properties.len() > profile::MAX_PROPERTIES {
            self.problem(&at.below("properties"), Flaw::OutOfBounds { least: 1, most: profile::MAX_PROPERTIES });
        }
        let required = match schema.get("required") {
            None => Vec::new(),
            Some(list) => list.texts().filter(|list| list.len() <= profile::MAX_PROPERTIES).unwrap_or_else(|| {
                self.problem(&at.below("required"), Flaw::Expected("an array of names of its properties"));
                Vec::new()
            }),
        };
        for (index, name) in required.iter().enumerate() {
            if !properties.iter().any(|(known, _)| known == name) {
                self.problem(&at.below("required"), Flaw::NoSuchProperty((*name).to_owned()));
            }
            if required.iter().take(index).any(|earlier| earlier == name) {
                self.problem(&at.below("required"), Flaw::Repeated((*name).to_owned()));
            }
        }
        let mut members = Vec::with_capacity(properties.len());
        let mut bits = 0u128;
        for (number, (name, property)) in properties.iter().enumerate().take(profile::MAX_PROPERTIES) {
            let below = At {
                schema: format!("{}/properties/{name}", at.schema),
                record: format!("{}/{name}", at.record),
                depth: at.depth + 1,
                required: required.contains(&name.as_str()),
            };
            if !profile::is_member_name(name) {
                self.problem(&below.schema, Flaw::BadName);
            }
            bits |= u128::from(below.required) << number;
            let node = self.schema(property, &below);
            members.push(Member {
                name: name.as_str().into(),
                compact: Literal::new(format!("\"{name}\":").into_bytes()),
                node,
                bit: 1u128 << number,
            });
        }
        let names = NameTable::new(&members);
        Shape::Object(Box::new(ObjectRules { members, required: bits, names }))
    }

    fn array(&mut self, schema: &'s Json, at: &At) -> Shape {
        let most = self.bound(schema, at, "maxItems", profile::MAX_ITEMS);
        if most.is_none() && schema.get("maxItems").is_none() {
            self.problem(&at.schema, Flaw::MissingKeyword("maxItems"));
        }
        let least = self.bound(schema, at, "minItems", profile::MAX_ITEMS);
        self.ordered(at, least, most);
        let below =
            At { schema: at.below("items"), record: format!("{}/*", at.record), depth: at.depth + 1, required: false };
        let items = match schema.get("items") {
            Some(items) => self.schema(items, &below),
            None => {
                self.problem(&at.schema, Flaw::MissingKeyword("items"));
                0
            }
        };
        Shape::Array(ArrayRules { items, least: least.unwrap_or(0), most: most.unwrap_or(0), group: None })
    }

    pub(super) fn bound(&mut self, schema: &Json, at: &At, keyword: &str, most: usize) -> Option<usize> {
        let value = schema.get(keyword)?;
        let count = value.integer().and_then(|count| usize::try_from(count).ok()).filter(|&count| count <= most);
        if count.is_none() {
            self.problem(&at.below(keyword), Flaw::OutOfBounds { least: 0, most });
        }
        count
    }

    pub(super) fn ordered<T: PartialOrd>(&mut self, at: &At, least: Option<T>, most: Option<T>) {
        if let (Some(least), Some(most)) = (least, most)
            && least > most
        {
            self.problem(&at.schema, Flaw::EmptyRange);
        }
    }

    pub(super) fn text_of(&mut self, schema: &'s Json, at: &At, keyword: &str) -> Option<&'s str> {
        let value = schema.get(keyword)?;
        let text = value.text();
        if text.is_none() {
            self.problem(&at.below(keyword), Flaw::Expected("a string"));
        }
        text
    }

    /// Every member of `json` must be one of `known`.
    pub(super) fn only(&mut self, json: &Json, pointer: &str, known: &[&str]) {
        match json.members() {
            None => self.problem(pointer, Flaw::Expected("an object")),
            Some(members) => {
                for (name, _) in members.iter().filter(|(name, _)| !known.contains(&name.as_str())) {
                    if self.full() {
                        return;
                    }
                    self.problem(pointer, Flaw::UnknownKeyword(name.clone()));
                }
            }
        }
    }

    /// Titles, descriptions and sensitivity; a reference's own win over its definition's.
    fn annotate(&mut self, schema: &'s Json, at: &At, id: NodeId) {
        let texts = [
            ("title", profile::MAX_TITLE_BYTES),
            ("x-title-zh", profile::MAX_TITLE_BYTES),
            ("description", profile::MAX_DESCRIPTION_BYTES),
            ("x-description-zh", profile::MAX_DESCRIPTION_BYTES),
        ]
        .map(|(keyword, most)| {
            let text = self.text_of(schema, at, keyword)?;
            if text.len() > most {
                self.problem(&at.below(keyword), Flaw::OutOfBounds { least: 0, most });
                return None;
            }
            Some(text)
        });
        if schema.get("examples").is_some_and(|examples| examples.array().is_none()) {
            self.problem(&at.below("examples"), Flaw::Expected("an array"));
        }
        let sensitivity =
            schema.get("x-sensitivity").map(|declared| self.sensitivity(declared, &at.below("x-sensitivity")));
        let Some(field) = self.fields.get_mut(id) else {
            return;
        };
        let [title_en, title_zh, description_en, description_zh] = texts;
        let slots = [
            (&mut field.title_en, title_en),
            (&mut field.title_zh, title_zh),
            (&mut field.description_en, description_en),
            (&mut field.description_zh, description_zh),
        ];
        for (slot, text) in slots {
            if let Some(text) = text {
                *slot = Some(text.to_owned());
            }
        }
        if sensitivity.is_some() {
            field.sensitivity = sensitivity;
        }
    }

    fn sensitivity(&mut self, declared: &Json, pointer: &str) -> Sensitivity {
        self.only(declared, pointer, &["level", "personal", "mask"]);
        let mut member = |name: &'static str, needs: &'static str, accepted: bool| {
            if !accepted {
                self.problem(&format!("{pointer}/{name}"), Flaw::Expected(needs));
            }
        };
        let text = |name: &str| declared.get(name).and_then(Json::text).unwrap_or_default();
        let (level, personal, mask) =
            (text("level").parse(), text("personal").parse(), declared.get("mask").map(|_| text("mask").parse()));
        member("level", "general, important or core", level.is_ok());
        member("personal", "none, personal or sensitive", personal.is_ok());
        member("mask", "a mask of the profile", mask.as_ref().is_none_or(Result::is_ok));
        Sensitivity {
            level: level.unwrap_or_default(),
            personal: personal.unwrap_or_default(),
            mask: mask.and_then(Result::ok).unwrap_or_default(),
        }
    }
}
