"""HTTP as viewers speak it, over the simulated network."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, NamedTuple

from tests.edge.simulation.judge import Got
from tests.support.event_stream import parse_events
from tests.support.http1 import Answer, request
from tests.support.http1 import Client as Connection

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
        self._connection: Connection | None = None

    def leave(self) -> None:
        if self._connection is not None:
            self._connection.abort()
            self._connection = None

    async def stall(self, seconds: float) -> None:
        if (connection := self._connection) is not None:
            connection.pause()
            await asyncio.sleep(seconds)
            connection.resume()

    async def ask(
        self, method: str, target: str, fields: dict[str, str], body: bytes = b""
    ) -> Got | None:
        """The answer; None when it was cut."""
        asked = self._loop.time()
        try:
            connection = self._begin(method, target, fields, body)
            answer = await connection.head()
            if method != "HEAD":
                answer = await connection.whole(answer)
        except BROKEN:
            self.leave()
            return None
        if answer.headers.get("connection", "").lower() == "close":
            self.leave()
        return self._got(asked, answer)

    async def events(self, target: str, fields: dict[str, str]) -> AsyncIterator[Got | Told]:
        """The head, or the whole of a refusal, then what is told until the end."""
        asked = self._loop.time()
        try:
            connection = self._begin("GET", target, fields, b"")
            head = await connection.head()
            if head.headers.get("content-type") != "text/event-stream":
                yield self._got(asked, await connection.whole(head))
                return
            yield self._got(asked, head)
            unread = b""
            while chunk := await connection.chunk():
                unread += chunk
                whole, sign, unread = unread.rpartition(b"\n\n")
                for one in _told(whole + sign, head.headers):
                    yield one
        except BROKEN:
            self.leave()

    def _begin(self, method: str, target: str, fields: dict[str, str], body: bytes) -> Connection:
        if self._connection is None or self._reader.at_eof():
            self.leave()
            self._connection = self._connect()
        assert not self._reader._buffer, "answered without being asked"  # type: ignore[attr-defined] # asyncio's
        content = None if method == "GET" else body
        fields = {"Host": self._address[0], **fields}
        self._connection.send(request(method, target, content, **fields))
        return self._connection

    def _connect(self) -> Connection:
        self._reader = reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = self._loop.connect(self._address, lambda: protocol)
        writer = asyncio.StreamWriter(transport, protocol, reader, self._loop)
        return Connection(reader, writer, patience_s=None)

    def _got(self, asked: float, answer: Answer) -> Got:
        return Got(asked, self._loop.time(), answer.status, answer.headers, answer.body)


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
