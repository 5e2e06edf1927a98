"""Tables through boto3: create, describe, list, update, delete, limits, endpoints, accounts and Regions apart."""

import boto3
import pytest
from botocore.exceptions import ClientError

from headwater import CREDENTIALS, create_table, until


def code(failure):
    return failure.value.response["Error"]["Code"]


def test_a_table_has_the_services_description(dynamodb, name):
    table = create_table(dynamodb, name, range_key=("sk", "N"), view="NEW_AND_OLD_IMAGES")
    assert table["TableStatus"] == "ACTIVE"
    assert table["TableArn"] == f"arn:aws:dynamodb:eu-west-1:000000000000:table/{name}"
    assert table["KeySchema"] == [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]
    assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    assert table["ProvisionedThroughput"]["ReadCapacityUnits"] == 0
    assert table["ItemCount"] == 0 and table["TableSizeBytes"] == 0
    assert table["StreamSpecification"] == {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    assert table["LatestStreamArn"] == f"{table['TableArn']}/stream/{table['LatestStreamLabel']}"
    assert len(table["TableId"]) == 36


def test_create_answers_creating_and_a_second_create_is_refused(dynamodb, name):
    request = {
        "TableName": name,
        "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "B"}],
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        "ProvisionedThroughput": {"ReadCapacityUnits": 5, "WriteCapacityUnits": 7},
    }
    created = dynamodb.create_table(**request)["TableDescription"]
    assert created["TableStatus"] == "CREATING"
    assert created["ProvisionedThroughput"]["WriteCapacityUnits"] == 7
    assert "BillingModeSummary" not in created
    with pytest.raises(ClientError) as failure:
        dynamodb.create_table(**request)
    assert code(failure) == "ResourceInUseException"
    dynamodb.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    dynamodb.delete_table(TableName=name)
    dynamodb.get_waiter("table_not_exists").wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 30})


def test_lists_page_in_lexical_order(dynamodb, name):
    names = [f"{name}-{suffix}" for suffix in "abcde"]
    for each in reversed(names):
        create_table(dynamodb, each)
    pages = dynamodb.get_paginator("list_tables").paginate(PaginationConfig={"PageSize": 2})
    listed = [each for page in pages for each in page["TableNames"]]
    assert [each for each in listed if each.startswith(f"{name}-")] == names
    assert listed == sorted(listed)


def test_update_switches_billing_and_stream(dynamodb, name):
    create_table(dynamodb, name)
    dynamodb.update_table(
        TableName=name, BillingMode="PROVISIONED", ProvisionedThroughput={"ReadCapacityUnits": 3, "WriteCapacityUnits": 4}
    )
    active(dynamodb, name)
    dynamodb.update_table(TableName=name, StreamSpecification={"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"})
    table = active(dynamodb, name)
    assert table["ProvisionedThroughput"]["ReadCapacityUnits"] == 3
    assert table["StreamSpecification"]["StreamViewType"] == "KEYS_ONLY"
    dynamodb.update_table(TableName=name, StreamSpecification={"StreamEnabled": False})
    table_off = active(dynamodb, name)
    assert "StreamSpecification" not in table_off
    assert table_off["LatestStreamArn"] == table["LatestStreamArn"], "the ARN stays after the stream is switched off"


def active(dynamodb, name):
    def described():
        table = dynamodb.describe_table(TableName=name)["Table"]
        return table if table["TableStatus"] == "ACTIVE" else None

    return until(described, f"{name} is ACTIVE")


def test_unknown_tables_are_not_found(dynamodb):
    for call, request in [
        (dynamodb.describe_table, {}),
        (dynamodb.delete_table, {}),
        (dynamodb.get_item, {"Key": {"pk": {"S": "a"}}}),
        (dynamodb.scan, {}),
    ]:
        with pytest.raises(dynamodb.exceptions.ResourceNotFoundException):
            call(TableName="no-such-table", **request)


def test_accounts_and_regions_never_meet(server, dynamodb, name):
    create_table(dynamodb, name)
    other_region = boto3.client("dynamodb", endpoint_url=server.endpoint, region_name="us-east-2", **CREDENTIALS)
    other_account = boto3.client(
        "dynamodb",
        endpoint_url=server.endpoint,
        region_name="eu-west-1",
        aws_access_key_id="123456789012",
        aws_secret_access_key="x",
    )
    for stranger in (other_region, other_account):
        assert name not in stranger.list_tables()["TableNames"]
        with pytest.raises(stranger.exceptions.ResourceNotFoundException):
            stranger.describe_table(TableName=name)


def test_tags_are_set_shown_and_removed(dynamodb, name):
    arn = create_table(dynamodb, name)["TableArn"]
    dynamodb.tag_resource(ResourceArn=arn, Tags=[{"Key": "team", "Value": "a"}, {"Key": "stage", "Value": ""}])
    dynamodb.tag_resource(ResourceArn=arn, Tags=[{"Key": "team", "Value": "b"}])
    pages = dynamodb.get_paginator("list_tags_of_resource").paginate(ResourceArn=arn)
    tags = {tag["Key"]: tag["Value"] for page in pages for tag in page["Tags"]}
    assert tags == {"team": "b", "stage": ""}
    assert dynamodb.describe_table(TableName=name)["Table"]["TableStatus"] == "ACTIVE"
    dynamodb.untag_resource(ResourceArn=arn, TagKeys=["team", "never"])
    assert dynamodb.list_tags_of_resource(ResourceArn=arn)["Tags"] == [{"Key": "stage", "Value": ""}]
    with pytest.raises(ClientError) as failure:
        dynamodb.tag_resource(ResourceArn=arn + "-gone", Tags=[{"Key": "a", "Value": "b"}])
    assert code(failure) == "ResourceNotFoundException"


def test_what_tools_read_of_a_table_is_answered(dynamodb, name):
    create_table(dynamodb, name)
    backups = dynamodb.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    assert backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "DISABLED"
    assert dynamodb.describe_contributor_insights(TableName=name)["ContributorInsightsStatus"] == "DISABLED"
    assert dynamodb.describe_kinesis_streaming_destination(TableName=name)["KinesisDataStreamDestinations"] == []
    assert dynamodb.list_backups(TableName=name)["BackupSummaries"] == []
    with pytest.raises(dynamodb.exceptions.TableNotFoundException):
        dynamodb.describe_continuous_backups(TableName="never")
    with pytest.raises(dynamodb.exceptions.ResourceNotFoundException):
        dynamodb.describe_table_replica_auto_scaling(TableName=name)


def test_limits_and_endpoints(server, dynamodb):
    limits = dynamodb.describe_limits()
    assert limits["AccountMaxReadCapacityUnits"] == 80_000 and limits["TableMaxWriteCapacityUnits"] == 40_000
    endpoints = dynamodb.describe_endpoints()["Endpoints"]
    assert endpoints[0]["Address"] == server.endpoint.removeprefix("http://")


def test_operations_not_built_say_so(dynamodb):
    with pytest.raises(ClientError) as failure:
        dynamodb.create_backup(TableName="any", BackupName="backup")
    assert code(failure) == "UnknownOperationException"
    assert dynamodb.list_global_tables()["GlobalTables"] == []
