//! Code tables: closed lists of codes with their names, shared by record types.
//!
//! A table says where it comes from. Codes may carry dates for people who read the table; validity of a record never depends on
//! today's date, so a code that was revoked stays right in an old record. Two entries for one code are refused.

use super::json::Json;
use super::profile::MAX_SCHEMA_BYTES;
use super::schema_error::{Flaw, Problem, SchemaError};
use super::text::TextSet;
use crate::identifier;
use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// Most codes in one table: the full region list of GB/T 2260 has about 3,500.
const MAX_CODES: usize = 20_000;
/// Longest code, in bytes.
const MAX_CODE_BYTES: usize = 64;

/// One code and what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// As it stands in a record.
    pub code: String,
    /// Its English name.
    pub en: String,
    /// Its Chinese name.
    pub zh: String,
    /// The first day it was in use, if the table says so.
    pub from: Option<String>,
    /// The last day it was in use.
    pub to: Option<String>,
    /// For tables of document types: the identifier kind that a number under this type is (`111` means `resident_id`).
    pub identifier: Option<identifier::Kind>,
}

/// A named list of codes.
#[derive(Debug, Clone)]
pub struct CodeTable {
    name: String,
    title_en: String,
    title_zh: String,
    source: String,
    codes: Vec<Code>,
    set: TextSet,
}

impl CodeTable {
    /// Its stable name, `enterprise-status`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its English title.
    pub fn title_en(&self) -> &str {
        &self.title_en
    }

    /// Its Chinese title.
    pub fn title_zh(&self) -> &str {
        &self.title_zh
    }

    /// Where the codes come from: standard and clause.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Its codes in the order of the table.
    pub fn codes(&self) -> &[Code] {
        &self.codes
    }

    /// Whether the table has this code.
    #[inline]
    pub fn contains(&self, code: &str) -> bool {
        self.set.contains(code.as_bytes())
    }

    pub(crate) fn set(&self) -> &TextSet {
        &self.set
    }

    /// The entry of this code. Linear: for people and registration, not for records.
    pub fn get(&self, code: &str) -> Option<&Code> {
        self.codes.iter().find(|entry| entry.code == code)
    }
}

/// As the document that it was read from: [`CodeTables::add_json`] reads it back.
impl Serialize for CodeTable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Title<'a> {
            en: &'a str,
            zh: &'a str,
        }
        #[derive(Serialize)]
        struct Entry<'a> {
            code: &'a str,
            en: &'a str,
            zh: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            from: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            to: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            identifier: Option<&'static str>,
        }
        fn entry(code: &Code) -> Entry<'_> {
            Entry {
                code: &code.code,
                en: &code.en,
                zh: &code.zh,
                from: code.from.as_deref(),
                to: code.to.as_deref(),
                identifier: code.identifier.map(identifier::Kind::name),
            }
        }
        let mut document = serializer.serialize_struct("CodeTable", 4)?;
        document.serialize_field("name", &self.name)?;
        document.serialize_field("title", &Title { en: &self.title_en, zh: &self.title_zh })?;
        document.serialize_field("source", &self.source)?;
        document.serialize_field("codes", &self.codes.iter().map(entry).collect::<Vec<_>>())?;
        document.end()
    }
}

/// All the tables that schemas may name.
#[derive(Debug, Clone, Default)]
pub struct CodeTables {
    tables: BTreeMap<String, Arc<CodeTable>>,
}

impl CodeTables {
    /// No tables.
    pub fn new() -> CodeTables {
        CodeTables::default()
    }

    /// Reads tables, one JSON document each:
    /// `{"name", "title": {"en", "zh"}, "source", "codes": [{"code", "en", "zh", "from"?, "to"?, "identifier"?}]}`.
    ///
    /// # Errors
    /// Every problem of every table, its pointer prefixed with the table's name.
    pub fn from_json<'a>(documents: impl IntoIterator<Item = &'a [u8]>) -> Result<CodeTables, SchemaError> {
        let mut tables = CodeTables::new();
        let mut problems = Vec::new();
        for document in documents {
            if let Err(error) = tables.add_json(document) {
                problems.extend(error.into_problems());
            }
        }
        SchemaError::unless_none(problems)?;
        Ok(tables)
    }

    /// Adds one table, and shows it.
    ///
    /// # Errors
    /// Every problem of the table; then nothing is added.
    pub fn add_json(&mut self, document: &[u8]) -> Result<Arc<CodeTable>, SchemaError> {
        if document.len() > MAX_SCHEMA_BYTES {
            return Err(SchemaError::one("", Flaw::TooLarge(MAX_SCHEMA_BYTES)));
        }
        let json = Json::parse(document).map_err(|error| SchemaError::one("", Flaw::NotJson(error.to_string())))?;
        let mut reader = Reader { name: String::new(), problems: Vec::new() };
        let table = reader.table(&json);
        if self.tables.contains_key(&table.name) {
            reader.problem("/name", Flaw::DuplicateTable);
        }
        SchemaError::unless_none(reader.problems)?;
        let table = Arc::new(table);
        self.tables.insert(table.name.clone(), table.clone());
        Ok(table)
    }

    /// These tables, and those of `others` whose names are not among them.
    #[must_use]
    pub fn over(mut self, others: &CodeTables) -> CodeTables {
        for (name, table) in &others.tables {
            self.tables.entry(name.clone()).or_insert_with(|| table.clone());
        }
        self
    }

    /// The table of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<CodeTable>> {
        self.tables.get(name)
    }

    /// All tables in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<CodeTable>> {
        self.tables.values()
    }
}

struct Reader {
    name: String,
    problems: Vec<Problem>,
}

impl Reader {
    fn problem(&mut self, pointer: &str, flaw: Flaw) {
        self.problems.push(Problem { pointer: format!("{}{pointer}", self.name), flaw });
    }

    fn text(&mut self, json: &Json, member: &str, pointer: &str) -> String {
        match json.get(member).and_then(Json::text) {
            Some(text) if !text.is_empty() => text.to_owned(),
            _ => {
                self.problem(&format!("{pointer}/{member}"), Flaw::Expected("a text"));
                String::new()
            }
        }
    }

    fn optional(&mut self, json: &Json, member: &str, pointer: &str) -> Option<String> {
        json.get(member)?;
        Some(self.text(json, member, pointer))
    }

    fn known(&mut self, json: &Json, pointer: &str, members: &[&str]) {
        match json.members() {
            None => self.problem(pointer, Flaw::Expected("an object")),
            Some(found) => {
                for (name, _) in found.iter().filter(|(name, _)| !members.contains(&name.as_str())) {
                    self.problem(pointer, Flaw::UnknownKeyword(name.clone()));
                }
            }
        }
    }

    fn table(&mut self, json: &Json) -> CodeTable {
        self.name = self.text(json, "name", "");
        self.known(json, "", &["name", "title", "source", "codes"]);
        if !super::profile::is_kebab_name(&self.name) {
            self.problem("/name", Flaw::BadName);
        }
        let title = json.get("title").unwrap_or(&Json::Null);
        self.known(title, "/title", &["en", "zh"]);
        let (title_en, title_zh) = (self.text(title, "en", "/title"), self.text(title, "zh", "/title"));
        let source = self.text(json, "source", "");
        let entries = json.get("codes").and_then(Json::array).unwrap_or_default();
        if entries.is_empty() || entries.len() > MAX_CODES {
            self.problem("/codes", Flaw::OutOfBounds { least: 1, most: MAX_CODES });
        }
        let mut seen = HashSet::new();
        let mut codes = Vec::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate().take(MAX_CODES) {
            let pointer = format!("/codes/{index}");
            let code = self.code(entry, &pointer);
            if !seen.insert(code.code.clone()) {
                self.problem(&format!("{pointer}/code"), Flaw::DuplicateCode(code.code.clone()));
            }
            codes.push(code);
        }
        let set = TextSet::new(codes.iter().map(|code| code.code.as_str()));
        CodeTable { name: self.name.clone(), title_en, title_zh, source, codes, set }
    }

    fn code(&mut self, entry: &Json, pointer: &str) -> Code {
        self.known(entry, pointer, &["code", "en", "zh", "from", "to", "identifier"]);
        let code = self.text(entry, "code", pointer);
        if code.len() > MAX_CODE_BYTES {
            self.problem(&format!("{pointer}/code"), Flaw::OutOfBounds { least: 1, most: MAX_CODE_BYTES });
        }
        let (from, to) = (self.optional(entry, "from", pointer), self.optional(entry, "to", pointer));
        for (member, date) in [("from", &from), ("to", &to)] {
            if date.as_ref().is_some_and(|date| !super::dates::is_date(date.as_bytes())) {
                self.problem(&format!("{pointer}/{member}"), Flaw::Expected("a date"));
            }
        }
        let identifier = self.optional(entry, "identifier", pointer).and_then(|name| {
            let kind = name.parse().ok();
            if kind.is_none() {
                self.problem(&format!("{pointer}/identifier"), Flaw::UnknownIdentifier(name));
            }
            kind
        });
        Code { code, en: self.text(entry, "en", pointer), zh: self.text(entry, "zh", pointer), from, to, identifier }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = r#"{"name":"status","title":{"en":"Status","zh":"状态"},"source":"GB/T 36104","codes":[{"code":"1","en":"Live","zh":"存续"}]}"#;

    fn flaws(document: &str) -> Vec<String> {
        let error = CodeTables::from_json([document.as_bytes()]).unwrap_err();
        error.problems().iter().map(|problem| format!("{} {}", problem.pointer, problem.flaw.code())).collect()
    }

    #[test]
    fn a_table_finds_its_codes() {
        let tables = CodeTables::from_json([STATUS.as_bytes()]).unwrap();
        let table = tables.get("status").unwrap();
        assert!(table.contains("1") && !table.contains("2") && !table.contains(""));
        assert_eq!(table.get("1").unwrap().zh, "存续");
    }

    #[test]
    fn a_table_is_written_as_it_was_read() {
        let dated = STATUS.replace(
            r#""zh":"存续"}"#,
            r#""zh":"存续","from":"2001-01-01","to":"2024-02-29","identifier":"uscc"},{"code":"2","en":"x","zh":"y"}"#,
        );
        let tables = CodeTables::from_json([dated.as_bytes()]).unwrap();
        assert_eq!(serde_json::to_string(&**tables.get("status").unwrap()).unwrap(), dated);
    }

    #[test]
    fn two_entries_for_one_code_are_refused() {
        let doubled = STATUS.replace("]}", r#",{"code":"1","en":"Again","zh":"再"}]}"#);
        assert_eq!(flaws(&doubled), ["status/codes/1/code DUPLICATE_CODE"]);
    }

    #[test]
    fn unknown_members_missing_texts_and_wrong_dates_are_all_told() {
        let wrong = STATUS.replace(r#""en":"Live""#, r#""from":"2024-02-30","identifier":"nobody","colour":"red""#);
        assert_eq!(
            flaws(&wrong),
            [
                "status/codes/0 UNKNOWN_KEYWORD",
                "status/codes/0/from EXPECTED",
                "status/codes/0/identifier UNKNOWN_IDENTIFIER",
                "status/codes/0/en EXPECTED",
            ]
        );
        assert_eq!(flaws("[1"), [" NOT_JSON"]);
    }

    #[test]
    fn one_name_is_one_table() {
        let error = CodeTables::from_json([STATUS.as_bytes(), STATUS.as_bytes()]).unwrap_err();
        assert_eq!(error.problems()[0].flaw, Flaw::DuplicateTable);
    }
}
