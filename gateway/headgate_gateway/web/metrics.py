"""The metrics of a running gateway: those that its routes share, and those of each route.

They are read when they are scraped. The code that serves requests counts in plain integers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_gateway.open_files import OPEN_FILES
from headgate_gateway.runtime.shedding import SECONDS
from headgate_gateway.telemetry.metrics import (
    Metric,
    Sample,
    counter,
    gauge,
    histogram,
    most,
    observed,
    read,
    together,
)
from headgate_gateway.telemetry.traffic_metrics import REFUSALS, requests

if TYPE_CHECKING:
    from collections.abc import Callable

    from headgate_gateway.routes.router import Router
    from headgate_gateway.routes.services import Services
    from headgate_gateway.telemetry.metrics import Snapshot

OF_SHARED: dict[Metric, Callable[[Services], float]] = {
    gauge("headgate_connections", "Open connections of clients."): (
        lambda at: at.limits.connections
    ),
    gauge(
        "headgate_server_connections",
        "Open connections to origins, providers and other servers, without those to Redis.",
    ): lambda _: OPEN_FILES.servers,
    counter(
        "headgate_missed_writes_total",
        "Times that a worker missed writes of other workers, and dropped its cached responses.",
    ): (lambda at: 0 if at.journal is None else at.journal.losses),
    gauge(
        "headgate_receiving_bytes",
        "Bytes of request bodies that are not complete yet, or wait for the head of a provider.",
    ): (lambda at: at.limits.receiving_bytes),
    gauge("headgate_shedding", "1 while requests are refused because the event loop is late."): (
        lambda at: at.shedding.level > 0
    ),
    most(
        "headgate_fastest_stream_bytes",
        "Bytes a second that the stream that grows fastest receives, over the last ten seconds.",
    ): lambda at: at.loudest.fastest_growth(),
}
LAG = histogram(
    "headgate_event_loop_lag_seconds",
    "Delay of a timer that is due every 100 ms.",
    bounds=SECONDS,
)
UNROUTED = "none"  # the route label of requests that lead to no route


def snapshot(services: Services, routes: Router) -> Snapshot:
    """Return all metrics with their current values."""
    refused = services.limits.refused.items()
    refusals = [Sample(REFUSALS, (limit,), n) for limit, n in refused]
    refusals.append(Sample(REFUSALS, ("open_files",), OPEN_FILES.refused))
    of_routes = (sample for route in routes for sample in route.samples())
    unrouted = requests(UNROUTED, services.unrouted)
    lag = observed(LAG, services.shedding.late)
    # Routes and the process may count refusals by the same limit.
    return together([(*read(OF_SHARED, services), *refusals, lag, *unrouted, *of_routes)])
