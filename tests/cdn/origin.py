"""The origin of the suite: a Headgate with short long-polls, which counts what it is asked."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, NamedTuple, Protocol

from headgate_gateway.settings import load
from tests.support.given_settings import variables
from tests.support.handler_server import handler_server
from tests.support.http1 import ask
from tests.support.processes import Headgate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

STREAMS = "/v1/stream"
AGEING = "/v1/ageing"
"""Whole chunks are fresh for a second, and may be served stale for half a minute."""
PERSONAL = "/v1/personal"
"""Each reader is told who he is."""
AGED = f"{PERSONAL}/aged"
"""Each response has a number of its own, and is old on its arrival."""
AGED_S = 17
AGED_LIFETIME_S = 20
LIFETIMES = {"chunk_max_age": 1, "stale_while_revalidate": 30}
BRIEF = "/v1/brief"
"""Whole chunks are gone some seconds after their stream was deleted."""
BRIEF_LIFETIMES = {"chunk_max_age": 4, "stale_while_revalidate": 1}
BRIEF_CLOSED_S = 3
"""So long shared caches may store its closed streams, read from the beginning."""
CLOSED_S = 60
"""The same of the other routes, as of streams in a file."""
TEXT = "text/plain"
_SAMPLE = re.compile(r"headgate_(?P<name>\w+)\{(?P<labels>[^}]*)\} (?P<value>[0-9.e+]+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


NO_ROUTE = "none"  # of checks of the health


class Asked(NamedTuple):
    """Requests that have arrived at an origin since it was started."""

    reads: int = 0
    polls: int = 0
    sse: int = 0
    heads: int = 0


class Origin(Protocol):
    """A server of streams behind a CDN."""

    port: int
    poll_s: float

    def asked(self, route: str | None = None) -> Asked:
        """What it was asked so far, with what still waits; below one prefix, or all."""

    def path(self, prefix: str = STREAMS) -> str:
        """That of a stream which does not exist yet."""

    def stalled(self) -> AbstractContextManager[None]:
        """It takes connections and answers nothing until the block ends."""


class HeadgateOrigin(Headgate):
    """A Headgate with the routes above."""

    def __init__(
        self,
        readers_port: int,
        poll_s: float,
        prefixes: Sequence[str],
        sites: Sequence[str],
        *,
        private: Sequence[Mapping[str, object]] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """With `private` routes and variables of the environment that they need."""
        self.poll_s = poll_s
        routes: list[Mapping[str, object]] = [
            *private,
            {"prefix": AGEING, "storage": "memory:", **LIFETIMES},
            {
                "prefix": BRIEF,
                "storage": "memory:",
                **BRIEF_LIFETIMES,
                "closed_max_age": BRIEF_CLOSED_S,
            },
            {"prefix": PERSONAL, "origin": f"http://127.0.0.1:{readers_port}"},
        ]
        routes += (
            {"prefix": prefix, "storage": "memory:", "closed_max_age": CLOSED_S}
            for prefix in (STREAMS, *prefixes)
        )
        environment = {
            **(environment or {}),
            **variables({"routes": routes}),
            "HEADGATE_LIVE__LONG_POLL_TIMEOUT": str(poll_s),
            "HEADGATE_HTTP__CORS_ORIGINS": ",".join(sites),
        }
        self.settings = load(None, environment, {})
        super().__init__(environment=environment)
        at = self.arguments.index("--storage")
        del self.arguments[at : at + 2]  # each route has its own
        self._numbers = itertools.count()

    def path(self, prefix: str = STREAMS) -> str:
        return f"{prefix}/s{next(self._numbers)}"

    def asked(self, route: str | None = None) -> Asked:
        count = dict.fromkeys(("read", "long_poll", "sse", "head"), 0)
        for sample in _SAMPLE.finditer(ask(self.admin_port, "GET", "/metrics").body.decode()):
            labels = dict(_LABEL.findall(sample["labels"]))
            # An SSE read is counted when it begins, and a long-poll when it ends.
            kind = {
                "requests_total": labels.get("operation"),
                "live_readers": labels.get("mode") if labels.get("mode") != "sse" else None,
            }.get(sample["name"])
            of = labels.get("route", NO_ROUTE)
            if kind in count and (of == route if route else of != NO_ROUTE):
                count[kind] += int(float(sample["value"]))
        return Asked(*count.values())

    def stalled(self) -> AbstractContextManager[None]:
        return stalled(self.pid)


@contextlib.contextmanager
def stalled(pid: int) -> Iterator[None]:
    """A process that stands still until the block ends."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


class _TellsWho(BaseHTTPRequestHandler):
    """Answers each reader with his own credentials, to be kept for a minute if anybody may."""

    protocol_version = "HTTP/1.1"
    numbers = itertools.count()

    def do_GET(self) -> None:
        credentials = (self.headers["Authorization"], self.headers["Cookie"])
        body = "".join(filter(None, credentials)).encode() or b"nobody"
        lifetime = {"Cache-Control": "max-age=60"}
        if self.path.startswith(AGED):
            body = b"%d" % next(self.numbers)
            lifetime = {"Cache-Control": f"max-age={AGED_LIFETIME_S}", "Age": str(AGED_S)}
        self.send_response(200)
        for name, value in {
            "Content-Type": TEXT,
            "Content-Length": str(len(body)),
            "Stream-Next-Offset": "0001",
            **lifetime,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@contextlib.contextmanager
def telling_who() -> Iterator[int]:
    """The port of a server that tells each reader who he is, until the block ends."""
    with handler_server(_TellsWho) as port:
        yield port


@contextlib.contextmanager
def headgate_origin(
    poll_s: float, *prefixes: str, sites: Sequence[str] = ("*",)
) -> Iterator[HeadgateOrigin]:
    """A started one with streams below these prefixes, too; killed when the block ends.

    Pages of these sites may use them.
    """
    with telling_who() as readers_port:
        origin = HeadgateOrigin(readers_port, poll_s, prefixes, sites)
        try:
            origin.start()
            yield origin
        finally:
            origin.close()
