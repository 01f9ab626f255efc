"""The official conformance suite, run by vitest against a started Headgate."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.examples import IS_WHOLE, cases
from tests.support.processes import NODE, ROOT, headgate

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SUITE = ROOT / "tests" / "conformance" / "suite"
SUITE_TIMEOUT_S = 400
WAITS = {"HEADGATE_LIVE__LONG_POLL_TIMEOUT": "2"}
PASSED = 332
SUBSCRIPTION_TESTS = 6  # beside those
SUBSCRIPTIONS = "Reserved subscription APIs"  # their group
# Of each property: the suite's own numbers are 10 to 50, which `make torture` has.
FEW_EXAMPLES = 100 if IS_WHOLE else 3
# Where a set-up differs from others only in who is asked, these are played, which take seconds;
# `make torture` plays the whole suite there, too.
PART = (
    *("Basic Stream Operations", "Append Operations", "Read Operations", "Long-Poll Operations"),
    *("HTTP Protocol", "Idempotent Producer Operations", "Read-Your-Writes Consistency"),
    *("Caching and ETag", "SSE Mode", "Stream Closure", "Fork - Live Modes"),
)
PASSED_OF_PART = 134


@pytest.mark.usefixtures("processes")
@pytest.mark.smoke
@pytest.mark.timeout(SUITE_TIMEOUT_S + 60)
@pytest.mark.parametrize("scheme", cases(["memory", "file"], {"file"}, "file"))
def test_the_official_conformance_suite_passes_on_memory_and_file(
    scheme: str, tmp_path: Path
) -> None:
    origin = "memory:" if scheme == "memory" else f"file:{tmp_path / 'log'}"
    with headgate(origin, environment=WAITS) as server:
        results = run_suite(server.url, tmp_path / "report.json", subscriptions=True)
    failed = [describe(result) for result in results if result["status"] == "failed"]
    assert not failed, f"{len(failed)} failed:\n" + "\n".join(failed)
    passed = [result for result in results if result["status"] == "passed"]
    assert len(passed) == len(results) == PASSED + SUBSCRIPTION_TESTS


def run_part(
    url: str, report: Path, *, subscriptions: bool = False
) -> tuple[list[dict[str, Any]], int]:
    """Return the tests of the suite's part, or of the whole suite, and how many are to pass."""
    part = (*PART, SUBSCRIPTIONS) if subscriptions else PART
    more = SUBSCRIPTION_TESTS if subscriptions else 0
    results = run_suite(url, report, () if IS_WHOLE else part, subscriptions=subscriptions)
    assert len(results) == PASSED + SUBSCRIPTION_TESTS
    if IS_WHOLE:
        return results, PASSED + more
    chosen = [one for one in results if one["ancestorTitles"][0] in part]
    return chosen, PASSED_OF_PART + more


def run_suite(
    url: str, report: Path, groups: Sequence[str] = (), *, subscriptions: bool = False
) -> list[dict[str, Any]]:
    """Every test of the suite with its status, as vitest reports it.

    Only tests of these groups are played, if they are given. Without `subscriptions` their tests
    are reported as skipped.
    """
    names = "|".join(map(re.escape, groups))
    most = {"CONFORMANCE_EXAMPLES": str(FEW_EXAMPLES)}
    if subscriptions:
        most["CONFORMANCE_SUBSCRIPTIONS"] = "yes"
    vitest = subprocess.run(
        [
            *(str(NODE), "node_modules/vitest/vitest.mjs", "run"),
            *("--reporter=json", f"--outputFile={report}"),
            *(("--testNamePattern", f"^({names}) ") if groups else ()),
        ],
        cwd=SUITE,
        env={**os.environ, **most, "CONFORMANCE_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=SUITE_TIMEOUT_S,
        check=False,
    )
    # It also ends with an error when tests fail, and those are told one by one.
    assert report.exists(), vitest.stdout.decode(errors="replace")
    files = json.loads(report.read_text(encoding="utf-8"))["testResults"]
    return [result for file in files for result in file["assertionResults"]]


def describe(result: dict[str, Any]) -> str:
    """A failed test's name with the first line of each message."""
    messages = (message.splitlines()[0] for message in result["failureMessages"])
    return " > ".join((*result["ancestorTitles"], result["title"])) + ": " + "; ".join(messages)
