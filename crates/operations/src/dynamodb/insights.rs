//! Contributor insights: off on every table, and they cannot be switched on.
//!
//! Source: observations of the service in AWS Controllers for Kubernetes (DynamoDB quirks, October 2026: DDB-TABLE-098,
//! DDB-TABLE-115, DDB-TABLE-446).

use headwater_api::dynamodb as api;
use headwater_api::dynamodb::{access, errors};
use headwater_api::{Call, Error};

use super::table::not_found;
use super::{error, name};
use crate::service::Operations;

/// DescribeContributorInsights.
pub(crate) async fn describe(
    service: &Operations,
    call: &Call,
    input: api::DescribeContributorInsightsInput,
) -> Result<api::DescribeContributorInsightsOutput, Error> {
    let table = name::table(call, &input.table_name)?;
    call.authorize(&access::describe_contributor_insights(call, &input))?;
    exists(service, call, &table, input.index_name.as_deref())?;
    Ok(api::DescribeContributorInsightsOutput {
        table_name: Some(table),
        index_name: input.index_name,
        contributor_insights_status: Some(api::ContributorInsightsStatus::Disabled),
        ..api::DescribeContributorInsightsOutput::default()
    })
}

/// ListContributorInsights: of no table and no index there are any.
pub(crate) async fn list(
    service: &Operations,
    call: &Call,
    input: api::ListContributorInsightsInput,
) -> Result<api::ListContributorInsightsOutput, Error> {
    let table = input.table_name.as_deref().map(|table| name::table(call, table)).transpose()?;
    call.authorize(&access::list_contributor_insights(call, &input))?;
    if let Some(table) = table {
        exists(service, call, &table, None)?;
    }
    Ok(api::ListContributorInsightsOutput { contributor_insights_summaries: Some(Vec::new()), next_token: None })
}

/// UpdateContributorInsights: switching them off changes nothing; switching them on is refused.
pub(crate) async fn update(
    service: &Operations,
    call: &Call,
    input: api::UpdateContributorInsightsInput,
) -> Result<api::UpdateContributorInsightsOutput, Error> {
    let table = name::table(call, &input.table_name)?;
    call.authorize(&access::update_contributor_insights(call, &input))?;
    exists(service, call, &table, input.index_name.as_deref())?;
    if input.contributor_insights_action == api::ContributorInsightsAction::Enable {
        return Err(Error::validation("This server does not support contributor insights yet"));
    }
    Ok(api::UpdateContributorInsightsOutput {
        table_name: Some(table),
        index_name: input.index_name,
        contributor_insights_status: Some(api::ContributorInsightsStatus::Disabled),
        contributor_insights_mode: None,
    })
}

fn exists(service: &Operations, call: &Call, table: &str, index: Option<&str>) -> Result<(), Error> {
    let catalog = service.log.catalog().map_err(error::defining)?;
    let Some(definition) = catalog.table(&name::scope(call), table) else { return Err(not_found(table)) };
    match index {
        Some(index) if definition.index(index).is_none() => Err(errors::resource_not_found(format!(
            "Requested resource not found: Index: {index} not found for table: {table}"
        ))),
        Some(_) | None => Ok(()),
    }
}
