"""Minutes at a high rate with store time running two hundred times as fast: a quiet stream beside a fast table without one.

What the log holds on disk stays near what somebody still wants: the stream's records of the last day of store time.
Memory and open files stay where they were after the first minute. `cargo xtask proofs soak` runs it for ten minutes.
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
QUIET_BYTES = 8_000
QUIET_PER_S = 60
FAST_WRITERS = 3
FAST_KEYS = 20_000
# Beside what is wanted: the segment that grows, one on its way, and the frames that the index has not flushed yet.
SLACK_BYTES = 3 * 64 * 1024 * 1024
SAMPLE_EVERY_S = 10


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


def quiet(server):
    client, count = server.client("dynamodb"), iter(range(10**9))

    def work():
        n = next(count)
        item = {"pk": {"S": str(n)}, "n": {"N": str(n)}, "v": {"S": "q" * QUIET_BYTES}}
        client.put_item(TableName="quiet", Item=item)
        time.sleep(1 / QUIET_PER_S)
        return 1

    return work


def clock(server):
    def work():
        time.sleep(1)
        server.control("/v1/clock/advance", {"by": f"{FASTER - 1}s"})
        return 1

    return work


def folder_bytes(path):
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            try:
                total += os.path.getsize(os.path.join(folder, name))
            except FileNotFoundError:
                pass  # It went while it was looked at.
    return total


def sample(server, start, written):
    pid = server.process.pid
    status = open(f"/proc/{pid}/status").read()
    resident = int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) * 1024
    log = sum(folder_bytes(os.path.join(server.data_dir, name)) for name in ("log", "archive"))
    # The stream's records of the last day: keys and new image; each item is written once.
    recent = [at for at in written if at > time.monotonic() - DAY_S / FASTER]
    return {
        "second": round(time.monotonic() - start),
        "log_bytes": log,
        "wanted_bytes": len(recent) * (QUIET_BYTES + 100),
        "resident_bytes": resident,
        "handles": len(os.listdir(f"/proc/{pid}/fd")),
    }


def show(row):
    mib = 1024 * 1024
    print(
        f"{row['second']:6} s  log {row['log_bytes'] / mib:8.1f} MiB  wanted {row['wanted_bytes'] / mib:8.1f} MiB  "
        f"resident {row['resident_bytes'] / mib:7.1f} MiB  handles {row['handles']}",
        flush=True,
    )


def soak(server, seconds):
    arn = create_table(server.client("dynamodb"), "quiet", view="NEW_AND_OLD_IMAGES")["LatestStreamArn"]
    create_table(server.client("dynamodb"), "fast", view=None)
    written, make = [], quiet(server)

    def noted():
        made = make()
        written.append(time.monotonic())
        return made

    calm, time_mover = Worker(noted), Worker(clock(server))
    writers = [Worker(fast(server, number)) for number in range(FAST_WRITERS)]
    workers = [calm, time_mover, *writers]
    start, samples = time.monotonic(), []
    for worker in workers:
        worker.start()
    while time.monotonic() - start < seconds:
        time.sleep(SAMPLE_EVERY_S)
        samples.append(sample(server, start, written))
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
    return samples, written, sorted(numbers), fast_writes, time_mover.done


def judge(samples, written, numbers, fast_writes, jumps, seconds):
    faults = []
    end = time.monotonic()
    if numbers != list(range(numbers[0], len(written))):
        faults.append("the stream's records have a gap, or one is there twice")
    oldest = end - written[numbers[0]]
    life = DAY_S / FASTER
    gone = numbers[0] > 0
    if gone and oldest < life * 0.97:
        faults.append(f"a record of {oldest:.0f} s is the oldest: some were trimmed early")
    if oldest > life * 1.1 + 30:
        faults.append(f"a record of {oldest:.0f} s is still shown")
    minute = [row for row in samples if 30 <= row["second"] <= 90] or samples[:1]
    plateau = {name: max(row[name] for row in minute) for name in ("resident_bytes", "handles")}
    for row in [row for row in samples if row["second"] > 90]:
        if row["log_bytes"] > 1.3 * row["wanted_bytes"] + SLACK_BYTES:
            faults.append(f"at {row['second']} s the log holds {row['log_bytes']} for {row['wanted_bytes']} wanted")
    last = samples[-1]
    for name, value in plateau.items():
        if last[name] > 1.1 * value:
            faults.append(f"{name}: {value} in the first minute, {last[name]} in the end")
    print(
        f"{seconds} s, {jumps} jumps of {FASTER - 1} s, {fast_writes} writes without a stream, {len(written)} with, "
        f"{len(numbers)} records left, {numbers[0]} trimmed; log {last['log_bytes']} for {last['wanted_bytes']} wanted"
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
