"""A Headwater for the runner's own tests; `HEADWATER_BIN` says where its binary is."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TOKEN = "streams-conformance-of-this-test"

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


@pytest.fixture(scope="session")
def addresses():
    """Its API and its control API."""
    binary = os.environ.get("HEADWATER_BIN")
    if not binary:
        pytest.exit("HEADWATER_BIN is not set: run `cargo xtask streams-conformance`", returncode=2)
    command = [binary, "--in-memory", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--control", "--control-token", TOKEN]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        found = {}
        for line in server.stdout:
            if address := re.match(r"\s*(dynamodb|admin)\s+(http://[^/\s]+)", line):
                found[address[1]] = address[2]
            if len(found) == 2:
                break
        yield found["dynamodb"], found["admin"]
        server.kill()
