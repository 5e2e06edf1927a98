"""Starts and stops a Headwater server for tests, and makes unmodified SDK clients that talk to it."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import boto3
from botocore.config import Config

REGION = "eu-west-1"
# An unmodified SDK needs some credentials; a server without configured ones takes any.
CREDENTIALS = {"aws_access_key_id": "anyone", "aws_secret_access_key": "anything"}
READY_WITHIN_S = 60
CONTROL_TOKEN = "known-to-the-tests-only"


def binary():
    """The server's binary: built by `cargo xtask ci` or `cargo xtask demo`, which say where it is."""
    path = os.environ.get("HEADWATER_BIN")
    if not path:
        sys.exit("HEADWATER_BIN is not set: run `cargo xtask ci` or `cargo xtask demo`")
    return path


class Server:
    """One server process; `kill` is SIGKILL, `stop` a graceful end, `start` begins again on the same data and port."""

    def __init__(self, *flags, data_dir=None):
        self.flags = list(flags)
        self.own_dir = None
        if data_dir is None and "--in-memory" not in flags:  # "" means that the test says it otherwise
            self.own_dir = tempfile.TemporaryDirectory(prefix="headwater-test-")
            data_dir = os.path.join(self.own_dir.name, "data")
        self.data_dir = data_dir
        self.listen = "127.0.0.1:0"
        self.process = None
        self.output = []
        self.start()

    def start(self):
        command = [binary(), "--listen", self.listen, "--admin", "127.0.0.1:0", *self.flags]
        if self.data_dir:
            command += ["--data-dir", self.data_dir]
        self.output = []
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        ready = threading.Event()
        threading.Thread(target=self._read, args=(self.process.stdout, ready), daemon=True).start()
        if not ready.wait(READY_WITHIN_S):
            self.kill()
            raise AssertionError("the server did not get ready:\n" + "".join(self.output))
        self.endpoint = self._printed("dynamodb")
        self.admin = self._printed("admin")
        # A restart takes the same port, as a restarted service would keep its address.
        self.listen = self.endpoint.split("://")[1]

    def control(self, path, body):
        """A call of the control API; the server was started with `--control --control-token` and CONTROL_TOKEN."""
        headers = {"Authorization": f"Bearer {CONTROL_TOKEN}"}
        url = self.admin.removesuffix("/metrics") + path
        request = urllib.request.Request(url, data=json.dumps(body).encode(), headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def _read(self, stream, ready):
        for line in stream:
            self.output.append(line)
            if line.strip().startswith("try:"):
                ready.set()
        ready.set()

    def _printed(self, what):
        found = re.search(rf"^\s*{what}\s+(https?://\S+)", "".join(self.output), re.MULTILINE)
        assert found, f"no address of {what} in:\n" + "".join(self.output)
        return found.group(1)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """A graceful end; fails when the server does not end well."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=30)
        assert code == 0, f"exit code {code}:\n" + "".join(self.output)

    def restart(self):
        self.kill()
        self.start()

    def close(self):
        if self.process.poll() is None:
            self.kill()
        if self.own_dir:
            self.own_dir.cleanup()

    def client(self, service, verify=None, region=REGION, **options):
        """`verify` names the certificate to trust, for a server in TLS."""
        config = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=60, **options)
        place = {"endpoint_url": self.endpoint, "region_name": region}
        return boto3.client(service, verify=verify, config=config, **place, **CREDENTIALS)


def until(condition, what, within_s=30.0):
    """Polls `condition` until it gives something true; the bound is only there to end a broken run."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"never happened: {what}")


def create_table(dynamodb, name, *, hash_key=("pk", "S"), range_key=None, view=None):
    """Creates a table and waits until it is ACTIVE; returns its description."""
    keys = [(hash_key, "HASH")] + ([(range_key, "RANGE")] if range_key else [])
    request = {
        "TableName": name,
        "AttributeDefinitions": [{"AttributeName": k[0], "AttributeType": k[1]} for k, _ in keys],
        "KeySchema": [{"AttributeName": k[0], "KeyType": kind} for k, kind in keys],
        "BillingMode": "PAY_PER_REQUEST",
    }
    if view:
        request["StreamSpecification"] = {"StreamEnabled": True, "StreamViewType": view}
    dynamodb.create_table(**request)
    dynamodb.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    return dynamodb.describe_table(TableName=name)["Table"]
