//! Numbers of foreigners' permanent residence cards.
//!
//! Since 2023: 18 digits beginning with 9, then province (2), nationality (3, ISO 3166 numeric), date of birth (8), sequence (3),
//! and the check character of GB 11643. Before: 15 characters, three letters of nationality, four digits of region, date of birth in six digits,
//! and two digits whose check rule no public source settles: such a number is accepted with a warning.
//!
//! Passports and travel permits have no check at all and are no kind of ours.

use super::checksum::{self, number};
use super::reason::{Exact, Reason};
use super::{region, resident_id};

/// A foreigner's residence number, of the form of 2023 or the one before. `Debug` does not show it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ForeignerId {
    text: [u8; 18],
    len: u8,
}

super::text::text_traits!(ForeignerId, debug: hidden);

impl ForeignerId {
    /// Takes `text` exactly as it is.
    ///
    /// # Errors
    /// The reason for which it is no such number.
    pub fn parse(text: &str) -> Result<Self, Reason> {
        exact(text.as_bytes())?;
        let mut id = ForeignerId { text: [0; 18], len: u8::try_from(text.len()).map_err(|_| Reason::WrongLength)? };
        id.text.get_mut(..text.len()).ok_or(Reason::WrongLength)?.copy_from_slice(text.as_bytes());
        Ok(id)
    }

    /// The value as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Made by a check that admits ASCII only.
        self.text.get(..usize::from(self.len)).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
    }

    /// Nationality: three digits on cards since 2023, three letters on older ones.
    #[must_use]
    pub fn nationality(&self) -> &str {
        let place = if self.len == 18 { 3..6 } else { 0..3 };
        self.as_str().get(place).unwrap_or_default()
    }
}

pub(super) fn exact(bytes: &[u8]) -> Exact {
    match bytes.len() {
        0 => Err(Reason::Empty),
        15 => old_form(bytes),
        18 => new_form(bytes),
        _ => Err(Reason::WrongLength),
    }
}

fn new_form(bytes: &[u8]) -> Exact {
    let code: &[u8; 18] = bytes.try_into().map_err(|_| Reason::WrongLength)?;
    let [body @ .., check] = code;
    let wanted = checksum::mod_11_2(body).ok_or(Reason::WrongCharacter)?;
    if body[0] != b'9' || (!check.is_ascii_digit() && *check != b'X') {
        return Err(Reason::WrongCharacter);
    }
    if wanted != *check {
        return Err(Reason::CheckCharacterMismatch);
    }
    if !resident_id::is_date(&body[6..14]) {
        return Err(Reason::ImpossibleDate);
    }
    Ok((!region::is_province(&body[1..3])).then_some(Reason::UnknownRegion))
}

fn old_form(bytes: &[u8]) -> Exact {
    let (nationality, digits) = bytes.split_at(3);
    if !nationality.iter().all(u8::is_ascii_uppercase) || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Reason::WrongCharacter);
    }
    // Two digits of year: a day that exists in either century is possible.
    let in_century = |century: &[u8; 2]| {
        let mut day = [0; 8];
        day[..2].copy_from_slice(century);
        day[2..].copy_from_slice(&digits[4..10]);
        resident_id::is_date(&day)
    };
    if !in_century(b"19") && !in_century(b"20") {
        return Err(Reason::ImpossibleDate);
    }
    if number(&digits[..4]).is_none_or(|place| !region::is_known(place * 100)) && !region::is_province(&digits[..2]) {
        return Ok(Some(Reason::UnknownRegion));
    }
    Ok(Some(Reason::CheckNotVerified))
}
