"""DynamoDB Streams through boto3: views, shards, iterators, stream on and off, several readers."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError

from headwater import create_table, until
from stream import Reader, fold


def test_records_have_the_services_shape(dynamodb, streams, name):
    arn = create_table(dynamodb, name, hash_key=("id", "S"), view="NEW_AND_OLD_IMAGES")["LatestStreamArn"]
    dynamodb.put_item(TableName=name, Item={"id": {"S": "Fred"}})
    dynamodb.put_item(TableName=name, Item={"id": {"S": "Fred"}, "name": {"S": "Fred"}})
    dynamodb.put_item(TableName=name, Item={"name": {"S": "Fred"}, "id": {"S": "Fred"}})  # changes nothing
    dynamodb.delete_item(TableName=name, Key={"id": {"S": "Fred"}})
    dynamodb.delete_item(TableName=name, Key={"id": {"S": "Fred"}})  # nothing there
    records = Reader(streams, arn).drain()
    assert [r["eventName"] for r in records] == ["INSERT", "MODIFY", "REMOVE"]
    assert [r["dynamodb"]["SizeBytes"] for r in records] == [12, 26, 20]
    for record in records:
        assert record["eventSource"] == "aws:dynamodb" and record["eventVersion"] == "1.1"
        assert record["awsRegion"] == "eu-west-1"
        assert len(record["eventID"]) == 32 and "userIdentity" not in record
        assert 21 <= len(record["dynamodb"]["SequenceNumber"]) <= 40
    insert, _, remove = (r["dynamodb"] for r in records)
    assert "OldImage" not in insert and insert["NewImage"] == {"id": {"S": "Fred"}}
    assert "NewImage" not in remove and remove["OldImage"] == {"id": {"S": "Fred"}, "name": {"S": "Fred"}}
    numbers = [int(r["dynamodb"]["SequenceNumber"]) for r in records]
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize(
    ("view", "images"),
    [("KEYS_ONLY", set()), ("NEW_IMAGE", {"NewImage"}), ("OLD_IMAGE", {"OldImage"}), ("NEW_AND_OLD_IMAGES", {"NewImage", "OldImage"})],
)
def test_views_show_their_images(dynamodb, streams, name, view, images):
    arn = create_table(dynamodb, name, view=view)["LatestStreamArn"]
    for value in "ab":
        dynamodb.put_item(TableName=name, Item={"pk": {"S": "k"}, "v": {"S": value}})
    modify = Reader(streams, arn).drain()[1]["dynamodb"]
    assert {member for member in modify if member.endswith("Image")} == images
    assert modify["StreamViewType"] == view and modify["Keys"] == {"pk": {"S": "k"}}


def test_a_reader_rebuilds_the_table_while_others_write(dynamodb, streams, name):
    arn = create_table(dynamodb, name, range_key=("sk", "N"), view="NEW_AND_OLD_IMAGES")["LatestStreamArn"]
    reader = Reader(streams, arn)
    assert len(reader.shards()) > 1, "one open shard per partition"

    def write(writer):
        for i in range(60):
            key = {"pk": {"S": f"p{i % 7}"}, "sk": {"N": str(writer)}}
            if i % 9 == 8:
                dynamodb.delete_item(TableName=name, Key=key)
            else:
                dynamodb.put_item(TableName=name, Item={**key, "i": {"N": str(i)}})

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))
    records = reader.drain()
    items = dynamodb.scan(TableName=name, ConsistentRead=True)["Items"]
    table = {tuple(str(sorted(item[k].items())) for k in ("pk", "sk")): item for item in items}
    assert len(records) > 300 and fold(records, ("pk", "sk")) == table
    assert len({r["eventID"] for r in records}) == len(records)


def test_switching_off_closes_shards_and_on_makes_a_new_stream(dynamodb, streams, name):
    first = create_table(dynamodb, name, view="NEW_IMAGE")["LatestStreamArn"]
    dynamodb.put_item(TableName=name, Item={"pk": {"S": "one"}})
    dynamodb.update_table(TableName=name, StreamSpecification={"StreamEnabled": False})
    until(lambda: streams.describe_stream(StreamArn=first)["StreamDescription"]["StreamStatus"] == "DISABLED", "DISABLED")
    dynamodb.put_item(TableName=name, Item={"pk": {"S": "unseen"}})
    reader = Reader(streams, first)
    assert all("EndingSequenceNumber" in s["SequenceNumberRange"] for s in reader.shards())
    assert [r["dynamodb"]["Keys"]["pk"]["S"] for r in reader.drain()] == ["one"]
    assert len(reader.finished) == len(reader.shards()), "a closed shard ends its iterator"
    dynamodb.update_table(TableName=name, StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"})
    second = dynamodb.describe_table(TableName=name)["Table"]["LatestStreamArn"]
    assert second != first
    assert {s["StreamArn"] for s in streams.list_streams(TableName=name)["Streams"]} == {first, second}
    until(lambda: dynamodb.describe_table(TableName=name)["Table"]["TableStatus"] == "ACTIVE", "ACTIVE")
    dynamodb.put_item(TableName=name, Item={"pk": {"S": "two"}})
    assert [r["dynamodb"]["Keys"]["pk"]["S"] for r in Reader(streams, second).drain()] == ["two"]


def test_a_dropped_tables_stream_stays_readable(dynamodb, streams, name):
    arn = create_table(dynamodb, name, view="OLD_IMAGE")["LatestStreamArn"]
    dynamodb.put_item(TableName=name, Item={"pk": {"S": "a"}})
    dynamodb.delete_table(TableName=name)
    dynamodb.get_waiter("table_not_exists").wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    assert [r["eventName"] for r in Reader(streams, arn).drain()] == ["INSERT"], "dropping a table removes no items"
    assert streams.describe_stream(StreamArn=arn)["StreamDescription"]["StreamStatus"] == "DISABLED"


def test_iterators_of_all_four_types(dynamodb, streams, name):
    arn = create_table(dynamodb, name, view="KEYS_ONLY")["LatestStreamArn"]
    for value in range(4):
        dynamodb.update_item(
            TableName=name,
            Key={"pk": {"S": "same"}},
            UpdateExpression="SET v = :v",
            ExpressionAttributeValues={":v": {"N": str(value)}},
        )
    reader = Reader(streams, arn)
    numbers = [r["dynamodb"]["SequenceNumber"] for r in reader.drain()]
    shard = reader.records[0][0]

    def read(kind, number=None):
        position = {"SequenceNumber": number} if number else {}
        iterator = streams.get_shard_iterator(StreamArn=arn, ShardId=shard, ShardIteratorType=kind, **position)
        page = streams.get_records(ShardIterator=iterator["ShardIterator"])
        return [r["dynamodb"]["SequenceNumber"] for r in page["Records"]]

    assert read("TRIM_HORIZON") == numbers
    assert read("AT_SEQUENCE_NUMBER", numbers[2]) == numbers[2:]
    assert read("AFTER_SEQUENCE_NUMBER", numbers[2]) == numbers[3:]
    assert read("LATEST") == []
    for wrong in ("garbage", f"{arn}|1|tampered"):
        with pytest.raises(ClientError):
            streams.get_records(ShardIterator=wrong)
    with pytest.raises(streams.exceptions.ResourceNotFoundException):
        streams.describe_stream(StreamArn=arn.replace(name, "nobody"))
