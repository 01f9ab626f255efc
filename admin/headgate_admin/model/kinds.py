"""The words that many values share: levels, spans, results, roles, viewers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

Level = Literal["good", "warning", "bad"]
StateLevel = Literal["good", "warning", "bad", "idle"]  # idle: a route without traffic
Span = Literal["15m", "1h", "6h", "24h"]
Result = Literal["hit", "collapsed", "revalidated", "stale", "miss", "error"]
Transport = Literal["sse", "long-poll"]
Role = Literal["viewer", "operator"]
SPANS_S: Mapping[Span, int] = {"15m": 900, "1h": 3600, "6h": 6 * 3600, "24h": 24 * 3600}
SPANS: Mapping[Span, str] = {"15m": "15 min", "1h": "1 h", "6h": "6 h", "24h": "24 h"}
POINTS = 180  # of a span: more than pixels between two points of a narrow chart would show
RESULTS: tuple[Result, ...] = ("hit", "collapsed", "revalidated", "stale", "miss", "error")


class OfSpan(msgspec.Struct, frozen=True):
    """The last 15 minutes to 24 hours."""

    span: Span = "15m"


class HealthState(msgspec.Struct, frozen=True):
    """The state of something in a word or two: serving; degraded: log unreachable; draining."""

    level: StateLevel
    words: str


class Viewer(msgspec.Struct, frozen=True):
    """The user of a page. `csrf` goes with every change, as a form's field or as X-CSRF-Token.

    `csrf` is empty for a request with a token, since that has no cookie.
    """

    name: str
    role: Role
    csrf: str = ""
    signed_in: bool = False  # by a session, which can be ended

    @property
    def is_operator(self) -> bool:
        """True for who may change something, and see clients' addresses and receivers' URLs."""
        return self.role == "operator"
