"""The counts of the requests that this process makes itself, beside those to origins.

They stand here, and not beside the client, so that a process without such requests need not import
the client to be measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, get_args
from weakref import WeakSet

from headgate_gateway.telemetry.metrics import (
    Histogram,
    Sample,
    counter,
    gauge,
    histogram,
    observed,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

FailureKind: TypeAlias = Literal[
    "broken",
    "certificate",
    "invalid",
    "name",
    "proxy",
    "refused",
    "timeout",
    "tls",
    "too_long",
    "unreachable",
]
OUTCOMES = ("2xx", "3xx", "4xx", "5xx", *get_args(FailureKind))
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
REQUESTS = counter(
    "headgate_outbound_requests_total",
    "Requests that Headgate makes itself, beside those to origins, by what they are for and by the "
    "status of the response, or why there is none.",
    *("purpose", "outcome"),
)
SECONDS = histogram(
    "headgate_outbound_seconds",
    "Time until a request of Headgate's own has its response, or has failed; of a response that is "
    "passed on, until its head.",
    "purpose",
    bounds=BOUNDS,
)
CONNECTIONS = gauge(
    "headgate_outbound_connections",
    "Open connections of requests that Headgate makes itself, beside those to origins; those that "
    "wait for the next request do not count.",
    "purpose",
)
UNSENT = gauge(
    "headgate_outbound_unsent_bytes",
    "Bytes of these requests that the servers have not taken yet.",
    "purpose",
)


class CountedClient(Protocol):
    """A client whose connections are counted when somebody asks."""

    @property
    def busy_connections(self) -> int:
        """Open connections without those that wait for the next request."""

    @property
    def unsent_bytes(self) -> int:
        """Bytes that its connections keep for the servers."""


class OutboundCounts:
    """The counts of requests for one purpose, by outcome, and what its `clients` hold.

    `unsent_bytes` are those of bodies that no connection has yet.
    """

    def __init__(self) -> None:
        self.clients: WeakSet[CountedClient] = WeakSet()
        self.unsent_bytes = 0
        self.requests = dict.fromkeys(OUTCOMES, 0)  # 0: `increase` sees the first failure then
        self.seconds = Histogram(BOUNDS)

    def responded(self, status: int, seconds: float) -> None:
        """Count a request with a response, whose status is from 200 to 599."""
        self._count(f"{status // 100}xx", seconds)

    def failed(self, kind: FailureKind, seconds: float) -> None:
        """Count a request without a response."""
        self._count(kind, seconds)

    def _count(self, outcome: str, seconds: float) -> None:
        self.requests[outcome] += 1
        self.seconds.observe(seconds)


_OF_PURPOSES: dict[str, OutboundCounts] = {}  # of which the code has a few


def counts_of(purpose: str) -> OutboundCounts:
    """Return the counts of a purpose in this process, which are exported from now on."""
    return _OF_PURPOSES.setdefault(purpose, OutboundCounts())


def samples() -> Iterator[Sample]:
    """Yield the counts of all purposes that have a client in this process."""
    for purpose, counts in _OF_PURPOSES.items():
        for outcome, number in counts.requests.items():
            yield Sample(REQUESTS, (purpose, outcome), number)
        yield observed(SECONDS, counts.seconds, purpose)
        clients = tuple(counts.clients)
        busy = sum(client.busy_connections for client in clients)
        yield Sample(CONNECTIONS, (purpose,), busy)
        unsent = counts.unsent_bytes + sum(client.unsent_bytes for client in clients)
        yield Sample(UNSENT, (purpose,), unsent)
