"""A listening loopback port whose connections are all over when it is left."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Self

from tests.support.ports import free_port

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Listener:
    """Serves each connection by a coroutine, and ends those that are left when it is left itself.

    `asyncio.start_server` knows nothing of a connection between its acceptance and its first
    callback: one that comes as the test ends would outlive the loop. A connection that either
    side breaks is none of a test's business; anything else that `serve` raises is raised on
    leaving.
    """

    def __init__(
        self,
        serve: Serve,
        *,
        port: int | None = None,
        tls: ssl.SSLContext | None = None,
        limit: int = 1 << 16,
    ) -> None:
        self._serve_one = serve
        self._wanted_port = port or free_port()
        self._tls = tls
        self._limit = limit
        self._socket: socket.socket | None = None
        self._connections: dict[asyncio.Task[None], socket.socket] = {}
        self._failures: list[BaseException] = []

    @property
    def open(self) -> int:
        """How many connections there are."""
        return len(self._connections)

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._socket is not None, "not started"
        port: int = self._socket.getsockname()[1]
        return port

    async def __aenter__(self) -> Self:
        self._socket = socket.create_server(("127.0.0.1", self._wanted_port), backlog=1024)
        self._socket.setblocking(False)
        asyncio.get_running_loop().add_reader(self._socket, self._accept)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._socket is not None, "not started"
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        await asyncio.sleep(0)  # a task that is cancelled before its first step never takes it
        connections = dict(self._connections)
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        while any(one.fileno() != -1 for one in connections.values()):
            await asyncio.sleep(0)  # the loop closes an aborted connection in its next turn
        if self._failures and error is None:
            raise self._failures[0]

    def _accept(self) -> None:
        assert self._socket is not None, "not started"
        with contextlib.suppress(BlockingIOError, ConnectionError):
            connection, _ = self._socket.accept()
            connection.setblocking(False)
            task = asyncio.create_task(self._converse(connection))
            self._connections[task] = connection
            task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        del self._connections[task]
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._failures.append(failure)

    async def _converse(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(self._limit)
        protocol = asyncio.StreamReaderProtocol(reader)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, connection, ssl=self._tls
            )
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)
            try:
                await self._serve_one(reader, writer)
                writer.close()
                await writer.wait_closed()
            finally:
                with contextlib.suppress(AttributeError):  # in Python 3.11.2, when it is closed
                    writer.transport.abort()
