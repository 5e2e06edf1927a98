//! A table's definition as clients see it.

use std::collections::BTreeMap;

use headwater_api::Instant;
use headwater_api::dynamodb as api;
use headwater_catalog::{
    BillingMode, KeyKind, KeySchema, Snapshot, StreamView, TableDefinition, TableState, Throughput,
};
use headwater_log::TableSize;
use headwater_types::Millis;
use serde_json::Value;

use super::index_description;

/// Member of `TableDefinition::recorded`: what UpdateTable or CreateTable said of encryption.
pub(crate) const ENCRYPTION: &str = "SSESpecification";
/// Member of `TableDefinition::recorded`: greatest request units.
pub(crate) const ON_DEMAND: &str = "OnDemandThroughput";
/// Member of `TableDefinition::recorded`: units to be ready for.
pub(crate) const WARM: &str = "WarmThroughput";
/// Member of `TableDefinition::recorded`: when the table class was last changed. Unit: ms.
pub(crate) const CLASS_CHANGED: &str = "TableClassLastUpdate";

/// What an on-demand table is warm for from the start.
/// Source: DescribeTable of a new table, LocalStack's AWS snapshots.
const WARM_ON_DEMAND: (i64, i64) = (12_000, 4_000);

/// Whose answer a description is part of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// CreateTable and UpdateTable.
    Changed,
    /// DescribeTable.
    Described,
    /// DeleteTable: without schema and creation time, and always on its way out.
    Deleted,
}

/// How much a table and its indexes hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sizes {
    pub table: TableSize,
    /// By the number of the index.
    pub indexes: BTreeMap<u32, TableSize>,
}

/// Describes a table for an answer.
///
/// Source: LocalStack's AWS snapshots of test_dynamodb (members per operation).
pub(crate) fn describe(
    table: &TableDefinition,
    catalog: &Snapshot,
    sizes: &Sizes,
    answer: Answer,
) -> api::TableDescription {
    let whole = answer != Answer::Deleted;
    let view = table.stream.and_then(|uid| catalog.stream(uid)).map(|stream| view_type(stream.view));
    api::TableDescription {
        attribute_definitions: whole.then(|| definitions(table)),
        table_name: Some(table.name.clone()),
        key_schema: whole.then(|| key_schema(&table.key_schema)),
        table_status: Some(if whole { status(table.state) } else { api::TableStatus::Deleting }),
        creation_date_time: whole.then(|| Instant::from(table.created)),
        provisioned_throughput: Some(throughput(table)),
        table_size_bytes: Some(sizes.table.bytes),
        item_count: Some(sizes.table.items),
        table_arn: Some(table.arn().to_string()),
        table_id: Some(table.table_uuid.clone()),
        billing_mode_summary: billing(table, answer),
        stream_specification: view
            .map(|view| api::StreamSpecification { stream_enabled: true, stream_view_type: Some(view) }),
        latest_stream_label: table.latest_stream_label.clone(),
        latest_stream_arn: table.latest_stream_arn().map(|arn| arn.to_string()),
        local_secondary_indexes: whole.then(|| index_description::local(table, sizes)).flatten(),
        global_secondary_indexes: whole.then(|| index_description::global(table, sizes, answer)).flatten(),
        sse_description: encryption(table),
        table_class_summary: class(table),
        deletion_protection_enabled: Some(table.deletion_protection),
        on_demand_throughput: on_demand(table),
        warm_throughput: shows_warm(table, answer).then(|| warm(table)),
        ..api::TableDescription::default()
    }
}

/// A key schema as clients see it.
pub(crate) fn key_schema(schema: &KeySchema) -> Vec<api::KeySchemaElement> {
    let element = |name: &str, key_type| api::KeySchemaElement { attribute_name: name.to_owned(), key_type };
    let hash = element(&schema.hash.name, api::KeyType::Hash);
    std::iter::once(hash).chain(schema.range.iter().map(|range| element(&range.name, api::KeyType::Range))).collect()
}

/// Source: observed order, AWS Controllers for Kubernetes (DynamoDB quirks, October 2026: DDB-TABLE-125).
fn definitions(table: &TableDefinition) -> Vec<api::AttributeDefinition> {
    let kind = |kind| match kind {
        KeyKind::S => api::ScalarAttributeType::S,
        KeyKind::N => api::ScalarAttributeType::N,
        KeyKind::B => api::ScalarAttributeType::B,
    };
    let render = |attribute: &headwater_catalog::AttributeDefinition| api::AttributeDefinition {
        attribute_name: attribute.name.clone(),
        attribute_type: kind(attribute.kind),
    };
    let mut definitions: Vec<_> = table.attributes.iter().map(render).collect();
    definitions.sort_by(|a, b| a.attribute_name.cmp(&b.attribute_name));
    definitions
}

fn status(state: TableState) -> api::TableStatus {
    match state {
        TableState::Creating => api::TableStatus::Creating,
        TableState::Active => api::TableStatus::Active,
        TableState::Updating => api::TableStatus::Updating,
        TableState::Deleting => api::TableStatus::Deleting,
    }
}

fn view_type(view: StreamView) -> api::StreamViewType {
    match view {
        StreamView::KeysOnly => api::StreamViewType::KeysOnly,
        StreamView::NewImage => api::StreamViewType::NewImage,
        StreamView::OldImage => api::StreamViewType::OldImage,
        StreamView::NewAndOldImages => api::StreamViewType::NewAndOldImages,
    }
}

fn throughput(table: &TableDefinition) -> api::ProvisionedThroughputDescription {
    api::ProvisionedThroughputDescription {
        last_increase_date_time: table.throughput_increased.map(Instant::from),
        last_decrease_date_time: table.throughput_decreased.map(Instant::from),
        number_of_decreases_today: Some(table.throughput_decreases_today),
        read_capacity_units: Some(table.throughput.read_units),
        write_capacity_units: Some(table.throughput.write_units),
    }
}

/// Only a table that is or was paid by request shows a summary; CreateTable does not know yet since when it is.
fn billing(table: &TableDefinition, answer: Answer) -> Option<api::BillingModeSummary> {
    let mode = match (table.billing, table.billing_changed) {
        (BillingMode::PayPerRequest, _) => api::BillingMode::PayPerRequest,
        (BillingMode::Provisioned, Some(_)) => api::BillingMode::Provisioned,
        (BillingMode::Provisioned, None) => return None,
    };
    let since = table.billing_changed.filter(|_| answer == Answer::Described).map(Instant::from);
    Some(api::BillingModeSummary { billing_mode: Some(mode), last_update_to_pay_per_request_date_time: since })
}

fn encryption(table: &TableDefinition) -> Option<api::SSEDescription> {
    table.recorded.get(ENCRYPTION)?;
    Some(api::SSEDescription {
        status: Some(api::SSEStatus::Enabled),
        sse_type: Some(api::SSEType::Kms),
        kms_master_key_arn: encryption_key(table),
        inaccessible_encryption_date_time: None,
    })
}

/// ARN of the key that a table's encryption names.
pub(crate) fn encryption_key(table: &TableDefinition) -> Option<String> {
    let key = table.recorded.get(ENCRYPTION)?.get("KMSMasterKeyId")?.as_str()?;
    Some(match key.strip_prefix("alias/") {
        _ if key.starts_with("arn:") => key.to_owned(),
        Some(_) => format!("arn:aws:kms:{}:{}:{key}", table.scope.region, table.scope.account),
        None => format!("arn:aws:kms:{}:{}:key/{key}", table.scope.region, table.scope.account),
    })
}

fn class(table: &TableDefinition) -> Option<api::TableClassSummary> {
    let class = api::TableClass::parse(table.class.as_deref()?)?;
    let changed = table.recorded.get(CLASS_CHANGED).and_then(Value::as_i64);
    Some(api::TableClassSummary {
        table_class: Some(class),
        last_update_date_time: changed.map(|at| Instant::from(Millis(at))),
    })
}

fn on_demand(table: &TableDefinition) -> Option<api::OnDemandThroughput> {
    recorded_limits(&table.recorded)
}

/// Greatest request units of a table or an index, as they were given.
pub(super) fn recorded_limits(recorded: &BTreeMap<String, Value>) -> Option<api::OnDemandThroughput> {
    let recorded = recorded.get(ON_DEMAND)?;
    Some(api::OnDemandThroughput {
        max_read_request_units: recorded.get("MaxReadRequestUnits").and_then(Value::as_i64),
        max_write_request_units: recorded.get("MaxWriteRequestUnits").and_then(Value::as_i64),
    })
}

/// DescribeTable always shows it, an answer to a change only where it was asked for.
fn shows_warm(table: &TableDefinition, answer: Answer) -> bool {
    match answer {
        Answer::Described => true,
        Answer::Changed => table.recorded.contains_key(WARM),
        Answer::Deleted => false,
    }
}

fn warm(table: &TableDefinition) -> api::TableWarmThroughputDescription {
    let (read, write) = warm_units(table);
    api::TableWarmThroughputDescription {
        read_units_per_second: Some(read),
        write_units_per_second: Some(write),
        status: Some(api::TableStatus::Active),
    }
}

/// What a table is warm for: (read, write) units per second.
pub(crate) fn warm_units(table: &TableDefinition) -> (i64, i64) {
    ready_for(table.billing, table.throughput, &table.recorded)
}

/// Units that a table or an index is ready for: what it is paid for, or more if that was asked for.
pub(super) fn ready_for(
    billing: BillingMode,
    throughput: Throughput,
    recorded: &BTreeMap<String, Value>,
) -> (i64, i64) {
    let (read, write) = match billing {
        BillingMode::PayPerRequest => WARM_ON_DEMAND,
        BillingMode::Provisioned => (throughput.read_units, throughput.write_units),
    };
    let asked = |member: &str| recorded.get(WARM).and_then(|warm| warm.get(member)).and_then(Value::as_i64);
    (asked("ReadUnitsPerSecond").unwrap_or(0).max(read), asked("WriteUnitsPerSecond").unwrap_or(0).max(write))
}
