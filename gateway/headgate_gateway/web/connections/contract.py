"""The open connections of a listener, and what they use of their server and its handlers."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Protocol

from headgate_gateway.web.connections.unsent import SWEEP_S, UnsentWatches

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from headgate_gateway.errors import HeadgateError
    from headgate_gateway.routes.services import Services
    from headgate_gateway.tls.handshakes import Handshakes
    from headgate_gateway.web.connections.fast_path import FastPath
    from headgate_gateway.web.requests.request import Request
    from headgate_gateway.web.requests.responses import WireResponse


class RequestHandlers(Protocol):
    """The handlers of requests; only they look into the outcomes that they return."""

    def handle(self, request: Request, /) -> Any:  # noqa: ANN401 - an outcome, or what a Step waits for
        """Return the outcome of a request, a Later of it, or a coroutine. May raise any error."""

    def answer(self, request: Request, outcome: Any, /) -> WireResponse | None:  # noqa: ANN401 - of `handle`
        """Return the reply for an outcome of `handle`; None after a hand-over."""

    def refuse(self, request: Request, error: BaseException, /) -> WireResponse | None:
        """Return the reply for an error of `handle`; None if there is none to send."""


class ConnectionAcceptor(Protocol):
    """The server that accepts connections, and what its connections use of it."""

    services: Services
    connections: Connections
    keepalive_s: float
    is_closing: bool  # True if each response is the last of its connection

    @property
    def fast(self) -> FastPath | None:
        """The memory of parsed requests; None if every request has a handler."""

    @property
    def handlers(self) -> RequestHandlers:
        """The handlers of the requests; others after a reload."""

    def requests_of(self, connection: Any) -> Any:  # noqa: ANN401 - ConnectionRequests of a Connection, which are above
        """Return the requests of a new connection."""

    def on_refusal(self, error: HeadgateError, client: str | None) -> bool:
        """Take note of a connection or request that is refused without a handler.

        Return whether to close the connection without waiting for its client.
        """


class Connections:
    """The open connections of one listener, and the timer that checks them for slow clients.

    `handed_over` has the transports of SSE readers, which are watched, too.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._loop = asyncio.get_running_loop()
        self._open: set[Any] = set()  # of a Connection, which is above
        self._connecting: set[asyncio.Task[None]] = set()
        self._sweep = self._loop.call_later(SWEEP_S, self._sweep_slow)
        self._unsent = UnsentWatches(services.timeouts, self._transports)
        self.handed_over: set[asyncio.Transport] = set()
        self._idle = asyncio.Event()

    def __iter__(self) -> Iterator[Any]:
        return iter(tuple(self._open))

    def __len__(self) -> int:
        return len(self._open)

    @property
    def connecting(self) -> int:
        """The number of connections that are accepted, and not open yet."""
        return len(self._connecting)

    def add(self, connection: object) -> None:
        """Count a connection as open."""
        self._open.add(connection)

    def discard(self, connection: object) -> None:
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
            connection.ends = True
            if connection.is_idle:
                connection.force_close()
        for is_last in (False, True):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await self.all_idle()
            for connection in self:
                if is_last:
                    connection.force_close()
                else:
                    connection.cancel()

    def watch(self, transport: asyncio.Transport) -> None:
        """Watch a connection until its client has received what was written to it."""
        self._unsent.add(transport, self._loop.time())

    def _transports(self) -> list[asyncio.Transport]:
        found = [one.transport for one in self._open if one.transport is not None]
        return [*found, *self.handed_over]

    def stop_sweeping(self) -> None:
        """Cancel the timer."""
        self._sweep.cancel()

    def enter(
        self,
        connection: Any,  # noqa: ANN401 - a Connection, which is above
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

    def _reserve_slot(
        self,
        connection: Any,  # noqa: ANN401 - as above
        client: socket.socket,
    ) -> bool:
        """Count the connection before its handshake; return False if a limit forbids that."""
        try:
            peer = client.getpeername()[0]
        except OSError:  # the client has disconnected
            return False
        counts_as = self._services.quotas.address_connects_as(peer)
        if self._services.limits.connection_made(counts_as) is not None:
            self._services.limits.connection_lost(None)
            return False
        connection.slot = (counts_as,)
        return True

    async def _connect(
        self,
        connection: Any,  # noqa: ANN401 - a Connection, which is above
        client: socket.socket,
        handshakes: Handshakes | None,
    ) -> None:
        try:
            if handshakes is None:
                await self._loop.connect_accepted_socket(lambda: connection, client)
            else:
                timeout_s = self._services.timeouts.header
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
        refused = self._services.limits.refused
        self._services.loudest.look_if_due()
        for connection in self:
            exceeded = connection.end_if_slow(now)
            if exceeded is not None:
                refused[exceeded] += 1
        for transport in self._unsent.stuck(now):
            protocol: Any = transport.get_protocol()
            protocol.cut(transport)
            refused["body_timeout"] += 1
