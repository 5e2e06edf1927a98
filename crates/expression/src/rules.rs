//! Static rules that hold for every kind: function names, reserved words, undefined names and values. Their order, and
//! what follows them, depends on the kind and stands beside it.

use crate::bind::Substitutions;
use crate::error::{Error, Kind};
use crate::reserved::is_reserved;
use crate::tree::{RawAction, RawCondition, RawElement, RawOperand, RawPath, RawUpdate};

/// Functions of conditions with their number of operands.
const CONDITION_FUNCTIONS: [(&str, usize); 6] = [
    ("attribute_exists", 1),
    ("attribute_not_exists", 1),
    ("attribute_type", 2),
    ("begins_with", 2),
    ("contains", 2),
    ("size", 1),
];

/// Functions of updates with their number of operands.
const UPDATE_FUNCTIONS: [(&str, usize); 2] = [("if_not_exists", 2), ("list_append", 2)];

/// What an expression mentions, in order of appearance.
#[derive(Default)]
pub struct Mentions<'a> {
    mentions: Vec<Mention<'a>>,
    functions: Vec<Call<'a>>,
}

enum Mention<'a> {
    Path(&'a RawPath),
    Value(&'a str),
}

struct Call<'a> {
    name: &'a str,
    operands: usize,
    /// It stands for a condition, not for a value.
    is_condition: bool,
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
                    mentions.mentions.push(Mention::Path(path));
                    mentions.operand(&value.left);
                    if let Some((_, right)) = &value.right {
                        mentions.operand(right);
                    }
                }
                RawAction::Remove(path) => mentions.mentions.push(Mention::Path(path)),
                RawAction::Add(path, operand) | RawAction::Delete(path, operand) => {
                    mentions.mentions.push(Mention::Path(path));
                    mentions.operand(operand);
                }
            }
        }
        mentions
    }

    pub fn of_paths(paths: &'a [RawPath]) -> Self {
        Self { mentions: paths.iter().map(Mention::Path).collect(), functions: Vec::new() }
    }

    fn condition(&mut self, condition: &'a RawCondition) {
        match condition {
            RawCondition::And(a, b) | RawCondition::Or(a, b) => {
                self.condition(a);
                self.condition(b);
            }
            RawCondition::Not(inner) => self.condition(inner),
            RawCondition::Compare(_, left, right) => {
                self.operand(left);
                self.operand(right);
            }
            RawCondition::Between(tested, lower, upper) => {
                [tested, lower, upper].into_iter().for_each(|operand| self.operand(operand));
            }
            RawCondition::In(tested, candidates) => {
                self.operand(tested);
                candidates.iter().for_each(|operand| self.operand(operand));
            }
            RawCondition::Function { name, arguments } => self.call(name, arguments, true),
        }
    }

    fn operand(&mut self, operand: &'a RawOperand) {
        match operand {
            RawOperand::Path(path) => self.mentions.push(Mention::Path(path)),
            RawOperand::Value(value) => self.mentions.push(Mention::Value(value)),
            RawOperand::Function { name, arguments } => self.call(name, arguments, false),
        }
    }

    /// A function comes behind its operands: inner calls are judged first.
    fn call(&mut self, name: &'a str, arguments: &'a [RawOperand], is_condition: bool) {
        arguments.iter().for_each(|operand| self.operand(operand));
        self.functions.push(Call { name, operands: arguments.len(), is_condition });
    }

    /// Functions exist, and each stands where it may: only `size` has a value within a condition, and only it is none.
    pub fn check_condition_functions(&self, kind: Kind) -> Result<(), Error> {
        self.check_known(kind)?;
        let misused = self.functions.iter().find(|call| {
            UPDATE_FUNCTIONS.iter().any(|(name, _)| *name == call.name) || (call.name == "size") == call.is_condition
        });
        misused.map_or(Ok(()), |call| Err(misuse(kind, call.name)))
    }

    /// Functions exist and are ones of updates.
    pub fn check_update_functions(&self, kind: Kind) -> Result<(), Error> {
        self.check_known(kind)?;
        let misused = self.functions.iter().find(|call| CONDITION_FUNCTIONS.iter().any(|(name, _)| *name == call.name));
        misused.map_or(Ok(()), |call| Err(misuse(kind, call.name)))
    }

    fn check_known(&self, kind: Kind) -> Result<(), Error> {
        match self.functions.iter().find(|call| operand_count(call.name).is_none()) {
            Some(call) => {
                Err(Error::in_expression(kind, format_args!("Invalid function name; function: {}", call.name)))
            }
            None => Ok(()),
        }
    }

    /// Every function has as many operands as it takes.
    pub fn check_operand_counts(&self, kind: Kind) -> Result<(), Error> {
        match self.functions.iter().find(|call| operand_count(call.name) != Some(call.operands)) {
            Some(call) => Err(wrong_count(kind, call.name, call.operands)),
            None => Ok(()),
        }
    }

    /// No reserved word stands bare.
    pub fn check_reserved(&self, kind: Kind) -> Result<(), Error> {
        for element in self.mentions.iter().flat_map(Mention::elements) {
            if let RawElement::Name(name) = element
                && is_reserved(name)
            {
                let text = format_args!("Attribute name is a reserved keyword; reserved keyword: {name}");
                return Err(Error::in_expression(kind, text));
            }
        }
        Ok(())
    }

    /// Names and values are defined, whichever comes first being judged first; marks them used.
    pub fn check_defined(&self, kind: Kind, substitutions: &mut Substitutions) -> Result<(), Error> {
        self.mentions.iter().try_for_each(|mention| {
            mention.check_names(kind, substitutions)?;
            mention.check_value(kind, substitutions)
        })
    }

    /// All names, then all values, are defined; marks them used.
    pub fn check_names_then_values(&self, kind: Kind, substitutions: &mut Substitutions) -> Result<(), Error> {
        self.mentions.iter().try_for_each(|mention| mention.check_names(kind, substitutions))?;
        self.mentions.iter().try_for_each(|mention| mention.check_value(kind, substitutions))
    }
}

impl<'a> Mention<'a> {
    fn elements(&self) -> &'a [RawElement] {
        match self {
            Self::Path(path) => path,
            Self::Value(_) => &[],
        }
    }

    fn check_names(&self, kind: Kind, substitutions: &mut Substitutions) -> Result<(), Error> {
        self.elements().iter().try_for_each(|element| match element {
            RawElement::Ref(name) => substitutions.has_name(kind, name),
            RawElement::Name(_) | RawElement::Index(_) => Ok(()),
        })
    }

    fn check_value(&self, kind: Kind, substitutions: &mut Substitutions) -> Result<(), Error> {
        match self {
            Self::Value(value) => substitutions.has_value(kind, value),
            Self::Path(_) => Ok(()),
        }
    }
}

fn operand_count(function: &str) -> Option<usize> {
    let mut all = CONDITION_FUNCTIONS.iter().chain(&UPDATE_FUNCTIONS);
    all.find(|(name, _)| *name == function).map(|(_, count)| *count)
}

/// `The function is not allowed to be used this way in an expression`.
pub fn misuse(kind: Kind, function: &str) -> Error {
    let text = "The function is not allowed to be used this way in an expression; function:";
    Error::in_expression(kind, format_args!("{text} {function}"))
}

/// `Incorrect number of operands for operator or function`.
pub fn wrong_count(kind: Kind, function: &str, count: usize) -> Error {
    let text = "Incorrect number of operands for operator or function; operator or function:";
    Error::in_expression(kind, format_args!("{text} {function}, number of operands: {count}"))
}

/// `Incorrect operand type for operator or function`.
pub fn wrong_type(kind: Kind, function: &str, type_code: &str) -> Error {
    let text = "Incorrect operand type for operator or function; operator or function:";
    Error::in_expression(kind, format_args!("{text} {function}, operand type: {type_code}"))
}

/// `Operator or function requires a document path`.
pub fn needs_path(kind: Kind, function: &str) -> Error {
    let text = "Operator or function requires a document path; operator or function:";
    Error::in_expression(kind, format_args!("{text} {function}"))
}
