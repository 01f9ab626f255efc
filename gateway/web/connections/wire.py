"""The wire of a client's connection: its bytes, its place among the connections, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from aiohttp.base_protocol import BaseProtocol
from typing_extensions import override

from gateway.errors import ClientLimitReached, HeadgateError, LimitReached
from gateway.later import Later
from gateway.protocol.http import cache_status
from gateway.routes.exchange import Exchange
from gateway.runtime.quotas import peer_of
from gateway.telemetry.access_log import LoggedRequest
from gateway.telemetry.logs import log
from gateway.telemetry.traffic import OTHER
from gateway.web.connections.connection_state import (
    HANDED_OVER,
    IDLE,
    LINGERING,
    LOST,
    TAKEN,
    TRANSITIONS,
    State,
    UnsentWatch,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.routes.services import Services
    from gateway.stepped import Step
    from gateway.web.requests.request import Request
    from gateway.web.requests.responses import WireResponse

LINGER_S = 1.0  # for the client to read its last response; it may still send
LINGER_BODY_S = 10.0  # while a body is coming: few clients read before all is sent
LINGER_BYTES = 64 * 1024 * 1024  # dropped meanwhile; that takes a second of processor time


class RequestHandlers(Protocol):
    """The handlers of requests; only they look into the outcomes that they return."""

    def handle(self, request: Request, /) -> Any:  # noqa: ANN401 - an outcome, or what a Step waits for
        """Return the outcome of a request, a Later of it, or a coroutine. May raise any error."""

    def answer(self, request: Request, outcome: Any, /) -> WireResponse:  # noqa: ANN401 - of `handle`
        """Return the reply for an outcome of `handle`."""

    def refuse(self, request: Request, error: BaseException, /) -> WireResponse | None:
        """Return the reply for an error of `handle`; None if there is none to send."""


class Owner(Protocol):
    """The server that accepted a connection, as the connection uses it."""

    services: Services
    connections: Connections[Any]
    keepalive_s: float
    is_closing: bool  # True if each response is the last of its connection

    @property
    def handlers(self) -> RequestHandlers:
        """The handlers of the requests; others after a reload."""


class Wire(BaseProtocol):
    """A connection that counts among its listener's, and ends without a client losing a response.

    Its writers wait while its client receives more slowly than they write; one that stalls is cut.
    """

    __slots__ = (
        *("_at_open", "_client", "_counts", "_deadline", "_drained", "_ends", "_idle_until"),
        *("_lingering", "_may_drop", "_step", "_unsent", "owner", "peer", "services", "state"),
    )

    def __init__(self, owner: Owner, early: bytes = b"", late: bytes = b"") -> None:
        """Parse `early` bytes, received before; or send the `late` answer and end."""
        super().__init__(asyncio.get_running_loop())
        self.owner = owner
        self.services = owner.services
        self.state = IDLE
        self.peer: str | None = None  # the address of the client, as `peer_of` has it
        self._at_open = early, late
        self._step: Step[Any] | None = None  # runs the handler of the request under way
        self._client: str | None = None  # the client that the connection counts for
        self._counts = False  # True while it has a place among the listener's connections
        self._deadline: float | None = None  # for the head of a request (loop time)
        self._idle_until: float | None = None  # loop time at which it is closed
        self._drained: Later[None] | None = None  # done when the client keeps up again
        self._unsent: UnsentWatch | None = None  # the watch on a client that does not keep up
        self._ends = False  # True when no further request is begun
        self._lingering: asyncio.TimerHandle | None = None
        self._may_drop = LINGER_BYTES  # bytes, while it lingers

    def enter(self, state: State) -> None:
        """Change the state to one that TRANSITIONS allows."""
        assert state in TRANSITIONS[self.state], f"{self.state.name} to {state.name}"
        self.state = state

    # Its place among the listener's connections

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection as open; refuse one beyond the limit with an answer that says so.

        Abort it on an error: asyncio would leave it open.
        """
        try:
            super().connection_made(transport)
            connection: socket.socket | None = transport.get_extra_info("socket")
            if connection is not None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self.owner.connections.add(self)
            self.release_slot()
            peer = self.peer = peer_of(transport)
            client = None if peer is None else self.services.quotas.address_connects_as(peer)
            refusal = self.services.limits.connection_made(client)
            self._counts = True
            self._client = client if refusal is None else None
            if self._idle_until is None:  # else it rests between two requests
                self._deadline = self._loop.time() + self.services.timeouts.header
            (early, late), self._at_open = self._at_open, (b"", b"")
            if late:
                self.write(late)
                self.force_close()
            elif isinstance(refusal, ClientLimitReached):
                # While it lingered it would count, and one client could crowd out the others.
                self.refuse_at_once(refusal)
            elif refusal is not None:
                self.refuse(refusal)
            elif early:
                self.data_received(early)
        except Exception:  # noqa: BLE001 - it is logged, and the client retries
            log.exception("connection.failed")
            transport.abort()  # type: ignore[attr-defined] # TCP transports have it

    def keep_slot(self, client: str | None) -> None:
        """Keep the connection slot of `client` while another protocol has the socket."""
        self._counts, self._client = True, client

    def release_slot(self) -> None:
        """Stop counting as a connection."""
        if self._counts:
            self._counts = False
            self.services.limits.connection_lost(self._client)

    @property
    def is_idle(self) -> bool:
        """True when no request of the connection is under way."""
        return self.state is not TAKEN and self._step is None

    @property
    def awaits_first_request(self) -> bool:
        """True while no request has begun since the connection was accepted."""
        return self.state is IDLE and self._idle_until is None and self._step is None

    def end_if_slow(self, now: float) -> str | None:
        """End the connection if its client is too slow, or idle for too long, at loop time `now`.

        Return the limit that a slow client has exceeded.
        """
        if self._deadline is not None and not self._ends and self.is_idle and now >= self._deadline:
            self.force_close()  # and so a timeout is counted once
            return "header_timeout"
        if self._unsent is not None and self._unsent.cut_if_stuck(now):
            return "body_timeout"
        if self.state is IDLE and self._idle_until is not None and now >= self._idle_until:
            self.force_close()
        return None

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        """Give the connection's place back before anything else, which might raise."""
        if self.state is LOST:  # uvloop may report a handed-over transport's end
            return
        if self.state is HANDED_OVER:
            self._counts = False  # its new protocol counts it down
        self.release_slot()
        super().connection_lost(exc)
        self._ends = True
        self.owner.connections.discard(self)
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.set_result(None)
        self.forget()
        self.enter(LOST)
        if self.owner.is_closing:
            self.owner.connections.notice_idle()

    def forget(self) -> None:
        """Forget what is under way, whose client is gone."""

    # Back-pressure

    def write(self, wire: bytes) -> None:
        """Write a response, or nothing once the transport is gone."""
        if self.transport is not None:
            self.transport.write(wire)

    async def drained(self) -> None:
        """Wait until the client has received most of what was sent. Raises ConnectionResetError."""
        if self.transport is not None and self.writing_paused:
            if self._drained is None:
                self._drained = Later()
            await self._drained
        if self.transport is None:
            raise ConnectionResetError("the client is gone")

    @override
    def pause_writing(self) -> None:
        """Begin to watch how fast the client receives what it is sent."""
        super().pause_writing()
        if self.transport is not None:
            self._unsent = UnsentWatch(self.transport, self.services.timeouts, self._loop.time())

    @override
    def resume_writing(self) -> None:
        """Stop watching, and let `drained` return: the client has most of what was sent."""
        super().resume_writing()
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.set_result(None)
        if self.transport is not None:  # without one it ends after the last byte
            self._unsent = None

    # Its end

    def end_when_idle(self) -> None:
        """End the connection, after its request if one is under way."""
        self._ends = True
        if self.is_idle:
            self.force_close()

    def cancel(self) -> None:
        """Cancel the request that is under way."""
        if self._step is not None:
            self._step.cancel()

    def force_close(self) -> None:
        """End the connection as soon as the client has received what it was sent."""
        self._ends = True
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.close()
            if self._unsent is None and transport.get_write_buffer_size():
                self._unsent = UnsentWatch(transport, self.services.timeouts, self._loop.time())

    def refuse(self, error: HeadgateError, *, to_head: bool = False) -> None:
        """Respond with the error, and end the connection: later bytes have no meaning.

        A response to a HEAD has no body.
        """
        transport = self.transport
        if transport is None:
            return
        services = self.services
        refusal = services.problem(error)
        logged = None
        if services.log.enabled:  # no request was parsed: no method, no path
            logged = LoggedRequest("-", "-", peer_of(transport), None, None)
        exchange = Exchange(services.unrouted, OTHER, None, services.lines.new_request_id, logged)
        request_id = exchange.request_id
        sent = services.refusal(refusal, connection="close", request_id=request_id, to_head=to_head)
        transport.write(sent)
        if not isinstance(error, ClientLimitReached | LimitReached):  # which read nothing
            exchange.cache = cache_status.BYPASS
            size = 0 if to_head else len(refusal.body)
            exchange.answered(services.log, refusal.status, "answered", size)
            client = peer_of(transport)
            services.refusals.note(request_id, "", refusal.status, refusal.body, client)
        self.linger()

    def refuse_at_once(self, error: HeadgateError) -> None:
        """Respond with the error, and close the descriptor as soon as that is sent."""
        self.write(self.services.refusal(self.services.problem(error), connection="close"))
        self.force_close()

    def linger(self, *, in_body: bool = False) -> None:
        """Stop sending, and close when the client does, or after LINGER_S or LINGER_BODY_S.

        Whatever the client still sends is dropped. If the socket were closed, the system would
        reset the connection, and the client could lose the response (RFC 9112 section 9.6).
        """
        transport = self.transport
        if transport is None or transport.is_closing() or self.state is LINGERING:
            return
        self.enter(LINGERING)
        self._ends = True
        try:
            if transport.can_write_eof():  # TLS has no half of a connection
                transport.write_eof()
        except OSError:  # the client has reset the connection; the loop does not know yet
            self.force_close()
            return
        transport.resume_reading()
        self._lingering = self._loop.call_later(
            LINGER_BODY_S if in_body else LINGER_S, self.force_close
        )


C = TypeVar("C", bound=Wire)


class Connections(Generic[C]):
    """The open connections of one listener. `requests_count` counts what their handlers began."""

    def __init__(self) -> None:
        self._open: set[C] = set()
        self._idle = asyncio.Event()
        self.requests_count = 0

    def __iter__(self) -> Iterator[C]:
        return iter(tuple(self._open))

    def __len__(self) -> int:
        return len(self._open)

    def add(self, connection: C) -> None:
        """Count a connection as open."""
        self._open.add(connection)

    def discard(self, connection: C) -> None:
        """Remove a connection that is lost."""
        self._open.discard(connection)
        self._idle.set()

    def notice_idle(self) -> None:
        """Have `all_idle` check the connections again."""
        self._idle.set()

    async def all_idle(self) -> None:
        """Wait until no request is under way on any connection."""
        while not all(connection.is_idle for connection in self._open):
            self._idle.clear()
            await self._idle.wait()

    async def first_requests(self, within_s: float) -> None:
        """Wait until each connection has had its first request, `within_s` seconds at most.

        A client that has just connected sends its request at once, and cannot tell whether a
        connection that ends without a response has lost it.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while any(connection.awaits_first_request for connection in self._open):
                    self._idle.clear()
                    await self._idle.wait()

    async def close(self, grace_s: float) -> None:
        """End all connections; requests under way are cancelled after `grace_s` seconds.

        Cancelled requests have `grace_s` seconds again to clean up.
        """
        for connection in self:
            connection.end_when_idle()
        for is_last in (False, True):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await self.all_idle()
            for connection in self:
                if is_last:
                    connection.force_close()
                else:
                    connection.cancel()
