//! TransactGetItems.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_api::dynamodb as api;
use headwater_api::dynamodb::access;
use headwater_api::{AnswerItem, Call, Error};
use headwater_catalog::TableDefinition;
use headwater_expression::Projection;
use headwater_table::{Row, capacity, schema, transact};
use headwater_types::Item;
use headwater_types::key::ItemKey;
use headwater_types::limits::TRANSACTION_BYTES_MAX;

use super::{Fault, distinct, sound};
use crate::dynamodb::consumed::{Shown, Used};
use crate::dynamodb::item::{lookup, projected_keys, shown};
use crate::dynamodb::validation::{self, Parameters};
use crate::dynamodb::{error, name};
use crate::service::Operations;

/// A checked read.
struct Request {
    given: String,
    table: String,
    key: Item,
    projection: Option<Projection>,
}

/// TransactGetItems: all items as of one moment.
pub(crate) async fn get(
    service: &Operations,
    call: &Call,
    input: api::TransactGetItemsInput,
) -> Result<api::TransactGetItemsOutput, Error> {
    let named = input.transact_items.iter().enumerate();
    name::all(
        named.map(|(at, item)| (format!("transactItems.{}.member.get.tableName", at + 1), &*item.get.table_name)),
    )?;
    let requests: Vec<Request> =
        input.transact_items.iter().map(|item| Request::checked(call, &item.get)).collect::<Result<_, _>>()?;
    call.authorize(&access::transact_get_items(call, &input))?;
    let mut tables = Vec::with_capacity(requests.len());
    for request in &requests {
        tables.push(lookup(service, call, &request.table)?);
    }
    let keys = keys(&requests, &tables)?;
    distinct(keys.iter().map(|(table, key)| schema::storage_key(*table, key)))?;
    let rows = transact::get(&service.log, &keys).map_err(error::read)?;
    let sizes: Vec<usize> = rows.iter().map(|row| row.as_ref().map_or(0, Row::size_bytes)).collect();
    if sizes.iter().sum::<usize>() > TRANSACTION_BYTES_MAX {
        // Text unverified.
        return Err(Error::validation("Aggregate size of the items in the transaction cannot exceed 4 MB"));
    }
    let mut responses = Vec::with_capacity(rows.len());
    for (request, row) in requests.iter().zip(rows) {
        let item = row.map(|row| response(&row, request.projection.as_ref())).transpose()?.flatten();
        responses.push(api::ItemResponse { item });
    }
    let mut used: BTreeMap<&str, Used> = BTreeMap::new();
    for (request, size) in requests.iter().zip(sizes) {
        used.entry(&request.given).or_default().add(&Used::table(capacity::read_units(size, true)).doubled());
    }
    let consumed =
        used.iter().filter_map(|(table, used)| used.shown(input.return_consumed_capacity, table, Shown::Reads));
    let consumed: Vec<_> = consumed.collect();
    Ok(api::TransactGetItemsOutput {
        consumed_capacity: (!consumed.is_empty()).then_some(consumed),
        responses: Some(responses),
    })
}

/// What is shown of an item. One of which nothing is asked for is left out, other than GetItem does.
fn response(row: &Row, projection: Option<&Projection>) -> Result<Option<AnswerItem>, Error> {
    let Some(projection) = projection else { return shown(row, None).map(Some) };
    let part = projection.apply(&row.item().map_err(error::corrupt)?);
    Ok((!part.0.is_empty()).then(|| part.into()))
}

impl Request {
    fn checked(call: &Call, get: &api::Get) -> Result<Self, Error> {
        let table = name::table(call, &get.table_name)?;
        Parameters {
            expressions: &[("ProjectionExpression", get.projection_expression.is_some())],
            legacy: &[],
            names: get.expression_attribute_names.is_some(),
            values: false,
        }
        .check()?;
        let key = validation::item_ref(&get.key)?;
        let mut substitutions = validation::substitutions(get.expression_attribute_names.clone(), None)?;
        let projection = validation::projection(get.projection_expression.as_deref(), &mut substitutions)?;
        substitutions.unused().map_err(error::expression)?;
        Ok(Self { given: get.table_name.clone(), table, key, projection })
    }
}

fn keys(
    requests: &[Request],
    tables: &[Arc<TableDefinition>],
) -> Result<Vec<(headwater_types::TableId, ItemKey)>, Error> {
    let key = |(request, table): (&Request, &Arc<TableDefinition>)| {
        let key = schema::key_of(&table.key_schema, &request.key).map_err(|cause| Fault::key(cause, false))?;
        projected_keys(table, request.projection.as_ref()).map_err(Fault::within)?;
        Ok((table.id, key))
    };
    sound(requests.iter().zip(tables).map(key).collect())
}
