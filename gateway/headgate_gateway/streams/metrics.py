"""The numbers of a route to a log of our own: of the log, and of the appends that wait for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_gateway.logs.counts import APPENDS as GROUPS
from headgate_gateway.logs.counts import BOUNDS_S
from headgate_gateway.telemetry.metrics import (
    Metric,
    Sample,
    counter,
    gauge,
    histogram,
    least,
    most,
    observed,
    read,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from headgate_gateway.streams.writes import WriteQueue

# Metrics that only some kinds of log have, by the keys of their `numbers`.
_OF_SOME_LOGS = (
    counter("headgate_storage_commits_total", "Stored changes, each of one stream.", "route"),
    counter(
        "headgate_storage_conflicts_total",
        "Changes that conflicted with another gateway's change and were decided again.",
        "route",
    ),
    gauge(
        "headgate_storage_followed",
        "Streams whose changes by other gateways Redis notifies this one of.",
        "route",
    ),
    counter("headgate_storage_groups_total", "Transactions, each one sync to disk.", "route"),
    counter("headgate_storage_failed_groups_total", "Transactions that failed.", "route"),
    least("headgate_storage_streams", "Streams in the log.", "route"),
    least("headgate_storage_size_bytes", "Bytes of the data file and its WAL.", "route"),
    least("headgate_storage_free_bytes", "Free bytes on the disk of the log.", "route"),
    least("headgate_storage_unused_bytes", "Bytes of the data file that hold no data.", "route"),
    counter(
        "headgate_storage_returned_bytes_total",
        "Bytes of the data file that were returned to the disk.",
        "route",
    ),
    least(
        "headgate_storage_recent_rows", "Rows of short appends that are not compacted yet.", "route"
    ),
    least("headgate_redis_connected_replicas", "Connected replicas of the primaries.", "route"),
    most(
        "headgate_redis_replica_lag_bytes",
        "Bytes that the slowest replica has not acknowledged.",
        "route",
    ),
    least("headgate_redis_aof_enabled", "1 while all primaries have appendonly yes.", "route"),
    least(
        "headgate_redis_aof_ok",
        "1 unless the last write or rewrite of the append-only file failed.",
        "route",
    ),
    most("headgate_redis_memory_bytes", "Memory of the primaries, in bytes.", "route"),
    most("headgate_redis_round_trip_seconds", "Latest round trip to the slowest primary.", "route"),
    least(
        "headgate_redis_primary", "1 while all servers that are written to are primaries.", "route"
    ),
)
OF_SOME_LOGS = {
    metric.name.removeprefix("headgate_").removeprefix("storage_").removesuffix("_total"): metric
    for metric in _OF_SOME_LOGS
}

# Of a log with a quota.
USED = gauge("headgate_storage_used_bytes", "Bytes that count towards max_storage_size.", "route")
MOST = gauge("headgate_storage_max_bytes", "The max_storage_size of the route.", "route")

REFETCHES = counter(
    "headgate_redis_refetches_total",
    "Reads whose data were fetched from Redis again, although they had not changed.",
    "route",
)
_CHANGED = "histories_"  # in the name of a number of a log; then whether writes are lost
HISTORIES = counter(
    "headgate_storage_histories_total",
    "Restarts and failovers of Redis, by whether data stored through any gateway are lost.",
    *("route", "lost"),
)
_RESULTS = ("stored", "duplicate", "refused", "failed")
APPENDS = counter("headgate_appends_total", "Appends of data, by result.", "route", "result")
OF_WRITES: dict[Metric, Callable[[WriteQueue], float]] = {
    least("headgate_storage_up", "1 while the log takes appends.", "route"): (
        lambda writes: writes.table.log.why_unhealthy() is None
    ),
    counter("headgate_streams_created_total", "Streams created through this gateway.", "route"): (
        lambda writes: writes.lifecycle.figures["created"]
    ),
    counter("headgate_streams_expired_total", "Expired streams that were removed.", "route"): (
        lambda writes: writes.lifecycle.figures["expired"]
    ),
    counter("headgate_streams_deleted_total", "Streams that clients deleted.", "route"): (
        lambda writes: writes.lifecycle.figures["deleted"]
    ),
    gauge("headgate_appends_pending", "Appends and creations that wait for the log.", "route"): (
        lambda writes: writes.outcomes.pending
    ),
    gauge(
        "headgate_append_pending_bytes", "Bytes of the appends and creations that wait.", "route"
    ): (lambda writes: writes.outcomes.pending_bytes),
    counter(
        "headgate_append_bytes_total", "Bytes of the append bodies that were stored.", "route"
    ): (lambda writes: writes.figures.bytes),
    counter("headgate_append_messages_total", "Messages that were stored.", "route"): (
        lambda writes: writes.figures.messages
    ),
}
DURATION = histogram(
    "headgate_append_duration_seconds",
    "Time from the complete body of an append to its outcome.",
    "route",
    bounds=BOUNDS_S,
)
# By the keys of a log's `histograms`.
COMMITS = {
    "appends": histogram(
        "headgate_commit_appends",
        "Appends stored in one commit.",
        "route",
        bounds=GROUPS,
    ),
    **{
        phase: histogram(f"headgate_commit_{phase}_seconds", text, "route", bounds=BOUNDS_S)
        for phase, text in (
            ("queue", "Time that a commit waited before it was written."),
            ("write", "Time to write a commit, without its sync."),
            ("sync", "Time to sync a commit to disk."),
        )
    },
}


def samples(prefix: str, writes: WriteQueue) -> Iterator[Sample]:
    """Yield every sample of the route with this prefix."""
    log, figures = writes.table.log, writes.figures
    yield from read(OF_WRITES, writes, prefix)
    for result in _RESULTS:
        yield Sample(APPENDS, (prefix, result), float(getattr(figures, result)))
    yield observed(DURATION, figures.duration, prefix)
    for name, phase in log.histograms().items():
        yield observed(COMMITS[name], phase, prefix)
    for name, number in log.numbers().items():
        if name in OF_SOME_LOGS:
            yield Sample(OF_SOME_LOGS[name], (prefix,), float(number))
        elif name.startswith(_CHANGED):
            yield Sample(HISTORIES, (prefix, name.removeprefix(_CHANGED)), float(number))
