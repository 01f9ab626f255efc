"""The official suite through gateways: what fails is what is documented, and nothing else."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.conformance.test_conformance import (
    SUITE_TIMEOUT_S,
    describe,
    run_part,
)
from tests.support.examples import cases
from tests.support.origin_servers import reference
from tests.support.processes import ROOT, headgate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

LONG_POLL_S = 2
GATEWAYS = {"HEADGATE_LIVE__LONG_POLL_TIMEOUT": str(LONG_POLL_S)}


@contextlib.contextmanager
def behind(gateways: int, workers: int) -> Iterator[str]:
    """The URL of a reference server, or of the outermost of the gateways before it."""
    arguments = ("--workers", str(workers))
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(reference(long_poll_s=LONG_POLL_S)).url
        for _ in range(gateways):
            url = stack.enter_context(headgate(url, arguments=arguments, environment=GATEWAYS)).url
        yield url


def documented(column: int) -> set[str]:
    """The tests that fail by the table of the page, by the column after their name."""
    text = (ROOT / "docs" / "origins.md").read_text()
    table = text.split("## What a gateway cannot repair\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| `")]
    assert all(row[column] in {"fails", "passes"} and row[3] for row in rows)
    return {row[0].strip("`") for row in rows if row[column] == "fails"}


WORKERS_OF = {
    "one gateway": (1, 1),
    "the server itself": (0, 1),
    "a gateway before another": (2, 1),
    "a gateway of two workers": (1, 2),
}


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(SUITE_TIMEOUT_S + 60)
@pytest.mark.parametrize("asked", cases(WORKERS_OF, {"one gateway"}, "one gateway of one worker"))
def test_the_conformance_tests_failing_behind_gateways_are_those_documented(
    tmp_path: Path, asked: str
) -> None:
    gateways, workers = WORKERS_OF[asked]
    with behind(gateways, workers) as url:
        results, to_pass = run_part(url, tmp_path / "report.json", subscriptions=False)
    _assert_fails(results, documented(2 if gateways else 1), to_pass)


def _assert_fails(results: list[dict[str, Any]], documented: set[str], number: int) -> None:
    """Assert that of the tests that were played those fail that a page names, and no others."""
    expected = documented & {result["title"] for result in results}
    failed = {result["title"]: describe(result) for result in results if _is(result, "failed")}
    others = [told for title, told in failed.items() if title not in expected]
    assert not others, f"{len(others)} failed:\n" + "\n".join(others)
    assert set(failed) == expected
    assert sum(_is(result, "passed") for result in results) == number - len(expected)


def _is(result: dict[str, Any], status: str) -> bool:
    return bool(result["status"] == status)
