"""A Headgate that serves the streams of a fixture, and what its clients ask of it."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from typing_extensions import override

from tests.support.given_settings import variables
from tests.support.processes import Headgate
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from email.message import Message
    from pathlib import Path

STREAMS, KEPT = "/v1/stream", "/v1/kept"  # the prefixes; the second has retention
ANSWERS, PROXIED = f"{STREAMS}/answers", f"{STREAMS}/proxied"
# The upstream of a fixture answers while it is made, and is gone afterwards.
UPSTREAM = "127.44.39.9:4441"
# Where webhooks go, by the kind of storage: two tests may receive them at once.
HOOKS = {"file": ("127.44.39.8", 4442), "redis": ("127.44.39.8", 4443)}
YEAR_S = 365 * 86_400
TOKENS = {name: f"{name}-0123456789abcdef0123" for name in ("all", "reader", "revoked", "banned")}


class Place(NamedTuple):
    """Where the streams of both routes are, and the folder of the files for access."""

    streams: str
    kept: str
    access: Path

    @property
    def routes(self) -> tuple[Mapping[str, object], Mapping[str, object]]:
        """The routes with which each version serves them."""
        guarded = {"auth": ["tokens", "read-tokens"], "visibility": "private", "reader_keys": "on"}
        return (
            {"prefix": STREAMS, "storage": self.streams, "listing": "on", "runs": True, **guarded},
            {"prefix": KEPT, "storage": self.kept, "auth": "none", "retention_messages": 4},
        )

    @property
    def environment(self) -> dict[str, str]:
        """The other settings."""
        model = {
            "prefix": "/openai",
            "upstream": f"http://{UPSTREAM}",
            "dialect": "openai",
            "streams": ANSWERS,
            "ttl": YEAR_S,
        }
        proxy = {
            "prefix": "/v1/proxy",
            "streams": PROXIED,
            "allow": [f"http://{UPSTREAM}"],
            "allow_inside": [f"http://{UPSTREAM}"],
            "secret_file": self.access / "proxy.secret",
            "ttl": YEAR_S,
        }
        credentials = {
            "tokens_file": self.access / "tokens.toml",
            "keys_file": self.access / "keys.json",
            "read_token_max_age": 86_400,
        }
        given = {"models": [model], "proxies": [proxy], "credentials": credentials}
        return variables({**given, "max_loop_lag": 0})  # a busy machine changes no answer

    @property
    def hook(self) -> tuple[str, int]:
        """The address to which webhooks go."""
        return HOOKS[self.streams.partition(":")[0]]


class Answer(NamedTuple):
    """A response."""

    status: int
    fields: Message
    body: bytes

    @property
    def document(self) -> Any:
        """The body as JSON, or None without one."""
        return json.loads(self.body) if self.body else None


def ask(
    method: str, url: str, body: bytes = b"", fields: Mapping[str, str] | None = None
) -> Answer:
    """Send a request on a connection of its own; a read that gets 503 is sent again."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    answers: list[Answer] = []

    def is_answered() -> bool:
        connection = http.client.HTTPConnection(parts.netloc, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, target, body, dict(fields or {}))
            answer = connection.getresponse()
            answers.append(Answer(answer.status, answer.headers, answer.read()))
        return answer.status != HTTPStatus.SERVICE_UNAVAILABLE or method not in {"GET", "HEAD"}

    wait_until(is_answered, f"an answer to {method} {url}", lambda: answers[-1].body.decode())
    return answers[-1]


class Served:
    """A running server, and requests to it with the token that may do everything."""

    def __init__(self, server: Headgate) -> None:
        self.server = server

    def stream(
        self, method: str, path: str, body: bytes = b"", token: str = "all", **fields: str
    ) -> Answer:
        """Ask for a path of the stream listener; `_` in a field's name stands for `-`."""
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        if token and "Authorization" not in named:
            named["Authorization"] = f"Bearer {TOKENS.get(token, token)}"
        return ask(method, f"{self.server.url}{path}", body, named)

    def subscription(self, method: str, place: str, document: object = None, **more: str) -> Answer:
        """Ask for something below the subscriptions of the first route."""
        body = b"" if document is None else json.dumps(document).encode()
        target = f"{STREAMS}/__ds/{place}"
        return self.stream(method, target, body, Content_Type="application/json", **more)

    def console(self, method: str, place: str, document: object = None, **query: str) -> Any:
        """Ask the API of the console; return the document."""
        body = b"" if document is None else json.dumps(document).encode()
        url = f"{self.server.admin_url}/api/v1/{place}?{urlencode(query)}"
        fields = {"Content-Type": "application/json", "X-CSRF-Token": self._csrf if body else ""}
        answer = ask(method, url, body, fields)
        assert answer.status < 300, f"{method} {place}: {answer.status} {answer.body.decode()}"
        return answer.document

    @property
    def _csrf(self) -> str:
        session = ask("GET", f"{self.server.admin_url}/api/v1/session")
        token: str = session.document["csrf"]
        return token


@contextlib.contextmanager
def serving(
    place: Place, clock: Mapping[str, str] | None = None, arguments: tuple[str, ...] = ()
) -> Iterator[Served]:
    """Start a server of these streams, with the environment of a clock; kill it at the end."""
    server = Headgate(arguments=arguments, environment={**place.environment, **(clock or {})})
    server.serve_routes(*place.routes)
    try:
        yield Served(server.start())
    finally:
        server.close()


class Receiver:
    """A receiver of webhooks, by their paths: it answers with its `status` that all is done.

    A wake of another path than /hook is accepted only: its lease begins.
    """

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.status = 200
        self.wakes: dict[str, Any] = {}  # the latest of each path

    def url(self, path: str) -> str:
        host, port = self.address
        return f"http://{host}:{port}{path}"

    def answer(self, path: str, body: bytes) -> _Answered:
        self.wakes[path] = json.loads(body)
        text = b'{"done": true}' if path == "/hook" else b"{}"
        return _Answered(self.status, "application/json", text)


@contextlib.contextmanager
def receiving(address: tuple[str, int]) -> Iterator[Receiver]:
    """Receive webhooks at a fixed address, which the fixtures have; wait until it is free."""
    receiver = Receiver(address)
    with _http_server(address, receiver.answer):
        yield receiver


EVENTS = b"".join(
    b'data: {"id":"c1","object":"chat.completion.chunk","choices":[{"index":0,"delta":%b}]}\n\n'
    % delta
    for delta in (b'{"content":"Hel"}', b'{"content":"lo"}', b'{},"finish_reason":"stop"')
)
RESPONSE = b"".join(
    b'data: {"type":"response.%b","sequence_number":%d,"response":'
    b'{"id":"resp_1","object":"response","status":"%b","output":[]}}\n\n' % one
    for one in ((b"created", 0, b"in_progress"), (b"completed", 1, b"completed"))
)


@contextlib.contextmanager
def upstream() -> Iterator[None]:
    """Answer as a model does, slow ones without an end, and any other request with a text."""

    def answer(path: str, body: bytes) -> _Answered:
        if path.endswith("/responses"):
            return _Answered(200, "text/event-stream", RESPONSE)
        if not path.endswith("/chat/completions"):
            return _Answered(200, "text/plain", b"from upstream")
        if b'"slow"' in body:
            return _Answered(200, "text/event-stream", EVENTS[: EVENTS.index(b"\n\n") + 2], 9999)
        return _Answered(200, "text/event-stream", EVENTS + b"data: [DONE]\n\n")

    host, _, port = UPSTREAM.partition(":")
    with _http_server((host, int(port)), answer):
        yield


class _Answered(NamedTuple):
    """A response; of one with more bytes the rest never comes."""

    status: int
    content_type: str
    body: bytes
    more: int = 0


@contextlib.contextmanager
def _http_server(
    address: tuple[str, int], answer: Callable[[str, bytes], _Answered]
) -> Iterator[None]:
    is_over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            answered = answer(self.path, body)
            self.send_response(answered.status)
            self.send_header("Content-Type", answered.content_type)
            self.send_header("Content-Length", str(len(answered.body) + answered.more))
            self.end_headers()
            self.wfile.write(answered.body)
            if answered.more:
                is_over.wait()

        @override
        def log_message(self, *_: object) -> None:
            """Be silent."""

    found: list[ThreadingHTTPServer] = []

    def bind() -> bool:
        with contextlib.suppress(OSError):
            found.append(ThreadingHTTPServer(address, Handler))
        return bool(found)

    wait_until(bind, f"{address} to be free")
    (server,) = found
    thread = threading.Thread(target=server.serve_forever, args=[0.05])
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        server.shutdown()
        thread.join()
        server.server_close()
