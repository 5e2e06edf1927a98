//! `shapes.rs`: structures and enums, how they are decoded and encoded.

use std::fmt::Write;

use anyhow::Result;

use super::model::Shape;
use super::names::{shout, snake, variant};
use super::plan::Plan;

/// Renders every structure and enum that requests and answers hold.
pub fn render(plan: &Plan<'_>) -> Result<String> {
    let mut out = String::from("//! Structures and enums.\n\n");
    let holds_blobs = plan.requested.union(&plan.answered).any(|name| {
        // The blob inside an attribute value belongs to a hand-written type.
        plan.shape(name).is_ok_and(|shape| shape.kind == "blob") && name != "BinaryAttributeValue"
    });
    let body = body(plan)?;
    if body.contains("BTreeMap<") {
        out.push_str("use std::collections::BTreeMap;\n\n");
    }
    if holds_blobs {
        out.push_str("use bytes::Bytes;\n\n");
    }
    out.push_str("use crate::decode::{Decode, Input, Members};\nuse crate::document::Document;\n");
    out.push_str(
        "use crate::encode::{Encode, Encoder, structure};\nuse crate::error::Error;\nuse crate::instant::Instant;\n",
    );
    out.push_str("use crate::schema::string_enum;\n\nuse super::tables;\n\n");
    out.push_str(&body);
    Ok(out)
}

fn body(plan: &Plan<'_>) -> Result<String> {
    let mut out = String::new();
    for operation in &plan.operations {
        aliases(plan, operation, &mut out)?;
    }
    for name in plan.requested.union(&plan.answered) {
        let shape = plan.shape(name)?;
        if plan.by_hand(name) || shape.exception {
            continue;
        }
        match shape.kind.as_str() {
            "string" if !shape.values.is_empty() => enumeration(plan, name, shape, &mut out)?,
            "structure" if shape.eventstream => event_stream(plan, name, shape, &mut out)?,
            "structure" => record(plan, name, shape, &mut out)?,
            _ => {}
        }
    }
    Ok(out)
}

/// Operations that share a shape, or have no output, still get an input and an output of their own name.
fn aliases(plan: &Plan<'_>, operation: &super::plan::Operation, out: &mut String) -> Result<()> {
    let input = format!("{}Input", operation.name);
    if plan.type_name(&operation.input) != input {
        writeln!(out, "pub type {input} = {};\n", plan.type_name(&operation.input))?;
    }
    let output = format!("{}Output", operation.name);
    match &operation.output {
        Some(shape) if plan.type_name(shape) != output => {
            writeln!(out, "pub type {output} = {};\n", plan.type_name(shape))?;
        }
        Some(_) => {}
        None => {
            writeln!(out, "#[derive(Clone, Debug, Default, PartialEq)]\npub struct {output} {{}}\n")?;
            writeln!(
                out,
                "impl Encode for {output} {{ fn encode(&self, e: &mut dyn Encoder) {{ structure(e, &[]); }} }}\n"
            )?;
        }
    }
    Ok(())
}

fn enumeration(plan: &Plan<'_>, name: &str, shape: &Shape, out: &mut String) -> Result<()> {
    writeln!(out, "string_enum! {{\n    {} {{", plan.type_name(name))?;
    for value in &shape.values {
        writeln!(out, "        {} = {value:?},", variant(value))?;
    }
    writeln!(out, "    }}\n}}\n")?;
    Ok(())
}

fn record(plan: &Plan<'_>, name: &str, shape: &Shape, out: &mut String) -> Result<()> {
    let type_name = plan.type_name(name);
    let mut streams = false;
    for (_, member) in &shape.members.0 {
        streams |= plan.shape(&member.shape)?.eventstream;
    }
    if streams {
        return streaming_output(plan, name, shape, out);
    }
    let default = if plan.has_default(name)? { "Default, " } else { "" };
    writeln!(out, "#[derive(Clone, Debug, {default}PartialEq)]\npub struct {type_name} {{")?;
    for (member, reference) in &shape.members.0 {
        let inner = plan.rust_type(&reference.shape)?;
        let field = snake(member);
        if shape.required.contains(member) {
            writeln!(out, "    pub {field}: {inner},")?;
        } else {
            writeln!(out, "    pub {field}: Option<{inner}>,")?;
        }
    }
    writeln!(out, "}}\n")?;
    if plan.requested.contains(name) {
        decode(type_name, shape, out)?;
    }
    if plan.operations.iter().any(|operation| operation.input == name) {
        writeln!(out, "impl Input for {type_name} {{")?;
        writeln!(out, "    const API: crate::Api = crate::Api::{};", plan.api.variant)?;
        writeln!(out, "    const SCHEMA: &'static crate::schema::Shape = &tables::{};\n}}\n", shout(name))?;
    }
    if plan.answered.contains(name) {
        encode(type_name, shape, out)?;
    }
    Ok(())
}

fn decode(type_name: &str, shape: &Shape, out: &mut String) -> Result<()> {
    let binding = if shape.members.is_empty() { "" } else { "let mut m = " };
    writeln!(out, "impl Decode for {type_name} {{\n    fn decode(document: Document<'_>) -> Result<Self, Error> {{")?;
    writeln!(out, "        {binding}Members::of(document)?;\n        Ok(Self {{")?;
    for (member, _) in &shape.members.0 {
        let how = if shape.required.contains(member) { "required" } else { "optional" };
        writeln!(out, "            {}: m.{how}({member:?})?,", snake(member))?;
    }
    writeln!(out, "        }})\n    }}\n}}\n")?;
    Ok(())
}

fn encode(type_name: &str, shape: &Shape, out: &mut String) -> Result<()> {
    writeln!(out, "impl Encode for {type_name} {{\n    fn encode(&self, e: &mut dyn Encoder) {{")?;
    write!(out, "        structure(e, &[")?;
    for (member, _) in &shape.members.0 {
        write!(out, "({member:?}, &self.{}), ", snake(member))?;
    }
    writeln!(out, "]);\n    }}\n}}\n")?;
    Ok(())
}

/// An output that is a stream of events, not a body.
fn streaming_output(plan: &Plan<'_>, name: &str, shape: &Shape, out: &mut String) -> Result<()> {
    writeln!(out, "pub struct {} {{", plan.type_name(name))?;
    for (member, reference) in &shape.members.0 {
        writeln!(out, "    pub {}: crate::Events<{}>,", snake(member), plan.type_name(&reference.shape))?;
    }
    writeln!(out, "}}\n")?;
    Ok(())
}

/// The events of a stream; exceptions that may end it are `Err` items.
fn event_stream(plan: &Plan<'_>, name: &str, shape: &Shape, out: &mut String) -> Result<()> {
    let mut events = Vec::new();
    for (member, reference) in &shape.members.0 {
        if !plan.shape(&reference.shape)?.exception {
            events.push((member, plan.type_name(&reference.shape)));
        }
    }
    let type_name = plan.type_name(name);
    writeln!(out, "#[derive(Clone, Debug, PartialEq)]\npub enum {type_name} {{")?;
    for (member, inner) in &events {
        writeln!(out, "    {member}({inner}),")?;
    }
    writeln!(
        out,
        "}}\n\nimpl crate::Event for {type_name} {{\n    fn name(&self) -> &'static str {{\n        match self {{"
    )?;
    for (member, _) in &events {
        writeln!(out, "            Self::{member}(_) => {member:?},")?;
    }
    writeln!(out, "        }}\n    }}\n\n    fn body(&self) -> &dyn Encode {{\n        match self {{")?;
    for (member, _) in &events {
        writeln!(out, "            Self::{member}(event) => event,")?;
    }
    writeln!(out, "        }}\n    }}\n}}\n")?;
    Ok(())
}
