"""The tables' part of `cargo xtask matrix`: consumers of a table's stream that CI has no time for."""

import time

import pytest

import rebuilding
from headwater import REGION, until
from judge import SHARD_END, judge
from leases import indexed, leases
from producing import over_a_gap
from scenario import WITHIN_S
from tables import ACCOUNT, Writer, adapter_name, create, kinesis_name, of_kinesis, rebuild, scan, truth
from workers import FLINK_JVM


def test_adapter1(server, crew):
    """The adapter's version 1 on KCL 1."""
    start = rebuilding.adapter(server, crew, "adapter1", "headwater.OldAdapterWorker")
    rebuilding.reshaped_and_killed(
        server, crew, "adapter 1.6.1", ["adapted-1"], start, third=False, name=lambda arn: arn
    )


def test_adapter2_multi_stream(server, crew):
    """The adapter's version 2 reads two tables in one application."""

    def key(arn, shard_id):
        return f"{ACCOUNT}:{adapter_name(arn)}:1:{shard_id}"

    start, tables = rebuilding.adapter(server, crew, "adapter2"), ["adapted-left", "adapted-right"]
    rebuilding.reshaped_and_killed(server, crew, "adapter 2.0.1, two streams", tables, start, key=key)


def test_adapter2_trimmed(server, crew):
    """The adapter starts again after more than the retention, from checkpoints before the trim horizon."""
    begin = time.monotonic()
    dynamodb, streams = server.client("dynamodb"), server.client("dynamodbstreams")
    table, application = "trimmed", "application-trimmed"
    arn = create(dynamodb, table)
    writer = Writer(dynamodb, table)

    def start(name):
        given = {"endpoint": server.endpoint, "application": application, "streams": arn}
        return crew.java(name, "adapter2", "headwater.AdapterWorker", **given)

    writer.until(8)
    first = start("one")
    until(lambda: crew.seen() == writer.records, "all is seen", WITHIN_S)
    before, seen = truth(streams, arn, writer), writer.records
    first.stop()
    server.control("/v1/split", {"table": table})
    writer.until(14)
    missed = writer.records - seen
    server.control("/v1/clock/advance", {"by": "25h"})
    writer.until(30)
    kept = sum(len(shard.records) for shard in truth(streams, arn).values())
    assert (seen, missed, kept) == (400, 300, 800)
    second = start("two")
    # The children of the shard that is gone are found by the worker's audit of its leases, a minute after its start.
    until(lambda: crew.seen() == seen + kept, "what is still there is seen", 2 * WITHIN_S)
    held = over_a_gap(before, truth(streams, arn))
    closed = {shard_id for shard_id, shard in held.items() if shard.closed}

    def ended():
        found = leases(dynamodb, application)
        return all(found.get(shard_id, {}).get("checkpoint") == SHARD_END for shard_id in closed)

    until(ended, "closed shards end", WITHIN_S)
    second.stop()
    counts = judge({adapter_name(arn): held}, crew.events(), trimmed=True)
    assert counts.records == seen + kept and counts.again == 0 and counts.shards_ended == len(closed) > 0
    print(f"\nadapter 2.0.1, trimmed checkpoints: {counts}; {missed} changes trimmed unread, {time.monotonic() - begin:.0f} s")


@pytest.mark.parametrize("mode", ["polling", "fanout"])
def test_kcl2_table(server, crew, mode):
    """KCL 2 on a table's stream without an adapter."""
    what = f"KCL 2.7.2 on a table's stream, {mode}"
    rebuilding.read_by_kcl(server, crew, what, f"read-kcl2-{mode}", "kcl2", mode=mode)


def test_kcl1_table(server, crew):
    """KCL 1 likewise."""
    what = "KCL 1.15.3 on a table's stream"
    rebuilding.read_by_kcl(server, crew, what, "read-kcl1", "kcl1", "headwater.OldWorker")


def of_dynamodb_streams(server, stream_arn, writer):
    """As in rebuilding.py, in the Region that the consumer of DynamoDB Streams can reach."""
    return truth(server.client("dynamodbstreams", region=REGION_OF_ENDPOINTS), stream_arn, writer)


# The SDK for Java 1 signs for it where an endpoint is named and no Region; Flink's consumer can be given one of the two.
REGION_OF_ENDPOINTS = "us-east-1"
# How the connector reads a table: its stream as a Kinesis stream, or DynamoDB Streams by FlinkDynamoDBStreamsConsumer; in
# which Region, and what its stream holds.
FLINK_MODES = {
    "POLLING": (REGION, of_kinesis),
    "EFO": (REGION, of_kinesis),
    "STREAMS": (REGION_OF_ENDPOINTS, of_dynamodb_streams),
}


@pytest.mark.parametrize("mode", FLINK_MODES)
def test_flink_table(server, crew, mode):
    """Flink jobs follow a table through a split and a roll-over: each change once, and together they are the table.

    One is there from the beginning; one begins when all is over, and finds parents and children at once.
    """
    begin = time.monotonic()
    region, holds = FLINK_MODES[mode]
    dynamodb = server.client("dynamodb", region=region)
    table = f"flink-{mode.lower()}"
    arn = create(dynamodb, table)
    writer = Writer(dynamodb, table)
    stream = arn if mode == "STREAMS" else kinesis_name(arn)

    def start(name):
        given = {"endpoint": server.endpoint, "stream": stream, "mode": mode}
        return crew.java(name, "flink", "headwater.TableJob", jvm=FLINK_JVM, **given)

    def until_read(job):
        assert job.alive(), job.tail()
        until(lambda: job.records() >= writer.records or not job.alive(), "all changes are seen", WITHIN_S)

    writer.until(4)
    early = start("early")
    until_read(early)
    server.control("/v1/split", {"table": table})
    writer.until(20)
    rolled = server.control("/v1/rollover", {"table": table})["rolled_over"]
    writer.until(40)
    until_read(early)
    early.close()
    late = start("late")
    until_read(late)
    held = holds(server, arn, writer)
    there = sorted(record for shard in held.values() for record in shard.records)
    wanted = scan(dynamodb, table)
    astray = {}
    for job in (early, late):
        records = [event for event in job.events() if event.kind == "record"]
        assert sorted(tuple(event.fields) for event in records) == there, f"{job.name}: each change once"
        assert rebuild(records) == wanted
        astray[job.name] = out_of_turn(event.fields for event in job.events() if event.kind == "came")
    closed = sum(shard.closed for shard in held.values())
    assert len(there) == 2_000 and len(wanted) == 40 and closed > rolled > 0
    print(
        f"\nFlink 1.19.1 on a table, {mode}: {len(there)} changes, of which {astray['early']} and {astray['late']} came out of "
        f"turn, {len(wanted)} items rebuilt as a Scan gives them, {closed} of {len(held)} shards closed, "
        f"{time.monotonic() - begin:.0f} s"
    )


def out_of_turn(changes):
    """How many came before one of the same item that they are behind, or were overtaken so."""
    due, found = {}, 0
    for _, key, change in changes:
        step = int(change.partition(":")[0])
        found += step != due.get(key, 0)
        due[key] = max(due.get(key, 0), step + 1)
    return found
