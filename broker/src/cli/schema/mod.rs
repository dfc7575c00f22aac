//! `shuqiao schema`: record types, without a node.
//!
//! A record type is named (`enterprise/v1`, one that this program has) or given as a file or directory. Its code tables are those that lie beside it in
//! `tables/` and this program's: the same that it has at a node that it is registered with.

mod check;
mod diff;
mod hits;
pub(super) mod own;
mod show;
mod tables;

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Subcommand;
use shuqiao_schemas::{
    engine::{RecordType, SchemaError, profile::MAX_SCHEMA_BYTES},
    registry::Registry,
};

pub(super) use self::show::page;
use self::tables::Tables;
use super::{error::Error, exit::Exit};

/// The document of a record type in its directory.
const DOCUMENT: &str = "schema.json";

/// `shuqiao schema …`.
#[derive(Debug, Subcommand)]
pub(super) enum Schema {
    /// Hold record types to the profile, and their examples to them. Exit code 3 names the flaws.
    Check(check::Check),
    /// Name what differs between two versions, who can still read whom, which fields are touched and which grants that hits. Exit code 3 if the promise of
    /// --mode is broken.
    Diff(diff::Diff),
    /// Show a record type: its fields, how sensitive they are, its rules and code tables.
    Describe(show::Describe),
    /// List the code tables that record types may name, or the codes of one.
    Tables(tables::List),
}

impl Schema {
    pub(super) async fn run(self) -> Result<Exit, Error> {
        match self {
            Self::Check(check) => check.run(),
            Self::Diff(diff) => diff.run().await,
            Self::Describe(describe) => describe.run(),
            Self::Tables(tables) => tables.run(),
        }
    }
}

/// A record type by its name, or from its file or directory.
fn load(what: &str, tables: &Tables) -> Result<Arc<RecordType>, Error> {
    if let Some(known) = Registry::builtin().get(what) {
        return Ok(known.clone());
    }
    let path = Path::new(what);
    let document = if path.is_dir() { path.join(DOCUMENT) } else { path.to_path_buf() };
    if !document.is_file() {
        let names = Registry::builtin().names().collect::<Vec<_>>().join(", ");
        return Err(Error::NotFound(format!(
            "{what} is neither a file, nor a directory with a {DOCUMENT}, nor a record type of this program: {names}"
        )));
    }
    let tables = tables.of(&document)?.sound()?;
    RecordType::compile(&read(&document)?, &tables).map(Arc::new).map_err(|error| refused(&document, &error))
}

/// Every flaw of a document, a line each.
fn refused(path: &Path, error: &SchemaError) -> Error {
    let flaws: Vec<_> = error.problems().iter().map(|problem| format!("\n  {problem}")).collect();
    Error::Input(format!("{} is refused:{}", path.display(), flaws.concat()))
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let error = |source| Error::Read { what: path.display().to_string(), source };
    let mut bytes = Vec::new();
    // One byte more than is taken: the compiler then says that it is too large.
    File::open(path).map_err(error)?.take(MAX_SCHEMA_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(error)?;
    Ok(bytes)
}

/// What a directory holds, in order of name.
fn list(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let error = |source| Error::Read { what: directory.display().to_string(), source };
    let entries = std::fs::read_dir(directory).map_err(error)?;
    let mut paths =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>().map_err(error)?;
    paths.sort();
    Ok(paths)
}
