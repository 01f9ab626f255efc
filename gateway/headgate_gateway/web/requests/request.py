"""A request as its handler gets it, whether its head was parsed or cached; and its handling."""

from __future__ import annotations

import asyncio
import contextvars
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from aiohttp import HttpVersion11, hdrs
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web import RequestPayloadError

from headgate_gateway.errors import HeadgateError, drop_frames
from headgate_gateway.protocol.requests import CatchUp, Events, LongPoll, with_last_event_id
from headgate_gateway.runtime.request_fields import NOTHING, RequestFields
from headgate_gateway.stepped import Step, in_task
from headgate_gateway.telemetry import traffic as counted
from headgate_gateway.telemetry.logs import log
from headgate_gateway.web.requests.blocks import KnownRequest
from headgate_gateway.web.requests.exchange import (
    OPERATIONS,
    Exchange,
    client_request_id,
    logged_as,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from aiohttp.http_parser import RawRequestMessage
    from aiohttp.http_writer import HttpVersion
    from aiohttp.streams import StreamReader
    from multidict import MultiMapping

    from headgate_gateway.routes.contract import StreamRoute
    from headgate_gateway.routes.services import Services
    from headgate_gateway.runtime.loudest import Loudest
    from headgate_gateway.runtime.request_fields import Own
    from headgate_gateway.telemetry.access_log import AccessLog
    from headgate_gateway.web.requests.responses import ClientWire, WireResponse

REST_OF_BODY_S = 10.0  # for the rest of a body, after which the next request begins


class ClientConnection(Protocol):
    """The requests of a client's connection, as each of them uses these."""

    services: Services
    owner: Any  # the server of the connection, in a layer above; it `is_closing` while it stops
    asks: Sequence[Any]  # under way
    poll: Any  # the ParkedPoll that waits, if there is one

    @property
    def wire(self) -> ClientWire:
        """The connection itself."""

    def start(self, request: Request, handler: Callable[[Request], Any], /) -> None:
        """Let a handler answer the only ask that is under way, as a request."""

    def answer_asks(self) -> None:
        """Write the responses that are ready, in the order of their requests."""

    asks_at_fin: bool  # True while a client that sends a FIN is asked whether it has left

    def end_with_fin(self) -> None:
        """End the request at a FIN of its client. Raises ConnectionResetError after one."""

    def on_over(self, request: Request, reply: WireResponse | None, /, *, has_more: bool) -> None:
        """Go on after a request, or end the connection. If it `has_more`, that is not read."""

    def resume(self) -> None:
        """Parse what the client has sent since the last request."""


class Request:
    """The head and the body of one request, and the connection that it came on.

    `target` is the target of the request line as it was sent. `fields` may be shared by requests
    with equal fields; the values in which this one differs are its `own`.
    `whole` is a body that came with its head; any other is read from `body`.

    A request with `is_last` must be the last of its connection. After a chunked body, aiohttp's
    parser (3.14) takes the last trailer for a header of the next request, which behind a proxy may
    be another client's. With any other transfer coding, a proxy may see another end of the body.
    After a request that offers an upgrade, the parser drops what follows.

    A request with `is_followed` is answered together with others after it, and so keeps the
    connection open even while the server stops.

    Once the client is gone, the handler may go on for `grace_s` seconds; None sets no limit. The
    `step` runs the handler, and then what is left of sending the reply.
    """

    __slots__ = (
        *("_headers", "body", "connection", "exchange", "fields", "grace_s", "held"),
        *("is_followed", "is_last", "message", "method", "own"),
        *("step", "target", "version", "whole"),
    )

    def __init__(
        self,
        message: RawRequestMessage | KnownRequest,
        body: StreamReader | bytes,
        connection: ClientConnection,
    ) -> None:
        self.message = message
        self.method: str = message.method
        self.target: str = message.path or ""  # None for a CONNECT to nothing
        self.connection = connection
        self.whole: bytes | None = None
        self.body = EMPTY_PAYLOAD
        if isinstance(body, bytes):
            self.whole = body
        else:
            self.body = body
        self.version: HttpVersion = message.version
        self.own: Own = NOTHING
        self.is_last = self.is_followed = False
        if isinstance(message, KnownRequest):
            self.fields, self.own = message.fields, message.own
        else:
            self.fields = RequestFields(message.headers)
            is_chunked = "Transfer-Encoding" in message.headers  # or has another coding
            self.is_last = message.should_close or message.upgrade or is_chunked
        self._headers: MultiMapping[str] | None = None
        self.exchange: Exchange | None = None  # what is counted and logged
        self.grace_s: float | None = None
        self.held: ExitStack | None = None  # closed when the request is over
        self.step: Step[Any] | None = None

    @property
    def headers(self) -> MultiMapping[str]:
        """The header fields of this request, its own included, but for the length of a `whole`."""
        headers = self._headers
        if headers is None:
            headers = self.fields.headers
            if self.own.fields:
                headers = self.own.added_to(headers)
            self._headers = headers
        return headers

    @property
    def transport(self) -> asyncio.Transport | None:
        """The client's transport, or None once the client is gone."""
        return self.connection.wire.transport

    @property
    def has_body(self) -> bool:
        """True when some of the body can be read, or may still come."""
        if self.whole is not None:
            return bool(self.whole)
        return not self.body.at_eof()

    @property
    def has_more_body(self) -> bool:
        """True when a part of the body is still to come."""
        return self.whole is None and not self.body.is_eof()

    @property
    def content_length(self) -> int | None:
        """The length of the body in bytes, or None if the request does not say."""
        if self.whole is not None:
            return len(self.whole)
        length = self.headers.get("Content-Length")
        return None if length is None else int(length)

    def limit_grace(self, grace_s: float) -> None:
        """Let the handler go on for `grace_s` seconds once the client is gone.

        Raises ConnectionResetError if it is gone already and `grace_s` is 0.
        """
        self.grace_s = grace_s
        if self.connection.wire.transport is None:
            if not grace_s:
                raise ConnectionResetError("the client is gone")
            self._cancel_after(grace_s)

    def on_disconnect(self) -> None:
        """End the body, and the handler after its grace_s: the client is gone."""
        if self.has_more_body:
            self.body.set_exception(ConnectionResetError("the client is gone"))
        if self.grace_s is not None:
            self._cancel_after(self.grace_s)

    def _cancel_after(self, grace_s: float) -> None:
        if self.step is not None and grace_s:
            timer = asyncio.get_running_loop().call_later(grace_s, self.step.cancel)
            self.call_at_end(timer.cancel)
        else:
            self.cancel()

    def cancel(self) -> None:
        """Cancel the handler, or the sending of the reply, if the request is not over."""
        if self.step is not None:
            self.step.cancel()

    def on_handled(self, outcome: Any, error: BaseException | None) -> None:  # noqa: ANN401 - handlers'
        """Send the reply; a new step sends what cannot be written at once."""
        connection = self.connection
        handlers = connection.owner.handlers
        try:
            if error is None:
                reply: WireResponse | None = handlers.answer(self, outcome)
            else:
                reply = handlers.refuse(self, error)
            is_sent = reply is not None and reply.write(connection.wire)
        except (Exception, asyncio.CancelledError) as failure:  # noqa: BLE001 - the request is over
            self._on_replied(None, failure)
            return
        if reply is None or is_sent:
            self._on_replied(reply, error if reply is None else None)
        else:
            context = None if connection.services.tracer is None else contextvars.copy_context()
            self.step = Step(partial(self._send_rest, reply), self._on_replied, context)
            self.step.run()

    async def _send_rest(self, reply: WireResponse) -> WireResponse:
        await reply.send_rest(self.connection.wire)
        return reply

    def _on_replied(self, reply: WireResponse | None, error: BaseException | None) -> None:
        """Finish the request, whose reply is sent, and read the rest of its body."""
        services, wire, has_more = self.connection.services, self.connection.wire, False
        try:
            self.finish(services.log, stopping=self.connection.owner.is_closing)
            has_more = self.has_more_body
            if isinstance(error, HeadgateError):
                wire.refuse(error, to_head=self.method == "HEAD")
            elif error is not None:
                log_failure(error)
            if error is not None:
                drop_frames(error)
            if self.body is not EMPTY_PAYLOAD:
                _drop_frames(self.body)
        except Exception as failure:  # noqa: BLE001 - its connection ends
            log_failure(failure)
            reply = None
        if has_more and reply is not None and reply.keep_alive and wire.transport is not None:
            self.step = Step(partial(self._read_rest, reply), self._on_rest_read)
            self.step.run()
            return
        if has_more and self.body.exception() is None:
            self.body.read_nowait()  # the connection may linger, and drops what comes
        self.connection.on_over(self, reply, has_more=has_more)

    async def _read_rest(self, reply: WireResponse) -> WireResponse | None:
        """Drop the rest of the body; return None if it does not come whole in time."""
        await in_task()
        try:
            async with asyncio.timeout(REST_OF_BODY_S):
                while not self.body.is_eof():
                    await self.body.readany()
            is_whole = True
        except (TimeoutError, RequestPayloadError, RuntimeError, ConnectionError):
            is_whole = False
        _drop_frames(self.body)
        return reply if is_whole else None

    def _on_rest_read(self, reply: WireResponse | None, error: BaseException | None) -> None:
        if error is not None:
            log_failure(error)
        self.connection.on_over(self, reply, has_more=False)

    def end_with_fin(self) -> None:
        """End the request, which waits for news, at a FIN of its client.

        Raises ConnectionResetError if the client has sent one already.
        """
        self.connection.end_with_fin()

    def begin(self, services: Services) -> Exchange:
        """Begin to count and log the request, by its head alone."""
        operation = OPERATIONS.get(self.method, counted.OTHER)
        if operation == counted.APPEND and self.fields.closes:
            operation = counted.CLOSE
        own_id = self.own.id if self.fields.are_known else client_request_id(self.headers)
        logged = None
        if services.log.enabled:
            logged = logged_as(self.method, self.target, self.headers, self.transport, services)
        new_id = services.lines.new_request_id
        self.exchange = exchange = Exchange(services.unrouted, operation, own_id, new_id, logged)
        wire = self.connection.wire
        if wire.slot is None or wire.slot[0] is None:
            exchange.client = counted_client(self.connection, self.headers)
        else:  # without a call
            agent = self.fields.headers.get(hdrs.USER_AGENT)
            exchange.client = services.loudest, wire.peer, agent
        return exchange

    def finish(self, log: AccessLog, *, stopping: bool) -> None:
        """Count and log the request, which is over, and release its resources."""
        try:
            if self.exchange is not None:
                size = self.body.total_bytes if self.whole is None else len(self.whole)
                self.exchange.finish(size, log, stopping=stopping)
        finally:
            if self.held is not None:
                self.held.close()

    def call_at_end(self, release: Callable[[], object]) -> None:
        """Call `release` when the request is over, or at once if it cannot be registered."""
        try:
            self.resources().callback(release)
        except BaseException:
            release()
            raise

    def resources(self) -> ExitStack:
        """Return the stack of resources that are released when the request is over.

        A request is over when the client has received the response, or is gone.
        """
        if self.held is None:
            self.held = ExitStack()
        return self.held


def counted_client(
    connection: ClientConnection, headers: MultiMapping[str]
) -> tuple[Loudest, str | None, str | None]:
    """Return the client of a request as its exchange counts it."""
    wire, services = connection.wire, connection.services
    agent = headers.get(hdrs.USER_AGENT)
    address = services.quotas.client_address(wire.transport, headers)
    return services.loudest, address, agent


@contextmanager
def waiting_for_turn(request: Request) -> Iterator[None]:
    """Enter while a request waits for its turn: a FIN is no disconnect then.

    The client is asked whether it has left, unless it speaks HTTP/1.0, which has no such question.
    """
    request.connection.asks_at_fin = request.version >= HttpVersion11
    try:
        yield
    finally:
        request.connection.asks_at_fin = False


def exchange_of(request: Request) -> Exchange:
    """Return the exchange of a request that is being handled."""
    exchange = request.exchange
    assert exchange is not None, "the handlers begin with it"
    return exchange


def note_read(
    exchange: Exchange, request: Request, route: StreamRoute, target: str, now: float
) -> None:
    """Note where an admitted GET begins to read, and whether it is live."""
    if exchange.operation != counted.READ:
        return
    try:
        read = route.parse(target)
    except HeadgateError:
        return  # the handler refuses it for that
    exchange.resume_kind = counted.resume_kind(read.offset)
    if isinstance(read, CatchUp):
        return
    if isinstance(read, Events):
        last = with_last_event_id(read, request.headers).last_event_id
        exchange.resume_kind = counted.resume_kind(last or read.offset)
    exchange.operation = counted.LONG_POLL if isinstance(read, LongPoll) else counted.SSE
    route.traffic.note_cursor(read.cursor, now)


def log_failure(error: BaseException) -> None:
    """Log why a request has no response, unless its client is gone or the server stops."""
    if not isinstance(error, ConnectionError | asyncio.CancelledError):
        log.error("request.failed", exc_info=error)


def _drop_frames(body: StreamReader) -> None:
    """Drop the frames of a body's error, which refer to the request."""
    error = body.exception()
    if error is not None:
        drop_frames(error)
