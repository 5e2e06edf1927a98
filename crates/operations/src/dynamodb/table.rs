//! CreateTable, DescribeTable, ListTables, DeleteTable, DescribeLimits, DescribeEndpoints.

pub(crate) mod description;
mod index_description;
mod index_updates;
mod indexes;
pub(crate) mod update;
mod validation;

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_api::dynamodb as api;
use headwater_api::dynamodb::{access, errors};
use headwater_api::{Call, Error};
use headwater_catalog::{
    AttributeDefinition, BillingMode, IndexDefinition, KeyAttribute, KeyKind, KeySchema, Snapshot, StreamView,
    TableDefinition, TableState, Throughput,
};
use headwater_log::{Change, Defined, Definition};
use headwater_types::{Millis, Scope};
use serde_json::json;

use self::description::{Answer, Sizes, describe};
use super::{error, name};
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
    call.authorize(&access::create_table(call, &input))?;
    let stream = input.stream_specification.as_ref().and_then(|stream| stream.stream_view_type).map(view);
    let table = definition(name::scope(call), table_name, input)?;
    let created = service.log.define(Create { table, stream }).await.map_err(error::defining)??;
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

/// Refuses to change or delete a table that is in a short state.
pub(crate) fn busy(table: &TableDefinition) -> Result<(), Error> {
    let state = match table.state {
        TableState::Active => return Ok(()),
        TableState::Creating => "created",
        TableState::Updating => "updated",
        TableState::Deleting => "deleted",
    };
    Err(errors::resource_in_use(format!(
        "Attempt to change a resource which is still in use: Table is being {state}: {}",
        table.name
    )))
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

/// Members that are shown again and change nothing.
pub(crate) fn recorded_warm(warm: &api::WarmThroughput) -> serde_json::Value {
    json!({ "ReadUnitsPerSecond": warm.read_units_per_second, "WriteUnitsPerSecond": warm.write_units_per_second })
}

/// Members that are shown again and change nothing.
pub(crate) fn recorded_on_demand(limits: &api::OnDemandThroughput) -> serde_json::Value {
    json!({
        "MaxReadRequestUnits": limits.max_read_request_units,
        "MaxWriteRequestUnits": limits.max_write_request_units,
    })
}

/// Members that are shown again and change nothing; `None` for the encryption that every table has.
pub(crate) fn recorded_encryption(encryption: &api::SSESpecification) -> Option<serde_json::Value> {
    let on = encryption.enabled.unwrap_or(false);
    on.then(|| json!({ "Enabled": true, "KMSMasterKeyId": encryption.kms_master_key_id }))
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
    table.indexes = indexes::defined_all(
        input.local_secondary_indexes.as_deref().unwrap_or_default(),
        input.global_secondary_indexes.as_deref().unwrap_or_default(),
        &attributes,
    )?;
    if let Some(throughput) = &input.provisioned_throughput {
        table.billing = BillingMode::Provisioned;
        table.throughput =
            Throughput { read_units: throughput.read_capacity_units, write_units: throughput.write_capacity_units };
    }
    table.class = input.table_class.map(|class| class.as_str().to_owned());
    table.deletion_protection = input.deletion_protection_enabled.unwrap_or(false);
    table.tags = input.tags.unwrap_or_default().into_iter().map(|tag| (tag.key, tag.value)).collect();
    let recorded = [
        (description::ENCRYPTION, input.sse_specification.as_ref().and_then(recorded_encryption)),
        (description::ON_DEMAND, input.on_demand_throughput.as_ref().map(recorded_on_demand)),
        (description::WARM, input.warm_throughput.as_ref().map(recorded_warm)),
    ];
    table.recorded = recorded
        .into_iter()
        .filter_map(|(member, value)| Some((member.to_owned(), value?)))
        .collect::<BTreeMap<_, _>>();
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
}

impl Definition for Create {
    type Answer = Changed;

    fn decide(&mut self, catalog: &Snapshot, now: Millis) -> Defined<Changed> {
        if catalog.table(&self.table.scope, &self.table.name).is_some() {
            return Defined::Answer(Err(errors::resource_in_use(format!("Table already exists: {}", self.table.name))));
        }
        let mut table = self.table.clone();
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
        if let Err(refusal) = busy(table) {
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
