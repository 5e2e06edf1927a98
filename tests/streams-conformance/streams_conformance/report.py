"""What came out: lines for a terminal, JSON for programs, a table of several targets for a page."""

import json
import platform
import re
from collections import Counter
from dataclasses import asdict, dataclass

# Begins what is said of a known difference that does not show in every run.
SOMETIMES = "sometimes: "

PASS, DIFFERS, SKIPPED, FAILED = "pass", "differs", "skipped", "failed"


@dataclass
class Result:
    """One case on one target. `detail`: what it answered, why it was skipped, or why there is no judgement."""

    case: str
    says: str
    source: str
    outcome: str
    detail: str = ""
    seconds: float = 0.0


def count(results):
    found = Counter(result.outcome for result in results)
    return {outcome: found[outcome] for outcome in (PASS, DIFFERS, SKIPPED, FAILED)}


def as_json(target, results):
    head = {"target": target, "python": platform.python_version(), "counts": count(results)}
    return json.dumps(head | {"cases": [asdict(result) for result in results]}, indent=1, ensure_ascii=False) + "\n"


def surprises(results, expected):
    """What is worth a failure: a case that differs without being expected to, or no longer differs, or was not judged."""
    found = []
    for result in results:
        known = expected.get(result.case)
        if result.outcome == FAILED or (result.outcome == DIFFERS and not known):
            found.append(f"{result.case}: {result.outcome}: {result.detail}")
        if result.outcome == PASS and known and not known.startswith(SOMETIMES):
            found.append(f"{result.case}: passes, but is listed as a known difference: {known}")
    ran = {result.case for result in results}
    return found + [f"{case}: listed as a known difference, but there is no such case" for case in set(expected) - ran]


def steady(text):
    """Without what is another in every run: names of tables, labels of streams, iterators, numbers, times."""
    for pattern, name in (
        (r"\|\d+\|[A-Za-z0-9+/=_.-]+", "|…"),
        (r"streams-conformance-[0-9a-f]{8}-\d+", "TABLE"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}", "LABEL"),
        (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID"),
        (r"\b\d{10}\.\d+\b", "TIME"),
        (r"\b\d{21,40}\b", "NUMBER"),
    ):
        text = re.sub(pattern, name, text)
    return text


def differences(results, known):
    """The known differences that a run shows; what shows only sometimes is kept as it was."""
    found = {result.case: steady(result.detail) for result in results if result.outcome == DIFFERS}
    return found | {case: why for case, why in known.items() if why.startswith(SOMETIMES)}


def table(reports):
    """A page's table of several targets' JSON reports: one row per case."""
    names = [report["target"] for report in reports]
    lines = [f"| Case | What it says | {' | '.join(names)} | Source |", f"|---|---|{'---|' * len(names)}---|"]
    by_case = [{case["case"]: case for case in report["cases"]} for report in reports]
    for case in reports[0]["cases"]:
        cells = [cell(found.get(case["case"])) for found in by_case]
        lines.append(f"| `{case['case']}` | {clean(case['says'])} | {' | '.join(cells)} | {clean(case['source'])} |")
    counts = [", ".join(f"{n} {outcome}" for outcome, n in report["counts"].items() if n) for report in reports]
    lines.append(f"| all {len(reports[0]['cases'])} | | {' | '.join(counts)} | |")
    return "\n".join(lines) + "\n"


def cell(case):
    if case is None:
        return "not run"
    detail = clean(steady(case["detail"]))
    return case["outcome"] if case["outcome"] == PASS else f"**{case['outcome']}**: {detail}" if detail else case["outcome"]


def clean(text):
    text = " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
    return text if len(text) <= 220 else text[:220] + "…"
