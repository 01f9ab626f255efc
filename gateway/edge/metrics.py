"""The numbers of a route to an HTTP origin: of the origin, and of the cache before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.telemetry.metrics import Metric, Sample, counter, gauge, least, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.cache.http_cache import HttpCache
    from gateway.origin.client import Origin

OF_ORIGINS: dict[Metric, Callable[[Origin], float]] = {
    least("headgate_origin_up", "1 while a server of the origin can be reached.", "route"): (
        lambda origin: origin.why_unhealthy() is None
    ),
    gauge("headgate_origin_requests", "Requests at the origin, of max_origin_requests.", "route"): (
        lambda origin: origin.in_flight
    ),
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
    yield from read(OF_ORIGINS, origin, prefix)
    yield from read(OF_CACHES, cache, prefix)
