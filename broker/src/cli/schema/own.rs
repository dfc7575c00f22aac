//! A department's own record type from its documents, as `schema check` reads them: what `apply` sends.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use shuqiao_schemas::{engine::CodeTables, own};

use super::{
    super::{error::Error, manifest::RecordType},
    DOCUMENT, check, read, refused,
    tables::{self, beside, table_files},
};

const URN: &str = "urn:shuqiao:record-type:";

/// The record types of a directory: its own document, or those of the directories below it.
pub(in crate::cli) fn documents(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    check::documents(directory)
}

/// Whether a directory is that of one record type.
pub(in crate::cli) fn is_record_type(directory: &Path) -> bool {
    directory.join(DOCUMENT).is_file()
}

/// Whether a text is the document of a record type, and no manifest.
pub(in crate::cli) fn is_document(text: &str) -> bool {
    #[derive(Deserialize)]
    struct Head {
        #[serde(rename = "$id")]
        id: String,
        kind: Option<serde::de::IgnoredAny>,
    }
    serde_json::from_str::<Head>(text).is_ok_and(|head| head.kind.is_none() && head.id.starts_with(URN))
}

/// The record type of a document that lies there: named by its `$id`, with those of the code tables beside it that it uses. A copy of one of this program's
/// tables is left out: the node has it.
pub(in crate::cli) fn resource(schema: String, path: &Path) -> Result<RecordType, Error> {
    with_tables(schema, path, beside(path).as_deref())
}

fn with_tables(schema: String, path: &Path, tables: Option<&Path>) -> Result<RecordType, Error> {
    let document: serde_json::Value =
        serde_json::from_str(&schema).map_err(|error| Error::Input(format!("{}: {error}", path.display())))?;
    let id = document["$id"].as_str().and_then(|id| id.strip_prefix(URN)).unwrap_or_default();
    let mut used = Vec::new();
    tables_of(&document, &mut used);
    let mut code_tables = Vec::new();
    for table in tables.map_or_else(|| Ok(Vec::new()), table_files)? {
        let text =
            String::from_utf8(read(&table)?).map_err(|_| Error::Input(format!("{} is not UTF-8", table.display())))?;
        let parsed = CodeTables::new().add_json(text.as_bytes()).map_err(|error| refused(&table, &error))?;
        if used.contains(&parsed.name()) && !tables::is_copy(&parsed) {
            code_tables.push(text);
        }
    }
    Ok(RecordType::new(&id.replacen(':', "/", 1), schema, code_tables))
}

/// Why a node would not register the record type of a document that compiles, with the code tables of this directory.
pub(super) fn refusals(path: &Path, tables: Option<&Path>) -> Result<Vec<check::Flaw>, Error> {
    let schema =
        String::from_utf8(read(path)?).map_err(|_| Error::Input(format!("{} is not UTF-8", path.display())))?;
    let RecordType { name, schema, code_tables, .. } = with_tables(schema, path, tables)?;
    let findings = own::examine(&name, &schema, &code_tables).err().unwrap_or_default();
    let flaw = |own::Finding { document, problem }: own::Finding| {
        let place = match document {
            own::Document::Schema => problem.pointer.clone(),
            own::Document::Table(number) => format!("table {number} {}", problem.pointer),
        };
        check::Flaw { place, code: problem.flaw.code().to_owned(), message: problem.flaw.to_string() }
    };
    Ok(findings.into_iter().map(flaw).collect())
}

/// The tables that fields name.
fn tables_of<'d>(schema: &'d serde_json::Value, used: &mut Vec<&'d str>) {
    match schema {
        serde_json::Value::Object(members) => {
            used.extend(members.get("x-code-table").and_then(serde_json::Value::as_str));
            members.values().for_each(|member| tables_of(member, used));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| tables_of(item, used)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r#"{"$id":"urn:shuqiao:record-type:urban-management.dog-licence:v1","type":"object","additionalProperties":false,
        "required":["id"],"x-key":["/id"],"properties":{"id":{"type":"string","maxLength":3},
        "breed":{"type":"string","x-code-table":"dog-breed"},"holder":{"type":"string","x-code-table":"holder-id-type"}}}"#;

    #[test]
    fn a_directory_becomes_one_resource_with_the_tables_that_it_uses() {
        let directory = tempfile::tempdir().expect("tempdir");
        let at = |path: &str| directory.path().join(path);
        std::fs::create_dir_all(at("dog-licence/v1/examples")).expect("directory");
        std::fs::create_dir(at("tables")).expect("directory");
        std::fs::write(at("dog-licence/v1/schema.json"), SCHEMA).expect("write");
        let table = |name: &str| {
            format!(
                r#"{{"name":"{name}","title":{{"en":"x","zh":"x"}},"source":"ours","codes":[{{"code":"1","en":"x","zh":"x"}}]}}"#
            )
        };
        std::fs::write(at("tables/dog-breed.json"), table("dog-breed")).expect("write");
        std::fs::write(at("tables/cat-breed.json"), table("cat-breed")).expect("write");
        let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas/tables/holder-id-type.json");
        std::fs::copy(ours, at("tables/holder-id-type.json")).expect("copy");

        let documents = documents(directory.path()).expect("readable");
        assert_eq!(documents, [at("dog-licence/v1/schema.json")]);
        assert!(is_record_type(&at("dog-licence/v1")) && !is_record_type(directory.path()));
        assert!(is_document(SCHEMA) && !is_document(r#"{"kind":"dataset","name":"a.b"}"#) && !is_document("kind: x"));
        let resource = resource(SCHEMA.into(), &documents[0]).expect("well-formed");
        assert_eq!((resource.name.as_str(), resource.schema.as_str()), ("urban-management.dog-licence/v1", SCHEMA));
        assert_eq!(resource.code_tables, [table("dog-breed")]);
        own::examine(&resource.name, &resource.schema, &resource.code_tables).expect("a node takes it");
        let tables = at("tables");
        assert_eq!(refusals(&documents[0], Some(&tables)).expect("readable"), []);
        // A table under the name of one of this program's that says something else.
        std::fs::write(at("tables/holder-id-type.json"), table("holder-id-type")).expect("write");
        let told = refusals(&documents[0], Some(&tables)).expect("readable");
        assert_eq!(
            told.iter().map(|one| (one.place.as_str(), one.code.as_str())).collect::<Vec<_>>(),
            [("table 1 /name", "DUPLICATE_TABLE")]
        );
    }
}
