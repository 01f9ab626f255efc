"""All client connections of a process: makes them, and ends those of clients that are too slow."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiohttp import web

from gateway.web.bare_transport import BareTransport, Descriptors
from gateway.web.connection import Connection

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    from aiohttp.web_request import BaseRequest

    from gateway.runtime.context import Context
    from gateway.web.fast_path import FastPath

SWEEP_S = 0.5  # how late a slow client may be noticed


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
        self._entering: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._sweep = self._loop.call_later(SWEEP_S, self._sweep_slow)

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
                self._enter(connection, client)
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
        self._enter(self(early, late), client)

    def _enter(self, connection: Connection, client: socket.socket) -> None:
        task = self._loop.create_task(self._connect(connection, client))
        self._entering.add(task)
        task.add_done_callback(self._entering.discard)

    async def _connect(self, connection: Connection, client: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: connection, client)
        except BaseException as error:
            connection.give_place_back()
            client.close()
            if not isinstance(error, OSError):
                raise

    def _sweep_slow(self) -> None:
        """One timer for all connections. It goes on whatever raises."""
        self._sweep = self._loop.call_later(SWEEP_S, self._sweep_slow)
        now = self._loop.time()
        for connection in list(self._connections):
            if not isinstance(connection, Connection):
                continue
            if connection.too_slow(now):
                self.shared.limits.refused["header_timeout"] += 1
                connection.force_close()
            elif connection.is_cut(now):
                self.shared.limits.refused["body_timeout"] += 1
        self.shared.repeats.turn(now)

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
        self._sweep.cancel()
        self.descriptors.close()
