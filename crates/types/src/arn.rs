//! Amazon resource names of tables and streams: made here, taken apart here.

use std::fmt;

use crate::hash::HashKey;
use crate::ids::Scope;

/// What the Kinesis names of tables' streams begin with; no data stream has such a name.
pub const TABLE_STREAM_PREFIX: &str = "ddb.";
/// Longest name of a Kinesis stream. Unit: characters. Source: "CreateStream", Kinesis API reference.
const KINESIS_NAME_MAX: usize = 128;
/// A dot and the hexadecimal digits of a hash.
const HASHED_TAIL: usize = 33;

/// What a DynamoDB ARN names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableArn {
    /// Account and Region.
    pub scope: Scope,
    /// Table name.
    pub table: String,
}

/// A DynamoDB stream's ARN: `{table ARN}/stream/{label}`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamArn {
    /// The table the stream belongs to.
    pub table: TableArn,
    /// Creation time, UTC, milliseconds, no zone: `2015-05-11T21:21:33.291`.
    pub label: String,
}

impl fmt::Display for TableArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "arn:aws:dynamodb:{}:{}:table/{}", self.scope.region, self.scope.account, self.table)
    }
}

impl fmt::Display for StreamArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/stream/{}", self.table, self.label)
    }
}

impl TableArn {
    /// Takes a table's ARN apart; `None` when it is none (a stream's or an index's ARN is none).
    pub fn parse(text: &str) -> Option<Self> {
        let (scope, resource) = dynamodb(text)?;
        let table = resource.strip_prefix("table/")?;
        (!table.is_empty() && !table.contains('/')).then(|| Self { scope, table: table.to_owned() })
    }
}

impl StreamArn {
    /// Takes a stream's ARN apart; `None` when it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (scope, resource) = dynamodb(text)?;
        let (table, label) = resource.strip_prefix("table/")?.split_once("/stream/")?;
        if table.is_empty() || table.contains('/') || label.is_empty() || label.contains('/') {
            return None;
        }
        Some(Self { table: TableArn { scope, table: table.to_owned() }, label: label.to_owned() })
    }

    /// The name under which Kinesis's operations read this stream.
    ///
    /// Shape: `ddb.{table}.{digits of the label}`; beyond 128 characters the first 95 of them, a dot and the 32 hexadecimal
    ///        digits of the whole name's MD5. No two streams have one name: of the plain form the last dot stands before the
    ///        17 digits, of the other before 32.
    pub fn kinesis_name(&self) -> String {
        let digits: String = self.label.chars().filter(char::is_ascii_digit).collect();
        let whole = format!("{TABLE_STREAM_PREFIX}{}.{digits}", self.table.table);
        match whole.get(..KINESIS_NAME_MAX - HASHED_TAIL) {
            Some(head) if whole.len() > KINESIS_NAME_MAX => format!("{head}.{:032x}", HashKey::of(whole.as_bytes()).0),
            _ => whole,
        }
    }

    /// Its ARN for Kinesis's clients, most of which take no ARN of DynamoDB.
    pub fn kinesis_arn(&self) -> String {
        let Scope { region, account } = &self.table.scope;
        format!("arn:aws:kinesis:{region}:{account}:stream/{}", self.kinesis_name())
    }
}

/// Splits `arn:{partition}:dynamodb:{region}:{account}:{resource}`.
fn dynamodb(text: &str) -> Option<(Scope, &str)> {
    let mut parts = text.splitn(6, ':');
    let (prefix, partition, service) = (parts.next()?, parts.next()?, parts.next()?);
    let (region, account, resource) = (parts.next()?, parts.next()?, parts.next()?);
    let account_is_number = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
    if prefix != "arn"
        || !partition.starts_with("aws")
        || service != "dynamodb"
        || region.is_empty()
        || !account_is_number
    {
        return None;
    }
    Some((Scope::new(account, region), resource))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_have_a_name_for_kinesis() {
        let of = |table: &str| {
            let arn = format!("arn:aws:dynamodb:eu-west-1:000000000000:table/{table}/stream/2015-05-11T21:21:33.291");
            StreamArn::parse(&arn).expect("an ARN")
        };
        assert_eq!(of("t.1").kinesis_name(), "ddb.t.1.20150511212133291");
        assert_eq!(of("t").kinesis_arn(), "arn:aws:kinesis:eu-west-1:000000000000:stream/ddb.t.20150511212133291");
        let (longest, longer) = (of(&"a".repeat(106)).kinesis_name(), of(&"a".repeat(107)).kinesis_name());
        assert_eq!((longest.len(), longer.len()), (128, 128));
        assert!(longest.ends_with(".20150511212133291"), "{longest}");
        let tail = longer.rsplit('.').next().expect("a tail");
        assert!(tail.len() == 32 && tail.bytes().all(|b| b.is_ascii_hexdigit()), "{longer}");
        assert_ne!(longer, of(&"a".repeat(108)).kinesis_name());
    }

    #[test]
    fn arns_survive_a_round_trip_and_others_are_refused() {
        let stream = "arn:aws:dynamodb:eu-west-1:000000000000:table/t.1/stream/2015-05-11T21:21:33.291";
        assert_eq!(StreamArn::parse(stream).map(|a| a.to_string()).as_deref(), Some(stream));
        assert_eq!(TableArn::parse(stream), None);
        let table = "arn:aws:dynamodb:eu-west-1:000000000000:table/t.1";
        assert_eq!(TableArn::parse(table).map(|a| a.to_string()).as_deref(), Some(table));
        for bad in
            ["", "t", "arn:aws:kinesis:a:000000000000:stream/x", "arn:aws:dynamodb:a:12:table/x", "arn:aws:dynamodb:a"]
        {
            assert_eq!(TableArn::parse(bad), None, "{bad}");
        }
    }
}
