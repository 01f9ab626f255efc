"""A TCP proxy whose connections can fall silent."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.support.listener import Listener

if TYPE_CHECKING:
    from collections.abc import Callable

_READ_BYTES = 1 << 16


class SilentRelay(Listener):
    """Forwards to a loopback port; what has fallen silent stays open and carries nothing back."""

    def __init__(self, target_port: int) -> None:
        super().__init__(self._serve)
        self._target_port = target_port
        self._generation = 0
        self.accepted = 0  # connections
        self.pieces = 0  # that were carried to clients
        self.swallows = False  # whether connections that come are silent from their beginning

    def silence(self) -> None:
        """Have all connections fall silent; those that come later are not."""
        self._generation += 1

    async def _serve(
        self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter
    ) -> None:
        self.accepted += 1
        generation, swallows = self._generation, self.swallows

        def carries() -> bool:
            return not swallows and generation == self._generation

        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        upward = asyncio.create_task(_forward(client_reader, server_writer, lambda: True))
        downward = asyncio.create_task(self._downward(server_reader, client_writer, carries))
        try:
            await upward  # until the client has gone
        finally:
            server_writer.transport.abort()  # before the wait, which is cancelled on leaving
            downward.cancel()
            await asyncio.gather(downward, return_exceptions=True)

    async def _downward(
        self,
        server_reader: asyncio.StreamReader,
        client_writer: asyncio.StreamWriter,
        carries: Callable[[], bool],
    ) -> None:
        def counted() -> bool:
            self.pieces += carries()
            return carries()

        await _forward(server_reader, client_writer, counted)
        if carries():
            client_writer.close()


async def _forward(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, carries: Callable[[], bool]
) -> None:
    while data := await source.read(_READ_BYTES):
        if carries():
            sink.write(data)
            await sink.drain()
