"""Servers with one stream that lose its end: put back from an older copy, or never replicated.

An append is one record, of which no two are alike. `Ledger` has every content that ever was.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from itertools import cycle
from typing import TYPE_CHECKING, Protocol, TypeAlias
from urllib.parse import parse_qs, urlsplit

from typing_extensions import override

from tests.edge.gateways import PREFIX
from tests.support.http1 import ConnectionEnded, ask
from tests.support.raw_origin import RawOrigin, Wire, answer
from tests.support.waiting import until

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from tests.support.origin_servers import Electric, OwnLog, Reference

    # Waits until a gateway has noticed whether the server with this URL is up.
    Noticed: TypeAlias = Callable[[str, int], Awaitable[None]]

PATH = f"{PREFIX}/rewound"
TYPE = "text/plain"
POLL_S = 1.0
DOWN, UP = 0, 1
_UP_TO_DATE = "Stream-Up-To-Date: true"


class Ledger:
    """The record of every content that the stream has had, also of what was lost again."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._records = 0
        self.now = b""
        self.lives: list[bytes] = []  # as they were when they ended

    def record(self) -> bytes:
        self._records += 1
        return b"<%d %b>\n" % (self._records, b"x" * self._chance.randint(0, 60))

    def wrote(self, record: bytes) -> None:
        """Note that a record was written, or may have been."""
        self.now += record

    def lost(self, kept: bytes) -> None:
        """Note the whole content of the stream after a loss."""
        self.lives.append(self.now)
        self.now = kept

    def has_begun_with(self, content: bytes) -> bool:
        return any(life.startswith(content) for life in (self.now, *self.lives))

    def has_had(self, content: bytes) -> bool:
        return any(content in life for life in (self.now, *self.lives))


class Rewinding(Protocol):
    """An origin of one or two servers, with one stream."""

    @property
    def urls(self) -> list[str]:
        """The URLs of the servers, the first server first."""

    async def append(self, record: bytes) -> None:
        """Write a record."""

    async def back_up(self) -> None:
        """Keep a copy of the present state."""

    async def restore(self, records: list[bytes], noticed: Noticed) -> None:
        """Put the copy back, and write these, once it was noticed that the server is down."""


class Double(RawOrigin):
    """A server in memory, whose offsets count bytes.

    One that `echoes` answers a read past its tail with the asked offset, a poll from there with
    whatever comes next, and keeps polls of a deleted stream open, as Electric's server does.
    """

    def __init__(self, *, echoes: bool = False, port: int | None = None) -> None:
        super().__init__(self._play, port=port)
        self.echoes = echoes
        self.is_down = False
        self.stream: list[bytes] | None = [b""]  # one content; another object is another stream
        self._changed = asyncio.Event()

    def write(self, content: bytes) -> None:
        """Give the stream this content, and answer those that wait for it."""
        assert self.stream is not None
        self.stream[0] = content
        self._changed.set()
        self._changed = asyncio.Event()

    async def fall(self) -> None:
        """End every connection, and take no more."""
        self.is_down = True
        await super().__aexit__(None, None, None)

    async def rise(self) -> None:
        """Take connections again, at the same port."""
        if self.is_down:
            self.is_down = False
            await super().__aenter__()

    @override
    async def __aexit__(self, *why: object) -> None:
        if not self.is_down:
            await self.fall()

    async def _play(self, wire: Wire) -> None:
        body = await wire.body()
        method = wire.heard.method
        query = {n: v[0] for n, v in parse_qs(urlsplit(wire.heard.target).query).items()}
        if method == "GET" and self.stream is not None:
            await self._read(wire, self.stream, query)
        else:
            await wire.send(self._written(method, body))

    def _written(self, method: str, body: bytes) -> bytes:
        stream = self.stream
        if method == "PUT":
            status = "200 OK" if stream is not None else "201 Created"
            if stream is None:
                self.stream = stream = [body]
            return answer(b"", _next(len(stream[0])), status=status)
        if stream is None:
            return answer(status="404 Not Found")
        if method == "DELETE":
            self.stream = None
            return answer(status="204 No Content")
        if method == "POST":
            self.write(stream[0] + body)
        return answer(b"", _next(len(stream[0])), f"Content-Type: {TYPE}", status="204 No Content")

    async def _read(self, wire: Wire, stream: list[bytes], query: dict[str, str]) -> None:
        asked = query.get("offset", "-1")
        tail = len(stream[0])
        start = {"-1": 0, "now": tail}.get(asked)
        start = int(asked) if start is None else start
        begin = min(start, tail)
        if query.get("live") == "long-poll":
            await self._poll(wire, stream, begin)
            return
        end = start if start > tail and self.echoes else len(stream[0])
        fields = [f"Content-Type: {TYPE}", _next(end), _UP_TO_DATE]
        if start > tail or asked == "now":
            fields.append("Cache-Control: no-store")
        await wire.send(answer(stream[0][begin:], *fields))

    async def _poll(self, wire: Wire, stream: list[bytes], begin: int) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_S):
                while len(stream[0]) <= begin and not wire.is_closing():
                    await self._changed.wait()
        body, fields = stream[0][begin:], [_next(len(stream[0])), _UP_TO_DATE]
        if body:
            await wire.send(answer(body, f"Content-Type: {TYPE}", *fields))
        else:
            await wire.send(answer(b"", *fields, status="204 No Content"))


def _next(offset: int) -> str:
    return f"Stream-Next-Offset: {offset:016}"


def pauses() -> Iterator[float]:
    """Return how long a server is up with an older copy before it grows, in seconds, in turn."""
    return cycle([0.0, 0.05, 0.0, 0.3])


class OneDouble:
    """A double that is restarted with an older copy."""

    def __init__(self, double: Double) -> None:
        self.double = double
        self._copy = b""
        self._pauses = pauses()

    @property
    def urls(self) -> list[str]:
        return [self.double.url]

    @property
    def content(self) -> bytes:
        return b"" if self.double.stream is None else self.double.stream[0]

    async def append(self, record: bytes) -> None:
        self.double.write(self.content + record)

    async def back_up(self) -> None:
        self._copy = self.content

    async def restore(self, records: list[bytes], noticed: Noticed) -> None:
        url = self.double.url
        await self.double.fall()
        await noticed(url, DOWN)
        self.double.stream = [self._copy]
        await self.double.rise()
        await asyncio.sleep(next(self._pauses))
        self.double.write(self._copy + b"".join(records))


class TwoDoubles:
    """A server, and a second one that lags and takes over when the first is down."""

    def __init__(self, first: Double, second: Double) -> None:
        self._servers = [first, second]
        self._pauses = pauses()
        self._urls = [server.url for server in self._servers]

    @property
    def urls(self) -> list[str]:
        return self._urls

    def _up(self) -> Double:
        return next(server for server in self._servers if not server.is_down)

    async def append(self, record: bytes) -> None:
        up = self._up()
        assert up.stream is not None
        up.write(up.stream[0] + record)

    async def back_up(self) -> None:
        """Replicate the stream now; later writes are not replicated."""
        up = self._up()
        assert up.stream is not None
        for server in self._servers:
            if server is not up:
                server.write(up.stream[0])

    async def restore(self, records: list[bytes], noticed: Noticed) -> None:
        """Lose the server that is up, and go on with the other, which the lost one copies later."""
        up = self._up()
        (other,) = (server for server in self._servers if server is not up)
        assert other.stream is not None
        await up.fall()
        await other.rise()
        await asyncio.sleep(next(self._pauses))
        other.write(other.stream[0] + b"".join(records))
        up.stream = [other.stream[0]]
        await noticed(
            self._urls[0], UP if other is self._servers[0] else DOWN
        )  # which is asked if it is up


class Restarted:
    """A real server with files, which are copied and put back while it is stopped."""

    def __init__(self, server: Reference | OwnLog | Electric, folder: Path) -> None:
        self._server = server
        self._folder = folder
        self._copy = folder.with_name(f"{folder.name}-copy")

    @property
    def urls(self) -> list[str]:
        return [self._server.url]

    async def create(self) -> None:
        await self._ask("PUT", b"")

    async def append(self, record: bytes) -> None:
        await self._ask("POST", record)

    async def back_up(self) -> None:
        await asyncio.to_thread(self._restart, self._folder, self._copy)

    async def restore(self, records: list[bytes], noticed: Noticed) -> None:
        await asyncio.to_thread(self._server.kill)
        await noticed(self._server.url, DOWN)
        await asyncio.to_thread(self._restart, self._copy, self._folder)
        await self.append(b"".join(records))

    def _restart(self, source: Path, target: Path) -> None:
        self._server.kill()
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
        self._server.start()

    async def _ask(self, method: str, body: bytes) -> None:
        def send() -> bool:
            with contextlib.suppress(OSError, ConnectionEnded):
                sent = ask(self._server.port, method, PATH, body, content_type=TYPE)
                return sent.status < 300
            return False

        async def is_sent() -> bool:
            return await asyncio.to_thread(send)

        await until(is_sent, "the server to take a write")
