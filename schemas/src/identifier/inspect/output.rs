//! The three ways in which an answer is written. Each appends one row to a buffer that the caller keeps.

use std::fmt::Write as _;
use std::io::Write as _;

use crate::identifier::verdict::Verdict;

use super::Format;

const COLUMNS: [&str; 6] = ["input", "kind", "normal", "verdict", "reason", "changes"];
/// Widths of the table's columns on a terminal; the last is as wide as it needs to be.
const WIDTHS: [usize; 6] = [24, 20, 20, 8, 26, 0];

/// What one row says.
#[derive(Debug)]
pub(super) struct Row<'a> {
    pub(super) input: &'a str,
    pub(super) verdict: &'a Verdict<'a>,
}

/// The row before all others; JSON lines have none.
pub(super) fn header(format: Format, out: &mut Vec<u8>) {
    match format {
        Format::Table => table(COLUMNS, out),
        Format::Csv => csv(COLUMNS, out),
        Format::Jsonl => {}
    }
}

/// One answer.
pub(super) fn row(format: Format, row: &Row<'_>, out: &mut Vec<u8>) {
    let verdict = row.verdict;
    let mut changes = String::new();
    if !verdict.changes.is_empty() {
        changes = verdict.changes.to_string();
    }
    if let Some(suggestion) = &verdict.suggestion {
        let joint = if changes.is_empty() { "" } else { "+" };
        // Writing to a String cannot fail.
        let _infallible = write!(changes, "{joint}suggest={suggestion}");
    }
    let reason = verdict.reason.map_or("", |reason| reason.code());
    let cells = [row.input, verdict.kind.name(), &verdict.normal, verdict.severity.name(), reason, &changes];
    match format {
        Format::Table => table(cells, out),
        Format::Csv => csv(cells, out),
        Format::Jsonl => jsonl(cells, out),
    }
}

/// Bytes that are not UTF-8, as text from which they can be had back: `\xNN` for a byte that is no part of a character, `\\` for `\`.
pub(super) fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            text.push_str(if c == '\\' { "\\" } else { "" });
            text.push(c);
        }
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _infallible = write!(text, "\\x{byte:02X}");
        }
    }
    text
}

fn csv(cells: [&str; 6], out: &mut Vec<u8>) {
    for (i, cell) in cells.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        if cell.bytes().any(|b| matches!(b, b',' | b'"' | b'\n' | b'\r')) {
            out.push(b'"');
            for part in cell.split_inclusive('"') {
                out.extend_from_slice(part.as_bytes());
                if part.ends_with('"') {
                    out.push(b'"');
                }
            }
            out.push(b'"');
        } else {
            out.extend_from_slice(cell.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn jsonl(cells: [&str; 6], out: &mut Vec<u8>) {
    for (i, (name, cell)) in COLUMNS.into_iter().zip(cells).enumerate() {
        let before = if i == 0 { '{' } else { ',' };
        // Neither writing to a Vec nor turning a str into JSON can fail.
        let _infallible = write!(out, "{before}\"{name}\":");
        let _infallible = serde_json::to_writer(&mut *out, cell);
    }
    out.extend_from_slice(b"}\n");
}

fn table(cells: [&str; 6], out: &mut Vec<u8>) {
    let end = cells.iter().rposition(|cell| !cell.is_empty()).unwrap_or_default();
    for (i, (cell, width)) in cells.into_iter().zip(WIDTHS).enumerate().take(end + 1) {
        let mut columns = 0;
        for c in cell.chars() {
            if c.is_control()
                || matches!(c, '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}')
            {
                // A value must not steer the terminal.
                let escaped = c.escape_unicode();
                columns += escaped.len();
                let _infallible = write!(out, "{escaped}");
            } else {
                columns += if is_wide(c) { 2 } else { 1 };
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        if i < end {
            out.resize(out.len() + width.saturating_sub(columns) + 1, b' ');
        }
    }
    out.push(b'\n');
}

/// Whether a terminal gives the character two columns (the ideographs and full-width forms of Unicode Annex 11).
fn is_wide(c: char) -> bool {
    matches!(c, '\u{1100}'..='\u{115F}' | '\u{2E80}'..='\u{A4CF}' | '\u{AC00}'..='\u{D7A3}' | '\u{F900}'..='\u{FAFF}'
        | '\u{FE30}'..='\u{FE6F}' | '\u{FF00}'..='\u{FF60}' | '\u{FFE0}'..='\u{FFE6}' | '\u{20000}'..='\u{3FFFD}')
}
