"""Work beside requests: tasks, their results, and long computations in turns."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from headgate.retries import Backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

STEADY_S = 10.0  # a child process that lived so long is replaced at once
FIRST_PAUSE_S = 0.25  # before the next one, doubled while they end sooner
LONGEST_PAUSE_S = 15.0


class Background(ABC):
    """A task that its owner starts and stops; both may be called repeatedly."""

    _task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the task on the running loop, unless it runs."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Cancel the task, and wait for its end."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @abstractmethod
    async def _run(self) -> None:
        """Work until cancelled; an implementation catches the failures of its steps."""


async def keep_running(
    run: Callable[[], Awaitable[str]],
    on_end: Callable[[str, float], None],
    stopping: asyncio.Event,
) -> None:
    """Run a child process, and another one whenever it ends, until `stopping` is set.

    `run` returns how one has ended. `on_end` gets that, and the seconds before the next one starts.
    """
    loop = asyncio.get_running_loop()
    backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
    while not stopping.is_set():
        began = loop.time()
        ended = await run()
        if stopping.is_set():
            return
        pause_s = 0.0
        if loop.time() - began >= STEADY_S:
            backoff.reset()
        else:
            pause_s = backoff.next_s()
        on_end(ended, pause_s)
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await stopping.wait()


T = TypeVar("T")

LONGEST_TURN_S = 0.002  # a pass of the loop costs little in comparison


def settle(done: asyncio.Future[T], outcome: T | Exception) -> None:
    """Set the result or error that a caller waits for, unless the caller was cancelled."""
    if done.done():
        return
    if isinstance(outcome, Exception):
        done.set_exception(outcome)
    else:
        done.set_result(outcome)


def at_once(steps: Generator[None, None, T]) -> T:
    """Run the steps of a short computation one after the other; return their result."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result


class Turns:
    """The turns of long computations: one runs in each pass of the loop, for LONGEST_TURN_S."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def run(self, steps: Generator[None, None, T]) -> T:
        """Run the steps in turns with other work; return their result."""
        time = asyncio.get_running_loop().time
        while True:
            async with self._lock:
                turn_ends = time() + LONGEST_TURN_S
                try:
                    while time() < turn_ends:
                        next(steps)
                except StopIteration as stop:
                    result: T = stop.value
                    return result
                await asyncio.sleep(0)  # with the lock held: the next one runs in a later pass
