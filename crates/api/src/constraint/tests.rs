//! Promise: an input that breaks its model is refused in the service's words, for every kind of constraint and type.

use crate::decode::Input;
use crate::document::Document;
use crate::dynamodb::{
    BatchGetItemInput, BatchWriteItemInput, CreateTableInput, DescribeTableInput, ListTablesInput, PutItemInput,
    QueryInput, ScanInput, TransactWriteItemsInput, UpdateItemInput, UpdateTimeToLiveInput,
};
use crate::dynamodb_streams::{DescribeStreamInput, GetShardIteratorInput};
use crate::error::Error;
use crate::firehose::{CreateDeliveryStreamInput, PutRecordBatchInput};
use crate::kinesis::{
    EnableEnhancedMonitoringInput, GetRecordsInput, PutRecordInput, PutRecordsInput, RegisterStreamConsumerInput,
};

fn refused<I: Input>(body: &str) -> Error {
    match Document::from_json(body.as_bytes()).and_then(I::from_document) {
        Ok(_) => panic!("accepted: {body}"),
        Err(error) => error,
    }
}

fn accepted<I: Input>(body: &str) -> I {
    Document::from_json(body.as_bytes()).and_then(I::from_document).unwrap_or_else(|error| panic!("{body}: {error}"))
}

/// The message must be `1 validation error detected: Value{value} at '{path}' failed to satisfy constraint: {rule}`.
fn violates<I: Input>(body: &str, value: &str, path: &str, rule: &str) {
    let error = refused::<I>(body);
    assert_eq!(error.name(), "ValidationException", "{body}");
    let expected =
        format!("1 validation error detected: Value{value} at '{path}' failed to satisfy constraint: {rule}");
    assert_eq!(error.message(), Some(expected.as_str()), "{body}");
}

fn mistyped<I: Input>(body: &str, text: &str) {
    let error = refused::<I>(body);
    assert_eq!((error.name(), error.message()), ("SerializationException", Some(text)), "{body}");
}

#[test]
fn each_rule_has_its_text() {
    violates::<PutItemInput>(r#"{"TableName":"abc"}"#, " null", "item", "Member must not be null");
    violates::<PutItemInput>(r#"{"TableName":"abc","Item":null}"#, " null", "item", "Member must not be null");
    violates::<PutItemInput>(
        r#"{"TableName":"abc;","Item":{}}"#,
        " 'abc;'",
        "tableName",
        "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+",
    );
    violates::<PutItemInput>(
        r#"{"TableName":"abc","Item":{},"ReturnValues":"hi"}"#,
        " 'hi'",
        "returnValues",
        "Member must satisfy enum value set: [ALL_NEW, UPDATED_OLD, ALL_OLD, NONE, UPDATED_NEW]",
    );
    violates::<ListTablesInput>(r#"{"Limit":0}"#, " '0'", "limit", "Member must have value greater than or equal to 1");
    violates::<ListTablesInput>(
        r#"{"Limit":101}"#,
        " '101'",
        "limit",
        "Member must have value less than or equal to 100",
    );
    violates::<ListTablesInput>(
        r#"{"ExclusiveStartTableName":"ab"}"#,
        " 'ab'",
        "exclusiveStartTableName",
        "Member must have length greater than or equal to 3",
    );
    violates::<DescribeStreamInput>(
        r#"{"StreamArn":"arn:aws:dynamodb:us-east-1:000000000000:table/t/stream/x","Limit":0}"#,
        " '0'",
        "limit",
        "Member must have value greater than or equal to 1",
    );
    violates::<UpdateTimeToLiveInput>(
        r#"{"TableName":"abc","TimeToLiveSpecification":{"AttributeName":"","Enabled":true}}"#,
        " ''",
        "timeToLiveSpecification.attributeName",
        "Member must have length greater than or equal to 1",
    );
    let long = "x".repeat(257);
    violates::<PutRecordInput>(
        &format!(r#"{{"StreamName":"s","Data":"","PartitionKey":"{long}"}}"#),
        &format!(" '{long}'"),
        "partitionKey",
        "Member must have length less than or equal to 256",
    );
    violates::<GetRecordsInput>(
        r#"{"ShardIterator":"x","Limit":10001}"#,
        " '10001'",
        "limit",
        "Member must have value less than or equal to 10000",
    );
    violates::<GetShardIteratorInput>(
        r#"{"StreamArn":"arn:aws:dynamodb:us-east-1:000000000000:table/t/stream/x",
            "ShardId":"shardId-00000001573689847184-864758bb","ShardIteratorType":"AT_TIMESTAMP"}"#,
        " 'AT_TIMESTAMP'",
        "shardIteratorType",
        "Member must satisfy enum value set: [TRIM_HORIZON, LATEST, AT_SEQUENCE_NUMBER, AFTER_SEQUENCE_NUMBER]",
    );
}

#[test]
fn characters_are_counted_not_bytes() {
    let key = "\u{e9}".repeat(256);
    let input = accepted::<PutRecordInput>(&format!(r#"{{"StreamName":"s","Data":"","PartitionKey":"{key}"}}"#));
    assert_eq!(input.partition_key, key);
}

#[test]
fn paths_lead_through_lists_and_maps() {
    violates::<CreateTableInput>(
        r#"{"TableName":"abc","AttributeDefinitions":[{"AttributeName":"a","AttributeType":"S"},{"AttributeName":"b","AttributeType":"X"}]}"#,
        " 'X'",
        "attributeDefinitions.2.member.attributeType",
        "Member must satisfy enum value set: [B, N, S]",
    );
    violates::<ScanInput>(
        r#"{"TableName":"abc","ScanFilter":{"a":{}}}"#,
        " null",
        "scanFilter.a.member.comparisonOperator",
        "Member must not be null",
    );
    violates::<BatchWriteItemInput>(
        r#"{"RequestItems":{"Music":[{"PutRequest":{}}]}}"#,
        " null",
        "requestItems.Music.member.1.member.putRequest.item",
        "Member must not be null",
    );
    violates::<TransactWriteItemsInput>(
        r#"{"TransactItems":[{"Put":{"TableName":"abc"}}]}"#,
        " null",
        "transactItems.1.member.put.item",
        "Member must not be null",
    );
    violates::<BatchGetItemInput>(
        r#"{"RequestItems":{"abc":null}}"#,
        " null",
        "requestItems.abc.member",
        "Member must not be null",
    );
    violates::<TransactWriteItemsInput>(
        r#"{"TransactItems":[null]}"#,
        " null",
        "transactItems.1.member",
        "Member must not be null",
    );
}

#[test]
fn scalars_of_lists_and_maps_are_judged_together() {
    violates::<EnableEnhancedMonitoringInput>(
        r#"{"StreamName":"s","ShardLevelMetrics":["ALL","nope"]}"#,
        " '[ALL, nope]'",
        "shardLevelMetrics",
        "Member must satisfy constraint: [Member must satisfy enum value set: [IncomingBytes, IncomingRecords, OutgoingBytes, \
         OutgoingRecords, WriteProvisionedThroughputExceeded, ReadProvisionedThroughputExceeded, IteratorAgeMilliseconds, ALL]]",
    );
    let long = "k".repeat(129);
    violates::<RegisterStreamConsumerInput>(
        &format!(
            r#"{{"StreamARN":"arn:aws:kinesis:us-east-1:000000000000:stream/s","ConsumerName":"c","Tags":{{"{long}":"v"}}}}"#
        ),
        &format!(" '{{{long}=v}}'"),
        "tags",
        "Map keys must satisfy constraint: [Member must have length less than or equal to 128, \
         Member must have length greater than or equal to 1]",
    );
}

#[test]
fn values_are_shown_as_java_shows_them() {
    violates::<CreateTableInput>(
        r#"{"TableName":"abc","KeySchema":[]}"#,
        " '[]'",
        "keySchema",
        "Member must have length greater than or equal to 1",
    );
    violates::<BatchGetItemInput>(
        r#"{"RequestItems":{}}"#,
        " '{}'",
        "requestItems",
        "Member must have length greater than or equal to 1",
    );
    let error = refused::<CreateTableInput>(
        r#"{"TableName":"abc","AttributeDefinitions":[{"AttributeName":"","AttributeType":"S"}],
            "KeySchema":[{"AttributeName":"k","KeyType":"HASH"},{"AttributeName":"","KeyType":"RANGE"}]}"#,
    );
    assert_eq!(
        error.message(),
        Some(
            "2 validation errors detected: Value '' at 'attributeDefinitions.1.member.attributeName' failed to satisfy \
             constraint: Member must have length greater than or equal to 1; Value '' at \
             'keySchema.2.member.attributeName' failed to satisfy constraint: Member must have length greater than or \
             equal to 1"
        )
    );
    // A blob is not shown at all.
    let data = "AAAA".repeat(1_024_000 / 3 + 1);
    violates::<PutRecordBatchInput>(
        &format!(r#"{{"DeliveryStreamName":"s","Records":[{{"Data":"{data}"}}]}}"#),
        "",
        "records.1.member.data",
        "Member must have length less than or equal to 1024000",
    );
    let entries = vec![r#"{"Data":"","PartitionKey":"k"}"#; 501].join(",");
    let error = refused::<PutRecordsInput>(&format!(r#"{{"StreamName":"s","Records":[{entries}]}}"#));
    let message = error.message().unwrap();
    assert!(message.starts_with(
        "1 validation error detected: Value '[PutRecordsRequestEntry(data=java.nio.HeapByteBuffer[pos=0 lim=0 cap=0], \
         explicitHashKey=null, partitionKey=k), "
    ));
    assert!(
        message.ends_with(
            "' at 'records' failed to satisfy constraint: Member must have length less than or equal to 500"
        )
    );
}

#[test]
fn violations_come_together_in_the_services_order_and_ten_at_most() {
    let error =
        refused::<UpdateItemInput>(r#"{"TableName":"","ReturnConsumedCapacity":"INVALID","ReturnValues":"INVALID"}"#);
    assert_eq!(
        error.message(),
        Some(
            "4 validation errors detected: Value 'INVALID' at 'returnConsumedCapacity' failed to satisfy constraint: Member \
             must satisfy enum value set: [INDEXES, TOTAL, NONE]; Value '' at 'tableName' failed to satisfy constraint: \
             Member must have length greater than or equal to 1; Value 'INVALID' at 'returnValues' failed to \
             satisfy constraint: Member must satisfy enum value set: [ALL_NEW, UPDATED_OLD, ALL_OLD, NONE, UPDATED_NEW]; \
             Value null at 'key' failed to satisfy constraint: Member must not be null"
        )
    );
    let filters: Vec<String> = (0..30).map(|n| format!(r#""a{n}":{{"ComparisonOperator":"x"}}"#)).collect();
    let error = refused::<QueryInput>(&format!(r#"{{"TableName":"abc","QueryFilter":{{{}}}}}"#, filters.join(",")));
    let message = error.message().unwrap();
    assert!(message.starts_with("10 validation errors detected: "), "{message}");
    assert_eq!(message.matches("failed to satisfy constraint").count(), 10);
}

#[test]
fn a_tables_own_name_is_refused_first_and_alone() {
    for (body, text) in [
        (r#"{"KeySchema":[]}"#, "The parameter 'TableName' is required but was not present in the request"),
        (r#"{"TableName":null}"#, "The parameter 'TableName' is required but was not present in the request"),
    ] {
        assert_eq!(refused::<CreateTableInput>(body).message(), Some(text), "{body}");
    }
    violates::<DescribeTableInput>(
        r#"{"TableName":"ab"}"#,
        " 'ab'",
        "tableName",
        "Member must have length greater than or equal to 3",
    );
    assert_eq!(
        refused::<DescribeTableInput>(r#"{"TableName":"x!"}"#).message(),
        Some(
            "2 validation errors detected: Value 'x!' at 'tableName' failed to satisfy constraint: Member must have \
             length greater than or equal to 3; Value 'x!' at 'tableName' failed to satisfy constraint: Member must \
             satisfy regular expression pattern: [a-zA-Z0-9_.-]+"
        )
    );
    accepted::<DescribeTableInput>(r#"{"TableName":"arn:aws:dynamodb:us-east-1:000000000000:table/abc"}"#);
    violates::<DescribeTableInput>(
        r#"{"TableName":"a/b"}"#,
        " 'a/b'",
        "tableName",
        "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+",
    );
}

#[test]
fn wrong_types_are_told_in_the_parsers_words() {
    const CAST: &str = "class sun.reflect.generics.reflectiveObjects.ParameterizedTypeImpl cannot be cast to class \
                        java.lang.Class (sun.reflect.generics.reflectiveObjects.ParameterizedTypeImpl and java.lang.Class are \
                        in module java.base of loader 'bootstrap')";
    for (member, text) in [
        (r#""TableName":23"#, "NUMBER_VALUE cannot be converted to String"),
        (r#""TableName":34.56"#, "DECIMAL_VALUE cannot be converted to String"),
        (r#""TableName":true"#, "TRUE_VALUE cannot be converted to String"),
        (r#""TableName":false"#, "FALSE_VALUE cannot be converted to String"),
        (r#""TableName":[]"#, "Unrecognized collection type class java.lang.String"),
        (r#""TableName":{}"#, "Start of structure or map found where not expected"),
        (r#""Limit":"23""#, "STRING_VALUE cannot be converted to Integer"),
        (r#""Limit":true"#, "TRUE_VALUE cannot be converted to Integer"),
        (r#""Limit":[]"#, "Unrecognized collection type class java.lang.Integer"),
        (r#""ConsistentRead":"true""#, "Unexpected token received from parser"),
        (r#""ConsistentRead":23"#, "NUMBER_VALUE cannot be converted to Boolean"),
        (r#""ConsistentRead":{}"#, "Start of structure or map found where not expected"),
        (r#""AttributesToGet":"23""#, "Unexpected field type"),
        (r#""AttributesToGet":{}"#, "Start of structure or map found where not expected"),
        (r#""AttributesToGet":[1]"#, "NUMBER_VALUE cannot be converted to String"),
        (r#""ExclusiveStartKey":"23""#, "Unexpected field type"),
        (
            r#""ExclusiveStartKey":[]"#,
            "Unrecognized collection type java.util.Map<java.lang.String, com.amazonaws.dynamodb.v20120810.AttributeValue>",
        ),
        (r#""ExclusiveStartKey":{"a":5}"#, "Unexpected value type in payload"),
        (
            r#""ExclusiveStartKey":{"a":[]}"#,
            "Unrecognized collection type class com.amazonaws.dynamodb.v20120810.AttributeValue",
        ),
        (r#""ExclusiveStartKey":{"a":{"N":5}}"#, "NUMBER_VALUE cannot be converted to String"),
        (r#""ExclusiveStartKey":{"a":{"B":true}}"#, "only base-64-encoded strings are convertible to bytes"),
        (
            r#""ExclusiveStartKey":{"a":{"B":"23456"}}"#,
            "Base64 encoded length is expected a multiple of 4 bytes but found: 5",
        ),
        (r#""ExclusiveStartKey":{"a":{"B":"=+/="}}"#, "Invalid last non-pad Base64 character dectected"),
        (r#""ExclusiveStartKey":{"a":{"B":[]}}"#, "Unrecognized collection type class java.nio.ByteBuffer"),
        (r#""ExclusiveStartKey":{"a":{"L":[1]}}"#, "Unexpected value type in payload"),
        (r#""ExclusiveStartKey":{"a":{"M":{"b":{"SS":"x"}}}}"#, "Unexpected field type"),
        (r#""QueryFilter":{"a":"x"}"#, "Unexpected value type in payload"),
    ] {
        mistyped::<QueryInput>(&format!("{{{member}}}"), text);
    }
    mistyped::<BatchWriteItemInput>(r#"{"RequestItems":{"a":"x"}}"#, CAST);
    mistyped::<BatchGetItemInput>(r#"{"RequestItems":{"a":{"Keys":[1]}}}"#, CAST);
    mistyped::<BatchWriteItemInput>(
        r#"{"RequestItems":[]}"#,
        "Unrecognized collection type java.util.Map<java.lang.String, \
         java.util.List<com.amazonaws.dynamodb.v20120810.WriteRequest>>",
    );
    mistyped::<PutRecordsInput>(
        r#"{"Records":[[]]}"#,
        "Unrecognized collection type class com.amazonaws.kinesis.v20131202.PutRecordsRequestEntry",
    );
}

#[test]
fn types_are_checked_before_constraints_and_unknown_members_are_ignored() {
    mistyped::<PutItemInput>(
        r#"{"ReturnValues":"hi","Item":{"a":{"N":5}}}"#,
        "NUMBER_VALUE cannot be converted to String",
    );
    let input =
        accepted::<ListTablesInput>(r#"{"Nonsense":{"a":[1,{"b":2}]},"Limit":7,"ExclusiveStartTableName":null}"#);
    assert_eq!(input, ListTablesInput { exclusive_start_table_name: None, limit: Some(7) });
}

#[test]
fn decimals_lose_their_fraction_and_the_last_of_two_members_counts() {
    assert_eq!(accepted::<ListTablesInput>(r#"{"Limit":34.9}"#).limit, Some(34));
    assert_eq!(accepted::<ListTablesInput>(r#"{"Limit":200,"Limit":5}"#).limit, Some(5));
    violates::<ListTablesInput>(
        r#"{"Limit":4294967297}"#,
        " '2147483647'",
        "limit",
        "Member must have value less than or equal to 100",
    );
}

#[test]
fn nested_patterns_of_firehose_hold() {
    violates::<CreateDeliveryStreamInput>(
        r#"{"DeliveryStreamName":"s","ExtendedS3DestinationConfiguration":{"RoleARN":"nope","BucketARN":"arn:aws:s3:::b"}}"#,
        " 'nope'",
        "extendedS3DestinationConfiguration.roleARN",
        r"Member must satisfy regular expression pattern: arn:.*:iam::\d{12}:role/[a-zA-Z_0-9+=,.@\-_/]+",
    );
}
