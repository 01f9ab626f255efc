"""The bucket of one client: the last that goes in, the first that does not, and when again."""

from __future__ import annotations

import pytest

from headgate_gateway.runtime import quotas
from headgate_gateway.runtime.quotas import ClientRate
from tests.support.manual_clock import ManualClock


def let_in(rate: ClientRate, who: str, tries: int) -> int:
    """How many of so many tries, all at once."""
    count = 0
    for _ in range(tries):
        if not rate.again_s(who):
            rate.count(who, 1)
            count += 1
    return count


@pytest.mark.parametrize("most", [1, 3, 10, 1000])
@pytest.mark.parametrize("period_s", [1.0, 3600.0])
def test_a_client_gets_exactly_its_allowance_at_once(most: int, period_s: float) -> None:
    rate = ClientRate(most, period_s, ManualClock(1000.0))
    assert let_in(rate, "a", most + 5) == most
    assert let_in(rate, "b", 1) == 1


def test_a_client_regains_its_allowance_as_time_passes() -> None:
    clock = ManualClock(1000.0)
    rate = ClientRate(10, 1.0, clock)
    assert let_in(rate, "a", 11) == 10
    clock.now += 0.5
    assert let_in(rate, "a", 11) == 5
    clock.now += 60.0
    assert let_in(rate, "a", 11) == 10  # no more than at once is saved up


@pytest.mark.parametrize(
    ("amount", "again_s"), [(9, 0), (10, 1), (15, 1), (19, 1), (20, 2), (110, 11)]
)
def test_a_larger_amount_makes_the_client_wait_longer(amount: int, again_s: int) -> None:
    rate = ClientRate(10, 1.0, ManualClock(1000.0))
    rate.count("a", amount)
    assert rate.again_s("a") == again_s


def test_a_client_that_waits_as_long_as_again_s_says_has_room() -> None:
    clock = ManualClock(1000.0)
    rate = ClientRate(100, 3600.0, clock)
    let_in(rate, "a", 101)
    rate.count("a", 250)
    clock.now += rate.again_s("a") + 0.001
    assert rate.again_s("a") == 0


def test_without_a_limit_no_client_is_remembered() -> None:
    rate = ClientRate(0, 1.0, ManualClock(1000.0))
    assert not rate
    assert let_in(rate, "a", 1000) == 1000
    assert len(rate) == 0


def test_the_number_of_remembered_clients_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "MOST_CLIENTS", 100)
    rate = ClientRate(1, 1.0, ManualClock(1000.0))
    for number in range(1000):
        rate.count(f"{number}", 1)
    assert len(rate) == 100
    assert rate.again_s("999") == 1
    assert rate.again_s("899") == 0  # who has been quiet longest begins anew
