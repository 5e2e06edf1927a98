"""Applications that read a data stream at once, what each was given in which order, and a judge of it.

An application logs what happens to it, in order: `start` (a shard is read from its last checkpoint, or from the beginning),
`record`, `checkpoint`, `end` (the shard is read to its end). `judge` compares the log with the stream itself.
"""

import threading
from dataclasses import dataclass, field

from botocore.exceptions import BotoCoreError
from urllib3.exceptions import HTTPError

from data_stream import Reader, list_shards, subscribe

# What a subscriber and a poller see of a server that was killed: botocore's wrapping, and the bare one inside a stream.
LOST = (BotoCoreError, HTTPError, OSError)
# Records of a shard between two checkpoints: a restart repeats at most so many, and those of the page that they came in.
CHECKPOINT_EVERY = 25
# How many things `alterations` does to a log.
ALTERATIONS = 8


@dataclass
class Log:
    """What one application was given; threads of one application write to it."""

    name: str
    events: list = field(default_factory=list)
    checkpoints: dict = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, kind, shard_id, number=None):
        with self.lock:
            self.events.append((kind, shard_id, number))
            if kind == "checkpoint":
                self.checkpoints[shard_id] = number

    def start(self, shard_id):
        """A reader begins at its checkpoint; returns it."""
        checkpoint = self.checkpoints.get(shard_id)
        self.add("start", shard_id, checkpoint)
        return checkpoint

    def count(self, kind):
        return sum(1 for event in self.events if event[0] == kind)


def judge(log, truth, parents, closed):
    """Fails unless `log` is every record of `truth` (shard -> its sequence numbers in order), per shard in order, none
    missing, none again but behind the reader's last checkpoint, parents before children, every closed shard to its end.

    Returns how many records were given again.
    """
    position, checkpoint, given, ended, repeated = {}, {}, {}, set(), 0
    for kind, shard_id, number in log.events:
        numbers, where = truth[shard_id], f"{log.name}, {shard_id}"
        if kind == "start":
            unfinished = parents[shard_id] - ended
            assert not unfinished, f"{where}: read before the end of {unfinished}"
            assert number == checkpoint.get(shard_id), f"{where}: starts at {number}, not at its checkpoint"
            position[shard_id] = 0 if number is None else numbers.index(number) + 1
        elif kind == "record":
            at = position[shard_id]
            expected = numbers[at] if at < len(numbers) else None
            assert number == expected, f"{where}: record {number} where {expected} is due"
            position[shard_id] = at + 1
            repeated += at < given.get(shard_id, 0)
            given[shard_id] = max(at + 1, given.get(shard_id, 0))
        elif kind == "checkpoint":
            last = numbers[position[shard_id] - 1] if position[shard_id] else None
            assert number == last, f"{where}: a checkpoint at {number}, read to {last}"
            checkpoint[shard_id] = number
        else:
            assert position[shard_id] == len(numbers), f"{where}: an end at record {position[shard_id]} of {len(numbers)}"
            ended.add(shard_id)
    for shard_id, numbers in truth.items():
        assert given.get(shard_id, 0) == len(numbers), f"{log.name}, {shard_id}: {given.get(shard_id, 0)} of {len(numbers)}"
    assert ended == closed, f"{log.name}: read to the end: {ended}, closed: {closed}"
    return repeated


class FanOut(threading.Thread):
    """One application with enhanced fan-out: a subscription per shard, children after all their parents."""

    def __init__(self, kinesis, stream, consumer_arn, name, checkpoint_every=CHECKPOINT_EVERY):
        super().__init__(daemon=True)
        self.kinesis, self.stream, self.consumer_arn = kinesis, stream, consumer_arn
        self.checkpoint_every = checkpoint_every
        self.log = Log(name)
        self.stopping = threading.Event()
        self.interruptions, self.pushed, self.failure = 0, 0, None
        self.finished, self.readers = set(), {}

    def run(self):
        while not self.stopping.wait(0.05) and not self.failure:
            try:
                shards = list_shards(self.kinesis, self.stream)
            except LOST:
                continue
            for shard in shards:
                parents = {shard.get("ParentShardId"), shard.get("AdjacentParentShardId")} - {None}
                if shard["ShardId"] not in self.readers and parents <= self.finished:
                    reader = threading.Thread(target=self.follow, args=(shard["ShardId"],), daemon=True)
                    self.readers[shard["ShardId"]] = reader
                    reader.start()
        for reader in self.readers.values():
            reader.join()

    def follow(self, shard_id):
        try:
            while not self.stopping.is_set() and shard_id not in self.finished:
                checkpoint = self.log.start(shard_id)
                try:
                    self.read(shard_id, checkpoint)
                except LOST:
                    self.interruptions += 1
                    self.stopping.wait(0.02)
                except self.kinesis.exceptions.ResourceInUseException:
                    # The one before has not lived for five seconds yet.
                    self.stopping.wait(0.2)
        except Exception as failure:  # noqa: BLE001 - reported by finish()
            self.failure = failure

    def read(self, shard_id, checkpoint):
        start = {"kind": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": checkpoint} if checkpoint else {}
        since = 0
        for event in subscribe(self.kinesis, self.consumer_arn, shard_id, **start):
            self.pushed += bool(event["Records"])
            for record in event["Records"]:
                self.log.add("record", shard_id, record["SequenceNumber"])
                since += 1
            if since >= self.checkpoint_every:
                self.log.add("checkpoint", shard_id, event["Records"][-1]["SequenceNumber"])
                since = 0
            if event.get("ChildShards"):
                assert "ContinuationSequenceNumber" not in event
                self.log.add("end", shard_id)
                self.finished.add(shard_id)
            if self.stopping.is_set():
                return

    def finish(self):
        self.stopping.set()
        self.join()
        if self.failure:
            raise self.failure


class Poller(threading.Thread):
    """One application that polls: GetRecords on every shard whose parents it has finished."""

    def __init__(self, kinesis, stream, name, checkpoint_every=CHECKPOINT_EVERY, limit=20):
        super().__init__(daemon=True)
        self.log = Log(name)
        self.reader = LoggedReader(kinesis, stream, self.log, checkpoint_every, limit)
        self.stopping = threading.Event()
        self.interruptions, self.failure = 0, None

    def run(self):
        try:
            while not self.stopping.is_set():
                try:
                    if not self.reader.poll():
                        self.stopping.wait(0.01)
                except LOST:
                    self.interruptions += 1
                    self.reader.forget_iterators()
                    self.stopping.wait(0.02)
        except Exception as failure:  # noqa: BLE001 - reported by finish()
            self.failure = failure

    def finish(self):
        self.stopping.set()
        self.join()
        if self.failure:
            raise self.failure


class LoggedReader(Reader):
    """A reader that logs, and checkpoints now and then only."""

    def __init__(self, kinesis, name, log, checkpoint_every, limit):
        super().__init__(kinesis, name, limit)
        self.log, self.since, self.checkpoint_every = log, {}, checkpoint_every

    def position(self, shard_id):
        checkpoint = self.log.start(shard_id)
        self.since[shard_id] = 0
        if checkpoint is None:
            return {"kind": "TRIM_HORIZON"}
        return {"kind": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": checkpoint}

    def took(self, shard_id, records):
        for record in records:
            self.log.add("record", shard_id, record["SequenceNumber"])
        self.since[shard_id] += len(records)
        if self.since[shard_id] >= self.checkpoint_every:
            self.log.add("checkpoint", shard_id, records[-1]["SequenceNumber"])
            self.since[shard_id] = 0

    def ended(self, shard_id):
        self.log.add("end", shard_id)


def read_to(log, truth, closed):
    """Whether an application has been given everything and seen every end."""
    with log.lock:
        events = list(log.events)
    last = {shard_id: number for kind, shard_id, number in events if kind == "record"}
    ended = {shard_id for kind, shard_id, _ in events if kind == "end"}
    # Behind a restart the last record is an earlier one for a while.
    return closed <= ended and all(not numbers or last.get(shard_id) == numbers[-1] for shard_id, numbers in truth.items())


def neighbours(events):
    """Places of two records of one shard, one right after the other in one go."""
    last = {}
    for at, (kind, shard_id, _) in enumerate(events):
        if kind == "record":
            if last.get(shard_id) is not None:
                yield last[shard_id], at
            last[shard_id] = at
        elif kind == "start":
            last[shard_id] = None


def alterations(events):
    """The log with one record lost, doubled, displaced; and other things that must not happen to a reader, by name."""
    at, follower = list(neighbours(events))[-1]
    yield "lost", events[:at] + events[at + 1 :]
    yield "doubled", events[: at + 1] + events[at:]
    displaced = list(events)
    displaced[at], displaced[follower] = displaced[follower], displaced[at]
    yield "displaced", displaced
    # One that was given once only.
    backwards = reversed(list(enumerate(events)))
    last = next(at for at, event in backwards if event[0] == "record" and events.count(event) == 1)
    yield "the last one lost", events[:last] + events[last + 1 :]
    for kind, what, number in (
        ("start", "restarted from the beginning", None),
        ("checkpoint", "a checkpoint that was not reached", "0"),
    ):
        at = max(at for at, event in enumerate(events) if event[0] == kind and event[2] is not None)
        yield what, events[:at] + [(kind, events[at][1], number)] + events[at + 1 :]
    end = max(at for at, event in enumerate(events) if event[0] == "end")
    yield "an end not seen", events[:end] + events[end + 1 :]
    # The shard that was begun last has parents.
    *_, child = dict.fromkeys(shard_id for _, shard_id, _ in events)
    yield "a child before its parents", [e for e in events if e[1] == child] + [e for e in events if e[1] != child]


def assert_noticed(log, truth, parents, closed):
    """The judge notices what it is there for, in the log of a run that it has passed; returns how many alterations."""
    altered = 0
    for what, events in alterations(log.events):
        try:
            judge(Log(log.name, events), truth, parents, closed)
        except (AssertionError, ValueError):
            altered += 1
        else:
            raise AssertionError(f"not noticed: {what}")
    assert altered == ALTERATIONS, altered
    return altered
