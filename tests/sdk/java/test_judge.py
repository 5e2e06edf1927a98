"""The judge must find every planted fault, and pass the honest run that each is planted in."""

import copy

import pytest

from judge import SHARD_END, Event, EventFile, Shard, Unfit, judge


def held():
    """A shard that ends, and its child: ten records of two keys each."""
    records = [(str(100 + i), f"key-{i % 2}", str(i // 2)) for i in range(20)]
    return {
        "stream": {
            "parent": Shard(parents=[], records=records[:10], closed=True),
            "child": Shard(parents=["parent"], records=records[10:], closed=False),
        }
    }


class Script:
    """Writes the events of an honest run."""

    def __init__(self):
        self.events, self.records = [], held()["stream"]

    def add(self, worker, stint, shard, kind, *fields):
        self.events.append(Event(len(self.events), worker, stint, "stream", shard, kind, list(fields)))

    def deliver(self, worker, stint, shard, start, end):
        for record in self.records[shard].records[start:end]:
            self.add(worker, stint, shard, "record", *record)

    def checkpoint(self, worker, stint, shard, what):
        self.add(worker, stint, shard, "trying", what)
        self.add(worker, stint, shard, "checkpoint", what)


def honest():
    """One worker is killed in the parent after record 6 with a checkpoint at 4; another one goes on."""
    script = Script()
    script.add("one", "1", "parent", "init", "TRIM_HORIZON")
    script.deliver("one", "1", "parent", 0, 4)
    script.checkpoint("one", "1", "parent", "103")
    script.deliver("one", "1", "parent", 4, 6)
    script.add("two", "1", "parent", "init", "103")
    script.deliver("two", "1", "parent", 4, 10)
    script.add("two", "1", "parent", "ended")
    script.checkpoint("two", "1", "parent", SHARD_END)
    script.add("two", "2", "child", "init", "TRIM_HORIZON")
    script.deliver("two", "2", "child", 0, 10)
    script.checkpoint("two", "2", "child", "119")
    return script.events


def at(events, worker, kind, number=0, shard=None):
    """The place of the worker's event number `number` of a kind."""
    places = [
        place
        for place, event in enumerate(events)
        if (event.worker, event.kind) == (worker, kind) and shard in (None, event.shard)
    ]
    return places[number]


def drop(events):
    del events[at(events, "two", "record", 7)]


def drop_last(events):
    """The end of an open shard is missing, with its checkpoint."""
    del events[at(events, "two", "record", -1) :]


def double(events):
    place = at(events, "two", "record", 7)
    events.insert(place, copy.copy(events[place]))


def displace(events):
    first, second = at(events, "two", "record", 7), at(events, "two", "record", 9)
    events[first], events[second] = events[second], events[first]


def alter(events):
    events[at(events, "two", "record", 3)].fields[2] = "7"


def other_shard(events):
    events[at(events, "two", "record", 8)].fields = list(held()["stream"]["parent"].records[0])


def skip_after_the_kill(events):
    """The second worker starts where the first one was, not from its checkpoint."""
    events[at(events, "two", "init")].fields = ["105"]
    del events[at(events, "two", "record", 0) : at(events, "two", "record", 2)]


def from_before_the_checkpoint(events):
    events[at(events, "two", "init")].fields = ["TRIM_HORIZON"]
    again = [Event(0, "two", "1", "stream", "parent", "record", list(r)) for r in held()["stream"]["parent"].records[:4]]
    place = at(events, "two", "record")
    events[place:place] = again


def child_first(events):
    """The child is read while the parent has not ended."""
    child = [event for event in events if event.shard == "child"]
    events[:] = child + [event for event in events if event.shard != "child"]


def child_before_the_end_is_checkpointed(events):
    tried = at(events, "two", "trying", 0, "parent")
    moved = [events.pop(tried), events.pop(tried)]
    events.insert(at(events, "two", "record", 0, "child") + 1, moved[0])
    events.insert(at(events, "two", "record", 0, "child") + 2, moved[1])


def no_end(events):
    first = at(events, "two", "ended")
    del events[first : first + 3]


def end_early(events):
    place = at(events, "two", "record", 5)
    del events[place]


def end_of_an_open_shard(events):
    events.append(Event(len(events), "two", "2", "stream", "child", "ended", []))


def checkpoint_ahead(events):
    events[at(events, "one", "checkpoint")].fields = ["104"]
    events[at(events, "two", "init")].fields = ["104"]
    del events[at(events, "two", "record")]


def unknown_shard(events):
    events.append(Event(len(events), "two", "3", "stream", "elsewhere", "init", ["TRIM_HORIZON"]))


FAULTS = {
    drop: "is \\(",
    drop_last: "never came",
    double: "is \\(",
    displace: "is \\(",
    alter: "is \\(",
    other_shard: "is \\(",
    skip_after_the_kill: "starts at 105",
    from_before_the_checkpoint: "starts at TRIM_HORIZON, not at 103",
    child_first: "delivers before its parent",
    child_before_the_end_is_checkpointed: "delivers before its parent",
    no_end: "never checkpointed",
    end_early: "ended with 9 of 10",
    end_of_an_open_shard: "ended with",
    checkpoint_ahead: "checkpoint 104 after record 103",
    unknown_shard: "not there",
}


def test_an_honest_run_passes():
    counts = judge(held(), honest())
    assert (counts.records, counts.deliveries, counts.again, counts.keys) == (20, 22, 2, 2)
    assert (counts.shards_ended, counts.stints, counts.parents_awaited) == (1, 3, 1)


def test_a_checkpoint_whose_answer_was_lost_may_stand_or_not():
    for stands in ("103", "105"):
        events = honest()
        place = at(events, "one", "record", 5)
        events.insert(place + 1, Event(0, "one", "1", "stream", "parent", "trying", ["105"]))
        events[at(events, "two", "init")].fields = [stands]
        events.insert(place + 2, Event(0, "one", "1", "stream", "parent", "refused", ["lost lease"]))
        if stands == "105":
            del events[at(events, "two", "record", 0) : at(events, "two", "record", 2)]
        judge(held(), timed(events))


def timed(events):
    for place, event in enumerate(events):
        event.at = place
    return events


@pytest.mark.parametrize("plant", FAULTS, ids=lambda plant: plant.__name__)
def test_a_planted_fault_is_found(plant):
    events = honest()
    plant(events)
    with pytest.raises(Unfit, match=FAULTS[plant]):
        judge(held(), timed(events))


def test_the_order_of_a_key_is_held_across_shards():
    """Each shard is right in itself, and the stream has put a key's numbers in the wrong order."""
    streams = held()
    for shard in streams["stream"].values():
        shard.records = [(seq, key, str(9 - int(value))) for seq, key, value in shard.records]
    events = honest()
    for event in events:
        if event.kind == "record":
            event.fields[2] = str(9 - int(event.fields[2]))
    with pytest.raises(Unfit, match="key key-0 has 9 where 0"):
        judge(streams, events)


def test_half_a_line_of_a_killed_worker_does_not_count(tmp_path):
    path = tmp_path / "one.events"
    path.write_text("1\tinit\t1\tstream\tparent\tTRIM_HORIZON\n2\trecord\t1\tstream\tparent\t10")
    file = EventFile(path, "one")
    (event,) = file.read()
    assert (event.kind, event.fields) == ("init", ["TRIM_HORIZON"]) and len(file.read()) == 1
    assert EventFile(tmp_path / "none", "one").read() == []


def test_a_file_is_read_on_where_it_grew(tmp_path):
    path = tmp_path / "one.events"
    text = "1\tinit\t1\tstream\tparent\tTRIM_HORIZON\n2\trecord\t1\tstream\tparent\t10\tkey\t0: 🦀\n"
    file, seen = EventFile(path, "one"), []
    for end in range(len(text.encode()) + 1):
        path.write_bytes(text.encode()[:end])
        seen.append(len(file.read()))
    assert seen == sorted(seen) and set(seen) == {0, 1, 2}
    assert file.read()[1].fields == ["10", "key", "0: 🦀"]
