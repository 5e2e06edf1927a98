"""Bad input to data streams: each is refused by the service's own error and disturbs nothing else."""

import datetime
import http.client
import itertools
import socket
import struct
import urllib.request
from urllib.parse import urlsplit

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

import boto3
from data_stream import create, iterator, list_shards, merge, read, split
from headwater import CREDENTIALS, CONTROL_TOKEN, REGION, Server, until

ACCOUNT = "000000000000"
SIGNED = "AWS4-HMAC-SHA256 Credential=a/20260101/eu-west-1/kinesis/aws4_request, SignedHeaders=host, Signature=00"


def refusal(call, **request):
    """Code and message of the refusal of a call."""
    with pytest.raises(ClientError) as refused:
        call(**request)
    error = refused.value.response["Error"]
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    return error["Code"], error["Message"]


@pytest.fixture(scope="module")
def unchecked(server):
    """A client that does not check parameters itself."""
    config = Config(retries={"total_max_attempts": 1}, parameter_validation=False)
    return boto3.client("kinesis", endpoint_url=server.endpoint, region_name=REGION, config=config, **CREDENTIALS)


def test_streams_that_are_not_there(kinesis, name):
    missing = ("ResourceNotFoundException", f"Stream {name} under account {ACCOUNT} not found.")
    arn = f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{name}"
    one = {"StreamName": name}
    for call, request in [
        (kinesis.describe_stream, one),
        (kinesis.describe_stream_summary, {"StreamARN": arn}),
        (kinesis.list_shards, one),
        (kinesis.put_record, one | {"PartitionKey": "k", "Data": b""}),
        (kinesis.put_records, one | {"Records": [{"PartitionKey": "k", "Data": b""}]}),
        (kinesis.split_shard, one | {"ShardToSplit": "shardId-0", "NewStartingHashKey": "5"}),
        (kinesis.merge_shards, one | {"ShardToMerge": "shardId-0", "AdjacentShardToMerge": "shardId-1"}),
        (kinesis.update_shard_count, one | {"TargetShardCount": 2, "ScalingType": "UNIFORM_SCALING"}),
        (kinesis.increase_stream_retention_period, one | {"RetentionPeriodHours": 48}),
        (kinesis.add_tags_to_stream, one | {"Tags": {"a": "b"}}),
        (kinesis.list_tags_for_stream, one),
        (kinesis.start_stream_encryption, one | {"EncryptionType": "KMS", "KeyId": "k"}),
        (kinesis.register_stream_consumer, {"StreamARN": arn, "ConsumerName": "app"}),
        (kinesis.list_stream_consumers, {"StreamARN": arn}),
        (kinesis.delete_stream, one),
    ]:
        assert refusal(call, **request) == missing, call
    code, message = refusal(kinesis.get_shard_iterator, ShardId="shardId-0", ShardIteratorType="LATEST", **one)
    assert code == "ResourceNotFoundException"
    assert message == f"Shard shardId-000000000000 in stream {name} under account {ACCOUNT} does not exist"


def test_streams_that_are_there_already_and_names_that_are_none(kinesis, unchecked, name):
    create(kinesis, name)
    assert refusal(kinesis.create_stream, StreamName=name, ShardCount=1) == (
        "ResourceInUseException",
        f"Stream {name} under account {ACCOUNT} already exists.",
    )
    code, message = refusal(unchecked.create_stream, StreamName="no spaces", ShardCount=1)
    assert code == "ValidationException" and "'streamName' failed to satisfy constraint" in message
    code, message = refusal(unchecked.put_records, StreamName=name, Records=[])
    assert code == "ValidationException" and "'records' failed to satisfy constraint" in message
    many = [{"PartitionKey": "k", "Data": b""}] * 501
    code, message = refusal(unchecked.put_records, StreamName=name, Records=many)
    assert code == "ValidationException" and "Member must have length less than or equal to 500" in message
    code, message = refusal(unchecked.put_record, StreamName=name, PartitionKey="k" * 257, Data=b"")
    assert code == "ValidationException" and "'partitionKey' failed to satisfy constraint" in message


def test_places_and_sizes_that_no_record_has(kinesis, name):
    create(kinesis, name)
    for bad in (str(2**128), "-1", "0x7", "1" * 40):
        code, message = refusal(kinesis.put_record, StreamName=name, PartitionKey="k", Data=b"", ExplicitHashKey=bad)
        assert code in ("InvalidArgumentException", "ValidationException")
    assert refusal(
        kinesis.put_record, StreamName=name, PartitionKey="k", Data=b"", ExplicitHashKey=str(2**128)
    ) == (
        "InvalidArgumentException",
        f"Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was {2**128}",
    )
    code, message = refusal(
        kinesis.put_records, StreamName=name,
        Records=[{"PartitionKey": "k", "Data": b""}, {"PartitionKey": "k", "Data": bytes(1024 * 1024 + 1)}],
    )  # fmt: skip
    assert code == "ValidationException" and "Value at 'records.2.member.data' failed" in message
    code, message = refusal(
        kinesis.put_record, StreamName=name, PartitionKey="k", Data=b"", SequenceNumberForOrdering="7"
    )
    text = f"ExclusiveMinimumSequenceNumber 7 used in PutRecord on stream {name} under account {ACCOUNT} is invalid."
    assert (code, message) == ("InvalidArgumentException", text)
    assert read(kinesis, name, "shardId-0")[0] == [], "nothing of a refused call is kept"


def test_iterators_that_cannot_be(kinesis, name):
    create(kinesis, name, shards=2)
    first, second = list_shards(kinesis, name)
    number = kinesis.put_record(StreamName=name, PartitionKey="k", ExplicitHashKey="0", Data=b"")["SequenceNumber"]

    def asked(shard_id=first["ShardId"], kind="AT_SEQUENCE_NUMBER", **more):
        return refusal(kinesis.get_shard_iterator, StreamName=name, ShardId=shard_id, ShardIteratorType=kind, **more)

    both = (
        "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber or (2) "
        "TRIM_HORIZON or LATEST and no StartingSequenceNumber. Request specified "
    )
    invalid = "InvalidArgumentException"
    assert asked() == (invalid, f"{both}AT_SEQUENCE_NUMBER and no StartingSequenceNumber.")
    assert asked(kind="LATEST", StartingSequenceNumber=number) == (
        invalid,
        f"{both}LATEST and also a StartingSequenceNumber.",
    )
    assert asked(shard_id=second["ShardId"], StartingSequenceNumber=number) == (
        invalid,
        f"Invalid StartingSequenceNumber. It encodes {first['ShardId']}, while it was used in a call to a shard with "
        f"{second['ShardId']}",
    )
    assert asked(StartingSequenceNumber="7") == (
        invalid,
        f"StartingSequenceNumber 7 used in GetShardIterator on shard {first['ShardId']} in stream {name} under account "
        f"{ACCOUNT} is invalid.",
    )
    assert asked(kind="AT_TIMESTAMP")[0] == invalid
    future = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=2)
    code, message = asked(kind="AT_TIMESTAMP", Timestamp=future)
    assert code == invalid and message.startswith("The timestampInMillis parameter cannot be greater than the current")
    code, message = asked(shard_id="shardId-000000000009", kind="LATEST")
    assert code == "ResourceNotFoundException" and message.endswith("does not exist")
    code, message = asked(shard_id="nonsense", kind="LATEST")
    assert (code, message) == (
        "ResourceNotFoundException",
        f"Could not find shard nonsense in stream {name} under account {ACCOUNT}.",
    )
    good = iterator(kinesis, name, first["ShardId"])
    for bad in ("x", good[:-1], good + "A", good.swapcase(), "A" * 512):
        assert refusal(kinesis.get_records, ShardIterator=bad) == (invalid, "Invalid ShardIterator.")
    assert len(kinesis.get_records(ShardIterator=good)["Records"]) == 1


def test_iterators_of_a_deleted_stream_read_nothing_not_even_of_its_successor(kinesis, name):
    create(kinesis, name)
    kinesis.put_record(StreamName=name, PartitionKey="k", Data=b"old")
    old = iterator(kinesis, name, "shardId-000000000000")
    kinesis.delete_stream(StreamName=name)
    kinesis.get_waiter("stream_not_exists").wait(StreamName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 120})
    gone = ("ResourceNotFoundException", f"Stream {name} under account {ACCOUNT} not found.")
    assert refusal(kinesis.get_records, ShardIterator=old) == gone
    create(kinesis, name)
    kinesis.put_record(StreamName=name, PartitionKey="k", Data=b"new")
    assert refusal(kinesis.get_records, ShardIterator=old) == gone
    assert [record["Data"] for record in read(kinesis, name, "shardId-000000000000")[0]] == [b"new"]


def test_splits_and_merges_that_cannot_be(kinesis, name):
    create(kinesis, name, shards=3)
    first, second, third = list_shards(kinesis, name)
    where = f"in stream {name} under account {ACCOUNT}"
    start = int(second["HashKeyRange"]["StartingHashKey"])
    end = int(second["HashKeyRange"]["EndingHashKey"])
    for at in (0, start, start + 1, end, end + 1, 2**128 - 1):
        assert refusal(
            kinesis.split_shard, StreamName=name, ShardToSplit=second["ShardId"], NewStartingHashKey=str(at)
        ) == (
            "InvalidArgumentException",
            f"NewStartingHashKey {at} used in SplitShard() on shard {second['ShardId']} {where} is not both greater than "
            f"one plus the shard's StartingHashKey {start} and less than the shard's EndingHashKey {end}.",
        )
    for a, b in ((first, third), (second, first), (first, first)):
        assert refusal(
            kinesis.merge_shards, StreamName=name, ShardToMerge=a["ShardId"], AdjacentShardToMerge=b["ShardId"]
        ) == (
            "InvalidArgumentException",
            f"Shards {a['ShardId']} and {b['ShardId']} {where} are not an adjacent pair of shards eligible for merging",
        )
    assert refusal(kinesis.split_shard, StreamName=name, ShardToSplit="shardId-9", NewStartingHashKey="9") == (
        "ResourceNotFoundException",
        f"Could not find shard shardId-000000000009 {where}.",
    )
    low, high = split(kinesis, name, second)
    closed = f"Shard {second['ShardId']} {where} has already been merged or split, and thus is not eligible for merging "
    middle = str((start + end) // 2)
    assert refusal(
        kinesis.split_shard, StreamName=name, ShardToSplit=second["ShardId"], NewStartingHashKey=middle
    ) == ("InvalidArgumentException", closed + "or splitting.")
    code, _ = refusal(
        kinesis.merge_shards, StreamName=name, ShardToMerge=second["ShardId"], AdjacentShardToMerge=third["ShardId"]
    )
    assert code == "InvalidArgumentException"
    merge(kinesis, name, low, high)
    assert refusal(
        kinesis.update_shard_count, StreamName=name, TargetShardCount=7, ScalingType="UNIFORM_SCALING"
    ) == (
        "LimitExceededException",
        "UpdateShardCount cannot scale up over double your current open shard count. Current open shard count: 3 "
        "Target shard count: 7",
    )


def test_a_shard_of_a_few_keys_is_split_until_it_cannot(kinesis, name):
    create(kinesis, name)
    (shard,) = list_shards(kinesis, name)
    # Down to the keys 0, 1: nothing lies between "greater than one plus the start" and "less than the end".
    for cut in itertools.chain((2**exponent for exponent in range(126, 1, -25)), (2,)):
        kinesis.split_shard(StreamName=name, ShardToSplit=shard["ShardId"], NewStartingHashKey=str(cut))
        shard = until(
            lambda cut=cut: next(
                (
                    each
                    for each in list_shards(kinesis, name, ShardFilter={"Type": "AT_LATEST"})
                    if each["HashKeyRange"] == {"StartingHashKey": "0", "EndingHashKey": str(cut - 1)}
                ),
                None,
            ),
            f"the child below {cut}",
            within_s=120,
        )
        until(lambda: active(kinesis, name), "ACTIVE", within_s=120)
    for at in ("0", "1", "2"):
        code, message = refusal(
            kinesis.split_shard, StreamName=name, ShardToSplit=shard["ShardId"], NewStartingHashKey=at
        )
        assert code == "InvalidArgumentException" and "is not both greater than one plus" in message
    answer = kinesis.put_record(StreamName=name, PartitionKey="k", ExplicitHashKey="1", Data=b"x")
    assert answer["ShardId"] == shard["ShardId"]


def active(kinesis, name):
    return kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE"


def test_retention_and_tags_are_checked(kinesis, name):
    create(kinesis, name)
    increase, decrease = kinesis.increase_stream_retention_period, kinesis.decrease_stream_retention_period
    for call, hours, text in [
        (increase, 23, "Minimum allowed retention period is 24 hours. Requested retention period (23 hours) is too short."),
        (increase, 8761, "Maximum allowed retention period is 8760 hours. Requested retention period (8761 hours) is too long."),
        (
            decrease, 48,
            f"Requested retention period (48 hours) for stream {name} can not be longer than existing retention period "
            "(24 hours). Use IncreaseRetentionPeriod API.",
        ),
    ]:  # fmt: skip
        assert refusal(call, StreamName=name, RetentionPeriodHours=hours) == ("InvalidArgumentException", text)
    increase(StreamName=name, RetentionPeriodHours=24)
    text = "Some tags contain invalid characters. Valid characters: Unicode letters, digits, white space, _ . / = + - % @."
    assert refusal(kinesis.add_tags_to_stream, StreamName=name, Tags={"a": "!"}) == ("InvalidArgumentException", text)
    kinesis.add_tags_to_stream(StreamName=name, Tags={f"k{index}": "" for index in range(50)})
    code, message = refusal(kinesis.add_tags_to_stream, StreamName=name, Tags={"one more": ""})
    assert code == "InvalidArgumentException" and "cannot have more than 50 tags" in message


def test_the_twenty_first_consumer_is_refused(kinesis, name):
    arn = create(kinesis, name)
    for index in range(20):
        kinesis.register_stream_consumer(StreamARN=arn, ConsumerName=f"app-{index}")

        def settled(index=index):
            consumer = kinesis.describe_stream_consumer(StreamARN=arn, ConsumerName=f"app-{index}")
            return consumer["ConsumerDescription"]["ConsumerStatus"] == "ACTIVE"

        until(settled, f"app-{index} is ACTIVE", within_s=120)
    code, _ = refusal(kinesis.register_stream_consumer, StreamARN=arn, ConsumerName="app-20")
    assert code == "LimitExceededException"


def raw(server, operation, body, content_type, length=None):
    """Status, content type and body of the answer to a body that no SDK would send."""
    connection = http.client.HTTPConnection(urlsplit(server.endpoint).netloc, timeout=120)
    headers = {
        "X-Amz-Target": f"Kinesis_20131202.{operation}",
        "Content-Type": content_type,
        "Authorization": SIGNED,
        "X-Amz-Date": "20260101T000000Z",
    }
    try:
        connection.request("POST", "/", body=body, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type"), answer.read()
    finally:
        connection.close()


BROKEN_CBOR = {
    "empty": b"",
    "a map that ends early": b"\xbf\x6aStreamName",
    "a text longer than the body": b"\xa1\x7b\xff\xff\xff\xff\xff\xff\xff\xff",
    "an array of 2^32 members": b"\x9a\xff\xff\xff\xff",
    "no UTF-8": b"\xa1\x6aStreamName\x61\xff",
    "nested without end": b"\x81" * 100_000,
    "maps nested without end": b"\xbf\x61a" * 30_000,
    "a break out of place": b"\xff",
    "reserved additional information": b"\xa1\x6aStreamName\x1c",
    "not a map": b"\x01",
    "a key that is no text": b"\xa1\x01\x01",
    "more behind the value": b"\xa1\x6aStreamName\x61a\x00",
    "a number for a text": b"\xa1\x6aStreamName\x01",
}


@pytest.mark.parametrize("body", BROKEN_CBOR.values(), ids=BROKEN_CBOR.keys())
def test_broken_cbor_is_refused_in_cbor(server, kinesis, body):
    status, content_type, answer = raw(server, "DescribeStream", body, "application/x-amz-cbor-1.1")
    assert status == 400 and content_type == "application/x-amz-cbor-1.1"
    assert b"Exception" in answer and answer[0] >> 5 == 5, answer
    kinesis.list_streams()


BROKEN_JSON = [b"", b"{", b"[]", b'{"StreamName":1}', b'{"StreamName":"' + b"\xff" + b'"}', b"[" * 100_000, b'"x"']


@pytest.mark.parametrize("body", BROKEN_JSON, ids=range(len(BROKEN_JSON)))
def test_broken_json_is_refused_in_json(server, kinesis, body):
    status, content_type, answer = raw(server, "DescribeStream", body, "application/x-amz-json-1.1")
    assert status == 400 and content_type == "application/x-amz-json-1.1"
    assert b'"__type":"' in answer, answer
    kinesis.list_streams()


def test_a_body_that_is_cut_off_disturbs_nobody(server, kinesis, name):
    create(kinesis, name)
    host, port = urlsplit(server.endpoint).netloc.split(":")
    for _ in range(20):
        with socket.create_connection((host, int(port)), timeout=120) as client:
            client.sendall(
                b"POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: Kinesis_20131202.PutRecord\r\n"
                b"Content-Type: application/x-amz-json-1.1\r\nContent-Length: 1000000\r\n\r\n{\"StreamName\":"
            )
            # A reset instead of an orderly end.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    kinesis.put_record(StreamName=name, PartitionKey="k", Data=b"x")
    assert len(read(kinesis, name, "shardId-0")[0]) == 1


def test_iterators_expire_and_trimmed_numbers_mean_the_horizon():
    server = Server("--in-memory", "--control", "--control-token", CONTROL_TOKEN)
    try:
        kinesis, name = server.client("kinesis"), "s"
        create(kinesis, name)
        put = kinesis.put_record(StreamName=name, PartitionKey="k", Data=b"old")
        old = iterator(kinesis, name, "shardId-0")
        server.control("/v1/clock/advance", {"by": "6m"})
        with pytest.raises(kinesis.exceptions.ExpiredIteratorException) as refused:
            kinesis.get_records(ShardIterator=old)
        text = refused.value.response["Error"]["Message"]
        assert text.startswith("Iterator expired. The iterator was created at time ")
        assert text.endswith(" which is further in the future than the tolerated delay of 300000 milliseconds.")
        server.control("/v1/clock/advance", {"by": "25h"})
        kinesis.put_record(StreamName=name, PartitionKey="k", Data=b"new")
        for kind in ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"):
            found, _ = read(kinesis, name, "shardId-0", kind, StartingSequenceNumber=put["SequenceNumber"])
            assert [record["Data"] for record in found] == [b"new"]
        server.stop()
    finally:
        server.close()


def test_the_admin_port_still_answers(server):
    with urllib.request.urlopen(server.admin, timeout=120) as answer:
        assert answer.status == 200
