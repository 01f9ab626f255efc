"""Spread handshakes over the passes of the event loop, so that readers have their turn between."""

from __future__ import annotations

import asyncio
from collections import deque

# Handshakes that begin in one pass: 5 ms, for which everybody else waits.
AT_ONCE = 8


class HandshakeTurns:
    """The handshakes that wait to begin, in the order in which their clients came.

    Each has a connection and a timeout of its own, which bound how many wait and for how long.
    """

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def wait(self) -> None:
        """Return in a pass of the loop in which fewer than AT_ONCE others began."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._admit, loop)
        self._waiting.append(turn)
        await turn

    def _admit(self, loop: asyncio.AbstractEventLoop) -> None:
        admitted = 0
        while self._waiting and admitted < AT_ONCE:
            turn = self._waiting.popleft()
            if not turn.done():  # its time was over
                turn.set_result(None)
                admitted += 1
        if self._waiting:
            loop.call_soon(self._admit, loop)
