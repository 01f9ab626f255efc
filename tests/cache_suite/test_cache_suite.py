"""What fails of the public cache suite is what docs/cache-tests.md says, and nothing else."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from tests.cache_suite.page import TARGETS, TOTALS, known_failures, passing
from tests.cache_suite.suite import (
    KINDS,
    NPM_COPY,
    TIMEOUT_S,
    behind_headgate,
    behind_target,
    failed,
    passed,
    run,
)

FOLDER = Path(os.environ.get("CACHE_TESTS", NPM_COPY))
# Where one of these fails, a cache in front gives a response to the wrong reader, or for too long.
DECISIVE = (
    # Repeated lines, as Headgate joins them.
    "freshness-max-age-s-maxage-shared-longer-multiple",
    *("vary-syntax-star-star-lines", "vary-syntax-empty-star-lines", "vary-syntax-star-star"),
    *("vary-syntax-empty-star", "vary-syntax-star-foo", "vary-syntax-foo-star"),
    # Age
    *("age-parse-prefix", "age-parse-suffix", "age-parse-suffix-twoline"),
    "freshness-max-age-age",
    # Vary
    *("vary-match", "vary-no-match", "vary-omit-stored", "vary-omit", "vary-invalidate"),
    *("vary-cache-key", "vary-2-no-match", "vary-3-no-match", "vary-star"),
)


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(TIMEOUT_S + 60)
def test_the_cache_tests_that_fail_are_exactly_those_documented() -> None:
    results = run(FOLDER, behind_headgate)
    of_npm = FOLDER == NPM_COPY
    known = known_failures(of_npm=of_npm)
    there = {result.id for result in results}
    found = failed(results, ("required", "optimal"))
    assert {name: why for name, why in found.items() if name not in known} == {}
    assert (known.keys() & there) - found.keys() == set(), "documented to fail, but pass"
    counts = passed(results)
    assert {kind: counts[kind] for kind in TOTALS} == passing(of_npm=of_npm)


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(TIMEOUT_S + 60)
@pytest.mark.parametrize("target", TARGETS.values())
def test_repeated_lines_age_and_vary_count_through_the_rendered_file(target: str) -> None:
    results = run(FOLDER, partial(behind_target, target), DECISIVE)
    assert {result.id for result in results} == set(DECISIVE)
    assert failed(results, KINDS) == {}
