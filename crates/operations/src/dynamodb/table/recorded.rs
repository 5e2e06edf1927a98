//! Members of a table that are checked, kept and shown again, without behaviour: class, encryption, on-demand and warm
//! throughput.
//!
//! Source: observations of the service in AWS Controllers for Kubernetes (DynamoDB quirks, October 2026: DDB-TABLE-026,
//! DDB-TABLE-031, DDB-TABLE-082, DDB-TABLE-178, DDB-TABLE-179, DDB-TABLE-442).

use std::collections::BTreeMap;

use headwater_api::Error;
use headwater_api::dynamodb as api;
use headwater_catalog::{BillingMode, TableDefinition};
use headwater_types::Millis;
use serde_json::{Map, Value, json};

use super::description::{CLASS_CHANGED, ENCRYPTION, ON_DEMAND, WARM, encryption_key};
use super::validation::invalid;

const ON_DEMAND_READ: &str = "MaxReadRequestUnits";
const ON_DEMAND_WRITE: &str = "MaxWriteRequestUnits";
const WARM_READ: &str = "ReadUnitsPerSecond";
const WARM_WRITE: &str = "WriteUnitsPerSecond";
/// Takes a limit of on-demand throughput away.
const NO_LIMIT: i64 = -1;

/// What is kept of a table or of an index.
pub(crate) type Recorded = BTreeMap<String, Value>;

/// Units per second, read and write.
pub(crate) type Units = (i64, i64);

/// Whose throughput it is, for the texts of refusals.
#[derive(Clone, Copy)]
pub(crate) enum Of<'a> {
    /// The table's.
    Table,
    /// That of an index.
    Index(&'a str),
}

impl Of<'_> {
    fn warm(self) -> String {
        match self {
            Self::Table => "table".to_owned(),
            Self::Index(name) => format!("index {name}"),
        }
    }

    fn on_demand(self) -> String {
        match self {
            Self::Table => "table".to_owned(),
            Self::Index(name) => format!("index : {name}"),
        }
    }
}

/// Checks the form of a table class.
pub(crate) fn class_form(class: Option<&str>) -> Result<(), Error> {
    match class {
        Some(class) if api::TableClass::parse(class).is_none() => Err(Error::validation(
            "Invalid table-class parameter provided. Please try again with a valid table-class value: [STANDARD, \
             STANDARD_INFREQUENT_ACCESS].",
        )),
        Some(_) | None => Ok(()),
    }
}

/// Changes the class; to the one that it has already, nothing.
pub(crate) fn class(table: &mut TableDefinition, wanted: Option<&str>, now: Millis) {
    let Some(wanted) = wanted else { return };
    if table.class.as_deref().unwrap_or(api::TableClass::Standard.as_str()) != wanted {
        table.class = Some(wanted.to_owned());
        table.recorded.insert(CLASS_CHANGED.to_owned(), json!(now.0));
    }
}

/// Checks the form of an encryption.
pub(crate) fn encryption_form(wanted: Option<&api::SSESpecification>) -> Result<(), Error> {
    let Some(wanted) = wanted else { return Ok(()) };
    let off = wanted.enabled == Some(false);
    match (wanted.sse_type, &wanted.kms_master_key_id) {
        (Some(_), _) if off => invalid("SSEType can not be specified if Enabled is false"),
        (_, Some(_)) if off => invalid("KMSMasterKeyId can not be specified if Enabled is false"),
        (Some(api::SSEType::Aes256), _) => invalid("SSEType AES256 is not supported"),
        (None, Some(_)) => invalid("SSEType KMS is required if KMSMasterKeyId is specified"),
        (Some(api::SSEType::Kms), _) | (None, None) => Ok(()),
    }
}

/// Encryption of a new table.
pub(crate) fn encryption_of_new(table: &mut TableDefinition, wanted: Option<&api::SSESpecification>) {
    if let Some(kept) = wanted.and_then(encryption_kept) {
        table.recorded.insert(ENCRYPTION.to_owned(), kept);
    }
}

/// Changes the encryption.
///
/// Errors: ValidationException for what is so already.
pub(crate) fn encryption(table: &mut TableDefinition, wanted: Option<&api::SSESpecification>) -> Result<(), Error> {
    let Some(wanted) = wanted else { return Ok(()) };
    let same_key = || {
        let key = wanted.kms_master_key_id.as_ref()?;
        (encryption_key(table).as_ref() == Some(key)).then_some(())
    };
    if same_key().is_some() {
        return invalid(
            "Table is already encrypted with given KMSMasterKeyId. Use KMSMasterKeyId parameter if you want to change \
             Master Key",
        );
    }
    match encryption_kept(wanted) {
        Some(kept) => {
            table.recorded.insert(ENCRYPTION.to_owned(), kept);
        }
        None if table.recorded.contains_key(ENCRYPTION) => {
            table.recorded.remove(ENCRYPTION);
        }
        None => return invalid("Table is already encrypted by default"),
    }
    Ok(())
}

/// `None` for the encryption that every table has.
fn encryption_kept(wanted: &api::SSESpecification) -> Option<Value> {
    let on = wanted.enabled.unwrap_or(wanted.sse_type.is_some());
    on.then(|| json!({ "Enabled": true, "KMSMasterKeyId": wanted.kms_master_key_id }))
}

/// Checks greatest request units, which only make sense where requests are paid for.
pub(crate) fn on_demand_form(
    limits: Option<&api::OnDemandThroughput>,
    billing: BillingMode,
    is_new: bool,
    of: Of<'_>,
) -> Result<(), Error> {
    let Some(limits) = limits else { return Ok(()) };
    for (member, units) in
        [(ON_DEMAND_READ, limits.max_read_request_units), (ON_DEMAND_WRITE, limits.max_write_request_units)]
    {
        match units {
            Some(_) if billing == BillingMode::Provisioned => {
                let whose = match of {
                    Of::Table => String::new(),
                    Of::Index(name) if is_new => format!(" for index: {name}"),
                    Of::Index(_) => format!(" for {}", of.on_demand()),
                };
                return invalid(format!(
                    "{member} for OnDemandThroughput{whose} cannot be specified when the table BillingMode is PROVISIONED"
                ));
            }
            Some(units) if units < 1 && (is_new || units != NO_LIMIT) => {
                return invalid(format!(
                    "Requested {member} for OnDemandThroughput for {} is outside of valid range",
                    of.on_demand()
                ));
            }
            Some(_) | None => {}
        }
    }
    Ok(())
}

/// Changes greatest request units, each for itself.
pub(crate) fn on_demand(recorded: &mut Recorded, limits: Option<&api::OnDemandThroughput>) {
    let Some(limits) = limits else { return };
    let mut kept = kept(recorded, ON_DEMAND);
    for (member, units) in
        [(ON_DEMAND_READ, limits.max_read_request_units), (ON_DEMAND_WRITE, limits.max_write_request_units)]
    {
        match units {
            Some(NO_LIMIT) => {
                kept.remove(member);
            }
            Some(units) => {
                kept.insert(member.to_owned(), json!(units));
            }
            None => {}
        }
    }
    keep(recorded, ON_DEMAND, kept);
}

/// Warm throughput of a new table or index: no less than what it is warm for anyway.
pub(crate) fn warm_of_new(
    recorded: &mut Recorded,
    (read, write): Units,
    wanted: Option<&api::WarmThroughput>,
    billing: BillingMode,
    of: Of<'_>,
) -> Result<(), Error> {
    let Some(wanted) = wanted else { return Ok(()) };
    let of = of.warm();
    let lower = |member: &str, provisioned: &str| match billing {
        BillingMode::PayPerRequest => invalid(format!(
            "Requested {member} for WarmThroughput for {of} is lower than initial throughput for OnDemand. See: \
             https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/warm-throughput.html"
        )),
        BillingMode::Provisioned => invalid(format!(
            "Requested {member} for WarmThroughput for {of} is lower than {provisioned} of ProvisionedThroughput"
        )),
    };
    if wanted.read_units_per_second.is_some_and(|units| units < read) {
        return lower(WARM_READ, "ReadCapacityUnits");
    }
    if wanted.write_units_per_second.is_some_and(|units| units < write) {
        return lower(WARM_WRITE, "WriteCapacityUnits");
    }
    raise(recorded, wanted);
    Ok(())
}

/// Raises warm throughput, each for itself: it never falls.
pub(crate) fn warm(
    recorded: &mut Recorded,
    (read, write): Units,
    wanted: Option<&api::WarmThroughput>,
    of: Of<'_>,
) -> Result<(), Error> {
    let Some(wanted) = wanted else { return Ok(()) };
    for (member, units, now) in
        [(WARM_READ, wanted.read_units_per_second, read), (WARM_WRITE, wanted.write_units_per_second, write)]
    {
        if units.is_some_and(|units| units < now) {
            return invalid(format!(
                "Requested {member} for WarmThroughput for {} is lower than current WarmThroughput, decreasing \
                 WarmThroughput is not supported",
                of.warm()
            ));
        }
    }
    raise(recorded, wanted);
    Ok(())
}

/// A table or index stays warm for what it was warm for before its throughput changed.
pub(crate) fn stay_warm(recorded: &mut Recorded, now: Units, before: Units) {
    if now.0 < before.0 || now.1 < before.1 {
        let units = api::WarmThroughput {
            read_units_per_second: Some(now.0.max(before.0)),
            write_units_per_second: Some(now.1.max(before.1)),
        };
        raise(recorded, &units);
    }
}

fn raise(recorded: &mut Recorded, wanted: &api::WarmThroughput) {
    let mut kept = kept(recorded, WARM);
    for (member, units) in [(WARM_READ, wanted.read_units_per_second), (WARM_WRITE, wanted.write_units_per_second)] {
        if let Some(units) = units {
            kept.insert(member.to_owned(), json!(units));
        }
    }
    keep(recorded, WARM, kept);
}

fn kept(recorded: &Recorded, member: &str) -> Map<String, Value> {
    recorded.get(member).and_then(Value::as_object).cloned().unwrap_or_default()
}

fn keep(recorded: &mut Recorded, member: &str, kept: Map<String, Value>) {
    if kept.is_empty() {
        recorded.remove(member);
    } else {
        recorded.insert(member.to_owned(), Value::Object(kept));
    }
}
