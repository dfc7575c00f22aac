//! Identifiers of electronic certificates, GB/T 36904-2018: `1.2.156.3005.2.<type>.<issuer>.<serial>.<version>.<check>`.
//!
//! The check is ISO 7064 MOD 37,36 over type, issuer, serial and version, without the root and without dots. One family of
//! provincial systems gives letters their value plus one (A = 11); such an identifier is real and is accepted with the warning
//! [`Reason::DialectA11`], so that a source can be marked as speaking the dialect. Three more deviations seen in the field are
//! warnings: an issuer given as a region, an underscore in the serial (left out of the check), an old six-digit type.

use super::checksum::{Mod37, VALUE_36, number};
use super::reason::{Exact, Reason};
use super::{region, uscc};

/// The object identifier under which all certificate identifiers stand.
pub const CERTIFICATE_ROOT: &str = "1.2.156.3005.2";

/// Longest serial number taken. Seen in the field: 6 to 32 characters; the standard gives no limit, and we need one.
const SERIAL_CHARS_MAX: usize = 64;

/// Longest identifier: root, type, issuer, serial, version, check, and the five dots between.
pub(super) const BYTES_MAX: usize = CERTIFICATE_ROOT.len() + 21 + 18 + SERIAL_CHARS_MAX + 3 + 1 + 5;

/// A certificate identifier whose parts and check character are right, by the standard or by the known dialect.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CertificateId(Box<str>);

super::text::text_traits!(CertificateId, debug: shown);

impl CertificateId {
    /// Takes `text` exactly as it is, root included.
    ///
    /// # Errors
    /// The reason for which it is no certificate identifier; a deviation is a warning, hence no error.
    pub fn parse(text: &str) -> Result<Self, Reason> {
        exact(text.as_bytes())?;
        Ok(CertificateId(text.into()))
    }

    /// Puts an identifier together, with the standard's check character.
    ///
    /// # Errors
    /// A part that is wrong, or one that deviates from the standard: we read deviations, we do not write them.
    pub fn compose(type_code: &str, issuer: &str, serial: &str, version: u16) -> Result<Self, Reason> {
        let mut check = Mod37::new(0);
        let version = format!("{version:03}");
        for b in [type_code, issuer, serial, &version].into_iter().flat_map(str::bytes) {
            check.feed(b).ok_or(Reason::WrongCharacter)?;
        }
        let check = char::from(check.check());
        let text = format!("{CERTIFICATE_ROOT}.{type_code}.{issuer}.{serial}.{version}.{check}");
        match exact(text.as_bytes())? {
            None => Ok(CertificateId(text.into())),
            Some(_) => Err(Reason::WrongStructure),
        }
    }

    /// The value as text, root included.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Type of certificate: 21 characters (credit code of the body that defined it and three digits), or the old six.
    #[must_use]
    pub fn type_code(&self) -> &str {
        self.part(0)
    }

    /// Who issued the certificate: a credit code, or by deviation a region.
    #[must_use]
    pub fn issuer(&self) -> &str {
        self.part(1)
    }

    /// Serial number, unique for issuer and type.
    #[must_use]
    pub fn serial(&self) -> &str {
        self.part(2)
    }

    /// Version, from 1 up, one more at each re-issue.
    #[must_use]
    pub fn version(&self) -> u16 {
        self.part(3).parse().unwrap_or_default()
    }

    /// Every deviation from the standard, gravest first. A check on bytes tells only the first.
    pub fn deviations(&self) -> impl Iterator<Item = Reason> {
        deviations(self.0.as_bytes()).unwrap_or_default().into_iter().flatten()
    }

    fn part(&self, index: usize) -> &str {
        self.0.strip_prefix(CERTIFICATE_ROOT).and_then(|rest| rest.split('.').nth(index + 1)).unwrap_or_default()
    }
}

pub(super) fn exact(bytes: &[u8]) -> Exact {
    deviations(bytes).map(|found| found.into_iter().flatten().next())
}

/// What deviates, gravest first.
fn deviations(bytes: &[u8]) -> Result<[Option<Reason>; 4], Reason> {
    if bytes.is_empty() {
        return Err(Reason::Empty);
    }
    if bytes.len() > BYTES_MAX {
        return Err(Reason::WrongLength);
    }
    let rest = bytes.strip_prefix(CERTIFICATE_ROOT.as_bytes()).and_then(|rest| rest.strip_prefix(b"."));
    let mut parts = rest.ok_or(Reason::WrongRoot)?.split(|&b| b == b'.');
    let mut part = || parts.next().ok_or(Reason::WrongStructure);
    let (type_code, issuer, serial, version, check) = (part()?, part()?, part()?, part()?, part()?);
    if parts.next().is_some() {
        return Err(Reason::WrongStructure);
    }
    let old_type = type_of(type_code)?;
    let issuer_is_region = issuer_of(issuer)?;
    let underscore = serial_of(serial)?;
    let &[check] = check else {
        return Err(Reason::WrongStructure);
    };
    if version.len() != 3 || number(version).is_none_or(|version| version == 0) {
        return Err(Reason::WrongStructure);
    }
    let computed = |letter_shift| {
        let mut sum = Mod37::new(letter_shift);
        let checked = [type_code, issuer, serial, version].into_iter().flatten();
        checked.filter(|b| **b != b'_').try_for_each(|&b| sum.feed(b)).map(|()| sum.check())
    };
    let dialect = if computed(0) == Some(check) {
        false
    } else if computed(1) == Some(check) {
        true
    } else {
        return Err(Reason::CheckCharacterMismatch);
    };
    Ok([
        dialect.then_some(Reason::DialectA11),
        old_type.then_some(Reason::OldTypeCode),
        issuer_is_region.then_some(Reason::IssuerIsRegion),
        underscore.then_some(Reason::SerialUnderscore),
    ])
}

/// Whether the type is an old six-digit code.
fn type_of(type_code: &[u8]) -> Result<bool, Reason> {
    match type_code.len() {
        21 => {
            uscc::exact(&type_code[..18]).map_err(|_| Reason::EmbeddedCodeInvalid)?;
            number(&type_code[18..]).map(|_| false).ok_or(Reason::WrongStructure)
        }
        6 => number(type_code).map(|_| true).ok_or(Reason::WrongStructure),
        _ => Err(Reason::WrongStructure),
    }
}

/// Whether the issuer is a region.
fn issuer_of(issuer: &[u8]) -> Result<bool, Reason> {
    match issuer.len() {
        18 => uscc::exact(issuer).map(|_| false).map_err(|_| Reason::EmbeddedCodeInvalid),
        6 => {
            let region = number(issuer).ok_or(Reason::WrongStructure)?;
            if region::is_known(region) { Ok(true) } else { Err(Reason::EmbeddedCodeInvalid) }
        }
        _ => Err(Reason::WrongStructure),
    }
}

/// Whether the serial holds an underscore.
fn serial_of(serial: &[u8]) -> Result<bool, Reason> {
    if serial.is_empty() || serial.len() > SERIAL_CHARS_MAX {
        return Err(Reason::WrongStructure);
    }
    let allowed = |b: &u8| *b == b'_' || VALUE_36[usize::from(*b)] != super::checksum::NONE;
    if serial.iter().all(allowed) { Ok(serial.contains(&b'_')) } else { Err(Reason::WrongCharacter) }
}
