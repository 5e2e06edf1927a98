"""PynamoDB, unmodified, at its ordinary work: models with indexes, conditions, batches, transactions, expiry."""

from datetime import timedelta

import pytest
from pynamodb.attributes import ListAttribute, MapAttribute, NumberAttribute, TTLAttribute, UnicodeAttribute, UnicodeSetAttribute, VersionAttribute
from pynamodb.connection import Connection
from pynamodb.exceptions import DoesNotExist, PutError, TransactWriteError
from pynamodb.indexes import AllProjection, GlobalSecondaryIndex, IncludeProjection, LocalSecondaryIndex
from pynamodb.models import Model
from pynamodb.transactions import TransactGet, TransactWrite

from headwater import CREDENTIALS, REGION, until


class Place(MapAttribute):
    city = UnicodeAttribute()
    number = NumberAttribute(null=True)


class ByState(GlobalSecondaryIndex):
    class Meta:
        index_name = "by-state"
        projection = AllProjection()
        billing_mode = "PAY_PER_REQUEST"

    state = UnicodeAttribute(hash_key=True)
    number = NumberAttribute(range_key=True)


class ByTotal(LocalSecondaryIndex):
    class Meta:
        index_name = "by-total"
        projection = IncludeProjection(["state"])

    customer = UnicodeAttribute(hash_key=True)
    total = NumberAttribute(range_key=True)


class Order(Model):
    class Meta:
        table_name = "pynamodb-orders"
        region = REGION
        billing_mode = "PAY_PER_REQUEST"
        max_retry_attempts = 0

    customer = UnicodeAttribute(hash_key=True)
    number = NumberAttribute(range_key=True)
    state = UnicodeAttribute(default="open")
    total = NumberAttribute(default=0)
    tags = UnicodeSetAttribute(null=True)
    lines = ListAttribute(default=list)
    place = Place(null=True)
    until = TTLAttribute(null=True)
    version = VersionAttribute()
    by_state = ByState()
    by_total = ByTotal()


@pytest.fixture(scope="module")
def orders(server):
    Order.Meta.host = server.endpoint
    Order.Meta.aws_access_key_id = CREDENTIALS["aws_access_key_id"]
    Order.Meta.aws_secret_access_key = CREDENTIALS["aws_secret_access_key"]
    Order.create_table(wait=True)
    return Order


@pytest.fixture(scope="module")
def connection(server):
    keys = CREDENTIALS["aws_access_key_id"], CREDENTIALS["aws_secret_access_key"]
    made = Connection(region=REGION, host=server.endpoint)
    made.session.set_credentials(*keys)
    return made


def test_models_live_and_indexes_find_them(orders):
    with orders.batch_write() as batch:
        for number in range(60):
            state = "open" if number % 3 else "done"
            batch.save(Order(f"c{number % 2}", number, state=state, total=100 - number, tags={"t", str(number)}, place=Place(city="Oslo")))
    found = [order.number for order in orders.by_state.query("open", Order.number > 50)]
    assert found == [n for n in range(51, 60) if n % 3]
    cheap = list(orders.by_total.query("c1", Order.total < 60, limit=3))
    assert [int(order.total) for order in cheap] == [41, 43, 45] and cheap[0].place is None
    page = orders.by_state.query("done", limit=5, page_size=2, scan_index_forward=False)
    assert [order.number for order in page] == [57, 54, 51, 48, 45] and page.last_evaluated_key
    assert sum(1 for _ in orders.scan(Order.tags.contains("7") & Order.place.city.startswith("Os"))) == 1
    assert orders.count("c0", filter_condition=Order.total >= 90) == 6
    assert len(list(orders.scan(page_size=7))) == 60
    one = orders.get("c0", 10, consistent_read=True)
    one.update([Order.total.add(5), Order.lines.set([1, "two"]), Order.tags.delete({"t"})], condition=Order.state == "open")
    assert (one.total, one.tags, one.version) == (95, {"10"}, 1)
    stale = Order("c0", 10, state="x", version=9)
    with pytest.raises(PutError) as refused:
        stale.save()
    assert refused.value.cause_response_code == "ConditionalCheckFailedException"
    one.delete()
    with pytest.raises(DoesNotExist):
        orders.get("c0", 10)
    got = list(orders.batch_get([("c0", n) for n in range(0, 20, 2)]))
    assert len(got) == 9
    print(f"{60} orders saved")


def test_transactions_are_whole(orders, connection):
    with TransactWrite(connection=connection, client_request_token="pynamodb-1") as transaction:
        transaction.save(Order("t", 1, total=1))
        transaction.save(Order("t", 2, total=2), condition=Order.customer.does_not_exist())
    with pytest.raises(TransactWriteError) as refused:
        with TransactWrite(connection=connection) as transaction:
            transaction.condition_check(Order, "t", 1, condition=Order.total == 7)
            transaction.delete(Order("t", 2, version=1))
    assert [reason and reason.code for reason in refused.value.cancellation_reasons] == ["ConditionalCheckFailed", None]
    with TransactGet(connection=connection) as transaction:
        futures = [transaction.get(Order, "t", n) for n in (1, 2)]
    assert [future.get().total for future in futures] == [1, 2]


def test_expiry(orders):
    orders.update_ttl(ignore_update_ttl_errors=True)  # create_table has switched it on
    Order("ttl", 1, until=timedelta(seconds=-30)).save()
    Order("ttl", 2, until=timedelta(hours=1)).save()
    until(lambda: [order.number for order in orders.query("ttl", consistent_read=True)] == [2], "the expiry")
