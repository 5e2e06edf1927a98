//! UpdateTimeToLive and DescribeTimeToLive.
//!
//! Source: observations of the service in AWS Controllers for Kubernetes (DynamoDB quirks, October 2026); Terraform's
//! provider and others tell the refusals apart by their words.

use headwater_api::dynamodb as api;
use headwater_api::dynamodb::access;
use headwater_api::{Call, Error};
use headwater_catalog::{Snapshot, TableDefinition, TableState, TimeToLiveState};
use headwater_log::{Change, Defined, Definition, IndexChange};
use headwater_types::{Millis, Scope};

use super::table::{in_use, not_found};
use super::{error, name};
use crate::service::Operations;

/// UpdateTimeToLive.
pub(crate) async fn update(
    service: &Operations,
    call: &Call,
    input: api::UpdateTimeToLiveInput,
) -> Result<api::UpdateTimeToLiveOutput, Error> {
    let table = name::table(call, &input.table_name)?;
    call.authorize(&access::update_time_to_live(call, &input))?;
    let wanted = input.time_to_live_specification;
    let update = Update { scope: name::scope(call), table, wanted: wanted.clone() };
    service.log.define(update).await.map_err(error::defining)??;
    Ok(api::UpdateTimeToLiveOutput { time_to_live_specification: Some(wanted) })
}

/// DescribeTimeToLive.
pub(crate) async fn describe(
    service: &Operations,
    call: &Call,
    input: api::DescribeTimeToLiveInput,
) -> Result<api::DescribeTimeToLiveOutput, Error> {
    let table_name = name::table(call, &input.table_name)?;
    call.authorize(&access::describe_time_to_live(call, &input))?;
    let catalog = service.log.catalog().map_err(error::defining)?;
    let table = catalog.table(&name::scope(call), &table_name).ok_or_else(|| not_found(&table_name))?;
    if !table.state.serves() {
        let state = if table.state == TableState::Creating { "CREATING" } else { "DELETING" };
        return Err(Error::validation(format!(
            "Cannot describe time to live while table is in {state} state: Current table state is {state}"
        )));
    }
    let description = match &table.time_to_live {
        None => api::TimeToLiveDescription {
            time_to_live_status: Some(api::TimeToLiveStatus::Disabled),
            attribute_name: None,
        },
        Some(expiry) => {
            let status = match expiry.state {
                TimeToLiveState::Enabling => api::TimeToLiveStatus::Enabling,
                TimeToLiveState::Enabled => api::TimeToLiveStatus::Enabled,
                TimeToLiveState::Disabling => api::TimeToLiveStatus::Disabling,
            };
            api::TimeToLiveDescription {
                time_to_live_status: Some(status),
                attribute_name: Some(expiry.attribute.clone()),
            }
        }
    };
    Ok(api::DescribeTimeToLiveOutput { time_to_live_description: Some(description) })
}

struct Update {
    scope: Scope,
    table: String,
    wanted: api::TimeToLiveSpecification,
}

impl Definition for Update {
    type Answer = Result<(), Error>;

    fn decide(&mut self, catalog: &Snapshot, _now: Millis) -> Defined<Self::Answer> {
        let Some(table) = catalog.table(&self.scope, &self.table) else {
            return Defined::Answer(Err(not_found(&self.table)));
        };
        match change(table, &self.wanted) {
            Ok(change) => Defined::Change(vec![Change::Index { table: table.id, change }]),
            Err(refusal) => Defined::Answer(Err(refusal)),
        }
    }

    fn answer(&mut self, _catalog: &Snapshot) -> Self::Answer {
        Ok(())
    }
}

fn change(table: &TableDefinition, wanted: &api::TimeToLiveSpecification) -> Result<IndexChange, Error> {
    if !table.state.serves() {
        let doing = if table.state == TableState::Creating { "created" } else { "deleted" };
        return Err(in_use(&format!("Table {} is being {doing}", table.name)));
    }
    let other = |current: &str| {
        Error::validation(format!(
            "TimeToLive is active on a different AttributeName: current AttributeName is {current}"
        ))
    };
    match (&table.time_to_live, wanted.enabled) {
        (None, true) => Ok(IndexChange::EnableTimeToLive { attribute: wanted.attribute_name.clone() }),
        (None, false) => Err(Error::validation("TimeToLive is already disabled")),
        (Some(expiry), _) if expiry.state == TimeToLiveState::Disabling => {
            Err(Error::validation("Time to live has been modified multiple times within a fixed interval"))
        }
        (Some(expiry), _) if expiry.attribute != wanted.attribute_name => Err(other(&expiry.attribute)),
        (Some(_), true) => Err(Error::validation("TimeToLive is already enabled")),
        (Some(_), false) => Ok(IndexChange::DisableTimeToLive),
    }
}
