"""Print how many tests pass: python -m benchmarks.cache_suite [FOLDER] [--nginx]."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

from tests.cache_suite.suite import (
    KINDS,
    NPM_COPY,
    Result,
    behind_headgate,
    behind_nginx,
    failed,
    passed,
    run,
)

BROWSERS = {"chrome", "firefox", "safari"}


def main() -> None:
    """Run the suite once, and show what is published beside it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cache_suite")
    parser.add_argument("folder", nargs="?", type=Path, default=NPM_COPY, help="the suite")
    parser.add_argument("--nginx", action="store_true", help="judge nginx, to check the harness")
    given = parser.parse_args()
    name, cache = ("nginx here", behind_nginx) if given.nginx else ("Headgate", behind_headgate)
    results = run(given.folder, cache)
    rows = {name: passed(results)} | published(given.folder, results)
    rows |= {"of": Counter(result.kind for result in results)}
    sys.stdout.write(" " * 20 + "".join(f"{kind:>10}" for kind in KINDS) + "\n")
    for row, counts in rows.items():
        sys.stdout.write(f"{row:20}" + "".join(f"{counts[kind]:>10}" for kind in KINDS) + "\n")
    for test, why in failed(results, ("required", "optimal")).items():
        sys.stdout.write(f"{test}: {why}\n")


def published(folder: Path, results: list[Result]) -> dict[str, Counter[str]]:
    """Count what other caches pass, by the results that a checkout of the suite holds."""
    counts = {}
    for file in sorted(folder.glob("results/*.json")):
        if file.stem not in BROWSERS:
            theirs = json.loads(file.read_text())
            counts[file.stem] = Counter(r.kind for r in results if theirs.get(r.id) is True)
    return counts


if __name__ == "__main__":
    main()
