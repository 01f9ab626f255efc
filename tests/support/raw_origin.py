"""A scripted HTTP server: plays given bytes, and remembers what it heard."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headgate_gateway.origin.health import PROBE_PATH
from tests.support.listener import Listener
from tests.support.resets import reset_on_close

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

    # What happens when the head of a request has come.
    Play = Callable[["Wire"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Heard:
    """The head of a request, and the number of the connection that it came on."""

    head: bytes
    connection: int

    @property
    def line(self) -> str:
        """The request line."""
        return self.head.split(b"\r\n", 1)[0].decode()

    @property
    def method(self) -> str:
        """As in the request line."""
        return self.line.split(" ")[0]

    @property
    def target(self) -> str:
        """As in the request line."""
        return self.line.split(" ")[1]

    @property
    def fields(self) -> list[str]:
        """The header lines as they were sent."""
        return self.head.decode("utf-8", "surrogateescape").split("\r\n")[1:-2]

    @property
    def named(self) -> dict[str, str]:
        """The last field of each name; names are in lower case."""
        pairs = (field.partition(":") for field in self.fields)
        return {name.lower(): value.strip() for name, _, value in pairs}


class Wire:
    """A connection, from the server's end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = 0  # among those that a request came on
        self.heard = Heard(b"", 0)  # the request that is answered
        self._reader = reader
        self._writer = writer

    async def head(self) -> bytes:
        """The head of the next request; empty when the other side has closed."""
        try:
            return await self._reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, OSError):
            return b""

    async def read(self, size: int) -> bytes:
        """So many bytes of a body."""
        return await self._reader.readexactly(size)

    async def read_until(self, end: bytes) -> bytes:
        """What comes up to these bytes, and they."""
        return await self._reader.readuntil(end)

    async def body(self) -> bytes:
        """That of the request, with the sizes of its chunks if it comes in some."""
        if "transfer-encoding" in self.heard.named:
            return await self.read_until(b"0\r\n\r\n")
        return await self.read(int(self.heard.named.get("content-length", 0)))

    async def rest(self) -> bytes:
        """All that comes until the other side has closed."""
        with contextlib.suppress(OSError):
            return await self._reader.read()
        return b""

    def is_closing(self) -> bool:
        """Whether either side has ended the connection."""
        return self._writer.is_closing() or self._reader.at_eof()

    def write(self, data: bytes) -> None:
        """Bytes as they are, without a wait until they are taken."""
        self._writer.write(data)

    async def send(self, data: bytes) -> None:
        """Bytes as they are; the other side may have gone."""
        with contextlib.suppress(OSError):
            if self._writer.is_closing():  # as another kind of loop says with a RuntimeError
                return
            self._writer.write(data)
            await self._writer.drain()

    async def close(self) -> None:
        """End the connection in an orderly way."""
        self._writer.close()

    async def finish(self) -> None:
        """Send nothing more, and go on listening."""
        self._writer.write_eof()

    async def reset(self) -> None:
        """End the connection as a crash does."""
        if not self._writer.is_closing():  # else the other side has gone, and its socket with it
            reset_on_close(self._writer.get_extra_info("socket"))
        self._writer.transport.abort()


class RawOrigin(Listener):
    """Listens on a loopback port and plays a script for each request, the last one again and again.

    A script is the bytes of an answer, which are sent as one packet when the head of the request
    has come, or a function of the connection. Probes have a script of their own, and are counted
    apart: nobody knows how many come between two requests.
    """

    def __init__(
        self, *scripts: bytes | Play, port: int | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(self._serve, port=port, tls=tls, limit=1 << 20)
        self.scripts = list(scripts)
        self.heard: list[Heard] = []
        self.connections = 0
        self.probe_script: bytes | Play = answer(status="404 Not Found")
        self.probes = 0
        self._numbers = itertools.count(1)  # of connections that a request came on
        self.closed = 0  # connections that the other side has ended
        self._is_tls = tls is not None

    @property
    def url(self) -> str:
        """Its base URL, without a path."""
        return f"{'https' if self._is_tls else 'http'}://localhost:{self.port}"

    def lines(self) -> list[str]:
        """The request lines so far."""
        return [heard.line.removesuffix(" HTTP/1.1") for heard in self.heard]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        wire = Wire(reader, writer)
        while head := await wire.head():
            wire.heard = Heard(head, wire.number)
            if wire.heard.line.startswith(f"GET {PROBE_PATH} "):
                self.connections -= 1  # a probe has a connection of its own
                self.probes += 1
                script = self.probe_script
            else:
                wire.number = wire.number or next(self._numbers)
                wire.heard = Heard(head, wire.number)
                self.heard.append(wire.heard)
                script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
            if isinstance(script, bytes):
                await wire.send(script)
            else:
                await script(wire)
            if writer.is_closing():
                return
        self.closed += 1


def answer(body: bytes = b"", *fields: str, status: str = "200 OK") -> bytes:
    """A well-formed answer."""
    lines = [f"HTTP/1.1 {status}", *fields, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


class Steps:
    """Sends the first packet at once, and each of the others when the test says so."""

    def __init__(self, *packets: bytes, then: Play | None = None) -> None:
        self.sent = 0
        self._packets = packets
        self._then = then
        self._go = asyncio.Semaphore(0)

    def go(self) -> None:
        """Let the next one be sent, or what follows all of them be done."""
        self._go.release()

    async def __call__(self, wire: Wire) -> None:
        """Play."""
        for packet in self._packets:
            if self.sent:
                await self._go.acquire()
            await wire.send(packet)
            self.sent += 1
        if self._then is not None:
            await self._go.acquire()
            await self._then(wire)


async def close(wire: Wire) -> None:
    """Ends the connection."""
    await wire.close()


async def reset(wire: Wire) -> None:
    """Ends the connection as a crash does."""
    await wire.reset()


async def silence(wire: Wire) -> None:
    """Says nothing until the other side gives up."""
    await wire.rest()
