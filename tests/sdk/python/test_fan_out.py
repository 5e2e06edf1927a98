"""Two applications with enhanced fan-out and one that polls, at once, on a stream that is split and merged under load while
the server is killed: each is given every record in order, none missing, none again but behind its own last checkpoint."""

import os
import random
import threading
from collections import Counter

import pytest

from data_stream import consumer, create, list_shards, open_shards, read
from fan_out import LOST, FanOut, Log, Poller, alterations, assert_noticed, judge, read_to
from headwater import Server, until

KILLS = int(os.environ.get("HEADWATER_KILLS", "5"))
WRITERS, KEYS_PER_WRITER = 3, 6
# Shards beyond which they are merged, and below which they are split.
OPEN_SHARDS = (2, 6)
SEED = 20_260_101
# How long the slowest reader may take once the writers have stopped; there to end a broken run.
CAUGHT_UP_WITHIN_S = 120


class Writer(threading.Thread):
    """Puts 1, 2, 3, … under each of its keys; a number whose fate is unknown is not put again."""

    def __init__(self, kinesis, stream, number):
        super().__init__(daemon=True)
        self.kinesis, self.stream = kinesis, stream
        self.keys = [f"{number}-{key}" for key in range(KEYS_PER_WRITER)]
        self.next = dict.fromkeys(self.keys, 1)
        # (key, number) -> (shard, sequence number)
        self.acknowledged, self.unknown = {}, set()
        self.stopping = threading.Event()
        self.failure = None

    def run(self):
        try:
            while not self.stopping.is_set():
                self.put()
        except Exception as failure:  # noqa: BLE001 - reported by the test
            self.failure = failure

    def put(self):
        records = [(key, self.next[key]) for key in self.keys]
        entries = [{"PartitionKey": key, "Data": f"{key} {number} ".encode().ljust(300)} for key, number in records]
        for key in self.keys:
            self.next[key] += 1
        try:
            answer = self.kinesis.put_records(StreamName=self.stream, Records=entries)
        except LOST:
            self.unknown.update(records)
            self.stopping.wait(0.01)
            return
        for record, result in zip(records, answer["Records"], strict=True):
            if "SequenceNumber" in result:
                self.acknowledged[record] = (result["ShardId"], result["SequenceNumber"])
            else:
                self.unknown.add(record)


class Shaper(threading.Thread):
    """Splits and merges shards, over and over; a server that was just killed does neither."""

    def __init__(self, kinesis, stream):
        super().__init__(daemon=True)
        self.kinesis, self.stream = kinesis, stream
        self.random = random.Random(SEED)
        self.splits, self.merges, self.failure = 0, 0, None
        self.stopping = threading.Event()

    def run(self):
        try:
            while not self.stopping.wait(self.random.uniform(0.2, 0.6)):
                try:
                    self.reshape()
                except (*LOST, self.kinesis.exceptions.ResourceInUseException):
                    pass
        except Exception as failure:  # noqa: BLE001 - reported by the test
            self.failure = failure

    def reshape(self):
        shards = sorted(open_shards(self.kinesis, self.stream), key=lambda s: int(s["HashKeyRange"]["StartingHashKey"]))
        least, most = OPEN_SHARDS
        if len(shards) <= least or (len(shards) < most and self.splits <= self.merges):
            shard = self.random.choice(shards)
            start, end = (int(shard["HashKeyRange"][side]) for side in ("StartingHashKey", "EndingHashKey"))
            self.kinesis.split_shard(
                StreamName=self.stream, ShardToSplit=shard["ShardId"], NewStartingHashKey=str((start + end) // 2)
            )
            self.splits += 1
        else:
            at = self.random.randrange(len(shards) - 1)
            first, second = shards[at : at + 2]
            self.kinesis.merge_shards(
                StreamName=self.stream, ShardToMerge=first["ShardId"], AdjacentShardToMerge=second["ShardId"]
            )
            self.merges += 1


def test_every_reader_is_given_everything_over_kills_splits_and_merges(capsys):
    server = Server()
    clients = lambda: server.client("kinesis", max_pool_connections=64)  # noqa: E731
    try:
        arn = create(clients(), "fan", shards=2)
        applications = [FanOut(clients(), "fan", consumer(clients(), arn, name), name) for name in ("one", "two")]
        applications.append(Poller(clients(), "fan", "polling"))
        writers = [Writer(clients(), "fan", number) for number in range(WRITERS)]
        shaper = Shaper(clients(), "fan")
        for thread in [*writers, *applications, shaper]:
            thread.start()
        kill(server, writers, applications, shaper)
        for thread in [shaper, *writers]:
            thread.stopping.set()
        for thread in [shaper, *writers]:
            thread.join()
            if thread.failure:
                raise thread.failure
        truth, parents, closed = stream_itself(clients(), "fan", writers)
        for application in applications:
            until(
                lambda each=application: each.failure or read_to(each.log, truth, closed),
                f"{application.log.name} has read everything",
                within_s=CAUGHT_UP_WITHIN_S,
            )
        for application in applications:
            application.finish()
        counts = report(applications, writers, shaper, truth, parents, closed)
        with capsys.disabled():
            print("\n" + ", ".join(f"{what} {count}" for what, count in counts.items()))
        assert all(counts.values()), counts
        assert_noticed(applications[0].log, truth, parents, closed)
        server.stop()
    finally:
        server.close()


def kill(server, writers, applications, shaper):
    """Kills the server over and over, each time once there has been some progress everywhere."""
    moments = random.Random(SEED)
    for _ in range(KILLS):
        progress = moments.randrange(100, 400)
        before = {app: app.log.count("record") for app in applications}
        shaped = shaper.splits + shaper.merges

        def moved(progress=progress, before=before, shaped=shaped):
            failed = [thread.failure for thread in [*writers, *applications, shaper] if thread.failure]
            assert not failed, failed
            if shaper.splits + shaper.merges < shaped + 2:
                return False
            return all(app.log.count("record") >= before[app] + progress for app in applications)

        until(moved, "readers get on and shards change", within_s=CAUGHT_UP_WITHIN_S)
        server.restart()


def stream_itself(kinesis, stream, writers):
    """The stream's records per shard, checked against what the writers were told; its lineage; which shards are closed."""
    shards = list_shards(kinesis, stream)
    truth, seen, parents = {}, {}, {}
    for shard in shards:
        shard_id = shard["ShardId"]
        parents[shard_id] = {shard.get("ParentShardId"), shard.get("AdjacentParentShardId")} - {None}
        assert parents[shard_id] <= truth.keys(), "parents are listed before their children"
        records, _ = read(kinesis, stream, shard_id)
        truth[shard_id] = [record["SequenceNumber"] for record in records]
        for record in records:
            key, number = record["Data"].decode().split()
            assert key == record["PartitionKey"]
            assert seen.setdefault(key, {}).setdefault(int(number), (shard_id, record["SequenceNumber"])) == (
                shard_id,
                record["SequenceNumber"],
            ), f"{key} {number} is there twice"
            # Shards are read in the order of their creation, so a key's records come in its own.
            assert int(number) == max(seen[key]), f"{key} {number} is behind {max(seen[key])}"
    for writer in writers:
        for (key, number), where in writer.acknowledged.items():
            assert seen[key][number] == where, f"{key} {number} was acknowledged at {where}"
    written = set().union(*(writer.acknowledged.keys() | writer.unknown for writer in writers))
    assert {(key, number) for key, numbers in seen.items() for number in numbers} <= written
    closed = {shard["ShardId"] for shard in shards if "EndingSequenceNumber" in shard["SequenceNumberRange"]}
    return truth, parents, closed


def report(applications, writers, shaper, truth, parents, closed):
    counts = {
        "kills": KILLS,
        "acknowledged": sum(len(writer.acknowledged) for writer in writers),
        "unknown": sum(len(writer.unknown) for writer in writers),
        "records": sum(map(len, truth.values())),
        "splits": shaper.splits,
        "merges": shaper.merges,
        "closed shards": len(closed),
        "events pushed": sum(app.pushed for app in applications if isinstance(app, FanOut)),
    }
    for app in applications:
        counts[f"given again to {app.log.name}"] = judge(app.log, truth, parents, closed)
        counts[f"interruptions of {app.log.name}"] = app.interruptions
    return counts


# A small run: shard a is split into b and c.
TRUTH = {"a": ["1", "2", "3"], "b": ["4", "5"], "c": []}
PARENTS = {"a": set(), "b": {"a"}, "c": {"a"}}
CLOSED = {"a"}
SOUND = [
    ("start", "a", None),
    ("record", "a", "1"),
    ("checkpoint", "a", "1"),
    ("record", "a", "2"),
    # Killed: the second record comes again.
    ("start", "a", "1"),
    ("record", "a", "2"),
    ("record", "a", "3"),
    ("checkpoint", "a", "3"),
    ("end", "a", None),
    ("start", "c", None),
    ("start", "b", None),
    ("record", "b", "4"),
    ("checkpoint", "b", "4"),
    ("record", "b", "5"),
]


def test_the_judge_passes_a_sound_run():
    assert judge(Log("sound", list(SOUND)), TRUTH, PARENTS, CLOSED) == 1
    log = Log("sound", list(SOUND))
    assert read_to(log, TRUTH, CLOSED) and not read_to(Log("cut", SOUND[:-1]), TRUTH, CLOSED)


def test_the_judge_notices_every_kind_of_fault():
    kinds = Counter()
    for what, events in alterations(SOUND):
        assert events != SOUND, what
        with pytest.raises((AssertionError, ValueError)):
            judge(Log(what, events), TRUTH, PARENTS, CLOSED)
        kinds[what] += 1
    # Each single record lost or doubled; but the one behind which the reader was killed: it comes again anyway.
    records = [at for at, event in enumerate(SOUND) if event[0] == "record" and SOUND[at + 1 : at + 2] != [SOUND[4]]]
    for at in records:
        for events in (SOUND[:at] + SOUND[at + 1 :], SOUND[: at + 1] + SOUND[at:]):
            with pytest.raises((AssertionError, ValueError)):
                judge(Log("altered", events), TRUTH, PARENTS, CLOSED)
            kinds["single"] += 1
    print(f"faults noticed: {dict(kinds)}")
    assert kinds["single"] == 2 * len(records) and len(kinds) == 9
