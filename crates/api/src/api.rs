//! The four APIs and how requests name them.

use crate::generated::{dynamodb, dynamodb_streams, firehose, kinesis};

/// One of the APIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Api {
    /// Tables and items.
    DynamoDb,
    /// Changes of tables.
    DynamoDbStreams,
    /// Kinesis Data Streams.
    Kinesis,
    /// Amazon Data Firehose.
    Firehose,
}

impl Api {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::DynamoDb, Self::DynamoDbStreams, Self::Kinesis, Self::Firehose];

    /// What stands before the dot in `X-Amz-Target`.
    pub const fn target_prefix(self) -> &'static str {
        match self {
            Self::DynamoDb => "DynamoDB_20120810",
            Self::DynamoDbStreams => "DynamoDBStreams_20120810",
            Self::Kinesis => "Kinesis_20131202",
            Self::Firehose => "Firehose_20150804",
        }
    }

    /// Version in `application/x-amz-json-{version}`.
    pub const fn json_version(self) -> &'static str {
        match self {
            Self::DynamoDb | Self::DynamoDbStreams => "1.0",
            Self::Kinesis | Self::Firehose => "1.1",
        }
    }

    /// Service name in a signature's scope.
    pub const fn signing_name(self) -> &'static str {
        match self {
            Self::DynamoDb | Self::DynamoDbStreams => "dynamodb",
            Self::Kinesis => "kinesis",
            Self::Firehose => "firehose",
        }
    }

    /// First label of the service's host name: `{label}.{region}.amazonaws.com`.
    pub const fn endpoint_prefix(self) -> &'static str {
        match self {
            Self::DynamoDb => "dynamodb",
            Self::DynamoDbStreams => "streams.dynamodb",
            Self::Kinesis => "kinesis",
            Self::Firehose => "firehose",
        }
    }

    /// Java package of its shapes, as error texts and error types show it.
    pub const fn package(self) -> &'static str {
        match self {
            Self::DynamoDb | Self::DynamoDbStreams => "com.amazonaws.dynamodb.v20120810",
            Self::Kinesis => "com.amazonaws.kinesis.v20131202",
            Self::Firehose => "com.amazonaws.firehose.v20150804",
        }
    }

    /// Names of all operations of the model. Order: sorted.
    pub fn operations(self) -> &'static [&'static str] {
        match self {
            Self::DynamoDb => &dynamodb::OPERATIONS,
            Self::DynamoDbStreams => &dynamodb_streams::OPERATIONS,
            Self::Kinesis => &kinesis::OPERATIONS,
            Self::Firehose => &firehose::OPERATIONS,
        }
    }

    /// Takes `DynamoDB_20120810.PutItem` apart; `None` for any other service and for operations no model knows.
    pub fn from_target(target: &str) -> Option<(Self, &'static str)> {
        let (prefix, name) = target.split_once('.')?;
        let api = Self::ALL.into_iter().find(|api| api.target_prefix() == prefix)?;
        let operations = api.operations();
        let at = operations.binary_search(&name).ok()?;
        operations.get(at).map(|operation| (api, *operation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_found_and_no_other() {
        let mut found = 0;
        for api in Api::ALL {
            for operation in api.operations() {
                assert_eq!(Api::from_target(&format!("{}.{operation}", api.target_prefix())), Some((api, *operation)));
                found += 1;
            }
            assert!(api.operations().is_sorted());
        }
        assert_eq!(found, 57 + 4 + 39 + 12);
        for other in [
            "",
            "PutItem",
            "DynamoDB_20120810",
            "DynamoDB_20120810.",
            "DynamoDB_20120810.putItem",
            "DynamoDB_20111205.PutItem",
            "DynamoDBStreams_20120810.PutItem",
            "GraniteServiceVersion20100801.PutMetricData",
        ] {
            assert_eq!(Api::from_target(other), None, "{other}");
        }
    }
}
