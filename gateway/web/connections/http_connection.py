"""A client's connection: requests come from aiohttp's parser, and a Step runs their handler.

From aiohttp it uses the request parser and the body stream, and the BaseProtocol that these need to
pause reading. The private names of aiohttp that it depends on are listed, each with its reason, in
tests/web/test_connection_contract.py.
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
from gateway.stepped import Step, in_task
from gateway.telemetry.logs import log
from gateway.web.connections.wire import DEAF, IDLE, LINGER_BODY_S, TAKEN, ClosingConnection
from gateway.web.requests.request_head import request_parser

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.streams import StreamReader

    from gateway.later import Later
    from gateway.runtime.context import Context
    from gateway.web.connections.wire import Connections
    from gateway.web.requests.request import Request
    from gateway.web.requests.responses import WritableReply


class RequestHandlers(Protocol):
    """The handlers of requests; only they look into the outcomes that they return."""

    def handle(self, request: Request, /) -> Any:  # noqa: ANN401 - an outcome, or what a Step waits for
        """Return the outcome of a request, a Later of it, or a coroutine. May raise any error."""

    def answer(self, request: Request, outcome: Any, /) -> WritableReply:  # noqa: ANN401 - of `handle`
        """Return the reply for an outcome of `handle`."""

    def refuse(self, request: Request, error: BaseException, /) -> WritableReply | None:
        """Return the reply for an error of `handle`; None if there is none to send."""


class Owner(Protocol):
    """The server that accepted a connection, as the connection uses it."""

    shared: Context
    connections: Connections[Any]
    keepalive_s: float

    @property
    def handlers(self) -> RequestHandlers:
        """The handlers of the requests; others after a reload."""


class HttpConnection(ClosingConnection):
    """A connection whose handlers answer one `request` at a time."""

    __slots__ = (
        *("_idle_until", "_is_parsing", "_leaving", "_step"),
        *("began", "ends_with_fin", "has_fin", "owner", "request"),
    )

    def __init__(self, owner: Owner) -> None:
        super().__init__(owner.shared)
        self._parser = request_parser(self, self._loop)
        self.owner = owner
        self.request: Request | None = None
        self._step: Step[Any] | None = None
        self._leaving: asyncio.TimerHandle | None = None  # cancels the handler after its grace
        self._is_parsing = False  # the running parse loop takes the next request
        self._idle_until: float | None = None  # loop time at which it is closed
        self.began = 0.0  # loop time at which the latest request began
        self.ends_with_fin = False  # True while a request waits for news
        self.has_fin = False  # True once the client sends no more, and waits for responses

    # Its life

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, and abort on an error: asyncio would leave the connection open."""
        try:
            self.open(transport)
        except Exception:  # noqa: BLE001 - it is logged, and the client retries
            log.exception("connection.failed")
            transport.abort()  # type: ignore[attr-defined] # TCP transports have it

    def open(self, transport: asyncio.BaseTransport) -> None:
        """Take a transport, and count the connection as open."""
        super().connection_made(transport)
        connection: socket.socket | None = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.owner.connections.add(self)

    @property
    def is_idle(self) -> bool:
        """True when no request of the connection is under way."""
        return self.state is not TAKEN and self._step is None

    @property
    def awaits_first_request(self) -> bool:
        """True while no request has begun since the connection was accepted."""
        return self.state is IDLE and self._idle_until is None and self._step is None

    def rest(self) -> None:
        """Become idle, and start the keepalive_s for which the connection stays open then."""
        assert self.state in {IDLE, TAKEN}, self.state.name
        self.state = IDLE
        self._idle_until = self._loop.time() + self.owner.keepalive_s

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        """Release what the connection holds, and end its handler after its grace_s."""
        super().connection_lost(exc)
        self._parser = None  # it refers to this object: a cycle
        self._ends = True
        self.owner.connections.discard(self)
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        self.resume_drained()
        step, request = self._step, self.request
        if step is None or request is None or self.is_handed_over:
            return
        if request.has_more_body:
            request.body.set_exception(ConnectionResetError("the client is gone"))
        if request.grace_s is not None:
            self.cancel_without_client(request)

    def cancel_without_client(self, request: Request) -> None:
        """Cancel a request without a client, once its grace_s is over."""
        step, grace_s = self._step, request.grace_s
        if step is None or request is not self.request:
            return
        if not grace_s:
            step.cancel()
        elif self._leaving is None:
            self._leaving = self._loop.call_later(grace_s, step.cancel)

    def end_when_idle(self) -> None:
        """End the connection, after its request if one is under way."""
        self._ends = True
        if self.is_idle:
            self.force_close()

    def cancel_request(self, request: Request | None = None) -> None:
        """Cancel the request that is under way, or only `request` if that is under way."""
        if self._step is not None and request in {None, self.request}:
            self._step.cancel()

    # Requests

    def start_request(
        self, request: Request, handler: Callable[[Request], Any] | None = None
    ) -> None:
        """Start the handler of a request, or this one of a request that has begun as an ask."""
        if self.state is IDLE:
            self.state = TAKEN  # which is permitted: `enter` would cost a call
        owner = self.owner
        if handler is None:
            owner.connections.requests_count += 1
            handler = owner.handlers.handle
        self.request, self.ends_with_fin = request, False
        self.began = self._loop.time()
        context = None if self.shared.tracer is None else contextvars.copy_context()
        self._step = step = Step(partial(handler, request), self._on_handled, context)
        step.run(self._loop)

    def _on_handled(self, outcome: Any, error: BaseException | None) -> None:  # noqa: ANN401 - handlers'
        """Send the reply; a step of its own sends what cannot be written at once."""
        request, handlers = self.request, self.owner.handlers
        assert request is not None, "its step has ended"
        try:
            if error is None:
                reply: WritableReply | None = handlers.answer(request, outcome)
            else:
                reply = handlers.refuse(request, error)
            is_sent = reply is not None and reply.write(self)
        except (Exception, asyncio.CancelledError) as failure:  # noqa: BLE001 - the request is over
            self._on_replied(None, failure)
            return
        if reply is None:
            self._on_replied(None, error)
        elif is_sent:
            self._on_replied(reply, None)
        else:
            context = None if self.shared.tracer is None else contextvars.copy_context()
            self._step = Step(partial(self._send_rest, reply), self._on_replied, context)
            self._step.run()

    async def _send_rest(self, reply: WritableReply) -> WritableReply:
        await reply.send_rest(self)
        return reply

    def _on_replied(self, reply: WritableReply | None, error: BaseException | None) -> None:
        """Finish a request whose reply is sent, and decide what becomes of the connection."""
        request = self.request
        assert request is not None, "its step has ended"
        has_more = False
        try:
            request.finish(self.shared.log, stopping=self.shared.closing)
            has_more = request.whole is None and request.has_more_body
        except Exception as failure:  # noqa: BLE001 - its connection ends
            log_failure(failure)
            reply = None
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        if isinstance(error, HeadgateError):
            self.refuse(error, to_head=request.method == "HEAD")
        elif error is not None:
            log_failure(error)
        try:
            if reply is not None and (has_more or not reply.keep_alive):
                self._end_behind(request, reply, has_more=has_more)
            else:
                self._go_on_behind(reply)
        except Exception as failure:  # noqa: BLE001 - its connection ends
            log_failure(failure)
            self.request = self._step = None
            self.force_close()

    def _end_behind(self, request: Request, reply: WritableReply, *, has_more: bool) -> None:
        """End the connection or read the rest of the body, so that the client gets its response."""
        if not (self.is_handed_over or self.transport is None):
            if reply.abandon:
                self.linger()
            elif reply.keep_alive:
                on_read = partial(self._on_rest_read, reply)
                self._step = Step(partial(read_rest, request.body), on_read)
                self._step.run()
                return
            elif has_more or not request.message.should_close:
                # This side ends the connection; the client does not know yet, and may send more.
                self.linger(in_body=has_more)
        self._go_on_behind(reply)

    def _on_rest_read(
        self, reply: WritableReply, is_whole: bool | None, error: BaseException | None
    ) -> None:
        if error is not None:
            log_failure(error)
        if not is_whole:
            self._ends = True
        self._go_on_behind(reply)

    def _go_on_behind(self, reply: WritableReply | None) -> None:
        """Go on with the next request, or end the connection."""
        request, self.request, self._step = self.request, None, None
        if request is not None and request.body is not EMPTY_PAYLOAD:
            failure = request.body.exception()
            if failure is not None:  # its frames refer to the request: a cycle
                failure.__traceback__ = None
        if self.state is TAKEN and not self._ends and reply is not None and reply.keep_alive:
            self.resume()
        elif self.state in {TAKEN, DEAF}:
            self.force_close()
        if self.shared.closing:
            self.owner.connections.notice_idle()

    def go_on(self) -> None:
        """Go on with what the client has sent since the last request."""
        raise NotImplementedError

    def resume(self, _: Later[Any] | None = None, /) -> None:
        """Go on; end the connection on an error, as its client would wait for ever."""
        try:
            self.go_on()
        except Exception:  # noqa: BLE001 - it is logged: no error of the caller
            log.exception("connection.failed")
            self.force_close()


async def read_rest(body: StreamReader) -> bool:
    """Read and drop the rest of a body; return whether it came whole, up to the next request."""
    await in_task()
    try:
        async with asyncio.timeout(LINGER_BODY_S):
            while not body.is_eof():
                await body.readany()
    except (TimeoutError, RequestPayloadError, RuntimeError, ConnectionError):
        return False
    return True


def log_failure(error: BaseException) -> None:
    """Log why a request has no response, unless its client is gone or the server stops."""
    if not isinstance(error, ConnectionError | asyncio.CancelledError):
        log.error("request.failed", exc_info=error)
