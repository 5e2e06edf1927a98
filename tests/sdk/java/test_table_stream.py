"""A table's stream read by KCL 3 as it is, without an adapter, in both of its modes."""

import pytest

from rebuilding import reshaped_and_killed
from tables import kinesis_name, of_kinesis


@pytest.mark.parametrize("mode", ["polling", "fanout"])
def test_two_workers_rebuild_a_table(server, crew, mode):
    def start(name, application, arns):
        (arn,) = arns
        given = {"endpoint": server.endpoint, "application": application, "stream": kinesis_name(arn)}
        crew.java(name, "kcl3", "headwater.KclWorker", mode=mode, form="changes", **given)

    what = f"KCL 3.5.1 on a table's stream, {mode}"
    reshaped_and_killed(server, crew, what, [f"read-{mode}"], start, name=kinesis_name, holds=of_kinesis)
