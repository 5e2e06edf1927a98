//! Query and Scan, on tables and on indexes.

mod target;

use std::collections::BTreeMap;

use headwater_api::dynamodb as api;
use headwater_api::dynamodb::access;
use headwater_api::{AnswerItem, Call, Error};
use headwater_catalog::KeyAttribute;
use headwater_expression::{KeyCondition, KeyNames, KeyQuery, Kind, Projection};
use headwater_table::{Row, query as page, schema};

use self::target::Target;
use super::item::{attributes, shown};
use super::validation::Parameters;
use super::{error, legacy, name, validation};
use crate::service::Operations;

/// How Query's refusals of Select begin.
const QUERY: &str = "1 validation error detected: ";

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
    let tests = legacy::filter(input.query_filter.clone(), input.conditional_operator)?;
    let start = validation::start_key(input.exclusive_start_key.take())?;
    let named = legacy::attributes_to_get(input.attributes_to_get.as_deref())?;
    let keys = input.key_conditions.clone().map(legacy::key_conditions).transpose()?;
    let mut substitutions = validation::substitutions(names, values)?;
    let key_condition = input.key_condition_expression.as_deref();
    let key_condition = key_condition.map(|text| KeyCondition::parse(text, &mut substitutions)).transpose();
    let Some(key_condition) = key_condition.map_err(error::expression)?.or(keys) else {
        return Err(Error::validation(
            "Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.",
        ));
    };
    let filter = validation::condition(Kind::Filter, input.filter_expression.as_deref(), &mut substitutions)?;
    let filter = filter.or(tests);
    let projection = validation::projection(input.projection_expression.as_deref(), &mut substitutions)?.or(named);
    substitutions.unused().map_err(error::expression)?;
    let shows = shows(projection.is_some(), input.attributes_to_get.is_some());
    let count_only = validation::select(input.select, shows, input.index_name.is_some(), QUERY)?;
    call.authorize(&access::query(call, &input))?;
    let consistent = input.consistent_read.unwrap_or(false);
    let index = input.index_name.as_deref();
    let mut target = Target::find(service, call, &table_name, index, consistent)?;
    if let Some(start) = &start {
        target.start_shape(start)?;
    }
    let wanted = against(key_condition, &target)?;
    target.check_values(&wanted)?;
    let start_at = start.as_ref().map(|start| target.query_start(start, &wanted)).transpose()?;
    target.scalar_projection(projection.as_ref())?;
    let what = if input.query_filter.is_some() { "QueryFilter" } else { "Filter Expression" };
    target.no_key_in_filter(filter.as_ref(), what)?;
    target.filter_held(filter.as_ref())?;
    target.show(input.select, projection.as_ref())?;
    target.scalar_filter(filter.as_ref())?;
    let query = page::Query {
        hash: wanted.hash,
        equal: wanted.equal,
        range: wanted.range,
        forward: input.scan_index_forward.unwrap_or(true),
        start: start_at,
        shown: page::Shown { limit: limit(input.limit), filter, count_only },
    };
    let page = page::query(&service.log, &target.source(), &query).map_err(error::read)?;
    let consumed_capacity = target.consumed(input.return_consumed_capacity, &input.table_name, &page, consistent);
    Ok(api::QueryOutput {
        count: count(page.count),
        scanned_count: count(page.scanned),
        last_evaluated_key: page.last_key.map(attributes),
        items: (!count_only).then(|| items(&page.rows, projection.as_ref())).transpose()?,
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
    let tests = legacy::filter(input.scan_filter.clone(), input.conditional_operator)?;
    let start = validation::start_key(input.exclusive_start_key.take())?;
    let named = legacy::attributes_to_get(input.attributes_to_get.as_deref())?;
    let segment = validation::segments(input.segment, input.total_segments)?;
    let mut substitutions = validation::substitutions(names, values)?;
    let filter = validation::condition(Kind::Filter, input.filter_expression.as_deref(), &mut substitutions)?;
    let filter = filter.or(tests);
    let projection = validation::projection(input.projection_expression.as_deref(), &mut substitutions)?.or(named);
    substitutions.unused().map_err(error::expression)?;
    let shows = shows(projection.is_some(), input.attributes_to_get.is_some());
    let count_only = validation::select(input.select, shows, input.index_name.is_some(), "")?;
    call.authorize(&access::scan(call, &input))?;
    let consistent = input.consistent_read.unwrap_or(false);
    let index = input.index_name.as_deref();
    let mut target = Target::find(service, call, &table_name, index, consistent)?;
    if let (Some(start), Some(_)) = (&start, index) {
        target.start_shape(start)?;
    }
    target.show(input.select, projection.as_ref())?;
    let start = start.as_ref().map(|start| target.scan_start(start, segment)).transpose()?;
    target.scalar_projection(projection.as_ref())?;
    target.scalar_filter(filter.as_ref())?;
    let shown = page::Shown { limit: limit(input.limit), filter, count_only };
    let scan = page::Scan { segment, start, shown };
    let page = page::scan(&service.log, &target.source(), &scan).map_err(error::read)?;
    let consumed_capacity = target.consumed(input.return_consumed_capacity, &input.table_name, &page, consistent);
    Ok(api::ScanOutput {
        count: count(page.count),
        scanned_count: count(page.scanned),
        last_evaluated_key: page.last_key.map(attributes),
        items: (!count_only).then(|| items(&page.rows, projection.as_ref())).transpose()?,
        consumed_capacity,
    })
}

/// What is shown of a page's items.
fn items(rows: &[Row], projection: Option<&Projection>) -> Result<Vec<AnswerItem>, Error> {
    rows.iter().map(|row| shown(row, projection)).collect()
}

fn names(keys: &[KeyAttribute]) -> Vec<(&str, &str)> {
    keys.iter().map(|key| (key.name.as_str(), schema::type_code(key.kind))).collect()
}

/// Which parameter names the attributes to be shown, if any does.
fn shows(any: bool, legacy: bool) -> Option<&'static str> {
    any.then_some(if legacy { "AttributesToGet" } else { "ProjectionExpression" })
}

/// Holds a key condition to the keys that are queried.
fn against(condition: KeyCondition, target: &Target) -> Result<KeyQuery, Error> {
    let (hash, range) = (names(target.hash()), names(target.range()));
    condition.against(&KeyNames { hash: &hash, range: &range }).map_err(error::expression)
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
    legacy::joins(input.conditional_operator, input.query_filter.as_ref().map(BTreeMap::len))
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
    legacy::joins(input.conditional_operator, input.scan_filter.as_ref().map(BTreeMap::len))
}

fn limit(given: Option<i32>) -> Option<usize> {
    given.and_then(|limit| usize::try_from(limit).ok())
}

fn count(number: usize) -> Option<i32> {
    Some(i32::try_from(number).unwrap_or(i32::MAX))
}
