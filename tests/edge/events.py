"""A reader of server-sent events on a plain connection."""

from __future__ import annotations

import json
from typing import Any, Self

from tests.support.http1 import Wire


class Events(Wire):
    """An SSE answer, event by event; what comes is compared with the framing of HTTP and SSE."""

    def __init__(self, port: int, target: str, *fields: str) -> None:
        super().__init__(port)
        lines = [f"GET {target} HTTP/1.1", "Host: localhost", *fields, "", ""]
        self.send("\r\n".join(lines).encode())
        head = self.head()
        self.status, self.headers = head.status, head.headers
        assert self.status != 200 or self.headers["transfer-encoding"] == "chunked"
        self._text = b""

    def __enter__(self) -> Self:
        return self

    def next(self) -> tuple[str, bytes]:
        """The next event's type and data, comments left out. Raises ConnectionEnded."""
        while True:
            while b"\n\n" not in self._text:
                chunk = self.chunk()
                assert chunk, "the answer has ended"
                self._text += chunk
            block, _, self._text = self._text.partition(b"\n\n")
            pairs = [line.partition(b":")[::2] for line in block.split(b"\n")]
            fields = [(name, value.removeprefix(b" ")) for name, value in pairs if name]
            if fields:
                kind = b"".join(value for name, value in fields if name == b"event")
                data = b"\n".join(value for name, value in fields if name == b"data")
                return kind.decode(), data

    def data(self) -> bytes:
        while True:
            kind, data = self.next()
            if kind == "data":
                return data

    def control(self) -> dict[str, Any]:
        while True:
            kind, data = self.next()
            if kind == "control":
                control: dict[str, Any] = json.loads(data)
                return control
