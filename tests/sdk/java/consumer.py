"""A consumer that MultiLangDaemon starts for each shard: JSON lines over standard input and output.

It writes what Processor.java writes, in the same form. The environment tells the stream (HEADWATER_STREAM) and the file
(HEADWATER_EVENTS). Standard library only: it stands for a consumer in any language.
"""

import base64
import json
import os
import sys
import time

RECORDS_PER_CHECKPOINT = 60



class Consumer:
    def __init__(self):
        self.events = os.open(os.environ["HEADWATER_EVENTS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.shard, self.last, self.since = None, None, 0

    def write(self, kind, *fields):
        line = [str(time.monotonic_ns()), kind, str(os.getpid()), os.environ["HEADWATER_STREAM"], self.shard, *fields]
        os.write(self.events, ("\t".join(line) + "\n").encode())

    @staticmethod
    def say(message):
        # Framed by line ends, so that nothing else that was printed gets into it.
        sys.stdout.write("\n" + json.dumps(message) + "\n")
        sys.stdout.flush()

    @staticmethod
    def hear():
        line = sys.stdin.readline()
        return json.loads(line) if line else None

    def checkpoint(self, what):
        self.write("trying", what)
        number = None if what == "SHARD_END" else what
        self.say({"action": "checkpoint", "sequenceNumber": number, "subSequenceNumber": None})
        answer = self.hear()
        if answer is None:
            sys.exit(0)  # the daemon is gone; whether it took the checkpoint is not known
        assert answer["action"] == "checkpoint", answer
        if answer.get("error"):
            self.write("refused", answer["error"])
            return
        self.write("checkpoint", what)
        self.since = 0

    def initialize(self, message):
        self.shard = message["shardId"]
        self.write("init", message["sequenceNumber"])

    def process_records(self, message):
        for record in message["records"]:
            self.last = record["sequenceNumber"]
            self.write("record", self.last, record["partitionKey"], base64.b64decode(record["data"]).decode())
            self.since += 1
        if self.since >= RECORDS_PER_CHECKPOINT:
            self.checkpoint(self.last)

    def run(self):
        while message := self.hear():
            match message["action"]:
                case "initialize":
                    self.initialize(message)
                case "processRecords":
                    self.process_records(message)
                case "leaseLost":
                    self.write("lost")
                case "shardEnded":
                    self.write("ended")
                    self.checkpoint("SHARD_END")
                case "shutdownRequested":
                    self.write("requested")
                    if self.since:
                        self.checkpoint(self.last)
                case other:
                    raise AssertionError(f"the daemon says {other}")
            self.say({"action": "status", "responseFor": message["action"]})


if __name__ == "__main__":
    Consumer().run()
