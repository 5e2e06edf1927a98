//! Kinesis Data Streams.

mod consumers;
mod error;
pub(crate) mod limits;
mod name;
pub(crate) mod pages;
#[cfg(feature = "planted-bugs")]
mod planted;
mod policy;
mod put;
mod read;
mod record;
mod reshard;
mod settings;
mod shards;
mod stream;
mod subscribe;
pub(crate) mod subscriptions;
mod table_stream;
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
    add_tags_to_stream(AddTagsToStreamInput) -> AddTagsToStreamOutput = tags::add_to_stream;
    create_stream(CreateStreamInput) -> CreateStreamOutput = stream::create;
    decrease_stream_retention_period(DecreaseStreamRetentionPeriodInput) -> DecreaseStreamRetentionPeriodOutput
        = settings::decrease_retention;
    delete_resource_policy(DeleteResourcePolicyInput) -> DeleteResourcePolicyOutput = policy::delete;
    delete_stream(DeleteStreamInput) -> DeleteStreamOutput = stream::delete;
    deregister_stream_consumer(DeregisterStreamConsumerInput) -> DeregisterStreamConsumerOutput = consumers::deregister;
    describe_account_settings(DescribeAccountSettingsInput) -> DescribeAccountSettingsOutput = stream::account_settings;
    describe_limits(DescribeLimitsInput) -> DescribeLimitsOutput = stream::limits;
    describe_stream(DescribeStreamInput) -> DescribeStreamOutput = stream::describe;
    describe_stream_consumer(DescribeStreamConsumerInput) -> DescribeStreamConsumerOutput = consumers::describe;
    describe_stream_summary(DescribeStreamSummaryInput) -> DescribeStreamSummaryOutput = stream::summary;
    disable_enhanced_monitoring(DisableEnhancedMonitoringInput) -> EnhancedMonitoringOutput = settings::disable_monitoring;
    enable_enhanced_monitoring(EnableEnhancedMonitoringInput) -> EnhancedMonitoringOutput = settings::enable_monitoring;
    get_records(GetRecordsInput) -> GetRecordsOutput = read::records;
    get_resource_policy(GetResourcePolicyInput) -> GetResourcePolicyOutput = policy::get;
    get_shard_iterator(GetShardIteratorInput) -> GetShardIteratorOutput = read::iterator;
    increase_stream_retention_period(IncreaseStreamRetentionPeriodInput) -> IncreaseStreamRetentionPeriodOutput
        = settings::increase_retention;
    list_shards(ListShardsInput) -> ListShardsOutput = shards::list;
    list_stream_consumers(ListStreamConsumersInput) -> ListStreamConsumersOutput = consumers::list;
    list_streams(ListStreamsInput) -> ListStreamsOutput = stream::list;
    list_tags_for_resource(ListTagsForResourceInput) -> ListTagsForResourceOutput = tags::list;
    list_tags_for_stream(ListTagsForStreamInput) -> ListTagsForStreamOutput = tags::list_of_stream;
    merge_shards(MergeShardsInput) -> MergeShardsOutput = reshard::merge;
    put_record(PutRecordInput) -> PutRecordOutput = put::one;
    put_records(PutRecordsInput) -> PutRecordsOutput = put::many;
    put_resource_policy(PutResourcePolicyInput) -> PutResourcePolicyOutput = policy::put;
    register_stream_consumer(RegisterStreamConsumerInput) -> RegisterStreamConsumerOutput = consumers::register;
    remove_tags_from_stream(RemoveTagsFromStreamInput) -> RemoveTagsFromStreamOutput = tags::remove_from_stream;
    split_shard(SplitShardInput) -> SplitShardOutput = reshard::split;
    start_stream_encryption(StartStreamEncryptionInput) -> StartStreamEncryptionOutput = settings::start_encryption;
    stop_stream_encryption(StopStreamEncryptionInput) -> StopStreamEncryptionOutput = settings::stop_encryption;
    subscribe_to_shard(SubscribeToShardInput) -> SubscribeToShardOutput = subscribe::subscribe;
    tag_resource(TagResourceInput) -> TagResourceOutput = tags::tag;
    untag_resource(UntagResourceInput) -> UntagResourceOutput = tags::untag;
    update_account_settings(UpdateAccountSettingsInput) -> UpdateAccountSettingsOutput = stream::update_account_settings;
    update_max_record_size(UpdateMaxRecordSizeInput) -> UpdateMaxRecordSizeOutput = settings::update_record_size;
    update_shard_count(UpdateShardCountInput) -> UpdateShardCountOutput = reshard::update_count;
    update_stream_mode(UpdateStreamModeInput) -> UpdateStreamModeOutput = settings::update_mode;
    update_stream_warm_throughput(UpdateStreamWarmThroughputInput) -> UpdateStreamWarmThroughputOutput
        = settings::update_warm_throughput;
}
