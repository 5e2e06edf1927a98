"""`python -m streams_conformance --endpoint URL`: what an endpoint does with each case."""

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import cases, report
from .control import Control
from .matching import Wrong
from .reading import Differs
from .report import DIFFERS, FAILED, PASS, SKIPPED, Result
from .steps import Context
from .target import KINDS, REASONS, Target, Unreachable


def arguments():
    parser = argparse.ArgumentParser(prog="python -m streams_conformance", description=__doc__)
    parser.add_argument("--endpoint", help="the target's URL; without it, AWS itself")
    parser.add_argument("--target", choices=sorted(KINDS), help="what it is; `aws` without --endpoint, else `other`")
    parser.add_argument("--name", help="how the report calls it, with its version")
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--control", help="URL of Headwater's control interface; its token in HEADWATER_TOKEN")
    parser.add_argument("--second", help="URL of another server of the same kind: its iterators are foreign here")
    parser.add_argument("--only", default="", help="only cases whose name has this text")
    parser.add_argument("--parallel", type=int, default=8, help="cases at a time")
    parser.add_argument("--expect", type=Path, help="JSON file of known differences: they are no failure")
    parser.add_argument("--write-expect", type=Path, help="writes that file from this run")
    parser.add_argument("--report", type=Path, help="writes the results as JSON")
    parser.add_argument("--quiet", action="store_true", help="prints only what does not pass")
    parser.add_argument("--list", action="store_true", help="lists the cases and ends")
    parser.add_argument("--table", nargs="+", type=Path, metavar="REPORT", help="prints a table of JSON reports and ends")
    return parser.parse_args()


def judge(target, case, tables):
    """One case's result; nothing that a target does ends the run."""
    missing = [need for need in case.get("needs", []) if need not in target.can]
    result = Result(case["title"], case["says"], case["source"], PASS)
    begin = time.monotonic()
    if missing:
        result.outcome, result.detail = SKIPPED, REASONS[missing[0]]
        return result
    try:
        Context(target, case, tables).run()
    except Differs as why:
        result.outcome, result.detail = DIFFERS, str(why)
    except Unreachable as why:
        # A call that every step relies on was refused or not answered: no judgement, and that is told apart.
        result.outcome, result.detail = DIFFERS if target.answers() else FAILED, str(why)
    except (KeyError, TypeError, ValueError, AttributeError) as why:
        result.outcome, result.detail = DIFFERS, f"an answer without what must be in it: {type(why).__name__} {why}"
    result.seconds = round(time.monotonic() - begin, 3)
    return result


def run(target, chosen, tables, parallel, show):
    """Cases side by side; those that move what others stand on (the clock, everyone's iterators) one by one at the end."""
    alone = [case for case in chosen if case.get("alone")]
    beside = [case for case in chosen if not case.get("alone")]
    found = {}
    with ThreadPoolExecutor(parallel) as pool:
        for result in pool.map(lambda case: judge(target, case, tables), beside):
            found[result.case] = result
            show(result)
    for case in alone:
        found[case["title"]] = judge(target, case, tables)
        show(found[case["title"]])
    return [found[case["title"]] for case in chosen]


def main():
    options = arguments()
    if options.table:
        print(report.table([json.loads(path.read_text()) for path in options.table]), end="")
        return 0
    try:
        known, tables = cases.read()
    except Wrong as why:
        sys.exit(f"cases: {why}")
    chosen = [case for case in known if options.only in case["title"]]
    if options.list:
        for case in chosen:
            print(f"{case['title']}: {case['says']} [{case['source']}]")
        print(f"{len(chosen)} cases, {sum('unverified' in case['source'] for case in chosen)} of them unverified in part")
        return 0
    kind = options.target or ("other" if options.endpoint else "aws")
    control = Control(options.control) if options.control else None
    second = Target(kind, options.second, options.region) if options.second else None
    target = Target(kind, options.endpoint, options.region, control, second)
    if not target.answers():
        sys.exit(f"{options.endpoint or 'AWS'} does not answer")
    begin = time.monotonic()

    def show(result):
        if not options.quiet or result.outcome in (DIFFERS, FAILED):
            detail = f"\n         {result.detail}" if result.detail else ""
            print(f"{result.outcome:8} {result.case}{detail}", flush=True)

    results = run(target, chosen, tables, options.parallel, show)
    return finish(options, options.name or kind, results, time.monotonic() - begin)


def finish(options, name, results, seconds):
    counts = report.count(results)
    print(f"{name}: {len(results)} cases in {seconds:.0f} s: " + ", ".join(f"{n} {outcome}" for outcome, n in counts.items()))
    if options.report:
        options.report.write_text(report.as_json(name, results))
    expected = json.loads(options.expect.read_text()) if options.expect else {}
    if options.write_expect:
        expected = report.differences(results, expected)
        options.write_expect.write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n")
    found = report.surprises(results, {c: w for c, w in expected.items() if options.only in c})
    for line in found:
        print(f"not expected: {line}")
    judged = counts[PASS] + counts[DIFFERS]
    if not judged:
        print("no case was judged")
    return 1 if found or not judged else 0


if __name__ == "__main__":
    sys.exit(main())
