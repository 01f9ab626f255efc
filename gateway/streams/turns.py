"""Long work in steps, one step of anybody's a pass of the loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Generator

T = TypeVar("T")


class Turns:
    """However many have long work to do, others wait for one step of it, and they take turns."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def take(self, steps: Generator[None, None, T]) -> T:
        """What the steps come to."""
        while True:
            async with self._lock:
                try:
                    next(steps)
                except StopIteration as stop:
                    result: T = stop.value
                    return result
                await asyncio.sleep(0)  # still ours: who waits steps in a later pass
