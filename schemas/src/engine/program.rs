//! What a schema compiles to: a flat arena of nodes, one for each place in a record, and tables beside it.
//!
//! `$ref` is gone: a definition used twice is two nodes, so that a node is one place with one pointer. Nodes are in the order of the
//! schema, which is the order that records are mostly written in; the member table of an object leans on that.

use super::cross_rule::CrossRule;
use super::dates::Decimal;
use super::lexer::{Cursor, Stop};
use super::pattern::Pattern;
use super::tables::CodeTable;
use super::text::{TextSet, spread};
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
    pub(crate) compact: Box<[u8]>,
    pub(crate) node: NodeId,
}

impl ObjectRules {
    pub(crate) fn is_required(&self, member: usize) -> bool {
        self.required >> member & 1 == 1
    }

    /// Reads a member's name and colon and stands before its value: the member's number and whether it was written compactly, or
    /// nothing if the object has no such member. `expected` is the number that would come next in the order of the schema.
    #[inline]
    pub(crate) fn next_member(&self, cursor: &mut Cursor<'_>, expected: usize) -> Result<Option<(usize, bool)>, Stop> {
        // Optional members are left out more often than members are out of order, so a few are tried before the table.
        for number in expected..expected + 3 {
            if self.members.get(number).is_some_and(|member| cursor.eat_name(&member.compact)) {
                cursor.skip_space();
                return Ok(Some((number, true)));
            }
        }
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

/// Finds a member by name: open addressing over a mix of the name's length, first and last eight bytes.
#[derive(Debug, Clone)]
pub(crate) struct NameTable(Box<[u8]>);

/// An empty place; [`super::profile::MAX_PROPERTIES`] keeps member numbers below it.
const EMPTY: u8 = u8::MAX;

impl NameTable {
    pub(crate) fn new(members: &[Member]) -> NameTable {
        let mut places = vec![EMPTY; (members.len() * 4).next_power_of_two()].into_boxed_slice();
        for (number, member) in (0u8..EMPTY).zip(members) {
            let mut place = spread(mix(member.name.as_bytes()), places.len());
            while places.get(place).is_some_and(|&taken| taken != EMPTY) {
                place = (place + 1) & (places.len() - 1);
            }
            if let Some(slot) = places.get_mut(place) {
                *slot = number;
            }
        }
        NameTable(places)
    }

    #[inline]
    pub(crate) fn find(&self, members: &[Member], name: &[u8]) -> Option<usize> {
        let mut place = spread(mix(name), self.0.len());
        loop {
            let number = usize::from(*self.0.get(place)?);
            // An empty place's number is beyond every member.
            if members.get(number)?.name.as_bytes() == name {
                return Some(number);
            }
            place = (place + 1) & (self.0.len() - 1);
        }
    }
}

#[inline]
fn mix(name: &[u8]) -> u64 {
    let ends = match (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        (Some(first), Some(last)) => u64::from_le_bytes(*first) ^ u64::from_le_bytes(*last).rotate_left(23),
        _ => name.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    };
    ends ^ (name.len() as u64).rotate_left(48)
}

#[derive(Debug, Clone)]
pub(crate) struct ArrayRules {
    pub(crate) items: NodeId,
    pub(crate) least: usize,
    pub(crate) most: usize,
    /// Rules look at its elements: the index of their [`ElementGroup`].
    pub(crate) group: Option<usize>,
}

/// The rules of a string, in the order in which they are tried.
#[derive(Debug, Default)]
pub(crate) struct TextRules {
    pub(crate) least: Option<usize>,
    pub(crate) most: Option<usize>,
    pub(crate) most_gb18030: Option<usize>,
    pub(crate) pattern: Option<Pattern>,
    /// `enum` and `const`.
    pub(crate) among: Option<Choice>,
    pub(crate) table: Option<Arc<CodeTable>>,
    pub(crate) form: Form,
    pub(crate) identifier: Option<identifier::Kind>,
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
    pub(crate) fn contains(&self, text: &str) -> bool {
        self.set.contains(text)
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
