//! CreateTable, DescribeTable, ListTables, DeleteTable, DescribeLimits, DescribeEndpoints.

pub(crate) mod description;
mod index_description;
mod index_updates;
mod indexes;
mod recorded;
pub(crate) mod update;
mod validation;

use std::sync::Arc;

use headwater_api::dynamodb as api;
use headwater_api::dynamodb::{access, errors};
use headwater_api::{Call, Error};
use headwater_catalog::{
    AttributeDefinition, BillingMode, IndexDefinition, IndexState, KeyAttribute, KeyKind, KeySchema, Snapshot,
    StreamView, TableDefinition, TableState, Throughput,
};
use headwater_log::{Change, Defined, Definition};
use headwater_types::{Millis, Scope};

use self::description::{Answer, Sizes, describe, warm_units};
use self::recorded::Of;
pub(crate) use self::validation::invalid;
use super::policy::Document;
use super::{error, name, policy, tags};
use crate::service::Operations;

/// Largest page of ListTables. Source: "ListTables", DynamoDB API reference.
const NAMES_MAX: usize = 100;
/// Source: "DescribeLimits", DynamoDB API reference: initial quotas of an account in a Region.
const ACCOUNT_UNITS_MAX: i64 = 80_000;
/// Source: as above, of one table.
const TABLE_UNITS_MAX: i64 = 40_000;
/// Source: DescribeEndpoints of the service.
const ENDPOINT_CACHE_MINUTES: i64 = 1_440;

/// What a change of definitions comes to: the table as it now is, or the service's refusal.
type Changed = Result<Arc<TableDefinition>, Error>;

/// CreateTable.
pub(crate) async fn create(
    service: &Operations,
    call: &Call,
    input: api::CreateTableInput,
) -> Result<api::CreateTableOutput, Error> {
    let table_name = name::table(call, &input.table_name)?;
    validation::create(&input)?;
    let policy = policy::of_new(service, input.resource_policy.as_deref())?;
    call.authorize(&access::create_table(call, &input))?;
    let stream = input.stream_specification.as_ref().and_then(|stream| stream.stream_view_type).map(view);
    let table = definition(name::scope(call), table_name, input)?;
    let created = service.log.define(Create { table, stream, policy }).await.map_err(error::defining)??;
    let catalog = service.log.catalog().map_err(error::defining)?;
    let description = describe(&created, &catalog, &Sizes::default(), Answer::Changed);
    Ok(api::CreateTableOutput { table_description: Some(description) })
}

/// DescribeTable.
pub(crate) async fn describe_table(
    service: &Operations,
    call: &Call,
    input: api::DescribeTableInput,
) -> Result<api::DescribeTableOutput, Error> {
    let table_name = name::table(call, &input.table_name)?;
    call.authorize(&access::describe_table(call, &input))?;
    let catalog = service.log.catalog().map_err(error::defining)?;
    let table = catalog.table(&name::scope(call), &table_name).ok_or_else(|| not_found(&table_name))?;
    let sizes = sizes(service, table);
    Ok(api::DescribeTableOutput { table: Some(describe(table, &catalog, &sizes, Answer::Described)) })
}

/// ListTables: names in lexical order.
pub(crate) async fn list(
    service: &Operations,
    call: &Call,
    input: api::ListTablesInput,
) -> Result<api::ListTablesOutput, Error> {
    call.authorize(&access::list_tables(call, &input))?;
    let limit = input.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(NAMES_MAX);
    let catalog = service.log.catalog().map_err(error::defining)?;
    let mut tables = catalog.tables(&name::scope(call), input.exclusive_start_table_name.as_deref());
    let names: Vec<String> = tables.by_ref().take(limit).map(|table| table.name.clone()).collect();
    let more = tables.next().is_some();
    let last = names.last().filter(|_| more).cloned();
    Ok(api::ListTablesOutput { table_names: Some(names), last_evaluated_table_name: last })
}

/// DeleteTable.
pub(crate) async fn delete(
    service: &Operations,
    call: &Call,
    input: api::DeleteTableInput,
) -> Result<api::DeleteTableOutput, Error> {
    let table_name = name::table(call, &input.table_name)?;
    call.authorize(&access::delete_table(call, &input))?;
    let scope = name::scope(call);
    let catalog = service.log.catalog().map_err(error::defining)?;
    let sizes = catalog.table(&scope, &table_name).map(|table| sizes(service, table)).unwrap_or_default();
    let delete = Delete { scope, name: table_name, deleted: None };
    let table = service.log.define(delete).await.map_err(error::defining)??;
    let description = describe(&table, &catalog, &sizes, Answer::Deleted);
    Ok(api::DeleteTableOutput { table_description: Some(description) })
}

/// DescribeLimits: the service's initial quotas. They are not enforced.
pub(crate) async fn limits(call: &Call, input: api::DescribeLimitsInput) -> Result<api::DescribeLimitsOutput, Error> {
    call.authorize(&access::describe_limits(call, &input))?;
    Ok(api::DescribeLimitsOutput {
        account_max_read_capacity_units: Some(ACCOUNT_UNITS_MAX),
        account_max_write_capacity_units: Some(ACCOUNT_UNITS_MAX),
        table_max_read_capacity_units: Some(TABLE_UNITS_MAX),
        table_max_write_capacity_units: Some(TABLE_UNITS_MAX),
    })
}

/// DescribeEndpoints: the address the caller has used, so that endpoint discovery leads back here.
pub(crate) async fn endpoints(
    call: &Call,
    input: api::DescribeEndpointsInput,
) -> Result<api::DescribeEndpointsOutput, Error> {
    call.authorize(&access::describe_endpoints(call, &input))?;
    let Some(address) = call.transport.host.clone() else {
        return Err(Error::internal("DescribeEndpoints: the request names no host"));
    };
    let endpoint = api::Endpoint { address, cache_period_in_minutes: ENDPOINT_CACHE_MINUTES };
    Ok(api::DescribeEndpointsOutput { endpoints: vec![endpoint] })
}

/// ResourceNotFoundException of operations on definitions.
pub(crate) fn not_found(table: &str) -> Error {
    errors::resource_not_found(format!("Requested resource not found: Table: {table} not found"))
}

/// ResourceInUseException of operations on definitions.
pub(crate) fn in_use(why: &str) -> Error {
    errors::resource_in_use(format!("Attempt to change a resource which is still in use: {why}"))
}

/// Whether a stream of the table is being switched on or off.
fn stream_moves(catalog: &Snapshot, table: &TableDefinition) -> bool {
    let streams = catalog.streams(&table.scope, Some(&table.name), None);
    streams.filter(|stream| stream.table == table.id).any(|stream| stream.state.end() != stream.state)
}

/// Refuses to delete a table that is in a short state.
/// Source: observations of the service in AWS Controllers for Kubernetes (DynamoDB quirks, October 2026: DDB-TABLE-001,
/// DDB-TABLE-002, DDB-TABLE-008, DDB-TABLE-063).
fn undeletable(catalog: &Snapshot, table: &TableDefinition) -> Result<(), Error> {
    let name = &table.name;
    let of_indexes = |index: &IndexDefinition| index.state != IndexState::Active;
    Err(in_use(&match table.state {
        TableState::Active | TableState::Updating if table.indexes.iter().any(of_indexes) => {
            "Cannot delete table while indexes are being created, updated, or deleted.".to_owned()
        }
        TableState::Active => return Ok(()),
        TableState::Creating => format!("Table is being created: {name}"),
        TableState::Deleting => format!("Table is being deleted: {name}"),
        TableState::Updating if stream_moves(catalog, table) => {
            "Cannot delete table while stream is being enabled/disabled.".to_owned()
        }
        TableState::Updating => format!("Table: {name} is in the process of being updated."),
    }))
}

/// Items and bytes of a table and its indexes; a table that is dropped meanwhile has none.
pub(crate) fn sizes(service: &Operations, table: &TableDefinition) -> Sizes {
    let of_index = |index: &IndexDefinition| {
        let size = headwater_table::index::size(&service.log, table.id, index.id).unwrap_or_default();
        (index.id, size)
    };
    Sizes {
        table: service.log.size(table.id).unwrap_or_default(),
        indexes: table.indexes.iter().map(of_index).collect(),
    }
}

/// What a stream's records show, from the request.
pub(crate) fn view(view: api::StreamViewType) -> StreamView {
    match view {
        api::StreamViewType::KeysOnly => StreamView::KeysOnly,
        api::StreamViewType::NewImage => StreamView::NewImage,
        api::StreamViewType::OldImage => StreamView::OldImage,
        api::StreamViewType::NewAndOldImages => StreamView::NewAndOldImages,
    }
}

/// The checked request as a definition.
fn definition(scope: Scope, table_name: String, input: api::CreateTableInput) -> Result<TableDefinition, Error> {
    let attributes: Vec<AttributeDefinition> =
        input.attribute_definitions.unwrap_or_default().into_iter().map(attribute).collect();
    let key = |at: usize| {
        let element = input.key_schema.as_ref()?.get(at)?;
        let attribute = attributes.iter().find(|attribute| attribute.name == element.attribute_name)?;
        Some(KeyAttribute { name: attribute.name.clone(), kind: attribute.kind })
    };
    let hash = key(0).ok_or_else(|| Error::internal("CreateTable: a key without definition passed the checks"))?;
    let schema = KeySchema { hash, range: key(1) };
    let mut table = TableDefinition::new(scope, table_name, schema);
    if let Some(throughput) = &input.provisioned_throughput {
        table.billing = BillingMode::Provisioned;
        table.throughput =
            Throughput { read_units: throughput.read_capacity_units, write_units: throughput.write_capacity_units };
    }
    table.indexes = indexes::defined_all(
        input.local_secondary_indexes.as_deref().unwrap_or_default(),
        input.global_secondary_indexes.as_deref().unwrap_or_default(),
        &attributes,
        table.billing,
    )?;
    table.deletion_protection = input.deletion_protection_enabled.unwrap_or(false);
    table.tags = tags::checked(input.tags.as_deref().unwrap_or_default())?;
    recorded::encryption_of_new(&mut table, input.sse_specification.as_ref());
    recorded::on_demand(&mut table.recorded, input.on_demand_throughput.as_ref());
    let (units, billing) = (warm_units(&table), table.billing);
    recorded::warm_of_new(&mut table.recorded, units, input.warm_throughput.as_ref(), billing, Of::Table)?;
    table.class = input.table_class;
    table.attributes = attributes;
    Ok(table)
}

pub(crate) fn attribute(given: api::AttributeDefinition) -> AttributeDefinition {
    let kind = match given.attribute_type {
        api::ScalarAttributeType::S => KeyKind::S,
        api::ScalarAttributeType::N => KeyKind::N,
        api::ScalarAttributeType::B => KeyKind::B,
    };
    AttributeDefinition { name: given.attribute_name, kind }
}

struct Create {
    table: TableDefinition,
    stream: Option<StreamView>,
    policy: Option<Document>,
}

impl Definition for Create {
    type Answer = Changed;

    fn decide(&mut self, catalog: &Snapshot, now: Millis) -> Defined<Changed> {
        match catalog.table(&self.table.scope, &self.table.name) {
            None => {}
            Some(table) if table.state == TableState::Creating => {
                return Defined::Answer(Err(in_use(&format!("Table is being created: {}", table.name))));
            }
            Some(table) => {
                return Defined::Answer(Err(errors::resource_in_use(format!("Table already exists: {}", table.name))));
            }
        }
        let mut table = self.table.clone();
        if let Some(policy) = &self.policy {
            policy::keep(&mut table, policy, now);
        }
        table.billing_changed = (table.billing == BillingMode::PayPerRequest).then_some(now);
        Defined::Change(vec![Change::Create { table: Box::new(table), stream: self.stream }])
    }

    fn answer(&mut self, catalog: &Snapshot) -> Changed {
        // Somebody may have deleted it in the meantime: it has existed, so say what was made.
        Ok(catalog.table(&self.table.scope, &self.table.name).cloned().unwrap_or_else(|| Arc::new(self.table.clone())))
    }
}

struct Delete {
    scope: Scope,
    name: String,
    deleted: Option<Arc<TableDefinition>>,
}

impl Definition for Delete {
    type Answer = Changed;

    fn decide(&mut self, catalog: &Snapshot, _now: Millis) -> Defined<Changed> {
        let Some(table) = catalog.table(&self.scope, &self.name) else {
            return Defined::Answer(Err(not_found(&self.name)));
        };
        if let Err(refusal) = undeletable(catalog, table) {
            return Defined::Answer(Err(refusal));
        }
        if table.deletion_protection {
            return Defined::Answer(Err(Error::validation(
                "Resource cannot be deleted as it is currently protected against deletion. Disable deletion protection \
                 first.",
            )));
        }
        self.deleted = Some(table.clone());
        Defined::Change(vec![Change::Delete { table: table.id }])
    }

    fn answer(&mut self, _catalog: &Snapshot) -> Changed {
        self.deleted.take().ok_or_else(|| Error::internal("DeleteTable: answered before it was decided"))
    }
}
