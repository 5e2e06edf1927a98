//! Query and Scan.

use bytes::Bytes;
use headwater_api::dynamodb as api;
use headwater_api::dynamodb::access;
use headwater_api::{Call, Error};
use headwater_catalog::TableDefinition;
use headwater_expression::{Condition, KeyCondition, KeyNames, KeyQuery, Kind, RangeCondition};
use headwater_table::{capacity, query as page, schema};
use headwater_types::Item;
use headwater_types::key::ItemKey;

use super::item::{attributes, consumed, keys, lookup, projected_keys, scalar_keys};
use super::validation::{Parameters, STARTING_KEY};
use super::{error, name, validation};
use crate::service::Operations;

/// Query.
pub(crate) async fn query(
    service: &Operations,
    call: &Call,
    mut input: api::QueryInput,
) -> Result<api::QueryOutput, Error> {
    let table_name = name::table(call, &input.table_name)?;
    let names = input.expression_attribute_names.take();
    let values = input.expression_attribute_values.take();
    query_parameters(&input, names.is_some(), values.is_some())?;
    let start = validation::start_key(input.exclusive_start_key.take())?;
    let Some(key_condition) = input.key_condition_expression.as_deref() else {
        return Err(Error::validation(
            "Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.",
        ));
    };
    let mut substitutions = validation::substitutions(names, values)?;
    let key_condition = KeyCondition::parse(key_condition, &mut substitutions).map_err(error::expression)?;
    let filter = validation::condition(Kind::Filter, input.filter_expression.as_deref(), &mut substitutions)?;
    let projection = validation::projection(input.projection_expression.as_deref(), &mut substitutions)?;
    substitutions.unused().map_err(error::expression)?;
    let count_only = validation::select(input.select, projection.is_some(), input.index_name.is_some())?;
    call.authorize(&access::query(call, &input))?;
    let table = lookup(service, call, &table_name)?;
    no_index(input.index_name.as_deref())?;
    let start_at = start.as_ref().map(|start| start_members(&table, start)).transpose()?;
    let wanted = key_condition.against(&key_names(&table)).map_err(error::expression)?;
    let compared = wanted.range.as_ref().map_or_else(Vec::new, RangeCondition::values);
    schema::check_queried(&table.key_schema, &wanted.hash, &compared).map_err(error::key)?;
    if let Some(start) = &start {
        start_within(&table, start, &wanted)?;
    }
    projected_keys(&table, projection.as_ref())?;
    no_key_in_filter(&table, filter.as_ref())?;
    let source = page::Source::table(&table);
    let query = page::Query {
        hash: vec![wanted.hash],
        equal: Vec::new(),
        range: wanted.range,
        forward: input.scan_index_forward.unwrap_or(true),
        start: start_at.map(|key| schema::storage_key(table.id, &key)),
        shown: page::Shown { limit: limit(input.limit), filter, projection, count_only },
    };
    let page = page::query(&service.log, &source, &query).map_err(error::read)?;
    let units = capacity::read_units(page.bytes_read, input.consistent_read.unwrap_or(false));
    let consumed_capacity = consumed(input.return_consumed_capacity, &input.table_name, units);
    Ok(api::QueryOutput {
        count: count(page.count),
        scanned_count: count(page.scanned),
        last_evaluated_key: page.last_key.map(attributes),
        items: (!count_only).then(|| page.items.into_iter().map(attributes).collect()),
        consumed_capacity,
    })
}

/// Scan.
pub(crate) async fn scan(
    service: &Operations,
    call: &Call,
    mut input: api::ScanInput,
) -> Result<api::ScanOutput, Error> {
    let table_name = name::table(call, &input.table_name)?;
    let names = input.expression_attribute_names.take();
    let values = input.expression_attribute_values.take();
    scan_parameters(&input, names.is_some(), values.is_some())?;
    let start = validation::start_key(input.exclusive_start_key.take())?;
    let segment = validation::segments(input.segment, input.total_segments)?;
    let mut substitutions = validation::substitutions(names, values)?;
    let filter = validation::condition(Kind::Filter, input.filter_expression.as_deref(), &mut substitutions)?;
    let projection = validation::projection(input.projection_expression.as_deref(), &mut substitutions)?;
    substitutions.unused().map_err(error::expression)?;
    let count_only = validation::select(input.select, projection.is_some(), input.index_name.is_some())?;
    call.authorize(&access::scan(call, &input))?;
    let table = lookup(service, call, &table_name)?;
    no_index(input.index_name.as_deref())?;
    let source = page::Source::table(&table);
    let start = start.as_ref().map(|start| scan_start(&source, start, segment)).transpose()?;
    projected_keys(&table, projection.as_ref())?;
    scalar_keys(&table, filter.as_ref())?;
    let shown = page::Shown { limit: limit(input.limit), filter, projection, count_only };
    let scan = page::Scan { segment, start, shown };
    let page = page::scan(&service.log, &source, &scan).map_err(error::read)?;
    let units = capacity::read_units(page.bytes_read, input.consistent_read.unwrap_or(false));
    let consumed_capacity = consumed(input.return_consumed_capacity, &input.table_name, units);
    Ok(api::ScanOutput {
        count: count(page.count),
        scanned_count: count(page.scanned),
        last_evaluated_key: page.last_key.map(attributes),
        items: (!count_only).then(|| page.items.into_iter().map(attributes).collect()),
        consumed_capacity,
    })
}

fn query_parameters(input: &api::QueryInput, names: bool, values: bool) -> Result<(), Error> {
    let legacy = [
        ("AttributesToGet", input.attributes_to_get.is_some()),
        ("QueryFilter", input.query_filter.is_some()),
        ("ConditionalOperator", input.conditional_operator.is_some()),
        ("KeyConditions", input.key_conditions.is_some()),
    ];
    Parameters {
        expressions: &[
            ("ProjectionExpression", input.projection_expression.is_some()),
            ("FilterExpression", input.filter_expression.is_some()),
            ("KeyConditionExpression", input.key_condition_expression.is_some()),
        ],
        legacy: &legacy,
        names,
        values,
    }
    .check()?;
    let instead = ["ProjectionExpression", "FilterExpression", "FilterExpression", "KeyConditionExpression"];
    let legacy: Vec<_> = legacy.iter().zip(instead).map(|((name, given), instead)| (*name, *given, instead)).collect();
    validation::no_legacy(&legacy)
}

fn scan_parameters(input: &api::ScanInput, names: bool, values: bool) -> Result<(), Error> {
    let legacy = [
        ("AttributesToGet", input.attributes_to_get.is_some()),
        ("ScanFilter", input.scan_filter.is_some()),
        ("ConditionalOperator", input.conditional_operator.is_some()),
    ];
    Parameters {
        expressions: &[
            ("ProjectionExpression", input.projection_expression.is_some()),
            ("FilterExpression", input.filter_expression.is_some()),
        ],
        legacy: &legacy,
        names,
        values,
    }
    .check()?;
    let instead = ["ProjectionExpression", "FilterExpression", "FilterExpression"];
    let legacy: Vec<_> = legacy.iter().zip(instead).map(|((name, given), instead)| (*name, *given, instead)).collect();
    validation::no_legacy(&legacy)
}

/// No table has an index.
fn no_index(index: Option<&str>) -> Result<(), Error> {
    match index {
        None => Ok(()),
        Some(index) => Err(Error::validation(format!("The table does not have the specified index: {index}"))),
    }
}

/// The start key has the key's attributes, all and only.
fn start_members(table: &TableDefinition, start: &Item) -> Result<ItemKey, Error> {
    if start.0.len() == keys(table).count() && keys(table).all(|key| start.0.contains_key(key)) {
        return schema::key_of(&table.key_schema, start).map_err(error::key);
    }
    Err(Error::validation("The provided starting key is invalid"))
}

/// The start key lies where the query reads.
fn start_within(table: &TableDefinition, start: &Item, wanted: &KeyQuery) -> Result<(), Error> {
    if let (Some(test), Some(range)) = (&wanted.range, &table.key_schema.range)
        && !start.0.get(&range.name).is_some_and(|value| test.accepts(value))
    {
        return Err(Error::validation("The provided starting key does not match the range key predicate"));
    }
    if start.0.get(&table.key_schema.hash.name) != Some(&wanted.hash) {
        return Err(Error::validation(
            "The provided starting key is outside query boundaries based on provided conditions",
        ));
    }
    Ok(())
}

fn scan_start(source: &page::Source<'_>, start: &Item, segment: Option<(u32, u32)>) -> Result<Bytes, Error> {
    let refused = |cause| {
        let text = error::key(cause);
        Error::validation(format!("{STARTING_KEY}{}", text.message().unwrap_or_default()))
    };
    let key = schema::key_of(&source.table.key_schema, start).map_err(refused)?;
    let position = schema::storage_key(source.table.id, &key);
    match segment {
        Some((segment, total)) if source.segment_of(&position, total) != segment => Err(Error::validation(format!(
            "{STARTING_KEY}Invalid ExclusiveStartKey. Please use ExclusiveStartKey with correct Segment. TotalSegments: \
             {total} Segment: {segment}"
        ))),
        Some(_) | None => Ok(position),
    }
}

fn no_key_in_filter(table: &TableDefinition, filter: Option<&Condition>) -> Result<(), Error> {
    let Some(filter) = filter else { return Ok(()) };
    for key in keys(table) {
        let mut named = false;
        filter.paths(&mut |path| named |= path.top() == key);
        if named {
            return Err(Error::validation(format!(
                "Filter Expression can only contain non-primary key attributes: Primary key attribute: {key}"
            )));
        }
    }
    Ok(())
}

fn key_names(table: &TableDefinition) -> KeyNames<'_> {
    let code = schema::type_code;
    let schema = &table.key_schema;
    KeyNames {
        hash: (&schema.hash.name, code(schema.hash.kind)),
        range: schema.range.as_ref().map(|range| (range.name.as_str(), code(range.kind))),
    }
}

fn limit(given: Option<i32>) -> Option<usize> {
    given.and_then(|limit| usize::try_from(limit).ok())
}

fn count(number: usize) -> Option<i32> {
    Some(i32::try_from(number).unwrap_or(i32::MAX))
}
