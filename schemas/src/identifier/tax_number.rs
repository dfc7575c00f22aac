//! Taxpayer numbers, before and after the three certificates became one (三证合一).
//!
//! | form | what it is |
//! |---|---|
//! | 15 characters | region (6) and organisation code (9), of a legal person before the reform |
//! | 18 characters | the credit code, since the reform; or a household owner's resident id |
//! | 20 characters | a household owner's resident id and two digits of sequence |
//!
//! Since a household's number is a resident id, a taxpayer number is a personal identifier and `Debug` does not show it.

use super::checksum::number;
use super::reason::{Exact, Reason};
use super::{OrganisationCode, ResidentId, Uscc, organisation_code, region, resident_id, uscc};

/// A taxpayer number of one of the three forms, its checks right.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaxNumber {
    text: [u8; 20],
    len: u8,
}

super::text::text_traits!(TaxNumber, debug: hidden);

/// What a taxpayer number consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaxNumberForm {
    /// The credit code itself.
    UnifiedCode(Uscc),
    /// Region of the tax office's register and organisation code. The region may differ from the credit code's.
    RegionAndOrganisation {
        /// Six digits.
        region: String,
        /// The legal person's organisation code, the same that is inside its credit code.
        organisation_code: OrganisationCode,
    },
    /// An individual household's: its owner's identity number, with or without two digits of sequence.
    Household(ResidentId),
}

impl TaxNumber {
    /// Takes `text` exactly as it is.
    ///
    /// # Errors
    /// The reason for which it is no taxpayer number.
    pub fn parse(text: &str) -> Result<Self, Reason> {
        exact(text.as_bytes())?;
        let mut number = TaxNumber { text: [0; 20], len: u8::try_from(text.len()).map_err(|_| Reason::WrongLength)? };
        number.text.get_mut(..text.len()).ok_or(Reason::WrongLength)?.copy_from_slice(text.as_bytes());
        Ok(number)
    }

    /// The value as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Made by a check that admits ASCII only.
        self.text.get(..usize::from(self.len)).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
    }

    /// What the number consists of. An 18-digit number that is both is read as the credit code.
    ///
    /// # Errors
    /// None for a value that was made by [`parse`](Self::parse); the type says so only because its parts are parsed anew.
    pub fn form(&self) -> Result<TaxNumberForm, Reason> {
        let text = self.as_str();
        let part = |range: std::ops::Range<usize>| text.get(range).ok_or(Reason::WrongLength);
        if self.len == 15 {
            let organisation_code = OrganisationCode::parse(part(6..15)?)?;
            return Ok(TaxNumberForm::RegionAndOrganisation { region: part(0..6)?.to_owned(), organisation_code });
        }
        if self.len == 18
            && let Ok(code) = Uscc::parse(text)
        {
            return Ok(TaxNumberForm::UnifiedCode(code));
        }
        ResidentId::parse(part(0..18)?).map(TaxNumberForm::Household)
    }
}

pub(super) fn exact(bytes: &[u8]) -> Exact {
    match bytes.len() {
        0 => Err(Reason::Empty),
        15 => {
            let (place, organisation) = bytes.split_at(6);
            let place = number(place).ok_or(Reason::WrongCharacter)?;
            organisation_code::exact(organisation)?;
            Ok((!region::is_known(place)).then_some(Reason::UnknownRegion))
        }
        18 => match (uscc::exact(bytes), resident_id::exact(bytes)) {
            (Ok(reserve), _) => Ok(reserve),
            (Err(_), Ok(reserve)) => Ok(reserve),
            // Neither: blame the credit code, which is what the field holds today, unless a person's birthday stands there.
            (Err(_), Err(person)) if resident_id::is_date(&bytes[6..14]) => Err(person),
            (Err(code), Err(_)) => Err(code),
        },
        20 => {
            let (person, sequence) = bytes.split_at(18);
            number(sequence).ok_or(Reason::WrongCharacter)?;
            resident_id::exact(person)
        }
        _ => Err(Reason::WrongLength),
    }
}
