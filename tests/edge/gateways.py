"""Gateways before an origin, as the tests of the edge want them."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING

from tests.support.given_settings import at
from tests.support.http1 import Answer, ConnectionEnded, Wire, ask
from tests.support.processes import Headgate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.support.blocking_origin import BlockingOrigin, Exchange

PREFIX = "/v1/stream"


class PlayedGateway:
    """A gateway before an origin that a test plays, and paths that nobody has used yet."""

    def __init__(self, port: int, origin: BlockingOrigin) -> None:
        self.port = port
        self.origin = origin
        self._numbers = itertools.count()

    def path(self) -> str:
        return f"{PREFIX}/{type(self).__name__.lower()}{next(self._numbers)}"

    def arrived(self, path: str) -> list[Exchange]:
        """What came to the origin of a path and of those below."""
        return [one for one in self.origin.seen if one.target.startswith(path)]


@contextlib.contextmanager
def edge(
    origin: str,
    settings: Mapping[str, float | str | list[str]] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    port: int | None = None,
) -> Iterator[Headgate]:
    """A started gateway whose only route has these settings; killed when the block ends."""
    gateway = Headgate(origin, environment=environment, port=port)
    gateway.serve_routes({"prefix": PREFIX, **at(origin), **(settings or {})})
    try:
        yield gateway.start()
    finally:
        gateway.close()


def impatient(seconds: float, **others: float | str) -> dict[str, float | str]:
    """Settings of a route that waits no longer than this for anything but a long-poll."""
    return {
        "response_timeout": seconds,
        "health_interval": 0.1,
        **others,
    }


def metric(gateway: Headgate, name: str) -> float:
    """The present value of a metric, which has one route at most."""
    text = ask(gateway.admin_port, "GET", "/metrics").body.decode()
    (line,) = (line for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{")))
    return float(line.rpartition(" ")[2])


def whole(wire: Wire, method: str = "GET") -> Answer | None:
    """The answer; None when it was cut."""
    try:
        return wire.answer(method)
    except ConnectionEnded:
        return None
