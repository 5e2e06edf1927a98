"""A Headwater for the runner's own tests; `HEADWATER_BIN` says where its binary is."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


@pytest.fixture(scope="session")
def endpoint():
    binary = os.environ.get("HEADWATER_BIN")
    if not binary:
        pytest.exit("HEADWATER_BIN is not set: run `cargo xtask streams-conformance`", returncode=2)
    command = [binary, "--in-memory", "--listen", "127.0.0.1:0", "--admin", "off"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        found = next(filter(None, (re.search(r"dynamodb\s+(http://\S+)", line) for line in server.stdout)))
        yield found[1]
        server.kill()
