"""Print how many tests pass: python -m benchmarks.cache_suite [FOLDER] [--through TARGET]."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.report import Column, Section, at_most
from benchmarks.rounds import tell
from tests.cache_suite.page import HEADGATE, TARGETS, known_failures
from tests.cache_suite.suite import (
    KINDS,
    NPM_COPY,
    Cache,
    Result,
    behind_headgate,
    behind_nginx,
    behind_target,
    failed,
    passed,
    run,
)

if TYPE_CHECKING:
    from benchmarks.report import Verdict
    from benchmarks.rounds import Measured, Plan

BROWSERS = {"chrome", "firefox", "safari"}
STOCK = "stock-nginx"
JUDGED = ("required", "optimal")


def bench(_: Plan) -> Section:
    """Run the suite through Headgate, and through the rendered files before it."""
    folder = Path(os.environ.get("CACHE_TESTS", NPM_COPY))
    found: dict[str, Measured] = {}
    verdicts: list[Verdict] = []
    for name, cache in _caches().items():
        tell(f"{name}: a minute")
        results = run(folder, cache)
        known = known_failures(name, of_npm=folder == NPM_COPY)
        news = failed(results, JUDGED).keys() - known.keys()
        if news:
            # Alone: of the whole suite, one test fails now and then because of another one.
            news = set(failed(run(folder, cache, news), JUDGED))
        of, passing = Counter(it.kind for it in results), passed(results)
        found[name] = {kind: {"passed": passing[kind], "of": of[kind]} for kind in JUDGED}
        for one in sorted(news):
            tell(f"{name}: {one} fails, which docs/cache-tests.md does not say")
        verdicts.append(at_most(f"{name}: undocumented failures", len(news), 0, "tests"))
    return Section(
        title="the public test suite for HTTP caches",
        columns=(Column("passed", "passed"), Column("of", "of")),
        servers=found,
        verdicts=verdicts,
    )


def main() -> None:
    """Run the suite once, and show what is published beside it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cache_suite")
    parser.add_argument("folder", nargs="?", type=Path, default=NPM_COPY, help="the suite")
    parser.add_argument(
        "--through",
        choices=[*TARGETS.values(), STOCK],
        help="the rendered file of a target before Headgate; or a stock nginx alone, to check the "
        "harness",
    )
    given = parser.parse_args()
    caches = {None: behind_headgate, STOCK: behind_nginx}
    cache = caches.get(given.through) or partial(behind_target, given.through)
    results = run(given.folder, cache)
    rows = {given.through or HEADGATE: passed(results)} | published(given.folder, results)
    rows |= {"of": Counter(result.kind for result in results)}
    sys.stdout.write(" " * 20 + "".join(f"{kind:>10}" for kind in KINDS) + "\n")
    for row, counts in rows.items():
        sys.stdout.write(f"{row:20}" + "".join(f"{counts[kind]:>10}" for kind in KINDS) + "\n")
    for test, why in failed(results, JUDGED).items():
        sys.stdout.write(f"{test}: {why}\n")


def published(folder: Path, results: list[Result]) -> dict[str, Counter[str]]:
    """Count what other caches pass, by the results that a checkout of the suite holds."""
    counts = {}
    for file in sorted(folder.glob("results/*.json")):
        if file.stem not in BROWSERS:
            theirs = json.loads(file.read_text())
            counts[file.stem] = Counter(r.kind for r in results if theirs.get(r.id) is True)
    return counts


def _caches() -> dict[str, Cache]:
    caches: dict[str, Cache] = {HEADGATE: behind_headgate}
    return caches | {name: partial(behind_target, target) for name, target in TARGETS.items()}


if __name__ == "__main__":
    main()
