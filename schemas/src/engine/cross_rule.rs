//! A rule between fields: what it says, over which captured places.
//!
//! [`super::declare_rules`] makes them from `x-rules`, [`super::rules`] holds records to them.

use super::program::{Choice, KindCode, Operand};

/// A cross-field rule with its places resolved.
#[derive(Debug)]
pub(crate) struct CrossRule {
    pub(crate) name: Option<String>,
    pub(crate) test: Test,
    /// The array whose every element is held to it (an index of [`super::program::Program::groups`]); nothing for the record.
    pub(crate) each: Option<usize>,
}

/// What must hold.
#[derive(Debug)]
pub(crate) enum Test {
    NotBefore { later: Operand, earlier: Operand },
    NotAbove { lesser: Operand, greater: Operand, where_equal: Vec<(Operand, Operand)> },
    Equal { left: Operand, right: Operand },
    PartOf { part: Operand, whole: Operand, from: usize, to: usize },
    IdentifierOf { value: Operand, kind_field: Operand, codes: Vec<KindCode> },
    Requires { condition: Condition, then: Vec<Operand> },
    AllowedWhen { condition: Condition, field: Operand, among: Choice },
    OneOfPresent { paths: Vec<Operand> },
}

/// When a rule calls for something.
#[derive(Debug)]
pub(crate) struct Condition {
    pub(crate) operand: Operand,
    /// One of these texts; without them, being there is enough.
    pub(crate) among: Option<Choice>,
}

impl Test {
    /// The rule in one line, the same for the same rule: compatibility compares by it.
    pub(crate) fn text(&self) -> String {
        let list = |operands: &[Operand]| {
            operands.iter().map(|operand| operand.pointer.as_str()).collect::<Vec<_>>().join(",")
        };
        let condition = |condition: &Condition| match &condition.among {
            None => format!("if={}", condition.operand.pointer),
            Some(values) => format!("if={} in={}", condition.operand.pointer, values.members.join(",")),
        };
        match self {
            Test::NotBefore { later, earlier } => {
                format!("not-before later={} earlier={}", later.pointer, earlier.pointer)
            }
            Test::NotAbove { lesser, greater, where_equal } => {
                let pairs: Vec<_> =
                    where_equal.iter().map(|(one, other)| format!("{}={}", one.pointer, other.pointer)).collect();
                let text = format!("not-above lesser={} greater={}", lesser.pointer, greater.pointer);
                if pairs.is_empty() { text } else { format!("{text} where-equal={}", pairs.join(",")) }
            }
            Test::Equal { left, right } => format!("equal left={} right={}", left.pointer, right.pointer),
            Test::PartOf { part, whole, from, to } => {
                format!("part-of part={} whole={} from={from} to={to}", part.pointer, whole.pointer)
            }
            Test::IdentifierOf { value, kind_field, .. } => {
                format!("identifier-of value={} kind-field={}", value.pointer, kind_field.pointer)
            }
            Test::Requires { condition: when, then } => {
                let rule = if when.among.is_none() { "requires" } else { "requires-when" };
                format!("{rule} {} then={}", condition(when), list(then))
            }
            Test::AllowedWhen { condition: when, field, among } => {
                format!("allowed-when {} then={} in={}", condition(when), field.pointer, among.members.join(","))
            }
            Test::OneOfPresent { paths } => format!("one-of-present paths={}", list(paths)),
        }
    }

    /// The places that the rule is about.
    pub(crate) fn operands(&self) -> Vec<&Operand> {
        match self {
            Test::NotBefore { later: one, earlier: other }
            | Test::Equal { left: one, right: other }
            | Test::PartOf { part: one, whole: other, .. }
            | Test::IdentifierOf { value: one, kind_field: other, .. } => vec![one, other],
            Test::NotAbove { lesser, greater, where_equal } => {
                let pairs = where_equal.iter().flat_map(|(one, other)| [one, other]);
                [lesser, greater].into_iter().chain(pairs).collect()
            }
            Test::Requires { condition, then } => std::iter::once(&condition.operand).chain(then).collect(),
            Test::AllowedWhen { condition, field, .. } => vec![&condition.operand, field],
            Test::OneOfPresent { paths } => paths.iter().collect(),
        }
    }

    /// The fields that the rule is about.
    pub(crate) fn pointers(&self) -> Vec<String> {
        self.operands().into_iter().map(|operand| operand.pointer.clone()).collect()
    }
}
