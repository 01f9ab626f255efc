"""HTTP as viewers speak it, over the simulated network."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, NamedTuple

from tests.edge.simulation.judge import Got
from tests.protocol.events import parse_events

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.edge.simulation.network import Address, SimulatedLoop

BROKEN = (ConnectionError, asyncio.IncompleteReadError)


class Told(NamedTuple):
    """A control event, and the data before it."""

    data: list[bytes]
    offset: str
    cursor: str
    up_to_date: bool
    closed: bool


class Client:
    """One connection at a time, kept for the next request where that can be."""

    def __init__(self, loop: SimulatedLoop, address: Address) -> None:
        self._loop = loop
        self._address = address
        self._reader = asyncio.StreamReader()
        self._writer: asyncio.StreamWriter | None = None

    def leave(self) -> None:
        """Go without a word."""
        if self._writer is not None:
            self._writer.transport.abort()
            self._writer = None

    async def stall(self, seconds: float) -> None:
        """Take nothing for a while."""
        if self._writer is None:
            return
        transport = self._writer.transport
        transport.pause_reading()  # type: ignore[attr-defined] # a read transport too
        await asyncio.sleep(seconds)
        transport.resume_reading()  # type: ignore[attr-defined] # a read transport too

    async def ask(
        self, method: str, target: str, fields: dict[str, str], body: bytes = b""
    ) -> Got | None:
        """The answer; None when it was cut."""
        asked = self._loop.time()
        try:
            status, told = await self._begin(method, target, fields, body)
            got = await self._body(method, status, told)
        except BROKEN:
            self.leave()
            return None
        if told.get("connection", "").lower() == "close":
            self.leave()
        return Got(asked, self._loop.time(), status, told, got)

    async def events(self, target: str, fields: dict[str, str]) -> AsyncIterator[Got | Told]:
        """The head, or the whole of a refusal, then what is told until the end."""
        asked = self._loop.time()
        try:
            status, told = await self._begin("GET", target, fields, b"")
            if told.get("content-type") != "text/event-stream":
                body = await self._body("GET", status, told)
                yield Got(asked, self._loop.time(), status, told, body)
                return
            yield Got(asked, self._loop.time(), status, told, b"")
            unread = b""
            while chunk := await self._chunk():
                unread += chunk
                whole, sign, unread = unread.rpartition(b"\n\n")
                for one in _told(whole + sign, told):
                    yield one
        except BROKEN:
            self.leave()

    async def _begin(
        self, method: str, target: str, fields: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str]]:
        if self._writer is None or self._reader.at_eof():
            self.leave()
            await self._connect()
        assert self._writer is not None, "just connected"
        assert not self._reader._buffer, "answered without being asked"  # type: ignore[attr-defined] # asyncio's
        lines = [
            f"{method} {target} HTTP/1.1",
            f"Host: {self._address[0]}",
            f"Content-Length: {len(body)}",
        ]
        if method == "GET":
            del lines[2]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        self._writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        line, *result = head.split("\r\n")[:-2]
        told = {}
        for one in result:
            name, _, value = one.partition(": ")
            told[name.lower()] = value
        return int(line.split(" ")[1]), told

    async def _connect(self) -> None:
        self._reader = reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = self._loop.connect(self._address, lambda: protocol)
        self._writer = asyncio.StreamWriter(transport, protocol, reader, self._loop)

    async def _body(self, method: str, status: int, told: dict[str, str]) -> bytes:
        if method == "HEAD" or status in {204, 304}:
            return b""
        if "content-length" in told:
            return await self._reader.readexactly(int(told["content-length"]))
        if told.get("transfer-encoding") != "chunked":
            body = await self._reader.read()
            self.leave()
            return body
        parts = []
        while part := await self._chunk():
            parts.append(part)
        return b"".join(parts)

    async def _chunk(self) -> bytes:
        size = int(await self._reader.readuntil(b"\r\n"), 16)
        return (await self._reader.readexactly(size + 2))[:-2]


def _told(events: bytes, head: dict[str, str]) -> list[Told]:
    told, data = [], []
    coded = head.get("stream-sse-data-encoding") == "base64"
    for event in parse_events(events):
        if event.name == "data":
            data.append(base64.b64decode(event.data) if coded else event.data.encode())
            continue
        control = json.loads(event.data)
        told.append(
            Told(
                data,
                control["streamNextOffset"],
                control.get("streamCursor", ""),
                control.get("upToDate", False),
                control.get("streamClosed", False),
            )
        )
        data = []
    assert not data, "data without a control event"
    return told
