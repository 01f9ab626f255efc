"""Spread handshakes over the passes of the event loop, so that readers have their turn between."""

from __future__ import annotations

import asyncio

# Handshakes that begin in one pass: 5 ms, for which everybody else waits.
AT_ONCE = 8


class HandshakeTurns:
    """The handshakes that wait to begin, in the order in which their clients came.

    Each has a connection and a timeout of its own, which bound how many wait and for how long.
    """

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(AT_ONCE)

    async def wait(self) -> None:
        """Return in a pass of the loop in which fewer than AT_ONCE others began."""
        async with self._places:
            await asyncio.sleep(0)  # with the place held: the next one begins in a later pass
