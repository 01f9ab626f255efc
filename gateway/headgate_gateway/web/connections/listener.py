"""Accept connections, and answer cached reads that end their connection at once.

Such a read says `Connection: close`. It is answered without a transport and a protocol, which every
other connection gets.

The response and the FIN are two segments. Sent as one (MSG_MORE) they are no cheaper, and a client
on the same machine waits 10 ms for one connection in a hundred: 20,000 new connections a second
without it, 5,000 with it.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING

from headgate_gateway.protocol.http.client_address import FRONT
from headgate_gateway.telemetry.logs import log
from headgate_gateway.web.connections.connection import Connection
from headgate_gateway.web.requests.responses import JOINED_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headgate_gateway.tls.handshakes import Handshakes
    from headgate_gateway.web.connections.contract import ConnectionAcceptor


BACKLOG = 4096  # viewers that lost a server reconnect all at once
AT_ONCE = 32  # connections accepted in one pass of the loop: 2 ms
FEW_AT_ONCE = 2  # which may be refused, and are gone some twenty passes later
READ_BYTES = 4 * 1024
PAUSE_S = 0.5  # without accepting, when descriptors or memory run out
_USED_UP = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_Socket = socket.SocketType
_NOT_WAITING = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL


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
            number, address = listener._accept()  # type: ignore[attr-defined]
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _USED_UP:
                return True  # the client reset it before it was accepted (accept(2))
            log.error("server.accept_failed", reason=error.strerror)
            self._loop.remove_reader(listener)
            self._loop.call_later(PAUSE_S, self._watch, listener)
            return False
        # `accept` would make a socket.socket, which costs more and is closed at once mostly.
        client = _Socket(listener.family, socket.SOCK_STREAM, 0, number)
        if self._handshakes is not None:
            self._enter(client, b"", b"")
        else:
            peer = address[0] if address else FRONT
            if not self._answer_or_enter(client, peer):
                # The request often comes a moment after the connection.
                self._loop.call_soon(self._try_again, client, peer)
        return True

    def _try_again(self, client: _Socket, peer: str) -> None:
        if not self._answer_or_enter(client, peer):
            self._enter(client, b"", b"")

    def _answer_or_enter(self, client: _Socket, peer: str) -> bool:
        """Answer or enter a connection; return False if nothing was received yet."""
        try:
            early = client.recv(READ_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            client.close()
            return True
        answer = self._server.last_answer(early, peer)
        if answer is None:
            self._enter(client, early, b"")
            return True
        try:
            sent = _send(client, *answer)
        except OSError:
            client.close()
            return True
        if sent == len(answer[0]) + len(answer[1]):
            client.close()
        else:
            self._enter(client, b"", b"".join(answer)[sent:])
        return True

    def _enter(self, newcomer: _Socket, early: bytes, late: bytes) -> None:
        client = socket.socket(fileno=newcomer.detach())
        client.setblocking(False)
        connection = Connection(self._server, early, late)
        self._server.connections.enter(connection, client, self._handshakes)


def _send(client: _Socket, head: bytes, rest: bytes) -> int:
    if len(rest) <= JOINED_BYTES:
        return client.send(head + rest, _NOT_WAITING)
    return client.sendmsg((head, rest), (), _NOT_WAITING)
