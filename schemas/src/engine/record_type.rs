//! A record type: a schema compiled, with what people and grants need to know of its fields.

use super::compile::Compiler;
use super::facts::{Facts, Scratch};
use super::json::Json;
use super::mask::Mask;
use super::profile;
use super::program::{Program, SubjectKind};
use super::schema_error::{Flaw, SchemaError};
use super::tables::{CodeTable, CodeTables};
use super::validate;
use super::violation::Violations;
use crate::identifier;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FieldType {
    /// An object; its members are fields of their own.
    Object,
    /// An array; its element is the field under `/*`.
    Array,
    /// A string.
    Text,
    /// A whole number within 64 bits.
    Integer,
    /// A number that a double holds.
    Number,
    /// True or false.
    Boolean,
    /// Only null.
    Null,
}

impl FieldType {
    /// The name in JSON Schema.
    pub fn keyword(self) -> &'static str {
        match self {
            FieldType::Object => "object",
            FieldType::Array => "array",
            FieldType::Text => "string",
            FieldType::Integer => "integer",
            FieldType::Number => "number",
            FieldType::Boolean => "boolean",
            FieldType::Null => "null",
        }
    }

    pub(crate) fn from_keyword(keyword: &str) -> Option<FieldType> {
        let all = [Self::Object, Self::Array, Self::Text, Self::Integer, Self::Number, Self::Boolean, Self::Null];
        all.into_iter().find(|one| one.keyword() == keyword)
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// The word in a schema.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }
        }

        impl std::str::FromStr for $name {
            type Err = ();
            fn from_str(word: &str) -> Result<Self, ()> {
                match word { $($word => Ok($name::$variant),)* _ => Err(()) }
            }
        }
    };
}
pub(crate) use words;

words! {
    /// Grade of data by GB/T 43697-2024.
    Level {
        /// 一般数据.
        #[default]
        General = "general",
        /// 重要数据.
        Important = "important",
        /// 核心数据.
        Core = "core",
    }
}

words! {
    /// Personal information by PIPL articles 4 and 28.
    Personal {
        /// Not about a natural person.
        #[default]
        None = "none",
        /// Personal information.
        Personal = "personal",
        /// Sensitive personal information.
        Sensitive = "sensitive",
    }
}

/// How careful one must be with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sensitivity {
    /// Grade of the data.
    pub level: Level,
    /// Whether it is about a person.
    pub personal: Personal,
    /// How it is masked when a grant asks for that.
    pub mask: Mask,
}

/// One place in a record, for people and for grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// JSON Pointer; `*` stands for every element of an array. Empty for the record itself.
    pub pointer: String,
    /// Its type.
    pub field_type: FieldType,
    /// `null` is a value.
    pub nullable: bool,
    /// Must be there whenever the object around it is.
    pub required: bool,
    /// English title.
    pub title_en: Option<String>,
    /// Chinese title.
    pub title_zh: Option<String>,
    /// English description.
    pub description_en: Option<String>,
    /// Chinese description.
    pub description_zh: Option<String>,
    /// As declared; nothing where the schema does not say.
    pub sensitivity: Option<Sensitivity>,
    /// The code table its values come from.
    pub code_table: Option<String>,
    /// The identifier that its values are.
    pub identifier: Option<identifier::Kind>,
    /// Values of this field can be looked up.
    pub indexed: bool,
}

impl Field {
    pub(crate) fn new(pointer: String, field_type: FieldType, nullable: bool, required: bool) -> Field {
        Field {
            pointer,
            field_type,
            nullable,
            required,
            title_en: None,
            title_zh: None,
            description_en: None,
            description_zh: None,
            sensitivity: None,
            code_table: None,
            identifier: None,
            indexed: false,
        }
    }

    /// Holds a value of its own, not other fields.
    pub fn is_leaf(&self) -> bool {
        !matches!(self.field_type, FieldType::Object | FieldType::Array)
    }
}

/// A field whose values can be looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedField {
    /// The last step of the pointer, or the whole pointer with dots where that is not unique.
    pub name: String,
    /// JSON Pointer.
    pub pointer: String,
}

/// How a record type says whom a record is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubjectOf {
    /// The field always holds this kind.
    Fixed {
        /// Pointer to the identifier.
        value: String,
        /// Name of the kind.
        kind: &'static str,
    },
    /// Another field says the kind.
    Typed {
        /// Pointer to the identifier.
        value: String,
        /// Pointer to its type.
        kind_field: String,
    },
}

impl SubjectOf {
    /// The pointers that it is found at.
    pub(crate) fn fields(&self) -> Vec<String> {
        match self {
            SubjectOf::Fixed { value, .. } => vec![value.clone()],
            SubjectOf::Typed { value, kind_field } => vec![value.clone(), kind_field.clone()],
        }
    }
}

/// What a place takes, in bytes: its node and what people need to know of it.
const BYTES_A_PLACE: usize = 1024;

/// A compiled record type. Immutable; share it between threads, each with a [`Scratch`] of its own.
#[derive(Debug)]
pub struct RecordType {
    name: String,
    digest: [u8; 32],
    max_payload_bytes: usize,
    bytes: usize,
    pub(crate) program: Arc<Program>,
    fields: Vec<Field>,
    indexed: Vec<IndexedField>,
    key: Vec<String>,
    subject: Option<SubjectOf>,
    tables: BTreeMap<String, Arc<CodeTable>>,
}

impl RecordType {
    /// Compiles a schema of the profile (PROFILE.md).
    ///
    /// # Errors
    /// Every problem at once, each with a JSON Pointer into the schema.
    pub fn compile(schema: &[u8], tables: &CodeTables) -> Result<RecordType, SchemaError> {
        if schema.len() > profile::MAX_SCHEMA_BYTES {
            return Err(SchemaError::one("", Flaw::TooLarge(profile::MAX_SCHEMA_BYTES)));
        }
        let json = Json::parse(schema).map_err(|error| SchemaError::one("", Flaw::NotJson(error.to_string())))?;
        // The tables of identifiers are read now, so that checking a record never has to.
        identifier::prepare();
        let mut compiler = Compiler::new(&json, tables);
        compiler.run();
        let name = json.get("$id").and_then(Json::text).and_then(profile::record_type_name);
        if name.is_none() {
            compiler.problem("/$id", Flaw::BadId);
        }
        if json
            .get("$schema")
            .is_some_and(|dialect| dialect.text() != Some("https://json-schema.org/draft/2020-12/schema"))
        {
            compiler.problem("/$schema", Flaw::Expected("\"https://json-schema.org/draft/2020-12/schema\""));
        }
        let pattern_bytes = profile::MAX_PATTERN_TABLES_BYTES.saturating_sub(compiler.pattern_bytes_left);
        let (program, fields, problems): (Program, _, _) = compiler.into_parts();
        SchemaError::unless_none(problems)?;
        let used = fields.iter().filter_map(|field| field.code_table.as_ref());
        let tables = used.filter_map(|name| Some((name.clone(), tables.get(name)?.clone()))).collect();
        let subject = program.subject.as_ref().map(|subject| match &subject.kind {
            SubjectKind::Fixed(name) => SubjectOf::Fixed { value: subject.value.pointer.clone(), kind: name },
            SubjectKind::Field { operand, .. } => {
                SubjectOf::Typed { value: subject.value.pointer.clone(), kind_field: operand.pointer.clone() }
            }
        });
        Ok(RecordType {
            name: name.unwrap_or_default(),
            digest: Sha256::digest(schema).into(),
            max_payload_bytes: profile::MAX_PAYLOAD_BYTES,
            bytes: pattern_bytes + 3 * schema.len() + fields.len() * BYTES_A_PLACE,
            indexed: indexed_names(program.indexed.iter().map(|operand| operand.pointer.clone()).collect()),
            key: program.key.iter().map(|operand| operand.pointer.clone()).collect(),
            subject,
            program: Arc::new(program),
            fields,
            tables,
        })
    }

    /// The same record type with another limit on the size of a payload (1 MiB without this).
    #[must_use]
    pub fn with_max_payload_bytes(mut self, bytes: usize) -> RecordType {
        self.max_payload_bytes = bytes;
        self
    }

    /// `enterprise/v1`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of the schema document.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// About what it takes in memory without its code tables, in bytes, for whoever holds many to add up.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Checks a record and finds what it says about itself, in one pass.
    ///
    /// # Errors
    /// Every violation, at most [`super::MAX_VIOLATIONS`] and one that says that there were more.
    pub fn validate<'p>(&self, payload: &'p [u8], scratch: &mut Scratch) -> Result<Facts<'p>, Violations> {
        validate::run(&self.program, self.max_payload_bytes, payload, scratch)
    }

    /// Every place in a record, in the order of the schema; the first is the record itself.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The field at this pointer.
    pub fn field(&self, pointer: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.pointer == pointer)
    }

    /// The fields that can be looked up, in the order of [`Facts::indexed`].
    pub fn indexed_fields(&self) -> &[IndexedField] {
        &self.indexed
    }

    /// Pointers to the parts of the key.
    pub fn key(&self) -> &[String] {
        &self.key
    }

    /// Whom a record is about.
    pub fn subject(&self) -> Option<&SubjectOf> {
        self.subject.as_ref()
    }

    /// The code tables that the record type uses, by name.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<CodeTable>> {
        self.tables.values()
    }
}

fn indexed_names(pointers: Vec<String>) -> Vec<IndexedField> {
    let last = |pointer: &str| pointer.rsplit('/').next().unwrap_or_default().to_owned();
    let name = |pointer: &String| {
        let short = last(pointer);
        let unique = pointers.iter().filter(|other| last(other) == short).count() == 1;
        if unique { short } else { pointer.trim_start_matches('/').replace('/', ".") }
    };
    pointers.iter().map(|pointer| IndexedField { name: name(pointer), pointer: pointer.clone() }).collect()
}
