"""The observer of what passes through a route to an HTTP origin, called where the route has one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.protocol.streams.reach import TailBound
    from gateway.runtime.writes import Write


class WriteObserver(Protocol):
    """A part that follows the writes to a route, and the ends of streams that its reads show."""

    async def before_write(self, path: str, *, creates_empty: bool) -> None:
        """Store what must be stored before a write is passed on. Raises LogUnavailable."""

    def on_write(self, write: Write) -> None:
        """Take a write through this gateway; called before its client gets the answer."""

    def on_refusal(self, path: str) -> None:
        """Take a write that the origin has refused, perhaps to a stream that does not exist."""

    def on_tail(self, path: str, tail: TailBound) -> None:
        """Take the end of a stream that a read through this gateway has shown."""
