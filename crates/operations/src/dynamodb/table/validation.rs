//! What is checked of a table's definition before any table is looked up.
//!
//! Source: texts and their order as observed by dynalite's tests (createTable, updateTable) and by the DynamoDB quirks of
//! AWS Controllers for Kubernetes (October 2026), where they are newer.

use std::collections::BTreeSet;

use headwater_api::Error;
use headwater_api::dynamodb::{
    AttributeDefinition, BillingMode, CreateTableInput, KeySchemaElement, KeyType, OnDemandThroughput,
    ProvisionedThroughput, StreamSpecification, UpdateTableInput, WarmThroughput,
};

use super::recorded::Of;
use super::{indexes, recorded};
use crate::dynamodb::tags;

/// Beyond it the service calls a number of units out of bounds. Source: observed by dynalite's tests (createTable).
const UNITS_MAX: i64 = 1_000_000_000_000;

/// Everything CreateTable checks before it looks for the table.
///
/// Errors: ValidationException, the first rule that is broken.
pub(crate) fn create(input: &CreateTableInput) -> Result<(), Error> {
    let (definitions, keys) = schema_given(input)?;
    billing_of_new(input)?;
    key_schema(definitions, keys)?;
    indexes::create(input, definitions, keys)?;
    stream_of_new(input.stream_specification.as_ref())?;
    let billing = match input.billing_mode {
        Some(BillingMode::PayPerRequest) => headwater_catalog::BillingMode::PayPerRequest,
        Some(BillingMode::Provisioned) | None => headwater_catalog::BillingMode::Provisioned,
    };
    recorded::on_demand_form(input.on_demand_throughput.as_ref(), billing, true, Of::Table)?;
    recorded::encryption_form(input.sse_specification.as_ref())?;
    recorded::class_form(input.table_class.as_deref())?;
    tags::checked(input.tags.as_deref().unwrap_or_default())?;
    created_unsupported(input)
}

/// Everything UpdateTable checks before it looks for the table.
///
/// Errors: ValidationException, the first rule that is broken.
pub(crate) fn update(input: &UpdateTableInput) -> Result<(), Error> {
    if nothing_to_update(input) {
        return Err(Error::validation(
            "At least one of ProvisionedThroughput, BillingMode, UpdateStreamEnabled, GlobalSecondaryIndexUpdates, \
             SSESpecification, ReplicaUpdates, MultiAccountReplicaReady, ReplicaTransitRoleArn, MultiRegionConsistency, \
             DeletionProtectionEnabled, OnDemandThroughput, WarmThroughput or TableClass is required",
        ));
    }
    if input.global_secondary_index_updates.as_ref().is_some_and(Vec::is_empty) {
        return invalid("List of GlobalSecondaryIndexUpdates is empty");
    }
    if input.billing_mode == Some(BillingMode::Provisioned) && input.provisioned_throughput.is_none() {
        return invalid("ProvisionedThroughput must be specified when BillingMode is PROVISIONED");
    }
    bounds(input.provisioned_throughput.as_ref())?;
    indexes::update(input.global_secondary_index_updates.as_deref().unwrap_or_default())?;
    recorded::class_form(input.table_class.as_deref())?;
    recorded::encryption_form(input.sse_specification.as_ref())?;
    alone(input)?;
    if let Some(stream) = &input.stream_specification {
        match (stream.stream_enabled, stream.stream_view_type) {
            (true, None) => return invalid("If stream is being enabled then UpdateViewType is required"),
            (false, Some(_)) => {
                return invalid("If stream is being disabled, then UpdateViewType must not be specified");
            }
            (true, Some(_)) | (false, None) => {}
        }
    }
    updated_unsupported(input)
}

/// A rule of the service: its text after the words it begins with.
pub(crate) fn invalid<T>(detail: impl std::fmt::Display) -> Result<T, Error> {
    Err(Error::validation(format!("One or more parameter values were invalid: {detail}")))
}

/// Greatest request units, when any are given: the service takes a structure without members for nothing.
pub(super) fn on_demand_given(input: &UpdateTableInput) -> Option<&OnDemandThroughput> {
    let given = |limits: &&OnDemandThroughput| {
        limits.max_read_request_units.is_some() || limits.max_write_request_units.is_some()
    };
    input.on_demand_throughput.as_ref().filter(given)
}

/// Warm throughput, when any is given.
pub(super) fn warm_given(input: &UpdateTableInput) -> Option<&WarmThroughput> {
    let given = |warm: &&WarmThroughput| warm.read_units_per_second.is_some() || warm.write_units_per_second.is_some();
    input.warm_throughput.as_ref().filter(given)
}

/// The newest model leaves both optional, for replicas; a table of its own needs them.
fn schema_given(input: &CreateTableInput) -> Result<(&[AttributeDefinition], &[KeySchemaElement]), Error> {
    let definitions = input.attribute_definitions.as_deref();
    let keys = input.key_schema.as_deref();
    if let (Some(definitions), Some(keys)) = (definitions, keys) {
        return Ok((definitions, keys));
    }
    let missing: Vec<String> = [("attributeDefinitions", definitions.is_none()), ("keySchema", keys.is_none())]
        .into_iter()
        .filter(|(_, missing)| *missing)
        .map(|(name, _)| format!("Value null at '{name}' failed to satisfy constraint: Member must not be null"))
        .collect();
    let plural = if missing.len() == 1 { "" } else { "s" };
    Err(Error::validation(format!("{} validation error{plural} detected: {}", missing.len(), missing.join("; "))))
}

fn billing_of_new(input: &CreateTableInput) -> Result<(), Error> {
    match (input.billing_mode, &input.provisioned_throughput) {
        (Some(BillingMode::PayPerRequest), Some(_)) => invalid(
            "Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST",
        ),
        (Some(BillingMode::PayPerRequest), None) => Ok(()),
        (Some(BillingMode::Provisioned) | None, None) => {
            invalid("ReadCapacityUnits and WriteCapacityUnits must both be specified when BillingMode is PROVISIONED")
        }
        (Some(BillingMode::Provisioned) | None, given) => bounds(given.as_ref()),
    }
}

/// Units are not absurdly many.
pub(super) fn bounds(throughput: Option<&ProvisionedThroughput>) -> Result<(), Error> {
    let Some(throughput) = throughput else { return Ok(()) };
    let members = [
        ("ReadCapacityUnits", throughput.read_capacity_units),
        ("WriteCapacityUnits", throughput.write_capacity_units),
    ];
    for (member, units) in members {
        if units > UNITS_MAX {
            return Err(Error::validation(format!("Given value {units} for {member} is out of bounds")));
        }
    }
    Ok(())
}

fn key_schema(definitions: &[AttributeDefinition], keys: &[KeySchemaElement]) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    if let Some(twice) = definitions.iter().find(|definition| !seen.insert(&definition.attribute_name)) {
        return Err(Error::validation(format!("Attribute Name is duplicated: {}", twice.attribute_name)));
    }
    if keys.len() > definitions.len() {
        return Err(Error::validation("Invalid KeySchema: Some index key attribute have no definition"));
    }
    defined(definitions, keys)?;
    order(keys)?;
    if keys.len() > 2 {
        return invalid("The KeySchema exceeds the maximum allowed number of RANGE key attributes");
    }
    Ok(())
}

/// Every key element has its definition.
pub(super) fn defined(definitions: &[AttributeDefinition], keys: &[KeySchemaElement]) -> Result<(), Error> {
    let is_defined =
        |key: &KeySchemaElement| definitions.iter().any(|definition| definition.attribute_name == key.attribute_name);
    if keys.iter().all(is_defined) {
        return Ok(());
    }
    invalid(format!(
        "Some index key attributes are not defined in AttributeDefinitions. Keys: [{}], AttributeDefinitions: [{}]",
        names(keys.iter().map(|key| &key.attribute_name)),
        names(definitions.iter().map(|definition| &definition.attribute_name))
    ))
}

/// The first key element is the hash key, the second the range key, and they differ.
pub(super) fn order(keys: &[KeySchemaElement]) -> Result<(), Error> {
    let (first, second) = (keys.first(), keys.get(1));
    let text = match (first, second) {
        (Some(first), Some(second)) if first.attribute_name == second.attribute_name => {
            "Both the Hash Key and the Range Key element in the KeySchema have the same name"
        }
        (Some(first), _) if first.key_type != KeyType::Hash => {
            "Invalid KeySchema: The first KeySchemaElement is not a HASH key type"
        }
        (_, Some(second)) if second.key_type != KeyType::Range => {
            "Invalid KeySchema: The second KeySchemaElement is not a RANGE key type"
        }
        _ => return Ok(()),
    };
    Err(Error::validation(text))
}

fn stream_of_new(stream: Option<&StreamSpecification>) -> Result<(), Error> {
    match stream.map(|stream| (stream.stream_enabled, stream.stream_view_type)) {
        Some((true, None)) => invalid("Table is being created with a stream enabled, UpdateViewType is required"),
        Some((false, Some(_))) => {
            invalid("Table is being created with a stream disabled, UpdateViewType should not be specified")
        }
        Some((true, Some(_)) | (false, None)) | None => Ok(()),
    }
}

/// Members that would change what the table does, and that this server cannot do: never accepted silently.
fn created_unsupported(input: &CreateTableInput) -> Result<(), Error> {
    unsupported(&[
        ("GlobalTableSourceArn", input.global_table_source_arn.is_some()),
        ("GlobalTableSettingsReplicationMode", input.global_table_settings_replication_mode.is_some()),
    ])
}

fn updated_unsupported(input: &UpdateTableInput) -> Result<(), Error> {
    unsupported(&[
        ("ReplicaUpdates", input.replica_updates.is_some()),
        ("MultiRegionConsistency", input.multi_region_consistency.is_some()),
        ("GlobalTableWitnessUpdates", input.global_table_witness_updates.is_some()),
        ("GlobalTableSettingsReplicationMode", input.global_table_settings_replication_mode.is_some()),
    ])
}

fn unsupported(members: &[(&str, bool)]) -> Result<(), Error> {
    match members.iter().find(|(_, given)| *given) {
        Some((member, _)) => Err(Error::validation(format!("This server does not support {member} yet"))),
        None => Ok(()),
    }
}

fn nothing_to_update(input: &UpdateTableInput) -> bool {
    input.provisioned_throughput.is_none()
        && input.billing_mode.is_none()
        && input.stream_specification.is_none()
        && input.global_secondary_index_updates.as_ref().is_none_or(Vec::is_empty)
        && input.sse_specification.is_none()
        && input.replica_updates.is_none()
        && input.multi_region_consistency.is_none()
        && input.global_table_witness_updates.is_none()
        && input.global_table_settings_replication_mode.is_none()
        && input.deletion_protection_enabled.is_none()
        && on_demand_given(input).is_none()
        && warm_given(input).is_none()
        && input.table_class.is_none()
}

/// Changes that the service takes one at a time; only a switch to pay by use goes with a stream or with request units.
/// Source: observations of the service in AWS Controllers for Kubernetes (DynamoDB quirks, October 2026: DDB-TABLE-433).
fn alone(input: &UpdateTableInput) -> Result<(), Error> {
    let iops = input.provisioned_throughput.is_some() || input.billing_mode == Some(BillingMode::Provisioned);
    let billing = iops || input.billing_mode.is_some();
    let stream = input.stream_specification.is_some();
    let updates = input.global_secondary_index_updates.as_deref().unwrap_or_default();
    let index = !updates.is_empty();
    let made_or_ended = updates.iter().any(|update| update.create.is_some() || update.delete.is_some());
    if warm_given(input).is_some() && updates.iter().any(|update| update.create.is_some()) {
        return invalid("Create global secondary index cannot be specified when updating WarmThroughput");
    }
    let changes = [
        (
            "Server-Side Encryption modification must be the only operation in the request",
            input.sse_specification.is_some(),
        ),
        ("TableClass modification must be the only operation in the request", input.table_class.is_some()),
        (
            "DeletionProtection modification must be the only operation in the request",
            input.deletion_protection_enabled.is_some(),
        ),
        ("WarmThroughput must be the only operation in the request", warm_given(input).is_some()),
    ];
    let on_demand = on_demand_given(input).is_some();
    let given = changes.iter().filter(|(_, given)| *given).count();
    let others = usize::from(billing) + usize::from(stream) + usize::from(index) + usize::from(on_demand);
    if let Some((text, _)) = changes.iter().find(|(_, given)| *given)
        && given + others > 1
    {
        return invalid(text);
    }
    let beside_on_demand = stream || index || input.provisioned_throughput.is_some();
    if on_demand && beside_on_demand {
        return invalid("OnDemandThroughput can only be combined with BillingMode in an UpdateTable request");
    }
    if stream && iops {
        return invalid("You cannot modify stream status while updating table IOPS");
    }
    if made_or_ended && iops {
        return invalid("You cannot create or delete index while updating table IOPS");
    }
    if index && stream {
        return invalid("You cannot create or delete index while changing stream status");
    }
    Ok(())
}

/// Names as the service lists them.
pub(super) fn names<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    names.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}
