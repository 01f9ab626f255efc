"""Rows: the numbers recorded of a route, taken from the metrics, and figures from them.

A row belongs to one route. Its counters are read as totals, and become the counts between two
looks; its gauges become the sum of value times seconds. So rows of several moments, routes and
gateways add up, and every rate, mean, ratio and quantile is computed from a sum of rows.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf
from operator import add
from typing import TYPE_CHECKING

from headgate_gateway.telemetry import metrics
from headgate_gateway.telemetry.traffic import DELIVERY_SECONDS, READERS
from headgate_gateway.telemetry.traffic import SECONDS as DURATION_SECONDS

if TYPE_CHECKING:
    from headgate_admin.model.kinds import Result, Transport
    from headgate_gateway.telemetry.metrics import Sample

Row = Sequence[float]
Labels = Mapping[str, str]
Numbers = Iterable[tuple[str, float]]  # by their columns; those without one are left out
# A number from a row; None where the row has nothing to make it from.
Figure = Callable[[Row], float | None]


class Buckets:
    """The columns of a histogram: one for each bucket, by its name and number."""

    def __init__(self, name: str, bounds: Sequence[float]) -> None:
        self.columns = tuple(f"{name}_{index}" for index in range(len(bounds) + 1))
        self._bounds = bounds

    def counts(self, row: Row) -> Row:
        """Return the counts of the buckets."""
        first = COLUMN[self.columns[0]]
        return row[first : first + len(self.columns)]

    def quantile(self, quantile: float) -> Figure:
        """Return the figure that is a quantile."""
        return lambda row: metrics.quantile(self.counts(row), self._bounds, quantile)


DELIVERIES = Buckets("delivery", DELIVERY_SECONDS)
SHARED = Buckets("shared", READERS)
READ_TIMES = Buckets("read_time", DURATION_SECONDS)
APPEND_TIMES = Buckets("append_time", DURATION_SECONDS)
# Of the appends of a route's storage, or of the responses of its origin. Each count of a bucket of
# their histograms goes into the bucket here with the same bound, or the next one.
BEHIND_SECONDS = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.0, 2.5, 5.0, 10.0, 30.0),
)
BEHIND_TIMES = Buckets("behind_time", BEHIND_SECONDS)

CACHE_RESULTS = ("hit", "collapsed", "stale", "revalidated", "miss", "bypass")
WITHOUT_ORIGIN = ("hit", "collapsed", "stale")
TRANSPORTS: tuple[Transport, ...] = ("sse", "long-poll")
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
# What a client can mend, by the columns of the statuses that tell it.
REFUSED_BY = {
    "bad request": ("status_400", "status_413"),
    "not admitted": ("status_401", "status_403"),
    "absent": ("status_404", "status_410"),
    "conflict": ("status_409",),
    "too many": ("status_429",),
}
READS = frozenset({"read", "long_poll", "sse", "head"})
COUNTERS = (
    "requests",
    "errors",  # responses of 500 and above
    "read_errors",  # those of them to reads
    *(CAUSES[status] for status in STATUSES),
    *OUTCOMES.values(),
    "received_bytes",  # of request bodies
    "sent_bytes",  # of response bodies
    *READ_TIMES.columns,
    *APPEND_TIMES.columns,
    *BEHIND_TIMES.columns,
    *CACHE_RESULTS,
    "shared_readers",  # how many readers were given an answer that could be shared
    *SHARED.columns,
    *DELIVERIES.columns,
)
COLUMNS = ("seconds", *COUNTERS, *TRANSPORTS)
COLUMN = {name: index for index, name in enumerate(COLUMNS)}
WIDTH = len(COLUMNS)
SECONDS = 0


def totals(numbers: Mapping[str, float]) -> list[float]:
    """Return a row of totals by their columns. It is of one second: so its gauges are rates."""
    return [1.0, *(numbers.get(name, 0.0) for name in COLUMNS[1:])]


def take(samples: Iterable[Sample], prefixes: Iterable[str]) -> dict[str, list[float]]:
    """Return each route's row from the metrics; missing metrics count as zero."""
    rows = {prefix: totals({}) for prefix in prefixes}
    for sample in samples:
        numbers_of = _NUMBERS.get(sample.metric.name)
        if numbers_of is None:
            continue
        labels = dict(zip(sample.metric.labels, sample.values, strict=True))
        row = rows.get(labels.get("route", ""))
        if row is not None:
            for name, number in numbers_of(labels, sample):
                if name in COLUMN:
                    row[COLUMN[name]] += number
    return rows


def _requests(labels: Labels, sample: Sample) -> Numbers:
    status, operation = labels["status"], labels["operation"]
    yield "requests", sample.number
    if status == "5xx":
        yield "errors", sample.number
        if operation in READS:
            yield "read_errors", sample.number
    if status in OUTCOMES and operation == "append":
        yield OUTCOMES[status], sample.number


def _durations(labels: Labels, sample: Sample) -> Numbers:
    buckets = {"read": READ_TIMES, "append": APPEND_TIMES}.get(labels["operation"])
    return () if buckets is None else _counted(buckets, sample)


def _behind(_labels: Labels, sample: Sample) -> Numbers:
    bounds = (*sample.metric.bounds, inf)
    counts = () if sample.distribution is None else sample.distribution.counts
    for bound, count in zip(bounds, counts, strict=False):
        yield BEHIND_TIMES.columns[bisect_left(BEHIND_SECONDS, bound)], count


def _shared(_labels: Labels, sample: Sample) -> Numbers:
    if sample.distribution is not None:
        yield "shared_readers", sample.distribution.sum
        yield from _counted(SHARED, sample)


def _counted(buckets: Buckets, sample: Sample) -> Numbers:
    counts = () if sample.distribution is None else sample.distribution.counts
    return zip(buckets.columns, counts, strict=False)


_NUMBERS: dict[str, Callable[[Labels, Sample], Numbers]] = {
    "headgate_requests_total": _requests,
    "headgate_error_responses_total": lambda of, it: [(f"status_{of['status']}", it.number)],
    "headgate_request_bytes_total": lambda _, it: [("received_bytes", it.number)],
    "headgate_response_bytes_total": lambda _, it: [("sent_bytes", it.number)],
    "headgate_request_duration_seconds": _durations,
    "headgate_append_duration_seconds": _behind,
    "headgate_origin_request_duration_seconds": _behind,
    "headgate_cache_results_total": lambda of, it: [(of["result"], it.number)],
    "headgate_live_readers": lambda of, it: [(of["mode"].replace("_", "-"), it.number)],
    "headgate_collapsed_readers": _shared,
    "headgate_delivery_seconds": lambda _, it: _counted(DELIVERIES, it),
}


def between(before: Row, now: Row, seconds: float) -> list[float]:
    """Return the counts between two rows, `seconds` apart. A counter that fell was reset."""
    row = [b - a if b >= a else b for a, b in zip(before, now, strict=True)]
    row[SECONDS] = seconds
    for name in TRANSPORTS:
        row[COLUMN[name]] = now[COLUMN[name]] * seconds
    return row


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


def value(figure: Figure, row: Row | None) -> float | None:
    """Return a figure of a row; None without the row."""
    return None if row is None else figure(row)


def rate(*names: str) -> Figure:
    """Return the figure that is a rate per second; for a transport its mean number of readers."""
    columns = [COLUMN[name] for name in names]
    return lambda row: sum(row[it] for it in columns) / row[SECONDS] if row[SECONDS] else None


def share(*names: str) -> Figure:
    """Return the figure that is the share of the requests that some columns have."""
    columns, requests = [COLUMN[name] for name in names], COLUMN["requests"]
    return lambda row: sum(row[it] for it in columns) / row[requests] if row[requests] else None


def result_rate(result: Result) -> Figure:
    """Return the figure that is the reads per second with a result.

    Those that bypassed the cache are misses. A read that got a 5xx was a miss for the cache, and is
    an error alone here.
    """
    if result != "miss":
        return rate("read_errors" if result == "error" else result)
    missed, failed = rate("miss", "bypass"), rate("read_errors")
    return lambda row: max(0.0, (missed(row) or 0.0) - (failed(row) or 0.0))


def count(row: Row | None, *names: str) -> int:
    """Return the sum of some columns; 0 without the row."""
    return 0 if row is None else round(sum(row[COLUMN[name]] for name in names))


def is_mostly_absent(row: Row | None) -> bool:
    """Return whether most requests were for streams that are not there."""
    return row is not None and 2 * row[COLUMN[CAUSES["404"]]] > row[COLUMN["requests"]]


def without_origin(row: Row) -> float | None:
    """Return the hit ratio: the share of reads without a request to the origin or the log.

    It is None where most requests are for absent streams, of which a cache has nothing.
    """
    every = sum(row[COLUMN[name]] for name in CACHE_RESULTS)
    if not every or is_mostly_absent(row):
        return None
    return sum(row[COLUMN[name]] for name in WITHOUT_ORIGIN) / every


def collapse(row: Row) -> float | None:
    """Return the collapse factor: readers for each response of the origin or read of the log."""
    answers = sum(SHARED.counts(row))
    return row[COLUMN["shared_readers"]] / answers if answers else None
