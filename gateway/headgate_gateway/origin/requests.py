"""The requests to an origin: their bytes, traces, counts and times, and why one got no response."""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import AsyncIterable
from contextlib import ExitStack
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Generic, NoReturn, TypeVar

import aiohttp
from msgspec import Struct
from multidict import CIMultiDict

from headgate_gateway.errors import (
    BadRequest,
    HeadgateError,
    LimitReached,
    OriginBroken,
    OriginTimeout,
    OriginUnreachable,
)
from headgate_gateway.origin.heads import AnswerKind
from headgate_gateway.protocol import http1
from headgate_gateway.protocol.http.forwarding import check_text
from headgate_gateway.protocol.http.header_names import TRACEPARENT, parse_traceparent
from headgate_gateway.telemetry import tracing
from headgate_gateway.telemetry.logs import redact
from headgate_gateway.telemetry.metrics import Histogram

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from contextvars import Context

    from multidict import MultiMapping

    from headgate_gateway.origin.servers import OriginServer
    from headgate_gateway.telemetry.spans import Tracer

T = TypeVar("T")

SAFE = frozenset({"GET", "HEAD"})
BODYLESS = frozenset({"GET", "HEAD", "OPTIONS"})  # all others have a Content-Length always
MOST_LINES = 2048  # cached request lines of appends, 8 MB with the longest, 0.4 MB with usual ones
LIVE = "live="  # in the target of a read that the origin may hold: how long it takes says nothing
_UNSENDABLE = re.compile(r"[\x00-\x20\x7f]")
# Fields that `wire` writes, or that are about the connection.
_OWN_FIELDS = frozenset({"connection", "content-length", "host", "transfer-encoding"})

SLOW_S = 2.0  # a reader of text gives up soon
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, SLOW_S, 5.0, 10.0, 30.0)
_FAILURES: dict[type[HeadgateError], str] = {
    OriginTimeout: "timeout",
    OriginUnreachable: "unreachable",
    OriginBroken: "broken",
    LimitReached: "refused",
}
RESULTS = ("2xx", "3xx", "4xx", "5xx", *_FAILURES.values())

WRONG_NAME = frozenset({62, 64})  # OpenSSL's numbers for another host name, another address


class OriginRequest(Struct, eq=False):
    """A request to an origin, whichever of its servers it is sent to.

    A poll of a feed does not count towards the limit of requests: the origin may hold it as long as
    a stream is silent.
    """

    method: str
    target: str  # of the gateway
    fields: bytes  # header lines, as `field_block` makes them
    body: bytes | AsyncIterable[bytes] = b""
    is_poll: bool = False
    length: int | None = None  # of a body that comes in parts, if it is known

    @property
    def is_repeatable(self) -> bool:
        """True if it does no harm to send the request again; a feed asks something else instead."""
        return self.method in SAFE and self.body == b"" and not self.is_poll

    def wire(self, lines: RequestLines, fields: bytes) -> bytes:
        """Return the request with a whole body, or else its head. Raises BadRequest."""
        method, target, body = self.method, self.target, self.body
        # A query may have a token, which must not be cached.
        is_cached = method == "POST" and "?" not in target
        line = lines.of_append(target) if is_cached else lines.of(method, target)
        if not isinstance(body, bytes):
            if self.length is None:
                return b"%b%bTransfer-Encoding: chunked\r\n\r\n" % (line, fields)
            return b"%b%bContent-Length: %d\r\n\r\n" % (line, fields, self.length)
        if body or method not in BODYLESS:
            return b"%b%bContent-Length: %d\r\n\r\n%b" % (line, fields, len(body), body)
        return b"%b%b\r\n" % (line, fields)


def field_block(fields: MultiMapping[str]) -> bytes:
    """Return header fields as lines. Raises BadRequest if one cannot be sent.

    Those about the message or its connection are left out: `wire` writes its own.
    """
    check_text(fields)
    return http1.field_lines(
        (name, value) for name, value in fields.items() if name.lower() not in _OWN_FIELDS
    )


class RequestLines:
    """The request lines for one server; `of_append` caches those of appends without a query."""

    __slots__ = ("_host", "_server", "of_append")

    def __init__(self, server: OriginServer) -> None:
        self._server = server
        self._host = f" HTTP/1.1\r\nHost: {server.host}\r\n"
        # Clients append to the same stream again and again.
        self.of_append = lru_cache(MOST_LINES)(partial(self.of, "POST"))

    def of(self, method: str, target: str) -> bytes:
        """Return the start of a request's head. Raises BadRequest for what is not one target."""
        path = self._server.to_server(target).partition("#")[0]
        if _UNSENDABLE.search(path) is not None:
            raise BadRequest("the target of the request has characters that cannot be sent")
        return f"{method} {path}{self._host}".encode()


class AttemptSpan:
    """The span of a request at one server, below that of the request in `context`, if any.

    `fields` are the header lines by which the server gets to know it.
    """

    def __init__(
        self,
        tracer: Tracer,
        context: Context,
        request: OriginRequest,
        server: OriginServer,
        *,
        is_repetition: bool,
    ) -> None:
        headers: CIMultiDict[str] = CIMultiDict(http1.parse_field_lines(request.fields))
        host, port = server.endpoint
        attributes: dict[str, str | int] = {  # by the semantic conventions for HTTP clients
            "http.request.method": request.method,
            "url.full": redact(server.origin + server.to_server(request.target)),
            "server.address": host,
            "server.port": port,
        }
        if is_repetition:
            attributes["http.request.resend_count"] = 1
        self._end = ExitStack()
        asking = tracer.asking(context.get(tracing.current), attributes, headers)
        self._span = self._end.enter_context(asking)
        self.fields = http1.field_lines(self._span.headers.items())

    def answered(self, status: int) -> None:
        """Note the status of the answer, and end the span."""
        self._span.answered(status)
        self._end.close()

    def failed(self, error: Exception | None) -> None:
        """Note why there is no answer, which is None if nobody waits any more; end the span."""
        if isinstance(error, HeadgateError):
            self._span.failed(error.code)
        self._end.close()


def trace_id_of(request: OriginRequest, context: Context | None) -> str | None:
    """Return the id of the recorded trace of a request, ours or else its client's; else None."""
    span = None if context is None else context.get(tracing.current)
    if span is not None:
        return span.trace_id
    for name, value in http1.parse_field_lines(request.fields):
        if name.lower() == TRACEPARENT and (parsed := parse_traceparent(value)) is not None:
            return parsed.trace_id if parsed.is_sampled else None
    return None


class OriginMetrics:
    """Counts by result, and the seconds until the head of an answer, of all attempts together.

    A request that its client gave up has no result. One without an answer is timed if it was slow:
    else an origin whose clients all give up after three seconds would have no slow request.
    """

    def __init__(self) -> None:
        self.results = dict.fromkeys(RESULTS, 0)
        self.duration = Histogram(SECONDS)
        self.surpluses = {kind.value: 0 for kind in AnswerKind}  # by what they were behind
        self.distrusted = 0  # answers that came on the same connections

    def answer_count(self) -> int:
        """Return how many answers there were, of whatever status."""
        return sum(self.results[f"{kind}xx"] for kind in range(2, 6))

    def unanswered(self, server: OriginServer, waited_s: float) -> None:
        """Count how long a server has had a request that got no answer."""
        if waited_s > SLOW_S:
            self.duration.observe(waited_s)
            server.note_wait(waited_s)

    def failed(self, error: HeadgateError) -> None:
        """Count a request that failed by a fault of the origin, or by the limit."""
        result = _FAILURES.get(type(error))
        if result is not None:
            self.results[result] += 1


class AnswerDeadlines(Generic[T]):
    """A timer for all requests that are to be answered within `wait_s`, else `on_silence`.

    `is_timed` is False for requests that the origin may hold: how long these take says nothing.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        wait_s: float,
        on_silence: Callable[[T], None],
        *,
        is_timed: bool = True,
    ) -> None:
        self.wait_s = wait_s
        self.is_timed = is_timed
        self._on_silence = on_silence
        self.since: dict[T, float] = {}  # loop time; the longest under way first
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None

    def start(self, sent: T) -> float:
        """Let a server answer within `wait_s` from now, which is returned."""
        now = self._loop.time()
        self.since.pop(sent, None)
        self.since[sent] = now
        if self._timer is None:
            self._timer = self._loop.call_at(now + self.wait_s, self._expire)
        return now

    def stop(self, sent: T) -> float:
        """Let a server take its time; return how much it has taken so far, if that is timed."""
        since = self.since.pop(sent, None)
        return self._loop.time() - since if since is not None and self.is_timed else 0.0

    def _expire(self) -> None:
        self._timer = None
        now = self._loop.time()
        for sent, since in list(self.since.items()):
            if since + self.wait_s > now:
                self._timer = self._loop.call_at(since + self.wait_s, self._expire)
                return
            if sent in self.since:
                self._on_silence(sent)

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()


class RequestsInFlight:
    """The requests at an origin, of which there may be `most`.

    Each counts from before it is sent until its answer is released.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.count = 0
        self.refused = 0  # requests beyond max_origin_requests

    @property
    def is_full(self) -> bool:
        """True if one more request would be too many."""
        return self.count >= self.most

    def refuse(self) -> NoReturn:
        """Count a request that is too much, and raise LimitReached."""
        self.refused += 1
        raise LimitReached(
            f"as many requests wait for the origin as may: max_origin_requests, {self.most}"
        )


def why_unreachable(error: BaseException, timeout_s: float) -> str:
    """Return why a server cannot be connected to, in words that follow its name.

    Clients get to read them: no address is in them.
    """
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        error = error.certificate_error
    elif isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    if isinstance(error, TimeoutError):
        return f"took no connection within {timeout_s:g} s"
    if isinstance(error, socket.gaierror):
        return f"has a host name that cannot be resolved: {error.strerror}"
    if isinstance(error, ssl.SSLError):
        return _why_no_tls(error)
    if isinstance(error, OSError) and error.errno:
        return f"cannot be connected to: {os.strerror(error.errno)}"
    return "cannot be connected to"


def _why_no_tls(error: ssl.SSLError) -> str:
    if not isinstance(error, ssl.SSLCertVerificationError):
        return f"does not speak TLS as we do: {error.reason}"
    if error.verify_code in WRONG_NAME:
        return "has a certificate for another host name"
    return f"has a certificate that is not trusted: {error.verify_message}"
