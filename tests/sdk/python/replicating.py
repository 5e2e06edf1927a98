"""A table that is replicated to a data stream by a real server that is killed under load, while the stream's shards are split
and merged and several applications read it: the writers, the applications, and what must come of it."""

import functools
import json
import os
import random
import threading
from dataclasses import dataclass, field

from botocore.exceptions import ClientError

import data_stream
import fan_out
from headwater import create_table, until
from real_data import TRANSIENT

CHANGES = int(os.environ.get("HEADWATER_CHANGES", "8000"))
ITEMS = int(os.environ.get("HEADWATER_ITEMS", "400"))
KILLS = int(os.environ.get("HEADWATER_KILLS", "3"))
# Splits and merges of the target that its readers have to follow, spread over the run.
RESHARDS = int(os.environ.get("HEADWATER_RESHARDS", "24"))
WRITERS = 16
# Shards beyond which they are merged, and below which they are split.
OPEN_SHARDS = (2, 8)
# Records of a shard between two checkpoints of an application: more than a page, so that a kill leaves some to be repeated.
CHECKPOINT_EVERY, PAGE = 100, 60
TABLE, TARGET = "orders", "target"
SEED = 20_260_201
# Bounds that are only there to end a broken run.
MADE_WITHIN_S, DRAINED_WITHIN_S = 1_800, 600
MEMBERS = {
    "awsRegion", "eventID", "eventName", "userIdentity", "recordFormat", "tableName", "dynamodb", "eventSource",
}  # fmt: skip


class Writer(threading.Thread):
    """Changes its own items, over and over, until all writers together have made enough changes; `step` counts an item's."""

    def __init__(self, client, number, done):
        super().__init__(daemon=True)
        self.client, self.done = client, done
        self.items = [f"item-{item}" for item in range(number, ITEMS, WRITERS)]
        self.untouched = list(self.items)
        self.random = random.Random(SEED + number)
        self.acknowledged = self.unknown = 0
        self.failure = None

    def run(self):
        try:
            while not self.done():
                self.change(self.untouched.pop() if self.untouched else self.random.choice(self.items))
        except Exception as failure:  # noqa: BLE001 - reported by the run
            self.failure = failure

    def change(self, item):
        try:
            self.client.update_item(
                TableName=TABLE,
                Key={"pk": {"S": item}},
                UpdateExpression="SET step = if_not_exists(step, :before) + :one, #text = :text",
                ExpressionAttributeNames={"#text": "text"},
                ExpressionAttributeValues={
                    ":before": {"N": "-1"},
                    ":one": {"N": "1"},
                    ":text": {"S": "x" * self.random.randrange(300)},
                },
            )
            self.acknowledged += 1
        except TRANSIENT:
            self.unknown += 1


class Reshaper(threading.Thread):
    """Splits and merges shards of the target as the writers get on; a server that was just killed does neither."""

    def __init__(self, kinesis, made):
        super().__init__(daemon=True)
        self.kinesis, self.made, self.random = kinesis, made, random.Random(SEED)
        self.splits = self.merges = 0
        self.stopping = threading.Event()
        self.failure = None

    def run(self):
        while not self.stopping.wait(0.02):
            if self.made() * RESHARDS < CHANGES * (self.splits + self.merges):
                continue
            try:
                self.reshape()
            except ClientError as refused:
                # Another step of its own is not over yet, or was done though its answer was lost.
                if refused.response["Error"]["Code"] not in ("ResourceInUseException", "InvalidArgumentException"):
                    self.failure = refused
                    return
            except TRANSIENT:
                pass
            except Exception as failure:  # noqa: BLE001 - reported by the run
                self.failure = failure
                return

    def reshape(self):
        shards = sorted(data_stream.open_shards(self.kinesis, TARGET), key=data_stream.hash_range)
        least, most = OPEN_SHARDS
        if len(shards) <= least or (len(shards) < most and self.random.random() < 0.5):
            data_stream.split(self.kinesis, TARGET, self.random.choice(shards))
            self.splits += 1
        else:
            at = self.random.randrange(len(shards) - 1)
            data_stream.merge(self.kinesis, TARGET, shards[at], shards[at + 1])
            self.merges += 1


def status(dynamodb, table=TABLE):
    answer = dynamodb.describe_kinesis_streaming_destination(TableName=table)
    return answer["KinesisDataStreamDestinations"][-1]["DestinationStatus"]


def enable(dynamodb, table, arn, **more):
    answer = dynamodb.enable_kinesis_streaming_destination(TableName=table, StreamArn=arn, **more)
    assert answer["DestinationStatus"] == "ENABLING"
    until(lambda: status(dynamodb, table) == "ACTIVE", "the destination is ACTIVE")


def disable(dynamodb, table, arn, within_s=DRAINED_WITHIN_S):
    """What was committed before is sent before the destination is DISABLED."""
    dynamodb.disable_kinesis_streaming_destination(TableName=table, StreamArn=arn)
    until(lambda: status(dynamodb, table) == "DISABLED", "all is replicated", within_s)


def check(record, event_ids):
    """A record has the members that the service's have, and came once; gives its change."""
    event = json.loads(record["Data"])
    assert set(event) == MEMBERS and event["eventSource"] == "aws:dynamodb" and event["userIdentity"] is None
    change = event["dynamodb"]
    images = {"INSERT": {"NewImage"}, "MODIFY": {"NewImage", "OldImage"}, "REMOVE": {"OldImage"}}[event["eventName"]]
    assert set(change) == {"ApproximateCreationDateTime", "Keys", "SizeBytes"} | images
    assert len(record["PartitionKey"]) == 32 and len(str(change["ApproximateCreationDateTime"])) == 13
    assert event["eventID"] not in event_ids, f"{event['eventID']} came twice"
    event_ids.add(event["eventID"])
    return event


def scan(dynamodb, table):
    """Item → its last step."""
    pages = dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
    return {item["pk"]["S"]: int(item["step"]["N"]) for page in pages for item in page["Items"]}


@dataclass
class Held:
    """What the target holds, per shard; shards stand behind their parents."""

    # (sequence number, item, "step:event:text") in order.
    records: dict = field(default_factory=dict)
    parents: dict = field(default_factory=dict)
    closed: set = field(default_factory=set)
    # Item → its last step.
    steps: dict = field(default_factory=dict)

    @functools.cached_property
    def numbers(self):
        return {shard_id: [number for number, _, _ in records] for shard_id, records in self.records.items()}

    @property
    def count(self):
        return sum(map(len, self.records.values()))


def held(kinesis):
    """Reads the target whole: every change once by its eventID, per item in order, from its first step on."""
    holds, event_ids = Held(), set()
    steps = holds.steps
    for shard in data_stream.list_shards(kinesis, TARGET):
        shard_id = shard["ShardId"]
        holds.parents[shard_id] = {shard.get("ParentShardId"), shard.get("AdjacentParentShardId")} - {None}
        assert holds.parents[shard_id] <= holds.records.keys(), "parents are listed before their children"
        of_shard = holds.records[shard_id] = []
        for record in data_stream.read(kinesis, TARGET, shard_id)[0]:
            event = check(record, event_ids)
            item, image = event["dynamodb"]["Keys"]["pk"]["S"], event["dynamodb"]["NewImage"]
            step = int(image["step"]["N"])
            assert step == steps.get(item, -1) + 1, f"{item}: step {step} behind {steps.get(item)}"
            steps[item] = step
            of_shard.append((record["SequenceNumber"], item, f"{step}:{event['eventName']}:{image['text']['S']}"))
        if "EndingSequenceNumber" in shard["SequenceNumberRange"]:
            holds.closed.add(shard_id)
    assert len(event_ids) == holds.count
    return holds


class Replication:
    """A run on a server of its own: two applications with enhanced fan-out and one that polls follow the target."""

    def __init__(self, server):
        self.server = server
        self.dynamodb, self.kinesis = server.client("dynamodb"), server.client("kinesis")
        create_table(self.dynamodb, TABLE)
        self.arn = data_stream.create(self.kinesis, TARGET, shards=OPEN_SHARDS[0])
        enable(self.dynamodb, TABLE, self.arn)
        done = lambda: self.made() >= CHANGES  # noqa: E731
        self.writers = [Writer(server.client("dynamodb"), number, done) for number in range(WRITERS)]
        self.reshaper = Reshaper(server.client("kinesis"), self.made)
        clients = lambda: server.client("kinesis", max_pool_connections=64)  # noqa: E731
        consumer = functools.partial(data_stream.consumer, self.kinesis, self.arn)
        self.applications = [
            *(fan_out.FanOut(clients(), TARGET, consumer(name), name, CHECKPOINT_EVERY) for name in ("one", "two")),
            fan_out.Poller(clients(), TARGET, "polling", CHECKPOINT_EVERY, PAGE),
        ]

    def made(self):
        return sum(writer.acknowledged for writer in self.writers)

    def raise_failures(self):
        for thread in [*self.writers, self.reshaper, *self.applications]:
            if thread.failure:
                raise thread.failure

    def run(self, before_kill=lambda kill: None):
        """All changes are made, the server being killed at even distances; `before_kill` is told which kill is next."""
        for thread in [*self.writers, self.reshaper, *self.applications]:
            thread.start()
        for kill in range(KILLS):
            self.until_made(CHANGES * (kill + 1) // (KILLS + 1))
            before_kill(kill)
            self.server.restart()
        self.until_made(CHANGES)
        for writer in self.writers:
            writer.join()
        shaped = lambda: self.reshaper.failure or (self.reshaper.splits and self.reshaper.merges)  # noqa: E731
        until(shaped, "a split and a merge", MADE_WITHIN_S)
        self.reshaper.stopping.set()
        self.reshaper.join()
        self.raise_failures()

    def until_made(self, wanted):
        def is_made():
            self.raise_failures()
            return self.made() >= wanted

        until(is_made, f"{wanted} changes are made", MADE_WITHIN_S)

    def finish(self):
        """What the target holds in the end, which is the table; all applications have read it."""
        disable(self.dynamodb, TABLE, self.arn)
        holds = held(self.kinesis)
        assert holds.steps == scan(self.dynamodb, TABLE)
        for application in self.applications:
            until(
                lambda each=application: each.failure or fan_out.read_to(each.log, holds.numbers, holds.closed),
                f"{application.log.name} has read everything",
                DRAINED_WITHIN_S,
            )
            application.finish()
        return holds

    def judge(self, holds):
        """What was counted, of which nothing may be zero; the judge of the applications is judged too."""
        counts = {
            "kills": KILLS,
            "acknowledged": self.made(),
            "unknown": sum(writer.unknown for writer in self.writers),
            "records": holds.count,
            "items": len(holds.steps),
            "splits": self.reshaper.splits,
            "merges": self.reshaper.merges,
            "closed shards": len(holds.closed),
        }
        truth = (holds.numbers, holds.parents, holds.closed)
        for application in self.applications:
            log = application.log
            counts[f"given to {log.name}"] = log.count("record")
            counts[f"again to {log.name}"] = fan_out.judge(log, *truth)
            counts[f"interruptions of {log.name}"] = application.interruptions
        counts["altered logs noticed"] = sum(fan_out.assert_noticed(app.log, *truth) for app in self.applications)
        assert all(counts.values()), counts
        assert counts["records"] >= counts["acknowledged"] >= CHANGES, counts
        # All are there but those whose first change was lost with its server.
        assert ITEMS - counts["unknown"] <= counts["items"] <= ITEMS, counts
        assert counts["records"] <= counts["acknowledged"] + counts["unknown"], counts
        return ", ".join(f"{what} {count}" for what, count in counts.items())
