//! Reading JSON text (RFC 8259) without building anything.
//!
//! A [`Cursor`] walks bytes that are already known to be UTF-8 and hands out spans. It is strict: no comment, no trailing comma, no
//! leading zero, no control character inside a string, no nesting beyond [`MAX_DOCUMENT_DEPTH`]. What is well formed but must not
//! enter a record (half a surrogate pair, a NUL) is marked on the span, so that the caller can name the field. It allocates nothing
//! and never panics, whatever the bytes are.

use super::escapes::unescaped;
use super::plain_run::{before_quote, plain_run};
use super::program::Literal;
use std::borrow::Cow;

/// How deep arrays and objects may nest in a payload, known or unknown members alike. Twice what a schema may ask for, so that the
/// violation for a misplaced subtree still names its place, and few enough for any thread's stack.
pub(crate) const MAX_DOCUMENT_DEPTH: usize = 32;

/// Why reading had to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The bytes are not JSON here.
    Syntax,
    /// Nested beyond [`MAX_DOCUMENT_DEPTH`].
    TooDeep,
}

/// The bytes as text, or how many of them are before the first that is no UTF-8.
///
/// Half of a Chinese record is characters of three bytes, which the standard library reads one by one.
#[inline]
pub(crate) fn utf8(bytes: &[u8]) -> Result<&str, usize> {
    simdutf8::basic::from_utf8(bytes)
        .map_err(|_| std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len))
}

/// A string token: the bytes between its quotes, still escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Text {
    /// First byte after the opening quote.
    pub(crate) start: usize,
    /// The closing quote.
    pub(crate) end: usize,
    /// What is odd about it, one bit each. A whole word: three booleans in a token of seventeen bytes are stored in pieces and read
    /// as one, and each read waits for its stores; that alone was a seventh of a record's time.
    marks: usize,
}

impl Text {
    const ESCAPED: usize = 1;
    const LONE_SURROGATE: usize = 2;
    const NUL: usize = 4;

    /// Holds at least one backslash escape.
    #[inline]
    pub(crate) fn escaped(self) -> bool {
        self.marks != 0
    }

    /// Holds half of a surrogate pair, which is no character.
    pub(crate) fn lone_surrogate(self) -> bool {
        self.marks & Text::LONE_SURROGATE != 0
    }

    /// Holds U+0000, which legacy databases cut strings at.
    pub(crate) fn nul(self) -> bool {
        self.marks & Text::NUL != 0
    }
}

/// A number token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number {
    /// First byte.
    pub(crate) start: usize,
    /// One past the last byte.
    pub(crate) end: usize,
    /// Has neither fraction nor exponent.
    pub(crate) plain: bool,
}

/// A place in a payload.
#[derive(Clone, Copy)]
pub(crate) struct Cursor<'p> {
    /// The whole payload.
    text: &'p str,
    /// The next byte to read.
    pub(crate) at: usize,
    depth: usize,
}

/// Where it is, not what stands there.
impl std::fmt::Debug for Cursor<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cursor").field("at", &self.at).field("depth", &self.depth).finish_non_exhaustive()
    }
}

impl<'p> Cursor<'p> {
    pub(crate) fn new(text: &'p str) -> Self {
        Cursor { text, at: 0, depth: 0 }
    }

    #[inline(always)]
    fn bytes(&self) -> &'p [u8] {
        self.text.as_bytes()
    }

    /// The next byte, or 0 at the end: a raw NUL is never JSON, so the two need no telling apart.
    #[inline(always)]
    pub(crate) fn peek(&self) -> u8 {
        self.bytes().get(self.at).copied().unwrap_or(0)
    }

    pub(crate) fn at_end(&self) -> bool {
        self.at >= self.bytes().len()
    }

    #[inline(always)]
    pub(crate) fn skip_space(&mut self) {
        // One comparison settles it where nothing is skipped, as in nearly every place of a compact record.
        while self.peek() <= b' ' && matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    #[inline(always)]
    pub(crate) fn expect(&mut self, byte: u8) -> Result<(), Stop> {
        if self.peek() == byte {
            self.at += 1;
            Ok(())
        } else {
            Err(Stop::Syntax)
        }
    }

    /// Steps over `literal` if exactly these bytes come next.
    #[inline(always)]
    pub(crate) fn eat(&mut self, literal: &[u8]) -> bool {
        let here = self.bytes().get(self.at..).unwrap_or_default();
        let found = here.starts_with(literal);
        if found {
            self.at += literal.len();
        }
        found
    }

    pub(crate) fn literal(&mut self, literal: &[u8]) -> Result<(), Stop> {
        if self.eat(literal) { Ok(()) } else { Err(Stop::Syntax) }
    }

    /// Steps over `name` (quotes, name and colon) if exactly these bytes come next.
    #[inline(always)]
    pub(crate) fn eat_name(&mut self, name: &Literal) -> bool {
        let here = self.bytes().get(self.at..).unwrap_or_default();
        let length = name.bytes.len();
        let same = match (name.ends, here.first_chunk::<8>()) {
            (Some((head, tail)), Some(first)) => {
                u64::from_le_bytes(*first) == head
                    && here.get(length - 8..length).and_then(<[u8]>::first_chunk).copied().map(u64::from_le_bytes)
                        == Some(tail)
                    && (length <= 16 || here.get(8..length) == name.bytes.get(8..))
            }
            _ => here.starts_with(&name.bytes),
        };
        if same {
            self.at += length;
        }
        same
    }

    /// The first eight bytes of the name that comes next, if it is in quotes and does not stand at the very end.
    #[inline(always)]
    pub(crate) fn name_head(&self) -> Option<u64> {
        let (quote, rest) = self.bytes().get(self.at..)?.split_first()?;
        let word = u64::from_le_bytes(*rest.first_chunk::<8>()?);
        (*quote == b'"').then(|| before_quote(word))
    }

    /// Enters the array or object whose bracket is the next byte.
    #[inline(always)]
    pub(crate) fn enter(&mut self) -> Result<(), Stop> {
        if self.depth >= MAX_DOCUMENT_DEPTH {
            return Err(Stop::TooDeep);
        }
        self.depth += 1;
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    /// After a member or element: true if another follows, false if `close` ended the container.
    #[inline(always)]
    pub(crate) fn next_or(&mut self, close: u8) -> Result<bool, Stop> {
        self.skip_space();
        match self.peek() {
            b',' => {
                self.at += 1;
                self.skip_space();
                Ok(true)
            }
            byte if byte == close => {
                self.leave();
                Ok(false)
            }
            _ => Err(Stop::Syntax),
        }
    }

    /// Leaves the container whose closing bracket is the next byte.
    #[inline(always)]
    pub(crate) fn leave(&mut self) {
        self.at += 1;
        self.depth = self.depth.saturating_sub(1);
    }

    /// Reads the string whose opening quote is the next byte.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<Text, Stop> {
        self.expect(b'"')?;
        let start = self.at;
        let end = plain_run(self.bytes(), start);
        self.at = end;
        if self.peek() == b'"' {
            self.at += 1;
            return Ok(Text { start, end, marks: 0 });
        }
        self.escaped_string(start)
    }

    /// The string whose opening quote is the next byte, if it has neither escapes nor faults; else nothing is read.
    #[inline(always)]
    pub(crate) fn plain_string(&mut self) -> Option<Text> {
        let start = self.at + 1;
        let end = plain_run(self.bytes(), start);
        if self.bytes().get(end) != Some(&b'"') {
            return None;
        }
        self.at = end + 1;
        Some(Text { start, end, marks: 0 })
    }

    /// The rest of a string that is not all plain; rare, so kept out of the hot path.
    #[cold]
    fn escaped_string(&mut self, start: usize) -> Result<Text, Stop> {
        let mut text = Text { start, end: start, marks: Text::ESCAPED };
        loop {
            self.at = plain_run(self.bytes(), self.at);
            match self.peek() {
                b'"' => {
                    text.end = self.at;
                    self.at += 1;
                    return Ok(text);
                }
                b'\\' => {
                    self.at += 1;
                    let kind = self.peek();
                    self.at += 1;
                    match kind {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                        b'u' => match self.hex4()? {
                            0 => text.marks |= Text::NUL,
                            0xD800..=0xDBFF => {
                                let before = self.at;
                                if !(self.eat(b"\\u") && matches!(self.hex4()?, 0xDC00..=0xDFFF)) {
                                    // What follows is no second half: read it again as whatever it is.
                                    self.at = before;
                                    text.marks |= Text::LONE_SURROGATE;
                                }
                            }
                            0xDC00..=0xDFFF => text.marks |= Text::LONE_SURROGATE,
                            _ => {}
                        },
                        _ => return Err(Stop::Syntax),
                    }
                }
                _ => return Err(Stop::Syntax),
            }
        }
    }

    fn hex4(&mut self) -> Result<u32, Stop> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = char::from(self.peek()).to_digit(16).ok_or(Stop::Syntax)?;
            value = value * 16 + digit;
            self.at += 1;
        }
        Ok(value)
    }

    /// Reads the number that begins at the next byte.
    pub(crate) fn number(&mut self) -> Result<Number, Stop> {
        let start = self.at;
        if self.peek() == b'-' {
            self.at += 1;
        }
        if self.peek() == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        let mut plain = true;
        if self.peek() == b'.' {
            plain = false;
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            plain = false;
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Number { start, end: self.at, plain })
    }

    fn digits(&mut self) -> Result<(), Stop> {
        if !self.peek().is_ascii_digit() {
            return Err(Stop::Syntax);
        }
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        Ok(())
    }

    /// Steps over one whole value of any kind, checking its grammar.
    pub(crate) fn skip_value(&mut self) -> Result<(), Stop> {
        match self.peek() {
            b'"' => self.string().map(drop),
            b'{' => {
                self.enter()?;
                if self.peek() == b'}' {
                    self.leave();
                    return Ok(());
                }
                loop {
                    self.string()?;
                    self.skip_space();
                    self.expect(b':')?;
                    self.skip_space();
                    self.skip_value()?;
                    if !self.next_or(b'}')? {
                        return Ok(());
                    }
                }
            }
            b'[' => {
                self.enter()?;
                if self.peek() == b']' {
                    self.leave();
                    return Ok(());
                }
                loop {
                    self.skip_value()?;
                    if !self.next_or(b']')? {
                        return Ok(());
                    }
                }
            }
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            _ => self.number().map(drop),
        }
    }

    /// The text between two places, which are token borders and so never inside a character.
    #[inline(always)]
    pub(crate) fn slice(&self, start: usize, end: usize) -> &'p str {
        self.text.get(start..end).unwrap_or_default()
    }

    /// The string's own value: borrowed when nothing was escaped.
    pub(crate) fn decode(&self, text: Text) -> Cow<'p, str> {
        let raw = self.slice(text.start, text.end);
        if text.escaped() { Cow::Owned(unescaped(raw)) } else { Cow::Borrowed(raw) }
    }

    /// The bytes between two places.
    #[inline(always)]
    pub(crate) fn between(&self, start: usize, end: usize) -> &'p [u8] {
        self.bytes().get(start..end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> Result<(), Stop> {
        let mut cursor = Cursor::new(text);
        cursor.skip_space();
        cursor.skip_value()?;
        cursor.skip_space();
        if cursor.at_end() { Ok(()) } else { Err(Stop::Syntax) }
    }

    #[test]
    fn grammar_agrees_with_serde_json_on_the_edges() {
        let texts = [
            "",
            " ",
            "0",
            "-0",
            "-",
            "01",
            "1.",
            ".5",
            "1.5e",
            "1e+5",
            "1E-5",
            "+1",
            "tru",
            "true",
            "nul",
            "null",
            "[]",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{}",
            "{\"a\":1,}",
            "{\"a\" 1}",
            "{a:1}",
            "{\"a\":1}",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u0041\"",
            "\"a\tb\"",
            "\"a",
            "'a'",
            "[1]]",
            "{\"a\":1}x",
            "\u{a0}1",
            "NaN",
            "Infinity",
            "\"\u{7f}\"",
            "// c\n1",
            "\"12345678\u{1}\"",
            "\"1234567\\\\\"",
            "\"1234567\"",
        ];
        for text in texts {
            let theirs = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
            assert_eq!(whole(text).is_ok(), theirs, "{text:?}");
        }
    }

    #[test]
    fn every_length_of_plain_run_ends_at_its_quote() {
        for length in 0..100 {
            let text = format!("\"{}\"tail\\", "é".repeat(length));
            let token = Cursor::new(&text).string().unwrap();
            assert_eq!((token.start, token.end), (1, 1 + 2 * length));
        }
    }

    #[test]
    fn escapes_decode_as_serde_json_decodes_them() {
        for text in
            [r#""\"\\\/\b\f\n\r\t""#, r#""\u4f01\u4E1A""#, r#""\ud842\udfb7x""#, r#""a\u0000b""#, r#""\\u0041""#]
        {
            let cursor = Cursor::new(text);
            let token = { cursor }.string().unwrap();
            assert_eq!(cursor.decode(token), serde_json::from_str::<String>(text).unwrap());
        }
    }

    #[test]
    fn half_a_surrogate_pair_is_marked() {
        for text in [r#""\ud800""#, r#""\udc00""#, r#""\ud800\u0041""#, r#""\ud800\ud800\udc00""#, r#""\ud800x""#] {
            assert!(Cursor::new(text).string().unwrap().lone_surrogate(), "{text}");
        }
        assert!(!Cursor::new(r#""\ud800\udc00""#).string().unwrap().lone_surrogate());
    }

    #[test]
    fn ten_megabytes_of_brackets_end_at_the_depth_limit() {
        assert_eq!(whole(&"[".repeat(10 << 20)), Err(Stop::TooDeep));
    }
}
