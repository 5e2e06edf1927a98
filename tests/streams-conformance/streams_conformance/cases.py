"""The cases: JSON files, each a list; and the tables they begin with."""

import json
from pathlib import Path

from .checks import CHECKS
from .matching import Wrong
from .steps import STEPS
from .target import REASONS

FOLDER = Path(__file__).resolve().parent.parent / "cases"
MEMBERS = {"name", "says", "source", "table", "needs", "alone", "steps"}


def read(folder=FOLDER):
    """All cases in order of their files, and the tables; a case that cannot be run as written is refused."""
    tables = json.loads((folder / "tables.json").read_text())
    cases, names = [], set()
    for path in sorted(folder.glob("*.json")):
        if path.name == "tables.json":
            continue
        for case in json.loads(path.read_text()):
            case = {**case, "group": path.stem}
            case["title"] = f"{path.stem}::{case.get('name')}"
            examine(case, tables)
            if case["title"] in names:
                raise Wrong(f"{case['title']} stands twice")
            names.add(case["title"])
            cases.append(case)
    return cases, tables


def examine(case, tables):
    def refuse(why):
        raise Wrong(f"{case['title']}: {why}")

    for member in ("name", "says", "source", "steps"):
        if not case.get(member):
            refuse(f"lacks {member}")
    if unknown := set(case) - MEMBERS - {"group", "title"}:
        refuse(f"unknown members: {unknown}")
    if unknown := set(case.get("needs", [])) - set(REASONS):
        refuse(f"unknown needs: {unknown}")
    if case.get("table", "one") not in tables:
        refuse(f"no such table: {case['table']}")
    for step in case["steps"]:
        kind = next(iter(step))
        if kind not in STEPS:
            refuse(f"{kind} is no step")
        checks = step.get("check", [])
        if unknown := set([checks] if isinstance(checks, str) else checks) - set(CHECKS):
            refuse(f"unknown checks: {unknown}")
