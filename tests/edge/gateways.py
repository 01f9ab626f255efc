"""Gateways before an origin, as the tests of the edge want them."""

from __future__ import annotations

import contextlib
import itertools
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.support.http1 import ConnectionEnded, ask
from tests.support.processes import Headgate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.support.blocking_origin import BlockingOrigin
    from tests.support.http1 import Answer, Wire

PREFIX = "/v1/stream"


@contextlib.contextmanager
def edge(
    origin: str,
    settings: Mapping[str, float | str | list[str]] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    port: int | None = None,
) -> Iterator[Headgate]:
    """A started gateway whose only route has these settings; killed when the block ends."""
    routes = json.dumps([{"prefix": PREFIX, "origin": origin, **(settings or {})}])
    gateway = Headgate(
        origin, environment={**(environment or {}), "HEADGATE_ROUTES": routes}, port=port
    )
    at = gateway.arguments.index("--origin")
    del gateway.arguments[at : at + 2]  # it is in the route, and one excludes the other
    try:
        yield gateway.start()
    finally:
        gateway.close()


@dataclass
class GatewayBefore:
    """A gateway before an origin that a test plays; each test has paths of its own."""

    gateway: Headgate
    origin: BlockingOrigin
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def port(self) -> int:
        return self.gateway.port

    def path(self) -> str:
        """One that nobody has used."""
        return f"{PREFIX}/own{next(self._numbers)}"


def impatient(seconds: float, **others: float | str) -> dict[str, float | str]:
    """Settings of a route that waits no longer than this for anything but a long-poll."""
    return {
        "connect_timeout": seconds,
        "response_timeout": seconds,
        "read_timeout": seconds,
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
