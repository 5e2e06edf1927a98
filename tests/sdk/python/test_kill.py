"""A real server under concurrent load, killed at random moments while its shards split and roll over: nothing
acknowledged is lost, nothing happens twice. `cargo xtask proofs` does it with hundreds of kills."""

import os
import random
import threading
import time
import urllib.error

from headwater import CONTROL_TOKEN, Server, create_table
from real_data import TRANSIENT
from stream import Follower, Reader, fold

KILLS = int(os.environ.get("HEADWATER_KILLS", "22"))
# Open shards beyond which they roll over only: a reader walks through all there ever were.
OPEN_SHARDS_MAX = 16
# How long a split and a roll-over are waited for after the last kill, if all before it were cut off.
SHAPED_WITHIN_S = 60
WRITERS = 6
KEYS_PER_WRITER = 5
SEED = 20_260_101


class Counter(threading.Thread):
    """Adds one to its own counters, over and over; knows for each what it was told."""

    def __init__(self, client, table, number):
        super().__init__(daemon=True)
        self.client, self.table, self.number = client, table, number
        self.random = random.Random(number)
        self.acknowledged = [0] * KEYS_PER_WRITER
        self.unknown = [0] * KEYS_PER_WRITER
        self.stopping = threading.Event()
        self.failure = None

    def run(self):
        try:
            while not self.stopping.is_set():
                self.add(self.random.randrange(KEYS_PER_WRITER))
        except Exception as failure:  # noqa: BLE001 - reported by the test
            self.failure = failure

    def add(self, key):
        try:
            answer = self.client.update_item(
                TableName=self.table,
                Key={"pk": {"S": f"{self.number}-{key}"}},
                UpdateExpression="ADD n :one SET filler = :filler",
                ExpressionAttributeValues={":one": {"N": "1"}, ":filler": {"S": "x" * self.random.randrange(2_000)}},
                ReturnValues="UPDATED_NEW",
            )
        except TRANSIENT:
            self.unknown[key] += 1
            return
        self.acknowledged[key] += 1
        value = int(answer["Attributes"]["n"]["N"])
        least, most = self.acknowledged[key], self.acknowledged[key] + self.unknown[key]
        assert least <= value <= most, f"{self.number}-{key}: {value} is not within {least}..{most}"


class Shaper(threading.Thread):
    """Splits shards and rolls them over, over and over; a server that was just killed does neither."""

    def __init__(self, server, table):
        super().__init__(daemon=True)
        self.server, self.table = server, table
        self.random = random.Random(SEED)
        self.open, self.splits, self.roll_overs = 4, 0, 0
        self.stopping = threading.Event()

    def run(self):
        while not self.stopping.wait(self.random.uniform(0.01, 0.2)):
            try:
                # What has happened less often comes first: a kill may take the answer away, again and again.
                if self.open < OPEN_SHARDS_MAX and self.splits <= self.roll_overs:
                    self.open = len(self.server.control("/v1/split", {"table": self.table}))
                    self.splits += 1
                else:
                    self.roll_overs += self.server.control("/v1/rollover", {"table": self.table})["rolled_over"]
            except urllib.error.HTTPError as refused:
                assert refused.code in (409, 503), refused.read()
            except (OSError, AttributeError):
                # Killed, or starting: an address is known only once it is printed.
                pass


def test_a_server_killed_under_load_loses_nothing_and_repeats_nothing(capsys):
    server = Server("--control", "--control-token", CONTROL_TOKEN)
    try:
        arn = create_table(server.client("dynamodb"), "counters", view="NEW_AND_OLD_IMAGES")["LatestStreamArn"]
        writers = [Counter(server.client("dynamodb"), "counters", number) for number in range(WRITERS)]
        follower = Follower(Reader(server.client("dynamodbstreams"), arn), TRANSIENT)
        shaper = Shaper(server, "counters")
        for thread in [*writers, follower, shaper]:
            thread.start()
        moments = random.Random(SEED)
        for _ in range(KILLS):
            before = sum(sum(w.acknowledged) for w in writers)
            progress = moments.randrange(20, 120)
            while sum(sum(w.acknowledged) for w in writers) < before + progress and all(w.is_alive() for w in writers):
                writers[0].join(0.001)
            server.restart()
        deadline = time.monotonic() + SHAPED_WITHIN_S
        while not (shaper.splits and shaper.roll_overs) and shaper.is_alive() and time.monotonic() < deadline:
            time.sleep(0.05)
        shaper.stopping.set()
        shaper.join()
        for writer in writers:
            writer.stopping.set()
        for writer in writers:
            writer.join()
            if writer.failure:
                raise writer.failure
        records = follower.finish()
        scanned = server.client("dynamodb").scan(TableName="counters", ConsistentRead=True)["Items"]
        for writer in writers:
            for key in range(KEYS_PER_WRITER):
                item = next((i for i in scanned if i["pk"]["S"] == f"{writer.number}-{key}"), None)
                value = int(item["n"]["N"]) if item else 0
                least, most = writer.acknowledged[key], writer.acknowledged[key] + writer.unknown[key]
                assert least <= value <= most, f"{writer.number}-{key}: {value} is not within {least}..{most}"
        # Each counter's records count 1, 2, 3, … without a gap or a repetition.
        values = {}
        for record in records:
            image = record["dynamodb"]["NewImage"]
            values.setdefault(image["pk"]["S"], []).append(int(image["n"]["N"]))
        assert all(seen == list(range(1, len(seen) + 1)) for seen in values.values())
        assert {i["pk"]["S"]: int(i["n"]["N"]) for i in scanned} == {key: seen[-1] for key, seen in values.items()}
        assert len(fold(records, ("pk",))) == len(scanned)
        acknowledged = sum(sum(w.acknowledged) for w in writers)
        unknown = sum(sum(w.unknown) for w in writers)
        with capsys.disabled():
            print(
                f"\nkills {KILLS}, acknowledged {acknowledged}, unknown {unknown}, records {len(records)}, "
                f"splits {shaper.splits}, roll-overs {shaper.roll_overs}"
            )
        assert shaper.splits > 0 and shaper.roll_overs > 0
        assert acknowledged > KILLS * 20 and unknown > 0 and len(records) >= acknowledged
        server.stop()
    finally:
        server.close()
