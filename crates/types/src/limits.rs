//! Every limit with its unit and source. A bound that is not here is in `server/config.rs`.

/// Largest item, names included. Unit: bytes. Source: "Service, account, and table quotas", DynamoDB developer guide.
pub const ITEM_SIZE_BYTES_MAX: usize = 409_600;
/// Largest partition key value. Unit: bytes. Source: "Service, account, and table quotas", DynamoDB developer guide.
pub const PARTITION_KEY_BYTES_MAX: usize = 2_048;
/// Largest sort key value. Unit: bytes. Source: "Service, account, and table quotas", DynamoDB developer guide.
pub const SORT_KEY_BYTES_MAX: usize = 1_024;
/// Largest item collection of a table with local indexes. Unit: bytes. Source: "Item collections in DynamoDB", developer guide.
pub const COLLECTION_BYTES_MAX: i64 = 10 * 1_024 * 1_024 * 1_024;
/// Deepest nesting of lists and maps, the value inside them counted. Unit: levels. Source: "Service, account, and table quotas",
/// DynamoDB developer guide; how they are counted: observed on the service by dynamodb-conformance (nestingDepth).
pub const NESTING_LEVELS_MAX: usize = 32;
/// Longest expression. Unit: bytes. Source: "Service, account, and table quotas", DynamoDB developer guide.
pub const EXPRESSION_BYTES_MAX: usize = 4_096;
/// Most operators in an expression. Unit: operators. Source: "Service, account, and table quotas", DynamoDB developer guide.
pub const EXPRESSION_OPERATORS_MAX: usize = 300;
/// Names and values substituted into one request's expressions. Unit: bytes. Source: "Service, account, and table quotas".
pub const SUBSTITUTION_BYTES_MAX: usize = 2 * 1_024 * 1_024;
/// One page of Query or Scan, read before filtering. Unit: bytes. Source: "Query", DynamoDB API reference.
pub const PAGE_BYTES_MAX: usize = 1_048_576;
/// One page of a DynamoDB stream. Unit: records. Source: "GetRecords", DynamoDB Streams API reference.
pub const STREAM_PAGE_RECORDS_MAX: usize = 1_000;
/// One page of a DynamoDB stream. Unit: bytes. Source: "GetRecords", DynamoDB Streams API reference.
pub const STREAM_PAGE_BYTES_MAX: usize = 1_048_576;
/// Life of a DynamoDB Streams iterator. Unit: ms of store time. Source: "GetShardIterator", DynamoDB Streams API reference.
pub const STREAM_ITERATOR_LIFE_MS: i64 = 15 * 60 * 1_000;
/// One page of a data stream. Unit: records. Source: "GetRecords", Kinesis API reference.
pub const KINESIS_PAGE_RECORDS_MAX: usize = 10_000;
/// One page of a data stream. Unit: bytes. Source: "GetRecords", Kinesis API reference.
pub const KINESIS_PAGE_BYTES_MAX: usize = 10 * 1_024 * 1_024;
/// Life of a Kinesis shard iterator. Unit: ms of store time. Source: "GetShardIterator", Kinesis API reference.
pub const KINESIS_ITERATOR_LIFE_MS: i64 = 5 * 60 * 1_000;
/// Life of a subscription to a shard. Unit: ms of store time. Source: "SubscribeToShard", Kinesis API reference.
pub const KINESIS_SUBSCRIPTION_LIFE_MS: i64 = 5 * 60 * 1_000;
/// Records of one PutRecords together, partition keys included. Unit: bytes. Source: "PutRecords", Kinesis API reference.
pub const PUT_RECORDS_BYTES_MAX: usize = 10 * 1_024 * 1_024;
/// How long a DynamoDB stream's records are kept. Unit: ms of store time. Source: "Change data capture for DynamoDB Streams".
pub const STREAM_RETENTION_MS: i64 = 24 * 60 * 60 * 1_000;
/// How long a change is kept for a replication beyond what clients are shown. Unit: ms of store time. Source: the service
/// is said to lose changes after 24 hours, unverified; ours.
pub const MOVER_HOLD_MS: i64 = 24 * 60 * 60 * 1_000;
/// Open shards, hence partitions, of a new on-demand table. Source: observed on the service, unverified; configurable.
pub const ON_DEMAND_PARTITIONS: usize = 4;
/// What one partition can write. Unit: WCU. Source: "Burst and adaptive capacity", DynamoDB developer guide.
pub const PARTITION_WRITE_UNITS: i64 = 1_000;
/// What one partition can hold. Unit: bytes. Source: "Partitions and data distribution", DynamoDB developer guide.
pub const PARTITION_BYTES_MAX: i64 = 10 * 1_000 * 1_000 * 1_000;
/// Partitions of a table beyond which none is split by itself. Source: ours.
pub const OPEN_SHARDS_MAX: usize = 64;
/// After how long an open shard is replaced by one child. Unit: ms. Source: common knowledge, unverified; configurable.
pub const SHARD_LIFE_MS: i64 = 4 * 3_600_000;
/// What one partition can read. Unit: RCU. Source: "Burst and adaptive capacity", DynamoDB developer guide.
pub const PARTITION_READ_UNITS: i64 = 3_000;
/// Items asked of BatchGetItem. Source: "BatchGetItem", DynamoDB API reference.
pub const BATCH_GET_ITEMS_MAX: usize = 100;
/// Writes asked of BatchWriteItem. Source: "BatchWriteItem", DynamoDB API reference.
pub const BATCH_WRITE_ITEMS_MAX: usize = 25;
/// What one BatchGetItem answers at most. Unit: bytes. Source: "BatchGetItem", DynamoDB API reference.
pub const BATCH_GET_BYTES_MAX: usize = 16 * 1_024 * 1_024;
/// How long an idempotency token is known. Unit: ms of store time. Source: "TransactWriteItems", DynamoDB API reference.
pub const TOKEN_LIFE_MS: i64 = 10 * 60 * 1_000;
/// Items of one transaction together. Unit: bytes. Source: "TransactWriteItems", DynamoDB API reference.
pub const TRANSACTION_BYTES_MAX: usize = 4 * 1_024 * 1_024;
/// Actions of one transaction. Source: the model's `TransactWriteItemsInput`.
pub const TRANSACTION_ACTIONS_MAX: usize = 100;
/// Indexes of one table: local and global ones. Source: "Service, account, and table quotas", DynamoDB developer guide.
pub const TABLE_INDEXES_MAX: usize = 5 + 20;
/// Largest plan of one command: a transaction whose every update, small itself, leaves a largest item: the item, both images
/// in its record, an entry in each index; a megabyte for all keys of one item. A frame of the embedded engine may have
/// 4 GiB. Unit: bytes. Source: ours, derived.
pub const PLAN_BYTES_MAX: usize =
    TRANSACTION_ACTIONS_MAX * ((1 + 2 + TABLE_INDEXES_MAX) * ITEM_SIZE_BYTES_MAX + 1_024 * 1_024);
/// Largest request. Unit: bytes. Source: "Service, account, and table quotas", DynamoDB developer guide.
pub const REQUEST_BYTES_MAX: usize = 16 * 1_024 * 1_024;
/// Request line and headers together. Unit: bytes. Source: observed by Alternator's `test_manual_requests`.
pub const REQUEST_HEAD_BYTES_MAX: usize = 16 * 1_024;
/// Most plans' bytes in one commit group before it is closed; a larger plan is a group of its own. Unit: bytes. Source: ours.
pub const GROUP_BYTES_MAX: usize = 4 * 1_024 * 1_024;
/// Bytes of plans that may wait for the committer; beyond it requests wait. Unit: bytes. Source: ours.
pub const QUEUE_BYTES_MAX: usize = 64 * 1_024 * 1_024;
