//! UpdateTable's changes of global indexes.
//!
//! Source: texts observed by the DynamoDB quirks of AWS Controllers for Kubernetes (October 2026), where not said otherwise.

use headwater_api::Error;
use headwater_api::dynamodb as api;
use headwater_api::dynamodb::errors;
use headwater_catalog::{
    AttributeDefinition, BillingMode, IndexDefinition, IndexKind, IndexState, KeyKind, Projected, TableDefinition,
    Throughput,
};
use headwater_log::{Change, IndexChange};
use headwater_types::Millis;

use super::description::ON_DEMAND;
use super::index_description::warm_units;
use super::indexes::{GLOBAL_INDEXES_MAX, Settings, definition, global_order, projected_in_all, projection};
use super::validation::{bounds, defined, invalid, on_demand_given};
use super::{attribute, in_use, recorded, update};

/// What the request changes of a table's indexes. `table` is the table with the request's other changes, `before` without.
///
/// Errors: LimitExceededException for more than one index made or removed at a time, ResourceNotFoundException for an
///         unknown index, ResourceInUseException for one that is not ready, ValidationException.
pub(super) fn changes(
    input: &api::UpdateTableInput,
    before: &TableDefinition,
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
            (None, Some(update), _) => self::update(before, table, update, now)?,
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
    if let Some(index) = table.index(name) {
        if index.state == IndexState::Deleting {
            return Err(busy(table, index, "Index is being deleted."));
        }
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
    let global = table.indexes.iter().filter(|index| index.kind == IndexKind::Global).count();
    if global >= GLOBAL_INDEXES_MAX {
        return Err(errors::limit_exceeded(format!(
            "Subscriber limit exceeded: Number of global secondary indexes exceeds per-table limit of \
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
    let given = Settings {
        throughput: create.provisioned_throughput.as_ref(),
        on_demand: create.on_demand_throughput.as_ref(),
        warm: create.warm_throughput.as_ref(),
    };
    given.of_new(&mut index, table.billing)?;
    Ok(IndexChange::Create { index: Box::new(index), attributes })
}

/// The table's attribute definitions with those of a new index; one attribute has one type.
///
/// What is defined and no key of the new index is forgotten, also where it contradicts the table (observed: DDB-TABLE-162).
fn attributes(
    table: &TableDefinition,
    given: &[api::AttributeDefinition],
    keys: &[api::KeySchemaElement],
) -> Result<Vec<AttributeDefinition>, Error> {
    let mut attributes = table.attributes.clone();
    let given: Vec<AttributeDefinition> = given.iter().cloned().map(attribute).collect();
    for key in keys {
        let Some(wanted) = given.iter().find(|given| given.name == key.attribute_name) else { continue };
        match attributes.iter().find(|known| known.name == wanted.name) {
            Some(known) if known.kind != wanted.kind => return redefined(table, &wanted.name, &given, keys),
            Some(_) => {}
            None => attributes.push(wanted.clone()),
        }
    }
    Ok(attributes)
}

/// Refuses another type for a key attribute. Source: text quoted by Alternator's tests (test_gsi_updatetable).
fn redefined<T>(
    table: &TableDefinition,
    name: &str,
    given: &[AttributeDefinition],
    keys: &[api::KeySchemaElement],
) -> Result<T, Error> {
    let element = |name: &str, kind: KeyKind, role: &str| {
        format!("SchemaElement: key{{{name}:{}:{role}}}", headwater_table::schema::type_code(kind))
    };
    let own = || table.key_schema.range.iter().map(|key| element(&key.name, key.kind, "RANGE"));
    let of_table =
        std::iter::once(element(&table.key_schema.hash.name, table.key_schema.hash.kind, "HASH")).chain(own());
    let of_index = |index: &IndexDefinition| -> Vec<String> {
        let hash = index.hash.iter().map(|key| element(&key.name, key.kind, "HASH"));
        hash.chain(index.range.iter().map(|key| element(&key.name, key.kind, "RANGE"))).collect()
    };
    let existing: Vec<String> = match table.indexes.iter().find(|index| index.keys().any(|key| key.name == name)) {
        Some(index) if !table.keys().any(|key| key.name == name) => of_index(index),
        Some(_) | None => of_table.collect(),
    };
    let new = keys.iter().filter_map(|key| {
        let kind = given.iter().find(|given| given.name == key.attribute_name)?.kind;
        Some(element(&key.attribute_name, kind, key.key_type.as_str()))
    });
    invalid(format!(
        "Attributes cannot be redefined. Please check that your attribute has the same type as previously defined. Existing \
         schema: Schema:[{}] New schema: Schema:[{}]",
        existing.join(", "),
        new.collect::<Vec<_>>().join(", ")
    ))
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
    before: &TableDefinition,
    table: &TableDefinition,
    update: &api::UpdateGlobalSecondaryIndexAction,
    now: Millis,
) -> Result<IndexChange, Error> {
    let index = global(table, &update.index_name, "update")?;
    match index.state {
        IndexState::Active | IndexState::Backfilling => {}
        IndexState::Creating => return Err(busy(table, index, "Index is being created but is not backfilling yet.")),
        IndexState::Updating => return Err(busy(table, index, "Index is being updated.")),
        IndexState::Deleting => return Err(busy(table, index, "Index is being deleted.")),
    }
    let name = &update.index_name;
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
    if table.billing == BillingMode::Provisioned {
        changed.recorded.remove(ON_DEMAND);
    }
    let given = Settings {
        throughput: update.provisioned_throughput.as_ref(),
        on_demand: update.on_demand_throughput.as_ref(),
        warm: update.warm_throughput.as_ref(),
    };
    given.change(&mut changed, warm_units(before.billing, index), table.billing)?;
    Ok(IndexChange::Update { index: Box::new(changed) })
}

fn throughput(index: &mut IndexDefinition, wanted: Throughput, now: Millis) -> Result<(), Error> {
    let current = index.throughput;
    if wanted == current {
        return Err(Error::validation(format!(
            "The provisioned throughput for the index {} will not change. The requested value equals the current value. \
             Current ReadCapacityUnits provisioned for index {}: {}. Requested ReadCapacityUnits: {}. Current \
             WriteCapacityUnits provisioned for index {}: {}. Requested WriteCapacityUnits: {}. Refer to the Amazon \
             DynamoDB Developer Guide for current limits and how to request higher limits.",
            index.name,
            index.name,
            current.read_units,
            wanted.read_units,
            index.name,
            current.write_units,
            wanted.write_units
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
        IndexState::Creating => {
            return Err(busy(
                table,
                index,
                "Index creation is in resource allocation phase. Retry deletion during backfilling phase or when the index \
                 is active.",
            ));
        }
        IndexState::Updating => return Err(busy(table, index, "Index is being updated.")),
        IndexState::Deleting => return Err(busy(table, index, "Index is being deleted.")),
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

/// Refuses to change an index that is not ready.
fn busy(table: &TableDefinition, index: &IndexDefinition, why: &str) -> Error {
    in_use(&format!("{why} Table: {} Index: {}", table.name, index.name))
}

/// Why a table cannot be changed so while one of its indexes is being made or removed, if it cannot.
/// Source: as observed (DDB-TABLE-163, DDB-TABLE-375, DDB-TABLE-376, DDB-TABLE-458); end of the stream's text unverified.
pub(super) fn blocks(input: &api::UpdateTableInput, table: &TableDefinition) -> Option<String> {
    let moving: Vec<&IndexDefinition> = table.indexes.iter().filter(|index| is_moving(index.state)).collect();
    let made = moving.first()?.state == IndexState::Creating;
    let (doing, noun) = if made { ("created", "creation") } else { ("deleted", "deletion") };
    let updates = input.global_secondary_index_updates.iter().flatten();
    let mut updated = updates.filter_map(|update| update.update.as_ref()).map(|update| &update.index_name);
    // Refused in other words, as a change of that index.
    if updated.any(|name| moving.iter().any(|index| index.name == *name)) {
        return None;
    }
    let names = moving.iter().map(|index| index.name.as_str()).collect::<Vec<_>>().join(", ");
    let switches = match input.billing_mode {
        Some(api::BillingMode::PayPerRequest) => table.billing != BillingMode::PayPerRequest,
        Some(api::BillingMode::Provisioned) => table.billing != BillingMode::Provisioned,
        None => false,
    };
    if switches || input.provisioned_throughput.is_some() {
        return Some(format!(
            "Can't change table IOPS when an index is being {doing}. Table: {} Indexes: [{names}]",
            table.name
        ));
    }
    if input.stream_specification.is_some() {
        return Some(format!(
            "Can't change stream status when an index is being {doing}. Table: {} Indexes: [{names}]",
            table.name
        ));
    }
    on_demand_given(input).map(|_| {
        format!("OnDemandThroughput cannot be updated while index {noun} is in progress for indexes: [{names}]")
    })
}

/// Whether an index is being given its place, or removed: what keeps its table busy.
pub(super) fn is_moving(state: IndexState) -> bool {
    match state {
        IndexState::Creating | IndexState::Deleting => true,
        IndexState::Backfilling | IndexState::Active | IndexState::Updating => false,
    }
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
            .map(|known| {
                let mut index = Box::new(IndexDefinition { throughput: Throughput::default(), ..known.clone() });
                let (now, was) = (warm_units(after.billing, &index), warm_units(before.billing, known));
                recorded::stay_warm(&mut index.recorded, now, was);
                Change::Index { table: after.id, change: IndexChange::Update { index } }
            })
            .collect()),
        (BillingMode::PayPerRequest, BillingMode::Provisioned) => {
            let given = |name: &str| {
                updates.iter().filter_map(|update| update.update.as_ref()).any(|update| update.index_name == name)
            };
            match global.into_iter().find(|index| !given(&index.name)) {
                Some(index) => invalid(format!("ProvisionedThroughput must be specified for index: {}", index.name)),
                None => Ok(Vec::new()),
            }
        }
        (BillingMode::Provisioned, BillingMode::Provisioned)
        | (BillingMode::PayPerRequest, BillingMode::PayPerRequest) => Ok(Vec::new()),
    }
}
