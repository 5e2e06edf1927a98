"""One server in memory for the tests that only need an endpoint; tests about restarts start their own on disk."""

import itertools

import pytest

from headwater import Server

_names = itertools.count(1)


@pytest.fixture(scope="session")
def server():
    server = Server("--in-memory")
    yield server
    server.stop()
    server.close()


@pytest.fixture(scope="session")
def dynamodb(server):
    return server.client("dynamodb")


@pytest.fixture(scope="session")
def streams(server):
    return server.client("dynamodbstreams")


@pytest.fixture(scope="session")
def kinesis(server):
    return server.client("kinesis")


@pytest.fixture
def name():
    """A table name that no other test uses."""
    return f"table-{next(_names)}"
