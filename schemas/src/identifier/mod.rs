//! Identifiers of legal persons, natural persons, certificates, items and places.
//!
//! Three doors, for three needs:
//!
//! - [`check_exact`] judges bytes as they are: no allocation, no normalisation, table-driven. The validator calls it on payloads.
//! - [`check`] normalises first and says what it changed: for adapters beside old systems and for people.
//! - [`detect()`] finds out which kind a stray value is, never by its check character alone.
//!
//! Beside them stands one type per identifier ([`Uscc`], [`ResidentId`], …) that cannot hold a wrong value, and [`evidence()`], which
//! says what an old number tells about a credit code and what it does not.
//!
//! Promised: no panic on any bytes, no network, no clock (a date is only compared with a "today" that the caller passes), stable
//! [`Reason`]s, and no `Debug` that shows a personal identifier. Refused: to guess a kind, to repair a letter into a digit, to
//! accept a code that only a register can vouch for.
//!
//! ```
//! use shuqiao_schemas::identifier::{Kind, Reason, Severity, check, check_exact};
//!
//! assert_eq!(check_exact(Kind::Uscc, b"91340000711771143J"), Ok(None));
//! assert_eq!(check_exact(Kind::Uscc, b"91340000711771143I"), Err(Reason::WrongCharacter));
//!
//! let verdict = check(Kind::Uscc, "'91340000-711771143j ");
//! assert_eq!(verdict.severity, Severity::Ok);
//! assert_eq!(verdict.normal, "91340000711771143J");
//! assert_eq!(verdict.changes.to_string(), "trimmed+hyphens_removed+upper_cased+apostrophe_removed");
//! ```

mod certificate_id;
mod checksum;
mod currency;
mod detect;
mod evidence;
mod foreigner_id;
mod industry;
pub mod inspect;
mod item_code;
mod kind;
mod normal;
mod organisation_code;
mod reason;
mod region;
mod registration_number;
mod resident_id;
mod resource_code;
mod tax_number;
mod text;
mod uscc;
mod verdict;

pub use certificate_id::{CERTIFICATE_ROOT, CertificateId};
pub use currency::Currency;
pub use detect::detect;
pub use evidence::{Agreement, Evidence, evidence};
pub use foreigner_id::ForeignerId;
pub use industry::Industry;
pub use item_code::{BasicItemCode, HandlingItemCode, ImplementationCode};
pub use kind::{Kind, UnknownKind};
pub use normal::{Changes, INPUT_BYTES_MAX, is_scientific_notation, normalise};
pub use organisation_code::OrganisationCode;
pub use reason::{Exact, Reason, Severity};
pub use region::{Region, RegionEntry, region_entries};
pub use registration_number::{HolderClass, RegistrationNumber};
pub use resident_id::{ResidentId, Sex};
pub use resource_code::{ResourceClass, ResourceCode};
pub use tax_number::{TaxNumber, TaxNumberForm};
pub use uscc::{LegacyUscc, Uscc};
pub use verdict::{Verdict, check, check_exact, prepare};
