from __future__ import annotations

from headgate.backoff import Backoff


def waits(chance: float, count: int) -> list[float]:
    backoff = Backoff(0.5, 30.0, lambda: chance)
    return [backoff.next_s() for _ in range(count)]


def test_backoff_waits_double_up_to_the_longest() -> None:
    assert waits(1.0, 8) == [0.5, 1, 2, 4, 8, 16, 30, 30]


def test_a_first_backoff_wait_beyond_the_longest_is_cut_to_it() -> None:
    assert Backoff(0.5, 0.3).next_s() == 0.3


def test_backoff_waits_are_spread_down_to_half() -> None:
    assert waits(0.0, 3) == [0.25, 0.5, 1]


def test_resetting_a_backoff_returns_it_to_the_first_wait() -> None:
    backoff = Backoff(0.5, 30.0)
    first = [backoff.next_s(), backoff.next_s()]
    backoff.reset()
    assert (first, backoff.next_s()) == ([0.5, 1.0], 0.5)


def test_a_backoff_stays_at_the_longest_wait_after_100_000_failures() -> None:
    assert waits(1.0, 100_000)[-1] == 30.0
