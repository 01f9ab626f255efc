"""A client's connection within the bounds of its listener, and how slow ones are closed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.errors import ClientLimitReached
from gateway.later import turn
from gateway.runtime.quotas import peer_of
from gateway.web.connections.incoming import IncomingConnection
from gateway.web.connections.wire import IDLE, LOST

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable

    from gateway.runtime.context import Context, Timeouts
    from gateway.tls.handshakes import Handshakes
    from gateway.web.connections.http_connection import Owner


class UnsentWatch:
    """The watch on a connection with unsent bytes, from `now` on (loop time)."""

    def __init__(self, transport: asyncio.Transport, timeouts: Timeouts, now: float) -> None:
        self._transport = transport
        self._timeouts = timeouts
        self._size = transport.get_write_buffer_size()
        self._until = now + timeouts.body

    def cut_if_stuck(self, now: float) -> bool:
        """Abort the connection if its client is slower than body_rate; return whether it was."""
        if now < self._until:
            return False
        size = self._transport.get_write_buffer_size()
        least = max(1, int(self._timeouts.body_rate * self._timeouts.body))
        if size and size > self._size - least:
            self._transport.abort()
            return True
        self._size, self._until = size, now + self._timeouts.body
        return False


class BoundedConnection(IncomingConnection):
    """A connection that counts among its listener's, and is cut when its client stalls."""

    __slots__ = ("_client", "_counts", "_early", "_late", "_unsent", "peer")

    def __init__(self, owner: Owner, early: bytes = b"", late: bytes = b"") -> None:
        """Parse `early` bytes, received before; or send the `late` answer and end."""
        super().__init__(owner)
        self._early, self._late = early, late
        self.peer: str | None = None  # the address of the client, as `peer_of` has it
        self._client: str | None = None  # the client that the connection counts for
        self._counts = False  # True while it has a place among the listener's connections
        self._unsent: UnsentWatch | None = None  # the watch on a client that does not keep up

    @override
    def open(self, transport: asyncio.BaseTransport) -> None:
        """Refuse a connection beyond the limit with an answer that says so."""
        super().open(transport)
        self.release_slot()
        peer = self.peer = peer_of(transport)
        client = None if peer is None else self.shared.quotas.address_connects_as(peer)
        refusal = self.shared.limits.connection_made(client)
        self._counts = True
        self._client = client if refusal is None else None
        if self._idle_until is None:  # else it rests between two requests
            self._deadline = self._loop.time() + self.shared.timeouts.header
        if self._late:
            self.write(self._late)
            self.force_close()
        elif isinstance(refusal, ClientLimitReached):
            # While it lingered it would count, and one client could crowd out the others.
            self.refuse_at_once(refusal)
        elif refusal is not None:
            self.refuse(refusal)
        elif self._early:
            self.data_received(self._early)
        self._early = self._late = b""

    def is_idle_for_long(self, now: float) -> bool:
        """Return whether the connection has been idle for longer than keepalive_s."""
        return self.state is IDLE and self._idle_until is not None and now >= self._idle_until

    def keep_slot(self, client: str | None) -> None:
        """Keep the connection slot of `client` while another protocol has the socket."""
        self._counts, self._client = True, client

    def release_slot(self) -> None:
        """Stop counting as a connection."""
        if self._counts:
            self._counts = False
            self.shared.limits.connection_lost(self._client)

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        """Give the connection's place back before anything else, which might raise."""
        if self.state is LOST:  # uvloop may report a handed-over transport's end
            return
        if self.is_handed_over:
            self._counts = False  # its new protocol counts it down
        self.release_slot()
        self.forget_waiting()
        super().connection_lost(exc)
        self.enter(LOST)
        if self.shared.closing:
            self.owner.connections.notice_idle()

    def forget_waiting(self) -> None:
        """Forget a waiting request that has no aiohttp task."""

    @override
    def pause_writing(self) -> None:
        """Begin to watch how fast the client receives what it is sent."""
        super().pause_writing()
        if self.transport is not None:
            self._unsent = UnsentWatch(self.transport, self.shared.timeouts, self._loop.time())

    @override
    def resume_writing(self) -> None:
        """Stop watching: the client has received most of what it was sent."""
        super().resume_writing()
        if self.transport is not None:  # without one it ends after the last byte
            self._unsent = None

    @override
    def force_close(self) -> None:
        """End the connection as soon as the client has received what it was sent."""
        transport = self.transport
        super().force_close()
        if transport is not None and transport.get_write_buffer_size() and self._unsent is None:
            self._unsent = UnsentWatch(transport, self.shared.timeouts, self._loop.time())

    def cut_if_stuck(self, now: float) -> bool:
        """End the connection if its client receives nothing, and return whether that was done."""
        return self._unsent is not None and self._unsent.cut_if_stuck(now)

    @override
    def go_on(self) -> None:
        """Go on with what the client has sent since the last request."""
        transport = self.transport
        if transport is None:
            return
        if self._has_behind:
            # A handler takes as long as many answers from memory. So other connections have their
            # turn before the rest of what was received with this request.
            turn.add_behind(self)
            return
        self.rest()
        if self._held:
            self.parse_held()
        if (self.shared.closing or self.has_fin) and self.is_idle:
            transport.close()
            self.owner.connections.notice_idle()


SWEEP_S = 0.5  # a slow client is noticed this much late at most


class SocketAcceptor:
    """The accepted sockets of one listener, and the timer that checks its connections."""

    def __init__(self, shared: Context, connections: Iterable[object]) -> None:
        """Check by a timer the BoundedConnections among `connections`."""
        self._shared = shared
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._connecting: set[asyncio.Task[None]] = set()
        self._sweep = self._loop.call_later(SWEEP_S, self._sweep_slow)

    def enter(
        self,
        connection: BoundedConnection,
        client: socket.socket,
        handshakes: Handshakes | None = None,
    ) -> None:
        """Connect `connection` to the socket, after a TLS handshake if there are `handshakes`.

        During its handshake it counts as a connection. Beyond the limit the socket is closed: an
        answer would cost the handshake that the limit is there to save.
        """
        if handshakes is not None and not self._reserve_slot(connection, client):
            client.close()
            return
        task = self._loop.create_task(self._connect(connection, client, handshakes))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    def close(self) -> None:
        """Cancel the timer."""
        self._sweep.cancel()

    def _reserve_slot(self, connection: BoundedConnection, client: socket.socket) -> bool:
        """Count the connection before its handshake; return False if a limit forbids that."""
        try:
            peer = client.getpeername()[0]
        except OSError:  # the client has disconnected
            return False
        counts_as = self._shared.quotas.address_connects_as(peer)
        if self._shared.limits.connection_made(counts_as) is not None:
            self._shared.limits.connection_lost(None)
            return False
        connection.keep_slot(counts_as)
        return True

    async def _connect(
        self,
        connection: BoundedConnection,
        client: socket.socket,
        handshakes: Handshakes | None,
    ) -> None:
        try:
            if handshakes is None:
                await self._loop.connect_accepted_socket(lambda: connection, client)
            else:
                timeout_s = self._shared.timeouts.header
                await handshakes.connect(connection, client, timeout_s)
        except BaseException as error:
            connection.release_slot()
            client.close()
            if not isinstance(error, OSError):
                raise

    def _sweep_slow(self) -> None:
        """Close the connections of slow clients, and schedule the next sweep first."""
        self._sweep = self._loop.call_later(SWEEP_S, self._sweep_slow)
        now = self._loop.time()
        refused = self._shared.limits.refused
        for connection in self._connections:
            if not isinstance(connection, BoundedConnection):
                continue
            if connection.is_too_slow(now):
                refused["header_timeout"] += 1
                connection.force_close()
            elif connection.cut_if_stuck(now):
                refused["body_timeout"] += 1
            elif connection.is_idle_for_long(now):
                connection.force_close()
