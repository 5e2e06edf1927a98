"""Kinesis Data Streams through boto3: a stream's life, its records there and back, its settings and tags."""

import datetime
import hashlib

import pytest
from botocore.exceptions import ClientError

import data_stream
from data_stream import create, hash_range, iterator, list_shards, read, status, wait_active
from headwater import REGION, until

ACCOUNT = "000000000000"
MIB = 1024 * 1024


def test_the_whole_life_of_a_stream(kinesis, name):
    kinesis.create_stream(StreamName=name, ShardCount=3, Tags={"team": "water"})
    wait_active(kinesis, name)
    kinesis.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    described = kinesis.describe_stream(StreamName=name)["StreamDescription"]
    arn = f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{name}"
    assert described["StreamARN"] == arn and described["StreamName"] == name
    assert described["RetentionPeriodHours"] == 24 and described["EncryptionType"] == "NONE"
    assert described["StreamModeDetails"] == {"StreamMode": "PROVISIONED"}
    assert described["EnhancedMonitoring"] == [{"ShardLevelMetrics": []}] and not described["HasMoreShards"]
    width = 2**128 // 3
    assert [hash_range(shard) for shard in described["Shards"]] == [
        (0, width - 1),
        (width, 2 * width - 1),
        (2 * width, 2**128 - 1),
    ]
    assert [shard["ShardId"] for shard in described["Shards"]] == [f"shardId-{index:012}" for index in range(3)]
    assert described["Shards"] == list_shards(kinesis, name) == list_shards(kinesis, name, page=1)
    first = kinesis.describe_stream(StreamARN=arn, Limit=2)["StreamDescription"]
    assert first["HasMoreShards"] and len(first["Shards"]) == 2
    rest = kinesis.describe_stream(StreamARN=arn, ExclusiveStartShardId=first["Shards"][-1]["ShardId"])
    assert first["Shards"] + rest["StreamDescription"]["Shards"] == described["Shards"]

    summary = kinesis.describe_stream_summary(StreamARN=arn)["StreamDescriptionSummary"]
    assert (summary["OpenShardCount"], summary["ConsumerCount"], summary["MaxRecordSizeInKiB"]) == (3, 0, 1024)
    assert summary["StreamCreationTimestamp"] == described["StreamCreationTimestamp"]
    assert datetime.timedelta(0) <= datetime.datetime.now(datetime.UTC) - summary["StreamCreationTimestamp"]
    names = [found for page in kinesis.get_paginator("list_streams").paginate(Limit=1) for found in page["StreamNames"]]
    assert name in names and names == sorted(names)

    kinesis.delete_stream(StreamName=name)
    kinesis.get_waiter("stream_not_exists").wait(StreamName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    with pytest.raises(kinesis.exceptions.ResourceNotFoundException) as refused:
        kinesis.describe_stream(StreamName=name)
    assert refused.value.response["Error"]["Message"] == f"Stream {name} under account {ACCOUNT} not found."


def test_records_come_back_as_they_were_put(kinesis, name):
    create(kinesis, name, shards=4)
    before = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=1)
    # Empty data; every byte; a key of 256 characters outside ASCII; data of one MiB.
    wanted = [
        ("k", b""),
        ("k", bytes(range(256))),
        ("ключ-鍵-🔑" * 32, b"non-ASCII"),
        ("🦀" * 256, "grüße".encode()),
        ("large", bytes(index % 251 for index in range(MIB))),
    ]
    put = [kinesis.put_record(StreamName=name, PartitionKey=key, Data=data) for key, data in wanted]
    shards = list_shards(kinesis, name)
    found = {}
    for shard in shards:
        start, end = hash_range(shard)
        for record in read(kinesis, name, shard["ShardId"])[0]:
            key = record["PartitionKey"]
            assert start <= int(hashlib.md5(key.encode()).hexdigest(), 16) <= end
            assert before <= record["ApproximateArrivalTimestamp"] <= datetime.datetime.now(datetime.UTC)
            found[shard["ShardId"], record["SequenceNumber"]] = (key, record["Data"])
    assert found == {(a["ShardId"], a["SequenceNumber"]): pair for a, pair in zip(put, wanted, strict=True)}
    assert int(put[0]["SequenceNumber"]) < int(put[1]["SequenceNumber"])


def test_many_records_at_once_go_where_they_are_sent(kinesis, name):
    arn = create(kinesis, name, shards=4)
    shards = list_shards(kinesis, name)
    records, wanted = [], []
    for index in range(500):
        shard = shards[index % 4]
        # Both ends of each shard's range, and what the key's own hash is.
        hash_key = hash_range(shard)[(index // 4) % 2]
        records.append({"PartitionKey": f"k{index}", "ExplicitHashKey": str(hash_key), "Data": b"%d" % index})
        wanted.append(shard["ShardId"])
    answer = kinesis.put_records(StreamARN=arn, Records=records)
    assert answer["FailedRecordCount"] == 0
    assert [entry["ShardId"] for entry in answer["Records"]] == wanted
    for place, shard in enumerate(shards):
        # Pages of seven: every record once, in the order of the request.
        seen, last = read(kinesis, name, shard["ShardId"], limit=7)
        assert [int(record["Data"]) for record in seen] == list(range(place, 500, 4))
        numbers = [int(record["SequenceNumber"]) for record in seen]
        assert numbers == sorted(set(numbers))
        assert last["MillisBehindLatest"] == 0 and last["NextShardIterator"]
    one = kinesis.put_record(StreamName=name, PartitionKey="k", ExplicitHashKey=str(2**128 - 1), Data=b"last")
    assert one["ShardId"] == shards[-1]["ShardId"]
    ordered = kinesis.put_record(
        StreamName=name, PartitionKey="k", ExplicitHashKey=str(2**128 - 1), Data=b"after it",
        SequenceNumberForOrdering=one["SequenceNumber"],
    )  # fmt: skip
    assert int(ordered["SequenceNumber"]) > int(one["SequenceNumber"])


def test_iterators_of_five_types_begin_where_they_say(kinesis, name):
    create(kinesis, name)
    (shard,) = list_shards(kinesis, name)
    shard_id, starting = shard["ShardId"], shard["SequenceNumberRange"]["StartingSequenceNumber"]
    latest = iterator(kinesis, name, shard_id, "LATEST")
    put = [kinesis.put_record(StreamName=name, PartitionKey="k", Data=b"%d" % index) for index in range(5)]
    numbers = [answer["SequenceNumber"] for answer in put]

    def data(kind, **more):
        return [int(record["Data"]) for record in read(kinesis, name, shard_id, kind, **more)[0]]

    assert data("TRIM_HORIZON") == [0, 1, 2, 3, 4]
    assert data("LATEST") == []
    assert [int(record["Data"]) for record in kinesis.get_records(ShardIterator=latest)["Records"]] == [0, 1, 2, 3, 4]
    assert data("AT_SEQUENCE_NUMBER", StartingSequenceNumber=starting) == [0, 1, 2, 3, 4]
    assert data("AT_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[3]) == [3, 4]
    assert data("AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[3]) == [4]
    assert data("AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[4]) == []
    arrived = read(kinesis, name, shard_id)[0][3]["ApproximateArrivalTimestamp"]
    by_time = data("AT_TIMESTAMP", Timestamp=arrived)
    assert by_time == list(range(by_time[0], 5)) and by_time[0] <= 3, "every record of that millisecond and later"
    assert data("AT_TIMESTAMP", Timestamp=arrived - datetime.timedelta(days=365)) == [0, 1, 2, 3, 4]
    # The iterator may come back in quotes, as the service takes it.
    assert len(kinesis.get_records(ShardIterator=f'"{latest}"')["Records"]) == 5
    after = iterator(kinesis, name, shard_id, "AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[4])
    kinesis.put_record(StreamName=name, PartitionKey="k", Data=b"5")
    assert [record["Data"] for record in kinesis.get_records(ShardIterator=after)["Records"]] == [b"5"]


def test_retention_encryption_monitoring_and_record_size_are_kept(kinesis, name):
    arn = create(kinesis, name)

    def described():
        wait_active(kinesis, name)
        return kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]

    kinesis.increase_stream_retention_period(StreamName=name, RetentionPeriodHours=8760)
    assert described()["RetentionPeriodHours"] == 8760
    kinesis.decrease_stream_retention_period(StreamARN=arn, RetentionPeriodHours=48)
    assert described()["RetentionPeriodHours"] == 48
    kinesis.start_stream_encryption(StreamName=name, EncryptionType="KMS", KeyId="alias/aws/kinesis")
    assert (described()["EncryptionType"], described()["KeyId"]) == ("KMS", "alias/aws/kinesis")
    answer = kinesis.put_record(StreamName=name, PartitionKey="k", Data=b"x")
    assert answer["EncryptionType"] == "KMS"
    assert read(kinesis, name, answer["ShardId"])[0][0]["EncryptionType"] == "KMS"
    kinesis.stop_stream_encryption(StreamName=name, EncryptionType="KMS", KeyId="alias/aws/kinesis")
    assert described()["EncryptionType"] == "NONE" and "KeyId" not in described()
    enabled = kinesis.enable_enhanced_monitoring(StreamName=name, ShardLevelMetrics=["ALL"])
    assert enabled["CurrentShardLevelMetrics"] == [] and "IncomingBytes" in enabled["DesiredShardLevelMetrics"]
    assert "IteratorAgeMilliseconds" in described()["EnhancedMonitoring"][0]["ShardLevelMetrics"]
    kinesis.disable_enhanced_monitoring(StreamName=name, ShardLevelMetrics=["ALL"])
    assert described()["EnhancedMonitoring"] == [{"ShardLevelMetrics": []}]

    with pytest.raises(ClientError, match="less than or equal to 1048576"):
        kinesis.put_record(StreamName=name, PartitionKey="k", Data=bytes(MIB + 1))
    kinesis.update_max_record_size(StreamARN=arn, MaxRecordSizeInKiB=2048)
    assert described()["MaxRecordSizeInKiB"] == 2048
    kinesis.put_record(StreamName=name, PartitionKey="k", Data=bytes(2 * MIB))
    assert [len(record["Data"]) for record in read(kinesis, name, answer["ShardId"])[0]] == [1, 2 * MIB]


def test_modes_are_switched(kinesis, name):
    kinesis.create_stream(StreamName=name, StreamModeDetails={"StreamMode": "ON_DEMAND"})
    wait_active(kinesis, name)
    summary = kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
    assert summary["OpenShardCount"] == 4 and summary["StreamModeDetails"] == {"StreamMode": "ON_DEMAND"}
    with pytest.raises(ClientError) as refused:
        kinesis.update_shard_count(StreamName=name, TargetShardCount=8, ScalingType="UNIFORM_SCALING")
    assert refused.value.response["Error"]["Code"] == "ValidationException"
    assert f"Stream {name} under account {ACCOUNT} is in On-Demand mode." in str(refused.value)
    kinesis.update_stream_mode(StreamARN=summary["StreamARN"], StreamModeDetails={"StreamMode": "PROVISIONED"})
    wait_active(kinesis, name)
    kinesis.update_shard_count(StreamName=name, TargetShardCount=8, ScalingType="UNIFORM_SCALING")
    wait_active(kinesis, name)
    assert len(data_stream.open_shards(kinesis, name)) == 8


def test_streams_and_consumers_are_tagged_by_both_families(kinesis, name):
    arn = create(kinesis, name)
    kinesis.add_tags_to_stream(StreamName=name, Tags={f"k{index:02}": f"v {index}" for index in range(30)})
    kinesis.tag_resource(ResourceARN=arn, Tags={"größe": "1 + 1 = 2"})
    first = kinesis.list_tags_for_stream(StreamName=name, Limit=10)
    assert first["HasMoreTags"] and len(first["Tags"]) == 10
    rest = kinesis.list_tags_for_stream(StreamName=name, ExclusiveStartTagKey=first["Tags"][-1]["Key"])
    assert not rest["HasMoreTags"]
    both = {tag["Key"]: tag["Value"] for tag in first["Tags"] + rest["Tags"]}
    assert len(both) == 31 and both["größe"] == "1 + 1 = 2" and both["k07"] == "v 7"
    assert {tag["Key"]: tag["Value"] for tag in kinesis.list_tags_for_resource(ResourceARN=arn)["Tags"]} == both
    kinesis.remove_tags_from_stream(StreamName=name, TagKeys=[f"k{index:02}" for index in range(30)])
    kinesis.untag_resource(ResourceARN=arn, TagKeys=["größe", "never there"])
    assert kinesis.list_tags_for_stream(StreamARN=arn)["Tags"] == []
    registered = kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="app", Tags={"a": "1"})
    consumer = registered["Consumer"]["ConsumerARN"]
    kinesis.tag_resource(ResourceARN=consumer, Tags={"b": "2"})
    assert kinesis.list_tags_for_resource(ResourceARN=consumer)["Tags"] == [
        {"Key": "a", "Value": "1"},
        {"Key": "b", "Value": "2"},
    ]


def test_consumers_come_and_go(kinesis, name):
    arn = create(kinesis, name)

    def consumer(consumer_name):
        found = kinesis.describe_stream_consumer(StreamARN=arn, ConsumerName=consumer_name)
        return found["ConsumerDescription"]

    arns = {}
    for app in ("one", "three", "two"):
        registered = kinesis.register_stream_consumer(StreamARN=arn, ConsumerName=app)["Consumer"]
        assert registered["ConsumerStatus"] == "CREATING" and registered["ConsumerName"] == app
        assert registered["ConsumerARN"].startswith(f"{arn}/consumer/{app}:")
        arns[app] = registered["ConsumerARN"]
        until(lambda app=app: consumer(app)["ConsumerStatus"] == "ACTIVE", f"consumer {app}", within_s=120)
    assert consumer("one")["StreamARN"] == arn
    by_arn = kinesis.describe_stream_consumer(ConsumerARN=arns["two"])["ConsumerDescription"]
    assert by_arn["ConsumerName"] == "two"
    pages = kinesis.get_paginator("list_stream_consumers").paginate(StreamARN=arn, PaginationConfig={"PageSize": 2})
    listed = [entry for page in pages for entry in page["Consumers"]]
    assert {entry["ConsumerName"]: entry["ConsumerARN"] for entry in listed} == arns
    assert all("StreamARN" not in entry for entry in listed)
    with pytest.raises(kinesis.exceptions.ResourceInUseException):
        kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="one")
    with pytest.raises(kinesis.exceptions.ResourceInUseException):
        kinesis.delete_stream(StreamName=name)
    kinesis.deregister_stream_consumer(ConsumerARN=arns["one"])

    def gone():
        try:
            consumer("one")
        except kinesis.exceptions.ResourceNotFoundException as refused:
            return refused.response["Error"]["Message"]

    message = until(gone, "consumer one goes", within_s=120)
    assert message == f"Consumer one, account {ACCOUNT} not found."
    assert kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["ConsumerCount"] == 2
    kinesis.delete_stream(StreamName=name, EnforceConsumerDeletion=True)
    until(lambda: status_or_none(kinesis, name) is None, "the stream goes", within_s=120)


def status_or_none(kinesis, name):
    try:
        return status(kinesis, name)
    except kinesis.exceptions.ResourceNotFoundException:
        return None


def test_limits_of_the_account_are_counted(kinesis, name):
    before = kinesis.describe_limits()
    assert before["ShardLimit"] == 20_000 and before["OnDemandStreamCountLimit"] == 50
    create(kinesis, name, shards=3)
    assert kinesis.describe_limits()["OpenShardCount"] == before["OpenShardCount"] + 3
    kinesis.describe_account_settings()
