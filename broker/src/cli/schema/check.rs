//! `shuqiao schema check`: record types against the profile, examples against record types.
//!
//! A department's own record type is held to the bounds of registration as well, so that a node says nothing that was not said here.
//!
//! Beside a `schema.json`, every file of `examples/valid` and `examples/invalid` is held to the `expected.json` there ([`shuqiao_schemas::examples`]). With
//! `--record`, any file is held to the one schema that is given.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use shuqiao_schemas::{
    engine::{RecordType, Scratch, Violation},
    examples::{Expected, Kind},
};

use super::{
    super::{
        error::Error,
        exit::Exit,
        output::{self, Format},
    },
    DOCUMENT, Tables, list, own, read,
    tables::TABLES,
};

/// Directories below the one that is given.
const DEPTH_MAX: usize = 4;
/// What is expected of each example, beside them.
const EXPECTED: &str = "expected.json";

/// `shuqiao schema check FILE|DIRECTORY…`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Check {
    /// Schema documents, or directories in which every schema.json is checked together with its examples.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Records to hold to the schema, of which there must be one: every rule that a record breaks is told with its place, and no value.
    #[arg(long = "record", value_name = "FILE")]
    records: Vec<PathBuf>,
    /// How the answer is written.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    tables: Tables,
}

/// What was found of one document.
#[derive(Debug, Serialize)]
struct Report {
    file: String,
    /// Nothing where the document is refused.
    record_type: Option<String>,
    examples: usize,
    flaws: Vec<Flaw>,
}

/// One thing that is wrong.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Flaw {
    /// A JSON Pointer into the schema, or the example's file.
    pub(super) place: String,
    /// A stable code.
    pub(super) code: String,
    pub(super) message: String,
}

impl Check {
    pub(super) fn run(self) -> Result<Exit, Error> {
        let mut documents = Vec::new();
        for path in &self.paths {
            if path.is_dir() {
                documents.append(&mut self::documents(path)?);
            } else {
                documents.push(path.clone());
            }
        }
        if documents.is_empty() {
            return Err(Error::Input(format!("there is no {DOCUMENT} in what was given")));
        }
        if !self.records.is_empty() && documents.len() != 1 {
            return Err(Error::Usage(format!("--record goes with one schema, not with {}", documents.len())));
        }
        let reports =
            documents.iter().map(|path| examine(path, &self.tables, &self.records)).collect::<Result<Vec<_>, _>>()?;
        show(&reports, self.output)?;
        let flaws: usize = reports.iter().map(|report| report.flaws.len()).sum();
        let sound = flaws == 0;
        let examples: usize = reports.iter().map(|report| report.examples).sum();
        let [types, examples, flaws] = [(reports.len(), "record type"), (examples, "example"), (flaws, "flaw")]
            .map(|(n, what)| output::count(n, what));
        output::note(&format!("{types}, {examples}, {flaws}"));
        Ok(if sound { Exit::Success } else { Exit::Invalid })
    }
}

/// Every schema document in and below a directory, in order of path.
pub(super) fn documents(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut documents = Vec::new();
    find(directory, DEPTH_MAX, &mut documents)?;
    Ok(documents)
}

fn find(directory: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), Error> {
    let document = directory.join(DOCUMENT);
    if document.is_file() {
        found.push(document);
        return Ok(());
    }
    if depth == 0 {
        return Ok(());
    }
    let hidden =
        |path: &Path| path.file_name().is_some_and(|name| name == TABLES || name.as_encoded_bytes().starts_with(b"."));
    for path in list(directory)?.iter().filter(|path| path.is_dir() && !hidden(path)) {
        find(path, depth - 1, found)?;
    }
    Ok(())
}

fn examine(document: &Path, tables: &Tables, records: &[PathBuf]) -> Result<Report, Error> {
    let mut report = Report { file: document.display().to_string(), record_type: None, examples: 0, flaws: Vec::new() };
    let found = tables.of(document)?;
    let sound = found.flaws.is_empty();
    report.flaws.extend(found.flaws);
    match RecordType::compile(&read(document)?, &found.tables) {
        Err(error) => report.flaws.extend(error.problems().iter().map(|problem| Flaw {
            place: if problem.pointer.is_empty() { "(root)".into() } else { problem.pointer.clone() },
            code: problem.flaw.code().to_owned(),
            message: problem.flaw.to_string(),
        })),
        Ok(record_type) => {
            report.record_type = Some(record_type.name().to_owned());
            if record_type.name().contains('.') && sound {
                report.flaws.extend(own::refusals(document, tables.directory(document).as_deref())?);
            }
            let examples = document.with_file_name("examples");
            for (name, kind) in [("valid", Kind::Valid), ("invalid", Kind::Invalid)] {
                let directory = examples.join(name);
                if directory.is_dir() {
                    examples_of(&record_type, &directory, kind, &mut report)?;
                }
            }
            for record in records {
                let file = (records.len() > 1).then(|| record.display().to_string());
                report.examples += 1;
                report.flaws.extend(broken_by(&record_type, &read(record)?, file.as_deref()));
            }
        }
    }
    Ok(report)
}

/// Every rule that a record breaks; before the place stands the file, if there is more than one.
fn broken_by(record_type: &RecordType, payload: &[u8], file: Option<&str>) -> Vec<Flaw> {
    let Err(violations) = record_type.validate(payload, &mut Scratch::new()) else {
        return Vec::new();
    };
    let place = |path: &str| match (file, path) {
        (Some(file), path) => format!("{file} {path}"),
        (None, "") => "(record)".to_owned(),
        (None, path) => path.to_owned(),
    };
    let flaw = |one: &Violation| Flaw {
        place: place(&one.path),
        code: one.rule.code().to_owned(),
        message: one.message_en.clone(),
    };
    violations.iter().map(flaw).collect()
}

fn examples_of(record_type: &RecordType, directory: &Path, kind: Kind, report: &mut Report) -> Result<(), Error> {
    let document = directory.join(EXPECTED);
    let flaw =
        |path: PathBuf, code: &str, message| Flaw { place: path.display().to_string(), code: code.to_owned(), message };
    let expected = if document.is_file() {
        Expected::read(kind, &read(&document)?).unwrap_or_else(|error| {
            report.flaws.push(flaw(document.clone(), "EXPECTED_UNREADABLE", error.to_string()));
            Expected::nothing(kind)
        })
    } else {
        Expected::nothing(kind)
    };
    let mut files = Vec::new();
    for path in list(directory)?.iter().filter(|path| path.is_file() && **path != document) {
        let Some(name) = path.file_name() else { continue };
        files.push((name.to_string_lossy().into_owned(), read(path)?));
    }
    report.examples += files.len();
    let mismatches = expected.judge(record_type, files);
    report.flaws.extend(
        mismatches
            .into_iter()
            .map(|(file, mismatch)| flaw(directory.join(file), mismatch.code(), mismatch.to_string())),
    );
    Ok(())
}

fn show(reports: &[Report], format: Format) -> Result<(), Error> {
    output::print(&match format {
        Format::Json => output::json(&reports)?,
        Format::Yaml => output::yaml(&reports)?,
        // One document's flaws are the answer; of several, which has how many comes first.
        Format::Table if reports.len() == 1 => match lines(&reports[0].flaws) {
            lines if lines.is_empty() => "ok".to_owned(),
            lines => lines,
        },
        Format::Table => {
            let rows = reports.iter().map(|report| {
                vec![
                    report.record_type.clone().unwrap_or_else(|| "refused".into()),
                    report.examples.to_string(),
                    report.flaws.len().to_string(),
                    report.file.clone(),
                ]
            });
            let mut text = output::table(["record type", "examples", "flaws", "file"], rows);
            for report in reports.iter().filter(|report| !report.flaws.is_empty()) {
                text.push_str(&format!("\n\n# {}\n{}", report.file, lines(&report.flaws)));
            }
            text
        }
    })
}

fn lines(flaws: &[Flaw]) -> String {
    let line = |flaw: &Flaw| format!("{}: {} ({})", flaw.place, flaw.message, flaw.code);
    flaws.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> PathBuf {
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas"))
    }

    #[test]
    fn every_standard_of_ours_and_every_example_is_checked_and_right() {
        let documents = documents(&ours()).expect("readable");
        let reports: Vec<_> =
            documents.iter().map(|path| examine(path, &Tables::default(), &[]).expect("readable")).collect();
        assert_eq!(reports.len(), shuqiao_schemas::registry::Registry::builtin().names().len());
        for report in reports {
            assert_eq!(report.flaws, [], "{}", report.file);
            assert!(report.examples >= 12, "{}", report.file);
        }
    }

    #[test]
    fn a_wrong_example_and_a_wrong_schema_are_named_with_their_place() {
        let directory = tempfile::tempdir().expect("tempdir");
        let at = |path: &str| directory.path().join(path);
        for kind in ["valid", "invalid"] {
            std::fs::create_dir_all(at(&format!("t/v1/examples/{kind}"))).expect("directory");
        }
        let schema = r#"{"$id":"urn:shuqiao:record-type:t:v1","type":"object","additionalProperties":false,"required":["id"],"x-key":["/id"],
            "properties":{"id":{"type":"string","maxLength":3}}}"#;
        std::fs::write(at("t/v1/schema.json"), schema).expect("write");
        let write = |path: &str, text: &str| std::fs::write(at(&format!("t/v1/examples/{path}")), text).expect("write");
        write("valid/long.json", r#"{"id":"abcd"}"#);
        write("valid/expected.json", r#"{"long.json":{"key":"abcd"},"gone.json":{"key":"a"}}"#);
        write("invalid/right.json", r#"{"id":"abc"}"#);
        write("invalid/other.json", r#"{"id":"abcd"}"#);
        write("invalid/told.json", r#"{"id":"abcd"}"#);
        write("invalid/new.json", r#"{"id":9}"#);
        let long = r#"[{"path":"/id","rule":"TOO_LONG"}]"#;
        let expected =
            format!(r#"{{"other.json":[{{"path":"/id","rule":"REQUIRED"}}],"right.json":{long},"told.json":{long}}}"#);
        write("invalid/expected.json", &expected);
        let report = examine(&at("t/v1/schema.json"), &Tables::default(), &[]).expect("readable");
        let told: Vec<_> = report.flaws.iter().map(|flaw| (flaw.code.as_str(), flaw.message.as_str())).collect();
        assert_eq!(
            told,
            [
                ("VALID_IS_REFUSED", "expected: none; it breaks: /id TOO_LONG"),
                ("EXPECTED_WITHOUT_FILE", "expected.json names it, and there is no such file"),
                ("NOT_IN_EXPECTED", "expected.json does not name it; it gives: /id WRONG_TYPE"),
                ("BREAKS_OTHER_RULES", "expected: /id REQUIRED; it breaks: /id TOO_LONG"),
                ("INVALID_IS_ACCEPTED", "expected: /id TOO_LONG; it breaks: none"),
            ]
        );
        assert!(report.flaws[0].place.ends_with("examples/valid/long.json"), "{report:?}");
        assert_eq!(report.examples, 5);

        write("invalid/expected.json", "{");
        let report = examine(&at("t/v1/schema.json"), &Tables::default(), &[]).expect("readable");
        assert!(report.flaws.iter().any(|flaw| flaw.code == "EXPECTED_UNREADABLE"), "{report:?}");

        std::fs::write(at("t/v1/schema.json"), schema.replace("maxLength", "maxLenght")).expect("write");
        let report = examine(&at("t/v1/schema.json"), &Tables::default(), &[]).expect("readable");
        assert_eq!(report.record_type, None);
        let [flaw, ..] = &*report.flaws else { panic!("{report:?}") };
        assert_eq!((flaw.place.as_str(), flaw.code.as_str()), ("/properties/id", "UNKNOWN_KEYWORD"));
    }

    /// The blocks of a language in Markdown.
    fn blocks<'t>(text: &'t str, language: &str) -> Vec<&'t str> {
        let opening = format!("```{language}\n");
        let parts = text.split(opening.as_str()).skip(1);
        parts.filter_map(|part| part.split("\n```").next()).collect()
    }

    #[test]
    fn the_walk_of_the_readme_is_what_the_command_answers() {
        let readme = std::fs::read_to_string(ours().join("README.md")).expect("README");
        let (before, walk) = readme.split_once("### From an empty file").expect("the walk");
        let walk = walk.split("\n## ").next().expect("the walk's end");
        let directory = tempfile::tempdir().expect("tempdir");
        let [schema, record] = ["dog-licence.json", "wrong.json"].map(|name| directory.path().join(name));
        let (documents, answers) = (blocks(walk, "json"), blocks(walk, "text"));
        assert!(documents.len() >= 4 && documents.len() == answers.len(), "{} steps", documents.len());
        for (document, answer) in documents.into_iter().zip(answers) {
            let records = if document.contains("$id") {
                std::fs::write(&schema, document).expect("write");
                Vec::new()
            } else {
                let whole = blocks(before, "json").into_iter().find(|block| block.contains("$id")).expect("the whole");
                std::fs::write(&schema, whole).expect("write");
                std::fs::write(&record, document).expect("write");
                vec![record.clone()]
            };
            let report = examine(&schema, &Tables::default(), &records).expect("readable");
            let told = lines(&report.flaws);
            assert_eq!(if told.is_empty() { "ok" } else { &told }, answer, "{document}");
        }
        assert!(walk.contains("schema check dog-licence.json --record wrong.json"), "the README names the command");
    }
}
