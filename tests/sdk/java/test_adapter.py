"""The official DynamoDB Streams Kinesis adapter, unmodified, with the KCL that it brings: two workers on a table's stream.

They read a table under writes, through a split and a roll-over, one of them killed; what they saw rebuilds the table.
"""

import time

from headwater import until
from judge import SHARD_END, judge
from leases import indexed, leader, leases, owners
from tables import Writer, adapter_name, create, rebuild, scan, truth

ROUNDS = 40  # of 50 items: 2,000 changes
WITHIN_S = 150


def test_two_workers_rebuild_a_table(server, crew):
    begin = time.monotonic()
    dynamodb, streams = server.client("dynamodb"), server.client("dynamodbstreams")
    table, application = "adapted", "adapter"
    stream_arn = create(dynamodb, table)
    writer = Writer(dynamodb, table)
    writer.until(4)
    settings = {"endpoint": server.endpoint, "application": application, "streams": stream_arn}
    crew.java("one", "adapter2", "headwater.AdapterWorker", **settings)
    until(lambda: indexed(dynamodb, application), "the first worker makes the index of owners", WITHIN_S)
    crew.java("two", "adapter2", "headwater.AdapterWorker", **settings)
    until(lambda: len(owners(dynamodb, application)) == 2, "both workers hold leases", WITHIN_S)
    writer.until(10)
    server.control("/v1/split", {"table": table})
    writer.until(20)
    rolled = server.control("/v1/rollover", {"table": table})["rolled_over"]
    writer.until(30)
    until(lambda: all(worker.records() for worker in crew.workers), "both workers see changes", WITHIN_S)
    victim = next(worker for worker in crew.workers if worker.name != leader(dynamodb, application))
    until(victim.ahead, "the victim is ahead of its checkpoints", WITHIN_S)
    victim.kill()
    writer.until(ROUNDS)

    until(lambda: crew.seen() == writer.records, "all changes are seen", WITHIN_S)
    held = truth(streams, stream_arn, writer)
    closed = {shard_id for shard_id, shard in held.items() if shard.closed}

    def ended():
        found = leases(dynamodb, application)
        return all(found.get(shard_id, {}).get("checkpoint") == SHARD_END for shard_id in closed)

    until(ended, "closed shards end", WITHIN_S)
    (survivor,) = [worker for worker in crew.workers if worker is not victim]
    survivor.stop()
    counts = judge({adapter_name(stream_arn): held}, crew.events())
    rebuilt = rebuild(crew.events())
    assert rebuilt == scan(dynamodb, table) and len(rebuilt) == 40
    found = leases(dynamodb, application)
    for shard_id, shard in held.items():
        assert set(found[shard_id].get("parentShardId", ())) == set(shard.parents), found[shard_id]
        if not shard.closed and shard.records:
            assert found[shard_id]["checkpoint"] == shard.records[-1][0]
    assert counts.records == ROUNDS * 50 and counts.keys == 50 and counts.again > 0
    assert counts.shards_ended == len(closed) > rolled
    print(
        f"\nadapter 2.0.1: {counts}; {len(rebuilt)} items rebuilt as a Scan gives them, {len(held)} lease rows, {rolled} "
        f"shards rolled over, {time.monotonic() - begin:.0f} s"
    )
