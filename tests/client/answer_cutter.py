"""A TCP proxy that cuts answers at known places."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.support.listener import Listener
from tests.support.resets import reset_on_close

if TYPE_CHECKING:
    from collections.abc import Iterable

_READ_BYTES = 1 << 12


class AnswerCutter(Listener):
    """Forwards to a loopback port, and cuts connections when they have carried so many bytes back.

    `cut_after` has a number for each cut; a connection that does not come so far is not cut, and
    leaves its number to the next one. The server has noticed when a cut is counted, and only then
    does the client notice.
    """

    def __init__(self, target_port: int, cut_after: Iterable[int]) -> None:
        super().__init__(self._serve)
        self._target_port = target_port
        self._left = list(cut_after)
        self.cuts = 0

    async def _serve(
        self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter
    ) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        upward = asyncio.create_task(_forward(client_reader, server_writer))
        carried = 0
        try:
            while data := await server_reader.read(_READ_BYTES):
                room = self._left[0] - carried if self._left else len(data) + 1
                carried += len(data)
                client_writer.write(data[: max(0, room)])
                await client_writer.drain()
                if room <= len(data):
                    del self._left[0]
                    server_writer.write_eof()
                    while await server_reader.read(_READ_BYTES):
                        pass
                    self.cuts += 1
                    reset_on_close(client_writer.get_extra_info("socket"))
                    return
        finally:
            upward.cancel()
            await asyncio.gather(upward, return_exceptions=True)
            server_writer.transport.abort()


async def _forward(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(_READ_BYTES):
            sink.write(data)
            await sink.drain()
    finally:
        sink.transport.abort()  # the client has gone, and nobody reads an answer
