"""Rules that a whole stream must keep, whatever its shards are. Each says in words where it does not, or nothing.

Sequence numbers are compared as integers of any size: they do not fit into 64 bits.
"""

import re

from . import reading

SHARD_ID = re.compile(r"shardId-\d{20}-[0-9a-f]{8}")
NUMBER = re.compile(r"[1-9]\d{20,39}|0")


def number(record):
    return int(record["dynamodb"]["SequenceNumber"])


def start(shard):
    return int(shard["SequenceNumberRange"]["StartingSequenceNumber"])


def end(shard):
    ending = shard["SequenceNumberRange"].get("EndingSequenceNumber")
    return None if ending is None else int(ending)


def shard_ids_have_the_services_form(_, seen):
    return [s["ShardId"] for s in seen.shards if not SHARD_ID.fullmatch(s["ShardId"])]


def shard_ids_carry_their_creation_time(context, seen):
    """Flink's connector discards shards by the time within their id."""
    now = context.target.now() * 1000
    ages = {s["ShardId"]: now - int(s["ShardId"].split("-")[1]) for s in seen.shards if SHARD_ID.fullmatch(s["ShardId"])}
    missing = [] if ages else ["no shard id of the service's form"]
    return missing + [f"{shard}: {age / 1000:.0f} s old" for shard, age in ages.items() if not -60_000 < age < 3_600_000]


def shards_are_listed_in_order_of_their_ids(_, seen):
    ids = [s["ShardId"] for s in seen.shards]
    return [] if ids == sorted(ids) and len(set(ids)) == len(ids) else [f"listed: {ids}"]


def numbers_have_21_to_40_digits(_, seen):
    found = [r["dynamodb"]["SequenceNumber"] for r in seen.records]
    found += [n for s in seen.shards for n in s["SequenceNumberRange"].values()]
    return ([] if found else ["no number"]) + [n for n in found if not NUMBER.fullmatch(n)]


def numbers_rise_within_a_shard(_, seen):
    wrong = []
    for shard in seen.shards:
        numbers = [number(r) for r in seen.of_shard(shard["ShardId"])]
        wrong += [f"{b} after {a}" for a, b in zip(numbers, numbers[1:]) if b <= a]
    return wrong


def records_lie_within_their_shards_range(_, seen):
    wrong = []
    for shard in seen.shards:
        for record in seen.of_shard(shard["ShardId"]):
            if number(record) < start(shard):
                wrong.append(f"{number(record)} lies before the shard's start {start(shard)}")
            if end(shard) is not None and number(record) > end(shard):
                wrong.append(f"{number(record)} lies behind the shard's end {end(shard)}")
    return wrong


def families(seen):
    by_id = {s["ShardId"]: s for s in seen.shards}
    return [(by_id[s["ParentShardId"]], s) for s in seen.shards if s.get("ParentShardId") in by_id]


def parents_are_closed(_, seen):
    return [f"{parent['ShardId']} is open and has a child" for parent, _ in families(seen) if end(parent) is None]


def children_start_above_their_parents_end(_, seen):
    closed = [(p, c) for p, c in families(seen) if end(p) is not None]
    wrong = [f"child starts at {start(c)}, its parent ends at {end(p)}" for p, c in closed if start(c) <= end(p)]
    return wrong if closed else ["no closed parent with a child"]


def parents_are_listed_before_their_children(_, seen):
    ids = [s["ShardId"] for s in seen.shards]
    return [c["ShardId"] for p, c in families(seen) if ids.index(p["ShardId"]) > ids.index(c["ShardId"])]


def numbers_rise_from_parent_to_child(_, seen):
    wrong, compared = [], 0
    for parent, child in families(seen):
        above, below = seen.of_shard(parent["ShardId"]), seen.of_shard(child["ShardId"])
        compared += bool(above and below)
        if above and below and number(below[0]) <= number(above[-1]):
            wrong.append(f"{number(below[0])} in the child, {number(above[-1])} in the parent")
    return wrong if compared else ["no parent and child with records"]


def closed_shards_end(_, seen):
    return [s["ShardId"] for s in seen.shards if end(s) is not None and s["ShardId"] not in seen.ended]


def all_shards_are_closed(_, seen):
    return [s["ShardId"] for s in seen.shards if end(s) is None] + ([] if seen.shards else ["no shard"])


def all_shards_are_open(_, seen):
    return [s["ShardId"] for s in seen.shards if end(s) is not None] + ([] if seen.shards else ["no shard"])


def no_shard_has_a_parent(_, seen):
    return [s["ShardId"] for s in seen.shards if "ParentShardId" in s] + ([] if seen.shards else ["no shard"])


def event_ids_differ(_, seen):
    ids = [r["eventID"] for r in seen.records]
    return [] if ids and len(set(ids)) == len(ids) else [f"{len(ids)} records, {len(set(ids))} ids"]


def records_were_made_just_now(context, seen):
    now, times = context.target.now(), [r["dynamodb"]["ApproximateCreationDateTime"] for r in seen.records]
    return ([] if times else ["no record"]) + [f"{now - t:.0f} s ago" for t in times if not -60 < now - t < 300]


def an_items_records_stand_in_one_lineage(_, seen):
    """Every shard that holds records of an item is an ancestor or a child of the others that do."""
    parents = {s["ShardId"]: s.get("ParentShardId") for s in seen.shards}
    places = {}
    for record, shard in zip(seen.records, seen.shard_of):
        places.setdefault(str(record["dynamodb"]["Keys"]), []).append(shard)
    wrong = []
    for key, shards in places.items():
        line, last = {shards[-1]}, shards[-1]
        while parents.get(last):
            last = parents[last]
            line.add(last)
        wrong += [f"{key}: {shard} is no ancestor of {shards[-1]}" for shard in set(shards) - line]
    return wrong if places else ["no record"]


def values_of_n_rise_per_item(_, seen):
    last, wrong = {}, []
    for record in seen.records:
        key, n = str(record["dynamodb"]["Keys"]), int(record["dynamodb"]["NewImage"]["n"]["N"])
        if n != last.get(key, -1) + 1:
            wrong.append(f"{key}: {n} after {last.get(key)}")
        last[key] = n
    return wrong if last else ["no record"]


def pages_of_one_shard_make_the_whole(context, seen):
    paged = reading.described(context.target, context.names["stream"], limit=1)
    ids = [s["ShardId"] for s in paged]
    whole = [s["ShardId"] for s in seen.shards]
    return [] if ids == whole else [f"paged {ids}, whole {whole}"]


CHECKS = {
    check.__name__: check
    for check in (
        shard_ids_have_the_services_form,
        shard_ids_carry_their_creation_time,
        shards_are_listed_in_order_of_their_ids,
        numbers_have_21_to_40_digits,
        numbers_rise_within_a_shard,
        records_lie_within_their_shards_range,
        parents_are_closed,
        children_start_above_their_parents_end,
        parents_are_listed_before_their_children,
        numbers_rise_from_parent_to_child,
        closed_shards_end,
        all_shards_are_closed,
        all_shards_are_open,
        no_shard_has_a_parent,
        event_ids_differ,
        records_were_made_just_now,
        an_items_records_stand_in_one_lineage,
        values_of_n_rise_per_item,
        pages_of_one_shard_make_the_whole,
    )
}
