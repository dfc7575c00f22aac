//! Which kind a stray value is.
//!
//! Form first (root, length, letters), then meaning (a birthday, a province, a pair of department and category, a region that
//! ever was), and the check characters only as one witness among these: of random resident ids one in thirty-one passes the check
//! of a credit code, one in ten of any 15 digits the check of a registration number. Where two kinds fit equally the likelier
//! is named, with the warning [`Reason::AmbiguousKind`]. Passports, permits and everything else are `unknown`.

use super::checksum::number;
use super::kind::Kind;
use super::normal::{Changes, INPUT_BYTES_MAX, is_scientific_notation, normalise};
use super::reason::{Reason, Severity};
use super::verdict::{self, Verdict, check_normal};
use super::{
    certificate_id, foreigner_id, organisation_code, region, registration_number, resident_id, tax_number, uscc,
};

/// Finds out what `input` is, and judges it as that.
///
/// ```
/// use shuqiao_schemas::identifier::{Kind, Reason, detect};
///
/// // Passes the outer check of a credit code; it is a person's number all the same.
/// assert_eq!(detect("362322198709086409").kind, Kind::ResidentId);
/// assert_eq!(detect("9.1E+17").reason, Some(Reason::ExcelScientificNotation));
/// assert_eq!(detect("13830295-X").kind, Kind::OrganisationCode);
/// ```
#[must_use]
pub fn detect(input: &str) -> Verdict<'_> {
    let (normal, changes) = normalise(input);
    let found = if normal.is_empty() {
        Found::Nothing(Reason::Empty)
    } else if input.len() > INPUT_BYTES_MAX {
        Found::Nothing(Reason::InputTooLong)
    } else if is_scientific_notation(&normal) {
        Found::Nothing(Reason::ExcelScientificNotation)
    } else {
        // The hyphen before the last of nine characters is how organisation codes are written, and nothing else is.
        let hyphened = changes.contains(Changes::HYPHENS)
            && input.trim_end().chars().rev().nth(1).is_some_and(|c| !c.is_ascii_alphanumeric());
        kind_of(normal.as_bytes(), hyphened)
    };
    match found {
        Found::Nothing(reason) => Verdict::new(Kind::Unknown, Err(reason), normal, changes),
        Found::One(kind) => check_normal(kind, normal, changes),
        Found::Likelier(kind) => {
            let verdict = check_normal(kind, normal, changes);
            if verdict.severity == Severity::Ok {
                Verdict { severity: Severity::Warning, reason: Some(Reason::AmbiguousKind), ..verdict }
            } else {
                verdict
            }
        }
    }
}

enum Found {
    Nothing(Reason),
    One(Kind),
    /// Another kind fits as well.
    Likelier(Kind),
}

fn kind_of(code: &[u8], hyphened: bool) -> Found {
    if code.starts_with(certificate_id::CERTIFICATE_ROOT.as_bytes()) {
        return Found::One(Kind::CertificateId);
    }
    match code.len() {
        9 => nine(code, hyphened),
        13 if registration_number::exact(code).is_ok() => Found::One(Kind::RegistrationNumber),
        15 => fifteen(code),
        18 => eighteen(code),
        20 if tax_number::exact(code).is_ok() => Found::One(Kind::TaxNumber),
        _ => Found::Nothing(Reason::NoKindFits),
    }
}

/// An organisation code, or a passport (E, G, D, S, P, H … and digits), or anything of nine characters.
fn nine(code: &[u8], hyphened: bool) -> Found {
    let passport =
        matches!(code[0], b'D' | b'E' | b'G' | b'H' | b'P' | b'S') && code[2..].iter().all(u8::is_ascii_digit);
    match organisation_code::exact(code) {
        _ if hyphened => Found::One(Kind::OrganisationCode),
        Err(Reason::SelfDefinedZone) => Found::One(Kind::OrganisationCode),
        Ok(_) if !passport => Found::One(Kind::OrganisationCode),
        _ => Found::Nothing(Reason::NoKindFits),
    }
}

fn fifteen(code: &[u8]) -> Found {
    let region_known = number(&code[..6]).is_some_and(region::is_known);
    let tax = region_known && tax_number::exact(code).is_ok();
    if !code.iter().all(u8::is_ascii_digit) {
        return if tax {
            Found::One(Kind::TaxNumber)
        } else if foreigner_id::exact(code).is_ok() {
            Found::One(Kind::ForeignerId)
        } else {
            Found::Nothing(Reason::NoKindFits)
        };
    }
    let registration = registration_number::exact(code).is_ok();
    // People are registered in counties; a number from a province or prefecture is an enterprise's.
    let resident = region_known && &code[4..6] != b"00" && resident_id::upgrade(code).is_ok();
    match (registration, tax, resident) {
        (true, false, false) => Found::One(Kind::RegistrationNumber),
        (true, _, _) => Found::Likelier(Kind::RegistrationNumber),
        (false, true, false) => Found::One(Kind::TaxNumber),
        (false, true, true) => Found::Likelier(Kind::TaxNumber),
        (false, false, true) => Found::One(Kind::ResidentId),
        // Fifteen digits from a known region: a registration number whose check digit is wrong.
        (false, false, false) if region_known => Found::One(Kind::RegistrationNumber),
        _ => Found::Nothing(Reason::NoKindFits),
    }
}

fn eighteen(code: &[u8]) -> Found {
    let organisation = uscc::exact(code);
    let (body, check) = code.split_at(17);
    if !body.iter().all(u8::is_ascii_digit) || !(check[0].is_ascii_digit() || check[0] == b'X') {
        let plausible = code.iter().all(u8::is_ascii_alphanumeric) && code[2..8].iter().any(u8::is_ascii_digit);
        return if organisation.is_err() && is_misprinted_resident(code) {
            Found::One(Kind::ResidentId)
        } else if plausible {
            Found::One(Kind::Uscc)
        } else {
            Found::Nothing(Reason::NoKindFits)
        };
    }
    let resident = resident_id::exact(code);
    let foreigner = foreigner_id::exact(code);
    let resident_region = number(&code[..6]).is_some_and(region::is_known);
    match organisation {
        // Both checks, department and category, and a region that ever was: a credit code, whatever else it may be.
        Ok(None | Some(Reason::AmbiguousKind)) if resident.is_ok() || foreigner == Ok(None) => {
            Found::Likelier(Kind::Uscc)
        }
        Ok(None | Some(Reason::AmbiguousKind)) => Found::One(Kind::Uscc),
        _ if resident == Ok(None) => Found::One(Kind::ResidentId),
        // The same check character as a resident's, but nobody is registered in a region that begins with 9.
        _ if foreigner == Ok(None) => Found::One(Kind::ForeignerId),
        _ if resident.is_ok() => Found::One(Kind::ResidentId),
        Ok(Some(_)) | Err(Reason::LegacySuspect) => Found::One(Kind::Uscc),
        // Wrong as everything. Whose error is it? A birthday or a right check after a known region speaks for a person.
        Err(_)
            if resident_region && (resident_id::is_date(&code[6..14]) || resident == Err(Reason::ImpossibleDate)) =>
        {
            Found::One(Kind::ResidentId)
        }
        Err(_) if uscc::is_authority(code[0], code[1]) => Found::One(Kind::Uscc),
        Err(_) => Found::Nothing(Reason::NoKindFits),
    }
}

/// Whether the value would be a right resident id if its letters were the digits that they resemble.
fn is_misprinted_resident(code: &[u8]) -> bool {
    let mut repaired = [0; 18];
    for (slot, &b) in repaired.iter_mut().zip(code) {
        *slot = verdict::resembled_digit(b).unwrap_or(b);
    }
    code.len() == repaired.len() && resident_id::exact(&repaired).is_ok()
}
