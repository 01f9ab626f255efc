"""A TCP proxy that holds what clients send from certain words on, or what follows the words."""

from __future__ import annotations

import asyncio

from tests.support.listener import Listener

_READ_BYTES = 1 << 16


class HoldingRelay(Listener):
    """Forwards to a loopback port; a connection whose client sends `words` is held there.

    With `passes_words` the words are forwarded, and what follows them is held, the replies of the
    server included. `held` is set by the first connection. All are held until `release`, and none
    after it.
    """

    def __init__(self, target_port: int, words: bytes, *, passes_words: bool = False) -> None:
        super().__init__(self._serve)
        self._target_port = target_port
        self._words = words
        self._passes_words = passes_words
        self.held = asyncio.Event()
        self._released = asyncio.Event()

    def release(self) -> None:
        """Forward what is held, and all that comes later."""
        self._released.set()

    async def _serve(
        self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter
    ) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        sent = asyncio.Event()  # the words, on this connection
        downward = asyncio.create_task(self._forward_replies(server_reader, client_writer, sent))
        try:
            await self._forward(client_reader, server_writer, sent)
        finally:
            server_writer.transport.abort()  # before the wait, which is cancelled on leaving
            downward.cancel()
            await asyncio.gather(downward, return_exceptions=True)

    async def _forward(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, sent: asyncio.Event
    ) -> None:
        while data := await source.read(_READ_BYTES):
            has_words = self._words in data and not self._released.is_set()
            if has_words and self._passes_words:
                sent.set()  # before the server can reply
                sink.write(data)
                data = b""
            if has_words:
                self.held.set()
                await self._released.wait()
            sink.write(data)
            await sink.drain()

    async def _forward_replies(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, sent: asyncio.Event
    ) -> None:
        while data := await source.read(_READ_BYTES):
            if sent.is_set():
                await self._released.wait()
            sink.write(data)
            await sink.drain()
