"""Data streams for tests: made, reshaped, and read as an application would, parents before children."""

import contextlib

from headwater import until

ALL_HASHES = (0, 2**128 - 1)


def status(kinesis, name):
    return kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamStatus"]


def wait_active(kinesis, name):
    until(lambda: status(kinesis, name) == "ACTIVE", f"{name} is ACTIVE", within_s=120)


def create(kinesis, name, shards=1, **more):
    """Makes a stream and waits until it is ACTIVE; returns its ARN."""
    kinesis.create_stream(StreamName=name, ShardCount=shards, **more)
    wait_active(kinesis, name)
    return kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamARN"]


def list_shards(kinesis, name, page=1000, **selector):
    """All shards that a listing gives, page after page."""
    answer = kinesis.list_shards(StreamName=name, MaxResults=page, **selector)
    shards = answer["Shards"]
    while token := answer.get("NextToken"):
        answer = kinesis.list_shards(NextToken=token, MaxResults=page)
        shards += answer["Shards"]
    return shards


def open_shards(kinesis, name):
    return list_shards(kinesis, name, ShardFilter={"Type": "AT_LATEST"})


def hash_range(shard):
    return int(shard["HashKeyRange"]["StartingHashKey"]), int(shard["HashKeyRange"]["EndingHashKey"])


def assert_covers(shards):
    """The ranges of the shards together are every hash key, each once."""
    following = ALL_HASHES[0]
    for start, end in sorted(map(hash_range, shards)):
        assert start == following, f"a gap or an overlap before {start}"
        following = end + 1
    assert following == ALL_HASHES[1] + 1


def split(kinesis, name, shard):
    """Splits a shard in its middle; returns its children."""
    start, end = hash_range(shard)
    kinesis.split_shard(
        StreamName=name, ShardToSplit=shard["ShardId"], NewStartingHashKey=str((start + end) // 2 + 1)
    )
    wait_active(kinesis, name)
    return children(kinesis, name, shard["ShardId"])


def merge(kinesis, name, first, second):
    """Merges two neighbours; returns the child."""
    kinesis.merge_shards(StreamName=name, ShardToMerge=first["ShardId"], AdjacentShardToMerge=second["ShardId"])
    wait_active(kinesis, name)
    (child,) = children(kinesis, name, first["ShardId"])
    return child


def children(kinesis, name, shard_id):
    parents = ("ParentShardId", "AdjacentParentShardId")
    return [shard for shard in list_shards(kinesis, name) if shard_id in [shard.get(parent) for parent in parents]]


def iterator(kinesis, name, shard_id, kind="TRIM_HORIZON", **more):
    answer = kinesis.get_shard_iterator(StreamName=name, ShardId=shard_id, ShardIteratorType=kind, **more)
    return answer["ShardIterator"]


def read(kinesis, name, shard_id, kind="TRIM_HORIZON", limit=10_000, **more):
    """Reads a shard to its tip or its end: the records, and the last answer."""
    following, records = iterator(kinesis, name, shard_id, kind, **more), []
    while True:
        page = kinesis.get_records(ShardIterator=following, Limit=limit)
        assert len(page["Records"]) <= limit
        records += page["Records"]
        following = page.get("NextShardIterator")
        if following is None or (not page["Records"] and page["MillisBehindLatest"] == 0):
            return records, page


def consumer(kinesis, arn, name):
    """Registers a consumer and waits until it is ACTIVE; returns its ARN."""
    made = kinesis.register_stream_consumer(StreamARN=arn, ConsumerName=name)["Consumer"]["ConsumerARN"]

    def is_active():
        described = kinesis.describe_stream_consumer(ConsumerARN=made)["ConsumerDescription"]
        return described["ConsumerStatus"] == "ACTIVE"

    until(is_active, f"{name} is ACTIVE", within_s=120)
    return made


def subscribe(kinesis, consumer_arn, shard_id, kind="TRIM_HORIZON", **more):
    """The events of one subscription; leaving the loop ends it, as far as the client is concerned."""
    start = {"Type": kind, **more}
    answer = kinesis.subscribe_to_shard(ConsumerARN=consumer_arn, ShardId=shard_id, StartingPosition=start)
    with contextlib.closing(answer["EventStream"]) as events:
        for event in events:
            yield event["SubscribeToShardEvent"]


class Reader:
    """Follows every shard from TRIM_HORIZON with GetRecords, parents before children; `checkpoints` may be kept."""

    def __init__(self, kinesis, name, limit=1000):
        self.kinesis, self.name, self.limit = kinesis, name, limit
        self.iterators, self.checkpoints, self.finished = {}, {}, set()
        self.records = []

    def ready(self):
        """The shards that may be read now: not finished, and so are their parents."""
        shards = list_shards(self.kinesis, self.name)
        known = {shard["ShardId"] for shard in shards}
        for shard in shards:
            parents = {shard.get("ParentShardId"), shard.get("AdjacentParentShardId")} & known
            if shard["ShardId"] not in self.finished and parents <= self.finished:
                yield shard["ShardId"]

    def position(self, shard_id):
        last = self.checkpoints.get(shard_id)
        if last is None:
            return {"kind": "TRIM_HORIZON"}
        return {"kind": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": last}

    def forget_iterators(self):
        """After a restart a consumer goes on from its checkpoints."""
        self.iterators.clear()

    def took(self, shard_id, records):
        """What becomes of a page's records."""
        self.checkpoints[shard_id] = records[-1]["SequenceNumber"]
        self.records += [(shard_id, record) for record in records]

    def ended(self, shard_id):
        """A shard has been read to its end."""

    def poll(self):
        """One page of every shard that may be read; whether there was anything new."""
        progress = False
        for shard_id in self.ready():
            if shard_id not in self.iterators:
                self.iterators[shard_id] = iterator(self.kinesis, self.name, shard_id, **self.position(shard_id))
            page = self.kinesis.get_records(ShardIterator=self.iterators[shard_id], Limit=self.limit)
            if page["Records"]:
                self.took(shard_id, page["Records"])
            progress |= bool(page["Records"])
            if page.get("NextShardIterator"):
                self.iterators[shard_id] = page["NextShardIterator"]
            else:
                # A closed shard names its children, and a child its parents: consumers rely on it.
                assert page["ChildShards"] and all(shard_id in child["ParentShards"] for child in page["ChildShards"])
                self.finished.add(shard_id)
                self.ended(shard_id)
                del self.iterators[shard_id]
                progress = True
        return progress

    def drain(self):
        """Reads until a whole round brings nothing; only meaningful once writers have stopped."""
        while self.poll():
            pass
        return [record for _, record in self.records]
