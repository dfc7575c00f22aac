//! Administrative divisions: GB/T 2260 as a dated table, and the longer codes of GB/T 10114 that begin with it.
//!
//! The table (`schemas/tables/region.json`) holds each six-digit code that is or was in force, with the year in which it came and
//! the year in which it went, where the sources say so. A code that went is still right inside an old number (an identity number, a registration
//! number, a credit code keep what they were given), and a warning where an address of today stands. A code outside the
//! table is a warning everywhere: the table is re-issued every year.

use std::sync::LazyLock;

use super::checksum::number;
use super::reason::{Exact, Reason};

static TABLE_JSON: &str = include_str!("../../tables/region.json");

/// One code of the dated table.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct RegionEntry {
    /// Six digits.
    pub code: Box<str>,
    /// Its name in Chinese; the last one, where it was renamed.
    pub zh: Box<str>,
    /// The first day known to be in force, `YYYY-MM-DD`; absent where it was before the table begins.
    #[serde(default)]
    pub from: Option<Box<str>>,
    /// The last day on which it was in force, `YYYY-MM-DD`; absent while it is.
    #[serde(default)]
    pub to: Option<Box<str>>,
}

/// A division, by 6 digits (county and above), 9 (township) or 12 (village) of which the first six are GB/T 2260's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Region {
    digits: [u8; 12],
    len: u8,
}

impl Region {
    /// Takes 6, 9 or 12 digits exactly as they are.
    ///
    /// # Errors
    /// Wrong length or characters. An unknown or abolished division is a warning, hence no error.
    pub fn parse(text: &str) -> Result<Self, Reason> {
        exact(text.as_bytes())?;
        let mut digits = [0; 12];
        digits.get_mut(..text.len()).ok_or(Reason::WrongLength)?.copy_from_slice(text.as_bytes());
        let len = u8::try_from(text.len()).map_err(|_| Reason::WrongLength)?;
        Ok(Region { digits, len })
    }

    /// The code as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Made by a check that admits digits only.
        self.digits.get(..usize::from(self.len)).and_then(|digits| std::str::from_utf8(digits).ok()).unwrap_or_default()
    }

    /// The table's entry for the county or above, if it has one.
    #[must_use]
    pub fn entry(&self) -> Option<&'static RegionEntry> {
        let county = self.as_str().get(..6)?;
        let entries = region_entries();
        entries.binary_search_by(|entry| (*entry.code).cmp(county)).ok().map(|i| &entries[i])
    }
}

super::text::text_traits!(Region, debug: shown);

/// The dated table, ordered by code.
#[must_use]
pub fn region_entries() -> &'static [RegionEntry] {
    &TABLE.entries
}

/// Whether the six-digit code is or ever was in force. Asked per record: two loads.
#[inline]
pub(super) fn is_known(code: u32) -> bool {
    TABLE.known.has(code)
}

pub(super) fn exact(bytes: &[u8]) -> Exact {
    if bytes.is_empty() {
        return Err(Reason::Empty);
    }
    if !bytes.iter().all(u8::is_ascii_digit) {
        return Err(Reason::WrongCharacter);
    }
    if !matches!(bytes.len(), 6 | 9 | 12) {
        return Err(Reason::WrongLength);
    }
    let code = number(&bytes[..6]).ok_or(Reason::WrongCharacter)?;
    // What is in force is known, and is what nearly every record has.
    Ok(match TABLE.current.has(code) {
        true => None,
        false if TABLE.known.has(code) => Some(Reason::RevokedRegion),
        false => Some(Reason::UnknownRegion),
    })
}

/// Whether two digits are those of a province.
pub(super) fn is_province(digits: &[u8]) -> bool {
    number(digits).is_some_and(|province| is_known(province * 10_000))
}

/// Reads the table now, so that the first record does not pay for it.
pub(super) fn prepare() {
    LazyLock::force(&TABLE);
}

struct Table {
    entries: Vec<RegionEntry>,
    known: CodeSet,
    current: CodeSet,
}

/// A set of six-digit codes: one bit map of 100 counties for each prefecture that occurs.
struct CodeSet {
    /// By the first four digits: which bit map; 0 is the empty one.
    prefecture: Box<[u16; 10_000]>,
    counties: Vec<u128>,
}

impl CodeSet {
    fn new<'a>(codes: impl Iterator<Item = &'a str>) -> Self {
        let mut set = CodeSet { prefecture: Box::new([0; 10_000]), counties: vec![0] };
        for code in codes.filter(|code| code.len() == 6).filter_map(|code| number(code.as_bytes())) {
            let slot = &mut set.prefecture[(code / 100) as usize];
            if *slot == 0 {
                // At most 10,000 prefectures exist, so the count fits.
                *slot = u16::try_from(set.counties.len()).unwrap_or_default();
                set.counties.push(0);
            }
            set.counties[usize::from(*slot)] |= 1 << (code % 100);
        }
        set
    }

    #[inline]
    fn has(&self, code: u32) -> bool {
        let map = self.prefecture.get((code / 100) as usize).map_or(0, |&slot| self.counties[usize::from(slot)]);
        map & (1 << (code % 100)) != 0
    }
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    #[derive(serde::Deserialize)]
    struct File {
        codes: Vec<RegionEntry>,
    }
    // The file is part of this crate and a test reads it; were it broken, every region would be unknown, which is a warning.
    let mut entries = serde_json::from_str::<File>(TABLE_JSON).map(|file| file.codes).unwrap_or_default();
    entries.sort_by(|a, b| a.code.cmp(&b.code));
    let known = CodeSet::new(entries.iter().map(|entry| &*entry.code));
    let current = CodeSet::new(entries.iter().filter(|entry| entry.to.is_none()).map(|entry| &*entry.code));
    Table { entries, known, current }
});
