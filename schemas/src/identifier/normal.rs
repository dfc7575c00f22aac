//! The normal form of what people, spreadsheets and old systems write.
//!
//! Folded: full-width and other compatibility characters (NFKC, one character at a time and only where the outcome is ASCII), white
//! space, hyphens and their typographic cousins, invisible characters, lower case, and the apostrophe with which a spreadsheet
//! is told that a code is text. What was changed is reported. Never folded: a letter into a digit. `O` is not read as `0`; where
//! that would repair a value it is offered as a suggestion (see [`Verdict::suggestion`](super::Verdict::suggestion)).
//!
//! Normalising is idempotent: everything that it writes, it leaves alone.

use std::borrow::Cow;
use std::fmt;

use unicode_normalization::char::decompose_compatible;

/// Inputs longer than this many bytes are no identifier and are not normalised.
pub const INPUT_BYTES_MAX: usize = 1024;

/// What normalising changed, as a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Changes(u16);

impl Changes {
    /// Nothing was changed.
    pub const NONE: Changes = Changes(0);
    /// A full-width or other compatibility character became its ASCII character.
    pub const FULL_WIDTH: Changes = Changes(1);
    /// White space was taken from the ends.
    pub const TRIMMED: Changes = Changes(1 << 1);
    /// White space was taken from within.
    pub const SPACES: Changes = Changes(1 << 2);
    /// Hyphens or dashes were taken out.
    pub const HYPHENS: Changes = Changes(1 << 3);
    /// Lower case became upper case.
    pub const UPPER_CASED: Changes = Changes(1 << 4);
    /// The leading apostrophe of a spreadsheet was taken off.
    pub const APOSTROPHE: Changes = Changes(1 << 5);
    /// A zero-width or other invisible character was taken out.
    pub const INVISIBLE: Changes = Changes(1 << 6);
    /// A 15-digit identity number became one of 18.
    pub const UPGRADED: Changes = Changes(1 << 7);
    /// The `.OFD` of a file name was taken off a certificate identifier.
    pub const FILE_SUFFIX: Changes = Changes(1 << 8);

    const NAMES: [(Changes, &'static str); 9] = [
        (Changes::FULL_WIDTH, "full_width"),
        (Changes::TRIMMED, "trimmed"),
        (Changes::SPACES, "spaces_removed"),
        (Changes::HYPHENS, "hyphens_removed"),
        (Changes::UPPER_CASED, "upper_cased"),
        (Changes::APOSTROPHE, "apostrophe_removed"),
        (Changes::INVISIBLE, "invisible_removed"),
        (Changes::UPGRADED, "upgraded_15_to_18"),
        (Changes::FILE_SUFFIX, "file_suffix_removed"),
    ];

    /// Whether nothing was changed.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` is among the changes.
    #[must_use]
    pub const fn contains(self, other: Changes) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Changes) -> Changes {
        Changes(self.0 | other.0)
    }

    /// The stable snake_case names of the changes, in a fixed order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Changes::NAMES.into_iter().filter(move |(change, _)| self.contains(*change)).map(|(_, name)| name)
    }
}

/// The names joined by `+`; empty when nothing was changed.
impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, name) in self.names().enumerate() {
            if i > 0 {
                f.write_str("+")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}

/// The normal form of `input` and what was changed. Borrows when nothing was, which is nearly always.
///
/// An input of more than [`INPUT_BYTES_MAX`] bytes is handed back as it is.
#[must_use]
pub fn normalise(input: &str) -> (Cow<'_, str>, Changes) {
    let plain = |b: u8| b.is_ascii_digit() || b.is_ascii_uppercase() || matches!(b, b'.' | b'/' | b'+' | b'_');
    if input.len() > INPUT_BYTES_MAX || input.bytes().all(plain) {
        return (Cow::Borrowed(input), Changes::NONE);
    }
    let mut changes = Changes::NONE;
    let mut note = |change: Changes| changes = changes.with(change);
    let mut out = String::with_capacity(input.len());
    let mut space_waits = false;
    for original in input.chars() {
        let mut keep = |c: char| {
            if is_invisible(c) {
                note(Changes::INVISIBLE);
            } else if c.is_whitespace() {
                // A space at the end is trimmed, one followed by more is an inner space: we know when the next character comes.
                if out.is_empty() { note(Changes::TRIMMED) } else { space_waits = true }
            } else if is_hyphen(c) {
                note(Changes::HYPHENS);
            } else if is_apostrophe(c) && out.is_empty() {
                note(Changes::APOSTROPHE);
            } else {
                if std::mem::take(&mut space_waits) {
                    note(Changes::SPACES);
                }
                if c.is_ascii_lowercase() {
                    note(Changes::UPPER_CASED);
                }
                out.push(c.to_ascii_uppercase());
            }
        };
        if original.is_ascii() || is_invisible(original) || is_hyphen(original) || is_apostrophe(original) {
            keep(original);
        } else if let Some((folded, len)) = fold(original) {
            folded.iter().take(len).for_each(|&b| keep(char::from(b)));
            if !original.is_whitespace() {
                note(Changes::FULL_WIDTH);
            }
        } else {
            keep(original);
        }
    }
    if space_waits {
        note(Changes::TRIMMED);
    }
    if changes.is_empty() { (Cow::Borrowed(input), changes) } else { (Cow::Owned(out), changes) }
}

/// The compatibility decomposition of `c` if all of it is ASCII. The longest such decomposition in Unicode is shorter than 8.
fn fold(c: char) -> Option<([u8; 8], usize)> {
    let mut folded = [0; 8];
    let mut len = 0;
    let mut ascii = true;
    decompose_compatible(c, |d| match (u8::try_from(d), folded.get_mut(len)) {
        (Ok(b), Some(slot)) if b.is_ascii() => {
            *slot = b;
            len += 1;
        }
        _ => ascii = false,
    });
    (ascii && len > 0).then_some((folded, len))
}

fn is_invisible(c: char) -> bool {
    matches!(c, '\u{00AD}' | '\u{034F}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2064}' | '\u{FEFF}')
}

fn is_hyphen(c: char) -> bool {
    matches!(c, '-' | '\u{2010}'..='\u{2015}' | '\u{2043}' | '\u{2212}' | '\u{FE58}' | '\u{FE63}' | '\u{FF0D}')
}

fn is_apostrophe(c: char) -> bool {
    matches!(c, '\'' | '\u{2018}' | '\u{2019}' | '\u{FF07}')
}

/// Whether `normal` is what a spreadsheet writes for a number that is too long for it: `9.1E+17`, `3.20681E+14`.
///
/// Asked of the normal form. A plain `9E17` is not taken for one: it could be the beginning of a code.
#[must_use]
pub fn is_scientific_notation(normal: &str) -> bool {
    let Some((mantissa, exponent)) = normal.split_once('E') else {
        return false;
    };
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let signed = exponent.strip_prefix('+');
    whole.len() == 1
        && digits(whole)
        && fraction.is_none_or(digits)
        && exponent.len() <= 4
        && digits(signed.unwrap_or(exponent))
        && (fraction.is_some() || signed.is_some())
}
