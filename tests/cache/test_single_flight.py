"""Single flight: many equal reads wait for one."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import pytest

from gateway.cache.fetches.single_flight import SingleFlight
from gateway.errors import LogUnavailable

if TYPE_CHECKING:
    from collections.abc import Hashable


class Reads:
    """Reads that end when a test says so."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.count = 0
        self.failure: Exception | None = None

    async def __call__(self) -> int:
        self.count += 1
        number = self.count
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return number


async def begun(
    collapse: SingleFlight[int], reads: Reads, keys: list[Hashable]
) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(collapse.read(key, reads)) for key in keys]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def test_equal_reads_at_once_are_one_read() -> None:
    collapse: SingleFlight[int] = SingleFlight()
    reads = Reads()
    waiting = await begun(collapse, reads, ["a"] * 100)
    assert (reads.count, collapse.started, collapse.joined) == (1, 1, 99)
    reads.gate.set()
    assert await asyncio.gather(*waiting) == [1] * 100


async def test_reads_of_other_versions_are_reads_of_their_own() -> None:
    collapse: SingleFlight[int] = SingleFlight()
    reads = Reads()
    waiting = await begun(collapse, reads, [(1, 0, 7), (1, 0, 8), (1, 0, 7), (1, 5, 7)])
    reads.gate.set()
    assert await asyncio.gather(*waiting) == [1, 2, 1, 3]


async def test_what_was_read_is_not_kept() -> None:
    collapse: SingleFlight[int] = SingleFlight()
    reads = Reads()
    reads.gate.set()
    assert [await collapse.read("a", reads) for _ in range(3)] == [1, 2, 3]


async def test_an_error_reaches_each_waiter_and_the_next_read_begins_anew() -> None:
    collapse: SingleFlight[int] = SingleFlight()
    reads = Reads()
    reads.failure = LogUnavailable("no")
    waiting = await begun(collapse, reads, ["a"] * 10)
    reads.gate.set()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert outcomes == [reads.failure] * 10
    reads.failure = None
    assert await collapse.read("a", reads) == 2


@pytest.mark.parametrize("leaves", [0, 5, 9])
async def test_a_waiter_that_leaves_takes_nothing_from_the_others(leaves: int) -> None:
    collapse: SingleFlight[int] = SingleFlight()
    reads = Reads()
    waiting = await begun(collapse, reads, ["a"] * 10)
    waiting[leaves].cancel()
    await asyncio.sleep(0)
    reads.gate.set()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(outcomes.pop(leaves), asyncio.CancelledError)
    assert outcomes == [1] * 9


async def test_a_read_ends_with_the_last_who_waits_for_it() -> None:
    collapse: SingleFlight[int] = SingleFlight()
    reads = Reads()
    cached = len(asyncio.all_tasks())
    waiting = await begun(collapse, reads, ["a"] * 3)
    for task in waiting[:2]:
        task.cancel()
    await asyncio.gather(*waiting[:2], return_exceptions=True)
    assert "a" in collapse
    waiting[2].cancel()
    (again,) = await begun(collapse, reads, ["a"])  # joins nothing that is about to end
    assert reads.count == 2
    assert len(asyncio.all_tasks()) == cached + 2, "the one who waits, and the read"
    reads.gate.set()
    assert await again == 2
    assert "a" not in collapse


async def test_a_read_that_nobody_waits_for_any_more_ends_without_a_sound() -> None:
    loop = asyncio.get_running_loop()
    complaints: list[object] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    collapse: SingleFlight[int] = SingleFlight()
    reads = Reads()
    reads.failure = LogUnavailable("no")
    waiting = await begun(collapse, reads, ["a"] * 3)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    reads.gate.set()
    for _ in range(3):
        await asyncio.sleep(0)
    del waiting
    gc.collect()
    assert complaints == []
    reads.failure = None
    assert await collapse.read("a", reads) == 2
