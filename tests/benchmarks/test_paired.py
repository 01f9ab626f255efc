"""Ratios of two checkouts are told with bounds that say how sure they are."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.paired import TURNS, compared, spread

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

    from benchmarks.tools import Figures


@pytest.mark.parametrize(
    ("ratios", "told"),
    [
        ([1.0] * 30, "1.000 (1.000 to 1.000)"),
        # The sign test's bounds for 30: the 10th and the 21st of them (the exact ones, too).
        ([1 + number / 100 for number in range(30)], "1.145 (1.090 to 1.200)"),
        ([0.9], "0.900 (0.900 to 0.900)"),
    ],
    ids=["all alike", "thirty", "one"],
)
def test_a_paired_median_is_shown_with_its_confidence_bounds(
    ratios: list[float], told: str
) -> None:
    assert spread(ratios[::-1]) == told


def test_each_turn_of_a_paired_bench_gives_one_ratio_without_the_warm_up() -> None:
    turns = itertools.count(1)

    def load(_: ExitStack, program: Path) -> Callable[[], Figures]:
        def turn() -> Figures:
            is_other = program == Path("other")
            rate = 1.0 if is_other else float(next(turns))
            return {"per_s": rate, "server_cpu": 1.0, "p50_ms": 1 / rate}

        return turn

    ratios, longer_ms = compared(load, Path("other"), starts=2)
    measured = [*range(2, TURNS + 2), *range(TURNS + 3, 2 * TURNS + 3)]  # a start's first is warm
    assert ratios["rate"] == measured
    assert {len(found) for found in [*ratios.values(), longer_ms]} == {2 * TURNS}
