//! A record type of a department's own, which joins a running exchange with the code tables that it brings.
//!
//! Promises: [`examine`] lets nothing pass that is outside the profile or larger than the bounds here, and names every reason with its place; what it let
//! pass, [`compile`] compiles. Bounds and names are judged by [`examine`] alone, once, when the record type is registered: a bound that a later release
//! makes narrower, or a code table that it brings itself, does not touch what was registered before.
//!
//! A table that comes with a record type hides this crate's table of the same name from it. [`examine`] refuses such a table, since a reader would take it
//! for the other; where a later release brings a table of that name, the record type goes on with its own.

use crate::engine::{CodeTables, Flaw, Problem, RecordType, SchemaError};
use crate::registry::Registry;

/// Most bytes of the document and its code tables together.
pub const MAX_BYTES: usize = 256 << 10;
/// Most code tables that come with one record type.
pub const MAX_TABLES: usize = 32;
/// Most codes of all these tables together.
pub const MAX_CODES: usize = 5_000;

/// Which of the documents a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Document {
    /// The record type's own.
    Schema,
    /// The code table of this number, from 0.
    Table(usize),
}

/// One reason why a record type is not registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The document.
    pub document: Document,
    /// What is wrong, and where in the document.
    pub problem: Problem,
}

/// Compiles a document against the tables that came with it, and this crate's.
///
/// # Errors
/// Every problem that keeps it from being compiled.
pub fn compile<T: AsRef<[u8]>>(schema: &[u8], tables: &[T]) -> Result<RecordType, SchemaError> {
    let own = CodeTables::from_json(tables.iter().map(AsRef::as_ref))?;
    RecordType::compile(schema, &own.over(Registry::builtin().tables()))
}

/// Judges whether a document may be registered under a name, `<alias>.<name>/v<number>`, with these code tables.
///
/// # Errors
/// Every reason why not; never empty.
pub fn examine(name: &str, schema: &str, tables: &[String]) -> Result<RecordType, Vec<Finding>> {
    let finding =
        |document, pointer: &str, flaw| Finding { document, problem: Problem { pointer: pointer.to_owned(), flaw } };
    // The bounds come first: what is larger is not even read.
    let bytes = tables.iter().fold(schema.len(), |sum, table| sum.saturating_add(table.len()));
    if bytes > MAX_BYTES {
        return Err(vec![finding(Document::Schema, "", Flaw::TooLarge(MAX_BYTES))]);
    }
    if tables.len() > MAX_TABLES {
        return Err(vec![finding(Document::Table(MAX_TABLES), "", Flaw::TooManyTables(MAX_TABLES))]);
    }
    let builtin = Registry::builtin().tables();
    let mut own = CodeTables::new();
    let mut names = Vec::with_capacity(tables.len());
    let mut findings = Vec::new();
    for (number, table) in tables.iter().enumerate() {
        let document = Document::Table(number);
        match own.add_json(table.as_bytes()) {
            Ok(added) => {
                if builtin.get(added.name()).is_some() {
                    findings.push(finding(document, "/name", Flaw::DuplicateTable));
                }
                names.push((document, added.name().to_owned()));
            }
            Err(error) => {
                findings.extend(
                    error.into_problems().into_iter().map(|problem| Finding { document, problem: of_table(problem) }),
                );
            }
        }
    }
    if own.iter().map(|table| table.codes().len()).sum::<usize>() > MAX_CODES {
        findings.push(finding(Document::Table(0), "/codes", Flaw::TooManyCodes(MAX_CODES)));
    }
    match RecordType::compile(schema.as_bytes(), &own.over(builtin)) {
        Err(error) => {
            let of_schema = |problem| Finding { document: Document::Schema, problem };
            findings.extend(error.into_problems().into_iter().map(of_schema));
        }
        Ok(record_type) => {
            if record_type.name() != name {
                let id = format!("urn:shuqiao:record-type:{}", name.replace('/', ":"));
                findings.push(finding(Document::Schema, "/$id", Flaw::OtherName(id)));
            }
            for (document, table) in &names {
                if record_type.tables().all(|used| used.name() != table) {
                    findings.push(finding(*document, "/name", Flaw::UnusedTable));
                }
            }
            if findings.is_empty() {
                return Ok(record_type);
            }
        }
    }
    Err(findings)
}

/// The problems of a table begin with the table's name, which its document's place says already.
fn of_table(problem: Problem) -> Problem {
    let pointer = problem.pointer.split_once('/').map(|(_, rest)| format!("/{rest}")).unwrap_or_default();
    Problem { pointer, flaw: problem.flaw }
}
