//! Code tables: where they are looked up for a record type, and `shuqiao schema tables`, which lists them.
//!
//! A record type may use its own, which lie beside it, and this program's. One of its own that is called like one of this program's and says something else is
//! refused: a reader would take the one for the other, and so would a node ([`shuqiao_schemas::own`]).

use std::path::{Path, PathBuf};

use clap::Args;
use shuqiao_schemas::{
    engine::{self, CodeTable, CodeTables, TableDescription},
    registry::Registry,
};

use super::{
    super::{
        error::Error,
        exit::Exit,
        output::{self, Format},
    },
    check::Flaw,
    list, read,
};

/// Code tables, in the directory that holds record types.
pub(super) const TABLES: &str = "tables";

/// Where code tables are looked up.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Tables {
    /// A directory of code tables, *.json, that are there beside this program's [default: `tables` beside the record type].
    #[arg(long, value_name = "DIRECTORY")]
    tables: Option<PathBuf>,
}

/// The tables that a record type may name, and what is wrong with its own.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) tables: CodeTables,
    pub(super) flaws: Vec<Flaw>,
}

impl Tables {
    /// The directory of a record type's own tables, whose document this is: the flag's, or the nearest one above it.
    pub(super) fn directory(&self, document: &Path) -> Option<PathBuf> {
        self.tables.clone().or_else(|| beside(document))
    }

    /// The tables for a record type whose document this is.
    pub(super) fn of(&self, document: &Path) -> Result<Found, Error> {
        find(self.directory(document).as_deref())
    }
}

impl Found {
    /// The tables, if nothing is wrong with them.
    pub(super) fn sound(self) -> Result<CodeTables, Error> {
        if self.flaws.is_empty() {
            return Ok(self.tables);
        }
        let flaws: Vec<_> = self.flaws.iter().map(|flaw| format!("\n  {}: {}", flaw.place, flaw.message)).collect();
        Err(Error::Input(format!("code tables are refused:{}", flaws.concat())))
    }
}

/// The directory of code tables that belongs to a document: enterprise/v1/schema.json stands two below the directory that holds `tables`.
pub(super) fn beside(document: &Path) -> Option<PathBuf> {
    document.ancestors().skip(1).take(3).map(|above| above.join(TABLES)).find(|tables| tables.is_dir())
}

/// The documents of a directory of code tables.
pub(super) fn table_files(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files = list(directory)?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    Ok(files)
}

fn find(directory: Option<&Path>) -> Result<Found, Error> {
    let ours = Registry::builtin().tables();
    let (mut own, mut flaws) = (CodeTables::new(), Vec::new());
    for path in directory.map_or_else(|| Ok(Vec::new()), table_files)? {
        let mut refuse = |pointer: &str, flaw: &engine::Flaw| {
            let place = format!("{} {pointer}", path.display());
            flaws.push(Flaw { place, code: flaw.code().to_owned(), message: flaw.to_string() });
        };
        match own.add_json(&read(&path)?) {
            Ok(table) if ours.get(table.name()).is_some() && !is_copy(&table) => {
                refuse("/name", &engine::Flaw::DuplicateTable);
            }
            Ok(_) => {}
            // The problems of a table begin with its name.
            Err(error) => error.problems().iter().for_each(|problem| {
                refuse(
                    problem.pointer.find('/').and_then(|at| problem.pointer.get(at..)).unwrap_or_default(),
                    &problem.flaw,
                );
            }),
        }
    }
    Ok(Found { tables: own.over(ours), flaws })
}

/// Whether a table says what this program's of that name says.
pub(super) fn is_copy(table: &CodeTable) -> bool {
    Registry::builtin().tables().get(table.name()).is_some_and(|ours| ours.codes() == table.codes())
}

/// `shuqiao schema tables [NAME]`.
#[derive(Args, Debug)]
pub(in crate::cli) struct List {
    /// A table, whose codes are listed.
    name: Option<String>,
    /// As JSON, one table is the document that it was read from.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    tables: Tables,
}

impl List {
    pub(super) fn run(self) -> Result<Exit, Error> {
        let tables = find(self.tables.tables.as_deref())?.sound()?;
        output::print(&answer(&tables, self.name.as_deref(), self.output)?)?;
        Ok(Exit::Success)
    }
}

fn answer(tables: &CodeTables, name: Option<&str>, format: Format) -> Result<String, Error> {
    let Some(name) = name else {
        let described: Vec<_> = tables.iter().map(|table| TableDescription::from(&**table)).collect();
        return match format {
            Format::Json => output::json(&described),
            Format::Yaml => output::yaml(&described),
            Format::Table => Ok(listed(&described)),
        };
    };
    let Some(table) = tables.get(name) else {
        let names: Vec<_> = tables.iter().map(|table| table.name()).collect();
        return Err(Error::NotFound(format!("there is no code table {name}, but these: {}", names.join(", "))));
    };
    match format {
        Format::Json => output::json(&**table),
        Format::Yaml => output::yaml(&**table),
        Format::Table => Ok(codes_of(table)),
    }
}

/// Tables, a line each.
pub(super) fn listed(tables: &[TableDescription]) -> String {
    let rows = tables.iter().map(|table| {
        let title = format!("{} / {}", table.title_zh, table.title_en);
        vec![table.name.clone(), table.codes.to_string(), title, table.source.clone()]
    });
    output::table(["code table", "codes", "title", "source"], rows)
}

fn codes_of(table: &CodeTable) -> String {
    let dated = table.codes().iter().any(|code| code.from.is_some() || code.to.is_some());
    let typed = table.codes().iter().any(|code| code.identifier.is_some());
    let columns = ["code", "chinese", "english"].into_iter();
    let columns =
        columns.chain(dated.then_some(["from", "to"]).into_iter().flatten()).chain(typed.then_some("identifier"));
    let rows = table.codes().iter().map(|code| {
        let mut row = vec![code.code.clone(), code.zh.clone(), code.en.clone()];
        if dated {
            row.extend([&code.from, &code.to].map(|date| date.clone().unwrap_or_default()));
        }
        if typed {
            row.push(code.identifier.map(|kind| kind.name().to_owned()).unwrap_or_default());
        }
        row
    });
    let titles = format!("{}  {} / {}", table.name(), table.title_zh(), table.title_en());
    format!("{titles}\nsource  {}\n\n{}", table.source(), output::table(columns, rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, code: &str) -> String {
        format!(
            r#"{{"name":"{name}","title":{{"en":"x","zh":"x"}},"source":"x","codes":[{{"code":"{code}","en":"x","zh":"x"}}]}}"#
        )
    }

    #[test]
    fn own_tables_join_this_programs_and_never_hide_them() {
        let directory = tempfile::tempdir().expect("tempdir");
        let write = |file: &str, text: &str| std::fs::write(directory.path().join(file), text).expect("write");
        let tables = Tables { tables: Some(directory.path().to_path_buf()) };
        let ours = Registry::builtin().tables();
        write("dog-breed.json", &table("dog-breed", "1"));
        write("notes.txt", "no table");
        let copy = ours.get("holder-id-type").map(|table| serde_json::to_string(&**table).expect("JSON"));
        write("holder-id-type.json", &copy.expect("ours"));
        let found = tables.of(Path::new("x/schema.json")).expect("readable").sound().expect("a copy is no clash");
        assert_eq!(found.iter().count(), ours.iter().count() + 1);
        assert!(found.get("dog-breed").is_some() && found.get("region").is_some());

        write("region.json", &table("region", "1"));
        write("doubled.json", &table("doubled", "1").replace("]}", r#",{"code":"1","en":"x","zh":"x"}]}"#));
        let flaws = tables.of(Path::new("x/schema.json")).expect("readable").flaws;
        assert_eq!(flaws.iter().map(|flaw| &*flaw.code).collect::<Vec<_>>(), ["DUPLICATE_CODE", "DUPLICATE_TABLE"]);
        assert!(flaws[0].place.ends_with("doubled.json /codes/1/code"), "{flaws:?}");
        assert!(flaws[1].place.ends_with("region.json /name"), "{flaws:?}");
        let refused =
            tables.of(Path::new("x/schema.json")).expect("readable").sound().expect_err("a clash").to_string();
        assert!(refused.contains("region.json"), "{refused}");
    }

    #[test]
    fn tables_and_the_codes_of_one_are_listed() {
        let ours = Registry::builtin().tables();
        let all = answer(ours, None, Format::Table).expect("a list");
        assert!(ours.iter().all(|table| all.contains(table.name()) && all.contains(table.title_zh())), "{all}");
        let one = answer(ours, Some("holder-id-type"), Format::Table).expect("ours");
        assert!(one.contains("公民身份号码") && one.contains("resident_id") && one.contains("source  "), "{one}");
        let regions = answer(ours, Some("region"), Format::Table).expect("ours");
        assert!(regions.contains("FROM") && regions.contains("330106"));
        let document = answer(ours, Some("region"), Format::Json).expect("JSON");
        let read = CodeTables::from_json([document.as_bytes()]).expect("the document of a table");
        assert!(read.get("region").is_some_and(|table| is_copy(table)));
        let unknown = answer(ours, Some("regions"), Format::Table).expect_err("unknown").to_string();
        assert!(unknown.contains("region, "), "{unknown}");
    }
}
