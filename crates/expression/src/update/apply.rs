//! What an update does to an item: every action reads the item as it was, then all places are written.

use headwater_types::limits::NESTING_LEVELS_MAX;
use headwater_types::{AttributeValue, Item, Number};

use super::{Action, Term, Update, Value};
use crate::error::Error;
use crate::operand::resolve_path;
use crate::path::{Element, Path};

impl Update {
    /// The item after the update.
    ///
    /// Shape:  `old` is the item as stored, or only its key when there was none (`existed` false).
    /// Errors: a missing attribute on a right side, a value of a wrong type, a place whose parent is missing, a sum out
    ///         of range, a value nested too deeply.
    /// Source: "Update expressions", developer guide; Alternator test_update_expression.
    pub fn apply(&self, old: &Item, existed: bool) -> Result<Item, Error> {
        self.applied(old, existed).map_err(|error| {
            let mismatch = self.is_legacy() && error == wrong_operand();
            if mismatch { Error::new("Type mismatch for attribute to update") } else { error }
        })
    }

    fn applied(&self, old: &Item, existed: bool) -> Result<Item, Error> {
        let (mut writes, mut removals) = (Vec::new(), Vec::new());
        for action in self.actions() {
            match action {
                Action::Set(path, value) => writes.push((path, value.evaluate(old)?)),
                Action::Add(path, value) => writes.push((path, add(current(old, path), value)?)),
                Action::Delete(path, value) => match delete(current(old, path), value)? {
                    Deleted::Nothing if existed => parent_exists(old, path)?,
                    Deleted::Nothing => {}
                    Deleted::Some(rest) => writes.push((path, rest)),
                    Deleted::All => removals.push(path),
                },
                Action::Remove(path) if existed => {
                    parent_exists(old, path)?;
                    // An index beyond the end means nothing, even when a SET puts an element there.
                    if current(old, path).is_some() {
                        removals.push(path);
                    }
                }
                Action::Remove(_) => {}
            }
        }
        // Elements beyond a list's end are appended in order of their indexes.
        writes.sort_by_key(|(path, _)| *path);
        let mut new = old.clone();
        for (path, value) in writes {
            set(&mut new, path, value)?;
        }
        // From the back, so that indexes go on meaning the old list.
        removals.sort();
        for path in removals.into_iter().rev() {
            remove(&mut new, path);
        }
        for path in self.targets() {
            if new.get(path.top()).is_some_and(|value| value.depth() >= NESTING_LEVELS_MAX) {
                return Err(Error::new("Nesting Levels have exceeded supported limits"));
            }
        }
        Ok(new)
    }
}

fn invalid_path() -> Error {
    Error::new("The document path provided in the update expression is invalid for update")
}

fn wrong_operand() -> Error {
    Error::new("An operand in the update expression has an incorrect data type")
}

fn overflow() -> Error {
    Error::new("Number overflow. Attempting to store a number with magnitude larger than supported range")
}

fn current<'i>(item: &'i Item, path: &Path) -> Option<&'i AttributeValue> {
    path.within(item.get(path.top())?)
}

impl Value {
    fn evaluate(&self, item: &Item) -> Result<AttributeValue, Error> {
        match self {
            Self::Plain(term) => term.evaluate(item),
            Self::Plus(a, b) => arithmetic(a.evaluate(item)?, b.evaluate(item)?, Number::checked_add),
            Self::Minus(a, b) => arithmetic(a.evaluate(item)?, b.evaluate(item)?, Number::checked_sub),
        }
    }
}

fn arithmetic(
    a: AttributeValue,
    b: AttributeValue,
    operator: impl Fn(&Number, &Number) -> Result<Number, headwater_types::NumberError>,
) -> Result<AttributeValue, Error> {
    match (a, b) {
        (AttributeValue::N(a), AttributeValue::N(b)) => {
            operator(&a, &b).map(AttributeValue::N).map_err(|error| match error {
                headwater_types::NumberError::Underflow => Error::new(
                    "Number underflow. Attempting to store a number with magnitude smaller than supported range",
                ),
                _ => overflow(),
            })
        }
        _ => Err(wrong_operand()),
    }
}

impl Term {
    fn evaluate(&self, item: &Item) -> Result<AttributeValue, Error> {
        match self {
            Self::Value(value) => Ok(value.clone()),
            Self::Path(path) => resolve_path(path, item).map(|found| found.into_owned()).ok_or_else(|| {
                Error::new("The provided expression refers to an attribute that does not exist in the item")
            }),
            Self::IfNotExists(path, otherwise) => match resolve_path(path, item) {
                Some(found) => Ok(found.into_owned()),
                None => otherwise.evaluate(item),
            },
            Self::ListAppend(first, second) => match (first.evaluate(item)?, second.evaluate(item)?) {
                (AttributeValue::L(mut first), AttributeValue::L(second)) => {
                    first.extend(second);
                    Ok(AttributeValue::L(first))
                }
                _ => Err(wrong_operand()),
            },
        }
    }
}

/// ADD: a missing number counts as zero, a missing set as empty.
fn add(current: Option<&AttributeValue>, value: &AttributeValue) -> Result<AttributeValue, Error> {
    use AttributeValue::{Bs, N, Ns, Ss};
    Ok(match (current, value) {
        (None, value) => value.clone(),
        (Some(N(a)), N(_)) => return arithmetic(N(*a), value.clone(), Number::checked_add),
        (Some(Ss(a)), Ss(b)) => Ss(a | b),
        (Some(Ns(a)), Ns(b)) => Ns(a | b),
        (Some(Bs(a)), Bs(b)) => Bs(a | b),
        _ => return Err(wrong_operand()),
    })
}

enum Deleted {
    Nothing,
    Some(AttributeValue),
    All,
}

fn delete(current: Option<&AttributeValue>, value: &AttributeValue) -> Result<Deleted, Error> {
    use AttributeValue::{Bs, Ns, Ss};
    let rest = match (current, value) {
        (None, _) => return Ok(Deleted::Nothing),
        (Some(Ss(a)), Ss(b)) if !a.is_subset(b) => Ss(a - b),
        (Some(Ns(a)), Ns(b)) if !a.is_subset(b) => Ns(a - b),
        (Some(Bs(a)), Bs(b)) if !a.is_subset(b) => Bs(a - b),
        (Some(Ss(_)), Ss(_)) | (Some(Ns(_)), Ns(_)) | (Some(Bs(_)), Bs(_)) => return Ok(Deleted::All),
        _ => return Err(wrong_operand()),
    };
    Ok(Deleted::Some(rest))
}

/// The value that holds a nested place, followed from the item's attribute.
fn parent<'i>(item: &'i mut Item, path: &Path) -> Option<&'i mut AttributeValue> {
    let steps = path.0.get(1..path.0.len().saturating_sub(1))?;
    steps.iter().try_fold(item.get_mut(path.top())?, |value, element| match (element, value) {
        (Element::Name(name), AttributeValue::M(map)) => map.get_mut(name),
        (Element::Index(index), AttributeValue::L(list)) => list.get_mut(*index),
        _ => None,
    })
}

/// A nested place has a parent of the right kind.
fn parent_exists(item: &Item, path: &Path) -> Result<(), Error> {
    let Some((last, above)) = path.0.split_last() else { return Err(invalid_path()) };
    if above.is_empty() {
        return Ok(());
    }
    let above = Path(above.to_vec());
    match (last, current(item, &above)) {
        (Element::Name(_), Some(AttributeValue::M(_))) | (Element::Index(_), Some(AttributeValue::L(_))) => Ok(()),
        _ => Err(invalid_path()),
    }
}

fn set(item: &mut Item, path: &Path, value: AttributeValue) -> Result<(), Error> {
    if path.is_top_level() {
        item.insert(path.top().to_owned(), value);
        return Ok(());
    }
    match (path.0.last(), parent(item, path)) {
        (Some(Element::Name(name)), Some(AttributeValue::M(map))) => {
            map.insert(name.clone(), value);
            Ok(())
        }
        (Some(Element::Index(index)), Some(AttributeValue::L(list))) => {
            match list.get_mut(*index) {
                Some(element) => *element = value,
                None => list.push(value),
            }
            Ok(())
        }
        _ => Err(invalid_path()),
    }
}

fn remove(item: &mut Item, path: &Path) {
    if path.is_top_level() {
        item.remove(path.top());
        return;
    }
    match (path.0.last(), parent(item, path)) {
        (Some(Element::Name(name)), Some(AttributeValue::M(map))) => drop(map.remove(name)),
        (Some(Element::Index(index)), Some(AttributeValue::L(list))) if *index < list.len() => {
            drop(list.remove(*index))
        }
        _ => {}
    }
}
