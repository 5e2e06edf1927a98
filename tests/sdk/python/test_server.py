"""The server as a person runs it: flags, environment, file, credentials, audit, admin pages, a second process, a stop."""

import json
import os
import subprocess
import urllib.error
import urllib.request

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from headwater import REGION, Server, binary, create_table


@pytest.fixture
def started():
    servers = []

    def start(*flags, **options):
        servers.append(Server(*flags, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def refused(*flags, environment=None):
    """What a server says that must not start."""
    done = subprocess.run(
        [binary(), *flags], capture_output=True, text=True, timeout=30, env={**os.environ, **(environment or {})}
    )
    assert done.returncode == 1, done.stdout
    return done.stderr


def get(url, **headers):
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10).read().decode()


def test_a_second_process_on_the_same_data_is_refused_by_name(started):
    server = started()
    complaint = refused("--data-dir", server.data_dir, "--listen", "127.0.0.1:0")
    assert server.data_dir in complaint and "another process" in complaint


def test_addresses_beyond_loopback_need_credentials(tmp_path):
    assert "--credentials" in refused("--listen", "0.0.0.0:0", "--data-dir", str(tmp_path / "data"))
    assert "twelve digits" in refused("--in-memory", "--listen", "127.0.0.1:0", "--account", "12")


def test_files_that_are_not_a_store_are_refused(tmp_path, started):
    server = started(data_dir=str(tmp_path / "data"))
    create_table(server.client("dynamodb"), "kept", view="NEW_IMAGE")
    server.stop()
    names = [os.path.join(folder, name) for folder, _, names in os.walk(server.data_dir) for name in names]
    segments = [name for name in names if os.path.getsize(name) > 4096 and "index" not in os.path.relpath(name, server.data_dir)]
    assert segments, names
    victim = max(segments, key=os.path.getmtime)
    content = open(victim, "rb").read()
    with open(victim, "wb") as file:
        file.write(b"\x00" * 4096 + content[4096:])
    complaint = refused("--data-dir", server.data_dir, "--listen", "127.0.0.1:0")
    assert os.path.basename(victim) in complaint, complaint
    with open(victim, "wb") as file:
        file.write(content)
    server.start()
    assert server.client("dynamodb").list_tables()["TableNames"] == ["kept"]


def test_settings_come_from_environment_and_file(tmp_path, monkeypatch, started):
    file = tmp_path / "headwater.toml"
    file.write_text('account = ["111111111111", "ALICE=222222222222"]\n')
    monkeypatch.setenv("HEADWATER_IN_MEMORY", "true")
    server = started("--config", str(file), data_dir="")
    arn = create_table(server.client("dynamodb"), "tab")["TableArn"]
    assert ":111111111111:" in arn
    alice = boto3.client(
        "dynamodb", endpoint_url=server.endpoint, region_name=REGION, aws_access_key_id="ALICE", aws_secret_access_key="x"
    )
    assert ":222222222222:" in create_table(alice, "tab")["TableArn"]


def test_configured_credentials_are_verified(tmp_path, started):
    file = tmp_path / "credentials.toml"
    file.write_text(
        '[[credential]]\nkey = "AKIDEXAMPLE"\nsecret = "right/secret+"\naccount = "123456789012"\nprincipal = "user/alice"\n'
    )
    server = started("--in-memory", "--credentials", str(file))

    def client(key, secret):
        config = Config(retries={"total_max_attempts": 1})
        return boto3.client(
            "dynamodb", endpoint_url=server.endpoint, region_name=REGION, config=config,
            aws_access_key_id=key, aws_secret_access_key=secret,
        )  # fmt: skip

    assert ":123456789012:" in create_table(client("AKIDEXAMPLE", "right/secret+"), "signed")["TableArn"]
    for key, secret, code in [
        ("AKIDEXAMPLE", "wrong", "InvalidSignatureException"),
        ("NOBODY", "right/secret+", "UnrecognizedClientException"),
    ]:
        with pytest.raises(ClientError) as failure:
            client(key, secret).list_tables()
        assert failure.value.response["Error"]["Code"] == code


def test_no_resource_policy_is_kept_while_credentials_are_verified(tmp_path, started):
    file = tmp_path / "credentials.toml"
    file.write_text('[[credential]]\nkey = "AKIDEXAMPLE"\nsecret = "right/secret+"\naccount = "123456789012"\n')
    policy = '{"Statement":{"Effect":"Deny","Principal":"*","Action":"dynamodb:*","Resource":"*"},"Version":"2012-10-17"}'
    for arguments, key, kept in [((), "any", True), (("--credentials", str(file)), "AKIDEXAMPLE", False)]:
        server = started("--in-memory", *arguments)
        dynamodb = boto3.client(
            "dynamodb", endpoint_url=server.endpoint, region_name=REGION,
            aws_access_key_id=key, aws_secret_access_key="right/secret+",
        )  # fmt: skip
        arn = create_table(dynamodb, "guarded")["TableArn"]
        if kept:
            revision = dynamodb.put_resource_policy(ResourceArn=arn, Policy=policy)["RevisionId"]
            assert dynamodb.get_resource_policy(ResourceArn=arn)["RevisionId"] == revision
        else:
            with pytest.raises(ClientError, match="does not enforce resource-based policies"):
                dynamodb.put_resource_policy(ResourceArn=arn, Policy=policy)
            with pytest.raises(dynamodb.exceptions.PolicyNotFoundException):
                dynamodb.get_resource_policy(ResourceArn=arn)


def test_an_own_address_refuses_the_other_apis(started):
    server = started("--in-memory", "--listen-streams", "127.0.0.1:0")
    streams = server._printed("streams")
    assert streams != server.endpoint
    assert boto3.client(
        "dynamodbstreams", endpoint_url=streams, region_name=REGION, aws_access_key_id="a", aws_secret_access_key="b"
    ).list_streams()["Streams"] == []
    stranger = boto3.client(
        "dynamodb", endpoint_url=streams, region_name=REGION, aws_access_key_id="a", aws_secret_access_key="b"
    )
    with pytest.raises(ClientError, match="UnknownOperationException"):
        stranger.list_tables()


def test_audit_lines_say_who_and_what_but_never_data(tmp_path, started):
    file = tmp_path / "audit.jsonl"
    server = started("--in-memory", "--audit", str(file))
    dynamodb = server.client("dynamodb")
    create_table(dynamodb, "audited")
    dynamodb.put_item(TableName="audited", Item={"pk": {"S": "TOP-SECRET"}})
    with pytest.raises(ClientError):
        dynamodb.get_item(TableName="nobody", Key={"pk": {"S": "x"}})
    server.stop()
    text = file.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert len(lines) >= 4 and "TOP-SECRET" not in text
    put = next(line for line in lines if line.get("eventName") == "PutItem")
    assert "table/audited" in json.dumps(put)
    failed = next(line for line in lines if line.get("eventName") == "GetItem")
    assert "ResourceNotFoundException" in json.dumps(failed)


def test_admin_pages_answer_this_machine_only(started):
    server = started("--in-memory")
    admin = server.admin.removesuffix("/metrics")
    create_table(server.client("dynamodb"), "tab")
    assert get(f"{admin}/healthz") == "ok\n" and get(f"{admin}/readyz") == "ready\n"
    metrics = get(f"{admin}/metrics")
    assert "headwater_tables 1\n" in metrics and 'operation="CreateTable"' in metrics
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
        with pytest.raises(urllib.error.HTTPError) as failure:
            get(f"{admin}/metrics", **headers)
        assert failure.value.code == 403


def test_a_graceful_stop_keeps_everything_and_in_memory_keeps_nothing(started):
    server = started()
    create_table(server.client("dynamodb"), "kept")
    server.client("dynamodb").put_item(TableName="kept", Item={"pk": {"S": "a"}})
    server.stop()
    server.start()
    assert server.client("dynamodb").scan(TableName="kept")["Count"] == 1
    forgetful = started("--in-memory")
    create_table(forgetful.client("dynamodb"), "gone")
    forgetful.stop()
    forgetful.start()
    assert forgetful.client("dynamodb").list_tables()["TableNames"] == []


def test_relaxed_durability_keeps_everything_at_a_stop(started):
    server = started("--durability", "relaxed")
    dynamodb = server.client("dynamodb")
    create_table(dynamodb, "fast")
    for i in range(50):
        dynamodb.put_item(TableName="fast", Item={"pk": {"S": str(i)}})
    server.stop()
    server.start()
    assert server.client("dynamodb").scan(TableName="fast")["Count"] == 50
