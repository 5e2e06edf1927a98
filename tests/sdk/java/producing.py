"""Puts records that count per key, and reads a stream whole to know what consumers must have seen."""

from collections import defaultdict

from data_stream import list_shards, read
from headwater import until
from judge import Shard


class Producer:
    """`keys` keys; each call of `round` puts the next number of every key, all or nothing known before the next."""

    def __init__(self, kinesis, name, keys=50):
        self.kinesis, self.name = kinesis, name
        self.keys = [f"key-{index}" for index in range(keys)]
        self.rounds = 0

    def round(self):
        records = [{"PartitionKey": key, "Data": str(self.rounds).encode()} for key in self.keys]
        answer = self.kinesis.put_records(StreamName=self.name, Records=records)
        assert answer["FailedRecordCount"] == 0, answer
        self.rounds += 1

    def until(self, rounds):
        while self.rounds < rounds:
            self.round()

    @property
    def records(self):
        return self.rounds * len(self.keys)


def until_all_read(crew, producers, most, within_s):
    """Waits until every worker has seen records.

    One that gets its first lease late may find all read already: then there is some more, up to `most` rounds.
    """

    def all_read():
        if all(worker.records() for worker in crew.workers):
            return True
        if all(worker.has_begun() for worker in crew.workers):
            one_more(crew, producers, most)
        return False

    until(all_read, "all workers see records", within_s)


def one_more(crew, producers, most):
    """A round more of each producer, if all that there is was seen."""
    if crew.seen() == sum(producer.records for producer in producers):
        for producer in producers:
            producer.until(min(producer.rounds + 1, most))


def until_ahead(victim, crew, producers, most, within_s):
    """Waits until a worker has delivered more than it has checkpointed, and stops it there; it is to be killed next.

    A quick one may have checkpointed all that there is: then there is some more, up to `most` rounds.
    """

    def ahead():
        if victim.stopped_ahead():
            return True
        one_more(crew, producers, most)
        return False

    until(ahead, "the victim is ahead of its checkpoints", within_s)


def truth(kinesis, name, producer=None):
    """What the stream holds, shard by shard, checked against what was put into it."""
    shards = list_shards(kinesis, name)
    known = {shard["ShardId"] for shard in shards}
    held, per_key = {}, defaultdict(list)
    for shard in shards:
        records, _ = read(kinesis, name, shard["ShardId"])
        parents = [shard.get("ParentShardId"), shard.get("AdjacentParentShardId")]
        held[shard["ShardId"]] = Shard(
            parents=[parent for parent in parents if parent in known],
            records=[(r["SequenceNumber"], r["PartitionKey"], r["Data"].decode()) for r in records],
            closed="EndingSequenceNumber" in shard["SequenceNumberRange"],
        )
        for record in records if producer else ():
            per_key[record["PartitionKey"]].append(int(record["Data"]))
    if producer:
        assert sum(len(shard.records) for shard in held.values()) == producer.records
        assert set(per_key) == set(producer.keys)
        assert all(sorted(values) == list(range(producer.rounds)) for values in per_key.values())
    return held
