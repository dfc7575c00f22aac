//! Organisation codes, GB 11714-1997: the nine characters that a legal person had before the credit code, and that live on in it.
//!
//! Eight characters of body and a check character, by the 36-letter value table (I, O, S, V and Z do have values here, and Y is
//! 34, not the 30 of GB 32100). The human form `XXXXXXXX-X` is normalised to nine characters.

use super::checksum::{self, NONE, VALUE_36};
use super::reason::{Exact, Reason};
use super::text::fixed_text;

fixed_text! {
    /// An organisation code whose check character is right and which is not from the self-defined zone.
    ///
    /// ```
    /// # use shuqiao_schemas::identifier::OrganisationCode;
    /// assert_eq!(OrganisationCode::from_body("D2143569")?.as_str(), "D2143569X");
    /// # Ok::<(), shuqiao_schemas::identifier::Reason>(())
    /// ```
    OrganisationCode, 9, Kind::OrganisationCode, exact, debug: shown
}

impl OrganisationCode {
    /// Adds the check character to an eight-character body.
    ///
    /// # Errors
    /// Wrong length or characters, or a body in the self-defined zone.
    pub fn from_body(body: &str) -> Result<Self, Reason> {
        let body: &[u8; 8] = body.as_bytes().try_into().map_err(|_| Reason::WrongLength)?;
        if is_self_defined(body) {
            return Err(Reason::SelfDefinedZone);
        }
        let check = checksum::gb_11714(body).ok_or(Reason::WrongCharacter)?;
        let mut code = [check; 9];
        code[..8].copy_from_slice(body);
        Ok(OrganisationCode(code))
    }

    /// The code inside bytes that a larger check has already found right.
    pub(super) fn within(checked: [u8; 9]) -> Self {
        OrganisationCode(checked)
    }

    /// The human form, `XXXXXXXX-X`.
    #[must_use]
    pub fn to_human(&self) -> String {
        let mut text = self.as_str().to_owned();
        text.insert(8, '-');
        text
    }
}

pub(super) fn exact(bytes: &[u8]) -> Exact {
    let code: &[u8; 9] = bytes.try_into().map_err(|_| length_or_character(bytes))?;
    let [body @ .., check] = code;
    let wanted = checksum::gb_11714(body).ok_or(Reason::WrongCharacter)?;
    // The check character is a digit or X; any other is out of place before it is wrong.
    if !check.is_ascii_digit() && *check != b'X' {
        return Err(Reason::WrongCharacter);
    }
    if wanted != *check {
        return Err(Reason::CheckCharacterMismatch);
    }
    if is_self_defined(body) {
        return Err(Reason::SelfDefinedZone);
    }
    Ok(None)
}

/// PDY00001 to PDY99999: "self-defined zone", never evidence between systems.
pub(super) fn is_self_defined(body: &[u8; 8]) -> bool {
    body.starts_with(b"PDY") && body[3..].iter().all(u8::is_ascii_digit) && &body[3..] != b"00000"
}

fn length_or_character(bytes: &[u8]) -> Reason {
    if bytes.is_empty() {
        Reason::Empty
    } else if bytes.iter().any(|&b| VALUE_36[usize::from(b)] == NONE) {
        Reason::WrongCharacter
    } else {
        Reason::WrongLength
    }
}
