"""TLS as it is switched on: certificates that the command makes, trusted by boto3 and the CLI; records polled and pushed."""

import os
import subprocess
import sys

import pytest
from botocore.exceptions import SSLError

from data_stream import consumer, create, read, subscribe
from headwater import Server, binary, create_table


@pytest.fixture(scope="module")
def certs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certs")
    made = subprocess.run([binary(), "certs", str(folder)], capture_output=True, text=True, timeout=30)
    assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture(scope="module")
def secured(certs):
    files = ("--tls-certificate", str(certs / "server.pem"), "--tls-key", str(certs / "server-key.pem"))
    server = Server("--in-memory", *files)
    yield server
    server.stop()
    server.close()


def test_boto3_trusts_who_vouches_and_nobody_else(certs, secured):
    assert secured.endpoint.startswith("https://") and secured.admin.startswith("http://")
    trusted = secured.client("dynamodb", verify=str(certs / "ca.pem"))
    create_table(trusted, "secured")
    trusted.put_item(TableName="secured", Item={"pk": {"S": "a"}})
    assert trusted.get_item(TableName="secured", Key={"pk": {"S": "a"}})["Item"] == {"pk": {"S": "a"}}
    for client in (secured.client("dynamodb"), secured.client("kinesis")):
        with pytest.raises(SSLError):
            client.list_tables() if client.meta.service_model.service_name == "dynamodb" else client.list_streams()


def test_records_are_polled_and_pushed(certs, secured):
    kinesis = secured.client("kinesis", verify=str(certs / "ca.pem"))
    arn = create(kinesis, "secured")
    numbers = []
    for index in range(100):
        put = kinesis.put_record(StreamName="secured", PartitionKey=f"k{index}", Data=bytes(index) * 1_000)
        numbers.append(put["SequenceNumber"])
    polled, _ = read(kinesis, "secured", "shardId-000000000000")
    pushed = []
    for event in subscribe(kinesis, consumer(kinesis, arn, "app"), "shardId-000000000000"):
        pushed += event["Records"]
        if len(pushed) >= len(numbers):
            break
    print(f"records polled {len(polled)}, pushed {len(pushed)}")
    for found in (polled, pushed):
        assert [record["SequenceNumber"] for record in found] == numbers
        assert [record["Data"] for record in found] == [bytes(index) * 1_000 for index in range(100)]


def test_the_line_to_try_works_as_it_is_printed(secured):
    (line,) = [line for line in secured.output if line.strip().startswith("try:")]
    variables, command = line.split("try:")[1].split(" aws ")
    environment = dict(pair.split("=", 1) for pair in variables.split())
    assert environment.keys() == {"AWS_CA_BUNDLE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    done = subprocess.run(
        [sys.executable, "-m", "awscli", *command.split()],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0 and '"TableNames"' in done.stdout, done.stderr
