"""A table is replicated to a Kinesis data stream by a real server that is killed under load, while the target's shards are
split and merged: every change arrives once, per item in the order of its commits, and reaches three applications at once.
`cargo xtask proofs replication` does it with 200,000 changes of 5,000 items, and a worker of KCL beside them."""

import json
import os
import re
import subprocess
import urllib.request

import data_stream
from guide import follow
from headwater import CONTROL_TOKEN, Server, binary, create_table, until
from replicating import Replication, check, disable, enable

# What `--aws-limits` lets into a shard, per second, and at once behind a pause. Source: "Quotas and limits", Kinesis guide.
RECORDS_PER_S, BYTES_PER_S = 1_000, 1 << 20


def test_every_change_arrives_once_and_in_order_over_kills_and_reshards(capsys):
    server = Server("--control", "--control-token", CONTROL_TOKEN)
    try:
        run = Replication(server)
        run.run()
        counts = run.judge(run.finish())
        with capsys.disabled():
            print(f"\nreplication: {counts}")
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
        disable(dynamodb, "orders", arn)
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


def test_a_target_at_its_limits_delays_and_loses_nothing(capsys):
    """A backlog of more than a shard takes in a second, by number and by size: it is throttled, seen, and all arrives."""
    server = Server("--in-memory", "--aws-limits", "--control", "--control-token", CONTROL_TOKEN)
    try:
        dynamodb, kinesis = server.client("dynamodb"), server.client("kinesis")
        create_table(dynamodb, "orders")
        arn = data_stream.create(kinesis, "target")
        enable(dynamodb, "orders", arn)
        # Nothing is sent while the target is away, so the backlog does not depend on how fast it is written.
        kinesis.delete_stream(StreamName="target")
        until(lambda: "target" not in kinesis.list_streams()["StreamNames"], "the target is gone")
        written = backlog(dynamodb, sizes=[100] * 4 + [20_000] * 2, items=500, large=60)
        server.control("/v1/clock/advance", {"by": "2m"})
        data_stream.create(kinesis, "target", shards=1)
        seen = looks_until_replicated(server, dynamodb)
        (shard,) = data_stream.open_shards(kinesis, "target")
        consumer = data_stream.consumer(kinesis, arn, "reader")
        records = []
        for event in data_stream.subscribe(kinesis, consumer, shard["ShardId"]):
            records += event["Records"]
            if len(records) >= written and event["MillisBehindLatest"] == 0:
                break
        event_ids, steps = set(), {}
        for record in records:
            event = check(record, event_ids)
            step = int(event["dynamodb"]["NewImage"]["step"]["N"])
            assert step == steps.get(record["PartitionKey"], -1) + 1, "per item in order"
            steps[record["PartitionKey"]] = step
        assert len(records) == written and len(steps) == 500
        size = sum(len(record["Data"]) + len(record["PartitionKey"]) for record in records)
        took = records[-1]["ApproximateArrivalTimestamp"] - records[0]["ApproximateArrivalTimestamp"]
        with capsys.disabled():
            print(f"\nthrottled: {written} records of {size} bytes in {took.total_seconds():.1f} s, {seen}")
        # A second's worth is taken at once. The last record of a debt may be as large as it likes, and comes at once too.
        least = max((written - RECORDS_PER_S) / RECORDS_PER_S, (size - 2 * BYTES_PER_S) / BYTES_PER_S)
        assert least > 1.5 and took.total_seconds() >= least - 0.1, f"faster than a shard takes it: {least:.1f} s"
        assert seen["throttled"] > 0 and seen["described"] > 0 and seen["lag in metrics"] > 0 and seen["lag listed"] > 0
        server.stop()
    finally:
        server.close()


def backlog(dynamodb, sizes, items, large):
    """A step of every item per size, of the first `large` items only where they are large; returns how many."""
    written = 0
    for step, size in enumerate(sizes):
        keys = [f"item-{index}" for index in range(items if size < 1_000 else large)]
        for start in range(0, len(keys), 25):
            puts = [
                {"PutRequest": {"Item": {"pk": {"S": key}, "step": {"N": str(step)}, "text": {"S": "x" * size}}}}
                for key in keys[start : start + 25]
            ]
            assert not dynamodb.batch_write_item(RequestItems={"orders": puts})["UnprocessedItems"]
            written += len(puts)
    return written


def looks_until_replicated(server, dynamodb):
    """How often each way of looking has shown that the replication is behind, until it is not any more."""
    seen = {"described": 0, "lag in metrics": 0, "lag listed": 0}
    environment = {**os.environ, "HEADWATER_ADMIN_URL": server.admin.removesuffix("/metrics")}
    environment["HEADWATER_CONTROL_TOKEN"] = CONTROL_TOKEN
    while True:
        with urllib.request.urlopen(server.admin, timeout=30) as answer:
            metrics = answer.read().decode()
        lag = int(re.search(r"^headwater_replication_lag_ms\{.*\} (\d+)$", metrics, re.MULTILINE)[1])
        listed = subprocess.check_output([binary(), "ctl", "replications"], env=environment, text=True)
        assert re.search(r"^orders → target  ACTIVE  \d+ sent, 0 too large, 0 lost  \d+ ms behind$", listed.strip()), listed
        (described,) = dynamodb.describe_kinesis_streaming_destination(TableName="orders")["KinesisDataStreamDestinations"]
        seen["lag in metrics"] += lag > 0
        seen["lag listed"] += " 0 ms behind" not in listed
        seen["described"] += "the oldest change not replicated yet is" in described.get("DestinationStatusDescription", "")
        if lag == 0:
            throttled = re.search(r"^headwater_replication_throttled_total (\d+)$", metrics, re.MULTILINE)
            return {"throttled": int(throttled[1]), **seen}


def test_the_page_does_what_it_shows(tmp_path):
    steps, shown = follow("replication.md", tmp_path)
    assert steps >= 6 and shown >= 5, "the page has lost its commands"
