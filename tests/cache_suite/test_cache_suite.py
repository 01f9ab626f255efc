"""What fails of the public cache suite is what docs/cache-tests.md says, and nothing else."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.cache_suite.suite import NPM_COPY, TIMEOUT_S, behind_headgate, failed, passed, run
from tests.test_docs import document, rows, section

FOLDER = Path(os.environ.get("CACHE_TESTS", NPM_COPY))
TOTALS = {"required": 160, "optimal": 105}
LEAST = {"required": 145, "optimal": 75}

DOCUMENT = document("cache-tests.md")
TABLE = {row[0].strip("*"): row[2:] for row in rows(DOCUMENT.split("\n## ", 1)[0])}
FAILS = {name.strip("`"): kind for name, kind, _ in rows(section(DOCUMENT, "What fails"))}
ONLY_ON_NPM = section(DOCUMENT, "What fails only in the npm package")
FAILS_ON_NPM = {name.strip("`"): kind for name, kind, _ in rows(ONLY_ON_NPM)}


def documented(of_npm: bool) -> dict[str, int]:
    """How many tests pass of each kind."""
    figures = TABLE["Headgate"]
    if of_npm:
        found = re.search(r"passes (\d+) of \d+ required and (\d+) of \d+ optimal", ONLY_ON_NPM)
        assert found is not None
        figures = list(found.groups())
    return dict(zip(TOTALS, (int(figure.strip("*")) for figure in figures), strict=True))


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(TIMEOUT_S + 60)
def test_the_cache_tests_that_fail_are_exactly_those_documented() -> None:
    results = run(FOLDER, behind_headgate)
    of_npm = FOLDER == NPM_COPY
    known = FAILS | (FAILS_ON_NPM if of_npm else {})
    there = {result.id for result in results}
    found = failed(results, ("required", "optimal"))
    assert {name: why for name, why in found.items() if name not in known} == {}
    assert (known.keys() & there) - found.keys() == set(), "documented to fail, but pass"
    counts = passed(results)
    assert {kind: counts[kind] for kind in TOTALS} == documented(of_npm)
