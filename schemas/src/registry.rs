//! The record types and code tables that come with the crate, and those that join them at run time.
//!
//! The documents under `schemas/` are compiled into the program, so that every node of one release holds the same standards and no
//! file can go missing. Promises: a name never changes its meaning (a record type that is there is never replaced: a changed one is
//! `v2` beside `v1`), and a type registered at run time is held to the same profile as ours. Refuses: a second document under a taken
//! name, and more types than [`MAX_RECORD_TYPES`] or than [`MAX_REGISTRY_BYTES`] have room for.

use crate::engine::{CodeTables, Flaw, RecordType, SchemaError};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// Most record types in one registry. A city has some fifty departments; this bounds what they can make a node hold.
pub const MAX_RECORD_TYPES: usize = 4096;

/// Most memory that all record types of one registry may take, about, in bytes: four thousand of the largest would take thirty gigabytes.
pub const MAX_REGISTRY_BYTES: usize = 256 << 20;

/// The record types of this release.
const SCHEMAS: [&[u8]; 8] = [
    include_bytes!("../enterprise/v1/schema.json"),
    include_bytes!("../licence/v1/schema.json"),
    include_bytes!("../penalty/v1/schema.json"),
    include_bytes!("../certificate/v1/schema.json"),
    include_bytes!("../item/v1/schema.json"),
    include_bytes!("../case/v1/schema.json"),
    include_bytes!("../work-order/v1/schema.json"),
    include_bytes!("../notification/v1/schema.json"),
];

/// The documents of the code tables by the names of their files.
macro_rules! tables {
    ($($name:literal)*) => { [$(include_bytes!(concat!("../tables/", $name, ".json")).as_slice(),)*] };
}

const TABLES: [&[u8]; 39] = tables!(
    "application-channel"
    "approval-result"
    "caller-type"
    "case-action"
    "case-phase"
    "case-result"
    "case-type"
    "certificate-operation"
    "certificate-status"
    "certificate-trust-level"
    "counterpart-category"
    "currency"
    "day-unit"
    "enterprise-status"
    "exercise-level"
    "handling-form"
    "holder-id-type"
    "implementing-body-nature"
    "intake-channel"
    "intent-type"
    "item-state"
    "item-type"
    "licence-category"
    "material-source"
    "money-unit"
    "notification-occasion"
    "notification-push"
    "notification-state"
    "penalty-type"
    "region"
    "registration-business-type"
    "satisfaction"
    "service-object"
    "solved"
    "special-procedure"
    "step-state"
    "urgency"
    "validity"
    "work-order-state"
);

static BUILTIN: LazyLock<Registry> = LazyLock::new(|| {
    // Constants of the program: `tests/registry.rs` compiles every one of them, so a release in which this fails is not built.
    Registry::from_documents(&TABLES, &SCHEMAS)
        .unwrap_or_else(|error| panic!("a built-in standard is outside the profile: {error}"))
});

/// One record type and the document that it was compiled from.
#[derive(Debug, Clone)]
struct Entry {
    record_type: Arc<RecordType>,
    schema: Arc<[u8]>,
}

/// Record types by name, with the code tables that they may use. Cloning is cheap: what is compiled is shared.
#[derive(Debug, Clone)]
pub struct Registry {
    tables: Arc<CodeTables>,
    entries: BTreeMap<String, Entry>,
    bytes: usize,
}

impl Registry {
    /// The record types of this release. Compiled once in a process, on first use; clone it to register more.
    pub fn builtin() -> &'static Registry {
        &BUILTIN
    }

    /// A registry with these code tables and these record types and nothing else.
    ///
    /// # Errors
    /// Every problem of every document.
    pub fn from_documents(tables: &[&[u8]], schemas: &[&[u8]]) -> Result<Registry, SchemaError> {
        let tables = CodeTables::from_json(tables.iter().copied())?;
        let mut registry = Registry { tables: Arc::new(tables), entries: BTreeMap::new(), bytes: 0 };
        let mut problems = Vec::new();
        for schema in schemas {
            if let Err(error) = registry.register(schema) {
                problems.extend(error.into_problems());
            }
        }
        SchemaError::unless_none(problems)?;
        Ok(registry)
    }

    /// Compiles a record type against this registry's code tables and adds it under its own name.
    ///
    /// Registering the same bytes again answers the type that is there: a repeated command is no mistake.
    ///
    /// # Errors
    /// Every reason why the document is outside the profile; a name that another document has; a full registry. Then nothing is
    /// added.
    pub fn register(&mut self, schema: &[u8]) -> Result<Arc<RecordType>, SchemaError> {
        let record_type = RecordType::compile(schema, &self.tables)?;
        if let Some(there) = self.entries.get(record_type.name()) {
            return if *there.schema == *schema {
                Ok(there.record_type.clone())
            } else {
                Err(SchemaError::one("/$id", Flaw::NameTaken(record_type.name().to_owned())))
            };
        }
        if self.entries.len() >= MAX_RECORD_TYPES {
            return Err(SchemaError::one("", Flaw::TooManyRecordTypes(MAX_RECORD_TYPES)));
        }
        if self.bytes + record_type.bytes() > MAX_REGISTRY_BYTES {
            return Err(SchemaError::one("", Flaw::RegistryFull(MAX_REGISTRY_BYTES)));
        }
        self.bytes += record_type.bytes();
        let record_type = Arc::new(record_type);
        self.entries
            .insert(record_type.name().to_owned(), Entry { record_type: record_type.clone(), schema: schema.into() });
        Ok(record_type)
    }

    /// The record type of this name (`enterprise/v1`).
    pub fn get(&self, name: &str) -> Option<&Arc<RecordType>> {
        self.entries.get(name).map(|entry| &entry.record_type)
    }

    /// The document that the record type was compiled from, byte for byte.
    pub fn schema(&self, name: &str) -> Option<&[u8]> {
        self.entries.get(name).map(|entry| &*entry.schema)
    }

    /// The names of all record types, in order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The code tables that record types may name.
    pub fn tables(&self) -> &CodeTables {
        &self.tables
    }
}
