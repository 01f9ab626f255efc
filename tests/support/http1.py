"""The clients of the tests: HTTP/1.1 on a plain socket, so that a test decides on every byte."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from tests.support.event_stream import Event, parse_events
from tests.support.resets import reset_on_close
from tests.support.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")
Needed = bytes | int | None
"""What is to be read next: all up to these bytes and they, so many, or all until the end."""
Reading = Generator[Needed, bytes, T]

TIMEOUT_S = 20.0
"""Long enough for a busy machine; a test that waits this long has failed."""
BODYLESS = {100, 204, 304}
VARIES = ("date", "x-request-id", "x-cache", "x-cache-hits", "cache-status")


class ConnectionEnded(Exception):
    """The server closed the connection before the answer was whole; `received` is what came."""

    def __init__(self, received: bytes) -> None:
        super().__init__(f"connection ended after {received[:200]!r}")
        self.received = received


@dataclass(frozen=True, slots=True)
class Answer:
    """One response. `fields` are its header lines, in order and with names in lower case.

    `wire` is all of it as it came, as far as its end is known from its head.
    """

    status: int
    fields: list[tuple[str, str]]
    body: bytes
    wire: bytes

    @property
    def version(self) -> str:
        return self.wire.partition(b" ")[0].decode()

    @property
    def headers(self) -> dict[str, str]:
        """By name; a repeated one is joined by commas."""
        found: dict[str, str] = {}
        for name, value in self.fields:
            found[name] = f"{found[name]}, {value}" if name in found else value
        return found

    @property
    def next_offset(self) -> str:
        return self.headers["stream-next-offset"]

    @property
    def same(self) -> bytes:
        """Its bytes, without the lines that differ between two answers to one request."""
        head, end, body = self.wire.partition(b"\r\n\r\n")
        lines = [
            line
            for line in head.split(b"\r\n")
            if line.partition(b":")[0].decode().lower() not in VARIES
        ]
        return b"\r\n".join(lines) + end + body

    def get(self, name: str) -> str | None:
        """The value of a field that comes at most once."""
        values = [value for field, value in self.fields if field == name.lower()]
        assert len(values) < 2, f"{name} came {len(values)} times"
        return values[0] if values else None

    def json(self) -> Any:
        return json.loads(self.body)

    def assert_problem(self, status: int, *words: str) -> None:
        """It is an error document of this status whose detail has the words."""
        assert self.status == status, self
        assert self.headers["content-type"] == "application/problem+json", self
        problem = self.json()
        assert problem["status"] == status, self
        assert problem["type"] == "about:blank", self
        assert problem["title"] == problem["code"].replace("_", " ").capitalize(), self
        assert problem["detail"], self
        assert problem["detail"] == problem["detail"].strip(), self
        for word in words:
            assert word in problem["detail"], self


def head_of(wire: bytes) -> Answer:
    """An answer of which no more than the head has come."""
    status_line, *lines = wire[:-4].decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    fields = [(name.lower(), value.removeprefix(" ")) for name, _, value in pairs]
    return Answer(int(status_line.split(" ")[1]), fields, b"", wire)


def read_body(answer: Answer) -> Reading[Answer]:
    """The whole answer of which this is the head."""
    if answer.status in BODYLESS:
        return answer
    if "chunked" in answer.headers.get("transfer-encoding", ""):
        chunks: list[bytes] = []
        while chunk := (yield from read_chunk()):
            chunks.append(chunk)
        return replace(answer, body=b"".join(chunks))
    length = answer.get("content-length")
    body = yield None if length is None else int(length)
    return replace(answer, body=body, wire=answer.wire + body)


def read_chunk() -> Reading[bytes]:
    """The next chunk of a body; empty at the end, after which there are no trailers."""
    line = yield b"\r\n"
    size = int(line.split(b";")[0], 16)
    data = yield size + 2
    assert data.endswith(b"\r\n"), "a chunk does not end where its size says"
    return data[:-2]


class Client:
    """One connection of a test in an event loop, written to and read from as bytes.

    With `patience_s` of None it waits for ever, as on a virtual clock.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        patience_s: float | None = PATIENCE_S,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._patience_s = patience_s
        self._events = b""
        self._parsed: list[Event] = []
        self._parsed_bytes = 0

    @classmethod
    async def connect(cls, port: int, *, receive_buffer: int = 1 << 16) -> Client:
        """A new connection to a server on this machine."""
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=receive_buffer))

    @property
    def is_closing(self) -> bool:
        """Whether this end has heard that the connection is over."""
        return self._writer.is_closing()

    def send(self, data: bytes) -> None:
        """Write."""
        self._writer.write(data)

    async def send_all(self, data: bytes) -> None:
        """Write, no faster than it is taken."""
        self._writer.write(data)
        await self._writer.drain()

    async def send_slowly(self, data: bytes) -> None:
        """Write byte by byte, each as a packet of its own."""
        for at in range(len(data)):
            self._writer.write(data[at : at + 1])
            await self._writer.drain()
            await asyncio.sleep(0)

    async def answer(self, *, to_head: bool = False) -> Answer:
        """The next answer with a known length; no more than its head, if it is `to_head`."""
        head = await self.head()
        is_enough = to_head or head.get("content-length") is None
        return head if is_enough else await self.whole(head)

    async def head(self) -> Answer:
        """The head of the next answer; the rest is still to be read."""
        return head_of(await self.read_until(b"\r\n\r\n"))

    async def whole(self, head: Answer) -> Answer:
        """The answer of which this is the head."""
        return await self._read(read_body(head))

    async def ask(self, data: bytes) -> Answer:
        """Send one request, and read its answer."""
        self.send(data)
        return await self.answer(to_head=data.startswith(b"HEAD"))

    async def events_until(self, done: Callable[[list[Event]], bool]) -> list[Event]:
        """All events of a chunked SSE answer so far, as soon as `done` says so of them."""
        while True:
            new, end, _ = self._events[self._parsed_bytes :].rpartition(b"\n\n")
            self._parsed += parse_events(new + end)  # each once, however many follow
            self._parsed_bytes += len(new + end)
            events = list(self._parsed)
            if done(events):
                return events
            self._events += await self.chunk()

    async def event_bytes_until(self, end: bytes) -> bytes:
        """The bytes of an SSE answer so far, as soon as they end so."""
        while not self._events.endswith(end):
            self._events += await self.chunk()
        return self._events

    @property
    def received(self) -> bytes:
        """The bytes of a chunked SSE answer so far."""
        return self._events

    async def events_to_the_end(self) -> list[Event]:
        """All events of a chunked SSE answer that the server ends properly."""
        while chunk := await self.chunk():
            self._events += chunk
        return parse_events(self._events)

    async def chunks(self) -> list[bytes]:
        """The chunks of a body up to its proper end."""
        received = []
        while chunk := await self.chunk():
            received.append(chunk)
        return received

    async def chunk(self) -> bytes:
        """The next one; empty at the end."""
        return await self._read(read_chunk())

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        return await self._within(self._reader.read())

    async def part(self) -> bytes:
        """Some of what comes, as soon as it does."""
        return await self._within(self._reader.read(1 << 16))

    async def read_until(self, end: bytes) -> bytes:
        """What comes up to these bytes, and they."""
        return await self._within(self._reader.readuntil(end))

    def close(self) -> None:
        """Go away."""
        self._writer.close()

    def abort(self) -> None:
        """Go away without a word."""
        self._writer.transport.abort()

    def reset(self) -> None:
        """Break the connection as a crashed client does."""
        reset_on_close(self._writer.get_extra_info("socket"))
        self.abort()

    def pause(self) -> None:
        """Take no more from the server, as a slow client would."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined] # a read transport too

    def resume(self) -> None:
        """Take what waits."""
        self._writer.transport.resume_reading()  # type: ignore[attr-defined] # a read transport too

    async def _read(self, reading: Reading[T]) -> T:
        """Whatever one of the readings above makes of what comes."""
        try:
            needed = next(reading)
            while True:
                needed = reading.send(await self._take(needed))
        except StopIteration as done:
            result: T = done.value
            return result

    async def _take(self, needed: Needed) -> bytes:
        if isinstance(needed, bytes):
            return await self.read_until(needed)
        if needed is None:
            return await self.rest()
        return await self._within(self._reader.readexactly(needed))

    async def _within(self, waiting: Coroutine[None, None, T]) -> T:
        async with asyncio.timeout(self._patience_s):
            return await waiting


class Wire:
    """One connection of a test without a loop, or with threads; otherwise as `Client`."""

    def __init__(self, port: int, timeout_s: float = TIMEOUT_S) -> None:
        self.port = port
        self.socket = socket.create_connection(("127.0.0.1", port), timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.unread = bytearray()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """Send one well-formed request (`content_type=` for Content-Type) and read its answer."""
        self.send(request(method, path, body, **headers))
        return self.answer(method)

    def answer(self, method: str = "GET") -> Answer:
        """The next answer; `method` tells whether it can have a body."""
        head = self.head()
        return head if method == "HEAD" else self.whole(head)

    def head(self) -> Answer:
        """The head of the next answer; the rest is still to be read."""
        return head_of(self._take(b"\r\n\r\n"))

    def whole(self, head: Answer) -> Answer:
        """The answer of which this is the head."""
        return self._read(read_body(head))

    def chunk(self) -> bytes:
        """The next one of a body; empty at its end."""
        return self._read(read_chunk())

    def remaining(self) -> list[Answer]:
        """Every answer that comes before the server closes; times out when it does not close."""
        answers: list[Answer] = []
        while self._has_more():
            answers.append(self.answer())
        return answers

    def finish(self) -> None:
        """Send no more; what was sent stands, and answers may still come."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Break the connection as a crashed client does."""
        reset_on_close(self.socket)
        self.socket.close()

    def is_ended(self) -> bool:
        """Wait for the server to close; False when it sends something or stays open instead."""
        try:
            return not self.unread and not self.socket.recv(1)
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False

    def _read(self, reading: Reading[T]) -> T:
        try:
            needed = next(reading)
            while True:
                needed = reading.send(self._take(needed))
        except StopIteration as done:
            result: T = done.value
            return result

    def _take(self, needed: Needed) -> bytes:
        if isinstance(needed, bytes):
            while (at := self.unread.find(needed)) < 0:
                self._receive()
            size = at + len(needed)
        elif needed is not None:
            while len(self.unread) < (size := needed):
                self._receive()
        else:
            with contextlib.suppress(ConnectionEnded):
                while True:
                    self._receive()
            size = len(self.unread)
        found = bytes(self.unread[:size])
        del self.unread[:size]
        return found

    def _has_more(self) -> bool:
        with contextlib.suppress(ConnectionEnded):
            if not self.unread:
                self._receive()
            return True
        return False

    def _receive(self) -> None:
        try:
            data = self.socket.recv(1 << 18)
        except ConnectionResetError:
            data = b""
        if not data:
            raise ConnectionEnded(bytes(self.unread))
        self.unread += data


def request(method: str, path: str, body: bytes | None = None, **headers: str) -> bytes:
    """The bytes of one well-formed request."""
    fields = {"Host": "localhost", **headers}
    lines = [f"{method} {path} HTTP/1.1"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def ask(port: int, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
    """One request on a connection of its own."""
    with Wire(port) as wire:
        return wire.request(method, path, body, **headers)
