"""A live reader that asks again, from where it was, after whatever goes wrong."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from typing import TYPE_CHECKING, Any, Literal

import aiohttp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

RETRY_S = 0.05
PASSING = (502, 503, 504)
CUT_OFF = (aiohttp.ClientError, ConnectionError)


class Reader:
    """All that one reader has got of a stream from its beginning, until it was closed."""

    def __init__(self, url: str, live: Literal["long-poll", "sse"]) -> None:
        self.url = url
        self.live = live
        self.text = b""
        self.closed = False
        self.errors = 0
        self._offset = "-1"
        self._cursor = ""
        self._grown = asyncio.Condition()

    async def read(self) -> None:
        read = self._poll if self.live == "long-poll" else self._follow
        async with aiohttp.ClientSession() as session:
            while not self.closed:
                try:
                    query = {"offset": self._offset, "live": self.live, "cursor": self._cursor}
                    result = {name: value for name, value in query.items() if value}
                    async with session.get(self.url, params=result) as answer:
                        await self._check(answer)
                        await read(answer)
                except CUT_OFF:
                    self.errors += 1
                    await asyncio.sleep(RETRY_S)  # as a client does

    async def has(self, size: int) -> None:
        async with self._grown:
            await self._grown.wait_for(lambda: len(self.text) >= size)

    async def _check(self, answer: aiohttp.ClientResponse) -> None:
        if answer.status in PASSING:
            answer.raise_for_status()
        assert answer.status in {200, 204}, (answer.status, await answer.read())

    async def _poll(self, answer: aiohttp.ClientResponse) -> None:
        text = await answer.read()
        closed = answer.headers.get("Stream-Closed") == "true"
        cursor = answer.headers.get("Stream-Cursor", "")
        await self._take(text, answer.headers["Stream-Next-Offset"], cursor, closed=closed)

    async def _follow(self, answer: aiohttp.ClientResponse) -> None:
        """Data counts once the control event that follows it has told the next offset."""
        text = b""
        coded = answer.headers.get("Stream-SSE-Data-Encoding") == "base64"
        async for kind, data in _events(answer.content):
            if kind == b"data":
                text += base64.b64decode(data) if coded else data
                continue
            control: dict[str, Any] = json.loads(data)
            cursor, closed = control.get("streamCursor", ""), control.get("streamClosed", False)
            await self._take(text, control["streamNextOffset"], cursor, closed=closed)
            text = b""

    async def _take(self, text: bytes, offset: str, cursor: str, *, closed: bool) -> None:
        async with self._grown:
            self.text += text
            self._offset, self._cursor = offset, cursor
            self.closed = closed
            self._grown.notify_all()


async def _events(stream: aiohttp.StreamReader) -> AsyncIterator[tuple[bytes, bytes]]:
    """Types and data of the events of a text stream whose messages have no line breaks."""
    unread = b""
    async for part in stream.iter_any():
        *blocks, unread = (unread + part).split(b"\n\n")
        for block in blocks:
            fields = dict(line.split(b":", 1) for line in block.split(b"\n") if line[:1] != b":")
            if fields:
                yield fields[b"event"].strip(), fields[b"data"].removeprefix(b" ")


@contextlib.asynccontextmanager
async def readers(url: str, count: int) -> AsyncIterator[list[Reader]]:
    """So many of each kind at work; the block ends when all have seen the stream closed."""
    async with asyncio.TaskGroup() as tasks:
        made = [Reader(url, "long-poll") for _ in range(count)]
        made += [Reader(url, "sse") for _ in range(count)]
        for reader in made:
            tasks.create_task(reader.read())
        yield made
