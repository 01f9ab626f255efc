"""A client's connection as aiohttp has it: the requests in its hands, and how they are refused.

It and `web.connection` lean on private parts of aiohttp's RequestHandler (3.14), and on `_ErrInfo`,
a refusal among its messages. tests/web/test_connection_contract.py lists them.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

from aiohttp.http import HttpRequestParser
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestHandler, RequestPayloadError, _ErrInfo

from gateway.errors import ClientLimitReached, HeadgateError, LimitReached
from gateway.runtime.quotas import peer_of
from gateway.telemetry.access_log import Asked, Outcome
from gateway.telemetry.logs import log
from gateway.telemetry.traffic import OTHER
from gateway.web.connection_state import (
    HANDED_OVER,
    IDLE,
    LINGERING,
    TAKEN,
    TRANSITIONS,
    WITH_AIOHTTP,
    State,
)
from gateway.web.responses import HandedOver, WireResponse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from aiohttp import web
    from aiohttp.http_parser import RawRequestMessage
    from aiohttp.streams import StreamReader
    from aiohttp.web_request import BaseRequest

    from gateway.cache.cache_result import Joined
    from gateway.protocol.responses import Response
    from gateway.runtime.context import Context
    from gateway.runtime.exchange import Exchange
    from gateway.web.short_misses import Request

LINGER_S = 1.0  # for the client to read its last answer, while it may still send
LINGER_BODY_S = 10.0  # where the rest of a body is on its way: few clients read before all is sent
LINGER_BYTES = 64 * 1024 * 1024  # of what is dropped meanwhile, which costs time: a second of it


class Owner(Protocol):
    """What a connection needs of the server that made it."""

    shared: Context

    def tell_idle(self) -> None:
        """One more connection has nothing under way, while the server stops."""


class AiohttpConnection(RequestHandler):
    """`in_hand` counts the requests that aiohttp has: the one it handles, and those behind it.

    Of a request that has waited for an origin without a task, `part` is what it has in a fetch, and
    `began` when it did (perf_counter): both are for the next that aiohttp handles.
    """

    __slots__ = (
        "_given_back",
        "_is_last_answered",
        "_lingering",
        "_may_drop",
        "began",
        "exchange",
        "in_hand",
        "owner",
        "part",
        "shared",
        "state",
    )

    def __init__(self, server: web.Server, owner: Owner, **arguments: Any) -> None:  # noqa: ANN401 - aiohttp's
        super().__init__(server, loop=asyncio.get_running_loop(), **arguments)
        # One that gives several requests at a time loses them all when what follows is bad.
        self._parser = HttpRequestParser(
            self,
            self._loop,
            self._read_bufsize,
            max_line_size=self.max_line_size,
            max_field_size=self.max_field_size,
            max_headers=self.max_headers,
            payload_exception=RequestPayloadError,
            auto_decompress=False,
            max_msg_queue_size=1,
        )
        self.owner = owner
        self.shared = owner.shared
        self.state = IDLE
        self.in_hand = 0
        self.exchange: Exchange | None = None  # the request that aiohttp handles
        self.part: Joined | None = None
        self.began: float | None = None
        self._is_last_answered = False  # what is still sent is not to be looked at (RFC 9112 9.6)
        self._given_back: ExitStack | None = None  # with the end of aiohttp's request
        self._lingering: asyncio.TimerHandle | None = None
        self._may_drop = LINGER_BYTES  # while it lingers

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; asyncio would leave a connection open that could not."""
        try:
            self.begin(transport)
        except Exception:  # noqa: BLE001 - it is told, and its client asks again
            log.exception("connection.failed")
            transport.abort()  # type: ignore[attr-defined] # of TCP

    def begin(self, transport: asyncio.BaseTransport) -> None:
        """The client is there."""
        super().connection_made(transport)

    def enter(self, state: State) -> None:
        """Change the state."""
        assert state in TRANSITIONS[self.state], f"{self.state.name} to {state.name}"
        self.state = state

    @property
    def is_idle(self) -> bool:
        """Whether no request of the connection is under way."""
        return self.state is not TAKEN and not self.in_hand

    def give(self, message: RawRequestMessage | _ErrInfo, payload: StreamReader) -> None:
        """Put a request, or a refusal, behind those that aiohttp has."""
        if self.state is not WITH_AIOHTTP:
            self.enter(WITH_AIOHTTP)
        self._request_count += 1
        self.in_hand += 1
        self._messages.append((message, payload))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _handle_request(
        self,
        request: BaseRequest,
        start_time: float | None,
        request_handler: Callable[[BaseRequest], Awaitable[web.StreamResponse]],
    ) -> tuple[web.StreamResponse, bool]:
        try:
            handled = await super()._handle_request(request, start_time, request_handler)
            answer = handled[0]
            self._is_last_answered = not answer.keep_alive
            if isinstance(answer, WireResponse) and answer.abandon:
                self.linger(LINGER_S)
            elif self._is_last_answered and request.keep_alive and self.state is not HANDED_OVER:
                # It is we who end it, and the client, who does not know yet, may send more.
                self.linger(LINGER_S if request.content.is_eof() else LINGER_BODY_S)
            return handled
        finally:
            self.in_hand -= 1
            exchange, self.exchange = self.exchange, None
            if exchange is not None:
                shared = self.shared
                received = request.content.total_bytes
                exchange.finish(received, shared.log, stopping=shared.closing)
            self.drop_part()
            given_back, self._given_back = self._given_back, None
            if given_back is not None:
                given_back.close()
            if not self.in_hand:
                self.all_handled()

    def give_late(self, request: Request, joined: Joined | None, began: float) -> None:
        """Put a request into its hands that has waited without a task, since it `began`."""
        self.part, self.began = joined, began
        if isinstance(request, bytes):
            assert self._parser is not None, "the client is there"
            messages, _, _ = self._parser.feed_data(request)  # it has let its like through before
            self.give(*messages[0])
        else:
            self.give(request, EMPTY_PAYLOAD)

    def take_part(self) -> Joined | None:
        """What the request in aiohttp's hands has in a fetch; who takes it gives it back."""
        part, self.part = self.part, None
        return part

    def drop_part(self) -> None:
        """Give it back: nobody has asked for it."""
        part = self.take_part()
        if part is not None:
            part.fetch.leave(part.reader)

    def all_handled(self) -> None:
        """Aiohttp has no request any more. Behind its last one it closes, though not at once."""
        if self.state is WITH_AIOHTTP and not self._is_last_answered:
            self.enter(IDLE)

    def write(self, wire: bytes) -> None:
        """Write an answer that was ready at once."""
        if self.transport is not None:
            self.transport.write(wire)

    def writelines(self, parts: Sequence[bytes]) -> None:
        """Write an answer whose body is too long to be copied, by one call of the system."""
        if self.transport is not None:
            self.transport.writelines(parts)

    def _process_keepalive(self) -> None:
        """Close an idle connection; aiohttp takes one with a request of the fast path for idle."""
        if self.state is TAKEN:
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        super()._process_keepalive()

    def resources(self) -> ExitStack:
        """What the request in aiohttp's hands holds: given back when it is over, however it ends.

        It is over when the client has taken the answer, or is gone.
        """
        if self._given_back is None:
            self._given_back = ExitStack()
        return self._given_back

    def refuse(self, error: HeadgateError) -> None:
        """Answer, and end the connection: what follows on it means nothing."""
        transport = self.transport
        if transport is None:
            return
        refusal = self.shared.problem(error)
        transport.write(self.shared.refusal(refusal, connection="close"))
        if not isinstance(error, ClientLimitReached | LimitReached):  # of which nothing was read
            self.shared.unrouted.answered(OTHER, refusal.status, len(refusal.body))
            self._log_refusal(refusal)
        self.linger(LINGER_S)

    def refuse_at_once(self, error: HeadgateError) -> None:
        """Answer, and free the connection's descriptor as soon as the answer is sent."""
        self.write(self.shared.refusal(self.shared.problem(error), connection="close"))
        self.force_close()

    def linger(self, seconds: float) -> None:
        """End what is sent, and the connection when the client does, or after so long.

        What it still sends is dropped: to a closed socket it would cost the client the answer, as
        the system then resets the connection (RFC 9112 section 9.6).
        """
        transport = self.transport
        if transport is None or transport.is_closing() or self.state is LINGERING:
            return
        self.enter(LINGERING)
        if self._waiter is not None:
            self._waiter.cancel()
        self._force_close = True  # aiohttp is to begin nothing more, nor to close
        try:
            transport.write_eof()
        except OSError:  # the client has reset the connection, and the loop does not know yet
            self.force_close()
            return
        transport.resume_reading()
        self._lingering = self._loop.call_later(seconds, self.force_close)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Nothing is waited for any more."""
        super().connection_lost(exc)
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None

    def drop(self, size: int) -> None:
        """So many bytes came that mean nothing any more."""
        self._may_drop -= size
        if self._may_drop < 0 and self.state is LINGERING:
            self.force_close()

    def _log_refusal(self, refusal: Response) -> None:
        """Write the line of what is no request, and so has neither a method nor a path."""
        shared = self.shared
        if shared.log.enabled:
            asked = Asked("-", "-", peer_of(self.transport), None, None)
            size, request_id = len(refusal.body), shared.lines.new_request_id()
            ended = Outcome(request_id, refusal.status, size, 0.0, "BYPASS", "none", "answered")
            shared.log.line(asked, ended)

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Refuse in our own form."""
        if isinstance(exc, HeadgateError):
            self.refuse(exc)
            return HandedOver()
        return super().handle_error(request, status, exc, message)

    def log_exception(self, *args: Any, exc_info: BaseException | None = None, **kw: Any) -> None:  # noqa: ANN401 - aiohttp's
        """Write of what went wrong in aiohttp's hands, but not of what any client can cause."""
        if isinstance(exc_info, RequestPayloadError):  # of a body for which nobody waits any more
            log.debug("request.body_broken", reason=str(exc_info))
        else:
            super().log_exception(*args, exc_info=exc_info, **kw)
