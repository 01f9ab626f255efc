"""A client's connection: its bytes, its connection slot, its timeouts, and its end.

Its `ConnectionRequests` decide what the bytes mean. From aiohttp it uses the BaseProtocol, by which
the parser and the body stream pause reading. The private names of aiohttp that it depends on are
listed, each with its reason, in tests/web/test_connection_contract.py.
"""

from __future__ import annotations

import asyncio
import socket
from itertools import count
from typing import TYPE_CHECKING

from aiohttp.base_protocol import BaseProtocol
from typing_extensions import override

from headgate_gateway.errors import ClientLimitReached, HeadgateError, LimitReached
from headgate_gateway.protocol.http import cache_status
from headgate_gateway.runtime.loudest import NO_SENDER, NO_STREAM, OTHERS, REFUSED
from headgate_gateway.runtime.quotas import peer_of
from headgate_gateway.telemetry.access_log import LoggedRequest
from headgate_gateway.telemetry.logs import log
from headgate_gateway.telemetry.traffic import OTHER
from headgate_gateway.web.connections.connection_state import (
    DROPPING,
    HANDED_OVER,
    IDLE,
    LINGERING,
    LOST,
    TAKEN,
    TRANSITIONS,
    State,
)
from headgate_gateway.web.requests.exchange import Exchange
from headgate_gateway.web.requests.responses import Pace

if TYPE_CHECKING:
    from headgate_gateway.web.connections.contract import ConnectionAcceptor

LINGER_S = 1.0  # for the client to read its last response; it may still send
LINGER_BODY_S = 10.0  # while a body is coming: few clients read before all is sent
LINGER_BYTES = 64 * 1024 * 1024  # dropped meanwhile; that takes a second of processor time
_NUMBERS = count(1)


class Connection(BaseProtocol):
    """A connection that counts among its listener's, and ends without a client losing a response.

    Its writers wait while its client receives more slowly than they write; one that stalls is cut.
    """

    __slots__ = (
        *("_lingering", "_may_drop", "deadline", "ends", "idle_since"),
        *("number", "owner", "pace", "peer", "requests", "services", "slot", "state"),
    )

    def __init__(self, owner: ConnectionAcceptor) -> None:
        super().__init__(asyncio.get_running_loop())
        self.owner = owner
        self.services = owner.services
        self.number = next(_NUMBERS)
        self.state = IDLE
        self.peer: str | None = None  # the address of the client, as `peer_of` has it
        self.deadline: float | None = None  # for the head of a request (loop time)
        self.idle_since: float | None = None  # loop time; None before its first response
        self.ends = False  # True when no further request is begun
        self.pace = Pace.KEEPS_UP  # of the client, as it receives
        # The client that its connection slot counts for; None without a slot.
        self.slot: tuple[str | None] | None = None
        self._lingering: asyncio.TimerHandle | None = None
        self._may_drop = LINGER_BYTES  # bytes, while it lingers
        self.requests = owner.requests_of(self)

    def enter(self, state: State) -> None:
        """Change the state to one that TRANSITIONS allows."""
        assert state in TRANSITIONS[self.state], f"{self.state.name} to {state.name}"
        self.state = state

    # Its slot among the listener's connections

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
            self.slot = (client if refusal is None else None,)
            if self.idle_since is None:  # else it rests between two requests
                self.deadline = self._loop.time() + self.services.timeouts.header
            if refusal is not None:
                self.refuse(refusal)
        except Exception:  # noqa: BLE001 - it is logged, and the client retries
            log.exception("connection.failed")
            transport.abort()  # type: ignore[attr-defined] # TCP transports have it

    def release_slot(self) -> None:
        """Stop counting as a connection."""
        slot, self.slot = self.slot, None
        if slot is not None:
            self.services.limits.connection_lost(slot[0])

    @property
    def is_idle(self) -> bool:
        """True when no request of the connection is under way."""
        return self.state is LOST or (self.state is not TAKEN and self.requests.request is None)

    @property
    def awaits_first_request(self) -> bool:
        """True while no request has begun since the connection was accepted."""
        return self.state is IDLE and self.idle_since is None

    def end_if_slow(self, now: float) -> str | None:
        """End the connection if its client sends too slowly, or nothing, at loop time `now`.

        Return the limit that a slow client has exceeded.
        """
        if self.deadline is not None and not self.ends and self.is_idle and now >= self.deadline:
            self.force_close()  # and so a timeout is counted once
            return "header_timeout"
        since = self.idle_since
        if self.state is IDLE and since is not None and now >= since + self.owner.keepalive_s:
            self.force_close()
        return None

    # Its bytes

    @override
    def data_received(self, data: bytes) -> None:
        """Give the data to the requests, or drop it after the last one.

        The writes of other workers are taken in first, so that a client whose write was confirmed
        by another worker reads that write here.
        """
        if self.services.journal is not None:
            self.services.journal.catch_up()
        state = self.state
        if self.ends or state is DROPPING:
            self._may_drop -= len(data)
            if self._may_drop < 0 and state is LINGERING:
                self.force_close()
        elif state is IDLE:
            self.requests.received(data)
        else:
            self.requests.received_more(data)

    @override
    def eof_received(self) -> bool:
        """Return whether the connection stays open for responses after a FIN of the client."""
        try:
            return bool(self.requests.stay_open())
        except Exception:  # noqa: BLE001 - it is logged, and the client retries
            log.exception("connection.failed")
            return False

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        """Release the connection's slot before anything else, which might raise."""
        if self.state is LOST:  # uvloop may report a handed-over transport's end
            return
        if self.state is HANDED_OVER:
            self.slot = None  # its new protocol counts it down
        self.release_slot()
        super().connection_lost(exc)
        self.ends = True
        self.owner.connections.discard(self)
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        self._parser = None  # it refers to this object: a cycle
        self.requests.on_lost()
        self.enter(LOST)
        del self.requests  # they refer to this object
        if self.owner.is_closing:
            self.owner.connections.notice_idle()

    def hand_over(self, protocol: asyncio.Protocol) -> None:
        """Give the transport to another protocol; this connection object ends."""
        transport, self.transport = self.transport, None
        assert transport is not None, "else there is nothing to hand over"
        transport.set_protocol(protocol)
        self.owner.connections.handed_over.add(transport)
        self.enter(HANDED_OVER)
        self.connection_lost(None)

    # Back-pressure

    def write(self, wire: bytes) -> None:
        """Write a response, or nothing once the transport is gone."""
        if self.transport is not None:
            self.transport.write(wire)

    async def drained(self) -> None:
        """Wait until the client has received most of what was sent. Raises ConnectionResetError."""
        if self.transport is not None:
            await self._drain_helper()
        if self.transport is None:
            raise ConnectionResetError("the client is gone")

    @override
    def pause_writing(self) -> None:
        """Begin to watch how fast the client receives."""
        super().pause_writing()
        if self.transport is not None:
            self.pace = Pace.IS_BEHIND
            self.owner.connections.watch(self.transport)

    @override
    def resume_writing(self) -> None:
        """Let `drained` return: the client has most of what was sent."""
        super().resume_writing()
        self.pace = Pace.KEEPS_UP

    # Its end

    def cancel(self) -> None:
        """Cancel the request that is under way."""
        if self.state is not LOST:
            self.requests.cancel()

    def cut(self, transport: asyncio.Transport) -> None:
        """Abort the connection, whose client receives nothing."""
        self.pace = Pace.IS_STUCK
        transport.abort()

    def force_close(self) -> None:
        """End the connection as soon as the client has received everything sent."""
        self.ends = True
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.close()
            if transport.get_write_buffer_size():
                self.owner.connections.watch(transport)

    def refuse(self, error: HeadgateError, *, to_head: bool = False) -> None:
        """Respond with the error, and end the connection: later bytes have no meaning.

        A response to a HEAD has no body.
        """
        if self.transport is None:
            return
        services = self.services
        refusal = services.problem(error)
        counts = services.loudest.counted[self.peer, NO_SENDER, NO_STREAM]
        counts[OTHERS] += 1
        counts[REFUSED] += 1
        if self.owner.on_refusal(error, self.peer):
            self.write(services.refusal(refusal, connection="close"))
            self.force_close()
            return
        logged = None
        if services.log.enabled:  # no request was parsed: no method, no path
            logged = LoggedRequest("-", "-", self.peer, None, None)
        exchange = Exchange(services.unrouted, OTHER, None, services.lines.new_request_id, logged)
        request_id = exchange.request_id
        self.write(
            services.refusal(refusal, connection="close", request_id=request_id, to_head=to_head)
        )
        if not isinstance(error, ClientLimitReached | LimitReached):  # which read nothing
            exchange.cache = cache_status.BYPASS
            size = 0 if to_head else len(refusal.body)
            exchange.answered(services.log, refusal.status, "answered", size)
            services.refusals.note(request_id, "", refusal.status, refusal.body, self.peer)
        self.linger()

    def linger(self, *, in_body: bool = False) -> None:
        """Stop sending, and close when the client does, or after LINGER_S or LINGER_BODY_S.

        Whatever the client still sends is dropped. If the socket were closed, the system would
        reset the connection, and the client could lose the response (RFC 9112 section 9.6). While
        connections are short, that is better than to refuse others who come.
        """
        transport = self.transport
        if transport is None or transport.is_closing() or self.state is LINGERING:
            return
        if self.services.limits.is_crowded:
            self.force_close()
            return
        self.enter(LINGERING)
        self.ends = True
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
