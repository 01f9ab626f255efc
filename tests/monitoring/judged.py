"""Histories that the console's evaluator and Prometheus both get, with Prometheus as the judge."""

from __future__ import annotations

import re
from itertools import pairwise
from math import isnan, nan
from typing import TYPE_CHECKING, Any, NamedTuple

from admin.alerting.evaluator import AlertEvaluator
from gateway.telemetry.metrics import Distribution, Metric, Sample
from tests.monitoring.promtool import play
from tests.telemetry.declared import DECLARED

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from admin.alerting.states import ActiveAlert
    from gateway.settings import Settings

METRICS = {metric.name: metric for metric in DECLARED}
TARGET = {"job": "headgate", "instance": "a:1"}
OF_OUTSIDE = ("HeadgateDown", "HeadgateClockSet")
EVALUATED = f'alertname!~"{"|".join(OF_OUTSIDE)}"'
STALE = None
_RUN = re.compile(r"(-?[\d.e+]+?|_)(?:([+-][\d.e]+))?(?:x(\d+))?")


class Judged(NamedTuple):
    """A history by series as `promtool` writes them, scraped every `interval_s`."""

    name: str
    series: Mapping[str, str]
    settings: Settings
    interval_s: int
    steps: int


def values(notation: str) -> list[float | None]:
    """Return the values of a series; NaN where there is no sample, None where it has ended."""
    found: list[float | None] = []
    for word in notation.split():
        if word == "stale":
            found.append(STALE)
            continue
        run = _RUN.fullmatch(word)
        assert run is not None, word
        first, more, times = run.groups()
        count = int(times or 0)
        if first == "_":
            found += [nan] * max(count, 1)
        else:
            found += [float(first) + float(more or 0) * step for step in range(count + 1)]
    return found


def labelled(series: str) -> tuple[str, dict[str, str]]:
    """Return name and labels of a series."""
    name, _, rest = series.partition("{")
    return name, dict(re.findall(r'(\w+)="([^"]*)"', rest))


class Scrapes:
    """The samples of a history, look by look."""

    def __init__(self, history: Mapping[str, str]) -> None:
        self._series = [(*labelled(series), values(text)) for series, text in history.items()]

    def at(self, step: int) -> tuple[Sample, ...] | None:
        """Return the samples of a scrape; None if there is none."""
        found: list[Sample] = []
        parts: dict[tuple[str, tuple[str, ...]], dict[str, float]] = {}
        present = [
            (name, labels, numbers[step])
            for name, labels, numbers in self._series
            if labels.get("instance") == TARGET["instance"] and step < len(numbers)
        ]
        if all(number is not None and isnan(number) for _, _, number in present):
            return None
        for name, labels, number in present:
            base, _, part = name.rpartition("_")
            metric = METRICS.get(name) or METRICS.get(base)
            if metric is None or number is None or isnan(number):
                continue
            of = tuple(labels.get(label, "") for label in metric.labels)
            if metric.name == name:
                found.append(Sample(metric, of, number))
            else:
                parts.setdefault((base, of), {})[labels.get("le", part)] = number
        return (*found, *(_histogram(*key, numbers) for key, numbers in parts.items()))


def _histogram(name: str, of: tuple[str, ...], parts: Mapping[str, float]) -> Sample:
    """Return a histogram with these buckets, or with a sum and one bucket."""
    buckets = {float(le): it for le, it in parts.items() if le not in {"sum", "count"}}
    bounds = sorted(buckets)
    counts = [b - a for a, b in pairwise([0.0, *(buckets[bound] for bound in bounds)])]
    metric = METRICS[name]
    narrowed = Metric(name, metric.kind, "", metric.labels, bounds=tuple(bounds[:-1]))
    counted = tuple(map(int, counts or [parts["count"]]))
    return Sample(narrowed, of, distribution=Distribution(counted, parts.get("sum", 0.0)))


def evaluated(history: Judged) -> list[set[str] | None]:
    """Return what the console says after each scrape: the labels of Prometheus' `ALERTS`.

    Where nothing was scraped the console has evaluated nothing, and it is None.
    """
    evaluator = AlertEvaluator(history.settings)
    scrapes = Scrapes(history.series)
    found: list[set[str] | None] = []
    for step in range(history.steps):
        samples = scrapes.at(step)
        if samples is None:
            found.append(None)
            continue
        for _ in evaluator.evaluate(float(step * history.interval_s), samples):
            pass
        found.append(set(map(_alert_series, evaluator.states.active.values())))
    return found


def _alert_series(alert: ActiveAlert) -> str:
    all_told = {
        **dict(alert.labels),
        "alertname": alert.rule.name,
        "alertstate": "pending" if alert.firing_at is None else "firing",
        "severity": alert.rule.severity,
    }
    inner = ", ".join(f'{label}="{value}"' for label, value in sorted(all_told.items()) if value)
    return f"{{{inner}}}"


def judge(*histories: Judged, folder: Path) -> None:
    """Have Prometheus evaluate the rules on histories, and compare after each scrape.

    The histories have the same settings and the same interval. What the console says of all rules
    is compared with those that `play` chooses.
    """
    (interval_s,) = {history.interval_s for history in histories}
    play(histories[0].settings, map(_played, histories), f"{interval_s}s", folder)


def _played(history: Judged) -> dict[str, Any]:
    return {
        "name": history.name,
        "interval": f"{history.interval_s}s",
        "input_series": [{"series": a, "values": b} for a, b in history.series.items()],
        "promql_expr_test": [
            {
                # By labels that the gateway has; those of a target are the same for all.
                "expr": f"max without (job, instance) (ALERTS{{{EVALUATED}}}) == 1",
                "eval_time": f"{step * history.interval_s}s",
                "exp_samples": [{"labels": series, "value": 1} for series in expected],
            }
            for step, expected in enumerate(evaluated(history))
            if expected is not None
        ],
    }
