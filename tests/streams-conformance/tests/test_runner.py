"""The runner itself: its files, its patterns, its judgement of expected differences."""

import json
from pathlib import Path

import pytest
from streams_conformance import cases, report
from streams_conformance.matching import NOTHING, Wrong, difference, expand
from streams_conformance.report import DIFFERS, FAILED, PASS, SKIPPED, Result

HERE = Path(__file__).resolve().parent.parent


def test_cases_are_many_and_named_with_their_source():
    known, _ = cases.read()
    assert len(known) >= 150 and len({c["title"] for c in known}) == len(known)
    assert {c["group"] for c in known} >= {"records", "numbers", "lineage", "closing", "trimming", "iterators", "paging"}


@pytest.mark.parametrize(
    "broken",
    [
        {"name": "x", "says": "y", "source": "z", "steps": [{"jump": 1}]},
        {"name": "x", "says": "y", "steps": [{"put": {}}]},
        {"name": "x", "says": "y", "source": "z", "steps": [{"check": "nothing_of_the_kind"}]},
        {"name": "x", "says": "y", "source": "z", "needs": ["luck"], "steps": [{"put": {}}]},
        {"name": "x", "says": "y", "source": "z", "stpes": [], "steps": [{"put": {}}]},
    ],
)
def test_a_case_that_cannot_run_is_refused(tmp_path, broken):
    (tmp_path / "tables.json").write_text('{"one": {}}')
    (tmp_path / "some.json").write_text(json.dumps([broken]))
    with pytest.raises(Wrong):
        cases.read(tmp_path)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ({"a": "$absent"}, {"a": None}),
        ({"a": None}, {}),
        ({"a": 1}, {"a": True}),
        ({"a": "$integer"}, {"a": 1.5}),
        ({"a": "$string"}, {"a": ""}),
        ({"a": "1"}, {"a": 1}),
        ([1], [1, 2]),
        ({"SS": ["a", "b"]}, {"SS": ["a", "a"]}),
        ("INSERT a", {"eventName": "INSERT", "dynamodb": {"Keys": {"id": {"S": "b"}}}}),
        ("$length 2", [1]),
        ("$matches a+", "aab"),
        ("x", NOTHING),
    ],
)
def test_a_pattern_refuses(pattern, found):
    assert difference(pattern, found)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ({"a": "$absent"}, {"b": None}),
        ({"a": 1}, {"a": 1.0, "b": 2}),
        ({"SS": ["a", "b"]}, {"SS": ["b", "a"]}),
        ("INSERT a", {"eventName": "INSERT", "dynamodb": {"Keys": {"id": {"S": "a"}}}}),
        ("$integer", 5.0),
        ("$list", []),
    ],
)
def test_a_pattern_accepts(pattern, found):
    assert difference(pattern, found) is None


def test_values_are_made():
    names = {"iterator": "arn|1|abcdef", "n": "000000000000000000099"}
    assert expand({"$cut": ["$iterator", 2]}, names) == "arn|1|abcd"
    assert expand({"$cut_before": ["$iterator", "|"]}, names) == "1|abcdef"
    assert expand({"$flip": ["$iterator", -1]}, names) == "arn|1|abcdeA"
    assert expand({"$plus": ["$n", 1]}, names) == "000000000000000000100"
    assert expand({"$now": -60}, {"now": 1000}) == "940"
    assert expand({"x $n": ["$unknown"]}, names) == {"x 000000000000000000099": ["$unknown"]}


def test_expected_differences_are_no_surprise_and_nothing_else_is():
    results = [Result(name, "", "", outcome) for name, outcome in
               [("a", PASS), ("b", DIFFERS), ("c", SKIPPED), ("d", DIFFERS), ("e", FAILED), ("f", PASS)]]  # fmt: skip
    found = report.surprises(results, {"a": "sometimes: known", "b": "known", "f": "no longer", "g": "gone"})
    assert [line.partition(":")[0] for line in found] == ["d", "e", "f", "g"]


def test_requirements_are_those_of_the_sdk_tests():
    ours = (HERE / "requirements.txt").read_text().split()
    theirs = (HERE.parent / "sdk" / "python" / "requirements.txt").read_text().split()
    assert set(ours) <= set(theirs)
