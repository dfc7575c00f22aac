//! Judges the identifiers on standard input, a line or a CSV column at a time, and says on standard error what it found.
//!
//! `cargo run -p shuqiao-schemas --example inspect_identifiers -- [COLUMN] < file`. The broker's binary has the same as a command; this shows
//! that the crate needs nothing else for it.

use std::io::{self, Write};
use std::process::ExitCode;

use shuqiao_schemas::identifier::Kind;
use shuqiao_schemas::identifier::inspect::{Format, Options, run};

fn main() -> ExitCode {
    let options = Options { column: std::env::args().nth(1), format: Format::Jsonl };
    let mut errors = io::stderr();
    let told = match run(io::stdin().lock(), io::stdout().lock(), &options) {
        Ok(summary) => {
            let kinds = Kind::ALL.iter().map(|kind| (kind, summary.of_kind(*kind))).filter(|(_, rows)| *rows > 0);
            let kinds: Vec<_> = kinds.map(|(kind, rows)| format!("{kind} {rows}")).collect();
            writeln!(errors, "{} rows: {}; {} wrong", summary.rows, kinds.join(", "), summary.error)
        }
        Err(error) => writeln!(errors, "{error}").and(Err(io::ErrorKind::InvalidInput.into())),
    };
    if told.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
