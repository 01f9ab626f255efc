"""The ratios and quantiles that alerts and board both show, each defined once.

`by` are labels, with commas between; `where` are label matchers, and `window` is a range as
PromQL has them.
"""

from __future__ import annotations

SERVED_HERE = 'result=~"hit|collapsed|stale"'
SERVER_ERROR = 'status="5xx"'
FAILED_APPEND = 'result="failed"'
FAILED = 'result=~"5xx|timeout|unreachable|broken"'

# Shares of reads that were served without the origin.
TARGET = 0.85
ALARM = 0.70


def rate(metric: str, by: str, where: str = "", window: str = "5m") -> str:
    """Return the rate per second, summed over the series that have the same `by`."""
    return f"sum by ({by}) (rate({metric}{_matching(where)}[{window}]))"


def increase(metric: str, by: str, where: str = "", window: str = "5m") -> str:
    """Return the growth of a counter in a window, summed over series with equal `by` labels."""
    return f"sum by ({by}) (increase({metric}{_matching(where)}[{window}]))"


def total(metric: str, by: str, where: str = "") -> str:
    """Return the sum of a gauge."""
    return f"sum by ({by}) ({metric}{_matching(where)})"


def served_without_origin(by: str, where: str = "", window: str = "5m") -> str:
    """Return the share of reads that cost the origin, or the log, nothing."""
    return _share("headgate_cache_results_total", SERVED_HERE, by, where, window)


def mean(histogram: str, by: str, where: str = "", window: str = "5m") -> str:
    """Return the mean of a histogram's observations."""
    sums = rate(f"{histogram}_sum", by, where, window)
    return f"{sums} / {rate(f'{histogram}_count', by, where, window)}"


def quantile(q: float, histogram: str, by: str, where: str = "", window: str = "5m") -> str:
    """Return a quantile of a histogram's observations, estimated from its buckets."""
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({q:g}, {rate(f'{histogram}_bucket', labels, where, window)})"


def _share(metric: str, of: str, by: str, where: str, window: str) -> str:
    part = rate(metric, by, _both(of, where), window)
    return f"{part} / {rate(metric, by, where, window)}"


def _matching(where: str) -> str:
    return f"{{{where}}}" if where else ""


def _both(one: str, other: str) -> str:
    return f"{one}, {other}" if other else one
