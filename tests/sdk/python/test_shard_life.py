"""A table whose shards split under load, by themselves and then by order, followed by two readers from its beginning.

Each item counts its own writes, so a lost, doubled or displaced change shows as a gap, a repetition or a step back.
"""

import threading
import time
import urllib.error

from headwater import CONTROL_TOKEN, Server, create_table
from real_data import TRANSIENT
from stream import Follower, Reader

TABLE = "split-under-load"
WRITERS = 5
KEYS_PER_WRITER = 300
BATCH = 25
SPLIT_WRITES_PER_SECOND = 100
SPLIT_WITHIN_S = 60
# More than a table splits into by itself.
OPEN_SHARDS = 70


class Counter(threading.Thread):
    """Writes its own items again and again, 25 a call; item k's n-th write holds n."""

    def __init__(self, client, number):
        super().__init__(daemon=True)
        self.client, self.number = client, number
        self.counts = [0] * KEYS_PER_WRITER
        self.stopping = threading.Event()
        self.repeated = 0
        self.failure = None

    def run(self):
        try:
            at = 0
            while not self.stopping.is_set():
                self.write(range(at, at + BATCH))
                at = (at + BATCH) % KEYS_PER_WRITER
        except Exception as failure:  # noqa: BLE001 - reported by the test
            self.failure = failure

    def write(self, keys):
        puts = [
            {"PutRequest": {"Item": {"pk": {"S": f"{self.number}-{k}"}, "n": {"N": str(self.counts[k] + 1)}}}} for k in keys
        ]
        while True:
            try:
                answer = self.client.batch_write_item(RequestItems={TABLE: puts})
                break
            except TRANSIENT:
                # Repeating is safe: what was written already is equal, and equal writes leave no record.
                self.repeated += 1
                time.sleep(0.02)
        assert not answer.get("UnprocessedItems")
        for k in keys:
            self.counts[k] += 1


def open_shards(shards):
    return [s for s in shards if "EndingSequenceNumber" not in s["SequenceNumberRange"]]


def alive(threads):
    for thread in threads:
        if thread.failure:
            raise thread.failure


def split_by_order(server, look, target):
    """Splits open shards one by one, under load, until `target` are open; kills the server once on the way."""
    splits, killed = 0, False
    while len(shards := open_shards(look.shards())) < target:
        for shard in shards[: target - len(shards)]:
            try:
                server.control("/v1/split", {"table": TABLE, "shard": shard["ShardId"]})
                splits += 1
            except urllib.error.HTTPError as refusal:
                assert refusal.code == 409, refusal.read()  # it has just been split because it was hot
            if not killed and splits >= target // 4:
                server.restart()
                killed = True
    assert killed
    return splits


def check_order(reader, expected):
    """Every change once, each item's in order; returns how many there were."""
    seen, ids = {}, set()
    for _, record in reader.records:
        change = record["dynamodb"]
        key, n = change["Keys"]["pk"]["S"], int(change["NewImage"]["n"]["N"])
        assert n == seen.get(key, 0) + 1, f"{key}: {n} after {seen.get(key, 0)}"
        assert record["eventName"] == ("INSERT" if n == 1 else "MODIFY")
        seen[key] = n
        ids.add(record["eventID"])
    assert len(ids) == len(reader.records)
    assert seen == expected
    return len(ids)


def check_lineage(reader):
    """Children start above their parent's end, a parent has two, and no shard with a child is open."""
    shards = {s["ShardId"]: s for s in reader.shards()}
    children = {}
    for shard in shards.values():
        if parent := shard.get("ParentShardId"):
            children.setdefault(parent, []).append(shard)
    for parent, born in children.items():
        end = int(shards[parent]["SequenceNumberRange"]["EndingSequenceNumber"])
        assert len(born) == 2 and all(int(s["SequenceNumberRange"]["StartingSequenceNumber"]) > end for s in born)
    assert len(open_shards(shards.values())) == len(shards) - len(children)
    return shards


def test_two_readers_follow_a_table_through_all_its_splits(capsys):
    flags = ["--split-writes-per-second", str(SPLIT_WRITES_PER_SECOND), "--control", "--control-token", CONTROL_TOKEN]
    server = Server(*flags)
    try:
        arn = create_table(server.client("dynamodb"), TABLE, view="NEW_IMAGE")["LatestStreamArn"]
        look = Reader(server.client("dynamodbstreams"), arn)
        initial = len(look.shards())
        writers = [Counter(server.client("dynamodb"), number) for number in range(WRITERS)]
        fast = Follower(Reader(server.client("dynamodbstreams"), arn), TRANSIENT)
        slow = Follower(Reader(server.client("dynamodbstreams"), arn, limit=100, shards_limit=10), TRANSIENT, pause_s=0.5)
        begin = time.monotonic()
        for thread in [*writers, fast, slow]:
            thread.start()

        # By itself: nothing but writes.
        while len(open_shards(look.shards())) < 4 * initial:
            alive([*writers, fast, slow])
            assert time.monotonic() - begin < SPLIT_WITHIN_S, f"{len(open_shards(look.shards()))} of {4 * initial} open"
            time.sleep(0.1)
        by_itself_s, written = time.monotonic() - begin, sum(sum(w.counts) for w in writers)

        splits = split_by_order(server, look, OPEN_SHARDS)
        behind = len(fast.reader.records) - len(slow.reader.records)
        for writer in writers:
            writer.stopping.set()
        for writer in writers:
            writer.join()
        alive([*writers, fast, slow])

        fast.finish()
        slow.finish()
        expected = {f"{w.number}-{k}": n for w in writers for k, n in enumerate(w.counts) if n}
        changes = [check_order(follower.reader, expected) for follower in (fast, slow)]
        shards = check_lineage(look)
        pages = server.client("dynamodb").get_paginator("scan").paginate(TableName=TABLE, ConsistentRead=True)
        scanned = {item["pk"]["S"]: int(item["n"]["N"]) for page in pages for item in page["Items"]}
        assert scanned == expected
        with capsys.disabled():
            print(
                f"\nshards {initial} -> {4 * initial} open by themselves in {by_itself_s:.0f} s at "
                f"{written / by_itself_s:.0f} writes/s, then {splits} splits by order: {len(open_shards(shards.values()))} "
                f"open of {len(shards)}; changes {changes[0]} and {changes[1]} read, items {len(scanned)}, "
                f"slow reader {behind} behind, repeated calls {sum(w.repeated for w in writers)}, "
                f"interruptions {fast.interruptions} and {slow.interruptions}, {time.monotonic() - begin:.0f} s"
            )
        assert changes[0] == changes[1] == sum(expected.values()) > 10 * len(expected)
        assert len(open_shards(shards.values())) >= 64 and len(shards) > 100
        assert behind > 0, "the slow reader was not slow"
        assert fast.interruptions + slow.interruptions > 0, "nobody noticed the kill"
        server.stop()
    finally:
        server.close()
