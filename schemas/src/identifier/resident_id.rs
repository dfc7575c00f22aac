//! Identity numbers of citizens, GB 11643-1999: region, date of birth, sequence (odd for men), check by ISO 7064 MOD 11-2.
//!
//! The permits of residents from Hong Kong, Macao and Taiwan (81, 82, 83) follow the same rule. A region that the dated table does
//! not know is a warning, as is one that did not exist in the year of birth: people keep the number they were given. A date that
//! does not exist is an error even where the check character is right. Whether a date lies in the future is asked only against a
//! day that the caller passes, since a verdict must not depend on a clock.
//!
//! The 15-digit form of 1989 is upgraded by normalising (19 before the year, check added); as exact bytes it is refused.

use jiff::civil::Date;

use super::checksum::{self, number};
use super::reason::{Exact, Reason};
use super::region;
use super::text::fixed_text;

fixed_text! {
    /// An identity number with a possible date of birth and a right check character. `Debug` does not show it.
    ///
    /// ```
    /// # use shuqiao_schemas::identifier::{ResidentId, Sex};
    /// let id = ResidentId::parse("11010519491231002X")?;
    /// assert_eq!((id.birth().to_string().as_str(), id.sex()), ("1949-12-31", Sex::Female));
    /// assert_eq!(format!("{id:?}"), "ResidentId(***)");
    /// # Ok::<(), shuqiao_schemas::identifier::Reason>(())
    /// ```
    ResidentId, 18, Kind::ResidentId, exact, debug: hidden
}

/// Sex as the sequence number tells it: odd for men, even for women.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sex {
    /// Odd sequence number.
    Male,
    /// Even sequence number.
    Female,
}

impl ResidentId {
    /// Adds the check character to the first 17 digits.
    ///
    /// # Errors
    /// Wrong length or characters, or an impossible date.
    pub fn from_body(body: &str) -> Result<Self, Reason> {
        let body: &[u8; 17] = body.as_bytes().try_into().map_err(|_| Reason::WrongLength)?;
        let check = checksum::mod_11_2(body).ok_or(Reason::WrongCharacter)?;
        let mut code = [check; 18];
        code[..17].copy_from_slice(body);
        exact(&code).map(|_| ResidentId(code))
    }

    /// The number that replaced a 15-digit one, and the warning that goes with it.
    ///
    /// # Errors
    /// Not 15 digits, or an impossible date.
    pub fn upgrade(fifteen: &str) -> Result<(Self, Reason), Reason> {
        upgrade(fifteen.as_bytes()).map(|(code, warning)| (ResidentId(code), warning))
    }

    /// As [`parse`](Self::parse), and refuses a birth after `today`.
    ///
    /// # Errors
    /// As `parse`, or [`Reason::DateInFuture`].
    pub fn parse_at(text: &str, today: Date) -> Result<Self, Reason> {
        let id = Self::parse(text)?;
        if id.birth() > today { Err(Reason::DateInFuture) } else { Ok(id) }
    }

    /// The region that issued the number.
    #[must_use]
    pub fn region(&self) -> &str {
        self.as_str().get(..6).unwrap_or_default()
    }

    /// Date of birth.
    #[must_use]
    pub fn birth(&self) -> Date {
        // A ResidentId was made by a check that found this date possible.
        date(&self.0[6..14]).unwrap_or_default()
    }

    /// Sex, by the parity of the sequence number.
    #[must_use]
    pub fn sex(&self) -> Sex {
        if self.0[16] % 2 == 1 { Sex::Male } else { Sex::Female }
    }
}

pub(super) fn exact(bytes: &[u8]) -> Exact {
    if bytes.is_empty() {
        return Err(Reason::Empty);
    }
    let code: &[u8; 18] = bytes.try_into().map_err(|_| Reason::WrongLength)?;
    let [body @ .., check] = code;
    let wanted = checksum::mod_11_2(body).ok_or(Reason::WrongCharacter)?;
    if !check.is_ascii_digit() && *check != b'X' {
        return Err(Reason::WrongCharacter);
    }
    if wanted != *check {
        return Err(Reason::CheckCharacterMismatch);
    }
    if !is_date(&body[6..14]) {
        return Err(Reason::ImpossibleDate);
    }
    let known = number(&body[..6]).is_some_and(region::is_known);
    Ok((!known).then_some(Reason::UnknownRegion))
}

/// Eighteen characters for fifteen digits: the century 19 before the year, the check character behind.
pub(super) fn upgrade(bytes: &[u8]) -> Result<([u8; 18], Reason), Reason> {
    let fifteen: &[u8; 15] = bytes.try_into().map_err(|_| Reason::WrongLength)?;
    let mut body = [0; 17];
    body[..6].copy_from_slice(&fifteen[..6]);
    body[6..8].copy_from_slice(b"19");
    body[8..].copy_from_slice(&fifteen[6..]);
    let check = checksum::mod_11_2(&body).ok_or(Reason::WrongCharacter)?;
    if !is_date(&body[6..14]) {
        return Err(Reason::ImpossibleDate);
    }
    let mut code = [check; 18];
    code[..17].copy_from_slice(&body);
    // Sequence numbers 996 to 999 were kept for people of a hundred years, whose century was 18.
    let century =
        if &fifteen[12..] >= b"996".as_slice() { Reason::CenturyUncertain } else { Reason::UpgradedFromFifteen };
    Ok((code, century))
}

/// Whether eight digits YYYYMMDD are a day of 1800 to 2099. Asked per record, so by arithmetic instead of a calendar type.
#[inline]
pub(super) fn is_date(digits: &[u8]) -> bool {
    let (Some(year), Some(month), Some(day)) = (number(&digits[..4]), number(&digits[4..6]), number(&digits[6..8]))
    else {
        return false;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(leap),
        _ => 31,
    };
    (1800..2100).contains(&year) && (1..=12).contains(&month) && (1..=last).contains(&day)
}

/// The day that eight digits YYYYMMDD name.
pub(super) fn date(digits: &[u8]) -> Option<Date> {
    let year = i16::try_from(number(&digits[..4])?).ok()?;
    let month = i8::try_from(number(&digits[4..6])?).ok()?;
    let day = i8::try_from(number(&digits[6..8])?).ok()?;
    Date::new(year, month, day).ok()
}
