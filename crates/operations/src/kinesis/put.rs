//! PutRecord and PutRecords.

use bytes::Bytes;
use headwater_api::kinesis as api;
use headwater_api::kinesis::{access, errors};
use headwater_api::{Call, Error};
use headwater_catalog::DataStreamDefinition;
use headwater_log::sequence::kinesis as sequence;
use headwater_log::{Append, Appended, ShardInfo, ShardList};
use headwater_types::HashKey;
use headwater_types::limits::PUT_RECORDS_BYTES_MAX;
use md5::{Digest, Md5};

use super::limits::Place;
use super::{error, name, record};
use crate::service::Operations;

/// PutRecord.
pub(super) async fn one(
    service: &Operations,
    call: &Call,
    input: api::PutRecordInput,
) -> Result<api::PutRecordOutput, Error> {
    let named = name::stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    let hash = place(&input.partition_key, input.explicit_hash_key.as_deref())?;
    call.authorize(&access::put_record(call, &input))?;
    let stream = name::serving(service, call, &named)?;
    fits(&stream, "data", &input.data)?;
    if let Some(given) = &input.sequence_number_for_ordering {
        ordered_after(service, call, &stream, given)?;
    }
    let list = shards(service, call, &stream)?;
    within_rate(service, call, &stream, &list, hash, size_bytes(&input.partition_key, &input.data))?;
    let records = vec![Append { hash, payload: record::encode(&input.partition_key, &input.data) }];
    let appended = service.log.append(stream.id, records).await.map_err(|cause| error::refused(call, &named, cause))?;
    let list = newer(service, call, &stream, list, &appended)?;
    let placed = appended.first().and_then(|appended| shown(&list, appended));
    let (shard_id, sequence_number) = placed.ok_or_else(|| Error::internal("a record's shard is not listed"))?;
    Ok(api::PutRecordOutput { shard_id, sequence_number, encryption_type: encryption(&stream) })
}

/// PutRecords: all records that their shards' rates allow are appended at once.
///
/// Order: the answers are in the order of the request; so are the numbers within a shard.
pub(super) async fn many(
    service: &Operations,
    call: &Call,
    input: api::PutRecordsInput,
) -> Result<api::PutRecordsOutput, Error> {
    let named = name::stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    let hash = |entry: &api::PutRecordsRequestEntry| place(&entry.partition_key, entry.explicit_hash_key.as_deref());
    let hashes = input.records.iter().map(hash).collect::<Result<Vec<_>, _>>()?;
    let size: usize = input.records.iter().map(|entry| size_bytes(&entry.partition_key, &entry.data)).sum();
    if size > PUT_RECORDS_BYTES_MAX {
        let limit = PUT_RECORDS_BYTES_MAX >> 20;
        return Err(errors::invalid_argument(format!("Records size exceeds {limit} MB limit")));
    }
    call.authorize(&access::put_records(call, &input))?;
    let stream = name::serving(service, call, &named)?;
    for (entry, at) in input.records.iter().zip(1..) {
        fits(&stream, &format!("records.{at}.member.data"), &entry.data)?;
    }
    let list = shards(service, call, &stream)?;
    let mut answers = vec![None; input.records.len()];
    let mut records = Vec::with_capacity(answers.len());
    for ((entry, hash), answer) in input.records.iter().zip(hashes).zip(&mut answers) {
        let bytes = size_bytes(&entry.partition_key, &entry.data);
        match within_rate(service, call, &stream, &list, hash, bytes) {
            Ok(()) => records.push(Append { hash, payload: record::encode(&entry.partition_key, &entry.data) }),
            Err(refusal) => *answer = Some(failed(&refusal)),
        }
    }
    // The bytes are in the records now.
    drop(input);
    let failed_record_count = i32::try_from(answers.len() - records.len()).ok();
    if records.is_empty() {
        let records = answers.into_iter().flatten().collect();
        return Ok(api::PutRecordsOutput { records, failed_record_count, encryption_type: encryption(&stream) });
    }
    let append = service.log.append(stream.id, records);
    let appended = append.await.map_err(|cause| error::refused(call, &named, cause))?;
    let list = newer(service, call, &stream, list, &appended)?;
    let mut appended = appended.iter();
    let answered = answers.into_iter().map(|answer| match answer {
        Some(failed) => Ok(failed),
        None => {
            let placed = appended.next().and_then(|appended| shown(&list, appended));
            let placed = placed.ok_or_else(|| Error::internal("a record's shard is not listed"))?;
            let (shard_id, sequence_number) = (Some(placed.0), Some(placed.1));
            Ok(api::PutRecordsResultEntry { shard_id, sequence_number, ..Default::default() })
        }
    });
    Ok(api::PutRecordsOutput {
        records: answered.collect::<Result<_, Error>>()?,
        failed_record_count,
        encryption_type: encryption(&stream),
    })
}

/// Where a record goes: the MD5 of its partition key, or the hash key that is given.
///
/// Source: "PutRecord", Kinesis API reference; the text observed by kinesalite's tests.
fn place(partition_key: &str, explicit: Option<&str>) -> Result<HashKey, Error> {
    let Some(explicit) = explicit else {
        return Ok(HashKey(u128::from_be_bytes(Md5::digest(partition_key).into())));
    };
    explicit.parse().map(HashKey).map_err(|_| {
        errors::invalid_argument(format!(
            "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was {explicit}"
        ))
    })
}

/// Counts a record against its shard's rate, where rates are limited.
///
/// Errors: ProvisionedThroughputExceededException.
fn within_rate(
    service: &Operations,
    call: &Call,
    stream: &DataStreamDefinition,
    list: &ShardList,
    hash: HashKey,
    bytes: usize,
) -> Result<(), Error> {
    let Some(limits) = &service.kinesis_limits else { return Ok(()) };
    let takes =
        |shard: &&ShardInfo| shard.ending.is_none() && shard.hash_range.0 <= hash.0 && hash.0 <= shard.hash_range.1;
    let Some(shard) = list.shards().iter().find(takes) else { return Ok(()) };
    limits.put(call, Place { stream: stream.uid, name: &stream.name, shard: shard.uid, index: shard.index }, bytes)
}

/// A record of several that is refused alone.
fn failed(refusal: &Error) -> api::PutRecordsResultEntry {
    api::PutRecordsResultEntry {
        error_code: Some(refusal.name().to_owned()),
        error_message: refusal.message().map(str::to_owned),
        ..Default::default()
    }
}

fn size_bytes(partition_key: &str, data: &Bytes) -> usize {
    partition_key.len() + data.len()
}

/// Refuses data that are larger than the stream takes. Source: observed with the limit of 1 MiB (LocalStack).
fn fits(stream: &DataStreamDefinition, member: &str, data: &Bytes) -> Result<(), Error> {
    let most = usize::try_from(stream.max_record_kib).unwrap_or_default() << 10;
    if data.len() <= most {
        return Ok(());
    }
    Err(Error::validation(format!(
        "1 validation error detected: Value at '{member}' failed to satisfy constraint: Member must have length less than or \
         equal to {most}"
    )))
}

/// Numbers rise within a shard, so what is put now lies above every number given before; only a number that was never
/// given is refused. Source: observed by kinesalite's tests.
fn ordered_after(service: &Operations, call: &Call, stream: &DataStreamDefinition, given: &str) -> Result<(), Error> {
    let known = sequence::parse(given).ok().filter(|seen| {
        let second = stream.created.0.div_euclid(1_000);
        seen.created_second >= second && seen.number.at() <= service.log.clock().store()
    });
    if known.is_some() {
        return Ok(());
    }
    Err(errors::invalid_argument(format!(
        "ExclusiveMinimumSequenceNumber {given} used in PutRecord on stream {} under account {} is invalid.",
        stream.name, call.principal.account
    )))
}

fn shards(service: &Operations, call: &Call, stream: &DataStreamDefinition) -> Result<ShardList, Error> {
    service.log.shards(stream.uid).map_err(|cause| error::refused(call, &stream.name, cause))
}

/// The shards again, when a record went to one that was opened meanwhile.
fn newer(
    service: &Operations,
    call: &Call,
    stream: &DataStreamDefinition,
    list: ShardList,
    appended: &[Appended],
) -> Result<ShardList, Error> {
    let known = |appended: &Appended| list.by_uid(appended.shard).is_some();
    if appended.iter().all(known) { Ok(list) } else { shards(service, call, stream) }
}

/// Shard and number as clients see them.
fn shown(list: &ShardList, appended: &Appended) -> Option<(String, String)> {
    let shard = list.by_uid(appended.shard)?;
    Some((name::shard_id(shard.index), sequence::render(appended.number, shard.index, shard.created)))
}

fn encryption(stream: &DataStreamDefinition) -> Option<api::EncryptionType> {
    stream.encryption_key.as_ref().map(|_| api::EncryptionType::Kms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_go_where_their_partition_key_hashes_to() {
        // MD5 of the empty text, and the greatest hash key.
        assert_eq!(place("", None).expect("a place").0, 0xd41d_8cd9_8f00_b204_e980_0998_ecf8_427e);
        let most = "340282366920938463463374607431768211455";
        assert_eq!(place("k", Some(most)).expect("a place").0, u128::MAX);
        assert!(place("k", Some("340282366920938463463374607431768211456")).is_err());
    }
}
