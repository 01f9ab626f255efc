"""The metrics of a route's traffic, and what they are at the moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.telemetry import traffic as counted
from gateway.telemetry.live_traffic import DELIVERY_SECONDS, READERS
from gateway.telemetry.metrics import Metric, Sample, counter, gauge, histogram, observed, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.telemetry.live_traffic import LiveReaders
    from gateway.telemetry.traffic import Traffic

REQUESTS = counter(
    "headgate_requests_total", "Requests that are answered.", "route", "operation", "status"
)
DURATION = histogram(
    "headgate_request_duration_seconds",
    "From a request's head to the end of its answer; not of those that wait for news.",
    *("route", "operation"),
    bounds=counted.SECONDS,
)
RESULTS = counter(
    "headgate_cache_results_total", "Reads, by the cache's part in them.", "route", "result"
)
RESUMES = counter("headgate_resumes_total", "Reads, by how they begin.", "route", "kind")
COLLAPSED = histogram(
    "headgate_collapsed_readers",
    "Readers that were given one fetch from an origin, one read of a log, or one live answer.",
    "route",
    bounds=READERS,
)
DELAY = histogram(
    "headgate_delivery_seconds",
    "From when news were there to when they were written to live readers.",
    "route",
    bounds=DELIVERY_SECONDS,
)
DECISIONS = counter(
    "headgate_auth_decisions_total", "Requests a route's guard decided on.", "route", "result"
)
LEAVES = counter(
    "headgate_live_reader_leaves_total", "Live reads that ended.", "route", "mode", "reason"
)

OF_MODES: dict[Metric, Callable[[LiveReaders], float]] = {
    gauge("headgate_live_readers", "Live readers now.", "route", "mode"): (
        lambda readers: readers.now
    ),
    counter("headgate_live_reader_joins_total", "Live reads that began.", "route", "mode"): (
        lambda readers: readers.joins
    ),
    counter(
        "headgate_deliveries_total", "News written, once for each reader.", "route", "mode"
    ): lambda readers: readers.deliveries,
    counter("headgate_delivered_bytes_total", "Their bytes.", "route", "mode"): (
        lambda readers: readers.bytes
    ),
}

OF_ROUTES: dict[Metric, Callable[[Traffic], float]] = {
    counter("headgate_request_bytes_total", "Bodies that came.", "route"): (
        lambda traffic: traffic.request_bytes
    ),
    counter("headgate_response_bytes_total", "Bodies written, live ones too.", "route"): (
        lambda traffic: traffic.bytes_out()
    ),
    gauge("headgate_cache_bytes", "Memory of kept answers.", "route"): (
        lambda traffic: traffic.kept.bytes
    ),
    gauge("headgate_cache_entries", "Kept answers.", "route"): (
        lambda traffic: traffic.kept.entries
    ),
    counter("headgate_cache_evictions_total", "Kept answers that made room.", "route"): (
        lambda traffic: traffic.kept.evictions
    ),
    counter(
        "headgate_slow_readers_detached_total", "SSE readers that did not keep up.", "route"
    ): lambda traffic: traffic.live.detached,
    gauge("headgate_slow_readers", "Those that do not keep up now.", "route"): (
        lambda traffic: len(traffic.live.slow)
    ),
    gauge("headgate_slow_reader_bytes", "What is written to them and not sent.", "route"): (
        lambda traffic: sum(reader.unsent_bytes() for reader in traffic.live.slow)
    ),
    counter("headgate_cursor_regressions_total", "Cursors that were long over.", "route"): (
        lambda traffic: traffic.cursor_regressions
    ),
}

FEEDS = gauge("headgate_feeds", "Streams whose news are told to live readers.", "route")
REPAIRS = counter(
    "headgate_repairs_total", "What an origin's answers lacked, and were given.", "route", "repair"
)
REFUSALS = counter("headgate_refusals_total", "Whom a bound has turned away.", "limit")

DECLARED = (
    FEEDS,
    REPAIRS,
    REFUSALS,
    REQUESTS,
    DURATION,
    RESULTS,
    RESUMES,
    COLLAPSED,
    DELAY,
    LEAVES,
    DECISIONS,
    *OF_MODES,
    *OF_ROUTES,
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


def _is_expected(operation: int, status: str) -> bool:
    return status == "5xx" or (status == "2xx" and operation != counted.OTHER)


def samples(route: str, traffic: Traffic) -> Iterator[Sample]:
    """Every number of a route's traffic as it is now."""
    yield from requests(route, traffic)
    for operation in counted.TIMED:
        told = traffic.duration(operation)
        yield Sample(DURATION, (route, counted.OPERATIONS[operation]), distribution=told)
    for result, name in enumerate(counted.RESULTS):
        yield Sample(RESULTS, (route, name), traffic.result_count(result))
    for kind, name in enumerate(counted.BEGINNINGS):
        yield Sample(RESUMES, (route, name), traffic.resume_count(kind))
    yield from read(OF_ROUTES, traffic, route)
    live = traffic.live
    for mode, readers in (("sse", live.sse), ("long_poll", live.long_poll)):
        yield from read(OF_MODES, readers, route, mode)
        for reason, count in readers.leaves.items():
            yield Sample(LEAVES, (route, mode, reason), count)
    yield observed(COLLAPSED, traffic.collapsed, route)
    yield observed(DELAY, live.delays, route)


def decisions(route: str, traffic: Traffic) -> Iterator[Sample]:
    """Yield the decisions of a route's guard."""
    for decision, name in enumerate(counted.DECISIONS):
        yield Sample(DECISIONS, (route, name), traffic.decision_count(decision))
