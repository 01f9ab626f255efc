"""A client's connection: the requests that need no task are answered as soon as they are parsed.

Leans on aiohttp's RequestHandler (3.14): `_parser`, `_messages`, `_waiter`, `_request_count`,
`_next_keepalive_close_time`, `_paused`, `_reading_paused`, and on StreamReader's `_buffer`.
tests/web/test_connection_contract.py fails when those change.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from aiohttp.http import HttpVersion11
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import MAX_MSG_QUEUE_SIZE, RequestHandler

from gateway.errors import HeadTooLarge, LimitReached
from gateway.protocol import cache_status, http1
from gateway.web.answers import WireResponse
from gateway.web.request_lines import is_host, is_one_head, refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from aiohttp import web
    from aiohttp.http_parser import RawRequestMessage
    from aiohttp.web_request import BaseRequest

    from gateway.protocol.responses import Response
    from gateway.web.connection_server import ConnectionServer
    from gateway.web.fast import Head

HEAD_BYTES = 32 * 1024  # of a head that is not whole yet; parsed, it takes twice as much
HELD_BYTES = 64 * 1024  # what a client may send ahead while its request is being answered
LINGER_S = 1.0  # for the rest of what was refused, and for the client to read why


class Connection(RequestHandler):
    """`_busy` counts requests in aiohttp's hands; `_taken` says that one is in ours."""

    __slots__ = (
        "_begun",
        "_busy",
        "_deadline",
        "_early",
        "_fast",
        "_given_back",
        "_held",
        "_late",
        "_later",
        "_more",
        "_on_lost",
        "_shared",
        "_taken",
        "_whole",
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
        self._early = b""
        self._late = b""
        self._whole = True  # each piece of input so far was one request without a body
        self._more = False  # the parser stopped at its bound and keeps the rest
        self._on_lost: Callable[[Connection], object] | None = None
        self._given_back: ExitStack | None = None  # with the end of aiohttp's request
        self._begun = 0  # bytes of a head that is not whole yet
        self._deadline: float | None = None  # for the head of a request (loop time)

    def bring(self, early: bytes, late: bytes) -> None:
        """What came before this object, and what is left to be sent before the connection ends."""
        self._early = early
        self._late = late

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Refuse a connection beyond the limit with an answer that says so."""
        super().connection_made(transport)
        limits = self._shared.limits
        limits.connections += 1
        self._deadline = self._loop.time() + self._shared.timeouts.header
        if self._late:
            self.write(self._late)
            self.force_close()
        elif limits.connections > limits.max_connections:
            limits.connections_refused += 1
            self._last_words(self._shared.problem(LimitReached("max_connections is reached")))
        elif self._early:
            self.data_received(self._early)
        self._early = self._late = b""

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
            self._whole = False
            return
        known = self._fast.heads.get(data) if self._whole else None
        if known is None or not self._answered_again(known):
            self._parse(data)

    def _parse(self, data: bytes) -> None:
        """Parse and process; again while the parser stops at its bound of messages."""
        while self._parser is not None and not (self._taken or self._busy or self._force_close):
            try:
                messages, upgraded, tail = self._parser.feed_data(data)
            except HttpProcessingError as error:
                self._refuse(error)
                return
            self._whole = self._whole and is_one_head(data, messages)
            if upgraded:
                self._upgraded = True
                self._message_tail = tail
            if not messages:
                self._wait_for_head(len(data))
                return
            self._deadline = None
            self._begun = 0
            self._more = len(messages) >= MAX_MSG_QUEUE_SIZE
            before = self._fast.answered
            self._process(messages)
            if self._whole and self._fast.answered > before:
                self._fast.remember(data, messages[0][0])
            if not self._more:
                return
            data = b""

    def _wait_for_head(self, more: int) -> None:
        """Bound what a client may send of a head, and the time that it takes."""
        self._begun += more
        if self._begun > HEAD_BYTES:
            too_large = HeadTooLarge(f"the head of a request may be {HEAD_BYTES:,} bytes long")
            self._last_words(self._shared.problem(too_large))
        elif self._deadline is None and more:
            self._deadline = self._loop.time() + self._shared.timeouts.header

    def _process(self, messages: Sequence[tuple[RawRequestMessage, StreamReader]]) -> None:
        if len(messages) == 1:  # as nearly always
            if not self._is_sound_and_answered(*messages[0]):
                self._give_to_aiohttp(messages)
            return
        for at, (message, payload) in enumerate(messages):
            if self._taken:
                self._later.extend(messages[at:])
                return
            if not self._is_sound_and_answered(message, payload):
                self._give_to_aiohttp(messages[at:])
                if self._more:
                    self._pause_reading_for_buffer()  # aiohttp parses on when it has caught up
                return

    def _is_sound_and_answered(self, message: RawRequestMessage, payload: StreamReader) -> bool:
        return is_host(message.headers.get("Host", "")) and self._answered(message, payload)

    def _answered_again(self, head: Head) -> bool:
        if self._paused or self._shared.closing or not self._fast.again(self, head):
            return False
        self._went_on(should_close=head.message.should_close)
        return True

    def _answered(self, message: RawRequestMessage, payload: StreamReader) -> bool:
        if message.upgrade or not (message.version is HttpVersion11 or message.should_close):
            return False
        if self._paused or self._shared.closing:
            return False
        if message.method == "GET":
            taken = payload is EMPTY_PAYLOAD and self._fast.get(self, message)
        elif message.method == "POST" and not (message.should_close or message.chunked):
            # A body that made aiohttp pause reading is long: it goes the ordinary way.
            whole = payload.is_eof() and payload.exception() is None and not self._reading_paused
            taken = whole and self._fast.post(self, message, _body(payload))
        else:
            taken = False
        if taken:
            if self._parser is not None:
                self._parser.message_consumed()
            self._went_on(should_close=message.should_close)
        return taken

    def _went_on(self, *, should_close: bool) -> None:
        """A request was answered without aiohttp, or will be."""
        self._deadline = None
        self._request_count += 1
        self._stay_open()
        if should_close:
            self.force_close()

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
            given_back, self._given_back = self._given_back, None
            if given_back is not None:
                given_back.close()
            if self._shared.closing and not self._busy:
                self.server.tell_idle()

    def held(self) -> ExitStack:
        """What the request in aiohttp's hands holds: given back when it is over, however it ends.

        It is over when the client has taken the answer, or is gone.
        """
        if self._given_back is None:
            self._given_back = ExitStack()
        return self._given_back

    @property
    def is_idle(self) -> bool:
        """Whether no request of the connection is under way."""
        return not (self._busy or self._taken)

    # Answering

    def write(self, wire: bytes) -> None:
        """Write an answer that was ready at once."""
        if self.transport is not None:
            self.transport.write(wire)

    def take(self, on_lost: Callable[[Connection], object] | None) -> None:
        """Keep the connection for an answer that comes later."""
        self._taken = True
        self._on_lost = on_lost

    def tell_loss(self, on_lost: Callable[[Connection], object] | None) -> None:
        """Whom to tell when the client leaves while a task waits for its answer."""
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
        self._last_words(self._shared.problem(refusal(error)))

    def _last_words(self, response: Response) -> None:
        """Answer, and close when it is sent: what follows on this connection means nothing."""
        if self.transport is None:
            return
        lines = self._shared.lines
        common = lines.own(request_id=lines.new_request_id(), origin=None, connection="close")
        self.transport.write(http1.serialize(response, common + cache_status.BYPASS))
        self._linger()

    def _linger(self) -> None:
        """Read on for a while: what a client still sends to a closed socket costs it the answer."""
        transport = self.transport
        assert transport is not None, "the caller has just written to it"
        if self._waiter is not None:
            self._waiter.cancel()
        self._force_close = True  # what comes is not looked at
        transport.write_eof()
        transport.resume_reading()
        self._loop.call_later(LINGER_S, transport.close)

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
