"""Judges what consumers wrote down against what the stream holds.

A consumer's file (written by `RecordFile.java`, or in its form) has one event per line, fields apart by tabs: monotonic
nanoseconds of the machine, kind, stint, stream, shard, and what belongs to the kind. A stint is the life of one record
processor on one shard. The promises, each of which a planted fault in test_judge.py breaks:

- A stint delivers, in order and without a gap, exactly what follows the checkpoint it starts from. So a record may come
  twice only if it lies after the last checkpoint, and none is skipped.
- A stint starts from the last checkpoint of its shard, or from one whose writer never heard whether it was taken.
- A child's first record comes after SHARD_END was checkpointed for all its parents.
- `ended` comes after the last record of a shard that is closed, and for no other.
- All stints of a shard together deliver all of it; every key's records first come in the order of their values.
"""

import dataclasses
import itertools
import pathlib
from collections import defaultdict

SHARD_END = "SHARD_END"
TRIM_HORIZON = "TRIM_HORIZON"


@dataclasses.dataclass
class Shard:
    """What the stream holds: `records` are (sequence number, key, value) in order; `parents` still known to it."""

    parents: list
    records: list
    closed: bool


@dataclasses.dataclass
class Event:
    at: int
    worker: str
    stint: str
    stream: str
    shard: str
    kind: str
    fields: list


@dataclasses.dataclass
class Stint:
    worker: str
    stream: str
    shard: str
    events: list

    def of(self, kind):
        return [event for event in self.events if event.kind == kind]

    @property
    def begin(self):
        return self.events[0]


@dataclasses.dataclass
class Counts:
    records: int = 0
    deliveries: int = 0
    stints: int = 0
    shards_ended: int = 0
    checkpoints: int = 0
    keys: int = 0
    parents_awaited: int = 0

    @property
    def again(self):
        return self.deliveries - self.records

    def __str__(self):
        return (
            f"{self.records} records of {self.keys} keys, {self.deliveries} deliveries ({self.again} again), "
            f"{self.stints} stints, {self.checkpoints} checkpoints, {self.shards_ended} shards ended, "
            f"{self.parents_awaited} parents awaited"
        )


class Unfit(AssertionError):
    """What a judged run breaks."""


class EventFile:
    """One worker's file, read on from where it was read to."""

    def __init__(self, path, worker):
        self.path, self.worker = pathlib.Path(path), worker
        self.offset, self.events = 0, []

    def read(self):
        """All events so far; a line that a killed worker left unfinished does not count."""
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self.offset)
                lines, newline, _ = file.read().rpartition(b"\n")
            self.offset += len(lines) + len(newline)
            self.events += [self.event(line) for line in lines.decode().split("\n") if newline]
        return self.events

    def event(self, line):
        at, kind, stint, stream, shard, *fields = line.split("\t")
        return Event(int(at), self.worker, stint, stream, shard, kind, fields)


def judge(streams, events, trimmed=False):
    """Holds all promises against `streams` (name → {shard id → Shard}); returns the counts, or raises Unfit with all faults.

    Where records were `trimmed` unread, the numbers of a key still rise, and leave some out.
    """
    events = sorted(events, key=lambda event: event.at)
    case = _Case(streams, events)
    for stint in case.stints:
        case.stint(stint)
    case.coverage()
    case.keys(trimmed)
    if case.faults:
        shown = case.faults[:20]
        raise Unfit(f"{len(case.faults)} faults, the first {len(shown)}:\n" + "\n".join(shown))
    return case.counts


class _Case:
    def __init__(self, streams, events):
        self.streams, self.events, self.faults, self.counts = streams, events, [], Counts()
        self.positions = {
            (stream, shard_id): {record[0]: index for index, record in enumerate(shard.records)}
            for stream, shards in streams.items()
            for shard_id, shard in shards.items()
        }
        self.delivered = defaultdict(set)
        grouped = defaultdict(list)
        for event in events:
            grouped[event.worker, event.stint].append(event)
        self.stints = [Stint(worker, of[0].stream, of[0].shard, of) for (worker, _), of in grouped.items()]
        self.of_shard = defaultdict(list)
        for event in events:
            self.of_shard[event.stream, event.shard].append(event)

    def fault(self, stint, text):
        self.faults.append(f"{stint.worker} on {stint.stream}/{stint.shard}: {text}")

    def stint(self, stint):
        self.counts.stints += 1
        shard = self.streams.get(stint.stream, {}).get(stint.shard)
        if shard is None or stint.begin.kind != "init" or len(stint.of("init")) != 1:
            return self.fault(stint, "a shard that is not there, or no single beginning")
        start = self.start(stint)
        if start is None:
            return None
        self.run(stint, shard, start)
        self.parents(stint, shard)
        self.end(stint, shard, start)
        return None

    def start(self, stint):
        """How many records lie before the stint; it must start from a checkpoint that stood."""
        (checkpoint,) = stint.begin.fields
        allowed = self.standing(stint)
        if checkpoint not in allowed:
            return self.fault(stint, f"starts at {checkpoint}, not at {' or '.join(sorted(allowed))}")
        if checkpoint == TRIM_HORIZON:
            return 0
        if checkpoint == SHARD_END:
            # KCL 1 begins and ends a shard once more when it takes a lease that is done.
            return len(self.streams[stint.stream][stint.shard].records)
        index = self.positions[stint.stream, stint.shard].get(checkpoint)
        if index is None:
            return self.fault(stint, f"starts at {checkpoint}, which is no record")
        return index + 1

    def standing(self, stint):
        """The checkpoints that may stand when the stint begins: the last one that was taken, and later unheard ones.

        A refused one may stand too: where an answer is lost the client asks again, and its own first request is in its way.
        """
        taken, unheard = TRIM_HORIZON, set()
        for event in self.of_shard[stint.stream, stint.shard]:
            if event.at >= stint.begin.at:
                break
            if event.kind == "trying":
                unheard.add(event.fields[0])
            elif event.kind == "checkpoint":
                (taken,) = event.fields
                unheard.clear()
        return {taken} | unheard

    def run(self, stint, shard, start):
        """What was delivered is the shard's own run of records from there on."""
        got = [tuple(event.fields) for event in stint.of("record")]
        wanted = shard.records[start : start + len(got)]
        self.counts.deliveries += len(got)
        for index, (is_, should) in enumerate(zip(got, wanted)):
            if is_ != tuple(should):
                return self.fault(stint, f"record {start + index} is {is_}, not {tuple(should)}")
        if len(got) > len(wanted):
            return self.fault(stint, f"{len(got) - len(wanted)} records more than the shard has")
        self.delivered[stint.stream, stint.shard].update(range(start, start + len(got)))
        self.checkpoints(stint, start, len(got))
        return None

    def checkpoints(self, stint, start, count):
        """No checkpoint runs ahead of what was delivered."""
        last = None
        for event in stint.events:
            if event.kind == "record":
                last = event.fields[0]
            elif event.kind == "checkpoint":
                self.counts.checkpoints += 1
                if event.fields[0] not in (last, SHARD_END):
                    self.fault(stint, f"checkpoint {event.fields[0]} after record {last}")

    def parents(self, stint, shard):
        first = next((event for event in stint.events if event.kind in ("record", "ended")), None)
        if first is None:
            return
        for parent in shard.parents:
            ends = [
                event.at
                for event in self.of_shard[stint.stream, parent]
                if event.kind == "trying" and event.fields[0] == SHARD_END
            ]
            if not ends or min(ends) > first.at:
                self.fault(stint, f"delivers before its parent {parent} has ended")
            self.counts.parents_awaited += 1

    def end(self, stint, shard, start):
        if not stint.of("ended"):
            return
        last = max((index for index, event in enumerate(stint.events) if event.kind == "record"), default=-1)
        if last > stint.events.index(stint.of("ended")[0]):
            self.fault(stint, "records after the end")
        if not shard.closed or start + len(stint.of("record")) != len(shard.records):
            self.fault(stint, f"ended with {start + len(stint.of('record'))} of {len(shard.records)} records")

    def coverage(self):
        for stream, shards in self.streams.items():
            for shard_id, shard in shards.items():
                seen = self.delivered[stream, shard_id]
                missing = [record for index, record in enumerate(shard.records) if index not in seen]
                self.counts.records += len(shard.records)
                if missing:
                    self.faults.append(f"{stream}/{shard_id}: {len(missing)} records never came, first {missing[0]}")
                # Whether it was taken, the lease table tells (leases.py).
                ended = any(
                    event.kind == "trying" and event.fields[0] == SHARD_END
                    for event in self.of_shard[stream, shard_id]
                )
                self.counts.shards_ended += ended
                if shard.closed and not ended:
                    self.faults.append(f"{stream}/{shard_id}: closed, and its end was never checkpointed")

    def keys(self, trimmed):
        """The values of a key are numbers that count 0, 1, 2, … in the order they were put."""
        first = defaultdict(list)
        seen = set()
        for event in self.events:
            if event.kind == "record":
                _, key, value = event.fields
                if (event.stream, key, value) not in seen:
                    seen.add((event.stream, key, value))
                    first[event.stream, key].append(int(value.partition(":")[0]))
        self.counts.keys = len(first)
        for (stream, key), values in first.items():
            if trimmed and all(before < after for before, after in itertools.pairwise(values)):
                continue
            if values != list(range(len(values))):
                wrong = next(index for index, value in enumerate(values) if value != index)
                self.faults.append(f"{stream}: key {key} has {values[wrong]} where {wrong} should come first")
