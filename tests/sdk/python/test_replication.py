"""A table is replicated to a Kinesis data stream by a real server that is killed under load, while the target's shards are
split and merged: every change arrives once, per item in the order of its commits. `cargo xtask proofs replication` does it
with 200,000 changes of 5,000 items."""

import json
import os
import random
import threading

from botocore.exceptions import ClientError

import data_stream
from guide import follow
from headwater import CONTROL_TOKEN, Server, create_table, until
from real_data import TRANSIENT

CHANGES = int(os.environ.get("HEADWATER_CHANGES", "8000"))
ITEMS = int(os.environ.get("HEADWATER_ITEMS", "400"))
KILLS = int(os.environ.get("HEADWATER_KILLS", "3"))
WRITERS = 16
OPEN_SHARDS_MAX = 8
SEED = 20_260_201
DRAINED_WITHIN_S = 600
MEMBERS = {
    "awsRegion", "eventID", "eventName", "userIdentity", "recordFormat", "tableName", "dynamodb", "eventSource",
}  # fmt: skip


class Writer(threading.Thread):
    """Adds one to its own items, over and over, until all writers together have made enough changes."""

    def __init__(self, client, number, done):
        super().__init__(daemon=True)
        self.client, self.number, self.done = client, number, done
        self.random = random.Random(SEED + number)
        self.acknowledged = self.unknown = 0
        self.failure = None

    def run(self):
        try:
            while not self.done():
                self.add(self.random.randrange(ITEMS // WRITERS))
        except Exception as failure:  # noqa: BLE001 - reported by the test
            self.failure = failure

    def add(self, item):
        try:
            self.client.update_item(
                TableName="orders",
                Key={"pk": {"S": f"{self.number}-{item}"}},
                UpdateExpression="ADD n :one SET filler = :filler",
                ExpressionAttributeValues={":one": {"N": "1"}, ":filler": {"S": "x" * self.random.randrange(300)}},
            )
            self.acknowledged += 1
        except TRANSIENT:
            self.unknown += 1


class Reshaper(threading.Thread):
    """Splits and merges shards of the target, over and over; a server that was just killed does neither."""

    def __init__(self, kinesis):
        super().__init__(daemon=True)
        self.kinesis, self.random = kinesis, random.Random(SEED)
        self.splits = self.merges = 0
        self.stopping = threading.Event()
        self.failure = None

    def run(self):
        while not self.stopping.wait(self.random.uniform(0.02, 0.2)):
            try:
                self.reshape()
            except ClientError as refused:
                # Another step of its own is not over yet, or was done though its answer was lost.
                if refused.response["Error"]["Code"] not in ("ResourceInUseException", "InvalidArgumentException"):
                    self.failure = refused
                    return
            except TRANSIENT:
                pass
            except Exception as failure:  # noqa: BLE001 - reported by the test
                self.failure = failure
                return

    def reshape(self):
        shards = sorted(data_stream.open_shards(self.kinesis, "target"), key=data_stream.hash_range)
        if len(shards) < OPEN_SHARDS_MAX and self.splits <= self.merges:
            data_stream.split(self.kinesis, "target", self.random.choice(shards))
            self.splits += 1
        elif len(shards) > 1:
            at = self.random.randrange(len(shards) - 1)
            data_stream.merge(self.kinesis, "target", shards[at], shards[at + 1])
            self.merges += 1


def status(dynamodb, table="orders"):
    answer = dynamodb.describe_kinesis_streaming_destination(TableName=table)
    return answer["KinesisDataStreamDestinations"][-1]["DestinationStatus"]


def enable(dynamodb, table, arn, **more):
    answer = dynamodb.enable_kinesis_streaming_destination(TableName=table, StreamArn=arn, **more)
    assert answer["DestinationStatus"] == "ENABLING"
    until(lambda: status(dynamodb, table) == "ACTIVE", "the destination is ACTIVE")


def check(record, event_ids):
    """A record has the members that the service's have; gives (item, number of the change)."""
    event = json.loads(record["Data"])
    assert set(event) == MEMBERS and event["eventSource"] == "aws:dynamodb" and event["userIdentity"] is None
    change = event["dynamodb"]
    images = {"INSERT": {"NewImage"}, "MODIFY": {"NewImage", "OldImage"}, "REMOVE": {"OldImage"}}[event["eventName"]]
    assert set(change) == {"ApproximateCreationDateTime", "Keys", "SizeBytes"} | images
    assert len(record["PartitionKey"]) == 32 and len(str(change["ApproximateCreationDateTime"])) == 13
    assert event["eventID"] not in event_ids, f"{event['eventID']} came twice"
    event_ids.add(event["eventID"])
    return change["Keys"]["pk"]["S"], int(change["NewImage"]["n"]["N"])


def scan(dynamodb, table):
    pages = dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
    return {item["pk"]["S"]: int(item["n"]["N"]) for page in pages for item in page["Items"]}


def test_every_change_arrives_once_and_in_order_over_kills_and_reshards(capsys):
    server = Server("--control", "--control-token", CONTROL_TOKEN)
    try:
        dynamodb, kinesis = server.client("dynamodb"), server.client("kinesis")
        create_table(dynamodb, "orders")
        arn = data_stream.create(kinesis, "target", shards=2)
        enable(dynamodb, "orders", arn)
        writers = []

        def made():
            return sum(writer.acknowledged for writer in writers)

        writers += [Writer(server.client("dynamodb"), n, lambda: made() >= CHANGES) for n in range(WRITERS)]
        reshaper = Reshaper(server.client("kinesis"))
        for thread in [*writers, reshaper]:
            thread.start()
        for kill in range(KILLS):
            wanted = CHANGES * (kill + 1) // (KILLS + 1)
            while made() < wanted and all(writer.is_alive() for writer in writers):
                writers[0].join(0.001)
            server.restart()
        for writer in writers:
            writer.join()
        until(lambda: (reshaper.splits and reshaper.merges) or not reshaper.is_alive(), "a split and a merge")
        reshaper.stopping.set()
        reshaper.join()
        for thread in [*writers, reshaper]:
            if thread.failure:
                raise thread.failure
        items = scan(dynamodb, "orders")
        reader = data_stream.Reader(kinesis, "target")
        until(lambda: reader.poll() is not None and len(reader.records) >= sum(items.values()), "all is replicated",
              within_s=DRAINED_WITHIN_S)  # fmt: skip
        # A few more looks: nothing may come twice.
        records, event_ids, seen = reader.drain(), set(), {}
        for record in records:
            item, number = check(record, event_ids)
            seen.setdefault(item, []).append(number)
        assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in seen.values()), "per item in order"
        assert {item: numbers[-1] for item, numbers in seen.items()} == items
        unknown = sum(writer.unknown for writer in writers)
        with capsys.disabled():
            print(
                f"\nreplication: kills {KILLS}, acknowledged {made()}, unknown {unknown}, records {len(records)} of "
                f"{len(items)} items, splits {reshaper.splits}, merges {reshaper.merges}"
            )
        assert len(records) == len(event_ids) >= made() >= CHANGES and reshaper.splits > 0 and reshaper.merges > 0
        assert unknown > 0, "no kill met a write"
        server.stop()
    finally:
        server.close()


def test_what_happens_to_a_replication_is_told(tmp_path):
    trail = tmp_path / "audit.log"
    server = Server("--in-memory", "--control", "--control-token", CONTROL_TOKEN, "--audit", str(trail))
    try:
        dynamodb, kinesis = server.client("dynamodb"), server.client("kinesis")
        create_table(dynamodb, "orders", view="KEYS_ONLY")
        arn = data_stream.create(kinesis, "target")
        enable(dynamodb, "orders", arn, EnableKinesisStreamingConfiguration={
            "ApproximateCreationDateTimePrecision": "MICROSECOND"
        })  # fmt: skip
        dynamodb.put_item(TableName="orders", Item={"pk": {"S": "a"}})
        until(lambda: data_stream.Reader(kinesis, "target").poll(), "the change has arrived")
        kinesis.delete_stream(StreamName="target")
        dynamodb.put_item(TableName="orders", Item={"pk": {"S": "b"}})

        def described():
            answer = dynamodb.describe_kinesis_streaming_destination(TableName="orders")
            return answer["KinesisDataStreamDestinations"][-1].get("DestinationStatusDescription", "")

        until(lambda: "does not take records" in described(), "the stall is described")
        until(lambda: "ReplicationStalled" in trail.read_text(), "the stall is in the audit trail")
        until(lambda: "target" not in kinesis.list_streams()["StreamNames"], "the target is gone")
        data_stream.create(kinesis, "target")
        until(lambda: described() == "", "it goes on")
        (record,) = until(lambda: data_stream.Reader(kinesis, "target").drain(), "the backlog has arrived")
        change = json.loads(record["Data"])["dynamodb"]
        assert change["Keys"] == {"pk": {"S": "b"}} and change["ApproximateCreationDateTimePrecision"] == "MICROSECOND"
        assert len(str(change["ApproximateCreationDateTime"])) == 16
        dynamodb.disable_kinesis_streaming_destination(TableName="orders", StreamArn=arn)
        until(lambda: status(dynamodb) == "DISABLED", "it is DISABLED")
        names = ["Started", "Stalled", "Recovered", "Stopped"]
        events = until(lambda: told(trail) if len(told(trail)) >= len(names) else None, "all is in the audit trail")
        assert [event["eventName"] for event in events] == [f"Replication{name}" for name in names]
        assert all(resource["ARN"].endswith(name) for event in events
                   for resource, name in zip(event["resources"], ("table/orders", "stream/target"), strict=True))  # fmt: skip
        server.stop()
    finally:
        server.close()


def told(trail):
    events = [json.loads(line) for line in trail.read_text().splitlines()]
    return [event for event in events if event.get("eventType") == "AwsServiceEvent"]


def test_the_page_does_what_it_shows(tmp_path):
    steps, shown = follow("replication.md", tmp_path)
    assert steps >= 6 and shown >= 5, "the page has lost its commands"
