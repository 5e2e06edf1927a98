//! PutItem, GetItem, UpdateItem, DeleteItem.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_api::dynamodb as api;
use headwater_api::dynamodb::{
    ConditionalOperator, ReturnConsumedCapacity, ReturnValue, ReturnValuesOnConditionCheckFailure, access,
};
use headwater_api::{AnswerItem, AttributeValue, Call, Error, NewItem};
use headwater_catalog::{IndexDefinition, KeyAttribute, TableDefinition, TableState};
use headwater_expression::{Condition, Kind, Path, Projection, Update};
use headwater_table::{self as table, Action, Row, Write, Written, capacity, schema};
use headwater_types::Item;
use headwater_types::limits::{ITEM_SIZE_BYTES_MAX, NESTING_LEVELS_MAX};

use super::consumed::{Shown, Used, collection, measured};
use super::validation::{Attributes, Parameters};
use super::{error, legacy, name, validation};
use crate::service::Operations;

/// PutItem.
pub(crate) async fn put(
    service: &Operations,
    call: &Call,
    mut input: api::PutItemInput,
) -> Result<api::PutItemOutput, Error> {
    let table_name = name::table(call, &input.table_name)?;
    let names = input.expression_attribute_names.take();
    let values = input.expression_attribute_values.take();
    let expected = input.expected.as_ref().map(BTreeMap::len);
    conditional(&input.condition_expression, expected, input.conditional_operator, names.is_some(), values.is_some())?;
    let row = validation::new_row(&input.item)?;
    let all_old = validation::all_old(input.return_values)?;
    fits(&input.item, &row)?;
    let expected = legacy::expected(input.expected.clone(), input.conditional_operator)?;
    let mut substitutions = validation::substitutions(names, values)?;
    let condition = validation::condition(Kind::Condition, input.condition_expression.as_deref(), &mut substitutions)?;
    let condition = condition.or(expected);
    substitutions.unused().map_err(error::expression)?;
    call.authorize(&access::put_item(call, &input))?;
    let definition = lookup(service, call, &table_name)?;
    let key = schema::row_key(&definition.key_schema, &row).map_err(error::corrupt)?.map_err(error::put_key)?;
    scalar_keys(&definition, condition.as_ref())?;
    let measured = match input.return_item_collection_metrics {
        None => None,
        wanted => {
            let key_item = schema::keys_of_row(&definition.key_schema, &row).map_err(error::corrupt)?;
            measured(wanted, &definition, &key_item)
        }
    };
    let write = Write::new(&definition, &key, Item::default(), Action::Put(row), condition);
    let show_old = on_failure(input.return_values_on_condition_check_failure);
    let written = table::write(&service.log, write).await.map_err(|refusal| error::refusal(refusal, show_old))?;
    Ok(api::PutItemOutput {
        consumed_capacity: write_capacity(input.return_consumed_capacity, &input.table_name, &written),
        item_collection_metrics: collection(measured, &written),
        attributes: written.old.filter(|_| all_old).map(|row| shown(&row, None)).transpose()?,
    })
}

/// GetItem.
pub(crate) async fn get(
    service: &Operations,
    call: &Call,
    mut input: api::GetItemInput,
) -> Result<api::GetItemOutput, Error> {
    let table_name = name::table(call, &input.table_name)?;
    let names = input.expression_attribute_names.take();
    Parameters {
        expressions: &[("ProjectionExpression", input.projection_expression.is_some())],
        legacy: &[("AttributesToGet", input.attributes_to_get.is_some())],
        names: names.is_some(),
        values: false,
    }
    .check()?;
    let key = validation::item(std::mem::take(&mut input.key))?;
    let named = legacy::attributes_to_get(input.attributes_to_get.as_deref())?;
    let mut substitutions = validation::substitutions(names, None)?;
    let projection = validation::projection(input.projection_expression.as_deref(), &mut substitutions)?.or(named);
    substitutions.unused().map_err(error::expression)?;
    call.authorize(&access::get_item(call, &input))?;
    let definition = lookup(service, call, &table_name)?;
    let key = schema::key_of(&definition.key_schema, &key).map_err(error::key)?;
    projected_keys(&definition, projection.as_ref())?;
    let found = table::get(&service.log, definition.id, &key).map_err(error::read)?;
    let size = found.as_ref().map_or(0, Row::size_bytes);
    let units = capacity::read_units(size, input.consistent_read.unwrap_or(false));
    Ok(api::GetItemOutput {
        item: found.map(|row| shown(&row, projection.as_ref())).transpose()?,
        consumed_capacity: consumed(input.return_consumed_capacity, &input.table_name, units),
    })
}

/// UpdateItem.
pub(crate) async fn update(
    service: &Operations,
    call: &Call,
    mut input: api::UpdateItemInput,
) -> Result<api::UpdateItemOutput, Error> {
    let table_name = name::table(call, &input.table_name)?;
    let names = input.expression_attribute_names.take();
    let values = input.expression_attribute_values.take();
    update_parameters(&input, names.is_some(), values.is_some())?;
    let key_item = validation::item(std::mem::take(&mut input.key))?;
    let changes = legacy::updates(input.attribute_updates.clone())?;
    let expected = legacy::expected(input.expected.clone(), input.conditional_operator)?;
    let mut substitutions = validation::substitutions(names, values)?;
    let update = input.update_expression.as_deref();
    let update = update.map(|text| Update::parse(text, &mut substitutions)).transpose().map_err(error::expression)?;
    let condition = validation::condition(Kind::Condition, input.condition_expression.as_deref(), &mut substitutions)?;
    let (update, condition) = (update.or(changes), condition.or(expected));
    substitutions.unused().map_err(error::expression)?;
    call.authorize(&access::update_item(call, &input))?;
    let definition = lookup(service, call, &table_name)?;
    let key = schema::key_of(&definition.key_schema, &key_item).map_err(error::key)?;
    if let Some(update) = &update {
        updatable(&definition, update)?;
    }
    scalar_keys(&definition, condition.as_ref())?;
    let wanted = input.return_values.unwrap_or(ReturnValue::None);
    let touched = update.as_ref().map(Update::touched);
    let measured = measured(input.return_item_collection_metrics, &definition, &key_item);
    let write = Write::new(&definition, &key, key_item, Action::Update(update), condition);
    let show_old = on_failure(input.return_values_on_condition_check_failure);
    let written = table::write(&service.log, write).await.map_err(|refusal| error::refusal(refusal, show_old))?;
    Ok(api::UpdateItemOutput {
        consumed_capacity: write_capacity(input.return_consumed_capacity, &input.table_name, &written),
        item_collection_metrics: collection(measured, &written),
        attributes: returned(wanted, written, touched.as_ref())?,
    })
}

/// DeleteItem.
pub(crate) async fn delete(
    service: &Operations,
    call: &Call,
    mut input: api::DeleteItemInput,
) -> Result<api::DeleteItemOutput, Error> {
    let table_name = name::table(call, &input.table_name)?;
    let names = input.expression_attribute_names.take();
    let values = input.expression_attribute_values.take();
    let expected = input.expected.as_ref().map(BTreeMap::len);
    conditional(&input.condition_expression, expected, input.conditional_operator, names.is_some(), values.is_some())?;
    let key_item = validation::item(std::mem::take(&mut input.key))?;
    let all_old = validation::all_old(input.return_values)?;
    let expected = legacy::expected(input.expected.clone(), input.conditional_operator)?;
    let mut substitutions = validation::substitutions(names, values)?;
    let condition = validation::condition(Kind::Condition, input.condition_expression.as_deref(), &mut substitutions)?;
    let condition = condition.or(expected);
    substitutions.unused().map_err(error::expression)?;
    call.authorize(&access::delete_item(call, &input))?;
    let definition = lookup(service, call, &table_name)?;
    let key = schema::key_of(&definition.key_schema, &key_item).map_err(error::key)?;
    scalar_keys(&definition, condition.as_ref())?;
    let measured = measured(input.return_item_collection_metrics, &definition, &key_item);
    let write = Write::new(&definition, &key, key_item, Action::Delete, condition);
    let show_old = on_failure(input.return_values_on_condition_check_failure);
    let written = table::write(&service.log, write).await.map_err(|refusal| error::refusal(refusal, show_old))?;
    Ok(api::DeleteItemOutput {
        consumed_capacity: write_capacity(input.return_consumed_capacity, &input.table_name, &written),
        item_collection_metrics: collection(measured, &written),
        attributes: written.old.filter(|_| all_old).map(|row| shown(&row, None)).transpose()?,
    })
}

/// A table whose items can be read and written.
///
/// Errors: ResourceNotFoundException, also while it is being made or deleted.
pub(super) fn lookup(service: &Operations, call: &Call, name: &str) -> Result<Arc<TableDefinition>, Error> {
    let catalog = service.log.catalog().map_err(error::refused)?;
    let table = catalog.table(&name::scope(call), name).ok_or_else(error::no_table)?;
    match table.state {
        TableState::Active | TableState::Updating => Ok(table.clone()),
        TableState::Creating | TableState::Deleting => Err(error::no_table()),
    }
}

/// Refuses an item over the limits before its table is looked up.
/// Source: of the nesting, dynamodb-conformance (observed on AWS: nestingDepth); bare in batches and transactions.
pub(super) fn fits(item: &NewItem, row: &Row) -> Result<(), Error> {
    if item.depth() >= NESTING_LEVELS_MAX {
        return Err(Error::validation(
            "Nesting Levels have exceeded supported limits: Attributes in the item have nested levels beyond supported \
             limit",
        ));
    }
    if row.size_bytes() > ITEM_SIZE_BYTES_MAX {
        return Err(Error::validation("Item size has exceeded the maximum allowed size"));
    }
    Ok(())
}

/// Refuses a projection that goes into a key attribute, as keys are scalars.
pub(super) fn projected_keys(table: &TableDefinition, projection: Option<&Projection>) -> Result<(), Error> {
    projection.into_iter().flat_map(Projection::paths).try_for_each(|path| scalar_path(table, path))
}

/// Refuses a condition or filter that goes into a key attribute, as keys are scalars.
pub(super) fn scalar_keys(table: &TableDefinition, condition: Option<&Condition>) -> Result<(), Error> {
    let mut refusal = Ok(());
    if let Some(condition) = condition {
        condition.paths(&mut |path| {
            if refusal.is_ok() {
                refusal = scalar_path(table, path);
            }
        });
    }
    refusal
}

/// Key attributes for an answer.
pub(crate) fn attributes(item: Item) -> Attributes {
    item.0.into_iter().map(|(name, value)| (name, AttributeValue::from(value))).collect()
}

/// ConsumedCapacity of a read, if it was asked for.
pub(super) fn consumed(
    wanted: Option<ReturnConsumedCapacity>,
    table: &str,
    units: f64,
) -> Option<api::ConsumedCapacity> {
    Used::table(units).shown(wanted, table, Shown::Plain)
}

/// A stored item for an answer, or what a projection takes from it. Errors: a fault when it is corrupt.
pub(crate) fn shown(row: &Row, projection: Option<&Projection>) -> Result<AnswerItem, Error> {
    let shown = match projection {
        Some(projection) => row.item().map(|item| projection.apply(&item).into()),
        None => row.item_bytes().map(AnswerItem::stored),
    };
    shown.map_err(error::corrupt)
}

/// A stored item for an error, which nobody could tell of damage any more. Errors: a fault when it is corrupt.
pub(super) fn shown_in_error(row: &Row) -> Result<AnswerItem, Error> {
    row.item().map(AnswerItem::from).map_err(error::corrupt)
}

fn write_capacity(
    wanted: Option<ReturnConsumedCapacity>,
    table: &str,
    written: &Written,
) -> Option<api::ConsumedCapacity> {
    Used::write(written).shown(wanted, table, Shown::Plain)
}

/// Parameters of a write whose only expression is its condition; `expected` counts the attributes of Expected.
fn conditional(
    expression: &Option<String>,
    expected: Option<usize>,
    operator: Option<ConditionalOperator>,
    names: bool,
    values: bool,
) -> Result<(), Error> {
    Parameters {
        expressions: &[("ConditionExpression", expression.is_some())],
        legacy: &[("Expected", expected.is_some())],
        names,
        values,
    }
    .check()?;
    legacy::joins(operator, expected)
}

fn update_parameters(input: &api::UpdateItemInput, names: bool, values: bool) -> Result<(), Error> {
    let (updates, expected) = (input.attribute_updates.is_some(), input.expected.is_some());
    Parameters {
        expressions: &[
            ("UpdateExpression", input.update_expression.is_some()),
            ("ConditionExpression", input.condition_expression.is_some()),
        ],
        legacy: &[("AttributeUpdates", updates), ("Expected", expected)],
        names,
        values,
    }
    .check()?;
    legacy::joins(input.conditional_operator, input.expected.as_ref().map(BTreeMap::len))
}

/// What UpdateItem hands out; nothing rather than an empty map.
fn returned(wanted: ReturnValue, written: Written, touched: Option<&Projection>) -> Result<Option<AnswerItem>, Error> {
    let (row, whole) = match wanted {
        ReturnValue::None => return Ok(None),
        ReturnValue::AllOld => (written.old, true),
        ReturnValue::AllNew => (written.new, true),
        ReturnValue::UpdatedOld => (written.old, false),
        ReturnValue::UpdatedNew => (written.new, false),
    };
    let Some(row) = row else { return Ok(None) };
    if whole {
        return shown(&row, None).map(Some);
    }
    let item = row.item().map_err(error::corrupt)?;
    let item = touched.map(|touched| touched.apply(&item));
    Ok(item.filter(|item| !item.0.is_empty()).map(AnswerItem::from))
}

fn on_failure(wanted: Option<ReturnValuesOnConditionCheckFailure>) -> bool {
    wanted == Some(ReturnValuesOnConditionCheckFailure::AllOld)
}

/// Refuses an update that writes key attributes of the table, or goes into one of it or its indexes.
pub(super) fn updatable(table: &TableDefinition, update: &Update) -> Result<(), Error> {
    for key in keys(table) {
        if update.targets().any(|path| path.top() == key) {
            return Err(Error::validation(format!(
                "One or more parameter values were invalid: Cannot update attribute {key}. This attribute is part of the \
                 key"
            )));
        }
    }
    let mut refusal = Ok(());
    update.paths(&mut |path| {
        if refusal.is_ok() {
            refusal = scalar_path(table, path);
        }
    });
    refusal
}

/// Refuses a path into a key attribute of the table or of one of its indexes.
/// Source: observed by dynalite's tests (query, scan, updateItem).
pub(super) fn scalar_path(table: &TableDefinition, path: &Path) -> Result<(), Error> {
    if path.is_top_level() {
        return Ok(());
    }
    let named = |key: &KeyAttribute| key.name == path.top();
    let whose = if table.keys().any(named) {
        "Key"
    } else if table.maintained().flat_map(IndexDefinition::keys).any(named) {
        "IndexKey"
    } else {
        return Ok(());
    };
    Err(Error::validation(format!(
        "Key attributes must be scalars; list random access '[]' and map lookup '.' are not allowed: {whose}: {}",
        path.top()
    )))
}

/// Names of a table's key attributes.
pub(super) fn keys(table: &TableDefinition) -> impl Iterator<Item = &str> {
    let schema = &table.key_schema;
    std::iter::once(schema.hash.name.as_str()).chain(schema.range.iter().map(|range| range.name.as_str()))
}
