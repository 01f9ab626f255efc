"""Live readers are ended in lots before a stop."""

from __future__ import annotations

from itertools import pairwise

import pytest

from headgate_gateway.live.feed_state import DRAIN_S, LOT_S, drain_times


@pytest.mark.parametrize(
    ("count", "last_s"), [(0, 0.0), (1, 0.0), (50, 0.0), (500, 0.45), (5000, 1.45)]
)
def test_many_readers_are_ended_over_the_drain_time_and_a_few_at_once(
    count: int, last_s: float
) -> None:
    times = [*drain_times(100.0, count)]
    assert len(times) == count
    assert all(earlier <= later for earlier, later in pairwise(times))
    assert max(times, default=100.0) == pytest.approx(100.0 + last_s)


def test_no_lot_of_5000_readers_has_more_than_a_thirtieth_of_them() -> None:
    times = [*drain_times(0.0, 5000)]
    assert max(times.count(at) for at in set(times)) <= 5000 * LOT_S / DRAIN_S + 1
