"""Single flight: many equal reads wait for one."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import pytest

from gateway.cache.single_flight import SingleFlight
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


async def test_reads_with_different_keys_are_separate() -> None:
    collapse: SingleFlight[int] = SingleFlight()
    reads = Reads()
    waiting = await begun(collapse, reads, [(1, 0, 7), (1, 0, 8), (1, 0, 7), (1, 5, 7)])
    reads.gate.set()
    assert await asyncio.gather(*waiting) == [1, 2, 1, 3]


async def test_the_result_of_a_read_is_not_cached() -> None:
    collapse: SingleFlight[int] = SingleFlight()
    reads = Reads()
    reads.gate.set()
    assert [await collapse.read("a", reads) for _ in range(3)] == [1, 2, 3]


async def test_an_error_reaches_each_waiter_and_the_next_read_starts_again() -> None:
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
async def test_a_waiter_that_leaves_does_not_affect_the_others(leaves: int) -> None:
    collapse: SingleFlight[int] = SingleFlight()
    reads = Reads()
    waiting = await begun(collapse, reads, ["a"] * 10)
    waiting[leaves].cancel()
    await asyncio.sleep(0)
    reads.gate.set()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(outcomes.pop(leaves), asyncio.CancelledError)
    assert outcomes == [1] * 9


async def test_a_shared_read_ends_when_its_last_waiter_leaves() -> None:
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


async def test_an_abandoned_read_that_fails_logs_nothing() -> None:
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
