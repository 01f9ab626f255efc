"""Rows: the numbers recorded of a route, taken from the metrics, and figures from them.

A row belongs to one route. Its counters are read as totals, and become the counts between two
looks; its gauges become the sum of value times seconds. So rows of several moments, routes and
gateways add up, and every rate, mean, ratio and quantile is computed from a sum of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import add
from typing import TYPE_CHECKING

from gateway.telemetry import metrics
from gateway.telemetry.traffic import DELIVERY_SECONDS, READERS
from gateway.telemetry.traffic import SECONDS as DURATION_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from admin.model.kinds import Result, Transport
    from gateway.telemetry.metrics import Sample

Row = Sequence[float]

CACHE_RESULTS = ("hit", "collapsed", "stale", "revalidated", "miss", "bypass")
WITHOUT_ORIGIN = ("hit", "collapsed", "stale")
ORIGIN_FAILURES = frozenset({"5xx", "timeout", "unreachable", "broken"})
TRANSPORTS: tuple[Transport, ...] = ("sse", "long-poll")

DELIVERIES = tuple(f"delivery_{index}" for index in range(len(DELIVERY_SECONDS) + 1))
SHARED = tuple(f"shared_{index}" for index in range(len(READERS) + 1))
APPEND_TIMES = tuple(f"append_time_{index}" for index in range(len(DURATION_SECONDS) + 1))
# By the class of their response's status: what became of appends.
OUTCOMES = {
    "2xx": "appends",
    "4xx": "appends_refused",
    "5xx": "appends_failed",
    "cut": "appends_cut",  # the client left before there was a response
}
# Of responses, by the status that they are counted by one by one; "errors" are all of 5xx.
STATUSES = ("400", "401", "403", "404", "409", "410", "413", "429")
CAUSES = {**{status: f"status_{status}" for status in STATUSES}, "5xx": "errors"}
# What a client can mend, by the statuses that tell it.
REFUSED_BY = {
    "bad request": ("400", "413"),
    "not admitted": ("401", "403"),
    "absent": ("404", "410"),
    "conflict": ("409",),
    "too many": ("429",),
}
READS = frozenset({"read", "long_poll", "sse", "head"})
COUNTERS = (
    "requests",
    "errors",  # responses of 500 and above
    "read_errors",  # those of them to reads
    *(CAUSES[status] for status in STATUSES),
    *OUTCOMES.values(),
    "received_bytes",  # of request bodies
    "commits",
    "committed_appends",
    *APPEND_TIMES,
    "origin_requests",
    "origin_errors",
    *CACHE_RESULTS,
    "shared_readers",  # how many readers were given an answer that could be shared
    *SHARED,
    *DELIVERIES,
)
COLUMNS = ("seconds", *COUNTERS, *TRANSPORTS)
COLUMN = {name: index for index, name in enumerate(COLUMNS)}
WIDTH = len(COLUMNS)
SECONDS = 0


def empty() -> list[float]:
    """Return a row in which nothing was counted."""
    return [0.0] * WIDTH


def take(samples: Iterable[Sample], prefixes: Iterable[str]) -> dict[str, list[float]]:
    """Return each route's row from the metrics; missing metrics count as zero."""
    rows = {prefix: empty() for prefix in prefixes}
    for sample in samples:
        reader = _READERS.get(sample.metric.name)
        if reader is None:
            continue
        labels = dict(zip(sample.metric.labels, sample.values, strict=True))
        row = rows.get(labels.get("route", ""))
        if row is not None:
            reader(row, labels, sample)
    return rows


def _requests(row: list[float], labels: Mapping[str, str], sample: Sample) -> None:
    status = labels.get("status", "")
    row[COLUMN["requests"]] += sample.number
    if status == "5xx":
        row[COLUMN["errors"]] += sample.number
        if labels.get("operation") in READS:
            row[COLUMN["read_errors"]] += sample.number
    if status in OUTCOMES and labels.get("operation") == "append":
        row[COLUMN[OUTCOMES[status]]] += sample.number


def _errors(row: list[float], labels: Mapping[str, str], sample: Sample) -> None:
    if labels.get("status") in STATUSES:
        row[COLUMN[CAUSES[labels["status"]]]] += sample.number


def _received(row: list[float], _labels: Mapping[str, str], sample: Sample) -> None:
    row[COLUMN["received_bytes"]] += sample.number


def _durations(row: list[float], labels: Mapping[str, str], sample: Sample) -> None:
    if labels.get("operation") != "append" or sample.distribution is None:
        return
    if sample.metric.bounds == DURATION_SECONDS:
        _add(row, APPEND_TIMES, sample.distribution.counts)


def _committed(row: list[float], _labels: Mapping[str, str], sample: Sample) -> None:
    if sample.distribution is not None:
        row[COLUMN["commits"]] += sum(sample.distribution.counts)
        row[COLUMN["committed_appends"]] += sample.distribution.sum


def _cache_results(row: list[float], labels: Mapping[str, str], sample: Sample) -> None:
    result = labels.get("result", "")
    if result in CACHE_RESULTS:
        row[COLUMN[result]] += sample.number


def _origin_requests(row: list[float], labels: Mapping[str, str], sample: Sample) -> None:
    row[COLUMN["origin_requests"]] += sample.number
    if labels.get("result") in ORIGIN_FAILURES:
        row[COLUMN["origin_errors"]] += sample.number


def _live_readers(row: list[float], labels: Mapping[str, str], sample: Sample) -> None:
    transport = labels.get("mode", "").replace("_", "-")
    if transport in TRANSPORTS:
        row[COLUMN[transport]] += sample.number


def _collapsed(row: list[float], _labels: Mapping[str, str], sample: Sample) -> None:
    if sample.distribution is not None and sample.metric.bounds == READERS:
        row[COLUMN["shared_readers"]] += sample.distribution.sum
        _add(row, SHARED, sample.distribution.counts)


def _delivered(row: list[float], _labels: Mapping[str, str], sample: Sample) -> None:
    if sample.distribution is not None and sample.metric.bounds == DELIVERY_SECONDS:
        _add(row, DELIVERIES, sample.distribution.counts)


def _add(row: list[float], names: Sequence[str], counts: Iterable[int]) -> None:
    first = COLUMN[names[0]]
    for index, count in enumerate(counts, first):
        row[index] += count


_READERS: dict[str, Callable[[list[float], Mapping[str, str], Sample], None]] = {
    "headgate_requests_total": _requests,
    "headgate_error_responses_total": _errors,
    "headgate_request_bytes_total": _received,
    "headgate_request_duration_seconds": _durations,
    "headgate_commit_appends": _committed,
    "headgate_cache_results_total": _cache_results,
    "headgate_origin_requests_total": _origin_requests,
    "headgate_live_readers": _live_readers,
    "headgate_collapsed_readers": _collapsed,
    "headgate_delivery_seconds": _delivered,
}


def between(before: Row, now: Row, seconds: float) -> list[float]:
    """Return the counts between two rows, `seconds` apart. A counter that fell was reset."""
    row = empty()
    row[SECONDS] = seconds
    for name in COUNTERS:
        index = COLUMN[name]
        row[index] = now[index] - before[index] if now[index] >= before[index] else now[index]
    for name in TRANSPORTS:
        row[COLUMN[name]] = now[COLUMN[name]] * seconds
    return row


def live(row: Row) -> list[float]:
    """Return a row of one second with the present number of live readers."""
    now = empty()
    now[SECONDS] = 1.0
    for name in TRANSPORTS:
        now[COLUMN[name]] = row[COLUMN[name]]
    return now


def summed(rows: Iterable[Row | None]) -> list[float] | None:
    """Sum rows of one route at several moments; return None when there are none."""
    total: list[float] | None = None
    for row in rows:
        if row is not None:
            total = list(row) if total is None else list(map(add, total, row))
    return total


def together(rows: Iterable[Row | None]) -> list[float] | None:
    """Sum rows of several routes in the same seconds."""
    found = [row for row in rows if row is not None]
    total = summed(found)
    if total is not None:
        total[SECONDS] = max(row[SECONDS] for row in found)
    return total


# What a row tells. Each is None where there is no row, or nothing to tell it from


def rate(row: Row | None, name: str) -> float | None:
    """Return a rate per second; for a transport its mean number of readers."""
    if row is None or not row[SECONDS]:
        return None
    return row[COLUMN[name]] / row[SECONDS]


def result_rate(row: Row | None, result: Result) -> float | None:
    """Return reads per second with this result; those that bypassed the cache are misses.

    A read that got a 5xx was a miss for the cache, and is an error alone here.
    """
    failed = rate(row, "read_errors")
    if result == "error":
        return failed
    if result == "miss":
        missed = added(rate(row, "miss"), rate(row, "bypass"))
        return None if missed is None else max(0.0, missed - (failed or 0.0))
    return rate(row, result)


def refusal_rate(row: Row | None, cause: str) -> float | None:
    """Return the refused requests per second of one of the causes of `REFUSED_BY`."""
    return added(*(rate(row, CAUSES[status]) for status in REFUSED_BY[cause]))


def readers(row: Row | None) -> float | None:
    """Return the number of live readers, on the average."""
    return added(*(rate(row, name) for name in TRANSPORTS))


def added(*numbers: float | None) -> float | None:
    """Return the sum of the known numbers; None if none is known."""
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None


def reads(row: Row | None) -> int:
    """Return how many reads there were."""
    return 0 if row is None else round(sum(row[COLUMN[name]] for name in CACHE_RESULTS))


def is_mostly_absent(row: Row | None) -> bool:
    """Return whether most requests were for streams that are not there."""
    return row is not None and 2 * row[COLUMN[CAUSES["404"]]] > row[COLUMN["requests"]]


def without_origin(row: Row | None) -> float | None:
    """Return the hit ratio: the share of reads without a request to the origin or the log.

    It is None where most requests are for absent streams, of which a cache has nothing.
    """
    if row is None or is_mostly_absent(row):
        return None
    every = sum(row[COLUMN[name]] for name in CACHE_RESULTS)
    served = sum(row[COLUMN[name]] for name in WITHOUT_ORIGIN)
    return served / every if every else None


def collapse(row: Row | None) -> float | None:
    """Return the collapse factor: readers for each response of the origin or read of the log."""
    if row is None:
        return None
    answers = sum(_counts(row, SHARED))
    return row[COLUMN["shared_readers"]] / answers if answers else None


def most_collapsed(row: Row | None) -> float | None:
    """Return the upper bound of the number of readers of the most shared response.

    It is the bound of the response's bucket; the last bucket has none, and gives its lower bound.
    """
    if row is None:
        return None
    counts = _counts(row, SHARED)
    highest = max((index for index, count in enumerate(counts) if count), default=None)
    return None if highest is None else float(READERS[min(highest, len(counts) - 2)])


def delivery_counts(row: Row | None) -> tuple[float, ...] | None:
    """Return the deliveries by the bucket of their delay."""
    return None if row is None else tuple(_counts(row, DELIVERIES))


def delivery_quantile(row: Row | None, quantile: float) -> float | None:
    """Return a quantile of the delivery delay, in seconds."""
    return _quantile(row, DELIVERIES, DELIVERY_SECONDS, quantile)


def append_quantile(row: Row | None, quantile: float) -> float | None:
    """Return a quantile of the duration of appends, in seconds."""
    return _quantile(row, APPEND_TIMES, DURATION_SECONDS, quantile)


def appends_per_commit(row: Row | None) -> float | None:
    """Return the mean number of appends that were stored together."""
    if row is None or not row[COLUMN["commits"]]:
        return None
    return row[COLUMN["committed_appends"]] / row[COLUMN["commits"]]


def _quantile(
    row: Row | None, names: Sequence[str], bounds: Sequence[float], quantile: float
) -> float | None:
    return None if row is None else metrics.quantile(_counts(row, names), bounds, quantile)


def _counts(row: Row, names: Sequence[str]) -> Row:
    first = COLUMN[names[0]]
    return row[first : first + len(names)]
