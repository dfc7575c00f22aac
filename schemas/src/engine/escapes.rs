//! The escapes of JSON strings, both ways.

/// The value of the escaped text `raw`.
#[cold]
pub(crate) fn unescaped(raw: &str) -> String {
    let mut value = String::new();
    unescape(raw, &mut value);
    value
}

/// Appends the value of the escaped text `raw` to `out`. Half a surrogate pair becomes U+FFFD; the caller has refused it already.
pub(crate) fn unescape(raw: &str, out: &mut String) {
    let mut rest = raw;
    while let Some((plain, escape)) = rest.split_once('\\') {
        out.push_str(plain);
        let mut chars = escape.chars();
        match chars.next() {
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{C}'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('u') => {
                let first = take_hex(&mut chars);
                let mut ahead = chars.clone();
                let pair = (0xD800..0xDC00).contains(&first) && ahead.next() == Some('\\') && ahead.next() == Some('u');
                let second = if pair { take_hex(&mut ahead) } else { 0 };
                let code = if (0xDC00..0xE000).contains(&second) {
                    chars = ahead;
                    0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)
                } else {
                    first
                };
                out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some(other) => out.push(other),
            None => {}
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
}

/// Appends `text` to `out` as it must stand between quotes.
pub(crate) fn escape(text: &str, out: &mut Vec<u8>) {
    for &byte in text.as_bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..0x20 => {
                let digit = |nibble: u8| {
                    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
                };
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
            }
            _ => out.push(byte),
        }
    }
}

fn take_hex(chars: &mut std::str::Chars<'_>) -> u32 {
    chars.take(4).fold(0, |value, c| value * 16 + c.to_digit(16).unwrap_or(0))
}
