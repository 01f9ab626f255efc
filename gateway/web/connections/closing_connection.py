"""The writing side of a client's connection: back-pressure, refusals, and its end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp.base_protocol import BaseProtocol
from typing_extensions import override

from gateway.errors import ClientLimitReached, HeadgateError, LimitReached
from gateway.later import Later
from gateway.protocol.http import cache_status
from gateway.runtime.exchange import Exchange
from gateway.runtime.quotas import peer_of
from gateway.telemetry.access_log import LoggedRequest
from gateway.telemetry.traffic import OTHER
from gateway.web.connections.connection_state import (
    HANDED_OVER,
    IDLE,
    LINGERING,
    TRANSITIONS,
    State,
)

if TYPE_CHECKING:
    from gateway.runtime.context import Context

LINGER_S = 1.0  # for the client to read its last response; it may still send
LINGER_BODY_S = 10.0  # while a body is coming: few clients read before all is sent
LINGER_BYTES = 64 * 1024 * 1024  # dropped meanwhile; that takes a second of processor time


class ClosingConnection(BaseProtocol):
    """A connection that ends without its client losing a response.

    Its writers wait while its client receives more slowly than they write.
    """

    __slots__ = ("_drained", "_ends", "_lingering", "_may_drop", "shared", "state")

    def __init__(self, shared: Context) -> None:
        super().__init__(asyncio.get_running_loop())
        self.shared = shared
        self.state = IDLE
        self._drained: Later[None] | None = None  # done when the client keeps up again
        self._ends = False  # True when no further request is begun
        self._lingering: asyncio.TimerHandle | None = None
        self._may_drop = LINGER_BYTES  # bytes, while it lingers

    def enter(self, state: State) -> None:
        """Change the state to one that TRANSITIONS allows."""
        assert state in TRANSITIONS[self.state], f"{self.state.name} to {state.name}"
        self.state = state

    @property
    def is_handed_over(self) -> bool:
        """True when another protocol has the client's transport."""
        return self.state is HANDED_OVER

    def write(self, wire: bytes) -> None:
        """Write a response, or nothing once the transport is gone."""
        if self.transport is not None:
            self.transport.write(wire)

    async def drained(self) -> None:
        """Wait until the client has received most of it. Raises ConnectionResetError."""
        if self.transport is not None and self.writing_paused:
            if self._drained is None:
                self._drained = Later()
            await self._drained
        if self.transport is None:
            raise ConnectionResetError("the client is gone")

    @override
    def resume_writing(self) -> None:
        """Let `drained` return: the client has received most of what it was sent."""
        super().resume_writing()
        self.resume_drained()

    def resume_drained(self) -> None:
        """Let `drained` return: the client keeps up, or has disconnected."""
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.set_result(None)

    def force_close(self) -> None:
        """End the connection as soon as the client has received what it was sent."""
        self._ends = True
        if self.transport is not None:
            self.transport.close()
            self.transport = None

    def refuse(self, error: HeadgateError, *, to_head: bool = False) -> None:
        """Respond with the error, and end the connection: later bytes have no meaning.

        A response to a HEAD has no body.
        """
        transport = self.transport
        if transport is None:
            return
        shared = self.shared
        refusal = shared.problem(error)
        logged = None
        if shared.log.enabled:  # no request was parsed: no method, no path
            logged = LoggedRequest("-", "-", peer_of(transport), None, None)
        exchange = Exchange(shared.unrouted, OTHER, None, shared.lines.new_request_id, logged)
        request_id = exchange.request_id
        sent = shared.refusal(refusal, connection="close", request_id=request_id, to_head=to_head)
        transport.write(sent)
        if not isinstance(error, ClientLimitReached | LimitReached):  # which read nothing
            exchange.cache = cache_status.BYPASS
            size = 0 if to_head else len(refusal.body)
            exchange.answered(shared.log, refusal.status, size, "answered")
            client = peer_of(transport)
            shared.refusals.note(request_id, "", refusal.status, refusal.body, client)
        self.linger()

    def refuse_at_once(self, error: HeadgateError) -> None:
        """Respond with the error, and close the descriptor as soon as that is sent."""
        self.write(self.shared.refusal(self.shared.problem(error), connection="close"))
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

    def drop(self, size: int) -> None:
        """Count dropped bytes, and end the connection beyond LINGER_BYTES."""
        self._may_drop -= size
        if self._may_drop < 0 and self.state is LINGERING:
            self.force_close()
