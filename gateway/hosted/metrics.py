"""The numbers of a route to a log of our own: of the log, and of the appends that wait for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.telemetry.metrics import Metric, Sample, counter, gauge, least, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.backends.contract import Log
    from gateway.streams.appender import Appender

OF_LOGS: dict[Metric, Callable[[Log], float]] = {
    least("headgate_log_up", "1 while the log takes appends.", "route"): (
        lambda log: log.why_unhealthy() is None
    ),
}

OF_APPENDS: dict[Metric, Callable[[Appender], float]] = {
    gauge("headgate_appends_pending", "Appends that wait for the log.", "route"): (
        lambda appender: appender.pending
    ),
    gauge("headgate_append_pending_bytes", "Their bytes.", "route"): (
        lambda appender: appender.pending_bytes
    ),
}

# What some kinds of log have, by the name under which their `numbers` tell it.
_OF_SOME_LOGS = (
    counter("headgate_log_commits_total", "Changes of one stream that were stored.", "route"),
    counter("headgate_log_conflicts_total", "Changes that came after another's.", "route"),
    gauge("headgate_log_followed", "Streams whose changes elsewhere are told.", "route"),
    counter("headgate_log_histories_total", "Times that a server's history changed.", "route"),
    gauge("headgate_log_damaged_wals", "Damaged WALs that are kept aside.", "route"),
    counter("headgate_log_groups_total", "Transactions, each one sync to disk.", "route"),
    counter("headgate_log_failed_groups_total", "Transactions that failed.", "route"),
)
OF_SOME_LOGS = {
    metric.name.removeprefix("headgate_log_").removesuffix("_total"): metric
    for metric in _OF_SOME_LOGS
}


def samples(prefix: str, log: Log, appender: Appender) -> Iterator[Sample]:
    """Every number of the route with this prefix, as it is now."""
    yield from read(OF_LOGS, log, prefix)
    yield from read(OF_APPENDS, appender, prefix)
    numbers = log.numbers()
    for name, metric in OF_SOME_LOGS.items():
        if name in numbers:
            yield Sample(metric, (prefix,), float(numbers[name]))
