//! The unmodified AWS SDK for Rust: a data stream's life, its records, shards, consumers, settings and errors.

#![allow(clippy::disallowed_methods, reason = "a client on the real clock")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_kinesis::error::ProvideErrorMetadata;
use aws_sdk_kinesis::primitives::{Blob, DateTime};
use aws_sdk_kinesis::types::{
    ConsumerStatus, EncryptionType, PutRecordsRequestEntry, Record, ScalingType, Shard, ShardFilter, ShardFilterType,
    ShardIteratorType, StreamStatus,
};
use headwater_server::{Config, RunningServer, start_in_process};

/// Ends a broken run; a quick machine needs a fraction of it.
const WITHIN: Duration = Duration::from_secs(120);

struct Endpoint {
    server: RunningServer,
    kinesis: Client,
}

async fn endpoint() -> Endpoint {
    let server = start_in_process(Config::for_test()).await.expect("the server starts");
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(format!("http://{}", server.addresses().dynamodb))
        .region(Region::new("eu-west-1"))
        .credentials_provider(Credentials::new("anyone", "anything", None, None, "test"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    Endpoint { server, kinesis: Client::from_conf(config) }
}

impl Endpoint {
    /// Creates a stream and waits until it is ACTIVE; returns its ARN.
    async fn stream(&self, name: &str, shards: i32) -> String {
        self.kinesis.create_stream().stream_name(name).shard_count(shards).send().await.expect("created");
        self.active(name).await
    }

    async fn active(&self, name: &str) -> String {
        let waited = async {
            loop {
                let described = self.kinesis.describe_stream_summary().stream_name(name).send().await;
                let summary = described.expect("described").stream_description_summary.expect("a summary");
                if summary.stream_status == StreamStatus::Active {
                    return summary.stream_arn;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(WITHIN, waited).await.expect("the stream is ACTIVE")
    }

    async fn shards(&self, name: &str, filter: Option<ShardFilterType>) -> Vec<Shard> {
        let filter = filter.map(|kind| ShardFilter::builder().r#type(kind).build().expect("complete"));
        let listed = self.kinesis.list_shards().stream_name(name).set_shard_filter(filter).send().await;
        listed.expect("listed").shards.unwrap_or_default()
    }

    async fn put(&self, name: &str, key: &str, data: &[u8]) -> (String, String) {
        let put = self.kinesis.put_record().stream_name(name).partition_key(key).data(Blob::new(data)).send().await;
        let put = put.expect("put");
        (put.shard_id, put.sequence_number)
    }

    /// A shard's records up to its tip or its end, and the children that its end names.
    async fn read(&self, name: &str, shard: &str, start: Start<'_>) -> (Vec<Record>, Vec<String>) {
        let (kind, number, timestamp) = match start {
            Start::TrimHorizon => (ShardIteratorType::TrimHorizon, None, None),
            Start::Latest => (ShardIteratorType::Latest, None, None),
            Start::At(number) => (ShardIteratorType::AtSequenceNumber, Some(number.to_owned()), None),
            Start::After(number) => (ShardIteratorType::AfterSequenceNumber, Some(number.to_owned()), None),
            Start::AtTime(at) => (ShardIteratorType::AtTimestamp, None, Some(at)),
        };
        let iterator = self
            .kinesis
            .get_shard_iterator()
            .stream_name(name)
            .shard_id(shard)
            .shard_iterator_type(kind)
            .set_starting_sequence_number(number)
            .set_timestamp(timestamp);
        let mut next = iterator.send().await.expect("an iterator").shard_iterator;
        let mut records = Vec::new();
        while let Some(iterator) = next {
            let page = self.kinesis.get_records().shard_iterator(iterator).limit(3).send().await.expect("a page");
            let tip = page.records.is_empty() && page.millis_behind_latest == Some(0);
            records.extend(page.records);
            next = page.next_shard_iterator.filter(|_| !tip);
            if let Some(children) = page.child_shards {
                return (records, children.into_iter().map(|child| child.shard_id).collect());
            }
        }
        (records, Vec::new())
    }
}

enum Start<'a> {
    TrimHorizon,
    Latest,
    At(&'a str),
    After(&'a str),
    AtTime(DateTime),
}

fn data(records: &[Record]) -> Vec<&[u8]> {
    records.iter().map(|record| record.data.as_ref()).collect()
}

fn range(shard: &Shard) -> (u128, u128) {
    let range = shard.hash_key_range.as_ref().expect("a range");
    (range.starting_hash_key.parse().expect("decimal"), range.ending_hash_key.parse().expect("decimal"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_come_back_as_they_were_put() {
    let at = endpoint().await;
    at.stream("s", 2).await;
    let (key, large) = ("🦀".repeat(256), vec![7; 1 << 20]);
    let wanted: [(&str, &[u8]); 4] = [("k", b""), ("k", &[0, 255, 128]), (&key, "grüße".as_bytes()), ("large", &large)];
    let mut put = BTreeMap::new();
    for (key, data) in wanted {
        put.insert(at.put("s", key, data).await, (key.to_owned(), data.to_vec()));
    }
    let mut found = BTreeMap::new();
    for shard in at.shards("s", None).await {
        let (records, children) = at.read("s", &shard.shard_id, Start::TrimHorizon).await;
        assert!(children.is_empty());
        for record in records {
            assert!(record.approximate_arrival_timestamp.is_some());
            let place = (shard.shard_id.clone(), record.sequence_number);
            found.insert(place, (record.partition_key.expect("a key"), record.data.into_inner()));
        }
    }
    assert!(found == put, "{} of {} records came back", found.len(), put.len());
    at.server.stop().await.expect("a graceful stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_records_at_once_and_iterators_of_five_types() {
    let at = endpoint().await;
    at.stream("s", 2).await;
    let shards = at.shards("s", None).await;
    let entry = |number: u8| {
        let hash = range(&shards[usize::from(number) % 2]).0.to_string();
        let entry = PutRecordsRequestEntry::builder().partition_key("k").explicit_hash_key(hash);
        entry.data(Blob::new([number])).build().expect("complete")
    };
    let entries: Vec<_> = (0..10).map(entry).collect();
    let put = at.kinesis.put_records().stream_name("s").set_records(Some(entries)).send().await.expect("put");
    assert_eq!(put.failed_record_count, Some(0));
    let odd: Vec<&str> = put.records.iter().skip(1).step_by(2).filter_map(|each| each.sequence_number()).collect();
    let id = &shards[1].shard_id;
    assert!(put.records.iter().skip(1).step_by(2).all(|each| each.shard_id() == Some(id)));
    let (all, _) = at.read("s", id, Start::TrimHorizon).await;
    assert_eq!(data(&all), [[1], [3], [5], [7], [9]]);
    let first_number = shards[1].sequence_number_range.as_ref().expect("a range").starting_sequence_number.as_str();
    for (start, wanted) in [
        (Start::At(first_number), &[1, 3, 5, 7, 9][..]),
        (Start::At(odd[2]), &[5, 7, 9]),
        (Start::After(odd[2]), &[7, 9]),
        (Start::After(odd[4]), &[]),
        (Start::Latest, &[]),
        (Start::AtTime(all[0].approximate_arrival_timestamp.expect("a time")), &[1, 3, 5, 7, 9]),
    ] {
        let (records, _) = at.read("s", id, start).await;
        assert_eq!(data(&records).concat(), wanted);
    }
    at.server.stop().await.expect("a graceful stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_split_merge_and_scale_without_a_hole() {
    let at = endpoint().await;
    at.stream("s", 1).await;
    at.put("s", "k", b"1").await;
    let parent = at.shards("s", None).await.remove(0).shard_id;
    let half = (u128::MAX / 2 + 1).to_string();
    at.kinesis
        .split_shard()
        .stream_name("s")
        .shard_to_split(&parent)
        .new_starting_hash_key(half)
        .send()
        .await
        .expect("split");
    at.active("s").await;
    at.put("s", "k", b"2").await;
    let (records, children) = at.read("s", &parent, Start::TrimHorizon).await;
    assert_eq!(data(&records), [b"1"]);
    assert_eq!(children, ["shardId-000000000001", "shardId-000000000002"]);
    let merge = at.kinesis.merge_shards().stream_name("s");
    merge.shard_to_merge(&children[0]).adjacent_shard_to_merge(&children[1]).send().await.expect("merged");
    at.active("s").await;
    at.put("s", "k", b"3").await;
    let mut order = Vec::new();
    for shard in at.shards("s", None).await {
        order.extend(at.read("s", &shard.shard_id, Start::TrimHorizon).await.0);
    }
    assert_eq!(data(&order), [b"1", b"2", b"3"]);
    let merged = at.shards("s", Some(ShardFilterType::AtLatest)).await;
    assert_eq!(merged[0].parent_shard_id(), Some(&*children[0]));
    assert_eq!(merged[0].adjacent_parent_shard_id(), Some(&*children[1]));
    let scale = at.kinesis.update_shard_count().stream_name("s").scaling_type(ScalingType::UniformScaling);
    let scaled = scale.target_shard_count(2).send().await.expect("scaled");
    assert_eq!((scaled.current_shard_count, scaled.target_shard_count), (Some(1), Some(2)));
    at.active("s").await;
    let open: BTreeSet<_> = at.shards("s", Some(ShardFilterType::AtLatest)).await.iter().map(range).collect();
    assert_eq!(Vec::from_iter(open), [(0, u128::MAX / 2), (u128::MAX / 2 + 1, u128::MAX)]);
    at.server.stop().await.expect("a graceful stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_tags_and_settings_are_kept() {
    let at = endpoint().await;
    let arn = at.stream("s", 1).await;
    let kinesis = &at.kinesis;
    let registered = kinesis.register_stream_consumer().stream_arn(&arn).consumer_name("app").send().await;
    let consumer = registered.expect("registered").consumer.expect("a consumer");
    assert_eq!(consumer.consumer_status, ConsumerStatus::Creating);
    kinesis.add_tags_to_stream().stream_name("s").tags("größe", "1 + 1").send().await.expect("tagged");
    let tags =
        kinesis.list_tags_for_resource().resource_arn(&arn).send().await.expect("listed").tags.unwrap_or_default();
    assert_eq!((tags[0].key(), tags[0].value()), ("größe", Some("1 + 1")));
    let longer = kinesis.increase_stream_retention_period().stream_name("s").retention_period_hours(8760);
    longer.send().await.expect("longer");
    at.active("s").await;
    let encrypt = kinesis.start_stream_encryption().stream_name("s").encryption_type(EncryptionType::Kms);
    encrypt.key_id("alias/aws/kinesis").send().await.expect("encrypted");
    at.active("s").await;
    let described = kinesis.describe_stream_summary().stream_arn(&arn).send().await.expect("described");
    let summary = described.stream_description_summary.expect("a summary");
    assert_eq!((summary.retention_period_hours, summary.consumer_count), (8760, Some(1)));
    assert_eq!(
        (summary.encryption_type, summary.key_id.as_deref()),
        (Some(EncryptionType::Kms), Some("alias/aws/kinesis"))
    );
    at.server.stop().await.expect("a graceful stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_have_the_services_names_and_texts() {
    let at = endpoint().await;
    at.stream("s", 1).await;
    let kinesis = &at.kinesis;
    let exists = kinesis.create_stream().stream_name("s").shard_count(1).send().await.expect_err("it is there");
    let exists = exists.into_service_error();
    assert!(exists.is_resource_in_use_exception());
    assert_eq!(exists.message(), Some("Stream s under account 000000000000 already exists."));
    let missing = kinesis.put_record().stream_name("none").partition_key("k").data(Blob::new("x")).send().await;
    let missing = missing.expect_err("no such stream").into_service_error();
    assert!(missing.is_resource_not_found_exception());
    assert_eq!(missing.message(), Some("Stream none under account 000000000000 not found."));
    let garbage = kinesis.get_records().shard_iterator("garbage").send().await.expect_err("no iterator");
    let garbage = garbage.into_service_error();
    assert!(garbage.is_invalid_argument_exception());
    assert_eq!(garbage.message(), Some("Invalid ShardIterator."));
    at.server.stop().await.expect("a graceful stop");
}
