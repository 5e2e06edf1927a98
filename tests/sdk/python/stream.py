"""A stream reader as an application would write one: parents before children, every record once, nothing but the API."""

import threading


class Reader:
    """Follows every shard of a stream from TRIM_HORIZON, in pages of `limit` records and of `shards_limit` shards.

    `records` holds what was read, in an order that keeps each shard's order and parents before children.
    """

    def __init__(self, streams, stream_arn, limit=1000, shards_limit=100):
        self.streams = streams
        self.stream_arn = stream_arn
        self.limit, self.shards_limit = limit, shards_limit
        self.positions = {}  # shard id -> last sequence number read, or None
        self.iterators = {}
        self.finished = set()
        self.records = []

    def shards(self):
        shards, start = [], None
        while True:
            page = {"StreamArn": self.stream_arn, "Limit": self.shards_limit}
            if start:
                page["ExclusiveStartShardId"] = start
            description = self.streams.describe_stream(**page)["StreamDescription"]
            shards += description["Shards"]
            start = description.get("LastEvaluatedShardId")
            if not start:
                return shards

    def _iterator(self, shard_id):
        last = self.positions.get(shard_id)
        position = {"ShardIteratorType": "TRIM_HORIZON"}
        if last:
            position = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": last}
        answer = self.streams.get_shard_iterator(StreamArn=self.stream_arn, ShardId=shard_id, **position)
        return answer["ShardIterator"]

    def forget_iterators(self):
        """After a restart a consumer goes on from its checkpoints."""
        self.iterators.clear()

    def poll(self):
        """Reads one page of every shard that may be read; returns how many records came."""
        shards = self.shards()
        known = {shard["ShardId"] for shard in shards}
        read = 0
        for shard in shards:
            shard_id, parent = shard["ShardId"], shard.get("ParentShardId")
            if shard_id in self.finished or (parent in known and parent not in self.finished):
                continue
            if shard_id not in self.iterators:
                self.iterators[shard_id] = self._iterator(shard_id)
            page = self.streams.get_records(ShardIterator=self.iterators[shard_id], Limit=self.limit)
            # Only what came back counts as read: a call that failed is repeated from the same place.
            for record in page["Records"]:
                self.positions[shard_id] = record["dynamodb"]["SequenceNumber"]
                self.records.append((shard_id, record))
            read += len(page["Records"])
            if page.get("NextShardIterator"):
                self.iterators[shard_id] = page["NextShardIterator"]
            else:
                self.finished.add(shard_id)
                del self.iterators[shard_id]
        return read

    def drain(self):
        """Polls until a whole round brings nothing; only meaningful once writers have stopped."""
        while self.poll():
            pass
        return [record for _, record in self.records]


class Follower(threading.Thread):
    """A reader that follows while others write, and survives a server that goes away for a moment."""

    def __init__(self, reader, transient, pause_s=0.0):
        super().__init__(daemon=True)
        self.reader, self.transient, self.pause_s = reader, transient, pause_s
        self.stopping = threading.Event()
        self.interruptions = 0
        self.failure = None

    def run(self):
        try:
            while not self.stopping.is_set():
                try:
                    if not self.reader.poll() or self.pause_s:
                        self.stopping.wait(self.pause_s or 0.01)
                except self.transient:
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
        self.reader.forget_iterators()
        return self.reader.drain()


def fold(records, key_names):
    """The table that the records describe: key -> image."""
    table = {}
    for record in records:
        change = record["dynamodb"]
        key = tuple(str(sorted(change["Keys"][name].items())) for name in key_names)
        if record["eventName"] == "REMOVE":
            assert key in table, f"REMOVE of an item that no record brought: {key}"
            del table[key]
        else:
            assert (record["eventName"] == "INSERT") == (key not in table), f"{record['eventName']} does not fit: {key}"
            table[key] = change["NewImage"]
    return table
