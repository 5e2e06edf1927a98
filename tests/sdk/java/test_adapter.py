"""The official DynamoDB Streams Kinesis adapter, unmodified, with the KCL that it brings."""

from rebuilding import reshaped_and_killed


def test_two_workers_rebuild_a_table(server, crew):
    def start(name, application, arns):
        arguments = {"endpoint": server.endpoint, "application": application, "streams": ",".join(arns)}
        crew.java(name, "adapter2", "headwater.AdapterWorker", **arguments)

    reshaped_and_killed(server, crew, "adapter 2.0.1", ["adapted"], start)
