"""Accept connections."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING

from headgate_gateway.telemetry.logs import log
from headgate_gateway.web.connections.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headgate_gateway.tls.handshakes import Handshakes
    from headgate_gateway.web.connections.contract import ConnectionAcceptor


BACKLOG = 4096  # viewers that lost a server reconnect all at once
AT_ONCE = 32  # connections accepted in one pass of the loop: 2 ms
FEW_AT_ONCE = 2  # which may be refused, and are gone some twenty passes later
PAUSE_S = 0.5  # without accepting, when descriptors or memory run out
_USED_UP = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class ConnectionListener:
    """The listening sockets of one address, for plain HTTP or, with `handshakes`, for TLS."""

    def __init__(self, server: ConnectionAcceptor, handshakes: Handshakes | None = None) -> None:
        self._server = server
        self._handshakes = handshakes
        self._loop = asyncio.get_running_loop()
        self._listeners: list[socket.socket] = []

    async def open(self, host: str, port: int, *, shared: bool = False) -> None:
        """Listen on every address of the host. Raises OSError.

        With `shared`, the kernel spreads the connections over the processes that share the port.
        """
        found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for family, _, _, _, address in dict.fromkeys(found):
            listener = socket.create_server(
                address[:2], family=family, backlog=BACKLOG, reuse_port=shared
            )
            listener.setblocking(False)
            self.adopt([listener])

    def adopt(self, listeners: Iterable[socket.socket]) -> None:
        """Accept connections from sockets that listen already."""
        for listener in listeners:
            self._listeners.append(listener)
            self._watch(listener)

    def close(self) -> None:
        """Stop accepting connections; safe to call twice."""
        for listener in self._listeners:
            self._loop.remove_reader(listener)
            listener.close()
        self._listeners.clear()

    def _watch(self, listener: socket.socket) -> None:
        if listener in self._listeners:
            self._loop.add_reader(listener, self._accept_waiting, listener)

    def _accept_waiting(self, listener: socket.socket) -> None:
        """Accept several: one per pass would leave some waiting while others are served.

        While connections are short, those that are refused leave before many others come.
        """
        limits, at_once = self._server.services.limits, AT_ONCE
        if limits.files is not None:
            free = limits.free_connections - self._server.connections.connecting
            at_once = max(FEW_AT_ONCE, min(AT_ONCE, free))
        for _ in range(at_once):
            if not self._accept(listener):
                return

    def _accept(self, listener: socket.socket) -> bool:
        """Accept a connection; return whether there was one, and there may be more."""
        try:
            client, _ = listener.accept()
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _USED_UP:
                return True  # the client reset it before it was accepted (accept(2))
            log.error("server.accept_failed", reason=error.strerror)
            self._loop.remove_reader(listener)
            self._loop.call_later(PAUSE_S, self._watch, listener)
            return False
        client.setblocking(False)
        self._server.connections.enter(Connection(self._server), client, self._handshakes)
        return True
