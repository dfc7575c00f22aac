//! What a valid record says about itself, found while it was checked.

use super::escapes::unescaped;
use super::lexer::Text;
use super::profile::MAX_INDEXED;
use super::violation::Violation;
use std::borrow::Cow;

/// A value's place in the payload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Captured {
    /// Not in the record, or null.
    #[default]
    Absent,
    /// The bytes as they stand: of a string without escapes those between its quotes, of anything else all.
    Plain {
        /// First byte.
        start: usize,
        /// One past the last.
        end: usize,
    },
    /// The bytes between the quotes of a string with escapes.
    Escaped {
        /// First byte.
        start: usize,
        /// One past the last.
        end: usize,
    },
    /// There, but already refused: rules over it would only repeat that.
    Refused,
}

impl Captured {
    /// A string token's place.
    #[inline]
    pub(crate) fn text(token: Text) -> Captured {
        let Text { start, end, .. } = token;
        if token.escaped() { Captured::Escaped { start, end } } else { Captured::Plain { start, end } }
    }

    /// The value at the place.
    #[inline]
    pub(crate) fn read(self, payload: &str) -> Option<Cow<'_, str>> {
        match self {
            // Token borders are never inside a character.
            Captured::Plain { start, end } => payload.get(start..end).map(Cow::Borrowed),
            Captured::Escaped { start, end } => payload.get(start..end).map(unescaped).map(Cow::Owned),
            Captured::Absent | Captured::Refused => None,
        }
    }
}

/// Room that validation works in; one for each thread, used again for every record. It keeps its capacity and nothing of a record
/// that matters: what it holds is overwritten by the next one.
#[derive(Default)]
pub struct Scratch {
    pub(crate) captured: Vec<Captured>,
    /// By group of elements: what rules need of each element, one after the other.
    pub(crate) elements: Vec<Vec<Captured>>,
    /// The value of the escaped string at hand.
    pub(crate) text: String,
}

impl Scratch {
    /// Empty room; it grows to what the largest record type needs and then stays.
    pub fn new() -> Scratch {
        Scratch::default()
    }
}

impl std::fmt::Debug for Scratch {
    /// Without contents: they are pieces of a record.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scratch").finish_non_exhaustive()
    }
}

/// Whom a record is about.
#[derive(Clone, PartialEq, Eq)]
pub struct Subject<'p> {
    /// The identifier's kind by its stable name (`uscc`, `resident_id`), or, where the record says the type by a code that is no
    /// known identifier (a passport, an officer's card), that code.
    pub kind: &'p str,
    /// The identifier as the record has it.
    pub value: Cow<'p, str>,
}

impl std::fmt::Debug for Subject<'_> {
    /// Without the value, which may be a person's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subject").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// What a valid record says about itself. Borrows from the payload; owns only what was written with escapes, and a key of several
/// parts.
#[derive(Clone)]
pub struct Facts<'p> {
    /// The record's key: its parts joined with `|`.
    pub key: Cow<'p, str>,
    /// Whom it is about; nothing if the field is absent.
    pub subject: Option<Subject<'p>>,
    pub(crate) payload: &'p str,
    pub(crate) indexed: [Captured; MAX_INDEXED],
    pub(crate) warnings: Vec<Violation>,
}

impl<'p> Facts<'p> {
    /// The value of the indexed field of this number ([`super::RecordType::indexed_fields`]): a string's value, or the bytes of a
    /// number or boolean; nothing if absent or null.
    pub fn indexed(&self, number: usize) -> Option<Cow<'p, str>> {
        self.indexed.get(number)?.read(self.payload)
    }

    /// What is suspect but not wrong.
    pub fn warnings(&self) -> &[Violation] {
        &self.warnings
    }
}

impl std::fmt::Debug for Facts<'_> {
    /// Without values.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Facts").field("warnings", &self.warnings.len()).finish_non_exhaustive()
    }
}
