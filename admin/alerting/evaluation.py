"""The evaluation of quantities and conditions of alert rules, with the results of Prometheus."""

from __future__ import annotations

import operator
import re
from functools import cache
from math import inf, nan
from typing import TYPE_CHECKING, TypeAlias

from admin.alerting.series import Labels
from gateway.monitoring.quantities import (
    AllConditions,
    AnyCondition,
    CertificateShare,
    GatewayCondition,
    Gauge,
    Increase,
    Mean,
    MeasuredBefore,
    OutsideCondition,
    Prediction,
    Quantile,
    Rate,
    Ratio,
    RecordedQuantity,
    SecondsUntil,
    Threshold,
    Total,
    UnlessCondition,
    labels,
    parts_of,
    seconds,
)
from gateway.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from admin.alerting.series import Numbers, SampleHistory, Series
    from gateway.monitoring.quantities import Condition, Operator, Quantity

Values: TypeAlias = dict[Labels, float]
COMPARE: Mapping[Operator, Callable[[float, float], bool]] = {
    "<": operator.lt,
    ">": operator.gt,
    "==": operator.eq,
    ">=": operator.ge,
}
_MATCHER = re.compile(r'(\w+)(=~|!=|=)"([^"]*)"')


@cache  # the rules' own, some dozens
def matchers(where: str) -> tuple[tuple[str, str, str], ...]:
    """Return label, operator and value of each matcher."""
    return tuple(_MATCHER.findall(where))


def matches(where: str, found: Mapping[str, str]) -> bool:
    """Return whether a series with these labels is selected."""
    for name, how, value in matchers(where):
        label = found.get(name, "")
        if how == "=~":
            if re.fullmatch(value, label) is None:
                return False
        elif (label == value) is (how == "!="):
            return False
    return True


def windows(conditions: Iterable[Condition]) -> dict[str, frozenset[int]]:
    """Return the metrics that conditions need, with the windows in seconds."""
    found: dict[str, set[int]] = {}
    for condition in conditions:
        for it in parts_of(condition):
            if isinstance(it, CertificateShare):
                found.setdefault(it.start, set())
                found.setdefault(it.expiry, set())
            elif isinstance(it, (Gauge, Total, SecondsUntil, MeasuredBefore)):
                found.setdefault(it.metric, set())
            elif isinstance(it, (Rate, Increase, Mean, Quantile, Prediction)):
                found.setdefault(it.metric, set()).add(seconds(it.window))
    return {metric: frozenset(windows_s) for metric, windows_s in found.items()}


def costly(condition: Condition) -> tuple[Quantity, ...]:
    """Return the quantities in a condition that are computed over a window."""
    return tuple(
        it
        for it in parts_of(condition)
        if isinstance(it, (Rate, Increase, Mean, Quantile, Prediction))
    )


class Evaluation:
    """The values of quantities and conditions at the last look; each is computed once.

    It is made anew when the history keeps other metrics.
    """

    def __init__(self, history: SampleHistory) -> None:
        self._history = history
        self._values: dict[Quantity, Values] = {}
        self._groups: dict[tuple[str, str, str], tuple[int, dict[Labels, list[Series]]]] = {}

    def renew(self) -> None:
        """Drop the values of the look before."""
        self._values.clear()

    def results(self, condition: Condition) -> Values:  # noqa: C901, PLR0911 - a case a kind
        """Return the labels for which a condition holds, with the value of its quantity."""
        match condition:
            case Threshold(quantity, how, bound):
                compare = COMPARE[how]
                values = self.values(quantity)
                if isinstance(bound, CertificateShare):
                    bounds = self.values(bound)
                    return {
                        of: it
                        for of, it in values.items()
                        if of in bounds and compare(it, bounds[of])
                    }
                return {of: it for of, it in values.items() if compare(it, bound)}
            case MeasuredBefore():
                return self._measured(condition)
            case AllConditions(first, others):
                found = self.results(first)
                for other in others:
                    if found:
                        present = self.results(other)
                        found = {of: it for of, it in found.items() if of in present}
                return found
            case AnyCondition(conditions):
                found = {}
                for one in conditions:
                    found = {**self.results(one), **found}
                return found
            case UnlessCondition(first, other):
                found = self.results(first)
                present = self.results(other) if found else {}
                return {of: it for of, it in found.items() if of not in present}
            case GatewayCondition(threshold):
                return self.results(threshold)
            case OutsideCondition():
                return {}

    def values(self, quantity: Quantity) -> Values:
        """Return the values of a quantity by labels, of which `job` and `instance` are left out."""
        found = self._values.get(quantity)
        if found is None:
            found = self._values[quantity] = self._computed(quantity)
        return found

    def _computed(self, quantity: Quantity) -> Values:  # noqa: C901, PLR0911 - a case a kind
        match quantity:
            case Gauge(metric, where):
                return {
                    tuple(series.labels.items()): series.last[0]
                    for series in self._history.metrics[metric].present.values()
                    if matches(where, series.labels)
                }
            case Total(metric, by, where, combine):
                return self._total(metric, by, where, combine)
            case Rate(metric, by, where, window):
                return self._grown(metric, by, where, seconds(window), seconds(window))
            case Increase(metric, by, where, window):
                return self._grown(metric, by, where, seconds(window), 1)
            case Mean(metric, by, window):
                rates = self._growths(metric, by, seconds(window))
                return {of: divided(it[0], it[-1]) for of, it in rates.items()}
            case Quantile():
                return self._quantiles(quantity)
            case Ratio(part, whole):
                wholes = self.values(whole)
                return {
                    of: divided(it, wholes[of])
                    for of, it in self.values(part).items()
                    if of in wholes
                }
            case SecondsUntil(metric, is_past):
                sign, now = -1 if is_past else 1, self._history.now
                return {of: sign * (it - now) for of, it in self.values(Gauge(metric)).items()}
            case CertificateShare(start, expiry, share):
                starts = self.values(Gauge(start))
                expiries = self.values(Gauge(expiry)).items()
                return {of: share * (it - starts[of]) for of, it in expiries if of in starts}
            case Prediction():
                return self._predicted(quantity)
            case RecordedQuantity(_, recorded):
                return self.values(recorded)

    def _group(self, metric: str, by: str, where: str) -> dict[Labels, list[Series]]:
        """Return the series by their `by` labels, or by all labels if `by` is empty.

        They are grouped again when the set of series changes.
        """
        history = self._history.metrics[metric]
        known = self._groups.get((metric, by, where))
        if known is None or known[0] != history.changes:
            groups: dict[Labels, list[Series]] = {}
            names = labels(by)
            for series in history.series.values():
                if matches(where, series.labels):
                    of = tuple((name, series.labels.get(name, "")) for name in names)
                    groups.setdefault(of if by else (*series.labels.items(),), []).append(series)
            known = self._groups[metric, by, where] = history.changes, groups
        return known[1]

    def _total(self, metric: str, by: str, where: str, combine: str) -> Values:
        found: dict[Labels, list[float]] = {}
        names = labels(by)
        for series in self._history.metrics[metric].present.values():
            if matches(where, series.labels):
                of = tuple((name, series.labels.get(name, "")) for name in names)
                found.setdefault(of, []).append(series.last[0])
        reduce: Callable[[list[float]], float] = sum if combine == "sum" else max
        return {of: reduce(numbers) for of, numbers in found.items()}

    def _grown(self, metric: str, by: str, where: str, window_s: int, per_s: int) -> Values:
        found: Values = {}
        growth = self._history.total_growth
        for of, group in self._group(metric, by, where).items():
            total = growth(group, window_s, per_s)
            if total is not None:
                found[of] = total
        return found

    def _growths(self, metric: str, by: str, window_s: int) -> dict[Labels, Numbers]:
        """Return the growth of histograms a second: of their sums, and of their buckets."""
        found: dict[Labels, Numbers] = {}
        growth = self._history.growth
        for of, group in self._group(metric, by, "").items():
            grown = [it for series in group if (it := growth(series, window_s, window_s))]
            if grown:
                found[of] = tuple(map(sum, zip(*grown, strict=True)))
        return found

    def _quantiles(self, wanted: Quantile) -> Values:
        bounds = self._history.metrics[wanted.metric].bounds
        found: Values = {}
        growths = self._growths(wanted.metric, wanted.by, seconds(wanted.window))
        for of, (_, *cumulative) in growths.items():
            counts, below = [], 0.0
            for count in cumulative:
                counts.append(max(count - below, 0.0))
                below = max(count, below)
            value = metrics.quantile(counts, bounds, wanted.q)
            found[of] = nan if value is None else value
        return found

    def _measured(self, wanted: MeasuredBefore) -> Values:
        """Return the number of series that there were, by their labels."""
        by_then = self._history.now - seconds(wanted.ago)
        found: Values = {}
        for of, group in self._group(wanted.metric, wanted.by, "").items():
            if there := sum(series.first_at <= by_then for series in group):
                found[of] = there
        return found

    def _predicted(self, wanted: Prediction) -> Values:
        """Return the line of least squares through a gauge's samples, ahead of now."""
        history, window_s = self._history, seconds(wanted.window)
        found: Values = {}
        for series in history.metrics[wanted.metric].present.values():
            points = [(at - history.now, value) for at, value in history.points(series, window_s)]
            if len(points) > 1:
                found[tuple(series.labels.items())] = _line_at(points, wanted.ahead_s)
        return found


def _line_at(points: list[tuple[float, float]], ahead_s: float) -> float:
    count = len(points)
    mean_at = sum(at for at, _ in points) / count
    mean = sum(value for _, value in points) / count
    spread = sum((at - mean_at) ** 2 for at, _ in points)
    slope = sum((at - mean_at) * (value - mean) for at, value in points) / spread
    return mean + slope * (ahead_s - mean_at)


def divided(part: float, whole: float) -> float:
    """Return a quotient as IEEE 754 has it, also by zero."""
    if whole:
        return part / whole
    return nan if not part else inf
