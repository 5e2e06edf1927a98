//! `service.rs`, `errors.rs` and the index of an API: its trait, its routing, its error codes.

use std::fmt::Write;

use anyhow::Result;

use super::names::{error_function, shout, snake};
use super::plan::Plan;

/// The module that holds an API's files.
pub fn index(plan: &Plan<'_>) -> String {
    format!(
        "//! {} as its model says.\n\npub mod access;\npub mod errors;\nmod service;\nmod shapes;\npub mod tables;\n\n\
         pub use service::{{{}, OPERATIONS, dispatch}};\npub use shapes::*;\n",
        plan.model.metadata.target_prefix, plan.api.variant
    )
}

/// One constant and one constructor per error.
pub fn errors(plan: &Plan<'_>) -> String {
    let mut out = String::from(
        "//! Error codes of the model, each with its constructor.\n\nuse crate::error::{Code, Error};\n\n",
    );
    let mut all = String::new();
    for (name, shape) in &plan.model.shapes.0 {
        if !shape.exception {
            continue;
        }
        let given = shape.error.as_ref().and_then(|error| error.http_status_code);
        let status = given.unwrap_or(if shape.fault { 500 } else { 400 });
        let spelled = shape.members.0.iter().any(|(member, _)| member == "Message");
        let code = shout(name.strip_suffix("Exception").unwrap_or(name));
        let method = if spelled { ".capital_message()" } else { "" };
        out.push_str(&format!("pub const {code}: Code = Code::modelled({name:?}, {status}){method};\n"));
        out.push_str(&format!(
            "pub fn {}(message: impl Into<String>) -> Error {{ Error::new({code}, message) }}\n\n",
            error_function(name)
        ));
        all.push_str(&format!("{code}, "));
    }
    out.push_str(&format!("/// Every code of the model.\npub const ALL: &[Code] = &[{all}];\n"));
    out
}

/// The operation trait and the routing to it.
pub fn render(plan: &Plan<'_>) -> Result<String> {
    let trait_name = plan.api.variant;
    let mut out = String::from("//! The operations and the way to them.\n\n");
    out.push_str("use crate::call::Call;\nuse crate::document::Document;\n");
    out.push_str("use crate::reply::{Answer, Reply, route, unknown_operation};\n\n");
    writeln!(out, "use super::shapes::*;\n")?;
    let mut names: Vec<&str> = plan.operations.iter().map(|operation| operation.name.as_str()).collect();
    names.sort_unstable();
    writeln!(
        out,
        "/// Names of all operations, sorted.\npub static OPERATIONS: [&str; {}] = {names:?};\n",
        names.len()
    )?;
    writeln!(out, "/// The operations; one that is not built yet answers `UnknownOperationException`.")?;
    writeln!(out, "pub trait {trait_name}: Send + Sync {{")?;
    for operation in &plan.operations {
        let (name, method) = (&operation.name, snake(&operation.name));
        writeln!(
            out,
            "    fn {method}<'a>(&'a self, call: &'a Call, input: {name}Input) -> Answer<'a, {name}Output> {{\n        \
             unknown_operation(call, input)\n    }}\n"
        )?;
    }
    writeln!(out, "}}\n")?;
    writeln!(
        out,
        "/// Checks and decodes a request, calls the operation, and hands back what can encode itself.\n///"
    )?;
    writeln!(
        out,
        "/// Errors: SerializationException, ValidationException by the model, whatever the operation refuses with;"
    )?;
    writeln!(out, "/// an internal error when an operation answered without having asked for authorisation.")?;
    writeln!(
        out,
        "pub fn dispatch<'a>(service: &'a dyn {trait_name}, call: &'a Call, operation: &str, document: Document<'_>) \
         -> Answer<'a, Reply> {{\n    match operation {{"
    )?;
    for operation in &plan.operations {
        let (name, method) = (&operation.name, snake(&operation.name));
        let reply = match (&operation.events, &operation.output) {
            (Some(_), Some(output)) => {
                let field = plan.shape(output)?.members.0.first().map(|(member, _)| snake(member)).unwrap_or_default();
                format!("|output: {name}Output| Reply::events(output.{field})")
            }
            (_, Some(_)) => "Reply::body".to_owned(),
            (_, None) => "Reply::empty".to_owned(),
        };
        writeln!(out, "        {name:?} => route(call, document, |input| service.{method}(call, input), {reply}),")?;
    }
    writeln!(out, "        _ => unknown_operation(call, document),\n    }}\n}}")?;
    Ok(out)
}
