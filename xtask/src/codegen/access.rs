//! `access.rs`: which resources an operation touches, as its input names them.

use std::fmt::Write;

use anyhow::Result;

use super::names::snake;
use super::plan::{Operation, Plan};

/// Members that name a resource, with the method of `access::List` that knows its ARN.
const NAMING: [(&str, &str); 16] = [
    ("TableName", "table"),
    ("GlobalTableName", "table"),
    ("TargetTableName", "table"),
    ("SourceTableName", "table"),
    ("TableArn", "arn"),
    ("SourceTableArn", "arn"),
    ("ResourceArn", "arn"),
    ("BackupArn", "arn"),
    ("ExportArn", "arn"),
    ("ImportArn", "arn"),
    ("StreamArn", "arn"),
    ("StreamARN", "arn"),
    ("ConsumerARN", "arn"),
    ("ResourceARN", "arn"),
    ("StreamName", "stream"),
    ("DeliveryStreamName", "delivery_stream"),
];

/// Members that become condition keys of a policy.
const CONDITIONS: [&str; 3] = ["ReturnConsumedCapacity", "ReturnValues", "Select"];

/// Renders one function per operation.
pub fn render(plan: &Plan<'_>) -> Result<String> {
    let mut out =
        String::from("//! What each operation must be authorised for, from the resources its input names.\n\n");
    out.push_str("use crate::access::{Access, List};\nuse crate::call::Call;\n\nuse super::shapes::*;\n\n");
    for operation in &plan.operations {
        let action = format!("{}:{}", plan.api.action, operation.name);
        let statements = statements(plan, operation)?;
        let binding = if statements.is_empty() { "list" } else { "mut list" };
        let input = if statements.contains("input.") { "input" } else { "_input" };
        writeln!(
            out,
            "pub fn {}(call: &Call, {input}: &{}Input) -> Vec<Access> {{\n    let {binding} = List::new(call, {action:?});\n\
             {statements}    list.finish()\n}}\n",
            snake(&operation.name),
            operation.name
        )?;
    }
    Ok(out)
}

fn statements(plan: &Plan<'_>, operation: &Operation) -> Result<String> {
    if plan.api.action == "dynamodb"
        && let Some(special) = special(&operation.name)
    {
        return Ok(special.to_owned());
    }
    let input = plan.shape(&operation.input)?;
    let given = |member: &str| {
        let field = snake(member);
        if input.required.iter().any(|name| name == member) {
            format!("Some(&input.{field})")
        } else {
            format!("input.{field}.as_deref()")
        }
    };
    let mut out = String::new();
    let indexed = plan.api.module == "dynamodb" && matches!(operation.name.as_str(), "Query" | "Scan");
    for (member, _) in &input.members.0 {
        let Some((_, method)) = NAMING.iter().find(|(name, _)| name == member) else { continue };
        match (*method, plan.api.module) {
            // CreateTable and the like name what they create; ListStreams asks for the streams of a table.
            ("table", "dynamodb_streams") => writeln!(out, "    list.streams_of({});", given(member))?,
            ("table", _) if indexed => writeln!(out, "    list.index({}, {});", given(member), given("IndexName"))?,
            _ => writeln!(out, "    list.{method}({});", given(member))?,
        }
    }
    for (member, _) in &input.members.0 {
        if CONDITIONS.contains(&member.as_str()) {
            let field = snake(member);
            writeln!(
                out,
                "    list.condition(\"dynamodb:{member}\", input.{field}.as_ref().map(|value| value.as_str()));"
            )?;
        }
    }
    Ok(out)
}

/// Operations on several resources: batches, transactions, and the table that an import makes.
fn special(name: &str) -> Option<&'static str> {
    Some(match name {
        "BatchGetItem" | "BatchWriteItem" => {
            "    for table in input.request_items.keys() {\n        list.table(Some(table));\n    }\n"
        }
        "ImportTable" => "    list.table(Some(&input.table_creation_parameters.table_name));\n",
        "TransactGetItems" => {
            "    list.enclosing(\"TransactGetItems\");\n    for item in &input.transact_items {\n        \
             list.table_as(\"dynamodb:GetItem\", Some(&item.get.table_name));\n    }\n"
        }
        "TransactWriteItems" => {
            "    list.enclosing(\"TransactWriteItems\");\n    for item in &input.transact_items {\n        \
             list.table_as(\"dynamodb:ConditionCheckItem\", item.condition_check.as_ref().map(|part| part.table_name.as_str()));\n        \
             list.table_as(\"dynamodb:PutItem\", item.put.as_ref().map(|part| part.table_name.as_str()));\n        \
             list.table_as(\"dynamodb:DeleteItem\", item.delete.as_ref().map(|part| part.table_name.as_str()));\n        \
             list.table_as(\"dynamodb:UpdateItem\", item.update.as_ref().map(|part| part.table_name.as_str()));\n    }\n"
        }
        _ => return None,
    })
}
