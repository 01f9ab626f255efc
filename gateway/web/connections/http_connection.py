"""A client's connection: it parses with aiohttp's parser, and steps the handler of its request.

Of aiohttp it has the request parser and the stream of a body, through aiohttp's BaseProtocol, which
those need to pause reading. Private names of aiohttp that it leans on are listed, each with its
reason, in tests/web/test_connection_contract.py.
"""

from __future__ import annotations

import asyncio
import contextvars
import socket
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web import RequestPayloadError
from typing_extensions import override

from gateway.errors import HeadgateError
from gateway.later import Later
from gateway.stepped import Step, in_task
from gateway.telemetry.logs import log
from gateway.web.connections.closing_connection import LINGER_BODY_S, ClosingConnection
from gateway.web.connections.connection_state import DEAF, IDLE, TAKEN
from gateway.web.requests.request_parser import request_parser

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.streams import StreamReader

    from gateway.runtime.context import Context
    from gateway.web.connections.connections import Connections
    from gateway.web.requests.request import Request
    from gateway.web.requests.responses import WritableReply


class RequestHandlers(Protocol):
    """Carries requests out, and makes replies of the outcomes, which nobody else looks at."""

    def handle(self, request: Request, /) -> Any:  # noqa: ANN401 - an outcome, or what a Step waits for
        """Return the outcome of a request, a Later of it, or a coroutine. May raise any error."""

    def answer(self, request: Request, outcome: Any, /) -> WritableReply:  # noqa: ANN401 - of `handle`
        """Return the reply by the outcome."""

    def refuse(self, request: Request, error: BaseException, /) -> WritableReply | None:
        """Return the reply by the error that came instead; None where that has no reply."""


class Owner(Protocol):
    """The listener of a connection, as far as the connection needs it."""

    shared: Context
    connections: Connections[HttpConnection]
    keepalive_s: float

    @property
    def handlers(self) -> RequestHandlers:
        """What handles the requests."""


class HttpConnection(ClosingConnection):
    """A connection with at most one `request` under way, which its handler answers."""

    __slots__ = (
        *("_drained", "_idle_until", "_is_parsing", "_leaving", "_step", "handlers"),
        *("owner", "request"),
    )

    def __init__(self, owner: Owner) -> None:
        super().__init__(owner.shared)
        self._parser = request_parser(self, self._loop)
        self.owner = owner
        self.handlers = owner.handlers
        self.request: Request | None = None
        self._step: Step[Any] | None = None
        self._leaving: asyncio.TimerHandle | None = None  # ends a handler whose client is gone
        self._is_parsing = False  # what comes next is looked at by whoever parses
        self._idle_until: float | None = None  # then an idle connection is closed (loop time)
        self._drained: Later[None] | None = None  # the client has taken most of what it was sent

    # Its life

    @override
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

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        """Wait for nothing any more, and end the handler whose client is gone."""
        super().connection_lost(exc)
        self._parser = None  # which has this object, and the last head: they would stay together
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
        self._step = step = self.step_of(request, self._handled)
        step.run(self._loop)

    def step_of(
        self, request: Request, on_done: Callable[[Any, BaseException | None], object]
    ) -> Step[Any]:
        """Return the step that handles a request, in a context of its own where it is traced."""
        context = None if self.shared.tracer is None else contextvars.copy_context()
        return Step(partial(self.handlers.handle, request), on_done, context)

    def _handled(self, outcome: Any, error: BaseException | None) -> None:  # noqa: ANN401 - handlers'
        """Send the reply, whose rest may take its time."""
        request = self.request
        assert request is not None, "its step has ended"
        try:
            reply = (
                self.handlers.answer(request, outcome)
                if error is None
                else self.handlers.refuse(request, error)
            )
            is_sent = reply is not None and reply.write(self)
        except (Exception, asyncio.CancelledError) as failure:  # noqa: BLE001 - the request is over
            self._replied(None, failure)
            return
        if reply is None:
            self._replied(None, error)
        elif is_sent:
            self._replied(reply, None)
        else:
            context = None if self.shared.tracer is None else contextvars.copy_context()
            self._step = Step(partial(self._send_rest, reply), self._replied, context)
            self._step.run()

    async def _send_rest(self, reply: WritableReply) -> WritableReply:
        await reply.send_rest(self)
        return reply

    def finish(self, request: Request) -> None:
        """Count a request that is over, and give back what it has held."""
        shared = self.shared
        try:
            if request.exchange is not None:
                request.exchange.finish(request.received, shared.log, stopping=shared.closing)
        finally:
            if request.held is not None:
                request.held.close()

    def _replied(self, reply: WritableReply | None, error: BaseException | None) -> None:
        """See to what may still come of a request, now that it has its reply."""
        request = self.request
        assert request is not None, "its step has ended"
        try:
            self.finish(request)
        except Exception as failure:  # noqa: BLE001 - its connection ends
            log_failure(failure)
            reply = None
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        if isinstance(error, HeadgateError):
            self.refuse(error)
        elif error is not None:
            log_failure(error)
        is_whole = request.whole is not None
        if reply is not None and not (reply.keep_alive and (is_whole or not request.is_coming)):
            self._end_behind(request, reply)
        else:
            self._go_on_behind(reply)

    def _end_behind(self, request: Request, reply: WritableReply) -> None:
        """Give the client an answer although it may still send, and may have to."""
        if not (self.is_handed_over or self.transport is None):
            if reply.abandon:
                self.linger()
            elif reply.keep_alive:
                on_read = partial(self._rest_was_read, reply)
                self._step = Step(partial(self._read_rest, request.body), on_read)
                self._step.run()
                return
            elif request.is_coming or not request.should_close:
                # It is we who end it, and the client, who does not know yet, may send more.
                self.linger(in_body=request.is_coming)
        self._go_on_behind(reply)

    async def _read_rest(self, body: StreamReader) -> None:
        """Read the rest of a body that nobody wants, up to the client's next request."""
        await in_task()
        try:
            async with asyncio.timeout(LINGER_BODY_S):
                while not body.is_eof():
                    await body.readany()
        except (TimeoutError, RequestPayloadError, RuntimeError, ConnectionError):
            self._ends = True

    def _rest_was_read(self, reply: WritableReply, _: None, error: BaseException | None) -> None:
        if error is not None:
            log_failure(error)
            self._ends = True
        self._go_on_behind(reply)

    def _go_on_behind(self, reply: WritableReply | None) -> None:
        """Go on behind a request, if the connection does."""
        request, self.request, self._step = self.request, None, None
        if request is not None and request.body is not EMPTY_PAYLOAD:
            failure = request.body.exception()
            if failure is not None:  # whose frames have the request: both would stay in memory
                failure.__traceback__ = None
        if self.state is TAKEN and not self._ends and reply is not None and reply.keep_alive:
            self.resume()
        elif self.state in {TAKEN, DEAF}:
            self.force_close()
        if self.shared.closing:
            self.owner.connections.notice_idle()

    def go_on(self) -> None:
        """Go on with what the client has sent meanwhile."""
        raise NotImplementedError

    def resume(self, _: Later[Any] | None = None, /) -> None:
        """Go on, or end the connection: its client would wait for ever."""
        try:
            self.go_on()
        except Exception:  # noqa: BLE001 - its client sees the end, and whoever called has no part
            log.exception("connection.failed")
            self.force_close()

    # Writing

    async def drained(self) -> None:
        """Wait until the client has taken most of what it was sent. Raises ConnectionResetError."""
        if self.transport is not None and self.writing_paused:
            if self._drained is None:
                self._drained = Later()
            await self._drained
        if self.transport is None:
            raise ConnectionResetError("the client is gone")

    @override
    def resume_writing(self) -> None:
        """Let whoever waits go on: the client has taken most of what it was sent."""
        super().resume_writing()
        self.resume_drained()

    def resume_drained(self) -> None:
        """Wake whoever waits for the client to read, or to be gone."""
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.set_result(None)


def log_failure(error: BaseException) -> None:
    """Log why a request has no answer, unless its client is gone or the server stops."""
    if not isinstance(error, ConnectionError | asyncio.CancelledError):
        log.error("request.failed", exc_info=error)
