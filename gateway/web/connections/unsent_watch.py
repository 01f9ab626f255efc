"""Detection of clients that stop receiving their responses."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from gateway.runtime.context import Timeouts


class UnsentWatch:
    """The watch on a connection with unsent bytes, from `now` on (loop time)."""

    def __init__(self, transport: asyncio.Transport, timeouts: Timeouts, now: float) -> None:
        self._transport = transport
        self._timeouts = timeouts
        self._size = transport.get_write_buffer_size()
        self._until = now + timeouts.body

    def cut_if_stuck(self, now: float) -> bool:
        """Abort the connection if its client is slower than body_rate; return whether it was."""
        if now < self._until:
            return False
        size = self._transport.get_write_buffer_size()
        least = max(1, int(self._timeouts.body_rate * self._timeouts.body))
        if size and size > self._size - least:
            self._transport.abort()
            return True
        self._size, self._until = size, now + self._timeouts.body
        return False
