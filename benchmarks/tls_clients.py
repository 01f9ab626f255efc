"""Clients of the benchmarks of TLS: `python -m benchmarks.tls_clients KIND PORT PID SECONDS [CA]`.

Without CA they speak plain HTTP. They print one line of JSON. `reads` asks again and again on kept
connections, and `hold` keeps event readers: both print `ready`, and go on when stdin says so.
`handshakes` opens connections one after the other, on several threads, as fast as the server takes
them. `delays` follows a stream by events, appends to it, and says how late each event came.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import statistics
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = "127.0.0.1"
CONNECTIONS = 64
READERS = 1000
THREADS = 4
PAUSE_S = 0.02  # between two appends
PATH = "/v1/stream/doc?offset=-1"
LIVE = "/v1/stream/live"


class Dialler:
    """Connect to a server, by TLS if there is the file of an authority."""

    def __init__(self, port: int, pid: int, authority: str) -> None:
        self._port = port
        self.pid = pid  # of the server
        self._context = ssl.create_default_context(cafile=authority) if authority else None

    def connect(self) -> socket.socket:
        """Return a connection, its handshake done."""
        plain = socket.create_connection((HERE, self._port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is None:
            return plain
        return self._context.wrap_socket(plain, server_hostname=HERE)


def request(method: str, path: str, body: bytes = b"") -> bytes:
    """Return a request."""
    head = f"{method} {path} HTTP/1.1\r\nHost: {HERE}\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Content-Type: text/plain\r\n\r\n".encode() + body


def receive(connection: socket.socket) -> bytes:
    """Receive something. Raises SystemExit at the end of the connection."""
    data = connection.recv(65536)
    if not data:
        raise SystemExit("the server has ended a connection")
    return data


def receive_until(connection: socket.socket, mark: bytes) -> bytes:
    """Receive until these bytes are among what came; return all of it."""
    received = receive(connection)
    while mark not in received:
        received += receive(connection)
    return received


def wait_for_go() -> None:
    """Say that all connections are there, and wait until stdin says or ends."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()


def answer(connection: socket.socket) -> int:
    """Read one response; return the length of its body. Raises SystemExit for an error."""
    head, _, body = receive_until(connection, b"\r\n\r\n").partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 2"):
        raise SystemExit(f"a wrong answer: {head[:200]!r}")
    found = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    length = int(found[0].partition(b":")[2]) if found else 0
    missing = length - len(body)
    while missing > 0:
        missing -= len(receive(connection))
    return length


def reads(dialler: Dialler, seconds: float) -> dict[str, float]:
    """Read over CONNECTIONS. The server is stopped while all of them send their requests.

    So it finds as many waiting as a busy server does, whatever the speed of these clients.
    """
    connections = [dialler.connect() for _ in range(CONNECTIONS)]
    asked, count = request("GET", PATH), 0
    wait_for_go()
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        os.kill(dialler.pid, signal.SIGSTOP)
        try:
            for connection in connections:
                connection.sendall(asked)
        finally:
            os.kill(dialler.pid, signal.SIGCONT)
        for connection in connections:
            answer(connection)
        count += CONNECTIONS
    return {"count": count, "per_s": count / (time.perf_counter() - began)}


def hold(dialler: Dialler, _seconds: float) -> dict[str, float]:
    """Keep READERS event readers until stdin ends."""
    followed = request("GET", f"{LIVE}?offset=now&live=sse")
    connections = []
    for _ in range(READERS):
        connections.append(connection := dialler.connect())
        connection.sendall(followed)
        receive_until(connection, b"control")
    wait_for_go()
    return {"count": len(connections)}


def handshakes(dialler: Dialler, seconds: float) -> dict[str, float]:
    """Open connections and close them, on what is left of the core by those who measure."""
    os.nice(19)
    counts = [0] * THREADS
    began = time.perf_counter()

    def open_and_close(number: int) -> None:
        while time.perf_counter() - began < seconds:
            dialler.connect().close()
            counts[number] += 1

    threads = [threading.Thread(target=open_and_close, args=(it,)) for it in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"count": sum(counts), "per_s": sum(counts) / (time.perf_counter() - began)}


def delays(dialler: Dialler, seconds: float) -> dict[str, float]:
    """Append a message now and then; return how late a reader has its event."""
    reader, writer = dialler.connect(), dialler.connect()
    reader.sendall(request("GET", f"{LIVE}?offset=now&live=sse"))
    receive_until(reader, b"control")
    late, began, number = list[float](), time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        mark = f"message-{number:06}".encode()
        sent = time.perf_counter()
        writer.sendall(request("POST", LIVE, mark))
        receive_until(reader, mark)
        late.append((time.perf_counter() - sent) * 1000)
        answer(writer)
        number += 1
        time.sleep(PAUSE_S)
    late.sort()
    p99 = late[len(late) * 99 // 100]
    return {"count": number, "p50_ms": statistics.median(late), "p99_ms": p99, "max_ms": late[-1]}


KINDS: dict[str, Callable[[Dialler, float], dict[str, float]]] = {
    "reads": reads,
    "hold": hold,
    "handshakes": handshakes,
    "delays": delays,
}


def main() -> None:
    """Run one kind of clients."""
    kind, port, pid, seconds, *authority = sys.argv[1:]
    dialler = Dialler(int(port), int(pid), authority[0] if authority else "")
    sys.stdout.write(json.dumps(KINDS[kind](dialler, float(seconds))))


if __name__ == "__main__":
    main()
