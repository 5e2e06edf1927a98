//! Tables as requests name them: by name, or by ARN.

use headwater_api::{Call, Error, codes};
use headwater_types::Scope;
use headwater_types::arn::TableArn;

/// A table's name of the caller's own account and Region, checked for its form.
///
/// Shape:  (call, name or table ARN) → name.
/// Errors: ValidationException for what is no table's name, or an ARN of another Region; AccessDeniedException for an ARN of
///         another account, which would need a resource policy.
/// Source: "TableName", DynamoDB API reference (an ARN may stand for the name); texts observed by dynalite's tests and by
///         the DynamoDB quirks of AWS Controllers for Kubernetes (October 2026).
pub(crate) fn table(call: &Call, given: &str) -> Result<String, Error> {
    if !given.starts_with("arn:") {
        name(given)?;
        return Ok(given.to_owned());
    }
    let Some(arn) = TableArn::parse(given) else {
        return Err(Error::validation(format!("1 validation error detected: Invalid resource type in '{given}'")));
    };
    name(&arn.table)?;
    if arn.scope.region != call.region {
        return Err(Error::validation(format!("1 validation error detected: Invalid AWS region in '{given}'")));
    }
    if arn.scope.account != call.principal.account {
        return Err(Error::new(codes::ACCESS_DENIED, "Access is denied"));
    }
    Ok(arn.table)
}

/// Account and Region of a call.
pub(crate) fn scope(call: &Call) -> Scope {
    Scope { account: call.principal.account.clone(), region: call.region.clone() }
}

/// Whether this is a table's name.
pub(crate) fn is_one(given: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    (3..=255).contains(&given.len()) && given.bytes().all(allowed)
}

fn name(given: &str) -> Result<(), Error> {
    if !(3..=255).contains(&given.chars().count()) {
        return Err(Error::validation("TableName must be at least 3 characters long and at most 255 characters long"));
    }
    if is_one(given) {
        Ok(())
    } else {
        Err(Error::validation(format!("1 validation error detected: {}", no_name(given, "tableName"))))
    }
}

fn no_name(given: &str, member: &str) -> String {
    format!(
        "Value '{given}' at '{member}' failed to satisfy constraint: Member must satisfy regular expression pattern: \
         [a-zA-Z0-9_.-]+"
    )
}

/// Refuses what stands for tables in a list of members and has other characters than a name, all at once.
///
/// Shape:  (path of the member, what is given) of each.
/// Source: observed on the service by dynamodb-conformance (TransactWriteItems, October 2026).
pub(crate) fn all<'a>(members: impl Iterator<Item = (String, &'a str)>) -> Result<(), Error> {
    let unlike =
        |given: &str| !given.starts_with("arn:") && (3..=255).contains(&given.chars().count()) && !is_one(given);
    let wrong: Vec<String> =
        members.filter(|(_, given)| unlike(given)).map(|(member, given)| no_name(given, &member)).collect();
    match wrong.len() {
        0 => Ok(()),
        1 => Err(Error::validation(format!("1 validation error detected: {}", wrong.concat()))),
        several => Err(Error::validation(format!("{several} validation errors detected: {}", wrong.join("; ")))),
    }
}
