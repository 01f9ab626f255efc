"""Alerts and board ask for nothing that the gateway does not tell.

That servers tell all that is declared is a test of the declarations.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.monitoring.alerts import RECORDINGS, alerts
from gateway.monitoring.board import PANELS
from tests.monitoring.configurations import EVERYTHING, WORKERS
from tests.telemetry.test_metrics import DECLARED

if TYPE_CHECKING:
    from gateway.telemetry.metrics import Metric

# Named by the catalogue of metrics and not declared yet, or not yet with all their labels.
TO_COME = {
    *("headgate_append_duration_seconds", "headgate_appends_total"),
    *("headgate_cache_results_total", "headgate_collapsed_readers", "headgate_commit_appends"),
    *("headgate_commit_sync_seconds", "headgate_delivery_seconds", "headgate_draining"),
    *("headgate_event_loop_lag_seconds", "headgate_feeds", "headgate_live_readers"),
    *("headgate_live_reader_joins_total", "headgate_live_reader_leaves_total"),
    *("headgate_log_free_bytes", "headgate_origin_requests_in_flight"),
    *("headgate_origin_requests_total", "headgate_origin_up", "headgate_redis_aof_enabled"),
    *("headgate_redis_aof_ok", "headgate_redis_connected_replicas"),
    *("headgate_redis_memory_bytes", "headgate_redis_replica_lag_bytes"),
    *("headgate_refusals_total", "headgate_requests_total", "headgate_resumes_total"),
    *("headgate_slow_reader_bytes", "headgate_slow_readers"),
    *("headgate_slow_readers_detached_total", "process_max_fds"),
}

EXPRESSIONS = [
    *(one.expr for one in RECORDINGS),
    *(one.expr for settings in (EVERYTHING, WORKERS) for one in alerts(settings)),
    *(query.expr for panel in PANELS for query in panel.queries),
]
NAME = re.compile(r"(?<![\w:])(?:headgate|process)_\w+(?!:)\b")
# One aggregation: its labels, the metric in it, and that one's matchers.
AGGREGATION = re.compile(r"by \(([^)]*)\) \((?:\w+\()?(\w+)")
SELECTION = re.compile(r"(\w+)\{([^}]*)\}")


def series(metric: Metric) -> set[str]:
    """The names under which Prometheus has it."""
    if metric.kind == "histogram":
        return {f"{metric.name}_{part}" for part in ("bucket", "sum", "count")}
    return {metric.name}


def labels(metric: Metric) -> set[str]:
    """All that its series have, with those of the target."""
    of_buckets = {"le"} if metric.kind == "histogram" else set()
    return {*metric.labels, "job", "instance"} | of_buckets


BY_SERIES = {name: metric for metric in DECLARED for name in series(metric)}


def is_to_come(name: str) -> bool:
    return re.sub(r"_(bucket|sum|count)$", "", name) in TO_COME


def test_every_metric_that_is_asked_for_is_declared() -> None:
    asked = {name for expr in EXPRESSIONS for name in NAME.findall(expr)}
    assert len(asked) > 30
    assert [name for name in sorted(asked - BY_SERIES.keys()) if not is_to_come(name)] == []


def test_every_label_that_is_asked_for_is_one_of_its_metric() -> None:
    asked = set()
    for expr in EXPRESSIONS:
        for names, metric in AGGREGATION.findall(expr):
            asked |= {(metric, name) for name in names.split(", ") if name}
        for metric, matchers in SELECTION.findall(expr):
            asked |= {(metric, matcher.partition("=")[0]) for matcher in matchers.split(", ")}
    assert len(asked) > 80
    assert [
        (metric, label)
        for metric, label in sorted(asked)
        if metric != "up" and not is_to_come(metric) and label not in labels(BY_SERIES[metric])
    ] == []
