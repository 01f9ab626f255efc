"""Responses in the form in which connections write them: a head, and a body or its source.

Handlers make them of their answers with `render`; the connection calls `write` and `send_rest`.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from enum import IntEnum
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from typing_extensions import override

from headgate_gateway.errors import HeadgateError
from headgate_gateway.protocol import http1
from headgate_gateway.protocol.http.nginx_lifetimes import lines_for_nginx
from headgate_gateway.protocol.http.repeated_fields import with_one_vary
from headgate_gateway.routes.answers import PushingSource
from headgate_gateway.stepped import in_task

if TYPE_CHECKING:
    from asyncio import Transport
    from collections.abc import Sequence

    from headgate_gateway.routes.answers import BodySource, RouteAnswer
    from headgate_gateway.telemetry.traffic import Ended


_NO_LINGER = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: closing resets
# Up to this size, copying a body after its head costs less than writing them separately.
JOINED_BYTES = 32 * 1024


def render(
    method: str,
    answered: RouteAnswer,
    common: bytes,
    *,
    varies: bool,
    is_http_1_0: bool = False,
    is_of_nginx: bool = False,
) -> tuple[tuple[bytes, ...], bytes | BodySource]:
    """Return the head of a response to a request of a `method` in parts, and its body.

    `common` has the header lines of every response of this server, with a Vary perhaps if it
    `varies` them. A request that `is_of_nginx` is told how long it may store the response.
    """
    status, body, cache = answered.status, answered.body, answered.cache.lines
    has_body = method != "HEAD" and status not in http1.BODYLESS
    if not (has_body or isinstance(body, bytes)):
        body.release()  # now: the client may be slow to receive the head
    # Of an own response to HEAD the length would have to be a GET's.
    if answered.is_relayed:
        length = None if status == 204 else answered.length
    else:
        length = len(body) if has_body and isinstance(body, bytes) else None
    if length is not None:
        framing = b"Content-Length: %d\r\n\r\n" % length
    elif has_body and not is_http_1_0:
        framing = b"Transfer-Encoding: chunked\r\n\r\n"
    else:
        framing = b"\r\n"
    line, lines = http1.STATUS_LINES[status], answered.lines
    if is_of_nginx:
        lines = lines_for_nginx(lines, answered.cache.age)
    if varies:
        common, lines = with_one_vary(common, lines)
    if answered.is_relayed:
        head = line, lines, common, cache, framing
    else:
        head = line, common, cache, lines, framing
    return head, body if has_body else b""


class Pace(IntEnum):
    """The pace of a client that receives a response: it KEEPS_UP with what is written, or not."""

    KEEPS_UP = 0
    IS_BEHIND = 1
    IS_STUCK = 2  # for so long that its connection was cut


class ClientWire(Protocol):
    """A client's connection, as requests and their responses use it."""

    number: int  # that no other connection of the process has
    peer: str | None  # the address at its other end
    slot: tuple[str | None] | None  # with its client; without one behind a trusted proxy
    state: Any  # as `web.connections.contract` has it
    deadline: float | None  # for the head of a request (loop time)
    pace: Pace

    @property
    def transport(self) -> Transport | None:
        """The transport that events are written to; None when the client is gone."""

    def write(self, wire: bytes) -> None:
        """Write a part of the response."""

    @property
    def writing_paused(self) -> bool:
        """True while the client reads more slowly than it is sent data."""

    async def drained(self) -> None:
        """Wait until the client has read most of what was written. Raises ConnectionResetError."""

    def refuse(self, error: HeadgateError, *, to_head: bool = False) -> None:
        """Respond with the error, and end the connection. A response to a HEAD has no body."""

    def force_close(self) -> None:
        """End the connection as soon as the client has received what it was sent."""


class WireResponse:
    """The reply to one request, which writes itself to the client; subclasses may relay a body.

    With `keep_alive` the client may send its next request on the same connection; with `abandon`
    the rest of the request is not read. `ended` says how it ended, for the counts.
    """

    def __init__(
        self,
        status: int,
        head: Sequence[bytes],
        body: bytes = b"",
        *,
        keep_alive: bool,
        abandon: bool = False,
    ) -> None:
        self.status = status
        self.keep_alive = keep_alive
        self.abandon = abandon
        self.body_sent = 0
        self.ended: Ended | None = None  # None until something is written
        self._head = head
        self._body = body

    def write(self, client: ClientWire) -> bool:
        """Write head and body; return whether the socket accepted all. Raises ConnectionError."""
        transport = client.transport
        if transport is None:
            raise ConnectionResetError("the client is gone")
        # A long body is shared by its readers, and a slow client would keep a copy in memory.
        body = self._body
        if len(body) <= JOINED_BYTES:
            transport.write(b"".join((*self._head, body)))
        else:
            transport.writelines((*self._head, body))
        self.body_sent = len(body)
        keeps_up = not client.writing_paused
        self.ended = "answered" if keeps_up else "client"  # "client" until it has received all
        return keeps_up

    def take(self) -> bytes:
        """Return head and body, for a caller that sends them."""
        self.body_sent, self.ended = len(self._body), "answered"
        return b"".join((*self._head, self._body))

    async def send_rest(self, client: ClientWire) -> None:
        """Write the rest, and wait until the write buffer is low. Raises ConnectionError."""
        await client.drained()
        self.ended = "answered"


class StreamedResponse(WireResponse):
    """A reply that sends a head, then relays a body as fast as the client receives it."""

    def __init__(
        self,
        status: int,
        head: Sequence[bytes],
        source: BodySource,
        *,
        chunked: bool,
        keep_alive: bool,
        abandon: bool,
    ) -> None:
        super().__init__(status, head, keep_alive=keep_alive, abandon=abandon)
        self._source = source
        self._chunked = chunked

    @override
    def write(self, client: ClientWire) -> bool:
        """Write the head."""
        try:
            super().write(client)
        except ConnectionResetError:
            self._source.release()
            raise
        self.ended = "client"
        return False

    @override
    async def send_rest(self, client: ClientWire) -> None:
        """Relay the body, part by part, as fast as the client receives it.

        If it breaks off, the client's connection is reset. Raises ConnectionResetError then.
        """
        try:
            await in_task()
            await self._relay(client)
        except BaseException:
            if client.pace == Pace.IS_STUCK:
                self.ended = "slow"
            self._source.release()  # now: nothing says when the rest of its generator is collected
            raise
        await client.drained()
        self.ended = "answered"

    async def _relay(self, client: ClientWire) -> None:
        if isinstance(self._source, PushingSource):
            self._source.push_to(partial(self._push, client))
        try:
            async for part in self._source.parts():
                if client.transport is None:
                    raise ConnectionResetError("the client is gone")
                self._write(client, part)
                if client.writing_paused:
                    await client.drained()  # its connection is cut if it receives nothing
        except HeadgateError as error:
            self.ended = "error"
            _cut(client)
            raise ConnectionResetError(str(error)) from error
        except asyncio.CancelledError:
            self.ended = "client" if client.transport is None else "drain"
            _cut(client)
            raise
        if self._chunked and client.transport is not None:
            client.write(http1.LAST_CHUNK)

    def _push(self, client: ClientWire, part: bytes) -> bool:
        """Write a part to a client that keeps up; return whether it does."""
        if client.transport is None or client.writing_paused:
            return False
        self._write(client, part)
        return True

    def _write(self, client: ClientWire, part: bytes) -> None:
        client.write(http1.chunk(part) if self._chunked else part)
        self.body_sent += len(part)


def _cut(client: ClientWire) -> None:
    """Reset the connection: some clients would take a close for the end of the body."""
    transport = client.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        transport.abort()
