"""The writing side of a client's connection: its states, back-pressure, refusals, and its end."""

from __future__ import annotations

import asyncio
import contextlib
from enum import IntEnum
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from aiohttp.base_protocol import BaseProtocol
from typing_extensions import override

from gateway.errors import ClientLimitReached, HeadgateError, LimitReached
from gateway.later import Later
from gateway.protocol.http import cache_status
from gateway.runtime.exchange import Exchange
from gateway.runtime.quotas import peer_of
from gateway.telemetry.access_log import LoggedRequest
from gateway.telemetry.traffic import OTHER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.runtime.context import Context


class State(IntEnum):
    """The state of a connection: IDLE at first, LOST at the end. Numbers are cheap to look up."""

    IDLE = 0  # no request waits for its response
    TAKEN = 1  # one request is under way; what the client sends after it is held
    # One request is under way; what comes after it is dropped, because it is no HTTP or because it
    # follows a chunked body.
    DEAF = 2
    HANDED_OVER = 3  # an SSE reader has the transport
    LINGERING = 4  # the last response is written; what still comes is dropped
    LOST = 5  # the transport is gone


# Module constants: in Python 3.11 looking a member up in its class costs as much as a call.
IDLE, TAKEN, DEAF, HANDED_OVER, LINGERING, LOST = State

TRANSITIONS: dict[State, tuple[State, ...]] = {
    IDLE: (TAKEN, LINGERING, LOST),
    TAKEN: (IDLE, DEAF, HANDED_OVER, LINGERING, LOST),
    DEAF: (HANDED_OVER, LINGERING, LOST),
    HANDED_OVER: (LOST,),
    LINGERING: (LOST,),
    LOST: (),
}


class OpenConnection(Protocol):
    """An open connection, as closing all of them uses it."""

    @property
    def is_idle(self) -> bool:
        """True when no request is under way."""

    @property
    def awaits_first_request(self) -> bool:
        """True while no request has begun since the connection was accepted."""

    def end_when_idle(self) -> None:
        """End the connection, after its request if one is under way."""

    def cancel_request(self) -> None:
        """Cancel the request that is under way."""

    def force_close(self) -> None:
        """End the connection as soon as the client has received what it was sent."""


C = TypeVar("C", bound=OpenConnection)


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
                    connection.cancel_request()


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
