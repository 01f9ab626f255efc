"""A live reader that goes on where it was cut off, by long-poll or by SSE."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import aiohttp

from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.faults.ledger import Ledger

CUT_OFF = (aiohttp.ClientError, ConnectionError)
"""What a client sees of a server that was killed."""


class Follower:
    """Everything one reader has seen of one stream, from its beginning, in the order it came."""

    def __init__(self, session: aiohttp.ClientSession, url: str, ledger: Ledger, live: str) -> None:
        self.session = session
        self.url = f"{url}/{ledger.name}"
        self.ledger = ledger
        self.live = live
        self.seen: list[bytes] = []
        self.verified = 0  # how many of those were already compared with the content
        self.offset = "-1"
        self.cursor = ""
        self.at_end = False

    async def follow(self) -> None:
        """Read until the stream ends or the server goes."""
        read = self._long_poll if self.live == "long-poll" else self._events
        try:
            while not self.at_end:
                await read()
        except CUT_OFF:
            return

    async def sees(self, count: int, within_s: float) -> None:
        """Wait until `count` messages have come."""
        await until(lambda: len(self.seen) >= count, f"{count} messages", within_s=within_s)

    def _query(self) -> dict[str, str]:
        query = {"offset": self.offset, "live": self.live}
        return {**query, "cursor": self.cursor} if self.cursor else query

    async def _long_poll(self) -> None:
        async with self.session.get(self.url, params=self._query()) as answer:
            content = await answer.read()
            assert answer.status in {200, 204}, (answer.status, content)
            self.seen += self.ledger.split(content)
            self.offset = answer.headers["Stream-Next-Offset"]
            self.cursor = answer.headers.get("Stream-Cursor", self.cursor)
            self.at_end = answer.headers.get("Stream-Closed") == "true"

    async def _events(self) -> None:
        """Data counts once the control event that follows it has told the next offset."""
        content = b""
        async with self.session.get(self.url, params=self._query()) as answer:
            assert answer.status == 200, (answer.status, await answer.read())
            async for kind, data in parse_events(answer.content):
                if kind == b"data":
                    content += data
                    continue
                control: dict[str, Any] = json.loads(data)
                self.seen += self.ledger.split(content)
                content = b""
                self.offset = control["streamNextOffset"]
                self.cursor = control.get("streamCursor", self.cursor)
                self.at_end = control.get("streamClosed", False)


async def parse_events(stream: aiohttp.StreamReader) -> AsyncIterator[tuple[bytes, bytes]]:
    """The events of an SSE body: their type, and their data lines joined."""
    unread = b""
    async for data in stream.iter_any():
        *blocks, unread = (unread + data).split(b"\n\n")
        for block in blocks:
            lines = [line.partition(b":")[::2] for line in block.split(b"\n")]
            fields = [(name, value.removeprefix(b" ")) for name, value in lines if name]
            if fields:
                kind = b"".join(value for name, value in fields if name == b"event")
                yield kind, b"\n".join(value for name, value in fields if name == b"data")
