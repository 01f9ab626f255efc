"""The requests of one connection: where each begins and ends, and in which order they are answered.

A request is looked up by its bytes; one that is not known is parsed. The fast path, a plan or a
handler answers it. What the client sends meanwhile waits here, where the next request may be looked
up as well.
"""

from __future__ import annotations

import asyncio
import contextvars
from functools import partial
from typing import TYPE_CHECKING, Any

from aiohttp.streams import EMPTY_PAYLOAD

from headgate_gateway.errors import HeadgateError
from headgate_gateway.later import turn
from headgate_gateway.runtime.request_fields import NOTHING
from headgate_gateway.stepped import Step
from headgate_gateway.telemetry.logs import log
from headgate_gateway.web.asks.plans import WRITES
from headgate_gateway.web.connections.connection_state import DROPPING, HANDED_OVER, IDLE, TAKEN
from headgate_gateway.web.connections.half_closed import ask_whether_left
from headgate_gateway.web.connections.parsing import RequestParser
from headgate_gateway.web.requests.request import Request, log_failure
from headgate_gateway.web.requests.request_head import (
    METHOD_BYTES,
    begins_head,
    end_of_head,
    is_plain,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headgate_gateway.later import Later
    from headgate_gateway.web.asks.ask import Ask
    from headgate_gateway.web.connections.connection import Connection
    from headgate_gateway.web.connections.contract import ConnectionAcceptor
    from headgate_gateway.web.connections.parked_poll import ParkedPoll
    from headgate_gateway.web.requests.blocks import KnownRequest
    from headgate_gateway.web.requests.responses import WireResponse

HELD_BYTES = 64 * 1024  # what a client may send while its request is being answered
AT_ONCE = 32  # requests that came together, before other connections have their turn: 3 ms
# A FIN within this time after the beginning of a request was sent with it: its packet may be late.
# If a client disconnects that soon, its read at the origin goes on without a client.
FIN_S = 0.1
MOST_ASKS = 32  # of one connection under way: pipelined writes whose queue keeps their order
NO_ASKS: Sequence[Ask] = ()


class ConnectionRequests:
    """The requests of a connection: one with a handler, or some by plans, or one that is parked."""

    __slots__ = (
        *("_has_next", "held", "_is_parsing", "parser", "asks", "began", "ends_with_fin"),
        *("asks_at_fin", "has_fin", "loop", "owner", "poll", "request", "services", "wire"),
    )

    def __init__(self, connection: Connection, owner: ConnectionAcceptor) -> None:
        self.wire = connection
        self.owner = owner
        self.services = connection.services
        self.loop = asyncio.get_running_loop()
        self.parser = RequestParser(connection)
        self.held = bytearray()  # received, and not parsed yet
        self._has_next = False  # more was received together with the current request
        self._is_parsing = False  # the running parse loop takes the next request
        self.request: Request | None = None  # that has a handler
        self.asks: Sequence[Ask] = NO_ASKS  # requests by plans, in their order
        self.poll: ParkedPoll | None = None
        self.began = 0.0  # loop time at which the latest request began
        # True while a request waits for news, and while one waits for its turn.
        self.ends_with_fin = self.asks_at_fin = False
        self.has_fin = False  # True once the client sends no more, and waits for responses

    # What the client sends

    def received(self, data: bytes) -> None:
        """Answer or start the requests in the data, while no other one is under way."""
        wire, fast = self.wire, self.owner.fast
        # Requests of a client that does not keep up have a handler.
        is_plain_time = not wire.pace and not self.owner.is_closing
        is_within = self.parser.part or self.parser.body is not None
        if self.held or is_within or fast is None or not is_plain_time:
            self._parse(data)
            return
        if data.startswith(b"GET "):
            get, own = fast.heads.fresh.get(data), NOTHING
            if get is None:
                get, own = fast.known(data) or (None, NOTHING)
            if get is not None and fast.answer(self, get, own):
                if wire.state is IDLE:
                    self._note_answered(should_close=get.is_last)
                return
        known = fast.blocks.at(data, 0)
        is_write = known is not None and known.method in WRITES
        ask = fast.plans.ask(self, known) if known is not None and is_write else None
        if ask is not None:
            self._start_asks(data, ask)
        elif known is None or not self._start_known(data, known):
            self._parse(data)

    def received_more(self, data: bytes) -> None:
        """Go on with the body of the request that is under way, or hold what follows it."""
        if self.parser.body is not None:
            self._parse(data)
        else:
            self._hold(data)

    def _hold(self, data: bytes) -> None:
        self.held += data
        if len(self.held) > HELD_BYTES and self.wire.transport is not None:
            self.wire.transport.pause_reading()

    def stay_open(self) -> bool:
        """Return whether the connection stays open for responses after a FIN of the client.

        A FIN that comes with a request only ends what the client sends. While a request waits for
        its turn, its client is asked. Any other one counts as a disconnect.
        """
        wire, request, transport = self.wire, self.request, self.wire.transport
        if wire.state not in {TAKEN, DROPPING} or transport is None or self.poll is not None:
            return False
        is_late = self.loop.time() - self.began > FIN_S
        if self.asks and is_late and not self.asks[0].outlives_client:
            return False
        if transport.get_extra_info("sslcontext") is not None:  # TLS has no half of a connection
            return False
        is_gone = request is not None and (is_late or self.ends_with_fin or request.has_more_body)
        if self.asks_at_fin and request is not None and not request.has_more_body:
            ask_whether_left(transport, self.loop, lambda: self.asks_at_fin)
            is_gone = False
        self.has_fin = not is_gone
        return self.has_fin

    def end_with_fin(self) -> None:
        """End the request at a FIN of its client. Raises ConnectionResetError after one."""
        self.ends_with_fin = True
        if self.has_fin:
            raise ConnectionResetError("the client is gone")

    @property
    def has_more(self) -> bool:
        """True when the client may have sent more than the request that is under way."""
        if self.wire.state is DROPPING:  # unknown: what comes is dropped
            return True
        is_within = self.parser.body is not None or bool(self.parser.part)
        return is_within or bool(self.held) or self._has_next

    def _parse(self, data: bytes) -> None:
        """Parse requests one by one, up to one that is incomplete or whose response has to wait."""
        wire, parser, body = self.wire, self.parser, self.parser.body
        if self.held and body is None:
            data = bytes(self.held) + data
            self.held.clear()
        at = requests = 0
        was_parsing, self._is_parsing = self._is_parsing, True
        try:
            if body is not None:
                at = parser.feed_rest(body, data)
                if parser.body is None and parser.is_chunked and wire.state is TAKEN:
                    wire.enter(DROPPING)
            while parser.body is None and self._may_begin(requests, has_more=at < len(data)):
                at = self._begin(data, at)
                requests += 1
        finally:
            self._is_parsing = was_parsing
            self._has_next = False
        if at < len(data) and not (wire.ends or wire.state is DROPPING):
            self._hold(data[at:])

    def _may_begin(self, requests: int, *, has_more: bool) -> bool:
        """Return whether to parse the next request now, after `requests` that came with it."""
        if self.wire.ends or self.wire.state is not IDLE:
            return False
        if has_more and requests == AT_ONCE:
            self.wire.enter(TAKEN)
            turn.add_last(self)
            return False
        return has_more

    # The beginning of a request

    def _begin(self, data: bytes, start: int) -> int:
        """Answer the next request by the fast path if possible, else by a handler.

        Return the position after what there is of it.
        """
        wire, services, fast = self.wire, self.services, self.owner.fast
        came_in_parts, end = bool(self.parser.part), end_of_head(self.parser.part, data, start)
        try:
            parsed = self.parser.feed_head(data, start, end)
        except HeadgateError as error:
            first = self.parser.part + data[start : start + METHOD_BYTES]
            wire.refuse(error, to_head=begins_head(first))
            return start
        if parsed is None:
            if wire.deadline is None:
                wire.deadline = self.loop.time() + services.timeouts.header
            return end
        message, payload, end = parsed
        wire.deadline = None
        keeps_up = not (wire.writing_paused or self.owner.is_closing)
        if fast is not None and keeps_up and is_plain(message, services.hosts):
            is_known = not (came_in_parts or message.chunked or self.parser.had_mark)
            whole = data[start:end] if is_known and self.parser.body is None else None
            if whole is not None:
                fast.remember_block(whole, message, payload.total_bytes)
            is_read = message.method == "GET" and payload is EMPTY_PAYLOAD
            if is_read and fast.answer_get(self, whole, message):
                self._note_answered(should_close=message.should_close)
                return end
        self._has_next = end < len(data)
        wire.enter(TAKEN)
        if self.parser.body is None and message.chunked:
            wire.enter(DROPPING)
        self.start(Request(message, payload, self))
        return end

    def _note_answered(self, *, should_close: bool) -> None:
        """Note a request that is answered without a handler of this connection."""
        wire = self.wire
        wire.deadline = None
        if wire.state is IDLE:  # otherwise it becomes idle with its response
            wire.idle_since = self.loop.time()
        if should_close:
            wire.force_close()

    def _start_known(self, data: bytes, known: KnownRequest) -> bool:
        """Start a request whose fields are known, or answer it; return whether.

        Later bytes wait until it is answered.
        """
        fast, has_more, is_read = self.owner.fast, known.end < len(data), known.method == "GET"
        assert fast is not None, "it knows the fields"
        if is_read:
            if known.body or has_more:
                return False
            if fast.answer_get(self, data, known):
                self._note_answered(should_close=False)
                return True
        client = known.fields.client
        if client is not None and not fast.admission.admits(known, client):
            return False
        if is_read and fast.plans.read_routes:
            ask = fast.plans.read(self, known)
            if ask is not None:
                self._start_asks(data, ask)
                return True
        self.wire.deadline = None
        if has_more:
            self._hold(data[known.end :])
        self._has_next = has_more
        try:
            self.start(Request(known, known.body, self))
        finally:
            self._has_next = False
        return True

    def _start_asks(self, data: bytes, ask: Ask) -> None:
        """Start a request by its plan, and writes after it that cannot overtake it.

        These are appends to the same stream of a log, or creations on one route, which have one
        queue. Later bytes wait until they are answered.
        """
        wire, fast, first = self.wire, self.owner.fast, ask.known
        assert fast is not None, "it has the plans"
        asks = [ask]
        at = first.end
        while at < len(data) and len(asks) < MOST_ASKS and ask.outlives_client:
            known = fast.blocks.at(data, at)
            if known is None or known.method != first.method:
                break
            if known.path != first.path and known.method != "PUT":
                break
            following = fast.plans.ask(self, known, ask.plan.route)
            if following is None:
                break
            asks.append(following)
            at = known.end
        wire.deadline = None
        self.began = self.loop.time()
        wire.state = TAKEN  # from IDLE, which is permitted: `enter` would cost a call
        self.asks = asks
        for one in asks:
            one.plan.submit(one.name, one)
        if at < len(data):
            self._hold(data[at:])

    def start(self, request: Request, handler: Callable[[Request], Any] | None = None) -> None:
        """Start the handler of a request, or this one of a request that has begun as an ask."""
        if self.wire.state is IDLE:
            self.wire.state = TAKEN  # which is permitted: `enter` would cost a call
        if handler is None:
            handler = self.owner.handlers.handle
        self.asks = NO_ASKS
        self.request, self.ends_with_fin, self.asks_at_fin = request, False, False
        self.began = self.loop.time()
        context = None if self.services.tracer is None else contextvars.copy_context()
        request.step = step = Step(partial(handler, request), request.on_handled, context)
        step.run(self.loop)

    # The end of a request

    def answer_asks(self) -> None:
        """Write the answers to the requests by plans that are under way, once all are there."""
        wire, asks = self.wire, self.asks
        for ask in reversed(asks):
            if ask.wire is None:
                return
        if wire.transport is None or not asks:  # the client has left
            return
        sent = asks[0].wire if len(asks) == 1 else b"".join([ask.wire or b"" for ask in asks])
        is_last, self.asks = asks[-1].is_last, NO_ASKS
        wire.transport.write(sent or b"")
        if is_last:
            wire.linger()
        elif self.held or self.has_fin or self.owner.is_closing:
            self.resume()
        else:
            wire.state = IDLE  # as in `resume`, which is for what waits
            wire.idle_since = self.loop.time()

    def on_over(self, request: Request, reply: WireResponse | None, *, has_more: bool) -> None:
        """Go on after a request, or end the connection so that the client gets its response.

        If the request `has_more`, the rest of its body is not read.
        """
        wire, self.request = self.wire, None
        request.step = None
        try:
            if reply is not None and wire.transport is not None:
                if reply.abandon:
                    wire.linger()
                elif has_more or not (reply.keep_alive or request.message.should_close):
                    # This side ends the connection; the client does not know yet, and may send.
                    wire.linger(in_body=has_more)
            goes_on = reply is not None and reply.keep_alive and not wire.ends
            if wire.state is TAKEN and goes_on:
                self.resume()
            elif wire.state in {TAKEN, DROPPING}:
                wire.force_close()
            if self.owner.is_closing:
                self.owner.connections.notice_idle()
        except Exception as error:  # noqa: BLE001 - its connection ends
            log_failure(error)
            wire.force_close()

    def resume(self, _: Later[Any] | None = None, /) -> None:
        """Parse what the client has sent since the last request.

        End the connection on an error: its client would wait for ever.
        """
        wire, transport = self.wire, self.wire.transport
        if transport is None:
            return
        if self._has_next:
            # A handler takes as long as many answers from memory. So other connections have their
            # turn before the rest of what was received with this request.
            turn.add_last(self)
            return
        wire.state = IDLE
        wire.idle_since = self.loop.time()
        try:
            if self.held and not self._is_parsing:
                held = bytes(self.held)
                self.held.clear()
                transport.resume_reading()
                wire.data_received(held)
            if (self.owner.is_closing or self.has_fin) and wire.is_idle:
                transport.close()
                self.owner.connections.notice_idle()
        except Exception:  # noqa: BLE001 - it is logged: no error of the caller
            log.exception("connection.failed")
            transport.abort()

    def cancel(self) -> None:
        """Cancel what is under way; a log goes on with a write."""
        for ask in self.asks:
            ask.cancel()
        if self.request is not None:
            self.request.cancel()

    def on_lost(self) -> None:
        """Drop everything that waits for the connection; writes under way go on for a while."""
        self.held.clear()
        self.parser.part.clear()
        self.parser.body = None  # it refers to the connection
        poll, self.poll = self.poll, None
        if poll is not None:
            poll.on_disconnect()
        asks, self.asks = self.asks, NO_ASKS
        for ask in asks:
            if not ask.outlives_client:
                ask.on_disconnect()
        if self.request is not None and self.wire.state is not HANDED_OVER:
            self.request.on_disconnect()
