//! What is generated for one API: operations, reachable shapes, Rust names and types.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};

use super::Api;
use super::model::{Model, Shape};
use super::overrides::HandTypes;

/// One API, ready to be rendered.
pub struct Plan<'m> {
    pub api: Api,
    pub model: &'m Model,
    pub operations: Vec<Operation>,
    /// Shapes that requests may hold, inputs included.
    pub requested: BTreeSet<String>,
    /// Shapes that answers and errors may hold, outputs included.
    pub answered: BTreeSet<String>,
    /// Requested shapes below which some constraint stands.
    pub constrained: BTreeSet<String>,
    hand_types: HandTypes,
    renamed: BTreeMap<String, String>,
}

/// One operation.
pub struct Operation {
    pub name: String,
    /// Shape of the input.
    pub input: String,
    /// Shape of the output; `None` when the model has none.
    pub output: Option<String>,
    /// Shape of the event stream its output consists of.
    pub events: Option<String>,
}

impl<'m> Plan<'m> {
    /// Plans one API.
    pub fn new(api: Api, model: &'m Model, hand_types: HandTypes) -> Result<Self> {
        let mut plan = Self {
            api,
            model,
            operations: Vec::new(),
            requested: BTreeSet::new(),
            answered: BTreeSet::new(),
            constrained: BTreeSet::new(),
            hand_types,
            renamed: BTreeMap::new(),
        };
        for (name, operation) in &model.operations.0 {
            let input = operation.input.as_ref().with_context(|| format!("{name} has an input"))?.shape.clone();
            let output = operation.output.as_ref().map(|reference| reference.shape.clone());
            plan.reach(&input, true)?;
            let mut events = None;
            if let Some(output) = &output {
                plan.reach(output, false)?;
                let members = &plan.shape(output)?.members.0;
                for (_, member) in members {
                    if plan.shape(&member.shape)?.eventstream {
                        events = Some(member.shape.clone());
                    }
                }
            }
            plan.operations.push(Operation { name: name.clone(), input, output, events });
        }
        for (name, shape) in &model.shapes.0 {
            if shape.exception {
                for (member, reference) in &shape.members.0 {
                    if !member.eq_ignore_ascii_case("message") {
                        plan.reach(&reference.shape, false).with_context(|| format!("error {name}"))?;
                    }
                }
            }
        }
        plan.rename();
        plan.find_constrained()?;
        Ok(plan)
    }

    /// A shape of the model.
    pub fn shape(&self, name: &str) -> Result<&'m Shape> {
        self.model.shapes.get(name).with_context(|| format!("shape {name} is not in the model"))
    }

    /// The Rust type of a structure or enum.
    pub fn type_name<'a>(&'a self, shape: &'a str) -> &'a str {
        self.renamed.get(shape).map_or(shape, String::as_str)
    }

    /// Whether the shape has a hand-written Rust type.
    pub fn by_hand(&self, shape: &str) -> bool {
        self.hand_types.contains_key(shape)
    }

    /// The Rust type of any shape.
    pub fn rust_type(&self, name: &str) -> Result<String> {
        if let Some(hand) = self.hand_types.get(name) {
            return Ok(format!("crate::{hand}"));
        }
        let shape = self.shape(name)?;
        Ok(match shape.kind.as_str() {
            "structure" => self.type_name(name).to_owned(),
            "string" if !shape.values.is_empty() => self.type_name(name).to_owned(),
            "string" => "String".to_owned(),
            "boolean" => "bool".to_owned(),
            "integer" => "i32".to_owned(),
            "long" => "i64".to_owned(),
            "double" | "float" => "f64".to_owned(),
            "timestamp" => "Instant".to_owned(),
            "blob" => "Bytes".to_owned(),
            "list" => format!("Vec<{}>", self.rust_type(&element(shape)?)?),
            "map" => format!("BTreeMap<String, {}>", self.rust_type(&value(shape)?)?),
            other => bail!("shape {name} has the unknown type {other}"),
        })
    }

    /// Whether the Rust type has a default: an enum that must be given has none.
    pub fn has_default(&self, name: &str) -> Result<bool> {
        if self.by_hand(name) {
            return Ok(false);
        }
        let shape = self.shape(name)?;
        match shape.kind.as_str() {
            "string" => Ok(shape.values.is_empty()),
            "structure" => {
                for (member, reference) in &shape.members.0 {
                    if shape.required.contains(member) && !self.has_default(&reference.shape)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            _ => Ok(true),
        }
    }

    fn reach(&mut self, name: &str, requested: bool) -> Result<()> {
        let set = if requested { &mut self.requested } else { &mut self.answered };
        if !set.insert(name.to_owned()) {
            return Ok(());
        }
        let shape = self.shape(name)?;
        for (_, member) in &shape.members.0 {
            if !self.shape(&member.shape)?.exception {
                self.reach(&member.shape, requested)?;
            }
        }
        for part in [&shape.member, &shape.key, &shape.value].into_iter().flatten() {
            self.reach(&part.shape, requested)?;
        }
        Ok(())
    }

    /// A shape that is the input or output of exactly one operation bears that operation's name.
    fn rename(&mut self) {
        let mut uses: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for operation in &self.operations {
            uses.entry(&operation.input).or_default().push(format!("{}Input", operation.name));
            if let Some(output) = &operation.output {
                uses.entry(output).or_default().push(format!("{}Output", operation.name));
            }
        }
        for (shape, names) in uses {
            if let [only] = names.as_slice()
                && only != shape
            {
                self.renamed.insert(shape.to_owned(), only.clone());
            }
        }
    }

    fn find_constrained(&mut self) -> Result<()> {
        loop {
            let mut found = Vec::new();
            for name in self.requested.difference(&self.constrained) {
                let shape = self.shape(name)?;
                let own = shape.min.is_some()
                    || shape.max.is_some()
                    || shape.pattern.is_some()
                    || !shape.values.is_empty()
                    || !shape.required.is_empty();
                let below = shape
                    .members
                    .0
                    .iter()
                    .map(|(_, member)| member)
                    .chain([&shape.member, &shape.key, &shape.value].into_iter().flatten())
                    .any(|reference| self.constrained.contains(&reference.shape));
                // A list or map may hold nulls, which its Rust type cannot; only attribute values judge them by themselves.
                let holds_nulls = matches!(shape.kind.as_str(), "list" | "map");
                if own || below || holds_nulls {
                    found.push(name.clone());
                }
            }
            if found.is_empty() {
                return Ok(());
            }
            self.constrained.extend(found);
        }
    }
}

/// Shape of a list's elements.
pub fn element(shape: &Shape) -> Result<String> {
    Ok(shape.member.as_ref().context("a list has a member shape")?.shape.clone())
}

/// Shape of a map's values.
pub fn value(shape: &Shape) -> Result<String> {
    Ok(shape.value.as_ref().context("a map has a value shape")?.shape.clone())
}
