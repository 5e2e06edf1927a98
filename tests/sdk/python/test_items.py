"""Items through boto3: every type, conditions, updates, queries, scans, batches, capacity."""

import random
from concurrent.futures import ThreadPoolExecutor

import boto3
import pytest
from boto3.dynamodb.conditions import Attr, Key
from botocore.exceptions import ClientError

from headwater import CREDENTIALS, REGION, create_table


@pytest.fixture
def table(server, dynamodb, name):
    create_table(dynamodb, name, hash_key=("pk", "S"), range_key=("sk", "N"))
    resource = boto3.resource("dynamodb", endpoint_url=server.endpoint, region_name=REGION, **CREDENTIALS)
    return resource.Table(name)


ALL_TYPES = {
    "pk": {"S": "all"},
    "sk": {"N": "1"},
    "s": {"S": "täxt ✓"},
    "empty": {"S": ""},
    "n": {"N": "-0.00123"},
    "big": {"N": "12345678901234567890123456789012345678"},
    "b": {"B": b"\x00\xff"},
    "bool": {"BOOL": True},
    "null": {"NULL": True},
    "ss": {"SS": ["a", "b"]},
    "ns": {"NS": ["1", "2.5"]},
    "bs": {"BS": [b"x", b"y"]},
    "l": {"L": [{"S": "x"}, {"L": []}, {"M": {}}]},
    "m": {"M": {"deep": {"M": {"er": {"N": "7"}}}}},
}


def sorted_sets(item):
    return {k: {t: sorted(v) if t in ("SS", "NS", "BS") else v for t, v in value.items()} for k, value in item.items()}


def test_every_type_comes_back_as_it_was(dynamodb, table):
    dynamodb.put_item(TableName=table.name, Item=ALL_TYPES)
    got = dynamodb.get_item(TableName=table.name, Key={"pk": {"S": "all"}, "sk": {"N": "1.0"}}, ConsistentRead=True)
    assert sorted_sets(got["Item"]) == sorted_sets(ALL_TYPES)


def test_numbers_are_canonical(dynamodb, table):
    cases = {
        "1E2": "100",
        "+5": "5",
        "0.10": "0.1",
        "-0": "0",
        "1e-130": "0." + "0" * 129 + "1",
        "9." + "9" * 37 + "e125": "9" * 38 + "0" * 88,
    }
    for sk, (given, canonical) in enumerate(cases.items()):
        key = {"pk": {"S": "n"}, "sk": {"N": str(sk)}}
        dynamodb.put_item(TableName=table.name, Item={**key, "v": {"N": given}})
        assert dynamodb.get_item(TableName=table.name, Key=key)["Item"]["v"] == {"N": canonical}


def test_conditions_guard_writes_and_give_the_old_item(table):
    table.put_item(Item={"pk": "c", "sk": 1, "v": 1}, ConditionExpression="attribute_not_exists(pk)")
    with pytest.raises(ClientError) as failure:
        table.put_item(
            Item={"pk": "c", "sk": 1, "v": 2},
            ConditionExpression=Attr("v").eq(7),
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    assert failure.value.response["Error"]["Code"] == "ConditionalCheckFailedException"
    assert failure.value.response["Item"]["v"] == {"N": "1"}
    deleted = table.delete_item(Key={"pk": "c", "sk": 1}, ConditionExpression=Attr("v").between(1, 1), ReturnValues="ALL_OLD")
    assert deleted["Attributes"]["v"] == 1
    assert "Item" not in table.get_item(Key={"pk": "c", "sk": 1}, ConsistentRead=True)


def test_updates_of_every_clause_and_return_value(table):
    key = {"pk": "u", "sk": 1}
    new = table.update_item(
        Key=key,
        UpdateExpression="SET a = :one, l = :list, m = :map ADD n :one, s :set",
        ExpressionAttributeValues={":one": 1, ":list": [1], ":map": {"x": 1}, ":set": {"p", "q"}},
        ReturnValues="ALL_NEW",
    )["Attributes"]
    assert new == {**key, "a": 1, "l": [1], "m": {"x": 1}, "n": 1, "s": {"p", "q"}}
    touched = table.update_item(
        Key=key,
        UpdateExpression="SET l = list_append(l, :more), m.y = if_not_exists(m.y, :one), a = a + :one REMOVE m.x DELETE s :p",
        ExpressionAttributeValues={":one": 1, ":more": [2], ":p": {"p"}},
        ReturnValues="UPDATED_NEW",
    )["Attributes"]
    assert touched == {"l": [1, 2], "m": {"y": 1}, "a": 2, "s": {"q"}}
    old = table.update_item(
        Key=key, UpdateExpression="SET a = :z", ExpressionAttributeValues={":z": 9}, ReturnValues="UPDATED_OLD"
    )["Attributes"]
    assert old == {"a": 2}


def test_concurrent_counters_lose_nothing(table):
    key = {"pk": "count", "sk": 0}

    def add(_):
        table.update_item(Key=key, UpdateExpression="ADD n :one", ExpressionAttributeValues={":one": 1})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(400)))
    assert table.get_item(Key=key, ConsistentRead=True)["Item"]["n"] == 400


def test_queries_page_both_ways_and_filter(table):
    values = random.Random(1).sample(range(-5_000, 5_000), 150)
    with table.batch_writer() as batch:
        for v in values:
            batch.put_item(Item={"pk": "q", "sk": v, "even": v % 2 == 0, "pad": "x" * 200})
    for forward in (True, False):
        got, start = [], {}
        while True:
            page = table.query(KeyConditionExpression=Key("pk").eq("q"), Limit=17, ScanIndexForward=forward, **start)
            got += [int(item["sk"]) for item in page["Items"]]
            if "LastEvaluatedKey" not in page:
                break
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
        assert got == sorted(values, reverse=not forward)
    between = table.query(
        KeyConditionExpression=Key("pk").eq("q") & Key("sk").between(-100, 100),
        FilterExpression=Attr("even").eq(True),
        ProjectionExpression="sk",
    )
    assert [i["sk"] for i in between["Items"]] == sorted(v for v in values if -100 <= v <= 100 and v % 2 == 0)
    assert between["ScannedCount"] == sum(-100 <= v <= 100 for v in values)
    assert all(set(i) == {"sk"} for i in between["Items"])


def test_pages_end_at_one_megabyte(table):
    with table.batch_writer() as batch:
        for sk in range(30):
            batch.put_item(Item={"pk": "big", "sk": sk, "pad": "x" * 100_000})
    page = table.query(KeyConditionExpression=Key("pk").eq("big"))
    assert page["Count"] == 11, "the item that crosses 1 MB is the last of its page"
    assert page["LastEvaluatedKey"] == {"pk": "big", "sk": 10}


def test_parallel_scan_segments_hold_each_item_once(table):
    keys = {(f"p{i % 23}", i) for i in range(200)}
    with table.batch_writer() as batch:
        for pk, sk in keys:
            batch.put_item(Item={"pk": pk, "sk": sk})
    seen = []
    for segment in range(5):
        start = {}
        while True:
            page = table.scan(Segment=segment, TotalSegments=5, Limit=13, **start)
            seen += [(i["pk"], int(i["sk"])) for i in page["Items"]]
            if "LastEvaluatedKey" not in page:
                break
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
    assert len(seen) == 200 and set(seen) == keys
    assert table.scan(Select="COUNT")["Count"] == 200


def test_batches(dynamodb, table):
    puts = [{"PutRequest": {"Item": {"pk": {"S": "b"}, "sk": {"N": str(i)}}}} for i in range(25)]
    assert dynamodb.batch_write_item(RequestItems={table.name: puts})["UnprocessedItems"] == {}
    keys = [{"pk": {"S": "b"}, "sk": {"N": str(i)}} for i in range(30)]
    got = dynamodb.batch_get_item(RequestItems={table.name: {"Keys": keys, "ConsistentRead": True}})
    assert len(got["Responses"][table.name]) == 25 and got["UnprocessedKeys"] == {}
    with pytest.raises(ClientError, match="Provided list of item keys contains duplicates"):
        dynamodb.batch_get_item(RequestItems={table.name: {"Keys": [keys[0], keys[0]]}})
    with pytest.raises(ClientError):
        dynamodb.batch_write_item(RequestItems={table.name: puts + puts[:1]})


def test_consumed_capacity(table):
    put = table.put_item(Item={"pk": "cap", "sk": 1, "pad": "x" * 1_500}, ReturnConsumedCapacity="TOTAL")
    assert put["ConsumedCapacity"] == {"TableName": table.name, "CapacityUnits": 2.0}
    get = table.get_item(Key={"pk": "cap", "sk": 1}, ReturnConsumedCapacity="INDEXES")["ConsumedCapacity"]
    assert get["CapacityUnits"] == 0.5 and get["Table"]["CapacityUnits"] == 0.5


def test_refusals_carry_the_services_words(dynamodb, table):
    cases = [
        ({"pk": {"S": "x"}}, "One or more parameter values were invalid: Missing the key sk in the item"),
        (
            {"pk": {"N": "1"}, "sk": {"N": "1"}},
            "One or more parameter values were invalid: Type mismatch for key pk expected: S actual: N",
        ),
        ({"pk": {"S": "x"}, "sk": {"N": "a"}}, "The parameter cannot be converted to a numeric value: a"),
        ({"pk": {"S": "x"}, "sk": {"N": "1"}, "big": {"S": "x" * 409_600}}, "Item size has exceeded the maximum allowed size"),
    ]
    for item, message in cases:
        with pytest.raises(ClientError) as failure:
            dynamodb.put_item(TableName=table.name, Item=item)
        assert failure.value.response["Error"] == {"Code": "ValidationException", "Message": message}
