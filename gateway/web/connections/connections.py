"""The open connections of a listener, and how they are closed with it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator


class OpenConnection(Protocol):
    """An open connection, as closing all of them uses it."""

    @property
    def is_idle(self) -> bool:
        """True when no request is under way."""

    @property
    def awaits_first_request(self) -> bool:
        """True while no request has begun since the connection was accepted."""

    def end_when_idle(self) -> None:
        """End the connection, after its request if one is under way."""

    def cancel_request(self) -> None:
        """Cancel the request that is under way."""

    def force_close(self) -> None:
        """End the connection as soon as the client has received what it was sent."""


C = TypeVar("C", bound=OpenConnection)


class Connections(Generic[C]):
    """The open connections of one listener. `requests_count` counts what their handlers began."""

    def __init__(self) -> None:
        self._open: set[C] = set()
        self._idle = asyncio.Event()
        self.requests_count = 0

    def __iter__(self) -> Iterator[C]:
        return iter(tuple(self._open))

    def __len__(self) -> int:
        return len(self._open)

    def add(self, connection: C) -> None:
        """Count a connection as open."""
        self._open.add(connection)

    def discard(self, connection: C) -> None:
        """Remove a connection that is lost."""
        self._open.discard(connection)
        self._idle.set()

    def notice_idle(self) -> None:
        """Have `all_idle` check the connections again."""
        self._idle.set()

    async def all_idle(self) -> None:
        """Wait until no request is under way on any connection."""
        while not all(connection.is_idle for connection in self._open):
            self._idle.clear()
            await self._idle.wait()

    async def first_requests(self, within_s: float) -> None:
        """Wait until each connection has had its first request, `within_s` seconds at most.

        A client that has just connected sends its request at once, and cannot tell whether a
        connection that ends without a response has lost it.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while any(connection.awaits_first_request for connection in self._open):
                    self._idle.clear()
                    await self._idle.wait()

    async def close(self, grace_s: float) -> None:
        """End all connections; requests under way are cancelled after `grace_s` seconds.

        Cancelled requests have `grace_s` seconds again to clean up.
        """
        for connection in self:
            connection.end_when_idle()
        for is_last in (False, True):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await self.all_idle()
            for connection in self:
                if is_last:
                    connection.force_close()
                else:
                    connection.cancel_request()
