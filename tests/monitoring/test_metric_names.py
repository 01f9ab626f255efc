"""Alerts and board ask for nothing that the gateway does not tell.

That servers tell all that is declared is a test of the declarations.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from headgate_gateway.monitoring.alerts import alerts
from headgate_gateway.monitoring.board import ANNOTATIONS, PANELS
from headgate_gateway.monitoring.recordings import RECORDINGS
from tests.monitoring.configurations import EVERYTHING, WORKERS
from tests.telemetry.declared import DECLARED

if TYPE_CHECKING:
    from headgate_gateway.telemetry.metrics import Metric


EXPRESSIONS = [
    *(one.expr for one in RECORDINGS),
    *(one.expr for settings in (EVERYTHING, WORKERS) for one in alerts(settings)),
    *(query.expr for panel in PANELS for query in panel.queries),
    *(it.expr for it in ANNOTATIONS if not it.expr.startswith("ALERTS")),
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


def test_every_metric_used_by_alerts_and_board_is_declared() -> None:
    asked = {name for expr in EXPRESSIONS for name in NAME.findall(expr)}
    assert len(asked) > 30
    assert sorted(asked - BY_SERIES.keys()) == []


def test_every_label_used_by_alerts_and_board_belongs_to_its_metric() -> None:
    asked = set()
    for expr in EXPRESSIONS:
        for names, metric in AGGREGATION.findall(expr):
            asked |= {(metric, name) for name in names.split(", ") if name}
        for metric, matchers in SELECTION.findall(expr):
            asked |= {(metric, re.split("[!=]", matcher)[0]) for matcher in matchers.split(", ")}
    assert len(asked) > 80
    assert [
        (metric, label)
        for metric, label in sorted(asked)
        if metric != "up" and label not in labels(BY_SERIES[metric])
    ] == []
