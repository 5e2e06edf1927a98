//! DynamoDB Streams.

mod describe;
mod error;
pub(crate) mod limits;
pub(crate) mod read;
mod validation;

use headwater_api::dynamodb_streams::{
    DescribeStreamInput, DescribeStreamOutput, DynamoDbStreams, GetRecordsInput, GetRecordsOutput,
    GetShardIteratorInput, GetShardIteratorOutput, ListStreamsInput, ListStreamsOutput,
};
use headwater_api::{Answer, Call};

use crate::service::Operations;

impl DynamoDbStreams for Operations {
    fn describe_stream<'a>(&'a self, call: &'a Call, input: DescribeStreamInput) -> Answer<'a, DescribeStreamOutput> {
        Box::pin(describe::describe(self, call, input))
    }

    fn get_records<'a>(&'a self, call: &'a Call, input: GetRecordsInput) -> Answer<'a, GetRecordsOutput> {
        Box::pin(read::records(self, call, input))
    }

    fn get_shard_iterator<'a>(
        &'a self,
        call: &'a Call,
        input: GetShardIteratorInput,
    ) -> Answer<'a, GetShardIteratorOutput> {
        Box::pin(read::iterator(self, call, input))
    }

    fn list_streams<'a>(&'a self, call: &'a Call, input: ListStreamsInput) -> Answer<'a, ListStreamsOutput> {
        Box::pin(describe::list(self, call, input))
    }
}
