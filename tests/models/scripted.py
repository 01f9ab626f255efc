"""A provider double that answers every request with the same bytes, whatever they are."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.listener import Listener

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator

_LENGTH = re.compile(rb"content-length: (\d+)")
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


@dataclass(slots=True)
class Scripted:
    """A provider that answers each request with a response, and then closes the connection."""

    url: str
    response: bytes
    calls: int = 0

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if found := _LENGTH.search(head):
            await reader.readexactly(int(found[1]))
        self.calls += 1
        writer.write(self.response)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def scripted(response: bytes) -> AsyncIterator[Scripted]:
    """Serve a response on a free port."""
    provider = Scripted("", response)
    async with Listener(provider.play) as server:
        provider.url = f"http://127.0.0.1:{server.port}"
        yield provider


def ended(events: bytes) -> bytes:
    """Return a response whose body ends properly after these events."""
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(events) + events
