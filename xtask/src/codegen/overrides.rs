//! `model-overrides.toml`: where the live service differs from its model, line by line with the source.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::Api;
use super::model::{HttpError, Model, Shape};

/// All overrides, checked for a source each.
pub struct Overrides(Vec<Entry>);

/// What overrides say beyond constraints: shapes that have a hand-written Rust type.
pub type HandTypes = BTreeMap<String, String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "override")]
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// Module names of the APIs it holds for.
    apis: Vec<String>,
    /// A shape …
    shape: Option<String>,
    /// … or members, `Structure.Member`; `*.Member` with `of` means every member of that name and shape.
    #[serde(default)]
    members: Vec<String>,
    of: Option<String>,
    /// What the live service does not check by model: `min`, `max`, `pattern`, `enum`, `required`.
    #[serde(default)]
    drop: Vec<String>,
    min: Option<i64>,
    max: Option<i64>,
    pattern: Option<String>,
    required: Option<bool>,
    /// The order in which the live service lists an enum's values.
    enum_order: Option<Vec<String>>,
    /// The order in which the live service tells of a structure's members; those left out follow in the model's order.
    order: Option<Vec<String>>,
    /// A text that begins with `arn:` is no name: pattern and lengths do not hold for it.
    #[serde(default)]
    or_arn: bool,
    /// The ARN of a table's stream may stand here, which the model's pattern does not know.
    #[serde(default)]
    or_table_stream: bool,
    /// Missing, the table's name is refused before anything else, in words of its own.
    #[serde(default)]
    table_name: bool,
    /// Hand-written Rust type in `headwater_api`.
    rust: Option<String>,
    /// HTTP status of an error.
    status: Option<u16>,
    source: String,
}

/// Reads and checks the file.
pub fn read(path: &Path) -> Result<Overrides> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let file: File = toml::from_str(&text).with_context(|| format!("parse {}", path.display()))?;
    for entry in &file.entries {
        if entry.source.trim().len() < 10 {
            bail!("override of {} has no source", entry.target());
        }
        if entry.shape.is_some() != entry.members.is_empty() {
            bail!("an override names a shape or members: {}", entry.target());
        }
    }
    Ok(Overrides(file.entries))
}

impl Overrides {
    /// Changes the model of one API; fails on an entry that names nothing.
    pub fn apply(&self, api: Api, model: &mut Model) -> Result<HandTypes> {
        let mut hand_types = HandTypes::new();
        for entry in self.0.iter().filter(|entry| entry.apis.iter().any(|name| name == api.module)) {
            if let Some(name) = &entry.shape {
                entry.apply_to_shape(name, model, &mut hand_types)?;
            }
            for path in &entry.members {
                entry.apply_to_members(path, model)?;
            }
        }
        Ok(hand_types)
    }
}

impl Entry {
    fn target(&self) -> &str {
        self.shape.as_deref().or(self.members.first().map(String::as_str)).unwrap_or("?")
    }

    fn apply_to_shape(&self, name: &str, model: &mut Model, hand_types: &mut HandTypes) -> Result<()> {
        let shape = model.shapes.get_mut(name).with_context(|| format!("override of {name}, which no model has"))?;
        self.constrain(shape)?;
        if let Some(order) = &self.order {
            if let Some(unknown) = order.iter().find(|member| shape.members.get(member).is_none()) {
                bail!("{name} has no member {unknown}");
            }
            let place = |member: &String| order.iter().position(|name| name == member).unwrap_or(order.len());
            shape.members.0.sort_by_key(|(member, _)| place(member));
        }
        if let Some(status) = self.status {
            shape.error = Some(HttpError { http_status_code: Some(status) });
        }
        if let Some(rust) = &self.rust {
            hand_types.insert(name.to_owned(), rust.clone());
        }
        Ok(())
    }

    /// Gives the members a shape of their own, so that other uses of the old one keep their constraints.
    fn apply_to_members(&self, path: &str, model: &mut Model) -> Result<()> {
        let (structure, member) = path.split_once('.').context("a member is written Structure.Member")?;
        let mut own = BTreeMap::new();
        let mut applied = 0;
        for (name, shape) in &mut model.shapes.0 {
            if structure != "*" && structure != name {
                continue;
            }
            let Some(reference) = shape.members.get_mut(member) else { continue };
            if self.of.as_ref().is_some_and(|of| *of != reference.shape) {
                continue;
            }
            applied += 1;
            if self.table_name {
                shape.table_name = Some(member.to_owned());
            }
            match self.required {
                Some(true) if !shape.required.iter().any(|r| r == member) => shape.required.push(member.to_owned()),
                Some(false) => shape.required.retain(|r| r != member),
                Some(true) | None => {}
            }
            if self.drop.iter().any(|what| what == "required") {
                shape.required.retain(|r| r != member);
            }
            if self.changes_constraints() {
                let renamed = if structure == "*" {
                    format!("{member}OrArn{}", reference.shape)
                } else {
                    format!("{structure}{member}")
                };
                own.insert(renamed.clone(), reference.shape.clone());
                reference.shape = renamed;
            }
        }
        if applied == 0 {
            bail!("override of {path} names nothing");
        }
        for (renamed, original) in own {
            let mut shape = model.shapes.get(&original).context("a member's shape exists")?.clone();
            self.constrain(&mut shape)?;
            model.shapes.0.push((renamed, shape));
        }
        Ok(())
    }

    fn changes_constraints(&self) -> bool {
        self.or_arn
            || self.min.is_some()
            || self.max.is_some()
            || self.pattern.is_some()
            || self.drop.iter().any(|what| what != "required")
    }

    fn constrain(&self, shape: &mut Shape) -> Result<()> {
        for what in &self.drop {
            match what.as_str() {
                "min" => shape.min = None,
                "max" => shape.max = None,
                "pattern" => shape.pattern = None,
                "enum" => shape.values.clear(),
                "required" => {}
                other => bail!("override of {} drops {other}, which is no constraint", self.target()),
            }
        }
        shape.or_arn |= self.or_arn;
        shape.or_table_stream |= self.or_table_stream;
        shape.min = self.min.or(shape.min);
        shape.max = self.max.or(shape.max);
        shape.pattern = self.pattern.clone().or_else(|| shape.pattern.take());
        if let Some(order) = &self.enum_order {
            let (mut ours, mut theirs) = (order.clone(), shape.values.clone());
            ours.sort();
            theirs.sort();
            if ours != theirs {
                bail!("enum_order of {} does not list exactly the model's values {:?}", self.target(), shape.values);
            }
            shape.values.clone_from(order);
        }
        Ok(())
    }
}
