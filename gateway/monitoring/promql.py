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
    """How much a second, of all series that have the same `by`."""
    return f"sum by ({by}) (rate({metric}{_matching(where)}[{window}]))"


def increase(metric: str, by: str, where: str = "", window: str = "5m") -> str:
    """How much in a window, of all series that have the same `by`."""
    return f"sum by ({by}) (increase({metric}{_matching(where)}[{window}]))"


def total(metric: str, by: str, where: str = "") -> str:
    """The sum of a gauge."""
    return f"sum by ({by}) ({metric}{_matching(where)})"


def served_without_origin(by: str, where: str = "", window: str = "5m") -> str:
    """The share of reads that cost the origin, or the log, nothing."""
    results = "headgate_cache_results_total"
    served = rate(results, by, _both(SERVED_HERE, where), window)
    return f"{served} / {rate(results, by, where, window)}"


def origin_failures(by: str, where: str = "", window: str = "5m") -> str:
    """The share of requests to an origin that it did not answer properly."""
    requests = "headgate_origin_requests_total"
    failed = rate(requests, by, _both(FAILED, where), window)
    return f"{failed} / {rate(requests, by, where, window)}"


def server_errors(by: str, where: str = "", window: str = "5m") -> str:
    """The share of requests that got 5xx."""
    requests = "headgate_requests_total"
    failed = rate(requests, by, _both(SERVER_ERROR, where), window)
    return f"{failed} / {rate(requests, by, where, window)}"


def failed_appends(by: str, where: str = "", window: str = "5m") -> str:
    """The share of appends that the log could not take."""
    appends = "headgate_appends_total"
    failed = rate(appends, by, _both(FAILED_APPEND, where), window)
    return f"{failed} / {rate(appends, by, where, window)}"


def mean(histogram: str, by: str, where: str = "", window: str = "5m") -> str:
    """The mean of what a histogram has observed."""
    sums = rate(f"{histogram}_sum", by, where, window)
    return f"{sums} / {rate(f'{histogram}_count', by, where, window)}"


def quantile(q: float, histogram: str, by: str, where: str = "", window: str = "5m") -> str:
    """A quantile of what a histogram has observed, estimated from its buckets."""
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({q:g}, {rate(f'{histogram}_bucket', labels, where, window)})"


def _matching(where: str) -> str:
    return f"{{{where}}}" if where else ""


def _both(one: str, other: str) -> str:
    return f"{one}, {other}" if other else one
