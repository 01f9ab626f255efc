"""Long computations in steps: other work waits for one turn at most, however many there are."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Generator

T = TypeVar("T")

LONGEST_TURN_S = 0.002  # a pass of the loop costs little in comparison


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
