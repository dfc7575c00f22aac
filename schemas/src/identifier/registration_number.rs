//! Registration numbers of the administration for industry and commerce.
//!
//! GS 15-2006: six digits of the first registering authority's region (100000 is the State administration), eight of sequence, one
//! check digit by ISO 7064 MOD 11,10. Before 2007 there were 13 digits without check, which survive in old records: they are
//! accepted with a warning if they begin with a region that ever was, and refused otherwise.
//!
//! There is no arithmetic between this number and the credit code. Only a register's cross-reference links them.

use super::checksum::{self, number};
use super::reason::{Exact, Reason};
use super::region;
use super::text::fixed_text;

fixed_text! {
    /// A 15-digit registration number whose check digit is right. The 13-digit kind has no check and therefore no type.
    RegistrationNumber, 15, Kind::RegistrationNumber, exact, debug: shown
}

/// Who holds a registration number, by the first digit of its sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HolderClass {
    /// 0 to 3: domestic enterprise (内资企业).
    Domestic,
    /// 4 and 5: foreign-invested enterprise (外资企业).
    ForeignInvested,
    /// 6 to 9: individual household (个体工商户).
    Household,
}

impl RegistrationNumber {
    /// Adds the check digit to the first 14 digits.
    ///
    /// # Errors
    /// Wrong length or characters.
    pub fn from_body(body: &str) -> Result<Self, Reason> {
        let body: &[u8; 14] = body.as_bytes().try_into().map_err(|_| Reason::WrongLength)?;
        let check = checksum::mod_11_10(body).ok_or(Reason::WrongCharacter)?;
        let mut code = [check; 15];
        code[..14].copy_from_slice(body);
        Ok(RegistrationNumber(code))
    }

    /// The six digits of the authority that first registered the holder.
    #[must_use]
    pub fn region(&self) -> &str {
        self.as_str().get(..6).unwrap_or_default()
    }

    /// Who holds it.
    #[must_use]
    pub fn holder_class(&self) -> HolderClass {
        match self.0[6] {
            b'0'..=b'3' => HolderClass::Domestic,
            b'4' | b'5' => HolderClass::ForeignInvested,
            _ => HolderClass::Household,
        }
    }
}

pub(super) fn exact(bytes: &[u8]) -> Exact {
    if bytes.is_empty() {
        return Err(Reason::Empty);
    }
    if !bytes.iter().all(u8::is_ascii_digit) {
        return Err(Reason::WrongCharacter);
    }
    let region = bytes.get(..6).and_then(number);
    let region_known = region.is_some_and(region::is_known);
    match bytes {
        [body @ .., check] if bytes.len() == 15 => {
            let body = body.try_into().map_err(|_| Reason::WrongLength)?;
            if checksum::mod_11_10(body) != Some(*check) {
                return Err(Reason::CheckCharacterMismatch);
            }
            Ok((!region_known).then_some(Reason::UnknownRegion))
        }
        // Without a check, a known region is the one thing that tells such a number from a number that lost two digits.
        _ if bytes.len() == 13 && region_known => Ok(Some(Reason::ThirteenDigits)),
        _ => Err(Reason::WrongLength),
    }
}
