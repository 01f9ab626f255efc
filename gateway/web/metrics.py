"""The metrics of a running gateway: those that its routes share, and those of each route.

They are read when they are scraped. The code that serves requests counts in plain integers.
"""

from __future__ import annotations

from heapq import nsmallest
from operator import attrgetter
from typing import TYPE_CHECKING

from gateway.runtime.shedding import SECONDS
from gateway.telemetry.metrics import (
    Metric,
    Sample,
    counter,
    gauge,
    histogram,
    observed,
    read,
    together,
)
from gateway.telemetry.traffic_metrics import REFUSALS, requests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.access.principal import CredentialUse, CredentialUses
    from gateway.routes.router import Router
    from gateway.routes.services import Services
    from gateway.telemetry.metrics import Snapshot

OF_SHARED: dict[Metric, Callable[[Services], float]] = {
    gauge("headgate_connections", "Open connections of clients."): (
        lambda at: at.limits.connections
    ),
    counter(
        "headgate_missed_writes_total",
        "Times that a worker missed writes of other workers, and dropped its cached responses.",
    ): (lambda at: 0 if at.journal is None else at.journal.losses),
    gauge("headgate_receiving_bytes", "Bytes of request bodies that are not complete yet."): (
        lambda at: at.limits.receiving_bytes
    ),
    gauge("headgate_shedding", "1 while requests are refused because the event loop is late."): (
        lambda at: at.shedding.level > 0
    ),
}
LAG = histogram(
    "headgate_event_loop_lag_seconds",
    "Delay of a timer that is due every 100 ms.",
    bounds=SECONDS,
)
UNROUTED = "none"  # the route label of requests that lead to no route


def snapshot(services: Services, routes: Router) -> Snapshot:
    """Return all metrics with their current values."""
    refusals = (Sample(REFUSALS, (limit,), n) for limit, n in services.limits.refused.items())
    of_routes = (sample for route in routes for sample in route.samples())
    unrouted = requests(UNROUTED, services.unrouted)
    lag = observed(LAG, services.shedding.late)
    # Routes and the process may count refusals by the same limit.
    return together([(*read(OF_SHARED, services), *refusals, lag, *unrouted, *of_routes)])


# These exist only by a setting: each account is a label.
OF_ACCOUNT: dict[Metric, Callable[[CredentialUse], float]] = {
    counter(
        "headgate_principal_requests_total",
        "Requests of a principal; needs limits.principal_metrics.",
        "account",
    ): lambda use: use.requests,
    counter(
        "headgate_principal_appends_total",
        "Appends of a principal; needs limits.principal_metrics.",
        "account",
    ): lambda use: use.appends,
    counter(
        "headgate_principal_failures_total",
        "Responses with 4xx or 5xx to a principal; needs limits.principal_metrics.",
        "account",
    ): lambda use: use.failures,
    counter(
        "headgate_principal_sent_bytes_total",
        "Bytes of bodies sent to a principal, those of SSE when they end; needs "
        "limits.principal_metrics.",
        "account",
    ): lambda use: use.sent_bytes,
    counter(
        "headgate_principal_received_bytes_total",
        "Bytes of bodies received from a principal; needs limits.principal_metrics.",
        "account",
    ): lambda use: use.received_bytes,
}


def principal_samples(uses: CredentialUses, most: int) -> Iterator[Sample]:
    """Yield the metrics of `most` accounts at most.

    These are the oldest accounts, so that a series does not end when another one begins.
    """
    for use in nsmallest(most, uses, key=attrgetter("number")):
        for metric, number in OF_ACCOUNT.items():
            yield Sample(metric, (use.holder.account,), float(number(use)))
