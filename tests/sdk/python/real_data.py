"""Real data sets as a stream of changes: loaded, changed and deleted by several writers, rebuilt by a stream reader.

The data ships inside the PyPI package `vega_datasets`. Used by `test_real_data.py` and `demo.py`.
"""

import random
import threading
from collections import defaultdict
from decimal import Decimal

from botocore.exceptions import ConnectionError, HTTPClientError
from vega_datasets import local_data

from headwater import create_table
from stream import Follower, Reader, fold

# What a client sees of a server that was killed.
TRANSIENT = (ConnectionError, HTTPClientError)

# name -> (loader, attributes that make the key together, rows at most)
DATA_SETS = {
    "airports": (local_data.airports, ["iata"], 3_500),
    "cars": (local_data.cars, ["Name", "Year"], 500),
    "sf-temps": (local_data.sf_temps, ["date"], 3_000),
    "seattle-weather": (local_data.seattle_weather, ["date"], 1_500),
    "us-employment": (local_data.us_employment, ["month"], 150),
}


def attribute(value):
    if hasattr(value, "isoformat"):
        return {"S": value.isoformat()}
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, (int, float)):
        # Canonical form, as the service gives numbers back.
        return {"N": format(Decimal(repr(value)).normalize(), "f")} if value == value else None
    return {"S": str(value)} if value is not None and value == value else None


def items(name, share=1.0):
    """The data set's rows as items: `pk` is the row's key, `sk` its number among rows of the same key."""
    loader, key, most = DATA_SETS[name]
    frame = loader().head(int(most * share))
    seen, rows = defaultdict(int), []
    for row in frame.to_dict("records"):
        pk = "|".join(str(row[k]) for k in key)
        item = {"pk": {"S": pk}, "sk": {"N": str(seen[pk])}}
        seen[pk] += 1
        for column, value in row.items():
            if (shown := attribute(value)) is not None:
                item[column] = shown
        rows.append(item)
    return rows


def key_of(item):
    return {"pk": item["pk"], "sk": item["sk"]}


def key_text(item):
    return tuple(str(sorted(item[k].items())) for k in ("pk", "sk"))


class Writer(threading.Thread):
    """Loads its share of the rows, then changes and deletes some. It owns its keys, so it knows their history.

    After a failed call it reads the item to learn whether the write took place, as a careful application would; the
    history it keeps is what the stream has to show for each of its keys.
    """

    def __init__(self, client, table, rows, seed):
        super().__init__(daemon=True)
        self.client, self.table, self.rows = client, table, rows
        self.random = random.Random(seed)
        self.history = defaultdict(list)  # key -> images in order; None is a deletion
        self.writes = 0
        self.retried = 0
        self.failure = None

    def run(self):
        try:
            for row in self.rows:
                self.put({**row, "version": {"N": "1"}})
            for row in self.random.sample(self.rows, len(self.rows) // 2):
                choice = self.random.random()
                if choice < 0.25:
                    self.delete(row)
                elif choice < 0.6:
                    self.put({**row, "version": {"N": "2"}, "note": {"S": "changed ✓"}})
                else:
                    self.update(row)
        except Exception as failure:  # noqa: BLE001 - reported by the owner of the thread
            self.failure = failure

    def put(self, item):
        self._until_done(item, item, lambda: self.client.put_item(TableName=self.table, Item=item))

    def delete(self, row):
        self._until_done(row, None, lambda: self.client.delete_item(TableName=self.table, Key=key_of(row)))

    def update(self, row):
        # The new image is known beforehand, so that a repeated SET is the same write.
        image = {**self.history[key_text(row)][-1], "version": {"N": "3"}}
        self._until_done(row, image, lambda: self.client.update_item(
            TableName=self.table, Key=key_of(row), UpdateExpression="SET version = :v",
            ExpressionAttributeValues={":v": {"N": "3"}},
        ))  # fmt: skip

    def _until_done(self, row, image, call):
        while True:
            try:
                call()
                break
            except TRANSIENT:
                # Repeating is safe: a write that leaves the item as it is makes no record.
                self.retried += 1
                threading.Event().wait(0.02)
        self.writes += 1
        self.history[key_text(row)].append(image)


def changes_by_key(records):
    found = defaultdict(list)
    for record in records:
        change = record["dynamodb"]
        found[key_text(change["Keys"])].append(change.get("NewImage"))
    return found


class Run:
    """One data set through one table: writers, a reader that knows only the stream, and the comparison."""

    def __init__(self, server, name, share=1.0, writers=4):
        self.server, self.name = server, name
        self.table = f"real-{name}"
        dynamodb = server.client("dynamodb")
        described = create_table(dynamodb, self.table, range_key=("sk", "N"), view="NEW_AND_OLD_IMAGES")
        rows = items(name, share)
        # Rows of one key go to one writer.
        shares = defaultdict(list)
        for row in rows:
            shares[sum(row["pk"]["S"].encode()) % writers].append(row)
        self.writers = [Writer(server.client("dynamodb"), self.table, rows, seed) for seed, rows in shares.items()]
        self.follower = Follower(Reader(server.client("dynamodbstreams"), described["LatestStreamArn"]), TRANSIENT)

    def start(self):
        self.follower.start()
        for writer in self.writers:
            writer.start()

    def writes(self):
        return sum(writer.writes for writer in self.writers)

    def running(self):
        return any(writer.is_alive() for writer in self.writers)

    def finish(self):
        """Waits for writers and reader and compares; returns what was counted."""
        for writer in self.writers:
            writer.join()
            if writer.failure:
                raise writer.failure
        records = self.follower.finish()
        assert len({r["eventID"] for r in records}) == len(records), "a record came twice"
        expected = {key: images for writer in self.writers for key, images in writer.history.items()}
        found = changes_by_key(records)
        assert found.keys() == expected.keys()
        for key, images in expected.items():
            assert found[key] == images, f"order or content of {key}: {found[key]} instead of {images}"
        rebuilt = fold(records, ("pk", "sk"))
        scanned = self._scan()
        assert rebuilt == scanned, "the stream's fold is not the table"
        return {
            "data set": self.name,
            "writes": self.writes(),
            "records": len(records),
            "items": len(scanned),
            "shards": len(self.follower.reader.positions),
            "repeated calls": sum(w.retried for w in self.writers),
            "reader interruptions": self.follower.interruptions,
        }

    def _scan(self):
        pages = self.server.client("dynamodb").get_paginator("scan").paginate(TableName=self.table, ConsistentRead=True)
        return {key_text(item): item for page in pages for item in page["Items"]}
