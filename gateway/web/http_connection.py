"""A client's connection: it parses with aiohttp's parser, and steps the handler of its request.

Of aiohttp it has the request parser and the stream of a body, through aiohttp's BaseProtocol, which
those need to pause reading. Private names of aiohttp that it leans on are listed, each with its
reason, in tests/web/test_connection_contract.py.
"""

from __future__ import annotations

import asyncio
import contextvars
import socket
from typing import TYPE_CHECKING, Protocol

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web import RequestPayloadError

from gateway.errors import ClientLimitReached, HeadgateError, LimitReached
from gateway.runtime.quotas import peer_of
from gateway.stepped import Later, Step, in_task
from gateway.telemetry.access_log import Asked, Outcome
from gateway.telemetry.logs import log
from gateway.telemetry.traffic import OTHER
from gateway.web.connection_state import (
    DEAF,
    HANDED_OVER,
    IDLE,
    LINGERING,
    TAKEN,
    TRANSITIONS,
    State,
)
from gateway.web.request import Request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from aiohttp.streams import StreamReader

    from gateway.cache.cache_result import Joined
    from gateway.live.contract import Taker
    from gateway.protocol.responses import Response
    from gateway.runtime.context import Context
    from gateway.web.connections import Connections
    from gateway.web.responses import Reply
    from gateway.web.short_misses import Request as Missed

LINGER_S = 1.0  # for the client to read its last answer, while it may still send
LINGER_BODY_S = 10.0  # where the rest of a body is on its way: few clients read before all is sent
LINGER_BYTES = 64 * 1024 * 1024  # of what is dropped meanwhile, which costs time: a second of it
BODY_BUFFER_BYTES = 256 * 1024  # of a body; twice as much and reading is paused
MOST_HEADER_LINES = 128
LONGEST_LINE = 8190  # bytes of the request line, and of a header line


class Owner(Protocol):
    """The listener of a connection, as far as the connection needs it."""

    shared: Context
    connections: Connections[HttpConnection]
    keepalive_s: float


class HttpConnection(BaseProtocol):
    """One request at a time is answered by a handler; `request` is that one."""

    __slots__ = (
        *("_drained", "_ends", "_idle_until", "_is_parsing", "_leaving", "_lingering"),
        *("_may_drop", "_step", "owner", "request", "shared", "state"),
    )

    def __init__(self, owner: Owner) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(loop)
        # One that gives several requests at a time loses them all when what follows is bad.
        self._parser = HttpRequestParser(
            self,
            loop,
            BODY_BUFFER_BYTES,
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_LINE,
            max_headers=MOST_HEADER_LINES,
            payload_exception=RequestPayloadError,
            auto_decompress=False,
            max_msg_queue_size=1,
        )
        self.owner = owner
        self.shared = owner.shared
        self.state = IDLE
        self.request: Request | None = None
        self._step: Step[Reply] | None = None
        self._leaving: asyncio.TimerHandle | None = None  # ends a handler whose client is gone
        self._is_parsing = False  # what comes next is looked at by whoever parses
        self._ends = False  # nothing more is begun
        self._idle_until: float | None = None  # then an idle connection is closed (loop time)
        self._drained: Later[None] | None = None  # the client has taken most of what it was sent
        self._lingering: asyncio.TimerHandle | None = None
        self._may_drop = LINGER_BYTES  # while it lingers

    # Its life

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; asyncio would leave a connection open that could not."""
        try:
            self.begin(transport)
        except Exception:  # noqa: BLE001 - it is told, and its client asks again
            log.exception("connection.failed")
            transport.abort()  # type: ignore[attr-defined] # of TCP

    def begin(self, transport: asyncio.BaseTransport) -> None:
        """Take a transport: the client is there."""
        super().connection_made(transport)
        connection: socket.socket | None = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.owner.connections.add(self)

    def enter(self, state: State) -> None:
        """Change the state."""
        assert state in TRANSITIONS[self.state], f"{self.state.name} to {state.name}"
        self.state = state

    @property
    def is_idle(self) -> bool:
        """Whether no request of the connection is under way."""
        return self.state is not TAKEN and self._step is None

    def is_idle_for_long(self, now: float) -> bool:
        """Return whether the time is over for which an idle connection is kept."""
        return self.state is IDLE and self._idle_until is not None and now >= self._idle_until

    def rest(self) -> None:
        """Keep an idle connection for its client's next request, for a while."""
        self._idle_until = self._loop.time() + self.owner.keepalive_s

    def connection_lost(self, exc: BaseException | None) -> None:
        """Wait for nothing any more, and end the handler whose client is gone."""
        super().connection_lost(exc)
        self._ends = True
        self.owner.connections.discard(self)
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        if self._drained is not None:
            self.resume_drained()
        step, request = self._step, self.request
        if step is None or request is None or self.is_handed_over:
            return
        if request.is_coming:
            request.body.set_exception(ConnectionResetError("the client is gone"))
        if request.grace_s is not None:
            self.ends_without_client(request)

    def ends_without_client(self, request: Request) -> None:
        """End a request whose client is gone, when it may go on no more."""
        step, grace_s = self._step, request.grace_s
        if step is None or request is not self.request:
            return
        if not grace_s:
            step.cancel()
        elif self._leaving is None:
            self._leaving = self._loop.call_later(grace_s, step.cancel)

    @property
    def is_handed_over(self) -> bool:
        """Whether another protocol has the client's transport."""
        return self.state is HANDED_OVER

    def force_close(self) -> None:
        """End the connection as soon as the client has received what it was sent."""
        self._ends = True
        if self.transport is not None:
            self.transport.close()
            self.transport = None

    def end_when_idle(self) -> None:
        """End the connection, with its request if there is one."""
        self._ends = True
        if self.is_idle:
            self.force_close()

    def cancel_request(self) -> None:
        """End the request that is under way."""
        if self._step is not None:
            self._step.cancel()

    # Requests

    def give(self, request: Request) -> None:
        """Have a request answered by its handler."""
        if self.state is IDLE:
            self.enter(TAKEN)
        self.owner.connections.requests_count += 1
        self.request = request
        self._step = step = self.step_of(request, self, self._responded)
        step.run()

    def step_of(
        self,
        request: Request,
        client: Taker,
        on_done: Callable[[Reply | None, BaseException | None], object],
    ) -> Step[Reply]:
        """Return the step that answers a request, in a context of its own where it is traced."""
        context = None if self.shared.tracer is None else contextvars.copy_context()
        return Step(self.respond(request, client), on_done, context)

    def handle(self, request: Request) -> Awaitable[Reply]:
        """Return the reply to a request. May raise HeadgateError and ConnectionError."""
        raise NotImplementedError

    async def respond(self, request: Request, client: Taker) -> Reply:
        """Answer a request, and count it; the client is this connection, or stands for it."""
        try:
            reply = await self.handle(request)
            await reply.send(client)
        finally:
            if request.exchange is not None:
                shared = self.shared
                request.exchange.finish(request.received, shared.log, stopping=shared.closing)
            if request.held is not None:
                request.held.close()
        if client is self and (not reply.keep_alive or request.is_coming):
            await self._end_behind(request, reply)
        return reply

    async def _end_behind(self, request: Request, reply: Reply) -> None:
        """Give the client an answer although it may still send, and may have to."""
        if self.is_handed_over or self.transport is None:
            return
        if reply.abandon:
            self.linger(LINGER_S)
        elif reply.keep_alive:
            await self._read_rest(request.body)
        elif request.is_coming or not request.should_close:
            # It is we who end it, and the client, who does not know yet, may send more.
            self.linger(LINGER_BODY_S if request.is_coming else LINGER_S)

    async def _read_rest(self, body: StreamReader) -> None:
        """Read the rest of a body that nobody wants, up to the client's next request."""
        await in_task()
        try:
            async with asyncio.timeout(LINGER_BODY_S):
                while not body.is_eof():
                    await body.readany()
        except (TimeoutError, RequestPayloadError, RuntimeError, ConnectionError):
            self._ends = True

    def _responded(self, reply: Reply | None, error: BaseException | None) -> None:
        """Go on behind a request."""
        request, self.request, self._step = self.request, None, None
        if request is not None and request.part is not None:
            request.drop_part()
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        if isinstance(error, HeadgateError):
            self.refuse(error)
        elif error is not None:
            log_failure(error)
        if self.state is TAKEN and not self._ends and reply is not None and reply.keep_alive:
            self.go_on()
        elif self.state in {TAKEN, DEAF}:
            self.force_close()
        if self.shared.closing:
            self.owner.connections.notice_idle()

    def go_on(self) -> None:
        """Go on with what the client has sent meanwhile."""
        raise NotImplementedError

    def give_late(self, request: Missed, joined: Joined | None, began: float) -> None:
        """Have a handler answer a request that has waited without one, since it `began`."""
        message, body = request, EMPTY_PAYLOAD
        if isinstance(message, bytes):
            assert self._parser is not None, "the client is there"
            messages, _, _ = self._parser.feed_data(message)  # it has let its like through before
            self._parser.message_consumed()
            message, body = messages[0]
        made = Request(message, body, self)
        made.part, made.began = joined, began
        self.give(made)

    # Writing

    def write(self, wire: bytes) -> None:
        """Write an answer that was ready at once."""
        if self.transport is not None:
            self.transport.write(wire)

    def writelines(self, parts: Sequence[bytes]) -> None:
        """Write an answer whose body is too long to be copied, by one call of the system."""
        if self.transport is not None:
            self.transport.writelines(parts)

    async def drained(self) -> None:
        """Wait until the client has taken most of what it was sent. Raises ConnectionResetError."""
        if self.transport is not None and self.writing_paused:
            if self._drained is None:
                self._drained = Later()
            await self._drained
        if self.transport is None:
            raise ConnectionResetError("the client is gone")

    def resume_writing(self) -> None:
        """Let whoever waits go on: the client has taken most of what it was sent."""
        super().resume_writing()
        self.resume_drained()

    def resume_drained(self) -> None:
        """Wake whoever waits for the client to read, or to be gone."""
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.set_result(None)

    # Ending

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
        self._ends = True
        try:
            transport.write_eof()
        except OSError:  # the client has reset the connection, and the loop does not know yet
            self.force_close()
            return
        transport.resume_reading()
        self._lingering = self._loop.call_later(seconds, self.force_close)

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


def log_failure(error: BaseException) -> None:
    """Log why a request has no answer, unless its client is gone or the server stops."""
    if not isinstance(error, ConnectionError | asyncio.CancelledError):
        log.error("request.failed", exc_info=error)
