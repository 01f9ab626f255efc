"""HTTP/1.1 over a plain socket, so that a test decides on every byte that is sent."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

TIMEOUT_S = 20.0
"""Long enough for a busy machine; a test that waits this long has failed."""


class ConnectionEnded(Exception):
    """The server closed the connection before the answer was whole; `received` is what came."""

    def __init__(self, received: bytes) -> None:
        super().__init__(f"connection ended after {received[:200]!r}")
        self.received = received


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole response. Header names are lower case; a repeated one is joined by commas."""

    version: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def next_offset(self) -> str:
        return self.headers["stream-next-offset"]

    def json(self) -> Any:
        return json.loads(self.body)

    def assert_problem(self, status: int, *words: str) -> None:
        """It is an error document of this status whose detail has the words."""
        assert self.status == status, self
        assert self.headers["content-type"] == "application/problem+json", self
        problem = self.json()
        assert problem["status"] == status, self
        assert problem["title"], self
        assert problem["detail"], self
        for word in words:
            assert word in problem["detail"], self


class Wire:
    """One connection; requests go out as given, answers are read one at a time."""

    def __init__(self, port: int, timeout_s: float = TIMEOUT_S) -> None:
        self.port = port
        self.socket = socket.create_connection(("127.0.0.1", port), timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.unread = b""

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """Send one well-formed request (`content_type=` for Content-Type) and read its answer."""
        self.send(request(method, path, body, **headers))
        return self.answer(method)

    def answer(self, method: str = "GET") -> Answer:
        """The next answer; `method` tells whether it can have a body."""
        head = self._until(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")
        version, status, *_ = status_line.split(" ", 2)
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            name, value = name.lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        has_body = method != "HEAD" and status not in {"100", "204", "304"}
        body = self._body(headers) if has_body else b""
        return Answer(version, int(status), headers, body)

    def remaining(self) -> list[Answer]:
        """Every answer that comes before the server closes; times out when it does not close."""
        answers: list[Answer] = []
        while self._has_more():
            answers.append(self.answer())
        return answers

    def finish(self) -> None:
        """Send no more; what was sent stands, and answers may still come."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Break the connection as a crashed client does."""
        linger = struct.pack("ii", 1, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.socket.close()

    def is_ended(self) -> bool:
        """Wait for the server to close; False when it sends something or stays open instead."""
        try:
            return not self.unread and not self.socket.recv(1)
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False

    def _body(self, headers: Mapping[str, str]) -> bytes:
        if "chunked" in headers.get("transfer-encoding", ""):
            return b"".join(self._chunks())
        if "content-length" in headers:
            return self._exactly(int(headers["content-length"]))
        return self._rest()

    def _chunks(self) -> list[bytes]:
        chunks: list[bytes] = []
        while size := int(self._until(b"\r\n").split(b";")[0], 16):
            chunks.append(self._exactly(size))
            assert self._exactly(2) == b"\r\n", "a chunk does not end where its size says"
        assert self._until(b"\r\n") == b"", "trailers after the last chunk"
        return chunks

    def _until(self, mark: bytes) -> bytes:
        while mark not in self.unread:
            self._receive()
        found, _, self.unread = self.unread.partition(mark)
        return found

    def _exactly(self, size: int) -> bytes:
        while len(self.unread) < size:
            self._receive()
        found, self.unread = self.unread[:size], self.unread[size:]
        return found

    def _rest(self) -> bytes:
        with contextlib.suppress(ConnectionEnded):
            while True:
                self._receive()
        found, self.unread = self.unread, b""
        return found

    def _has_more(self) -> bool:
        with contextlib.suppress(ConnectionEnded):
            if not self.unread:
                self._receive()
            return True
        return False

    def _receive(self) -> None:
        try:
            data = self.socket.recv(1 << 18)
        except ConnectionResetError:
            data = b""
        if not data:
            raise ConnectionEnded(self.unread)
        self.unread += data


def request(method: str, path: str, body: bytes | None = None, **headers: str) -> bytes:
    """The bytes of one well-formed request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def ask(port: int, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
    """One request on a connection of its own."""
    with Wire(port) as wire:
        return wire.request(method, path, body, **headers)
