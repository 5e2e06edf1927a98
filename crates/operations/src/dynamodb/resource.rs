//! Tables and streams as operations on tags and policies name them: by ARN only.
//!
//! Source: observations of the service in AWS Controllers for Kubernetes (DynamoDB quirks, October 2026: DDB-TABLE-071,
//! DDB-TABLE-212, DDB-TABLE-442, DDB-BACKUP-013).

use headwater_api::{Call, Error, codes};
use headwater_types::arn::{StreamArn, TableArn};

use super::name;
use super::table::invalid;

/// What an ARN names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Resource {
    /// A table.
    Table(TableArn),
    /// A table's stream.
    Stream(StreamArn),
}

/// Which operation asks: texts differ.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asking {
    /// Tags.
    Tags,
    /// Resource policies.
    Policy,
}

impl Resource {
    /// Takes an ARN apart; it must name a table or a stream of the caller's account and Region.
    ///
    /// Errors: ValidationException for what is none, or is elsewhere; AccessDeniedException for tags of another account.
    pub(crate) fn parse(call: &Call, arn: &str, asking: Asking) -> Result<Self, Error> {
        if !arn.starts_with("arn:") {
            return invalid(format!("ARNs must start with 'arn:': {arn}"));
        }
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let [_, partition, "dynamodb", region, account, path] = parts.as_slice() else {
            return invalid(format!("Provided Arn is not a DynamoDB resource arn: {arn}"));
        };
        let Some(kind) = path.strip_prefix("table/").map(kind) else {
            return invalid(format!("Provided Arn is not a DynamoDB resource arn: {arn}"));
        };
        if **account != *call.principal.account {
            return Err(foreign(asking));
        }
        if **region != *call.region || *partition != "aws" {
            return elsewhere(arn, asking);
        }
        let scope = name::scope(call);
        let table = |table: &str| TableArn { scope: scope.clone(), table: table.to_owned() };
        match kind {
            Kind::Table(name) if name::is_one(name) => Ok(Self::Table(table(name))),
            Kind::Stream(name, label) if name::is_one(name) => {
                Ok(Self::Stream(StreamArn { table: table(name), label: label.to_owned() }))
            }
            Kind::Table(_) | Kind::Stream(..) => elsewhere(arn, asking),
            Kind::Index => invalid(format!(
                "Invalid resource arn provided, only table or stream is accepted. Provided resource arn: {arn}"
            )),
            Kind::Other => invalid(format!("Provided Arn is not a DynamoDB resource arn: {arn}")),
        }
    }

    /// The table that it is or belongs to.
    pub(crate) fn table(&self) -> &TableArn {
        match self {
            Self::Table(table) => table,
            Self::Stream(stream) => &stream.table,
        }
    }
}

enum Kind<'a> {
    Table(&'a str),
    Stream(&'a str, &'a str),
    Index,
    Other,
}

fn kind(path: &str) -> Kind<'_> {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        [table] => Kind::Table(table),
        [table, "stream", label] if !label.is_empty() => Kind::Stream(table, label),
        [_, "index", _] => Kind::Index,
        _ => Kind::Other,
    }
}

fn foreign(asking: Asking) -> Error {
    match asking {
        Asking::Tags => Error::new(codes::ACCESS_DENIED, "Access is denied"),
        Asking::Policy => Error::validation(
            "This action is only supported by accounts that match the resource owner\u{2019}s account.",
        ),
    }
}

fn elsewhere<T>(arn: &str, asking: Asking) -> Result<T, Error> {
    match asking {
        Asking::Tags => {
            Err(Error::validation(format!("Invalid TableArn: Invalid ResourceArn provided as input {arn}")))
        }
        Asking::Policy => invalid(format!("Invalid resource Arn: {arn}")),
    }
}
