"""A client's connection: the requests that need no task are answered as soon as they are parsed.

Leans on aiohttp's RequestHandler (3.14): `_parser`, `_messages`, `_waiter`, `_request_count`,
`_next_keepalive_close_time`, `_paused`, `_reading_paused`, and on StreamReader's `_buffer`.
tests/web/test_connection_contract.py fails when those change.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.http import HttpVersion11
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import MAX_MSG_QUEUE_SIZE, RequestHandler

from gateway.errors import BadRequest, HeadTooLarge, LimitReached
from gateway.protocol import http1, responses
from gateway.web.answers import WireResponse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from aiohttp.http_parser import RawRequestMessage
    from aiohttp.web_request import BaseRequest

    from gateway.protocol.responses import Response
    from gateway.web.fast import Fast
    from gateway.web.shared import Shared

HELD_BYTES = 64 * 1024  # what a client may send ahead while its request is being answered
SWEEP_S = 0.5  # how late a slow client may be noticed


class Connection(RequestHandler):
    """`_busy` counts requests in aiohttp's hands; `_taken` says that one is in ours."""

    __slots__ = (
        "_busy",
        "_deadline",
        "_fast",
        "_held",
        "_later",
        "_more",
        "_on_lost",
        "_shared",
        "_taken",
        "server",
    )

    def __init__(self, server: ConnectionServer, **arguments: Any) -> None:  # noqa: ANN401 - aiohttp's
        super().__init__(server, loop=asyncio.get_running_loop(), **arguments)
        self.server = server
        self._fast = server.fast
        self._shared = server.shared
        self._busy = 0
        self._taken = False
        self._later: deque[tuple[RawRequestMessage, StreamReader]] = deque()
        self._held = bytearray()
        self._more = False  # the parser stopped at its bound and keeps the rest
        self._on_lost: Callable[[Connection], None] | None = None
        self._deadline: float | None = None  # for the head of a request (loop time)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Refuse a connection beyond the limit with an answer that says so."""
        super().connection_made(transport)
        limits = self._shared.limits
        limits.connections += 1
        self._deadline = self._loop.time() + self._shared.timeouts.header
        if limits.connections > limits.max_connections:
            limits.connections_refused += 1
            self._last_words(responses.problem(LimitReached("max_connections is reached")))

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget what waits for this connection; appends under way go on without it."""
        if self._manager is not None:
            self._shared.limits.connection_lost()
        if self._on_lost is not None:
            self._on_lost(self)
            self._on_lost = None
        self._later.clear()
        self._held.clear()
        super().connection_lost(exc)

    def hand_over(self, protocol: asyncio.Protocol) -> None:
        """Give the transport to another protocol; for aiohttp the connection ends here."""
        transport = self.transport
        assert transport is not None, "the caller has just written to it"
        transport.set_protocol(protocol)
        self.transport = None
        self.connection_lost(None)
        self._shared.limits.connections += 1  # still a connection: its new protocol counts it down

    # Receiving

    def data_received(self, data: bytes) -> None:
        """Parse, and answer what can be answered at once."""
        if self._force_close or self._close:
            return
        if self._taken:
            self._hold(data)
            return
        if self._busy or self._messages or self._upgraded or self._payload_parser is not None:
            before = self._request_count
            super().data_received(data)
            self._busy += self._request_count - before
            return
        self._parse(data)

    def _parse(self, data: bytes) -> None:
        """Parse and process; again while the parser stops at its bound of messages."""
        while self._parser is not None and not (self._taken or self._busy or self._force_close):
            try:
                messages, upgraded, tail = self._parser.feed_data(data)
            except HttpProcessingError as error:
                self._refuse(error)
                return
            if upgraded:
                self._upgraded = True
                self._message_tail = tail
            if not messages:
                if self._deadline is None and data:
                    self._deadline = self._loop.time() + self._shared.timeouts.header
                return
            self._deadline = None
            self._more = len(messages) >= MAX_MSG_QUEUE_SIZE
            self._process(messages)
            if not self._more:
                return
            data = b""

    def _process(self, messages: Sequence[tuple[RawRequestMessage, StreamReader]]) -> None:
        if len(messages) == 1:  # as nearly always
            if not self._answered(*messages[0]):
                self._give_to_aiohttp(messages)
            return
        for at, (message, payload) in enumerate(messages):
            if self._taken:
                self._later.extend(messages[at:])
                return
            if not self._answered(message, payload):
                self._give_to_aiohttp(messages[at:])
                if self._more:
                    self._pause_reading_for_buffer()  # aiohttp parses on when it has caught up
                return

    def _answered(self, message: RawRequestMessage, payload: StreamReader) -> bool:
        if message.should_close or message.upgrade or message.version is not HttpVersion11:
            return False
        if self._paused or self._shared.closing:
            return False
        if message.method == "GET":
            taken = payload is EMPTY_PAYLOAD and self._fast.get(self, message)
        elif message.method == "POST":
            # A body that made aiohttp pause reading is long: it goes the ordinary way.
            whole = payload.is_eof() and payload.exception() is None and not self._reading_paused
            taken = whole and self._fast.post(self, message, _body(payload))
        else:
            taken = False
        if taken:
            self._request_count += 1
            self._stay_open()
            if self._parser is not None:
                self._parser.message_consumed()
        return taken

    def _give_to_aiohttp(self, messages: Sequence[tuple[RawRequestMessage, StreamReader]]) -> None:
        for message, payload in messages:
            self._request_count += 1
            self._busy += 1
            self._messages.append((message, payload))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _hold(self, data: bytes) -> None:
        self._held += data
        if len(self._held) > HELD_BYTES and self.transport is not None:
            self.transport.pause_reading()

    async def _handle_request(
        self,
        request: BaseRequest,
        start_time: float | None,
        request_handler: Callable[[BaseRequest], Awaitable[web.StreamResponse]],
    ) -> tuple[web.StreamResponse, bool]:
        try:
            return await super()._handle_request(request, start_time, request_handler)
        finally:
            self._busy -= 1
            if self._shared.closing and not self._busy:
                self.server.tell_idle()

    @property
    def is_idle(self) -> bool:
        """Whether no request of the connection is under way."""
        return not (self._busy or self._taken)

    # Answering

    def write(self, wire: bytes) -> None:
        """Write an answer that was ready at once."""
        if self.transport is not None:
            self.transport.write(wire)

    def take(self, on_lost: Callable[[Connection], None] | None) -> None:
        """Keep the connection for an answer that comes later."""
        self._taken = True
        self._on_lost = on_lost

    def _stay_open(self) -> None:
        """Aiohttp knows nothing of our requests and must not take the connection for idle."""
        wait = self._shared.timeouts.longest_wait if self._taken else 0.0
        self._next_keepalive_close_time = self._loop.time() + wait + self._keepalive_timeout

    def answer(self, response: Response | None, wire: bytes) -> None:  # noqa: ARG002 - a Waiter
        """Write the answer that came later, and go on with what the client sent meanwhile."""
        self._on_lost = None
        transport = self.transport
        if transport is None:
            return
        transport.write(wire)
        self._taken = False
        self._stay_open()
        if self._later:
            messages = list(self._later)
            self._later.clear()
            self._process(messages)
        if self._more and not self._taken:
            self._parse(b"")
        if self._held and not self._taken:
            held = bytes(self._held)
            self._held.clear()
            transport.resume_reading()
            self.data_received(held)
        if self._shared.closing and not self._taken and not self._busy:
            transport.close()

    # Refusing

    def _refuse(self, error: HttpProcessingError) -> None:
        refusal: BadRequest | HeadTooLarge = BadRequest(f"not valid HTTP: {error.message}")
        if isinstance(error, LineTooLong):
            refusal = HeadTooLarge("the request line or a header line is too long")
            if "line" in error.message.lower() and "header" not in error.message.lower():
                refusal = BadRequest("the request line is too long")
        elif "many headers" in error.message:
            refusal = HeadTooLarge("there are too many header lines")
        self._last_words(responses.problem(refusal))

    def _last_words(self, response: Response) -> None:
        """Answer, and close when it is sent: what follows on this connection means nothing."""
        if self.transport is None:
            return
        lines = self._shared.lines
        common = lines.own(request_id=lines.new_request_id(), origin=None, connection="close")
        self.transport.write(http1.serialize(response, common))
        self.force_close()

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Give aiohttp's own refusals the form of ours."""
        if isinstance(exc, HttpProcessingError):
            self._refuse(exc)
            return WireResponse(status, b"", keep_alive=False)
        return super().handle_error(request, status, exc, message)

    def too_slow(self, now: float) -> bool:
        """Whether the client's time for the head of a request is over."""
        waits = self._deadline is not None and not self._taken and not self._busy
        return waits and self._deadline is not None and now >= self._deadline


def _body(payload: StreamReader) -> bytes:
    """The whole body. Its own methods would make the connection parse on in the middle of this."""
    return b"" if payload is EMPTY_PAYLOAD else b"".join(payload._buffer)


class ConnectionServer(web.Server):
    """Makes connections, and ends those of clients that are too slow."""

    def __init__(
        self,
        handler: Callable[[BaseRequest], Awaitable[web.StreamResponse]],
        fast: Fast,
        shared: Shared,
        **arguments: Any,  # noqa: ANN401 - aiohttp's own
    ) -> None:
        super().__init__(handler, handler_cancellation=False, **arguments)
        self.fast = fast
        self.shared = shared
        self._idle = asyncio.Event()
        self._sweep = self._loop.call_later(SWEEP_S, self._sweep_slow)

    def __call__(self) -> RequestHandler:
        """The protocol of a new connection."""
        return Connection(self, **self._kwargs)

    def reader_lost(self) -> None:
        """The connection of an SSE reader is gone."""
        self.shared.limits.connection_lost()

    def take_back(self, transport: asyncio.Transport) -> None:
        """A connection whose SSE answer is over begins anew."""
        if self.shared.closing or transport.is_closing():
            transport.close()
            return
        self.shared.limits.connection_lost()  # it is counted again as it is made
        connection = self()
        transport.set_write_buffer_limits()
        transport.set_protocol(connection)
        connection.connection_made(transport)

    def _sweep_slow(self) -> None:
        """One timer for all connections."""
        now = self._loop.time()
        for connection in list(self._connections):
            if isinstance(connection, Connection) and connection.too_slow(now):
                self.shared.limits.slow_requests += 1
                connection.force_close()
        self._sweep = self._loop.call_later(SWEEP_S, self._sweep_slow)

    async def all_idle(self) -> None:
        """Wait, while the server stops, until no request is under way."""
        while not all(
            connection.is_idle
            for connection in self.connections
            if isinstance(connection, Connection)
        ):
            self._idle.clear()
            await self._idle.wait()

    def tell_idle(self) -> None:
        """One more connection has nothing under way."""
        self._idle.set()

    def stop_sweeping(self) -> None:
        """Cancel the timer."""
        self._sweep.cancel()
