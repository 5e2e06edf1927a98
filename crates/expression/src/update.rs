//! Updates: binding with the rules of each clause. What they do to an item stands in `apply`.

mod apply;

use headwater_types::AttributeValue;

use crate::bind::Substitutions;
use crate::error::{Error, Kind};
use crate::parser::Parser;
use crate::path::Path;
use crate::projection::{Projection, check_apart};
use crate::rules::{Mentions, misuse, needs_path, wrong_count, wrong_type};
use crate::tree::{RawAction, RawOperand, RawValue};

const KIND: Kind = Kind::Update;

/// A bound update.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Update {
    actions: Vec<Action>,
    /// Made of legacy parameters: a value of a wrong type is refused in other words.
    legacy: bool,
}

/// One action of an update.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// SET.
    Set(Path, Value),
    /// REMOVE.
    Remove(Path),
    /// ADD: a number is added, a set united.
    Add(Path, AttributeValue),
    /// DELETE: members leave a set.
    Delete(Path, AttributeValue),
}

/// The right side of a SET.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// An operand as it is.
    Plain(Term),
    /// A sum.
    Plus(Term, Term),
    /// A difference.
    Minus(Term, Term),
}

/// An operand of a SET.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Term {
    /// What lies at a path; an error when nothing does.
    Path(Path),
    /// A value of the request.
    Value(AttributeValue),
    /// What lies at the path, or else the operand.
    IfNotExists(Path, Box<Term>),
    /// Two lists, one behind the other.
    ListAppend(Box<Term>, Box<Term>),
}

impl Update {
    /// Parses and binds an update.
    ///
    /// Errors: in the service's order: syntax, reserved words, functions, repeated sections, undefined names and values,
    /// overlapping and conflicting paths, operands of ADD and DELETE, operands of functions.
    pub fn parse(text: &str, substitutions: &mut Substitutions) -> Result<Self, Error> {
        let raw = Parser::new(KIND, text)?.update()?;
        let mentions = Mentions::of_update(&raw);
        mentions.check_reserved(KIND)?;
        mentions.check_update_functions(KIND)?;
        if let Some(section) = raw.repeated {
            let text = format!("The \"{section}\" section can only be used once in an update expression;");
            return Err(Error::in_expression(KIND, text));
        }
        mentions.check_names_then_values(KIND, substitutions)?;
        let target = |action: &RawAction| match action {
            RawAction::Set(path, _)
            | RawAction::Remove(path)
            | RawAction::Add(path, _)
            | RawAction::Delete(path, _) => substitutions.path(KIND, path),
        };
        let paths = raw.actions.iter().map(target).collect::<Result<Vec<_>, _>>()?;
        check_apart(KIND, &paths)?;
        check_members(&raw.actions, substitutions)?;
        let actions = raw.actions.iter().zip(paths).map(|(action, path)| {
            Ok(match action {
                RawAction::Set(_, value) => Action::Set(path, bind_value(value, substitutions)?),
                RawAction::Remove(_) => Action::Remove(path),
                RawAction::Add(_, operand) => Action::Add(path, member(operand, substitutions)),
                RawAction::Delete(_, operand) => Action::Delete(path, member(operand, substitutions)),
            })
        });
        Ok(Self { actions: actions.collect::<Result<_, Error>>()?, legacy: false })
    }

    /// An update made of actions whose paths lie apart.
    pub fn of(actions: Vec<Action>) -> Self {
        Self { actions, legacy: false }
    }

    /// An update made of legacy actions.
    pub(crate) fn of_legacy(actions: Vec<Action>) -> Self {
        Self { actions, legacy: true }
    }

    pub(crate) fn is_legacy(&self) -> bool {
        self.legacy
    }

    /// The actions.
    pub fn actions(&self) -> &[Action] {
        &self.actions
    }

    /// The places the update writes, in order of appearance.
    pub fn targets(&self) -> impl Iterator<Item = &Path> {
        self.actions.iter().map(|action| match action {
            Action::Set(path, _) | Action::Remove(path) | Action::Add(path, _) | Action::Delete(path, _) => path,
        })
    }

    /// Visits every path the update names, in order of appearance.
    pub fn paths<'a>(&'a self, visit: &mut dyn FnMut(&'a Path)) {
        for action in &self.actions {
            match action {
                Action::Set(path, value) => {
                    visit(path);
                    value.paths(visit);
                }
                Action::Remove(path) | Action::Add(path, _) | Action::Delete(path, _) => visit(path),
            }
        }
    }

    /// Shows the places the update writes, for UPDATED_OLD (on the old item) and UPDATED_NEW (on the new one).
    pub fn touched(&self) -> Projection {
        Projection::of(self.targets().cloned().collect())
    }

    /// Whether the update makes an item where there is none: it does unless it only takes away.
    pub fn creates_item(&self) -> bool {
        self.actions.iter().any(|action| matches!(action, Action::Set(..) | Action::Add(..)))
    }
}

impl Value {
    fn paths<'a>(&'a self, visit: &mut dyn FnMut(&'a Path)) {
        match self {
            Self::Plain(term) => term.paths(visit),
            Self::Plus(left, right) | Self::Minus(left, right) => {
                left.paths(visit);
                right.paths(visit);
            }
        }
    }
}

impl Term {
    fn paths<'a>(&'a self, visit: &mut dyn FnMut(&'a Path)) {
        match self {
            Self::Path(path) => visit(path),
            Self::Value(_) => {}
            Self::IfNotExists(path, otherwise) => {
                visit(path);
                otherwise.paths(visit);
            }
            Self::ListAppend(first, second) => {
                first.paths(visit);
                second.paths(visit);
            }
        }
    }
}

/// The value behind a placeholder that the parser let through for ADD and DELETE.
fn member(operand: &RawOperand, substitutions: &Substitutions) -> AttributeValue {
    match operand {
        RawOperand::Value(value) => substitutions.value(value),
        RawOperand::Path(_) | RawOperand::Function { .. } => AttributeValue::Null,
    }
}

/// ADD takes a number or a set, DELETE a set.
fn check_members(actions: &[RawAction], substitutions: &Substitutions) -> Result<(), Error> {
    use AttributeValue::{Bs, N, Ns, Ss};
    for action in actions {
        let (operator, operand) = match action {
            RawAction::Add(_, operand) => ("ADD", operand),
            RawAction::Delete(_, operand) => ("DELETE", operand),
            RawAction::Set(..) | RawAction::Remove(_) => continue,
        };
        let value = member(operand, substitutions);
        let fits = matches!(value, Ss(_) | Ns(_) | Bs(_)) || (operator == "ADD" && matches!(value, N(_)));
        if !fits {
            let text = "Incorrect operand type for operator or function; operator:";
            return Err(Error::in_expression(KIND, format!("{text} {operator}, operand type: {}", long_name(&value))));
        }
    }
    Ok(())
}

/// Type names as ADD and DELETE print them.
fn long_name(value: &AttributeValue) -> &'static str {
    match value {
        AttributeValue::S(_) => "STRING",
        AttributeValue::N(_) => "NUMBER",
        AttributeValue::B(_) => "BINARY",
        AttributeValue::Bool(_) => "BOOLEAN",
        AttributeValue::Null => "NULL",
        AttributeValue::Ss(_) => "STRING_SET",
        AttributeValue::Ns(_) => "NUMBER_SET",
        AttributeValue::Bs(_) => "BINARY_SET",
        AttributeValue::L(_) => "LIST",
        AttributeValue::M(_) => "MAP",
    }
}

fn bind_value(raw: &RawValue, substitutions: &Substitutions) -> Result<Value, Error> {
    let left = bind_term(&raw.left, substitutions, false)?;
    let Some((sign, right)) = &raw.right else { return Ok(Value::Plain(left)) };
    let right = bind_term(right, substitutions, false)?;
    let operator = if *sign == '+' { "+" } else { "-" };
    for term in [&left, &right] {
        // Only values are judged here: what a function gives is judged when it is known.
        if let Term::Value(value) = term
            && !matches!(value, AttributeValue::N(_))
        {
            return Err(wrong_type(KIND, operator, value.type_code()));
        }
    }
    Ok(if *sign == '+' { Value::Plus(left, right) } else { Value::Minus(left, right) })
}

fn bind_term(raw: &RawOperand, substitutions: &Substitutions, in_list_append: bool) -> Result<Term, Error> {
    let (name, arguments) = match raw {
        RawOperand::Path(path) => return Ok(Term::Path(substitutions.path(KIND, path)?)),
        RawOperand::Value(value) => return Ok(Term::Value(substitutions.value(value))),
        RawOperand::Function { name, arguments } => (name.as_str(), arguments.as_slice()),
    };
    if in_list_append && name == "list_append" {
        return Err(misuse(KIND, name));
    }
    let [first, second] = arguments else { return Err(wrong_count(KIND, name, arguments.len())) };
    if name == "if_not_exists" {
        let RawOperand::Path(path) = first else { return Err(needs_path(KIND, name)) };
        let path = substitutions.path(KIND, path)?;
        let otherwise = bind_term(second, substitutions, in_list_append)?;
        return Ok(Term::IfNotExists(path, Box::new(otherwise)));
    }
    let (first, second) = (bind_term(first, substitutions, true)?, bind_term(second, substitutions, true)?);
    for term in [&first, &second] {
        if let Term::Value(value) = term
            && !matches!(value, AttributeValue::L(_))
        {
            return Err(wrong_type(KIND, name, value.type_code()));
        }
    }
    Ok(Term::ListAppend(Box::new(first), Box::new(second)))
}
