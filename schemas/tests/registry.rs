//! What the built-in standards promise as a whole: all there, all within the profile and beyond it (titles in both languages, a
//! sensitivity for every value, tables that say where they come from), documented field by field; and what a registry does with a
//! record type that arrives at run time.

#![allow(clippy::unwrap_used, clippy::string_slice, reason = "a test may fail by panicking")]

use shuqiao_schemas::engine::{Level, Personal, RecordType, Scratch};
use shuqiao_schemas::registry::{MAX_RECORD_TYPES, MAX_REGISTRY_BYTES, Registry};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn names_in(directory: &Path) -> BTreeSet<String> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn every_record_type_and_table_of_the_directory_is_built_in() {
    let registry = Registry::builtin();
    let mut types = BTreeSet::new();
    for name in names_in(&root()) {
        for version in names_in_if_directory(&root().join(&name)) {
            if root().join(&name).join(&version).join("schema.json").exists() {
                types.insert(format!("{name}/{version}"));
            }
        }
    }
    assert_eq!(types, registry.names().map(str::to_owned).collect());
    let tables: BTreeSet<String> = registry.tables().iter().map(|table| format!("{}.json", table.name())).collect();
    assert_eq!(names_in(&root().join("tables")), tables);
}

fn names_in_if_directory(path: &Path) -> BTreeSet<String> {
    if path.is_dir() { names_in(path) } else { BTreeSet::new() }
}

#[test]
fn every_field_has_titles_in_both_languages_and_every_value_a_sensitivity() {
    for name in Registry::builtin().names() {
        for field in Registry::builtin().get(name).unwrap().fields() {
            let place = format!("{name} {}", field.pointer);
            assert!(
                field.title_en.as_ref().is_some_and(|title| !title.is_empty() && title.is_ascii()),
                "{place}: English title"
            );
            assert!(field.title_zh.as_ref().is_some_and(|title| !title.is_ascii()), "{place}: Chinese title");
            assert_eq!(
                field.description_en.is_some(),
                field.description_zh.is_some(),
                "{place}: described in one language only"
            );
            assert_eq!(field.sensitivity.is_some(), field.is_leaf(), "{place}: sensitivity");
        }
    }
}

#[test]
fn document_numbers_are_sensitive_and_names_of_people_personal() {
    for name in Registry::builtin().names() {
        for field in Registry::builtin().get(name).unwrap().fields().iter().filter(|field| field.is_leaf()) {
            let sensitivity = field.sensitivity.unwrap();
            let last = field.pointer.rsplit('/').next().unwrap();
            if last == "id_number" {
                assert_eq!(sensitivity.personal, Personal::Sensitive, "{name} {}", field.pointer);
            }
            if ["contact_name", "handler_name", "mobile", "legal_representative"].contains(&last) {
                assert_eq!(sensitivity.personal, Personal::Personal, "{name} {}", field.pointer);
            }
            // What is core data of the state has no business in an exchange between departments.
            assert_ne!(sensitivity.level, Level::Core, "{name} {}", field.pointer);
        }
    }
}

#[test]
fn every_table_says_where_its_codes_come_from_and_how_certain_that_is() {
    for table in Registry::builtin().tables().iter() {
        let certain = ["confirmed in a public source.", "probable;", "ours;"]
            .iter()
            .any(|word| table.source().contains(&format!("Certainty: {word}")));
        assert!(certain, "{}: {}", table.name(), table.source());
        let codes: BTreeSet<&str> = table.codes().iter().map(|code| code.code.as_str()).collect();
        assert_eq!(codes.len(), table.codes().len(), "{}", table.name());
    }
}

#[test]
fn every_table_is_used() {
    let registry = Registry::builtin();
    let used: BTreeSet<&str> =
        registry.names().flat_map(|name| registry.get(name).unwrap().tables()).map(|table| table.name()).collect();
    let unused: Vec<&str> =
        registry.tables().iter().map(|table| table.name()).filter(|name| !used.contains(name)).collect();
    // Regions are checked as identifiers, since a revoked one is a warning; the table is theirs.
    assert_eq!(unused, ["region"]);
}

#[test]
fn every_readme_names_every_field_and_every_rule() {
    for name in Registry::builtin().names() {
        let readme = fs::read_to_string(root().join(name).join("README.md")).unwrap();
        for field in Registry::builtin().get(name).unwrap().fields().iter().filter(|field| field.is_leaf()) {
            assert!(readme.contains(&format!("`{}`", field.pointer)), "{name}: README does not name {}", field.pointer);
        }
        let schema: serde_json::Value = serde_json::from_slice(Registry::builtin().schema(name).unwrap()).unwrap();
        for rule in schema["x-rules"].as_array().unwrap() {
            let rule = rule["name"].as_str().unwrap_or_else(|| panic!("{name}: a rule without a name"));
            assert!(readme.contains(&format!("`{rule}`")), "{name}: README does not name the rule {rule}");
        }
    }
}

#[test]
fn every_declared_rule_has_an_example_that_breaks_it() {
    for name in Registry::builtin().names() {
        let expected = fs::read_to_string(root().join(name).join("examples/invalid/expected.json")).unwrap();
        let told: serde_json::Value = serde_json::from_str(&expected).unwrap();
        let told: Vec<&serde_json::Value> =
            told.as_object().unwrap().values().flat_map(|told| told.as_array().unwrap()).collect();
        let schema: serde_json::Value = serde_json::from_slice(Registry::builtin().schema(name).unwrap()).unwrap();
        for rule in schema["x-rules"].as_array().unwrap() {
            let rule_name = rule["name"].as_str().unwrap();
            let breaks = |told: &serde_json::Value| match rule["rule"].as_str() {
                // Where an identifier is wrong, its reason is told instead of the rule's name.
                Some("identifier-of") => {
                    let place: String = told["path"]
                        .as_str()
                        .unwrap()
                        .split('/')
                        .map(|step| if step.parse::<usize>().is_ok() { "*" } else { step })
                        .collect::<Vec<_>>()
                        .join("/");
                    told["rule"] == "IDENTIFIER" && rule["value"] == place
                }
                _ => told["name"] == rule_name,
            };
            assert!(told.iter().any(|told| breaks(told)), "{name}: no invalid example breaks {rule_name}");
        }
    }
}

const PERMIT: &str = r##"{
    "$id": "urn:shuqiao:record-type:dog-permit:v1", "x-key": ["/number"], "type": "object", "additionalProperties": false,
    "required": ["number"], "properties": {
        "number": {"type": "string", "maxLength": 20},
        "holder_type": {"type": "string", "x-code-table": "holder-id-type"}
    }
}"##;

#[test]
fn a_department_may_register_its_own_type_over_the_same_tables() {
    let mut registry = Registry::builtin().clone();
    let added = registry.register(PERMIT.as_bytes()).unwrap();
    assert_eq!(added.name(), "dog-permit/v1");
    assert_eq!(registry.schema("dog-permit/v1"), Some(PERMIT.as_bytes()));
    let mut scratch = Scratch::new();
    let known = registry.get("dog-permit/v1").unwrap();
    assert_eq!(known.validate(br#"{"number":"7","holder_type":"111"}"#, &mut scratch).unwrap().key, "7");
    assert!(known.validate(br#"{"number":"7","holder_type":"112"}"#, &mut scratch).is_err());
    assert!(Registry::builtin().get("dog-permit/v1").is_none(), "the built-in registry is not changed by its clones");
}

#[test]
fn a_name_never_changes_its_meaning() {
    let mut registry = Registry::builtin().clone();
    let first = registry.register(PERMIT.as_bytes()).unwrap();
    let again = registry.register(PERMIT.as_bytes()).unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &again), "the same document again is no mistake");
    let changed = PERMIT.replace("20", "30");
    let error = registry.register(changed.as_bytes()).unwrap_err();
    assert_eq!(error.problems()[0].flaw.code(), "NAME_TAKEN");
    assert_eq!(registry.schema("dog-permit/v1"), Some(PERMIT.as_bytes()));
    let ours = PERMIT.replace("dog-permit", "enterprise");
    assert_eq!(registry.register(ours.as_bytes()).unwrap_err().problems()[0].flaw.code(), "NAME_TAKEN");
}

#[test]
fn a_type_registered_at_run_time_is_held_to_the_same_profile() {
    let mut registry = Registry::builtin().clone();
    let before = registry.names().len();
    for (from, to, code) in [
        (r#""maxLength": 20"#, r#""maxLength": 20, "minProperties": 1"#, "UNKNOWN_KEYWORD"),
        (r#""maxLength": 20"#, r#""minLength": 1"#, "MISSING_KEYWORD"),
        (r#""additionalProperties": false,"#, "", "MISSING_KEYWORD"),
        ("holder-id-type", "no-such-table", "UNKNOWN_TABLE"),
    ] {
        let error = registry.register(PERMIT.replace(from, to).as_bytes()).unwrap_err();
        assert_eq!(error.problems()[0].flaw.code(), code, "{to}");
    }
    assert_eq!(registry.names().len(), before);
}

#[test]
fn a_bad_table_or_type_is_told_with_all_its_problems() {
    let table = br#"{"name":"t","title":{"en":"T","zh":"T"},"source":"s","codes":[{"code":"1","en":"a","zh":"a"},{"code":"1","en":"b","zh":"b"}]}"#;
    let error = Registry::from_documents(&[table], &[]).unwrap_err();
    assert_eq!(error.problems()[0].flaw.code(), "DUPLICATE_CODE");
    let error = Registry::from_documents(&[], &[b"[", PERMIT.as_bytes()]).unwrap_err();
    let codes: Vec<_> = error.problems().iter().map(|problem| problem.flaw.code()).collect();
    assert_eq!(codes, ["NOT_JSON", "UNKNOWN_TABLE"]);
}

/// The README's blocks of these languages, in order.
fn blocks<'r>(text: &'r str, languages: &[&str]) -> Vec<&'r str> {
    let mut blocks = Vec::new();
    for part in text.split("\n```").skip(1).step_by(2) {
        if let Some((language, block)) = part.split_once('\n')
            && languages.contains(&language)
        {
            blocks.push(block);
        }
    }
    blocks
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).unwrap()
}

const WALK: &str = "### From an empty file to a validated record";

#[test]
fn the_worked_example_of_the_readme_is_true() {
    let readme = readme();
    let [schema, record] = blocks(readme.split(WALK).next().unwrap(), &["json"])[..] else {
        panic!("a schema and a record")
    };
    let mut registry = Registry::builtin().clone();
    let dogs = registry.register(schema.as_bytes()).unwrap();
    let mut scratch = Scratch::new();
    let facts = dogs.validate(record.as_bytes(), &mut scratch).unwrap();
    assert!(readme.contains(&format!("with the key `{}`", facts.key)));
    assert_eq!(facts.subject.as_ref().map(|subject| subject.kind), Some("resident_id"));
    assert!(facts.warnings().is_empty());
    for name in Registry::builtin().names() {
        assert!(readme.contains(&format!("[`{name}`]({name}/README.md)")), "README does not list {name}");
    }
}

#[test]
fn each_step_of_the_readmes_walk_is_told_what_it_says() {
    let readme = readme();
    let (before, walk) = readme.split_once(WALK).unwrap();
    let walk = walk.split("\n## ").next().unwrap();
    let whole = blocks(before, &["json"])[0];
    let steps = blocks(walk, &["json", "text"]);
    assert!(steps.len() >= 8 && steps.len().is_multiple_of(2), "{} blocks", steps.len());
    for step in steps.chunks(2) {
        let tables = Registry::builtin().tables();
        let told: Vec<String> = if step[0].contains("$id") {
            match RecordType::compile(step[0].as_bytes(), tables) {
                Ok(_) => Vec::new(),
                Err(error) => error.problems().iter().map(ToString::to_string).collect(),
            }
        } else {
            let dogs = RecordType::compile(whole.as_bytes(), tables).unwrap();
            match dogs.validate(step[0].as_bytes(), &mut Scratch::new()) {
                Ok(_) => Vec::new(),
                Err(violations) => violations.iter().map(ToString::to_string).collect(),
            }
        };
        let told = if told.is_empty() { "ok".to_owned() } else { told.join("\n") };
        assert_eq!(told, step[1].trim_end(), "{}", step[0]);
    }
}

#[test]
fn a_registry_has_room_for_so_much_and_no_more() {
    let pattern = PERMIT.replace(
        r#""type": "string", "maxLength": 20"#,
        r#""type":"string","maxLength":200,"pattern":"^[\\p{Han}A-Za-z0-9]{1,200}$""#,
    );
    assert!(pattern.contains("Han"), "the permit has a text to put the pattern on");
    let mut registry = Registry::builtin().clone();
    let full = (0..MAX_REGISTRY_BYTES >> 20).find_map(|number| {
        registry.register(pattern.replace("dog-permit", &format!("permit-{number}")).as_bytes()).err()
    });
    assert_eq!(full.unwrap().problems()[0].flaw.code(), "REGISTRY_FULL");
    assert!(registry.names().len() > 100, "{}", registry.names().len());
    assert!(registry.register(Registry::builtin().schema("enterprise/v1").unwrap()).is_ok(), "what is there stays");
}

#[test]
fn a_full_registry_takes_no_more_and_keeps_what_it_has() {
    let mut registry = Registry::builtin().clone();
    let builtin = registry.names().len();
    for number in builtin..MAX_RECORD_TYPES {
        let another = PERMIT.replace("dog-permit", &format!("permit-{number}"));
        registry.register(another.as_bytes()).unwrap();
    }
    let error = registry.register(PERMIT.as_bytes()).unwrap_err();
    assert_eq!(error.problems()[0].flaw.code(), "TOO_MANY_RECORD_TYPES");
    assert_eq!(registry.names().len(), MAX_RECORD_TYPES);
    let there = Registry::builtin().schema("enterprise/v1").unwrap();
    assert!(registry.register(there).is_ok(), "what is there may be registered again");
}
