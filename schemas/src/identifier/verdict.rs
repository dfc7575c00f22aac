//! The verdict on one value, and the two checks that give it.

use std::borrow::Cow;
use std::fmt;

use super::kind::Kind;
use super::normal::{Changes, INPUT_BYTES_MAX, is_scientific_notation, normalise};
use super::reason::{Exact, Reason, Severity};
use super::{
    certificate_id, currency, foreigner_id, industry, item_code, organisation_code, region, registration_number,
    resident_id, resource_code, tax_number, uscc,
};

/// What was found about one value.
#[derive(Clone, PartialEq, Eq)]
pub struct Verdict<'a> {
    /// The kind that was asked for, or detected.
    pub kind: Kind,
    /// Accepted, accepted with a reserve, or refused.
    pub severity: Severity,
    /// Why not simply accepted; `None` exactly when `severity` is [`Severity::Ok`].
    pub reason: Option<Reason>,
    /// The value in normal form. Of a refused value, too: it is what the verdict speaks of.
    pub normal: Cow<'a, str>,
    /// What normalising changed.
    pub changes: Changes,
    /// A value that would be right, where a letter was probably meant as a digit. For a person to confirm, never applied.
    pub suggestion: Option<String>,
}

impl<'a> Verdict<'a> {
    pub(super) fn new(kind: Kind, exact: Exact, normal: Cow<'a, str>, changes: Changes) -> Self {
        let reason = exact.unwrap_or_else(Some);
        let severity = reason.map_or(Severity::Ok, Reason::severity);
        Verdict { kind, severity, reason, normal, changes, suggestion: None }
    }

    /// Whether the value may be used, with or without a reserve.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.severity != Severity::Error
    }
}

/// Shows the value only of kinds that cannot point to a person.
impl fmt::Debug for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let normal = if self.kind.is_personal() { "***" } else { &*self.normal };
        f.debug_struct("Verdict")
            .field("kind", &self.kind)
            .field("severity", &self.severity)
            .field("reason", &self.reason)
            .field("normal", &normal)
            .field("changes", &self.changes)
            .finish_non_exhaustive()
    }
}

/// Judges `input` as a `kind` after normalising it.
///
/// A 15-digit identity number is upgraded to 18 on the way, with a warning that says so.
#[must_use]
pub fn check(kind: Kind, input: &str) -> Verdict<'_> {
    let (normal, changes) = normalise(input);
    check_normal(kind, normal, changes)
}

/// Judges a value that is already in normal form.
pub(super) fn check_normal(kind: Kind, normal: Cow<'_, str>, changes: Changes) -> Verdict<'_> {
    if is_scientific_notation(&normal) {
        return Verdict::new(kind, Err(Reason::ExcelScientificNotation), normal, changes);
    }
    if kind == Kind::ResidentId
        && normal.len() == 15
        && let Ok((upgraded, warning)) = resident_id::upgrade(normal.as_bytes())
        && let Ok(upgraded) = std::str::from_utf8(&upgraded)
    {
        let changes = changes.with(Changes::UPGRADED);
        return Verdict::new(kind, Ok(Some(warning)), Cow::Owned(upgraded.to_owned()), changes);
    }
    let (normal, changes) = match kind {
        Kind::CertificateId => without_file_suffix(normal, changes),
        _ => (normal, changes),
    };
    let exact = exact(kind, normal.as_bytes());
    let suggestion = if exact.is_err() { suggest(kind, &normal) } else { None };
    Verdict { suggestion, ..Verdict::new(kind, exact, normal, changes) }
}

/// A certificate is filed as `<identifier>.OFD`, and the file's name is what people paste.
fn without_file_suffix(normal: Cow<'_, str>, changes: Changes) -> (Cow<'_, str>, Changes) {
    let Some(len) = normal.strip_suffix(".OFD").map(str::len) else {
        return (normal, changes);
    };
    let stem = match normal {
        Cow::Borrowed(text) => Cow::Borrowed(text.get(..len).unwrap_or(text)),
        Cow::Owned(mut text) => {
            text.truncate(len);
            Cow::Owned(text)
        }
    };
    (stem, changes.with(Changes::FILE_SUFFIX))
}

/// Judges bytes exactly as they are: no normalisation and no allocation.
///
/// Bytes that only normalising would make right are refused as [`Reason::NotNormalForm`] (as far as that is visible in ASCII: lower case, spaces,
/// hyphens, an apostrophe), so that the message helps. The first call in a process reads the table of
/// regions; [`prepare`] does so beforehand.
///
/// # Errors
/// The reason for which the value is refused.
#[inline]
pub fn check_exact(kind: Kind, input: &[u8]) -> Exact {
    exact(kind, input).map_err(|reason| better_reason(kind, input, reason))
}

/// Reads the tables now. Idempotent; call it where a schema is compiled, so that checking never allocates.
pub fn prepare() {
    region::prepare();
}

#[inline]
fn exact(kind: Kind, input: &[u8]) -> Exact {
    match kind {
        Kind::Uscc => uscc::exact(input),
        Kind::OrganisationCode => organisation_code::exact(input),
        Kind::RegistrationNumber => registration_number::exact(input),
        Kind::ResidentId => resident_id::exact(input),
        Kind::TaxNumber => tax_number::exact(input),
        Kind::ForeignerId => foreigner_id::exact(input),
        Kind::CertificateId => certificate_id::exact(input),
        Kind::BasicItemCode => item_code::basic(input),
        Kind::ImplementationCode => item_code::implementation(input),
        Kind::HandlingItemCode => item_code::handling(input),
        Kind::ResourceCode => resource_code::exact(input),
        Kind::Region => region::exact(input),
        Kind::Industry => industry::exact(input),
        Kind::Currency => currency::exact(input),
        Kind::Unknown => Err(Reason::NoKindFits),
    }
}

/// Off the fast path: says so where the value is right but for its writing.
#[cold]
fn better_reason(kind: Kind, input: &[u8], reason: Reason) -> Reason {
    let mut folded = [0; certificate_id::BYTES_MAX];
    let mut len = 0;
    let kept = input.iter().filter(|b| !matches!(b, b' ' | b'\t' | b'-')).skip_while(|b| **b == b'\'');
    for &b in kept {
        let Some(slot) = folded.get_mut(len) else {
            return reason;
        };
        *slot = b.to_ascii_uppercase();
        len += 1;
    }
    let Some(folded) = folded.get(..len) else {
        return reason;
    };
    let right = folded != input && exact(kind, folded).is_ok();
    let short = kind == Kind::ResidentId && resident_id::upgrade(folded).is_ok();
    if right || short { Reason::NotNormalForm } else { reason }
}

/// A right value that differs only by letters that people take for digits.
#[cold]
fn suggest(kind: Kind, normal: &str) -> Option<String> {
    let digit = |c| match c {
        'O' | 'Q' | 'D' => Some('0'),
        'I' | 'L' => Some('1'),
        'Z' => Some('2'),
        'S' => Some('5'),
        _ => None,
    };
    if kind == Kind::Currency {
        return (normal == "RMB").then(|| "CNY".to_owned());
    }
    if normal.len() > INPUT_BYTES_MAX || !normal.contains(['O', 'I', 'Z', 'S', 'Q', 'D', 'L']) {
        return None;
    }
    let exact_str = |text: &String| exact(kind, text.as_bytes()).is_ok();
    // First only the letters that GB 32100 does not have, since Q, D and L may be themselves.
    let outside: String =
        normal.chars().map(|c| if matches!(c, 'O' | 'I' | 'Z' | 'S') { digit(c).unwrap_or(c) } else { c }).collect();
    let all = || normal.chars().map(|c| digit(c).unwrap_or(c)).collect::<String>();
    Some(outside).filter(exact_str).or_else(|| Some(all()).filter(exact_str))
}
