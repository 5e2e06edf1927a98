//! Global tables of both versions and the scaling of their replicas: there are none, and none can be made.
//!
//! Source: observations of the service in AWS Controllers for Kubernetes (DynamoDB quirks, October 2026: DDB-TABLE-070,
//! DDB-TABLE-442, DDB-TABLE-446): it makes no global tables of version 2017.11.29 any more either.

use headwater_api::dynamodb as api;
use headwater_api::dynamodb::{access, errors};
use headwater_api::{Call, Error};

use super::name;
use super::table::invalid;

/// CreateGlobalTable.
pub(crate) async fn create(
    call: &Call,
    input: api::CreateGlobalTableInput,
) -> Result<api::CreateGlobalTableOutput, Error> {
    call.authorize(&access::create_global_table(call, &input))?;
    version_not_supported()
}

/// UpdateGlobalTable.
pub(crate) async fn update(
    call: &Call,
    input: api::UpdateGlobalTableInput,
) -> Result<api::UpdateGlobalTableOutput, Error> {
    call.authorize(&access::update_global_table(call, &input))?;
    version_not_supported()
}

/// ListGlobalTables.
pub(crate) async fn list(call: &Call, input: api::ListGlobalTablesInput) -> Result<api::ListGlobalTablesOutput, Error> {
    call.authorize(&access::list_global_tables(call, &input))?;
    Ok(api::ListGlobalTablesOutput { global_tables: Some(Vec::new()), last_evaluated_global_table_name: None })
}

/// DescribeGlobalTable.
pub(crate) async fn describe(
    call: &Call,
    input: api::DescribeGlobalTableInput,
) -> Result<api::DescribeGlobalTableOutput, Error> {
    call.authorize(&access::describe_global_table(call, &input))?;
    Err(errors::global_table_not_found(does_not_exist(&input.global_table_name)))
}

/// DescribeGlobalTableSettings.
pub(crate) async fn describe_settings(
    call: &Call,
    input: api::DescribeGlobalTableSettingsInput,
) -> Result<api::DescribeGlobalTableSettingsOutput, Error> {
    call.authorize(&access::describe_global_table_settings(call, &input))?;
    Err(errors::global_table_not_found(does_not_exist(&input.global_table_name)))
}

/// UpdateGlobalTableSettings.
pub(crate) async fn update_settings(
    call: &Call,
    input: api::UpdateGlobalTableSettingsInput,
) -> Result<api::UpdateGlobalTableSettingsOutput, Error> {
    call.authorize(&access::update_global_table_settings(call, &input))?;
    Err(errors::global_table_not_found(does_not_exist(&input.global_table_name)))
}

/// DescribeTableReplicaAutoScaling: the service, too, knows no scaling of a table without replicas.
pub(crate) async fn describe_scaling(
    call: &Call,
    input: api::DescribeTableReplicaAutoScalingInput,
) -> Result<api::DescribeTableReplicaAutoScalingOutput, Error> {
    let table = name::table(call, &input.table_name)?;
    call.authorize(&access::describe_table_replica_auto_scaling(call, &input))?;
    Err(errors::resource_not_found(does_not_exist(&table)))
}

/// UpdateTableReplicaAutoScaling.
pub(crate) async fn update_scaling(
    call: &Call,
    input: api::UpdateTableReplicaAutoScalingInput,
) -> Result<api::UpdateTableReplicaAutoScalingOutput, Error> {
    let table = name::table(call, &input.table_name)?;
    call.authorize(&access::update_table_replica_auto_scaling(call, &input))?;
    Err(errors::resource_not_found(does_not_exist(&table)))
}

fn does_not_exist(table: &str) -> String {
    format!("Global table with name: '{table}' does not exist.")
}

fn version_not_supported<T>() -> Result<T, Error> {
    invalid(
        "DynamoDB global tables version 2017.11.29 is not supported. We recommend using DynamoDB global tables version \
         2019.11.21, instead of version 2017.11.29 (Legacy).",
    )
}
