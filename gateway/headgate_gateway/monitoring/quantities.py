"""Expressions of PromQL, which Prometheus evaluates, and the console as far as `promql` can.

`by` are labels with commas between, `where` are label matchers, and windows are durations of
PromQL.
"""

from __future__ import annotations

from typing import Literal

from headgate_gateway.settings.reading.units import DAY_S, HOUR_S, MINUTE_S, UNITS_S, YEAR_S

SERVED_HERE = 'result=~"hit|collapsed|stale"'
SERVER_ERROR = 'status="5xx"'
FAILED_APPEND = 'result="failed"'
FAILED = 'result=~"5xx|timeout|unreachable|broken"'
# Shares of reads that were served without the origin.
TARGET = 0.85
ALARM = 0.70
MOST_ERRORS = 0.05  # of the requests, as 5xx in five minutes
# The p99 of appends and of deliveries from which on they are slow.
SLOW_APPEND_S = 0.5  # a sync takes milliseconds, on a bad disk tens of them
SLOW_DELIVERY_S = 1.0  # a reader notices a second
RATE_WINDOW = "5m"
# The same time for a least number of errors. The console evaluates conditions over a part of the
# other window, too, to see what is over, and would have to see as many in that part.
COUNT_WINDOW = "300s"

_UNITS = ((YEAR_S, "year"), (DAY_S, "day"), (HOUR_S, "hour"), (MINUTE_S, "minute"))


def seconds(duration: str) -> int:
    """Return the seconds of a duration such as `5m`."""
    return int(duration[:-1]) * UNITS_S[duration[-1]]


def spell(seconds: int) -> str:
    """Format a duration in the largest unit that needs no fraction."""
    fitting = (it for it in _UNITS if seconds and seconds % it[0] == 0)
    size, unit = next(fitting, (1, "second"))
    count = seconds // size
    return f"{count:,} {unit}{'' if count == 1 else 's'}"


def nearly(seconds: float) -> str:
    """Format a duration in whole minutes, from two hours on in hours, from two days on in days."""
    if seconds < MINUTE_S:
        return "less than a minute"
    sizes = (size for size, _ in _UNITS[1:] if seconds >= 2 * size)
    size = next(sizes, MINUTE_S)
    return spell(int(seconds // size * size))


def _series(metric: str, where: str) -> str:
    return f"{metric}{{{where}}}" if where else metric


def total(metric: str, by: str, where: str = "", combine: Literal["sum", "max"] = "sum") -> str:
    """Return the sum of a gauge over series with equal `by` labels, or the largest of them."""
    return f"{combine} by ({by}) ({_series(metric, where)})"


def rate(metric: str, by: str, where: str = "", window: str = RATE_WINDOW) -> str:
    """Return the growth of a counter per second, summed over series with equal `by` labels."""
    return f"sum by ({by}) (rate({_series(metric, where)}[{window}]))"


def increase(metric: str, by: str, where: str = "", window: str = RATE_WINDOW) -> str:
    """Return the growth of a counter, summed over series with equal `by` labels."""
    return f"sum by ({by}) (increase({_series(metric, where)}[{window}]))"


def ratio(part: str, whole: str, least: float = 0.0) -> str:
    """Return an expression divided by another with equal labels.

    There is none where the whole is not more than `least`: of few requests it says nothing.
    """
    return f"{part} / ({whole} > {least:.12g})"


def share(metric: str, by: str, where: str, window: str = RATE_WINDOW) -> str:
    """Return the share of a counter's growth that `where` selects."""
    return f"{rate(metric, by, where, window)} / {rate(metric, by, '', window)}"


def mean(metric: str, by: str, where: str = "", window: str = RATE_WINDOW) -> str:
    """Return the mean of a histogram's observations."""
    sums, counts = (rate(f"{metric}_{of}", by, where, window) for of in ("sum", "count"))
    return f"{sums} / {counts}"


def quantile(q: float, metric: str, by: str, where: str = "", window: str = RATE_WINDOW) -> str:
    """Return a quantile of a histogram's observations."""
    buckets = rate(f"{metric}_bucket", f"{by}, le", where, window)
    return f"histogram_quantile({q:g}, {buckets})"
