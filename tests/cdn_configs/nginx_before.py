"""A real nginx before an origin that says what it is told to."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, NamedTuple

from headgate_cdn.options import Options
from headgate_cdn.render import HEALTH_PATH, render
from headgate_cdn.targets import TARGETS
from headgate_gateway.protocol.http.header_names import NGINX_FIELD
from tests.support.http1 import Wire, ask
from tests.support.ports import free_port
from tests.support.proxy_engines import ENGINES, started

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_cdn.options import CredentialMode
    from tests.support.http1 import Answer

READ = "offset=5"


class Said(NamedTuple):
    """An answer of the origin; without a body it says who asks."""

    query: str
    status: int
    fields: tuple[str, ...] = ()
    body: bytes = b""

    def __str__(self) -> str:
        return f"{self.query} {self.status} {', '.join(self.fields)}"


_HEALTHY = Said("", 200)  # to the checks of a proxy


class Origin(ThreadingHTTPServer):
    """Answers each path as it was told to, with who asks in the body, and counts the requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.says: dict[str, Said] = {}
        self.asked: Counter[str] = Counter()
        self.tags: dict[str, list[str | None]] = {}  # of If-None-Match in each request to a path
        self.of_nginx: dict[str, list[str | None]] = {}  # of NGINX_FIELD

    def will_say(self, said: Said) -> str:
        """A new path, with its query, at which this is answered."""
        path = f"/v1/stream/{len(self.says)}"
        self.says[path] = said
        return f"{path}?{said.query}"


class _Handler(BaseHTTPRequestHandler):
    server: Origin
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked[path] += 1
        self.server.tags.setdefault(path, []).append(self.headers.get("If-None-Match"))
        self.server.of_nginx.setdefault(path, []).append(self.headers.get(NGINX_FIELD))
        said = _HEALTHY if path == HEALTH_PATH else self.server.says[path]
        who = self.headers.get("Authorization", "anybody").encode()
        body = b"" if said.status in {204, 304} else said.body or who
        self.send_response(said.status)
        for field in said.fields:
            name, _, value = field.partition(": ")
            self.send_header(name, value)
        if said.status not in {204, 304}:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *args: object) -> None:
        """Nothing."""


@contextmanager
def answering() -> Iterator[Origin]:
    """One that answers until the block ends."""
    with Origin() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@contextmanager
def served(
    origin: Origin,
    name: str,
    credentials: CredentialMode = "bypass",
    host: str = "",
    of_http: str = "",
) -> Iterator[int]:
    """The port of a real nginx before this origin, for one host or any.

    Its operator has these directives in the `http` block.
    """
    port = free_port()
    options = Options(
        upstream=f"127.0.0.1:{origin.server_port}",
        host=host,
        listen=port,
        credentials=credentials,
        purge=True,
        standalone=True,
    )
    targets = [TARGETS[one] for one in (name, *TARGETS[name].beside)]
    files = {one.file_name: render(one, options) for one in targets}
    main = TARGETS[name].file_name
    files[main] = files[main].replace("\nhttp {\n", f"\nhttp {{\n{of_http}\n", 1)
    with started(ENGINES[name], files, port):
        yield port


def results(port: int, url: str, *readers: dict[str, str], method: str = "GET") -> list[str | None]:
    """What the cache said to each of these who came one after the other.

    On one connection they come to one worker of nginx: it has kept an answer before it reads on,
    where another worker may be asked before that.
    """
    with Wire(port) as wire:
        answers = [wire.request(method, url, None, **who) for who in readers]
    return [answer.get("X-Cache-Status") for answer in answers]


def asked(port: int, url: str, reader: dict[str, str], method: str = "GET") -> Answer:
    return ask(port, method, url, None, **reader)
