"""One run of pytest that also writes down how it went, test by test.

`python -m tests.recorder FILE ...` is `pytest ...`, with its exit status.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import forking
from tests.outcomes import Failure, Outcomes, write

if TYPE_CHECKING:
    from collections.abc import Sequence


class Recorder:
    """A plugin of pytest; with workers it hears of everything in the first process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._passed: set[str] = set()
        self._failed: dict[str, list[str]] = {}
        self._is_whole = True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A phase of a test is over."""
        if report.failed:
            self._failed.setdefault(report.nodeid, []).append(_told(report))
            self._is_whole &= report.when != forking.CRASHED
        elif report.when == "call" and report.passed:
            self._passed.add(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file's tests were looked for."""
        self._is_whole &= not report.failed

    def pytest_internalerror(self) -> None:
        """Pytest itself, or a plugin, broke."""
        self._is_whole = False

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Every test had its turn, unless the session was told to stop before."""
        is_cut = bool(session.shouldstop or session.shouldfail)
        outcomes = Outcomes(
            passed=len(self._passed - self._failed.keys()),
            failures=tuple(
                Failure(node_id, "\n".join(told)) for node_id, told in self._failed.items()
            ),
            is_whole=self._is_whole and not is_cut,
            seed=_seed(session.config),
        )
        write(outcomes, self._path)


def _told(report: pytest.TestReport) -> str:
    parts = [f"{report.when} of {report.nodeid}, {report.duration:.2f} s", report.longreprtext]
    parts += [f"---- {title} ----\n{text}" for title, text in report.sections]
    return "\n".join(parts)


def _seed(config: pytest.Config) -> int | None:
    seed = config.getoption("randomly_seed", None)
    return seed if isinstance(seed, int) and config.pluginmanager.hasplugin("randomly") else None


def main(arguments: Sequence[str]) -> int:
    """Run pytest with all arguments but the first, which names the file to write."""
    path, *others = arguments
    return int(pytest.main(list(others), plugins=[forking, Recorder(Path(path))]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
