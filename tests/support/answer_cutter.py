"""A TCP proxy that cuts the answers on its first connections at known places."""

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
    """Forwards to a loopback port. Of the first connections, each carries so many bytes back.

    Those that come to no so many do not count, and the connection after the last number is whole.
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
        finally:
            upward.cancel()
            downward.cancel()
            await asyncio.gather(upward, downward, return_exceptions=True)
            server_writer.transport.abort()

    async def _answer(
        self, server_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter
    ) -> None:
        carried = 0
        with contextlib.suppress(OSError):
            while data := await server_reader.read(_READ_BYTES):
                most = self._left[0] - carried if self._left else len(data)
                carried += len(data)
                client_writer.write(data[: max(0, most)])
                await client_writer.drain()
                if most <= len(data) and self._left:
                    self._left.pop(0)
                    self.cuts += 1
                    reset_on_close(client_writer.get_extra_info("socket"))
                    return


async def _forward(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(_READ_BYTES):
            sink.write(data)
            await sink.drain()
