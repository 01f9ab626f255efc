"""Start a connection on each accepted socket, and close the connections of slow clients.

The stream listener and the admin listener have one `SocketAcceptor` each.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket

    from gateway.runtime.context import Context
    from gateway.tls.handshakes import Handshakes
    from gateway.web.connections.wire import Connections, Wire

SWEEP_S = 0.5  # a slow client is noticed this much late at most


class SocketAcceptor:
    """The accepted sockets of one listener, and the timer that checks its connections."""

    def __init__(self, shared: Context, connections: Connections[Any]) -> None:
        self._shared = shared
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._connecting: set[asyncio.Task[None]] = set()
        self._sweep = self._loop.call_later(SWEEP_S, self._sweep_slow)

    def enter(
        self,
        connection: Wire,
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

    def _reserve_slot(self, connection: Wire, client: socket.socket) -> bool:
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
        connection: Wire,
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
            exceeded = connection.end_if_slow(now)
            if exceeded is not None:
                refused[exceeded] += 1
