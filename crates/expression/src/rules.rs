//! Static rules that hold for every kind, in the order in which the service states them: function names, reserved
//! words, undefined names, undefined values. What follows depends on the kind and stands beside it.

use crate::bind::Substitutions;
use crate::error::{Error, Kind};
use crate::reserved::is_reserved;
use crate::tree::{RawAction, RawCondition, RawElement, RawOperand, RawPath, RawUpdate};

/// What an expression mentions, in order of appearance.
#[derive(Default)]
pub struct Mentions<'a> {
    paths: Vec<&'a RawPath>,
    values: Vec<&'a str>,
    functions: Vec<(&'a str, Use)>,
}

/// Where a function call stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Condition,
    Operand,
    /// Within the arguments of another function.
    Nested,
}

impl<'a> Mentions<'a> {
    pub fn of_condition(condition: &'a RawCondition) -> Self {
        let mut mentions = Self::default();
        mentions.condition(condition);
        mentions
    }

    pub fn of_update(update: &'a RawUpdate) -> Self {
        let mut mentions = Self::default();
        for action in &update.actions {
            match action {
                RawAction::Set(path, value) => {
                    mentions.paths.push(path);
                    mentions.operand(&value.left, Use::Operand);
                    if let Some((_, right)) = &value.right {
                        mentions.operand(right, Use::Operand);
                    }
                }
                RawAction::Remove(path) => mentions.paths.push(path),
                RawAction::Add(path, operand) | RawAction::Delete(path, operand) => {
                    mentions.paths.push(path);
                    mentions.operand(operand, Use::Operand);
                }
            }
        }
        mentions
    }

    pub fn of_paths(paths: &'a [RawPath]) -> Self {
        Self { paths: paths.iter().collect(), ..Self::default() }
    }

    fn condition(&mut self, condition: &'a RawCondition) {
        match condition {
            RawCondition::And(a, b) | RawCondition::Or(a, b) => {
                self.condition(a);
                self.condition(b);
            }
            RawCondition::Not(inner) => self.condition(inner),
            RawCondition::Compare(_, left, right) => {
                self.operand(left, Use::Operand);
                self.operand(right, Use::Operand);
            }
            RawCondition::Between(tested, lower, upper) => {
                [tested, lower, upper].into_iter().for_each(|operand| self.operand(operand, Use::Operand));
            }
            RawCondition::In(tested, candidates) => {
                self.operand(tested, Use::Operand);
                candidates.iter().for_each(|operand| self.operand(operand, Use::Operand));
            }
            RawCondition::Function { name, arguments } => {
                self.functions.push((name, Use::Condition));
                arguments.iter().for_each(|operand| self.operand(operand, Use::Nested));
            }
        }
    }

    fn operand(&mut self, operand: &'a RawOperand, place: Use) {
        match operand {
            RawOperand::Path(path) => self.paths.push(path),
            RawOperand::Value(value) => self.values.push(value),
            RawOperand::Function { name, arguments } => {
                self.functions.push((name, place));
                arguments.iter().for_each(|operand| self.operand(operand, Use::Nested));
            }
        }
    }

    /// Functions of conditions: known, and each where it may stand.
    pub fn check_condition_functions(&self, kind: Kind) -> Result<(), Error> {
        const KNOWN: [&str; 6] =
            ["attribute_exists", "attribute_not_exists", "attribute_type", "begins_with", "contains", "size"];
        self.check_known(kind, &KNOWN)?;
        for (name, place) in &self.functions {
            // Only size has a value, and only the others are conditions; size may stand in their arguments.
            let misused = (*name == "size") == (*place == Use::Condition);
            if misused {
                return Err(misuse(kind, name));
            }
        }
        Ok(())
    }

    /// Functions of updates are known.
    pub fn check_known(&self, kind: Kind, known: &[&str]) -> Result<(), Error> {
        match self.functions.iter().find(|(name, _)| !known.contains(name)) {
            Some((name, _)) => Err(Error::in_expression(kind, format!("Invalid function name; function: {name}"))),
            None => Ok(()),
        }
    }

    /// No reserved word stands bare.
    pub fn check_reserved(&self, kind: Kind) -> Result<(), Error> {
        for element in self.paths.iter().flat_map(|path| path.iter()) {
            if let RawElement::Name(name) = element {
                if is_reserved(name) {
                    let text = format!("Attribute name is a reserved keyword; reserved keyword: {name}");
                    return Err(Error::in_expression(kind, text));
                }
            }
        }
        Ok(())
    }

    /// Names, then values, are defined; marks them used.
    pub fn check_defined(&self, kind: Kind, substitutions: &mut Substitutions) -> Result<(), Error> {
        for element in self.paths.iter().flat_map(|path| path.iter()) {
            if let RawElement::Ref(name) = element {
                substitutions.has_name(kind, name)?;
            }
        }
        self.values.iter().try_for_each(|value| substitutions.has_value(kind, value))
    }
}

/// `The function is not allowed to be used this way in an expression`.
pub fn misuse(kind: Kind, function: &str) -> Error {
    let text = "The function is not allowed to be used this way in an expression; function:";
    Error::in_expression(kind, format!("{text} {function}"))
}

/// `Incorrect number of operands for operator or function`.
pub fn wrong_count(kind: Kind, function: &str, count: usize) -> Error {
    let text = "Incorrect number of operands for operator or function; operator or function:";
    Error::in_expression(kind, format!("{text} {function}, number of operands: {count}"))
}

/// `Incorrect operand type for operator or function`.
pub fn wrong_type(kind: Kind, function: &str, type_code: &str) -> Error {
    let text = "Incorrect operand type for operator or function; operator or function:";
    Error::in_expression(kind, format!("{text} {function}, operand type: {type_code}"))
}

/// `Operator or function requires a document path`.
pub fn needs_path(kind: Kind, function: &str) -> Error {
    let text = "Operator or function requires a document path; operator or function:";
    Error::in_expression(kind, format!("{text} {function}"))
}
