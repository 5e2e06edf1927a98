"""The run that every version of the Kinesis Client Library must pass, in steps that tests vary.

Workers read 50 keys from four shards while one is split, two are merged and a worker is killed; then all that they wrote
down is judged, and their lease table is held against the stream.
"""

import time

from data_stream import create, merge, open_shards, split
from headwater import until
from judge import SHARD_END, judge
from leases import assert_leases, index_agrees, indexed, leader, leases, owners
from producing import Producer, truth, until_ahead, until_all_read

WITHIN_S = 150
SHARDS_IN_THE_END = 7


class Run:
    """`start(name)` starts a worker; `third` says that it is version 3, which has an index of owners and a leader."""

    def __init__(self, server, crew, name, start, third=True):
        self.begin = time.monotonic()
        self.server, self.crew, self.start, self.third = server, crew, start, third
        self.kinesis, self.dynamodb = server.client("kinesis"), server.client("dynamodb")
        self.name, self.application = name, f"application-{name}"
        create(self.kinesis, name, shards=4)
        self.producer = Producer(self.kinesis, name)

    def owners(self):
        return owners(self.dynamodb, self.application)

    def workers_begin(self, count=2):
        """All workers hold leases and have delivered something."""
        self.producer.until(10)
        self.start("one")
        if self.third:
            until(lambda: indexed(self.dynamodb, self.application), "the first worker makes the index", WITHIN_S)
        for name in ("two", "three")[: count - 1]:
            self.start(name)
        until(lambda: len(self.owners()) == count, "all workers hold leases", WITHIN_S)
        if self.third:
            until(lambda: index_agrees(self.dynamodb, self.application) == count, "the index agrees", WITHIN_S)
        self.producer.until(30)
        until_all_read(self.crew, [self.producer], 50, WITHIN_S)

    def reshape(self):
        first, second, third, _ = open_shards(self.kinesis, self.name)
        split(self.kinesis, self.name, first)
        self.producer.until(55)
        merge(self.kinesis, self.name, second, third)
        self.producer.until(80)
        until(lambda: self.crew.seen() > 60 * len(self.producer.keys), "most records are seen", WITHIN_S)

    def kill(self, leading=False):
        """Kills a worker that has delivered more than it has checkpointed; returns it."""
        chief = leader(self.dynamodb, self.application) if self.third else None
        victim = next(worker for worker in self.crew.workers if (worker.name == chief) == leading)
        until_ahead(victim, self.crew, [self.producer], 95, WITHIN_S)
        assert self.owners().get(victim.name), f"{victim.name} has no lease"
        victim.kill()
        return victim

    def finish(self, rounds=100, gone=()):
        """All is read, every closed shard is ended, nothing belongs to those who are gone; then the workers end."""
        self.producer.until(rounds)
        until(lambda: self.crew.seen() == self.producer.records, "all records are seen", WITHIN_S)
        held = truth(self.kinesis, self.name, self.producer)
        closed = {shard_id for shard_id, shard in held.items() if shard.closed}

        def ended():
            found = leases(self.dynamodb, self.application)
            return all(found.get(shard_id, {}).get("checkpoint") == SHARD_END for shard_id in closed)

        until(ended, "closed shards end", WITHIN_S)
        names = {worker.name for worker in gone}
        until(lambda: not names & set(self.owners()), "the leases of those who are gone are taken", WITHIN_S)
        for worker in self.crew.workers:
            if worker not in gone:
                worker.stop()
        return held

    def judge(self, held):
        """The counts, and how many lease rows were right."""
        counts = judge({self.name: held}, self.crew.events())
        rows = assert_leases(self.dynamodb, self.kinesis, self.application, self.name, held)
        assert rows == len(held) and counts.records == self.producer.records and counts.keys == 50
        assert counts.shards_ended == sum(shard.closed for shard in held.values())
        return counts, rows

    def seconds(self):
        return f"{time.monotonic() - self.begin:.0f} s"


def reshaped_and_killed(run, what):
    """The whole run with two workers; prints what it counted."""
    run.workers_begin()
    run.reshape()
    victim = run.kill()
    held = run.finish(gone=[victim])
    counts, rows = run.judge(held)
    assert len(held) == SHARDS_IN_THE_END and counts.records == 5_000 and counts.shards_ended == 3
    assert counts.again > 0, "the killed worker left nothing that another one had to do again"
    print(f"\n{what}: {counts}; {rows} lease rows right, {run.seconds()}")
