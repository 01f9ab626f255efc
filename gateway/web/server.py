"""All connections of a process for streams."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiohttp import web

from gateway.web.bare_transport import BareTransport, Descriptors
from gateway.web.connection import Connection
from gateway.web.entrance import Entrance

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    from aiohttp.web_request import BaseRequest

    from gateway.runtime.context import Context
    from gateway.web.fast_path import FastPath


class ConnectionServer(web.Server):
    """`fast` and `shared` are the same for all of its connections."""

    def __init__(
        self,
        handler: Callable[[BaseRequest], Awaitable[web.StreamResponse]],
        fast: FastPath,
        shared: Context,
        **arguments: Any,  # noqa: ANN401 - aiohttp's own
    ) -> None:
        super().__init__(handler, handler_cancellation=False, **arguments)
        self.fast = fast
        self.shared = shared
        self.descriptors = Descriptors(self._loop)
        self._idle = asyncio.Event()
        self._entrance = Entrance(shared, lambda: self._connections)

    def last_answer(self, data: bytes) -> tuple[bytes, bytes] | None:
        """The answer to what a connection begins and ends with, when it is ready."""
        if self.shared.journal is not None:
            self.shared.journal.catch_up()
        head = self.fast.known(data)
        if head is None or not head.is_last or self.shared.log.enabled:
            return None  # a line names the client, whom a connection knows
        if self.shared.tracer is not None:
            return None  # and so does a span
        limits = self.shared.limits
        if limits.connections >= limits.max_connections:
            return None
        answer = self.fast.ready(head)
        if answer is not None and self.shared.repeats.looking:
            self.shared.repeats.note(None, "GET", head.target, head.headers)
        return None if answer is None else answer[:2]

    def __call__(self, early: bytes = b"", late: bytes = b"") -> Connection:
        """The protocol of a new connection."""
        return Connection(self, self, early, late, **self._kwargs)

    def reader_lost(self, transport: asyncio.Transport) -> None:
        """The connection of an SSE reader is gone."""
        self.shared.limits.connection_lost(self.shared.quotas.connects_as(transport))

    def take_back(self, transport: asyncio.Transport) -> bool:
        """A connection whose SSE answer is over begins anew, if its client has taken the answer."""
        if self.shared.closing or transport.is_closing():
            transport.close()
            return True
        counts_as = self.shared.quotas.connects_as(transport)
        client: socket.socket | None = None
        if isinstance(transport, BareTransport):
            client = transport.give_back()
            if client is None:
                return False
        connection = self()
        try:
            connection.returns(counts_as)
            if client is not None:
                self._entrance.enter(connection, client)
                return True
        except BaseException:
            self.shared.limits.connection_lost(counts_as)
            if client is not None:
                client.close()
            raise
        transport.set_write_buffer_limits()
        transport.set_protocol(connection)
        connection.connection_made(transport)
        return True

    def enter(self, client: socket.socket, early: bytes = b"", late: bytes = b"") -> None:
        """Give a connection its transport and protocol."""
        self._entrance.enter(self(early, late), client)

    async def all_idle(self) -> None:
        """Wait, while the server stops, until no request is under way."""
        while not all(
            connection.is_idle
            for connection in self.connections
            if isinstance(connection, Connection)
        ):
            self._idle.clear()
            await self._idle.wait()

    def tell_idle(self) -> None:
        """One more connection has nothing under way."""
        self._idle.set()

    def stop_sweeping(self) -> None:
        """Cancel the timer, and end what is watched besides."""
        self._entrance.close()
        self.descriptors.close()
