"""Every test has a server of its own on disk, and a folder for what its workers write."""

import pytest

from headwater import CONTROL_TOKEN, Server
from workers import Worker, java


@pytest.fixture
def server():
    server = Server("--control", "--control-token", CONTROL_TOKEN)
    yield server
    server.close()


@pytest.fixture
def crew(tmp_path):
    """The workers of a test: they end with it."""
    crew = Crew(tmp_path)
    yield crew
    crew.close()


class Crew:
    def __init__(self, folder):
        self.folder, self.workers = folder, []

    def start(self, name, command, environment=None):
        worker = Worker(self.folder, name, command, environment)
        self.workers.append(worker)
        return worker

    def java(self, name, module, main, jvm=(), **arguments):
        """A worker that takes `name=value`."""
        given = {"worker": "{worker}", "file": "{file}", **arguments}
        return self.start(name, java(module, main, *(f"{key}={value}" for key, value in given.items()), jvm=jvm))

    def kcl(self, run, name, module, main="headwater.KclWorker", **more):
        """A worker on the stream of a run (scenario.py)."""
        more = {"endpoint": run.server.endpoint, "application": run.application, "stream": run.name, **more}
        return self.java(name, module, main, **more)

    def events(self):
        return [event for worker in self.workers for event in worker.events()]

    def seen(self):
        """How many distinct records have come."""
        return len({(e.stream, e.shard, e.fields[0]) for e in self.events() if e.kind == "record"})

    def close(self):
        for worker in self.workers:
            worker.close()
