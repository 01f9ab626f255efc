"""Single flight: many equal reads wait for one."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pytest

from headgate_gateway.errors import LogUnavailable
from headgate_gateway.runtime.single_flight import SingleFlight
from headgate_gateway.stepped import Step
from headgate_gateway.telemetry.metrics import Histogram

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


Start = Callable[[Callable[[], Coroutine[Any, Any, int]]], asyncio.Future[int]]


def in_step(read: Callable[[], Coroutine[Any, Any, int]]) -> asyncio.Future[int]:
    """Read as a handler does that has no task."""
    loop = asyncio.get_running_loop()
    read_by: asyncio.Future[int] = loop.create_future()

    def on_done(value: int | None, error: BaseException | None) -> None:
        if read_by.done():
            assert isinstance(error, asyncio.CancelledError)
        elif error is not None:
            read_by.set_exception(error)
        else:
            read_by.set_result(cast("int", value))

    step = Step(read, on_done)
    read_by.add_done_callback(lambda done: step.cancel() if done.cancelled() else None)
    loop.call_soon(step.run)
    return read_by


def in_task(read: Callable[[], Coroutine[Any, Any, int]]) -> asyncio.Future[int]:
    return asyncio.create_task(read())


@pytest.fixture(params=[in_task, in_step], ids=["in a task", "in a step"])
def start(request: pytest.FixtureRequest) -> Start:
    return cast("Start", request.param)


async def begun(
    start: Start, collapse: SingleFlight[int], reads: Reads, keys: list[Hashable]
) -> list[asyncio.Future[int]]:
    waiting = [start(partial(collapse.read, key, reads)) for key in keys]
    for _ in range(3):
        await asyncio.sleep(0)
    return waiting


async def test_reads_with_different_keys_are_separate(start: Start) -> None:
    collapse = SingleFlight[int]()
    reads = Reads()
    waiting = await begun(start, collapse, reads, [(1, 0, 7), (1, 0, 8), (1, 0, 7), (1, 5, 7)])
    reads.gate.set()
    assert await asyncio.gather(*waiting) == [1, 2, 1, 3]


async def test_the_result_of_a_read_is_not_cached(start: Start) -> None:
    collapse = SingleFlight[int]()
    reads = Reads()
    reads.gate.set()
    assert [await start(partial(collapse.read, "a", reads)) for _ in range(3)] == [1, 2, 3]


async def test_a_result_that_is_there_at_once_counts_as_read_by_one(start: Start) -> None:
    readers = Histogram((1, 2))
    collapse: SingleFlight[int] = SingleFlight(readers)
    reads = Reads()
    reads.gate.set()
    assert [await start(partial(collapse.read, "a", reads)) for _ in range(2)] == [1, 2]
    assert (readers.counts, collapse.started, collapse.joined) == ([2, 0, 0], 2, 0)
    assert not collapse.under_way


async def test_an_error_reaches_each_waiter_and_the_next_read_starts_again(start: Start) -> None:
    collapse = SingleFlight[int]()
    reads = Reads()
    reads.failure = LogUnavailable("no")
    waiting = await begun(start, collapse, reads, ["a"] * 10)
    reads.gate.set()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert outcomes == [reads.failure] * 10
    reads.failure = None
    assert await start(partial(collapse.read, "a", reads)) == 2


@pytest.mark.parametrize("leaves", [0, 5, 9])
async def test_a_waiter_that_leaves_does_not_affect_the_others(leaves: int, start: Start) -> None:
    collapse = SingleFlight[int]()
    reads = Reads()
    waiting = await begun(start, collapse, reads, ["a"] * 10)
    waiting[leaves].cancel()
    await asyncio.sleep(0)
    reads.gate.set()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(outcomes.pop(leaves), asyncio.CancelledError)
    assert outcomes == [1] * 9


async def test_a_shared_read_ends_when_its_last_waiter_leaves(start: Start) -> None:
    collapse = SingleFlight[int]()
    reads = Reads()
    cached = len(asyncio.all_tasks())
    waiting = await begun(start, collapse, reads, ["a"] * 3)
    for task in waiting[:2]:
        task.cancel()
    await asyncio.gather(*waiting[:2], return_exceptions=True)
    assert "a" in collapse.under_way
    waiting[2].cancel()
    (again,) = await begun(start, collapse, reads, ["a"])  # joins nothing that is about to end
    assert reads.count == 2
    its_own = start is in_task
    assert len(asyncio.all_tasks()) == cached + 1 + its_own, "the read, and who waits for it"
    reads.gate.set()
    assert await again == 2
    assert "a" not in collapse.under_way


async def test_an_abandoned_read_that_fails_logs_nothing(start: Start) -> None:
    loop = asyncio.get_running_loop()
    complaints: list[object] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    collapse = SingleFlight[int]()
    reads = Reads()
    reads.failure = LogUnavailable("no")
    waiting = await begun(start, collapse, reads, ["a"] * 3)
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
    assert await start(partial(collapse.read, "a", reads)) == 2
