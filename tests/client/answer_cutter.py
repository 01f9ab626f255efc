"""A TCP proxy that cuts answers at known places."""

from __future__ import annotations

import asyncio
import contextlib
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

    def __repr__(self) -> str:
        return f"AnswerCutter(cuts={self.cuts}, left={self._left})"

    async def _serve(
        self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter
    ) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        upward = asyncio.create_task(_forward(client_reader, server_writer))
        downward = asyncio.create_task(self._answer(server_reader, client_writer))
        try:
            await asyncio.wait({upward, downward}, return_when=asyncio.FIRST_COMPLETED)
            if downward.done() and downward.result():
                await self._cut(server_reader, server_writer, client_writer)
        finally:
            upward.cancel()
            downward.cancel()
            await asyncio.gather(upward, downward, return_exceptions=True)
            server_writer.transport.abort()

    async def _answer(
        self, server_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter
    ) -> bool:
        """Carry what comes back; whether the connection is to be cut then."""
        carried = 0
        with contextlib.suppress(OSError):
            while data := await server_reader.read(_READ_BYTES):
                carried += len(data)
                is_cut = bool(self._left) and carried >= self._left[0]
                most = len(data) - (carried - self._left.pop(0)) if is_cut else len(data)
                client_writer.write(data[: max(0, most)])
                await client_writer.drain()
                if is_cut:
                    return True
        return False

    async def _cut(
        self,
        server_reader: asyncio.StreamReader,
        server_writer: asyncio.StreamWriter,
        client_writer: asyncio.StreamWriter,
    ) -> None:
        with contextlib.suppress(OSError):
            server_writer.write_eof()
            while await server_reader.read(_READ_BYTES):
                pass
        self.cuts += 1
        reset_on_close(client_writer.get_extra_info("socket"))


async def _forward(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(_READ_BYTES):
            sink.write(data)
            await sink.drain()
