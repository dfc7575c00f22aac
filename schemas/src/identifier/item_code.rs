//! Codes of government service items, ZWFW C 0109-2018.
//!
//! A basic code has 12 digits: region (2, 00 is the nation), type (2), main item (5), sub-item (3). An implementation code has 31:
//! the credit code of the body that implements it (18), level of exercise (1 to 7), basic code. A handling code adds two digits.
//! The narrower widths of GB/T 39046-2020 (10 and 24) are older and are not taken.

use super::checksum::number;
use super::reason::{Exact, Reason};
use super::text::fixed_text;
use super::{region, uscc};

fixed_text! {
    /// Twelve digits that name an item across the country.
    BasicItemCode, 12, Kind::BasicItemCode, basic, debug: shown
}

fixed_text! {
    /// Thirty-one characters: one body's way of exercising an item.
    ImplementationCode, 31, Kind::ImplementationCode, implementation, debug: shown
}

fixed_text! {
    /// Thirty-three characters: one way of handling an implemented item.
    HandlingItemCode, 33, Kind::HandlingItemCode, handling, debug: shown
}

impl BasicItemCode {
    /// Two digits: 00 for the nation, else a province.
    #[must_use]
    pub fn region(&self) -> &str {
        self.as_str().get(..2).unwrap_or_default()
    }

    /// Two digits: 01 行政许可, 02 行政处罚 … by GB/T 39046 A.1. Local systems number them differently.
    #[must_use]
    pub fn item_type(&self) -> &str {
        self.as_str().get(2..4).unwrap_or_default()
    }
}

impl ImplementationCode {
    /// The credit code of the body that implements the item.
    ///
    /// # Errors
    /// None for a value that was made by `parse`; the part is parsed anew.
    pub fn body(&self) -> Result<super::Uscc, Reason> {
        super::Uscc::parse(self.as_str().get(..18).unwrap_or_default())
    }

    /// Level of exercise: 1 国家, 2 省, 3 市, 4 县, 5 镇, 6 村, 7 分级.
    #[must_use]
    pub fn level(&self) -> u8 {
        self.0[18] - b'0'
    }

    /// The basic code at its end.
    ///
    /// # Errors
    /// None for a value that was made by `parse`; the part is parsed anew.
    pub fn basic(&self) -> Result<BasicItemCode, Reason> {
        BasicItemCode::parse(self.as_str().get(19..).unwrap_or_default())
    }
}

impl HandlingItemCode {
    /// The implementation code that it refines.
    ///
    /// # Errors
    /// None for a value that was made by `parse`; the part is parsed anew.
    pub fn implementation(&self) -> Result<ImplementationCode, Reason> {
        ImplementationCode::parse(self.as_str().get(..31).unwrap_or_default())
    }
}

pub(super) fn basic(bytes: &[u8]) -> Exact {
    if bytes.is_empty() {
        return Err(Reason::Empty);
    }
    if !bytes.iter().all(u8::is_ascii_digit) {
        return Err(Reason::WrongCharacter);
    }
    if bytes.len() != 12 {
        return Err(Reason::WrongLength);
    }
    let known = bytes.starts_with(b"00") || region::is_province(&bytes[..2]);
    Ok((!known).then_some(Reason::UnknownRegion))
}

pub(super) fn implementation(bytes: &[u8]) -> Exact {
    if bytes.is_empty() {
        return Err(Reason::Empty);
    }
    if bytes.len() != 31 {
        return Err(Reason::WrongLength);
    }
    let (body, rest) = bytes.split_at(18);
    let reserve = uscc::exact(body).map_err(|_| Reason::EmbeddedCodeInvalid)?;
    if !matches!(rest[0], b'1'..=b'7') {
        return Err(Reason::UnknownCode);
    }
    Ok(basic(&rest[1..])?.or(reserve))
}

pub(super) fn handling(bytes: &[u8]) -> Exact {
    if bytes.is_empty() {
        return Err(Reason::Empty);
    }
    if bytes.len() != 33 {
        return Err(Reason::WrongLength);
    }
    let (implemented, way) = bytes.split_at(31);
    let reserve = implementation(implemented)?;
    number(way).map(|_| reserve).ok_or(Reason::WrongCharacter)
}
