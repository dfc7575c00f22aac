//! Decoding and measuring the legacy character sets.
//!
//! GB18030 must be decoded before a line is split: the second byte of a character may be `|`, `\` or a letter. `encoding_rs` follows WHATWG, where the
//! GBK decoder is the GB18030 decoder, so one function serves both names. Its private-use mappings follow the WHATWG index; keep the raw bytes.

use encoding_rs::{DecoderResult, GB18030};
use serde::Deserialize;

/// What a legacy file is written in. Declared, never guessed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum LegacyEncoding {
    /// UTF-8, with or without a byte order mark.
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
    /// GB 18030, and its subsets GBK (CP936) and GB 2312.
    #[serde(rename = "gb18030", alias = "gbk")]
    Gb18030,
}

/// Bytes that are not text of the declared encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadByte {
    /// The byte at this 0-based offset begins no character.
    #[error("the byte at offset {offset} begins no character of the declared encoding")]
    Undecodable {
        /// 0-based, in the input.
        offset: usize,
    },
    /// The text holds U+FFFD: something before us has already lost a character.
    #[error("the character at offset {offset} was already replaced by U+FFFD before it came here")]
    AlreadyReplaced {
        /// 0-based, in the input.
        offset: usize,
    },
}

impl BadByte {
    /// 0-based offset in the input.
    pub fn offset(self) -> usize {
        match self {
            Self::Undecodable { offset } | Self::AlreadyReplaced { offset } => offset,
        }
    }
}

/// Decodes by the declared encoding; a UTF-8 byte order mark at the beginning is dropped.
///
/// # Errors
/// [`BadByte`], with the offset of the first one.
pub fn decode(encoding: LegacyEncoding, bytes: &[u8]) -> Result<String, BadByte> {
    match encoding {
        LegacyEncoding::Gb18030 => decode_gb18030(bytes),
        LegacyEncoding::Utf8 => {
            let mark = if bytes.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
            let rest = bytes.get(mark..).unwrap_or_default();
            let text = std::str::from_utf8(rest)
                .map_err(|error| BadByte::Undecodable { offset: mark + error.valid_up_to() })?;
            match text.find('\u{FFFD}') {
                Some(at) => Err(BadByte::AlreadyReplaced { offset: mark + at }),
                None => Ok(text.to_owned()),
            }
        }
    }
}

/// Decodes GB18030 (or GBK, GB 2312).
///
/// # Errors
/// [`BadByte`], with the offset of the first one; a character that is cut off at the end is one.
pub fn decode_gb18030(bytes: &[u8]) -> Result<String, BadByte> {
    let mut decoder = GB18030.new_decoder_without_bom_handling();
    // Two bytes become three at most; the fallback only matters for inputs near usize::MAX, and then the loop below grows it.
    let mut text = String::with_capacity(decoder.max_utf8_buffer_length_without_replacement(bytes.len()).unwrap_or(0));
    let mut read = 0;
    loop {
        let rest = bytes.get(read..).unwrap_or_default();
        let (result, consumed) = decoder.decode_to_string_without_replacement(rest, &mut text, true);
        read += consumed;
        match result {
            DecoderResult::InputEmpty => break,
            DecoderResult::OutputFull => text.reserve(rest.len().max(16) * 3),
            DecoderResult::Malformed(length, after) => {
                return Err(BadByte::Undecodable { offset: read - usize::from(length) - usize::from(after) });
            }
        }
    }
    match text.split_once('\u{FFFD}') {
        Some((before, _)) => Err(BadByte::AlreadyReplaced { offset: gb18030_length(before) }),
        None => Ok(text),
    }
}

/// How many bytes `text` takes in GB18030: what a legacy column is measured in. A text that is too long must fail loudly, never be cut.
pub fn gb18030_length(text: &str) -> usize {
    // U+E5E5 is the one character that WHATWG's encoder refuses (its code A3A0 decodes to U+3000); it takes two bytes.
    const REFUSED: char = '\u{E5E5}';
    text.split(REFUSED).map(|part| GB18030.encode(part).0.len()).sum::<usize>() + text.matches(REFUSED).count() * 2
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Domain facts, section 8: characters that GBK lacks, four-byte forms, and the euro sign.
    #[test]
    fn characters_that_gbk_lacks_decode_and_are_measured() {
        let table: &[(&[u8], &str)] = &[
            (b"\xFE\x9F", "\u{4DAE}"),
            (b"\x95\x34\xB2\x35", "\u{20BB7}"),
            (b"\xA1\xA4", "\u{B7}"),
            (b"\xA2\xE3", "\u{20AC}"),
            (b"abc", "abc"),
            (b"\xD6\xD0\xB9\xFA", "中国"),
            (b"", ""),
        ];
        for (bytes, text) in table {
            assert_eq!(decode_gb18030(bytes).as_deref(), Ok(*text));
            assert_eq!(gb18030_length(text), bytes.len(), "{text}");
        }
        // The WHATWG decoder takes the lone byte 80 of CP936 as the euro sign.
        assert_eq!(decode_gb18030(b"\x80").as_deref(), Ok("\u{20AC}"));
        assert_eq!(gb18030_length("a\u{E5E5}中"), 5);
    }

    #[test]
    fn a_bad_byte_is_found_where_it_stands_and_never_replaced() {
        let table: &[(&[u8], usize)] = &[
            (b"\xFF", 0),
            (b"ab\xFFcd", 2),
            (b"\xD6\xD0\xFFab", 2),
            // A lead byte before an ASCII byte that cannot follow it.
            (b"\xD6\xD0\xD6 x", 2),
            // Cut off at the end.
            (b"\xD6\xD0\xB9", 2),
            (b"\xD6\xD0\x95\x34\xB2", 2),
        ];
        for (bytes, offset) in table {
            assert_eq!(decode_gb18030(bytes), Err(BadByte::Undecodable { offset: *offset }), "{bytes:x?}");
        }
    }

    #[test]
    fn a_character_that_was_lost_before_is_told() {
        assert_eq!(decode_gb18030(b"\xD6\xD0\x84\x31\xA4\x37"), Err(BadByte::AlreadyReplaced { offset: 2 }));
        assert_eq!(decode(LegacyEncoding::Utf8, "中\u{FFFD}".as_bytes()), Err(BadByte::AlreadyReplaced { offset: 3 }));
    }

    #[test]
    fn utf8_loses_its_mark_and_reports_offsets_in_the_input() {
        assert_eq!(decode(LegacyEncoding::Utf8, b"\xEF\xBB\xBFa").as_deref(), Ok("a"));
        assert_eq!(decode(LegacyEncoding::Utf8, b"\xEF\xBB\xBFa\xFF"), Err(BadByte::Undecodable { offset: 4 }));
    }
}
