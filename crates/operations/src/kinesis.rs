//! Kinesis Data Streams.

mod error;
mod name;
mod put;
mod read;
mod record;
mod settings;
mod shards;
mod stream;
mod tags;

use headwater_api::kinesis as api;
use headwater_api::kinesis::Kinesis;
use headwater_api::{Answer, Call};

use crate::service::Operations;

/// Operations as the model names them, each handed on to the function that performs it.
macro_rules! operations {
    ($($operation:ident($input:ident) -> $output:ident = $function:path;)+) => {
        impl Kinesis for Operations {
            $(fn $operation<'a>(&'a self, call: &'a Call, input: api::$input) -> Answer<'a, api::$output> {
                Box::pin($function(self, call, input))
            })+
        }
    };
}

operations! {
    create_stream(CreateStreamInput) -> CreateStreamOutput = stream::create;
    delete_stream(DeleteStreamInput) -> DeleteStreamOutput = stream::delete;
    describe_account_settings(DescribeAccountSettingsInput) -> DescribeAccountSettingsOutput = stream::account_settings;
    describe_limits(DescribeLimitsInput) -> DescribeLimitsOutput = stream::limits;
    describe_stream(DescribeStreamInput) -> DescribeStreamOutput = stream::describe;
    describe_stream_summary(DescribeStreamSummaryInput) -> DescribeStreamSummaryOutput = stream::summary;
    get_records(GetRecordsInput) -> GetRecordsOutput = read::records;
    get_shard_iterator(GetShardIteratorInput) -> GetShardIteratorOutput = read::iterator;
    list_shards(ListShardsInput) -> ListShardsOutput = shards::list;
    list_streams(ListStreamsInput) -> ListStreamsOutput = stream::list;
    put_record(PutRecordInput) -> PutRecordOutput = put::one;
    put_records(PutRecordsInput) -> PutRecordsOutput = put::many;
}
