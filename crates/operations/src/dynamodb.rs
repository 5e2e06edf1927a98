//! DynamoDB.

mod batch;
mod consumed;
pub(crate) mod error;
pub(crate) mod item;
pub(crate) mod name;
mod query;
mod table;
mod transact;
mod ttl;
mod validation;

use headwater_api::dynamodb::{
    BatchGetItemInput, BatchGetItemOutput, BatchWriteItemInput, BatchWriteItemOutput, CreateTableInput,
    CreateTableOutput, DeleteItemInput, DeleteItemOutput, DeleteTableInput, DeleteTableOutput, DescribeEndpointsInput,
    DescribeEndpointsOutput, DescribeLimitsInput, DescribeLimitsOutput, DescribeTableInput, DescribeTableOutput,
    DescribeTimeToLiveInput, DescribeTimeToLiveOutput, DynamoDb, GetItemInput, GetItemOutput, ListTablesInput,
    ListTablesOutput, PutItemInput, PutItemOutput, QueryInput, QueryOutput, ScanInput, ScanOutput,
    TransactGetItemsInput, TransactGetItemsOutput, TransactWriteItemsInput, TransactWriteItemsOutput, UpdateItemInput,
    UpdateItemOutput, UpdateTableInput, UpdateTableOutput, UpdateTimeToLiveInput, UpdateTimeToLiveOutput,
};
use headwater_api::{Answer, Call};

use crate::service::Operations;

impl DynamoDb for Operations {
    fn create_table<'a>(&'a self, call: &'a Call, input: CreateTableInput) -> Answer<'a, CreateTableOutput> {
        Box::pin(table::create(self, call, input))
    }

    fn describe_table<'a>(&'a self, call: &'a Call, input: DescribeTableInput) -> Answer<'a, DescribeTableOutput> {
        Box::pin(table::describe_table(self, call, input))
    }

    fn list_tables<'a>(&'a self, call: &'a Call, input: ListTablesInput) -> Answer<'a, ListTablesOutput> {
        Box::pin(table::list(self, call, input))
    }

    fn delete_table<'a>(&'a self, call: &'a Call, input: DeleteTableInput) -> Answer<'a, DeleteTableOutput> {
        Box::pin(table::delete(self, call, input))
    }

    fn update_table<'a>(&'a self, call: &'a Call, input: UpdateTableInput) -> Answer<'a, UpdateTableOutput> {
        Box::pin(table::update::update(self, call, input))
    }

    fn describe_limits<'a>(&'a self, call: &'a Call, input: DescribeLimitsInput) -> Answer<'a, DescribeLimitsOutput> {
        Box::pin(table::limits(call, input))
    }

    fn describe_endpoints<'a>(
        &'a self,
        call: &'a Call,
        input: DescribeEndpointsInput,
    ) -> Answer<'a, DescribeEndpointsOutput> {
        Box::pin(table::endpoints(call, input))
    }

    fn put_item<'a>(&'a self, call: &'a Call, input: PutItemInput) -> Answer<'a, PutItemOutput> {
        Box::pin(item::put(self, call, input))
    }

    fn get_item<'a>(&'a self, call: &'a Call, input: GetItemInput) -> Answer<'a, GetItemOutput> {
        Box::pin(item::get(self, call, input))
    }

    fn update_item<'a>(&'a self, call: &'a Call, input: UpdateItemInput) -> Answer<'a, UpdateItemOutput> {
        Box::pin(item::update(self, call, input))
    }

    fn delete_item<'a>(&'a self, call: &'a Call, input: DeleteItemInput) -> Answer<'a, DeleteItemOutput> {
        Box::pin(item::delete(self, call, input))
    }

    fn batch_get_item<'a>(&'a self, call: &'a Call, input: BatchGetItemInput) -> Answer<'a, BatchGetItemOutput> {
        Box::pin(batch::get(self, call, input))
    }

    fn batch_write_item<'a>(&'a self, call: &'a Call, input: BatchWriteItemInput) -> Answer<'a, BatchWriteItemOutput> {
        Box::pin(batch::write(self, call, input))
    }

    fn query<'a>(&'a self, call: &'a Call, input: QueryInput) -> Answer<'a, QueryOutput> {
        Box::pin(query::query(self, call, input))
    }

    fn scan<'a>(&'a self, call: &'a Call, input: ScanInput) -> Answer<'a, ScanOutput> {
        Box::pin(query::scan(self, call, input))
    }

    fn transact_get_items<'a>(
        &'a self,
        call: &'a Call,
        input: TransactGetItemsInput,
    ) -> Answer<'a, TransactGetItemsOutput> {
        Box::pin(transact::get(self, call, input))
    }

    fn transact_write_items<'a>(
        &'a self,
        call: &'a Call,
        input: TransactWriteItemsInput,
    ) -> Answer<'a, TransactWriteItemsOutput> {
        Box::pin(transact::write(self, call, input))
    }

    fn update_time_to_live<'a>(
        &'a self,
        call: &'a Call,
        input: UpdateTimeToLiveInput,
    ) -> Answer<'a, UpdateTimeToLiveOutput> {
        Box::pin(ttl::update(self, call, input))
    }

    fn describe_time_to_live<'a>(
        &'a self,
        call: &'a Call,
        input: DescribeTimeToLiveInput,
    ) -> Answer<'a, DescribeTimeToLiveOutput> {
        Box::pin(ttl::describe(self, call, input))
    }
}
