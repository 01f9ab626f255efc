"""A TCP proxy that holds what clients send from certain words on."""

from __future__ import annotations

import asyncio

from tests.support.listener import Listener

_READ_BYTES = 1 << 16


class HoldingRelay(Listener):
    """Forwards to a loopback port; a connection whose client sends `words` is held there.

    `held` is set by the first one. All are held until `release`, and none after it.
    """

    def __init__(self, target_port: int, words: bytes) -> None:
        super().__init__(self._serve)
        self._target_port = target_port
        self._words = words
        self.held = asyncio.Event()
        self._released = asyncio.Event()

    def release(self) -> None:
        """Forward what is held, and all that comes later."""
        self._released.set()

    async def _serve(
        self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter
    ) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        downward = asyncio.create_task(self._forward(server_reader, client_writer, b""))
        try:
            await self._forward(client_reader, server_writer, self._words)
        finally:
            server_writer.transport.abort()  # before the wait, which is cancelled on leaving
            downward.cancel()
            await asyncio.gather(downward, return_exceptions=True)

    async def _forward(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, words: bytes
    ) -> None:
        while data := await source.read(_READ_BYTES):
            if words and words in data and not self._released.is_set():
                self.held.set()
                await self._released.wait()
            sink.write(data)
            await sink.drain()
