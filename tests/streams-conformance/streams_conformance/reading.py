"""Reading a stream as a consumer must: every shard from its beginning, parents before their children."""

import time
from dataclasses import dataclass, field

PAGES_MAX = 10_000


class Differs(Exception):
    """The target answers otherwise than the case says."""


@dataclass
class Seen:
    """A stream as it was read: its shards as last described, and its records with the shard each came from."""

    shards: list = field(default_factory=list)
    records: list = field(default_factory=list)
    shard_of: list = field(default_factory=list)
    ended: set = field(default_factory=set)

    def of_shard(self, shard_id):
        return [record for record, shard in zip(self.records, self.shard_of) if shard == shard_id]


def described(target, stream, limit=None):
    """All shards, page by page."""
    shards, start = [], None
    for _ in range(PAGES_MAX):
        request = {"StreamArn": stream}
        request |= {"Limit": limit} if limit else {}
        request |= {"ExclusiveStartShardId": start} if start else {}
        page = target.done("DescribeStream", request)["StreamDescription"]
        if limit and len(page["Shards"]) > limit:
            raise Differs(f"DescribeStream: {len(page['Shards'])} shards on a page of {limit}")
        shards += page["Shards"]
        if "LastEvaluatedShardId" not in page:
            return shards
        start = page["LastEvaluatedShardId"]
        if not page["Shards"] or page["Shards"][-1]["ShardId"] != start:
            raise Differs(f"DescribeStream: LastEvaluatedShardId {start} is not the page's last shard")
    raise Differs(f"DescribeStream: no end after {PAGES_MAX} pages")


def page_of(target, iterator, limit=None):
    """One page, and where it goes on; None at the end of a closed shard."""
    body = target.done("GetRecords", {"ShardIterator": iterator} | ({"Limit": limit} if limit else {}))
    records = body.get("Records")
    if not isinstance(records, list):
        raise Differs(f"GetRecords: Records is {records!r}, not a list")
    if limit and len(records) > limit:
        raise Differs(f"GetRecords: {len(records)} records on a page of {limit}")
    if "NextShardIterator" in body and not (isinstance(body["NextShardIterator"], str) and body["NextShardIterator"]):
        raise Differs(f"GetRecords: NextShardIterator is {body['NextShardIterator']!r}: it is to be a text or absent")
    return records, body.get("NextShardIterator")


def iterator(target, stream, shard, kind="TRIM_HORIZON", number=None):
    position = {"ShardIteratorType": kind} | ({"SequenceNumber": number} if number else {})
    return target.done("GetShardIterator", {"StreamArn": stream, "ShardId": shard, **position})["ShardIterator"]


def follow(target, stream, wanted=None):
    """Reads a stream from its beginning until `wanted` records have come and it stays quiet.

    Open shards never end, so without `wanted` the end is a round without records.
    """
    seen, iterators = Seen(), {}
    deadline, quiet_since = time.monotonic() + target.patience_s, None
    while True:
        before = len(seen.records)
        seen.shards = described(target, stream)
        known = {shard["ShardId"] for shard in seen.shards}
        unread = 0
        for shard in seen.shards:
            shard_id, parent = shard["ShardId"], shard.get("ParentShardId")
            if shard_id in seen.ended or (parent in known and parent not in seen.ended):
                unread += shard_id not in seen.ended
                continue
            place = iterators.get(shard_id) or iterator(target, stream, shard_id)
            records, iterators[shard_id] = page_of(target, place)
            seen.records += records
            seen.shard_of += [shard_id] * len(records)
            if iterators[shard_id] is None:
                seen.ended.add(shard_id)
            elif shard["SequenceNumberRange"].get("EndingSequenceNumber"):
                unread += 1
        now = time.monotonic()
        if len(seen.records) > before or unread:
            quiet_since = None
        else:
            quiet_since = quiet_since or now
            enough = wanted is None or len(seen.records) >= wanted
            if enough and now - quiet_since >= target.settle_s:
                return seen
        if now > deadline:
            return seen
        if wanted is not None and len(seen.records) < wanted or unread:
            time.sleep(target.pause_s)


def drain(target, place, wanted, limit=None, to_the_end=False):
    """Follows one iterator until `wanted` records have come (and, if asked, its shard has ended): pages and what follows."""
    pages, deadline = [], time.monotonic() + target.patience_s
    for _ in range(PAGES_MAX):
        records, place = page_of(target, place, limit)
        pages.append(records)
        count = sum(map(len, pages))
        if place is None or count > wanted or (count == wanted and not to_the_end) or time.monotonic() > deadline:
            return pages, place
        if not records:
            time.sleep(target.pause_s)
    return pages, place
