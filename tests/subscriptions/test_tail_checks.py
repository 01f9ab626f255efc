"""The checks of an origin's tails are bounded, and none is forgotten while it is away."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from gateway.features.subscriptions.origins import tail_checks
from gateway.features.subscriptions.origins.tail_checks import TailChecks
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence


class CheckedOrigin:
    """An origin whose streams are checked, until it is let go on; it may be away."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.running = self.most = 0
        self.is_away = False
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    async def check(self, name: str) -> bool:
        """Note a check, and wait."""
        self.running += 1
        self.most = max(self.most, self.running)
        await self.goes_on.wait()
        self.running -= 1
        if not self.is_away:
            self.names.append(name)
        return not self.is_away


@contextlib.asynccontextmanager
async def checks_of(origin: CheckedOrigin, names: Sequence[str]) -> AsyncIterator[TailChecks]:
    """Checks that end with the block."""
    checks = TailChecks(lambda: names, origin.check)
    checks.start()
    try:
        yield checks
    finally:
        await checks.close()


async def test_a_few_checks_are_under_way_at_once_and_all_streams_are_compared() -> None:
    origin, names = CheckedOrigin(), [f"s{number}" for number in range(100)]
    origin.goes_on.clear()
    async with checks_of(origin, ()) as checks:
        compared = checks.compare_all(names)
        await until(lambda: origin.running == tail_checks.AT_ONCE)
        origin.goes_on.set()
        await compared
    assert sorted(origin.names) == sorted(names)
    assert origin.most == tail_checks.AT_ONCE


async def test_nothing_is_compared_until_each_stream_could_be_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tail_checks, "PAUSE_S", 0.02)
    origin = CheckedOrigin()
    origin.is_away = True
    async with checks_of(origin, ()) as checks:
        compared = checks.compare_all(["a", "b"])
        await until(lambda: origin.most > 0 and not origin.running)
        assert not compared.done()
        origin.is_away = False
        await compared
    assert sorted(origin.names) == ["a", "b"]


async def test_all_streams_have_their_turn_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tail_checks, "PERIOD_S", 0.03)
    origin = CheckedOrigin()
    async with checks_of(origin, ["a", "b", "c"]):
        await until(lambda: len(origin.names) >= 9)
    assert origin.names[:9] == ["a", "b", "c"] * 3


async def test_a_stream_in_doubt_comes_first_and_once() -> None:
    origin = CheckedOrigin()
    async with checks_of(origin, ()) as checks:
        checks.later("a", 60.0)
        checks.later("a", 60.0)
        checks.soon("a")
        await until(lambda: origin.names == ["a"])
    assert origin.names == ["a"]


@pytest.mark.parametrize(("number", "delay_s"), [(0, 10.0), (500, 10.0), (5_000, 100.0)])
def test_the_longest_delay_grows_with_the_number_of_streams(number: int, delay_s: float) -> None:
    async def measure() -> float:
        return TailChecks(lambda: range(number), CheckedOrigin().check).longest_delay_s  # type: ignore[arg-type, return-value] # only counted

    assert asyncio.run(measure()) == delay_s


async def test_a_comparison_that_is_stopped_is_over_and_the_next_one_ends_by_itself() -> None:
    origin = CheckedOrigin()
    origin.is_away = True
    async with checks_of(origin, []) as checks:
        stopped = checks.compare_all(["a", "b"])
        assert checks.compare_all(["c"]) is stopped
        checks.stop()  # the last subscription is gone
        assert stopped.cancelled()
        origin.is_away = False
        checks.start()
        await asyncio.wait_for(checks.compare_all(["d"]), 5.0)
        assert origin.names == ["d"]
