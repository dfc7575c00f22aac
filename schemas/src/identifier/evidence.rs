//! What an old number says about a credit code, and what it does not (the cross-reference of 三证合一).
//!
//! | old number | says | does not say |
//! |---|---|---|
//! | organisation code | characters 9 to 17 of the credit code | department, category, region, check |
//! | tax number of 15 | its last nine are characters 9 to 17 | its region may differ from the credit code's |
//! | tax number of 18 or 20 (household) | nothing: it is the owner's resident id | |
//! | registration number | nothing: only a register's cross-reference links the two | |
//! | resident id, foreigner's number | nothing | |
//!
//! Matching follows from this: credit code, then organisation code, then the register's cross-reference. Name and legal
//! representative together make a candidate for a person to look at, never a match.

use super::tax_number::{TaxNumber, TaxNumberForm};
use super::{Kind, OrganisationCode, Reason, Uscc, check_exact};

/// What a number tells about its holder's credit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// It is the credit code.
    Code(Uscc),
    /// It holds the organisation code that stands at characters 9 to 17 of the credit code, and no more than that.
    OrganisationCode(OrganisationCode),
    /// It says nothing by itself; only a register can link it.
    CrossReferenceOnly,
    /// It names a person (a household's owner), who may hold several credit codes or none.
    PersonOnly,
}

/// How evidence stands to a given credit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreement {
    /// The same code.
    Same,
    /// The organisation code is the same: the same legal person, whose region or category may have changed.
    SameOrganisation,
    /// Another legal person.
    Contradicts,
    /// No statement.
    Silent,
}

/// What `number`, a right value of `kind` in normal form, says about a credit code.
///
/// ```
/// use shuqiao_schemas::identifier::{Agreement, Kind, Uscc, evidence};
///
/// let code = Uscc::parse("91310115342050446K")?;
/// assert_eq!(evidence(Kind::OrganisationCode, "342050446")?.about(&code), Agreement::SameOrganisation);
/// assert_eq!(evidence(Kind::RegistrationNumber, "310141000157096")?.about(&code), Agreement::Silent);
/// # Ok::<(), shuqiao_schemas::identifier::Reason>(())
/// ```
///
/// # Errors
/// The reason for which `number` is not of its kind; [`Reason::NoKindFits`] for a kind that is nobody's number.
pub fn evidence(kind: Kind, number: &str) -> Result<Evidence, Reason> {
    match kind {
        Kind::Uscc => Uscc::parse(number).map(Evidence::Code),
        Kind::OrganisationCode => OrganisationCode::parse(number).map(Evidence::OrganisationCode),
        Kind::TaxNumber => Ok(match TaxNumber::parse(number)?.form()? {
            TaxNumberForm::UnifiedCode(code) => Evidence::Code(code),
            TaxNumberForm::RegionAndOrganisation { organisation_code, .. } => {
                Evidence::OrganisationCode(organisation_code)
            }
            TaxNumberForm::Household(_) => Evidence::PersonOnly,
        }),
        Kind::RegistrationNumber => check_exact(kind, number.as_bytes()).map(|_| Evidence::CrossReferenceOnly),
        Kind::ResidentId | Kind::ForeignerId => check_exact(kind, number.as_bytes()).map(|_| Evidence::PersonOnly),
        _ => Err(Reason::NoKindFits),
    }
}

impl Evidence {
    /// How this stands to `code`.
    #[must_use]
    pub fn about(&self, code: &Uscc) -> Agreement {
        let organisation = match self {
            Evidence::Code(same) if same == code => return Agreement::Same,
            Evidence::Code(other) => other.organisation_code(),
            Evidence::OrganisationCode(organisation) => *organisation,
            Evidence::CrossReferenceOnly | Evidence::PersonOnly => return Agreement::Silent,
        };
        if organisation == code.organisation_code() { Agreement::SameOrganisation } else { Agreement::Contradicts }
    }
}
