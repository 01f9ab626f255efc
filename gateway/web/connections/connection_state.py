"""The states of a client's connection, which of them may follow which, and stalls of a client."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from gateway.routes.services import Timeouts


class State(IntEnum):
    """The state of a connection: IDLE at first, LOST at the end. Numbers are cheap to look up."""

    IDLE = 0  # no request waits for its response
    TAKEN = 1  # one request is under way; what the client sends after it is held
    # One request is under way; what comes after it is dropped, because it is not HTTP or because
    # it follows a chunked body.
    DROPPING = 2
    HANDED_OVER = 3  # an SSE reader has the transport
    LINGERING = 4  # the last response is written; what still comes is dropped
    LOST = 5  # the transport is gone


# Module constants: in Python 3.11 looking a member up in its class costs as much as a call.
IDLE, TAKEN, DROPPING, HANDED_OVER, LINGERING, LOST = State

TRANSITIONS: dict[State, tuple[State, ...]] = {
    IDLE: (TAKEN, LINGERING, LOST),
    TAKEN: (IDLE, DROPPING, HANDED_OVER, LINGERING, LOST),
    DROPPING: (HANDED_OVER, LINGERING, LOST),
    HANDED_OVER: (LOST,),
    LINGERING: (LOST,),
    LOST: (),
}


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
