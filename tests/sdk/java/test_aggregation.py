"""Aggregated records of ours are read by KCL's own decoder, and what is written by its classes is read by ours."""

import os
import pathlib
import random
import subprocess

from workers import java

SEED = 7
CASES = 300


class Exchange:
    """A program that answers a line with a line."""

    def __init__(self, command):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1
        )

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(timeout=30) == 0


def record(dice):
    key = "".join(dice.choice("abcäß🦀\u0001") for _ in range(dice.randint(1, 20))).encode().hex()
    explicit = dice.choice(["-", str(dice.getrandbits(128)), "0", str(2**128 - 1)])
    return f"{key},{explicit},{dice.randbytes(dice.choice([0, 1, 50, 3_000])).hex()}"


def damaged(dice, aggregate):
    place = dice.randrange(0, len(aggregate), 2)
    return aggregate[:place] + f"{int(aggregate[place:place + 2], 16) ^ (1 << dice.randrange(8)):02x}" + aggregate[place + 2 :]


def test_ours_and_kcls_aggregates_are_the_same():
    # Built with the tests, beside the server.
    ours = Exchange([pathlib.Path(os.environ["HEADWATER_BIN"]).parent / "examples" / "exchange"])
    theirs = Exchange(java("kcl3", "headwater.AggregateExchange"))
    dice = random.Random(SEED)
    records_read = damaged_read = 0
    for _ in range(CASES):
        # A single record is an aggregate too.
        records = [record(dice) for _ in range(dice.choice([1, 2, 5, 40]))]
        encoded = [program.ask("encode " + " ".join(records)) for program in (ours, theirs)]
        for aggregate in encoded:
            wanted = "records " + " ".join(records)
            assert theirs.ask(f"decode {aggregate}") == wanted == ours.ask(f"decode {aggregate}")
            records_read += len(records)
            broken = damaged(dice, aggregate)
            assert theirs.ask(f"decode {broken}") == "plain" == ours.ask(f"decode {broken}")
            damaged_read += 1
    ours.close()
    theirs.close()
    assert records_read > CASES and damaged_read == 2 * CASES
    print(f"\naggregates: {records_read} records read by both, {damaged_read} damaged ones taken as they are")
