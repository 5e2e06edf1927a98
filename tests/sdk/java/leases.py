"""Reads the lease tables that KCL keeps, and holds them against the stream."""

from boto3.dynamodb.types import TypeDeserializer

from data_stream import hash_range, list_shards
from judge import SHARD_END, TRIM_HORIZON

OWNERS = "LeaseOwnerToLeaseKeyIndex"  # KCL 3 asks this index which leases a worker has


def rows(dynamodb, table, **more):
    """All rows as plain values; none while there is no table."""
    found, start = [], {}
    while True:
        try:
            page = dynamodb.scan(TableName=table, ConsistentRead=True, **start, **more)
        except dynamodb.exceptions.ResourceNotFoundException:
            return []
        found += [{name: TypeDeserializer().deserialize(value) for name, value in item.items()} for item in page["Items"]]
        if "LastEvaluatedKey" not in page:
            return found
        start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}


def leases(dynamodb, application):
    """Lease key → row; rows of other kinds, which KCL 3.5 keeps in the same table, are left out."""
    found = rows(dynamodb, application)
    return {row["leaseKey"]: row for row in found if row.get("entityType", "LEASE") == "LEASE" and "checkpoint" in row}


def owners(dynamodb, application):
    """Worker → its leases."""
    owned = {}
    for key, row in leases(dynamodb, application).items():
        if "leaseOwner" in row:
            owned.setdefault(row["leaseOwner"], set()).add(key)
    return owned


def indexed(dynamodb, application):
    """Whether the index of owners is there, in whichever state.

    Of two workers that both find it missing one fails to make it, on any server, and never gets over it: as the elected
    leader it would assign nothing. So a second worker is started only then.
    """
    try:
        table = dynamodb.describe_table(TableName=application)["Table"]
    except dynamodb.exceptions.ResourceNotFoundException:
        return False
    return any(index["IndexName"] == OWNERS for index in table.get("GlobalSecondaryIndexes", ()))


def leader(dynamodb, application):
    """The worker that KCL 3's lock names, or None."""
    for row in rows(dynamodb, application) + rows(dynamodb, f"{application}-CoordinatorState"):
        if "Leader" in (row.get("leaseKey"), row.get("key")):
            return row.get("ownerName")
    return None


def assert_leases(dynamodb, kinesis, application, stream, held, key=lambda shard_id: shard_id):
    """Every shard has its row, and the row tells its range, its parents, its children and how far it was read.

    `held` is what the stream holds (producing.truth); returns how many rows were compared.
    """
    found = leases(dynamodb, application)
    shards = {shard["ShardId"]: shard for shard in list_shards(kinesis, stream)}
    children = {}
    for shard_id, shard in held.items():
        for parent in shard.parents:
            children.setdefault(parent, set()).add(shard_id)
    for shard_id, shard in held.items():
        row = found[key(shard_id)]
        start, end = hash_range(shards[shard_id])
        assert (row["startingHashKey"], row["endingHashKey"]) == (str(start), str(end)), row
        assert set(row.get("parentShardId", ())) == set(shard.parents), row
        assert int(row["leaseCounter"]) > 0 and int(row["checkpointSubSequenceNumber"]) == 0, row
        assert int(row["ownerSwitchesSinceCheckpoint"]) >= 0, row
        if shard.closed:
            assert row["checkpoint"] == SHARD_END, row
            assert set(row.get("childShardIds", ())) == children[shard_id], row
        else:
            assert row["checkpoint"] == (shard.records[-1][0] if shard.records else TRIM_HORIZON), row
    return len(held)


def index_agrees(dynamodb, application):
    """How many owners the index shows with just the leases that the rows show; 0 if they differ, as for a moment they may."""
    by_owner = owners(dynamodb, application)
    for owner, keys in by_owner.items():
        answer = dynamodb.query(
            TableName=application,
            IndexName=OWNERS,
            KeyConditionExpression="leaseOwner = :owner",
            ExpressionAttributeValues={":owner": {"S": owner}},
        )
        if keys != {item["leaseKey"]["S"] for item in answer["Items"]} & set(leases(dynamodb, application)):
            return 0
    return len(by_owner)
