"""Changes items so that each change can be told from every other, and rebuilds tables from what consumers saw."""

import json

import producing
from headwater import REGION, create_table
from judge import Shard
from stream import Reader

ACCOUNT = "000000000000"


class Writer:
    """Changes `keys` items in rounds, each item once per round: four times in five a put or an update, else a deletion.

    `step` counts the changes of an item; a deletion is the step after that of the item it deletes.
    """

    def __init__(self, dynamodb, table, keys=50):
        self.dynamodb, self.table = dynamodb, table
        self.keys = [f"key-{index}" for index in range(keys)]
        self.rounds = 0

    def round(self):
        for index, key in enumerate(self.keys):
            self.change(key, self.rounds, (self.rounds + index) % 5)
        self.rounds += 1

    def change(self, key, step, turn):
        item = {"pk": {"S": key}}
        text = {"S": f"text {step} of {key} ä🦀"}
        if turn == 4:
            # The first change of an item cannot delete it.
            if step:
                self.dynamodb.delete_item(TableName=self.table, Key=item)
                return
        if turn % 2:
            self.dynamodb.put_item(TableName=self.table, Item={**item, "step": {"N": str(step)}, "text": text})
        else:
            self.dynamodb.update_item(
                TableName=self.table,
                Key=item,
                UpdateExpression="SET step = :step, #text = :text",
                ExpressionAttributeNames={"#text": "text"},
                ExpressionAttributeValues={":step": {"N": str(step)}, ":text": text},
            )

    def until(self, rounds):
        while self.rounds < rounds:
            self.round()

    @property
    def records(self):
        return self.rounds * len(self.keys)


def create(dynamodb, name):
    """A table with a stream; returns the stream's ARN."""
    return create_table(dynamodb, name, view="NEW_AND_OLD_IMAGES")["LatestStreamArn"]


def adapter_name(stream_arn):
    """The name under which the official adapter knows a table's stream."""
    table, label = stream_arn.split("/")[1], stream_arn.split("/")[3]
    return f"{REGION}${ACCOUNT}${table}${label.replace(':', '_')}"


def kinesis_name(stream_arn):
    """The name under which the Kinesis API knows a table's stream."""
    table, label = stream_arn.split("/")[1], stream_arn.split("/")[3]
    return f"ddb.{table}.{''.join(filter(str.isdigit, label))}"


def of_kinesis(server, stream_arn, writer):
    """What the Kinesis API says that a table's stream holds: the same changes as DynamoDB Streams says, in as many shards."""
    held = producing.truth(server.client("kinesis"), kinesis_name(stream_arn))
    for shard in held.values():
        changes = [(number, json.loads(data)) for number, _, data in shard.records]
        shard.records = [(number, change["dynamodb"]["Keys"]["pk"]["S"], value(change)) for number, change in changes]
    same = truth(server.client("dynamodbstreams"), stream_arn, writer)
    assert sorted(map(contents, held.values())) == sorted(map(contents, same.values()))
    return held


def contents(shard):
    return [(key, change) for _, key, change in shard.records], shard.closed, len(shard.parents)


def value(record):
    """A change as TableProcessor.java writes it."""
    change = record["dynamodb"]
    if record["eventName"] == "REMOVE":
        return f"{int(change['OldImage']['step']['N']) + 1}:REMOVE:"
    image = change["NewImage"]
    return f"{image['step']['N']}:{record['eventName']}:{image['text']['S']}"


def truth(streams, stream_arn, writer=None):
    """What the stream holds, shard by shard, as the judge wants it."""
    reader = Reader(streams, stream_arn)
    shards = reader.shards()
    known = {shard["ShardId"] for shard in shards}
    held = {}
    for shard in shards:
        parent = shard.get("ParentShardId")
        held[shard["ShardId"]] = Shard(
            parents=[parent] if parent in known else [],
            records=[],
            closed="EndingSequenceNumber" in shard["SequenceNumberRange"],
        )
    reader.drain()
    for shard_id, record in reader.records:
        change = record["dynamodb"]
        held[shard_id].records.append((change["SequenceNumber"], change["Keys"]["pk"]["S"], value(record)))
    if writer:
        assert sum(len(shard.records) for shard in held.values()) == writer.records
    return held


def rebuild(events):
    """The table that the changes describe, each taken once, in the order in which they first came: key → (step, text)."""
    table, seen = {}, set()
    for event in sorted(events, key=lambda event: event.at):
        if event.kind != "record" or (event.fields[1], event.fields[2]) in seen:
            continue
        seen.add((event.fields[1], event.fields[2]))
        _, key, change = event.fields
        step, kind, text = change.split(":", 2)
        if kind == "REMOVE":
            del table[key]
        else:
            assert (kind == "INSERT") == (key not in table), f"{kind} of {key} does not fit"
            table[key] = (int(step), text)
    return table


def scan(dynamodb, table):
    """The table as it is, in the same form."""
    items = [item for page in dynamodb.get_paginator("scan").paginate(TableName=table) for item in page["Items"]]
    return {item["pk"]["S"]: (int(item["step"]["N"]), item["text"]["S"]) for item in items}
