"""Work beside requests: tasks, their results, and long computations in turns."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Generator


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


def at_most(most: int | None, steps: Generator[None, None, T]) -> T | None:
    """Return the result of a computation that takes `most` steps, or fewer; None for a longer one.

    Without a number it is run to its end.
    """
    if most is None:
        return at_once(steps)
    for _ in range(most + 1):
        try:
            next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result
    return None


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
