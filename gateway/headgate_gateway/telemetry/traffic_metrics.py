"""The metrics of a route's traffic, and what they are at the moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_gateway.telemetry import traffic as counted
from headgate_gateway.telemetry.metrics import (
    Metric,
    Sample,
    counter,
    gauge,
    histogram,
    observed,
    read,
)
from headgate_gateway.telemetry.traffic import DELIVERY_SECONDS, READERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from headgate_gateway.telemetry.traffic import LiveReaders, Traffic

REQUESTS = counter(
    "headgate_requests_total",
    "Requests, by operation and class of the status.",
    "route",
    "operation",
    "status",
)
ERRORS = counter(
    "headgate_error_responses_total",
    "Responses with 4xx or 5xx, by status, without those that the cache has stored.",
    "route",
    "status",
)
DURATION = histogram(
    "headgate_request_duration_seconds",
    "Time from a request's head to the end of its response, without long-polls and SSE reads.",
    *("route", "operation"),
    bounds=counted.SECONDS,
)
RESULTS = counter(
    "headgate_cache_results_total", "GET requests, by the cache's result.", "route", "result"
)
RESUMES = counter("headgate_resumes_total", "Reads, by where they begin.", "route", "kind")
COLLAPSED = histogram(
    "headgate_collapsed_readers",
    "Readers that shared one origin fetch, one read of the log, or one live response.",
    "route",
    bounds=READERS,
)
DELAY = histogram(
    "headgate_delivery_seconds",
    "Time from the commit of new data to their delivery to live readers.",
    "route",
    bounds=DELIVERY_SECONDS,
)
DECISIONS = counter(
    "headgate_auth_decisions_total", "Decisions of a route's guard on requests.", "route", "result"
)
LEAVES = counter(
    "headgate_live_reader_leaves_total",
    "Live reads that ended, by reason.",
    "route",
    "mode",
    "reason",
)

OF_MODES: dict[Metric, Callable[[LiveReaders], float]] = {
    gauge("headgate_live_readers", "Live readers that are connected.", "route", "mode"): (
        lambda readers: readers.now
    ),
    counter("headgate_live_reader_joins_total", "Live reads that began.", "route", "mode"): (
        lambda readers: readers.joins
    ),
    counter(
        "headgate_deliveries_total",
        "Pieces of new data written, once for each live reader.",
        "route",
        "mode",
    ): lambda readers: readers.deliveries,
    counter("headgate_delivered_bytes_total", "Bytes written to live readers.", "route", "mode"): (
        lambda readers: readers.bytes
    ),
}

OF_ROUTES: dict[Metric, Callable[[Traffic], float]] = {
    counter("headgate_request_bytes_total", "Bytes of request bodies received.", "route"): (
        lambda traffic: traffic.request_bytes
    ),
    counter(
        "headgate_response_bytes_total",
        "Bytes of response bodies written, SSE events included.",
        "route",
    ): (lambda traffic: traffic.bytes_out()),
    gauge("headgate_cache_bytes", "Memory of cached responses, in bytes.", "route"): (
        lambda traffic: traffic.cache_share.bytes
    ),
    gauge("headgate_cache_entries", "Cached responses.", "route"): (
        lambda traffic: traffic.cache_share.entries
    ),
    counter(
        "headgate_cache_evictions_total",
        "Cached responses that were evicted to make room for others.",
        "route",
    ): (lambda traffic: traffic.cache_share.evictions),
    counter(
        "headgate_slow_readers_detached_total",
        "Times that an SSE reader fell behind and left the live rounds.",
        "route",
    ): lambda traffic: traffic.live.detached,
    gauge("headgate_slow_readers", "SSE readers that are behind now.", "route"): (
        lambda traffic: len(traffic.live.slow)
    ),
    gauge(
        "headgate_slow_reader_bytes",
        "Bytes written to slow readers that they have not received yet.",
        "route",
    ): (lambda traffic: sum(reader.unsent_bytes() for reader in traffic.live.slow)),
    counter(
        "headgate_cursor_regressions_total",
        "Live reads with a cursor that is over five minutes old.",
        "route",
    ): (lambda traffic: traffic.cursor_regressions),
}

FEEDS = gauge("headgate_feeds", "Streams that have a feed for live readers.", "route")
REPAIRS = counter(
    "headgate_repairs_total",
    "Repairs of an origin's responses, by what was missing or wrong.",
    "route",
    "repair",
)
REFUSALS = counter(
    "headgate_refusals_total", "Requests, connections and reads that a limit has refused.", "limit"
)


def requests(route: str, traffic: Traffic) -> Iterator[Sample]:
    """Yield the requests of a route, or of none, without the classes that never happened.

    2xx and 5xx are always there: a counter that begins at 1 hides the first error from `increase`.
    """
    for operation, operation_name in enumerate(counted.OPERATIONS):
        for status, status_name in enumerate(counted.STATUSES):
            count = traffic.request_count(operation, status)
            if count or _is_expected(operation, status_name):
                yield Sample(REQUESTS, (route, operation_name, status_name), count)
    for code, count in traffic.refused.items():
        name = "other" if code == counted.OTHER_STATUS else str(code)
        yield Sample(ERRORS, (route, name), count)


def _is_expected(operation: int, status: str) -> bool:
    return status == "5xx" or (status == "2xx" and operation != counted.OTHER)


def samples(route: str, traffic: Traffic) -> Iterator[Sample]:
    """Return every number of a route's traffic as it is now."""
    yield from requests(route, traffic)
    for operation in counted.TIMED:
        duration = traffic.duration(operation)
        yield Sample(DURATION, (route, counted.OPERATIONS[operation]), distribution=duration)
    for result, name in enumerate(counted.RESULTS):
        yield Sample(RESULTS, (route, name), traffic.result_count(result))
    for kind, name in enumerate(counted.BEGINNINGS):
        yield Sample(RESUMES, (route, name), traffic.resume_count(kind))
    yield from read(OF_ROUTES, traffic, route)
    live = traffic.live
    for mode, readers in (("sse", live.sse), ("long_poll", live.long_poll)):
        yield from read(OF_MODES, readers, route, mode)
        for reason, count in readers.departures.items():
            yield Sample(LEAVES, (route, mode, reason), count)
    yield observed(COLLAPSED, traffic.collapsed, route)
    yield observed(DELAY, live.delays, route)


def decisions(route: str, traffic: Traffic) -> Iterator[Sample]:
    """Yield the decisions of a route's guard."""
    for decision, name in enumerate(counted.DECISIONS):
        yield Sample(DECISIONS, (route, name), traffic.decision_count(decision))
