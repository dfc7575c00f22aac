//! Rows of an open CSV file, with where each stands and, where it is none, why. Bounded memory, and nothing is skipped but wholly empty lines.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{
    FileConfig,
    frame::{Dialect, End, Fault, Name, ROW_BYTES_MAX},
};
use crate::{
    AdapterError, plural,
    text::{LegacyEncoding, decode},
};

const READ_BYTES: usize = 256 * 1024;
/// The largest header that is worth reading.
const HEADER_BYTES_MAX: usize = 64 * 1024;
/// Why a line may be no header.
const CARRIAGE_RETURN: (&str, &str) = (
    "; it holds a carriage return: do lines end with CR alone? export with LF or CR LF",
    "；首行含有回车符，行尾可能只有 CR，请以 LF 或 CRLF 换行导出",
);

/// A row's bytes, and its fields in the order of the header.
pub(super) struct RawRow {
    pub(super) bytes: Bytes,
    /// The number of its first line; the header's is 1.
    pub(super) line: u64,
    pub(super) fields: Result<Vec<String>, Fault>,
}

/// Where the columns stand that a mapping asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) dialect: Dialect,
    pub(super) width: usize,
    columns: Vec<usize>,
}

impl Layout {
    /// The row's texts in the order in which the mapping asks for them.
    pub(super) fn pick<'a>(&self, fields: &'a [String]) -> Vec<Option<&'a str>> {
        self.columns.iter().map(|column| fields.get(*column).map(String::as_str)).collect()
    }
}

/// Reads forward from where it stands.
pub(super) struct Reader {
    file: File,
    buffer: Vec<u8>,
    /// Where in the buffer the next row begins.
    start: usize,
    at_end: bool,
    pub(super) layout: Layout,
    /// Where in the file the next row begins.
    pub(super) offset: u64,
    /// The number of the line there.
    pub(super) line: u64,
    digest: Sha256,
}

impl Reader {
    /// Reads the header: encoding, and which column is where.
    pub(super) fn open(file: File, config: &FileConfig, columns: &[&str]) -> Result<Self, AdapterError> {
        let dialect = Dialect { encoding: config.encoding.unwrap_or_default(), delimiter: config.delimiter_byte() };
        let layout = Layout { dialect, width: 0, columns: Vec::new() };
        let buffer = Vec::with_capacity(2 * READ_BYTES);
        let mut reader =
            Self { file, buffer, start: 0, at_end: false, layout, offset: 0, line: 1, digest: Sha256::new() };
        reader.fill().map_err(unreadable)?;
        let (encoding, mark) = encoding(&reader.buffer, config.encoding)?;
        reader.layout.dialect.encoding = encoding;
        reader.advance(mark, 0);
        reader.layout = header(&reader.next_header()?, reader.layout.dialect, columns)?;
        Ok(reader)
    }

    /// Goes to where an earlier reader of the same content stood.
    pub(super) fn resume(&mut self, offset: u64, line: u64) -> Result<(), AdapterError> {
        self.file.seek(SeekFrom::Start(offset)).map_err(unreadable)?;
        self.buffer.clear();
        (self.start, self.at_end, self.offset, self.line) = (0, false, offset, line);
        Ok(())
    }

    /// SHA-256 over everything, once a reader that was not resumed has come to the end.
    pub(super) fn digest(&self) -> [u8; 32] {
        self.digest.clone().finalize().into()
    }

    /// The open file: its size and time tell whether it is still what was read.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// The next row; `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<RawRow>, AdapterError> {
        loop {
            let Some((end, fault)) = self.frame().map_err(unreadable)? else { return Ok(None) };
            let row = self.buffer.get(self.start..self.start + end).unwrap_or_default();
            if row.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
                self.advance(end, 1);
                continue;
            }
            let fields = match fault {
                Some(fault) => Err(fault),
                None => self.layout.dialect.fields(row, self.layout.width),
            };
            let raw = RawRow { bytes: Bytes::copy_from_slice(row), line: self.line, fields };
            let lines = row.iter().filter(|byte| **byte == b'\n').count() as u64;
            self.advance(end, lines);
            if fault == Some(Fault::TooLong) {
                self.skip_line().map_err(unreadable)?;
            }
            return Ok(Some(raw));
        }
    }

    /// How many bytes of the buffer are the next row, and what is wrong with its shape.
    fn frame(&mut self) -> io::Result<Option<(usize, Option<Fault>)>> {
        loop {
            let bytes = self.buffer.get(self.start..).unwrap_or_default();
            if bytes.is_empty() && self.at_end {
                return Ok(None);
            }
            let dialect = self.layout.dialect;
            let end = dialect.end(bytes, self.at_end);
            if !self.at_end && matches!(end, End::Beyond | End::InQuotes) && bytes.len() < ROW_BYTES_MAX {
                self.fill()?;
                continue;
            }
            let first_line = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
            return Ok(Some(match end {
                End::At(end) if end > ROW_BYTES_MAX && first_line > ROW_BYTES_MAX => {
                    (ROW_BYTES_MAX, Some(Fault::TooLong))
                }
                // Only its first line is set aside: the rows that a stray quote would swallow are rows still.
                End::At(end)
                    if end > first_line
                        && !dialect.holds_together(bytes.get(..end).unwrap_or_default(), self.layout.width) =>
                {
                    (first_line, Some(self.fault_of(first_line)))
                }
                End::At(end) => (end, None),
                End::Beyond | End::InQuotes
                    if first_line > ROW_BYTES_MAX || (first_line == bytes.len() && !self.at_end) =>
                {
                    (bytes.len().min(ROW_BYTES_MAX), Some(Fault::TooLong))
                }
                End::Beyond | End::InQuotes => (first_line, Some(self.fault_of(first_line))),
            }));
        }
    }

    /// What is wrong with a line that begins a row which does not end well.
    fn fault_of(&self, first_line: usize) -> Fault {
        let line = self.buffer.get(self.start..self.start + first_line).unwrap_or_default();
        self.layout.dialect.fields(line, self.layout.width).err().unwrap_or(Fault::QuoteNotClosed)
    }

    fn fill(&mut self) -> io::Result<()> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let before = self.buffer.len();
        (&mut self.file).take(READ_BYTES as u64).read_to_end(&mut self.buffer)?;
        self.at_end = self.buffer.len() == before;
        self.digest.update(self.buffer.get(before..).unwrap_or_default());
        Ok(())
    }

    fn advance(&mut self, bytes: usize, lines: u64) {
        self.start += bytes;
        self.offset += bytes as u64;
        self.line += lines;
    }

    /// Leaves the rest of a line that is too long.
    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let bytes = self.buffer.get(self.start..).unwrap_or_default();
            match bytes.iter().position(|byte| *byte == b'\n') {
                Some(at) => {
                    self.advance(at + 1, 1);
                    return Ok(());
                }
                None => self.advance(bytes.len(), 0),
            }
            self.fill()?;
            if self.at_end {
                return Ok(());
            }
        }
    }

    fn next_header(&mut self) -> Result<Vec<String>, AdapterError> {
        loop {
            let bytes = self.buffer.get(self.start..).unwrap_or_default();
            let dialect = self.layout.dialect;
            match dialect.end(bytes, self.at_end) {
                End::At(end) if end <= HEADER_BYTES_MAX => {
                    let row = bytes.get(..end).unwrap_or_default();
                    let text = decode(dialect.encoding, row).map_err(|bad| {
                        let name = Name(dialect.encoding);
                        AdapterError::configuration(format!(
                            "the file's header is not {name}: is file.encoding right? 表头不是 {name} 编码，请检查 file.encoding"
                        ))
                        .because(bad)
                    })?;
                    let lines = row.iter().filter(|byte| **byte == b'\n').count() as u64;
                    let header = dialect.split(&text, None).map_err(|fault| {
                        let violation = fault.violation();
                        AdapterError::protocol(format!(
                            "the file's header: {} 表头：{}",
                            violation.message_en, violation.message_zh
                        ))
                    })?;
                    self.advance(end, lines);
                    return Ok(header);
                }
                End::Beyond | End::InQuotes if !self.at_end && bytes.len() < HEADER_BYTES_MAX => {
                    self.fill().map_err(unreadable)?;
                }
                _ => {
                    let (hint, hint_zh) = if bytes.contains(&b'\r') { CARRIAGE_RETURN } else { ("", "") };
                    return Err(AdapterError::protocol(format!(
                        "the file has no header row within 64 KiB{hint} 文件没有表头{hint_zh}"
                    )));
                }
            }
        }
    }
}

/// The encoding, and the length of the byte order mark. A mark may confirm a configuration or stand in for it, never contradict it.
fn encoding(bytes: &[u8], declared: Option<LegacyEncoding>) -> Result<(LegacyEncoding, usize), AdapterError> {
    let marked = if bytes.starts_with(b"\xEF\xBB\xBF") {
        Some((LegacyEncoding::Utf8, 3))
    } else if bytes.starts_with(b"\x84\x31\x95\x33") {
        Some((LegacyEncoding::Gb18030, 4))
    } else {
        None
    };
    match (marked, declared) {
        (None, _) if bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") => {
            Err(AdapterError::configuration(
                "the file is UTF-16: export it as GB18030 or UTF-8 文件为 UTF-16 编码，请导出为 GB18030 或 UTF-8",
            ))
        }
        (Some((marked, _)), Some(declared)) if marked != declared => Err(AdapterError::configuration(format!(
            "file.encoding says {}, the file's byte order mark says {} 文件的字节顺序标记与 file.encoding 不一致",
            Name(declared),
            Name(marked)
        ))),
        (Some(marked), _) => Ok(marked),
        (None, Some(declared)) => Ok((declared, 0)),
        (None, None) => Err(AdapterError::configuration(
            "file.encoding: the file has no byte order mark, so its encoding must be declared 文件没有字节顺序标记，须在 file.encoding 中声明编码",
        )),
    }
}

fn header(header: &[String], dialect: Dialect, columns: &[&str]) -> Result<Layout, AdapterError> {
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut repeated = Vec::new();
    for (place, name) in header.iter().enumerate() {
        if places.insert(name.trim(), place).is_some() {
            repeated.push(name.trim());
        }
    }
    let missing: Vec<&str> = columns.iter().copied().filter(|name| !places.contains_key(name)).collect();
    let twice: Vec<&str> = columns.iter().copied().filter(|name| repeated.contains(name)).collect();
    if !missing.is_empty() {
        return Err(AdapterError::configuration(without(&missing, header, columns)));
    }
    if !twice.is_empty() {
        return Err(AdapterError::configuration(format!(
            "the file has more than one column {} 文件中列名重复：{}",
            twice.join(", "),
            twice.join("、")
        )));
    }
    let columns = columns.iter().filter_map(|name| places.get(name).copied()).collect();
    Ok(Layout { dialect, width: header.len(), columns })
}

/// What is missing, and what helps to see why. Of the file's own words only those that the configuration knows: where the header line is missing, the
/// first row stands in its place, and where lines end otherwise, the whole file.
fn without(missing: &[&str], header: &[String], columns: &[&str]) -> String {
    let known: Vec<&str> = columns.iter().copied().filter(|name| !missing.contains(name)).collect();
    let (en, zh) = if known.is_empty() {
        (
            String::from("none that is configured; is the header line missing?"),
            "均不在配置之中（是否缺少表头行？）".into(),
        )
    } else {
        (format!("of which {} are configured", known.join(", ")), format!("其中配置所列的有：{}", known.join("、")))
    };
    let (hint, hint_zh) = if header.iter().any(|name| name.contains('\r')) { CARRIAGE_RETURN } else { ("", "") };
    format!(
        "the file has no column {}; its first line has {count} {columns}, {en}{hint} \
         文件缺少列：{}（不存在的列请在 columns 中置空）；首行共 {count} 列，{zh}{hint_zh}",
        missing.join(", "),
        missing.join("、"),
        count = header.len(),
        columns = plural(header.len() as u64, "column"),
    )
}

pub(super) fn unreadable(cause: io::Error) -> AdapterError {
    AdapterError::transient("reading the file").because(cause)
}
