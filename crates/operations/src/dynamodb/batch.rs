//! BatchGetItem and BatchWriteItem.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use headwater_api::dynamodb as api;
use headwater_api::dynamodb::{
    KeysAndAttributes, PutRequest, ReturnConsumedCapacity, ReturnItemCollectionMetrics, WriteRequest, access,
};
use headwater_api::{AnswerItem, Call, Error};
use headwater_catalog::TableDefinition;
use headwater_expression::Projection;
use headwater_table::{self as table, Action, Refusal, Row, Write, Written, capacity, index, schema};
use headwater_types::Item;
use headwater_types::key::ItemKey;
use headwater_types::limits::{BATCH_GET_BYTES_MAX, BATCH_GET_ITEMS_MAX, BATCH_WRITE_ITEMS_MAX};
use headwater_types::stored;

use super::consumed::{Shown, Used, collection, measured};
use super::item::{consumed, fits, lookup, projected_keys, shown};
use super::validation::Parameters;
use super::{error, legacy, name, validation};
use crate::service::Operations;

const DUPLICATES: &str = "Provided list of item keys contains duplicates";

/// The checked part of a BatchGetItem for one table.
struct Wanted {
    table: String,
    keys: Vec<Item>,
    projection: Option<Projection>,
}

/// BatchGetItem.
///
/// Shape: what would make the answer larger than 16 MB stays in UnprocessedKeys, with the table's options.
pub(crate) async fn get(
    service: &Operations,
    call: &Call,
    input: api::BatchGetItemInput,
) -> Result<api::BatchGetItemOutput, Error> {
    let mut wanted = Vec::new();
    let mut count = 0;
    for (given, request) in &input.request_items {
        wanted.push(get_request(call, given, request, &mut count)?);
    }
    call.authorize(&access::batch_get_item(call, &input))?;
    let mut found = Vec::new();
    for wanted in &wanted {
        let table = lookup(service, call, &wanted.table)?;
        let keys = wanted.keys.iter().map(|key| schema::key_of(&table.key_schema, key));
        let keys: Vec<ItemKey> = keys.collect::<Result<_, _>>().map_err(error::key)?;
        projected_keys(&table, wanted.projection.as_ref())?;
        found.push((table, keys));
    }
    let mut answer = Gathered::default();
    for (((given, request), wanted), (table, keys)) in input.request_items.iter().zip(&wanted).zip(&found) {
        answer.table(service, given, request, wanted.projection.as_ref(), table, keys)?;
    }
    let consumed =
        answer.units.iter().filter_map(|(table, units)| consumed(input.return_consumed_capacity, table, *units));
    let consumed: Vec<_> = consumed.collect();
    Ok(api::BatchGetItemOutput {
        responses: Some(answer.responses),
        unprocessed_keys: Some(answer.unprocessed),
        consumed_capacity: (!consumed.is_empty()).then_some(consumed),
    })
}

fn get_request(call: &Call, given: &str, request: &KeysAndAttributes, count: &mut usize) -> Result<Wanted, Error> {
    let table = name::table(call, given)?;
    Parameters {
        expressions: &[("ProjectionExpression", request.projection_expression.is_some())],
        legacy: &[("AttributesToGet", request.attributes_to_get.is_some())],
        names: request.expression_attribute_names.is_some(),
        values: false,
    }
    .check()?;
    let named = legacy::attributes_to_get(request.attributes_to_get.as_deref())?;
    let mut substitutions = validation::substitutions(request.expression_attribute_names.clone(), None)?;
    let projection = validation::projection(request.projection_expression.as_deref(), &mut substitutions)?.or(named);
    substitutions.unused().map_err(error::expression)?;
    let (mut keys, mut seen) = (Vec::new(), BTreeSet::new());
    for key in &request.keys {
        let key = validation::item_ref(key)?;
        let mut bytes = Vec::new();
        stored::encode(&key, &mut bytes);
        if !seen.insert(bytes) {
            return Err(Error::validation(DUPLICATES));
        }
        *count += 1;
        if *count > BATCH_GET_ITEMS_MAX {
            return Err(Error::validation("Too many items requested for the BatchGetItem call"));
        }
        keys.push(key);
    }
    Ok(Wanted { table, keys, projection })
}

/// An answer of BatchGetItem while it grows.
#[derive(Default)]
struct Gathered {
    responses: BTreeMap<String, Vec<AnswerItem>>,
    unprocessed: BTreeMap<String, KeysAndAttributes>,
    units: BTreeMap<String, f64>,
    bytes: usize,
    full: bool,
}

impl Gathered {
    fn table(
        &mut self,
        service: &Operations,
        given: &str,
        request: &KeysAndAttributes,
        projection: Option<&Projection>,
        definition: &TableDefinition,
        keys: &[ItemKey],
    ) -> Result<(), Error> {
        let consistent = request.consistent_read.unwrap_or(false);
        let mut items = Vec::new();
        let mut units = 0.0;
        let mut read = 0;
        for key in keys {
            let Some(item) = self.read(service, definition, key, projection, consistent, &mut units)? else { break };
            items.extend(item);
            read += 1;
        }
        if let Some(left) = request.keys.get(read..).filter(|left| !left.is_empty()) {
            self.unprocessed.insert(given.to_owned(), KeysAndAttributes { keys: left.to_vec(), ..request.clone() });
        }
        self.responses.insert(given.to_owned(), items);
        self.units.insert(given.to_owned(), units);
        Ok(())
    }

    /// Reads one key; `None` once the answer is full.
    fn read(
        &mut self,
        service: &Operations,
        definition: &TableDefinition,
        key: &ItemKey,
        projection: Option<&Projection>,
        consistent: bool,
        units: &mut f64,
    ) -> Result<Option<Option<AnswerItem>>, Error> {
        if self.full {
            return Ok(None);
        }
        let found = table::get(&service.log, definition.id, key).map_err(error::read)?;
        let size = found.as_ref().map_or(0, Row::size_bytes);
        let (shown, shown_bytes) = match (found, projection) {
            (None, _) => (None, 0),
            (Some(row), None) => (Some(shown(&row, None)?), size),
            (Some(row), Some(projection)) => {
                let item = projection.apply(&row.item().map_err(error::corrupt)?);
                let shown_bytes = item.size_bytes();
                (Some(item.into()), shown_bytes)
            }
        };
        let bytes = self.bytes + shown_bytes;
        if bytes > BATCH_GET_BYTES_MAX {
            self.full = true;
            return Ok(None);
        }
        self.bytes = bytes;
        *units += capacity::read_units(size, consistent);
        Ok(Some(shown))
    }
}

/// One checked write of a batch, and where in the request it stands.
struct Planned<'r> {
    given: &'r str,
    request: &'r WriteRequest,
    table: Arc<TableDefinition>,
    key: Item,
    write: Write,
}

/// What a write of a batch does, checked for itself.
enum Change {
    Put(Row),
    Delete(Item),
}

/// BatchWriteItem.
///
/// Shape: any wrong write refuses the whole batch; a write that only the moment keeps from being done stays in
///        UnprocessedItems, and if that is so of all, the call fails.
/// Order: the writes go their own ways, each is a record of its own.
pub(crate) async fn write(
    service: &Operations,
    call: &Call,
    input: api::BatchWriteItemInput,
) -> Result<api::BatchWriteItemOutput, Error> {
    let mut checked = Vec::new();
    for (given, requests) in &input.request_items {
        let table = name::table(call, given)?;
        checked.push((given, table, changes(requests)?));
    }
    if checked.iter().map(|(_, _, changes)| changes.len()).sum::<usize>() > BATCH_WRITE_ITEMS_MAX {
        return Err(Error::validation("Too many items requested for the BatchWriteItem call"));
    }
    call.authorize(&access::batch_write_item(call, &input))?;
    let mut planned = Vec::new();
    // Over all tables: one may be given by its name and by its ARN.
    let mut seen = BTreeSet::new();
    for (given, table, changes) in checked {
        let table = lookup(service, call, &table)?;
        planned.extend(plan(given, &table, changes, &mut seen)?);
    }
    let (mut places, mut writes) = (Vec::new(), Vec::new());
    for Planned { given, request, table, key, write } in planned {
        places.push(Place { given, request, table, key });
        writes.push(table::write(&service.log, write));
    }
    let outcomes = join_all(writes).await;
    gather(&places, outcomes, input.return_consumed_capacity, input.return_item_collection_metrics)
}

/// Where in the request a write stands, and what it is on.
struct Place<'r> {
    given: &'r str,
    request: &'r WriteRequest,
    table: Arc<TableDefinition>,
    key: Item,
}

fn changes(requests: &[WriteRequest]) -> Result<Vec<(Change, &WriteRequest)>, Error> {
    let is_one = |request: &WriteRequest| request.put_request.is_some() != request.delete_request.is_some();
    if !requests.iter().all(is_one) {
        // The service's words, whatever they say.
        return Err(Error::validation(
            "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes",
        ));
    }
    let change = |request| match request {
        &WriteRequest { put_request: Some(PutRequest { ref item }), .. } => {
            let row = validation::new_row(item)?;
            fits(item, &row)?;
            Ok((Change::Put(row), request))
        }
        WriteRequest { delete_request: Some(delete), .. } => {
            Ok((Change::Delete(validation::item_ref(&delete.key)?), request))
        }
        WriteRequest { put_request: None, delete_request: None } => {
            Err(Error::internal("a write of nothing was checked"))
        }
    };
    requests.iter().map(change).collect()
}

fn plan<'r>(
    given: &'r str,
    table: &Arc<TableDefinition>,
    changes: Vec<(Change, &'r WriteRequest)>,
    seen: &mut BTreeSet<Bytes>,
) -> Result<Vec<Planned<'r>>, Error> {
    let mut planned = Vec::new();
    for (change, request) in changes {
        let (key, key_item, action) = match change {
            Change::Put(row) => {
                let key_item = schema::keys_of_row(&table.key_schema, &row).map_err(error::corrupt)?;
                let key = schema::item_key(&table.key_schema, &key_item).map_err(error::key)?;
                let fits = index::check(table, &row).map_err(error::corrupt)?;
                fits.map_err(|cause| error::index_key(&cause, false))?;
                (key, key_item, Action::Put(row))
            }
            Change::Delete(key) => (schema::key_of(&table.key_schema, &key).map_err(error::key)?, key, Action::Delete),
        };
        if !seen.insert(schema::storage_key(table.id, &key)) {
            return Err(Error::validation(DUPLICATES));
        }
        let write = Write::new(table, &key, key_item.clone(), action, None);
        planned.push(Planned { given, request, table: table.clone(), key: key_item, write });
    }
    Ok(planned)
}

fn gather(
    places: &[Place<'_>],
    outcomes: Vec<Result<Written, Refusal>>,
    wanted: Option<ReturnConsumedCapacity>,
    metrics: Option<ReturnItemCollectionMetrics>,
) -> Result<api::BatchWriteItemOutput, Error> {
    let mut unprocessed: BTreeMap<String, Vec<WriteRequest>> = BTreeMap::new();
    let mut used: BTreeMap<&str, Used> = BTreeMap::new();
    let mut collections: BTreeMap<String, Vec<api::ItemCollectionMetrics>> = BTreeMap::new();
    let mut last = None;
    for (place, outcome) in places.iter().zip(outcomes) {
        match outcome {
            Ok(written) => {
                used.entry(place.given).or_default().add(&Used::write(&written));
                if let Some(shown) = collection(measured(metrics, &place.table, &place.key), &written) {
                    collections.entry(place.given.to_owned()).or_default().push(shown);
                }
            }
            Err(Refusal::Log(headwater_log::Error::Full)) => {
                unprocessed.entry(place.given.to_owned()).or_default().push(place.request.clone());
                last = Some(Refusal::Log(headwater_log::Error::Full));
            }
            Err(refusal) => return Err(error::refusal(refusal, false)),
        }
    }
    if let (Some(refusal), true) = (last, used.is_empty()) {
        return Err(error::refusal(refusal, false));
    }
    let consumed: Vec<_> = used.iter().filter_map(|(table, used)| used.shown(wanted, table, Shown::Plain)).collect();
    Ok(api::BatchWriteItemOutput {
        unprocessed_items: Some(unprocessed),
        item_collection_metrics: (!collections.is_empty()).then_some(collections),
        consumed_capacity: (!consumed.is_empty()).then_some(consumed),
    })
}
