"""Expressions of PromQL, and the conditions that the console compares by itself.

A `Threshold` on a gauge, on a plain rate over five minutes, or on one of these divided by another,
is a value that both Prometheus and the console read. Quantiles, predictions and other windows are
text for Prometheus alone.
`by` are labels with commas between, `where` are label matchers, and windows are durations of
PromQL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from typing_extensions import override

SERVED_HERE = 'result=~"hit|collapsed|stale"'
SERVER_ERROR = 'status="5xx"'
FAILED_APPEND = 'result="failed"'
FAILED = 'result=~"5xx|timeout|unreachable|broken"'
# Shares of reads that were served without the origin.
TARGET = 0.85
ALARM = 0.70
RATE_WINDOW = "5m"

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def seconds(duration: str) -> int:
    """Return the seconds of a duration such as `5m`."""
    return int(duration[:-1]) * _UNITS_S[duration[-1]]


@dataclass(frozen=True, slots=True)
class Gauge:
    """The present value of each series of a gauge; `where` is empty or one matcher with `=`."""

    metric: str
    where: str = ""

    @override
    def __str__(self) -> str:
        return _series(self.metric, self.where)


@dataclass(frozen=True, slots=True)
class Rate:
    """The growth of a counter per second in five minutes, summed over equal `by` labels."""

    metric: str
    by: str
    where: str = ""

    @override
    def __str__(self) -> str:
        return rate(self.metric, self.by, self.where)


@dataclass(frozen=True, slots=True)
class Ratio:
    """A quantity divided by another with equal labels: a share, or the mean of a histogram.

    There is none where the whole is not more than `least`: of few requests it says nothing.
    """

    part: Gauge | Rate
    whole: Gauge | Rate
    least: float = 0.0

    @override
    def __str__(self) -> str:
        return f"{self.part} / ({self.whole} > {self.least:.12g})"


@dataclass(frozen=True, slots=True)
class Threshold:
    """The values of a quantity that are beyond a bound."""

    quantity: Gauge | Rate | Ratio
    operator: Literal["<", ">", "=="]
    bound: float

    @override
    def __str__(self) -> str:
        return f"{self.quantity} {self.operator} {self.bound:.12g}"


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
