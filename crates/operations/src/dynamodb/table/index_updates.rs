//! UpdateTable's changes of global indexes.
//!
//! Source: texts observed by the DynamoDB quirks of AWS Controllers for Kubernetes (October 2026), where not said otherwise.

use headwater_api::Error;
use headwater_api::dynamodb as api;
use headwater_api::dynamodb::errors;
use headwater_catalog::{
    AttributeDefinition, BillingMode, IndexDefinition, IndexKind, IndexState, Projected, TableDefinition, Throughput,
};
use headwater_log::{Change, IndexChange};
use headwater_types::Millis;

use super::indexes::{GLOBAL_INDEXES_MAX, definition, global_order, projected_in_all, projection, settings};
use super::recorded::on_demand_form;
use super::validation::{bounds, defined, invalid};
use super::{attribute, in_use, update};

/// What the request changes of a table's indexes. `table` is the table with the request's other changes.
///
/// Errors: LimitExceededException for more than one index made or removed at a time, ResourceNotFoundException for an
///         unknown index, ResourceInUseException for one that is not ready, ValidationException.
pub(super) fn changes(
    input: &api::UpdateTableInput,
    table: &TableDefinition,
    now: Millis,
) -> Result<Vec<Change>, Error> {
    let updates = input.global_secondary_index_updates.as_deref().unwrap_or_default();
    let mut changes = Vec::new();
    let online = updates.iter().filter(|update| update.create.is_some() || update.delete.is_some()).count();
    if online > 1 {
        return Err(one_at_a_time());
    }
    for change in updates {
        let made = match (&change.create, &change.update, &change.delete) {
            (Some(create), _, _) => self::create(input, table, create)?,
            (None, Some(update), _) => self::update(table, update, now)?,
            (None, None, Some(delete)) => self::delete(table, &delete.index_name)?,
            (None, None, None) => continue,
        };
        changes.push(Change::Index { table: table.id, change: made });
    }
    Ok(changes)
}

fn one_at_a_time() -> Error {
    errors::limit_exceeded(
        "Subscriber limit exceeded: Only 1 online index can be created or deleted simultaneously per table",
    )
}

fn create(
    input: &api::UpdateTableInput,
    table: &TableDefinition,
    create: &api::CreateGlobalSecondaryIndexAction,
) -> Result<IndexChange, Error> {
    let name = &create.index_name;
    if table.index(name).is_some() {
        return Err(Error::validation("Attempting to create an index which already exists"));
    }
    if table.indexes.iter().any(|index| is_online(index.state)) {
        return Err(one_at_a_time());
    }
    let given = input.attribute_definitions.as_deref().unwrap_or_default();
    if given.is_empty() {
        return invalid(format!("AttributeDefinitions is not specified for index: {name}"));
    }
    defined(given, &create.key_schema)?;
    global_order(&create.key_schema)?;
    projection(&create.projection)?;
    throughput_of_new(table, create)?;
    on_demand_form(create.on_demand_throughput.as_ref(), table.billing, true)?;
    let global = table.indexes.iter().filter(|index| index.kind == IndexKind::Global).count();
    if global >= GLOBAL_INDEXES_MAX {
        return Err(errors::limit_exceeded(format!(
            "One or more parameter values were invalid: GlobalSecondaryIndex count exceeds the per-table limit of \
             {GLOBAL_INDEXES_MAX}"
        )));
    }
    let projected = |index: &IndexDefinition| match &index.projected {
        Projected::Include(names) => names.len(),
        Projected::All | Projected::KeysOnly => 0,
    };
    let new = create.projection.non_key_attributes.as_ref().map_or(0, Vec::len);
    projected_in_all(table.indexes.iter().map(projected).sum::<usize>() + new)?;
    let attributes = attributes(table, given, &create.key_schema)?;
    let mut index = definition(name, IndexKind::Global, &create.key_schema, &create.projection, &attributes)?;
    settings(&mut index, &create.provisioned_throughput, &create.on_demand_throughput, &create.warm_throughput);
    Ok(IndexChange::Create { index: Box::new(index), attributes })
}

/// The table's attribute definitions with those of a new index; one attribute has one type. Text of the clash unverified.
fn attributes(
    table: &TableDefinition,
    given: &[api::AttributeDefinition],
    keys: &[api::KeySchemaElement],
) -> Result<Vec<AttributeDefinition>, Error> {
    let mut attributes = table.attributes.clone();
    for wanted in given {
        let wanted = attribute(wanted.clone());
        match attributes.iter().find(|known| known.name == wanted.name) {
            Some(known) if known.kind != wanted.kind => {
                return invalid(format!("Cannot change the type of attribute {}", known.name));
            }
            Some(_) => {}
            None if keys.iter().any(|key| key.attribute_name == wanted.name) => attributes.push(wanted),
            // The service takes definitions of attributes that are no key and forgets them.
            None => {}
        }
    }
    Ok(attributes)
}

fn throughput_of_new(table: &TableDefinition, create: &api::CreateGlobalSecondaryIndexAction) -> Result<(), Error> {
    let name = &create.index_name;
    match (table.billing, &create.provisioned_throughput) {
        (BillingMode::PayPerRequest, Some(_)) => invalid(format!(
            "Neither ReadCapacityUnits nor WriteCapacityUnits can be specified for index: {name} when BillingMode is \
             PAY_PER_REQUEST"
        )),
        (BillingMode::Provisioned, None) => {
            invalid(format!("Both ReadCapacityUnits and WriteCapacityUnits must be specified for index: {name}"))
        }
        (_, given) => bounds(given.as_ref()),
    }
}

fn update(
    table: &TableDefinition,
    update: &api::UpdateGlobalSecondaryIndexAction,
    now: Millis,
) -> Result<IndexChange, Error> {
    let index = global(table, &update.index_name, "update")?;
    ready(table, index)?;
    let name = &update.index_name;
    on_demand_form(update.on_demand_throughput.as_ref(), table.billing, false)?;
    bounds(update.provisioned_throughput.as_ref())?;
    let mut changed = index.clone();
    if let Some(given) = &update.provisioned_throughput {
        if table.billing == BillingMode::PayPerRequest {
            return invalid(format!(
                "The only Updates for index: {name} when TableThroughputMode is PAY_PER_REQUEST can be to \
                 OnDemandThroughput, WarmThroughput"
            ));
        }
        let wanted = Throughput { read_units: given.read_capacity_units, write_units: given.write_capacity_units };
        throughput(&mut changed, wanted, now)?;
    }
    settings(&mut changed, &update.provisioned_throughput, &update.on_demand_throughput, &update.warm_throughput);
    Ok(IndexChange::Update { index: Box::new(changed) })
}

fn throughput(index: &mut IndexDefinition, wanted: Throughput, now: Millis) -> Result<(), Error> {
    let current = index.throughput;
    if wanted == current {
        return Err(Error::validation(format!(
            "The provisioned throughput for the index {} will not change. The requested value equals the current value. \
             Current ReadCapacityUnits provisioned for the index: {}. Requested ReadCapacityUnits: {}. Current \
             WriteCapacityUnits provisioned for the index: {}. Requested WriteCapacityUnits: {}. Refer to the Amazon \
             DynamoDB Developer Guide for current limits and how to request higher limits.",
            index.name, current.read_units, wanted.read_units, current.write_units, wanted.write_units
        )));
    }
    if wanted.read_units > current.read_units || wanted.write_units > current.write_units {
        index.throughput_increased = Some(now);
    }
    if wanted.read_units < current.read_units || wanted.write_units < current.write_units {
        let today = index.throughput_decreased.is_some_and(|at| update::same_day(at, now));
        index.throughput_decreases_today = if today { index.throughput_decreases_today + 1 } else { 1 };
        index.throughput_decreased = Some(now);
    }
    Ok(())
}

fn delete(table: &TableDefinition, name: &str) -> Result<IndexChange, Error> {
    let index = global(table, name, "delete")?;
    match index.state {
        // What is being filled may be given up.
        IndexState::Active | IndexState::Backfilling => {}
        IndexState::Creating | IndexState::Updating | IndexState::Deleting => ready(table, index)?,
    }
    if table.indexes.iter().any(|other| other.id != index.id && is_online(other.state)) {
        return Err(one_at_a_time());
    }
    Ok(IndexChange::Delete { index: index.id })
}

fn global<'t>(table: &'t TableDefinition, name: &str, verb: &str) -> Result<&'t IndexDefinition, Error> {
    let missing =
        || errors::resource_not_found(format!("Requested resource not found: Index {name} for table {}", table.name));
    let index = table.index(name).ok_or_else(missing)?;
    match index.kind {
        IndexKind::Global => Ok(index),
        IndexKind::Local => {
            Err(Error::validation(format!("Cannot {verb} an index that is not a GlobalSecondaryIndex: {name}")))
        }
    }
}

/// Refuses to change an index that is not ready. Text by analogy with tables, unverified.
fn ready(table: &TableDefinition, index: &IndexDefinition) -> Result<(), Error> {
    let state = match index.state {
        IndexState::Active => return Ok(()),
        IndexState::Creating | IndexState::Backfilling => "created",
        IndexState::Updating => "updated",
        IndexState::Deleting => "deleted",
    };
    Err(in_use(&format!("Index is being {state}. Table: {}, Index: {}", table.name, index.name)))
}

/// Whether an index is being made or removed.
pub(super) fn is_online(state: IndexState) -> bool {
    matches!(state, IndexState::Creating | IndexState::Backfilling | IndexState::Deleting)
}

/// Changes of indexes that follow from how their table is paid for: throughput goes, or must be given.
pub(super) fn billing(
    input: &api::UpdateTableInput,
    before: &TableDefinition,
    after: &TableDefinition,
) -> Result<Vec<Change>, Error> {
    let global = after.indexes.iter().filter(|index| index.kind == IndexKind::Global);
    let updates = input.global_secondary_index_updates.as_deref().unwrap_or_default();
    match (before.billing, after.billing) {
        (BillingMode::Provisioned, BillingMode::PayPerRequest) => Ok(global
            .map(|index| {
                let index = Box::new(IndexDefinition { throughput: Throughput::default(), ..index.clone() });
                Change::Index { table: after.id, change: IndexChange::Update { index } }
            })
            .collect()),
        (BillingMode::PayPerRequest, BillingMode::Provisioned) => {
            let given = |name: &str| {
                updates.iter().filter_map(|update| update.update.as_ref()).any(|update| update.index_name == name)
            };
            match global.into_iter().find(|index| !given(&index.name)) {
                // Text unverified.
                Some(index) => invalid(format!("ProvisionedThroughput must be specified for index: {}", index.name)),
                None => Ok(Vec::new()),
            }
        }
        (BillingMode::Provisioned, BillingMode::Provisioned)
        | (BillingMode::PayPerRequest, BillingMode::PayPerRequest) => Ok(Vec::new()),
    }
}
