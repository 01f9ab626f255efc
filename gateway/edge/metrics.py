"""The numbers of a route to an HTTP origin: of the origin, and of the cache before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.origin.figures import SECONDS
from gateway.telemetry.metrics import (
    Metric,
    Sample,
    counter,
    gauge,
    histogram,
    least,
    observed,
    read,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.cache.http_cache import HttpCache
    from gateway.origin.client import Origin

UP = least("headgate_origin_up", "1 while requests go to a server.", "route", "server")
REQUESTS = counter(
    "headgate_origin_requests_total", "Requests for the origin, by their result.", "route", "result"
)
DURATION = histogram(
    "headgate_origin_request_duration_seconds",
    "From a request to the head of its answer, without the long-polls of feeds.",
    "route",
    bounds=SECONDS,
)

OF_ORIGINS: dict[Metric, Callable[[Origin], float]] = {
    gauge(
        "headgate_origin_requests_in_flight",
        "Requests at the origin, of max_origin_requests.",
        "route",
    ): lambda origin: origin.in_flight,
}

OF_CACHES: dict[Metric, Callable[[HttpCache], float]] = {
    counter(
        "headgate_origin_fetches_total", "Reads that the cache asked the origin for.", "route"
    ): (lambda cache: cache.fetched),
    counter("headgate_origin_collapsed_total", "Reads that joined one under way.", "route"): (
        lambda cache: cache.collapsed
    ),
}


def samples(prefix: str, origin: Origin, cache: HttpCache) -> Iterator[Sample]:
    """Every number of the route with this prefix, as it is now."""
    for server, is_up in origin.up().items():
        yield Sample(UP, (prefix, server), float(is_up))
    for result, count in origin.figures.results.items():
        yield Sample(REQUESTS, (prefix, result), float(count))
    yield observed(DURATION, origin.figures.duration, prefix)
    yield from read(OF_ORIGINS, origin, prefix)
    yield from read(OF_CACHES, cache, prefix)
