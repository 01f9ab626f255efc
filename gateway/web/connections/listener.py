"""Accepts connections, and answers at once a last request whose answer is in the cache.

Such a request says `Connection: close`. It needs neither a transport nor a protocol, which every
other connection is given.

Its answer and the end of the connection are two segments. As one (MSG_MORE) they are no cheaper,
and a client on the same machine, which resets what has ended, waits 10 ms for one connection in a
hundred: 5,000 new connections a second became 20,000 without it.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Protocol

from gateway.telemetry.logs import log
from gateway.web.requests.responses import JOINED_BYTES

BACKLOG = 4096  # a herd of reconnecting viewers comes at once
AT_ONCE = 32  # connections that are taken before others have their turn: 2 ms
READ_BYTES = 4 * 1024
PAUSE_S = 0.5  # when descriptors or memory are used up
_USED_UP = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_Socket = socket.SocketType
_NOT_WAITING = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL


class Receiver(Protocol):
    """The receiver of accepted sockets."""

    def last_answer(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Return the answer that a connection begins and ends with, if it is ready."""

    def enter(self, client: socket.socket, early: bytes, late: bytes) -> None:
        """Make a connection of a socket that has sent `early`, and is still to get `late`."""


class ConnectionListener:
    """The listening sockets of one address."""

    def __init__(self, server: Receiver) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._listeners: list[socket.socket] = []

    async def open(self, host: str, port: int, *, shared: bool = False) -> None:
        """Listen on every address of the host; raises OSError.

        Of processes that share a port the kernel gives each its part of the connections.
        """
        found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for family, _, _, _, address in dict.fromkeys(found):
            listener = socket.create_server(
                address[:2], family=family, backlog=BACKLOG, reuse_port=shared
            )
            listener.setblocking(False)
            self._listeners.append(listener)
            self._watch(listener)

    def close(self) -> None:
        """Let nobody in any more; safe to call twice."""
        for listener in self._listeners:
            self._loop.remove_reader(listener)
            listener.close()
        self._listeners.clear()

    def _watch(self, listener: socket.socket) -> None:
        if listener in self._listeners:
            self._loop.add_reader(listener, self._take, listener)

    def _take(self, listener: socket.socket) -> None:
        """Take all that wait: with one a pass of the loop, some wait while others are served."""
        for _ in range(AT_ONCE):
            if not self._took(listener):
                return

    def _took(self, listener: socket.socket) -> bool:
        """Whether there was a connection, and there may be another one."""
        try:
            number, _ = listener._accept()  # type: ignore[attr-defined]
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _USED_UP:
                return True  # it has ended before it was taken (accept(2))
            log.error("server.accept_failed", reason=error.strerror)
            self._loop.remove_reader(listener)
            self._loop.call_later(PAUSE_S, self._watch, listener)
            return False
        # `accept` would wrap it for purposes that a few microseconds of life do not have.
        client = _Socket(listener.family, socket.SOCK_STREAM, 0, number)
        if not self._welcomed(client):
            # Its request is often a moment behind.
            self._loop.call_soon(self._welcome_again, client)
        return True

    def _welcome_again(self, client: _Socket) -> None:
        if not self._welcomed(client):
            self._enter(client, b"", b"")

    def _welcomed(self, client: _Socket) -> bool:
        """False when the client has not said anything yet."""
        try:
            early = client.recv(READ_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            client.close()
            return True
        answer = self._server.last_answer(early)
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
        self._server.enter(client, early, late)


def _send(client: _Socket, head: bytes, rest: bytes) -> int:
    if len(rest) <= JOINED_BYTES:
        return client.send(head + rest, _NOT_WAITING)
    return client.sendmsg((head, rest), (), _NOT_WAITING)
