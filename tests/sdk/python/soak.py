"""Minutes at a high rate with store time running two hundred times as fast: a quiet stream beside a fast table without one.

First a day of store time is filled, as fast as it goes: until the first records are a day old a log only grows. From then
on nothing may: what the log holds on disk stays near what somebody still wants, the stream's records of the last day of
store time; memory and open files stay where they were in the first minute. `cargo xtask proofs soak` runs it for ten
minutes.
"""

import argparse
import json
import os
import random
import sys
import threading
import time

from headwater import CONTROL_TOKEN, Server, create_table
from stream import Reader

FASTER = 200
DAY_S = 24 * 3600
QUIET_BYTES = 4_000
QUIET_KEYS = 1_000
QUIET_PER_S = 60
# While the first day is filled: records at once, store time moved on by what they take at the rate above.
FILL_AT_ONCE = 25
FAST_WRITERS = 3
FAST_KEYS = 20_000
# Beside what is wanted: the segment that grows, one on its way, and the frames that the index has not flushed yet.
SLACK_BYTES = 3 * 64 * 1024 * 1024
SAMPLE_EVERY_S = 2
SHOW_EVERY = 5


class Worker(threading.Thread):
    """Does one thing over and over; a failure ends the soak."""

    def __init__(self, work):
        super().__init__(daemon=True)
        self.work, self.done, self.failure = work, 0, None
        self.stopping = threading.Event()

    def run(self):
        try:
            while not self.stopping.is_set():
                self.done += self.work()
        except Exception as failure:  # noqa: BLE001 - told at the end
            self.failure = failure


def fast(server, number):
    client, draw = server.client("dynamodb"), random.Random(number)

    def work():
        keys = draw.sample(range(FAST_KEYS), 25)
        items = [{"PutRequest": {"Item": {"pk": {"S": str(k)}, "v": {"S": draw.choice("abc") * 1_000}}}} for k in keys]
        client.batch_write_item(RequestItems={"fast": items})
        return len(items)

    return work


class Quiet:
    """Writes the stream's records and moves store time; knows when each was written, in seconds of store time."""

    def __init__(self, server):
        self.server, self.client = server, server.client("dynamodb")
        self.moved_s, self.written = 0, []
        self.due = None

    def now(self):
        return time.monotonic() + self.moved_s

    def move(self, seconds):
        self.server.control("/v1/clock/advance", {"by": f"{seconds}s"})
        self.moved_s += seconds
        return 1

    def items(self, count):
        first = len(self.written)
        return [
            {"pk": {"S": str(n % QUIET_KEYS)}, "n": {"N": str(n)}, "v": {"S": "q" * QUIET_BYTES}}
            for n in range(first, first + count)
        ]

    def fill(self):
        end = self.now() + DAY_S
        while self.now() < end:
            items = self.items(FILL_AT_ONCE)
            unwritten = self.client.batch_write_item(
                RequestItems={"quiet": [{"PutRequest": {"Item": item}} for item in items]}
            )["UnprocessedItems"]
            assert not unwritten
            self.written += [self.now()] * len(items)
            self.move(FILL_AT_ONCE * FASTER // QUIET_PER_S)

    def write(self):
        self.client.put_item(TableName="quiet", Item=self.items(1)[0])
        self.written.append(self.now())
        self.due = (self.due or time.monotonic()) + 1 / QUIET_PER_S
        time.sleep(max(0, self.due - time.monotonic()))
        return 1

    def tick(self):
        time.sleep(1)
        return self.move(FASTER - 1)

    def wanted_bytes(self):
        """The records of the last day: keys, the new image, the old one if there was one."""
        oldest = self.now() - DAY_S
        recent = [n for n, at in enumerate(self.written) if at > oldest]
        return sum((QUIET_BYTES + 100) * (1 if n < QUIET_KEYS else 2) for n in recent)


def folder_bytes(path):
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            try:
                total += os.path.getsize(os.path.join(folder, name))
            except FileNotFoundError:
                pass  # It went while it was looked at.
    return total


def sample(server, start, calm):
    pid = server.process.pid
    status = open(f"/proc/{pid}/status").read()
    resident = int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) * 1024
    files = open_files(pid, server.data_dir)
    return {
        "second": round(time.monotonic() - start),
        "log_bytes": sum(folder_bytes(os.path.join(server.data_dir, name)) for name in ("log", "archive")),
        "wanted_bytes": calm.wanted_bytes(),
        "resident_bytes": resident,
        "handles": sum(files.values()),
        "files": files,
    }


def open_files(pid, data_dir):
    """How many of each kind: folders of the store, and the rest."""
    files = {}
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            path = os.readlink(f"/proc/{pid}/fd/{number}")
        except FileNotFoundError:
            continue
        kind = os.path.relpath(path, data_dir).split("/")[0] if path.startswith(data_dir) else "other"
        files[kind] = files.get(kind, 0) + 1
    return files


def show(row):
    mib = 1024 * 1024
    print(
        f"{row['second']:6} s  log {row['log_bytes'] / mib:8.1f} MiB  wanted {row['wanted_bytes'] / mib:8.1f} MiB  "
        f"resident {row['resident_bytes'] / mib:7.1f} MiB  handles {row['handles']} {row['files']}",
        flush=True,
    )


def soak(server, seconds):
    arn = create_table(server.client("dynamodb"), "quiet", view="NEW_AND_OLD_IMAGES")["LatestStreamArn"]
    create_table(server.client("dynamodb"), "fast", view=None)
    calm, samples = Quiet(server), []
    writers = [Worker(fast(server, number)) for number in range(FAST_WRITERS)]
    for writer in writers:
        writer.start()
    begun = time.monotonic()
    calm.fill()
    print(f"a day of store time filled in {time.monotonic() - begun:.0f} s: {len(calm.written)} records", flush=True)
    time_mover = Worker(calm.tick)
    workers = [Worker(calm.write), time_mover]
    for worker in workers:
        worker.start()
    workers += writers
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        time.sleep(SAMPLE_EVERY_S)
        samples.append(sample(server, start, calm))
        if len(samples) % SHOW_EVERY == 0:
            show(samples[-1])
        dead = [worker.failure for worker in workers if worker.failure]
        if dead:
            raise dead[0]
    for worker in workers:
        worker.stopping.set()
    for worker in workers:
        worker.join()
    reader = Reader(server.client("dynamodbstreams"), arn)
    numbers = [int(r["dynamodb"]["NewImage"]["n"]["N"]) for r in reader.drain()]
    fast_writes = sum(worker.done for worker in writers)
    return samples, calm, sorted(numbers), fast_writes, time_mover.done


def mean(rows, name):
    return sum(row[name] for row in rows) / len(rows)


def judge(samples, calm, numbers, fast_writes, jumps, seconds):
    faults, written = [], calm.written
    if numbers != list(range(numbers[0], len(written))):
        faults.append("the stream's records have a gap, or one is there twice")
    age = calm.now() - written[numbers[0]]
    if numbers[0] == 0:
        faults.append("nothing was trimmed")
    elif age < DAY_S * 0.97:
        faults.append(f"a record of {age:.0f} s is the oldest: some were trimmed early")
    if age > DAY_S * 1.1 + 30 * FASTER:
        faults.append(f"a record of {age:.0f} s is still shown")
    for row in samples:
        if row["log_bytes"] > 1.3 * row["wanted_bytes"] + SLACK_BYTES:
            faults.append(f"at {row['second']} s the log holds {row['log_bytes']} for {row['wanted_bytes']} wanted")
    # Files come and go with every flush: of a minute its mean.
    first = [row for row in samples if row["second"] <= 60]
    last = [row for row in samples if row["second"] > samples[-1]["second"] - 60]
    for name in ("resident_bytes", "handles"):
        before, after = mean(first, name), mean(last, name)
        print(f"{name}: {before:.0f} in the first minute, {after:.0f} in the last")
        if after > 1.1 * before:
            faults.append(f"{name} grow")
    log = samples[-1]
    print(
        f"{seconds} s, {jumps} jumps of {FASTER - 1} s, {fast_writes} writes without a stream, {len(written)} with, "
        f"{len(numbers)} records left, {numbers[0]} trimmed; log {log['log_bytes']} for {log['wanted_bytes']} wanted, "
        f"{max(row['log_bytes'] / row['wanted_bytes'] for row in samples):.2f} times what is wanted at most"
    )
    assert fast_writes > 1_000 and jumps > 0 and numbers
    return faults


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=600)
    arguments = parser.parse_args()
    server = Server("--control", "--control-token", CONTROL_TOKEN, "--memory", str(128 << 20))
    try:
        result = soak(server, arguments.seconds)
        faults = judge(*result, arguments.seconds)
        with open(os.environ.get("SOAK_REPORT", os.devnull), "w") as report:
            json.dump(result[0], report)
        server.stop()
    finally:
        server.close()
    for fault in faults[:10]:
        print(f"FAULT: {fault}")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
