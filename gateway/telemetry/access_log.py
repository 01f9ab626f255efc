"""One log line a request, at its end, when the settings ask for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.telemetry.logs import redact, requests_logged, write

if TYPE_CHECKING:
    from gateway.settings import RequestLevel
    from gateway.telemetry.live_traffic import Ended

LONGEST_SHOWN = 200  # characters of what proxies and clients say of themselves


class Asked(NamedTuple):
    """The facts of a request for its log line; its target is the path and query as received.

    `client` is the address at the other end of the connection, and `forwarded_for` the addresses
    that proxies name, which anybody can make up. `user_agent` is what the client calls itself.
    """

    method: str
    target: str
    client: str | None
    forwarded_for: str | None
    user_agent: str | None


class Outcome(NamedTuple):
    """The end of a request: its status, the bytes of its answer's body, its duration."""

    request_id: str
    status: int
    size: int
    duration_s: float
    cache: str  # X-Cache as the client was told it, or none
    route: str  # its prefix, or none
    ended: Ended
    principal: str | None = None  # the name of whom a guard knows
    refused: str | None = None  # why a guard has not admitted him: never the token


class AccessLog:
    """Lines of one level; whether any are written is fixed at the start, and asked each time."""

    def __init__(self, level: RequestLevel) -> None:
        self._level = level
        self.enabled = requests_logged(level)

    def line(self, asked: Asked, outcome: Outcome) -> None:
        """Write the line of a request that has ended."""
        if not self.enabled:
            return
        known = {}
        if asked.forwarded_for is not None:
            known["forwarded_for"] = asked.forwarded_for[:LONGEST_SHOWN]
        if asked.user_agent is not None:
            known["user_agent"] = asked.user_agent[:LONGEST_SHOWN]
        if outcome.principal:
            known["principal"] = outcome.principal
        if outcome.refused:
            known["refused"] = outcome.refused[:LONGEST_SHOWN]
        fields = {
            "request_id": outcome.request_id,
            "method": asked.method,
            "path": redact(asked.target),
            "route": outcome.route,
            "status": outcome.status,
            "bytes": outcome.size,
            "duration_us": round(outcome.duration_s * 1e6),
            "cache": outcome.cache,
            "client": asked.client,
            **known,
            "ended": outcome.ended,
        }
        write(self._level, "request", fields)
