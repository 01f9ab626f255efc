"""A bench waits for a quiet machine as its page says, and says so."""

from __future__ import annotations

from itertools import chain, repeat
from typing import TYPE_CHECKING

import pytest

from benchmarks.rounds import await_quiet

if TYPE_CHECKING:
    from collections.abc import Iterable

WAITS = (
    "waiting up to {} s for a quiet machine: "
    "1.50 of its 2 cores are busy with something else, 0.1 may be\n"
)


@pytest.mark.parametrize(
    ("busy", "within_s", "told"),
    [
        pytest.param([0.1], 20.0, "", id="a quiet machine"),
        pytest.param([1.5, 1.4, 0.2, 0.05], 20.0, WAITS.format(20), id="quiet after a while"),
        pytest.param(
            chain([1.5], repeat(1.25)),
            0.0,
            f"{WAITS.format(0)}it is not quiet, 1.25 cores are busy: measuring all the same\n",
            id="never quiet",
        ),
    ],
)
def test_a_bench_says_once_that_it_waits_and_measures_a_busy_machine_all_the_same(
    busy: Iterable[float], within_s: float, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await_quiet(iter(busy).__next__, within_s)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", told)
