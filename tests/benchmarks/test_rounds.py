"""What a bench tells while it waits for the machine."""

from __future__ import annotations

import subprocess
import sys
from itertools import chain, repeat
from typing import TYPE_CHECKING

from benchmarks.rounds import await_quiet
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest

WAITS = (
    "waiting up to {} s for a quiet machine: "
    "1.50 of its 2 cores are busy with something else, 0.1 may be\n"
)


def _told(
    busy: Iterable[float], within_s: float, capsys: pytest.CaptureFixture[str]
) -> tuple[str, str]:
    await_quiet(iter(busy).__next__, within_s)
    told = capsys.readouterr()
    return told.out, told.err


def test_a_bench_on_a_quiet_machine_starts_without_a_message(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _told([0.1], 20.0, capsys) == ("", "")


def test_a_bench_that_waits_for_a_quiet_machine_says_so_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _told([1.5, 1.4, 0.2, 0.05], 20.0, capsys) == ("", WAITS.format(20))


def test_a_bench_on_a_busy_machine_says_that_it_measures_all_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = f"{WAITS.format(0)}it is not quiet, 1.25 cores are busy: measuring all the same\n"
    assert _told(chain([1.5], repeat(1.25)), 0.0, capsys) == ("", told)


def test_the_bench_help_mentions_the_wait_for_a_quiet_machine() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--help"],
        cwd=ROOT,
        text=True,
        capture_output=True,
        check=True,
    )
    assert "waits up to 20 s for a quiet machine" in " ".join(done.stdout.split())
