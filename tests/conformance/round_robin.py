"""A proxy that hands each request to the next of several servers."""

from __future__ import annotations

import asyncio
import itertools
import re
import threading
from typing import TYPE_CHECKING, Self

from tests.support.listener import Listener

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from types import TracebackType

_READ_BYTES = 1 << 16
_HEAD_BYTES = 1 << 20  # more than any server behind takes
_CONNECTION = re.compile(rb"\r\nconnection:[^\r]*", re.IGNORECASE)


class RoundRobin:
    """Forwards to loopback ports in turn, passing over those that do not accept.

    Each request is told to be the last of its connection, so that no client and no server can
    keep one for the next; nothing else of it, or of its answer, is touched. `served` counts the
    requests by port. It runs in a thread of its own, for tests with and without an event loop.
    """

    def __init__(self, ports: Sequence[int]) -> None:
        self.served = dict.fromkeys(ports, 0)
        self._turns = itertools.count()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._listener = Listener(self._serve, limit=_HEAD_BYTES)

    def __repr__(self) -> str:
        return f"RoundRobin(served={self.served}, open={self._listener.open})"

    @property
    def port(self) -> int:
        """The loopback port that clients connect to."""
        return self._listener.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listener.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._run(self._listener.__aexit__(kind, error, traceback))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine: Coroutine[None, None, object]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        server_reader, server_writer = await self._connect()
        server_writer.write(_as_last_of_its_connection(head))
        upward = asyncio.create_task(_forward(reader, server_writer))
        downward = asyncio.create_task(_forward(server_reader, writer))
        try:
            await asyncio.wait({upward, downward}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            upward.cancel()
            downward.cancel()
            server_writer.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        turn, ports = next(self._turns), list(self.served)
        for number in range(len(ports)):
            port = ports[(turn + number) % len(ports)]
            try:
                connection = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                continue
            self.served[port] += 1
            return connection
        raise ConnectionRefusedError("none of the servers accepts")


def _as_last_of_its_connection(head: bytes) -> bytes:
    request_line, fields = head.split(b"\r\n", 1)
    kept = _CONNECTION.sub(b"", b"\r\n" + fields)
    return request_line + b"\r\nConnection: close" + kept


async def _forward(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Copy until the source ends or either side breaks."""
    try:
        while data := await source.read(_READ_BYTES):
            sink.write(data)
            await sink.drain()
    except OSError:
        return
