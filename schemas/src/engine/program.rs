//! What a schema compiles to: a flat arena of nodes, one for each place in a record, and tables beside it.
//!
//! `$ref` is gone: a definition used twice is two nodes, so that a node is one place with one pointer. Nodes are in the order of the
//! schema, which is the order that records are mostly written in; the member table of an object leans on that.

use super::cross_rule::CrossRule;
use super::dates::{self, Decimal};
use super::lexer::{self, Cursor, Stop};
use super::pattern::Pattern;
use super::tables::CodeTable;
use super::text::{TextSet, at_least, at_most, fits_gb18030, spread};
use super::violation::Rule;
use crate::identifier;
use std::sync::Arc;

/// Index of a node in the arena.
pub(crate) type NodeId = usize;

/// A compiled record type's rules.
#[derive(Debug, Default)]
pub(crate) struct Program {
    pub(crate) nodes: Vec<Node>,
    /// The node of the whole record.
    pub(crate) root: NodeId,
    /// How many places are captured on the way.
    pub(crate) slots: usize,
    pub(crate) key: Vec<Operand>,
    pub(crate) subject: Option<SubjectPlaces>,
    pub(crate) indexed: Vec<Operand>,
    pub(crate) rules: Vec<CrossRule>,
    pub(crate) groups: Vec<ElementGroup>,
}

/// Number of a captured place.
pub(crate) type Slot = usize;

/// One place in a record.
#[derive(Debug)]
pub(crate) struct Node {
    /// `null` is a value here.
    pub(crate) nullable: bool,
    /// Where the value is captured, if anything needs it.
    pub(crate) slot: Option<Slot>,
    pub(crate) shape: Shape,
}

/// What a value must look like. Cheap to clone: two places of one definition share what it compiled to.
#[derive(Debug, Clone)]
pub(crate) enum Shape {
    Object(Box<ObjectRules>),
    Array(ArrayRules),
    Text(Arc<TextRules>),
    Integer(Arc<IntegerRules>),
    Number(Arc<NumberRules>),
    /// The values allowed: `[false, true]` without an enumeration.
    Boolean {
        on: bool,
        off: bool,
    },
    Null,
}

#[derive(Debug, Clone)]
pub(crate) struct ObjectRules {
    pub(crate) members: Vec<Member>,
    /// Bit per member.
    pub(crate) required: u128,
    pub(crate) names: NameTable,
}

#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) name: Box<str>,
    /// `"name":` as a compact writer puts it: one comparison instead of a scan, a look-up and two skips.
    pub(crate) compact: Literal,
    pub(crate) node: NodeId,
    /// Its bit among those of the object's members.
    pub(crate) bit: u128,
}

/// Bytes that are looked for at one place, with their first and last eight beside them: most of what stands there instead differs in
/// these, and then nothing else is read.
#[derive(Debug, Clone)]
pub(crate) struct Literal {
    pub(crate) bytes: Box<[u8]>,
    /// The first and the last eight bytes; of fewer than eight, neither.
    pub(crate) ends: Option<(u64, u64)>,
}

impl Literal {
    pub(crate) fn new(bytes: Vec<u8>) -> Literal {
        let word = |chunk: &[u8; 8]| u64::from_le_bytes(*chunk);
        let ends = bytes.first_chunk().map(word).zip(bytes.last_chunk().map(word));
        Literal { bytes: bytes.into(), ends }
    }
}

impl ObjectRules {
    pub(crate) fn is_required(&self, member: usize) -> bool {
        self.required >> member & 1 == 1
    }

    /// Reads a member's name and colon and stands before its value: the member's number and whether it was written compactly, or
    /// nothing if the object has no such member. `expected` is the number that would come next in the order of the schema.
    #[inline(always)]
    pub(crate) fn next_member(&self, cursor: &mut Cursor<'_>, expected: usize) -> Result<Option<(usize, bool)>, Stop> {
        if self.members.get(expected).is_some_and(|member| cursor.eat_name(&member.compact)) {
            cursor.skip_space();
            return Ok(Some((expected, true)));
        }
        if let Some(head) = cursor.name_head()
            && let Some(number) = self
                .names
                .search(head, |number| self.members.get(number).is_some_and(|member| cursor.eat_name(&member.compact)))
        {
            cursor.skip_space();
            return Ok(Some((number, true)));
        }
        self.spelled_otherwise(cursor)
    }

    /// A member's name with space before its colon, with escapes, at the end of the payload, or unknown.
    #[cold]
    fn spelled_otherwise(&self, cursor: &mut Cursor<'_>) -> Result<Option<(usize, bool)>, Stop> {
        let token = cursor.string()?;
        cursor.skip_space();
        cursor.expect(b':')?;
        cursor.skip_space();
        let found = if token.escaped() {
            self.names.find(&self.members, cursor.decode(token).as_bytes())
        } else {
            self.names.find(&self.members, cursor.between(token.start, token.end))
        };
        Ok(found.map(|number| (number, false)))
    }
}

/// Finds a member by name: open addressing over the first eight bytes of the name, which can be read before its end is known.
/// Members that begin alike stand behind each other in the order of the schema.
#[derive(Debug, Clone)]
pub(crate) struct NameTable(Box<[u8]>);

/// An empty place; [`super::profile::MAX_PROPERTIES`] keeps member numbers below it.
const EMPTY: u8 = u8::MAX;

impl NameTable {
    pub(crate) fn new(members: &[Member]) -> NameTable {
        let mut places = vec![EMPTY; (members.len() * 4).next_power_of_two()].into_boxed_slice();
        for (number, member) in (0u8..EMPTY).zip(members) {
            let mut place = spread(head(member.name.as_bytes()), places.len());
            while places.get(place).is_some_and(|&taken| taken != EMPTY) {
                place = (place + 1) & (places.len() - 1);
            }
            if let Some(slot) = places.get_mut(place) {
                *slot = number;
            }
        }
        NameTable(places)
    }

    /// The first member for which `is_it` holds among those whose name may begin with `head`.
    #[inline(always)]
    fn search(&self, head: u64, mut is_it: impl FnMut(usize) -> bool) -> Option<usize> {
        let mut place = spread(head, self.0.len());
        loop {
            match *self.0.get(place)? {
                EMPTY => return None,
                number if is_it(usize::from(number)) => return Some(usize::from(number)),
                _ => place = (place + 1) & (self.0.len() - 1),
            }
        }
    }

    pub(crate) fn find(&self, members: &[Member], name: &[u8]) -> Option<usize> {
        self.search(head(name), |number| members.get(number).is_some_and(|member| member.name.as_bytes() == name))
    }
}

/// The first eight bytes of a name, as [`Cursor::name_head`] reads them.
fn head(name: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes.iter_mut().zip(name).for_each(|(byte, of_name)| *byte = *of_name);
    u64::from_le_bytes(bytes)
}

#[derive(Debug, Clone)]
pub(crate) struct ArrayRules {
    pub(crate) items: NodeId,
    pub(crate) least: usize,
    pub(crate) most: usize,
    /// Rules look at its elements: the index of their [`ElementGroup`].
    pub(crate) group: Option<usize>,
}

/// The rules of a string, in the order in which they are told.
#[derive(Debug, Default)]
pub(crate) struct TextRules {
    /// All of them as one question.
    pub(crate) quick: Quick,
    pub(crate) least: Option<usize>,
    pub(crate) most: Option<usize>,
    pub(crate) most_gb18030: Option<usize>,
    pub(crate) pattern: Option<Pattern>,
    /// `enum` and `const`.
    pub(crate) among: Option<Choice>,
    pub(crate) table: Option<Arc<CodeTable>>,
    pub(crate) form: Form,
    pub(crate) identifier: Option<identifier::Kind>,
    /// `x-lines`: tabs and line ends may stand in it.
    pub(crate) lines: bool,
}

/// A closed list that a schema writes down, in its order.
#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) members: Vec<String>,
    set: TextSet,
}

impl Choice {
    pub(crate) fn new<'a>(members: impl IntoIterator<Item = &'a str>) -> Choice {
        let members: Vec<String> = members.into_iter().map(str::to_owned).collect();
        Choice { set: TextSet::new(members.iter().map(String::as_str)), members }
    }

    #[inline]
    pub(crate) fn contains(&self, text: &[u8]) -> bool {
        self.set.contains(text)
    }
}

/// All rules of a text as one question, chosen when the schema is compiled and asked of every value. Only a text for which the answer
/// is no has its rules gone through one by one; most of those break one.
#[derive(Debug, Default)]
pub(crate) struct Quick {
    /// A text of so many bytes has enough characters.
    least: usize,
    /// A text of so many bytes has not too many characters, nor too many bytes in GB18030.
    most: usize,
    beside: Beside,
}

/// What is asked of a text beside its length.
#[derive(Debug, Default)]
enum Beside {
    #[default]
    Nothing,
    Pattern,
    Among,
    Table,
    Form,
    Identifier(identifier::Kind),
    /// More than one: the question is not worth asking.
    Several,
}

impl TextRules {
    /// Chooses the question.
    pub(crate) fn settle(&mut self) {
        let asked = [
            self.pattern.as_ref().map(|_| Beside::Pattern),
            self.among.as_ref().map(|_| Beside::Among),
            self.table.as_ref().map(|_| Beside::Table),
            (self.form != Form::Free).then_some(Beside::Form),
            self.identifier.map(Beside::Identifier),
        ];
        let mut asked = asked.into_iter().flatten();
        let beside = match (asked.next(), asked.next()) {
            (None, _) => Beside::Nothing,
            (Some(one), None) => one,
            (Some(_), Some(_)) => Beside::Several,
        };
        // A character has one to four bytes, and a byte of UTF-8 becomes at most two of GB18030.
        let least = self.least.map_or(0, |least| least.saturating_mul(4).saturating_sub(3));
        let most = self.most.unwrap_or(usize::MAX).min(self.most_gb18030.map_or(usize::MAX, |most| most / 2));
        self.quick = Quick { least, most, beside };
    }

    /// Whether nothing but length and pattern says what it is, so that it must be said that it holds no control character.
    pub(crate) fn is_free(&self) -> bool {
        self.among.is_none() && self.table.is_none() && self.form == Form::Free && self.identifier.is_none()
    }

    /// Whether a text has the length that it should, counted.
    #[inline(never)]
    fn fits(&self, text: &[u8]) -> bool {
        lexer::utf8(text).is_ok_and(|text| {
            self.least.is_none_or(|least| at_least(text, least))
                && self.most.is_none_or(|most| at_most(text, most))
                && self.most_gb18030.is_none_or(|most| fits_gb18030(text, most))
        })
    }

    /// Whether the text keeps every rule and gives no cause for a warning. A no may also mean that it takes longer to say.
    #[inline(always)]
    pub(crate) fn accepts(&self, text: &[u8]) -> bool {
        ((text.len() >= self.quick.least && text.len() <= self.quick.most) || self.fits(text))
            && match self.quick.beside {
                Beside::Nothing => true,
                Beside::Pattern => self.pattern.as_ref().is_some_and(|pattern| pattern.is_match(text)),
                Beside::Among => self.among.as_ref().is_some_and(|choice| choice.contains(text)),
                Beside::Table => self.table.as_ref().is_some_and(|table| table.set().contains(text)),
                Beside::Form => self.form.broken_by(text).is_none(),
                Beside::Identifier(kind) => identifier::check_exact(kind, text) == Ok(None),
                Beside::Several => false,
            }
    }
}

/// A written form that a text must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Form {
    #[default]
    Free,
    Date {
        /// `长期` is a value; the placeholders of legacy systems are not.
        long_term: bool,
    },
    DateTime,
    Decimal(Decimal),
}

impl Form {
    /// The rule that `text` breaks if it has not this form.
    #[inline]
    pub(crate) fn broken_by(self, text: &[u8]) -> Option<Rule> {
        match self {
            Form::Free => None,
            Form::Date { long_term: true } if dates::is_placeholder(text) => Some(Rule::PlaceholderDate),
            Form::Date { long_term } => {
                let right = dates::is_date(text) || (long_term && text == dates::LONG_TERM.as_bytes());
                (!right).then_some(Rule::Date)
            }
            Form::DateTime => (!dates::is_date_time(text)).then_some(Rule::DateTime),
            Form::Decimal(decimal) => (!decimal.accepts(text)).then_some(Rule::Decimal),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct IntegerRules {
    pub(crate) least: Option<i64>,
    pub(crate) most: Option<i64>,
    pub(crate) among: Option<Vec<i64>>,
}

impl IntegerRules {
    /// The same bounds and values for a number, to compare an integer with one.
    #[expect(clippy::cast_precision_loss, reason = "bounds of a `number` are doubles")]
    pub(crate) fn as_number(&self) -> NumberRules {
        let double = |value: i64| value as f64;
        NumberRules {
            least: self.least.map(double),
            most: self.most.map(double),
            among: self.among.as_ref().map(|among| among.iter().copied().map(double).collect()),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NumberRules {
    pub(crate) least: Option<f64>,
    pub(crate) most: Option<f64>,
    pub(crate) among: Option<Vec<f64>>,
}

/// Where the subject is found.
#[derive(Debug)]
pub(crate) struct SubjectPlaces {
    pub(crate) value: Operand,
    pub(crate) kind: SubjectKind,
}

#[derive(Debug)]
pub(crate) enum SubjectKind {
    /// Always of the kind of this name.
    Fixed(&'static str),
    /// The record says which.
    Field { operand: Operand, codes: Vec<KindCode> },
}

/// A type code that means an identifier kind.
#[derive(Debug)]
pub(crate) struct KindCode {
    pub(crate) code: String,
    pub(crate) kind: identifier::Kind,
}

/// A captured place with its pointer, for messages.
#[derive(Debug, Clone)]
pub(crate) struct Operand {
    pub(crate) slot: Slot,
    pub(crate) pointer: String,
}

impl Operand {
    /// Stands in an element of an array.
    pub(crate) fn in_element(&self) -> bool {
        self.pointer.contains('*')
    }
}

/// The places that rules need of each element of one array. They are captured like all others; when an element ends, they are put
/// aside for the rules that look at every element once the whole record is known.
#[derive(Debug, Default)]
pub(crate) struct ElementGroup {
    pub(crate) slots: Vec<Slot>,
}
