"""A proxy to a Redis server that swallows published messages."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PUBLISHED = b"$7\r\nmessage\r\n"


@contextlib.contextmanager
def without_messages(port: int) -> Iterator[int]:
    """Run a proxy to a server on this machine that swallows messages, and give its port."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", port)) as server:
                up = threading.Thread(target=_copy, args=(self.request, server), daemon=True)
                up.start()
                _copy(server, self.request)
                up.join()

    class Proxy(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 64

    with Proxy(("127.0.0.1", 0), Handler) as proxy:
        serving = threading.Thread(target=proxy.serve_forever, daemon=True)
        serving.start()
        yield proxy.server_address[1]
        proxy.shutdown()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            if _PUBLISHED not in data:
                sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
