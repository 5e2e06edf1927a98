"""Splits, merges and listings of data streams through boto3: lineage, hash ranges, order across a reshaping."""

import hashlib

import pytest

from data_stream import (
    Reader,
    assert_covers,
    children,
    create,
    hash_range,
    iterator,
    list_shards,
    merge,
    open_shards,
    read,
    split,
    wait_active,
)


def ids(shards):
    return [shard["ShardId"] for shard in shards]


def put(kinesis, name, keys, number):
    """Record `number` of every key, in one call."""
    records = [{"PartitionKey": key, "Data": b"%d" % number} for key in keys]
    assert kinesis.put_records(StreamName=name, Records=records)["FailedRecordCount"] == 0


def test_a_split_and_a_merge_keep_the_order_of_every_key(kinesis, name):
    create(kinesis, name, shards=2)
    keys = [f"key-{index}" for index in range(40)]
    first, second = list_shards(kinesis, name)
    put(kinesis, name, keys, 0)
    low, high = split(kinesis, name, first)
    assert hash_range(low)[1] + 1 == hash_range(high)[0]
    assert (hash_range(low)[0], hash_range(high)[1]) == hash_range(first), "the lower half comes first"
    assert low["ParentShardId"] == high["ParentShardId"] == first["ShardId"] and "AdjacentParentShardId" not in low
    put(kinesis, name, keys, 1)
    merged = merge(kinesis, name, high, second)
    assert (merged["ParentShardId"], merged["AdjacentParentShardId"]) == (high["ShardId"], second["ShardId"])
    put(kinesis, name, keys, 2)
    shards = list_shards(kinesis, name)
    assert ids(shards) == [f"shardId-{index:012}" for index in range(5)]
    by_id = {shard["ShardId"]: shard for shard in shards}
    for shard in shards:
        numbers = shard["SequenceNumberRange"]
        for parent in (shard.get("ParentShardId"), shard.get("AdjacentParentShardId")):
            if parent:
                ending = by_id[parent]["SequenceNumberRange"]["EndingSequenceNumber"]
                assert int(ending) < int(numbers["StartingSequenceNumber"])
    assert ids(shard for shard in shards if "EndingSequenceNumber" not in shard["SequenceNumberRange"]) == [
        low["ShardId"],
        merged["ShardId"],
    ]
    reader = Reader(kinesis, name, limit=3)
    reader.drain()
    seen = {}
    for shard_id, record in reader.records:
        key = record["PartitionKey"]
        start, end = hash_range(by_id[shard_id])
        assert start <= int(hashlib.md5(key.encode()).hexdigest(), 16) <= end
        numbers = by_id[shard_id]["SequenceNumberRange"]
        least, most = numbers["StartingSequenceNumber"], numbers.get("EndingSequenceNumber", 2**186)
        assert int(least) < int(record["SequenceNumber"]) <= int(most)
        seen.setdefault(key, []).append((int(record["Data"]), int(record["SequenceNumber"])))
    assert set(seen) == set(keys)
    for pairs in seen.values():
        assert [number for number, _ in pairs] == [0, 1, 2]
        assert pairs == sorted(pairs, key=lambda pair: pair[1]), "numbers rise from parents to children"


def test_a_closed_shard_ends_with_its_children(kinesis, name):
    create(kinesis, name)
    (parent,) = list_shards(kinesis, name)
    kinesis.put_record(StreamName=name, PartitionKey="k", Data=b"before")
    tip = iterator(kinesis, name, parent["ShardId"], "LATEST")
    low, high = split(kinesis, name, parent)
    for last in (
        kinesis.get_records(ShardIterator=tip),
        read(kinesis, name, parent["ShardId"])[1],
        # What KCL's clean-up of leases asks.
        kinesis.get_records(ShardIterator=iterator(kinesis, name, parent["ShardId"], "LATEST")),
    ):
        assert last.get("NextShardIterator") is None and last["MillisBehindLatest"] == 0
        assert [(child["ShardId"], child["ParentShards"]) for child in last["ChildShards"]] == [
            (low["ShardId"], [parent["ShardId"]]),
            (high["ShardId"], [parent["ShardId"]]),
        ]
        assert [hash_range(child) for child in last["ChildShards"]] == [hash_range(low), hash_range(high)]
    merged = merge(kinesis, name, low, high)
    (child,) = read(kinesis, name, high["ShardId"])[1]["ChildShards"]
    assert child["ParentShards"] == [low["ShardId"], high["ShardId"]] and child["ShardId"] == merged["ShardId"]
    assert hash_range(child) == hash_range(parent)


def test_the_shard_count_is_scaled_evenly(kinesis, name):
    create(kinesis, name, shards=2)
    put(kinesis, name, [f"key-{index}" for index in range(20)], 0)
    for before, target in ((2, 4), (4, 3), (3, 5), (5, 3), (3, 2)):
        answer = kinesis.update_shard_count(
            StreamName=name, TargetShardCount=target, ScalingType="UNIFORM_SCALING"
        )
        assert (answer["CurrentShardCount"], answer["TargetShardCount"]) == (before, target)
        wait_active(kinesis, name)
        opened = open_shards(kinesis, name)
        assert len(opened) == target
        assert_covers(opened)
        widths = [end - start + 1 for start, end in map(hash_range, opened)]
        assert max(widths) - min(widths) <= target, f"{target} shards of widths {widths}"
        put(kinesis, name, [f"key-{index}" for index in range(20)], target)
    records = Reader(kinesis, name).drain()
    seen = {}
    for record in records:
        seen.setdefault(record["PartitionKey"], []).append(int(record["Data"]))
    assert len(seen) == 20 and all(numbers == [0, 4, 3, 5, 3, 2] for numbers in seen.values())
    assert kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["OpenShardCount"] == 2


def test_listings_are_filtered(kinesis, name):
    create(kinesis, name, shards=2)
    first, second = list_shards(kinesis, name)
    low, high = split(kinesis, name, first)
    # A moment between the two: the service's own clock, as a record's arrival tells it.
    kinesis.put_record(StreamName=name, PartitionKey="k", ExplicitHashKey="0", Data=b"x")
    moment = read(kinesis, name, low["ShardId"])[0][0]["ApproximateArrivalTimestamp"]
    merged = merge(kinesis, name, high, second)
    everything = ids(list_shards(kinesis, name))

    def listed(kind, page=1000, **more):
        return ids(list_shards(kinesis, name, page=page, ShardFilter={"Type": kind, **more}))

    assert everything == listed("FROM_TRIM_HORIZON") == listed("FROM_TRIM_HORIZON", page=2)
    assert listed("AT_LATEST") == [low["ShardId"], merged["ShardId"]] == listed("AT_LATEST", page=1)
    assert listed("AT_TRIM_HORIZON") == [first["ShardId"], second["ShardId"]]
    assert listed("AT_TIMESTAMP", Timestamp=moment) == [second["ShardId"], low["ShardId"], high["ShardId"]]
    from_moment = [second["ShardId"], low["ShardId"], high["ShardId"], merged["ShardId"]]
    assert listed("FROM_TIMESTAMP", Timestamp=moment) == from_moment
    assert listed("AFTER_SHARD_ID", ShardId=second["ShardId"]) == everything[2:]
    assert ids(list_shards(kinesis, name, ExclusiveStartShardId=second["ShardId"])) == everything[2:]
    for kind, more in (("AT_LATEST", {}), ("AT_TRIM_HORIZON", {}), ("AT_TIMESTAMP", {"Timestamp": moment})):
        assert_covers(list_shards(kinesis, name, ShardFilter={"Type": kind, **more}))
    assert ids(children(kinesis, name, high["ShardId"])) == [merged["ShardId"]]


def test_a_listing_that_goes_on_takes_no_other_selector(kinesis, name):
    create(kinesis, name, shards=3)
    token = kinesis.list_shards(StreamName=name, MaxResults=1)["NextToken"]
    with pytest.raises(kinesis.exceptions.InvalidArgumentException) as refused:
        kinesis.list_shards(StreamName=name, NextToken=token)
    text = refused.value.response["Error"]["Message"]
    assert text == "NextToken and StreamName cannot be provided together."
    with pytest.raises(kinesis.exceptions.InvalidArgumentException) as refused:
        kinesis.list_shards()
    assert refused.value.response["Error"]["Message"] == "Either NextToken or StreamName should be provided."
