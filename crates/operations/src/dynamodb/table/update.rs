//! UpdateTable: throughput and billing, stream on and off, class, protection, and what is only recorded.

use std::sync::Arc;

use headwater_api::dynamodb as api;
use headwater_api::dynamodb::access;
use headwater_api::{Call, Error};
use headwater_catalog::{BillingMode, Snapshot, TableDefinition, TableState, Throughput};
use headwater_log::{Change, Defined, Definition};
use headwater_types::{Millis, Scope};

use super::description::{Answer, ON_DEMAND, describe, warm_units};
use super::index_updates;
use super::recorded::Of;
use super::validation::{self, invalid, on_demand_given, warm_given};
use super::{in_use, not_found, recorded, sizes, stream_moves, view};
use crate::dynamodb::{error, name};
use crate::service::Operations;

/// Unit: ms. Days in which decreases are counted are UTC days.
const DAY_MS: i64 = 86_400_000;

/// UpdateTable.
pub(crate) async fn update(
    service: &Operations,
    call: &Call,
    input: api::UpdateTableInput,
) -> Result<api::UpdateTableOutput, Error> {
    let table_name = name::table(call, &input.table_name)?;
    validation::update(&input)?;
    call.authorize(&access::update_table(call, &input))?;
    let update = Update { scope: name::scope(call), name: table_name, input };
    let table = service.log.define(update).await.map_err(error::defining)??;
    let catalog = service.log.catalog().map_err(error::defining)?;
    let description = describe(&table, &catalog, &sizes(service, &table), Answer::Changed);
    Ok(api::UpdateTableOutput { table_description: Some(description) })
}

struct Update {
    scope: Scope,
    name: String,
    input: api::UpdateTableInput,
}

impl Definition for Update {
    type Answer = Result<Arc<TableDefinition>, Error>;

    fn decide(&mut self, catalog: &Snapshot, now: Millis) -> Defined<Self::Answer> {
        let Some(table) = catalog.table(&self.scope, &self.name) else {
            return Defined::Answer(Err(not_found(&self.name)));
        };
        if let Err(refusal) = admitted(&self.input, table, stream_moves(catalog, table)) {
            return Defined::Answer(Err(refusal));
        }
        match changes(&self.input, table, now) {
            Err(refusal) => Defined::Answer(Err(refusal)),
            Ok(changes) if changes.is_empty() => Defined::Answer(Ok(table.clone())),
            Ok(changes) => Defined::Change(changes),
        }
    }

    fn answer(&mut self, catalog: &Snapshot) -> Self::Answer {
        catalog.table(&self.scope, &self.name).cloned().ok_or_else(|| not_found(&self.name))
    }
}

/// Whether the request may change a table that is in a short state: protection and warm throughput may, while it is updated,
/// and more while it is only an index that is made or removed.
/// Source: observations of the service in AWS Controllers for Kubernetes (DynamoDB quirks, October 2026: DDB-TABLE-001,
/// DDB-TABLE-002, DDB-TABLE-163, DDB-TABLE-175, DDB-TABLE-369, DDB-TABLE-370, DDB-TABLE-375, DDB-TABLE-376).
fn admitted(input: &api::UpdateTableInput, table: &TableDefinition, stream_moves: bool) -> Result<(), Error> {
    let name = &table.name;
    if let Some(why) = index_updates::blocks(input, table) {
        return Err(in_use(&why));
    }
    let updates = input.global_secondary_index_updates.as_deref().unwrap_or_default();
    let made_or_ended = updates.iter().any(|update| update.create.is_some() || update.delete.is_some());
    let index_moves = table.indexes.iter().any(|index| index_updates::is_moving(index.state));
    let why = match table.state {
        TableState::Active => return Ok(()),
        TableState::Updating if input.deletion_protection_enabled.is_some() || warm_given(input).is_some() => {
            return Ok(());
        }
        TableState::Updating if index_moves && (!updates.is_empty() || input.sse_specification.is_some()) => {
            return Ok(());
        }
        TableState::Updating if made_or_ended && stream_moves => {
            "Can't create or delete an index when stream status is being updated.".to_owned()
        }
        TableState::Updating if made_or_ended => {
            format!("Can't create or delete indexes while table IOPS are being updated. Table: {name}")
        }
        TableState::Creating => format!("Table is being created: {name}"),
        TableState::Deleting => format!("Table is being deleted: {name}"),
        TableState::Updating if stream_moves => format!("Table: {name} is in the process of being updated."),
        TableState::Updating if input.billing_mode.is_some() || input.provisioned_throughput.is_some() => {
            format!("Table IOPS are currently being updated. Table: {name}")
        }
        TableState::Updating if input.stream_specification.is_some() => {
            format!("Can't enable or disable stream while table IOPS are being updated. Table: {name}")
        }
        TableState::Updating if on_demand_given(input).is_some() => {
            "OnDemandThroughput cannot be updated while BillingMode update is in progress".to_owned()
        }
        TableState::Updating => format!("Table: {name} is in the process of being updated."),
    };
    Err(in_use(&why))
}

/// What the request changes of this table; nothing when it asks for what already is.
fn changes(input: &api::UpdateTableInput, table: &TableDefinition, now: Millis) -> Result<Vec<Change>, Error> {
    let mut updated = table.clone();
    billing(input, &mut updated, now)?;
    let warm = warm_units(&updated);
    recorded::stay_warm(&mut updated.recorded, warm, warm_units(table));
    recorded::class(&mut updated, input.table_class.as_deref(), now);
    if let Some(protection) = input.deletion_protection_enabled {
        updated.deletion_protection = protection;
    }
    recorded::on_demand_form(input.on_demand_throughput.as_ref(), updated.billing, false, Of::Table)?;
    recorded::on_demand(&mut updated.recorded, input.on_demand_throughput.as_ref());
    let warm = warm_units(&updated);
    recorded::warm(&mut updated.recorded, warm, input.warm_throughput.as_ref(), Of::Table)?;
    recorded::encryption(&mut updated, input.sse_specification.as_ref())?;
    let mut changes = Vec::new();
    let updated_billing = updated.clone();
    if updated != *table {
        // The rest is done at once, and the table is never seen UPDATING for it.
        let takes_time =
            (updated.billing, updated.throughput, &updated.class) != (table.billing, table.throughput, &table.class);
        let table = Box::new(updated);
        changes.push(if takes_time { Change::Update { table } } else { Change::Record { table } });
    }
    changes.extend(index_updates::billing(input, table, &updated_billing)?);
    changes.extend(index_updates::changes(input, table, &updated_billing, now)?);
    changes.extend(stream(input, table)?);
    Ok(changes)
}

fn billing(input: &api::UpdateTableInput, table: &mut TableDefinition, now: Millis) -> Result<(), Error> {
    let wanted = match input.billing_mode {
        Some(api::BillingMode::PayPerRequest) => BillingMode::PayPerRequest,
        Some(api::BillingMode::Provisioned) => BillingMode::Provisioned,
        None => table.billing,
    };
    let units = input
        .provisioned_throughput
        .as_ref()
        .map(|given| Throughput { read_units: given.read_capacity_units, write_units: given.write_capacity_units });
    match (wanted, table.billing, units) {
        (BillingMode::PayPerRequest, _, Some(_)) => {
            return invalid(
                "Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST",
            );
        }
        (BillingMode::PayPerRequest, BillingMode::PayPerRequest, None) | (BillingMode::Provisioned, _, None) => {}
        (BillingMode::PayPerRequest, BillingMode::Provisioned, None) => {
            table.billing = BillingMode::PayPerRequest;
            table.throughput = Throughput::default();
            table.billing_changed = Some(now);
        }
        (BillingMode::Provisioned, BillingMode::PayPerRequest, Some(units)) => {
            table.billing = BillingMode::Provisioned;
            table.throughput = units;
            table.recorded.remove(ON_DEMAND);
        }
        (BillingMode::Provisioned, BillingMode::Provisioned, Some(units)) => throughput(table, units, now)?,
    }
    Ok(())
}

fn throughput(table: &mut TableDefinition, wanted: Throughput, now: Millis) -> Result<(), Error> {
    let current = table.throughput;
    if wanted == current {
        return Err(Error::validation(format!(
            "The provisioned throughput for the table will not change. The requested value equals the current value. \
             Current ReadCapacityUnits provisioned for the table: {}. Requested ReadCapacityUnits: {}. Current \
             WriteCapacityUnits provisioned for the table: {}. Requested WriteCapacityUnits: {}. Refer to the Amazon \
             DynamoDB Developer Guide for current limits and how to request higher limits.",
            current.read_units, wanted.read_units, current.write_units, wanted.write_units
        )));
    }
    if wanted.read_units > current.read_units || wanted.write_units > current.write_units {
        table.throughput_increased = Some(now);
    }
    if wanted.read_units < current.read_units || wanted.write_units < current.write_units {
        let today = |at: Millis| same_day(at, now);
        let before = if table.throughput_decreased.is_some_and(today) { table.throughput_decreases_today } else { 0 };
        table.throughput_decreases_today = before + 1;
        table.throughput_decreased = Some(now);
    }
    table.throughput = wanted;
    Ok(())
}

/// Whether two moments lie on one day (UTC).
pub(super) fn same_day(a: Millis, b: Millis) -> bool {
    a.0.div_euclid(DAY_MS) == b.0.div_euclid(DAY_MS)
}

fn stream(input: &api::UpdateTableInput, table: &TableDefinition) -> Result<Option<Change>, Error> {
    let Some(wanted) = &input.stream_specification else { return Ok(None) };
    match (wanted.stream_enabled, wanted.stream_view_type, table.stream) {
        (true, _, Some(_)) => {
            Err(Error::validation(format!("Table already has an enabled stream: TableName: {}", table.name)))
        }
        (true, Some(kind), None) => Ok(Some(Change::EnableStream { table: table.id, view: view(kind) })),
        (true, None, None) => invalid("If stream is being enabled then UpdateViewType is required"),
        (false, _, Some(_)) => Ok(Some(Change::DisableStream { table: table.id })),
        (false, _, None) => {
            Err(Error::validation(format!("Table has no stream to disable: TableName: {}", table.name)))
        }
    }
}
