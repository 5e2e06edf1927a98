"""A replicated table's target read by KCL too, beside those of replicating.py: `cargo xtask proofs replication`."""

from headwater import until
from judge import SHARD_END, Shard, judge
from leases import leases
from replicating import DRAINED_WITHIN_S, KILLS, TARGET, Replication

APPLICATION = "replicated"


def test_every_change_reaches_every_application(server, crew):
    run = Replication(server)

    def start(name):
        given = {"endpoint": server.endpoint, "application": APPLICATION, "stream": TARGET}
        crew.java(name, "kcl3", "headwater.KclWorker", mode="polling", form="changes", http="1", **given)

    def before_kill(kill):
        """In the middle the worker goes, behind its checkpoints, and another one takes over."""
        if kill == KILLS // 2:
            (first,) = crew.workers
            until(first.stopped_ahead, "the worker is ahead of its checkpoints", DRAINED_WITHIN_S)
            first.kill()
            start("two")

    start("one")
    run.run(before_kill)
    holds = run.finish()
    counts = run.judge(holds)
    of_kcl = read_by_kcl(run, crew, holds)
    print(f"\nreplication: {counts}\nKCL 3.5.1, polling, one worker killed: {of_kcl}")


def read_by_kcl(run, crew, holds):
    """What KCL was given, judged once it has read everything."""
    streams = {
        TARGET: {
            shard_id: Shard(sorted(holds.parents[shard_id]), records, shard_id in holds.closed)
            for shard_id, records in holds.records.items()
        }
    }
    until(lambda: crew.seen() == holds.count, "KCL has read everything", DRAINED_WITHIN_S)

    def ended():
        tried = {e.shard for e in crew.events() if e.kind == "trying" and e.fields[0] == SHARD_END}
        # Leases of shards whose children are begun are removed after a while.
        found = leases(run.dynamodb, APPLICATION)
        taken = all(row["checkpoint"] == SHARD_END for row in found.values() if row["leaseKey"] in holds.closed)
        return tried >= holds.closed and taken

    until(ended, "closed shards end", DRAINED_WITHIN_S)
    crew.workers[-1].stop()
    counts = judge(streams, crew.events())
    found = leases(run.dynamodb, APPLICATION)
    for shard_id, records in holds.records.items():
        if shard_id not in holds.closed and records:
            assert found[shard_id]["checkpoint"] == records[-1][0], found[shard_id]
    assert counts.records == holds.count and counts.keys == len(holds.steps)
    assert counts.shards_ended == len(holds.closed) > 0 and counts.again > 0
    return counts
