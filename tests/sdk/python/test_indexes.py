"""Secondary indexes, transactions and expiry through boto3, over kills of the server's process."""

import random
import threading
import time

from botocore.exceptions import BotoCoreError, ClientError

from headwater import Server, create_table, until
from stream import Reader, fold


def attributes(**kinds):
    return [{"AttributeName": name, "AttributeType": kind} for name, kind in kinds.items()]


def keys(hash_key, *range_keys):
    return [{"AttributeName": hash_key, "KeyType": "HASH"}] + [{"AttributeName": name, "KeyType": "RANGE"} for name in range_keys]


def add_index(dynamodb, table, name, projection=None, **kinds):
    index = {"IndexName": name, "KeySchema": keys(*kinds), "Projection": projection or {"ProjectionType": "ALL"}}
    dynamodb.update_table(
        TableName=table, AttributeDefinitions=attributes(**kinds), GlobalSecondaryIndexUpdates=[{"Create": index}]
    )


def index_status(dynamodb, table, name):
    indexes = dynamodb.describe_table(TableName=table)["Table"].get("GlobalSecondaryIndexes", [])
    return next((index["IndexStatus"] for index in indexes if index["IndexName"] == name), None)


def scanned(dynamodb, table, **more):
    pages = dynamodb.get_paginator("scan").paginate(TableName=table, **more)
    return [item for page in pages for item in page["Items"]]


def text(item):
    return repr(sorted(item.items(), key=lambda pair: pair[0]))


def test_an_index_is_a_function_of_the_items(dynamodb, name):
    create_table(dynamodb, name)
    rng = random.Random(1)

    def change():
        key = {"pk": {"S": f"k{rng.randrange(60)}"}}
        if rng.random() < 0.2:
            dynamodb.delete_item(TableName=name, Key=key)
            return
        item = dict(key, n={"N": str(rng.randrange(9))}, extra={"S": "x" * rng.randrange(5)})
        if rng.random() < 0.7:
            item["g"] = {"S": f"g{rng.randrange(5)}"}
        dynamodb.put_item(TableName=name, Item=item)

    for _ in range(150):
        change()
    add_index(dynamodb, name, "by-g", {"ProjectionType": "KEYS_ONLY"}, g="S", n="N")
    compared = 0
    while index_status(dynamodb, name, "by-g") != "ACTIVE":
        change()
    for _ in range(10):
        for _ in range(20):
            change()
        wanted = [
            {part: item[part] for part in ("pk", "g", "n")} for item in scanned(dynamodb, name) if "g" in item
        ]
        found = scanned(dynamodb, name, IndexName="by-g")
        assert sorted(map(text, found)) == sorted(map(text, wanted))
        compared += len(found)
    print(f"{compared} entries compared")
    assert compared > 0


def test_a_page_of_an_index_goes_on_where_it_ended(dynamodb, name):
    dynamodb.create_table(
        TableName=name,
        AttributeDefinitions=attributes(pk="S", sk="N", moment="S"),
        KeySchema=keys("pk", "sk"),
        LocalSecondaryIndexes=[{"IndexName": "by-moment", "KeySchema": keys("pk", "moment"), "Projection": {"ProjectionType": "ALL"}}],
        GlobalSecondaryIndexes=[{"IndexName": "all-moments", "KeySchema": keys("moment", "pk"), "Projection": {"ProjectionType": "ALL"}}],
        BillingMode="PAY_PER_REQUEST",
    )
    until(lambda: dynamodb.describe_table(TableName=name)["Table"]["TableStatus"] == "ACTIVE", "the table")
    for sk in range(40):
        # Equal sort keys in the index: pages must neither skip nor repeat.
        item = {"pk": {"S": "p"}, "sk": {"N": str(sk)}, "moment": {"S": f"{sk % 3}"}}
        dynamodb.put_item(TableName=name, Item=item)
    for index, condition, values in [
        ("by-moment", "pk = :p", {":p": {"S": "p"}}),
        ("all-moments", "moment = :a", {":a": {"S": "1"}}),
    ]:
        for forward in (True, False):
            pages = dynamodb.get_paginator("query").paginate(
                TableName=name, IndexName=index, KeyConditionExpression=condition, ExpressionAttributeValues=values,
                ScanIndexForward=forward, PaginationConfig={"PageSize": 3},
            )
            found = [item["sk"]["N"] for page in pages for item in page["Items"]]
            assert len(found) == len(set(found)) == (40 if index == "by-moment" else 13)


class Bank:
    """Moves between accounts of two tables in transactions; the sum stays."""

    def __init__(self, dynamodb, tables, accounts):
        self.dynamodb, self.tables, self.accounts = dynamodb, tables, accounts

    def open(self):
        for table in self.tables:
            for account in range(self.accounts):
                item = {"pk": {"S": f"a{account}"}, "amount": {"N": "100"}, "band": {"S": "1"}}
                self.dynamodb.put_item(TableName=table, Item=item)

    def move(self, rng, token):
        amount = rng.randrange(1, 20)

        def step(change):
            table, account = rng.choice(self.tables), rng.randrange(self.accounts)
            return (table, account), {
                "Update": {
                    "TableName": table,
                    "Key": {"pk": {"S": f"a{account}"}},
                    "UpdateExpression": "ADD amount :c, moves :one",
                    "ExpressionAttributeValues": {":c": {"N": str(change)}, ":one": {"N": "1"}},
                }
            }

        (here, take), (there, give) = step(-amount), step(amount)
        if here == there:
            return None
        return self.dynamodb.transact_write_items(TransactItems=[take, give], ClientRequestToken=token)

    def sums(self):
        items = [item for table in self.tables for item in scanned(self.dynamodb, table, ConsistentRead=True)]
        return (sum(int(item["amount"]["N"]) for item in items), sum(int(item.get("moves", {"N": "0"})["N"]) for item in items))


def test_transactions_and_indexes_survive_kills():
    server = Server()
    try:
        dynamodb = server.client("dynamodb")
        tables, accounts = ["left", "right"], 6
        arns = {table: create_table(dynamodb, table, view="NEW_AND_OLD_IMAGES")["LatestStreamArn"] for table in tables}
        bank = Bank(dynamodb, tables, accounts)
        bank.open()
        add_index(dynamodb, "left", "by-amount", band="S", amount="N")
        acknowledged, asked, stop = [], [], threading.Event()
        repeated = []

        def mover(seed):
            rng, number = random.Random(seed), 0
            mine = Bank(server.client("dynamodb"), tables, accounts)
            while not stop.is_set():
                state, token = rng.getstate(), f"{seed}-{number}"
                number += 1
                asked.append(token)
                for attempt in range(200):
                    try:
                        rng.setstate(state)
                        if mine.move(rng, token) is not None:
                            acknowledged.append(token)
                            if attempt:
                                repeated.append(token)
                        break
                    except (ClientError, BotoCoreError):
                        # Killed: the same request under the same token goes on until it is answered.
                        if stop.is_set():
                            return
                        time.sleep(0.02)

        movers = [threading.Thread(target=mover, args=(seed,)) for seed in range(4)]
        for thread in movers:
            thread.start()
        kills = 6
        for kill in range(kills):
            before = len(acknowledged)
            until(lambda: len(acknowledged) > before + 20, "moves")
            server.restart()
            dynamodb.describe_table(TableName="left")
        stop.set()
        for thread in movers:
            thread.join()
        bank = Bank(server.client("dynamodb"), tables, accounts)
        amount, moves = bank.sums()
        assert amount == 2 * accounts * 100, "nothing is lost or made"
        # What was acknowledged happened once; what was cut off at the end happened once or not at all.
        unknown = len(set(asked)) - len(set(acknowledged))
        assert 2 * len(acknowledged) <= moves <= 2 * (len(acknowledged) + unknown)
        dynamodb = server.client("dynamodb")
        until(lambda: index_status(dynamodb, "left", "by-amount") == "ACTIVE", "the index")
        items = scanned(dynamodb, "left")
        assert sorted(map(text, scanned(dynamodb, "left", IndexName="by-amount"))) == sorted(map(text, items))
        streams, records = server.client("dynamodbstreams"), 0
        for table, arn in arns.items():
            seen = Reader(streams, arn).drain()
            records += len(seen)
            assert sorted(map(text, fold(seen, ["pk"]).values())) == sorted(map(text, scanned(dynamodb, table)))
        assert records == moves + 2 * accounts
        print(f"{kills} kills, {len(acknowledged)} transactions, {len(repeated)} repeated, {records} records")
        assert repeated, "no transaction was cut off: the kills came at the wrong time"
        server.stop()
    finally:
        server.close()


def test_expired_items_go_to_the_stream_as_the_services(dynamodb, streams, name):
    arn = create_table(dynamodb, name, view="OLD_IMAGE")["LatestStreamArn"]
    spec = {"Enabled": True, "AttributeName": "until"}
    for n in range(20):
        until_s = int(time.time()) + (-5 if n % 2 else 5_000)
        dynamodb.put_item(TableName=name, Item={"pk": {"S": f"k{n}"}, "until": {"N": str(until_s)}})
    assert dynamodb.update_time_to_live(TableName=name, TimeToLiveSpecification=spec)["TimeToLiveSpecification"] == spec
    until(lambda: len(scanned(dynamodb, name)) == 10, "the expiry")
    removed = [record for record in Reader(streams, arn).drain() if record["eventName"] == "REMOVE"]
    assert len(removed) == 10
    for record in removed:
        assert record["userIdentity"] == {"PrincipalId": "dynamodb.amazonaws.com", "Type": "Service"}
        assert int(record["dynamodb"]["OldImage"]["until"]["N"]) < time.time()
