"""Connections of clients, and their server: requests that need no task are answered at once."""

from __future__ import annotations

import asyncio
import sys
from itertools import count
from typing import TYPE_CHECKING, Any

from aiohttp import hdrs
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from typing_extensions import override

from gateway.live.contract import ReaderClient
from gateway.runtime.request_fields import NOTHING
from gateway.telemetry.access_log import LONGEST_SHOWN
from gateway.web.asks.plans import WRITES
from gateway.web.connections import incoming
from gateway.web.connections.bare_transport import BareTransport, Descriptors
from gateway.web.connections.connection_state import HANDED_OVER, IDLE, TAKEN
from gateway.web.connections.incoming import IncomingConnection
from gateway.web.connections.listener import SocketAcceptor
from gateway.web.connections.wire import Connections
from gateway.web.requests.request import Request
from gateway.web.requests.request_head import is_plain
from gateway.web.requests.responses import WireResponse

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Collection, Sequence

    from aiohttp.http_parser import RawRequestMessage
    from multidict import MultiMapping

    from gateway.access.principal import Principal
    from gateway.live.contract import PollAnswer
    from gateway.routes.services import Services
    from gateway.telemetry.traffic import Polls, Traffic
    from gateway.tls.handshakes import Handshakes
    from gateway.web.asks.ask import Ask
    from gateway.web.connections.fast_path import FastPath
    from gateway.web.connections.wire import RequestHandlers
    from gateway.web.requests.blocks import KnownRequest

_NUMBERS = count(1)
MOST_ASKS = 32  # of one connection under way: pipelined writes whose queue keeps their order
NO_ASKS: Sequence[Ask] = ()


class Connection(IncomingConnection):
    """A client's connection to streams: handlers answer what the fast path does not."""

    __slots__ = ("_counted", "_on_lost", "asks", "number", "poll_headers", "principal")
    owner: ConnectionServer
    abandon = IncomingConnection.force_close  # implements Waiter.abandon

    def __init__(self, owner: ConnectionServer, early: bytes = b"", late: bytes = b"") -> None:
        """Parse `early` bytes, received before; or send the `late` response and end."""
        super().__init__(owner, early, late)
        self.number = next(_NUMBERS)
        self.principal: Principal | None = None  # the reader of the parked long-poll
        self.poll_headers: MultiMapping[str] | None = None  # of the parked long-poll
        self.asks: Sequence[Ask] = NO_ASKS  # requests by plans, in their order
        self._on_lost: Callable[[Connection], object] | None = None
        self._counted: Polls | None = None  # the counters of the parked long-poll

    @property
    def client(self) -> ReaderClient:
        """The client of the parked long-poll."""
        assert self.poll_headers is not None, "only of a long-poll that waits here"
        return self.client_of(self.poll_headers)

    def client_of(self, headers: MultiMapping[str]) -> ReaderClient:
        """Return the client of this connection, by the fields of its request."""
        address = self.services.quotas.client_address(self.transport, headers)
        agent = headers.get(hdrs.USER_AGENT)
        # Thousands of readers have the same few.
        shown = None if agent is None else sys.intern(agent[:LONGEST_SHOWN])
        return ReaderClient(self.number, address, shown)

    @property
    def traffic(self) -> Traffic | None:
        """The counts of the route whose request is under way."""
        if self.asks:
            traffic: Traffic = self.asks[0].plan.route.traffic
            return traffic
        exchange = None if self.request is None else self.request.exchange
        return None if exchange is None else exchange.traffic

    @override
    def eof_received(self) -> bool:
        """Return whether the connection stays open; a client that ends its long-poll is gone.

        So is one that ends long after it sent a request that does not outlive it.
        """
        is_late = self._loop.time() - self.began > incoming.FIN_S
        if self.asks and is_late and not self.asks[0].outlives_client:
            return False
        return self._counted is None and super().eof_received()

    @override
    def forget(self) -> None:
        """Drop what waits for this connection; writes under way go on without it, for a while."""
        super().forget()
        if self._on_lost is not None:
            self._on_lost(self)
            self._on_lost = None
        asks, self.asks = self.asks, NO_ASKS
        for ask in asks:
            if not ask.outlives_client:
                ask.on_disconnect()
        self.principal = self.poll_headers = None
        if self._counted is not None:
            self._counted.cut()
            self._counted = None

    def hand_over(self, protocol: asyncio.Protocol, to: asyncio.Transport) -> None:
        """Give the transport `to` to another protocol; this connection object ends."""
        to.set_protocol(protocol)
        self.enter(HANDED_OVER)
        self.transport = None
        self.connection_lost(None)

    @override
    def answer_known(self, data: bytes) -> bool:
        """Return whether a request was answered by a lookup of its bytes, without parsing."""
        if self._unsent is not None or self.owner.is_closing:  # a client that does not keep up
            return False
        fast = self.owner.fast
        if data.startswith(b"GET "):
            get, own = fast.heads.fresh.get(data), NOTHING
            if get is None:
                get, own = fast.known(data) or (None, NOTHING)
            if get is not None and fast.answer(self, get, own):
                if self.state is IDLE:
                    self.note_answered(should_close=get.is_last)
                return True
        request = fast.blocks.at(data, 0)
        if request is None:
            return False
        ask = fast.plans.ask(self, request) if request.method in WRITES else None
        if ask is not None:
            self._start_asks(data, ask)
            return True
        return self._start_known(data, request)

    def _start_known(self, data: bytes, request: KnownRequest) -> bool:
        """Start a request whose fields are known, or answer it; return whether.

        Later bytes wait until it is answered.
        """
        fast, has_more = self.owner.fast, request.end < len(data)
        if request.method == "GET":
            if request.body or has_more:
                return False
            if fast.answer_get(self, data, request):
                self.note_answered(should_close=False)
                return True
        client = request.fields.client
        if client is not None and not fast.admission.admits(request, client):
            return False
        if request.method == "GET" and fast.plans.read_routes:
            ask = fast.plans.read(self, request)
            if ask is not None:
                self._start_asks(data, ask)
                return True
        self._deadline = None
        if has_more:
            self._hold(data[request.end :])
        self._has_behind = has_more
        try:
            self.start_request(Request(request, request.body, self))
        finally:
            self._has_behind = False
        return True

    def _start_asks(self, data: bytes, ask: Ask) -> None:
        """Start a request by its plan, and writes behind it that cannot overtake it.

        These are appends to the same stream of a log, or creations on one route, which have one
        queue. Later bytes wait until they are answered.
        """
        fast, first = self.owner.fast, ask.known
        asks = [ask]
        at = first.end
        while at < len(data) and len(asks) < MOST_ASKS and ask.outlives_client:
            known = fast.blocks.at(data, at)
            if known is None or known.method != first.method:
                break
            if known.path != first.path and known.method != "PUT":
                break
            behind = fast.plans.ask(self, known, ask.plan.route)
            if behind is None:
                break
            asks.append(behind)
            at = known.end
        self._deadline = None
        self.began = self._loop.time()
        self.state = TAKEN  # from IDLE, which is permitted: `enter` would cost a call
        self.asks = asks
        self.owner.connections.requests_count += len(asks)
        for one in asks:
            one.plan.submit(one.name, one)
        if at < len(data):
            self._hold(data[at:])

    @override
    def cancel(self) -> None:
        """Cancel what is under way; a log goes on with a write."""
        for ask in self.asks:
            ask.cancel()
        super().cancel()

    # Answering

    def answer_asks(self) -> None:
        """Write the answers to the writes that are under way, once all are there."""
        asks = self.asks
        for ask in reversed(asks):
            if ask.wire is None:
                return
        if self.transport is None or not asks:  # the client has left
            return
        wire = asks[0].wire if len(asks) == 1 else b"".join([ask.wire or b"" for ask in asks])
        is_last, self.asks = asks[-1].is_last, NO_ASKS
        self.transport.write(wire or b"")
        if is_last:
            self.linger()
        elif self._held or self.has_fin or self.owner.is_closing:
            self.go_on()
        else:
            self.state = IDLE  # as in `go_on`, which is for what waits
            self._idle_until = self._loop.time() + self.owner.keepalive_s

    def _request_of(self, ask: Ask) -> Request:
        request = Request(ask.known, ask.known.body, self)
        request.is_followed = len(self.asks) > 1
        request.exchange = ask.exchange_for(request, self.services)
        return request

    def go_on_in_handler(self, ask: Ask, handler: Callable[[Request], Any]) -> None:
        """Let a handler answer a write that is alone on its connection."""
        request = self._request_of(ask)
        self.asks = NO_ASKS
        try:
            self.start_request(request, handler)
        except BaseException:  # without its ask nothing else would answer the client
            self.abandon()
            raise

    def answer_by_handlers(self, ask: Ask, outcome: Any) -> None:  # noqa: ANN401 - of its queue
        """Give a write the answer that the handlers have for its outcome, and count it."""
        request = self._request_of(ask)
        handlers, reply, wire = self.owner.handlers, None, b""
        try:
            if isinstance(outcome, BaseException):
                reply = handlers.refuse(request, outcome)
            else:
                reply = handlers.answer(request, ask.response(outcome))
            if isinstance(reply, WireResponse) and self.transport is not None:
                wire = reply.take()
        finally:
            request.finish(self.services.log, stopping=self.owner.is_closing)
        ask.wire, ask.is_last = wire, reply is None or not reply.keep_alive

    @override
    def answer_at_once(
        self, head: bytes | None, message: RawRequestMessage, payload: StreamReader
    ) -> bool:
        """Return whether the fast path answers; `head` has the whole request, if in one piece."""
        hosts = self.services.hosts
        if self.writing_paused or self.owner.is_closing or not is_plain(message, hosts):
            return False
        if head is not None:
            self.owner.fast.remember_block(head, message, payload.total_bytes)
        if message.method != "GET" or payload is not EMPTY_PAYLOAD:
            return False
        if taken := self.owner.fast.answer_get(self, head, message):
            self.note_answered(should_close=message.should_close)
        return taken

    def note_answered(self, *, should_close: bool) -> None:
        """Note a request that is answered without a handler of this connection."""
        self._deadline = None
        if self.state is IDLE:  # otherwise it becomes idle with its response
            self._idle_until = self._loop.time() + self.owner.keepalive_s
        if should_close:
            self.force_close()

    def defer(self, on_lost: Callable[[Connection], object], counted: Polls) -> None:
        """Reserve the connection for the response to a long-poll."""
        assert self.state is IDLE, self.state.name
        self.state = TAKEN
        self._deadline = None
        self._on_lost = on_lost
        self._counted = counted

    def answer(self, answer: PollAnswer) -> None:
        """Write the response to the parked long-poll."""
        counted, self._counted = self._counted, None
        if counted is not None:
            answer.uncounted_resumes[counted.resume_kind] += 1
        if self.principal is not None:
            self.principal.use.count(len(answer.response.body))
        self.principal = self.poll_headers = self._on_lost = None
        if self.transport is not None:
            self.transport.write(answer.wire)
            self.go_on()


LOOK_S = 0.05  # between two looks at the requests that a reload waits for


class ConnectionServer:
    """A server whose connections share handlers, fast path, limits and descriptors."""

    def __init__(
        self, handlers: RequestHandlers, fast: FastPath, services: Services, keepalive_s: float
    ) -> None:
        self.handlers = handlers
        self.fast = fast
        self.services = services
        self.keepalive_s = keepalive_s
        self.is_closing = False  # True: each response is the last of its connection
        self.descriptors = Descriptors(asyncio.get_running_loop())
        self.connections: Connections[Connection] = Connections()
        self._entrance = SocketAcceptor(services, self.connections)

    def serve(self, handlers: RequestHandlers, fast: FastPath, keepalive_s: float) -> None:
        """Serve the next request of each connection by these, after a reload."""
        self.handlers, self.fast, self.keepalive_s = handlers, fast, keepalive_s

    async def requests_end(self, of: Collection[Traffic]) -> None:
        """Wait until no request is under way that counts in one of these traffics."""
        while any(  # noqa: ASYNC110 - looked at by reloads only, so that no request pays for it
            connection.traffic in of for connection in self.connections
        ):
            await asyncio.sleep(LOOK_S)

    def last_answer(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Return the response to the only request of a connection, if it is cached."""
        if self.services.journal is not None:
            self.services.journal.catch_up()
        known = self.fast.known(data)
        if known is None or not known[0].is_last:
            return None
        services, limits = self.services, self.services.limits
        if services.log.enabled or services.bans.in_force or services.tracer is not None:
            return None  # these name the client, which only a connection knows
        if limits.connections >= limits.max_connections:
            return None
        answer = self.fast.cached_response(known[0], own=known[1])
        return None if answer is None else answer[1:3]

    def __call__(self, early: bytes = b"", late: bytes = b"") -> Connection:
        """Return the protocol of a new connection."""
        return Connection(self, early, late)

    def reader_lost(self, transport: asyncio.Transport) -> None:
        """Count down the connection of an SSE reader that is gone."""
        self.services.limits.connection_lost(self.services.quotas.connects_as(transport))

    def resume_http(self, transport: asyncio.Transport) -> bool:
        """Serve HTTP again on a connection whose SSE response is over; False with bytes unsent."""
        if self.is_closing or transport.is_closing():
            transport.close()
            return True
        counts_as = self.services.quotas.connects_as(transport)
        client: socket.socket | None = None
        if isinstance(transport, BareTransport):
            client = transport.detach()
            if client is None:
                return False
        connection = self()
        try:
            connection.rest()  # the request of the SSE response was its last
            connection.keep_slot(counts_as)
            if client is not None:
                self._entrance.enter(connection, client)
                return True
        except BaseException:
            self.services.limits.connection_lost(counts_as)
            if client is not None:
                client.close()
            raise
        transport.set_write_buffer_limits()
        transport.set_protocol(connection)
        connection.connection_made(transport)
        return True

    def enter(
        self, client: socket.socket, early: bytes, late: bytes, handshakes: Handshakes | None
    ) -> None:
        """Give a connection its transport and protocol."""
        self._entrance.enter(self(early, late), client, handshakes)

    def stop_sweeping(self) -> None:
        """Cancel the timer, and abort the connections of SSE readers."""
        self._entrance.close()
        self.descriptors.close()
