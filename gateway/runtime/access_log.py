"""One log line a request, at its end, when the settings ask for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Unpack

from gateway.telemetry.logs import request_line, requests_logged

if TYPE_CHECKING:
    from gateway.settings import RequestLevel
    from gateway.telemetry.logs import Outcome


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


class AccessLog:
    """`enabled` is fixed at start: the short ways of answering ask it for each request."""

    def __init__(self, level: RequestLevel) -> None:
        self._level = level
        self.enabled = requests_logged(level)

    def line(self, asked: Asked, **outcome: Unpack[Outcome]) -> None:
        """Write it."""
        request_line(self._level, **asked._asdict(), **outcome)
