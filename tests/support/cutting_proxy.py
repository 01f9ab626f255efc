"""A TCP proxy that cuts each connection after a random number of bytes."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

_READ_BYTES = 1 << 16
# SO_LINGER with a time of zero: closing sends a reset and drops what was not yet sent.
_RESET = struct.pack("ii", 1, 0)
# How much more the next connection may carry, so that an answer of any size gets through at last.
_GROWTH = 1.15


class CuttingProxy:
    """Forwards connections to a loopback port; `cuts` counts those it broke.

    A connection carries up to `at_most` bytes, both directions together, before it is cut, and
    `at_most` grows by 15 % with every cut: ten cuts need at most twenty times its first value.
    The sizes follow from the seed alone. `connected` is set by the first connection.
    """

    def __init__(self, target_port: int, *, seed: int, at_most: float) -> None:
        self.target_port = target_port
        self.seed = seed
        self.at_most = at_most
        self.connections = 0
        self.cuts = 0
        self.connected = asyncio.Event()
        self._random = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return (
            f"CuttingProxy(seed={self.seed}, at_most={self.at_most:.0f}, "
            f"connections={self.connections}, cuts={self.cuts})"
        )

    @property
    def port(self) -> int:
        """The loopback port that clients connect to."""
        assert self._server is not None, "not started"
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None, "not started"
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(
        self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.create_task(self._serve(client_reader, client_writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        self.connected.set()

    async def _serve(
        self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter
    ) -> None:
        budget = _Budget(self._random.randint(1, int(self.at_most)))
        with_reset = self._random.random() < 0.5
        try:
            server_reader, server_writer = await asyncio.open_connection(
                "127.0.0.1", self.target_port
            )
        except OSError:
            client_writer.transport.abort()
            return
        upward = asyncio.create_task(_forward(client_reader, server_writer, budget))
        downward = asyncio.create_task(_forward(server_reader, client_writer, budget))
        try:
            await asyncio.wait({upward, downward}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            upward.cancel()
            downward.cancel()
            server_writer.transport.abort()
            if budget.is_spent:
                self.cuts += 1
                self.at_most *= _GROWTH
                if with_reset:
                    _reset_on_close(client_writer)
            client_writer.close()


class _Budget:
    """The bytes that one connection may still carry."""

    def __init__(self, size: int) -> None:
        self.left = size

    @property
    def is_spent(self) -> bool:
        return self.left == 0

    def take(self, wanted: int) -> int:
        granted = min(wanted, self.left)
        self.left -= granted
        return granted


async def _forward(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, budget: _Budget
) -> None:
    """Copy until the source ends, either side breaks or the budget is spent."""
    try:
        while not budget.is_spent and (data := await source.read(_READ_BYTES)):
            sink.write(data[: budget.take(len(data))])
            await sink.drain()
    except OSError:
        return


def _reset_on_close(writer: asyncio.StreamWriter) -> None:
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
