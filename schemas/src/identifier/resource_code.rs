//! Codes of information resources, by the catalogue guide of 2017 (发改高技术〔2017〕1272号): `<classification>/<sequence>`.
//!
//! The classification is class (1 digit: 1 basic, 2 thematic, 3 departmental), item (2), category (3) and a sub-category of any
//! length; the sequence is of any length. "Any" is bounded here at 64 characters a side.

use super::reason::{Exact, Reason};

const SIDE_CHARS_MAX: usize = 64;

/// A resource code of the right structure.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceCode(Box<str>);

super::text::text_traits!(ResourceCode, debug: shown);

/// The first digit of a resource code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResourceClass {
    /// 基础信息资源: population, legal persons, geography, credit, e-certificates.
    Basic,
    /// 主题信息资源.
    Thematic,
    /// 部门信息资源.
    Departmental,
    /// A class outside the guide.
    Other,
}

impl ResourceCode {
    /// Takes `text` exactly as it is.
    ///
    /// # Errors
    /// Wrong characters or structure.
    pub fn parse(text: &str) -> Result<Self, Reason> {
        exact(text.as_bytes())?;
        Ok(ResourceCode(text.into()))
    }

    /// The value as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Class, by the first digit.
    #[must_use]
    pub fn class(&self) -> ResourceClass {
        match self.0.as_bytes().first() {
            Some(b'1') => ResourceClass::Basic,
            Some(b'2') => ResourceClass::Thematic,
            Some(b'3') => ResourceClass::Departmental,
            _ => ResourceClass::Other,
        }
    }

    /// Everything before the stroke.
    #[must_use]
    pub fn classification(&self) -> &str {
        self.0.split_once('/').map_or("", |(classification, _)| classification)
    }

    /// Everything behind the stroke.
    #[must_use]
    pub fn sequence(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, sequence)| sequence)
    }
}

pub(super) fn exact(bytes: &[u8]) -> Exact {
    if bytes.is_empty() {
        return Err(Reason::Empty);
    }
    let stroke = memchr::memchr(b'/', bytes).ok_or(Reason::WrongStructure)?;
    let (classification, sequence) = (&bytes[..stroke], &bytes[stroke + 1..]);
    if !(6..=SIDE_CHARS_MAX).contains(&classification.len()) || !(1..=SIDE_CHARS_MAX).contains(&sequence.len()) {
        return Err(Reason::WrongLength);
    }
    let alphanumeric = |b: &u8| b.is_ascii_digit() || b.is_ascii_uppercase();
    let (fixed, free) = classification.split_at(6);
    if !fixed.iter().all(u8::is_ascii_digit) || !free.iter().chain(sequence).all(alphanumeric) {
        return Err(Reason::WrongCharacter);
    }
    Ok((!matches!(fixed[0], b'1'..=b'3')).then_some(Reason::UnknownClass))
}
