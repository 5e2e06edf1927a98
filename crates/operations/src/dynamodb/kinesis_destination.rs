//! Where a table's changes are sent in Kinesis: nowhere yet.

use headwater_api::dynamodb as api;
use headwater_api::dynamodb::access;
use headwater_api::{Call, Error};

use super::table::not_found;
use super::{error, name};
use crate::service::Operations;

/// DescribeKinesisStreamingDestination: no table has one.
pub(crate) async fn describe(
    service: &Operations,
    call: &Call,
    input: api::DescribeKinesisStreamingDestinationInput,
) -> Result<api::DescribeKinesisStreamingDestinationOutput, Error> {
    let table = name::table(call, &input.table_name)?;
    call.authorize(&access::describe_kinesis_streaming_destination(call, &input))?;
    let catalog = service.log.catalog().map_err(error::defining)?;
    if catalog.table(&name::scope(call), &table).is_none() {
        return Err(not_found(&table));
    }
    Ok(api::DescribeKinesisStreamingDestinationOutput {
        table_name: Some(table),
        kinesis_data_stream_destinations: Some(Vec::new()),
    })
}
