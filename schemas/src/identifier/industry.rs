//! Industry codes, GB/T 4754-2017: a section letter A to T, a division of two digits, a group of three, a class of four.
//!
//! Taken with or without the section (`I`, `65`, `651`, `6510`, `I6510`). A section before a division that it does not hold is
//! an error; a division outside 01 to 97 is a warning. Groups and classes change by amendments and are not listed here.

use super::checksum::number;
use super::reason::{Exact, Reason};

/// An industry code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Industry {
    text: [u8; 5],
    len: u8,
}

super::text::text_traits!(Industry, debug: shown);

/// The last division of each section, A to T.
const LAST_DIVISIONS: [u32; 20] = [5, 12, 43, 46, 50, 52, 60, 62, 65, 69, 70, 72, 75, 79, 82, 83, 85, 90, 96, 97];

impl Industry {
    /// Takes `text` exactly as it is.
    ///
    /// # Errors
    /// Wrong length or characters, or a section that does not hold the division.
    pub fn parse(text: &str) -> Result<Self, Reason> {
        exact(text.as_bytes())?;
        let mut code = Industry { text: [0; 5], len: u8::try_from(text.len()).map_err(|_| Reason::WrongLength)? };
        code.text.get_mut(..text.len()).ok_or(Reason::WrongLength)?.copy_from_slice(text.as_bytes());
        Ok(code)
    }

    /// The value as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Made by a check that admits ASCII only.
        self.text.get(..usize::from(self.len)).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
    }

    /// The section letter: written, or that of the division; `None` for a division outside the standard.
    #[must_use]
    pub fn section(&self) -> Option<char> {
        match self.as_str().chars().next() {
            Some(letter) if letter.is_ascii_uppercase() => Some(letter),
            _ => section_of(number(self.as_str().as_bytes().get(..2)?)?).map(char::from),
        }
    }
}

fn section_of(division: u32) -> Option<u8> {
    if division == 0 {
        return None;
    }
    b"ABCDEFGHIJKLMNOPQRST".iter().zip(LAST_DIVISIONS).find(|(_, last)| division <= *last).map(|(letter, _)| *letter)
}

pub(super) fn exact(bytes: &[u8]) -> Exact {
    let (section, digits) = match bytes {
        [] => return Err(Reason::Empty),
        [letter @ b'A'..=b'T', digits @ ..] => (Some(*letter), digits),
        digits => (None, digits),
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(Reason::WrongCharacter);
    }
    match digits.len() {
        0 => return Ok(None),
        2..=4 => {}
        _ => return Err(Reason::WrongLength),
    }
    let held_by = section_of(number(&digits[..2]).ok_or(Reason::WrongCharacter)?);
    match (section, held_by) {
        (_, None) => Ok(Some(Reason::UnknownIndustry)),
        (Some(section), Some(holder)) if section != holder => Err(Reason::SectionMismatch),
        _ => Ok(None),
    }
}
