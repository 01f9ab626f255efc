"""An origin whose responses have the header lines that the path of a request names."""

from __future__ import annotations

import itertools
import json
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, ClassVar

from tests.cdn.origin import PERSONAL

if TYPE_CHECKING:
    from collections.abc import Sequence

_NUMBERS = itertools.count()


class SendsLines(BaseHTTPRequestHandler):
    """Answers with the lines of a path of `path_of`, and a body that differs each time."""

    protocol_version = "HTTP/1.1"
    shown: ClassVar[str]
    """The field of the request whose value begins the body; a number follows."""

    def do_GET(self) -> None:
        name = self.path.partition("?")[0].rpartition("/")[2]
        lines = json.loads(bytes.fromhex(name.partition("-")[2]))
        body = f"{self.headers[self.shown]} {next(_NUMBERS)}".encode()
        head = ["HTTP/1.1 200 OK", *lines, f"Content-Length: {len(body)}", "", ""]
        self.wfile.write("\r\n".join(head).encode() + body)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


def path_of(lines: Sequence[str]) -> str:
    """Return a new path, at which the response has these header lines."""
    return f"{PERSONAL}/{next(_NUMBERS)}-{json.dumps(list(lines)).encode().hex()}"
