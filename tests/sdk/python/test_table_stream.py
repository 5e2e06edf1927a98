"""A table read by Kinesis's operations alone: polled and pushed, through a split and a roll-over, it is the table.

The same records come from DynamoDB Streams, and they are the same ones: JSON by JSON, shard by shard.
"""

import contextlib
import hashlib
import json
import threading

import pytest
from botocore.exceptions import ClientError, EventStreamError

from data_stream import Reader, assert_covers, children, hash_range, iterator, list_shards, open_shards
from headwater import CONTROL_TOKEN, Server, create_table, until
from stream import Follower, Reader as StreamsReader, fold

CONTROL = ["--control", "--control-token", CONTROL_TOKEN]
WRITERS = 4
KEYS_PER_WRITER = 25
# Rounds of a writer over its keys: before the split, between the two, after the roll-over.
ROUNDS = (4, 4, 4)


def kinesis_name(kinesis, table):
    """The name of the table's stream, as a client finds it: tables' streams follow the name `ddb.`."""
    answer = kinesis.list_streams(ExclusiveStartStreamName=f"ddb.{table}.", Limit=1)
    (name,) = answer["StreamNames"]
    assert name.startswith(f"ddb.{table}.") and name.rsplit(".", 1)[1].isdigit()
    return name


def describe(kinesis, name):
    return kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]


class Raw:
    """The records of GetRecords of DynamoDB Streams as they were sent, before the SDK makes values of them."""

    def __init__(self, streams):
        self.records = []
        streams.meta.events.register("before-parse.dynamodb-streams.GetRecords", self.see)

    def see(self, response_dict, **_):
        self.records += dict(json.loads(response_dict["body"], object_pairs_hook=tuple))["Records"]


def in_order(shards):
    """The records of each shard, oldest shard first: the two APIs give one shard two ids, in the same order."""
    return [shards[shard_id] for shard_id in sorted(shards)]


def raw_records(streams, arn):
    """Every record of the stream, shard by shard, as sent; members in order."""
    reader, raw = StreamsReader(streams, arn), Raw(streams)
    reader.drain()
    shards = {}
    assert len(raw.records) == len(reader.records)
    for (shard_id, _), record in zip(reader.records, raw.records, strict=True):
        shards.setdefault(shard_id, []).append(record)
    return in_order(shards)


def data_of(records):
    """What Kinesis's records hold, shard by shard; members in order."""
    shards = {}
    for shard_id, record in records:
        shards.setdefault(shard_id, []).append(json.loads(record["Data"], object_pairs_hook=tuple))
    return in_order(shards)


class Pushed:
    """A registered consumer at every shard from TRIM_HORIZON, children when their parents have ended."""

    def __init__(self, server, name, consumer):
        self.kinesis = server.client("kinesis", max_pool_connections=64)
        arn = describe(self.kinesis, name)["StreamARN"]
        made = self.kinesis.register_stream_consumer(StreamARN=arn, ConsumerName=consumer)["Consumer"]
        self.consumer = made["ConsumerARN"]
        assert self.consumer.startswith(f"{arn}/consumer/{consumer}:")
        until(lambda: self.status() == "ACTIVE", f"{consumer} is ACTIVE")
        self.lock, self.records, self.threads, self.failure = threading.Lock(), [], {}, None
        self.ended, self.stopping = set(), threading.Event()
        self.events = 0
        for shard in list_shards(self.kinesis, name, ShardFilter={"Type": "AT_TRIM_HORIZON"}):
            self.follow(shard["ShardId"])

    def status(self):
        described = self.kinesis.describe_stream_consumer(ConsumerARN=self.consumer)
        return described["ConsumerDescription"]["ConsumerStatus"]

    def follow(self, shard_id):
        with self.lock:
            if shard_id not in self.threads:
                self.threads[shard_id] = threading.Thread(target=self.read, args=(shard_id,), daemon=True)
                self.threads[shard_id].start()

    def read(self, shard_id):
        try:
            answer = self.kinesis.subscribe_to_shard(
                ConsumerARN=self.consumer, ShardId=shard_id, StartingPosition={"Type": "TRIM_HORIZON"}
            )
            with contextlib.closing(answer["EventStream"]) as frames:
                for frame in frames:
                    if self.take(shard_id, frame["SubscribeToShardEvent"]) or self.stopping.is_set():
                        return
        except Exception as failure:  # noqa: BLE001 - reported by the test
            self.failure = failure

    def take(self, shard_id, event):
        """Keeps an event's records; whether it is the shard's last."""
        born = event.get("ChildShards", [])
        assert ("ContinuationSequenceNumber" in event) == (not born), "the end names children, nothing else does"
        assert all(shard_id in child["ParentShards"] for child in born)
        with self.lock:
            self.events += 1
            self.records += [(shard_id, record) for record in event["Records"]]
        for child in born:
            self.follow(child["ShardId"])
        if born:
            self.ended.add(shard_id)
        return bool(born)

    def has(self, count):
        if self.failure:
            raise self.failure
        return len(self.records) >= count


class Writer(threading.Thread):
    """Puts, updates and deletes its own items; every call that changes something is counted."""

    def __init__(self, client, table, number):
        super().__init__(daemon=True)
        self.client, self.table, self.number = client, table, number
        self.may_go_on = threading.Semaphore(0)
        self.changes = self.rounds = 0
        self.failure = None

    def run(self):
        try:
            for rounds in ROUNDS:
                self.may_go_on.acquire()
                for _ in range(rounds):
                    self.round()
        except Exception as failure:  # noqa: BLE001 - reported by the test
            self.failure = failure

    def round(self):
        for index in range(KEYS_PER_WRITER):
            key = {"pk": {"S": f"{self.number}-ключ-{index}"}}
            # Of four rounds one makes the item, two change it and one removes it.
            step = (self.rounds + index) % 4
            if step == 3 and self.rounds:
                self.client.delete_item(TableName=self.table, Key=key)
            elif step == 1 and self.rounds:
                self.client.update_item(
                    TableName=self.table, Key=key, UpdateExpression="SET n = :n, t.#w = :n",
                    ConditionExpression="attribute_exists(t)", ExpressionAttributeNames={"#w": "w"},
                    ExpressionAttributeValues={":n": {"N": str(self.rounds)}},
                )  # fmt: skip
            else:
                self.put(key)
            self.changes += 1
        self.rounds += 1

    def put(self, key):
        value = {"n": {"N": str(self.rounds)}, "t": {"M": {"r": {"N": f"{self.rounds}.5"}}}, "s": {"SS": ["ä", "z"]}}
        self.client.put_item(TableName=self.table, Item={**key, **value})


def alive(*threads):
    for thread in threads:
        if thread.failure:
            raise thread.failure
    return True


def check_records(records, shards):
    """Numbers rise along the lineage, each key stays in its shard's range, no change comes twice."""
    by_id, last, ids = {shard["ShardId"]: shard for shard in shards}, {}, set()
    for shard_id, record in records:
        start, end = hash_range(by_id[shard_id])
        assert len(record["PartitionKey"]) == 32 and start <= int(record["PartitionKey"], 16) <= end
        change = json.loads(record["Data"])
        key = change["dynamodb"]["Keys"]["pk"]["S"]
        # An item's place among all hashes is the MD5 of its key as it is stored: a tag, the text, an end.
        assert record["PartitionKey"] == hashlib.md5(b"\x02" + key.encode() + b"\x00\x01").hexdigest()
        assert int(record["SequenceNumber"]) > last.get(key, 0), "numbers rise for every item, over splits too"
        last[key] = int(record["SequenceNumber"])
        ids.add(change["eventID"])
        numbers = by_id[shard_id]["SequenceNumberRange"]
        assert int(numbers["StartingSequenceNumber"]) < last[key] <= int(numbers.get("EndingSequenceNumber", 2**186))
    assert len(ids) == len(records)
    for shard in shards:
        parent = by_id.get(shard.get("ParentShardId"))
        if parent:
            ending = int(parent["SequenceNumberRange"]["EndingSequenceNumber"])
            assert ending < int(shard["SequenceNumberRange"]["StartingSequenceNumber"])


def test_polled_and_pushed_records_are_the_table(capsys):
    server, table = Server(*CONTROL), "read-as-kinesis"
    try:
        dynamodb, kinesis = server.client("dynamodb"), server.client("kinesis")
        arn = create_table(dynamodb, table, view="NEW_AND_OLD_IMAGES")["LatestStreamArn"]
        name = kinesis_name(kinesis, table)
        initial = open_shards(kinesis, name)
        assert_covers(initial)
        assert len(initial) == 4
        polled = Follower(Reader(kinesis, name, limit=50), ())
        pushed = Pushed(server, name, "fan-out")
        writers = [Writer(server.client("dynamodb"), table, number) for number in range(WRITERS)]
        for thread in [polled, *writers]:
            thread.start()

        def round_of(part):
            """Lets the writers write; waits until some of it is written, more is still to come."""
            before, expected = sum(w.changes for w in writers), WRITERS * KEYS_PER_WRITER * ROUNDS[part]
            for writer in writers:
                writer.may_go_on.release()
            until(
                lambda: alive(polled, *writers) and sum(w.changes for w in writers) >= before + expected // 2,
                f"part {part} is half written", within_s=120,
            )  # fmt: skip

        round_of(0)
        server.control("/v1/split", {"table": table})
        round_of(1)
        rolled = server.control("/v1/rollover", {"table": table})["rolled_over"]
        round_of(2)
        for writer in writers:
            writer.join()
        alive(polled, *writers)
        changes = sum(w.changes for w in writers)

        polled.finish()
        by_polling = polled.reader.records
        until(lambda: pushed.has(len(by_polling)), "everything is pushed", 60)
        pushed.stopping.set()
        assert len(pushed.records) == len(by_polling) == changes

        shards = list_shards(kinesis, name)
        assert [s["ShardId"] for s in shards] == sorted(s["ShardId"] for s in shards)
        assert_covers(open_shards(kinesis, name))
        assert_covers(list_shards(kinesis, name, ShardFilter={"Type": "AT_TRIM_HORIZON"}))
        check_records(by_polling, shards)
        check_records(pushed.records, shards)
        # Both have the same, and it is what DynamoDB Streams shows: the same JSON in the same order, shard by shard.
        raw = raw_records(server.client("dynamodbstreams"), arn)
        assert data_of(by_polling) == data_of(pushed.records) == raw
        assert sum(map(len, raw)) == changes and len(raw) >= 5 + rolled

        pages = dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
        scanned = {(str(sorted(i["pk"].items())),): i for page in pages for i in page["Items"]}
        for records in (by_polling, pushed.records):
            rebuilt = fold([json.loads(record["Data"]) for _, record in records], ["pk"])
            # Sets have no order.
            for item in [*rebuilt.values(), *scanned.values()]:
                item["s"]["SS"].sort()
            assert rebuilt == scanned
        with capsys.disabled():
            print(
                f"\n{changes} changes of {len(scanned)} items in {len(shards)} shards ({rolled} rolled over), polled and "
                f"pushed ({pushed.events} events, {len(pushed.ended)} shards ended), equal to {len(raw)} shards of "
                f"DynamoDB Streams and to the Scan"
            )
        assert changes == WRITERS * KEYS_PER_WRITER * sum(ROUNDS) and len(scanned) > 50
        assert len(pushed.ended) == len(shards) - len(open_shards(kinesis, name)) >= 1 + rolled
        server.stop()
    finally:
        server.close()


def test_a_stream_that_is_switched_off_is_read_and_then_gone():
    server, table = Server("--in-memory", *CONTROL), "off"
    try:
        dynamodb, kinesis = server.client("dynamodb"), server.client("kinesis")
        create_table(dynamodb, table, view="KEYS_ONLY")
        name = kinesis_name(kinesis, table)
        dynamodb.put_item(TableName=table, Item={"pk": {"S": "a"}})
        pushed = Pushed(server, name, "late")
        until(lambda: pushed.has(1), "the record is pushed")
        dynamodb.update_table(TableName=table, StreamSpecification={"StreamEnabled": False})
        # As KCL needs it, the shards are open still.
        assert_covers(open_shards(kinesis, name))
        records = Reader(kinesis, name).drain()
        assert [json.loads(r["Data"])["dynamodb"]["Keys"] for r in records] == [{"pk": {"S": "a"}}]
        assert not pushed.ended and not pushed.failure, "a shard without children does not end"
        position = iterator(kinesis, name, list_shards(kinesis, name)[0]["ShardId"])
        server.control("/v1/clock/advance", {"by": "25h"})
        with pytest.raises(ClientError) as gone:
            list_shards(kinesis, name)
        assert gone.value.response["Error"]["Code"] == "ResourceNotFoundException"
        with pytest.raises(ClientError):
            kinesis.get_records(ShardIterator=position)
        # Subscriptions that waited are told, too: five minutes are over or the stream is not there, whichever is seen first.
        until(lambda: not any(t.is_alive() for t in pushed.threads.values()), "every subscription has ended", 60)
        assert pushed.failure is None or isinstance(pushed.failure, EventStreamError), pushed.failure
        server.stop()
    finally:
        server.close()


def test_what_is_limited_says_so_in_its_own_words():
    server, table = Server("--in-memory", "--aws-limits"), "limited"
    try:
        kinesis = server.client("kinesis")
        create_table(server.client("dynamodb"), table, view="KEYS_ONLY")
        name = kinesis_name(kinesis, table)
        shard_id = list_shards(kinesis, name)[0]["ShardId"]
        position = iterator(kinesis, name, shard_id)
        with pytest.raises(kinesis.exceptions.ProvisionedThroughputExceededException) as refused:
            for _ in range(1000):
                kinesis.get_records(ShardIterator=position)
        text = f"Rate exceeded for shard {shard_id} in stream {name} under account 000000000000."
        assert refused.value.response["Error"]["Message"] == text
        server.stop()
    finally:
        server.close()


def test_a_long_table_name_has_a_name_that_kinesis_takes(server, dynamodb, kinesis):
    table = "long-" + "n" * 250
    create_table(dynamodb, table, view="NEW_IMAGE")
    arn = dynamodb.describe_table(TableName=table)["Table"]["LatestStreamArn"]
    summary = kinesis.describe_stream_summary(StreamARN=arn)["StreamDescriptionSummary"]
    name = summary["StreamName"]
    assert len(name) == 128 and name.startswith("ddb.long-nnn") and summary["StreamARN"].endswith(f"stream/{name}")
    assert describe(kinesis, name) == summary
    dynamodb.put_item(TableName=table, Item={"pk": {"S": "a"}})
    (record,) = Reader(kinesis, name).drain()
    assert json.loads(record["Data"])["dynamodb"]["NewImage"] == {"pk": {"S": "a"}}
    assert children(kinesis, name, list_shards(kinesis, name)[0]["ShardId"]) == []
