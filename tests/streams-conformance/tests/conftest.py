"""A Headwater for the runner's own tests; `HEADWATER_BIN` says where its binary is."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TOKEN = "streams-conformance-of-this-test"

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def start(binary, *flags):
    """A server and the addresses it has printed."""
    command = [binary, "--in-memory", "--listen", "127.0.0.1:0", *flags]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    found = {}
    for line in server.stdout:
        if address := re.match(r"\s*(dynamodb|admin)\s+(http://[^/\s]+)", line):
            found[address[1]] = address[2]
        if line.strip().startswith("try:"):
            break
    return server, found


@pytest.fixture(scope="session")
def addresses():
    """Its API, its control API, and the API of a second server."""
    binary = os.environ.get("HEADWATER_BIN")
    if not binary:
        pytest.exit("HEADWATER_BIN is not set: run `cargo xtask streams-conformance`", returncode=2)
    first, here = start(binary, "--admin", "127.0.0.1:0", "--control", "--control-token", TOKEN)
    second, there = start(binary, "--admin", "off")
    yield here["dynamodb"], here["admin"], there["dynamodb"]
    for server in (first, second):
        server.kill()
        server.wait()
