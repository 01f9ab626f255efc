"""The numbers of a running gateway: those that its routes share, and those that they tell.

A number is read when somebody asks. What serves requests keeps plain integers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.telemetry.metrics import Metric, Sample, counter, gauge, read

if TYPE_CHECKING:
    from collections.abc import Callable

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


def snapshot(shared: Context, routes: Router, fast: FastPath | None) -> Snapshot:
    """Every number as it is now."""
    answered = Sample(FAST, (), 0 if fast is None else fast.answered)
    of_routes = (sample for route in routes for sample in route.samples())
    return (answered, *read(OF_SHARED, shared), *of_routes)
