//! A table's indexes as clients see them.
//!
//! Source: LocalStack's AWS snapshots of test_dynamodb (members per operation); "IndexStatus", "Backfilling", DynamoDB API
//! reference.

use headwater_api::Instant;
use headwater_api::dynamodb as api;
use headwater_catalog::{BillingMode, IndexDefinition, IndexKind, IndexState, Projected, TableDefinition, TableState};

use super::description::{Answer, Sizes, ready_for, recorded_limits};

/// Local indexes; none rather than an empty list.
pub(super) fn local(table: &TableDefinition, sizes: &Sizes) -> Option<Vec<api::LocalSecondaryIndexDescription>> {
    let render = |index: &IndexDefinition| {
        let size = sizes.indexes.get(&index.id).copied().unwrap_or_default();
        api::LocalSecondaryIndexDescription {
            index_name: Some(index.name.clone()),
            key_schema: Some(key_schema(index)),
            projection: Some(projection(index)),
            index_size_bytes: Some(size.bytes),
            item_count: Some(size.items),
            index_arn: Some(arn(table, index)),
        }
    };
    let of_kind = table.indexes.iter().filter(|index| index.kind == IndexKind::Local);
    let rendered: Vec<_> = of_kind.map(render).collect();
    (!rendered.is_empty()).then_some(rendered)
}

/// Global indexes; none rather than an empty list.
pub(super) fn global(
    table: &TableDefinition,
    sizes: &Sizes,
    answer: Answer,
) -> Option<Vec<api::GlobalSecondaryIndexDescription>> {
    let render = |index: &IndexDefinition| {
        let size = sizes.indexes.get(&index.id).copied().unwrap_or_default();
        let backfilling = match index.state {
            IndexState::Creating => Some(false),
            IndexState::Backfilling => Some(true),
            IndexState::Active | IndexState::Updating | IndexState::Deleting => None,
        };
        api::GlobalSecondaryIndexDescription {
            index_name: Some(index.name.clone()),
            key_schema: Some(key_schema(index)),
            projection: Some(projection(index)),
            index_status: Some(status(table, index)),
            backfilling,
            provisioned_throughput: Some(throughput(index)),
            index_size_bytes: Some(size.bytes),
            item_count: Some(size.items),
            index_arn: Some(arn(table, index)),
            on_demand_throughput: recorded_limits(&index.recorded),
            warm_throughput: (answer == Answer::Described).then(|| warm(table, index)),
        }
    };
    let of_kind = table.indexes.iter().filter(|index| index.kind == IndexKind::Global);
    let rendered: Vec<_> = of_kind.map(render).collect();
    (!rendered.is_empty()).then_some(rendered)
}

fn arn(table: &TableDefinition, index: &IndexDefinition) -> String {
    format!("{}/index/{}", table.arn(), index.name)
}

/// An index that is made with its table is made when the table is.
fn status(table: &TableDefinition, index: &IndexDefinition) -> api::IndexStatus {
    match index.state {
        IndexState::Active if table.state == TableState::Creating => api::IndexStatus::Creating,
        IndexState::Creating | IndexState::Backfilling => api::IndexStatus::Creating,
        IndexState::Active => api::IndexStatus::Active,
        IndexState::Updating => api::IndexStatus::Updating,
        IndexState::Deleting => api::IndexStatus::Deleting,
    }
}

fn key_schema(index: &IndexDefinition) -> Vec<api::KeySchemaElement> {
    let element = |name: &str, key_type| api::KeySchemaElement { attribute_name: name.to_owned(), key_type };
    let hash = index.hash.iter().map(|key| element(&key.name, api::KeyType::Hash));
    hash.chain(index.range.iter().map(|key| element(&key.name, api::KeyType::Range))).collect()
}

/// Names are shown in order, however they were given.
/// Source: observed by AWS Controllers for Kubernetes (DynamoDB quirks, October 2026: DDB-TABLE-125).
fn projection(index: &IndexDefinition) -> api::Projection {
    let sorted = |names: &Vec<String>| {
        let mut names = names.clone();
        names.sort();
        names
    };
    let (projection_type, non_key_attributes) = match &index.projected {
        Projected::All => (api::ProjectionType::All, None),
        Projected::KeysOnly => (api::ProjectionType::KeysOnly, None),
        Projected::Include(names) => (api::ProjectionType::Include, Some(sorted(names))),
    };
    api::Projection { projection_type: Some(projection_type), non_key_attributes }
}

fn throughput(index: &IndexDefinition) -> api::ProvisionedThroughputDescription {
    api::ProvisionedThroughputDescription {
        last_increase_date_time: index.throughput_increased.map(Instant::from),
        last_decrease_date_time: index.throughput_decreased.map(Instant::from),
        number_of_decreases_today: Some(index.throughput_decreases_today),
        read_capacity_units: Some(index.throughput.read_units),
        write_capacity_units: Some(index.throughput.write_units),
    }
}

fn warm(table: &TableDefinition, index: &IndexDefinition) -> api::GlobalSecondaryIndexWarmThroughputDescription {
    let (read, write) = warm_units(table.billing, index);
    api::GlobalSecondaryIndexWarmThroughputDescription {
        read_units_per_second: Some(read),
        write_units_per_second: Some(write),
        status: Some(status(table, index)),
    }
}

/// What an index is warm for: (read, write) units per second.
pub(super) fn warm_units(billing: BillingMode, index: &IndexDefinition) -> (i64, i64) {
    ready_for(billing, index.throughput, &index.recorded)
}
