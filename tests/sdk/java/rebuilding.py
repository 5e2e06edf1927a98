"""The run that every consumer of a table's stream must pass: what it saw rebuilds the table.

Two workers read tables under writes, through a split and a roll-over; one of them is killed.
"""

import time

from headwater import until
from judge import SHARD_END, judge
from leases import indexed, leader, leases, owners
from producing import until_ahead, until_all_read
from tables import Writer, adapter_name, create, kinesis_name, of_kinesis, rebuild, scan, truth

ROUNDS = 40  # of 50 items: 2,000 changes of each table
WITHIN_S = 150


def of_dynamodb_streams(server, stream_arn, writer):
    """What DynamoDB Streams says that a table's stream holds."""
    return truth(server.client("dynamodbstreams"), stream_arn, writer)


def reshaped_and_killed(
    server,
    crew,
    what,
    tables,
    start,
    *,
    third=True,
    name=adapter_name,
    key=lambda arn, shard: shard,
    holds=of_dynamodb_streams,
):
    """`start(worker, application, stream ARNs)` starts a worker; `name(ARN)` is how it calls the stream, `key(ARN, shard id)`
    how its lease is called; `third` says that it is KCL 3; `holds` reads the stream as its API shows it. Prints what it
    counted.
    """
    begin = time.monotonic()
    dynamodb = server.client("dynamodb")
    application = f"application-{tables[0]}"
    arns = {table: create(dynamodb, table) for table in tables}
    writers = [Writer(dynamodb, table) for table in tables]
    write(writers, 4)
    start("one", application, arns.values())
    if third:
        until(lambda: indexed(dynamodb, application), "the first worker makes the index of owners", WITHIN_S)
    start("two", application, arns.values())
    until(lambda: len(owners(dynamodb, application)) == 2, "both workers hold leases", WITHIN_S)
    write(writers, 10)
    for table in tables:
        server.control("/v1/split", {"table": table})
    write(writers, 20)
    rolled = sum(server.control("/v1/rollover", {"table": table})["rolled_over"] for table in tables)
    write(writers, 30)
    until_all_read(crew, writers, ROUNDS - 4, WITHIN_S)
    chief = leader(dynamodb, application) if third else None
    victims = sorted(crew.workers, key=lambda worker: worker.name == chief)
    victim = until_ahead(victims, crew, writers, ROUNDS - 2, WITHIN_S)
    victim.kill()
    write(writers, ROUNDS)
    total = sum(writer.records for writer in writers)
    until(lambda: crew.seen() == total, "all changes are seen", WITHIN_S)

    held = {arn: holds(server, arn, writer) for arn, writer in zip(arns.values(), writers)}
    rows = {key(arn, shard_id): shard for arn, shards in held.items() for shard_id, shard in shards.items()}
    closed = {row for row, shard in rows.items() if shard.closed}

    def ended():
        found = leases(dynamodb, application)
        return all(found.get(row, {}).get("checkpoint") == SHARD_END for row in closed)

    until(ended, "closed shards end", WITHIN_S)
    (survivor,) = [worker for worker in crew.workers if worker is not victim]
    survivor.stop()
    counts = judge({name(arn): shards for arn, shards in held.items()}, crew.events())
    items = 0
    for table, arn in arns.items():
        rebuilt = rebuild(event for event in crew.events() if event.stream == name(arn))
        assert rebuilt == scan(dynamodb, table) and len(rebuilt) == 40
        items += len(rebuilt)
    found = leases(dynamodb, application)
    for row, shard in rows.items():
        # Parents are shards of the same stream: their ids stand in the row without the stream's name.
        assert set(found[row].get("parentShardId", ())) == set(shard.parents), found[row]
        if not shard.closed and shard.records:
            assert found[row]["checkpoint"] == shard.records[-1][0], found[row]
    assert counts.records == total == ROUNDS * 50 * len(tables) and counts.keys == 50 * len(tables)
    assert counts.again > 0 and counts.shards_ended == len(closed) > rolled > 0
    print(
        f"\n{what}: {counts}; {items} items rebuilt as a Scan gives them, {len(rows)} lease rows right, {rolled} shards "
        f"rolled over, {time.monotonic() - begin:.0f} s"
    )


def adapter(server, crew, module, main="headwater.AdapterWorker"):
    """How a worker of the official adapter is started: the class `main` of `module`."""

    def start(name, application, arns):
        given = {"endpoint": server.endpoint, "application": application, "streams": ",".join(arns)}
        crew.java(name, module, main, **given)

    return start


def read_by_kcl(server, crew, what, table, module, main="headwater.KclWorker", *, third=False, **more):
    """The run of a KCL that reads the table's stream as a Kinesis stream: the class `main` of `module`.

    `third` says that it is KCL 3; `more` are arguments of the class.
    """

    def start(name, application, arns):
        (arn,) = arns
        given = {"endpoint": server.endpoint, "application": application, "stream": kinesis_name(arn)}
        crew.java(name, module, main, form="changes", **given, **more)

    reshaped_and_killed(server, crew, what, [table], start, third=third, name=kinesis_name, holds=of_kinesis)


def write(writers, rounds):
    for writer in writers:
        writer.until(rounds)
