//! Conditions and filters: the bound tree and its evaluation. Binding, with the rules of each operator, is in `bind`.

mod bind;

use std::cmp::Ordering;

use headwater_types::AttributeValue;

use crate::bind::Substitutions;
use crate::error::{Error, Kind};
use crate::operand::{Attributes, Operand, resolve_path};
use crate::parser::Parser;
use crate::path::Path;
use crate::rules::Mentions;

/// A comparator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Comparator {
    /// `=`
    Equal,
    /// `<>`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Comparator {
    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "=" => Self::Equal,
            "<>" => Self::NotEqual,
            "<" => Self::Less,
            "<=" => Self::LessOrEqual,
            ">" => Self::Greater,
            _ => Self::GreaterOrEqual,
        }
    }

    fn accepts(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order == Ordering::Equal,
            Self::NotEqual => order != Ordering::Equal,
            Self::Less => order == Ordering::Less,
            Self::LessOrEqual => order != Ordering::Greater,
            Self::Greater => order == Ordering::Greater,
            Self::GreaterOrEqual => order != Ordering::Less,
        }
    }
}

/// A bound condition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Condition {
    /// Both.
    And(Box<Condition>, Box<Condition>),
    /// Either.
    Or(Box<Condition>, Box<Condition>),
    /// Not.
    Not(Box<Condition>),
    /// A comparison.
    Compare(Comparator, Operand, Operand),
    /// Tested, lower and upper bound, both included.
    Between(Operand, Operand, Operand),
    /// Equal to one of these.
    In(Operand, Vec<Operand>),
    /// Something lies at the path.
    Exists(Path),
    /// Nothing lies at the path.
    NotExists(Path),
    /// The operand has this type code.
    Type(Operand, String),
    /// A string or binary begins with another.
    BeginsWith(Operand, Operand),
    /// A substring, or a member of a set or list.
    Contains(Operand, Operand),
}

/// The order of two scalars of one ordered type; `None` when there is none.
pub fn scalar_order(a: &AttributeValue, b: &AttributeValue) -> Option<Ordering> {
    match (a, b) {
        (AttributeValue::S(a), AttributeValue::S(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        (AttributeValue::N(a), AttributeValue::N(b)) => Some(a.cmp(b)),
        (AttributeValue::B(a), AttributeValue::B(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

impl Condition {
    /// Parses and binds a condition or a filter.
    ///
    /// Errors: in the service's order: syntax, redundant parentheses, functions, reserved words; then condition by
    /// condition undefined names and values, numbers of operands and the rules of the operator.
    pub fn parse(kind: Kind, text: &str, substitutions: &mut Substitutions) -> Result<Self, Error> {
        let raw = Parser::new(kind, text)?.condition()?;
        let mentions = Mentions::of_condition(&raw);
        mentions.check_condition_functions(kind)?;
        mentions.check_reserved(kind)?;
        bind::Binder { kind, substitutions }.condition(&raw)
    }

    /// Whether an item meets the condition. A missing attribute fails every comparison but `<>`.
    pub fn evaluate(&self, item: &dyn Attributes) -> bool {
        match self {
            Self::And(a, b) => a.evaluate(item) && b.evaluate(item),
            Self::Or(a, b) => a.evaluate(item) || b.evaluate(item),
            Self::Not(inner) => !inner.evaluate(item),
            Self::Compare(comparator, a, b) => compare(*comparator, a, b, item),
            Self::Between(tested, lower, upper) => {
                compare(Comparator::GreaterOrEqual, tested, lower, item)
                    && compare(Comparator::LessOrEqual, tested, upper, item)
            }
            Self::In(tested, candidates) => {
                candidates.iter().any(|candidate| compare(Comparator::Equal, tested, candidate, item))
            }
            Self::Exists(path) => resolve_path(path, item).is_some(),
            Self::NotExists(path) => resolve_path(path, item).is_none(),
            Self::Type(tested, code) => tested.resolve(item).is_some_and(|value| value.type_code() == code),
            Self::BeginsWith(whole, start) => match (whole.resolve(item), start.resolve(item)) {
                (Some(whole), Some(start)) => begins_with(&whole, &start),
                _ => false,
            },
            Self::Contains(whole, part) => match (whole.resolve(item), part.resolve(item)) {
                (Some(whole), Some(part)) => contains(&whole, &part),
                _ => false,
            },
        }
    }

    /// Calls `visit` with every path of the condition.
    pub fn paths<'a>(&'a self, visit: &mut dyn FnMut(&'a Path)) {
        let operand = |operand: &'a Operand, visit: &mut dyn FnMut(&'a Path)| {
            let mut inner = operand;
            while let Operand::Size(next) = inner {
                inner = next;
            }
            if let Operand::Path(path) = inner {
                visit(path);
            }
        };
        match self {
            Self::And(a, b) | Self::Or(a, b) => {
                a.paths(visit);
                b.paths(visit);
            }
            Self::Not(inner) => inner.paths(visit),
            Self::Compare(_, a, b) | Self::BeginsWith(a, b) | Self::Contains(a, b) => {
                operand(a, visit);
                operand(b, visit);
            }
            Self::Between(a, b, c) => [a, b, c].into_iter().for_each(|o| operand(o, visit)),
            Self::In(tested, candidates) => {
                operand(tested, visit);
                candidates.iter().for_each(|o| operand(o, visit));
            }
            Self::Exists(path) | Self::NotExists(path) => visit(path),
            Self::Type(tested, _) => operand(tested, visit),
        }
    }
}

fn compare(comparator: Comparator, a: &Operand, b: &Operand, item: &dyn Attributes) -> bool {
    let (Some(a), Some(b)) = (a.resolve(item), b.resolve(item)) else {
        return comparator == Comparator::NotEqual;
    };
    match comparator {
        Comparator::Equal => a == b,
        Comparator::NotEqual => a != b,
        _ => scalar_order(&a, &b).is_some_and(|order| comparator.accepts(order)),
    }
}

fn begins_with(whole: &AttributeValue, start: &AttributeValue) -> bool {
    match (whole, start) {
        (AttributeValue::S(whole), AttributeValue::S(start)) => whole.starts_with(start.as_str()),
        (AttributeValue::B(whole), AttributeValue::B(start)) => whole.starts_with(start),
        _ => false,
    }
}

fn contains(whole: &AttributeValue, part: &AttributeValue) -> bool {
    match (whole, part) {
        (AttributeValue::S(whole), AttributeValue::S(part)) => whole.contains(part.as_str()),
        (AttributeValue::B(whole), AttributeValue::B(part)) => {
            part.is_empty() || whole.windows(part.len()).any(|window| window == part)
        }
        (AttributeValue::Ss(set), AttributeValue::S(part)) => set.contains(part),
        (AttributeValue::Ns(set), AttributeValue::N(part)) => set.contains(part),
        (AttributeValue::Bs(set), AttributeValue::B(part)) => set.contains(part),
        (AttributeValue::L(list), part) => list.contains(part),
        _ => false,
    }
}
