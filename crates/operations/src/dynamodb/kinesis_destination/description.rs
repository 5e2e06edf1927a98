//! How a destination is described, with what is wrong with it in words: the service's description has no fixed form.

use headwater_api::dynamodb as api;
use headwater_catalog::{DestinationState, KinesisDestination, Precision, Snapshot, TableDefinition, Tally};
use headwater_log::Error;

use crate::service::Operations;

/// A change that has not been sent for so long is worth a word. Unit: ms of store time. Source: ours.
const LAG_TOLD_MS: i64 = 60_000;

/// A destination as DescribeKinesisStreamingDestination shows it.
pub(super) fn describe(
    service: &Operations,
    catalog: &Snapshot,
    table: &TableDefinition,
    destination: &KinesisDestination,
) -> Result<api::KinesisDataStreamDestination, Error> {
    let scope = &table.scope;
    let arn = format!("arn:aws:kinesis:{}:{}:stream/{}", scope.region, scope.account, destination.stream);
    let trouble = trouble(service, catalog, table, destination)?;
    Ok(api::KinesisDataStreamDestination {
        stream_arn: Some(arn),
        destination_status: Some(status(destination.state)),
        destination_status_description: (!trouble.is_empty()).then(|| trouble.join("; ")),
        approximate_creation_date_time_precision: destination.precision.map(|precision| match precision {
            Precision::Millisecond => api::ApproximateCreationDateTimePrecision::Millisecond,
            Precision::Microsecond => api::ApproximateCreationDateTimePrecision::Microsecond,
        }),
    })
}

fn status(state: DestinationState) -> api::DestinationStatus {
    match state {
        DestinationState::Enabling => api::DestinationStatus::Enabling,
        DestinationState::Active => api::DestinationStatus::Active,
        DestinationState::Updating => api::DestinationStatus::Updating,
        DestinationState::Disabling => api::DestinationStatus::Disabling,
        DestinationState::Disabled => api::DestinationStatus::Disabled,
        DestinationState::EnableFailed => api::DestinationStatus::EnableFailed,
    }
}

/// What a user must know; nothing while all is well.
fn trouble(
    service: &Operations,
    catalog: &Snapshot,
    table: &TableDefinition,
    destination: &KinesisDestination,
) -> Result<Vec<String>, Error> {
    let mut trouble: Vec<String> = destination.failure.iter().cloned().collect();
    let mut tally = destination.tally;
    if destination.state.moves() {
        let positions = service.log.positions(destination.incarnation)?;
        tally = positions.iter().fold(Tally::default(), |sum, position| sum + position.tally);
        let target = catalog.data_stream(&table.scope, &destination.stream);
        if target.is_none_or(|target| !target.state.serves()) {
            trouble.push(format!("the Kinesis data stream {} does not take records", destination.stream));
        }
        let now = service.log.clock().store();
        let oldest = service.log.oldest_unmoved(destination.incarnation)?;
        let lag_ms = oldest.map_or(0, |oldest| now.0 - oldest.0);
        if lag_ms >= LAG_TOLD_MS {
            trouble.push(format!("the oldest change not replicated yet is {} s old", lag_ms / 1_000));
        }
    }
    if tally.oversized > 0 {
        trouble.push(format!("{} changes were skipped: their records exceed the stream's maximum", tally.oversized));
    }
    if tally.lost > 0 {
        trouble.push(format!("{} changes were lost", tally.lost));
    }
    Ok(trouble)
}
