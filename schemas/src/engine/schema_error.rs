//! Why a schema, a code table or a list of field rules is refused: all the reasons at once, each with its place.

use super::pattern::PatternError;

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Problem {
    /// JSON Pointer into the refused document (for a code table, after the table's name).
    pub pointer: String,
    /// What is wrong there.
    pub flaw: Flaw,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = if self.pointer.is_empty() { "(root)" } else { &self.pointer };
        write!(f, "{place}: {} ({})", self.flaw, self.flaw.code())
    }
}

/// A refused document with every problem found in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct SchemaError {
    problems: Vec<Problem>,
}

impl SchemaError {
    /// Every problem, in the order of the document. Never empty.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Takes the problems out.
    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    pub(crate) fn one(pointer: &str, flaw: Flaw) -> SchemaError {
        SchemaError { problems: vec![Problem { pointer: pointer.to_owned(), flaw }] }
    }

    /// An error of these problems; fine if there are none. The same problem reached twice (through two references) is told once.
    pub(crate) fn unless_none(problems: Vec<Problem>) -> Result<(), SchemaError> {
        let mut distinct: Vec<Problem> = Vec::with_capacity(problems.len().min(MAX_PROBLEMS));
        for problem in problems {
            if distinct.len() < MAX_PROBLEMS && !distinct.contains(&problem) {
                distinct.push(problem);
            }
        }
        if distinct.is_empty() { Ok(()) } else { Err(SchemaError { problems: distinct }) }
    }
}

/// Most problems told at once. A compiler that has found so many gives up: a document may hold a hundred thousand.
pub(crate) const MAX_PROBLEMS: usize = 200;

impl std::fmt::Display for SchemaError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

/// What can be wrong with a schema.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Flaw {
    /// The document is not JSON, or repeats a member.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// Larger than the bound.
    #[error("the document is larger than {0} bytes")]
    TooLarge(usize),
    /// A keyword the profile does not have: a rule silently ignored would be a hole.
    #[error("unknown keyword `{0}`")]
    UnknownKeyword(String),
    /// A keyword of the profile where it would have no effect.
    #[error("keyword `{0}` has no effect here")]
    MisplacedKeyword(String),
    /// A keyword that must be there.
    #[error("keyword `{0}` is missing")]
    MissingKeyword(&'static str),
    /// A member of the wrong kind.
    #[error("expected {0}")]
    Expected(&'static str),
    /// A number or count outside what the profile allows.
    #[error("must be between {least} and {most}")]
    OutOfBounds {
        /// Smallest allowed.
        least: usize,
        /// Largest allowed.
        most: usize,
    },
    /// A lower bound above its upper bound.
    #[error("no value can meet the lower and the upper bound")]
    EmptyRange,
    /// A name outside the grammar of names.
    #[error("the name is outside the profile's grammar of names")]
    BadName,
    /// `$id` is not `urn:shuqiao:record-type:<name>:v<number>`.
    #[error("`$id` must be urn:shuqiao:record-type:<name>:v<number>")]
    BadId,
    /// Nested beyond the bound.
    #[error("nested deeper than {0}")]
    TooDeep(usize),
    /// More places than the bound, counting every use of a definition.
    #[error("the schema describes more than {0} places")]
    TooManyPlaces(usize),
    /// Patterns whose tables would take more memory than the bound, all together.
    #[error("the patterns compile to more than {0} bytes in all")]
    PatternsTooLarge(usize),
    /// Rules over an array that would have to put aside more than the bound.
    #[error(
        "rules over `{array}` would keep more than {most} values of a record: lower `maxItems`, or name fewer fields"
    )]
    TooManyKept {
        /// The array's pointer.
        array: String,
        /// The bound.
        most: usize,
    },
    /// A definition that reaches itself.
    #[error("a definition refers to itself")]
    SelfReference,
    /// `$ref` to nothing.
    #[error("`{0}` refers to no definition")]
    UnknownReference(String),
    /// A pattern outside the profile, or too large.
    #[error("{0}")]
    Pattern(PatternError),
    /// `x-identifier` names no kind.
    #[error("`{0}` is no identifier kind")]
    UnknownIdentifier(String),
    /// `x-code-table` names no table.
    #[error("`{0}` is no code table")]
    UnknownTable(String),
    /// Two entries for one code.
    #[error("code `{0}` appears twice")]
    DuplicateCode(String),
    /// Two tables of one name.
    #[error("a table of this name is there already")]
    DuplicateTable,
    /// A table that comes with a record type which does not use it.
    #[error("no field uses this code table")]
    UnusedTable,
    /// More tables with one record type than the bound.
    #[error("there are more than {0} code tables")]
    TooManyTables(usize),
    /// More codes with one record type than the bound.
    #[error("all code tables together have more than {0} codes")]
    TooManyCodes(usize),
    /// A list that names something twice.
    #[error("`{0}` appears twice")]
    Repeated(String),
    /// `required` names a member that `properties` does not have.
    #[error("`{0}` is not among the properties")]
    NoSuchProperty(String),
    /// A pointer to no field of the record type.
    #[error("`{0}` is no field")]
    NoSuchField(String),
    /// A pointer through an array where one value is needed.
    #[error("`{0}` is inside an array")]
    InsideArray(String),
    /// A key part that may be absent or null.
    #[error("key part `{0}` may be absent or null")]
    OptionalKey(String),
    /// A field that cannot serve as this declaration needs.
    #[error("`{field}` must be {needs}")]
    WrongField {
        /// The field's pointer.
        field: String,
        /// What it must be.
        needs: &'static str,
    },
    /// `x-rules` names no rule.
    #[error("`{0}` is no rule")]
    UnknownRule(String),
    /// A mask or hash asked for a field that has none.
    #[error("`{0}` cannot be treated so")]
    NoTreatment(String),
    /// The document calls itself otherwise than it is to be called.
    #[error("`$id` must be {0}, as the record type is named")]
    OtherName(String),
    /// Another document has the name already.
    #[error("`{0}` is there already with another document; a changed record type takes the next version")]
    NameTaken(String),
    /// The registry is full.
    #[error("there are already {0} record types")]
    TooManyRecordTypes(usize),
    /// The registry has no room for what this one compiles to.
    #[error("all record types together may take {0} bytes, and this one does not fit")]
    RegistryFull(usize),
}

impl Flaw {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Flaw::NotJson(_) => "NOT_JSON",
            Flaw::TooLarge(_) => "TOO_LARGE",
            Flaw::UnknownKeyword(_) => "UNKNOWN_KEYWORD",
            Flaw::MisplacedKeyword(_) => "MISPLACED_KEYWORD",
            Flaw::MissingKeyword(_) => "MISSING_KEYWORD",
            Flaw::Expected(_) => "EXPECTED",
            Flaw::OutOfBounds { .. } => "OUT_OF_BOUNDS",
            Flaw::EmptyRange => "EMPTY_RANGE",
            Flaw::BadName => "BAD_NAME",
            Flaw::BadId => "BAD_ID",
            Flaw::TooDeep(_) => "TOO_DEEP",
            Flaw::TooManyPlaces(_) => "TOO_MANY_PLACES",
            Flaw::PatternsTooLarge(_) => "PATTERNS_TOO_LARGE",
            Flaw::TooManyKept { .. } => "TOO_MANY_KEPT",
            Flaw::SelfReference => "SELF_REFERENCE",
            Flaw::UnknownReference(_) => "UNKNOWN_REFERENCE",
            Flaw::Pattern(_) => "PATTERN",
            Flaw::UnknownIdentifier(_) => "UNKNOWN_IDENTIFIER",
            Flaw::UnknownTable(_) => "UNKNOWN_TABLE",
            Flaw::DuplicateCode(_) => "DUPLICATE_CODE",
            Flaw::DuplicateTable => "DUPLICATE_TABLE",
            Flaw::UnusedTable => "UNUSED_TABLE",
            Flaw::TooManyTables(_) => "TOO_MANY_TABLES",
            Flaw::TooManyCodes(_) => "TOO_MANY_CODES",
            Flaw::Repeated(_) => "REPEATED",
            Flaw::NoSuchProperty(_) => "NO_SUCH_PROPERTY",
            Flaw::NoSuchField(_) => "NO_SUCH_FIELD",
            Flaw::InsideArray(_) => "INSIDE_ARRAY",
            Flaw::OptionalKey(_) => "OPTIONAL_KEY",
            Flaw::WrongField { .. } => "WRONG_FIELD",
            Flaw::UnknownRule(_) => "UNKNOWN_RULE",
            Flaw::NoTreatment(_) => "NO_TREATMENT",
            Flaw::OtherName(_) => "OTHER_NAME",
            Flaw::NameTaken(_) => "NAME_TAKEN",
            Flaw::TooManyRecordTypes(_) => "TOO_MANY_RECORD_TYPES",
            Flaw::RegistryFull(_) => "REGISTRY_FULL",
        }
    }
}
