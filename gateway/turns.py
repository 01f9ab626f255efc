"""Long work in steps, in turns: what others wait for is one turn, however many have such work."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Generator

T = TypeVar("T")

LONGEST_TURN_S = 0.002  # then others have theirs; a pass of the loop costs little beside it


class Turns:
    """One has the turn in a pass of the loop: for LONGEST_TURN_S, and to the end of its step."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def take(self, steps: Generator[None, None, T]) -> T:
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
                await asyncio.sleep(0)  # with the lock: who waits for it steps in a later pass
