"""A client's connection: requests come from aiohttp's parser, and a Step runs their handler.

From aiohttp it uses the request parser and the body stream, and the BaseProtocol that these need to
pause reading. The private names of aiohttp that it depends on are listed, each with its reason, in
tests/web/test_connection_contract.py.
"""

from __future__ import annotations

import asyncio
import contextvars
from functools import partial
from typing import TYPE_CHECKING, Any

from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web import RequestPayloadError
from typing_extensions import override

from gateway.errors import HeadgateError
from gateway.stepped import Step, in_task
from gateway.telemetry.logs import log
from gateway.web.connections.connection_state import DEAF, HANDED_OVER, IDLE, TAKEN
from gateway.web.connections.wire import LINGER_BODY_S, Wire
from gateway.web.requests.request_head import request_parser

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.streams import StreamReader

    from gateway.later import Later
    from gateway.web.connections.wire import Owner
    from gateway.web.requests.request import Request
    from gateway.web.requests.responses import WireResponse


class HttpConnection(Wire):
    """A connection whose handlers answer one `request` at a time."""

    __slots__ = ("_is_parsing", "_leaving", "began", "ends_with_fin", "has_fin", "request")

    def __init__(self, owner: Owner, early: bytes = b"", late: bytes = b"") -> None:
        super().__init__(owner, early, late)
        self._parser = request_parser(self, self._loop)
        self.request: Request | None = None  # that is under way
        self._leaving: asyncio.TimerHandle | None = None  # cancels the handler after its grace
        self._is_parsing = False  # the running parse loop takes the next request
        self.began = 0.0  # loop time at which the latest request began
        self.ends_with_fin = False  # True while a request waits for news
        self.has_fin = False  # True once the client sends no more, and waits for responses

    @override
    def forget(self) -> None:
        """End the handler after its grace_s."""
        self._parser = None  # it refers to this object: a cycle
        request = self.request
        if self._step is None or request is None or self.state is HANDED_OVER:
            return
        if request.has_more_body:
            request.body.set_exception(ConnectionResetError("the client is gone"))
        if request.grace_s is not None:
            self.cancel_without_client(request)

    def cancel_request(self, request: Request) -> None:
        """Cancel a request, if it is still under way."""
        if request is self.request:
            self.cancel()

    def cancel_without_client(self, request: Request) -> None:
        """Cancel a request without a client, once its grace_s is over."""
        step, grace_s = self._step, request.grace_s
        if step is None or request is not self.request:
            return
        if not grace_s:
            step.cancel()
        elif self._leaving is None:
            self._leaving = self._loop.call_later(grace_s, step.cancel)

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
        context = None if self.services.tracer is None else contextvars.copy_context()
        self._step = step = Step(partial(handler, request), self._on_handled, context)
        step.run(self._loop)

    def _on_handled(self, outcome: Any, error: BaseException | None) -> None:  # noqa: ANN401 - handlers'
        """Send the reply; a step of its own sends what cannot be written at once."""
        request, handlers = self.request, self.owner.handlers
        assert request is not None, "its step has ended"
        try:
            if error is None:
                reply: WireResponse | None = handlers.answer(request, outcome)
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
            context = None if self.services.tracer is None else contextvars.copy_context()
            self._step = Step(partial(self._send_rest, reply), self._on_replied, context)
            self._step.run()

    async def _send_rest(self, reply: WireResponse) -> WireResponse:
        await reply.send_rest(self)
        return reply

    def _on_replied(self, reply: WireResponse | None, error: BaseException | None) -> None:
        """Finish a request whose reply is sent, and decide what becomes of the connection."""
        request = self.request
        assert request is not None, "its step has ended"
        has_more = False
        try:
            request.finish(self.services.log, stopping=self.owner.is_closing)
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

    def _end_behind(self, request: Request, reply: WireResponse, *, has_more: bool) -> None:
        """End the connection or read the rest of the body, so that the client gets its response."""
        if not (self.state is HANDED_OVER or self.transport is None):
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
        self, reply: WireResponse, is_whole: bool | None, error: BaseException | None
    ) -> None:
        if error is not None:
            log_failure(error)
        if not is_whole:
            self._ends = True
        self._go_on_behind(reply)

    def _go_on_behind(self, reply: WireResponse | None) -> None:
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
        if self.owner.is_closing:
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
