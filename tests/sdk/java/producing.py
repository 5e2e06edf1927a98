"""Puts records that count per key, and reads a stream whole to know what consumers must have seen."""

from collections import defaultdict

from data_stream import list_shards, read
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
