//! Answers to standard output, everything else to standard error.

use std::{fmt::Display, io::Write, path::Path};

use comfy_table::{Table, presets};
use serde::Serialize;

use super::error::{Error, write_error};

/// How resources are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// Columns for the eye.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// YAML, one document each: what `apply` takes.
    Yaml,
}

/// Writes text and a line end, and flushes: a record is out before it is acknowledged.
pub(super) fn print(text: &str) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(write_error)
}

/// Writes a line to standard error. One that cannot be written is lost: there is nowhere left to complain.
pub(super) fn note(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}

/// A table without frames: columns stay columns in `awk`.
pub(super) fn table<'a>(
    columns: impl IntoIterator<Item = &'a str>,
    rows: impl IntoIterator<Item = Vec<String>>,
) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(columns.into_iter().map(str::to_uppercase));
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let trimmed = table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
    trimmed.join("\n")
}

/// `1 row`, `2 rows`: a number and what it counts.
pub(super) fn count(number: impl Display, what: &str) -> String {
    let number = number.to_string();
    format!("{number} {what}{}", if number == "1" { "" } else { "s" })
}

/// What a path of the command line is called: `-` is standard input.
pub(super) fn place(path: &Path) -> String {
    if path.as_os_str() == "-" { "standard input".to_owned() } else { path.display().to_string() }
}

/// Pretty JSON.
pub(super) fn json(value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string_pretty(value).map_err(|error| Error::Write(error.into()))
}

/// YAML.
pub(super) fn yaml(value: &impl Serialize) -> Result<String, Error> {
    let text =
        serde_saphyr::to_string(value).map_err(|error| Error::Write(std::io::Error::other(error.to_string())))?;
    Ok(text.trim_end().to_owned())
}
