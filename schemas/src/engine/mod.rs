//! The compiled validator: a schema of the profile (PROFILE.md) becomes a flat program, and one pass over a record's bytes checks
//! it, finds its key, subject and indexed fields, or writes the reduced record that a grant allows.
//!
//! Promises: no tree and, for a valid record, no allocation; every violation is told, with a JSON Pointer and without the value; no
//! bytes whatever make it panic or cost more than linear time; a schema is either enforced to its last keyword or refused with all
//! the reasons. Refuses: keywords outside the profile, anything unbounded, recursion.
//!
//! The files, in the order of a record's way: `lexer` reads tokens (`plain_run` finds where texts end), `validate` walks them against a `program`, `rules` looks at what
//! was captured, `projection` writes what a grant shows. `compile`, `scalars`, `declare` and `declare_rules` make the program from a
//! schema; [`compatibility`] compares two, [`describe()`] tells one.

mod comparison;
pub mod compatibility;
mod compile;
mod cross_rule;
mod dates;
mod declare;
mod declare_rules;
mod describe;
mod escapes;
mod facts;
mod flaw_texts;
mod hash_keys;
mod json;
mod lexer;
mod mask;
mod numbers;
mod pattern;
mod plain_run;
pub mod profile;
mod program;
mod projection;
mod record_type;
mod rules;
mod scalars;
mod schema_error;
mod tables;
mod text;
mod validate;
mod violation;

pub use describe::{Description, FieldDescription, RuleDescription, SubjectDescription, TableDescription, describe};
pub use facts::{Facts, Scratch, Subject};
pub use hash_keys::{HashAlgorithm, HashKeyError, HashKeys, MIN_KEY_BYTES};
pub(crate) use json::each_member_once;
pub use mask::Mask;
pub use pattern::PatternError;
pub use projection::{FieldRule, ProjectError, Projection, ProjectionId, Treatment};
pub use record_type::{Field, FieldType, IndexedField, Level, Personal, RecordType, Sensitivity, SubjectOf};
pub use schema_error::{Flaw, Problem, SchemaError};
pub use tables::{Code, CodeTable, CodeTables};
pub use violation::{MAX_VIOLATIONS, Rule, Violation, Violations};
