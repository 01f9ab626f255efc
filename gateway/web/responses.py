"""Replies on their way to the client."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Protocol

from gateway.errors import HeadgateError
from gateway.protocol import http1
from gateway.stepped import in_task

if TYPE_CHECKING:
    from gateway.live.contract import Taker
    from gateway.runtime.answer import Relayed, Source
    from gateway.telemetry.live_traffic import Ended


_NO_LINGER = struct.pack("ii", 1, 0)  # closing resets
JOINED_BYTES = 32 * 1024  # up to here copying an answer costs less than to write it in two parts


def bodyless(answer: Relayed, lines: bytes) -> bytes:
    """A whole answer that has no body; `lines` are ours."""
    length = b"" if answer.length is None else b"Content-Length: %d\r\n" % answer.length
    return b"".join((answer.head, lines, length if answer.status != 204 else b"", b"\r\n"))


def head_of(answer: Relayed, lines: bytes, *, knows_chunks: bool = True) -> bytes:
    """The head of one that has."""
    if answer.length is not None:
        framing = b"Content-Length: %d\r\n\r\n" % answer.length
    else:
        framing = b"Transfer-Encoding: chunked\r\n\r\n" if knows_chunks else b"\r\n"
    return b"".join((answer.head, lines, framing))


class Reply(Protocol):
    """The answer to one request, which its connection has written."""

    @property
    def keep_alive(self) -> bool:
        """Whether the client may send its next request on the same connection."""

    @property
    def abandon(self) -> bool:
        """Whether the rest of the request is not waited for."""

    def write(self, client: Taker, /) -> bool:
        """Write what is ready; return whether that is all, and the client takes more.

        Raises ConnectionError.
        """

    async def send_rest(self, client: Taker, /) -> None:
        """Write the rest, and wait until the client has taken most. Raises ConnectionError."""


class WireResponse:
    """Writes its bytes to the transport and waits until the client has taken most of them."""

    def __init__(
        self,
        status: int,
        *wire: bytes,
        keep_alive: bool,
        body_size: int = 0,
        abandon: bool = False,
    ) -> None:
        """The last `body_size` bytes are the body.

        With `abandon` the rest of the request is not waited for.
        """
        self.status = status
        self.keep_alive = keep_alive
        self.abandon = abandon
        self.body_sent = 0
        self.ended: Ended | None = None  # nothing is written yet
        self._body_size = body_size
        self._wire = wire

    @property
    def size(self) -> int:
        """Bytes that are ready to be written."""
        return sum(map(len, self._wire))

    def write(self, client: Taker) -> bool:
        """Write everything that is ready."""
        if client.transport is None:
            raise ConnectionResetError("the client is gone")
        # What is long is shared by all who get it, and a client may be slow to take it: no copies.
        wire = self._wire
        if len(wire) == 1:
            client.write(wire[0])
        elif self.size <= JOINED_BYTES:
            client.write(b"".join(wire))
        else:
            client.writelines(wire)
        self.body_sent = self._body_size
        is_taken = not client.writing_paused
        self.ended = "answered" if is_taken else "client"  # until it has taken all
        return is_taken

    async def send_rest(self, client: Taker) -> None:
        """Hold the next request back while this answer is not taken."""
        await client.drained()
        self.ended = "answered"


class StreamedResponse(WireResponse):
    """Writes a head, then parts as they come, no faster than the client takes them."""

    def __init__(  # noqa: PLR0913 - how an answer goes out
        self,
        status: int,
        wire: bytes,
        source: Source,
        *,
        timeout_s: float,
        chunked: bool,
        keep_alive: bool,
        abandon: bool,
    ) -> None:
        super().__init__(status, wire, keep_alive=keep_alive, abandon=abandon)
        self._source = source
        self._timeout_s = timeout_s
        self._chunked = chunked

    def write(self, client: Taker) -> bool:
        """Write the head."""
        super().write(client)
        self.ended = "client"
        return False

    async def send_rest(self, client: Taker) -> None:
        """Relay the body. One that is cut short is cut for the client too, and never ended."""
        await in_task()
        relay = Relay(self._source, timeout_s=self._timeout_s, chunked=self._chunked)
        try:
            await relay.to(client)
        finally:
            self.body_sent, self.ended = relay.sent, relay.ended
        await client.drained()
        self.ended = "answered"


class Relay:
    """A body on its way to a client, in parts as they come, no faster than it takes them.

    `ended` says how it has ended, once it has.
    """

    def __init__(self, source: Source, *, timeout_s: float, chunked: bool) -> None:
        self.sent = 0
        self.ended: Ended = "client"
        self._source = source
        self._timeout_s = timeout_s
        self._chunked = chunked

    async def to(self, client: Taker) -> None:
        """Send it. One that is cut short is cut for the client too, and never ended.

        Raises ConnectionResetError.
        """
        try:
            async for part in self._source.parts():
                if client.transport is None:
                    raise ConnectionResetError("the client is gone")
                client.write(http1.chunk(part) if self._chunked else part)
                self.sent += len(part)
                # One who takes nothing would keep a request at the origin for ever.
                async with asyncio.timeout(self._timeout_s):
                    await client.drained()
        except (HeadgateError, TimeoutError) as error:
            self.ended = "slow" if isinstance(error, TimeoutError) else "error"
            _cut(client)
            raise ConnectionResetError(str(error)) from error
        except asyncio.CancelledError:
            self.ended = "client" if client.transport is None else "drain"
            _cut(client)
            raise
        if self._chunked and client.transport is not None:
            client.write(http1.LAST_CHUNK)


def _cut(client: Taker) -> None:
    """Reset the connection: closing it would look like a proper end to some clients."""
    transport = client.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        transport.abort()


class HandedOver(WireResponse):
    """The answer goes on without its handler."""

    def __init__(self) -> None:
        super().__init__(200, keep_alive=False)

    def write(self, client: Taker) -> bool:  # noqa: ARG002 - a Reply's
        """Write nothing."""
        return True
