//! Which resources an operation asks for.

use headwater_api::{Access, Api, Call, Document, Input, dynamodb, dynamodb_streams, firehose, kinesis};

use super::service::call;

type Asks = Vec<(String, String)>;

fn asks<I: Input>(api: Api, operation: &'static str, list: fn(&Call, &I) -> Vec<Access>, body: &str) -> Asks {
    let input = I::from_document(Document::from_json(body.as_bytes()).unwrap()).unwrap();
    let call = call(api, operation);
    let accesses = list(&call, &input);
    call.authorize(&accesses).unwrap();
    assert!(call.is_authorized());
    let named: Vec<String> =
        accesses.iter().map(|access| access.resource_arn.clone()).filter(|arn| arn != "*").collect();
    let mut recorded = call.resources().clone();
    assert!(named.iter().all(|arn| recorded.contains(arn)));
    recorded.retain(|arn| !named.contains(arn));
    assert_eq!(recorded, Vec::<String>::new());
    accesses.into_iter().map(|access| (access.action.to_owned(), access.resource_arn)).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Asks {
    expected.iter().map(|(action, arn)| ((*action).to_owned(), (*arn).to_owned())).collect()
}

const TABLE: &str = "arn:aws:dynamodb:eu-west-1:000000000000:table";

#[test]
fn tables_indexes_batches_and_transactions_are_named() {
    let d = Api::DynamoDb;
    let table = |name: &str| format!("{TABLE}/{name}");
    assert_eq!(
        asks(d, "PutItem", dynamodb::access::put_item, r#"{"TableName":"abc","Item":{}}"#),
        pairs(&[("dynamodb:PutItem", &table("abc"))])
    );
    let arn = "arn:aws:dynamodb:us-east-1:111111111111:table/abc";
    assert_eq!(
        asks(d, "PutItem", dynamodb::access::put_item, &format!(r#"{{"TableName":"{arn}","Item":{{}}}}"#)),
        pairs(&[("dynamodb:PutItem", arn)])
    );
    assert_eq!(
        asks(d, "Query", dynamodb::access::query, r#"{"TableName":"abc","IndexName":"idx"}"#),
        pairs(&[("dynamodb:Query", &table("abc/index/idx"))])
    );
    assert_eq!(
        asks(d, "Query", dynamodb::access::query, r#"{"TableName":"abc"}"#),
        pairs(&[("dynamodb:Query", &table("abc"))])
    );
    assert_eq!(
        asks(
            d,
            "BatchGetItem",
            dynamodb::access::batch_get_item,
            r#"{"RequestItems":{"abc":{"Keys":[{}]},"def":{"Keys":[{}]}}}"#
        ),
        pairs(&[("dynamodb:BatchGetItem", &table("abc")), ("dynamodb:BatchGetItem", &table("def"))])
    );
    let actions = r#"{"TransactItems":[{"Put":{"TableName":"abc","Item":{}}},{"Put":{"TableName":"abc","Item":{}}},
        {"ConditionCheck":{"TableName":"def","Key":{},"ConditionExpression":"x"}},{"Delete":{"TableName":"abc","Key":{}}}]}"#;
    assert_eq!(
        asks(d, "TransactWriteItems", dynamodb::access::transact_write_items, actions),
        pairs(&[
            ("dynamodb:PutItem", &table("abc")),
            ("dynamodb:ConditionCheckItem", &table("def")),
            ("dynamodb:DeleteItem", &table("abc")),
        ])
    );
    assert_eq!(asks(d, "ListTables", dynamodb::access::list_tables, "{}"), pairs(&[("dynamodb:ListTables", "*")]));
}

#[test]
fn streams_shards_and_delivery_streams_are_named() {
    let s = Api::DynamoDbStreams;
    let stream = format!("{TABLE}/abc/stream/2015-05-11T21:21:33.291");
    assert_eq!(
        asks(s, "ListStreams", dynamodb_streams::access::list_streams, r#"{"TableName":"abc"}"#),
        pairs(&[("dynamodb:ListStreams", &format!("{TABLE}/abc/stream/*"))])
    );
    assert_eq!(
        asks(s, "DescribeStream", dynamodb_streams::access::describe_stream, &format!(r#"{{"StreamArn":"{stream}"}}"#)),
        pairs(&[("dynamodb:DescribeStream", &stream)])
    );
    assert_eq!(
        asks(
            Api::Kinesis,
            "PutRecord",
            kinesis::access::put_record,
            r#"{"StreamName":"s","Data":"","PartitionKey":"k"}"#
        ),
        pairs(&[("kinesis:PutRecord", "arn:aws:kinesis:eu-west-1:000000000000:stream/s")])
    );
    assert_eq!(
        asks(
            Api::Firehose,
            "PutRecord",
            firehose::access::put_record,
            r#"{"DeliveryStreamName":"s","Record":{"Data":""}}"#
        ),
        pairs(&[("firehose:PutRecord", "arn:aws:firehose:eu-west-1:000000000000:deliverystream/s")])
    );
}

#[test]
fn conditions_of_policies_see_what_the_request_asks_back() {
    let body = r#"{"TableName":"abc","Select":"COUNT","ReturnConsumedCapacity":"TOTAL"}"#;
    let input = dynamodb::QueryInput::from_document(Document::from_json(body.as_bytes()).unwrap()).unwrap();
    let accesses = dynamodb::access::query(&call(Api::DynamoDb, "Query"), &input);
    let mut keys = accesses[0].condition_keys.clone();
    keys.sort();
    let expected = [("dynamodb:ReturnConsumedCapacity", "TOTAL"), ("dynamodb:Select", "COUNT")];
    assert_eq!(keys, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
}
