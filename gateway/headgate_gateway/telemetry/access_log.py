"""The access log: a line for each request, at its end, when the settings ask for it.

The newest refusals are recorded besides, for the console.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from headgate_gateway.telemetry.logs import as_json, as_utf8, direct_lines, redact, requests_logged
from headgate_gateway.telemetry.traffic import Ended

if TYPE_CHECKING:
    from collections.abc import Callable

    from headgate_gateway.settings import RequestLevel

LONGEST_SHOWN = 200  # characters of what proxies and clients say of themselves
MOST_REFUSALS = 200  # two screens; with bodies of some 200 bytes they take 100 kB
LONGEST_BODY = 2048  # bytes; the sentences of this gateway are shorter


class LoggedRequest(msgspec.Struct, frozen=True, gc=False):
    """The facts of a request for its log line; its target is the path and query as received.

    `client` is the address at the other end of the connection, and `forwarded_for` the addresses
    that proxies name, which anybody can make up. `user_agent` is what the client calls itself.
    """

    method: str
    target: str
    client: str | None
    forwarded_for: str | None
    user_agent: str | None


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """The end of a request: its status, the bytes of its answer's body, its duration."""

    request_id: str
    status: int
    size: int
    duration_s: float
    cache: str  # X-Cache as it was sent, or none
    route: str  # its prefix, or none
    ended: Ended
    principal: str | None = None  # its name, if a guard knows it
    refused: str | None = None  # why a guard has not admitted it: never the token


class AccessLog:
    """Lines of one level; `line` writes the line of a request that has ended."""

    def __init__(self, level: RequestLevel) -> None:
        self.set_level(level)

    def set_level(self, level: RequestLevel) -> None:
        """Write lines of this level from now on; with "off", write none."""
        self.enabled = requests_logged(level)
        self.line: Callable[[LoggedRequest, Outcome], None] = _write_nothing
        if level != "off" and self.enabled:
            self.line = direct_lines(level, "request", _fields)


def _write_nothing(_asked: LoggedRequest, _outcome: Outcome) -> None:
    pass


def _fields(request: LoggedRequest, outcome: Outcome) -> str:
    """Return the fields of a line as JSON without its brackets: a dict takes thrice as long."""
    known = ""
    if request.forwarded_for is not None:
        known = f', "forwarded_for": {as_json(as_utf8(request.forwarded_for, LONGEST_SHOWN))}'
    if request.user_agent is not None:
        known += f', "user_agent": {as_json(as_utf8(request.user_agent, LONGEST_SHOWN))}'
    if outcome.principal:
        known += f', "principal": {as_json(outcome.principal)}'
    if outcome.refused:
        known += f', "refused": {as_json(outcome.refused[:LONGEST_SHOWN])}'
    client = "null" if request.client is None else as_json(request.client)
    return (
        f'"request_id": {as_json(outcome.request_id)}, "method": {as_json(request.method)}, '
        f'"path": {as_json(redact(request.target))}, "route": {as_json(outcome.route)}, '
        f'"status": {outcome.status}, "bytes": {outcome.size}, '
        f'"duration_us": {round(outcome.duration_s * 1e6)}, "cache": {as_json(outcome.cache)}, '
        f'"client": {client}{known}, "ended": "{outcome.ended}"'
    )


class _Alike(NamedTuple):
    route: str
    status: int
    body: bytes
    client: str | None


class _Newest(NamedTuple):
    first_at: float
    at: float
    request_id: str
    times: int


class _ProblemDocument(msgspec.Struct):
    """The part of a problem document (RFC 9457) that is for people."""

    detail: str = ""


_decoder = msgspec.json.Decoder(_ProblemDocument)


class RefusedRequest(msgspec.Struct, frozen=True):
    """A response with 4xx or 5xx. `detail` is the sentence that the client got.

    It is empty for an origin's response, whose body is passed on unread.
    """

    at: float  # epoch seconds
    request_id: str
    route: str  # its prefix; empty where there is none
    status: int
    detail: str
    client: str | None  # its address; None for viewers without the right to see it
    first_at: float  # epoch seconds, of the first of equal ones
    count: int = 1  # of equal ones, of which this is the newest


class NewestRefusals:
    """The newest refusals, equal ones as one: a flood of one client hides no others.

    There are MOST_REFUSALS at most. Bodies are parsed only for the list.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` returns epoch seconds."""
        self._clock = clock
        self._newest: dict[_Alike, _Newest] = {}  # the newest last

    def note(
        self, request_id: str, route: str, status: int, body: bytes, client: str | None
    ) -> None:
        """Note a response; a body longer than LONGEST_BODY is left out."""
        short = body if len(body) <= LONGEST_BODY else b""
        alike = _Alike(route, status, short, client)
        before = self._newest.pop(alike, None)
        now = self._clock()
        first_at, times = (now, 1) if before is None else (before.first_at, before.times + 1)
        self._newest[alike] = _Newest(first_at, now, request_id, times)
        if len(self._newest) > MOST_REFUSALS:
            del self._newest[next(iter(self._newest))]

    def listed(self) -> tuple[RefusedRequest, ...]:
        """Return them, the newest first."""
        return tuple(
            RefusedRequest(
                it.at,
                it.request_id,
                alike.route,
                alike.status,
                _detail(alike.body),
                alike.client,
                it.first_at,
                it.times,
            )
            for alike, it in reversed(self._newest.items())
        )


def _detail(body: bytes) -> str:
    try:
        return _decoder.decode(body).detail
    except msgspec.DecodeError:  # no document of this gateway
        return ""
