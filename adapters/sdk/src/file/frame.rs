//! Where a row of a CSV file ends, and what its fields are.
//!
//! Two steps, in this order: a row is found among the bytes, and is decoded as a whole before anything splits it. In GB18030 the second byte of a
//! character may be `|` or a letter (never a comma, a quote or a line end), so finding the end walks over whole characters too.
//! A byte that is no character spoils its own row and no other.
//!
//! Strict where leniency would guess: text behind a closing quote, a quote that does not close and a wrong number of fields are faults. A quote
//! within an unquoted field is a character like any other, since many registries write it so.

use std::fmt;

use crate::{
    Violation, plural,
    text::{BadByte, LegacyEncoding, decode},
};

/// No row is longer, so that a quote that never closes cannot take the rest of a file with it.
pub(super) const ROW_BYTES_MAX: usize = 1 << 20;

/// How the file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dialect {
    pub(super) encoding: LegacyEncoding,
    pub(super) delimiter: u8,
}

/// Where the first row of some bytes ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Before this offset; the line end belongs to the row.
    At(usize),
    /// The bytes end within the row.
    Beyond,
    /// The bytes end within a quoted field.
    InQuotes,
}

/// Why a row cannot be split into its fields. Quotes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    BadByte(LegacyEncoding, BadByte),
    QuoteNotClosed,
    QuoteMisplaced,
    FieldCount { found: usize, wanted: usize },
    TooLong,
}

impl Fault {
    /// The reason of the dead letter.
    pub(super) fn violation(self) -> Violation {
        match self {
            Self::BadByte(encoding, BadByte::Undecodable { offset }) => {
                let (name, number) = (Name(encoding), offset + 1);
                let en = format!("byte {number} of the row begins no character of {name}");
                let zh = format!("该行第 {number} 个字节不是 {name} 编码的字符");
                Violation::new("", "BAD_BYTE", en, zh)
            }
            Self::BadByte(_, BadByte::AlreadyReplaced { offset }) => Violation::new(
                "",
                "CHARACTER_LOST",
                format!("byte {} of the row begins U+FFFD: a character was lost before the row came here", offset + 1),
                format!("该行第 {} 个字节处为 U+FFFD，原字符在导出前已丢失", offset + 1),
            ),
            Self::QuoteNotClosed => {
                Violation::new("", "QUOTE_NOT_CLOSED", "a quoted field does not close", "引号未闭合")
            }
            Self::QuoteMisplaced => Violation::new(
                "",
                "QUOTE_MISPLACED",
                "text stands behind the closing quote of a field",
                "字段的右引号之后还有内容",
            ),
            Self::FieldCount { found, wanted } => Violation::new(
                "",
                "FIELD_COUNT",
                format!("the row has {found} {}, the header has {wanted}", plural(found as u64, "field")),
                format!("该行有 {found} 个字段，表头有 {wanted} 个"),
            ),
            Self::TooLong => Violation::new(
                "",
                "ROW_TOO_LONG",
                format!("the row is longer than {ROW_BYTES_MAX} bytes; only its beginning is kept"),
                format!("该行超过 {ROW_BYTES_MAX} 字节，仅保留开头部分"),
            ),
        }
    }
}

/// What people call an encoding.
#[derive(Clone, Copy)]
pub(super) struct Name(pub(super) LegacyEncoding);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            LegacyEncoding::Utf8 => "UTF-8",
            LegacyEncoding::Gb18030 => "GB18030",
        })
    }
}

impl Dialect {
    /// Where the first row of `bytes` ends. `last`: nothing follows these bytes.
    pub(super) fn end(self, bytes: &[u8], last: bool) -> End {
        let (mut at, mut begins, mut quoted) = (0, true, false);
        while let Some(&byte) = bytes.get(at) {
            if quoted {
                // No character of either encoding holds a quote's byte.
                match (byte, bytes.get(at + 1)) {
                    (b'"', Some(b'"')) => at += 1,
                    (b'"', None) if !last => return End::Beyond,
                    (b'"', _) => quoted = false,
                    _ => {}
                }
                at += 1;
                continue;
            }
            match byte {
                b'\n' => return End::At(at + 1),
                b'"' if begins => quoted = true,
                _ => begins = byte == self.delimiter,
            }
            at += if byte.is_ascii() { 1 } else { self.width(bytes.get(at..).unwrap_or_default()) };
        }
        match (quoted, last) {
            (true, _) => End::InQuotes,
            (false, true) => End::At(bytes.len()),
            (false, false) => End::Beyond,
        }
    }

    /// How many bytes the character at the beginning takes; one where it is none.
    fn width(self, bytes: &[u8]) -> usize {
        match (self.encoding, bytes) {
            (LegacyEncoding::Gb18030, [0x81..=0xFE, 0x40..=0x7E | 0x80..=0xFE, ..]) => 2,
            (LegacyEncoding::Gb18030, [0x81..=0xFE, b'0'..=b'9', 0x81..=0xFE, b'0'..=b'9', ..]) => 4,
            // No byte of a longer UTF-8 character is ASCII.
            _ => 1,
        }
    }

    /// Decodes a row, then splits it. `width`: how many fields it must have.
    pub(super) fn fields(self, row: &[u8], width: usize) -> Result<Vec<String>, Fault> {
        let text = decode(self.encoding, row).map_err(|bad| Fault::BadByte(self.encoding, bad))?;
        self.split(&text, Some(width))
    }

    /// The fields of a decoded row. `width`: how many there must be.
    pub(super) fn split(self, row: &str, width: Option<usize>) -> Result<Vec<String>, Fault> {
        let delimiter = char::from(self.delimiter);
        let mut rest = row.strip_suffix('\n').unwrap_or(row);
        rest = rest.strip_suffix('\r').unwrap_or(rest);
        let mut fields = Vec::new();
        loop {
            let behind = if let Some(quoted) = rest.strip_prefix('"') {
                let (field, behind) = unquote(quoted)?;
                fields.push(field);
                behind
            } else {
                let end = rest.find(delimiter).unwrap_or(rest.len());
                let (field, behind) = rest.split_at(end);
                fields.push(field.to_owned());
                behind
            };
            if behind.is_empty() {
                break;
            }
            rest = behind.strip_prefix(delimiter).ok_or(Fault::QuoteMisplaced)?;
        }
        match width {
            Some(wanted) if wanted != fields.len() => Err(Fault::FieldCount { found: fields.len(), wanted }),
            _ => Ok(fields),
        }
    }

    /// Whether a row of several lines is one: a stray quote that some later quote closes makes fields of the wrong shape.
    pub(super) fn holds_together(self, row: &[u8], width: usize) -> bool {
        match self.fields(row, width) {
            Ok(_) => true,
            // The quotes are ASCII, so they can be judged beside a byte that is no character.
            Err(Fault::BadByte(..)) => {
                let lossy: String =
                    row.iter().map(|&byte| if byte.is_ascii() { char::from(byte) } else { '?' }).collect();
                self.split(&lossy, Some(width)).is_ok()
            }
            Err(_) => false,
        }
    }
}

/// The content of a quoted field up to its closing quote, and what stands behind.
fn unquote(text: &str) -> Result<(String, &str), Fault> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let (content, behind) = rest.split_once('"').ok_or(Fault::QuoteNotClosed)?;
        field.push_str(content);
        match behind.strip_prefix('"') {
            Some(more) => {
                field.push('"');
                rest = more;
            }
            None => return Ok((field, behind)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UTF8: Dialect = Dialect { encoding: LegacyEncoding::Utf8, delimiter: b',' };

    #[test]
    fn fields_are_what_rfc_4180_says() {
        for (row, fields) in [
            ("a,b,c\r\n", &["a", "b", "c"][..]),
            ("a,,\n", &["a", "", ""]),
            ("\"a,1\",\"b\"\"2\"\"\",\"c\r\n3\"\n", &["a,1", "b\"2\"", "c\r\n3"]),
            ("\"\",b,c", &["", "b", "c"]),
            // Sloppy exporters do not quote what holds a quote.
            ("南通\"红星\"厂,b,c\n", &["南通\"红星\"厂", "b", "c"]),
        ] {
            assert_eq!(UTF8.end(row.as_bytes(), true), End::At(row.len()), "{row}");
            assert_eq!(
                UTF8.fields(row.as_bytes(), 3).as_deref(),
                Ok(fields.iter().map(|f| (*f).to_owned()).collect::<Vec<_>>().as_slice()),
                "{row}"
            );
        }
    }

    #[test]
    fn every_fault_has_a_name() {
        for (row, fault) in [
            ("a,\"b,c\n", Fault::QuoteNotClosed),
            ("\"红星\"厂,b,c\n", Fault::QuoteMisplaced),
            ("a,b\n", Fault::FieldCount { found: 2, wanted: 3 }),
            ("a,b,c,d\n", Fault::FieldCount { found: 4, wanted: 3 }),
            ("a,\u{FFFD},c\n", Fault::BadByte(LegacyEncoding::Utf8, BadByte::AlreadyReplaced { offset: 2 })),
        ] {
            assert_eq!(UTF8.fields(row.as_bytes(), 3), Err(fault), "{row}");
            let violation = fault.violation();
            assert!(!violation.message_en.is_empty() && !violation.message_zh.is_empty());
        }
        let bad = UTF8.fields(b"a,\xFF,c\n", 3);
        assert_eq!(bad, Err(Fault::BadByte(LegacyEncoding::Utf8, BadByte::Undecodable { offset: 2 })));
        // People count from one.
        let told = bad.expect_err("a fault").violation();
        assert!(told.message_en.starts_with("byte 3 ") && told.message_zh.starts_with("该行第 3 个字节"), "{told:?}");
        let short = Fault::FieldCount { found: 1, wanted: 10 }.violation();
        assert_eq!(short.message_en, "the row has 1 field, the header has 10");
    }

    /// 㥈 has the bytes 82 7C: the second is `|`. 丗 is 81 7C.
    #[test]
    fn a_character_that_holds_the_delimiter_is_not_cut() {
        let gb = Dialect { encoding: LegacyEncoding::Gb18030, delimiter: b'|' };
        let mut row = b"\x81\x7C\"x|\x82\x7C|".to_vec();
        row.extend_from_slice(b"\x95\x34\xB2\x35\n");
        assert_eq!(gb.end(&row, false), End::At(row.len()));
        let fields = gb.fields(&row, 3).expect("three fields");
        assert_eq!(fields[2], "\u{20BB7}");
        assert!(fields[0].ends_with("\"x") && fields[0].chars().count() == 3, "{fields:?}");
    }

    #[test]
    fn a_bad_byte_ends_with_its_row() {
        let gb = Dialect { encoding: LegacyEncoding::Gb18030, delimiter: b',' };
        let bytes = b"\xFFa,b,\xD6\nc,d,e\n";
        assert_eq!(gb.end(bytes, false), End::At(7));
        assert!(matches!(gb.fields(&bytes[..7], 3), Err(Fault::BadByte(..))));
    }

    #[test]
    fn an_end_that_is_not_there_yet_is_waited_for() {
        assert_eq!(UTF8.end(b"a,b", false), End::Beyond);
        assert_eq!(UTF8.end(b"a,b", true), End::At(3));
        assert_eq!(UTF8.end(b"a,\"b\n", false), End::InQuotes);
        // The quote may be the first of two.
        assert_eq!(UTF8.end(b"a,\"b\"", false), End::Beyond);
        assert_eq!(UTF8.end(b"", true), End::At(0));
    }
}
