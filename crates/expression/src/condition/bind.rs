//! Binding of conditions: the rules of each operator, condition by condition in order of appearance.

use std::cmp::Ordering;

use headwater_types::AttributeValue;

use super::{Comparator, Condition, scalar_order};
use crate::bind::Substitutions;
use crate::error::{Error, Kind};
use crate::operand::{Operand, printed};
use crate::path::Path;
use crate::rules::{Mentions, needs_path, wrong_count, wrong_type};
use crate::tree::{RawCondition, RawOperand};

/// Most candidates of IN. Source: Alternator's test_update_condition_in: 99 pass, as the documented limit of 100 operands
/// includes the tested one.
const IN_CANDIDATES_MAX: usize = 99;

/// The type codes in the order in which the service lists them.
const TYPE_CODES: [&str; 10] = ["B", "NULL", "SS", "BOOL", "L", "BS", "N", "NS", "S", "M"];

/// Binds a raw condition whose functions and words were checked.
pub(super) struct Binder<'s> {
    pub kind: Kind,
    pub substitutions: &'s mut Substitutions,
}

impl Binder<'_> {
    /// Errors: of the first condition that has one: undefined names and values, then numbers of operands, then operands
    /// that are not distinct, then their types.
    pub fn condition(&mut self, raw: &RawCondition) -> Result<Condition, Error> {
        match raw {
            RawCondition::And(a, b) => Ok(Condition::And(Box::new(self.condition(a)?), Box::new(self.condition(b)?))),
            RawCondition::Or(a, b) => Ok(Condition::Or(Box::new(self.condition(a)?), Box::new(self.condition(b)?))),
            RawCondition::Not(inner) => Ok(Condition::Not(Box::new(self.condition(inner)?))),
            simple => {
                let mentions = Mentions::of_condition(simple);
                mentions.check_defined(self.kind, self.substitutions)?;
                mentions.check_operand_counts(self.kind)?;
                self.simple(simple)
            }
        }
    }

    fn simple(&self, raw: &RawCondition) -> Result<Condition, Error> {
        match raw {
            RawCondition::Compare(text, a, b) => self.compare(text, a, b),
            RawCondition::Between(tested, lower, upper) => self.between(tested, lower, upper),
            RawCondition::In(tested, candidates) => self.one_of(tested, candidates),
            RawCondition::Function { name, arguments } => self.function(name, arguments),
            RawCondition::And(..) | RawCondition::Or(..) | RawCondition::Not(_) => {
                unreachable!("conditions of conditions are taken apart before")
            }
        }
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

    fn one_of(&self, tested: &RawOperand, candidates: &[RawOperand]) -> Result<Condition, Error> {
        if candidates.len() > IN_CANDIDATES_MAX {
            return Err(wrong_count(self.kind, "IN", candidates.len() + 1));
        }
        let tested = self.operand(tested)?;
        let candidates = candidates.iter().map(|c| self.operand(c)).collect::<Result<Vec<_>, _>>()?;
        candidates.iter().try_for_each(|candidate| self.distinct("IN", &tested, candidate))?;
        Ok(Condition::In(tested, candidates))
    }

    /// The first operand may not be written again as another.
    fn distinct(&self, operator: &str, first: &Operand, other: &Operand) -> Result<(), Error> {
        match (first, other) {
            (Operand::Path(a), Operand::Path(b)) if a == b => {
                let text =
                    "The first operand must be distinct from the remaining operands for this operator or function;";
                Err(Error::in_expression(self.kind, format_args!("{text} operator: {operator}, first operand: {a}")))
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

    fn operand(&self, raw: &RawOperand) -> Result<Operand, Error> {
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
        let operands = arguments.iter().map(|argument| self.operand(argument)).collect::<Result<Vec<_>, _>>()?;
        if let [first, second] = operands.as_slice() {
            self.distinct(name, first, second)?;
        }
        let mut operands = operands.into_iter();
        match (name, operands.next(), operands.next()) {
            ("attribute_exists", Some(first), None) => Ok(Condition::Exists(self.path_only(name, first)?)),
            ("attribute_not_exists", Some(first), None) => Ok(Condition::NotExists(self.path_only(name, first)?)),
            ("attribute_type", Some(first), Some(second)) => self.attribute_type(name, first, second),
            ("begins_with", Some(first), Some(second)) => {
                self.beginning(name, &first)?;
                self.beginning(name, &second)?;
                Ok(Condition::BeginsWith(first, second))
            }
            ("contains", Some(first), Some(second)) => Ok(Condition::Contains(first, second)),
            _ => Err(wrong_count(self.kind, name, arguments.len())),
        }
    }

    fn path_only(&self, function: &str, operand: Operand) -> Result<Path, Error> {
        match operand {
            Operand::Path(path) => Ok(path),
            Operand::Value(_) | Operand::Size(_) => Err(needs_path(self.kind, function)),
        }
    }

    /// An operand of `begins_with`: a value of the request is a string or a binary.
    fn beginning(&self, name: &str, operand: &Operand) -> Result<(), Error> {
        match operand {
            Operand::Value(AttributeValue::S(_) | AttributeValue::B(_)) | Operand::Path(_) => Ok(()),
            Operand::Value(value) => Err(wrong_type(self.kind, name, value.type_code())),
            Operand::Size(_) => Err(wrong_type(self.kind, name, "N")),
        }
    }

    fn attribute_type(&self, name: &str, tested: Operand, code: Operand) -> Result<Condition, Error> {
        match code {
            Operand::Value(AttributeValue::S(code)) if TYPE_CODES.contains(&code.as_str()) => {
                Ok(Condition::Type(tested, code))
            }
            Operand::Value(AttributeValue::S(code)) => {
                let valid = TYPE_CODES.join(",");
                let text = "Invalid attribute type name found; type:";
                Err(Error::in_expression(self.kind, format_args!("{text} {code}, valid types: {{{valid}}}")))
            }
            Operand::Value(value) => Err(wrong_type(self.kind, name, value.type_code())),
            Operand::Path(_) => Err(wrong_type(self.kind, name, "{NS,SS,L,BS,N,M,B,BOOL,NULL,S}")),
            Operand::Size(_) => Err(wrong_type(self.kind, name, "N")),
        }
    }
}

/// The two given bounds of a BETWEEN have one type and the right order.
fn check_bounds(kind: Kind, low: &AttributeValue, high: &AttributeValue) -> Result<(), Error> {
    let text = match scalar_order(low, high) {
        None => "The BETWEEN operator requires same data type for lower and upper bounds;",
        Some(Ordering::Greater) => {
            "The BETWEEN operator requires upper bound to be greater than or equal to lower bound;"
        }
        Some(Ordering::Less | Ordering::Equal) => return Ok(()),
    };
    let (low, high) = (printed(low), printed(high));
    let bounds =
        format_args!("{text} lower bound operand: AttributeValue: {low}, upper bound operand: AttributeValue: {high}");
    Err(Error::in_expression(kind, bounds))
}
