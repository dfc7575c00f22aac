//! Judges a whole file: `shuqiao inspect identifiers [--column NAME] [-o table|csv|jsonl]`.
//!
//! Reads lines, or one column of a CSV file with a header, and answers each row, in order, with
//! `input, kind, normal, verdict, reason, changes`. Where a letter was probably meant as a digit, `changes` ends in
//! `suggest=VALUE`; nothing is repaired.
//!
//! Promised: an answer for every row, whatever its bytes (in a CSV file a wholly blank line is no row). Memory is bounded: a line
//! or record beyond [`ROW_BYTES_MAX`] is answered with `INPUT_TOO_LONG` and its beginning, and reading goes on behind it.
//! Bytes that are not UTF-8 are answered with `NOT_UTF8` and an `input` from which they can be had back: `\xNN` for a byte,
//! `\\` for a backslash. A byte order mark before the first row belongs to the file and is passed over.
//!
//! The output holds what was read, personal numbers included: it is for the person who has the file.

mod input;
mod output;

use std::io::{self, BufRead, BufWriter, Write};
use std::str::FromStr;
use std::{borrow::Cow, fmt};

use input::{Item, Lines, Records};
use output::Row;

use super::detect;
use super::kind::Kind;
use super::normal::Changes;
use super::reason::{Reason, Severity};
use super::verdict::Verdict;

/// Longest line, or CSV record, that is examined.
pub const ROW_BYTES_MAX: usize = 64 * 1024;

/// Most columns of a CSV record.
pub const COLUMNS_MAX: usize = 1024;

/// How the answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Format {
    /// Columns for the eye. Streams, so a value wider than its column pushes the rest to the right.
    #[default]
    Table,
    /// RFC 4180 with a header.
    Csv,
    /// One JSON object a line.
    Jsonl,
}

impl Format {
    /// `table`, `csv` or `jsonl`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Format::Table => "table",
            Format::Csv => "csv",
            Format::Jsonl => "jsonl",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The name is neither `table` nor `csv` nor `jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the format is table, csv or jsonl")]
pub struct UnknownFormat;

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        [Format::Table, Format::Csv, Format::Jsonl]
            .into_iter()
            .find(|format| format.name() == name)
            .ok_or(UnknownFormat)
    }
}

/// What to read and how to answer.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The column of a CSV file with a header; `None` reads every line as one value.
    pub column: Option<String>,
    /// How the answers are written.
    pub format: Format,
}

/// Why a file could not be inspected to its end. What was answered before stands.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The input broke off.
    #[error("reading the input failed")]
    Read(#[source] io::Error),
    /// The output does not take any more. [`io::ErrorKind::BrokenPipe`] is a reader that has seen enough.
    #[error("writing the answers failed")]
    Write(#[source] io::Error),
    /// A column was named, but the input has no header row that could be read (empty, or beyond the bounds).
    #[error("the input has no readable header row")]
    NoHeader,
    /// No column has the name.
    #[error("the input has no column of that name; it has: {}", found.join(", "))]
    NoSuchColumn {
        /// The names of the header.
        found: Vec<String>,
    },
    /// More than one column has the name.
    #[error("the input has more than one column of that name")]
    AmbiguousColumn,
}

/// What was answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Rows read, and answered.
    pub rows: u64,
    /// Rows answered `ok`.
    pub ok: u64,
    /// Rows answered `warning`.
    pub warning: u64,
    /// Rows answered `error`.
    pub error: u64,
    by_kind: [u64; Kind::ALL.len()],
}

impl Summary {
    /// Rows found to be of `kind`, right or wrong.
    #[must_use]
    pub fn of_kind(&self, kind: Kind) -> u64 {
        self.by_kind[kind as usize]
    }

    fn count(&mut self, kind: Kind, severity: Severity) {
        self.rows += 1;
        self.by_kind[kind as usize] += 1;
        match severity {
            Severity::Ok => self.ok += 1,
            Severity::Warning => self.warning += 1,
            Severity::Error => self.error += 1,
        }
    }
}

/// Answers every row of `reader` on `writer`, in order.
///
/// # Errors
/// The input or output failed, or the named column cannot be found.
pub fn run(reader: impl BufRead, writer: impl Write, options: &Options) -> Result<Summary, Error> {
    let mut writer = BufWriter::with_capacity(ROW_BYTES_MAX, writer);
    let mut summary = Summary::default();
    let mut row = Vec::with_capacity(256);
    let mut answer = |item: Option<Item<'_>>| -> Result<(), Error> {
        row.clear();
        match item {
            None => output::header(options.format, &mut row),
            Some(item) => {
                let (input, verdict) = judge(item);
                summary.count(verdict.kind, verdict.severity);
                output::row(options.format, &Row { input: &input, verdict: &verdict }, &mut row);
            }
        }
        writer.write_all(&row).map_err(Error::Write)
    };
    match &options.column {
        None => {
            let mut lines = Lines::new(reader);
            answer(None)?;
            while let Some(item) = lines.next().map_err(Error::Read)? {
                answer(Some(item))?;
            }
        }
        Some(column) => {
            let mut records = Records::open(reader, column)?;
            answer(None)?;
            while let Some(item) = records.next().map_err(Error::Read)? {
                answer(Some(item))?;
            }
        }
    }
    writer.flush().map_err(Error::Write)?;
    Ok(summary)
}

/// The text that stands for the input, and the verdict on it.
fn judge(item: Item<'_>) -> (Cow<'_, str>, Verdict<'_>) {
    let refused = |reason| Verdict::new(Kind::Unknown, Err(reason), Cow::Borrowed(""), Changes::NONE);
    match item {
        Item::TooLong(beginning) => {
            (Cow::Owned(format!("{}…", output::escape(beginning))), refused(Reason::InputTooLong))
        }
        Item::Row(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => (Cow::Borrowed(text), detect(text)),
            Err(_) => (Cow::Owned(output::escape(bytes)), refused(Reason::NotUtf8)),
        },
    }
}
