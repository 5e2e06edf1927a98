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


def all_seen(crew, producers):
    return crew.seen() == sum(producer.records for producer in producers)


def one_more(crew, producers, most):
    """A round more of each producer, if all that there is was seen."""
    if all_seen(crew, producers):
        for producer in producers:
            producer.until(min(producer.rounds + 1, most))


def until_ahead(victims, crew, producers, most, within_s):
    """Waits until a worker has delivered more than it has checkpointed, and stops it there; gives it, to be killed next.

    It is the first of `victims`. A quick one may have checkpointed all that there is: then there is some more, up to
    `most` rounds. By then all leases that still bring anything may belong to another one: then it is that one.
    """

    def ahead():
        at_end = all(producer.rounds >= most for producer in producers) and all_seen(crew, producers)
        for worker in victims if at_end else victims[:1]:
            if worker.stopped_ahead():
                return worker
        one_more(crew, producers, most)
        return None

    return until(ahead, "a worker is ahead of its checkpoints", within_s)


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


def over_a_gap(before, after):
    """What consumers may be given of a stream that was trimmed between two looks at it: each shard's records of both.

    A shard that is gone is closed; it is the parent of those that came with no parent left.
    """
    gone = sorted(set(before) - set(after))
    held = {}
    for shard_id in [*before, *sorted(set(after) - set(before))]:
        parts = [part[shard_id] for part in (before, after) if shard_id in part]
        parents = parts[-1].parents or ([] if shard_id in before else gone)
        records = [record for part in parts for record in part.records]
        held[shard_id] = Shard(parents, records, closed=shard_id in gone or parts[-1].closed)
    return held
