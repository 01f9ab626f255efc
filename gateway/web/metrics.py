"""The numbers of a running gateway: each metric once, with where its number is kept.

A number is read when somebody asks. What serves requests keeps plain integers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from gateway.hosted.route import HostedRoute
from gateway.telemetry.metrics import Metric, Sample, counter, gauge, least

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.edge.route import EdgeRoute
    from gateway.runtime.context import Context
    from gateway.telemetry.metrics import Snapshot
    from gateway.web.fast_path import FastPath
    from gateway.web.router import Router

FAST = counter("headgate_fast_answers_total", "Kept answers given without a request object.")

OF_SHARED: dict[Metric, Callable[[Context], float]] = {
    counter("headgate_cache_hits_total", "Answers that were kept here."): (
        lambda at: at.store.hits
    ),
    counter("headgate_cache_misses_total", "Reads whose answer was not kept, or not fresh."): (
        lambda at: at.store.misses
    ),
    counter("headgate_cache_evictions_total", "Kept answers that made room for others."): (
        lambda at: at.store.evictions
    ),
    gauge("headgate_cache_bytes", "Memory of kept answers."): lambda at: at.store.bytes,
    gauge("headgate_cache_entries", "Kept answers."): lambda at: len(at.store),
    gauge("headgate_connections", "Open connections of clients."): (
        lambda at: at.limits.connections
    ),
    counter("headgate_connections_refused_total", "Connections beyond max_connections."): (
        lambda at: at.limits.connections_refused
    ),
    gauge("headgate_live_readers", "Long-polls and SSE readers that wait."): (
        lambda at: at.limits.live_readers
    ),
    counter("headgate_live_readers_refused_total", "Live reads beyond max_live_readers."): (
        lambda at: at.limits.live_readers_refused
    ),
    gauge("headgate_feeds", "Streams that are followed at origins."): lambda at: at.limits.feeds,
    counter("headgate_feeds_refused_total", "Streams not followed, beyond max_feeds."): (
        lambda at: at.limits.feeds_refused
    ),
    counter("headgate_slow_requests_total", "Connections closed by header_timeout."): (
        lambda at: at.limits.slow_requests
    ),
    counter("headgate_repeated_reads_total", "Clients that were seen to repeat a read."): (
        lambda at: at.repeats.noticed
    ),
    gauge("headgate_receiving_bytes", "Bodies that are not whole yet."): (
        lambda at: at.limits.receiving_bytes
    ),
}

OF_LOGS: dict[Metric, Callable[[HostedRoute], float]] = {
    least("headgate_log_up", "1 while the log takes appends.", "route"): (
        lambda route: route.table.log.why_unhealthy() is None
    ),
    gauge("headgate_appends_pending", "Appends that wait for the log.", "route"): (
        lambda route: route.appender.pending
    ),
    gauge("headgate_append_pending_bytes", "Their bytes.", "route"): (
        lambda route: route.appender.pending_bytes
    ),
    counter("headgate_appends_refused_total", "Appends beyond max_pending_appends.", "route"): (
        lambda route: route.appender.refused_for_room
    ),
}

# What some kinds of log have, by the name under which their `numbers` tell it.
OF_SOME_LOGS: dict[str, Metric] = {
    "commits": counter(
        "headgate_log_commits_total", "Changes of one stream that were stored.", "route"
    ),
    "conflicts": counter(
        "headgate_log_conflicts_total", "Changes that came after another's.", "route"
    ),
    "followed": gauge(
        "headgate_log_followed", "Streams whose changes elsewhere are told.", "route"
    ),
    "histories": counter(
        "headgate_log_histories_total", "Times that a server's history changed.", "route"
    ),
    "damaged_wals": gauge(
        "headgate_log_damaged_wals", "Damaged WALs that are kept aside.", "route"
    ),
    "groups": counter("headgate_log_groups_total", "Transactions, each one sync to disk.", "route"),
    "failed_groups": counter(
        "headgate_log_failed_groups_total", "Transactions that failed.", "route"
    ),
}

OF_ORIGINS: dict[Metric, Callable[[EdgeRoute], float]] = {
    least("headgate_origin_up", "1 while a server of the origin can be reached.", "route"): (
        lambda route: route.origin.why_unhealthy() is None
    ),
    gauge("headgate_origin_requests", "Requests at the origin, of max_origin_requests.", "route"): (
        lambda route: route.origin.in_flight
    ),
    counter("headgate_origin_fetches_total", "Reads that were passed on.", "route"): (
        lambda route: route.cache.fetched
    ),
    counter("headgate_origin_collapsed_total", "Reads that joined one under way.", "route"): (
        lambda route: route.cache.collapsed
    ),
}


def snapshot(shared: Context, routes: Router, fast: FastPath | None) -> Snapshot:
    """Every number as it is now."""
    return tuple(_samples(shared, routes, fast))


def _samples(shared: Context, routes: Router, fast: FastPath | None) -> Iterator[Sample]:
    yield Sample(FAST, (), 0 if fast is None else fast.answered)
    yield from _read(OF_SHARED, shared)
    for route in routes:
        if isinstance(route, HostedRoute):
            yield from _read(OF_LOGS, route, route.prefix)
            for name, number in route.table.log.numbers().items():
                yield Sample(OF_SOME_LOGS[name], (route.prefix,), float(number))
        else:
            yield from _read(OF_ORIGINS, route, route.prefix)


T = TypeVar("T")


def _read(metrics: dict[Metric, Callable[[T], float]], owner: T, *labels: str) -> Iterator[Sample]:
    for metric, read in metrics.items():
        yield Sample(metric, labels, float(read(owner)))
