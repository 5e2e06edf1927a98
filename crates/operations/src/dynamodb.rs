//! DynamoDB.

mod backup;
mod batch;
mod consumed;
pub(crate) mod error;
mod global_table;
mod insights;
pub(crate) mod item;
mod kinesis_destination;
mod legacy;
pub(crate) mod name;
pub(crate) mod policy;
mod query;
mod resource;
mod table;
mod tags;
mod transact;
mod ttl;
mod validation;

use headwater_api::dynamodb::*;
use headwater_api::{Answer, Call};

use crate::service::Operations;

/// Operations that this version leaves out: who may call them is refused by name.
macro_rules! unsupported {
    ($($operation:ident($input:ident) -> $output:ident;)*) => {
        $(fn $operation<'a>(&'a self, call: &'a Call, input: $input) -> Answer<'a, $output> {
            Box::pin(async move {
                call.authorize(&access::$operation(call, &input))?;
                Err(error::unsupported(call))
            })
        })*
    };
}

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

    fn tag_resource<'a>(&'a self, call: &'a Call, input: TagResourceInput) -> Answer<'a, TagResourceOutput> {
        Box::pin(tags::tag(self, call, input))
    }

    fn untag_resource<'a>(&'a self, call: &'a Call, input: UntagResourceInput) -> Answer<'a, UntagResourceOutput> {
        Box::pin(tags::untag(self, call, input))
    }

    fn list_tags_of_resource<'a>(
        &'a self,
        call: &'a Call,
        input: ListTagsOfResourceInput,
    ) -> Answer<'a, ListTagsOfResourceOutput> {
        Box::pin(tags::list(self, call, input))
    }

    fn put_resource_policy<'a>(
        &'a self,
        call: &'a Call,
        input: PutResourcePolicyInput,
    ) -> Answer<'a, PutResourcePolicyOutput> {
        Box::pin(policy::put(self, call, input))
    }

    fn get_resource_policy<'a>(
        &'a self,
        call: &'a Call,
        input: GetResourcePolicyInput,
    ) -> Answer<'a, GetResourcePolicyOutput> {
        Box::pin(policy::get(self, call, input))
    }

    fn delete_resource_policy<'a>(
        &'a self,
        call: &'a Call,
        input: DeleteResourcePolicyInput,
    ) -> Answer<'a, DeleteResourcePolicyOutput> {
        Box::pin(policy::delete(self, call, input))
    }

    fn describe_continuous_backups<'a>(
        &'a self,
        call: &'a Call,
        input: DescribeContinuousBackupsInput,
    ) -> Answer<'a, DescribeContinuousBackupsOutput> {
        Box::pin(backup::describe_continuous(self, call, input))
    }

    fn update_continuous_backups<'a>(
        &'a self,
        call: &'a Call,
        input: UpdateContinuousBackupsInput,
    ) -> Answer<'a, UpdateContinuousBackupsOutput> {
        Box::pin(backup::update_continuous(self, call, input))
    }

    fn list_backups<'a>(&'a self, call: &'a Call, input: ListBackupsInput) -> Answer<'a, ListBackupsOutput> {
        Box::pin(backup::list(call, input))
    }

    fn describe_backup<'a>(&'a self, call: &'a Call, input: DescribeBackupInput) -> Answer<'a, DescribeBackupOutput> {
        Box::pin(backup::describe(call, input))
    }

    fn delete_backup<'a>(&'a self, call: &'a Call, input: DeleteBackupInput) -> Answer<'a, DeleteBackupOutput> {
        Box::pin(backup::delete(call, input))
    }

    fn list_exports<'a>(&'a self, call: &'a Call, input: ListExportsInput) -> Answer<'a, ListExportsOutput> {
        Box::pin(backup::list_exports(call, input))
    }

    fn describe_export<'a>(&'a self, call: &'a Call, input: DescribeExportInput) -> Answer<'a, DescribeExportOutput> {
        Box::pin(backup::describe_export(call, input))
    }

    fn list_imports<'a>(&'a self, call: &'a Call, input: ListImportsInput) -> Answer<'a, ListImportsOutput> {
        Box::pin(backup::list_imports(call, input))
    }

    fn describe_import<'a>(&'a self, call: &'a Call, input: DescribeImportInput) -> Answer<'a, DescribeImportOutput> {
        Box::pin(backup::describe_import(call, input))
    }

    fn create_global_table<'a>(
        &'a self,
        call: &'a Call,
        input: CreateGlobalTableInput,
    ) -> Answer<'a, CreateGlobalTableOutput> {
        Box::pin(global_table::create(call, input))
    }

    fn update_global_table<'a>(
        &'a self,
        call: &'a Call,
        input: UpdateGlobalTableInput,
    ) -> Answer<'a, UpdateGlobalTableOutput> {
        Box::pin(global_table::update(call, input))
    }

    fn list_global_tables<'a>(
        &'a self,
        call: &'a Call,
        input: ListGlobalTablesInput,
    ) -> Answer<'a, ListGlobalTablesOutput> {
        Box::pin(global_table::list(call, input))
    }

    fn describe_global_table<'a>(
        &'a self,
        call: &'a Call,
        input: DescribeGlobalTableInput,
    ) -> Answer<'a, DescribeGlobalTableOutput> {
        Box::pin(global_table::describe(call, input))
    }

    fn describe_global_table_settings<'a>(
        &'a self,
        call: &'a Call,
        input: DescribeGlobalTableSettingsInput,
    ) -> Answer<'a, DescribeGlobalTableSettingsOutput> {
        Box::pin(global_table::describe_settings(call, input))
    }

    fn update_global_table_settings<'a>(
        &'a self,
        call: &'a Call,
        input: UpdateGlobalTableSettingsInput,
    ) -> Answer<'a, UpdateGlobalTableSettingsOutput> {
        Box::pin(global_table::update_settings(call, input))
    }

    fn describe_table_replica_auto_scaling<'a>(
        &'a self,
        call: &'a Call,
        input: DescribeTableReplicaAutoScalingInput,
    ) -> Answer<'a, DescribeTableReplicaAutoScalingOutput> {
        Box::pin(global_table::describe_scaling(call, input))
    }

    fn update_table_replica_auto_scaling<'a>(
        &'a self,
        call: &'a Call,
        input: UpdateTableReplicaAutoScalingInput,
    ) -> Answer<'a, UpdateTableReplicaAutoScalingOutput> {
        Box::pin(global_table::update_scaling(call, input))
    }

    fn describe_contributor_insights<'a>(
        &'a self,
        call: &'a Call,
        input: DescribeContributorInsightsInput,
    ) -> Answer<'a, DescribeContributorInsightsOutput> {
        Box::pin(insights::describe(self, call, input))
    }

    fn list_contributor_insights<'a>(
        &'a self,
        call: &'a Call,
        input: ListContributorInsightsInput,
    ) -> Answer<'a, ListContributorInsightsOutput> {
        Box::pin(insights::list(self, call, input))
    }

    fn update_contributor_insights<'a>(
        &'a self,
        call: &'a Call,
        input: UpdateContributorInsightsInput,
    ) -> Answer<'a, UpdateContributorInsightsOutput> {
        Box::pin(insights::update(self, call, input))
    }

    fn describe_kinesis_streaming_destination<'a>(
        &'a self,
        call: &'a Call,
        input: DescribeKinesisStreamingDestinationInput,
    ) -> Answer<'a, DescribeKinesisStreamingDestinationOutput> {
        Box::pin(kinesis_destination::describe(self, call, input))
    }

    fn enable_kinesis_streaming_destination<'a>(
        &'a self,
        call: &'a Call,
        input: EnableKinesisStreamingDestinationInput,
    ) -> Answer<'a, EnableKinesisStreamingDestinationOutput> {
        Box::pin(kinesis_destination::enable(self, call, input))
    }

    fn disable_kinesis_streaming_destination<'a>(
        &'a self,
        call: &'a Call,
        input: DisableKinesisStreamingDestinationInput,
    ) -> Answer<'a, DisableKinesisStreamingDestinationOutput> {
        Box::pin(kinesis_destination::disable(self, call, input))
    }

    fn update_kinesis_streaming_destination<'a>(
        &'a self,
        call: &'a Call,
        input: UpdateKinesisStreamingDestinationInput,
    ) -> Answer<'a, UpdateKinesisStreamingDestinationOutput> {
        Box::pin(kinesis_destination::update(self, call, input))
    }

    unsupported! {
        execute_statement(ExecuteStatementInput) -> ExecuteStatementOutput;
        batch_execute_statement(BatchExecuteStatementInput) -> BatchExecuteStatementOutput;
        execute_transaction(ExecuteTransactionInput) -> ExecuteTransactionOutput;
        create_backup(CreateBackupInput) -> CreateBackupOutput;
        restore_table_from_backup(RestoreTableFromBackupInput) -> RestoreTableFromBackupOutput;
        restore_table_to_point_in_time(RestoreTableToPointInTimeInput) -> RestoreTableToPointInTimeOutput;
        export_table_to_point_in_time(ExportTableToPointInTimeInput) -> ExportTableToPointInTimeOutput;
        import_table(ImportTableInput) -> ImportTableOutput;
    }
}
