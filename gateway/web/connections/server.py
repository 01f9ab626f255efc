"""The server of all client connections of a process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.web.connections.bare_transport import BareTransport, Descriptors
from gateway.web.connections.connection import Connection
from gateway.web.connections.listener import SocketAcceptor
from gateway.web.connections.wire import Connections

if TYPE_CHECKING:
    import socket
    from collections.abc import Collection

    from gateway.runtime.context import Context
    from gateway.telemetry.traffic import Traffic
    from gateway.tls.handshakes import Handshakes
    from gateway.web.connections.fast_path import FastPath
    from gateway.web.connections.wire import RequestHandlers


LOOK_S = 0.05  # between two looks at the requests that a reload waits for


class ConnectionServer:
    """A server whose connections share handlers, fast path, limits and descriptors."""

    def __init__(
        self,
        handlers: RequestHandlers,
        fast: FastPath,
        shared: Context,
        keepalive_s: float,
    ) -> None:
        self.handlers = handlers
        self.fast = fast
        self.shared = shared
        self.keepalive_s = keepalive_s
        self.descriptors = Descriptors(asyncio.get_running_loop())
        self.connections: Connections[Connection] = Connections()
        self._entrance = SocketAcceptor(shared, self.connections)

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
        if self.shared.journal is not None:
            self.shared.journal.catch_up()
        known = self.fast.known(data)
        if known is None or not known[0].is_last:
            return None
        if self.shared.log.enabled or self.shared.bans.in_force:
            return None  # a log line and a ban name the client, which only a connection knows
        if self.shared.tracer is not None:
            return None  # and so does a span
        limits = self.shared.limits
        if limits.connections >= limits.max_connections:
            return None
        get, own = known
        answer = self.fast.cached_response(get, own=own)
        return None if answer is None else answer[1:3]

    def __call__(self, early: bytes = b"", late: bytes = b"") -> Connection:
        """Return the protocol of a new connection."""
        return Connection(self, early, late)

    def reader_lost(self, transport: asyncio.Transport) -> None:
        """Count down the connection of an SSE reader that is gone."""
        self.shared.limits.connection_lost(self.shared.quotas.connects_as(transport))

    def resume_http(self, transport: asyncio.Transport) -> bool:
        """Serve HTTP again on a connection whose SSE response is over; False with bytes unsent."""
        if self.shared.closing or transport.is_closing():
            transport.close()
            return True
        counts_as = self.shared.quotas.connects_as(transport)
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
            self.shared.limits.connection_lost(counts_as)
            if client is not None:
                client.close()
            raise
        transport.set_write_buffer_limits()
        transport.set_protocol(connection)
        connection.connection_made(transport)
        return True

    def enter(
        self,
        client: socket.socket,
        early: bytes = b"",
        late: bytes = b"",
        handshakes: Handshakes | None = None,
    ) -> None:
        """Give a connection its transport and protocol."""
        self._entrance.enter(self(early, late), client, handshakes)

    def stop_sweeping(self) -> None:
        """Cancel the timer, and abort the connections of SSE readers."""
        self._entrance.close()
        self.descriptors.close()
