//! `tables.rs`: what the walker reads; one static table per shape that requests hold.

use std::fmt::Write;

use anyhow::{Result, bail};

use super::model::Shape;
use super::names::shout;
use super::plan::{Plan, element, value};

/// Renders the tables.
pub fn render(plan: &Plan<'_>) -> Result<String> {
    let mut out = String::from("//! Members and constraints of everything a request may hold.\n\n");
    out.push_str("use crate::schema::{Kind, Member, Pattern, Shape};\n\n");
    for name in &plan.requested {
        table(plan, name, plan.shape(name)?, &mut out)?;
    }
    Ok(out)
}

fn table(plan: &Plan<'_>, name: &str, shape: &Shape, out: &mut String) -> Result<()> {
    let kind = match shape.kind.as_str() {
        "string" => "Kind::String".to_owned(),
        "boolean" => "Kind::Boolean".to_owned(),
        "integer" => "Kind::Integer".to_owned(),
        "long" => "Kind::Long".to_owned(),
        "double" | "float" => "Kind::Double".to_owned(),
        "timestamp" => "Kind::Timestamp".to_owned(),
        "blob" => "Kind::Blob".to_owned(),
        "list" => format!("Kind::List(&{})", shout(&element(shape)?)),
        "map" => {
            let key = shape.key.as_ref().map(|key| shout(&key.shape)).unwrap_or_default();
            format!("Kind::Map(&{key}, &{})", shout(&value(shape)?))
        }
        "structure" if plan.by_hand(name) => format!("Kind::AttributeValue({})", members(shape)?),
        "structure" => format!("Kind::Structure({})", members(shape)?),
        other => bail!("shape {name} has the unknown type {other}"),
    };
    write!(out, "pub static {}: Shape = Shape::new({name:?}, {kind})", shout(name))?;
    if let Some(min) = shape.min {
        write!(out, ".min({min})")?;
    }
    if let Some(max) = shape.max {
        write!(out, ".max({max})")?;
    }
    if let Some(pattern) = &shape.pattern {
        write!(out, ".pattern({{ static P: Pattern = Pattern::new({}); &P }})", raw(pattern))?;
    }
    if !shape.values.is_empty() {
        write!(out, ".one_of(&{:?})", shape.values)?;
    }
    if shape.or_arn {
        out.push_str(".or_arn()");
    }
    if shape.or_table_stream {
        out.push_str(".or_table_stream()");
    }
    if shape.sensitive {
        out.push_str(".sensitive()");
    }
    if plan.constrained.contains(name) {
        out.push_str(".constrained()");
    }
    out.push_str(";\n\n");
    Ok(())
}

fn members(shape: &Shape) -> Result<String> {
    let mut out = String::from("&[");
    for (member, reference) in &shape.members.0 {
        let how = match shape.required.contains(member) {
            true if shape.table_name.as_ref() == Some(member) => "table_name",
            true => "required",
            false => "optional",
        };
        write!(out, "Member::{how}({member:?}, &{}), ", shout(&reference.shape))?;
    }
    out.push(']');
    Ok(out)
}

fn raw(pattern: &str) -> String {
    let fence = if pattern.contains('"') { "#" } else { "" };
    if pattern.contains('\\') { format!("r{fence}\"{pattern}\"{fence}") } else { format!("{pattern:?}") }
}
