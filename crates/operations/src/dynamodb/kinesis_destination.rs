//! Enable, Disable, Describe and UpdateKinesisStreamingDestination: where a table's changes are sent in Kinesis.
//!
//! Source: replies as the service gave them (LocalStack's AWS snapshots, test_kinesis_streaming_destination_crud, 2025-07);
//! texts likewise, but for those marked otherwise.

mod description;

use headwater_api::dynamodb as api;
use headwater_api::dynamodb::{access, errors};
use headwater_api::{Call, Error};
use headwater_catalog::{DestinationState, KinesisDestination, Precision, Snapshot, TableDefinition, TableState};
use headwater_log::{Change, Defined, Definition, DestinationChange};
use headwater_types::{Millis, Scope};

use super::table::{in_use, not_found};
use super::{error, name};
use crate::service::Operations;

/// What stands before most refusals, even of UpdateKinesisStreamingDestination.
const NOT_TO_ENABLE: &str = "Table is not in a valid state to enable Kinesis Streaming Destination: ";

/// EnableKinesisStreamingDestination.
pub(crate) async fn enable(
    service: &Operations,
    call: &Call,
    input: api::EnableKinesisStreamingDestinationInput,
) -> Result<api::EnableKinesisStreamingDestinationOutput, Error> {
    let configuration = input.enable_kinesis_streaming_configuration.clone().unwrap_or_default();
    let precision = configuration.approximate_creation_date_time_precision.map(precision);
    let table = name::table(call, &input.table_name)?;
    let stream = stream(call, &input.stream_arn)?;
    call.authorize(&access::enable_kinesis_streaming_destination(call, &input))?;
    let asked = Asked { scope: name::scope(call), table: table.clone(), stream, arn: input.stream_arn.clone() };
    let change = Wanted::Enable(precision);
    service.log.define(Decide { asked, change }).await.map_err(error::defining)??;
    Ok(api::KinesisStreamingDestinationOutput {
        table_name: Some(table),
        stream_arn: Some(input.stream_arn),
        destination_status: Some(api::DestinationStatus::Enabling),
        enable_kinesis_streaming_configuration: Some(configuration),
    })
}

/// DisableKinesisStreamingDestination.
pub(crate) async fn disable(
    service: &Operations,
    call: &Call,
    input: api::DisableKinesisStreamingDestinationInput,
) -> Result<api::DisableKinesisStreamingDestinationOutput, Error> {
    let table = name::table(call, &input.table_name)?;
    let stream = stream(call, &input.stream_arn)?;
    call.authorize(&access::disable_kinesis_streaming_destination(call, &input))?;
    let asked = Asked { scope: name::scope(call), table: table.clone(), stream, arn: input.stream_arn.clone() };
    service.log.define(Decide { asked, change: Wanted::Disable }).await.map_err(error::defining)??;
    Ok(api::KinesisStreamingDestinationOutput {
        table_name: Some(table),
        stream_arn: Some(input.stream_arn),
        destination_status: Some(api::DestinationStatus::Disabling),
        enable_kinesis_streaming_configuration: None,
    })
}

/// UpdateKinesisStreamingDestination.
pub(crate) async fn update(
    service: &Operations,
    call: &Call,
    input: api::UpdateKinesisStreamingDestinationInput,
) -> Result<api::UpdateKinesisStreamingDestinationOutput, Error> {
    let table = name::table(call, &input.table_name)?;
    let configuration = input.update_kinesis_streaming_configuration.clone();
    let wanted = configuration.as_ref().and_then(|given| given.approximate_creation_date_time_precision);
    let Some(wanted) = wanted else {
        return Err(Error::validation(
            "Streaming destination cannot be updated with given parameters: UpdateKinesisStreamingConfiguration cannot be \
             null or contain only null values",
        ));
    };
    let stream = stream(call, &input.stream_arn)?;
    call.authorize(&access::update_kinesis_streaming_destination(call, &input))?;
    let asked = Asked { scope: name::scope(call), table: table.clone(), stream, arn: input.stream_arn.clone() };
    let change = Wanted::Update(precision(wanted));
    service.log.define(Decide { asked, change }).await.map_err(error::defining)??;
    Ok(api::UpdateKinesisStreamingDestinationOutput {
        table_name: Some(table),
        stream_arn: Some(input.stream_arn),
        destination_status: Some(api::DestinationStatus::Updating),
        update_kinesis_streaming_configuration: configuration,
    })
}

/// DescribeKinesisStreamingDestination: those that are over stay listed.
pub(crate) async fn describe(
    service: &Operations,
    call: &Call,
    input: api::DescribeKinesisStreamingDestinationInput,
) -> Result<api::DescribeKinesisStreamingDestinationOutput, Error> {
    let name = name::table(call, &input.table_name)?;
    call.authorize(&access::describe_kinesis_streaming_destination(call, &input))?;
    let catalog = service.log.catalog().map_err(error::defining)?;
    let table = catalog.table(&name::scope(call), &name).ok_or_else(|| not_found(&name))?;
    let described = table.destinations.iter().map(|one| description::describe(service, &catalog, table, one));
    let destinations = described.collect::<Result<Vec<_>, _>>().map_err(error::defining)?;
    Ok(api::DescribeKinesisStreamingDestinationOutput {
        table_name: Some(name),
        kinesis_data_stream_destinations: Some(destinations),
    })
}

/// The name of the data stream that an ARN names: it must be of the caller's account and Region.
///
/// Errors: ValidationException (texts unverified).
fn stream(call: &Call, arn: &str) -> Result<String, Error> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let invalid = || Error::validation(format!("Invalid StreamArn: {arn} is not the ARN of a Kinesis data stream"));
    let ["arn", partition, "kinesis", region, account, resource] = parts.as_slice() else { return Err(invalid()) };
    let name = resource.strip_prefix("stream/").filter(|name| is_stream_name(name)).ok_or_else(invalid)?;
    if !partition.starts_with("aws") {
        return Err(invalid());
    }
    if **region != *call.region || **account != *call.principal.account {
        return Err(Error::validation(format!(
            "Invalid StreamArn: {arn} must be in the same AWS account and AWS Region as the table"
        )));
    }
    Ok((*name).to_owned())
}

/// Source: "StreamName", Kinesis API reference.
fn is_stream_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    (1..=128).contains(&name.len()) && name.bytes().all(allowed)
}

fn precision(given: api::ApproximateCreationDateTimePrecision) -> Precision {
    match given {
        api::ApproximateCreationDateTimePrecision::Millisecond => Precision::Millisecond,
        api::ApproximateCreationDateTimePrecision::Microsecond => Precision::Microsecond,
    }
}

fn word(precision: Precision) -> &'static str {
    match precision {
        Precision::Millisecond => "MILLISECOND",
        Precision::Microsecond => "MICROSECOND",
    }
}

/// Whose destination a request is about.
struct Asked {
    scope: Scope,
    table: String,
    stream: String,
    arn: String,
}

#[derive(Clone, Copy)]
enum Wanted {
    Enable(Option<Precision>),
    Disable,
    Update(Precision),
}

struct Decide {
    asked: Asked,
    change: Wanted,
}

impl Definition for Decide {
    type Answer = Result<(), Error>;

    fn decide(&mut self, catalog: &Snapshot, _now: Millis) -> Defined<Self::Answer> {
        let Some(table) = catalog.table(&self.asked.scope, &self.asked.table) else {
            return Defined::Answer(Err(not_found(&self.asked.table)));
        };
        let change = match self.change {
            Wanted::Enable(precision) => enabled(catalog, table, &self.asked, precision),
            Wanted::Disable => disabled(table, &self.asked),
            Wanted::Update(precision) => updated(table, &self.asked, precision),
        };
        match change {
            Ok(change) => Defined::Change(vec![Change::Destination { table: table.id, change }]),
            Err(refusal) => Defined::Answer(Err(refusal)),
        }
    }

    fn answer(&mut self, _catalog: &Snapshot) -> Self::Answer {
        Ok(())
    }
}

/// Refuses tables that come or go. Source: texts of other operations on such tables; unverified for these.
fn usable(table: &TableDefinition) -> Result<(), Error> {
    match table.state {
        TableState::Active | TableState::Updating => Ok(()),
        TableState::Creating => Err(in_use(&format!("Table {} is being created", table.name))),
        TableState::Deleting => Err(in_use(&format!("Table {} is being deleted", table.name))),
    }
}

fn enabled(
    catalog: &Snapshot,
    table: &TableDefinition,
    asked: &Asked,
    precision: Option<Precision>,
) -> Result<DestinationChange, Error> {
    usable(table)?;
    if table.destination().is_some() {
        return Err(Error::validation(format!(
            "{NOT_TO_ENABLE}EnableKinesisStreamingDestination must be DISABLED or ENABLE_FAILED to perform ENABLE operation."
        )));
    }
    if catalog.data_stream(&asked.scope, &asked.stream).is_none() {
        // Unverified: that it is refused at once, and the text.
        return Err(errors::resource_not_found(format!(
            "Requested resource not found: Kinesis data stream: {} not found",
            asked.arn
        )));
    }
    Ok(DestinationChange::Enable { stream: asked.stream.clone(), precision })
}

/// Source of the text: LocalStack.
fn disabled(table: &TableDefinition, asked: &Asked) -> Result<DestinationChange, Error> {
    let is_active = |one: &KinesisDestination| one.stream == asked.stream && one.state == DestinationState::Active;
    usable(table)?;
    if table.destination().is_some_and(is_active) {
        return Ok(DestinationChange::Disable);
    }
    Err(Error::validation(
        "Table is not in a valid state to disable Kinesis Streaming Destination: DisableKinesisStreamingDestination must be \
         ACTIVE to perform DISABLE operation.",
    ))
}

fn updated(table: &TableDefinition, asked: &Asked, precision: Precision) -> Result<DestinationChange, Error> {
    usable(table)?;
    let Some(found) = table.destinations.iter().find(|one| one.stream == asked.stream) else {
        return Err(Error::validation(format!(
            "{NOT_TO_ENABLE}No streaming destination with streamArn: {} found for table with tableName: {}",
            asked.arn, table.name
        )));
    };
    if found.state != DestinationState::Active {
        // Unverified: built like the refusal of DISABLE.
        return Err(Error::validation(format!(
            "{NOT_TO_ENABLE}UpdateKinesisStreamingDestination must be ACTIVE to perform UPDATE operation."
        )));
    }
    if found.precision == Some(precision) {
        return Err(Error::validation(format!(
            "Invalid Request: Precision is already set to the desired value of {} for tableId: {}, kdsArn: {}",
            word(precision),
            table.table_uuid,
            asked.arn
        )));
    }
    Ok(DestinationChange::Update { precision })
}

#[cfg(test)]
mod tests {
    use super::is_stream_name;

    #[test]
    fn stream_names_are_those_that_can_be_made() {
        assert!(is_stream_name("a.b-c_9") && is_stream_name(&"x".repeat(128)));
        assert!(!is_stream_name("") && !is_stream_name(&"x".repeat(129)) && !is_stream_name("a/b"));
    }
}
