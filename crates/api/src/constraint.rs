//! The walker: JSON types of a whole input first, then every constraint of its model.
//!
//! Order of what is told: the first wrong type alone (order of the body); else all violations together, at most ten, in
//! the order of the model's members (or, where it was observed, of the service's own: `order` in `model-overrides.toml`),
//! depth first; for one value pattern, least, greatest, enum.
//! Source: texts as in dynalite's and kinesalite's validations and tests; each line of the overrides names its own.

mod rules;
mod texts;
mod types;

use crate::api::Api;
use crate::document::{Document, find};
use crate::error::Error;
use crate::schema::{Kind, Member, Shape};

/// The service lists no more violations than this.
const VIOLATIONS_MAX: usize = 10;

/// Checks a whole input and makes it ready for decoding: blobs become bytes, timestamps moments, decimals integers.
///
/// Errors: SerializationException for the first value of a wrong type; ValidationException listing broken constraints.
/// Order:  see the module.
pub fn check(api: Api, shape: &'static Shape, document: &mut Document<'_>) -> Result<(), Error> {
    types::check(api, shape, document)?;
    table_name(shape, document)?;
    let mut walk = Walk { path: Vec::new(), violations: Vec::new() };
    walk.value(document, shape);
    let count = walk.violations.len();
    if count == 0 {
        return Ok(());
    }
    let plural = if count == 1 { "" } else { "s" };
    Err(Error::validation(format!("{count} validation error{plural} detected: {}", walk.violations.join("; "))))
}

/// The one check that comes before the collected ones.
/// Source: dynalite's validations (createTable); see `table_name` in `model-overrides.toml`.
fn table_name(shape: &'static Shape, document: &Document<'_>) -> Result<(), Error> {
    let Kind::Structure(members) = shape.kind else { return Ok(()) };
    let Some(member) = members.iter().find(|member| member.table_name) else { return Ok(()) };
    match document.member(member.name) {
        None => Err(Error::validation("The parameter 'TableName' is required but was not present in the request")),
        Some(_) => Ok(()),
    }
}

/// One step from an input to a value in it.
enum Step<'d> {
    Member(&'static str),
    Element(usize),
    Entry(&'d str),
}

struct Walk<'d> {
    path: Vec<Step<'d>>,
    violations: Vec<String>,
}

impl<'d> Walk<'d> {
    fn value(&mut self, value: &'d Document<'d>, shape: &'static Shape) {
        if !shape.constrained || self.violations.len() >= VIOLATIONS_MAX {
            return;
        }
        match (shape.kind, value) {
            (Kind::Structure(members), Document::Map(entries)) => {
                for member in members.iter().filter(|member| member.required || member.shape.constrained) {
                    self.member(find(entries, member.name), member);
                }
            }
            (Kind::List(element), Document::List(elements)) => {
                self.own(value, shape);
                self.elements(value, elements, element);
            }
            (Kind::Map(key, inner), Document::Map(entries)) => {
                self.own(value, shape);
                if entries.iter().any(|(name, _)| !rules::fit_text(key, name)) {
                    self.violate(
                        value,
                        shape,
                        &format!("Map keys must satisfy constraint: [{}]", rules::all(key).join(", ")),
                    );
                }
                if is_scalar(inner) && entries.iter().any(|(_, value)| !rules::fit(inner, value)) {
                    let rules = rules::all(inner).join(", ");
                    self.violate(value, shape, &format!("Map value must satisfy constraint: [{rules}]"));
                }
                for (name, value) in entries {
                    self.step(Step::Entry(name), value, inner);
                }
            }
            // Attribute values are judged by hand, in `attribute_value`.
            (Kind::AttributeValue(_), _) => {}
            _ => self.own(value, shape),
        }
    }

    fn member(&mut self, value: Option<&'d Document<'d>>, member: &'static Member) {
        match value {
            Some(value) if member.shape.constrained => {
                self.path.push(Step::Member(member.name));
                self.value(value, member.shape);
                self.path.pop();
            }
            None if member.required => {
                self.path.push(Step::Member(member.name));
                self.null();
                self.path.pop();
            }
            Some(_) | None => {}
        }
    }

    /// Scalars of a list are judged together, at the list; structures each for itself.
    fn elements(&mut self, list: &'d Document<'d>, elements: &'d [Document<'d>], shape: &'static Shape) {
        if is_scalar(shape) && elements.iter().any(|element| !rules::fit(shape, element)) {
            let rules = rules::all(shape).join(", ");
            self.violate(list, shape, &format!("Member must satisfy constraint: [{rules}]"));
        }
        for (index, element) in elements.iter().enumerate() {
            self.step(Step::Element(index), element, shape);
        }
    }

    fn step(&mut self, step: Step<'d>, value: &'d Document<'d>, shape: &'static Shape) {
        if matches!(shape.kind, Kind::AttributeValue(_)) {
            return;
        }
        self.path.push(step);
        match value {
            Document::Null => self.null(),
            _ if is_scalar(shape) => {}
            _ => self.value(value, shape),
        }
        self.path.pop();
    }

    /// The constraints of the value itself, each a violation of its own.
    fn own(&mut self, value: &'d Document<'d>, shape: &'static Shape) {
        if !rules::fit(shape, value) {
            for rule in rules::broken(shape, value) {
                self.violate(value, shape, &rule);
            }
        }
    }

    fn violate(&mut self, value: &Document<'_>, shape: &'static Shape, rule: &str) {
        let shown = texts::value(value, shape);
        self.push(&shown, rule);
    }

    fn null(&mut self) {
        self.push(" null", "Member must not be null");
    }

    fn push(&mut self, shown: &str, rule: &str) {
        if self.violations.len() < VIOLATIONS_MAX {
            let path = texts::path(&self.path);
            self.violations.push(format!("Value{shown} at '{path}' failed to satisfy constraint: {rule}"));
        }
    }
}

fn is_scalar(shape: &Shape) -> bool {
    match shape.kind {
        Kind::String | Kind::Boolean | Kind::Integer | Kind::Long | Kind::Double | Kind::Blob | Kind::Timestamp => true,
        Kind::List(_) | Kind::Map(..) | Kind::Structure(_) | Kind::AttributeValue(_) => false,
    }
}

#[cfg(test)]
mod tests;
