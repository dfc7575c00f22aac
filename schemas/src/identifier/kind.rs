//! Which identifier a value is meant to be.
//!
//! A kind travels with its value. It is never read off a check character: one resident id in thirty-one passes the check of a
//! credit code as well (see [`detect`](super::detect())).

use std::fmt;
use std::str::FromStr;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident => $name:literal, $en:literal, $zh:literal;)+) => {
        /// A kind of identifier, code or number that this crate can judge.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Kind { $($(#[$doc])* $variant,)+ }

        impl Kind {
            /// Every kind, in the order in which documents list them.
            pub const ALL: &'static [Kind] = &[$(Kind::$variant,)+];

            /// The stable snake_case name: what schemas, the wire and the command line say.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Kind::$variant => $name,)+ }
            }

            /// What it is called in English.
            #[must_use]
            pub const fn title_en(self) -> &'static str {
                match self { $(Kind::$variant => $en,)+ }
            }

            /// What it is called in Chinese.
            #[must_use]
            pub const fn title_zh(self) -> &'static str {
                match self { $(Kind::$variant => $zh,)+ }
            }
        }
    };
}

kinds! {
    /// Unified social credit code, GB 32100-2015.
    Uscc => "uscc", "unified social credit code", "统一社会信用代码";
    /// Organisation code, GB 11714-1997.
    OrganisationCode => "organisation_code", "organisation code", "组织机构代码";
    /// Registration number of the administration for industry and commerce, GS 15-2006, or its 13-digit forerunner.
    RegistrationNumber => "registration_number", "business registration number", "工商注册号";
    /// Taxpayer number: 15 characters before the reform, 18 or 20 for households, the credit code since.
    TaxNumber => "tax_number", "taxpayer number", "纳税人识别号";
    /// Citizen identity number, GB 11643-1999.
    ResidentId => "resident_id", "resident identity number", "公民身份号码";
    /// Number of a foreigner's permanent residence card, of 2023 or before.
    ForeignerId => "foreigner_id", "foreigner's permanent residence number", "外国人永久居留证号码";
    /// Identifier of an electronic certificate, GB/T 36904-2018.
    CertificateId => "certificate_id", "e-certificate identifier", "电子证照标识";
    /// Nothing that this crate can name.
    Unknown => "unknown", "unknown", "未知";
    /// Twelve-digit basic code of a government service item, ZWFW C 0109.
    BasicItemCode => "basic_item_code", "basic item code", "事项基本编码";
    /// Thirty-one character implementation code of an item.
    ImplementationCode => "implementation_code", "item implementation code", "事项实施编码";
    /// Thirty-three character code of one way of handling an item.
    HandlingItemCode => "handling_item_code", "handling item code", "业务办理项编码";
    /// Code of an information resource, by the catalogue guide of 2017.
    ResourceCode => "resource_code", "information resource code", "信息资源代码";
    /// Administrative division, GB/T 2260 (6 digits) or GB/T 10114 (9 or 12).
    Region => "region", "administrative division code", "行政区划代码";
    /// Industry, GB/T 4754-2017.
    Industry => "industry", "industry code", "行业分类代码";
    /// Currency, ISO 4217 (GB/T 12406), by letters or by number.
    Currency => "currency", "currency code", "货币代码";
}

impl Kind {
    /// Whether a value of this kind can point to a natural person, so that neither `Debug` nor a log may show it.
    ///
    /// A taxpayer number is among them: a household's is its owner's resident id.
    #[must_use]
    pub const fn is_personal(self) -> bool {
        matches!(self, Kind::ResidentId | Kind::ForeignerId | Kind::TaxNumber | Kind::Unknown)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The name is not one of [`Kind::ALL`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no identifier kind has this name")]
pub struct UnknownKind;

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, UnknownKind> {
        Kind::ALL.iter().copied().find(|kind| kind.name() == name).ok_or(UnknownKind)
    }
}
