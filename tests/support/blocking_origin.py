"""The scripted origin of tests without a loop: a thread for each connection.

It takes the next request of a connection before the last one is answered, it can leave and come
back, and answers may be given by hand. For all else there is `tests.support.raw_origin`.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from typing import TYPE_CHECKING

from tests.support.http1 import TIMEOUT_S
from tests.support.ports import free_port
from tests.support.raw_origin import answer
from tests.support.resets import reset_on_close

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO, Self


class Exchange:
    """One request as it arrived, and the connection to answer it on."""

    def __init__(
        self, connection: socket.socket, head: bytes, body: bytes, *, is_first: bool
    ) -> None:
        self._connection = connection
        self.is_first = is_first  # on its connection
        self.head = head
        self.body = body
        line = head.split(b"\r\n", 1)[0].decode("latin-1")
        self.method, self.target, _ = line.split(" ")
        self.fields = _fields(head)

    def __repr__(self) -> str:
        return f"Exchange({self.method} {self.target})"

    def field(self, name: str) -> str | None:
        """The only value of a header; two of one name are a fault of whoever sent them."""
        values = [value for found, value in self.fields if found == name]
        assert len(values) <= 1, (name, values)
        return values[0] if values else None

    def send(self, *parts: bytes) -> None:
        """Bytes as they are; the other side may have gone."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for part in parts:
                self._connection.sendall(part)

    def answer(self, body: bytes = b"", *fields: str, status: str = "200 OK") -> None:
        """A well-formed answer."""
        self.send(answer(body, *fields, status=status))

    def close(self) -> None:
        """End the connection in an orderly way."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def reset(self) -> None:
        """End the connection as a crash does."""
        with contextlib.suppress(OSError):
            reset_on_close(self._connection)
            # A blocked read of ours would keep the socket open beyond its closing.
            self._connection.shutdown(socket.SHUT_RD)
        self._connection.close()


class BlockingOrigin:
    """Listens on a loopback port. Requests are played by `play` on their arrival, or wait for
    `next`.
    """

    def __init__(self, play: Callable[[Exchange], None] | None = None) -> None:
        self.play = play
        self.seen: list[Exchange] = []
        self.connections = 0
        self._waiting: queue.SimpleQueue[Exchange] = queue.SimpleQueue()
        self._open: dict[socket.socket, threading.Thread] = {}
        self._lock = threading.Lock()
        self.port = free_port()
        self.come_back()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def come_back(self) -> None:
        """Listen, on the same port as ever."""
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=1024)
        self.port = self._listener.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def leave(self) -> None:
        """End every connection and take no more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def next(self, timeout_s: float = TIMEOUT_S) -> Exchange:
        """The next request that waits to be played; fails when none comes."""
        try:
            return self._waiting.get(timeout=timeout_s)
        except queue.Empty:
            raise AssertionError("no request came to the origin") from None

    def reset(self) -> None:
        """Play nothing, and forget who waits."""
        self.play = None
        self._waiting = queue.SimpleQueue()

    def paths(self) -> list[str]:
        """What was asked so far, each as "METHOD target"."""
        return [f"{one.method} {one.target}" for one in self.seen]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            serving = [*self._open.values()]
        self.leave()
        for thread in serving:
            thread.join()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.connections += 1
                serving = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                with self._lock:
                    self._open[connection] = serving
                serving.start()

    def _serve(self, connection: socket.socket) -> None:
        """Take requests for as long as they come, without waiting for their answers."""
        is_first = True
        with contextlib.suppress(OSError), connection.makefile("rb") as incoming:
            while (head := _head(incoming)) and (body := _body(head, incoming)) is not None:
                exchange = Exchange(connection, head, body, is_first=is_first)
                is_first = False
                self.seen.append(exchange)
                if self.play is None:
                    self._waiting.put(exchange)
                else:
                    self.play(exchange)
        with self._lock:
            del self._open[connection]
        connection.close()


def _head(incoming: BinaryIO) -> bytes:
    """Up to the empty line; nothing when the other side has ended the connection."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = incoming.readline()
        if not line:
            return b""
        head += line
    return head.removesuffix(b"\r\n\r\n")


def _fields(head: bytes) -> list[tuple[str, str]]:
    _, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.split(":", 1) for line in lines)
    return [(name.lower(), value.strip()) for name, value in pairs]


def _body(head: bytes, incoming: BinaryIO) -> bytes | None:
    """None when the other side ended the connection before the body was whole."""
    fields = dict(_fields(head))
    if "transfer-encoding" not in fields:
        length = int(fields.get("content-length", 0))
        body = incoming.read(length)
        return body if len(body) == length else None
    parts: list[bytes] = []
    while line := incoming.readline():
        size = int(line, 16)
        part = incoming.read(size + 2)
        if not size:
            return b"".join(parts) if part == b"\r\n" else None
        parts.append(part[:-2])
    return None
