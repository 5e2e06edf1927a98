//! Conditions and filters: binding with the rules of each operator, and evaluation.

use std::cmp::Ordering;

use headwater_types::AttributeValue;

use crate::bind::Substitutions;
use crate::error::{Error, Kind};
use crate::operand::{Attributes, Operand, printed, resolve_path};
use crate::parser::Parser;
use crate::path::Path;
use crate::rules::{Mentions, needs_path, wrong_count, wrong_type};
use crate::tree::{RawCondition, RawOperand};

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
    /// What lies there has this type code.
    Type(Path, String),
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
    /// Errors: in the service's order: syntax, redundant parentheses, functions, reserved words, undefined names and
    /// values, then the rules of each operator.
    pub fn parse(kind: Kind, text: &str, substitutions: &mut Substitutions) -> Result<Self, Error> {
        let parsed = Parser::new(kind, text)?.condition()?;
        if parsed.redundant_parentheses {
            return Err(Error::in_expression(kind, "The expression has redundant parentheses;"));
        }
        let mentions = Mentions::of_condition(&parsed.condition);
        mentions.check_condition_functions(kind)?;
        mentions.check_reserved(kind)?;
        mentions.check_defined(kind, substitutions)?;
        Binder { kind, substitutions }.condition(&parsed.condition)
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
            Self::Type(path, code) => resolve_path(path, item).is_some_and(|value| value.type_code() == code),
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
            Self::Exists(path) | Self::NotExists(path) | Self::Type(path, _) => visit(path),
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

/// Binds a raw condition whose functions, words, names and values were checked.
pub(crate) struct Binder<'s> {
    pub kind: Kind,
    pub substitutions: &'s Substitutions,
}

const TYPE_CODES: [&str; 10] = ["B", "NULL", "SS", "BOOL", "L", "BS", "N", "NS", "S", "M"];

impl Binder<'_> {
    pub(crate) fn condition(&self, raw: &RawCondition) -> Result<Condition, Error> {
        Ok(match raw {
            RawCondition::And(a, b) => Condition::And(Box::new(self.condition(a)?), Box::new(self.condition(b)?)),
            RawCondition::Or(a, b) => Condition::Or(Box::new(self.condition(a)?), Box::new(self.condition(b)?)),
            RawCondition::Not(inner) => Condition::Not(Box::new(self.condition(inner)?)),
            RawCondition::Compare(text, a, b) => self.compare(text, a, b)?,
            RawCondition::Between(tested, lower, upper) => self.between(tested, lower, upper)?,
            RawCondition::In(tested, candidates) => {
                let tested = self.operand(tested)?;
                let candidates = candidates.iter().map(|c| self.operand(c)).collect::<Result<Vec<_>, _>>()?;
                // The documented limit is 100 operands, the tested one included.
                if candidates.len() > 99 {
                    return Err(wrong_count(self.kind, "IN", candidates.len() + 1));
                }
                for candidate in &candidates {
                    self.distinct("IN", &tested, candidate)?;
                }
                Condition::In(tested, candidates)
            }
            RawCondition::Function { name, arguments } => self.function(name, arguments)?,
        })
    }

    fn compare(&self, text: &str, a: &RawOperand, b: &RawOperand) -> Result<Condition, Error> {
        let (a, b) = (self.operand(a)?, self.operand(b)?);
        self.distinct(text, &a, &b)?;
        let comparator = Comparator::parse(text);
        if !matches!(comparator, Comparator::Equal | Comparator::NotEqual) {
            [&a, &b].into_iter().try_for_each(|operand| self.ordered(text, operand))?;
        }
        Ok(Condition::Compare(comparator, a, b))
    }

    fn between(&self, tested: &RawOperand, lower: &RawOperand, upper: &RawOperand) -> Result<Condition, Error> {
        let (tested, lower, upper) = (self.operand(tested)?, self.operand(lower)?, self.operand(upper)?);
        self.distinct("BETWEEN", &tested, &lower)?;
        self.distinct("BETWEEN", &tested, &upper)?;
        [&tested, &lower, &upper].into_iter().try_for_each(|operand| self.ordered("BETWEEN", operand))?;
        if let (Operand::Value(low), Operand::Value(high)) = (&lower, &upper) {
            check_bounds(self.kind, low, high)?;
        }
        Ok(Condition::Between(tested, lower, upper))
    }

    /// The first operand may not be written again as another.
    fn distinct(&self, operator: &str, first: &Operand, other: &Operand) -> Result<(), Error> {
        match (first, other) {
            (Operand::Path(a), Operand::Path(b)) if a == b => {
                let text =
                    "The first operand must be distinct from the remaining operands for this operator or function;";
                Err(Error::in_expression(self.kind, format!("{text} operator: {operator}, first operand: {a}")))
            }
            _ => Ok(()),
        }
    }

    /// A value of the request has a type with an order.
    fn ordered(&self, operator: &str, operand: &Operand) -> Result<(), Error> {
        match operand {
            Operand::Value(AttributeValue::S(_) | AttributeValue::N(_) | AttributeValue::B(_)) => Ok(()),
            Operand::Value(value) => Err(wrong_type(self.kind, operator, value.type_code())),
            Operand::Path(_) | Operand::Size(_) => Ok(()),
        }
    }

    pub(crate) fn operand(&self, raw: &RawOperand) -> Result<Operand, Error> {
        match raw {
            RawOperand::Path(path) => Ok(Operand::Path(self.substitutions.path(self.kind, path)?)),
            RawOperand::Value(value) => Ok(Operand::Value(self.substitutions.value(value))),
            RawOperand::Function { name, arguments } => {
                let [argument] = arguments.as_slice() else {
                    return Err(wrong_count(self.kind, name, arguments.len()));
                };
                let inner = self.operand(argument)?;
                match &inner {
                    Operand::Value(v @ (AttributeValue::N(_) | AttributeValue::Bool(_) | AttributeValue::Null)) => {
                        Err(wrong_type(self.kind, name, v.type_code()))
                    }
                    // size(size(a)) is the size of a number.
                    Operand::Size(_) => Err(wrong_type(self.kind, name, "N")),
                    Operand::Value(_) | Operand::Path(_) => Ok(Operand::Size(Box::new(inner))),
                }
            }
        }
    }

    fn function(&self, name: &str, arguments: &[RawOperand]) -> Result<Condition, Error> {
        let wanted = if name.starts_with("attribute_") && name != "attribute_type" { 1 } else { 2 };
        if arguments.len() != wanted {
            return Err(wrong_count(self.kind, name, arguments.len()));
        }
        let first = self.operand(&arguments[0])?;
        let second = arguments.get(1).map(|argument| self.operand(argument)).transpose()?;
        if let Some(second) = &second {
            self.distinct(name, &first, second)?;
        }
        match (name, second) {
            ("attribute_exists", None) => Ok(Condition::Exists(self.path_only(name, first)?)),
            ("attribute_not_exists", None) => Ok(Condition::NotExists(self.path_only(name, first)?)),
            ("attribute_type", Some(second)) => self.attribute_type(name, first, second),
            ("begins_with", Some(second)) => {
                for operand in [&first, &second] {
                    match operand {
                        Operand::Value(AttributeValue::S(_) | AttributeValue::B(_)) | Operand::Path(_) => {}
                        Operand::Value(value) => return Err(wrong_type(self.kind, name, value.type_code())),
                        Operand::Size(_) => return Err(wrong_type(self.kind, name, "N")),
                    }
                }
                Ok(Condition::BeginsWith(first, second))
            }
            (_, Some(second)) => Ok(Condition::Contains(first, second)),
            (_, None) => Err(wrong_count(self.kind, name, arguments.len())),
        }
    }

    fn path_only(&self, function: &str, operand: Operand) -> Result<Path, Error> {
        match operand {
            Operand::Path(path) => Ok(path),
            Operand::Value(_) | Operand::Size(_) => Err(needs_path(self.kind, function)),
        }
    }

    fn attribute_type(&self, name: &str, first: Operand, second: Operand) -> Result<Condition, Error> {
        let path = self.path_only(name, first)?;
        match second {
            Operand::Value(AttributeValue::S(code)) if TYPE_CODES.contains(&code.as_str()) => {
                Ok(Condition::Type(path, code))
            }
            Operand::Value(AttributeValue::S(code)) => {
                let valid = TYPE_CODES.join(",");
                let text = format!("Invalid attribute type name found; type: {code}, valid types: {{{valid}}}");
                Err(Error::in_expression(self.kind, text))
            }
            Operand::Value(value) => Err(wrong_type(self.kind, name, value.type_code())),
            Operand::Path(_) => Err(wrong_type(self.kind, name, "{NS,SS,L,BS,N,M,B,BOOL,NULL,S}")),
            Operand::Size(_) => Err(wrong_type(self.kind, name, "N")),
        }
    }
}

/// The two given bounds of a BETWEEN have one type and the right order.
pub(crate) fn check_bounds(kind: Kind, low: &AttributeValue, high: &AttributeValue) -> Result<(), Error> {
    let bounds = format!(
        "lower bound operand: AttributeValue: {}, upper bound operand: AttributeValue: {}",
        printed(low),
        printed(high)
    );
    let text = match scalar_order(low, high) {
        None => "The BETWEEN operator requires same data type for lower and upper bounds;",
        Some(Ordering::Greater) => {
            "The BETWEEN operator requires upper bound to be greater than or equal to lower bound;"
        }
        Some(Ordering::Less | Ordering::Equal) => return Ok(()),
    };
    Err(Error::in_expression(kind, format!("{text} {bounds}")))
}
