"""The official DynamoDB Streams Kinesis adapter, unmodified, with the KCL that it brings."""

from rebuilding import adapter, reshaped_and_killed


def test_two_workers_rebuild_a_table(server, crew):
    reshaped_and_killed(server, crew, "adapter 2.0.1", ["adapted"], adapter(server, crew, "adapter2"))
