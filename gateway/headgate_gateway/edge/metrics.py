"""The metrics of a route to an HTTP origin: of the origin, and of the cache in front of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_gateway.edge.followed.comparison import ANOTHER, SAME, SHORTER
from headgate_gateway.origin.requests import SECONDS
from headgate_gateway.telemetry.metrics import (
    Sample,
    counter,
    gauge,
    histogram,
    least,
    most,
    observed,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from headgate_gateway.edge.reads.http_cache import HttpCache
    from headgate_gateway.origin.client import Origin
    from headgate_gateway.origin.servers import OriginServer

UP = least(
    "headgate_origin_up", "1 while this server of the origin gets requests.", "route", "server"
)
FAILING = most(
    "headgate_origin_failing",
    "1 while this server of the origin has answered nothing but 5xx for 10 s or longer.",
    "route",
    "server",
)
REQUESTS = counter(
    "headgate_origin_requests_total", "Requests to the origin, by result.", "route", "result"
)
DURATION = histogram(
    "headgate_origin_request_duration_seconds",
    "Time from a request to the head of its response, without reads that the origin may hold.",
    "route",
    bounds=SECONDS,
)
SURPLUSES = counter(
    "headgate_origin_surpluses_total",
    "Times that an origin sent surplus bytes, by the response before them: to HEAD, a 204, a"
    " 304, or whole.",
    "route",
    "behind",
)

COMPARISONS = counter(
    "headgate_feed_comparisons_total",
    "Comparisons of a followed stream with the origin's data after a failure, by result:"
    " same, shorter or another.",
    "route",
    "result",
)
FORGOTTEN = counter(
    "headgate_forgotten_offsets_total",
    "Times that offsets which would be compared or refused were dropped, by the bound"
    " reached: reads, ends, losses, held or told.",
    "route",
    "bound",
)
BOUNDS = ("reads", "ends", "losses", "held", "told")
OLDEST = most(
    "headgate_origin_oldest_request_seconds",
    "How long the oldest request has waited for the head of its response, without reads that the"
    " origin may hold. A wait of over 5 s counts for 20 s after its end, too.",
    "route",
    "server",
)
WAITING = gauge(
    "headgate_origin_waiting_readers", "Readers that wait for a response of the origin.", "route"
)
IN_FLIGHT = gauge(
    "headgate_origin_requests_in_flight",
    "Requests under way at the origin, at most max_origin_requests.",
    "route",
)
DISTRUSTED = counter(
    "headgate_origin_distrusted_total",
    "Cached responses and poll responses that were dropped or compared again, since surplus"
    " bytes came on their connection.",
    "route",
)
FETCHES = counter(
    "headgate_origin_fetches_total", "Reads that the cache sent to the origin.", "route"
)
COLLAPSED = counter(
    "headgate_origin_collapsed_total",
    "Reads that shared the response to a read under way.",
    "route",
)


def samples(
    prefix: str,
    origin: Origin,
    cache: HttpCache,
    comparisons: Mapping[str, int],
    forgotten: Mapping[str, int],
) -> Iterator[Sample]:
    """Yield all samples of the route with this prefix."""
    for verdict in (SAME, SHORTER, ANOTHER):
        yield Sample(COMPARISONS, (prefix, verdict), float(comparisons[verdict]))
    for bound in BOUNDS:
        yield Sample(FORGOTTEN, (prefix, bound), float(forgotten[bound]))
    health = origin.servers.health()
    for server, (is_up, _) in health.items():
        yield Sample(UP, (prefix, server), float(is_up))
    for server, (_, is_failing) in health.items():
        yield Sample(FAILING, (prefix, server), float(is_failing))
    for result, count in origin.figures.results.items():
        yield Sample(REQUESTS, (prefix, result), float(count))
    for behind, count in origin.figures.surpluses.items():
        yield Sample(SURPLUSES, (prefix, behind), float(count))
    yield observed(DURATION, origin.figures.duration, prefix)
    for server, wait_s in _oldest_waits(origin).items():
        yield Sample(OLDEST, (prefix, server), wait_s)
    under_way = [fetch for fetches in cache.fetches.under_way.values() for fetch in fetches]
    waiting = sum(len(fetch.readers) for fetch in under_way if not fetch.response.done())
    yield Sample(WAITING, (prefix,), float(waiting))
    yield Sample(IN_FLIGHT, (prefix,), float(origin.requests.count))
    yield Sample(DISTRUSTED, (prefix,), float(origin.figures.distrusted))
    yield Sample(FETCHES, (prefix,), float(cache.fetches.started))
    yield Sample(COLLAPSED, (prefix,), float(cache.fetches.collapsed))


def _oldest_waits(origin: Origin) -> dict[str, float]:
    """Return how long the oldest request has waited at each server, by host and port."""
    now = 0.0
    begun: dict[OriginServer, float] = {}
    if origin.under_way:  # it is open, then
        now = origin.loop.time()
        for sent, since in origin.deadlines.since.items():  # the oldest first
            begun.setdefault(sent.server, since)
            if len(begun) == len(origin.lines):
                break
    waits: dict[str, float] = {}
    for server in origin.servers:
        wait_s = max(now - begun.get(server, now), server.recent_wait_s())
        waits[server.authority] = max(wait_s, waits.get(server.authority, 0.0))
    return waits
