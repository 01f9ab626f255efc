"""Replies on their way to the client."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Protocol

from typing_extensions import override

from gateway.cache.rendered import RenderedChunk
from gateway.errors import HeadgateError
from gateway.protocol import http1
from gateway.protocol.responses import Response
from gateway.stepped import in_task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.live.contract import PartsTaker
    from gateway.runtime.answer import BodySource, RouteAnswer
    from gateway.telemetry.live_traffic import Ended
    from gateway.web.requests.request import Request


_NO_LINGER = struct.pack("ii", 1, 0)  # closing resets
JOINED_BYTES = (
    32 * 1024
)  # up to here copying a body costs less than to write it apart from its head


def rendered(
    request: Request, answered: RouteAnswer, status: int, common: bytes
) -> tuple[tuple[bytes, ...], bytes | BodySource]:
    """Return the head of an answer, in parts, and its body; `common` are lines of the moment."""
    answer, cache = answered
    if isinstance(answer, RenderedChunk):
        return (http1.status_line(status), common, cache, answer.lines), answer.body
    is_head = request.method == "HEAD"
    if isinstance(answer, Response):
        lines = http1.lines_for_head(answer) if is_head else http1.own_lines(answer)
        head = http1.status_line(status), common, cache, lines
        return head, b"" if is_head else answer.body
    body, length = answer.body, answer.length
    has_body = not is_head and http1.has_body(status)
    if not (has_body or isinstance(body, bytes)):
        body.release()  # at once, however long the client takes for the head
    if length is not None and status != 204:
        framing = b"Content-Length: %d\r\n\r\n" % length
    elif has_body and request.version.minor > 0:
        framing = b"Transfer-Encoding: chunked\r\n\r\n"
    else:
        framing = b"\r\n"
    return (answer.head, common, cache, framing), body if has_body else b""


class WritableReply(Protocol):
    """The reply to one request, which writes itself to the client that its connection names."""

    @property
    def keep_alive(self) -> bool:
        """Whether the client may send its next request on the same connection."""

    @property
    def abandon(self) -> bool:
        """Whether the rest of the request is not waited for."""

    def write(self, client: PartsTaker, /) -> bool:
        """Write what is ready; return whether that is all, and the client takes more.

        Raises ConnectionError.
        """

    async def send_rest(self, client: PartsTaker, /) -> None:
        """Write the rest, and wait until the client has taken most. Raises ConnectionError."""


class WireResponse:
    """Writes its bytes to the transport and waits until the client has taken most of them."""

    def __init__(
        self,
        status: int,
        head: Sequence[bytes],
        body: bytes = b"",
        *,
        keep_alive: bool,
        abandon: bool = False,
    ) -> None:
        """With `abandon` the rest of the request is not waited for."""
        self.status = status
        self.keep_alive = keep_alive
        self.abandon = abandon
        self.body_sent = 0
        self.ended: Ended | None = None  # nothing is written yet
        self._head = head
        self._body = body

    def write(self, client: PartsTaker) -> bool:
        """Write everything that is ready."""
        if client.transport is None:
            raise ConnectionResetError("the client is gone")
        # What is long is shared by all who get it, and a client may be slow to take it: no copies.
        body = self._body
        if len(body) <= JOINED_BYTES:
            client.write(b"".join((*self._head, body)))
        else:
            client.writelines((*self._head, body))
        self.body_sent = len(body)
        is_taken = not client.writing_paused
        self.ended = "answered" if is_taken else "client"  # until it has taken all
        return is_taken

    async def send_rest(self, client: PartsTaker) -> None:
        """Hold the next request back while this answer is not taken."""
        await client.drained()
        self.ended = "answered"


class StreamedResponse(WireResponse):
    """Writes a head, then parts as they come, no faster than the client takes them."""

    def __init__(  # noqa: PLR0913 - how an answer goes out
        self,
        status: int,
        head: Sequence[bytes],
        source: BodySource,
        *,
        timeout_s: float,
        chunked: bool,
        keep_alive: bool,
        abandon: bool,
    ) -> None:
        super().__init__(status, head, keep_alive=keep_alive, abandon=abandon)
        self._source = source
        self._timeout_s = timeout_s
        self._chunked = chunked

    @override
    def write(self, client: PartsTaker) -> bool:
        """Write the head."""
        super().write(client)
        self.ended = "client"
        return False

    @override
    async def send_rest(self, client: PartsTaker) -> None:
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

    def __init__(self, source: BodySource, *, timeout_s: float, chunked: bool) -> None:
        self.sent = 0
        self.ended: Ended = "client"
        self._source = source
        self._timeout_s = timeout_s
        self._chunked = chunked

    async def to(self, client: PartsTaker) -> None:
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


def _cut(client: PartsTaker) -> None:
    """Reset the connection: closing it would look like a proper end to some clients."""
    transport = client.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        transport.abort()


class HandedOver(WireResponse):
    """The answer goes on without its handler."""

    def __init__(self) -> None:
        super().__init__(200, (), keep_alive=False)

    @override
    def write(self, client: PartsTaker) -> bool:
        """Write nothing."""
        return True
