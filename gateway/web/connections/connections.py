"""The open connections of a listener, and how they end with it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator


class OpenConnection(Protocol):
    """An open connection, as far as its end needs it."""

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way."""

    def end_when_idle(self) -> None:
        """End the connection, with its request if there is one."""

    def cancel_request(self) -> None:
        """End the request that is under way."""

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
        """Forget a connection that is lost."""
        self._open.discard(connection)
        self._idle.set()

    def notice_idle(self) -> None:
        """Look again whether any connection has a request under way."""
        self._idle.set()

    async def all_idle(self) -> None:
        """Wait until no request is under way on any connection."""
        while not all(connection.is_idle for connection in self._open):
            self._idle.clear()
            await self._idle.wait()

    async def close(self, grace_s: float) -> None:
        """End all connections; requests under way have `grace_s` seconds, then they are cancelled.

        What a request does when it is cancelled has as many seconds again.
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
