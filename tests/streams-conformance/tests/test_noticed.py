"""The suite can fail: each way of answering otherwise is noticed by a case, and the same server unaltered passes."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from altering import Proxy
from conftest import TOKEN
from streams_conformance import cases
from streams_conformance.__main__ import judge
from streams_conformance.control import Control
from streams_conformance.report import DIFFERS, PASS
from streams_conformance.target import Target

ALTERATIONS = {}


def alteration(group, kind="alter"):
    def keep(function):
        ALTERATIONS[function.__name__] = (group, kind, function)
        return function

    return keep


def records(operation, status, body):
    return body.get("Records", []) if operation == "GetRecords" and status == 200 else []


def changes(operation, status, body):
    return [record["dynamodb"] for record in records(operation, status, body)]


def shards(operation, status, body):
    return body["StreamDescription"]["Shards"] if operation == "DescribeStream" and status == 200 else []


@alteration("records")
def a_record_is_dropped(operation, status, body):
    if len(records(operation, status, body)) > 1:
        del body["Records"][-1]


@alteration("records")
def a_record_comes_twice(operation, status, body):
    if records(operation, status, body):
        body["Records"].append(body["Records"][-1])


@alteration("numbers")
def two_records_change_places(operation, status, body):
    if len(records(operation, status, body)) > 1:
        body["Records"][:2] = reversed(body["Records"][:2])


@alteration("closing")
def the_last_next_iterator_is_null(operation, status, body):
    if operation == "GetRecords" and status == 200:
        body.setdefault("NextShardIterator", None)


@alteration("closing")
def the_last_next_iterator_is_empty(operation, status, body):
    if operation == "GetRecords" and status == 200:
        body.setdefault("NextShardIterator", "")


@alteration("closing")
def an_open_shard_has_no_next_iterator(operation, status, body):
    if not records(operation, status, body):
        body.pop("NextShardIterator", None)


@alteration("iterators")
def an_error_has_another_code(operation, status, body):
    if status != 200:
        body["__type"] = body["__type"].replace("ValidationException", "InvalidArgumentException")


@alteration("paging")
def an_error_has_another_text(operation, status, body):
    if status != 200 and "message" in body:
        body["message"] += "."


@alteration("iterators")
def an_error_is_a_500(operation, status, body):
    return 500 if status != 200 else status


@alteration("iterators")
def a_bad_iterator_reads_nothing(operation, status, body):
    if operation == "GetRecords" and body.get("message") == "Invalid ShardIterator":
        body.clear()
        body["Records"] = []
        return 200
    return status


@alteration("records")
def a_missing_image_is_null(operation, status, body):
    for change in changes(operation, status, body):
        change.setdefault("OldImage", None)


@alteration("records")
def nobody_is_named_as_null(operation, status, body):
    for record in records(operation, status, body):
        record.setdefault("userIdentity", None)


@alteration("records")
def a_record_has_a_byte_more(operation, status, body):
    for change in changes(operation, status, body):
        change["SizeBytes"] += 1


@alteration("records")
def an_insert_is_a_modify(operation, status, body):
    for record in records(operation, status, body):
        record["eventName"] = record["eventName"].replace("INSERT", "MODIFY")


@alteration("records")
def times_have_fractions(operation, status, body):
    for change in changes(operation, status, body):
        change["ApproximateCreationDateTime"] += 0.25


@alteration("records")
def times_are_milliseconds(operation, status, body):
    for change in changes(operation, status, body):
        change["ApproximateCreationDateTime"] *= 1000


@alteration("records")
def all_events_have_one_id(operation, status, body):
    for record in records(operation, status, body):
        record["eventID"] = "0" * 32


@alteration("records")
def images_forget_the_key(operation, status, body):
    for change in changes(operation, status, body):
        for image in ("NewImage", "OldImage"):
            change.get(image, {}).pop("id", None)


@alteration("records")
def a_view_of_keys_shows_an_image(operation, status, body):
    for change in changes(operation, status, body):
        change.setdefault("NewImage", change["Keys"])


@alteration("numbers")
def numbers_are_padded(operation, status, body):
    for change in changes(operation, status, body):
        change["SequenceNumber"] = "0" + change["SequenceNumber"]


@alteration("numbers")
def numbers_lie_below_their_shard(operation, status, body):
    for change in changes(operation, status, body):
        change["SequenceNumber"] = change["SequenceNumber"][:-6] + "000000"


@alteration("closing")
def closed_shards_have_no_end(operation, status, body):
    for shard in shards(operation, status, body):
        shard["SequenceNumberRange"].pop("EndingSequenceNumber", None)


@alteration("closing")
def a_disabled_stream_says_enabled(operation, status, body):
    # Waiting for DISABLED never ends: the case runs into the runner's patience.
    if operation == "DescribeStream" and status == 200:
        body["StreamDescription"]["StreamStatus"] = "ENABLED"


@alteration("lineage")
def shards_come_backwards(operation, status, body):
    shards(operation, status, body).reverse()


@alteration("lineage")
def roots_have_a_parent(operation, status, body):
    for shard in shards(operation, status, body):
        shard.setdefault("ParentShardId", "shardId-00000000000000000000-00000000")


@alteration("lineage")
def shard_ids_are_of_kinesis(operation, status, body):
    for at, shard in enumerate(shards(operation, status, body)):
        shard["ShardId"] = f"shardId-{at:020}"


@alteration("lineage")
def parents_have_no_end(operation, status, body):
    for shard in shards(operation, status, body):
        shard["SequenceNumberRange"].pop("EndingSequenceNumber", None)


@alteration("lineage")
def children_name_no_parent(operation, status, body):
    for shard in shards(operation, status, body):
        shard.pop("ParentShardId", None)


@alteration("lineage")
def children_start_at_their_parents_end(operation, status, body):
    ends = {s["ShardId"]: s["SequenceNumberRange"].get("EndingSequenceNumber") for s in shards(operation, status, body)}
    for shard in shards(operation, status, body):
        if end := ends.get(shard.get("ParentShardId")):
            shard["SequenceNumberRange"]["StartingSequenceNumber"] = end


@alteration("lineage")
def only_the_first_child_is_listed(operation, status, body):
    seen, kept = set(), []
    for shard in shards(operation, status, body):
        parent = shard.get("ParentShardId")
        if parent is None or parent not in seen:
            kept.append(shard)
        seen.add(parent)
    if kept:
        body["StreamDescription"]["Shards"] = kept


@alteration("trimming")
def trimmed_is_called_expired(operation, status, body):
    if status != 200:
        body["__type"] = body["__type"].replace("TrimmedDataAccess", "ExpiredIterator")


@alteration("trimming")
def children_forget_a_parent_that_is_gone(operation, status, body):
    there = {shard["ShardId"] for shard in shards(operation, status, body)}
    for shard in shards(operation, status, body):
        if shard.get("ParentShardId") not in there:
            shard.pop("ParentShardId", None)


@alteration("paging")
def a_page_of_shards_says_nothing_of_more(operation, status, body):
    if operation == "DescribeStream" and status == 200:
        body["StreamDescription"].pop("LastEvaluatedShardId", None)


@alteration("paging", "before")
def limits_of_records_are_ignored(operation, status, body):
    if operation == "GetRecords" and body.get("Limit") in (1, 2):
        del body["Limit"]


@alteration("paging", "before")
def limits_of_shards_are_ignored(operation, status, body):
    if operation == "DescribeStream" and body.get("Limit") == 1:
        del body["Limit"]


@alteration("paging", "before")
def a_filter_of_children_is_ignored(operation, status, body):
    if operation == "DescribeStream":
        body.pop("ShardFilter", None)


@alteration("paging")
def a_page_of_streams_says_nothing_of_more(operation, status, body):
    if operation == "ListStreams":
        body.pop("LastEvaluatedStreamArn", None)


@alteration("paging")
def streams_have_no_label(operation, status, body):
    for stream in body.get("Streams", []) if operation == "ListStreams" else []:
        stream.pop("StreamLabel", None)


@alteration("paging")
def an_empty_page_has_no_list(operation, status, body):
    if operation == "GetRecords" and body.get("Records") == []:
        del body["Records"]


@alteration("iterators", "before")
def latest_reads_from_the_beginning(operation, status, body):
    if body.get("ShardIteratorType") == "LATEST":
        body["ShardIteratorType"] = "TRIM_HORIZON"


@alteration("iterators", "before")
def after_reads_at(operation, status, body):
    if body.get("ShardIteratorType") == "AFTER_SEQUENCE_NUMBER":
        body["ShardIteratorType"] = "AT_SEQUENCE_NUMBER"


@pytest.fixture(scope="module")
def known():
    return cases.read()


def judged(addresses, known, chosen, patience_s):
    """Results as they come, as the command runs its cases; what is not wanted any more is not begun."""
    all_cases, tables = known
    endpoint, admin, other = addresses
    second = Target("headwater", other)
    target = Target("headwater", endpoint, control=Control(admin, TOKEN), second=second, patience_s=patience_s)
    wanted = [case for case in all_cases if chosen(case)]
    with ThreadPoolExecutor(4) as pool:
        try:
            beside = [case for case in wanted if not case.get("alone")]
            yield from pool.map(lambda case: judge(target, case, tables), beside)
        finally:
            pool.shutdown(cancel_futures=True)
    yield from (judge(target, case, tables) for case in wanted if case.get("alone"))


@pytest.mark.parametrize("name", ALTERATIONS)
def test_an_alteration_is_noticed(addresses, known, name, capsys):
    group, kind, function = ALTERATIONS[name]
    proxy = Proxy(addresses[0], **{kind: function})
    try:
        results = judged((proxy.endpoint, *addresses[1:]), known, lambda case: case["group"] == group, 0.5)
        found = next((result for result in results if result.outcome == DIFFERS), None)
        results.close()
    finally:
        proxy.close()
    assert proxy.altered, "nothing was altered"
    assert found, f"no case of {group} notices"
    with capsys.disabled():
        print(f"\n{name}: {found.case}: {found.detail[:150]}", end="")


def test_the_same_server_unaltered_passes(addresses, known):
    proxy = Proxy(addresses[0])
    try:
        results = list(judged((proxy.endpoint, *addresses[1:]), known, lambda _: True, 10))
    finally:
        proxy.close()
    assert [result for result in results if result.outcome != PASS] == []
    assert len(results) == len(known[0])


@pytest.mark.parametrize(("alter", "code"), [(None, 0), (a_record_has_a_byte_more, 1)])
def test_the_command_ends_with_what_it_found(addresses, tmp_path, alter, code):
    proxy = Proxy(addresses[0], alter)
    command = [sys.executable, "-m", "streams_conformance", "--endpoint", proxy.endpoint, "--only", "records::size"]
    try:
        command += ["--report", str(tmp_path / "report.json")]
        done = subprocess.run(command, cwd=cases.FOLDER.parent, capture_output=True, text=True, check=False)
    finally:
        proxy.close()
    assert done.returncode == code, done.stdout + done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["counts"] == {"pass": 2 * (1 - code), "differs": 2 * code, "skipped": 0, "failed": 0}
    found = {case["case"]: case for case in report["cases"]}["records::size_of_a_remove"]
    assert ("38 expected, found 39" in found["detail"]) == bool(code)
