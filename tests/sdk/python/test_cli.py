"""The AWS CLI from PyPI, unmodified: a table's life and its stream from the shell."""

import json
import os
import subprocess
import sys

from headwater import CREDENTIALS, REGION


def aws(server, *arguments, fails=False):
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_ACCESS_KEY_ID": CREDENTIALS["aws_access_key_id"],
        "AWS_SECRET_ACCESS_KEY": CREDENTIALS["aws_secret_access_key"],
        "AWS_DEFAULT_REGION": REGION,
        "AWS_MAX_ATTEMPTS": "1",
        "HOME": "/nonexistent",
    }
    command = [sys.executable, "-m", "awscli", *arguments, "--endpoint-url", server.endpoint, "--output", "json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    if fails:
        assert done.returncode != 0
        return done.stderr
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout.strip() else None


def test_a_tables_life_from_the_shell(server, name):
    created = aws(
        server, "dynamodb", "create-table", "--table-name", name,
        "--attribute-definitions", "AttributeName=id,AttributeType=S",
        "--key-schema", "AttributeName=id,KeyType=HASH",
        "--billing-mode", "PAY_PER_REQUEST",
        "--stream-specification", "StreamEnabled=true,StreamViewType=NEW_AND_OLD_IMAGES",
    )  # fmt: skip
    arn = created["TableDescription"]["LatestStreamArn"]
    aws(server, "dynamodb", "wait", "table-exists", "--table-name", name)
    assert name in aws(server, "dynamodb", "list-tables")["TableNames"]
    item = json.dumps({"id": {"S": "a"}, "n": {"N": "1"}})
    aws(server, "dynamodb", "put-item", "--table-name", name, "--item", item)
    key = json.dumps({"id": {"S": "a"}})
    updated = aws(
        server, "dynamodb", "update-item", "--table-name", name, "--key", key,
        "--update-expression", "SET n = n + :one", "--expression-attribute-values", '{":one": {"N": "1"}}',
        "--return-values", "ALL_NEW",
    )  # fmt: skip
    assert updated["Attributes"]["n"] == {"N": "2"}
    refused = aws(
        server, "dynamodb", "delete-item", "--table-name", name, "--key", key,
        "--condition-expression", "n > :n", "--expression-attribute-values", '{":n": {"N": "5"}}', fails=True,
    )  # fmt: skip
    assert "ConditionalCheckFailedException" in refused and "The conditional request failed" in refused
    assert aws(server, "dynamodb", "get-item", "--table-name", name, "--key", key)["Item"]["n"] == {"N": "2"}
    assert aws(server, "dynamodb", "scan", "--table-name", name)["Count"] == 1
    streams = aws(server, "dynamodbstreams", "list-streams", "--table-name", name)["Streams"]
    assert [s["StreamArn"] for s in streams] == [arn]
    shards = aws(server, "dynamodbstreams", "describe-stream", "--stream-arn", arn)["StreamDescription"]["Shards"]
    names = []
    for shard in shards:
        iterator = aws(
            server, "dynamodbstreams", "get-shard-iterator", "--stream-arn", arn, "--shard-id", shard["ShardId"],
            "--shard-iterator-type", "TRIM_HORIZON",
        )["ShardIterator"]  # fmt: skip
        page = aws(server, "dynamodbstreams", "get-records", "--shard-iterator", iterator)
        names += [record["eventName"] for record in page["Records"]]
    assert names == ["INSERT", "MODIFY"]
    aws(server, "dynamodb", "delete-table", "--table-name", name)
    aws(server, "dynamodb", "wait", "table-not-exists", "--table-name", name)
