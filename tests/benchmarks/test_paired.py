"""Ratios of two checkouts are told with bounds that say how sure they are."""

from __future__ import annotations

import pytest

from benchmarks.paired import spread


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
