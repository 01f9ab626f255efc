"""A server that is reloaded again and again under load, and what its clients see of it."""

from __future__ import annotations

import asyncio
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.support.given_settings import lines as lines_of
from tests.support.http1 import Client, ask, request
from tests.support.processes import Headgate

if TYPE_CHECKING:
    from pathlib import Path

STREAM = "/v1/stream/s"
TEXT = {"content_type": "text/plain"}
CACHED_READERS = 4  # connections that send one cached read after the other
APPEND_EVERY_S = 0.1
SETTLES_S = 2.0  # of load without reloads, to compare with


@dataclass
class Measured:
    """What the clients saw."""

    readers_lost: int = 0
    requests: int = 0
    failed: int = 0
    hits: int = 0
    ratio_before: float = 0.0
    ratio_during: float = 0.0
    reloads_ms: list[float] = field(default_factory=list)
    resident: list[int] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """The number of readers and requests that did not get what they should."""
        return self.readers_lost + self.failed

    @property
    def median_ms(self) -> float:
        """The duration of a reload."""
        return statistics.median(self.reloads_ms)

    @property
    def longest_ms(self) -> float:
        """The duration of the longest reload."""
        return max(self.reloads_ms)


class Load:
    """Readers of one stream, cached reads of it and of another, and an appender."""

    def __init__(self, folder: Path, readers: int) -> None:
        self._file = folder / "headgate.toml"
        self._readers = readers
        self._server = Headgate(arguments=["--config", str(self._file)])
        at = self._server.arguments.index("--storage")
        del self._server.arguments[at : at + 2]
        self._measured = Measured()
        self._appended = 0
        self._is_over = asyncio.Event()

    def _write(self, number: int) -> None:
        """Write the settings of a reload: each other one has a second route."""
        settings = {"sse_max_age": 3600, "max_live_readers": 50_000 + number}
        settings |= {"max_connections": 100_000}
        lines = lines_of(settings)
        for prefix in ("/v1/stream", "/other")[: 1 + number % 2]:
            lines += ["[[routes]]", f'prefix = "{prefix}"', 'storage = "memory:"']
        self._file.write_text("\n".join(lines) + "\n")

    async def play(self, reloads: int) -> Measured:
        """Reload so many times, and return what was measured."""
        self._write(0)
        self._server.start()
        try:
            await self._play(reloads)
        finally:
            self._server.close()
        return self._measured

    async def _play(self, reloads: int) -> None:
        port, measured = self._server.port, self._measured
        assert ask(port, "PUT", STREAM, b"", **TEXT).status == 201
        assert ask(port, "PUT", "/v1/stream/still", b"x" * 9000, **TEXT).status == 201
        readers = [await self._follow() for _ in range(self._readers)]
        load = [asyncio.create_task(self._read_cached()) for _ in range(CACHED_READERS)]
        appending = asyncio.create_task(self._append())
        await asyncio.sleep(SETTLES_S)
        measured.ratio_before = measured.hits / measured.requests
        requests, hits = measured.requests, measured.hits
        measured.resident.append(self._server.resident_bytes())
        for number in range(1, reloads + 1):
            await self._reload(number)
        measured.resident.append(self._server.resident_bytes())
        measured.ratio_during = (measured.hits - hits) / (measured.requests - requests)
        self._is_over.set()
        await asyncio.gather(appending, *load)
        await asyncio.sleep(SETTLES_S)  # the last event is on its way
        measured.readers_lost = sum(not reader.has_all(self._appended) for reader in readers)
        for reader in readers:
            reader.close()

    async def _follow(self) -> LiveReader:
        loop = asyncio.get_running_loop()
        _, reader = await loop.create_connection(LiveReader, "127.0.0.1", self._server.port)
        return reader

    async def _read_cached(self) -> None:
        """Send one read that is cached after the other."""
        client = await Client.connect(self._server.port)
        asked = request("GET", "/v1/stream/still?offset=-1")
        while not self._is_over.is_set():
            answer = await client.ask(asked)
            self._measured.requests += 1
            self._measured.failed += answer.status != 200
            self._measured.hits += (answer.get("X-Cache") or "").startswith("HIT")
        client.close()

    async def _append(self) -> None:
        """Append one number after the other."""
        client = await Client.connect(self._server.port)
        while not self._is_over.is_set():
            body = f"{self._appended};".encode()
            answer = await client.ask(request("POST", STREAM, body, **TEXT))
            self._measured.failed += answer.status != 204
            self._appended += 1
            await asyncio.sleep(APPEND_EVERY_S)
        client.close()

    async def _reload(self, number: int) -> None:
        """Have the console reload, as the command does."""
        self._write(number)
        admin = await Client.connect(self._server.admin_port)
        session = (await admin.ask(request("GET", "/api/v1/session"))).json()
        began = asyncio.get_running_loop().time()
        token = {"X_CSRF_Token": session["csrf"]}
        answer = await admin.ask(request("POST", "/api/v1/reload", b"", **token))
        self._measured.reloads_ms.append((asyncio.get_running_loop().time() - began) * 1000)
        assert answer.status == 200, answer
        assert len(answer.json()["routes"]) == 1 + number % 2
        admin.close()


class LiveReader(asyncio.Protocol):
    """An SSE reader that holds no more of what it gets than the numbers that it expects next."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._next = 0
        self._rest = b""
        self._is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(request("GET", f"{STREAM}?offset=-1&live=sse"))

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data:") and line.endswith(b";"):
                for number in line.removeprefix(b"data:").removesuffix(b";").split(b";"):
                    self._is_lost |= int(number) != self._next
                    self._next = int(number) + 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True

    def has_all(self, count: int) -> bool:
        """Whether it is connected, and got each of so many numbers once, in their order."""
        return not self._is_lost and self._next == count

    def close(self) -> None:
        self._transport.abort()
