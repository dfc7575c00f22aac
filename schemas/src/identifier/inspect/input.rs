//! Rows from a file, of bounded length, borrowed from the reader's own buffer where they can be.

use std::io::{self, BufRead};
use std::mem;

use csv_core::ReadRecordResult;
use memchr::memchr;

use super::{COLUMNS_MAX, Error, ROW_BYTES_MAX};

/// How much of a row that is too long is shown.
const BEGINNING_BYTES: usize = 64;
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// One row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Item<'a> {
    /// The value, without line ending.
    Row(&'a [u8]),
    /// The row was beyond the bound; this is its beginning.
    TooLong(&'a [u8]),
}

/// Lines ended by `\n` or `\r\n`; the last one may lack its end.
#[derive(Debug)]
pub(super) struct Lines<R> {
    reader: R,
    /// A line that straddles two fills of the reader's buffer.
    line: Vec<u8>,
    /// How much of the reader's buffer the line handed out last still occupies.
    borrowed: usize,
    first: bool,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Lines { reader, line: Vec::new(), borrowed: 0, first: true }
    }

    /// The next line, or `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Item<'_>>> {
        self.reader.consume(mem::take(&mut self.borrowed));
        let first = mem::take(&mut self.first);
        if let Some(end) = memchr(b'\n', fill(&mut self.reader)?) {
            self.borrowed = end + 1;
            // The buffer is not empty, so this fill returns it as it is.
            return self.reader.fill_buf().map(|buffer| Some(bounded(&buffer[..end], end, first)));
        }
        self.line.clear();
        let mut len = 0;
        loop {
            let buffer = fill(&mut self.reader)?;
            if buffer.is_empty() {
                return Ok((len > 0).then(|| bounded(&self.line, len, first)));
            }
            let end = memchr(b'\n', buffer);
            let part = &buffer[..end.unwrap_or(buffer.len())];
            // One byte more than the bound, and two for a `\r` and its like, is all that need be kept to know that it is too long.
            let room = (ROW_BYTES_MAX + 4).saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            len += part.len();
            let used = part.len() + usize::from(end.is_some());
            self.reader.consume(used);
            if end.is_some() {
                return Ok(Some(bounded(&self.line, len, first)));
            }
        }
    }
}

/// `fill_buf` that is not put off by a signal.
fn fill<R: BufRead>(reader: &mut R) -> io::Result<&[u8]> {
    loop {
        match reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(_) => break,
        }
    }
    reader.fill_buf()
}

fn bounded(line: &[u8], len: usize, first: bool) -> Item<'_> {
    let line = if first { line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line) } else { line };
    if len > ROW_BYTES_MAX {
        return Item::TooLong(&line[..line.len().min(BEGINNING_BYTES)]);
    }
    Item::Row(line.strip_suffix(b"\r").unwrap_or(line))
}

/// One column of a CSV file (RFC 4180, with a header).
#[derive(Debug)]
pub(super) struct Records<R> {
    reader: R,
    csv: csv_core::Reader,
    fields: Vec<u8>,
    ends: Vec<usize>,
    column: usize,
    /// How much of the beginning of a record that is too long was kept in `fields`.
    beginning: usize,
}

impl<R: BufRead> Records<R> {
    /// Reads the header and finds the column.
    pub(super) fn open(reader: R, column: &str) -> Result<Self, Error> {
        let mut records = Records {
            reader,
            csv: csv_core::Reader::new(),
            fields: vec![0; ROW_BYTES_MAX],
            ends: vec![0; COLUMNS_MAX],
            column: 0,
            beginning: 0,
        };
        let width = match records.record().map_err(Error::Read)? {
            Some(Record::Fields(width)) => width,
            _ => return Err(Error::NoHeader),
        };
        let names: Vec<String> = (0..width).map(|i| String::from_utf8_lossy(records.field(i)).into_owned()).collect();
        let wanted = column.trim();
        let mut found =
            names.iter().enumerate().filter(|(_, name)| name.trim_start_matches('\u{FEFF}').trim() == wanted);
        records.column = match (found.next(), found.next()) {
            (Some((index, _)), None) => index,
            (Some(_), Some(_)) => return Err(Error::AmbiguousColumn),
            (None, _) => return Err(Error::NoSuchColumn { found: names }),
        };
        Ok(records)
    }

    /// The column's value in the next record; empty where the record is too short to have one.
    pub(super) fn next(&mut self) -> io::Result<Option<Item<'_>>> {
        Ok(match self.record()? {
            None => None,
            Some(Record::TooLong) => Some(Item::TooLong(&self.fields[..self.beginning])),
            Some(Record::Fields(width)) if self.column >= width => Some(Item::Row(b"")),
            Some(Record::Fields(_)) => Some(Item::Row(self.field(self.column))),
        })
    }

    fn field(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.fields[start..self.ends[index]]
    }

    fn record(&mut self) -> io::Result<Option<Record>> {
        let (mut written, mut width) = (0, 0);
        let mut too_long = false;
        loop {
            let input = fill(&mut self.reader)?;
            // Once a record is known to be too long, the rest of it goes where it does no harm: its beginning stays.
            let fields = &mut self.fields[if too_long { BEGINNING_BYTES } else { written }..];
            let ends = &mut self.ends[if too_long { 0 } else { width }..];
            let (result, read, wrote, ended) = self.csv.read_record(input, fields, ends);
            self.reader.consume(read);
            written += wrote;
            width += ended;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    if !too_long {
                        self.beginning = written.min(BEGINNING_BYTES);
                    }
                    too_long = true;
                }
                ReadRecordResult::Record if too_long => return Ok(Some(Record::TooLong)),
                ReadRecordResult::Record => return Ok(Some(Record::Fields(width))),
                ReadRecordResult::End => return Ok(None),
            }
        }
    }
}

enum Record {
    /// How many fields there are.
    Fields(usize),
    TooLong,
}
