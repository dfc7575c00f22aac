//! Unified social credit codes, GB 32100-2015: department and category, region, organisation code, check character.
//!
//! Both checks are made. The outer one uses 31 values and powers of three; the inner one is GB 11714's with 36 values over
//! characters 9 to 17. Implementations that stop at the outer check accept one resident id in thirty-one.
//!
//! Named answers to two traps. Early codes of Fujian (prefix 9135, body M00…) carry a wrong outer check character although they
//! are live: [`Reason::LegacySuspect`], an error, because only an authoritative register can tell them from a misprint
//! ([`LegacyUscc::confirmed`] is the way in). A resident id that passes as a credit code: [`Reason::ResidentIdNotUscc`].

use super::checksum::{self, NONE, VALUE_31, number};
use super::organisation_code::{self, OrganisationCode};
use super::reason::{Exact, Reason};
use super::text::fixed_text;
use super::{region, resident_id};

fixed_text! {
    /// A credit code with both check characters right.
    Uscc, 18, Kind::Uscc, exact, debug: shown
}

/// Department and category pairs: Tables 2 and 3 of GB 32100 with the amendments since 2016, as two independent public tables
/// give them. The table grows, so a pair outside it is a warning.
const AUTHORITIES: [(u8, &[u8]); 12] = [
    (b'1', b"1239"),   // 机构编制: 机关, 事业单位, 编办直接管理机构编制的群众团体, 其他
    (b'2', b"19"),     // 外交: 外国常驻新闻机构, 其他
    (b'3', b"123459"), // 司法行政: 律师执业机构, 公证处, 基层法律服务所, 司法鉴定机构, 仲裁委员会, 其他
    (b'4', b"19"),     // 文化: 外国在华文化中心, 其他
    (b'5', b"1239"),   // 民政: 社会团体, 民办非企业单位, 基金会, 其他
    (b'6', b"129"),    // 旅游: 外国旅游部门, 港澳台地区旅游部门常驻机构, 其他
    (b'7', b"129"),    // 宗教: 宗教活动场所, 宗教院校, 其他
    (b'8', b"19"),     // 工会: 基层工会, 其他
    (b'9', b"1239"),   // 市场监管: 企业, 个体工商户, 农民专业合作社, 其他
    (b'A', b"19"),     // 中央军委改革和编制办公室: 军队事业单位, 其他
    (b'N', b"1239"),   // 农业: 组级, 村级, 乡镇级集体经济组织, 其他
    (b'Y', b"1"),      // 其他
];

/// One bit per category (its value in the alphabet of 31), by the department's byte.
static CATEGORIES: [u32; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < AUTHORITIES.len() {
        let (department, categories) = AUTHORITIES[i];
        let mut j = 0;
        while j < categories.len() {
            table[department as usize] |= 1 << VALUE_31[categories[j] as usize];
            j += 1;
        }
        i += 1;
    }
    table
};

impl Uscc {
    /// Puts a code together: two characters of department and category, six digits of region, the organisation code.
    ///
    /// # Errors
    /// A part has the wrong length or a character outside GB 32100's alphabet (an organisation code may hold I, O, S, V, Z;
    /// a credit code may not).
    pub fn compose(authority: &str, region: &str, organisation_code: &OrganisationCode) -> Result<Self, Reason> {
        if authority.len() != 2 || region.len() != 6 {
            return Err(Reason::WrongLength);
        }
        let mut code = [0; 18];
        code[..2].copy_from_slice(authority.as_bytes());
        code[2..8].copy_from_slice(region.as_bytes());
        code[8..17].copy_from_slice(organisation_code.as_str().as_bytes());
        let [body @ .., check] = &mut code;
        *check = checksum::mod_31(body).ok_or(Reason::WrongCharacter)?;
        exact(&code).map(|_| Uscc(code))
    }

    /// Two characters: registering department and category of the body.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.as_str().get(..2).unwrap_or_default()
    }

    /// Six digits: region of the registering authority at the time, which is not the address and may since be abolished.
    #[must_use]
    pub fn region(&self) -> &str {
        self.as_str().get(2..8).unwrap_or_default()
    }

    /// The organisation code inside.
    #[must_use]
    pub fn organisation_code(&self) -> OrganisationCode {
        let mut inner = [0; 9];
        inner.copy_from_slice(&self.0[8..17]);
        OrganisationCode::within(inner)
    }

    /// Whether the code is an individual household's (个体工商户), whose name can point to a person.
    #[must_use]
    pub fn is_household(&self) -> bool {
        self.0.starts_with(b"92")
    }
}

/// An early code of Fujian whose outer check character is wrong, for whose truth a register has vouched.
///
/// It is a type of its own because it is not a valid credit code: whoever takes one has decided to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LegacyUscc(Uscc);

impl LegacyUscc {
    /// Takes `text` if it is a legacy suspect and `in_register`, an authoritative look-up, knows exactly this code.
    ///
    /// # Errors
    /// [`Reason::LegacySuspect`] if the register does not know it; any other reason as [`Uscc::parse`]; a code that is right
    /// needs no confirmation and is refused as [`Reason::WrongStructure`], so that the two never mix.
    pub fn confirmed(text: &str, in_register: impl FnOnce(&str) -> bool) -> Result<Self, Reason> {
        match exact(text.as_bytes()) {
            Err(Reason::LegacySuspect) if in_register(text) => {
                text.as_bytes().try_into().map(|bytes| LegacyUscc(Uscc(bytes))).map_err(|_| Reason::WrongLength)
            }
            Err(reason) => Err(reason),
            Ok(_) => Err(Reason::WrongStructure),
        }
    }

    /// The code as issued.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The organisation code inside, whose own check is right.
    #[must_use]
    pub fn organisation_code(&self) -> OrganisationCode {
        self.0.organisation_code()
    }
}

impl std::fmt::Display for LegacyUscc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::fmt::Debug for LegacyUscc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LegacyUscc({self})")
    }
}

pub(super) fn exact(bytes: &[u8]) -> Exact {
    let code: &[u8; 18] = bytes.try_into().map_err(|_| length_or_character(bytes))?;
    let [body @ .., check] = code;
    let outer = checksum::mod_31(body).ok_or(Reason::WrongCharacter)?;
    let region = number(&body[2..8]).ok_or(Reason::WrongCharacter)?;
    if VALUE_31[usize::from(*check)] == NONE {
        return Err(Reason::WrongCharacter);
    }
    let (inner_body, inner_check) = inner(code);
    let inner_right = checksum::gb_11714(&inner_body) == Some(inner_check);
    if outer != *check {
        return Err(if inner_right && is_early_fujian(code) {
            Reason::LegacySuspect
        } else {
            Reason::CheckCharacterMismatch
        });
    }
    let authority_known = is_authority(code[0], code[1]);
    if !authority_known && resident_id::exact(code).is_ok() {
        return Err(Reason::ResidentIdNotUscc);
    }
    if !inner_right {
        return Err(if is_resident(code) { Reason::ResidentIdNotUscc } else { Reason::InnerCheckMismatch });
    }
    if organisation_code::is_self_defined(&inner_body) {
        return Err(Reason::SelfDefinedZone);
    }
    if !authority_known {
        return Ok(Some(Reason::UnknownAuthority));
    }
    if !region::is_known(region) {
        return Ok(Some(Reason::UnknownRegion));
    }
    // Right in every respect as a credit code, and by chance as a resident id too: rare, but then the kind must travel with it.
    Ok(is_resident(code).then_some(Reason::AmbiguousKind))
}

fn inner(code: &[u8; 18]) -> ([u8; 8], u8) {
    let mut body = [0; 8];
    body.copy_from_slice(&code[8..16]);
    (body, code[16])
}

/// Whether the pair is in the table of departments and categories.
pub(super) fn is_authority(department: u8, category: u8) -> bool {
    let category = VALUE_31[usize::from(category)];
    category != NONE && CATEGORIES[usize::from(department)] & (1 << category) != 0
}

/// Prefix 9135 (an enterprise of Fujian) and an organisation code that begins M00: domain rule for codes of 2015 and 2016.
fn is_early_fujian(code: &[u8; 18]) -> bool {
    code.starts_with(b"9135") && code[8..].starts_with(b"M00")
}

/// Whether the code is a right resident id; the date is asked first since it settles nearly all codes at once.
#[inline]
fn is_resident(code: &[u8; 18]) -> bool {
    matches!(&code[6..8], b"18" | b"19" | b"20") && resident_id::exact(code).is_ok()
}

fn length_or_character(bytes: &[u8]) -> Reason {
    if bytes.is_empty() {
        Reason::Empty
    } else if bytes.iter().any(|&b| VALUE_31[usize::from(b)] == NONE) {
        Reason::WrongCharacter
    } else {
        Reason::WrongLength
    }
}
