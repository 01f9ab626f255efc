"""Fastly's rules in real Varnish, beside Varnish's own: what each stores, and for how long.

Fastly's VCL is a dialect of an old Varnish's. What is translated is only its spelling, so a
rule that stores too much at Fastly stores too much here. What Fastly's platform does by itself
(clusters, its own time-outs, purging) is not in it.
"""

from __future__ import annotations

import re
from collections import Counter
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import TYPE_CHECKING, NamedTuple

from typing_extensions import override

from headgate_cdn.render import HEALTH_PATH
from tests.support.ports import HOST, free_port
from tests.support.proxy_engines import Varnish, started

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

LENGTH = "std.integer(beresp.http.Content-Length, 0)"
# Put in front: it runs before the file's own rules, and takes no decision.
WATCH = """
sub vcl_deliver {
    set resp.http.X-Ttl = obj.ttl;
    set resp.http.X-Grace = obj.grace;
    set resp.http.X-Kept = !obj.uncacheable;
}
"""


# Before vcl_fetch Fastly goes by Surrogate-Control, which Varnish does not know.
SURROGATE = r"""
    if (beresp.http.Surrogate-Control ~ "max-age=[0-9]") {
        set beresp.ttl = std.duration(
            regsub(beresp.http.Surrogate-Control, "^.*max-age=([0-9]+).*$", "\1s"), 0s);
    }
"""


def watched(own: str) -> str:
    """Varnish's own file, with answers that tell what became of them."""
    head = "vcl 4.1;\nimport std;\n"
    assert own.count(head) == 1
    return own.replace(head, head + WATCH)


def translated(fastly: str, origin_port: int) -> str:
    """Fastly's file as Varnish 7 reads it, before an origin on this machine."""
    backend = f'backend origin {{ .host = "{HOST}"; .port = "{origin_port}"; }}\n'
    text, found = re.subn(r"(?ms)^backend F_headgate(?:_reads)? \{.*?^\}\n", "", fastly)
    assert found == 2
    subs = "".join(
        _translated(name, body)
        for name, body in re.findall(r"(?ms)^sub (\w+) \{\n(.*?)^\}\n", text)
        if name not in {"vcl_miss", "vcl_pass"}  # time-outs
    )
    return f"vcl 4.1;\nimport std;\n{backend}{WATCH}{subs}"


def _translated(name: str, body: str) -> str:
    body = re.sub(r"set req\.backend = F_headgate(?:_reads)?;", "", body)
    body = body.replace("querystring.sort(", "std.querysort(")
    body = re.sub(r'"\} randomint(\(.*?\)) \{"', r'"} + std.random\1 + {"', body)
    body = body.replace("randomint(", "std.random(")
    if name == "vcl_recv":
        body = body.replace("return(lookup)", "return(hash)")
    elif name == "vcl_hash":
        body = re.sub(r"set req\.hash \+= ([^;]+);", r"hash_data(\1);", body)
        body = body.replace("return(hash)", "return(lookup)")
    elif name == "vcl_error":
        name, body = "vcl_backend_error", body.replace("obj.response", "obj.reason")
        body = body.replace("obj.", "beresp.").replace("req.", "bereq.")
        body = re.sub(r'synthetic (\{".*?"\});', r"synthetic(\1);", body, flags=re.DOTALL)
    elif name != "vcl_deliver":
        assert name == "vcl_fetch"
        name = "vcl_backend_response"
        body = body.replace("req.url", "bereq.url").replace("return(pass)", "return(pass(1s))")
        body = body.replace("set beresp.cacheable = true;", "")  # Varnish stores any status
        body = body.replace("beresp.stale_while_revalidate", "beresp.grace")
        body = re.sub(r"\breq\.http\.", "bereq.http.", body)
        body = body.replace("std.atoi(beresp.http.Content-Length)", LENGTH)
        body = body.replace("set beresp.brotli = true;", "").replace(
            "beresp.gzip", "beresp.do_gzip"
        )
        body = SURROGATE + body.replace("beresp.stale_if_error", "beresp.keep")
    body = body.replace('fastly_info.state ~ "^HIT"', "obj.hits > 0")
    # Of a request in the background there is a stale copy.
    body = body.replace("stale.exists", "bereq.is_bgfetch").replace("deliver_stale", "abandon")
    return f"sub {name} {{\n{body}}}\n"


class Answer(NamedTuple):
    """What the origin says to a request; its body is what it is asked for the n-th time."""

    status: int = 200
    fields: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    after_s: float = 0  # or when the origin is closed


class Origin(ThreadingHTTPServer):
    """Answers each path as it is told to, and counts what it is asked."""

    daemon_threads = True

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        super().__init__((HOST, free_port()), _Handler)
        self.answers = {HEALTH_PATH: Answer(), **answers}
        self.asked: Counter[tuple[str, str]] = Counter()
        self.turned_away = 0
        """Connections that were ended before anything was read of them."""
        self._is_away = False
        self.is_closing = Event()

    @contextmanager
    def away(self) -> Iterator[None]:
        """End each connection that is made, or asked on, until the block ends."""
        self._is_away = True
        try:
            yield
        finally:
            self._is_away = False

    @override
    def verify_request(self, request: object, client_address: object) -> bool:
        self.turned_away += self._is_away
        return not self._is_away

    def requests(self, path: str) -> dict[str, int]:
        """How often the path was asked for, by method."""
        return {method: number for (method, at), number in self.asked.items() if at == path}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Origin

    def _answer(self) -> None:
        if not self.server.verify_request(self.request, self.client_address):
            self.close_connection = True
            return
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.partition("?")[0]
        self.server.asked[self.command, path] += 1
        answer = self.server.answers[path]
        self.server.is_closing.wait(answer.after_s)
        body = f"{self.server.asked[self.command, path]}".encode()
        body = body if answer.body is None else answer.body
        self.send_response(answer.status)
        for name, value in answer.fields:
            self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Length", str(len(body)))
        if request_id := self.headers["X-Request-Id"]:
            self.send_header("X-Request-Id", request_id)
        self.end_headers()
        if answer.status != 204 and self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = _answer  # noqa: N815 - http.server's names

    def log_message(self, *_: object) -> None:
        """Nothing: the counts tell."""


class Got(NamedTuple):
    """An answer, and what the cache in between made of it."""

    status: int
    body: bytes
    kept: bool
    ttl_s: float
    grace_s: float
    request_id: str | None


class Edge:
    """Varnish on a port, and the origin behind it."""

    def __init__(self, port: int, origin: Origin) -> None:
        self.port = port
        self.origin = origin

    def ask(self, target: str, method: str = "GET", **headers: str) -> Got:
        """One request on a connection of its own."""
        connection = HTTPConnection(HOST, self.port, timeout=30)
        try:
            connection.request(method, target, headers={"Host": "edge.example", **headers})
            answer = connection.getresponse()
            body = answer.read()
            kept = answer.headers["X-Kept"] == "true"
            ttl, grace = (float(answer.headers.get(name, 0)) for name in ("X-Ttl", "X-Grace"))
            return Got(answer.status, body, kept, ttl, grace, answer.headers["X-Request-Id"])
        finally:
            connection.close()


@contextmanager
def serving(origin: Origin) -> Iterator[None]:
    """The origin answers in a thread until the block ends."""
    thread = Thread(target=origin.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        origin.is_closing.set()
        origin.shutdown()
        origin.server_close()
        thread.join()


class FastlysVarnish(Varnish):
    """Varnish that serves nothing stale unless it is told to, as Fastly."""

    def command(self, file: Path, port: int) -> list[str]:
        return [*super().command(file, port), "-p", "default_grace=0", "-p", "default_keep=0"]


@contextmanager
def varnish(vcl: str, origin: Origin) -> Iterator[Edge]:
    """Varnish with this file, until the block ends."""
    port = free_port()
    with started(FastlysVarnish(), {"twin.vcl": vcl}, port):
        yield Edge(port, origin)
